//! Shows the progress of a run: one live line on a terminal, plain lines elsewhere. All of it goes
//! to stderr; [`crate::report`] prints the results.
//!
//! With `--follow` the console shows each reading once, with the number of peers that delivered it,
//! and every change of the group; the live line always names the leader. Lines are cut to the width
//! of the terminal; the logs hold the full text.

mod feed;
mod glance;

use std::collections::{BTreeSet, VecDeque};
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use console::{Style, Term, measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressStyle};
use promises::history::Record;
use promises::standing::Standing;
use protocol::id::PeerId;
use protocol::note::{Event, Note, printable};
use protocol::time::Time;

use crate::expect::shown;
use crate::printer::Printer;
use crate::world::Seen;
use feed::{Feed, ReadingLine};
use glance::glance;

/// How much the console shows during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing.
    Silent,
    /// Phases, long waits, injected faults.
    Normal,
    /// Deliveries and leadership, too.
    Follow,
}

/// Shows the progress of a run.
#[derive(Debug)]
pub struct Console {
    printer: Printer,
    /// The live line; none where there is no terminal.
    line: Option<ProgressBar>,
    verbosity: Verbosity,
    case: String,
    /// The start of the live line: the address of the page with links.
    link: String,
    phase: String,
    began: Instant,
    drawn: Instant,
    /// When the last line was shown; after a long silence the console shows what it waits for.
    told: Instant,
    feed: Feed,
    /// How many readings were shown.
    readings: u64,
    /// The processes that were in the group at the last look.
    live: Vec<String>,
    /// Recent messages about the group; the same message from every peer is shown once.
    said: VecDeque<String>,
    /// Messages to show next. Peers are read one after the other, and readers want the order of
    /// time.
    news: Vec<News>,
    /// The run is being shut down; its events are not shown.
    ending: bool,
}

/// A change of the group.
#[derive(Debug)]
struct News {
    at: Duration,
    mark: &'static str,
    style: Style,
    words: String,
}

