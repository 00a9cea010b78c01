//! The command: `run`, `check`, `list`, `plan`, `doctor`, `clean`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use promises::exit;
use stdio::{Unsaid, answer, last_words};

use self::files::{Files, Loaded};
use self::run::Run;
use crate::folder::locked_runs;
use crate::plan;
use crate::runner::{Place, RunError};
use crate::scenario::Profile;
use crate::signals::Interrupts;
use crate::storm::{self, Orders};
use crate::strays::reap;

mod files;
mod run;

/// Runs scenarios against a real group of peers, judges what happened, and tells it.
///
/// Exit codes: 0 pass, 1 the product failed, 2 unknown, 64 usage, 65 a scenario is invalid, 69 no
/// peer to run, 70 the bench itself failed, 74 the answer could not be written, 130 interrupted.
///
/// SIGINT (Ctrl-C), SIGTERM and SIGHUP ask a run to stop: its peers are ended, and it is judged.
/// Signals within one second are one request; a later one kills at once. A signal that was ignored
/// at the start (nohup) stays ignored.
#[derive(Debug, Parser)]
#[command(name = "orchestrator", version = crate::runner::BUILD)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios, in the order given, and judges each run.
    Run(Run),
    /// Looks for mistakes in scenarios, without running anything.
    Check(Files),
    /// Lists scenarios: name, tags, and what they show.
    List(Files),
    /// Shows what a run would do: what the seed draws, what every duration comes to.
    Plan(Plan),
    /// Draws scenarios from seeds and runs them; keeps the plan of each that does not pass, to be
    /// run again.
    Storm(StormArguments),
    /// Says what this machine lacks for the world `hosts`, and how to get it.
    Doctor,
    /// Ends processes that outlived a run whose orchestrator died, and takes away its lock.
    Clean(Clean),
}

#[derive(Debug, Args)]
struct StormArguments {
    /// How many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// The world.
    #[arg(long, default_value = "hosts")]
    world: WorldName,
    /// The knobs.
    #[arg(long, default_value = "fast")]
    timing: Timing,
    /// How many runs at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The peer to run; the one beside this program if not given.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// Where runs, and the plans of those that do not pass, are kept.
    #[arg(long, value_name = "FOLDER", default_value = "logs")]
    logs: PathBuf,
    /// Prints the scenario of the first seed, and runs nothing.
    #[arg(long)]
    show: bool,
}

#[derive(Debug, Args)]
struct Plan {
    /// The scenario file.
    file: PathBuf,
    /// The seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Plans with this timing, whatever the file says.
    #[arg(long)]
    timing: Option<Timing>,
}

