//! Tells a person what is going on while a case runs: one live line on a terminal, plain lines elsewhere. Everything
//! goes to stderr; results are printed by [`crate::report`].

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use promises::history::Record;
use protocol::note::Note;
use protocol::time::Time;

use crate::expect::shown;
use crate::observed::Observed;
use crate::world::Seen;

/// What is told while a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Nothing.
    Silent,
    /// Phases, long waits, acts.
    Normal,
    /// Deliveries and leadership, too.
    Follow,
}

/// Tells a person what is going on.
#[derive(Debug)]
pub struct Teller {
    /// The live line; none where there is no terminal.
    line: Option<ProgressBar>,
    voice: Voice,
    case: String,
    phase: String,
    began: Instant,
    drawn: Instant,
    /// When something was told last; long silence deserves a word.
    told: Instant,
}

impl Teller {
    /// A teller for one case.
    #[must_use]
    pub fn new(case: &str, voice: Voice) -> Self {
        let line = (voice != Voice::Silent && std::io::stderr().is_terminal()).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            line.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a constant"));
            line
        });
        let now = Instant::now();
        let teller = Self { line, voice, case: case.to_owned(), phase: String::new(), began: now, drawn: now, told: now };
        teller.say(&format!("     RUN {case}"));
        teller
    }

    /// The next step begins.
    pub fn phase(&mut self, phase: &str) {
        phase.clone_into(&mut self.phase);
        self.told = Instant::now();
        if self.line.is_none() {
            self.say(&format!("         {:>9}  {phase}", shown(self.began.elapsed())));
        }
    }

    /// Something was done to somebody.
    pub fn act(&mut self, words: &str, since: Duration) {
        if self.line.is_some() || self.voice == Voice::Follow {
            self.say(&format!("         {:>9}  => {words}", shown(since)));
        }
    }

    /// Time passes.
    pub fn progress(&mut self, since: Duration, observed: &Observed, awaiting: &str) {
        if self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        let group = observed.view.as_deref().unwrap_or("no view yet");
        if let Some(line) = &self.line {
            let waiting = if awaiting.is_empty() { String::new() } else { format!(" | waiting for {awaiting}") };
            line.set_message(format!("{} {}  {} | {group}{waiting}", self.case, shown(since), self.phase));
            line.tick();
        } else if self.told.elapsed() > PATIENCE {
            self.told = Instant::now();
            self.say(&format!("         {:>9}  still waiting for {awaiting} ({group})", shown(since)));
        }
    }

    /// Something was seen.
    pub fn saw(&self, seen: &Seen, began: Time) {
        if self.voice != Voice::Follow {
            return;
        }
        match seen {
            Seen::Line { process, time, text, .. } => {
                let text = text.split_once(' ').map_or(text.as_str(), |(_, rest)| rest);
                if text.contains("Delivered #") {
                    self.say(&format!("         {:>9}  {process:<8} {text}", shown(time.since(began))));
                }
            }
            Seen::Event { process, record: Record::Peer(event) } => {
                let leads =
                    matches!(event.note, Note::LeaderElected { .. } | Note::Follows { .. } | Note::StepDown { .. } | Note::View { .. });
                if leads {
                    self.say(&format!("         {:>9}  {process:<8} {}", shown(event.t.since(began)), event.note.sentence(&event.p)));
                }
            }
            Seen::Ended { process, status, signal, .. } => {
                let how = signal.map_or_else(|| format!("status {}", status.unwrap_or_default()), |signal| format!("signal {signal}"));
                self.say(&format!("                    {process:<8} ended with {how}"));
            }
            Seen::Event { .. } | Seen::Unreadable { .. } => {}
        }
    }

    /// The case is over; the live line goes.
    pub fn finish(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    fn say(&self, words: &str) {
        match (&self.line, self.voice) {
            (_, Voice::Silent) => {}
            (Some(line), _) => line.println(words),
            // Whoever closed stderr does not want to be told.
            (None, _) => drop(writeln!(std::io::stderr(), "{words}")),
        }
    }
}

/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// After so much silence a plain log says what it is waiting for.
const PATIENCE: Duration = Duration::from_secs(5);
