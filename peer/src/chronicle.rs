//! The chronicle of the group, as far as this peer knows, for the command `peer why`: who joined
//! and left and why, who was suspected on what evidence, who led since when, and what became of
//! readings.
//!
//! It is made from the notes of this peer and from its deliveries, and it is bounded: it keeps the
//! newest facts about each peer, and of very many peers those with recent facts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::id::{Contact, Incarnation, Oseq, PeerId, Seq};
use protocol::io::{Delivery, Run, Standing};
use protocol::note::{Cause, Note};
use protocol::view::View;
use serde::{Deserialize, Serialize};

use crate::clock::{Stamp, span};

/// The memory of this peer.
#[derive(Debug)]
pub struct Chronicle {
    me: PeerId,
    /// The start of the memory, in microseconds since 1970.
    since: u64,
    peers: BTreeMap<PeerId, Life>,
    /// The last facts about all peers, newest last.
    recent: VecDeque<Happening>,
    leader: Option<Leadership>,
    /// The newest view, and when it came into force.
    view: Option<(View, u64)>,
    /// The last reason for an election that this peer knows.
    missed: Option<(PeerId, String, u64)>,
}

/// The facts about one peer.
#[derive(Debug, Default)]
struct Life {
    /// When the last fact arrived.
    heard: u64,
    /// When it joined, and with which view, while it is a member.
    entered: Option<(u64, u64)>,
    /// How it left last.
    gone: Option<Gone>,
    /// How often it left.
    times: u64,
    readings: Option<Readings>,
    /// Sentences, each with its time; newest last.
    facts: VecDeque<Fact>,
}

#[derive(Debug)]
struct Gone {
    at: u64,
    view: u64,
    why: Option<String>,
    stayed: Option<Duration>,
}

#[derive(Debug)]
struct Leadership {
    leader: PeerId,
    epoch: String,
    at: u64,
    /// How it became leader.
    how: String,
    /// The previous leader, as far as this peer knows.
    before: Option<PeerId>,
}

/// The deliveries of one origin.
#[derive(Debug)]
struct Readings {
    inc: Incarnation,
    last: Oseq,
    seq: Seq,
    at: u64,
    /// How many numbers between the first and the last were not delivered here.
    missing: u64,
    lost: Option<(Oseq, Oseq)>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When (RFC 3339), by the clock of the reporting peer.
    pub at: String,
    /// The reporting peer.
    pub by: String,
    /// The sentence.
    pub say: String,
}

/// A fact, and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// Its number since this peer started, from 1.
    pub number: u64,
    /// The peer concerned.
    pub about: PeerId,
    /// When (RFC 3339), by the clock of this peer.
    pub at: String,
    /// The sentence.
    pub say: String,
}

/// The answer about a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The peer concerned.
    pub peer: String,
    /// Sentences, the most important first.
    pub say: Vec<String>,
    /// The facts, oldest first.
    pub facts: Vec<Fact>,
}

impl Chronicle {
    /// An empty chronicle.
    #[must_use]
    pub fn new(me: PeerId, since: u64) -> Self {
        Self {
            me,
            since,
            peers: BTreeMap::new(),
            recent: VecDeque::new(),
            leader: None,
            view: None,
            missed: None,
        }
    }

