//! A situation of the whole group: the state of each peer, the messages in flight, and the used
//! bounds.
//!
//! A connection is two queues. Messages of a peer arrive in order, when the search decides; a reset
//! loses the messages in flight in both directions; the end of a process is noticed after its last
//! messages. A datagram is in flight until it arrives, or until another one with the same sender
//! and receiver replaces it.

use std::collections::BTreeMap;

use protocol::id::LinkId;
use protocol::inspect::identity;

use crate::bounds::Bounds;

/// A situation. Peers, messages and the ledger are numbers in the memories of the
/// [`crate::model::Model`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    /// The live peers.
    pub(crate) peers: Vec<Option<u32>>,
    /// The connections, sorted.
    pub(crate) lines: Vec<Line>,
    /// The datagrams in flight, by sender and receiver.
    pub(crate) air: BTreeMap<(u8, u8), u32>,
    pub(crate) spent: Spent,
    pub(crate) ledger: u32,
}

/// A connection: the dialler's end, and the other one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Line {
    pub(crate) ends: [End; 2],
    /// Whether the dial has been answered.
    pub(crate) up: bool,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct End {
    pub(crate) peer: u8,
    pub(crate) link: LinkId,
    /// Whether the peer at this end still uses it.
    pub(crate) open: bool,
    /// The messages in flight to that peer.
    pub(crate) inbox: Vec<Item>,
}

/// An item in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Item {
    Message(u32),
    Closed,
    Reset,
}

/// The used bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spent {
    pub(crate) crashes: u8,
    pub(crate) readings: u8,
    pub(crate) resets: u8,
    pub(crate) passes: u8,
    pub(crate) rests: u8,
    pub(crate) pauses: u8,
}

/// A possible next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The first item in flight to that end arrives.
    Arrive { line: u8, end: u8 },
    /// A dial is answered.
    Answer { line: u8 },
    /// A datagram arrives.
    Hear { from: u8, to: u8 },
    /// A deadline passes.
    Pass { peer: u8 },
    /// A process is paused for long.
    Pause { peer: u8 },
    /// A process dies.
    Crash { peer: u8 },
    /// A reading is published.
    Publish { peer: u8 },
    /// A connection breaks.
    Reset { line: u8 },
}

impl Spent {
    /// Counts one more passed deadline; false if that exceeds the bounds.
    pub(crate) fn afford_pass(&mut self, bounds: &Bounds, at_rest: bool) -> bool {
        if at_rest && self.rests < bounds.rests {
            self.rests += 1;
            true
        } else if self.passes < bounds.passes {
            self.passes += 1;
            true
        } else {
            false
        }
    }
}

impl Group {
    pub(crate) fn identity(&self) -> u128 {
        identity(self)
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.air.is_empty()
            && self
                .lines
                .iter()
                .all(|line| line.up && line.ends.iter().all(|end| end.inbox.is_empty()))
    }

    /// The dead peers: bit `n` is set if peer `n` is dead.
    pub(crate) fn dead(&self) -> u8 {
        self.peers
            .iter()
            .enumerate()
            .filter(|(_, peer)| peer.is_none())
            .map(|(index, _)| 1 << index)
            .sum()
    }

    /// Sorts connections by their peers, whichever dialled; removes those that neither peer uses.
    pub(crate) fn tidy(&mut self) {
        self.lines.retain(|line| line.ends.iter().any(|end| end.open));
        self.lines.sort_unstable();
    }

    /// The connection that a peer knows by that number, and the peer's end of it.
    pub(crate) fn find(&self, peer: u8, link: LinkId) -> Option<(usize, usize)> {
        self.lines.iter().enumerate().find_map(|(at, line)| {
            let own = line
                .ends
                .iter()
                .position(|end| end.peer == peer && end.link == link && end.open)?;
            (own == 0 || line.up).then_some((at, own))
        })
    }

    /// A peer sends a message on a connection.
    pub(crate) fn send(&mut self, peer: u8, link: LinkId, message: u32) {
        if let Some((at, own)) = self.find(peer, link) {
            let other = &mut self.lines[at].ends[1 - own];
            if other.open {
                other.inbox.push(Item::Message(message));
            }
        }
    }

    /// A peer closes a connection.
    pub(crate) fn hang_up(&mut self, peer: u8, link: LinkId) {
        if let Some((at, own)) = self.find(peer, link) {
            self.close(at, own);
        }
    }

