//! Confirmations for publishers: which request waits for which stage of which reading.
//!
//! A publisher is told that its reading is accepted (it has its number), ordered (it is in the log)
//! and safe (it is stable), up to the stage that it asked for; or that it is lost. A publisher that
//! gives its reading a token may repeat the request, also over another connection, and the reading
//! is published once.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::id::{Incarnation, Oseq};
use protocol::io::{Outcome, Place};
use protocol::log_id::full;

use super::{Asker, Door, Fault, Wait};
use crate::tokens::{self, Line};

/// The open confirmations.
#[derive(Debug, Default)]
pub struct Confirmations {
    waiting: BTreeMap<Oseq, Vec<Waiting>>,
    /// The state of readings with a token.
    tokens: HashMap<String, Fate>,
    /// The same tokens, oldest first.
    order: VecDeque<String>,
    /// The tokens of readings that are not safe yet.
    unsettled: BTreeMap<Oseq, String>,
    /// The stored tokens of earlier lives of this peer.
    earlier: HashMap<String, Line>,
    /// Changes to be stored.
    changes: Vec<Line>,
}

#[derive(Debug)]
struct Waiting {
    to: Asker,
    wait: Wait,
}

/// The state of a reading so far.
#[derive(Clone, Debug)]
struct Fate {
    inc: Incarnation,
    oseq: Oseq,
    is_ordered: bool,
    /// Its position, if known.
    place: Option<Place>,
    is_safe: bool,
    is_lost: bool,
}

impl Confirmations {
    /// Answers a repeated request with a known token; returns the asker if the token is unknown.
    pub fn repeat(&mut self, token: &str, to: Asker, wait: Wait, door: &Door) -> Option<Asker> {
        let Some(fate) = self.tokens.get(token) else {
            let Some(line) = self.earlier.get(token) else { return Some(to) };
            repeat_earlier(line, to, wait, door);
            return None;
        };
        if fate.is_lost {
            door.refuse(to, lost());
            return None;
        }
        let reached = match (fate.is_ordered, fate.is_safe) {
            (_, true) => Wait::Safe,
            (true, false) => Wait::Ordered,
            (false, false) => Wait::Accepted,
        };
        let is_last = wait <= reached;
        let waiting = self.waiting.get(&fate.oseq).map_or(0, Vec::len);
        if !is_last && waiting >= REPEATS_MOST {
            door.refuse(
                to,
                Fault::new(
                    "busy",
                    "that reading is waited for by as many requests as \
                                                may be; ask again in a while",
                ),
            );
            return None;
        }
        door.answer(
            to.clone(),
            body(reached, fate.inc, fate.oseq, fate.place.as_ref(), true),
            is_last,
        );
        if !is_last {
            self.waiting.entry(fate.oseq).or_default().push(Waiting { to, wait });
        }
        None
    }

    /// A reading has its number.
    pub fn accept(
        &mut self,
        (inc, oseq): (Incarnation, Oseq),
        to: Asker,
        wait: Wait,
        token: Option<String>,
        door: &Door,
    ) {
        let is_last = wait == Wait::Accepted;
        door.answer(to.clone(), body(Wait::Accepted, inc, oseq, None, false), is_last);
        if !is_last {
            self.waiting.entry(oseq).or_default().push(Waiting { to, wait });
        }
        if let Some(token) = token {
            let fate =
                Fate { inc, oseq, is_ordered: false, place: None, is_safe: false, is_lost: false };
            self.changes.push(fate.line(&token));
            self.remember(token, fate);
        }
    }

    /// A reading with a token was refused.
    pub fn refuse(&mut self, token: Option<String>) {
        self.changes
            .extend(token.map(|token| Line { is: tokens::Fate::Refused, ..Line::begun(&token) }));
    }

    /// Takes the stored tokens of earlier lives.
    pub fn recall(&mut self, lines: Vec<Line>) {
        self.earlier = lines.into_iter().map(|line| (line.token.clone(), line)).collect();
    }

    /// Changes of tokens to be stored.
    pub fn take_changes(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.changes)
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

