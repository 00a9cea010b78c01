//! Performs one run of one scenario: from its file to its folder and its verdict.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chaos::RunFolder;
use promises::world::GroundTruth;
use promises::{Options, judge};
use serde_json::json;

use crate::console::{Console, Verbosity};
use crate::engine::{Engine, Halt};
use crate::folder::Folder;
use crate::namespaces::Namespaces;
use crate::pages::Pages;
use crate::plan;
use crate::printer::Printer;
use crate::processes::Processes;
use crate::scenario::diagnostic::Source;
use crate::scenario::{Cell, Scenario, Workload};
use crate::signals::Interrupts;
use crate::strays::reap;
use crate::verdict::{Findings, Outcome, Verdict, case_name};
use crate::world::{World, WorldError};

/// The build id of a `peer` made from the sources that this program was made from.
pub const BUILD: &str = env!("PEER_BUILD");

/// A run to perform.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// The text of the scenario.
    pub source: &'a Source,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The cell of its matrix.
    pub cell: &'a Cell,
    /// The seed.
    pub seed: u64,
    /// The timing from the command line.
    pub timing: Option<&'static str>,
    /// The world it runs in.
    pub place: Place,
}

/// The worlds of real peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All on loopback.
    Processes,
    /// Each on a host of its own.
    Hosts,
}

impl Place {
    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Hosts => "hosts",
        }
    }
}

/// Performs runs and keeps their folders.
#[derive(Debug)]
pub struct Runner {
    /// The program that is a peer.
    pub peer: PathBuf,
    /// The folder of all runs.
    pub logs: PathBuf,
    /// How much the console shows.
    pub verbosity: Verbosity,
    /// The output of the console.
    pub printer: Printer,
    /// The pages of the peers, if they serve any.
    pub pages: Option<Pages>,
}

