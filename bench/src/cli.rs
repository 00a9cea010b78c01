//! The command line of `bench`.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chaos::{Report, RunFolder};
use clap::{Args, Parser, Subcommand};
use promises::{Options, Outcome};

use crate::bare::{self, Part};
use crate::door;
use crate::failover::{Blow, Course, Measured};
use crate::latency;
use crate::pairs::{Line, Pair, Pairs};
use crate::reference;
use crate::restart;
use crate::scale;
use crate::soak;
use crate::spread::{heads, milliseconds};
use crate::throughput::{self, Case};

/// Measures real groups of peers on this machine.
///
/// A number that misses its mark is told and is no failure. Exit codes: 0 measured, 1 the group
/// failed or broke a promise, 64 usage, 69 no `peer` to run or no folder to run it in. Logs and
/// events of the last run stay in logs/bench_….
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many readings a second are delivered in order at every member, beside a bare sequencer
    Throughput {
        #[command(flatten)]
        how: How,
        /// Only cases whose name has this in it (`a member sends`, `100 B`)
        #[arg(long, value_name = "WORDS")]
        only: Option<String>,
    },
    /// How long a reading takes until it is delivered, at several rates, beside a bare sequencer
    Latency {
        #[command(flatten)]
        how: How,
    },
    /// How a group grows: time to one view, time without who is killed, memory, idle processor
    /// time, messages of a join
    Scale {
        /// How many peers, several times
        #[arg(long, value_delimiter = ',', default_values_t = [3, 10, 50, 100, 300], value_parser = clap::value_parser!(u32).range(3..=2_000))]
        peers: Vec<u32>,
        #[command(flatten)]
        how: How,
    },
    /// A rejoin under load, and how fast a newcomer is given the past
    Restart {
        #[command(flatten)]
        how: How,
    },
    /// What subscriptions at the local socket cost a group, and how fast `peer tail` tells what is
    /// kept
    Door {
        #[command(flatten)]
        how: How,
        /// End with 1 where a number misses its mark
        #[arg(long)]
        strict: bool,
    },
    /// A group under load with fast and slow followers at every local socket, while peers are
    /// killed and come back
    Soak {
        /// How many peers
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=200))]
        peers: u32,
        /// Readings a second of each
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
        /// For how many seconds
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(5..))]
        seconds: u64,
        /// The program to measure [default: the one beside this program]
        #[arg(long, value_name = "PATH")]
        peer: Option<PathBuf>,
    },
    /// What one process writes to three sockets in pieces of 64 KiB: no design writes more on this
    /// machine
    Ceiling,
    /// From the loss of a leader under load to each survivor's next delivery of a reading published
    /// after it
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
        /// Stop them instead (SIGSTOP), with the profile `fast`: nothing but silence tells
        #[arg(long)]
        freeze: bool,
        /// Print the numbers as JSON in the last line
        #[arg(long)]
        json: bool,
        /// The program to measure [default: the one beside this program]
        #[arg(long, value_name = "PATH")]
        peer: Option<PathBuf>,
    },
    /// A process of the reference: for our own use
    #[command(hide = true)]
    Bare {
        /// What it does, as JSON
        #[arg(long)]
        part: String,
        /// Where the sequencer listens; of all but the sequencer
        #[arg(long)]
        port: Option<u16>,
        /// The process that it does not outlive
        #[arg(long)]
        die_with: u32,
    },
    /// A process that only reads: for our own use
    #[command(hide = true)]
    Drain {
        /// From there
        #[arg(long)]
        port: u16,
        /// The process that it does not outlive
        #[arg(long)]
        die_with: u32,
    },
}

/// How a bench with a reference is run.
#[derive(Debug, Args)]
struct How {
    /// How many times the product and its reference are measured, in turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// One short pair, to see that the bench works; its numbers mean nothing
    #[arg(long, conflicts_with = "pairs")]
    short: bool,
    /// Print a JSON object for each row, after the table
    #[arg(long)]
    json: bool,
    /// The program to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
}