    /// Numbered readings now belong to another incarnation of this peer.
    pub fn on_renumbered(&mut self, inc: Incarnation, first: Oseq, last: Oseq, door: &Door) {
        for (oseq, waiting) in self.waiting.range(first..=last) {
            waiting.iter().for_each(|one| {
                door.answer(one.to.clone(), body(Wait::Accepted, inc, *oseq, None, false), false)
            });
        }
        for token in self.unsettled.range(first..=last).map(|(_, token)| token) {
            self.tokens.entry(token.clone()).and_modify(|fate| fate.inc = inc);
        }
    }

    /// Readings are ordered, or safe.
    pub fn on_published(
        &mut self,
        inc: Incarnation,
        (first, last): (Oseq, Oseq),
        from: Option<&Place>,
        outcome: Outcome,
        door: &Door,
    ) {
        let reached = match outcome {
            Outcome::Ordered => Wait::Ordered,
            Outcome::Stable => Wait::Safe,
        };
        let place = |oseq: Oseq| from.map(|from| from.plus(oseq.above(first)));
        let mut done = Vec::new();
        for (oseq, waiting) in self.waiting.range_mut(first..=last) {
            waiting.retain(|one| {
                let is_last = one.wait <= reached;
                door.answer(
                    one.to.clone(),
                    body(reached, inc, *oseq, place(*oseq).as_ref(), false),
                    is_last,
                );
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
                fate.place = place(*oseq);
                fate.is_ordered = true;
                fate.is_safe |= reached == Wait::Safe;
                self.changes.push(fate.line(token));
            });
        }
        if reached == Wait::Safe {
            self.settle(first, last);
        }
    }

    /// Readings are declared lost.
    pub fn on_lost(&mut self, first: Oseq, last: Oseq, door: &Door) {
        let gone: Vec<Oseq> = self.waiting.range(first..=last).map(|(oseq, _)| *oseq).collect();
        for waiting in gone.into_iter().filter_map(|oseq| self.waiting.remove(&oseq)).flatten() {
            door.refuse(waiting.to, lost());
        }
        for (_, token) in self.unsettled.range(first..=last) {
            self.tokens.entry(token.clone()).and_modify(|fate| {
                fate.is_lost = true;
                self.changes.push(fate.line(token));
            });
        }
        self.settle(first, last);
    }

    /// These readings get no more confirmations.
    fn settle(&mut self, first: Oseq, last: Oseq) {
        let settled: Vec<Oseq> =
            self.unsettled.range(first..=last).map(|(oseq, _)| *oseq).collect();
        for oseq in settled {
            self.unsettled.remove(&oseq);
        }
    }
}

/// Answers from the stored tokens of an earlier life.
fn repeat_earlier(line: &Line, to: Asker, wait: Wait, door: &Door) {
    let reached = match line.is {
        tokens::Fate::Lost => return door.refuse(to, lost()),
        tokens::Fate::Safe => Some(Wait::Safe),
        tokens::Fate::Ordered => Some(Wait::Ordered),
        tokens::Fate::Begun | tokens::Fate::Accepted | tokens::Fate::Refused => None,
    };
    let name = match (&line.inc, line.oseq) {
        (Some(inc), Some(oseq)) => format!("reading {oseq} of incarnation {inc}"),
        _ => "a reading without a number yet".to_owned(),
    };
    if let (Some(reached), Some(inc), Some(oseq)) = (reached, &line.inc, line.oseq) {
        let is = if reached == Wait::Safe { "safe" } else { "ordered" };
        let (log, epoch, seq) = (&line.log, &line.epoch, &line.seq);
        let place = log.as_ref().zip(epoch.as_ref()).zip(*seq);
        let place = place.map_or_else(String::new, |((log, epoch), seq)| {
            format!(",\"log\":\"{log}\",\"epoch\":\"{epoch}\",\"seq\":{seq}")
        });
        let is_last = wait <= reached;
        door.answer(
            to.clone(),
            format!("{{\"is\":\"{is}\",\"inc\":\"{inc}\",\"oseq\":{oseq}{place},\"again\":true}}"),
            is_last,
        );
        if is_last {
            return;
        }
    }
    let say = format!(
        "this token was used in an earlier life of this peer, for {name}, and that life has not \
         stored whether it got as far as you ask; \
         look for it in the log, and say it again with another token if it is not there"
    );
    door.refuse(to, Fault::new("unknown_fate", say));
}

