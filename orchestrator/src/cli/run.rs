//! `run`: runs one case after the other and judges each; the worst verdict is the exit code.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use promises::exit;
use protocol::draw::draw;
use stdio::last_words;

use super::files::{Files, Loaded};
use super::{Failure, PATIENCE, Timing, WorldName};
use crate::console::Verbosity;
use crate::pages::Pages;
use crate::printer::Printer;
use crate::report::Style;
use crate::runner::{Place, RunRequest, Runner};
use crate::signals::Interrupts;
use crate::verdict::{Outcome, Verdict};

#[derive(Debug, Args)]
pub(super) struct Run {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One JSON object a line and run: what `verdict.json` holds.
    Json,
}

impl Run {
    pub(super) fn perform(&self) -> Result<u8, Failure> {
        let mut loaded = self.files.load(self.timing.map(Timing::profile))?;
        loaded
            .retain(|one| self.cell.iter().all(|(name, value)| one.cell.get(name) == Some(value)));
        if loaded.is_empty() {
            return Err(Failure::Nothing);
        }
        let asked = self.world.map(WorldName::place);
        let left_out = leave_out(&mut loaded, asked);
        if loaded.is_empty() {
            return Ok(if self.strict || asked.is_some() { exit::UNAVAILABLE } else { 0 });
        }
        let printer = Printer::start().map_err(Failure::Outputs)?;
        let runner = self.runner(&printer)?;
        // Only after the namespaces exist: a process that gains privileges loses its parent-death
        // signal.
        if let Some(parent) = self.die_with {
            set_pdeathsig(Signal::SIGTERM).map_err(|error| Failure::Signals(error.into()))?;
            // The parent may have ended before the kernel registered the signal.
            if getppid().as_raw() != parent {
                return Ok(exit::INTERRUPTED);
            }
        }
        let mut interrupts = Interrupts::listen().map_err(Failure::Signals)?;
        let verdicts = self.judge(&loaded, &runner, &printer, &mut interrupts)?;
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

    fn runner(&self, printer: &Printer) -> Result<Runner, Failure> {
        let verbosity = match (self.follow, self.format) {
            (true, _) => Verbosity::Follow,
            (false, Format::Json) => Verbosity::Silent,
            (false, Format::Human) => Verbosity::Normal,
        };
        let mut runner =
            Runner::new(self.peer.clone(), self.logs.clone(), verbosity, printer.clone())?;
        if let Some(address) = self.http {
            let pages = Pages::open(address).map_err(|error| Failure::Http(address, error))?;
            printer.remark(&format!("   PAGES http://{}/\n", pages.address()));
            runner.pages = Some(pages);
        }
        Ok(runner)
    }

    /// Runs all cases and reports their verdicts.
    fn judge(
        &self,
        loaded: &[Loaded],
        runner: &Runner,
        printer: &Printer,
        interrupts: &mut Interrupts,
    ) -> Result<Vec<Verdict>, Failure> {
        let json = self.format == Format::Json;
        let style = Style {
            colour: std::io::stdout().is_terminal(),
            annotate: std::env::var_os("GITHUB_ACTIONS").is_some(),
        };
        let asked = self.world.map(WorldName::place);
        let first = self.seed.unwrap_or_else(drawn_seed);
        let timing = self.timing.map(|timing| timing.profile().name());
        let mut verdicts: Vec<Verdict> = Vec::new();
        'all: for one in loaded {
            let Loaded { source, cell, scenario } = one;
            let place = one.place(asked).unwrap_or(Place::Processes);
            // A given seed means one run: the one to replay.
            let repeat = if self.seed.is_some() { 1 } else { scenario.repeat };
            for turn in 0..repeat {
                let request = RunRequest {
                    source,
                    scenario,
                    cell,
                    seed: first.wrapping_add(turn),
                    timing,
                    place,
                };
                let verdict = runner.run(&request, interrupts)?;
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
        Ok(verdicts)
    }
}

/// Removes the scenarios that cannot run here and reports why; returns their number.
fn leave_out(loaded: &mut Vec<Loaded>, asked: Option<Place>) -> usize {
    let all = loaded.len();
    // Once, and before the first thread starts.
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
    all - loaded.len()
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as mode=primary")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Different each time, and short enough to type.
fn drawn_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
    draw(nanos, "seed", u64::from(std::process::id())) % 1_000_000
}