    /// Takes a note of this peer.
    pub fn note(&mut self, note: &Note, at: u64) {
        match note {
            Note::Suspect { peer, evidence, .. } => {
                self.missed = Some((peer.clone(), evidence.to_string(), at));
                self.fact(peer, at, format!("{} suspected {peer}: {evidence}", self.me));
            }
            Note::Unreachable { peer, address, for_ms, why } => {
                self.fact(
                    peer,
                    at,
                    format!(
                        "{peer} at {address} is heard by UDP, but for {} s it {why}",
                        for_ms.div_ceil(1_000)
                    ),
                );
            }
            Note::Unanswered { peer, waited_ms, .. } => self.fact(
                peer,
                at,
                format!("{peer} left a question of {} unanswered for {waited_ms} ms", self.me),
            ),
            Note::Reject { from: Some(from), why, .. } => self.fact(
                from,
                at,
                format!("{} did not accept something from {from}: {why}", self.me),
            ),
            Note::LeaderElected { peer, epoch, size, renewed, .. } => {
                let why = if *renewed {
                    "it led before, and moved to a higher epoch".to_owned()
                } else {
                    format!("elected by {size} of the last view, itself included")
                };
                self.lead(peer, epoch.to_string(), at, why);
            }
            Note::Follows { leader, epoch, .. } => self.lead(
                leader,
                epoch.to_string(),
                at,
                "it announced itself, and the others answered it".to_owned(),
            ),
            Note::ElectionStarted { cause, missed: Some(missed), .. } => {
                let words = match cause {
                    Cause::Connection => "its connection broke",
                    Cause::Silence => "its heartbeats stopped",
                    Cause::Handover => "it handed over",
                    Cause::OwnWord => "it said so itself",
                    Cause::Witnessed | Cause::FirstView | Cause::SteppedDown | Cause::Again => {
                        "nobody was known to lead"
                    }
                };
                let missed = missed.clone();
                self.fact(
                    &missed,
                    at,
                    format!("{} asked for an election without {missed}: {words}", self.me),
                );
            }
            Note::StepDown { why, .. } => {
                let me = self.me.clone();
                self.fact(&me, at, format!("{me} stopped leading: {why}"));
            }
            Note::Blocked { why } => {
                let me = self.me.clone();
                self.fact(&me, at, format!("{me} was blocked: {why}"));
            }
            Note::Merged { into, .. } => {
                let into = into.clone();
                self.fact(
                    &into,
                    at,
                    format!("the group of {} became part of that of {into}", self.me),
                );
            }
            _ => {}
        }
    }

    fn lead(&mut self, leader: &PeerId, epoch: String, at: u64, how: String) {
        if self
            .leader
            .as_ref()
            .is_some_and(|before| before.leader == *leader && before.epoch == epoch)
        {
            return;
        }
        self.fact(leader, at, format!("{leader} leads from now on, in epoch {epoch}"));
        let before =
            self.leader.take().map(|before| before.leader).filter(|before| before != leader);
        self.leader = Some(Leadership { leader: leader.clone(), epoch, at, how, before });
    }

    /// Takes a delivery of this peer.
    pub fn deliver(&mut self, delivery: &Delivery, at: u64) {
        match delivery {
            Delivery::Run(run) => self.read(run, at),
            Delivery::View(standing) => self.see(standing, at),
            Delivery::Lost { origin, from, to, .. } => {
                let life = self.life(&origin.id, at);
                if let Some(readings) =
                    life.readings.as_mut().filter(|readings| readings.inc == origin.inc)
                {
                    readings.lost = Some((*from, *to));
                }
                self.fact(
                    &origin.id,
                    at,
                    format!("{} declared its readings {from} to {to} lost", origin.id),
                );
            }
            Delivery::Gap { from, to, why, .. } => {
                let me = self.me.clone();
                self.fact(&me, at, format!("{me} will not deliver #{from} to #{to}: {why}"));
            }
            Delivery::Diverged { from, to, .. } => {
                let me = self.me.clone();
                self.fact(
                    &me,
                    at,
                    format!(
                        "what {me} had delivered at #{from} to #{to} is not \
                                            what the group has there"
                    ),
                );
            }
            Delivery::Merged { .. } | Delivery::Repeat { .. } => {}
        }
    }

    fn read(&mut self, run: &Run, at: u64) {
        let life = self.life(&run.origin.id, at);
        let (last, seq) = (run.oseq.plus(run.readings.len()).previous(), run.last());
        match life.readings.as_mut().filter(|before| before.inc == run.origin.inc) {
            Some(before) => {
                before.missing += run.oseq.above(before.last.next());
                (before.last, before.seq, before.at) = (before.last.max(last), seq, at);
            }
            None => {
                life.readings =
                    Some(Readings { inc: run.origin.inc, last, seq, at, missing: 0, lost: None })
            }
        }
    }

