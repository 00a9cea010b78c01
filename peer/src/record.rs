//! Records: the content of the log as JSON, one object per line. The file `ordered.jsonl` and the
//! socket of a peer use the same records; `docs/DATA.md` describes each.
//!
//! A position is named by its log, its epoch with the owner's incarnation, and its number, because
//! numbers begin anew in each log. Incarnations are strings, since readers of JSON round large
//! numbers. Unknown values are left out.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use protocol::id::Member;
use protocol::io::{Delivery, Reading, Run, Standing};
use protocol::log_id::full;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Stamp;
use crate::sensors::split::{self, Fields, Value};

/// One line.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Record<'a> {
    /// A view comes into force.
    View {
        log: &'a str,
        epoch: &'a str,
        seq: u64,
        view: u64,
        leader: &'a str,
        members: Vec<&'a str>,
        incs: Vec<String>,
        joined: Vec<&'a str>,
        left: Vec<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        why: BTreeMap<&'a str, &'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ordered: Option<String>,
    },
    /// Positions that this file lacks.
    Gap { log: &'a str, from: u64, to: u64, why: &'a str },
    /// The lines above at these positions of this log differ from the group's log.
    Diverged { log: &'a str, from: u64, to: u64 },
    /// The group of this peer merges into another one.
    Merged { log: &'a str, at: u64, into: &'a str, leader: &'a str },
    /// Positions whose readings were delivered before.
    Repeat {
        log: &'a str,
        epoch: &'a str,
        seq: u64,
        last: u64,
        origin: &'a str,
        inc: String,
        from: u64,
        to: u64,
    },
    /// Readings that their origin has declared lost.
    Lost {
        log: &'a str,
        epoch: &'a str,
        seq: u64,
        origin: &'a str,
        inc: String,
        from: u64,
        to: u64,
    },
}

/// Appends the lines of one delivery, each with its line end.
pub fn write(delivery: &Delivery, out: &mut Vec<u8>) {
    let log = &delivery.log().to_string();
    match delivery {
        Delivery::Run(run) => write_run(run, log, out),
        Delivery::View(standing) => write_view(standing, log, out),
        Delivery::Gap { from, to, why, .. } => {
            put_record(&Record::Gap { log, from: from.0, to: to.0, why }, out)
        }
        Delivery::Diverged { from, to, .. } => {
            put_record(&Record::Diverged { log, from: from.0, to: to.0 }, out)
        }
        Delivery::Merged { at, into, leader, .. } => {
            put_record(
                &Record::Merged { log, at: at.0, into: &into.to_string(), leader: leader.as_str() },
                out,
            );
        }
        Delivery::Repeat { epoch, seq, last, origin, from, to, .. } => {
            let (epoch, (origin, inc)) = (&full(epoch), names(origin));
            put_record(
                &Record::Repeat {
                    log,
                    epoch,
                    seq: seq.0,
                    last: last.0,
                    origin,
                    inc,
                    from: from.0,
                    to: to.0,
                },
                out,
            );
        }
        Delivery::Lost { epoch, seq, origin, from, to, .. } => {
            let (epoch, (origin, inc)) = (&full(epoch), names(origin));
            put_record(
                &Record::Lost { log, epoch, seq: seq.0, origin, inc, from: from.0, to: to.0 },
                out,
            );
        }
    }
}

fn write_run(run: &Run, log: &str, out: &mut Vec<u8>) {
    let head = Head::of(run, log.to_owned());
    for reading in run.iter() {
        write_reading(&head, &reading, out);
        out.push(b'\n');
    }
}

/// The values that all readings of a run share.
#[derive(Debug)]
struct Head {
    log: String,
    epoch: String,
    inc: String,
    ordered: Option<String>,
}

impl Head {
    fn of(run: &Run, log: String) -> Self {
        Self {
            log,
            epoch: full(&run.epoch),
            inc: run.origin.inc.to_string(),
            ordered: run.ordered.map(|at| Stamp(at).to_string()),
        }
    }
}

fn write_reading(head: &Head, reading: &Reading<'_>, out: &mut Vec<u8>) {
    let Reading { run, seq, oseq, time, payload } = *reading;
    let Head { log, epoch, inc, ordered } = head;
    let (view, origin) = (run.view_id, &run.origin.id);
    // Names of logs, epochs and peers, and times, need no escaping: their alphabets contain no
    // special characters of JSON.
    let place =
        format_args!("\"log\":\"{log}\",\"epoch\":\"{epoch}\",\"seq\":{seq},\"view\":{view}");
    let name = format_args!(
        "\"origin\":\"{origin}\",\"inc\":\"{inc}\",\"oseq\":{oseq},\"time\":\"{}\"",
        Stamp(time)
    );
    put(out, format_args!("{{\"kind\":\"reading\",{place},{name}"));
    if let Some(ordered) = ordered {
        put(out, format_args!(",\"ordered\":\"{ordered}\""));
    }
    match Shape::of(payload) {
        Shape::Canonical(Parts { sensor, time, fields, tags }) => {
            let parts = [
                ("sensor", Some(sensor)),
                ("measured", time),
                ("fields", Some(fields)),
                ("tags", tags),
            ];
            for (key, raw) in parts.into_iter().filter_map(|(key, raw)| Some((key, raw?))) {
                put(out, format_args!(",\"{key}\":{raw}"));
            }
        }
        Shape::Split(fields, text) => {
            write_fields(&fields, out);
            put_text(out, "payload", text);
        }
        Shape::Text(text) => put_text(out, "payload", text),
        Shape::Bytes => {
            put(out, format_args!(",\"payload_base64\":\"{}\"", BASE64_STANDARD.encode(payload)))
        }
    }
    out.push(b'}');
}

/// The form of a payload.
enum Shape<'a> {
    /// The canonical object of a reading: its parts are complete.
    Canonical(Parts<'a>),
    /// Another form with fields; the bytes are kept beside them, since several forms have the same
    /// fields.
    Split(Fields<'a>, &'a str),
    Text(&'a str),
    Bytes,
}

/// The parts of the canonical object, each as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Canonical<'a> {
    #[serde(borrow)]
    sensor: &'a RawValue,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    fields: &'a RawValue,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

struct Parts<'a> {
    sensor: &'a str,
    time: Option<&'a str>,
    fields: &'a str,
    tags: Option<&'a str>,
}

impl<'a> Shape<'a> {
    fn of(payload: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(payload) else { return Self::Bytes };
        let Some(fields) = split::read(payload) else { return Self::Text(text) };
        let canonical =
            serde_json::from_str(text).ok().map(|Canonical { sensor, time, fields, tags }| Parts {
                sensor: sensor.get(),
                time: time.map(RawValue::get),
                fields: fields.get(),
                tags: tags.map(RawValue::get),
            });
        match canonical {
            Some(parts) if parts.say_all_of(text) => Self::Canonical(parts),
            _ => Self::Split(fields, text),
        }
    }
}

impl Parts<'_> {
    /// Whether the payload consists of exactly these parts.
    fn say_all_of(&self, text: &str) -> bool {
        let mut rest = text;
        let mut has = |piece: &str| rest.strip_prefix(piece).map(|left| rest = left).is_some();
        let optional = |key: &'static str, raw| [key, raw];
        let time = self.time.map(|raw| optional(",\"time\":", raw));
        let tags = self.tags.map(|raw| optional(",\"tags\":", raw));
        let mut pieces = ["{\"sensor\":", self.sensor]
            .into_iter()
            .chain(time.into_iter().flatten())
            .chain([",\"fields\":", self.fields])
            .chain(tags.into_iter().flatten())
            .chain(["}"]);
        pieces.all(&mut has) && rest.is_empty()
    }
}