impl Fate {
    /// The stored form.
    fn line(&self, token: &str) -> Line {
        let is = match (self.is_lost, self.is_safe, self.is_ordered) {
            (true, ..) => tokens::Fate::Lost,
            (_, true, _) => tokens::Fate::Safe,
            (_, _, true) => tokens::Fate::Ordered,
            (_, _, false) => tokens::Fate::Accepted,
        };
        let place = self.place.as_ref();
        Line {
            token: token.to_owned(),
            is,
            inc: Some(self.inc.to_string()),
            oseq: Some(self.oseq),
            log: place.map(|place| place.log.clone()),
            epoch: place.map(|place| full(&place.epoch)),
            seq: place.map(|place| place.seq),
        }
    }
}

fn lost() -> Fault {
    Fault::new(
        "lost",
        "the reading is lost: it was ordered by a side of a partition that gave way, and was not \
         kept long enough to be sent again",
    )
}

fn body(reached: Wait, inc: Incarnation, oseq: Oseq, place: Option<&Place>, again: bool) -> String {
    let is = match reached {
        Wait::Accepted => "accepted",
        Wait::Ordered => "ordered",
        Wait::Safe => "safe",
    };
    let place = place.map_or_else(String::new, |Place { log, epoch, seq }| {
        format!(",\"log\":\"{log}\",\"epoch\":\"{}\",\"seq\":{seq}", full(epoch))
    });
    let again = if again { ",\"again\":true" } else { "" };
    format!("{{\"is\":\"{is}\",\"inc\":\"{inc}\",\"oseq\":{oseq}{place}{again}}}")
}

