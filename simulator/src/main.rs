//! `simulator`: sweeps of seeds, replays, and smaller plans.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use promises::exit;
use simulator::breach::Breach;
use simulator::open::{self, Open};
use simulator::plan::Plan;
use simulator::run::run;
use simulator::shrink::shrink;
use simulator::sweep::Sweep;
use simulator::transcript::Transcript;
use simulator::watch::Unwatched;

/// Prints a line. A failed write ends the command: the disk is full, or the reader is gone, as
/// after `head`.
macro_rules! say {
    ($($what:tt)*) => {
        if writeln!(std::io::stdout(), $($what)*).is_err() {
            std::process::exit(i32::from(exit::UNSAID));
        }
    };
}

/// Runs the group in virtual time, over and over, and judges every run by all promises.
///
/// Exit codes: 0 pass, 1 a promise is broken, 2 unknown (a large sweep in which something that
/// should have happened never did), 64 usage, 65 a bad plan or script, 74 the answer could not be
/// written.
#[derive(Debug, Parser)]
#[command(name = "simulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds.
    Run {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// On how many threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Run each seed twice and compare the runs step by step.
        #[arg(long)]
        check: bool,
        /// Stop after so many failures, besides the seeds of simulator/open.txt
        #[arg(long, default_value_t = 10)]
        failures: u64,
        /// Run only those that draw a network on which hearing is not the same both ways.
        #[arg(long)]
        one_way: bool,
        /// A member or a stranger lies, in every seed. While a member does, only this is judged:
        /// nobody panics, goes round for ever, or keeps without bound.
        #[arg(long)]
        liar: bool,
        /// Say of each seed that fails only which promises it breaks, keep no plan, and stop at the
        /// first seed that breaks one of these; with no name, at the first that breaks any. What
        /// simulator/open.txt says does not count.
        #[arg(long, value_name = "PROMISES", value_delimiter = ',', num_args = 0.., conflicts_with_all = ["failures", "check"])]
        until: Option<Vec<String>>,
    },
    /// Run one seed, or one plan.
    Replay {
        #[command(flatten)]
        which: Which,
        /// Tell everything that happens.
        #[arg(long)]
        trace: bool,
    },
    /// Replay a script and print it, with what the group says to it now.
    Script {
        /// The script, as in `protocol/scripts`.
        file: PathBuf,
    },
    /// Print the plan of a seed.
    Plan {
        /// The seed.
        #[arg(long)]
        seed: u64,
    },
    /// Take away from a failing plan what it does not need to fail, and print the rest.
    Shrink {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// A seed and what it drew, as a sweep names them: S1-<seed>-<sum of the plan>, or L1-… where
    /// somebody lies.
    token: Option<String>,
    /// The seed.
    #[arg(long)]
    seed: Option<u64>,
    /// A file with a plan, as `simulator plan` and `simulator shrink` print it.
    #[arg(long)]
    plan: Option<PathBuf>,
}

