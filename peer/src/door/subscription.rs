//! One subscription: a cursor in the history that advances as its client reads.
//!
//! Nothing waits for a subscriber. Unsent records stay in the history, which is bounded; a
//! subscriber that falls behind is told where to continue, and cut off. A subscriber that reads the
//! past gets the time that it needs, as long as it keeps reading and its records are still
//! retained.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::id::Seq;
use protocol::io::Delivery;
use protocol::log_id::{LogId, full};

use super::Fault;
use super::answer;
use super::filter::Filter;
use super::history::{Cursor, Found, History, Item, Place, epoch_of};
use super::request::{From, Subscribe, Until};
use crate::record::Renderer;

/// A subscription of one client.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The text before and after each record on the line.
    prefix: Vec<u8>,
    filter: Arc<Filter>,
    cursor: Cursor,
    /// The position that the client has asked for, until the first record at or after it.
    expects: Option<Place>,
    /// How many more readings it wants.
    left: Option<u64>,
    until: Option<End>,
    /// The last position sent or skipped.
    last: Option<Place>,
    /// Whether it has ever been near the end of the history.
    is_live: bool,
    /// Since when it has been too far behind.
    behind_since: Option<Instant>,
    /// When it was sent a record last.
    moved_at: Instant,
}

/// Its end.
#[derive(Debug)]
enum End {
    At(Cursor),
    Behind(Option<LogId>, Seq),
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There are no more records for now.
    Idle,
    /// There are more records, and no room for them.
    More,
    /// The subscription has ended, and why.
    Over(Fault),
}

impl Subscription {
    /// Begins as its client asks.
    pub(super) fn new(id: &str, asked: Subscribe, history: &History, now: Instant) -> Self {
        let Subscribe { from, until, count, filter } = asked;
        let (cursor, expects) = match from {
            From::Now => (history.end(), None),
            From::Start => (history.start(), None),
            From::Since(at) => (history.since(at), None),
            From::Last(count) => (
                history.before_last(
                    count,
                    |item| filter.may_want(item),
                    |payload| filter.wants_reading(payload),
                ),
                None,
            ),
            From::Position(place) => match history.find(&place) {
                Found::At(cursor) => (cursor, None),
                Found::After(cursor) => (cursor, Some(place)),
                Found::Ahead => (history.end(), Some(place)),
                Found::Nowhere => (history.start(), Some(place)),
            },
        };
        let until = until.map(|until| match until {
            Until::Now => End::At(history.end()),
            Until::Position { log, seq } => End::Behind(log, seq),
        });
        let prefix = format!("{{\"id\":{id},\"record\":").into_bytes();
        // If the following records are dropped before the first one is sent, the missed range is
        // known.
        let last = history.position(cursor).map(|(log, seq)| Place { log, seq, epoch: None });
        let (is_live, behind_since) = (false, None);
        Self {
            prefix,
            filter,
            cursor,
            expects,
            left: count,
            until,
            last,
            is_live,
            behind_since,
            moved_at: now,
        }
    }

    /// Whether there may be records for it.
    pub(super) fn wants(&self, history: &History) -> bool {
        self.cursor < history.end() || self.left == Some(0)
    }

    /// Its log and its next position.
    pub(super) fn next(&self, history: &History) -> Option<(LogId, Seq)> {
        match (&self.expects, &self.last) {
            (Some(place), _) => Some((place.log.clone(), place.seq)),
            (None, Some(last))
                if history.has_lost(self.cursor) || history.is_between(self.cursor) =>
            {
                Some((last.log.clone(), last.seq))
            }
            (None, None) if history.has_lost(self.cursor) => history.oldest_position(),
            _ => history.position(self.cursor),
        }
    }

    /// The same as JSON, with the epoch of the last entry, for a client that wants to continue from
    /// there.
    pub(super) fn next_json(&self, history: &History) -> String {
        let Some((log, seq)) = self.next(history) else { return String::new() };
        let epoch = self
            .last
            .as_ref()
            .filter(|last| last.log == log && last.seq == seq)
            .and_then(|last| last.epoch.as_ref());
        let epoch = epoch
            .map(|epoch| format!(",\"epoch\":{}", answer::text(&full(epoch))))
            .unwrap_or_default();
        format!("\"log\":{},\"next\":{seq}{epoch}", answer::text(&log.to_string()))
    }

