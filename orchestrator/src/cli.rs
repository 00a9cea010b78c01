//! The command: `run`, `check`, `list`, `plan`, `doctor`, `clean`.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use promises::exit;
use protocol::draw::draw;
use stdio::{Unsaid, answer, last_words};

use crate::case::{Bench, BenchError, Case, Place};
use crate::folder::locked_runs;
use crate::pages::Pages;
use crate::plan;
use crate::printer::Printer;
use crate::report::Style;
use crate::scenario::diagnostic::{Diagnostic, Severity, Source};
use crate::scenario::{Cell, Profile, Scenario, cells, parse};
use crate::signals::Interrupts;
use crate::storm::{self, Orders};
use crate::strays::reap;
use crate::teller::Voice;
use crate::verdict::{Outcome, Verdict, case_name};

/// Runs scenarios against a real group of peers, judges what happened, and tells it.
///
/// Exit codes: 0 pass, 1 the product failed, 2 unknown, 64 usage, 65 a scenario is invalid, 69 no
/// peer to run, 70 the bench itself failed, 74 the answer could not be written, 130 interrupted.
///
/// SIGINT (Ctrl-C), SIGTERM and SIGHUP ask a run to stop: its peers are ended, and it is judged.
/// Signals within one second are one request; a later one kills at once. A signal that was ignored
/// at the start (nohup) stays ignored.
#[derive(Debug, Parser)]
#[command(name = "orchestrator", version = crate::case::BUILD)]
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
struct Files {
    /// Scenario files; a folder stands for all files in it.
    #[arg(default_value = "scenarios")]
    files: Vec<PathBuf>,
    /// Only scenarios with this tag.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// No scenarios with this tag.
    #[arg(long, value_name = "TAG")]
    skip_tag: Vec<String>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    files: Files,
    /// The seed of the first run; drawn if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Of a scenario with a matrix, only the cases in which this name has this value.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    cell: Vec<(String, String)>,
    /// Runs with this timing, whatever the file says.
    #[arg(long)]
    timing: Option<Timing>,
    /// Runs in this world; without it, each scenario runs in the first that can: `processes`, then
    /// `hosts`.
    #[arg(long)]
    world: Option<WorldName>,
    /// Exits with 69 if a scenario could not be run here; without it that is said, and is no
    /// failure.
    #[arg(long)]
    strict: bool,
    /// The peer to run; the one beside this program if not given.
    #[arg(long, value_name = "PATH")]
    peer: Option<PathBuf>,
    /// Where runs are kept.
    #[arg(long, value_name = "FOLDER", default_value = "logs")]
    logs: PathBuf,
    /// Shows deliveries and leadership as they happen.
    #[arg(long)]
    follow: bool,
    /// Serves a page with links to the pages of the peers there; each peer gets the next port
    /// behind this one, or any where it is 0. For runs in the world `processes`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Option<SocketAddr>,
    /// Stops after the first run that does not pass.
    #[arg(long)]
    fail_fast: bool,
    /// How results are told.
    #[arg(long, default_value = "human")]
    format: Format,
    /// Ends when this process, its parent, does.
    #[arg(long, hide = true, value_name = "PID")]
    die_with: Option<i32>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One JSON object a line and run: what `verdict.json` holds.
    Json,
}

impl Timing {
    fn profile(self) -> Profile {
        match self {
            Self::Fast => Profile::Fast,
            Self::Default => Profile::Default,
        }
    }
}

/// Why the command cannot do what it was asked for; told and turned into an exit code in one place.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{errors} in {files}")]
    Invalid { errors: String, files: String },
    #[error("no scenario is left to run: look at the files, tags and cells that were asked for")]
    Nothing,
    #[error(transparent)]
    Bench(#[from] BenchError),
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
            Self::Bench(BenchError::NoPeer { .. } | BenchError::OtherBuild { .. }) => {
                exit::UNAVAILABLE
            }
            Self::Bench(BenchError::Files { .. } | BenchError::World(_))
            | Self::Signals(_)
            | Self::Storm(_)
            | Self::Outputs(_) => exit::BROKEN,
            Self::Unsaid(_) => exit::UNSAID,
        }
    }
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way, too, and are no mistakes.
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
            // Whoever has closed the pipe does not want to hear of it.
            if !matches!(&failure, Failure::Unsaid(unsaid) if unsaid.is_closed()) {
                last_words(&format!("error: {failure}"), PATIENCE);
            }
            ExitCode::from(failure.code())
        }
    }
}

/// A scenario that can be run, with the cell of the matrix that made it.
struct Loaded {
    source: Source,
    cell: Cell,
    scenario: Scenario,
}