impl Which {
    fn plan(&self) -> Result<Plan, ExitCode> {
        if let Some(token) = &self.token {
            return plan_of(token).map_err(|words| bad_input(&words));
        }
        let Some(path) = &self.plan else { return Ok(Plan::drawn(self.seed.unwrap_or_default())) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| bad_input(&format!("{}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| bad_input(&format!("{}: {error}", path.display())))
    }

    fn replay(&self, plan: &Plan) -> String {
        match &self.plan {
            Some(path) => format!("simulator replay --plan {} --trace", path.display()),
            None => format!("simulator replay {} --trace", plan.token()),
        }
    }
}

/// The plan of a token, if the seed still draws it; otherwise where it may be kept.
fn plan_of(token: &str) -> Result<Plan, String> {
    let lies = token.starts_with("L1-");
    let rest = token.strip_prefix(if lies { "L1-" } else { "S1-" });
    let seed = rest.and_then(|rest| rest.split_once('-')).and_then(|(seed, _)| seed.parse().ok());
    let Some(seed) = seed else {
        return Err(format!("{token:?} names no seed: S1-<seed>-<sum of the plan>"));
    };
    let plan = if lies { Plan::drawn_with_a_liar(seed) } else { Plan::drawn(seed) };
    if plan.token() == token {
        return Ok(plan);
    }
    let kept = Path::new(KEPT).join(format!("{token}.toml"));
    let offer = if kept.exists() {
        format!("what it drew then is kept: simulator replay --plan {}", kept.display())
    } else {
        format!(
            "and what it drew then is not kept in {KEPT}; run the simulator of that time, or the \
             seed as it is now"
        )
    };
    Err(format!(
        "seed {seed} draws another plan now, {}: the generator has changed; {offer}",
        plan.token()
    ))
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            return match (error.use_stderr(), printed) {
                (true, _) => ExitCode::from(exit::USAGE),
                (false, Ok(())) => ExitCode::SUCCESS,
                (false, Err(_)) => ExitCode::from(exit::UNSAID),
            };
        }
    };
    match cli.command {
        Command::Run { seeds, from, jobs, check, failures, one_way, liar, until } => {
            // Known failures do not stop the sweep.
            let failures_max = if until.is_some() {
                u64::MAX
            } else {
                failures.max(1) + open::known_within(from, seeds)
            };
            let drawn = Sweep { from, seeds, jobs, check, failures_max, one_way, liar };
            until.map_or_else(|| sweep(&drawn), |promises| sweep_until(&drawn, &promises))
        }
        Command::Replay { which, trace } => {
            which.plan().map_or_else(|code| code, |plan| replay(&plan, trace, &which.replay(&plan)))
        }
        Command::Script { file } => script(&file),
        Command::Plan { seed } => {
            say!("{}", Plan::drawn(seed).text().trim_end());
            ExitCode::SUCCESS
        }
        Command::Shrink { which } => which.plan().map_or_else(|code| code, |plan| smaller(&plan)),
    }
}

fn sweep(sweep: &Sweep) -> ExitCode {
    let report = sweep.run(|seed, breaches| {
        let plan = sweep.plan(seed).expect("a seed that was run has a plan");
        let token = plan.token();
        print_breaches(
            breaches,
            &format!("seed {seed}"),
            &format!("simulator replay {token} --trace"),
        );
        keep(&plan, &token);
        ControlFlow::Continue(())
    });
    say!("{report}");
    let open = Open::of(sweep, &report);
    for (token, promise) in &open.known {
        say!(
            "open: {token} breaks {promise}, which is known and not mended yet (simulator/open.txt)"
        );
    }
    for token in &open.stale {
        say!("{token} does not break what simulator/open.txt says: mend that line");
    }
    if open.others > 0 || !open.stale.is_empty() {
        return ExitCode::from(exit::FAIL);
    }
    let unseen = report.unseen();
    if unseen.is_empty() {
        return ExitCode::SUCCESS;
    }
    say!("unknown: in {} seeds there was not one case of: {}", report.seeds, unseen.join(", "));
    ExitCode::from(exit::UNKNOWN)
}

/// A sweep for programs, such as `cargo xtask mutants --meant`: one line for each seed that fails.
fn sweep_until(sweep: &Sweep, promises: &[String]) -> ExitCode {
    let failed = AtomicBool::new(false);
    let report = sweep.run(|seed, breaches| {
        let token = sweep.plan(seed).expect("a seed that was run has a plan").token();
        let broken: BTreeSet<&str> =
            breaches.iter().map(|breach| breach.promise.as_str()).collect();
        let broken: Vec<&str> =
            broken.into_iter().filter(|promise| !open::is_known(&token, promise)).collect();
        if broken.is_empty() {
            return ControlFlow::Continue(());
        }
        failed.store(true, Ordering::Relaxed);
        say!("seed {seed} breaks {}", broken.join(" "));
        let is_it = promises.is_empty()
            || broken.iter().any(|broken| promises.iter().any(|promise| promise == broken));
        if is_it { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    say!("{} seeds run", report.seeds);
    ExitCode::from(if failed.into_inner() { exit::FAIL } else { exit::PASS })
}

/// Keeps the plan of a failed seed: the generator may change.
fn keep(plan: &Plan, token: &str) {
    let file = Path::new(KEPT).join(format!("{token}.toml"));
    let kept = std::fs::create_dir_all(KEPT).and_then(|()| std::fs::write(&file, plan.text()));
    match kept {
        Ok(()) => say!("    plan: {}", file.display()),
        Err(error) => {
            warn(&format!("warning: the plan is not kept in {}: {error}", file.display()))
        }
    }
}

fn replay(plan: &Plan, trace: bool, command: &str) -> ExitCode {
    let result = if trace {
        run(plan, Transcript::new(true, |line| say!("{line}"))).map(|(verdict, _)| verdict)
    } else {
        run(plan, Unwatched).map(|(verdict, _)| verdict)
    };
    match result {
        Err(error) => bad_input(&error.to_string()),
        Ok(verdict) if verdict.breaches.is_empty() => {
            say!("seed {}: every promise kept, over {} events", plan.seed, verdict.tally.inputs);
            ExitCode::SUCCESS
        }
        Ok(verdict) => {
            print_breaches(&verdict.breaches, &format!("seed {}", plan.seed), command);
            ExitCode::from(exit::FAIL)
        }
    }
}

fn script(file: &Path) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return bad_input(&format!("{}: {error}", file.display())),
    };
    match simulator::script::replay(&text) {
        Ok(replayed) => {
            say!("{}", replayed.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => bad_input(&format!("{}, {error}", file.display())),
    }
}

fn smaller(plan: &Plan) -> ExitCode {
    match shrink(plan) {
        Err(error) => bad_input(&error.to_string()),
        Ok(None) => {
            say!("# seed {}: every promise kept; there is nothing to shrink", plan.seed);
            ExitCode::SUCCESS
        }
        Ok(Some((plan, breach, runs))) => {
            say!("# {} is broken: {}", breach.promise, breach.words.replace('\n', " "));
            say!(
                "# Drawn by seed {}, made small in {runs} runs at commit {}.",
                plan.seed,
                commit()
            );
            say!("{}", plan.text().trim_end());
            ExitCode::from(exit::FAIL)
        }
    }
}

/// The commit of the surrounding sources, if there is one.
fn commit() -> String {
    let output =
        std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let said = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    said.map_or_else(|| "unknown".to_owned(), |said| said.trim().to_owned())
}

fn print_breaches(breaches: &[Breach], what: &str, command: &str) {
    for breach in breaches {
        say!("{what}: {} is broken: {}", breach.promise, breach.words);
        breach.evidence.iter().for_each(|line| say!("    {line}"));
    }
    say!("    replay: {command}");
}

fn bad_input(words: &str) -> ExitCode {
    warn(&format!("error: {words}"));
    ExitCode::from(exit::BAD_INPUT)
}

/// Prints to standard error; a closed standard error is ignored.
fn warn(words: &str) {
    let _closed = writeln!(std::io::stderr(), "{words}");
}

/// The folder for plans of failed seeds.
const KEPT: &str = "target/seeds";
