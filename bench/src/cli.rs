//! The command line of `bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chaos::{Report, RunFolder};
use clap::{Parser, Subcommand};
use promises::{Options, Outcome};

use crate::failover::{Course, Measured};
use crate::spread::{heads, milliseconds};

/// Measures real groups of peers on this machine.
///
/// A number that misses its mark is told and is no failure. Exit codes: 0 measured, 1 the group failed or broke a promise, 64 usage, 69 no `peer` to run or no folder to run it in.
/// Logs and events of the last run stay in logs/bench_failover.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// From the SIGKILL of a leader under load to each survivor's next delivery of a reading published after it
    Failover {
        /// How many leaders to kill
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        kills: u32,
        /// How many peers; the knobs are the product's defaults
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
        peers: u32,
        /// Readings a second, all peers together
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: u32,
        /// Print the numbers as JSON in the last line
        #[arg(long)]
        json: bool,
        /// The program to measure [default: the one beside this program]
        #[arg(long, value_name = "PATH")]
        peer: Option<PathBuf>,
    },
}

/// What the command `bench` does.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal is gone there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let Command::Failover { kills, peers, rate, json, peer } = cli.command;
    let Some(program) = peer.or_else(beside) else {
        eprintln!("bench: there is no `peer` beside this program; build it (cargo build --release -p peer) or name it with --peer");
        return ExitCode::from(UNAVAILABLE);
    };
    let folder = Path::new(FOLDER);
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("bench: cannot remove what the last run left in {FOLDER}: {error}");
        return ExitCode::from(UNAVAILABLE);
    }
    let course = Course { peers, rate, kills };
    match course.run(&program, folder, |words| eprintln!("{words}")) {
        Ok(measured) => {
            println!("{}", table(&course, &measured));
            if let Err(words) = judge(folder) {
                eprintln!("bench: {words}");
                return ExitCode::FAILURE;
            }
            if json {
                let (median, max) = (milliseconds(measured.waits.median()), milliseconds(measured.waits.max()));
                println!(r#"{{"median_ms": {median:.2}, "max_ms": {max:.2}}}"#);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}\nlogs and events are in {FOLDER}");
            ExitCode::FAILURE
        }
    }
}

fn table(course: &Course, measured: &Measured) -> String {
    let (median, max) = (measured.waits.median(), measured.waits.max());
    let verdict = |value: std::time::Duration, mark: f64| if milliseconds(value) <= mark { "met" } else { "MISSED" };
    format!(
        "\n{} kills of the leader of {} peers, default knobs, {:.0} readings a second written ({} held back)\n\
         {:<36}{}\n{:<36}{} ms  ({} waits)\n{:<36}{} ms\n\
         wanted: median {MEDIAN_MS} ms ({}), max {MAX_MS} ms ({})",
        course.kills,
        course.peers,
        measured.rate,
        measured.held_back,
        "from the kill to the next news",
        heads(),
        "of each survivor",
        measured.waits,
        measured.waits.count(),
        "of the last survivor of each kill",
        measured.worst,
        verdict(median, MEDIAN_MS),
        verdict(max, MAX_MS),
    )
}

/// Numbers of a run that broke a promise are worth nothing.
fn judge(folder: &Path) -> Result<(), String> {
    let run = RunFolder::open(folder).map_err(|error| error.to_string())?;
    let report = Report::of(&run, Options::default()).map_err(|error| format!("cannot judge the run: {error}"))?;
    let count = |outcome| report.judgement().findings.iter().filter(|finding| finding.outcome() == outcome).count();
    if count(Outcome::Broken) > 0 {
        return Err(format!("the group broke a promise, so the numbers are worth nothing\n{report}"));
    }
    println!("{} promises held, none broken (chaos judge {FOLDER} tells them)", count(Outcome::Held));
    Ok(())
}

/// The `peer` that was built with this program.
fn beside() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent().map(Path::to_owned)?.join("peer");
    path.is_file().then_some(path)
}

/// Where logs and events of the last run are.
const FOLDER: &str = "logs/bench_failover";
/// What is wanted of the median, in milliseconds.
const MEDIAN_MS: f64 = 10.0;
/// What is wanted of the worst, in milliseconds.
const MAX_MS: f64 = 50.0;
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
