//! The laws, judged by what the simulator knows.
//!
//! A judge that asks the peers is told what they believe. This one looks at what each of them holds, and at what its sinks
//! were given, after every call: what a peer takes for stable, believes of another, hands over, tells a gap for or refuses is
//! held against that. There is no excuse in here: where a fault allows less, the law says what is allowed then.

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
use protocol::message::Message;
use protocol::node::Node;
use protocol::seam::Output;
use protocol::time::Time;

use crate::run::Breach;
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
pub use sheet::{Row, Sheet};

/// A law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// See [`Law::statement`], as for all of them.
    TrulyStable,
    /// What a member says that it holds.
    SaysTruly,
    /// What a leader takes others to hold.
    BelievesNoMore,
    /// Handing over before others have it.
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
    /// What is kept.
    Retains,
    /// What waits to be ordered.
    Windowed,
    /// Who leaves.
    LeftClean,
    /// How an epoch begins.
    BestLog,
    /// Own readings that are kept.
    KeepsNoMore,
    /// When a leader takes readings.
    PressedRightly,
    /// Members that cannot keep up.
    SlowPutOut,
    /// What a publisher is told.
    PlaceTold,
    /// In what order things are handed over.
    NoSilentHole,
    /// Views of an absence.
    ViewsLived,
    /// Everything at rest.
    LevelAtRest,
    /// Leaving a group that is whole.
    LetGo,
    /// Removals.
    PutOutTruly,
    /// Who takes whose place.
    UnseatedTruly,
    /// Who leads each part.
    LedInTime,
    /// One leader for each part.
    OneInTime,
    /// What is published where nothing happens.
    OrderedInTime,
}

/// All laws, in the order in which they are told.
pub const LAWS: [Law; 27] = [
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
    Law::PutOutTruly,
    Law::UnseatedTruly,
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
            Self::PutOutTruly => "put-out-truly",
            Self::UnseatedTruly => "unseated-truly",
            Self::LedInTime => "led-in-time",
            Self::OneInTime => "one-in-time",
            Self::OrderedInTime => "ordered-in-time",
        }
    }

    /// What it says.
    #[must_use]
    pub fn statement(self) -> &'static str {
        match self {
            Self::TrulyStable => {
                "what anybody takes for stable, hands over as safe or acknowledges as safe was held by everybody in a view of \
                 that log (available), or by a quorum of the view in force (primary)"
            }
            Self::SaysTruly => "nobody says that it holds more of a log than it does",
            Self::BelievesNoMore => "a leader never believes that a member holds more of its log than it has held",
            Self::SecondHolder => "whose newest view has two members or more hands over nothing that no second one of them has held",
            Self::HadBefore => "a reading is called a repeat only where the same sinks have had it, or were told that it is lost",
            Self::GapNeeded => {
                "a gap is told only of readings that the leader does not retain, or that come after later ones of their origin"
            }
            Self::RefusalTrue => "a reading is refused only if its window is full, it is too large, or its peer leaves or is blocked",
            Self::LostTruly => "readings are declared lost only if they lie further back than `merge_retain`, and do not stand in that log",
            Self::ViewsUnbroken => "the views of one log are numbered without a hole",
            Self::ViewsSettled => "mode primary: a view is numbered only when a quorum holds the one before it",
            Self::Retains => "nobody discards what a member of its view lacks, unless `retain_entries` and `retain_bytes` are exceeded",
            Self::Windowed => {
                "no peer has more readings waiting to be ordered than its window takes, in number and \
                 in bytes, or takes one beyond `payload_max`"
            }
            Self::BestLog => {
                "an epoch begins after the best log of those on its list, who have all promised it and, in mode primary, are a quorum; it \
                 keeps what its founder knew to be stable, and nobody goes on in it whom its founder has not counted or let in"
            }
            Self::PutOutTruly => {
                "a member is left out of a view only if it is gone, leaves, lags or follows another, or if within the bound before \
                 something was really wrong between it and the leader, or at either of them"
            }
            Self::UnseatedTruly => {
                "nobody takes the place of a leader that leads on with the promise of somebody who could reach that one all the while"
            }
            Self::LedInTime => {
                "in a part of hosts that all reach each other, and to which nothing has happened for `heartbeat_timeout` + \
                 `heartbeat_interval` + 2 × (`election_timeout` + `sync_timeout`), everybody who was in a group all the while follows one of them that \
                 leads, or (primary) they are no quorum; after a kill that everybody could notice, 4 rounds of asking again replace the heartbeats \
                 and one election is enough"
            }
            Self::OneInTime => {
                "one return for each group that such a part fell into, and one more with the longest back-offs, after anything happened \
                 to it, it is one group, unless some do not hear each other, `members_max` are fewer or (primary) they are no quorum"
            }
            Self::OrderedInTime => {
                "where such a part is one group, and nobody has more than 64 readings that wait to be ordered, the first 8 that wait \
                 are ordered within three heartbeats"
            }
            Self::LeftClean => {
                "a peer that stops as having left has every accepted reading in the log or the files of somebody who lives, or knows it to \
                 be stable, or has said which not; a leader that let it go names it no more; without a confirmation it says which are not \
                 in its own log"
            }
            Self::KeepsNoMore => "a publisher keeps, of its own readings that are stable, `merge_retain_entries` at most",
            Self::PressedRightly => {
                "a leader turns readings away only while a member lags by more than `max_lag_entries` or its log weighs more than \
                 `retain_bytes`; it takes none while one lags beyond the middle between that and `retain_entries`, or while it makes way"
            }
            Self::SlowPutOut => {
                "mode available: a leader puts out a member that lags by more than `max_lag_entries` for longer than `slow_timeout`"
            }
            Self::PlaceTold => {
                "a publisher is told of each reading where it truly stands, as soon as that stands in its log; at rest it was told so of \
                 each whose place it has held, and that it is stable"
            }
            Self::NoSilentHole => {
                "what is handed over follows upon what was before it, position by position, unless a gap, a divergence or a merge is told"
            }
            Self::ViewsLived => "a peer that comes back tells no view from before the one that let it in",
            Self::LevelAtRest => "at rest everybody has handed over all of its log, and knows all of it to be stable",
            Self::LetGo => {
                "a peer that leaves a whole group is let go in time, leaves no reading behind and hands over all up to its last view"
            }
        }
    }
}

