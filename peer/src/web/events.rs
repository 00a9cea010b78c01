//! The stream of events of one page: what is delivered, how the group stands, and what happens in
//! it.
//!
//! | event | data | id |
//! |---|---|---|
//! | `hello` | who speaks, and how far apart old readings of one sensor are | |
//! | `record` | a record of `docs/DATA.md` | its position, `LOG/SEQ/EPOCH` |
//! | `state` | where the peer stands, who is in the group, and what is wrong, in words | |
//! | `happened` | one thing that happened, in words | |
//! | `end` | why nothing more comes | |
//!
//! A page draws one point a pixel, and is not sent a hundred times as many readings: with `thin=1`
//! old readings are sent so that about 120 of each sensor are left, and new ones ten times a
//! second. Everything else is sent whole.

use std::collections::BTreeMap;
use std::time::Instant;

use protocol::id::{Epoch, Seq};
use protocol::log_id::LogId;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::request::EventsWish;
use super::state::State;
use crate::clock;
use crate::door::feed::{Begin, Feed, Flow, Past};

/// One page, or another follower.
#[derive(Debug)]
pub(super) struct Page {
    feed: Feed,
    thinning: Option<Thinning>,
    /// The last fact that it was sent.
    told: u64,
    /// The last state that it was sent.
    state: u64,
    hello: Option<String>,
    is_over: bool,
}

/// The choice of readings that are left out.
#[derive(Debug)]
struct Thinning {
    /// The least distance between two readings of one sensor, in microseconds.
    step: u64,
    /// The last reading of each sensor.
    last: BTreeMap<String, u64>,
}

/// The relevant parts of a record.
#[derive(Deserialize)]
struct Mark<'a> {
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    log: Option<&'a str>,
    #[serde(borrow)]
    epoch: Option<&'a str>,
    seq: Option<u64>,
    last: Option<u64>,
    to: Option<u64>,
    #[serde(borrow)]
    origin: Option<&'a str>,
    #[serde(borrow)]
    sensor: Option<&'a RawValue>,
    #[serde(borrow)]
    ordered: Option<&'a str>,
    #[serde(borrow)]
    time: Option<&'a str>,
}

impl Page {
    /// Begins where its reader asks, or with the last hour.
    pub(super) fn open(
        wish: &EventsWish,
        past: &Past<'_>,
        now: Instant,
        state: &State,
    ) -> Box<Self> {
        let behind = wish.behind.as_deref().and_then(place);
        let since = clock::utc_micros().saturating_sub(HOUR);
        let step = match (&behind, past.since(since)) {
            (None, Some((records, first))) if records > RECORDS_MANY => {
                clock::utc_micros().saturating_sub(first) / POINTS
            }
            _ => 0,
        };
        let thinning = wish.thin.then(|| Thinning { step, last: BTreeMap::new() });
        let apart = thinning.as_ref().map_or(0, |thinning| thinning.step / 1_000);
        let begin =
            behind.map_or(Begin::Since(since), |(log, seq, epoch)| Begin::Behind(log, seq, epoch));
        let hello = Some(state.hello(apart));
        Box::new(Self {
            feed: Feed::begin(begin, past, now),
            thinning,
            told: 0,
            state: 0,
            hello,
            is_over: false,
        })
    }

    /// Appends events, as far as there is room; true if there are more.
    pub(super) fn pump(
        &mut self,
        past: &mut Past<'_>,
        state: &State,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.is_over {
            return false;
        }
        if let Some(hello) = self.hello.take() {
            // A client that is cut off comes again after a second.
            out.extend_from_slice(b"retry: 1000\n");
            event("hello", &hello, out);
        }
        // A reader gets the newest state; a slow reader misses those in between.
        if out.len() < STATE_ROOM {
            if self.state != state.number() {
                self.state = state.number();
                event("state", state.text(), out);
            }
            self.told = state.tell_since(self.told, |happening| event("happened", happening, out));
        }
        let mut more = false;
        if out.len() < RECORDS_ROOM {
            let thinning = &mut self.thinning;
            match self.feed.take(past, now, RECORDS_EACH, |json| record(json, thinning, out)) {
                Flow::Idle => {
                    if let Some(thinning) = &mut self.thinning {
                        thinning.step = STEP_LIVE;
                    }
                }
                Flow::More => more = true,
                Flow::Over(why) => {
                    self.say_end(why.code, &why.say, out);
                    return false;
                }
            }
        }
        if let Some(why) = self.feed.is_too_slow(past, now) {
            self.say_end(why.code, &why.say, out);
            return false;
        }
        more || out.len() < RECORDS_ROOM && self.feed.wants(past)
    }

    /// Reports the end of the stream, and why.
    pub(super) fn say_end(&mut self, code: &str, say: &str, out: &mut Vec<u8>) {
        self.is_over = true;
        event("end", &serde_json::json!({"code": code, "say": say}).to_string(), out);
    }

