//! The laws, judged by the simulator's own knowledge.
//!
//! A judge that asks the peers learns only their beliefs. This judge looks after every call at the
//! log that each peer holds, and at the deliveries to its sinks. It compares them with what the
//! peer takes for stable, believes of another peer, delivers, reports as a gap or refuses. It has
//! no excuses: if a fault permits less, the law says what it permits.

mod bounds;
mod claims;
mod confirmed;
mod holders;
mod hopes;
mod known;
mod leavers;
mod links;
mod parts;
mod past;
mod pressure;
mod ranges;
mod seats;
mod sheet;
mod sinks;
mod stable;
mod views;

use std::collections::BTreeMap;

use protocol::config::{Knobs, Mode};
use protocol::id::{Epoch, Member, Seq};
use protocol::io::Output;
use protocol::message::Message;
use protocol::node::Node;
use protocol::time::Time;

use crate::breach::Breach;
use claims::Claims;
use holders::Holders;
use known::Known;
use links::Links;
use parts::Parts;
use seats::Seat;
use sheet::Notes;
use sinks::Sinks;

pub(crate) use links::{Wrong, round};
pub(crate) use parts::returned_within;
pub use sheet::{Count, Sheet};

/// A law; [`Law::statement`] says what each one demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// See [`Law::statement`], as for all of them.
    TrulyStable,
    /// A member's own report of what it holds.
    SaysTruly,
    /// What a leader believes that others hold.
    BelievesNoMore,
    /// Delivery before a second member holds the entry.
    SecondHolder,
    /// Repeats.
    HadBefore,
    /// Gaps.
    GapNeeded,
    /// Refusals.
    RefusalTrue,
    /// Losses.
    LostTruly,
    /// The numbers of views.
    ViewsUnbroken,
    /// One unstable view at a time.
    ViewsSettled,
    /// Retained entries.
    Retains,
    /// Readings that wait to be ordered.
    Windowed,
    /// Leaving peers.
    LeftClean,
    /// The start of an epoch.
    BestLog,
    /// A publisher's retained readings.
    KeepsNoMore,
    /// When a leader accepts readings.
    PressedRightly,
    /// Members that cannot keep up.
    SlowPutOut,
    /// What a publisher is told.
    PlaceTold,
    /// The order of deliveries.
    NoSilentHole,
    /// Views of an absence.
    ViewsLived,
    /// Every node at rest.
    LevelAtRest,
    /// Leaving a group that is whole.
    LetGo,
    /// Admissions.
    LetInTruly,
    /// Removals.
    PutOutTruly,
    /// Replaced leaders.
    UnseatedTruly,
    /// The end of a group that merges into another one.
    DissolvedLevel,
    /// A leader for each part.
    LedInTime,
    /// One leader for each part.
    OneInTime,
    /// Readings published while no fault happens.
    OrderedInTime,
}

/// All laws, in the order of reports.
pub const LAWS: [Law; 29] = [
    Law::TrulyStable,
    Law::SaysTruly,
    Law::BelievesNoMore,
    Law::SecondHolder,
    Law::HadBefore,
    Law::GapNeeded,
    Law::RefusalTrue,
    Law::LostTruly,
    Law::ViewsUnbroken,
    Law::ViewsSettled,
    Law::Retains,
    Law::Windowed,
    Law::LeftClean,
    Law::BestLog,
    Law::KeepsNoMore,
    Law::PressedRightly,
    Law::SlowPutOut,
    Law::PlaceTold,
    Law::NoSilentHole,
    Law::ViewsLived,
    Law::LevelAtRest,
    Law::LetGo,
    Law::LetInTruly,
    Law::PutOutTruly,
    Law::UnseatedTruly,
    Law::DissolvedLevel,
    Law::LedInTime,
    Law::OneInTime,
    Law::OrderedInTime,
];

