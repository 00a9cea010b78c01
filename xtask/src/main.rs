//! `cargo xtask`: builds, then runs the other programs of this workspace.
//!
//! It is Rust and not a Makefile, so that a fresh machine needs a Rust toolchain and nothing else.
//! It knows the names of the programs and their commands; it links none of them, so that it is
//! small and quick to build.
//!
//! Exit codes: 0 pass, 1 a stage failed, 64 usage, 70 something that should work did not (cargo
//! missing, a program that cannot be started), 130 interrupted. A command that stands for one
//! program exits with that program's code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workshop::{Profile, Workshop};

mod children;
mod ci;
mod copy;
mod demo;
mod dist;
mod failure;
mod mutants;
mod mutation;
mod scenario;
mod stage;
mod suite;
mod tidy;
mod workshop;

/// Builds, then runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three peers on this machine, real host readings, who leads and what is delivered, live.
    /// Ctrl-C ends it
    Demo,
    /// All tests: units, scripts, docs, seeds of the simulator, scenarios on real processes
    Test {
        #[command(flatten)]
        extent: suite::Extent,
    },
    /// What the CI runs: format, tidiness, lints, docs, then `test`
    Ci {
        #[command(flatten)]
        extent: suite::Extent,
    },
    /// Make the products in `dist/`: tarballs, Debian packages, a container image; and try them
    Dist {
        #[command(flatten)]
        wish: dist::Wish,
    },
    /// Run scenarios by name or path, in the order given; what follows `--` goes to the
    /// orchestrator
    Scenario {
        /// Names (`leader_election`) or paths
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Flags of `orchestrator run`
        #[arg(last = true, value_name = "FLAGS")]
        flags: Vec<OsString>,
    },
    /// Draw faults from seeds and do them to real peers: `--seeds N`, `--from K`, `--world
    /// hosts|processes`, `--jobs J`
    #[command(disable_help_flag = true)]
    Storm {
        /// Arguments of `orchestrator storm`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Run the group in virtual time: `--seeds N`, `--from N`, `--check`; or `replay S1-… --trace`,
    /// `shrink S1-…`
    #[command(disable_help_flag = true)]
    Sim {
        /// Arguments of `simulator run`, or a command of `simulator` with its own
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Search the core exhaustively within bounds: nothing for the planned searches, `--deep`,
    /// `explore` with bounds of your own
    #[command(disable_help_flag = true)]
    Model {
        /// Instead, show that it finds a core that skips a comparison with what was promised
        #[arg(long, exclusive = true)]
        mutation: bool,
        /// Arguments of `model`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Change the core in one place at a time and see whether the tests notice; `--shard 0/40` for
    /// a sample
    Mutants {
        #[command(flatten)]
        which: mutants::Which,
    },
    /// Measure: `throughput`, `latency`, `failover`, `scale`, `restart`, `door`, each beside its
    /// reference and with `--json`; `soak`
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of `bench`
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENTS"
        )]
        arguments: Vec<OsString>,
    },
    /// Find, kill, pause and judge the peers of a run: `kill leader`, `status`, `judge`
    #[command(disable_help_flag = true)]
    Chaos {
        /// Arguments of `chaos`
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENTS"
        )]
        arguments: Vec<OsString>,
    },
    /// A child of ours, which is not to outlive us: for our own use
    #[command(hide = true)]
    Child {
        /// Who we are.
        parent: i32,
        /// What the child is to become.
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal is gone, an error has no reader.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(failure::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let workshop = Workshop::new();
    let result = match cli.command {
        Command::Demo => demo::run(&workshop),
        Command::Test { extent } => suite::run(&workshop, &extent),
        Command::Ci { extent } => ci::run(&workshop, &extent),
        Command::Dist { wish } => dist::run(&workshop, &wish),
        Command::Scenario { names, flags } => scenario::run(&workshop, &names, &flags),
        Command::Storm { arguments } => {
            let arguments: Vec<OsString> =
                std::iter::once("storm".into()).chain(arguments).collect();
            workshop.become_program("orchestrator", &["orchestrator", "peer"], &arguments)
        }
        Command::Sim { arguments } => workshop.become_simulator(&arguments),
        Command::Model { mutation: true, .. } => mutation::run(&workshop),
        Command::Model { arguments, .. } => {
            workshop.become_program("model", &["model"], &arguments)
        }
        Command::Mutants { which } => mutants::run(&workshop, &which),
        Command::Bench { arguments } => {
            workshop.become_program("bench", &["bench", "peer"], &arguments)
        }
        Command::Chaos { arguments } => {
            workshop.become_built(Profile::Demo, "chaos", &["chaos"], &arguments)
        }
        Command::Child { parent, command } => children::become_child(parent, &command),
    };
    result.unwrap_or_else(|failure| failure.tell())
}
