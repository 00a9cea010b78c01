//! The definition of a number: a JSON number that a 64-bit float holds without rounding.

/// The kind of an unquoted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number of JSON with at most 15 significant digits.
    Number,
    /// It is meant as a number, but readers would parse it differently: `NaN`, `21,5`, `+3`, too
    /// many digits.
    Nearly,
    /// Anything else.
    Other,
}

/// The kind of this text.
pub(super) fn kind(text: &str) -> Kind {
    if is_json(text) {
        return if is_exact(text) { Kind::Number } else { Kind::Nearly };
    }
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["nan", "inf", "infinity"].iter().any(|word| bare.eq_ignore_ascii_case(word))
        || is_nearly(bare)
    {
        return Kind::Nearly;
    }
    Kind::Other
}

/// The grammar of JSON: no sign but `-`, no leading zeros, digits on both sides of the point.
fn is_json(text: &str) -> bool {
    let (mantissa, exponent) = parts(text);
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = unsigned
        .split_once('.')
        .map_or((unsigned, None), |(whole, fraction)| (whole, Some(fraction)));
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(is_digits)
}

/// Whether a 64-bit float holds the number: 15 digits always fit, and the exponent is in range.
fn is_exact(json: &str) -> bool {
    let digits =
        || parts(json).0.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
    digits().count() <= DIGITS_MAX
        && json.parse::<f64>().is_ok_and(|number| number.is_normal() || digits().next().is_none())
}

/// Digits with at most two separators, such as `21,5` and `1.234,5`; a text with more of them is an
/// address or a version.
fn is_nearly(unsigned: &str) -> bool {
    let (mantissa, exponent) = parts(unsigned);
    let separators = mantissa.bytes().filter(|byte| matches!(byte, b'.' | b',')).count();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    digits > 0
        && separators <= 2
        && digits + separators == mantissa.len()
        && exponent.is_none_or(is_digits)
}

fn parts(text: &str) -> (&str, Option<&str>) {
    text.split_once(['e', 'E'])
        .map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every decimal number with this many digits survives a conversion to a 64-bit float and back.
const DIGITS_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::{Kind, kind};

    #[test]
    fn numbers_are_what_json_calls_numbers() {
        for number in [
            "0",
            "-0",
            "21.5",
            "21.50",
            "-3e-7",
            "1E+5",
            "123456789012345",
            "0.000000000000000000123",
            "0.000",
        ] {
            assert_eq!(kind(number), Kind::Number, "{number}");
        }
        let nearly = [
            "NaN",
            "nan",
            "inf",
            "-Infinity",
            "21,5",
            "1.234,5",
            "+3",
            ".5",
            "5.",
            "007",
            "1234567890123456",
            "0.30000000000000004",
            "1e999",
            "1e-999",
            "-21,5",
        ];
        for nearly in nearly {
            assert_eq!(kind(nearly), Kind::Nearly, "{nearly}");
        }
        for other in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "on",
            "0x1f",
            "10.0.0.1",
            "2026-11-28",
            "21.5 C",
            "21.5°",
            "nano",
            "1_000",
            "٣",
            "1e5e5",
        ] {
            assert_eq!(kind(other), Kind::Other, "{other}");
        }
    }
}
