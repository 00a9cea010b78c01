//! `model`: an exhaustive search of the core, within printed bounds.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use model::{Bounds, Depth, Mark, Planned, Report, Start, plan, search};
use protocol::config::{Config, Guarantee, Knobs, Mode};
use protocol::id::PeerId;

/// Prints a line. A failed write ends the command: the disk is full, or the reader is gone, as
/// after `head`.
macro_rules! say {
    ($($what:tt)*) => {
        if writeln!(std::io::stdout(), $($what)*).is_err() {
            std::process::exit(i32::from(UNSAID));
        }
    };
}

/// Steps the real nodes of a small group through every order of events within bounds, and holds
/// each step to what must always be true.
///
/// Without a command: the planned searches, in a minute or two. Exit codes: 0 everything within the
/// bounds was visited and held, 1 a counterexample, 2 unknown (a search was cut short, or something
/// that should have happened somewhere never did), 64 usage, 74 the answer could not be written.
#[derive(Debug, Parser)]
#[command(name = "model", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    planned: Choice,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Choice {
    /// Go further: up to an hour, and some gigabytes.
    #[arg(long)]
    deep: bool,
    /// Only the searches of these names.
    #[arg(long = "search", value_name = "NAME")]
    names: Vec<String>,
    /// Only in this mode.
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Searches at a time, each on a thread of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// MiB of memory at most, for all searches together; a search that would take more is cut short
    /// [default: three quarters of what the machine has left]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    memory: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One search, with bounds of your own
    Explore(Explore),
    /// The names and bounds of the planned searches
    List {
        /// Those of `--deep`
        #[arg(long)]
        deep: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Explore {
    /// Where it starts
    #[arg(long, value_enum, default_value = "formed")]
    start: Start,
    /// In which mode
    #[arg(long, value_enum, default_value = "available")]
    mode: ModeName,
    /// Peers, 2 to 5
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    peers: u8,
    /// Processes that die
    #[arg(long, default_value_t = 0)]
    crashes: u8,
    /// Readings that are published
    #[arg(long, default_value_t = 0)]
    readings: u8,
    /// Connections that break
    #[arg(long, default_value_t = 0)]
    resets: u8,
    /// Deadlines that pass while something is on its way
    #[arg(long, default_value_t = 0)]
    passes: u8,
    /// Deadlines that pass while nothing is
    #[arg(long, default_value_t = 0)]
    rests: u8,
    /// Processes that stand still for long
    #[arg(long, default_value_t = 0)]
    pauses: u8,
    /// Rounds of epochs, from the first of the group on
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Let datagrams arrive
    #[arg(long)]
    datagrams: bool,
    /// Ask for safe delivery
    #[arg(long)]
    safe: bool,
    /// Situations at most
    #[arg(long, default_value_t = 20_000_000)]
    states: usize,
    /// Seconds at most
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// MiB of memory at most [default: three quarters of what the machine has left]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Every side of a partition goes on.
    Available,
    /// Only the side with a quorum does.
    Primary,
}

impl ModeName {
    fn mode(self) -> Mode {
        match self {
            Self::Available => Mode::Available,
            Self::Primary => Mode::Primary,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Primary => "primary",
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return match (error.use_stderr(), printed) {
                (true, _) => ExitCode::from(USAGE),
                (false, Ok(())) => ExitCode::SUCCESS,
                (false, Err(_)) => ExitCode::from(UNSAID),
            };
        }
    };
    match cli.command {
        None => run_planned(&cli.planned),
        Some(Command::Explore(explore)) => run_one(&explore),
        Some(Command::List { deep }) => {
            let depth = if deep { Depth::Deep } else { Depth::Usual };
            for mode in [ModeName::Available, ModeName::Primary] {
                for planned in plan(depth, mode.mode()) {
                    say!(
                        "{:<9} {:<20} from {:<6} {}",
                        mode.name(),
                        planned.name,
                        planned.start.name(),
                        planned.bounds
                    );
                }
            }
            ExitCode::SUCCESS
        }
    }
}

fn run_planned(choice: &Choice) -> ExitCode {
    let depth = if choice.deep { Depth::Deep } else { Depth::Usual };
    let modes =
        choice.mode.map_or_else(|| vec![ModeName::Available, ModeName::Primary], |mode| vec![mode]);
    let memory = memory(choice.memory);
    let bounded =
        |planned: Planned| Planned { bounds: Bounds { memory, ..planned.bounds }, ..planned };
    let planned: Vec<(ModeName, Planned)> = modes
        .iter()
        .flat_map(|mode| {
            plan(depth, mode.mode()).into_iter().map(|planned| (*mode, bounded(planned)))
        })
        .collect();
    if let Some(name) = choice
        .names
        .iter()
        .find(|name| planned.iter().all(|(_, planned)| planned.name != name.as_str()))
    {
        let names: BTreeSet<&str> = planned.iter().map(|(_, planned)| planned.name).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let _closed = writeln!(
            std::io::stderr(),
            "there is no search `{name}`; there are: {}",
            names.join(", ")
        );
        return ExitCode::from(USAGE);
    }
    let chosen = |planned: &Planned| {
        choice.names.is_empty() || choice.names.iter().any(|name| name == planned.name)
    };
    let tasks: Vec<(ModeName, Planned)> =
        planned.into_iter().filter(|(_, planned)| chosen(planned)).collect();
    let reports = look_at_all(&tasks, usize::from(choice.jobs));
    if reports.iter().any(|(_, report)| report.breach.is_some()) {
        return ExitCode::from(BROKEN);
    }
    let states: usize = reports.iter().map(|(_, report)| report.states).sum();
    say!("{states} situations visited, every law held in each");
    let mut unknown = false;
    for mode in modes {
        let seen: Vec<Mark> = reports
            .iter()
            .filter(|(of, _)| *of == mode)
            .flat_map(|(_, report)| report.marks.clone())
            .collect();
        // Only all searches together have to meet every mark.
        let missing: Vec<&str> = expected(mode)
            .filter(|mark| choice.names.is_empty() && !seen.contains(mark))
            .map(Mark::words)
            .collect();
        if !missing.is_empty() {
            unknown = true;
            say!("unknown: never seen in mode {}: {}", mode.name(), missing.join("; "));
        }
    }
    let cut = reports.iter().filter(|(_, report)| report.cut.is_some()).count();
    if cut > 0 {
        say!("unknown: {cut} searches were cut short");
    }
    if unknown || cut > 0 { ExitCode::from(UNKNOWN) } else { ExitCode::SUCCESS }
}

/// Runs searches in parallel; none is started any more once a counterexample is found.
fn look_at_all(tasks: &[(ModeName, Planned)], jobs: usize) -> Vec<(ModeName, Report)> {
    let (next, found) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut reports = Vec::new();
        while let Some((mode, planned)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if found.load(Ordering::Relaxed) {
                break;
            }
            let report = look(planned, *mode);
            found.fetch_or(report.breach.is_some(), Ordering::Relaxed);
            reports.push((*mode, report));
        }
        reports
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a search does not panic"))
            .collect()
    })
}