    /// Appends records to `out` until there are no more, or until it has `room` bytes.
    pub(super) fn pump(
        &mut self,
        history: &History,
        renderer: &mut Renderer,
        now: Instant,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Step {
        if history.has_lost(self.cursor) {
            return Step::Over(forgotten());
        }
        let before = out.len();
        let step = self.move_on(history, renderer, out, room);
        if out.len() > before {
            self.moved_at = now;
        }
        step
    }

    fn move_on(
        &mut self,
        history: &History,
        renderer: &mut Renderer,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Step {
        let mut looked = 0;
        loop {
            if self.left == Some(0) {
                return Step::Over(Fault::new("done", "as many readings as were asked for"));
            }
            if matches!(&self.until, Some(End::At(end)) if self.cursor >= *end) {
                return Step::Over(Fault::new("done", "up to where it was asked for"));
            }
            let Some(item) = history.item(self.cursor.item) else { return Step::Idle };
            if out.len() >= room || looked >= LOOKS_MOST {
                return Step::More;
            }
            if self.expects.is_none() && self.until.is_none() {
                let skipped = self.skip(history, LOOKS_MOST - looked);
                looked += skipped;
                if skipped > 0 {
                    continue;
                }
            }
            if let Some(over) = self.enter(item, out) {
                return over;
            }
            looked += 1;
            if self.filter.may_want(item) {
                looked += self.send(item, renderer, out, room);
            } else {
                self.cursor.within = item.records();
            }
            let ((from, to), is_done) =
                (item.delivery.range(), self.cursor.within >= item.records());
            if item.is_content() {
                let (log, epoch) = (item.delivery.log().clone(), epoch_of(&item.delivery).cloned());
                let seq = if is_done { to.next() } else { from.plus(self.cursor.within) };
                self.last = Some(Place { log, seq, epoch });
            }
            if is_done {
                self.cursor = Cursor { item: self.cursor.item + 1, within: 0 };
            }
        }
    }

    /// Skips deliveries without a wanted record, up to `most`; returns their number.
    fn skip(&mut self, history: &History, most: u64) -> u64 {
        let from = self.cursor.item;
        let to = self.filter.skip(history, from, most);
        if to > from {
            self.cursor = Cursor { item: to, within: 0 };
            let passed = (from..to).rev().filter_map(|number| history.item(number));
            if let Some(item) = passed.into_iter().find(|item| item.is_content()) {
                let (log, epoch) = (item.delivery.log().clone(), epoch_of(&item.delivery).cloned());
                self.last = Some(Place { log, seq: item.delivery.range().1.next(), epoch });
            }
        }
        to - from
    }

    /// Compares the first record with the requested start, and each one with the requested end.
    fn enter(&mut self, item: &Item, out: &mut Vec<u8>) -> Option<Step> {
        let is_content = item.is_content();
        let (log, (from, to)) = (item.delivery.log(), item.delivery.range());
        if let Some(End::Behind(end_log, end)) = &self.until
            && is_content
            && end_log.as_ref().is_none_or(|end_log| end_log == log)
            && from.plus(self.cursor.within) > *end
        {
            return Some(Step::Over(Fault::new("done", "up to where it was asked for")));
        }
        if !is_content {
            return None;
        }
        let place = self.expects.take()?;
        if place.log != *log {
            let why = "this peer keeps nothing of that log";
            self.gap(&place.log, place.seq, None, why, out);
        } else if to < place.seq {
            // It is still to come.
            self.cursor.within = item.records();
            self.expects = Some(place);
        } else if from > place.seq {
            self.gap(
                log,
                place.seq,
                Some(from.previous()),
                "not kept any more, or from before this peer joined",
                out,
            );
        } else {
            self.cursor.within = place.seq.above(from);
        }
        None
    }

    fn gap(&self, log: &LogId, from: Seq, to: Option<Seq>, why: &str, out: &mut Vec<u8>) {
        let to = to.map(|to| format!("\"to\":{to},")).unwrap_or_default();
        out.extend_from_slice(&self.prefix);
        let log = answer::text(&log.to_string());
        out.extend_from_slice(
            format!("{{\"kind\":\"gap\",\"log\":{log},\"from\":{from},{to}\"why\":\"{why}\"}}}}\n")
                .as_bytes(),
        );
    }

    /// Sends the rest of an item, as far as there is room; returns how many records were examined.
    fn send(
        &mut self,
        item: &Item,
        renderer: &mut Renderer,
        out: &mut Vec<u8>,
        room: usize,
    ) -> u64 {
        let begin = self.cursor.within;
        let Delivery::Run(run) = &item.delivery else {
            if begin == 0 {
                self.put(renderer.whole(self.cursor.item, &item.delivery), out);
                self.cursor.within = 1;
            }
            return 1;
        };
        let last = match &self.until {
            Some(End::Behind(log, end)) if log.as_ref().is_none_or(|log| *log == run.log) => {
                end.next().above(run.first)
            }
            _ => u64::MAX,
        };
        let skipped = usize::try_from(begin).expect("they are in memory");
        for (payload, _) in run.readings.iter().skip(skipped) {
            if out.len() >= room || self.left == Some(0) || self.cursor.within >= last {
                break;
            }
            if self.filter.wants_reading(payload) {
                self.put(renderer.reading(self.cursor.item, run, self.cursor.within), out);
                self.left = self.left.map(|left| left - 1);
            }
            self.cursor.within += 1;
        }
        self.cursor.within - begin
    }

    fn put(&self, record: &[u8], out: &mut Vec<u8>) {
        out.reserve(self.prefix.len() + record.len() + 2);
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(record);
        out.extend_from_slice(b"}\n");
    }

    /// Whether its client is too slow, after it had the chance to read, and why.
    pub(super) fn is_too_slow(&mut self, history: &History, now: Instant) -> Option<Fault> {
        if history.has_lost(self.cursor) {
            return Some(forgotten());
        }
        let (records, bytes) = history.behind(self.cursor);
        if records <= BEHIND_RECORDS && bytes <= BEHIND_BYTES {
            self.is_live = true;
            self.behind_since = None;
            return None;
        }
        let since = *self.behind_since.get_or_insert(now);
        let is_stuck =
            now.duration_since(self.moved_at) >= STUCK && now.duration_since(since) >= STUCK;
        let is_late = self.is_live && now.duration_since(since) >= GRACE;
        (is_late || is_stuck).then(|| {
            Fault::new(
                "too_slow",
                format!("{records} records wait for this subscriber, which does not read them"),
            )
        })
    }
}

fn forgotten() -> Fault {
    Fault::new("too_slow", "what comes next for this subscriber is not kept any more")
}

/// Records that may wait for a subscriber of live deliveries.
const BEHIND_RECORDS: u64 = 4_096;
/// Bytes of records that may wait.
const BEHIND_BYTES: u64 = 4 << 20;
/// For how long more may wait, so that a burst cuts off no subscriber.
const GRACE: Duration = Duration::from_secs(2);
/// A subscriber of the past that reads nothing for this long is cut off.
const STUCK: Duration = Duration::from_secs(10);
/// Records examined at a time, so that a filter that wants nothing delays no other client.
const LOOKS_MOST: u64 = 16_384;

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Step, Subscription};
    use crate::door::fixtures::{diverged, history, log, merged, repeat, run};
    use crate::door::history::History;
    use crate::door::request::{self, Wish};
    use crate::record::Renderer;