/// How many requests may wait for one reading.
const REPEATS_MOST: usize = 1_024;
/// How many tokens are remembered.
const TOKENS_MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::id::Seq;
    use protocol::io::Outcome;

    use super::{
        Asker, Confirmations, Incarnation, Oseq, Place, REPEATS_MOST, TOKENS_MOST, Wait, tokens,
    };
    use crate::door::fixtures::{epoch, log};
    use crate::door::{Door, Word};

    const INC: Incarnation = Incarnation(7);

    fn asker(id: u64) -> Asker {
        Asker { client: 1, id: id.to_string() }
    }

    fn place(first: u64) -> Place {
        Place { seq: Seq(first + 100), log: log("a"), epoch: epoch(1, "a") }
    }

    /// The answers since the last call, in short form.
    fn said(door: &Door) -> String {
        let word = |word: Word| match word {
            Word::Ok(to, body, is_last) => {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                let at = body["seq"].as_u64().map(|seq| format!("@{seq}")).unwrap_or_default();
                let again = if body["again"] == true { " again" } else { "" };
                format!(
                    "{}:{}{at}{again}{}",
                    to.id,
                    body["is"].as_str().unwrap(),
                    if is_last { "." } else { "" }
                )
            }
            Word::Fault(to, fault) => format!("{}:{}.", to.id, fault.code),
            other => format!("{other:?}"),
        };
        door.answers.take().into_iter().map(word).collect::<Vec<_>>().join(" ")
    }

    fn door() -> (tempfile::TempDir, Door) {
        let folder = tempfile::tempdir().unwrap();
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        (folder, Door::deaf(waker))
    }

    #[test]
    fn each_publisher_hears_as_much_as_it_asked_for() {
        let (_folder, door) = door();
        let mut confirmations = Confirmations::default();
        for (id, wait) in [(1, Wait::Accepted), (2, Wait::Ordered), (3, Wait::Safe)] {
            confirmations.accept((INC, Oseq(id)), asker(id), wait, None, &door);
        }
        assert_eq!(said(&door), "1:accepted. 2:accepted 3:accepted");
        confirmations.on_published(
            INC,
            (Oseq(1), Oseq(3)),
            Some(&place(1)),
            Outcome::Ordered,
            &door,
        );
        assert_eq!(said(&door), "2:ordered@102. 3:ordered@103");
        confirmations.on_published(
            INC,
            (Oseq(1), Oseq(3)),
            Some(&place(1)),
            Outcome::Stable,
            &door,
        );
        assert_eq!(said(&door), "3:safe@103.");
        confirmations.on_published(
            INC,
            (Oseq(1), Oseq(3)),
            Some(&place(1)),
            Outcome::Stable,
            &door,
        );
        assert_eq!(said(&door), "", "nothing is answered twice");
        assert!(confirmations.waiting.is_empty());
        confirmations.accept((INC, Oseq(4)), asker(4), Wait::Safe, None, &door);
        confirmations.on_lost(Oseq(1), Oseq(9), &door);
        assert_eq!(said(&door), "4:accepted 4:lost.");
    }

    #[test]
    fn a_token_that_is_known_is_answered_and_not_published() {
        let (_folder, door) = door();
        let mut confirmations = Confirmations::default();
        let repeat = |confirmations: &mut Confirmations, id: u64, wait| {
            confirmations.repeat("t", asker(id), wait, &door).is_none()
        };
        assert!(!repeat(&mut confirmations, 1, Wait::Safe));
        confirmations.accept((INC, Oseq(1)), asker(1), Wait::Safe, Some("t".to_owned()), &door);
        // While the first request still waits.
        assert!(repeat(&mut confirmations, 2, Wait::Ordered));
        assert_eq!(said(&door), "1:accepted 2:accepted again");
        confirmations.on_published(
            INC,
            (Oseq(1), Oseq(1)),
            Some(&place(1)),
            Outcome::Ordered,
            &door,
        );
        assert!(repeat(&mut confirmations, 3, Wait::Safe));
        assert_eq!(said(&door), "1:ordered@101 2:ordered@101. 3:ordered@101 again");
        confirmations.on_published(
            INC,
            (Oseq(1), Oseq(1)),
            Some(&place(1)),
            Outcome::Stable,
            &door,
        );
        assert!(repeat(&mut confirmations, 4, Wait::Safe));
        assert_eq!(said(&door), "1:safe@101. 3:safe@101. 4:safe@101 again.");
    }

    #[test]
    fn a_reading_that_only_a_snapshot_stands_for_is_told_without_a_place() {
        let (_folder, door) = door();
        let mut confirmations = Confirmations::default();
        confirmations.accept((INC, Oseq(1)), asker(1), Wait::Safe, Some("t".to_owned()), &door);
        confirmations.on_published(INC, (Oseq(1), Oseq(1)), None, Outcome::Ordered, &door);
        assert!(confirmations.repeat("t", asker(2), Wait::Ordered, &door).is_none());
        assert_eq!(said(&door), "1:accepted 1:ordered 2:ordered again.");
        assert_eq!(
            confirmations.take_changes().last().map(|line| (line.is, line.seq)),
            Some((tokens::Fate::Ordered, None))
        );
        // Another log has it at a position, and then it is lost there, too.
        confirmations.on_published(
            INC,
            (Oseq(1), Oseq(1)),
            Some(&place(1)),
            Outcome::Ordered,
            &door,
        );
        confirmations.on_published(INC, (Oseq(1), Oseq(1)), None, Outcome::Stable, &door);
        assert!(confirmations.repeat("t", asker(3), Wait::Safe, &door).is_none());
        assert_eq!(said(&door), "1:ordered@101 1:safe. 3:safe again.");
    }

    #[test]
    fn the_token_of_a_lost_reading_stays_lost() {
        let (_folder, door) = door();
        let mut confirmations = Confirmations::default();
        confirmations.accept((INC, Oseq(1)), asker(1), Wait::Accepted, Some("t".to_owned()), &door);
        confirmations.on_lost(Oseq(1), Oseq(1), &door);
        assert!(confirmations.repeat("t", asker(2), Wait::Accepted, &door).is_none());
        assert_eq!(said(&door), "1:accepted. 2:lost.");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (_folder, door) = door();
        let mut confirmations = Confirmations::default();
        for id in 1..=TOKENS_MOST as u64 + 1 {
            confirmations.accept(
                (INC, Oseq(id)),
                asker(id),
                Wait::Accepted,
                Some(id.to_string()),
                &door,
            );
        }
        assert_eq!(
            (confirmations.tokens.len(), confirmations.order.len(), confirmations.unsettled.len()),
            (TOKENS_MOST, TOKENS_MOST, TOKENS_MOST)
        );
        assert!(
            confirmations.repeat("1", asker(1), Wait::Accepted, &door).is_some(),
            "the oldest is forgotten"
        );
        assert!(confirmations.repeat("2", asker(1), Wait::Accepted, &door).is_none());
        for _ in 0..=REPEATS_MOST {
            assert!(confirmations.repeat("9", asker(1), Wait::Safe, &door).is_none());
        }
        assert!(said(&door).ends_with(" 1:busy."), "too many wait for one");
    }
}
