//! What the commands that judge runs say with their exit codes: `chaos`, `orchestrator` and
//! `simulator` mean the same by the same number. Which of them a command uses, and for what in
//! particular, its `--help` says.

/// Everything asked for was done, and every promise held.
pub const PASS: u8 = 0;
/// The product failed: a promise is broken, or something expected did not happen.
pub const FAIL: u8 = 1;
/// Too little was seen to say.
pub const UNKNOWN: u8 = 2;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A file that was given is wrong.
pub const BAD_INPUT: u8 = 65;
/// What the command needs is not there: no peer to run, no run, no such target.
pub const UNAVAILABLE: u8 = 69;
/// The command itself failed.
pub const BROKEN: u8 = 70;
/// What the command was asked for could not be written to standard output.
pub const UNSAID: u8 = 74;
/// Somebody stopped it.
pub const INTERRUPTED: u8 = 130;
