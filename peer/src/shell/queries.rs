//! Questions of this peer to its leader's program on behalf of a client, and questions of members
//! to this one.
//!
//! Only the leader measures the progress of each member, and it knows best which peers were removed
//! and why. A client that asks a member gets the member's knowledge and the leader's answer, if
//! that comes within [`PATIENCE`]; otherwise it is told that the leader did not answer.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::{Member, PeerId};
use protocol::io::Input;
use protocol::query::QUESTION_MOST;
use protocol::time::Time;
use serde::{Deserialize, Serialize};

use super::Shell;
use crate::chronicle::{Fact, Why};
use crate::clock;
use crate::door::{Asker, Fault};
use crate::members::{MemberRow, Members};
use crate::units::Units;

/// Open questions, and the answers to earlier ones.
#[derive(Debug, Default)]
pub(super) struct Queries {
    last: u64,
    open: BTreeMap<u64, Open>,
    /// The introductions of other members.
    introductions: BTreeMap<Member, Introduction>,
    /// The leader, with its incarnation, that knows the build of this peer and the units of its
    /// sensors.
    introduced: Option<Member>,
    introduce_at: Time,
}

#[derive(Debug)]
struct Open {
    until: Time,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Introduction(Member),
    Members(Asker),
    Why(Asker, Box<Option<Why>>, PeerId),
}

/// The introduction of a member, sent once to each leader.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Introduction {
    build: String,
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    units: Units,
}

/// A question.
#[derive(Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Question {
    /// "This is my introduction; what are the others?"
    Introduce(Introduction),
    Members,
    Why {
        peer: PeerId,
    },
}

/// The leader's measurements of a member.
#[derive(Deserialize, Serialize)]
struct Measured {
    peer: String,
    inc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<String>,
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    units: Units,
}

impl Queries {
    /// When the first open question expires.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.open.values().map(|open| open.until).min()
    }

    /// The build of a member, if known, and the units of its sensors.
    pub(super) fn introduction(&self, member: &Member) -> (Option<String>, Units) {
        let known = self.introductions.get(member);
        known.map(|known| (Some(known.build.clone()), known.units.clone())).unwrap_or_default()
    }

    fn open(&mut self, purpose: Purpose) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Open { until: clock::now() + PATIENCE, purpose });
        self.last
    }
}

impl Shell {
    /// Introduces this peer to a leader that does not know it yet, and drops unanswered questions.
    pub(super) fn look_after_queries(&mut self) {
        let now = clock::now();
        let overdue: Vec<u64> = self
            .queries
            .open
            .iter()
            .filter(|(_, open)| open.until <= now)
            .map(|(ask, _)| *ask)
            .collect();
        for ask in overdue {
            if let Some(Open { purpose, .. }) = self.queries.open.remove(&ask) {
                self.give_up(purpose);
            }
        }
        if now < self.queries.introduce_at {
            return;
        }
        self.queries.introduce_at = now + INTRODUCE_AGAIN;
        let leader = self
            .node
            .view()
            .and_then(|view| view.find(&view.leader))
            .map(|contact| contact.member.clone());
        let leader = leader.filter(|leader| *leader != self.node.contact().member);
        let Some(leader) = leader.filter(|leader| self.queries.introduced.as_ref() != Some(leader))
        else {
            return;
        };
        let ask = self.queries.open(Purpose::Introduction(leader));
        self.put(
            ask,
            &Question::Introduce(Introduction {
                build: crate::BUILD.to_owned(),
                units: self.units.clone(),
            }),
        );
    }

    /// Answers a client: the members of the group.
    pub(super) fn tell_members(&mut self, to: Asker) {
        if self.is_alone_in_knowing() {
            let members = self.members();
            self.door.answer(to, json(&members), true);
            return;
        }
        let ask = self.queries.open(Purpose::Members(to));
        self.put(ask, &Question::Members);
    }

    /// Answers a client: the facts about a peer.
    pub(super) fn tell_why(&mut self, to: Asker, about: PeerId) {
        let own = self.chronicle.why(&about, clock::utc_micros());
        if self.is_alone_in_knowing() {
            self.answer_why(to, own, &about);
            return;
        }
        let ask = self.queries.open(Purpose::Why(to, Box::new(own), about.clone()));
        self.put(ask, &Question::Why { peer: about });
    }

    /// Whether there is no leader to ask.
    fn is_alone_in_knowing(&self) -> bool {
        self.node.view().is_none_or(|view| view.leader == *self.node.contact().id())
    }

    fn put(&mut self, ask: u64, question: &Question) {
        let question =
            serde_json::to_vec(question).expect("a question is made of what JSON can say");
        self.feed(Input::Ask { ask, question: question.into() });
    }