    fn see(&mut self, standing: &Standing, at: u64) {
        let Standing { view, .. } = standing;
        let number = view.view_id.0;
        let before = self.view.replace((view.clone(), at)).map(|(before, _)| before);
        let is_new = |contact: &&Contact| {
            before.as_ref().is_none_or(|before| !before.names(&contact.member))
        };
        for contact in view.members.iter().filter(is_new) {
            let id = contact.id();
            self.life(id, at).entered = Some((at, number));
            let text = if before.is_none() {
                format!("{id} was in the first view that {} saw ({number})", self.me)
            } else {
                format!("{id} came in with view {number}")
            };
            self.fact(id, at, text);
        }
        for contact in before
            .iter()
            .flat_map(|before| before.members.iter())
            .filter(|contact| !view.names(&contact.member))
        {
            let (id, why) = (contact.id(), view.remarks.why(contact.id()).map(ToOwned::to_owned));
            let life = self.life(id, at);
            life.times += 1;
            let stayed = life
                .entered
                .take()
                .map(|(entered, _)| Duration::from_micros(at.saturating_sub(entered)));
            life.gone = Some(Gone { at, view: number, why: why.clone(), stayed });
            let why = why.map(|why| format!(" ({}: {why})", view.leader)).unwrap_or_default();
            self.fact(id, at, format!("view {number} went on without {id}{why}"));
        }
    }

    fn life(&mut self, peer: &PeerId, at: u64) -> &mut Life {
        if self.peers.len() >= PEERS_MOST && !self.peers.contains_key(peer) {
            let oldest = self
                .peers
                .iter()
                .filter(|(_, life)| life.entered.is_none())
                .min_by_key(|(_, life)| life.heard)
                .map(|(id, _)| id.clone());
            oldest.map(|oldest| self.peers.remove(&oldest));
        }
        let life = self.peers.entry(peer.clone()).or_default();
        life.heard = at;
        life
    }

    fn fact(&mut self, peer: &PeerId, at_micros: u64, say: String) {
        let by = self.me.to_string();
        let at = Stamp(at_micros).to_string();
        if self.recent.len() >= RECENT_MOST {
            self.recent.pop_front();
        }
        let number = self.recent.back().map_or(0, |newest| newest.number) + 1;
        self.recent.push_back(Happening {
            number,
            about: peer.clone(),
            at: at.clone(),
            say: say.clone(),
        });
        let facts = &mut self.life(peer, at_micros).facts;
        if facts.len() >= FACTS_MOST {
            facts.pop_front();
        }
        facts.push_back(Fact { at, by, say });
    }

    /// The answer about a peer; none if it is unknown.
    #[must_use]
    pub fn why(&self, peer: &PeerId, now: u64) -> Option<Why> {
        let life = self.peers.get(peer)?;
        let mut say = Vec::new();
        match &self.leader {
            Some(leadership) if leadership.leader == *peer => {
                say.extend(self.why_it_leads(leadership, now))
            }
            _ => {}
        }
        if let Some((entered, view)) = life.entered {
            if say.is_empty() {
                say.push(format!(
                    "{peer} is in the group since {} ({} ago), when view {view} let it in.",
                    time(entered),
                    ago(now, entered)
                ));
            }
            if let Some((other, _)) = &self.view.as_ref().filter(|(view, _)| view.leader != *peer)
                && let (Some(own), Some(leader)) = (other.find(peer), other.leader_contact())
                && own.outranks(leader)
            {
                say.push(format!(
                    "It outranks {}, and does not lead, because it came later: the knob preempt \
                     says whether it takes over.",
                    other.leader
                ));
            }
        } else {
            say.extend(self.why_it_is_out(peer, life, now));
        }
        if let Some((missed, evidence, at)) =
            self.missed.as_ref().filter(|(missed, ..)| missed == peer)
            && life.gone.as_ref().is_none_or(|gone| gone.why.as_deref() != Some(evidence.as_str()))
        {
            say.push(format!("At {} {} suspected {missed}: {evidence}.", time(*at), self.me));
        }
        say.push(what_became_of_its_readings(life, now));
        if life.times > 0 {
            let times =
                if life.times == 1 { "once".to_owned() } else { format!("{} times", life.times) };
            say.push(format!(
                "It has gone {times} since {} remembers ({} ago).",
                self.me,
                ago(now, self.since)
            ));
        }
        Some(Why { peer: peer.to_string(), say, facts: life.facts.iter().cloned().collect() })
    }