/// Why a run could not be performed at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no peer program.
    #[error(
        "no peer at {path}: {why}; build it with `cargo build --package peer`, or name one with \
         --peer PATH"
    )]
    NoPeer {
        /// Where it was expected.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The peer was built from other sources.
    #[error(
        "{path} is build {theirs}, this orchestrator belongs to build {ours}; build both with \
         `cargo build --package peer --package orchestrator`"
    )]
    OtherBuild {
        /// The peer.
        path: String,
        /// Its build.
        theirs: String,
        /// The build that goes with this program.
        ours: &'static str,
    },
    /// The folder of the run cannot be made or written.
    #[error("{doing}: {source}")]
    Files {
        /// What was being done.
        doing: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// The world failed at the end of the run or while it was observed.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl Runner {
    /// Finds the peer program (the given one, otherwise the one beside this program), and checks
    /// that it is of the same build.
    ///
    /// # Errors
    /// [`RunError::NoPeer`], [`RunError::OtherBuild`].
    pub fn new(
        peer: Option<PathBuf>,
        logs: PathBuf,
        verbosity: Verbosity,
        printer: Printer,
    ) -> Result<Self, RunError> {
        let peer = peer.unwrap_or_else(beside);
        let no_peer = |why: String| RunError::NoPeer { path: peer.display().to_string(), why };
        let told = Command::new(&peer)
            .arg("--version")
            .output()
            .map_err(|error| no_peer(error.to_string()))?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let Some(theirs) = told.trim().strip_prefix("peer ") else {
            return Err(no_peer("it does not say that it is one".to_owned()));
        };
        if theirs != BUILD {
            return Err(RunError::OtherBuild {
                path: peer.display().to_string(),
                theirs: theirs.to_owned(),
                ours: BUILD,
            });
        }
        Ok(Self { peer, logs, verbosity, printer, pages: None })
    }

    /// Performs a run and judges it.
    ///
    /// # Errors
    /// [`RunError`], where there is nothing to judge: never the product's doing.
    pub fn run(
        &self,
        request: &RunRequest<'_>,
        interrupts: &mut Interrupts,
    ) -> Result<Verdict, RunError> {
        let RunRequest { source, scenario, seed, .. } = *request;
        let files = |doing| move |source| RunError::Files { doing, source };
        let folder = Folder::create(&self.logs, &scenario.name, seed)
            .map_err(files("make the folder of the run"))?;
        folder.write("scenario.toml", &source.text).map_err(files("copy the scenario"))?;
        folder.write("plan.txt", &plan::tell(scenario, seed)).map_err(files("write the plan"))?;
        folder
            .write_json("env.json", &self.environment(request))
            .map_err(files("write the environment"))?;
        let mut world = self.world(request, &folder, arguments(scenario))?;
        let world_name = world.name();
        let mut console = Console::new(
            &format!("{} (seed {seed})", case_name(&scenario.name, request.cell)),
            self.verbosity,
            self.printer.clone(),
        );
        if let Some(pages) = &self.pages {
            console = console.with_pages(pages.address());
        }
        let mut engine = Engine::new(world.as_mut(), scenario, seed, &mut console, interrupts);
        let ran = engine.run();
        // Events of the shutdown do not count.
        let curtain = crate::clock::now();
        let fulfilled = engine.examine(curtain, true);
        let stubborn = engine.end()?;
        for ((at, expectation), fulfilled) in
            scenario.expectations.iter().enumerate().zip(&fulfilled)
        {
            let (met, words) = match fulfilled {
                crate::expect::Outcome::Missed { words, .. } => (false, words.clone()),
                _ => (true, crate::expect::title(&expectation.what)),
            };
            engine.record_at(
                curtain,
                GroundTruth::Expect { id: format!("{}", at + 1), met, words },
            )?;
        }
        let took = curtain.since(engine.began);
        let (settled, halt) = match ran {
            Ok(settled) => (settled, None),
            // The judge decides which promise is behind it.
            Err(halt @ Halt::Unrest { .. }) => (true, Some(halt)),
            // An endless scenario ends with one interruption; a second one interrupts the shutdown.
            Err(Halt::Interrupted) if scenario.is_endless() && engine.interruptions() == 1 => {
                (false, None)
            }
            Err(halt) => (false, Some(halt)),
        };
        let leaked = reap(folder.run_id());
        // Read back from the folder, as any later judge reads it.
        let left = RunFolder::open(folder.path()).map_err(|error| RunError::Files {
            doing: "open the folder of the run",
            source: io::Error::other(error),
        })?;
        let history = left.history().map_err(files("read the events back"))?;
        let options = Options {
            knobs: scenario.cluster.knobs.clone(),
            required: required(scenario),
            publish_known: true,
            settled,
            disks: left.disks().map_err(files("read the sinks back"))?,
        };
        let judgement = judge(&history, &options);
        let worst_lag = engine.worst_lag;
        let findings = Findings {
            scenario,
            source,
            halt: halt.as_ref(),
            fulfilled: &fulfilled,
            folder: &left,
            history: &history,
            judgement: &judgement,
            stubborn: &stubborn,
            leaked: &leaked,
            worst_lag,
        };
        let reasoning = findings.weigh();
        let verdict = Verdict {
            outcome: reasoning.outcome,
            class: reasoning.class,
            scenario: scenario.name.clone(),
            matrix: request.cell.clone(),
            file: source.path.display().to_string(),
            seed,
            world: world_name,
            timing: scenario.cluster.profile.name(),
            build: BUILD.to_owned(),
            took_ms: millis(took),
            failures: reasoning.failures,
            doubts: reasoning.doubts,
            excused: reasoning.excused,
            expectations: findings.expectations(),
            promises: findings.promises(),
            worst_lag_ms: millis(worst_lag),
            folder: shorten(folder.path()),
            replay: replay(request),
        };
        engine.record_at(
            crate::clock::now(),
            GroundTruth::Verdict { outcome: verdict.outcome.name().to_owned() },
        )?;
        if verdict.outcome != Outcome::Pass
            && let Some(frames) = world.capture()
        {
            fs::write(folder.path().join("frames.pcapng"), frames)
                .map_err(files("keep the last frames"))?;
        }
        console.finish();
        folder.write_json("verdict.json", &verdict).map_err(files("write the verdict"))?;
        folder.unlock().map_err(files("give the lock back"))?;
        folder.prune().map_err(files("prune old runs"))?;
        Ok(verdict)
    }

    /// The world of a run, in which no process runs yet.
    fn world(
        &self,
        request: &RunRequest<'_>,
        folder: &Folder,
        arguments: Vec<String>,
    ) -> Result<Box<dyn World>, RunError> {
        let files = |source| RunError::Files { doing: "prepare the run", source };
        let (folder, peer) = (folder.clone(), self.peer.clone());
        match request.place {
            Place::Processes => {
                let processes =
                    Processes::new(folder, peer, arguments, STOP_GRACE).map_err(files)?;
                Ok(Box::new(match &self.pages {
                    Some(pages) => processes.with_pages(pages.clone(), self.printer.clone()),
                    None => processes,
                }))
            }
            Place::Hosts => {
                let cluster = &request.scenario.cluster;
                let processes =
                    Processes::elsewhere(folder, peer, arguments, STOP_GRACE).map_err(files)?;
                let names = cluster
                    .ids
                    .in_starting_order(request.seed)
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                Ok(Box::new(Namespaces::new(
                    processes,
                    &names,
                    cluster.hosts.clone(),
                    request.seed,
                )?))
            }
        }
    }

    fn environment(&self, request: &RunRequest<'_>) -> serde_json::Value {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        json!({
            "started": crate::clock::rfc3339(),
            "build": BUILD,
            "peer": self.peer.display().to_string(),
            "seed": request.seed,
            "matrix": request.cell,
            "knobs": request.scenario.cluster.knobs,
            "kernel": kernel.trim(),
            "processors": std::thread::available_parallelism().map_or(0, usize::from),
            "load": load.trim(),
        })
    }
}