    fn subscribe(history: &History, keys: &str) -> Subscription {
        let line = format!("{{\"id\":1,\"do\":\"subscribe\"{keys}}}");
        let Wish::Subscribe(asked) = request::read(line.as_bytes(), 0).unwrap().wish else {
            panic!("{line}")
        };
        Subscription::new("1", *asked, history, Instant::now())
    }

    /// What it is sent, in short form, and how that ends.
    fn pump(subscription: &mut Subscription, history: &History) -> (Vec<String>, Step) {
        let (mut out, mut step) = (Vec::new(), Step::More);
        while step == Step::More {
            step = subscription.pump(
                history,
                &mut Renderer::default(),
                Instant::now(),
                &mut out,
                usize::MAX,
            );
        }
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let record = &line["record"];
            let number = |key: &str| {
                record[key].as_u64().map(|number| number.to_string()).unwrap_or_default()
            };
            match record["kind"].as_str().unwrap() {
                "reading" => number("seq"),
                "gap" => format!("gap {}-{}", number("from"), number("to")),
                other => other.to_owned(),
            }
        };
        (String::from_utf8(out).unwrap().lines().map(line).collect(), step)
    }

    #[track_caller]
    fn check(history: &History, keys: &str, expected: &str, next: &str) {
        let mut subscription = subscribe(history, keys);
        let (sent, step) = pump(&mut subscription, history);
        assert_eq!(sent.join(" "), expected, "{keys}");
        assert_eq!(
            subscription.next_json(history).replace(&format!("\"log\":\"{}\",", log("a")), ""),
            next,
            "{keys}: {step:?}"
        );
    }

    #[test]
    fn each_record_comes_once_from_where_it_was_asked_for_to_where_it_ends() {
        let history = history(100, vec![run("a", 1, 1..=4), run("a", 1, 5..=8)]);
        let next = |seq: u64| format!("\"next\":{seq},\"epoch\":\"1.a#7\"");
        check(&history, "", "", "\"next\":9");
        check(&history, r#","from":"start""#, "1 2 3 4 5 6 7 8", &next(9));
        check(&history, r#","from":"last 2""#, "7 8", &next(9));
        check(&history, r#","from":{"log":"1.a#7","seq":6}"#, "6 7 8", &next(9));
        check(&history, r#","from":"start","count":3"#, "1 2 3", &next(4));
        check(&history, r#","from":"start","count":4"#, "1 2 3 4", &next(5));
        check(&history, r#","from":"start","sensor":"s0","count":2"#, "2 4", &next(5));
        check(&history, r#","from":"start","until":{"seq":6}"#, "1 2 3 4 5 6", &next(7));
        check(&history, r#","from":"start","until":{"seq":4}"#, "1 2 3 4", &next(5));
        check(&history, r#","from":"start","until":{"seq":0}"#, "", "\"next\":1");
        check(&history, r#","from":"start","kinds":["view"]"#, "", &next(9));
        check(&history, r#","from":{"log":"1.a#7","seq":20}"#, "", "\"next\":20");
        check(&history, r#","from":{"log":"1.z#1","seq":3},"count":1"#, "gap 3- 1", &next(2));
    }

    #[test]
    fn what_is_not_kept_is_a_gap_whatever_is_wanted() {
        let history = history(5, vec![run("a", 1, 1..=3), run("a", 1, 4..=5), run("a", 1, 6..=7)]);
        check(
            &history,
            r#","from":{"log":"1.a#7","seq":2}"#,
            "gap 2-3 4 5 6 7",
            "\"next\":8,\"epoch\":\"1.a#7\"",
        );
        check(
            &history,
            r#","from":{"log":"1.a#7","seq":2},"kinds":["view"]"#,
            "gap 2-3",
            "\"next\":8,\"epoch\":\"1.a#7\"",
        );
    }

    #[test]
    fn whoever_goes_on_from_what_it_was_told_has_each_reading_once() {
        // Cut off after each record in turn, and continued from there.
        let deliveries = || {
            vec![
                run("a", 1, 1..=2),
                run("a", 1, 3..=4),
                merged(2),
                diverged(3, 4),
                repeat("b", 2, 3, 4),
                run("b", 2, 5..=6),
            ]
        };
        let whole = history(100, deliveries());
        for cut in 0..=deliveries().len() {
            let mut some = history(100, Vec::new());
            let mut first = subscribe(&some, r#","from":"start""#);
            let mut sent = Vec::new();
            for delivery in deliveries().into_iter().take(cut) {
                some.add(delivery, 0);
                sent.extend(pump(&mut first, &some).0);
            }
            let place = first.next_json(&whole).replace("\"next\"", "\"seq\"");
            let from = if cut == 0 { "\"start\"".to_owned() } else { format!("{{{place}}}") };
            sent.extend(pump(&mut subscribe(&whole, &format!(",\"from\":{from}")), &whole).0);
            let (readings, asides): (Vec<_>, Vec<_>) =
                sent.into_iter().partition(|word| word.parse::<u64>().is_ok());
            assert_eq!(readings.join(" "), "1 2 3 4 5 6", "cut behind {cut}: {asides:?}");
            assert!(
                asides.contains(&"diverged".to_owned()) && asides.contains(&"repeat".to_owned()),
                "cut behind {cut}: {asides:?}"
            );
        }
    }

    #[test]
    fn what_is_forgotten_before_it_is_sent_is_named() {
        let mut kept = history(5, vec![run("a", 1, 1..=4)]);
        let mut subscription = subscribe(&kept, "");
        for at in [5, 10, 15] {
            kept.add(run("a", 1, at..=at + 4), 0);
        }
        let (sent, step) = pump(&mut subscription, &kept);
        assert!(
            sent.is_empty() && matches!(&step, Step::Over(why) if why.code == "too_slow"),
            "{step:?}"
        );
        assert_eq!(subscription.next(&kept), Some((log("a"), protocol::id::Seq(5))));
        assert_eq!(
            subscription.is_too_slow(&kept, Instant::now()).map(|why| why.code),
            Some("too_slow")
        );
    }

    #[test]
    fn a_burst_costs_nobody_its_place_and_a_reader_of_the_past_is_given_time() {
        let now = Instant::now();
        let mut kept = history(20_000, vec![run("a", 1, 1..=10)]);
        let mut live = subscribe(&kept, "");
        assert_eq!(live.is_too_slow(&kept, now), None);
        kept.add(run("a", 1, 11..=5_000), 0);
        let mut late = subscribe(&kept, r#","from":"start""#);
        assert_eq!(live.is_too_slow(&kept, now), None);
        assert_eq!(live.is_too_slow(&kept, now + Duration::from_millis(1_900)), None);
        let why = live.is_too_slow(&kept, now + Duration::from_millis(2_100)).unwrap();
        assert!(why.say.starts_with("4990 records"), "{}", why.say);
        assert_eq!(late.is_too_slow(&kept, now + Duration::from_secs(9)), None);
        assert_eq!(
            late.is_too_slow(&kept, now + Duration::from_secs(20)).map(|why| why.code),
            Some("too_slow")
        );
    }
}
