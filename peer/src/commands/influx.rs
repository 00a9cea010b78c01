//! Readings as influx line protocol, which Telegraf, Vector and InfluxDB read. Syntax:
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>.
//!
//! The measurement is the sensor, `origin` a tag, the time that of the origin. Position, epoch and number are no tags: each would
//! make a series of its own.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::sensors::payload;

/// One reading as a line, without its end.
#[must_use]
pub fn line(record: &Map<String, Value>) -> String {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let origin = text("origin").unwrap_or_default();
    let payload = text("payload");
    let (sensor, fields) = match payload.and_then(|payload| payload::read(payload.as_bytes()).ok()) {
        Some(data) => {
            let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let fields = data.fields.iter().map(|(name, value)| format!("{}={}", escape(&words(name)), self::value(&words(value))));
            (words(data.sensor), fields.collect::<Vec<_>>().join(","))
        }
        None => {
            let key = if payload.is_some() { "payload" } else { "payload_base64" };
            (origin.to_owned(), format!("{key}={}", quote(payload.or(text("payload_base64")).unwrap_or_default())))
        }
    };
    let time = text("time").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let time = time.map(|time| format!(" {}", time.unix_timestamp_nanos())).unwrap_or_default();
    format!("{},origin={} {fields}{time}", escape_measurement(&sensor), escape(origin))
}

/// A number where it is one, else a text.
fn value(text: &str) -> String {
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite) && serde_json::from_str::<serde_json::Number>(text).is_ok();
    match text {
        "true" | "false" => text.to_owned(),
        _ if is_number => text.to_owned(),
        _ => quote(text),
    }
}

fn quote(text: &str) -> String {
    // A line ends a reading, whatever stands round it.
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{text}\"")
}

fn escape(text: &str) -> String {
    escaped(text, &[',', '=', ' '])
}

fn escape_measurement(text: &str) -> String {
    escaped(text, &[',', ' '])
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            out.push('\\');
        }
        // Neither names nor tags can hold an end of line.
        out.push(if character.is_control() { '_' } else { character });
    }
    // A backslash at the end would hide what follows.
    if out.ends_with('\\') {
        out.push('_');
    }
    if out.is_empty() { "_".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::line;
    use serde_json::json;

    #[track_caller]
    fn check(payload: &str, expected: &str) {
        let record = json!({"kind":"reading","origin":"p1","time":"2026-11-28T06:24:36.567732Z","payload":payload});
        assert_eq!(line(record.as_object().unwrap()), format!("{expected} 1795847076567732000"));
    }

    #[test]
    fn readings_are_lines_that_telegraf_takes() {
        check("DATA|kitchen.bme280|t|celsius=21.5|percent=48", "kitchen.bme280,origin=p1 celsius=21.5,percent=48");
        check("DATA|living room|t|on=true|note=a \"b\"\\", "living\\ room,origin=p1 on=true,note=\"a \\\"b\\\"\\\\\"");
        check("DATA|a,b|t|x y=NaN|z=21,5|e=", "a\\,b,origin=p1 x\\ y=\"NaN\",z=\"21,5\",e=\"\"");
        check("hello\nthere", "p1,origin=p1 payload=\"hello\\nthere\"");
    }
}