fn write_fields(fields: &Fields<'_>, out: &mut Vec<u8>) {
    put_text(out, "sensor", &fields.sensor);
    if let Some(time) = &fields.time {
        put_text(out, "measured", time);
    }
    put(out, format_args!(",\"fields\":{{"));
    for (at, (name, value)) in fields.values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_json(out, name);
        out.push(b':');
        match value {
            Value::Number(token) => out.extend_from_slice(token.as_bytes()),
            Value::Text(text) => put_json(out, text),
            Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        }
    }
    out.push(b'}');
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes any text");
}

fn put_text(out: &mut Vec<u8>, key: &str, text: &str) {
    put(out, format_args!(",\"{key}\":"));
    put_json(out, text);
}

fn put_json(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("any text can be written as JSON");
}

/// Records of deliveries for several readers: each record of the newest delivery is encoded once.
#[derive(Debug, Default)]
pub struct Renderer {
    /// The number of the delivery.
    number: Option<u64>,
    head: Option<Head>,
    text: Vec<u8>,
    /// The range of each record in the text, by its index in the delivery.
    records: Vec<Option<Range<usize>>>,
}

impl Renderer {
    /// The record of a reading in the run with that number, without a line end.
    pub fn reading(&mut self, number: u64, run: &Run, place: u64) -> &[u8] {
        if self.number != Some(number) {
            self.begin(number, usize::try_from(run.readings.len()).expect("they are in memory"));
            self.head = Some(Head::of(run, run.log.to_string()));
        }
        let at = usize::try_from(place).expect("they are in memory");
        let Self { head, text, records, .. } = self;
        let range = records[at].get_or_insert_with(|| {
            let begin = text.len();
            let head = head.as_ref().expect("it was made with the number");
            write_reading(head, &run.at(place), text);
            begin..text.len()
        });
        &text[range.clone()]
    }

