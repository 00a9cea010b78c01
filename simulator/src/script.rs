//! Scripts: what is done to a small group, and, below each act, what the group says.
//!
//! ```text
//! # The leader dies: the best of the rest takes over, once.
//! kill p3
//! advance 20s
//! ----
//! p2: Leader failure detected, initiating bully election.
//! p2->p1 ELECTION:p2
//! ```
//!
//! A script is a list of blocks: comments, commands, a line of dashes, and the transcript up to the
//! next blank line. Replaying keeps comments and commands and writes the transcripts anew; a test
//! compares the two texts.
//!
//! Commands: `peers N [fast] [KNOB=VALUE…]` (first, once), `start P…`, `twin P` (a second process
//! of that name), `kill P…`, `pause P…`, `resume P…`, `restart P… [fresh]`, `leave P…`,
//! `prioritise P NUMBER`, `publish P TEXT`, `reset P P`, `stall P P SPAN`, `partition P P | P`,
//! `cut P > P…`, `deaf P > P…` (the others do not hear the first's broadcasts), `undialled P > P…`
//! (the first cannot dial the others), `seed P > P…` (the first has the others as seeds); these
//! three are for good. `heal`, `advance SPAN`, `await P PHASE`, `status [P…]`, `trace on|off`,
//! `answers P to P [ghost]` (what the first would do with each word that the second, or an earlier
//! life of it, could say at this moment; nobody learns of it).

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::str::SplitWhitespace;
use std::time::Duration;

use bytes::Bytes;
use promises::fault::Identity;
use protocol::activity::Activity;
use protocol::config::{Config, Knobs};
use protocol::id::PeerId;
use protocol::node::Node;
use thiserror::Error;
use toml::{Table, Value};

use crate::answers::Asked;
use crate::hearing::Hearing;
use crate::simulation::{Settings, Simulation, Step};
use crate::transcript::Transcript;

/// A script that cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct BadScript {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and how to mend it.
    pub what: String,
}

/// The script with new transcripts.
///
/// # Errors
/// [`BadScript`] at the first command that cannot be executed.
pub fn replay(text: &str) -> Result<String, BadScript> {
    let mut stage: Option<Stage> = None;
    let mut lines = text.lines().enumerate();
    let mut replayed = String::new();
    while let Some((at, line)) = lines.next() {
        if line.starts_with("----") {
            replayed.push_str("----\n");
            let said = stage.as_mut().map(Stage::said).unwrap_or_default();
            replayed.push_str(if said.is_empty() { "ok\n" } else { &said });
            replayed.push('\n');
            // The old transcript is replaced.
            lines.by_ref().take_while(|(_, old)| !old.is_empty()).for_each(drop);
            continue;
        }
        replayed.push_str(line);
        replayed.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            obey(&mut stage, line).map_err(|what| BadScript { line: at + 1, what })?;
        }
    }
    Ok(format!("{}\n", replayed.trim_end()))
}