impl Console {
    /// The console of one case.
    #[must_use]
    pub fn new(case: &str, verbosity: Verbosity, printer: Printer) -> Self {
        let line = (verbosity != Verbosity::Silent && std::io::stderr().is_terminal()).then(|| {
            let line = ProgressBar::with_draw_target(None, printer.draw_target());
            line.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .expect("the template is a constant"),
            );
            line
        });
        let now = Instant::now();
        let mut console = Self {
            printer,
            line,
            verbosity,
            case: case.to_owned(),
            link: String::new(),
            phase: String::new(),
            began: now,
            drawn: now,
            told: now,
            feed: Feed::default(),
            readings: 0,
            live: Vec::new(),
            said: VecDeque::new(),
            news: Vec::new(),
            ending: false,
        };
        console.say(&format!("     RUN {case}"));
        console
    }

    /// Shows the address of the page with links at the start of the live line, for the whole run.
    #[must_use]
    pub fn with_pages(self, at: SocketAddr) -> Self {
        Self { link: format!("http://{at}/ | "), ..self }
    }

    /// The next step begins.
    pub fn phase(&mut self, phase: &str) {
        phase.clone_into(&mut self.phase);
        self.told = Instant::now();
        if self.line.is_none() && self.verbosity != Verbosity::Follow {
            self.say(&format!("         {:>9}  {phase}", shown(self.began.elapsed())));
        }
    }

    /// A fault was injected.
    pub fn act(&mut self, words: &str, since: Duration) {
        if self.verbosity == Verbosity::Follow {
            self.learn(since, "=>", Style::new().bold(), words.to_owned());
        } else if self.line.is_some() {
            self.say(&format!("         {:>9}  => {words}", shown(since)));
        }
    }

    /// Updates the live line as time passes.
    pub fn progress(&mut self, since: Duration, standing: &Standing, awaiting: &str) {
        if self.verbosity == Verbosity::Follow {
            self.live = in_the_group(standing);
            let rows = self.feed.due(since, &self.live);
            self.tell(&rows);
        }
        if self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        let group = group(standing);
        if let Some(line) = &self.line {
            line.set_message(match self.verbosity {
                Verbosity::Follow => {
                    format!(
                        "{}{group} | {} readings | {} | {awaiting}",
                        self.link,
                        self.readings,
                        shown(since)
                    )
                }
                _ if awaiting.is_empty() => {
                    format!("{} {}  {} | {group}", self.case, shown(since), self.phase)
                }
                _ => format!(
                    "{} {}  {} | {group} | waiting for {awaiting}",
                    self.case,
                    shown(since),
                    self.phase
                ),
            });
            line.tick();
        } else if self.told.elapsed() > PATIENCE {
            self.say(&format!(
                "         {:>9}  still waiting for {awaiting} ({group})",
                shown(since)
            ));
        }
    }

    /// An observation arrived.
    pub fn saw(&mut self, seen: &Seen, began: Time) {
        if self.verbosity != Verbosity::Follow {
            return;
        }
        match seen {
            Seen::Line { process, time, text, .. } => {
                self.feed.saw(process, text, time.since(began))
            }
            Seen::Event { record: Record::Peer(event), .. } if !self.ending => {
                self.hear(event, began)
            }
            Seen::Ended { process, status, signal, .. } => {
                let since = self.began.elapsed();
                match (status, signal) {
                    (Some(0), _) if self.ending => {}
                    (Some(0), _) => {
                        self.learn(since, "-", Style::new().yellow(), format!("{process} has left"))
                    }
                    (status, signal) => {
                        let how = signal.map_or_else(
                            || format!("status {}", status.unwrap_or_default()),
                            |signal| format!("signal {signal}"),
                        );
                        self.learn(
                            since,
                            "x",
                            Style::new().red().bold(),
                            format!("{process} ended with {how}"),
                        );
                    }
                }
            }
            Seen::Event { .. } | Seen::Unreadable { .. } => {}
        }
    }

    /// The shutdown begins.
    pub fn ends(&mut self) {
        self.phase("ends");
        self.ending = true;
        let rows = self.feed.rest(&self.live);
        self.tell(&rows);
    }

    /// The case is over; removes the live line.
    pub fn finish(&mut self) {
        self.tell(&[]);
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    /// Shows a peer's event if it concerns the whole group.
    fn hear(&mut self, event: &Event, began: Time) {
        let (mark, style) = match &event.note {
            Note::LeaderElected { .. } => ("*", Style::new().green().bold()),
            Note::View { .. } => ("=", Style::new().cyan().bold()),
            Note::Suspect { .. } | Note::ElectionStarted { .. } | Note::StepDown { .. } => {
                ("?", Style::new().yellow())
            }
            Note::Diverged { .. } | Note::Merged { .. } | Note::Gap { .. } | Note::Lost { .. } => {
                ("!", Style::new().yellow().bold())
            }
            _ => return,
        };
        let sentence = event.note.sentence(&event.p);
        // The last line of a sentence names the leader or member.
        let words = sentence.lines().last().unwrap_or_default();
        if self.said.iter().any(|said| said == words) {
            return;
        }
        if self.said.len() == SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back(words.to_owned());
        self.learn(event.t.since(began), mark, style, words.to_owned());
    }

    fn learn(&mut self, at: Duration, mark: &'static str, style: Style, words: String) {
        self.news.push(News { at, mark, style, words });
    }

    /// Shows the collected messages, then these readings.
    fn tell(&mut self, rows: &[ReadingLine]) {
        let mut news = std::mem::take(&mut self.news);
        news.sort_by_key(|news| news.at);
        news.iter().for_each(|news| self.report(news));
        self.rows(rows);
    }

    fn rows(&mut self, rows: &[ReadingLine]) {
        let (dim, green, yellow) = (
            Style::new().for_stderr().dim(),
            Style::new().for_stderr().green(),
            Style::new().for_stderr().yellow(),
        );
        for ReadingLine { at, seq, text, have, live } in rows {
            self.readings += 1;
            let left = format!(
                "{} {} {}",
                dim.apply_to(format!("{:>10}", shown(*at))),
                dim.apply_to(format!("#{seq:<5}")),
                glance(&printable(text))
            );
            let have_all = have == live;
            let right = if have_all { &green } else { &yellow }
                .apply_to(format!("{have}/{live}"))
                .to_string();
            let row = row(&left, &right, width());
            self.say(&row);
        }
    }

    fn report(&mut self, News { at, mark, style, words }: &News) {
        let words = style.clone().for_stderr().apply_to(format!("{mark:<6} {}", printable(words)));
        let time = Style::new().for_stderr().dim().apply_to(format!("{:>10}", shown(*at)));
        let text = format!("{time} {words}");
        // Without a terminal, lines are not cut.
        let text = if self.line.is_some() {
            truncate_str(&text, width(), "…").into_owned()
        } else {
            text
        };
        self.say(&text);
    }

    fn say(&mut self, words: &str) {
        self.told = Instant::now();
        match (&self.line, self.verbosity) {
            (_, Verbosity::Silent) => {}
            (Some(line), _) => line.println(words),
            (None, _) => self.printer.remark(&format!("{words}\n")),
        }
    }
}