    /// The record of a delivery that is no run of readings, without a line end.
    pub fn whole(&mut self, number: u64, delivery: &Delivery) -> &[u8] {
        if self.number != Some(number) {
            self.begin(number, 0);
            write(delivery, &mut self.text);
        }
        self.text.strip_suffix(b"\n").unwrap_or(&self.text)
    }

    fn begin(&mut self, number: u64, records: usize) {
        self.number = Some(number);
        self.text.clear();
        self.text.shrink_to(TEXT_KEPT);
        self.records.clear();
        self.records.resize(records, None);
    }
}

/// How much memory is kept from one delivery to the next, in bytes.
const TEXT_KEPT: usize = 1 << 20;

fn write_view(standing: &Standing, log: &str, out: &mut Vec<u8>) {
    let Standing { seq, view, joined, left, .. } = standing;
    let ids =
        |members: &'_ [Member]| members.iter().map(|member| member.id.clone()).collect::<Vec<_>>();
    let (joined, left) = (ids(joined), ids(left));
    let record = Record::View {
        log,
        epoch: &full(&view.epoch),
        seq: seq.0,
        view: view.view_id.0,
        leader: view.leader.as_str(),
        members: view.members.iter().map(|contact| contact.id().as_str()).collect(),
        incs: view.members.iter().map(|contact| contact.member.inc.to_string()).collect(),
        joined: joined.iter().map(|id| id.as_str()).collect(),
        left: left.iter().map(|id| id.as_str()).collect(),
        why: view.remarks.why.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect(),
        ordered: view.remarks.ordered.map(|at| Stamp(at).to_string()),
    };
    put_record(&record, out);
}

fn names(member: &Member) -> (&str, String) {
    (member.id.as_str(), member.inc.to_string())
}