type Tell = Box<dyn FnMut(fmt::Arguments<'_>)>;

/// A simulation and its transcript.
struct Stage {
    simulation: Simulation<Transcript<Tell>>,
    heard: Rc<RefCell<String>>,
}

fn obey(stage: &mut Option<Stage>, line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let command = words.next().unwrap_or_default();
    if command == "peers" {
        *stage = Some(Stage::new(&mut words)?);
        return Ok(());
    }
    stage.as_mut().ok_or("the first command has to be `peers N`")?.obey(command, line, &mut words)
}

impl Stage {
    fn new(words: &mut SplitWhitespace<'_>) -> Result<Self, String> {
        let count: usize = words
            .next()
            .and_then(|n| n.parse().ok())
            .filter(|n| (1..=9).contains(n))
            .ok_or("peers 1 to 9")?;
        let mut words = words.peekable();
        let mut knobs =
            if words.next_if_eq(&"fast").is_some() { Knobs::fast() } else { Knobs::default() };
        while let Some(word) = words.next() {
            let (knob, first) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?}: `peers N [fast] [KNOB=VALUE…]`"))?;
            let mut value = first.to_owned();
            while let Some(more) = words.next_if(|word| !word.contains('=')) {
                value = format!("{value} {more}");
            }
            knobs = turned(&knobs, knob, &value)?;
        }
        let config = Config::try_from(knobs).map_err(|error| error.to_string())?;
        let heard = Rc::new(RefCell::new(String::new()));
        let ear = Rc::clone(&heard);
        let tell: Tell = Box::new(move |line| {
            writeln!(ear.borrow_mut(), "{line}").expect("writing to a String cannot fail")
        });
        let mut simulation =
            Simulation::new(Settings::calm(1, config), Transcript::new(false, tell));
        for n in 1..=count {
            simulation
                .add_host(PeerId::new(&format!("p{n}")).map_err(|error| error.to_string())?, 0);
        }
        Ok(Self { simulation, heard })
    }

    fn said(&mut self) -> String {
        self.heard.take()
    }

    fn obey(
        &mut self,
        command: &str,
        line: &str,
        words: &mut SplitWhitespace<'_>,
    ) -> Result<(), String> {
        match command {
            "start" => self.each(words, Simulation::start),
            "kill" => self.each(words, Simulation::kill),
            "pause" => self.each(words, Simulation::pause),
            "resume" => self.each(words, Simulation::resume),
            "leave" => self.each(words, Simulation::leave),
            "prioritise" => {
                let host = self.named(words)?;
                let explicit = words
                    .next()
                    .and_then(|word| word.parse().ok())
                    .ok_or("a priority is missing")?;
                self.simulation.prioritise(host, explicit);
                Ok(())
            }
            "restart" => {
                let identity =
                    if line.ends_with(" fresh") { Identity::Fresh } else { Identity::Same };
                words.filter(|word| *word != "fresh").try_for_each(|name| {
                    let host = self.host(name)?;
                    self.simulation.restart(host, identity);
                    Ok(())
                })
            }
            "twin" => {
                let host = self.named(words)?;
                let twin = self.simulation.add_host(self.simulation.id(host).clone(), 0);
                self.simulation.start(twin);
                Ok(())
            }
            "publish" => {
                let host = self.named(words)?;
                let text = words.collect::<Vec<_>>().join(" ");
                self.simulation.publish(host, Bytes::from(text), None);
                Ok(())
            }
            "reset" => {
                let (a, b) = (self.named(words)?, self.named(words)?);
                self.simulation.reset(a, b);
                Ok(())
            }
            "forget" => {
                let (a, b) = (self.named(words)?, self.named(words)?);
                self.simulation.forget(&[(a, b), (b, a)]);
                Ok(())
            }
            "stall" => {
                let (from, to) = (self.named(words)?, self.named(words)?);
                self.simulation.stall(from, to, span(words)?);
                Ok(())
            }
            "partition" => self.partition(line),
            "cut" => {
                let pairs = self.directed(command, words)?;
                self.simulation.cut(&pairs);
                Ok(())
            }
            "deaf" | "undialled" | "seed" => {
                let pairs = self.directed(command, words)?;
                let mut hearing = Hearing::default();
                match command {
                    "deaf" => hearing.no_broadcast = pairs,
                    "undialled" => hearing.no_dial = pairs,
                    _ => hearing.seeds = pairs,
                }
                self.simulation.set_hearing(&hearing);
                Ok(())
            }
            "heal" => {
                self.simulation.mend_all();
                Ok(())
            }
            "advance" => {
                let end = self.simulation.now() + span(words)?;
                while let Step::Cue(_) = self.simulation.run_until(end) {}
                Ok(())
            }
            "await" => self.await_activity(words),
            "status" => self.status(words),
            "answers" => self.answers(words),
            "trace" => {
                self.simulation.watch_mut().all = words.next() == Some("on");
                Ok(())
            }
            other => Err(format!("{other:?} is no command")),
        }
    }

    fn each(
        &mut self,
        words: &mut SplitWhitespace<'_>,
        act: impl Fn(&mut Simulation<Transcript<Tell>>, usize),
    ) -> Result<(), String> {
        words.try_for_each(|name| {
            let host = self.host(name)?;
            act(&mut self.simulation, host);
            Ok(())
        })
    }

    fn named(&self, words: &mut SplitWhitespace<'_>) -> Result<usize, String> {
        self.host(words.next().ok_or("a peer is missing")?)
    }

    /// Pairs of the first with each of the others.
    fn directed(
        &self,
        command: &str,
        words: &mut SplitWhitespace<'_>,
    ) -> Result<Vec<(usize, usize)>, String> {
        let from = self.named(words)?;
        if words.next() != Some(">") {
            return Err(format!("`{command} P > P…`"));
        }
        words.map(|name| Ok((from, self.host(name)?))).collect()
    }

    fn host(&self, name: &str) -> Result<usize, String> {
        (0..self.simulation.hosts())
            .find(|&host| self.simulation.id(host).as_str() == name)
            .ok_or_else(|| format!("there is no peer {name:?}"))
    }

    fn partition(&mut self, line: &str) -> Result<(), String> {
        let sides: Result<Vec<Vec<usize>>, String> = line
            .trim_start_matches("partition")
            .split('|')
            .map(|side| side.split_whitespace().map(|name| self.host(name)).collect())
            .collect();
        let sides = sides?;
        let side_of = |host: usize| sides.iter().position(|side| side.contains(&host));
        let pairs: Vec<(usize, usize)> = (0..self.simulation.hosts())
            .flat_map(|from| (0..self.simulation.hosts()).map(move |to| (from, to)))
            .filter(|&(from, to)| {
                side_of(from).is_some() && side_of(to).is_some() && side_of(from) != side_of(to)
            })
            .collect();
        self.simulation.cut(&pairs);
        Ok(())
    }

    /// Steps until that node is in that phase.
    fn await_activity(&mut self, words: &mut SplitWhitespace<'_>) -> Result<(), String> {
        let host = self.named(words)?;
        let name = words.next().unwrap_or_default();
        let activity = Activity::ALL
            .into_iter()
            .find(|activity| activity.name() == name)
            .ok_or_else(|| format!("{name:?} is no phase"))?;
        let end = self.simulation.now() + AWAITED;
        while self.simulation.node(host).map(Node::activity) != Some(activity) {
            if self.simulation.now() > end || self.simulation.step() == Step::Over {
                return Err(format!("{} never is {activity}", self.simulation.id(host)));
            }
        }
        Ok(())
    }

    fn answers(&mut self, words: &mut SplitWhitespace<'_>) -> Result<(), String> {
        let host = self.named(words)?;
        if words.next() != Some("to") {
            return Err("`answers P to P`".to_owned());
        }
        let speaker = self.named(words)?;
        let node = |host: usize| self.simulation.node(host).ok_or("nobody runs there");
        let (asked, speaking, now) = (node(host)?, node(speaker)?, self.simulation.now());
        let third = (0..self.simulation.hosts())
            .filter(|other| ![host, speaker].contains(other))
            .find_map(|other| self.simulation.node(other));
        let third = third.ok_or("it takes three")?;
        let links = self
            .simulation
            .links(host)
            .into_iter()
            .map(|(link, other)| (link, self.simulation.id(other).clone()))
            .collect();
        let said =
            self.simulation.watch().said.get(asked.contact().id()).copied().unwrap_or_default();
        let ghost = words.next() == Some("ghost");
        let asked = Asked::new(
            asked,
            now,
            links,
            (speaking, third.contact()),
            ghost,
            said,
            self.simulation.cluster(),
        );
        self.heard.borrow_mut().push_str(&asked.tell());
        Ok(())
    }

    fn status(&mut self, words: &mut SplitWhitespace<'_>) -> Result<(), String> {
        let named: Result<Vec<usize>, String> = words.map(|name| self.host(name)).collect();
        let named = named?;
        for host in 0..self.simulation.hosts() {
            if !named.is_empty() && !named.contains(&host) {
                continue;
            }
            let id = self.simulation.id(host).clone();
            let said = match self.simulation.status(host) {
                None => format!("{id} is down"),
                Some(status) => {
                    let paused = if self.simulation.is_paused(host) { " (paused)" } else { "" };
                    let leader = status.leader.as_ref().map_or("nobody", |leader| leader.as_str());
                    let members: Vec<&str> = status.members.iter().map(PeerId::as_str).collect();
                    format!(
                        "{id} {}{paused} under {leader}, epoch {}, view {} [{}], delivered {}, \
                         stable {}",
                        status.role,
                        status.epoch,
                        status.view_id,
                        members.join(" "),
                        status.delivered,
                        status.stable
                    )
                }
            };
            writeln!(self.heard.borrow_mut(), "{said}").expect("writing to a String cannot fail");
        }
        Ok(())
    }
}