impl Law {
    /// Its name in reports.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::TrulyStable => "truly-stable",
            Self::SaysTruly => "says-truly",
            Self::BelievesNoMore => "believes-no-more",
            Self::SecondHolder => "second-holder",
            Self::HadBefore => "had-before",
            Self::GapNeeded => "gap-needed",
            Self::RefusalTrue => "refusal-true",
            Self::LostTruly => "lost-truly",
            Self::ViewsUnbroken => "views-unbroken",
            Self::ViewsSettled => "views-settled",
            Self::Retains => "retains",
            Self::Windowed => "windowed",
            Self::LeftClean => "left-clean",
            Self::BestLog => "best-log",
            Self::KeepsNoMore => "keeps-no-more",
            Self::PressedRightly => "pressed-rightly",
            Self::SlowPutOut => "slow-put-out",
            Self::PlaceTold => "place-told",
            Self::NoSilentHole => "no-silent-hole",
            Self::ViewsLived => "views-lived",
            Self::LevelAtRest => "level-at-rest",
            Self::LetGo => "let-go",
            Self::LetInTruly => "let-in-truly",
            Self::PutOutTruly => "put-out-truly",
            Self::UnseatedTruly => "unseated-truly",
            Self::DissolvedLevel => "dissolved-level",
            Self::LedInTime => "led-in-time",
            Self::OneInTime => "one-in-time",
            Self::OrderedInTime => "ordered-in-time",
        }
    }

    /// The service level that this law judges in every case. Histories show that level only in
    /// part, because they do not tell which links work.
    #[must_use]
    pub fn covers(self) -> Option<&'static str> {
        match self {
            Self::PutOutTruly => Some("no-false-death"),
            Self::UnseatedTruly => Some("contained"),
            Self::LedInTime => Some("recovers"),
            _ => None,
        }
    }

    /// Its statement, from the lists of all laws: those that a history shows and those that none
    /// does.
    ///
    /// # Panics
    /// Never: a test asks each of them.
    #[must_use]
    pub fn statement(self) -> &'static str {
        let judged = promises::catalogue::find(self.id()).map(|promise| promise.statement);
        let beyond = || {
            promises::BEYOND
                .iter()
                .find(|beyond| beyond.id == self.id())
                .map(|beyond| beyond.statement)
        };
        judged.or_else(beyond).expect("each law is in one of the two lists")
    }
}

/// Whether a process has a connection with the process on a host.
pub(crate) type Linked<'a> = dyn Fn(usize) -> bool + 'a;

/// The simulator's knowledge.
#[derive(Debug)]
pub(crate) struct Truth {
    knobs: Knobs,
    holders: Holders,
    claims: Claims,
    /// The last position of each epoch that a leader has rightly found to be stable.
    stable: BTreeMap<Epoch, Seq>,
    /// The inputs and deliveries of each process, by its number.
    sinks: Vec<Sinks>,
    /// The state of each process at the last look.
    known: Vec<Known>,
    seats: Vec<Seat>,
    parts: Parts,
    /// Which hosts could exchange messages.
    pub(crate) links: Links,
    /// The process on each host.
    current: Vec<Option<usize>>,
    /// Set once every fault is healed and the group is one: from then on no peer has a reason to be
    /// blocked.
    is_healthy: bool,
    /// When a group with its maximum of members was last seen.
    full_at: Option<Time>,
    /// Set once some members leave the group, which is whole and at rest.
    is_farewell: bool,
    notes: Notes,
}

impl Truth {
    pub(crate) fn new(knobs: &Knobs) -> Self {
        Self {
            knobs: knobs.clone(),
            holders: Holders::default(),
            claims: Claims::default(),
            stable: BTreeMap::new(),
            sinks: Vec::new(),
            known: Vec::new(),
            seats: Vec::new(),
            parts: Parts::default(),
            links: Links::default(),
            current: Vec::new(),
            is_healthy: false,
            full_at: None,
            is_farewell: false,
            notes: Notes::default(),
        }
    }

    /// A process starts on a host.
    pub(crate) fn begin(&mut self, host: usize, member: &Member) {
        let number = self.holders.begin(member);
        self.sinks.push(Sinks::default());
        self.known.push(Known::default());
        self.seats.push(Seat::default());
        self.current.resize(self.current.len().max(host + 1), None);
        self.current[host] = Some(number);
    }

