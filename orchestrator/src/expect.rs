//! Checks expectations against the observations, by the times that the peers themselves recorded.
//! So a slow orchestrator neither breaks an expectation nor lets one pass.
//!
//! An expectation after a repeated step has to be met each time. A log line counts only if it was
//! written after the act, by its offset in the file.

mod search;

use std::collections::BTreeMap;
use std::time::Duration;

use promises::history::Record;
use promises::selector::{Draw, Selector};
use promises::{Bindings, SelectorError};
use protocol::config::Knobs;
use protocol::note::Note;
use protocol::time::Time;

use crate::observed::{Observed, Occurrence};
use crate::scenario::diagnostic::Span;
use crate::scenario::{Expectation, Point, What};

pub use search::{Found, Search, Window};

/// The outcome of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Met.
    Met,
    /// Open until this time, or until the end of the run.
    Pending(Option<Time>),
    /// Missed: why, and the lines that prove it.
    Missed {
        /// What was expected and what was found, in a sentence.
        words: String,
        /// Lines of events or logs.
        evidence: Vec<String>,
    },
}

/// Checks expectations against the observations so far.
#[derive(Clone, Copy, Debug)]
pub struct Examiner<'a> {
    /// The observations.
    pub observed: &'a Observed,
    /// The knobs that durations refer to.
    pub knobs: &'a Knobs,
    /// When the run began.
    pub began: Time,
    /// The current time; the end of the run once it is over.
    pub now: Time,
    /// Whether the run is over, so that no expectation stays open.
    pub over: bool,
    /// The run's seed.
    pub seed: u64,
    /// The processes that each name is bound to now.
    pub bindings: &'a Bindings,
}

impl Examiner<'_> {
    /// The outcome of an expectation.
    #[must_use]
    pub fn examine(&self, expectation: &Expectation) -> Outcome {
        let Some(point) = &expectation.after else {
            let window = Window {
                from: Time::ZERO,
                until: self.until(expectation, self.began, None),
                marks: BTreeMap::new(),
            };
            return self.examine_window(expectation, &window, None);
        };
        let acts: Vec<&Occurrence> = self.observed.of_step(&point.step).collect();
        if acts.is_empty() {
            return self.open(None, || (format!("step `{}` was never done", point.step), vec![]));
        }
        let mut open = None;
        for (at, act) in acts.iter().enumerate() {
            let Some((from, marks)) = instant(act, point.end) else {
                open = Some(None);
                continue;
            };
            let next = acts.get(at + 1).map(|next| next.start);
            let window = Window { from, until: self.until(expectation, from, next), marks };
            match self.examine_window(expectation, &window, Some(act)) {
                Outcome::Met => {}
                Outcome::Pending(until) => open = Some(until),
                Outcome::Missed { words, evidence } => {
                    let words = if acts.len() > 1 {
                        format!("time {} of {}: {words}", at + 1, acts.len())
                    } else {
                        words
                    };
                    return Outcome::Missed { words, evidence };
                }
            }
        }
        match open {
            None => Outcome::Met,
            Some(until) => {
                self.open(until, || (format!("step `{}` did not end", point.step), vec![]))
            }
        }
    }

    fn examine_window(
        &self,
        expectation: &Expectation,
        window: &Window,
        act: Option<&Occurrence>,
    ) -> Outcome {
        if let What::Unordered(least) = expectation.what {
            let count = self.unordered_at(window.from);
            return if count >= least {
                Outcome::Met
            } else {
                Outcome::Missed {
                    words: format!(
                        "{count} readings were published and not ordered at that moment, expected \
                         {least} or more"
                    ),
                    evidence: vec![],
                }
            };
        }
        let bindings = act.map_or(self.bindings, |act| {
            if act.end.is_some() { &act.bindings } else { self.bindings }
        });
        let found = Search::over(self.observed, &expectation.what, bindings, window.clone());
        if let Some(words) = found.no_field {
            return Outcome::Missed { words, evidence: vec![] };
        }
        let whom = match self.whom(expectation, bindings, act) {
            Ok(whom) => whom,
            Err(error) => return self.open(Some(window.until), || (error.to_string(), vec![])),
        };
        let counts: Vec<(String, u64)> = match &whom {
            Some(processes) => processes
                .iter()
                .map(|process| (process.clone(), found.count.get(process).copied().unwrap_or(0)))
                .collect(),
            None => vec![("anybody".to_owned(), found.count.values().sum())],
        };
        let (least, most) = expectation.count;
        if let Some((who, count)) = counts.iter().find(|(_, count)| *count > most) {
            let limit =
                if most == 0 { "never".to_owned() } else { format!("at most {most} times") };
            let words = format!(
                "{}: seen {count} times at {who}, expected {limit} {}",
                title(&expectation.what),
                self.span_of(window)
            );
            return Outcome::Missed { words, evidence: found.lines };
        }
        let short: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count < least)
            .map(
                |(who, count)| {
                    if least > 1 { format!("{who} ({count} of {least})") } else { who.clone() }
                },
            )
            .collect();
        // An expectation with an upper count stays open to its end, since one more match could
        // come.
        let settled = most == u64::MAX || self.now > window.until || self.over;
        if short.is_empty() && settled {
            return Outcome::Met;
        }
        self.open(Some(window.until), || {
            let words = format!(
                "{}: not seen at {} {}",
                title(&expectation.what),
                short.join(", "),
                self.span_of(window)
            );
            (words, found.near)
        })
    }

    /// Pending while there is time left, missed afterwards.
    fn open(&self, until: Option<Time>, missed: impl FnOnce() -> (String, Vec<String>)) -> Outcome {
        if self.over || until.is_some_and(|until| self.now > until + GRACE) {
            let (words, evidence) = missed();
            return Outcome::Missed { words, evidence };
        }
        Outcome::Pending(until.filter(|until| until.as_micros() != u64::MAX))
    }

    fn whom(
        &self,
        expectation: &Expectation,
        bindings: &Bindings,
        act: Option<&Occurrence>,
    ) -> Result<Option<Vec<String>>, SelectorError> {
        let Some(on) = &expectation.on else { return Ok(None) };
        // `everybody` means every process that ran at that time.
        if let (Selector::All, Some(act)) = (&on.value, act)
            && act.end.is_some()
        {
            return Ok(Some(act.moving.clone()));
        }
        on.value
            .resolve(
                &self.observed.standing,
                bindings,
                Draw { seed: self.seed, purpose: "expect", counter: 0 },
            )
            .map(Some)
    }

    fn until(&self, expectation: &Expectation, from: Time, next: Option<Time>) -> Time {
        let within = expectation.within.as_ref().map(|within| from + within.under(self.knobs));
        let before = expectation.before.as_ref().and_then(|point| self.first_after(point, from));
        // At the latest the end of the run: events of the shutdown do not count.
        let over = self.over.then_some(self.now);
        [within, before, next, over]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Time::from_micros(u64::MAX))
    }

    fn first_after(&self, point: &Point, from: Time) -> Option<Time> {
        self.observed
            .of_step(&point.step)
            .filter_map(|act| instant(act, point.end))
            .map(|(time, _)| time)
            .find(|time| *time >= from)
    }

    /// How many readings were published and not delivered anywhere at a moment, by the history.
    fn unordered_at(&self, moment: Time) -> u64 {
        let mut open = std::collections::HashSet::new();
        let peers = || {
            self.observed
                .events
                .iter()
                .filter_map(
                    |(_, record)| if let Record::Peer(event) = record { Some(event) } else { None },
                )
                .filter(|event| event.t < moment)
        };
        for event in peers() {
            if let Note::Publish { oseq, .. } = &event.note {
                open.insert((&event.p, event.inc, *oseq));
            }
        }
        for event in peers() {
            if let Note::Deliver { origin, origin_inc, oseq, .. } = &event.note {
                open.remove(&(origin, *origin_inc, *oseq));
            }
        }
        open.len() as u64
    }

    fn span_of(&self, window: &Window) -> String {
        let start = window.from.since(self.began);
        if window.until.as_micros() == u64::MAX {
            return format!("from {} on", shown(start));
        }
        format!("between {} and {}", shown(start), shown(window.until.since(self.began)))
    }
}

