//! The requests of clients: one JSON object per line. `SOCKET.md` documents each key.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use protocol::config::Guarantee;
use protocol::id::{PeerId, Seq};
use protocol::log_id::LogId;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::filter::{Filter, Kind};
use super::history::Place;
use super::{Fault, Wait};

/// A request and its id.
#[derive(Debug)]
pub(super) struct Request {
    /// As JSON: a number or a string.
    pub(super) id: String,
    pub(super) wish: Wish,
}

/// The content of a request.
#[derive(Debug)]
pub(super) enum Wish {
    Status,
    Members,
    Why(Option<PeerId>),
    Publish {
        payload: Vec<u8>,
        sensor: Option<String>,
        guarantee: Option<Guarantee>,
        wait: Wait,
        token: Option<String>,
    },
    Subscribe(Box<Subscribe>),
    Cancel,
    Leave,
    Demote {
        undo: bool,
    },
    LogLevel(log::LevelFilter),
}

/// The start, the end and the filter.
#[derive(Debug)]
pub(super) struct Subscribe {
    pub(super) from: From,
    pub(super) until: Option<Until>,
    pub(super) count: Option<u64>,
    pub(super) filter: Arc<Filter>,
}

/// The start of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Now,
    Start,
    Last(u64),
    Position(Place),
    /// In microseconds since 1970.
    Since(u64),
}

/// The end of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// At the end of the history when the subscription begins.
    Now,
    /// After that position.
    Position { log: Option<LogId>, seq: Seq },
}

/// The keys of each request on the line.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Status {},
    Members {},
    Why {
        peer: Option<PeerId>,
    },
    Publish {
        payload: Option<String>,
        payload_base64: Option<String>,
        sensor: Option<String>,
        guarantee: Option<Guarantee>,
        #[serde(default)]
        wait: Wait,
        token: Option<String>,
    },
    Subscribe {
        from: Option<Value>,
        until: Option<Value>,
        count: Option<u64>,
        kinds: Option<Vec<Kind>>,
        sensor: Option<String>,
        origin: Option<String>,
    },
    Cancel {},
    Leave {},
    Demote {
        #[serde(default)]
        undo: bool,
    },
    LogLevel {
        level: log::LevelFilter,
    },
}

/// Parses one line. An error carries the id of the request, if that can be read.
pub(super) fn read(line: &[u8], utc: u64) -> Result<Request, (Option<String>, Fault)> {
    let text =
        std::str::from_utf8(line).map_err(|_| (None, Fault::bad("the line is no UTF-8 text")))?;
    let mut keys: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| (None, Fault::bad(format!("the line is no JSON object: {error}"))))?;
    let id = match keys.remove("id") {
        Some(id @ (Value::Number(_) | Value::String(_))) => id.to_string(),
        Some(_) => return Err((None, Fault::bad("id: give a number or a text; answers carry it"))),
        None => {
            return Err((
                None,
                Fault::bad("id: there is none; give a number or a text; answers carry it"),
            ));
        }
    };
    if id.len() > ID_MAX {
        return Err((
            None,
            Fault::bad(format!("id: it has {} characters; {ID_MAX} are the most", id.len())),
        ));
    }
    let with_id = |fault| (Some(id.clone()), fault);
    if !keys.contains_key("do") {
        return Err(with_id(Fault::bad(
            "do: there is none; say what to do, such as \"do\":\"status\"",
        )));
    }
    let said = serde_json::from_value(Value::Object(keys))
        .map_err(|error| with_id(Fault::bad(error.to_string())))?;
    match understand(said, utc) {
        Ok(wish) => Ok(Request { id, wish }),
        Err(why) => Err(with_id(Fault::bad(why))),
    }
}

fn understand(said: Said, utc: u64) -> Result<Wish, String> {
    Ok(match said {
        Said::Status {} => Wish::Status,
        Said::Members {} => Wish::Members,
        Said::Why { peer } => Wish::Why(peer),
        Said::Cancel {} => Wish::Cancel,
        Said::Leave {} => Wish::Leave,
        Said::Demote { undo } => Wish::Demote { undo },
        Said::LogLevel { level } => Wish::LogLevel(level),
        Said::Publish { payload, payload_base64, sensor, guarantee, wait, token } => {
            let payload = match (payload, payload_base64) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(coded)) => BASE64_STANDARD
                    .decode(coded)
                    .map_err(|error| format!("payload_base64: {error}"))?,
                (Some(_), Some(_)) => {
                    return Err("payload and payload_base64: give one of them".to_owned());
                }
                (None, None) => {
                    return Err("payload: there is none; give payload or payload_base64".to_owned());
                }
            };
            if let Some(token) = &token
                && (token.is_empty() || token.len() > TOKEN_MAX)
            {
                return Err(format!("token: it has {} bytes; give 1 to {TOKEN_MAX}", token.len()));
            }
            if let Some(sensor) = &sensor
                && (sensor.is_empty() || sensor.len() > SENSOR_MAX)
            {
                return Err(format!(
                    "sensor: it has {} bytes; give 1 to {SENSOR_MAX}",
                    sensor.len()
                ));
            }
            Wish::Publish { payload, sensor, guarantee, wait, token }
        }
        Said::Subscribe { from, until, count, kinds, sensor, origin } => {
            if count == Some(0) {
                return Err(
                    "count: 0 readings would be none at all; leave it out for no end".to_owned()
                );
            }
            Wish::Subscribe(Box::new(Subscribe {
                from: from.map_or(Ok(From::Now), |from| read_from(&from, utc))?,
                until: until.map(|until| read_until(&until)).transpose()?,
                count,
                filter: Filter::new(kinds, sensor.as_deref(), origin.as_deref())?.into(),
            }))
        }
    })
}

