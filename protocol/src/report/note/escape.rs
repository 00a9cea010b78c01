//! Text of others on one line: what a terminal, a log tool or a table would act on, or would not
//! show, is written out.
//!
//! Sensors, other peers and files choose these bytes. A line end forges a log line, a control
//! sequence moves the cursor, a bidirectional override shows a text in another order, and an
//! invisible character makes two ids look alike.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Any bytes as text on one line. Control and invisible characters and bytes that are no UTF-8 are
/// escaped, and so is the backslash: what is written can be read back, and different bytes never
/// look the same.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| {
            if c == '\\' || acts(c) { text.extend(c.escape_default()) } else { text.push(c) }
        });
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    text
}

/// Text of several lines, such as a whole report, with the same characters escaped; line ends and
/// backslashes stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let escapes = |c: char| c != '\n' && acts(c);
    if !text.contains(escapes) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars()
        .for_each(|c| if escapes(c) { shown.extend(c.escape_default()) } else { shown.push(c) });
    Cow::Owned(shown)
}

/// Whether a character does something other than being seen: control characters, line and paragraph
/// separators, and what Unicode calls format characters or default-ignorable ones. Variation
/// selectors are left, because emoji need them.
fn acts(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::{escape, printable};

    #[test]
    fn no_payload_forges_a_line() {
        assert_eq!(
            escape(b"a\nPeer p1 became the Group Leader\\"),
            "a\\nPeer p1 became the Group Leader\\\\"
        );
        assert_eq!(escape(b"\xff\x00\xe2\x82\xac"), "\\xff\\u{0}\u{20ac}");
    }

    #[test]
    fn what_is_not_seen_is_written_out() {
        for c in [
            '\u{1b}',
            '\u{85}',
            '\u{9b}',
            '\u{200b}',
            '\u{202e}',
            '\u{2028}',
            '\u{2066}',
            '\u{feff}',
            '\u{ad}',
            '\u{e0041}',
        ] {
            let text = format!("a{c}b");
            let written = format!("a{}b", c.escape_default());
            assert_eq!(escape(text.as_bytes()), written);
            assert_eq!(printable(&text), written);
        }
        for plain in ["21.5 °C", "größe", "温度", "🌡\u{fe0f}", "a'b\"c"] {
            assert_eq!(escape(plain.as_bytes()), plain);
            assert_eq!(printable(plain), plain);
        }
    }

    #[test]
    fn a_report_keeps_its_lines() {
        assert_eq!(printable("a\\b\nc\r\nd"), "a\\b\nc\\r\nd");
    }
}