#[derive(Debug, Args)]
struct Clean {
    /// Where runs are kept.
    #[arg(long, value_name = "FOLDER", default_value = "logs")]
    logs: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Timing {
    /// Short deadlines, for tests.
    Fast,
    /// The product's own.
    Default,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WorldName {
    /// Real peers on loopback.
    Processes,
    /// Real peers, each in a network namespace of its own.
    Hosts,
}

impl WorldName {
    fn place(self) -> Place {
        match self {
            Self::Processes => Place::Processes,
            Self::Hosts => Place::Hosts,
        }
    }
}

impl Timing {
    fn profile(self) -> Profile {
        match self {
            Self::Fast => Profile::Fast,
            Self::Default => Profile::Default,
        }
    }
}

/// Why the command cannot do what was asked; printed and turned into an exit code in one place.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{errors} in {files}")]
    Invalid { errors: String, files: String },
    #[error("no scenario is left to run: look at the files, tags and cells that were asked for")]
    Nothing,
    #[error(transparent)]
    Runner(#[from] RunError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot run a storm: {0}")]
    Storm(std::io::Error),
    #[error("cannot take over standard output and standard error: {0}")]
    Outputs(std::io::Error),
    #[error("--http {0}: {1}")]
    Http(SocketAddr, std::io::Error),
    #[error(transparent)]
    Unsaid(#[from] Unsaid),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Nothing => exit::USAGE,
            Self::Http(_, error) if error.kind() == std::io::ErrorKind::InvalidInput => exit::USAGE,
            Self::Http(..) => exit::UNAVAILABLE,
            Self::Unreadable { .. } | Self::Invalid { .. } => exit::BAD_INPUT,
            Self::Runner(RunError::NoPeer { .. } | RunError::OtherBuild { .. }) => {
                exit::UNAVAILABLE
            }
            Self::Runner(RunError::Files { .. } | RunError::World(_))
            | Self::Signals(_)
            | Self::Storm(_)
            | Self::Outputs(_) => exit::BROKEN,
            Self::Unsaid(_) => exit::UNSAID,
        }
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` arrive as errors, too, and are none.
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return ExitCode::from(match (error.use_stderr(), printed) {
                (true, _) => exit::USAGE,
                (false, Ok(())) => exit::PASS,
                (false, Err(_)) => exit::UNSAID,
            });
        }
    };
    let done = match cli.command {
        Command::Run(run) => run.perform(),
        Command::Check(files) => files.check(),
        Command::List(files) => files.list(),
        Command::Plan(plan) => plan.perform(),
        Command::Storm(storm) => storm.perform(),
        Command::Doctor => doctor(),
        Command::Clean(clean) => clean.perform(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // A reader that has closed the pipe needs no error.
            if !matches!(&failure, Failure::Unsaid(unsaid) if unsaid.is_closed()) {
                last_words(&format!("error: {failure}"), PATIENCE);
            }
            ExitCode::from(failure.code())
        }
    }
}

impl StormArguments {
    fn perform(&self) -> Result<u8, Failure> {
        let orders = Orders {
            from: self.from,
            seeds: self.seeds,
            place: self.world.place(),
            profile: self.timing.profile(),
            jobs: self.jobs,
            peer: self.peer.clone(),
            logs: self.logs.clone(),
        };
        if self.show {
            answer(&storm::draft(orders.from, orders.place, orders.profile))?;
            return Ok(0);
        }
        let mut interrupts = Interrupts::listen().map_err(Failure::Signals)?;
        storm::perform(&orders, &mut interrupts).map_err(Failure::Storm)
    }
}

impl Plan {
    fn perform(&self) -> Result<u8, Failure> {
        let files = Files { files: vec![self.file.clone()], tag: vec![], skip_tag: vec![] };
        for Loaded { scenario, cell, .. } in files.load(self.timing.map(Timing::profile))? {
            for (name, value) in &cell {
                answer(&format!("matrix     {name} = {value}\n"))?;
            }
            answer(&plan::tell(&scenario, self.seed))?;
        }
        Ok(0)
    }
}

impl Clean {
    fn perform(&self) -> Result<u8, Failure> {
        let mut cleaned = 0;
        let mut told = String::new();
        for (run, owner) in locked_runs(&self.logs) {
            if owner.is_alive() {
                told += &format!("{}: still running (pid {})\n", run.display(), owner.pid);
                continue;
            }
            for stray in reap(&owner.run_id) {
                told += &format!("{}: ended {stray}\n", run.display());
            }
            match std::fs::remove_file(run.join("lock.json")) {
                Ok(()) => cleaned += 1,
                Err(error) => last_words(&format!("{}: {error}", run.display()), PATIENCE),
            }
        }
        answer(&format!("{told}{cleaned} dead runs cleaned\n"))?;
        Ok(0)
    }
}

/// Checks everything that the world `hosts` needs, and prints what is present and what is missing.
fn doctor() -> Result<u8, Failure> {
    let found = [
        ("/dev/net/tun and the program `ip`", hosts::rights::tools()),
        ("namespaces of its own", hosts::rights::acquire()),
        ("a host on the network", hosts::rights::ready_for_one()),
    ];
    let mut code = 0;
    let mut words = String::new();
    for (what, result) in found {
        match result {
            Ok(()) => words += &format!("ok       {what}\n"),
            Err(missing) => {
                code = exit::UNAVAILABLE;
                words += &format!("missing  {what}: {missing}\n");
            }
        }
    }
    words += if code == 0 {
        "worlds: processes, hosts, simulator\n"
    } else {
        "worlds: processes, simulator\n"
    };
    answer(&words)?;
    Ok(code)
}

/// How long a message on standard error may wait for its reader.
const PATIENCE: Duration = Duration::from_secs(5);
