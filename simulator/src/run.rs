//! One run: executes a plan, and judges the result.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use promises::history::{History, Record};
use promises::{Options, judge};
use protocol::config::Knobs;
use protocol::note::{Cause, Note};

use crate::breach::Breach;
use crate::director::{BadPlan, Director, Progress};
use crate::kept::Kept;
use crate::marks::Marks;
use crate::plan::{Lost, Plan};
use crate::simulation::Remains;
use crate::tally::Tally;
use crate::truth::Sheet;
use crate::watch::{Unwatched, Watch};

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The breaches; a run without breaches passes.
    pub breaches: Vec<Breach>,
    /// The counts.
    pub tally: Tally,
    /// The rare events, and the phases that faults met.
    pub marks: Marks,
    /// How often each promise was judged.
    pub kept: Kept,
    /// How often each law was judged.
    pub laws: Sheet,
    /// Whether a leader was missed after the first one was found.
    pub later_election: bool,
}

/// Executes a plan with a watcher and judges it. A panic of the core is caught and is a breach of
/// `no-crash`.
///
/// # Errors
/// [`BadPlan`], if the plan was edited and is invalid.
pub fn run<W: Watch>(plan: &Plan, watch: W) -> Result<(Verdict, Option<W>), BadPlan> {
    let mut director = Director::new(plan, watch)?;
    let played = catch(move || {
        let progress = director.play();
        let Remains { records, tally, marks, laws, breaches, watch } =
            director.into_simulation().into_parts();
        if plan.lies.is_some_and(|lies| lies.member.is_some()) {
            // With a lying member no order is promised. That no node panics, loops for ever or
            // keeps memory without bound has been judged at each step.
            return (Verdict { tally, marks, ..Verdict::default() }, watch);
        }
        let mut verdict = assess(records, tally, marks, &progress, &plan.knobs);
        verdict.laws = laws;
        verdict.breaches.extend(breaches);
        (verdict, watch)
    });
    Ok(match played {
        Ok((verdict, watch)) => (verdict, Some(watch)),
        Err(payload) => (crash(payload.as_ref()), None),
    })
}

/// Executes a plan and returns the datagrams that the weather took; empty if the run panics.
///
/// # Errors
/// [`BadPlan`], if the plan was edited and is invalid.
pub fn losses(plan: &Plan) -> Result<Vec<Lost>, BadPlan> {
    let mut director = Director::new(plan, Unwatched)?;
    director.simulation().keep_losses();
    let played = catch(move || {
        director.play();
        director.into_simulation().losses().to_vec()
    });
    Ok(played.unwrap_or_default())
}

fn assess(
    records: Vec<Record>,
    mut tally: Tally,
    marks: Marks,
    progress: &Progress,
    knobs: &Knobs,
) -> Verdict {
    let later_election = records.iter().any(|record| {
        matches!(record, Record::Peer(event) if matches!(event.note, Note::ElectionStarted { cause, .. } if cause != Cause::FirstView))
    });
    tally.hopeless += u64::from(*progress == Progress::Hopeless);
    let history = History::new(records);
    let options = Options {
        knobs: knobs.clone(),
        settled: *progress == Progress::Settled,
        ..Options::default()
    };
    let judgement = judge(&history, &options);
    let kept = Kept::of(&judgement);
    let mut breaches: Vec<Breach> = judgement
        .broken()
        .flat_map(|finding| {
            finding.broken.iter().map(|broken| Breach {
                promise: finding.promise.to_owned(),
                words: broken.words.clone(),
                evidence: broken
                    .evidence
                    .iter()
                    .filter_map(|&at| history.records.get(at))
                    .map(Record::line)
                    .collect(),
            })
        })
        .collect();
    breaches.extend(judgement.holes.iter().map(|hole| Breach {
        promise: "evidence".to_owned(),
        words: format!(
            "events {} to {} of {}#{} are missing",
            hole.from, hole.to, hole.peer, hole.inc
        ),
        evidence: vec![],
    }));
    breaches.extend(lack_of_progress(progress));
    Verdict { breaches, tally, marks, kept, later_election, ..Verdict::default() }
}

fn lack_of_progress(progress: &Progress) -> Option<Breach> {
    let (promise, words, stands) = match progress {
        Progress::Settled | Progress::Hopeless => return None,
        Progress::Divided { within, stands } => (
            "converges",
            format!("{within:?} after the last fault was healed the group is not one"),
            stands,
        ),
        Progress::Undelivered { within, stands } => (
            "delivers",
            format!(
                "{within:?} after the group became one, not everything is delivered everywhere"
            ),
            stands,
        ),
    };
    let evidence = stands
        .iter()
        .map(|status| {
            let mut line = format!("{}#{} {}", status.peer_id, status.incarnation, status.role);
            let leader = status.leader.as_ref().map_or("nobody", |leader| leader.as_str());
            write!(
                line,
                " under {leader}, epoch {}, promised {}, view {} {:?}, has {}, delivered {}, \
                 published {}, ordered {}",
                status.epoch,
                status.promised,
                status.view_id,
                status.members,
                status.contiguous,
                status.delivered,
                status.published,
                status.ordered
            )
            .expect("writing to a String cannot fail");
            line
        })
        .collect();
    Some(Breach { promise: promise.to_owned(), words, evidence })
}

fn crash(payload: &(dyn Any + Send)) -> Verdict {
    let said = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    let place = PLACE.take();
    let words = format!("panicked at {place}: {}", said.unwrap_or("(no words)"));
    Verdict {
        breaches: vec![Breach { promise: "no-crash".to_owned(), words, evidence: vec![] }],
        ..Verdict::default()
    }
}

thread_local! {
    /// Whether this thread catches panics, and the place of its last panic.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs something, and catches its panic. The panic is reported with its seed; the default hook
/// would print it a second time, without the seed.
fn catch<T>(play: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HUSH: Once = Once::new();
    HUSH.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                PLACE.set(info.location().map(ToString::to_string).unwrap_or_default());
            } else {
                before(info);
            }
        }));
    });
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(play));
    CATCHING.set(false);
    result
}