/// The arguments of every peer of a scenario.
fn arguments(scenario: &Scenario) -> Vec<String> {
    let (profile, flags) = (scenario.cluster.profile.name(), &scenario.cluster.flags);
    let mut arguments = vec!["--timing".to_owned(), profile.to_owned()];
    arguments.extend(flags.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
    if let Some(Workload::Host { interval }) = &scenario.workload {
        let interval = format!("{}ms", interval.under(&scenario.cluster.knobs).as_millis());
        arguments.extend([
            "--sensor".to_owned(),
            "host".to_owned(),
            "--interval".to_owned(),
            interval,
        ]);
    }
    arguments
}

/// The peer in the folder of this program; test programs are one folder deeper.
fn beside() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.join("peer")
}

/// In a run with readings, the promises about readings must have had something to check.
fn required(scenario: &Scenario) -> Vec<String> {
    let mut required = scenario.required.clone();
    // A user may end a run before there is any reading.
    if scenario.workload.is_some() && !scenario.is_endless() {
        required.extend(["total-order", "integrity", "fifo"].map(str::to_owned));
        required.sort();
        required.dedup();
    }
    required
}

fn replay(request: &RunRequest<'_>) -> String {
    let timing = request.timing.map(|timing| format!(" --timing {timing}")).unwrap_or_default();
    let cell: String =
        request.cell.iter().map(|(name, value)| format!(" --cell {name}={value}")).collect();
    let world = format!(" --world {}", request.place.name());
    let world = if request.place == Place::Processes { "" } else { &world };
    format!(
        "orchestrator run {}{cell} --seed {}{timing}{world}",
        request.source.path.display(),
        request.seed
    )
}

/// A path relative to the current folder, if it is below.
fn shorten(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How long a peer may take to leave at the end of a run.
const STOP_GRACE: Duration = Duration::from_secs(5);