    /// A process is gone, and its kernel closes its connections.
    pub(crate) fn bury(&mut self, peer: u8) {
        self.peers[usize::from(peer)] = None;
        self.air.retain(|(_, to), _| *to != peer);
        for at in 0..self.lines.len() {
            for own in 0..2 {
                let mine = self.lines[at].ends[own].peer == peer && (own == 0 || self.lines[at].up);
                if mine && self.lines[at].ends[own].open {
                    self.close(at, own);
                }
            }
        }
    }

    fn close(&mut self, at: usize, own: usize) {
        let line = &mut self.lines[at];
        let up = line.up;
        line.ends[own].open = false;
        line.ends[own].inbox.clear();
        let other = &mut line.ends[1 - own];
        if !up {
            other.open = false;
        } else if other.open {
            other.inbox.push(Item::Closed);
        }
    }

    /// A connection breaks, with all messages in flight on it.
    pub(crate) fn reset(&mut self, at: usize) {
        for end in self.lines[at].ends.iter_mut().filter(|end| end.open) {
            end.inbox = vec![Item::Reset];
        }
    }
}

impl Action {
    /// The action as a number, for compact storage.
    pub(crate) fn code(self) -> u32 {
        let [kind, a, b] = match self {
            Self::Arrive { line, end } => [0, line, end],
            Self::Answer { line } => [1, line, 0],
            Self::Hear { from, to } => [2, from, to],
            Self::Pass { peer } => [3, peer, 0],
            Self::Pause { peer } => [4, peer, 0],
            Self::Crash { peer } => [5, peer, 0],
            Self::Publish { peer } => [6, peer, 0],
            Self::Reset { line } => [7, line, 0],
        };
        u32::from_le_bytes([kind, a, b, 0])
    }

    /// The action of a number.
    pub(crate) fn of(code: u32) -> Option<Self> {
        let [kind, a, b, _] = code.to_le_bytes();
        Some(match kind {
            0 => Self::Arrive { line: a, end: b },
            1 => Self::Answer { line: a },
            2 => Self::Hear { from: a, to: b },
            3 => Self::Pass { peer: a },
            4 => Self::Pause { peer: a },
            5 => Self::Crash { peer: a },
            6 => Self::Publish { peer: a },
            7 => Self::Reset { line: a },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, End, Group, Item, Line, Spent};
    use protocol::id::LinkId;
    use std::collections::BTreeMap;

    fn group() -> Group {
        let end = |peer, link| End { peer, link, open: true, inbox: vec![] };
        let line =
            Line { ends: [end(0, LinkId::dialled(1)), end(1, LinkId::accepted(1))], up: true };
        Group {
            peers: vec![Some(0), Some(1)],
            lines: vec![line],
            air: BTreeMap::new(),
            spent: Spent::default(),
            ledger: 0,
        }
    }

    #[test]
    fn last_words_arrive_before_the_end() {
        let mut group = group();
        group.send(0, LinkId::dialled(1), 7);
        group.send(1, LinkId::accepted(1), 8);
        group.bury(0);
        assert_eq!(group.lines[0].ends[1].inbox, [Item::Message(7), Item::Closed]);
        assert!(group.lines[0].ends[0].inbox.is_empty(), "nobody is there to hear it");
        assert!(!group.is_at_rest());
        group.lines[0].ends[1].open = false;
        group.tidy();
        assert!(group.lines.is_empty());
    }

    #[test]
    fn a_reset_loses_what_is_on_its_way() {
        let mut group = group();
        group.send(0, LinkId::dialled(1), 7);
        group.reset(0);
        assert!(group.lines[0].ends.iter().all(|end| end.inbox == [Item::Reset]));
    }

    #[test]
    fn an_action_survives_its_number() {
        let actions = [
            Action::Arrive { line: 3, end: 1 },
            Action::Answer { line: 2 },
            Action::Hear { from: 1, to: 2 },
            Action::Pass { peer: 1 },
            Action::Pause { peer: 2 },
            Action::Crash { peer: 0 },
            Action::Publish { peer: 1 },
            Action::Reset { line: 4 },
        ];
        for action in actions {
            assert_eq!(Action::of(action.code()), Some(action));
        }
        assert_eq!(Action::of(u32::MAX), None);
    }
}