impl Loaded {
    /// In which worlds it runs, and why not in the others.
    fn worlds(&self) -> String {
        let path = self.source.path.display();
        match self.scenario.needs_hosts.first() {
            None => format!("{path} runs in processes and hosts"),
            Some(need) => format!(
                "{path} runs in hosts only: {} in line {}",
                need.value,
                self.source.locate(need.span.start).line
            ),
        }
    }

    /// Where it runs if this world was asked for; else why it cannot.
    fn place(&self, asked: Option<Place>) -> Result<Place, String> {
        match (asked, self.scenario.needs_hosts.is_empty()) {
            (Some(Place::Processes), false) => Err(self.worlds()),
            (Some(place), _) => Ok(place),
            (None, true) => Ok(Place::Processes),
            (None, false) => Ok(Place::Hosts),
        }
    }
}

impl Files {
    fn paths(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        for path in &self.files {
            if !path.is_dir() {
                paths.push(path.clone());
                continue;
            }
            let entries = std::fs::read_dir(path).map_err(|source| Failure::Unreadable {
                path: path.display().to_string(),
                source,
            })?;
            let mut inside: Vec<PathBuf> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
                .collect();
            inside.sort();
            paths.extend(inside);
        }
        Ok(paths)
    }

    /// Everything that was asked for; the mistakes of all files are told before any is refused.
    fn load(&self, profile: Option<Profile>) -> Result<Vec<Loaded>, Failure> {
        let mut loaded = Vec::new();
        let (mut errors, mut bad) = (0, Vec::new());
        for path in self.paths()? {
            match load(&path, profile)? {
                Ok(found) => {
                    loaded.extend(found.into_iter().filter(|one| self.wants(&one.scenario)))
                }
                Err(count) => {
                    errors += count;
                    bad.push(path.display().to_string());
                }
            }
        }
        if errors > 0 {
            let errors =
                if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
            return Err(Failure::Invalid { errors, files: bad.join(", ") });
        }
        if loaded.is_empty() { Err(Failure::Nothing) } else { Ok(loaded) }
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        let has = |tag: &String| scenario.tags.contains(tag);
        (self.tag.is_empty() || self.tag.iter().any(has)) && !self.skip_tag.iter().any(has)
    }

    fn check(&self) -> Result<u8, Failure> {
        let loaded = self.load(None)?;
        let only: Vec<&Loaded> =
            loaded.iter().filter(|one| !one.scenario.needs_hosts.is_empty()).collect();
        let mut told: Vec<String> = only.iter().map(|one| one.worlds()).collect();
        told.dedup();
        let mut words: String = told.iter().map(|line| format!("{line}\n")).collect();
        let both = loaded.len() - only.len();
        words += &format!(
            "{} scenarios, no errors: {both} run in processes and hosts, {} in hosts only\n",
            loaded.len(),
            only.len()
        );
        answer(&words)?;
        Ok(0)
    }

    fn list(&self) -> Result<u8, Failure> {
        let loaded = self.load(None)?;
        let titles: Vec<String> =
            loaded.iter().map(|one| case_name(&one.scenario.name, &one.cell)).collect();
        let wide = titles.iter().map(String::len).max().unwrap_or(0);
        for (title, Loaded { scenario, .. }) in titles.iter().zip(&loaded) {
            answer(&format!(
                "{title:<wide$}  [{}]  {}\n",
                scenario.tags.join(", "),
                scenario.about
            ))?;
        }
        Ok(0)
    }
}

/// Reads one file and tells its mistakes; the number of errors if there are any.
fn load(path: &Path, profile: Option<Profile>) -> Result<Result<Vec<Loaded>, usize>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Failure::Unreadable { path: path.display().to_string(), source })?;
    let source = Source::new(path, text);
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut loaded = Vec::new();
    match cells(&source) {
        Err(diagnostics) => found.extend(diagnostics),
        Ok(cells) => {
            for cell in cells {
                match parse(&source, &cell, profile) {
                    Ok((scenario, warnings)) => {
                        found.extend(warnings);
                        loaded.push(Loaded { source: source.clone(), cell, scenario });
                    }
                    Err(diagnostics) => found.extend(diagnostics),
                }
            }
        }
    }
    // Cells of one matrix mostly share their mistakes.
    let mut told: Vec<Diagnostic> = Vec::new();
    for one in found {
        if !told.contains(&one) {
            last_words(&one.render(&source, std::io::stderr().is_terminal()), PATIENCE);
            told.push(one);
        }
    }
    let errors = told.iter().filter(|one| one.severity == Severity::Error).count();
    Ok(if errors == 0 { Ok(loaded) } else { Err(errors) })
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

