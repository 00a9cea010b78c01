//! `chaos`: injects faults into a running group, and judges the result.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::{
    FaultError, FaultInjector, Group, LogWatch, Report, RunFolder, patience,
    process_table::ProcessTable,
};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use promises::{Bindings, Draw, Fault, Options, Outcome, Selector, SelectorError, Stand, exit};
use protocol::config::Knobs;
use protocol::note::printable;
use regex::Regex;
use stdio::{Unsaid, answer, last_words};

/// Touches a running group of peers: kills, stops, pauses and resumes them, waits for words in
/// their logs, and judges what happened. The peers are found by the events that they write
/// (`peer run --events DIR/events/NAME.jsonl`).
///
/// Exit codes: 0 done, or every promise held; 1 an expectation missed, an act not seen to work, or
/// a promise broken; 2 (judge) unknown; 64 usage; 65 bad input file; 69 no such run or no such
/// target; 70 a bug of this command; 74 the answer could not be written (what was asked for is done
/// all the same).
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Cli {
    /// The folder of the run.
    #[arg(long, global = true, value_name = "DIR", default_value = "logs/latest")]
    run: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill at once (SIGKILL).
    Kill(Act),
    /// Ask to leave (SIGTERM), and wait until it has.
    Stop(Act),
    /// Let it stand still (SIGSTOP).
    Pause(Act),
    /// Let it go on (SIGCONT).
    Resume(Act),
    /// Who is there, who leads, who believes what.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold the history of a run against every promise.
    Judge(JudgeArgs),
}

