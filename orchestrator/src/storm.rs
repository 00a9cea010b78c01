//! `orchestrator storm`: draws scenarios from seeds, runs them one after the other or several at a
//! time, and judges each like any other. A failing plan is kept as a scenario file, with the
//! command that repeats it.

mod draft;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use promises::exit;
use serde_json::Value as Json;

use crate::runner::Place;
use crate::scenario::Profile;
use crate::signals::Interrupts;

pub use draft::draft;

/// The parameters of a storm.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Where.
    pub place: Place,
    /// With which knobs.
    pub profile: Profile,
    /// How many runs at a time.
    pub jobs: usize,
    /// The peer, if not the one beside this program.
    pub peer: Option<PathBuf>,
    /// Where runs and plans are kept.
    pub logs: PathBuf,
}

/// One run in progress.
struct Run {
    seed: u64,
    slot: usize,
    plan: PathBuf,
    child: Child,
    began: Instant,
}

/// Runs all seeds; returns the exit code: the worst of all runs.
///
/// # Errors
/// If plans cannot be written or runs cannot be started.
pub fn perform(orders: &Orders, interrupts: &mut Interrupts) -> io::Result<u8> {
    let plans = orders.logs.join("storm_plans");
    std::fs::create_dir_all(&plans)?;
    let mut seeds = orders.from..orders.from.saturating_add(orders.seeds);
    let mut running: Vec<Run> = vec![];
    let (mut passed, mut bad) = (0_u64, vec![]);
    let mut worst = exit::PASS;
    let began = Instant::now();
    loop {
        while running.len() < orders.jobs.max(1) && !interrupts.poll() {
            let Some(seed) = seeds.next() else { break };
            let taken: Vec<usize> = running.iter().map(|run| run.slot).collect();
            let slot = (0..).find(|slot| !taken.contains(slot)).unwrap_or_default();
            running.push(start(orders, &plans, seed, slot)?);
        }
        if running.is_empty() {
            break;
        }
        let mut at = 0;
        while at < running.len() {
            if running[at].child.try_wait()?.is_none() {
                at += 1;
                continue;
            }
            let Run { seed, plan, child, began, .. } = running.swap_remove(at);
            let output = child.wait_with_output()?;
            let code = output
                .status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(exit::BROKEN);
            if code == exit::PASS {
                passed += 1;
                std::fs::remove_file(&plan)?;
                print(&format!("PASS  seed {seed:<8} {:6.1} s\n", began.elapsed().as_secs_f64()));
                continue;
            }
            bad.push(seed);
            worst = worst.max(code);
            print(&tell_bad(orders, seed, &plan, &output.stdout, &output.stderr));
        }
        std::thread::sleep(POLL);
    }
    bad.sort_unstable();
    let seeds: String = bad.iter().map(|seed| format!(" {seed}")).collect();
    let took = began.elapsed().as_secs();
    print(&format!(
        "{passed} seeds passed, {} did not{}{seeds}, {took} s\n",
        bad.len(),
        if bad.is_empty() { "" } else { ":" }
    ));
    Ok(if interrupts.poll() { exit::INTERRUPTED } else { worst })
}

fn start(orders: &Orders, plans: &Path, seed: u64, slot: usize) -> io::Result<Run> {
    let plan = plans.join(format!("{}_{}_{seed}.toml", orders.place.name(), orders.profile.name()));
    std::fs::write(&plan, draft(seed, orders.place, orders.profile))?;
    // Parallel runs have folders of their own, and so have their links.
    let logs = if orders.jobs > 1 {
        orders.logs.join(format!("storm_{slot}"))
    } else {
        orders.logs.clone()
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").arg(&plan).args([
        "--seed",
        &seed.to_string(),
        "--world",
        orders.place.name(),
        "--format",
        "json",
    ]);
    command.arg("--logs").arg(logs).args(["--die-with", &std::process::id().to_string()]);
    if let Some(peer) = &orders.peer {
        command.arg("--peer").arg(peer);
    }
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(Run { seed, slot, plan, child, began: Instant::now() })
}

/// What went wrong, in a few lines, and how to repeat it.
fn tell_bad(orders: &Orders, seed: u64, plan: &Path, told: &[u8], errors: &[u8]) -> String {
    let verdict: Option<Json> = serde_json::from_slice(told).ok();
    let mut text = match &verdict {
        Some(verdict) => {
            let outcome = verdict["outcome"].as_str().unwrap_or_default().to_uppercase();
            let folder = verdict["folder"].as_str().unwrap_or_default();
            format!("{outcome}  seed {seed}  {folder}\n")
        }
        // Nothing was judged; the last lines of the output say why.
        None => {
            let words = String::from_utf8_lossy(errors).into_owned();
            format!("ERROR  seed {seed}  {}\n", words.lines().last().unwrap_or_default())
        }
    };
    let list = |key: &str| {
        verdict.as_ref().and_then(|verdict| verdict[key].as_array().cloned()).unwrap_or_default()
    };
    for failure in list("failures").iter().take(FAILURES_TOLD) {
        let (title, words) = (
            failure["title"].as_str().unwrap_or_default(),
            failure["words"].as_str().unwrap_or_default(),
        );
        text.push_str(&format!("      {title}\n      {words}\n"));
    }
    for doubt in list("doubts") {
        text.push_str(&format!("      unknown: {}\n", doubt.as_str().unwrap_or_default()));
    }
    let world = orders.place.name();
    text + &format!(
        "      again: orchestrator run {} --seed {seed} --world {world}\n",
        plan.display()
    )
}

fn print(text: &str) {
    let mut out = io::stdout();
    // A reader that has closed the pipe needs no output.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// How often runs are polled.
const POLL: Duration = Duration::from_millis(20);
/// How many failures of a run are printed; its folder holds the rest.
const FAILURES_TOLD: usize = 4;