    fn why_it_leads(&self, leadership: &Leadership, now: u64) -> Vec<String> {
        let Leadership { leader, epoch, at, how, before } = leadership;
        let mut say = vec![format!(
            "{leader} leads since {} ({} ago), in epoch {epoch}: {how}.",
            time(*at),
            ago(now, *at)
        )];
        let Some((view, _)) = &self.view else { return say };
        let Some(own) = view.find(leader) else { return say };
        let better: Vec<String> = view
            .members
            .iter()
            .filter(|other| other.outranks(own))
            .map(|other| other.id().to_string())
            .collect();
        say.push(if better.is_empty() {
            format!(
                "Of the {} members of view {} it has the highest priority: (explicit priority {}, \
                 id, port) decides.",
                view.size(),
                view.view_id,
                own.explicit
            )
        } else {
            format!(
                "{} outrank it and came later; the knob preempt says whether they take over.",
                better.join(", ")
            )
        });
        let Some(before) = before else { return say };
        match self.missed.as_ref().filter(|(missed, ..)| missed == before) {
            Some((missed, evidence, at)) => {
                say.push(format!(
                    "Before, {missed} led, and {} missed it at {}: {evidence}.",
                    self.me,
                    time(*at)
                ));
            }
            None if view.find(before).is_some() => say.push(format!(
                "Before, {before} led, which has handed over and is still in the group."
            )),
            None => say.push(format!("Before, {before} led.")),
        }
        say
    }

    fn why_it_is_out(&self, peer: &PeerId, life: &Life, now: u64) -> Vec<String> {
        let Some(Gone { at, view, why, stayed }) = &life.gone else {
            return vec![format!(
                "{peer} is not in the group, and has not been since {} remembers ({} ago); it was \
                 heard of all the same.",
                self.me,
                ago(now, self.since)
            )];
        };
        let why = why.as_ref().map_or_else(
            || "why, the leader did not say".to_owned(),
            |why| format!("the leader's reason: {why}"),
        );
        let stayed = stayed
            .map(|stayed| format!(" It had been in for {}.", span(stayed)))
            .unwrap_or_default();
        vec![format!(
            "{peer} is not in the group. At {} ({} ago) view {view} went on without it; \
             {why}.{stayed}",
            time(*at),
            ago(now, *at)
        )]
    }

    /// The last facts, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Happening> {
        self.recent.iter().cloned().collect()
    }

    /// The known peers, newest first.
    pub fn known(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    /// The start of the memory, as text.
    #[must_use]
    pub fn begin(&self) -> String {
        time(self.since)
    }
}

fn what_became_of_its_readings(life: &Life, now: u64) -> String {
    let Some(Readings { last, seq, at, missing, lost, .. }) = &life.readings else {
        return "No reading of it has been delivered here.".to_owned();
    };
    let missing = match (missing, lost) {
        (0, None) => "nothing that it published before is missing here".to_owned(),
        (_, Some((from, to))) => {
            format!("its readings {from} to {to} are lost, as it has declared itself")
        }
        (count, None) => format!("{count} readings before it were not delivered here"),
    };
    format!("Its last reading here is number {last}, at #{seq}, {} ago; {missing}.", ago(now, *at))
}

/// The time of day, in UTC.
fn time(at: u64) -> String {
    let stamp = Stamp(at).to_string();
    let clock = stamp.split_once('T').map_or(stamp.as_str(), |(_, clock)| clock);
    format!("{}Z", clock.get(..12).unwrap_or(clock))
}

fn ago(now: u64, at: u64) -> String {
    span(Duration::from_micros(now.saturating_sub(at)))
}

/// How many peers outside of the view are remembered.
const PEERS_MOST: usize = 1_024;
/// How many facts about all peers together are kept in order.
const RECENT_MOST: usize = 256;
/// How many facts about each peer are kept.
const FACTS_MOST: usize = 32;