#[derive(Debug, Args)]
struct Act {
    /// Whom: `leader`, `member`, `highest`, `successor`, `2 members`, `peer3`, `peer1,peer2` …
    who: String,
    /// Then wait for a line that matches, in any log; only lines written after the act count.
    #[arg(long, value_name = "REGEX")]
    expect: Option<Regex>,
    /// Whose logs to watch; all of them if left out.
    #[arg(long, value_name = "WHO", requires = "expect")]
    on: Option<String>,
    /// How long to wait: for somebody who fits, for the act to work, and for the line, each.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    within: Duration,
    /// What a choice among several is drawn from; drawn itself if left out.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
struct JudgeArgs {
    /// The folder of the run; `--run` if left out.
    dir: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// The knobs that the peers ran with; those that the run has left behind if left out, else the
    /// product's.
    #[arg(long)]
    timing: Option<Timing>,
    /// Judge progress even if nobody has said that the run came to rest.
    #[arg(long)]
    settled: bool,
    /// A promise that must have had something to look at; may be given several times.
    #[arg(long, value_name = "PROMISE")]
    require: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Timing {
    /// The product's.
    Default,
    /// That of tests and demonstrations.
    Fast,
}

/// Why a command failed: a message, and the exit code.
struct Failure {
    words: String,
    code: u8,
}

impl Failure {
    fn new(code: u8, words: impl ToString) -> Self {
        Self { words: words.to_string(), code }
    }
}

impl From<Unsaid> for Failure {
    fn from(unsaid: Unsaid) -> Self {
        // A reader that has closed the pipe needs no error.
        Self::new(exit::UNSAID, if unsaid.is_closed() { String::new() } else { unsaid.to_string() })
    }
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        last_words(&format!("chaos: this is a bug of chaos: {panic}"), PATIENCE);
        std::process::exit(i32::from(exit::BROKEN));
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for =
                matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let printed = error.print().and_then(|()| io::stdout().flush());
            return match (asked_for, printed) {
                (false, _) => ExitCode::from(exit::USAGE),
                (true, Ok(())) => ExitCode::SUCCESS,
                (true, Err(_)) => ExitCode::from(exit::UNSAID),
            };
        }
    };
    let done = match cli.command {
        Command::Kill(act) => perform(cli.run, &Fault::Kill, &act),
        Command::Stop(act) => perform(cli.run, &Fault::Stop, &act),
        Command::Pause(act) => perform(cli.run, &Fault::Pause, &act),
        Command::Resume(act) => perform(cli.run, &Fault::Resume, &act),
        Command::Status { json } => tell_status(cli.run, json),
        Command::Judge(arguments) => tell_judgement(cli.run, arguments),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !failure.words.is_empty() {
                last_words(&format!("chaos: {}", failure.words), PATIENCE);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn open(run: PathBuf) -> Result<Group, Failure> {
    let folder = RunFolder::open(&run).map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    let mut group = Group::new(folder);
    read(&mut group)?;
    Ok(group)
}

fn read(group: &mut Group) -> Result<(), Failure> {
    group
        .read()
        .map(drop)
        .map_err(|error| Failure::new(exit::BAD_INPUT, format!("cannot read the events: {error}")))
}

fn perform(run: PathBuf, fault: &Fault, act: &Act) -> Result<u8, Failure> {
    let mut group = open(run)?;
    let targets = select(&mut group, &act.who, act)?;
    let watched = match &act.on {
        Some(on) => select(&mut group, on, act)?,
        None => group.standing().all().cloned().collect(),
    };
    let watch = LogWatch::new(group.folder(), &watched)
        .map_err(|error| Failure::new(exit::BAD_INPUT, format!("cannot read a log: {error}")));
    let mut injector =
        FaultInjector::new(group.folder()).map_err(|error| Failure::new(exit::BAD_INPUT, error))?;
    // Printed after everything is done: a reader that stops reading must not prevent half of the
    // faults.
    let mut done = String::new();
    for stand in &targets {
        let seen = injector.act(stand, fault, act.within).map_err(|error| {
            let code = if matches!(error, FaultError::Gone { .. }) {
                exit::UNAVAILABLE
            } else {
                exit::FAIL
            };
            Failure::new(code, format!("{done}{error}"))
        })?;
        if !seen {
            let words = format!(
                "{done}{} (pid {}): {fault} did not work within {:?}",
                stand.process, stand.pid, act.within
            );
            return Err(Failure::new(exit::FAIL, words));
        }
        done += &format!("{fault} {} (pid {})\n", stand.process, stand.pid);
    }
    let Some(pattern) = &act.expect else {
        answer(&done)?;
        return Ok(exit::PASS);
    };
    let found = watch?
        .wait(pattern, act.within)
        .map_err(|error| Failure::new(exit::BAD_INPUT, format!("cannot read a log: {error}")))?;
    match found {
        Some(found) => {
            answer(&format!(
                "{done}{}\n",
                printable(&format!("{}: {}", found.process, found.text))
            ))?;
            Ok(exit::PASS)
        }
        None => Err(Failure::new(
            exit::FAIL,
            format!("{done}no line matched {:?} within {:?}", pattern.as_str(), act.within),
        )),
    }
}

/// The processes that a selector denotes; waits until one matches.
fn select(group: &mut Group, who: &str, act: &Act) -> Result<Vec<Stand>, Failure> {
    let processes: Vec<String> =
        group.standing().all().map(|stand| stand.process.clone()).collect();
    let selector = Selector::parse(who, &processes).map_err(|error| {
        let there = if processes.is_empty() { "nobody".to_owned() } else { processes.join(", ") };
        Failure::new(exit::UNAVAILABLE, format!("{error}; in this run there is: {there}"))
    })?;
    let seed = act.seed.unwrap_or_else(|| chaos::clock::now().as_micros());
    let draw = Draw { seed, purpose: "chaos", counter: 0 };
    let mut last = None;
    let found = patience::until(act.within, || {
        read(group)?;
        match selector.resolve(group.standing(), &Bindings::new(), draw) {
            Ok(names) => Ok(Some(names)),
            Err(error @ (SelectorError::Nobody { .. } | SelectorError::Ambiguous { .. })) => {
                last = Some(error);
                Ok(None)
            }
            Err(error) => Err(Failure::new(exit::UNAVAILABLE, error)),
        }
    })?;
    let Some(names) = found else {
        let words = last.map_or_else(String::new, |error| error.to_string());
        return Err(Failure::new(exit::UNAVAILABLE, words));
    };
    Ok(names.iter().filter_map(|name| group.standing().find(name)).cloned().collect())
}

fn tell_status(run: PathBuf, json: bool) -> Result<u8, Failure> {
    let group = open(run)?;
    let table = ProcessTable::of(group.standing());
    let text = if json {
        serde_json::to_string_pretty(&table).expect("only text and numbers, written to memory")
    } else {
        printable(&table.to_string()).into_owned()
    };
    answer(&format!("{text}\n"))?;
    Ok(exit::PASS)
}

fn tell_judgement(run: PathBuf, arguments: JudgeArgs) -> Result<u8, Failure> {
    if let Some(unknown) = arguments
        .require
        .iter()
        .find(|id| promises::CATALOGUE.iter().all(|promise| promise.id != id.as_str()))
    {
        let known: Vec<&str> = promises::CATALOGUE.iter().map(|promise| promise.id).collect();
        return Err(Failure::new(
            exit::USAGE,
            format!("no promise is called {unknown:?}; there are: {}", known.join(", ")),
        ));
    }
    let folder = RunFolder::open(&arguments.dir.unwrap_or(run))
        .map_err(|error| Failure::new(exit::BAD_INPUT, error))?;
    let knobs = match arguments.timing {
        Some(Timing::Fast) => Knobs::fast(),
        Some(Timing::Default) => Knobs::default(),
        None => folder.knobs().unwrap_or_default(),
    };
    let options = Options {
        knobs,
        settled: arguments.settled,
        required: arguments.require,
        ..Options::default()
    };
    let report = Report::of(&folder, options)
        .map_err(|error| Failure::new(exit::BAD_INPUT, format!("cannot read the run: {error}")))?;
    let (unreadable, lines) = report.unreadable();
    let text =
        if arguments.json { report.json() } else { printable(&report.to_string()).into_owned() };
    answer(&format!("{text}\n"))?;
    if unreadable > 0 && unreadable == lines {
        return Err(Failure::new(
            exit::BAD_INPUT,
            "these files hold no events: was the right folder given?",
        ));
    }
    Ok(match report.judgement().outcome() {
        Outcome::Held => exit::PASS,
        Outcome::Broken => exit::FAIL,
        Outcome::Unknown => exit::UNKNOWN,
    })
}

/// How long a message on standard error may wait for its reader.
const PATIENCE: Duration = Duration::from_secs(5);