fn instant(act: &Occurrence, end: bool) -> Option<(Time, BTreeMap<String, u64>)> {
    if end {
        act.end.map(|time| (time, act.end_marks.clone()))
    } else {
        Some((act.start, act.start_marks.clone()))
    }
}

/// What is expected, in a few words.
#[must_use]
pub fn title(what: &What) -> String {
    match what {
        What::Event(pattern) if pattern.fields.is_empty() => format!("event `{}`", pattern.name),
        What::Event(pattern) => {
            let fields: Vec<String> = pattern
                .fields
                .iter()
                .map(|(key, wanted)| format!("{key} = {}", wanted.join(" or ")))
                .collect();
            format!("event `{}` with {}", pattern.name, fields.join(", "))
        }
        What::Log(pattern) => format!("log line /{}/", pattern.0.value),
        What::Unordered(least) => format!("{least} unordered readings"),
    }
}

/// A missed expectation and its place in the file, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What was expected.
    pub title: String,
    /// Its place in the file.
    pub span: Span,
    /// What was found instead.
    pub words: String,
    /// Lines that prove it.
    pub evidence: Vec<String>,
}

/// A duration for people.
#[must_use]
pub fn shown(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{:.1} ms", span.as_secs_f64() * 1e3)
    } else {
        format!("{:.3} s", span.as_secs_f64())
    }
}

