//! The command line of `peer`.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::commands;
use crate::configuration;
use crate::failure::{Failure, OK, UNAVAILABLE, UNSAID, USAGE};
use crate::guard;
use crate::journal;
use crate::recover;
use crate::replay;
use crate::settings::{Raw, Settings, document};
use crate::shell::Shell;

/// One peer of a group that orders sensor readings.
///
/// Exit codes: 0 done, 1 refused (by the group, or nothing to recover), 64 usage, 65 bad file, 69
/// port taken or no such peer, 70 a bug, 74 the answer could not be written, 75 not now: the same
/// may be done in a while.
#[derive(Parser)]
#[command(name = "peer", version = crate::BUILD)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join the group, or found it, and stay until told to leave
    ///
    /// Signals: SIGTERM and SIGINT (Ctrl-C) ask the peer to leave the group. Signals within one
    /// second of the first are the same request; a later one stops the peer at once, without
    /// leaving. SIGHUP has it open its files anew by their paths, and read the file of --config
    /// again: it says what it has taken over, and what needs a restart. A signal that was ignored
    /// when the peer started (nohup, the background of a script) stays ignored.
    ///
    /// A setting is looked for in this order: flag, variable of the environment (an empty one is
    /// not set), file, default.
    Run(Box<Raw>),
    /// Ask a running peer of this machine where it stands
    #[command(after_help = "Example: peer status --ready && echo in the group")]
    Status(commands::status::Request),
    /// Show who is in the group, and how well each keeps up
    #[command(after_help = "Example: peer members --id kitchen")]
    Members(commands::members::Request),
    /// Follow what is delivered, from now or from any point that is still kept
    #[command(
        after_help = "Examples:\n  peer tail --sensor 'kitchen.*'\n  peer tail --json --last 100 \
                      --no-follow | jq .payload\n  peer tail --format influx --from now"
    )]
    Tail(commands::tail::Request),
    /// Publish readings, and hear what becomes of them
    #[command(after_help = "Examples:\n  peer publish 'DATA|door|2026-11-28T06:24:40Z|open=1'\n  \
                      read_sensor | peer publish --safe")]
    Publish(commands::publish::Request),
    /// Say why a peer leads, was put out, or is not in the group, and what became of its last
    /// readings
    #[command(after_help = "Example: peer why cellar")]
    Why(commands::why::Request),
    /// Have a peer leave the group, and stop
    #[command(after_help = "Example: peer leave --id kitchen")]
    Leave(commands::control::Leave),
    /// Have a peer come after all others when it is asked who leads; a leader hands over
    #[command(after_help = "Examples:\n  peer demote --id attic\n  peer demote --id attic --undo")]
    Demote(commands::control::Demote),
    /// Print what a shell needs to complete this command
    #[command(after_help = "Example: peer completions bash > /etc/bash_completion.d/peer")]
    Completions(commands::reference::Completions),
    /// Print the manual, or write all its pages into a folder
    #[command(after_help = "Example: peer man /usr/local/share/man/man1")]
    Man(commands::reference::Man),
    /// Have a running peer tell more, or less
    #[command(after_help = "Example: peer log-level debug")]
    LogLevel(commands::control::Level),
    /// Go through a recording of `run --inputs` again, step by step, with the very core, and tell
    /// what that peer told
    Replay(replay::Request),
    /// Watch over the command of a sensor; started by `run`, and of no use by hand
    #[command(hide = true)]
    Guard(guard::Request),
    /// Write a configuration file to begin with, or find the mistakes in one
    #[command(subcommand)]
    Config(configuration::Request),
    /// Mode `primary`: say what only an operator can know, of a group that is lost or of a peer
    /// that has lost its memory
    Recover(recover::Request),
}

/// The main function of the command `peer`.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let done = match parsed {
        Ok(cli) => obey(cli),
        Err(error) => {
            // `--help` and `--version` arrive as errors, too, and are none.
            let code = if error.use_stderr() { USAGE } else { OK };
            let printed = error.print().and_then(|()| io::stdout().flush());
            return ExitCode::from(if printed.is_err() && code == OK { UNSAID } else { code });
        }
    };
    match done {
        Ok(()) => ExitCode::from(OK),
        Err(failure) => {
            if !failure.text.is_empty() {
                stdio::last_words(&format!("peer: {failure}"), PATIENCE);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// The whole command line, with the environment variable of each flag of `run`.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command().mut_subcommand("run", |run| run.mut_args(document))
}

fn obey(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(raw) => {
            let raw = raw
                .with_environment(|name| std::env::var_os(name))
                .map_err(|why| Failure::new(USAGE, why))?;
            if let Some(parent) = raw.die_with {
                die_with(parent)?;
            }
            let settings = Settings::gather(raw)?;
            journal::start(settings.log_level).map_err(|error| {
                Failure::new(UNAVAILABLE, format!("cannot write to standard output: {error}"))
            })?;
            let done = Shell::start(settings).and_then(Shell::run);
            journal::settle(PATIENCE);
            done
        }
        Command::Status(request) => commands::status::run(&request),
        Command::Members(request) => commands::members::run(&request),
        Command::Tail(request) => commands::tail::run(&request),
        Command::Publish(request) => commands::publish::run(&request),
        Command::Why(request) => commands::why::run(&request),
        Command::Leave(request) => commands::control::leave(&request),
        Command::Demote(request) => commands::control::demote(&request),
        Command::LogLevel(request) => commands::control::log_level(&request),
        Command::Completions(request) => commands::reference::completions(&request, command()),
        Command::Man(request) => commands::reference::man(&request, command()),
        Command::Replay(request) => replay::run(&request),
        Command::Guard(request) => guard::run(&request),
        Command::Config(request) => configuration::run(&request),
        Command::Recover(request) => recover::run(&request),
    }
}

/// How long the last lines of a process may wait for their reader.
const PATIENCE: Duration = Duration::from_millis(500);

/// Makes the kernel kill this process when its parent dies, and checks that the parent has not died
/// already.
pub fn die_with(parent: u32) -> Result<(), Failure> {
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| Failure::new(UNAVAILABLE, format!("--die-with: {error}")))?;
    if getppid().as_raw().unsigned_abs() == parent {
        return Ok(());
    }
    Err(Failure::new(
        UNAVAILABLE,
        format!("--die-with {parent}: that is not the parent of this process, or not any more"),
    ))
}