fn read_from(from: &Value, utc: u64) -> Result<From, String> {
    let unknown = || {
        format!(
            "from: {from} is none of \"now\", \"start\", \"last 10\", {{\"log\":…,\"seq\":…}}, \
             {{\"since\":\"1h\"}} and \
             {{\"since\":\"2026-11-28T06:00:00Z\"}}"
        )
    };
    match from {
        Value::String(text) => match text.as_str() {
            "now" => Ok(From::Now),
            "start" => Ok(From::Start),
            text => {
                let count = text.strip_prefix("last ").ok_or_else(unknown)?;
                count.trim().parse().map(From::Last).map_err(|_| unknown())
            }
        },
        Value::Object(keys) if keys.contains_key("since") && keys.len() == 1 => {
            let since = keys["since"].as_str().ok_or_else(unknown)?;
            read_since(since, utc).map(From::Since).map_err(|why| format!("from: since: {why}"))
        }
        Value::Object(_) => {
            let place: SaidPlace =
                serde_json::from_value(from.clone()).map_err(|error| format!("from: {error}"))?;
            let epoch = place.epoch.map(LogId::into_epoch);
            Ok(From::Position(Place {
                log: place.log,
                seq: Seq(place.seq.clamp(1, SEQ_MAX)),
                epoch,
            }))
        }
        _ => Err(unknown()),
    }
}

/// A position. An epoch with its owner's incarnation is written like the name of a log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidPlace {
    log: LogId,
    seq: u64,
    epoch: Option<LogId>,
}

fn read_since(text: &str, utc: u64) -> Result<u64, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(utc.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)));
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        format!("{text:?} is neither a span such as 1h nor a time such as 2026-11-28T06:00:00Z")
    })?;
    Ok(u64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(0))
}

fn read_until(until: &Value) -> Result<Until, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Place {
        log: Option<LogId>,
        seq: u64,
    }
    match until {
        Value::String(text) if text == "now" => Ok(Until::Now),
        Value::Object(_) => {
            let Place { log, seq } =
                serde_json::from_value(until.clone()).map_err(|error| format!("until: {error}"))?;
            Ok(Until::Position { log, seq: Seq(seq.min(SEQ_MAX)) })
        }
        _ => Err(format!("until: {until} is neither \"now\" nor {{\"seq\":…}}")),
    }
}

