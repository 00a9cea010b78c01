//! Readings as influx line protocol, which Telegraf, Vector and InfluxDB read. Syntax:
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>.
//!
//! The measurement is the sensor, `origin` a tag, and the time is that of the origin. Position,
//! epoch and number are no tags: each value would create a series of its own.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One reading as a line, without its end.
#[must_use]
pub fn line(record: &Map<String, Value>) -> String {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let origin = text("origin").unwrap_or_default();
    let (sensor, fields) = match record.get("fields").and_then(Value::as_object) {
        Some(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{}={}", escape(name), self::value(value)));
            (text("sensor").unwrap_or(origin), fields.collect::<Vec<_>>().join(","))
        }
        None => {
            let key = if record.contains_key("payload") { "payload" } else { "payload_base64" };
            (origin, format!("{key}={}", quote(text(key).unwrap_or_default())))
        }
    };
    let tags = record.get("tags").and_then(Value::as_object).into_iter().flatten();
    let tags =
        tags.filter_map(|(name, tag)| Some(format!(",{}={}", escape(name), escape(tag.as_str()?))));
    let tags = tags.filter(|tag| !tag.starts_with(",origin=")).collect::<String>();
    let time = text("time").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let time = time.map(|time| format!(" {}", time.unix_timestamp_nanos())).unwrap_or_default();
    format!("{},origin={}{tags} {fields}{time}", escape_measurement(sensor), escape(origin))
}

/// A number or a boolean unchanged, otherwise a string.
fn value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), quote)
}

fn quote(text: &str) -> String {
    // A line end terminates a reading, even inside quotes.
    let text =
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
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
        // Neither names nor tags can contain a line end.
        out.push(if character.is_control() { '_' } else { character });
    }
    // A backslash at the end would escape the next character.
    if out.ends_with('\\') {
        out.push('_');
    }
    if out.is_empty() { "_".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::line;
    use serde_json::Value;

    #[track_caller]
    fn check(parts: &str, expected: &str) {
        let record = format!(
            r#"{{"kind":"reading","origin":"p1","time":"2026-11-28T06:24:36.567732Z",{parts}}}"#
        );
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(line(record.as_object().unwrap()), format!("{expected} 1795847076567732000"));
    }

    #[test]
    fn readings_are_lines_that_telegraf_takes() {
        let fields = r#""sensor":"kitchen.bme280","fields":{"celsius":21.5,"percent":48}"#;
        check(fields, "kitchen.bme280,origin=p1 celsius=21.5,percent=48");
        let fields = r#""sensor":"living room","fields":{"on":true,"note":"a \"b\"\\"},"tags":{"floor":"1 b"}"#;
        check(fields, r#"living\ room,origin=p1,floor=1\ b on=true,note="a \"b\"\\""#);
        check(
            r#""sensor":"a,b","fields":{"x y":"NaN","z":"21,5","e":""}"#,
            r#"a\,b,origin=p1 x\ y="NaN",z="21,5",e="""#,
        );
        check(r#""payload":"hello\nthere""#, r#"p1,origin=p1 payload="hello\nthere""#);
    }
}