/// What the command `bench` does.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal is gone, an error has no reader.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Failover { kills, peers, rate, freeze, json, peer } => {
            let blow = if freeze { Blow::Freeze } else { Blow::Kill };
            failover(&Course { peers, rate, losses: kills, blow }, peer, json)
        }
        Command::Throughput { how, only } => throughput(how, only.as_deref()),
        Command::Latency { how } => {
            with_reference(how, "logs/bench_latency", |program, folder, pairs, share| {
                latency::measure(program, folder, pairs, share, |row| println!("{row}"))
            })
        }
        Command::Scale { peers, how } => {
            let peers = if how.short { vec![3, 10] } else { peers };
            with_reference(how, "logs/bench_scale", |program, folder, pairs, share| {
                scale::measure(program, folder, &peers, pairs, share, |row| println!("{row}"))
            })
        }
        Command::Restart { how } => {
            with_reference(how, "logs/bench_restart", |program, folder, pairs, share| {
                restart::measure(program, folder, pairs, share, |row| println!("{row}"))
            })
        }
        Command::Door { how, strict } => {
            let mut met = true;
            let code = with_reference(how, "logs/bench_door", |program, folder, pairs, share| {
                let measured =
                    door::measure(program, folder, pairs, share, |row| println!("{row}"))?;
                met = measured.met;
                Ok(measured.lines)
            });
            if strict && !met { ExitCode::FAILURE } else { code }
        }
        Command::Soak { peers, rate, seconds, peer } => {
            let course = soak::Course {
                peers,
                rate,
                span: Duration::from_secs(seconds),
                kill_every: Duration::from_secs(20),
            };
            soak(&course, peer)
        }
        Command::Ceiling => finish(
            reference::ceiling(3, CEILING_SPAN).map(|most| println!("{:.2} GB/s", most / 1e9)),
        ),
        Command::Bare { part, port, die_with } => bare(&part, port, die_with),
        Command::Drain { port, die_with } => {
            finish(tie(die_with).and_then(|()| reference::drain(port)).map(|all| println!("{all}")))
        }
    }
}

fn soak(course: &soak::Course, given: Option<PathBuf>) -> ExitCode {
    let folder = "logs/bench_soak";
    let Some(program) = prepare(given, folder) else { return ExitCode::from(UNAVAILABLE) };
    finish(course.run(&program, Path::new(folder), |words| eprintln!("{words}")).and_then(|measured| {
        let soak::Measured { followed, trickled, cut_off, killed, gaps, grown, opened } = measured;
        println!(
            "{followed} records followed without a fault, {trickled} by slow followers, who were \
             cut off {cut_off} times; {gaps} gaps named"
        );
        println!("{killed} peers killed; after the first minute a peer has grown by {grown} bytes \
                  and {opened} descriptors at most");
        if !course.tells_growth() {
            println!("growth is not judged: it takes two minutes to tell what leaks from what \
                      fills");
            return Ok(());
        }
        // Allocators return memory late; a leak grows with the data that has passed, and that is
        // hundreds of megabytes.
        let is_well = grown <= GROWN_MOST && opened <= OPENED_MOST;
        if is_well { Ok(()) } else { Err(io::Error::other(format!("more than {GROWN_MOST} bytes or \
            {OPENED_MOST} descriptors"))) }
    }))
}

fn throughput(how: How, only: Option<&str>) -> ExitCode {
    let cases: Vec<Case> = Case::all()
        .into_iter()
        .filter(|case| only.is_none_or(|words| case.name().contains(words)))
        .collect();
    if cases.is_empty() {
        let names: Vec<String> = Case::all().iter().map(Case::name).collect();
        eprintln!(
            "bench: no case has {:?} in its name; there are:\n  {}",
            only.unwrap_or_default(),
            names.join("\n  ")
        );
        return ExitCode::from(USAGE);
    }
    with_reference(how, "logs/bench_throughput", |program, folder, pairs, share| {
        throughput::measure(program, folder, pairs, share, &cases, |row| println!("{row}"))
    })
}

/// Runs a bench of pairs: this many pairs, each with that share of the readings.
fn with_reference(
    how: How,
    folder: &str,
    measure: impl FnOnce(&Path, &Path, u32, f64) -> io::Result<Vec<Line>>,
) -> ExitCode {
    let Some(program) = prepare(how.peer, folder) else { return ExitCode::from(UNAVAILABLE) };
    let (pairs, share) = if how.short { (1, SHORT) } else { (how.pairs, 1.0) };
    let measured = measure(&program, Path::new(folder), pairs, share);
    finish(measured.map(|lines| {
        lines.iter().filter(|_| how.json).for_each(|line| println!("{}", line.text()))
    }))
}

fn bare(part: &str, port: Option<u16>, parent: u32) -> ExitCode {
    let run = || {
        tie(parent)?;
        let part: Part = serde_json::from_str(part)?;
        let seen = match port {
            None => bare::sequence(&part, |port| println!("{port}"))?,
            Some(port) => bare::follow(&part, port)?,
        };
        println!("{}", serde_json::to_string(&seen)?);
        Ok(())
    };
    finish(run())
}

/// Ties the life of this process to that one.
fn tie(parent: u32) -> io::Result<()> {
    peer::cli::die_with(parent).map_err(|failure| io::Error::other(failure.text))
}

fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The program to measure, and an empty folder to run in; if either is unavailable, prints why and
/// returns none.
fn prepare(given: Option<PathBuf>, folder: &str) -> Option<PathBuf> {
    let Some(program) = given.or_else(beside) else {
        eprintln!(
            "bench: there is no `peer` beside this program; build it (cargo build --release -p \
             peer) or name it with --peer"
        );
        return None;
    };
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            eprintln!("bench: cannot remove what the last run left in {folder}: {error}");
            None
        }
        Ok(()) | Err(_) => Some(program),
    }
}

fn failover(course: &Course, given: Option<PathBuf>, json: bool) -> ExitCode {
    let folder = Path::new(FOLDER);
    let Some(program) = prepare(given, FOLDER) else { return ExitCode::from(UNAVAILABLE) };
    match course.run(&program, folder, |words| eprintln!("{words}")) {
        Ok(measured) => {
            println!("{}", table(course, &measured));
            if let Err(words) = judge(folder) {
                eprintln!("bench: {words}");
                return ExitCode::FAILURE;
            }
            if json {
                println!("{}", line(course, &measured).text());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}\nlogs and events are in {FOLDER}");
            ExitCode::FAILURE
        }
    }
}

fn words(blow: Blow) -> &'static str {
    match blow {
        Blow::Kill => "SIGKILL, default knobs",
        Blow::Freeze => "SIGSTOP, profile fast",
    }
}

fn line(course: &Course, measured: &Measured) -> Line {
    let ms = |value: Duration| milliseconds(value);
    let pair = Pair { ours: ms(measured.waits.median()), reference: ms(measured.ends.median()) };
    let line = Pairs::new(vec![pair]).line("failover", words(course.blow), "ms");
    line.with("losses", course.losses)
        .with("max_ms", ms(measured.waits.max()))
        .with("reference_max_ms", ms(measured.ends.max()))
}

fn table(course: &Course, measured: &Measured) -> String {
    let (median, max) = (measured.waits.median(), measured.waits.max());
    let verdict =
        |value: Duration, mark: f64| if milliseconds(value) <= mark { "met" } else { "MISSED" };
    let wanted = match course.blow {
        Blow::Kill => format!(
            "wanted: median {MEDIAN_MS} ms ({}), max {MAX_MS} ms ({})",
            verdict(median, MEDIAN_MS),
            verdict(max, MAX_MS)
        ),
        Blow::Freeze => {
            "nothing but its silence tells: heartbeat_timeout and an election are in it".to_owned()
        }
    };
    format!(
        "\n{} losses of the leader of {} peers ({}), {:.0} readings a second written ({} held \
         back)\n\
         {:<36}{}\n{:<36}{} ms  ({} waits)\n{:<36}{} ms\n{:<36}{} ms\n{wanted}",
        course.losses,
        course.peers,
        words(course.blow),
        measured.rate,
        measured.held_back,
        "from the loss to the next news",
        heads(),
        "of each survivor",
        measured.waits,
        measured.waits.count(),
        "of the last survivor of each loss",
        measured.worst,
        "the end of a bare stream",
        measured.ends,
    )
}

/// The numbers of a run that broke a promise are worthless.
fn judge(folder: &Path) -> Result<(), String> {
    let run = RunFolder::open(folder).map_err(|error| error.to_string())?;
    let report = Report::of(&run, Options::default())
        .map_err(|error| format!("cannot judge the run: {error}"))?;
    let count = |outcome| {
        report.judgement().findings.iter().filter(|finding| finding.outcome() == outcome).count()
    };
    if count(Outcome::Broken) > 0 {
        return Err(format!("the group broke a promise, so its numbers are worthless\n{report}"));
    }
    println!(
        "{} promises held, none broken (chaos judge {FOLDER} tells them)",
        count(Outcome::Held)
    );
    Ok(())
}

/// The `peer` program built together with this one.
fn beside() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent().map(Path::to_owned)?.join("peer");
    path.is_file().then_some(path)
}

/// The folder for logs and events of the last run.
const FOLDER: &str = "logs/bench_failover";
/// The target of the median, in milliseconds.
const MEDIAN_MS: f64 = 5.0;
/// The target of the maximum, in milliseconds.
const MAX_MS: f64 = 30.0;
/// How much a peer may grow in a soak once it holds what it retains.
const GROWN_MOST: i64 = 16 << 20;
/// Killed peers cause links to open and close.
const OPENED_MOST: i64 = 64;
const CEILING_SPAN: Duration = Duration::from_secs(2);
/// The share of the readings in the short form.
const SHORT: f64 = 0.02;
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
