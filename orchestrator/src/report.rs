//! The report for people when a run is over: one line per run, its failures with evidence and
//! place, and at the end all failures once more. With `GITHUB_ACTIONS` set, failures become
//! annotations of the file as well.

use std::fmt::Write as _;

use crate::verdict::{Class, Outcome, Verdict, case_name};

/// The style of the results.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether colours may be used.
    pub colour: bool,
    /// Whether to print annotations for a forge.
    pub annotate: bool,
}

impl Style {
    /// The line of a finished run, and its details.
    #[must_use]
    pub fn finished(&self, verdict: &Verdict) -> String {
        let mut text = self.summary_line(verdict);
        if verdict.outcome != Outcome::Pass {
            text.push_str(&self.details(verdict));
        }
        for excused in &verdict.excused {
            text += &format!("         note: {excused}\n");
        }
        if self.annotate {
            text.push_str(&annotations(verdict));
        }
        text
    }

    /// ` PASS [ 3.412s] leader_election seed 7 9 of 9 expectations met, 17 of 19 laws and 9 of 11
    /// service levels held over 4123 looks`
    fn summary_line(&self, verdict: &Verdict) -> String {
        let (word, colour) = match verdict.outcome {
            Outcome::Pass => ("PASS", "32"),
            Outcome::Fail => ("FAIL", "31"),
            Outcome::Unknown => ("UNKNOWN", "33"),
            Outcome::Interrupted => ("STOPPED", "33"),
        };
        let word = self.paint(&format!("{word:>8}"), colour);
        let met = verdict.expectations.iter().filter(|expectation| expectation.met).count();
        let held = |demand: &str| {
            let all = || verdict.promises.iter().filter(|promise| promise.demand == demand);
            format!(
                "{} of {}",
                all().filter(|promise| promise.outcome == "held").count(),
                all().count()
            )
        };
        let looked: u64 = verdict.promises.iter().map(|promise| promise.looked_at).sum();
        let expected = match verdict.expectations.len() {
            0 => String::new(),
            count => format!("{met} of {count} expectations met, "),
        };
        format!(
            "{word} [{:>8.3}s] {}  seed {}  {expected}{} laws and {} service levels held over \
             {looked} looks\n",
            std::time::Duration::from_millis(verdict.took_ms).as_secs_f64(),
            case_name(&verdict.scenario, &verdict.matrix),
            verdict.seed,
            held("law"),
            held("level")
        )
    }

    fn details(&self, verdict: &Verdict) -> String {
        let mut text = String::new();
        for failure in &verdict.failures {
            let place = match (failure.line, failure.column) {
                (Some(line), Some(column)) => format!("{}:{line}:{column}: ", verdict.file),
                _ => String::new(),
            };
            text += &format!("         {} {place}{}\n", self.paint("x", "31"), failure.title);
            for line in failure.words.lines() {
                text += &format!("             {line}\n");
            }
            for line in &failure.evidence {
                text += &format!("             | {line}\n");
            }
            for command in &failure.replays {
                text += &format!("             step by step: {command}\n");
            }
        }
        for doubt in &verdict.doubts {
            text += &format!("         ? {doubt}\n");
        }
        if let Some(class) = verdict.class {
            let words = match class {
                Class::Product => "product".to_owned(),
                Class::Harness => "harness: the bench itself failed".to_owned(),
                Class::Machine => format!(
                    "machine: this process itself stood still for {} ms",
                    verdict.worst_lag_ms
                ),
            };
            text += &format!("         class   {words}\n");
        }
        text +=
            &format!("         folder  {}\n         again   {}\n", verdict.folder, verdict.replay);
        text
    }

    /// What to do next with a run that the user ended.
    #[must_use]
    pub fn farewell(&self, verdict: &Verdict) -> String {
        let folder = &verdict.folder;
        format!(
            "         All peers have left. What they said is in {folder}/<peer>_log.txt.\n         \
             To judge the run again: {}\n",
            self.paint(&format!("cargo xtask chaos judge {folder}"), "36")
        )
    }

    /// The closing lines after all runs; a single run needs none.
    #[must_use]
    pub fn closing(&self, verdicts: &[Verdict]) -> String {
        if verdicts.len() < 2 {
            return String::new();
        }
        let count = |outcome| verdicts.iter().filter(|verdict| verdict.outcome == outcome).count();
        let took: u64 = verdicts.iter().map(|verdict| verdict.took_ms).sum();
        let mut text = String::from("------------\n");
        write!(
            text,
            " Summary [{:>8.3}s] {} runs: {} passed",
            std::time::Duration::from_millis(took).as_secs_f64(),
            verdicts.len(),
            count(Outcome::Pass)
        )
        .expect("writing to a String cannot fail");
        for (outcome, word) in [
            (Outcome::Fail, "failed"),
            (Outcome::Unknown, "unknown"),
            (Outcome::Interrupted, "stopped"),
        ] {
            if count(outcome) > 0 {
                text += &format!(", {} {word}", count(outcome));
            }
        }
        text.push('\n');
        // The reasons have scrolled out of view by now.
        for verdict in verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Pass) {
            text.push_str(&self.summary_line(verdict));
            text.push_str(&self.details(verdict));
        }
        text
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Annotations in the format of GitHub logs; only the first few, since GitHub shows no more.
fn annotations(verdict: &Verdict) -> String {
    let mut text = String::new();
    let escape = |words: &str| words.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    for failure in verdict.failures.iter().take(ANNOTATIONS_MAX) {
        let title = escape(&failure.title).replace(',', "%2C").replace(':', "%3A");
        text += &format!(
            "::error file={},line={},title={title}::{}\n",
            verdict.file,
            failure.line.unwrap_or(1),
            escape(&failure.words)
        );
    }
    text
}

const ANNOTATIONS_MAX: usize = 5;