impl Run {
    fn perform(&self) -> Result<u8, Failure> {
        let mut loaded = self.files.load(self.timing.map(Timing::profile))?;
        loaded
            .retain(|one| self.cell.iter().all(|(name, value)| one.cell.get(name) == Some(value)));
        if loaded.is_empty() {
            return Err(Failure::Nothing);
        }
        let asked = self.world.map(WorldName::place);
        let all = loaded.len();
        // Once, and before there is any thread.
        let missing = loaded
            .iter()
            .any(|one| one.place(asked) == Ok(Place::Hosts))
            .then(hosts::rights::ready)
            .and_then(Result::err);
        loaded.retain(|one| {
            let why = match (one.place(asked), &missing) {
                (Ok(Place::Hosts), Some(missing)) => {
                    format!("{}: {missing}", one.source.path.display())
                }
                (Ok(_), _) => return true,
                (Err(why), _) => why,
            };
            last_words(&format!("not run: {why}"), PATIENCE);
            false
        });
        let left_out = all - loaded.len();
        if loaded.is_empty() {
            return Ok(if self.strict || asked.is_some() { exit::UNAVAILABLE } else { 0 });
        }
        let json = self.format == Format::Json;
        let voice = match (self.follow, json) {
            (true, _) => Voice::Follow,
            (false, true) => Voice::Silent,
            (false, false) => Voice::Normal,
        };
        let printer = Printer::start().map_err(Failure::Outputs)?;
        let mut bench = Bench::new(self.peer.clone(), self.logs.clone(), voice, printer.clone())?;
        if let Some(address) = self.http {
            let pages = Pages::open(address).map_err(|error| Failure::Http(address, error))?;
            printer.remark(&format!("   PAGES http://{}/\n", pages.address()));
            bench.pages = Some(pages);
        }
        // Not before the namespaces are there: a process that gets rights of its own loses this
        // wish.
        if let Some(parent) = self.die_with {
            set_pdeathsig(Signal::SIGTERM).map_err(|error| Failure::Signals(error.into()))?;
            // It may have ended before the kernel knew that it matters.
            if getppid().as_raw() != parent {
                return Ok(exit::INTERRUPTED);
            }
        }
        let mut interrupts = Interrupts::listen().map_err(Failure::Signals)?;
        let style = Style {
            colour: std::io::stdout().is_terminal(),
            annotate: std::env::var_os("GITHUB_ACTIONS").is_some(),
        };
        let first = self.seed.unwrap_or_else(drawn_seed);
        let timing = self.timing.map(|timing| timing.profile().name());
        let mut verdicts: Vec<Verdict> = Vec::new();
        'all: for one in &loaded {
            let Loaded { source, cell, scenario } = one;
            let place = one.place(asked).unwrap_or(Place::Processes);
            // A seed that was given means one run, the one it replays.
            let repeat = if self.seed.is_some() { 1 } else { scenario.repeat };
            for turn in 0..repeat {
                let case =
                    Case { source, scenario, cell, seed: first.wrapping_add(turn), timing, place };
                let verdict = bench.run(&case, &mut interrupts)?;
                let text = if json {
                    serde_json::to_string(&verdict).unwrap_or_default() + "\n"
                } else {
                    style.finished(&verdict)
                };
                let farewell =
                    scenario.is_endless() && !json && verdict.outcome != Outcome::Interrupted;
                let text = if farewell { text + &style.farewell(&verdict) } else { text };
                printer.result(&text);
                let outcome = verdict.outcome;
                verdicts.push(verdict);
                if outcome == Outcome::Interrupted || (self.fail_fast && outcome != Outcome::Pass) {
                    break 'all;
                }
            }
        }
        if !json {
            printer.result(&style.closing(&verdicts));
        }
        let worst =
            verdicts.iter().map(|verdict| verdict.outcome).max().unwrap_or(Outcome::Unknown);
        if left_out > 0 {
            printer.result(&format!("not run: {left_out} scenarios, as said above"));
        }
        let code = if worst == Outcome::Pass && left_out > 0 && self.strict {
            exit::UNAVAILABLE
        } else {
            worst.code()
        };
        if !printer.finish(&mut interrupts) && code == exit::PASS {
            if let Some(why) = printer.failure() {
                last_words(
                    &format!(
                        "error: cannot write to standard output: {why}; the results are incomplete"
                    ),
                    PATIENCE,
                );
            }
            return Ok(exit::UNSAID);
        }
        Ok(code)
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

/// Looks for all that hosts need, and tells what is there and what is missing.
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

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as mode=primary")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Different each time, and short enough to be typed.
fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
    draw(nanos, "seed", u64::from(std::process::id())) % 1_000_000
}

/// How long words on standard error may take to be read.
const PATIENCE: Duration = Duration::from_secs(5);