/// The longest id of a request, as JSON.
const ID_MAX: usize = 64;
/// The longest sensor name of a client.
const SENSOR_MAX: usize = 256;
/// The longest token.
const TOKEN_MAX: usize = 128;
/// The end of positions (`WIRE.md`).
const SEQ_MAX: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::{From, Until, Wish, read};
    use crate::door::Wait;

    #[track_caller]
    fn wish(line: &str) -> Wish {
        read(line.as_bytes(), 10_000_000_000)
            .unwrap_or_else(|(_, fault)| panic!("{line}: {}", fault.say))
            .wish
    }

    #[track_caller]
    fn check_from(from: &str, expected: &From) {
        let Wish::Subscribe(asked) =
            wish(&format!("{{\"id\":1,\"do\":\"subscribe\",\"from\":{from}}}"))
        else {
            panic!("{from}")
        };
        assert_eq!(asked.from, *expected, "{from}");
    }

    #[test]
    fn an_id_comes_back_as_it_was() {
        for id in ["1", "-7", "1.5", "\"a b\"", "\"\"", "18446744073709551615"] {
            assert_eq!(
                read(format!("{{\"id\":{id},\"do\":\"status\"}}").as_bytes(), 0).unwrap().id,
                id
            );
        }
    }

    #[test]
    fn a_subscription_begins_and_ends_where_it_says() {
        check_from("\"now\"", &From::Now);
        check_from("\"start\"", &From::Start);
        check_from("\"last 7\"", &From::Last(7));
        check_from("\"last  7\"", &From::Last(7));
        check_from("{\"since\":\"1h\"}", &From::Since(6_400_000_000));
        check_from("{\"since\":\"9999d\"}", &From::Since(0));
        check_from("{\"since\":\"1970-01-01T00:00:01Z\"}", &From::Since(1_000_000));
        check_from("{\"since\":\"1950-01-01T00:00:01Z\"}", &From::Since(0));
        let Wish::Subscribe(asked) =
            wish(r#"{"id":1,"do":"subscribe","from":{"log":"1.a#5","seq":18446744073709551615}}"#)
        else {
            panic!()
        };
        let From::Position(place) = asked.from else { panic!("{:?}", asked.from) };
        assert_eq!((place.seq.0, place.epoch), (1 << 62, None), "positions end there");
        let Wish::Subscribe(asked) = wish(r#"{"id":1,"do":"subscribe","until":{"seq":5}}"#) else {
            panic!()
        };
        assert_eq!(
            (asked.from, asked.until),
            (From::Now, Some(Until::Position { log: None, seq: super::Seq(5) }))
        );
    }

    #[test]
    fn a_reading_has_one_payload_and_what_is_said_of_it() {
        let Wish::Publish { payload, guarantee, wait, token, .. } =
            wish(r#"{"do":"publish","payload":"a","id":1}"#)
        else {
            panic!()
        };
        assert_eq!(
            (payload.as_slice(), guarantee, wait, token),
            (b"a".as_slice(), None, Wait::Accepted, None)
        );
        let line = r#"{"id":1,"do":"publish","payload_base64":"/wA=","guarantee":"safe","wait":"ordered","token":"t"}"#;
        let Wish::Publish { payload, guarantee, wait, token, .. } = wish(line) else { panic!() };
        assert_eq!(
            (payload.as_slice(), guarantee.is_some(), wait, token.as_deref()),
            (b"\xff\0".as_slice(), true, Wait::Ordered, Some("t"))
        );
    }

    #[test]
    fn what_cannot_be_understood_says_which_key_is_wrong() {
        let long =
            format!(r#"{{"id":1,"do":"publish","payload":"","token":"{}"}}"#, "x".repeat(129));
        let table = [
            ("", None, "no JSON object"),
            ("7", None, "no JSON object"),
            (r#"{"id":[1],"do":"status"}"#, None, "id: give a number or a text"),
            (r#"{"do":"status"}"#, None, "id: there is none"),
            (r#"{"id":1} {"id":2}"#, None, "trailing characters"),
            (r#"{"id":1,"do":7}"#, Some("1"), "invalid type"),
            (r#"{"id":1,"do":"status","id2":1}"#, Some("1"), "unknown field `id2`"),
            (r#"{"id":1,"do":"why","peer":"a/b"}"#, Some("1"), "a/b"),
            (r#"{"id":1,"do":"publish","payload":7}"#, Some("1"), "invalid type"),
            (
                r#"{"id":1,"do":"publish","payload":"","wait":"forever"}"#,
                Some("1"),
                "unknown variant `forever`",
            ),
            (&long, Some("1"), "token: it has 129 bytes; give 1 to 128"),
            (r#"{"id":1,"do":"subscribe","count":0}"#, Some("1"), "count: 0 readings"),
            (r#"{"id":1,"do":"subscribe","count":-1}"#, Some("1"), "invalid value"),
            (r#"{"id":1,"do":"subscribe","from":7}"#, Some("1"), "from: 7 is none of"),
            (r#"{"id":1,"do":"subscribe","from":"last"}"#, Some("1"), "is none of"),
            (r#"{"id":1,"do":"subscribe","from":"last -1"}"#, Some("1"), "is none of"),
            (r#"{"id":1,"do":"subscribe","from":{"since":7}}"#, Some("1"), "is none of"),
            (
                r#"{"id":1,"do":"subscribe","from":{"since":"-1h"}}"#,
                Some("1"),
                "from: since: \"-1h\" is neither",
            ),
            (r#"{"id":1,"do":"subscribe","from":{"seq":1}}"#, Some("1"), "missing field `log`"),
            (r#"{"id":1,"do":"subscribe","from":{"log":"1.a#1","seq":1.5}}"#, Some("1"), "from: "),
            (
                r#"{"id":1,"do":"subscribe","until":"then"}"#,
                Some("1"),
                "until: \"then\" is neither",
            ),
            (r#"{"id":1,"do":"subscribe","sensor":"[a"}"#, Some("1"), "sensor: "),
            (
                r#"{"id":1,"do":"subscribe","kinds":["reading","x"]}"#,
                Some("1"),
                "unknown variant `x`",
            ),
            (r#"{"id":1,"do":"log_level","level":"loud"}"#, Some("1"), "unknown variant"),
            (r#"{"id":"x","do":"demote","undo":1}"#, Some("\"x\""), "invalid type"),
        ];
        for (line, id, words) in table {
            let (told, fault) = read(line.as_bytes(), 0).unwrap_err();
            assert_eq!((told.as_deref(), fault.code), (id, "bad_request"), "{line}");
            assert!(fault.say.contains(words), "{line}: {}", fault.say);
        }
    }
}