    /// A node has handled an input.
    pub(crate) fn saw(
        &mut self,
        now: Time,
        host: usize,
        node: &Node,
        outputs: &[Output],
        (others, linked): (&[&Node], &Linked<'_>),
    ) {
        let Some(number) = self.current.get(host).copied().flatten() else { return };
        self.holders.look(number, node);
        self.judge_epoch(now, number, node);
        self.judge_stable(now, number, node);
        self.judge_beliefs(now, number, node);
        self.judge_views(now, number, node);
        self.judge_seats(now, (number, host), node, (others, linked));
        self.judge_dissolved(now, (number, host), node, outputs);
        self.note_fullness(now, node);
        self.judge_retention(now, number, node);
        self.judge_numbered(now, number, node);
        self.judge_pressure(now, number, node);
        self.judge_slow(now, (number, host), node);
        self.note_admission(number, node);
        for output in outputs {
            self.judge_output(now, number, node, output, others);
        }
        self.note_ordered(number, node);
        self.judge_prompt(now, number, node);
        self.judge_outbox(now, number, node);
        self.known[number].note(now, node, self.knobs.heartbeat_interval);
    }

    /// A node sends a message to another.
    pub(crate) fn said(&mut self, now: Time, host: usize, node: &Node, message: &Message) {
        let (epoch, contiguous) = match message {
            Message::HeartbeatAck(ack) => (&ack.epoch, ack.contiguous),
            Message::OrderedAck { epoch, contiguous, .. } => (epoch, *contiguous),
            Message::SeqSyncResponse(answer) => {
                self.note_promise(now, node, &answer.epoch);
                self.judge_promise(now, node, answer);
                return;
            }
            Message::SeqSyncRequest(request) => {
                self.note_claim(now, node, &request.epoch);
                return;
            }
            Message::SequencerRequest(requests) => {
                self.judge_losses(now, host, requests);
                return;
            }
            _ => return,
        };
        if contiguous == Seq::ZERO {
            return;
        }
        let holds =
            node.covers().any(|(covering, _, last)| covering == epoch && last >= contiguous)
                && contiguous <= node.contiguous();
        self.notes.judge(Law::SaysTruly, now, holds, || {
            let (who, ends) = (&node.contact().member, node.contiguous());
            format!(
                "{who} says that it holds #{contiguous} of epoch {epoch}, and its log ends at \
                     #{ends} of epoch {}",
                node.epoch()
            )
        });
    }

    /// The process on a host is gone.
    pub(crate) fn end(&mut self, host: usize) {
        if let Some(number) = self.current.get_mut(host).and_then(Option::take) {
            self.holders.end(number);
        }
    }

    /// Every fault is healed, and the group is one.
    pub(crate) fn is_whole(&mut self) {
        self.is_healthy = true;
    }

    /// The group is whole and at rest, and some of its members are about to leave.
    pub(crate) fn begin_farewell(&mut self) {
        self.is_farewell = true;
    }

    /// The counts and the breaches.
    pub(crate) fn into_findings(self) -> (Sheet, Vec<Breach>) {
        (self.notes.sheet, self.notes.breaches)
    }

    fn is_primary(&self) -> bool {
        self.knobs.mode == Mode::Primary
    }
}

#[cfg(test)]
mod tests {
    use super::LAWS;

    #[test]
    fn a_history_is_held_against_the_same_laws_or_says_why_it_cannot_be() {
        for law in LAWS {
            let judged = promises::CATALOGUE
                .iter()
                .find(|promise| promise.id == law.id())
                .map(|promise| promise.statement);
            let beyond = promises::BEYOND
                .iter()
                .find(|beyond| beyond.id == law.id())
                .map(|beyond| beyond.statement);
            let told = judged.xor(beyond);
            assert_eq!(
                told,
                Some(law.statement()),
                "{} is in either the catalogue or the list of what no history shows",
                law.id()
            );
        }
    }

    #[test]
    fn the_page_names_every_law_as_it_stands() {
        let page = include_str!("../../docs/GUARANTEES.md");
        let table = page.split("| Law | What it says |").nth(1).expect("the table is there");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let told: Vec<(&str, &str)> = rows
            .map(|row| {
                let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
                (
                    cells.next().unwrap_or_default().trim_matches('`'),
                    cells.next().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(told, LAWS.map(|law| (law.id(), law.statement())));
    }
}
