//! `storm`: draws one fault after the other for a while, with drawn pauses between them. All draws
//! come from the run's seed; the machine decides at which moment of the group's life a fault
//! happens.
//!
//! A storm never has more than `down` peers down at once, and at its end every peer that is down
//! comes back. So the following steps judge a group that could recover, and not the remains of the
//! last draw.

use promises::fault::Identity;
use promises::selector::Selector;

use super::diagnostic::Placed;
use super::span_of_time::SpanOfTime;
use super::target::selector;
use super::tree::{Value, Walk};

/// Faults drawn one after the other.
#[derive(Clone, Debug)]
pub struct Storm {
    /// The kinds of faults and their weights.
    pub weights: Vec<(Gust, u64)>,
    /// The processes among which the target is drawn.
    pub who: Placed<Selector>,
    /// How many peers may be dead, leaving or paused at once; the largest minority if not set.
    pub down: Option<u64>,
    /// The shortest and the longest time between two faults.
    pub every: (SpanOfTime, SpanOfTime),
    /// The shortest and the longest pause.
    pub pauses: (SpanOfTime, SpanOfTime),
}

/// One kind of fault that a storm can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gust {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// SIGSTOP, and SIGCONT a drawn time later.
    Pause,
    /// Restarts a peer that is down.
    Restart(Identity),
}

/// The kinds by their names in the file.
const GUSTS: [(&str, Gust); 5] = [
    ("kill", Gust::Kill),
    ("stop", Gust::Stop),
    ("pause", Gust::Pause),
    ("restart", Gust::Restart(Identity::Same)),
    ("fresh", Gust::Restart(Identity::Fresh)),
];

/// Reads a storm.
pub(super) fn storm(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Storm> {
    let table = walk.table(value)?;
    let weights: Vec<(Gust, u64)> = GUSTS
        .iter()
        .filter_map(|(name, gust)| {
            table.count(name, 1, WEIGHT_MAX, walk).map(|weight| (*gust, weight.value))
        })
        .collect();
    let harms = GUSTS
        .iter()
        .any(|(name, gust)| !matches!(gust, Gust::Restart(_)) && table.get(name).is_some());
    let who = match table.get("who") {
        Some(who) => selector(who, walk),
        None => Some(Placed { value: Selector::All, span: table.span.clone() }),
    };
    let down = table.count("down", 1, u64::MAX, walk).map(|count| count.value);
    let mut range = |key, default: &str| {
        let text = table
            .string(key, walk)
            .unwrap_or_else(|| Placed { value: default.to_owned(), span: table.span.clone() });
        walk.range_of_time(&text)
    };
    let every = range("every", "2 heartbeats..heartbeat_timeout");
    let pauses = range("pauses", "1 heartbeat..2 heartbeat_timeout");
    table.refuse_the_rest(walk);
    if !harms {
        walk.diagnostics.error("S016", &table.span, "this storm does no harm").help(
            "say what is drawn, and how often in proportion: storm = { kill = 1, pause = 2, \
                   restart = 2 }",
        );
        return None;
    }
    Some(Storm { weights, who: who?, down, every: every?, pauses: pauses? })
}

/// A greater weight is a typing mistake.
const WEIGHT_MAX: u64 = 1_000;
