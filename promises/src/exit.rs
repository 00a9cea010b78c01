//! The exit codes of the commands that judge runs: `chaos`, `orchestrator` and `simulator` use the
//! same number for the same outcome. The `--help` of each command says which it uses, and for what
//! in particular.

/// Everything asked for was done, and every promise held.
pub const PASS: u8 = 0;
/// The product failed: a promise is broken, or an expectation was missed.
pub const FAIL: u8 = 1;
/// The evidence does not suffice.
pub const UNKNOWN: u8 = 2;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A given file is wrong.
pub const BAD_INPUT: u8 = 65;
/// Something that the command needs is missing: no peer to run, no run, no such target.
pub const UNAVAILABLE: u8 = 69;
/// The command itself failed.
pub const BROKEN: u8 = 70;
/// The result of the command could not be written to standard output.
pub const UNSAID: u8 = 74;
/// The user stopped the command.
pub const INTERRUPTED: u8 = 130;