/// The marks that the planned searches have to meet, or they have shown nothing.
fn expected(mode: ModeName) -> impl Iterator<Item = Mark> {
    Mark::ALL.into_iter().filter(move |mark| match mark {
        Mark::Blocked => mode == ModeName::Primary,
        // Among three peers, a second holder is a quorum: a delivered entry is in the one log, so
        // it never comes again either.
        Mark::Merged | Mark::Diverged | Mark::DupSuppressed => mode == ModeName::Available,
        _ => true,
    })
}

fn run_one(explore: &Explore) -> ExitCode {
    let Explore {
        start,
        mode,
        peers,
        crashes,
        readings,
        resets,
        passes,
        rests,
        pauses,
        rounds,
        datagrams,
        safe,
        states,
        seconds,
        memory: most,
    } = *explore;
    let memory = memory(most);
    let bounds = Bounds {
        peers,
        crashes,
        readings,
        resets,
        passes,
        rests,
        pauses,
        rounds,
        datagrams,
        safe,
        states,
        seconds,
        memory,
    };
    let report = look(&Planned { name: "explore", start, bounds }, mode);
    say!("seen: {}", report.marks.iter().map(|mark| mark.words()).collect::<Vec<_>>().join("; "));
    match report {
        Report { breach: Some(_), .. } => ExitCode::from(BROKEN),
        Report { cut: Some(_), .. } => ExitCode::from(UNKNOWN),
        Report { .. } => ExitCode::SUCCESS,
    }
}

/// The memory limit of the process, in MiB.
fn memory(asked: Option<u64>) -> u64 {
    let of_what_is_left = || model::available().map(|bytes| (bytes >> 20) * 3 / 4);
    asked.or_else(of_what_is_left).unwrap_or_else(|| {
        say!(
            "this system does not say how much memory it has left, so no search is cut short for \
              it; `--memory MIB` bounds it"
        );
        u64::MAX
    })
}

/// Runs a search and prints its result.
fn look(planned: &Planned, mode: ModeName) -> Report {
    let report = search(planned.start, &config(mode, &planned.bounds), planned.bounds);
    let Report { states, steps, depth, local: (peers, answers), took, beyond, .. } = &report;
    let mut words = vec![format!(
        "{} in mode {}, from {}: {}",
        planned.name,
        mode.name(),
        planned.start.name(),
        planned.bounds
    )];
    words.push(format!(
        "  {states} situations in {steps} steps, depth {depth}, {:.1} s; {peers} situations of \
         single peers, {answers} answers of theirs",
        took.as_secs_f64()
    ));
    if *beyond > 0 {
        words.push(format!(
            "  {beyond} situations had a promise above round {} and were not gone on from",
            planned.bounds.rounds
        ));
    }
    match (&report.cut, &report.breach) {
        (_, Some(found)) => {
            words.push(format!("  BROKEN {}: {}", found.breach.promise, found.breach.words));
            words.extend(found.path.iter().map(|line| format!("  {line}")));
        }
        (Some(cut), None) => words.push(format!("  cut short by {cut}; no counterexample so far")),
        (None, None) => {
            words.push("  everything within the bounds visited, every law held".to_owned())
        }
    }
    // In one piece, so that the lines of two searches do not mix.
    say!("{}", words.join("\n"));
    report
}

fn config(mode: ModeName, bounds: &Bounds) -> Config {
    let name = |number: u8| PeerId::new(&format!("peer{number}")).expect("a valid name");
    let mode = mode.mode();
    let bootstrap =
        if mode == Mode::Primary { (1..=bounds.peers).map(name).collect() } else { vec![] };
    // The order of deadlines is that of the default knobs; but a join does not wait, and idle links
    // do not matter here.
    let knobs = Knobs {
        join_batch: Duration::ZERO,
        join_timeout: Duration::from_millis(30),
        link_idle: Duration::from_secs(86_400),
        mode,
        bootstrap,
        delivery: if bounds.safe { Guarantee::Safe } else { Guarantee::Agreed },
        ..Knobs::default()
    };
    Config::try_from(knobs).expect("these knobs are within their bounds")
}

const BROKEN: u8 = 1;
const UNKNOWN: u8 = 2;
const USAGE: u8 = 64;
/// The result could not be written.
const UNSAID: u8 = 74;
