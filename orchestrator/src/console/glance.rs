//! The short form of a reading: the sensor and its fields in readable units. The logs hold the full
//! text.

use std::fmt::Write as _;

/// `DATA|peer1.host|<time>|cpu_percent=3.1|...` as `peer1.host cpu 3.1 % ...`; any other text as it
/// is.
pub(super) fn glance(text: &str) -> String {
    let Some((sensor, fields)) = text.strip_prefix("DATA|").and_then(|data| data.split_once('|'))
    else {
        return text.to_owned();
    };
    let mut words = sensor.to_owned();
    // The first part is the time, which the row shows already.
    for field in fields.split('|').skip(1) {
        match field.split_once('=') {
            // Constant fields are left out.
            Some((name, _)) if name.contains("_total_") => {}
            Some((name, value)) => {
                write!(words, "  {}", said(name, value)).expect("writing to a String cannot fail")
            }
            None => write!(words, "  {field}").expect("writing to a String cannot fail"),
        }
    }
    words
}

/// A field's name ends with its unit: `memory_used_bytes`, `temperature_celsius.core_0`.
fn said(name: &str, value: &str) -> String {
    let (stem, label) = name.split_once('.').unwrap_or((name, ""));
    let (stem, value) = if let Some(stem) = stem.strip_suffix("_percent") {
        (stem, format!("{value} %"))
    } else if let Some(stem) = stem.strip_suffix("_celsius") {
        (stem, format!("{value} °C"))
    } else if let Some((stem, bytes)) = stem.strip_suffix("_bytes").zip(value.parse().ok()) {
        (stem, size(bytes))
    } else {
        (stem, value.to_owned())
    };
    let (name, blank) = (stem.replace('_', " "), if label.is_empty() { "" } else { " " });
    format!("{name}{blank}{label} {value}")
}

/// Bytes in the unit that leaves one to three digits before the point.
#[allow(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn size(bytes: u64) -> String {
    let mut rest = bytes as f64;
    let mut unit = 0;
    while rest >= 999.95 && unit + 1 < UNITS.len() {
        rest /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{rest:.1} {}", UNITS[unit]) }
}

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

#[cfg(test)]
mod tests {
    use super::{glance, size};

    #[test]
    fn fields_are_said_with_their_units() {
        let text = "DATA|peer1.host|2026-11-23T08:41:54Z|cpu_percent=3.1|memory_total_bytes=9|memory_used_bytes=1325928448|load_1m=8.23|temperature_celsius.core_0=45.0";
        assert_eq!(
            glance(text),
            "peer1.host  cpu 3.1 %  memory used 1.3 GB  load 1m 8.23  temperature core_0 45.0 °C"
        );
    }

    #[test]
    fn any_text_has_a_glance() {
        for text in ["", "DATA|", "hello world", "DATA|x", "DATA"] {
            assert_eq!(glance(text), text);
        }
        assert_eq!(glance("DATA|s|t"), "s");
        assert_eq!(glance("DATA|s|t|flag|x_bytes=many"), "s  flag  x bytes many");
        assert_eq!(
            glance("DATA|s|t|=|.=1"),
            "s      1",
            "fields without a name are told as they are"
        );
    }

    #[test]
    fn sizes_have_one_to_three_digits() {
        let told: Vec<String> =
            [0, 999, 1_000, 999_949, 999_950, 25_274_793_984, u64::MAX].map(size).to_vec();
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "25.3 GB", "18.4 EB"]);
    }
}