/// The knobs with one of them changed: its value as in a settings file, where the quotes of a text
/// may be left out.
fn turned(knobs: &Knobs, knob: &str, value: &str) -> Result<Knobs, String> {
    let mut table = Table::try_from(knobs).map_err(|error| error.to_string())?;
    let value = value.parse().unwrap_or_else(|_| Value::String(value.to_owned()));
    table.insert(knob.to_owned(), value);
    table.try_into().map_err(|error: toml::de::Error| format!("{knob}: {}", error.message()))
}

fn span(words: &mut SplitWhitespace<'_>) -> Result<Duration, String> {
    let word = words.next().ok_or("a span of time is missing")?;
    humantime::parse_duration(word).map_err(|error| format!("{word:?}: {error}"))
}

/// The limit of a wait.
const AWAITED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{BadScript, replay};

    #[test]
    fn a_command_that_cannot_be_obeyed_is_named_with_its_line() {
        let check = |text: &str, line: usize, words: &str| {
            let BadScript { line: at, what } = replay(text).unwrap_err();
            assert!(at == line && what.contains(words), "{at}: {what}");
        };
        check("# nothing yet\nstart p1\n----\n", 2, "peers N");
        check("peers 2\nstart p3\n----\n", 2, "p3");
        check("peers 2\n----\nok\n\nadvance soon\n----\n", 5, "soon");
        check("peers 2\ndance p1\n----\n", 2, "no command");
        check("peers 10\n", 1, "1 to 9");
        check("peers 2 heartbeats=5\n", 1, "heartbeats");
        check("peers 2 payload_max=0\n", 1, "payload_max");
        check("peers 2 slow_timeout=soon\n", 1, "slow_timeout");
        check("peers 2\nawait p1 dancing\n", 2, "no phase");
        check("peers 2\nstart p1\nawait p1 blocked\n", 3, "never is blocked");
        check("peers 3\nanswers p1 to p2\n", 2, "nobody runs there");
        check("peers 2\nstart p1 p2\nanswers p1 to p2\n", 3, "it takes three");
    }

    #[test]
    fn what_was_said_before_is_replaced_and_the_rest_is_kept() {
        let text = "# Two who are not there.\npeers 2\n----\nanything\nat all\n\nstatus\n----\n";
        let new =
            "# Two who are not there.\npeers 2\n----\nok\n\nstatus\n----\np1 is down\np2 is down\n";
        assert_eq!(replay(text).as_deref(), Ok(new));
        assert_eq!(replay(new).as_deref(), Ok(new));
    }
}
