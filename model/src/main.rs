//! `model`: the core searched exhaustively, within bounds that it prints.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use model::{Bounds, Depth, Mark, Planned, Report, Start, plan, search};
use protocol::config::Mode;
use protocol::config::{Config, Knobs};
use protocol::id::PeerId;

/// Prints a line. Where nobody reads any more, nobody waits for the rest.
macro_rules! say {
    ($($what:tt)*) => {
        if writeln!(std::io::stdout(), $($what)*).is_err() {
            std::process::exit(i32::from(UNKNOWN));
        }
    };
}

/// Steps the real nodes of a small group through every order of events within bounds, and holds each step to what must always be true.
///
/// Without a command: the planned searches, in a minute or two.
/// Exit codes: 0 everything within the bounds was visited and held, 1 a counterexample, 2 unknown (a search was cut short, or something that should have happened somewhere never did), 64 usage.
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
    /// In which mode.
    #[arg(long, value_enum, default_value = "available")]
    mode: ModeName,
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
    /// Rounds of epochs
    #[arg(long, default_value_t = 4)]
    rounds: u64,
    /// Let datagrams arrive
    #[arg(long)]
    datagrams: bool,
    /// Situations at most
    #[arg(long, default_value_t = 20_000_000)]
    states: usize,
    /// Seconds at most
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Every side of a partition goes on.
    Available,
    /// Only the side with a quorum does.
    Primary,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // If the terminal is gone there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        None => run_planned(&cli.planned),
        Some(Command::Explore(explore)) => run_one(&explore),
        Some(Command::List { deep }) => {
            for planned in plan(if deep { Depth::Deep } else { Depth::Usual }) {
                say!("{:<20} from {:<6} {}", planned.name, planned.start.name(), planned.bounds);
            }
            ExitCode::SUCCESS
        }
    }
}

fn run_planned(choice: &Choice) -> ExitCode {
    let planned = plan(if choice.deep { Depth::Deep } else { Depth::Usual });
    if let Some(name) = choice.names.iter().find(|name| planned.iter().all(|planned| planned.name != name.as_str())) {
        let names: Vec<&str> = planned.iter().map(|planned| planned.name).collect();
        eprintln!("there is no search `{name}`; there are: {}", names.join(", "));
        return ExitCode::from(USAGE);
    }
    let chosen = |planned: &&Planned| choice.names.is_empty() || choice.names.iter().any(|name| name == planned.name);
    let mut seen: Vec<Mark> = Vec::new();
    let (mut states, mut cut) = (0, 0);
    for planned in planned.iter().filter(chosen) {
        let report = look(planned, choice.mode);
        if report.breach.is_some() {
            return ExitCode::from(BROKEN);
        }
        states += report.states;
        cut += usize::from(report.cut.is_some());
        seen.extend(report.marks);
    }
    say!("{states} situations visited, every law held in each");
    // Only all of them together have to show everything.
    let missing: Vec<&str> =
        expected(choice.mode).filter(|mark| choice.names.is_empty() && !seen.contains(mark)).map(Mark::words).collect();
    if !missing.is_empty() {
        say!("unknown: never seen: {}", missing.join("; "));
    }
    if cut > 0 {
        say!("unknown: {cut} cut short");
    }
    if missing.is_empty() && cut == 0 { ExitCode::SUCCESS } else { ExitCode::from(UNKNOWN) }
}

/// What the planned searches have to show, or they have shown nothing.
fn expected(mode: ModeName) -> impl Iterator<Item = Mark> {
    Mark::ALL.into_iter().filter(move |mark| match mark {
        Mark::Blocked => mode == ModeName::Primary,
        Mark::Merged => mode == ModeName::Available,
        _ => true,
    })
}

fn run_one(explore: &Explore) -> ExitCode {
    let Explore { start, mode, peers, crashes, readings, resets, passes, rests, pauses, rounds, datagrams, states, seconds } = *explore;
    let bounds = Bounds { peers, crashes, readings, resets, passes, rests, pauses, rounds, datagrams, states, seconds };
    let report = look(&Planned { name: "explore", start, bounds }, mode);
    say!("seen: {}", report.marks.iter().map(|mark| mark.words()).collect::<Vec<_>>().join("; "));
    match report {
        Report { breach: Some(_), .. } => ExitCode::from(BROKEN),
        Report { cut: Some(_), .. } => ExitCode::from(UNKNOWN),
        Report { .. } => ExitCode::SUCCESS,
    }
}

/// Runs a search and tells what it found.
fn look(planned: &Planned, mode: ModeName) -> Report {
    let terminal = std::io::stderr().is_terminal();
    let report = search(planned.start, &config(mode, planned.bounds.peers), planned.bounds, |states, depth| {
        if terminal {
            eprint!("\r{} {states} situations, depth {depth} ", planned.name);
        }
    });
    if terminal {
        eprint!("\r{:60}\r", "");
    }
    let Report { states, steps, depth, local: (peers, answers), took, beyond, .. } = &report;
    say!("{} from {}: {}", planned.name, planned.start.name(), planned.bounds);
    say!(
        "  {states} situations in {steps} steps, depth {depth}, {:.1} s; {peers} situations of single peers, {answers} answers of theirs",
        took.as_secs_f64()
    );
    if *beyond > 0 {
        say!("  {beyond} situations had a promise above round {} and were not gone on from", planned.bounds.rounds);
    }
    match (&report.cut, &report.breach) {
        (_, Some(found)) => {
            say!("  BROKEN {}: {}", found.breach.promise, found.breach.words);
            found.path.iter().for_each(|line| say!("  {line}"));
        }
        (Some(cut), None) => say!("  cut short by {cut}; no counterexample so far"),
        (None, None) => say!("  everything within the bounds visited, every law held"),
    }
    report
}

fn config(mode: ModeName, peers: u8) -> Config {
    let name = |number: u8| PeerId::new(&format!("peer{number}")).expect("a valid name");
    let (mode, bootstrap) = match mode {
        ModeName::Available => (Mode::Available, vec![]),
        ModeName::Primary => (Mode::Primary, (1..=peers).map(name).collect()),
    };
    // The order of deadlines is the default's; but joins wait for nobody, and an idle link is nobody's business here.
    let knobs = Knobs {
        join_batch: Duration::ZERO,
        join_timeout: Duration::from_millis(30),
        link_idle: Duration::from_secs(86_400),
        mode,
        bootstrap,
        ..Knobs::default()
    };
    Config::try_from(knobs).expect("these knobs are within their bounds")
}

const BROKEN: u8 = 1;
const UNKNOWN: u8 = 2;
const USAGE: u8 = 64;