    fn give_up(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Introduction(_) => {}
            Purpose::Members(to) => {
                let mut members = self.members();
                members.unknown = Some(
                    "only the leader measures lag and round trips, and it has not answered"
                        .to_owned(),
                );
                self.door.answer(to, json(&members), true);
            }
            Purpose::Why(to, own, about) => self.answer_why(to, *own, &about),
        }
    }

    fn answer_why(&self, to: Asker, why: Option<Why>, about: &PeerId) {
        match why {
            Some(why) => self.door.answer(to, json(&why), true),
            None => {
                let (me, begin) = (self.node.contact().id(), self.chronicle.begin());
                let known: Vec<String> =
                    self.chronicle.known().take(KNOWN_TOLD).map(ToString::to_string).collect();
                let known = if known.is_empty() {
                    String::new()
                } else {
                    format!(" It knows {}.", known.join(", "))
                };
                let say = format!(
                    "{about} has never been in this group as far as {me} remembers (since \
                     {begin}).{known}"
                );
                self.door.refuse(to, Fault::new("no_such_peer", say));
            }
        }
    }

    /// A member asks this peer.
    pub(super) fn on_asked(&mut self, from: Member, ask: u64, question: &[u8]) {
        let Ok(question) = serde_json::from_slice::<Question>(question) else { return };
        let answer = match question {
            Question::Introduce(Introduction { build, units }) => {
                if self.queries.introductions.len() >= INTRODUCTIONS_MOST {
                    self.queries.introductions.pop_first();
                }
                let known = Introduction {
                    build: build.chars().take(BUILD_CHARS).collect(),
                    units: units.told(),
                };
                self.queries.introductions.insert(from.clone(), known);
                json(&self.measured())
            }
            Question::Members => json(&self.measured()),
            Question::Why { peer } => json(&self.chronicle.why(&peer, clock::utc_micros())),
        };
        if answer.len() <= QUESTION_MOST {
            self.answers.push(Input::Answer { to: from, ask, answer: answer.into_bytes().into() });
        }
    }

    /// The measurements of this peer, as many as fit into an answer.
    fn measured(&self) -> Vec<Measured> {
        let rows = self.members().members.into_iter().take(QUESTION_MOST / MEASURED_BYTES);
        let mut room = QUESTION_MOST - rows.len() * MEASURED_BYTES;
        // In a large group the units of the last members are left out.
        rows.map(|MemberRow { peer, inc, lag, rtt_us, build, units, .. }| {
            let bytes = UNITS_FRAME_BYTES + units.bytes();
            let units = if bytes <= room { units } else { Units::default() };
            room -= if units.is_empty() { 0 } else { bytes };
            Measured { peer, inc, lag, rtt_us, build, units }
        })
        .collect()
    }

    /// The leader has answered.
    pub(super) fn on_answered(&mut self, ask: u64, answer: &[u8]) {
        let Some(Open { purpose, .. }) = self.queries.open.remove(&ask) else { return };
        match purpose {
            Purpose::Introduction(leader) => {
                self.queries.introduced = Some(leader);
            }
            Purpose::Members(to) => {
                let Ok(measured) = serde_json::from_slice::<Vec<Measured>>(answer) else {
                    return self.give_up(Purpose::Members(to));
                };
                let mut members = self.members();
                merge(&mut members, measured);
                self.door.answer(to, json(&members), true);
            }
            Purpose::Why(to, own, about) => {
                let theirs = serde_json::from_slice::<Option<Why>>(answer).ok().flatten();
                self.answer_why(to, join(*own, theirs), &about);
            }
        }
    }
}

/// Completes this peer's knowledge of each member with the leader's measurements.
fn merge(members: &mut Members, measured: Vec<Measured>) {
    for row in &mut members.members {
        let Some(said) = measured.iter().find(|said| said.peer == row.peer && said.inc == row.inc)
        else {
            continue;
        };
        row.lag = said.lag.or(row.lag);
        row.rtt_us = said.rtt_us.or(row.rtt_us);
        row.build = row.build.take().or_else(|| said.build.clone());
        if row.units.is_empty() {
            row.units = said.units.clone();
        }
    }
    members.unknown = None;
}

/// This peer's facts, and the facts that only the leader knows.
fn join(own: Option<Why>, theirs: Option<Why>) -> Option<Why> {
    let (Some(mut own), Some(theirs)) = (own.clone(), theirs.clone()) else {
        return own.or(theirs);
    };
    let known: Vec<String> = own.facts.iter().map(|fact| fact.say.clone()).collect();
    let news: Vec<Fact> =
        theirs.facts.into_iter().filter(|fact| !known.contains(&fact.say)).collect();
    let accusations = news.iter().filter(|fact| fact.say.contains(" suspected ")).map(|fact| {
        let clock = fact.at.split_once('T').map_or(fact.at.as_str(), |(_, clock)| clock);
        format!("At {}Z {}.", clock.get(..12).unwrap_or(clock), fact.say)
    });
    let at = own.say.len().min(1);
    own.say
        .splice(at..at, accusations.collect::<Vec<_>>().into_iter().rev().take(ACCUSATIONS_TOLD));
    own.facts.extend(news);
    own.facts.sort_by(|one, other| one.at.cmp(&other.at));
    Some(own)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("answers are made of what JSON can say")
}

/// How long a client waits for the leader's part of an answer.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// How often a peer checks whether its leader knows it.
const INTRODUCE_AGAIN: Duration = Duration::from_secs(2);
const INTRODUCTIONS_MOST: usize = 65_536;
/// The longest kept name of a build.
const BUILD_CHARS: usize = 64;
/// The greatest size of the measurements of one member, without its units.
const MEASURED_BYTES: usize = 256;
/// The size of the key before the units.
const UNITS_FRAME_BYTES: usize = 16;
const ACCUSATIONS_TOLD: usize = 3;
const KNOWN_TOLD: usize = 16;