    /// Whether the stream has ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

fn event(name: &str, data: &str, out: &mut Vec<u8>) {
    // JSON on one line has no line breaks of its own.
    out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}

/// Writes one record, unless it is thinned out.
fn record(json: &[u8], thinning: &mut Option<Thinning>, out: &mut Vec<u8>) {
    let mark = serde_json::from_slice::<Mark<'_>>(json).ok();
    if let Some((thinning, mark)) = thinning.as_mut().zip(mark.as_ref())
        && !thinning.wants(mark)
    {
        return;
    }
    if let Some(id) = mark.as_ref().and_then(id) {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(b"event: record\ndata: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// The position of a record, as the id of an event; none if it has none.
fn id(mark: &Mark<'_>) -> Option<String> {
    let log = mark.log?;
    match (mark.kind, mark.seq, mark.to) {
        ("diverged" | "merged", ..) => None,
        (_, Some(seq), _) => {
            let epoch = mark.epoch.map(|epoch| format!("/{epoch}")).unwrap_or_default();
            Some(format!("{log}/{}{epoch}", mark.last.unwrap_or(seq)))
        }
        ("gap", None, Some(to)) => Some(format!("{log}/{to}")),
        _ => None,
    }
}

/// The position in an id.
fn place(id: &str) -> Option<(LogId, Seq, Option<Epoch>)> {
    let mut parts = id.split('/');
    let log: LogId = parts.next()?.parse().ok()?;
    let seq: u64 = parts.next()?.parse().ok()?;
    let epoch = parts.next().and_then(|epoch| epoch.parse::<LogId>().ok()).map(LogId::into_epoch);
    // Positions end far below this.
    (seq < 1 << 62).then_some((log, Seq(seq), epoch))
}

impl Thinning {
    fn wants(&mut self, mark: &Mark<'_>) -> bool {
        if mark.kind != "reading" {
            return true;
        }
        let when =
            mark.ordered.or(mark.time).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let Some(when) =
            when.and_then(|when| u64::try_from(when.unix_timestamp_nanos() / 1_000).ok())
        else {
            return true;
        };
        let sensor = mark.sensor.map_or("", RawValue::get);
        let name = if sensor.is_empty() {
            format!("/{}", mark.origin.unwrap_or_default())
        } else {
            sensor.to_owned()
        };
        let name = if self.last.len() < SENSORS_MOST || self.last.contains_key(&name) {
            name
        } else {
            String::new()
        };
        let last = self.last.entry(name).or_insert(0);
        // A clock that was set back begins anew.
        if when >= *last && when - *last < self.step {
            return false;
        }
        *last = when;
        true
    }
}

/// Microseconds of an hour.
const HOUR: u64 = 3_600_000_000;
/// More records of the last hour than these are thinned out.
const RECORDS_MANY: u64 = 4_096;
/// How many readings of each sensor are left.
const POINTS: u64 = 120;
/// The distance of new readings of one sensor, in microseconds.
const STEP_LIVE: u64 = 100_000;
/// How many sensors are distinguished.
const SENSORS_MOST: usize = 4_096;
/// Bytes of records taken at a time.
const RECORDS_EACH: usize = 64 << 10;
/// Bytes that may wait for a page before it gets no more records.
const RECORDS_ROOM: usize = 128 << 10;
/// The same for states.
const STATE_ROOM: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::{STEP_LIVE, Thinning, place, record};

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let mut out = Vec::new();
        let mut none = None;
        record(
            br#"{"kind":"reading","log":"1.a#1","epoch":"2.b#3","seq":7,"origin":"a"}"#,
            &mut none,
            &mut out,
        );
        record(
            br#"{"kind":"repeat","log":"1.a#1","epoch":"2.b#3","seq":8,"last":9}"#,
            &mut none,
            &mut out,
        );
        record(br#"{"kind":"gap","log":"1.a#1","from":3,"to":9,"why":"x"}"#, &mut none, &mut out);
        record(br#"{"kind":"diverged","log":"1.a#1","from":3,"to":9}"#, &mut none, &mut out);
        let text = String::from_utf8(out).unwrap();
        let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
        assert_eq!(ids, ["1.a#1/7/2.b#3", "1.a#1/9/2.b#3", "1.a#1/9"]);
        assert_eq!(text.matches("event: record\ndata: {").count(), 4);
        for id in ids {
            let (log, seq, epoch) = place(id).unwrap();
            assert_eq!(
                (log.to_string().as_str(), epoch.is_some()),
                ("1.a#1", id.matches('/').count() == 2)
            );
            assert!(seq.0 == 7 || seq.0 == 9);
        }
        for wrong in [
            "",
            "/",
            "1.a#1",
            "1.a#1/x",
            "x/1",
            "1.a#1/99999999999999999999",
            "1.a#1/9223372036854775807",
        ] {
            assert!(place(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn readings_of_one_sensor_keep_their_distance() {
        let mut thinning =
            Some(Thinning { step: STEP_LIVE, last: std::collections::BTreeMap::new() });
        let mut send = |sensor: &str, time: &str| {
            let mut out = Vec::new();
            let json = format!(
                r#"{{"kind":"reading","log":"1.a#1","seq":7,"origin":"a","sensor":"{sensor}","time":"1970-01-01T00:00:{time}Z"}}"#
            );
            record(json.as_bytes(), &mut thinning, &mut out);
            !out.is_empty()
        };
        assert!(send("a", "01.000000") && send("b", "01.000000"));
        assert!(!send("a", "01.099999") && send("a", "01.100000"));
        assert!(send("a", "00.500000"), "a clock that was set back");
        assert!(send("\\u0061\\u0000", "01.000000"));
    }
}
