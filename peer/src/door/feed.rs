//! Deliveries for the page: the same records as on the socket, without the surrounding lines.

use std::sync::Arc;
use std::time::Instant;

use protocol::id::{Epoch, Seq};
use protocol::log_id::LogId;

use super::Fault;
use super::filter::Filter;
use super::history::{History, Place};
use super::request::{From, Subscribe};
use super::subscription::{Step, Subscription};
use crate::record::Renderer;

/// The history, and the encoder of its records.
pub(crate) struct Past<'a> {
    pub(super) history: &'a History,
    pub(super) renderer: &'a mut Renderer,
}

/// The start of a feed.
pub(crate) enum Begin {
    /// With the deliveries at that time (in microseconds since 1970) or later.
    Since(u64),
    /// After that position of that log; with the epoch of the entry there, if known.
    Behind(LogId, Seq, Option<Epoch>),
}

/// Records on their way to one reader.
#[derive(Debug)]
pub(crate) struct Feed {
    subscription: Subscription,
    lines: Vec<u8>,
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// There are no more records for now.
    Idle,
    /// There are more records, and no room for them.
    More,
    /// The feed has ended, and why.
    Over(Fault),
}

impl Past<'_> {
    /// How many records follow that time, and when the first of them was delivered.
    pub(crate) fn since(&self, at: u64) -> Option<(u64, u64)> {
        let cursor = self.history.since(at);
        let first = self.history.item(cursor.item)?;
        Some((self.history.behind(cursor).0, first.at))
    }
}

impl Feed {
    /// Begins there.
    pub(crate) fn begin(begin: Begin, past: &Past<'_>, now: Instant) -> Self {
        let from = match begin {
            Begin::Since(at) => From::Since(at),
            Begin::Behind(log, seq, epoch) => From::Position(Place { log, seq: seq.next(), epoch }),
        };
        let asked =
            Subscribe { from, until: None, count: None, filter: Arc::new(Filter::default()) };
        Self { subscription: Subscription::new(ID, asked, past.history, now), lines: Vec::new() }
    }

    /// Takes the next records, about `room` bytes of them, and passes each on as JSON.
    pub(crate) fn take(
        &mut self,
        past: &mut Past<'_>,
        now: Instant,
        room: usize,
        mut hand_on: impl FnMut(&[u8]),
    ) -> Flow {
        self.lines.clear();
        let step = self.subscription.pump(past.history, past.renderer, now, &mut self.lines, room);
        for line in self.lines.split(|byte| *byte == b'\n') {
            if let Some(record) =
                line.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(BEHIND))
            {
                hand_on(record);
            }
        }
        match step {
            Step::Idle => Flow::Idle,
            Step::More => Flow::More,
            Step::Over(fault) => Flow::Over(fault),
        }
    }

    /// Whether there may be records for it.
    pub(crate) fn wants(&self, past: &Past<'_>) -> bool {
        self.subscription.wants(past.history)
    }

    /// Whether its reader is too slow, and why.
    pub(crate) fn is_too_slow(&mut self, past: &Past<'_>, now: Instant) -> Option<Fault> {
        self.subscription.is_too_slow(past.history, now)
    }
}

const ID: &str = "0";
const BEFORE: &[u8] = b"{\"id\":0,\"record\":";
const BEHIND: &[u8] = b"}";

#[cfg(test)]
mod tests {
    use super::{Begin, Feed, Flow, Past};
    use crate::door::fixtures::{epoch, gap, history, log, run};
    use crate::record::Renderer;
    use protocol::id::Seq;
    use std::time::Instant;

    #[test]
    fn records_come_bare_and_behind_the_position() {
        let history = history(100, vec![run("a", 1, 1..=4), gap(5, 7), run("a", 2, 8..=9)]);
        let renderer = &mut Renderer::default();
        let mut past = Past { history: &history, renderer };
        let mut take = |begin: Begin| {
            let mut feed = Feed::begin(begin, &past, Instant::now());
            let mut places = Vec::new();
            let flow = feed.take(&mut past, Instant::now(), usize::MAX, |record| {
                let record: serde_json::Value = serde_json::from_slice(record).unwrap();
                places.push(record["seq"].as_u64().or(record["from"].as_u64()).unwrap());
            });
            assert_eq!(flow, Flow::Idle);
            places
        };
        assert_eq!(take(Begin::Since(0)), [1, 2, 3, 4, 5, 8, 9]);
        assert_eq!(take(Begin::Behind(log("a"), Seq(3), Some(epoch(1, "a")))), [4, 5, 8, 9]);
        assert_eq!(take(Begin::Behind(log("a"), Seq(7), None)), [8, 9]);
        assert_eq!(past.since(0).map(|(records, _)| records), Some(7));
    }
}
