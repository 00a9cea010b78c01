//! Who waits to hear what becomes of which reading.
//!
//! A publisher hears that its reading is accepted (it has its number), ordered (it stands in the log) and safe (it is stable), up to
//! the one that it asked for; or that it is lost. A publisher that gives its reading a token may say the same again, over another
//! connection too, and the reading is published once.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::id::{Epoch, Incarnation, Oseq, Seq};
use protocol::log_id::{LogId, full};
use protocol::seam::Outcome;

use super::{Asker, Door, Fault, Wait};

/// What has been promised to whom.
#[derive(Debug, Default)]
pub struct Confirmations {
    waiting: BTreeMap<Oseq, Vec<Waiting>>,
    /// What became of readings with a token.
    tokens: HashMap<String, Fate>,
    /// The same tokens, oldest first.
    order: VecDeque<String>,
    /// The tokens of readings that are not safe yet.
    unsettled: BTreeMap<Oseq, String>,
}

#[derive(Debug)]
struct Waiting {
    to: Asker,
    wait: Wait,
}

/// What became of a reading so far.
#[derive(Clone, Debug)]
struct Fate {
    inc: Incarnation,
    oseq: Oseq,
    place: Option<Place>,
    is_safe: bool,
    is_lost: bool,
}

/// Where a reading stands.
#[derive(Clone, Debug)]
struct Place {
    log: LogId,
    epoch: Epoch,
    seq: Seq,
}

/// Readings of this peer's own, at consecutive positions.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// The number of the first.
    pub first: Oseq,
    /// The number of the last.
    pub last: Oseq,
    /// Where the first one stands.
    pub seq: Seq,
    /// In which log.
    pub log: LogId,
    /// In which epoch.
    pub epoch: Epoch,
}

impl Confirmations {
    /// Answers whoever publishes something again under a token that is known; gives the asker back where it is not.
    pub fn repeat(&mut self, token: &str, to: Asker, wait: Wait, door: &Door) -> Option<Asker> {
        let Some(fate) = self.tokens.get(token) else { return Some(to) };
        if fate.is_lost {
            door.refuse(to, lost());
            return None;
        }
        let reached = match (&fate.place, fate.is_safe) {
            (_, true) => Wait::Safe,
            (Some(_), false) => Wait::Ordered,
            (None, false) => Wait::Accepted,
        };
        let is_last = wait <= reached;
        let waiting = self.waiting.get(&fate.oseq).map_or(0, Vec::len);
        if !is_last && waiting >= REPEATS_MOST {
            door.refuse(to, Fault::new("busy", "that reading is waited for by as many requests as may be; ask again in a while"));
            return None;
        }
        door.answer(to.clone(), body(reached, fate.inc, fate.oseq, fate.place.as_ref(), true), is_last);
        if !is_last {
            self.waiting.entry(fate.oseq).or_default().push(Waiting { to, wait });
        }
        None
    }

    /// A reading has its number.
    pub fn accept(&mut self, (inc, oseq): (Incarnation, Oseq), to: Asker, wait: Wait, token: Option<String>, door: &Door) {
        let is_last = wait == Wait::Accepted;
        door.answer(to.clone(), body(Wait::Accepted, inc, oseq, None, false), is_last);
        if !is_last {
            self.waiting.entry(oseq).or_default().push(Waiting { to, wait });
        }
        if let Some(token) = token {
            self.remember(token, Fate { inc, oseq, place: None, is_safe: false, is_lost: false });
        }
    }

    fn remember(&mut self, token: String, fate: Fate) {
        if self.order.len() >= TOKENS_MOST
            && let Some(oldest) = self.order.pop_front()
            && let Some(fate) = self.tokens.remove(&oldest)
        {
            self.unsettled.remove(&fate.oseq);
        }
        self.unsettled.insert(fate.oseq, token.clone());
        self.order.push_back(token.clone());
        self.tokens.insert(token, fate);
    }

    /// Readings that have numbers are this peer's under another incarnation.
    pub fn on_renumbered(&mut self, inc: Incarnation, first: Oseq, last: Oseq, door: &Door) {
        for (oseq, waiting) in self.waiting.range(first..=last) {
            waiting.iter().for_each(|one| door.answer(one.to.clone(), body(Wait::Accepted, inc, *oseq, None, false), false));
        }
        for token in self.unsettled.range(first..=last).map(|(_, token)| token) {
            self.tokens.entry(token.clone()).and_modify(|fate| fate.inc = inc);
        }
    }

    /// Some are ordered, or safe.
    pub fn on_published(&mut self, inc: Incarnation, stretch: &Stretch, outcome: Outcome, door: &Door) {
        let Stretch { first, last, seq, log, epoch } = stretch;
        let reached = match outcome {
            Outcome::Ordered => Wait::Ordered,
            Outcome::Stable => Wait::Safe,
        };
        let place = |oseq: Oseq| Place { log: log.clone(), epoch: epoch.clone(), seq: seq.plus(oseq.above(*first)) };
        let mut done = Vec::new();
        for (oseq, waiting) in self.waiting.range_mut(first..=last) {
            waiting.retain(|one| {
                let is_last = one.wait <= reached;
                door.answer(one.to.clone(), body(reached, inc, *oseq, Some(&place(*oseq)), false), is_last);
                !is_last
            });
            if waiting.is_empty() {
                done.push(*oseq);
            }
        }
        for oseq in done {
            self.waiting.remove(&oseq);
        }
        for (oseq, token) in self.unsettled.range(first..=last) {
            self.tokens.entry(token.clone()).and_modify(|fate| {
                fate.place = Some(place(*oseq));
                fate.is_safe |= reached == Wait::Safe;
            });
        }
        if reached == Wait::Safe {
            self.settle(*first, *last);
        }
    }

    /// Some are declared lost.
    pub fn on_lost(&mut self, first: Oseq, last: Oseq, door: &Door) {
        let gone: Vec<Oseq> = self.waiting.range(first..=last).map(|(oseq, _)| *oseq).collect();
        for waiting in gone.into_iter().filter_map(|oseq| self.waiting.remove(&oseq)).flatten() {
            door.refuse(waiting.to, lost());
        }
        for (_, token) in self.unsettled.range(first..=last) {
            self.tokens.entry(token.clone()).and_modify(|fate| fate.is_lost = true);
        }
        self.settle(first, last);
    }

    /// Nothing more will be heard of these.
    fn settle(&mut self, first: Oseq, last: Oseq) {
        let settled: Vec<Oseq> = self.unsettled.range(first..=last).map(|(oseq, _)| *oseq).collect();
        for oseq in settled {
            self.unsettled.remove(&oseq);
        }
    }
}

fn lost() -> Fault {
    Fault::new(
        "lost",
        "the reading is lost: it was ordered by a side of a partition that gave way, and was not kept long enough to be sent again",
    )
}

fn body(reached: Wait, inc: Incarnation, oseq: Oseq, place: Option<&Place>, again: bool) -> String {
    let is = match reached {
        Wait::Accepted => "accepted",
        Wait::Ordered => "ordered",
        Wait::Safe => "safe",
    };
    let place = place
        .map_or_else(String::new, |Place { log, epoch, seq }| format!(",\"log\":\"{log}\",\"epoch\":\"{}\",\"seq\":{seq}", full(epoch)));
    let again = if again { ",\"again\":true" } else { "" };
    format!("{{\"is\":\"{is}\",\"inc\":\"{inc}\",\"oseq\":{oseq}{place}{again}}}")
}

/// Requests that may wait for one reading.
const REPEATS_MOST: usize = 1_024;
/// Tokens that are remembered.
const TOKENS_MOST: usize = 4_096;