/// The live processes that are in the view of any peer. A process that still looks for the group is
/// not waited for.
fn in_the_group(standing: &Standing) -> Vec<String> {
    let live = standing.live();
    let named: BTreeSet<&PeerId> = live
        .iter()
        .filter_map(|stand| stand.view.as_ref())
        .flat_map(|view| &view.members)
        .collect();
    live.iter()
        .filter(|stand| named.contains(&stand.peer))
        .map(|stand| stand.process.clone())
        .collect()
}

/// The leader and the members, in a few words.
fn group(standing: &Standing) -> String {
    let live = standing.live();
    if live.is_empty() {
        return "nobody runs".to_owned();
    }
    let leader =
        standing.leader().ok().and_then(|leader| live.iter().find(|stand| stand.peer == leader));
    match leader.and_then(|stand| stand.view.as_ref()) {
        Some(view) => {
            let peers = if view.members.len() == 1 {
                "1 peer"
            } else {
                &format!("{} peers", view.members.len())
            };
            format!("{} leads {peers} (view {}, epoch {})", view.leader, view.view_id, view.epoch)
        }
        None => "nobody leads".to_owned(),
    }
}

/// The width of a line: one column less than the terminal, because some terminals break a full
/// line.
fn width() -> usize {
    let columns = Term::stderr().size_checked().map_or(0, |(_, columns)| usize::from(columns));
    if columns == 0 { PLAIN_WIDTH } else { columns - 1 }
}

/// Joins two texts to one row; the left text is cut to make room for the right one.
fn row(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(measure_text_width(right) + 2);
    let left = truncate_str(left, room, "…");
    let blank = room.saturating_sub(measure_text_width(&left)) + 2;
    truncate_str(&format!("{left}{:blank$}{right}", ""), width, "").into_owned()
}

/// How often the live line is drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// After this much silence a plain log says what the run waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How wide a line is where there is no terminal.
const PLAIN_WIDTH: usize = 100;
/// How many recent messages are remembered: a few from each of a few peers.
const SAID_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::row;

    #[test]
    fn a_row_fits_any_width() {
        let left = "  2.304 s #8    peer1.host  temperature 45.0 °C  \u{1b}[2m日本語\u{1b}[0m";
        for width in 0..120 {
            let row = row(left, "\u{1b}[32m3/3\u{1b}[0m", width);
            assert!(measure_text_width(&row) <= width, "{width}: {row:?}");
            assert!(width < 6 || row.contains("3/3"), "{width}: {row:?}");
        }
        assert_eq!(row("left", "3/3", 12), "left     3/3");
        assert_eq!(row("something long", "3/3", 12), "someth…  3/3");
    }
}
