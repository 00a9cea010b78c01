//! Durations in a scenario: sums of `[number] unit` over the timing profile, such as
//! `heartbeat_timeout + 4 heartbeats` or `500ms`.
//!
//! Kept as an expression, so that one file serves the product's slow defaults, the fast profile and
//! the simulator.

use std::fmt;
use std::time::Duration;

use protocol::config::Knobs;

use super::diagnostic::nearest;

/// A duration expression; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanOfTime(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    /// In thousandths, so that `1.5 heartbeats` is exact.
    thousandths: u64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Millisecond,
    Second,
    Minute,
    Heartbeat,
    HeartbeatTimeout,
    ElectionTimeout,
    SyncTimeout,
    JoinTimeout,
}

/// An invalid duration: what is wrong, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct BadSpanOfTime {
    /// What is wrong.
    pub what: String,
    /// The nearest known unit, if there is one.
    pub near: Option<&'static str>,
}

impl SpanOfTime {
    /// Reads an expression.
    ///
    /// # Errors
    /// Says which term is not one.
    pub fn parse(text: &str) -> Result<Self, BadSpanOfTime> {
        text.split('+').map(Term::parse).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// A plain number of milliseconds.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(vec![Term { thousandths: millis.saturating_mul(1_000), unit: Unit::Millisecond }])
    }

    /// Its length under these knobs.
    #[must_use]
    pub fn under(&self, knobs: &Knobs) -> Duration {
        let micros = self.0.iter().fold(0_u128, |sum, term| {
            sum + term.unit.under(knobs).as_micros() * u128::from(term.thousandths) / 1_000
        });
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Whether it is zero under every profile.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|term| term.thousandths == 0)
    }

    /// Whether it is longer than a day even with the short deadlines of tests, which no scenario
    /// needs.
    #[must_use]
    pub fn is_absurd(&self) -> bool {
        self.under(&Knobs::fast()) > LONGEST
    }

    /// Whether it is written in seconds alone, and so ignores the timing profile.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.0
            .iter()
            .all(|term| matches!(term.unit, Unit::Millisecond | Unit::Second | Unit::Minute))
    }
}

impl fmt::Display for SpanOfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Term { thousandths, unit }) in self.0.iter().enumerate() {
            let plus = if at == 0 { "" } else { " + " };
            let (whole, rest) = (thousandths / 1_000, thousandths % 1_000);
            let fraction = if rest == 0 {
                String::new()
            } else {
                format!(".{rest:03}").trim_end_matches('0').to_owned()
            };
            write!(f, "{plus}{whole}{fraction} {}", unit.name())?;
        }
        Ok(())
    }
}

impl Term {
    fn parse(text: &str) -> Result<Self, BadSpanOfTime> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(BadSpanOfTime {
                what: "a duration is not negative".to_owned(),
                near: None,
            });
        }
        let digits = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
            .unwrap_or(text.len());
        let (number, unit) = (text[..digits].replace('_', ""), text[digits..].trim());
        let bad = |what| Err(BadSpanOfTime { what, near: None });
        if text.is_empty() {
            return bad("a duration is missing here".to_owned());
        }
        let thousandths = if number.is_empty() { Some(1_000) } else { thousandths(&number) };
        let Some(thousandths) = thousandths else {
            return bad(format!("`{number}` is not a number with at most three decimals"));
        };
        if unit.is_empty() {
            return bad(format!("`{text}` has no unit; units: {}", Unit::NAMES.join(", ")));
        }
        match Unit::parse(unit) {
            Some(unit) => Ok(Self { thousandths, unit }),
            None => Err(BadSpanOfTime {
                what: format!("unknown unit `{unit}`; units: {}", Unit::NAMES.join(", ")),
                near: nearest(unit, Unit::NAMES),
            }),
        }
    }
}

fn thousandths(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 3 || whole.is_empty() {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(fraction)
}

impl Unit {
    const NAMES: [&'static str; 8] = [
        "ms",
        "s",
        "min",
        "heartbeats",
        "heartbeat_timeout",
        "election_timeout",
        "sync_timeout",
        "join_timeout",
    ];

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ms" => Self::Millisecond,
            "s" => Self::Second,
            "min" => Self::Minute,
            "heartbeat" | "heartbeats" => Self::Heartbeat,
            "heartbeat_timeout" | "heartbeat_timeouts" => Self::HeartbeatTimeout,
            "election_timeout" | "election_timeouts" => Self::ElectionTimeout,
            "sync_timeout" | "sync_timeouts" => Self::SyncTimeout,
            "join_timeout" | "join_timeouts" => Self::JoinTimeout,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Millisecond => "ms",
            Self::Second => "s",
            Self::Minute => "min",
            Self::Heartbeat => "heartbeats",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::ElectionTimeout => "election_timeout",
            Self::SyncTimeout => "sync_timeout",
            Self::JoinTimeout => "join_timeout",
        }
    }

    fn under(self, knobs: &Knobs) -> Duration {
        match self {
            Self::Millisecond => Duration::from_millis(1),
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Heartbeat => knobs.heartbeat_interval,
            Self::HeartbeatTimeout => knobs.heartbeat_timeout,
            Self::ElectionTimeout => knobs.election_timeout,
            Self::SyncTimeout => knobs.sync_timeout,
            Self::JoinTimeout => knobs.join_timeout,
        }
    }
}

/// The longest duration of a scenario.
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::SpanOfTime;
    use protocol::config::Knobs;
    use std::time::Duration;

    #[track_caller]
    fn check(text: &str, fast_ms: u64, shown: &str) {
        let span = SpanOfTime::parse(text).unwrap();
        assert_eq!(span.under(&Knobs::fast()), Duration::from_millis(fast_ms));
        assert_eq!(span.to_string(), shown);
        assert_eq!(SpanOfTime::parse(shown).unwrap(), span);
    }

    #[track_caller]
    fn check_refused(text: &str, words: &str) {
        let error = SpanOfTime::parse(text).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn expressions_follow_the_profile() {
        check("3 heartbeats", 300, "3 heartbeats");
        check("heartbeat_timeout + 500ms", 1_000, "1 heartbeat_timeout + 500 ms");
        check(
            "2 election_timeout+sync_timeout + 1.5 s",
            2_100,
            "2 election_timeout + 1 sync_timeout + 1.5 s",
        );
        check("join_timeout", 200, "1 join_timeout");
        let slow = SpanOfTime::parse("3 heartbeats").unwrap().under(&Knobs::default());
        assert_eq!(slow, Duration::from_secs(15));
    }

    #[test]
    fn what_is_no_duration_says_why() {
        check_refused("", "missing");
        check_refused("5", "no unit");
        check_refused("-3s", "not negative");
        check_refused("3 heartbeets", "unknown unit `heartbeets`");
        check_refused("1.2345 s", "three decimals");
        check_refused("99999999999999999999 s", "not a number");
        check_refused("1 s +", "missing");
        assert_eq!(SpanOfTime::parse("3 heartbeets").unwrap_err().near, Some("heartbeats"));
    }
}