fn put_record(record: &Record<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, record).expect("a record is made of what JSON can say");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::write;
    use bytes::Bytes;
    use protocol::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::io::{Delivery, Run, Standing};
    use protocol::log_id::LogId;
    use protocol::readings::Readings;
    use protocol::remarks::Remarks;
    use protocol::view::View;

    #[track_caller]
    fn check(delivery: &Delivery, expected: &str) {
        let mut out = Vec::new();
        write(delivery, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }

    fn member(id: &str, inc: u64) -> Member {
        Member { id: PeerId::new(id).unwrap(), inc: Incarnation(inc) }
    }

    fn epoch(round: u64) -> Epoch {
        Epoch { round, owner: member("p1", u64::MAX) }
    }

    fn log() -> LogId {
        LogId::founded_by(epoch(1))
    }

    const LOG: &str = r#""log":"1.p1#18446744073709551615""#;
    const EPOCH: &str = r#""epoch":"3.p1#18446744073709551615""#;

    #[test]
    fn the_keys_of_a_reading_are_a_contract() {
        let reading = |payload: &'static [u8]| {
            let readings = Readings::one(Bytes::from_static(payload), 0);
            let (view_id, first, oseq, guarantee) =
                (ViewId(7), Seq(18), Oseq(9), protocol::config::Guarantee::Agreed);
            let (origin, ordered) = (member("p2", 5), Some(1_000_000));
            Delivery::Run(Run {
                log: log(),
                epoch: epoch(3),
                view_id,
                first,
                origin,
                oseq,
                guarantee,
                ordered,
                readings,
            })
        };
        let rest = r#""seq":18,"view":7,"origin":"p2","inc":"5","oseq":9,"time":"1970-01-01T00:00:00.000000Z","ordered":"1970-01-01T00:00:01.000000Z""#;
        let head = format!(r#"{{"kind":"reading",{LOG},{EPOCH},{rest},"#);
        check(&reading(b"a\"b"), &format!(r#"{head}"payload":"a\"b"}}"#));
        check(&reading(b"\xff\x00"), &format!(r#"{head}"payload_base64":"/wA="}}"#));
        check(&reading("\u{202e}\r".as_bytes()), &format!("{head}\"payload\":\"\u{202e}\\r\"}}"));
        let split = r#""sensor":"s1","measured":"t","fields":{"c":21.50,"n":"21,5"},"payload":"DATA|s1|t|c=21.50|n=21,5""#;
        check(&reading(b"DATA|s1|t|c=21.50|n=21,5"), &format!("{head}{split}}}"));
        let canonical =
            br#"{"sensor":"s1","time":"t","fields":{"c":21.50,"on":true},"tags":{"room":"a"}}"#;
        let parts =
            r#""sensor":"s1","measured":"t","fields":{"c":21.50,"on":true},"tags":{"room":"a"}"#;
        check(&reading(canonical), &format!("{head}{parts}}}"));
        let blank = br#"{"sensor":"s1", "fields":{"c":1}}"#;
        let told = r#""sensor":"s1","fields":{"c":1},"payload":"{\"sensor\":\"s1\", \"fields\":{\"c\":1}}""#;
        check(&reading(blank), &format!("{head}{told}}}"));
    }

    #[test]
    fn what_is_no_reading_says_what_it_is() {
        let (from, to) = (Seq(3), Seq(9));
        let gap = Delivery::Gap { log: log(), from, to, why: "it was away".to_owned() };
        check(&gap, &format!(r#"{{"kind":"gap",{LOG},"from":3,"to":9,"why":"it was away"}}"#));
        check(
            &Delivery::Diverged { log: log(), from, to },
            &format!(r#"{{"kind":"diverged",{LOG},"from":3,"to":9}}"#),
        );
        let into = LogId::founded_by(Epoch { round: 1, owner: member("p2", 7) });
        let merged = Delivery::Merged { log: log(), at: Seq(2), into, leader: member("p2", 7).id };
        check(
            &merged,
            &format!(r#"{{"kind":"merged",{LOG},"at":2,"into":"1.p2#7","leader":"p2"}}"#),
        );
        let (origin, epoch) = (member("p2", 5), epoch(3));
        let rest = r#""origin":"p2","inc":"5","from":10,"to":12}"#;
        let (oseqs, seq) = ((Oseq(10), Oseq(12)), Seq(20));
        let lost = Delivery::Lost {
            log: log(),
            epoch: epoch.clone(),
            seq,
            origin: origin.clone(),
            from: oseqs.0,
            to: oseqs.1,
        };
        check(&lost, &format!(r#"{{"kind":"lost",{LOG},{EPOCH},"seq":20,{rest}"#));
        let repeat = Delivery::Repeat {
            log: log(),
            epoch,
            seq,
            last: Seq(22),
            origin,
            from: oseqs.0,
            to: oseqs.1,
        };
        check(&repeat, &format!(r#"{{"kind":"repeat",{LOG},{EPOCH},"seq":20,"last":22,{rest}"#));
    }

    #[test]
    fn a_view_names_who_came_and_who_went() {
        let address = "127.0.0.1:1".parse().unwrap();
        let contact = |member: Member| Contact { member, birth: 1, address, explicit: 0 };
        let members = vec![contact(member("p1", u64::MAX)), contact(member("p2", 5))];
        let remarks = Remarks {
            ordered: Some(0),
            why: vec![(member("p3", 1).id, "it asked to leave".to_owned())],
        };
        let view = View { remarks, ..View::new(ViewId(7), epoch(3), member("p1", 1).id, members) };
        let (joined, left) = (vec![member("p2", 5)], vec![member("p3", 1)]);
        let standing = Standing { log: log(), seq: Seq(4), view, joined, left };
        let members = r#""members":["p1","p2"],"incs":["18446744073709551615","5"],"joined":["p2"],"left":["p3"]"#;
        let why = r#""why":{"p3":"it asked to leave"},"ordered":"1970-01-01T00:00:00.000000Z""#;
        let line = format!(
            r#"{{"kind":"view",{LOG},{EPOCH},"seq":4,"view":7,"leader":"p1",{members},{why}}}"#
        );
        check(&Delivery::View(Box::new(standing)), &line);
    }
}