/// How long after the end of a window its last events may still arrive.
const GRACE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use promises::Bindings;
    use promises::history::{Line, parse_line};
    use protocol::config::Knobs;
    use protocol::time::Time;

    use super::{Examiner, Outcome};
    use crate::observed::{LogLine, Observed, Occurrence};
    use crate::scenario::diagnostic::Source;
    use crate::scenario::{Cell, parse};
    use crate::world::Seen;

    /// One step `act` at 1000 µs; peer2 logs at byte 100 and loses peer1 at 1500 µs.
    fn observed() -> Observed {
        let mut observed = Observed::default();
        let mut event = |process: &str, text: &str| {
            let Ok(Line::Record(record)) = parse_line(text) else { panic!("{text}") };
            observed.take(Seen::Event { process: process.to_owned(), record });
        };
        event(
            "peer2",
            r#"{"v":1,"t":500,"p":"peer2","inc":1,"n":1,"ev":"start","pid":1,"pid_start":1,"log":null,"address":"127.0.0.1:5002","build":"b","birth":1,"priority":0,"status":null}"#,
        );
        event(
            "peer2",
            r#"{"v":1,"t":1500,"p":"peer2","inc":1,"n":2,"ev":"peer_removed","peer":"peer1","peer_inc":1,"view_id":2}"#,
        );
        for (offset, text) in [(0, "became the leader"), (100, "became the leader again")] {
            let line = LogLine { offset, time: Time::from_micros(1_200), text: text.to_owned() };
            observed.logs.entry("peer2".to_owned()).or_default().push(line);
        }
        let marks = [("peer2".to_owned(), 50)].into();
        let bindings: Bindings = [("victim".to_owned(), vec!["peer1".to_owned()])].into();
        let (start, end) = (Time::from_micros(1_000), Some(Time::from_micros(1_100)));
        let moving = vec!["peer2".to_owned()];
        observed.occurrences.push(Occurrence {
            step: "act".to_owned(),
            start,
            end,
            start_marks: marks,
            end_marks: [].into(),
            bindings,
            moving,
        });
        observed
    }

    /// The outcome of an expectation at a moment; `over` if that is the end of the run.
    fn examine(expectation: &str, now: u64, over: bool) -> Outcome {
        let text = format!(
            "[scenario]\nname = 'x'\n[cluster]\npeers = 2\n[[step]]\nid = 'act'\nkill = {{ who = \
             'peer1', as = 'victim' }}\n[[expect]]\n{expectation}\n"
        );
        let source = Source::new(Path::new("x.toml"), text);
        let (scenario, _) = parse(&source, &Cell::new(), None)
            .unwrap_or_else(|found| panic!("{}", found[0].render(&source, false)));
        let (observed, knobs, bindings) = (observed(), Knobs::fast(), Bindings::new());
        let (began, now) = (Time::ZERO, Time::from_micros(now));
        Examiner {
            observed: &observed,
            knobs: &knobs,
            began,
            now,
            over,
            seed: 1,
            bindings: &bindings,
        }
        .examine(&scenario.expectations[0])
    }

    #[track_caller]
    fn check_met(expectation: &str) {
        assert_eq!(examine(expectation, 900_000, true), Outcome::Met);
    }

    #[track_caller]
    fn check_missed(expectation: &str, told: &str) {
        match examine(expectation, 900_000, true) {
            Outcome::Missed { words, .. } => assert!(words.contains(told), "{words}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_count_by_field_place_and_time() {
        check_met(
            "event = 'peer_removed'\nwhere = { peer = '$victim' }\non = 'peer2'\nafter = \
             'act'\nwithin = '1ms'",
        );
        check_missed(
            "event = 'peer_removed'\nwhere = { peer = 'peer2' }\nafter = 'act'",
            "not seen at anybody",
        );
        check_missed(
            "event = 'peer_removed'\non = ['peer2', '$victim']\nafter = 'act'",
            "not seen at peer1",
        );
        check_missed("event = 'peer_removed'\nafter = 'act'\nwithin = '0.4ms'", "not seen");
        check_missed("event = 'peer_removed'\ncount = 2", "1 of 2");
    }

    #[test]
    fn never_is_broken_by_one_and_by_a_field_that_does_not_exist() {
        check_met("never = 'peer_removed'\nbefore = 'act'");
        check_missed("never = 'peer_removed'\nafter = 'act'", "expected never");
        // Otherwise a typing mistake would create an expectation that nothing can break.
        check_missed("never = 'peer_removed'\nwhere = { pear = 'peer1' }", "no field `pear`");
    }

    #[test]
    fn lines_count_only_if_they_were_written_after_the_act() {
        check_met("log = 'became the leader'\non = 'peer2'\nafter = 'act'\ncount = 1");
        check_missed("log = 'became the leader$'\nafter = 'act'", "not seen");
        check_met("log = 'became the leader$'");
    }

    #[test]
    fn what_may_still_come_is_open_until_its_time_is_over() {
        let late = "event = 'view'\nafter = 'act'\nwithin = '100ms'";
        assert_eq!(examine(late, 2_000, false), Outcome::Pending(Some(Time::from_micros(101_000))));
        assert!(matches!(examine(late, 500_000, false), Outcome::Missed { .. }));
        assert_eq!(
            examine("event = 'view'\nafter = 'act'", 500_000, false),
            Outcome::Pending(None)
        );
    }
}