/// What the simulator knows.
#[derive(Debug)]
pub(crate) struct Truth {
    knobs: Knobs,
    holders: Holders,
    claims: Claims,
    /// The last position of each epoch that a leader has found to be stable, rightly.
    stable: BTreeMap<Epoch, Seq>,
    /// What each process was given and has given away, by its number.
    sinks: Vec<Sinks>,
    /// What was known of each process when it was looked at last.
    known: Vec<Known>,
    seats: Vec<Seat>,
    parts: Parts,
    /// Between whom words could pass.
    pub(crate) links: Links,
    /// The process on each host.
    current: Vec<Option<usize>>,
    /// Set once every fault is healed and the group is one: nobody has a reason to be blocked from then on.
    is_healthy: bool,
    /// When a group was last seen that has as many members as it takes.
    full_at: Option<Time>,
    /// Set once the group, whole and at rest, is left by some of its members.
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

    /// A process begins on a host.
    pub(crate) fn begin(&mut self, host: usize, member: &Member) {
        let number = self.holders.begin(member);
        self.sinks.push(Sinks::default());
        self.known.push(Known::default());
        self.seats.push(Seat::default());
        self.current.resize(self.current.len().max(host + 1), None);
        self.current[host] = Some(number);
    }

    /// A node has handled something.
    pub(crate) fn saw(&mut self, now: Time, host: usize, node: &Node, outputs: &[Output], others: &[&Node]) {
        let Some(number) = self.current.get(host).copied().flatten() else { return };
        self.holders.look(number, node);
        self.judge_epoch(now, number, node);
        self.judge_stable(now, number, node);
        self.judge_beliefs(now, number, node);
        self.judge_views(now, number, node);
        self.judge_seats(now, (number, host), node, others);
        self.note_fullness(now, node);
        self.judge_retention(now, number, node);
        self.judge_numbered(now, number, node);
        self.judge_pressure(now, number, node);
        self.judge_slow(now, number, node);
        self.note_admission(number, node);
        for output in outputs {
            self.judge_output(now, number, node, output, others);
        }
        self.note_ordered(number, node);
        self.judge_prompt(now, number, node);
        self.judge_outbox(now, number, node);
        self.known[number].note(node);
    }

    /// A node says something to another.
    pub(crate) fn said(&mut self, now: Time, host: usize, node: &Node, message: &Message) {
        let (epoch, contiguous) = match message {
            Message::HeartbeatAck(ack) => (&ack.epoch, ack.contiguous),
            Message::OrderedAck { epoch, contiguous, .. } => (epoch, *contiguous),
            Message::SeqSyncResponse(answer) => {
                self.note_promise(node, &answer.epoch);
                self.judge_promise(now, node, answer);
                return;
            }
            Message::SeqSyncRequest(request) => {
                self.note_claim(node, &request.epoch);
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
        let holds = node.covers().any(|(covering, _, last)| covering == epoch && last >= contiguous) && contiguous <= node.contiguous();
        self.notes.judge(Law::SaysTruly, now, holds, || {
            let (who, ends) = (&node.contact().member, node.contiguous());
            format!("{who} says that it holds #{contiguous} of epoch {epoch}, and its log ends at #{ends} of epoch {}", node.epoch())
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

    /// What was found, and what was broken.
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
            let judged = promises::CATALOGUE.iter().find(|promise| promise.id == law.id()).map(|promise| promise.statement);
            let beyond = promises::BEYOND.iter().find(|beyond| beyond.id == law.id()).map(|beyond| beyond.statement);
            let told = judged.xor(beyond);
            assert_eq!(told, Some(law.statement()), "{} is in either the catalogue or the list of what no history shows", law.id());
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
                (cells.next().unwrap_or_default().trim_matches('`'), cells.next().unwrap_or_default())
            })
            .collect();
        assert_eq!(told, LAWS.map(|law| (law.id(), law.statement())));
    }
}
