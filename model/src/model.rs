//! The transition system: the possible events of a situation, and the situations that they lead to.
//!
//! A peer's answer to an input depends on the peer and the input only, so it is computed once and
//! looked up from then on; most of a search combines known answers in new ways.

use std::collections::HashMap;
use std::time::Duration;

use protocol::config::Config;
use protocol::config::Mode;
use protocol::id::LinkId;
use protocol::inspect::identity;
use protocol::io::{Down, Input};
use protocol::message::{Datagram, Message};
use protocol::note::Note;
use protocol::time::Time;

use crate::bounds::Bounds;
use crate::fact::{Breach, Fact, Ledger, Mark};
use crate::group::{Action, End, Group, Item, Line, Spent};
use crate::memory::{Memory, Trusting};
use crate::peer::{Effect, Peer, Request, contact};

/// The group, in the form that the search needs.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) bounds: Bounds,
    one_log: bool,
    /// Longer than any peer waits for a sign of life.
    long: Duration,
    pub(crate) peers: Memory<Peer>,
    pub(crate) messages: Memory<Message>,
    pub(crate) datagrams: Memory<Datagram>,
    ledgers: Memory<Ledger>,
    answers: HashMap<(u32, Stimulus), Option<u32>, Trusting>,
    effects: Vec<Answer>,
    /// The ledger after an effect, by ledger and effect.
    entered: HashMap<(u32, u32), u32, Trusting>,
    pub(crate) marks: Vec<Mark>,
    /// How many peers had led when the search began.
    led_before: usize,
}

/// An input of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stimulus {
    Frame {
        link: LinkId,
        message: u32,
    },
    Heard {
        from: u8,
        datagram: u32,
    },
    Up {
        link: LinkId,
    },
    Accept,
    Down {
        link: LinkId,
        reset: bool,
    },
    Unreached {
        link: LinkId,
        refused: bool,
    },
    Publish,
    /// Its deadline is now: for scripts, in which all clocks run alike.
    Wake,
    /// Its next deadline passes. Bit `n` of `dead` is set if peer `n` is dead.
    Pass {
        dead: u8,
    },
    Pause,
}

/// The answer of a peer.
#[derive(Debug)]
struct Answer {
    /// The peer afterwards; none if it has stopped.
    peer: Option<u32>,
    requests: Vec<Told>,
    facts: Vec<Fact>,
    /// Whether the only visible effect is a dial.
    quiet: bool,
}

/// A request, with its message as a number.
#[derive(Clone, Copy, Debug)]
enum Told {
    Dial { link: LinkId, to: u8 },
    HangUp { link: LinkId },
    Send { link: LinkId, message: u32 },
    Shout { to: Option<u8>, datagram: u32 },
}

impl Model {
    pub(crate) fn new(config: &Config, bounds: Bounds) -> Self {
        let knobs = config.knobs();
        Self {
            bounds,
            one_log: knobs.mode == Mode::Primary,
            long: 4 * (knobs.heartbeat_timeout + knobs.heartbeat_interval),
            peers: Memory::new(),
            messages: Memory::new(),
            datagrams: Memory::new(),
            ledgers: Memory::new(),
            answers: HashMap::default(),
            effects: Vec::new(),
            entered: HashMap::default(),
            marks: Vec::new(),
            led_before: 0,
        }
    }

    /// A group of peers that have just started.
    pub(crate) fn boot(&mut self, config: &Config, size: usize) -> Group {
        let peers = (0..size).map(|index| Some(self.remember(Peer::new(index, config)))).collect();
        let ledger = self.record(Ledger::default());
        Group {
            peers,
            lines: vec![],
            air: std::collections::BTreeMap::new(),
            spent: Spent::default(),
            ledger,
        }
    }

    pub(crate) fn remember(&mut self, peer: Peer) -> u32 {
        self.peers.number(peer.identity(), || peer)
    }

    fn record(&mut self, ledger: Ledger) -> u32 {
        self.ledgers.number(identity(&ledger), || ledger)
    }

    /// Sets a peer's clock, which never runs backwards.
    pub(crate) fn set_clock(&mut self, group: &mut Group, index: u8, now: Time) {
        let Some(peer) = group.peers[usize::from(index)].map(|peer| self.peers.get(peer).clone())
        else {
            return;
        };
        let now = peer.now.max(now);
        group.peers[usize::from(index)] = Some(self.remember(Peer { now, ..peer }));
    }

    /// Makes a situation the root: events before it use no bounds and count for no mark.
    pub(crate) fn begin_at(&mut self, group: &mut Group, bounds: Bounds) {
        self.bounds = bounds;
        self.answers.clear();
        self.effects.clear();
        self.entered.clear();
        self.marks.clear();
        self.led_before = self.ledgers.get(group.ledger).leaders();
        group.spent = Spent::default();
        group.air.clear();
        group.tidy();
    }

    /// How many answers were computed.
    pub(crate) fn worked_out(&self) -> usize {
        self.answers.len()
    }

    /// Whether a situation is beyond the searched rounds.
    pub(crate) fn is_beyond(&self, group: &Group) -> bool {
        group
            .peers
            .iter()
            .flatten()
            .any(|peer| self.peers.get(*peer).node.promised().round > self.bounds.rounds)
    }

    /// All possible events.
    pub(crate) fn actions(&self, group: &Group) -> Vec<Action> {
        let mut actions = Vec::new();
        let (bounds, spent) = (&self.bounds, &group.spent);
        for (at, line) in (0_u8..).zip(&group.lines) {
            if !line.up {
                actions.push(Action::Answer { line: at });
                continue;
            }
            for (own, end) in (0_u8..).zip(&line.ends) {
                if !end.inbox.is_empty() {
                    actions.push(Action::Arrive { line: at, end: own });
                }
            }
            let breaks = line.ends.iter().all(|end| {
                end.open && !matches!(end.inbox.last(), Some(Item::Closed | Item::Reset))
            });
            if breaks && spent.resets < bounds.resets {
                actions.push(Action::Reset { line: at });
            }
        }
        actions.extend(group.air.keys().map(|(from, to)| Action::Hear { from: *from, to: *to }));
        for (index, peer) in (0_u8..).zip(&group.peers) {
            let Some(peer) = peer.map(|peer| self.peers.get(peer)) else { continue };
            actions.push(Action::Pass { peer: index });
            if spent.readings < bounds.readings {
                actions.push(Action::Publish { peer: index });
            }
            if spent.crashes < bounds.crashes {
                actions.push(Action::Crash { peer: index });
            }
            if spent.pauses < bounds.pauses && !peer.is_due() {
                actions.push(Action::Pause { peer: index });
            }
        }
        actions
    }

    /// The situation after an action; none if the bounds forbid the action, or if it has no effect.
    pub(crate) fn step(&mut self, group: &Group, action: Action) -> Result<Option<Group>, Breach> {
        let mut next = group.clone();
        match action {
            Action::Arrive { line, end } => {
                let place = &mut next.lines[usize::from(line)].ends[usize::from(end)];
                let (peer, link) = (place.peer, place.link);
                let stimulus = match place.inbox.remove(0) {
                    Item::Message(message) => Stimulus::Frame { link, message },
                    item @ (Item::Closed | Item::Reset) => {
                        place.open = false;
                        Stimulus::Down { link, reset: item == Item::Reset }
                    }
                };
                self.tell(&mut next, peer, stimulus)?;
            }
            Action::Answer { line } => self.answer_dial(&mut next, usize::from(line))?,
            Action::Hear { from, to } => {
                let Some(datagram) = next.air.remove(&(from, to)) else { return Ok(None) };
                self.tell(&mut next, to, Stimulus::Heard { from, datagram })?;
            }
            Action::Pass { peer } => {
                let due =
                    next.peers[usize::from(peer)].is_some_and(|peer| self.peers.get(peer).is_due());
                let Some(quiet) =
                    self.tell(&mut next, peer, Stimulus::Pass { dead: group.dead() })?
                else {
                    return Ok(None);
                };
                if !due && !quiet && !next.spent.afford_pass(&self.bounds, group.is_at_rest()) {
                    return Ok(None);
                }
            }
            Action::Pause { peer } => {
                next.spent.pauses += 1;
                self.tell(&mut next, peer, Stimulus::Pause)?;
            }
            Action::Crash { peer } => {
                next.spent.crashes += 1;
                next.bury(peer);
            }
            Action::Publish { peer } => {
                next.spent.readings += 1;
                self.tell(&mut next, peer, Stimulus::Publish)?;
            }
            Action::Reset { line } => {
                next.spent.resets += 1;
                next.reset(usize::from(line));
            }
        }
        next.tidy();
        Ok(Some(next))
    }

    fn answer_dial(&mut self, next: &mut Group, at: usize) -> Result<(), Breach> {
        let [own, other] = &next.lines[at].ends;
        let (dialler, link, acceptor) = (own.peer, own.link, other.peer);
        let Some(peer) = next.peers[usize::from(acceptor)] else {
            next.lines.remove(at);
            self.tell(next, dialler, Stimulus::Unreached { link, refused: true })?;
            return Ok(());
        };
        let accepted = LinkId::accepted(self.peers.get(peer).accepted + 1);
        let line = &mut next.lines[at];
        line.up = true;
        line.ends[1].link = accepted;
        self.tell(next, acceptor, Stimulus::Accept)?;
        self.tell(next, dialler, Stimulus::Up { link })?;
        Ok(())
    }

    /// Gives a peer an input, and performs its requests. Returns whether the effect is invisible;
    /// none if there is no effect.
    pub(crate) fn tell(
        &mut self,
        group: &mut Group,
        index: u8,
        stimulus: Stimulus,
    ) -> Result<Option<bool>, Breach> {
        let Some(before) = group.peers[usize::from(index)] else { return Ok(None) };
        let Some(answer) = self.answer(before, stimulus)? else { return Ok(None) };
        group.ledger = self.enter(group.ledger, answer)?;
        let Answer { peer, requests, quiet, .. } = &self.effects[answer as usize];
        group.peers[usize::from(index)] = *peer;
        for request in requests {
            match *request {
                Told::Dial { link, to } => {
                    let own = End { peer: index, link, open: true, inbox: vec![] };
                    let other = End { peer: to, link: NOT_YET, open: true, inbox: vec![] };
                    group.lines.push(Line { ends: [own, other], up: false });
                }
                Told::HangUp { link } => group.hang_up(index, link),
                Told::Send { link, message } => group.send(index, link, message),
                Told::Shout { to, datagram } if self.bounds.datagrams => {
                    for (other, _) in (0_u8..).zip(&group.peers).filter(|(_, peer)| peer.is_some())
                    {
                        if other != index && to.is_none_or(|to| to == other) {
                            group.air.insert((index, other), datagram);
                        }
                    }
                }
                Told::Shout { .. } => {}
            }
        }
        let (gone, quiet) = (peer.is_none(), *quiet);
        if gone {
            group.bury(index);
        } else if !self.marks.contains(&Mark::DeliveredByAll) && self.is_delivered_by_all(group) {
            self.marks.push(Mark::DeliveredByAll);
        }
        Ok(Some(quiet))
    }

    fn is_delivered_by_all(&self, group: &Group) -> bool {
        let mut living = group.peers.iter().flatten().map(|peer| &self.peers.get(*peer).sunk);
        let Some(first) = living.next() else { return false };
        let others: Vec<_> = living.collect();
        !others.is_empty()
            && first.keys().any(|origin| others.iter().all(|sunk| sunk.contains_key(origin)))
    }

    /// The answer of a peer to an input, computed at most once; none if there is no effect.
    fn answer(&mut self, before: u32, stimulus: Stimulus) -> Result<Option<u32>, Breach> {
        if let Some(known) = self.answers.get(&(before, stimulus)) {
            return Ok(*known);
        }
        let number = self.work_out(before, stimulus)?.map(|effect| self.keep(before, effect));
        self.answers.insert((before, stimulus), number);
        Ok(number)
    }

    /// The answer of a peer to an input, with all of its notes.
    pub(crate) fn work_out(
        &self,
        before: u32,
        stimulus: Stimulus,
    ) -> Result<Option<Effect>, Breach> {
        let peer = self.peers.get(before);
        let input = match stimulus {
            Stimulus::Frame { link, message } => {
                Input::Received { link, messages: vec![self.messages.get(message).clone()] }
            }
            Stimulus::Heard { from, datagram } => {
                let from = contact(usize::from(from)).address;
                Input::Heard { from, datagram: Box::new(self.datagrams.get(datagram).clone()) }
            }
            Stimulus::Up { link } => Input::LinkUp { link },
            Stimulus::Accept => return peer.accept().map(Some),
            Stimulus::Down { link, reset } => {
                Input::LinkDown { link, how: if reset { Down::Reset } else { Down::Closed } }
            }
            Stimulus::Unreached { link, refused } => Input::DialFailed { link, refused },
            Stimulus::Publish => peer.next_reading(),
            Stimulus::Wake => Input::Wake,
            Stimulus::Pass { dead } => return peer.pass(dead),
            Stimulus::Pause => {
                let peer = peer.pause(self.long);
                return Ok(Some(Effect {
                    peer,
                    requests: vec![],
                    facts: vec![],
                    stopped: false,
                    notes: vec![],
                }));
            }
        };
        peer.take(input).map(Some)
    }

    fn keep(&mut self, before: u32, effect: Effect) -> u32 {
        let Effect { peer, requests, facts, stopped, notes } = effect;
        let role = |peer: &Peer| peer.node.status().role;
        // If it dials in spite of an established link, an answer is overdue: that is a deadline
        // like any other.
        let doubts = notes.iter().any(|note| matches!(note, Note::Unanswered { .. }));
        let only_dials = requests.iter().all(|request| matches!(request, Request::Dial { .. }));
        let quiet = only_dials && !doubts && role(&peer) == role(self.peers.get(before));
        let requests = requests.into_iter().map(|request| self.by_number(request)).collect();
        let mut kept = Vec::new();
        for fact in facts {
            match fact {
                Fact::Mark(mark) if self.marks.contains(&mark) => {}
                Fact::Mark(mark) => self.marks.push(mark),
                fact => kept.push(fact),
            }
        }
        let peer = if stopped { None } else { Some(self.remember(peer)) };
        self.effects.push(Answer { peer, requests, facts: kept, quiet });
        u32::try_from(self.effects.len() - 1).expect("memory ends long before the numbers do")
    }

    fn by_number(&mut self, request: Request) -> Told {
        let index =
            |to: usize| u8::try_from(to).expect("a group that is searched has a handful of peers");
        match request {
            Request::Dial { link, to } => Told::Dial { link, to: index(to) },
            Request::HangUp { link } => Told::HangUp { link },
            Request::Send { link, message } => {
                Told::Send { link, message: self.messages.number(identity(&*message), || *message) }
            }
            Request::Shout { to, datagram } => Told::Shout {
                to: to.map(index),
                datagram: self.datagrams.number(identity(&datagram), || *datagram),
            },
        }
    }

    /// Enters the facts of an answer into a ledger.
    fn enter(&mut self, ledger: u32, answer: u32) -> Result<u32, Breach> {
        let Answer { facts, peer, .. } = &self.effects[answer as usize];
        if facts.is_empty() {
            return Ok(ledger);
        }
        if let Some(known) = self.entered.get(&(ledger, answer)) {
            return Ok(*known);
        }
        let mut next = self.ledgers.get(ledger).clone();
        if let Some(peer) = peer {
            next.judge(facts, &self.peers.get(*peer).node, self.one_log)?;
        }
        for fact in facts {
            next.note(fact, self.one_log)?;
            let Fact::Leads { epoch, .. } = fact else { continue };
            if next.leaders() > self.led_before.max(1) && !self.marks.contains(&Mark::SecondLeader)
            {
                self.marks.push(Mark::SecondLeader);
            }
            let lost = peer.and_then(|peer| next.lost_from(&self.peers.get(peer).held(), epoch));
            if let Some(seq) = lost {
                return Err(Breach::new(
                    "safe-kept",
                    format!("#{seq} is stable, and the new leader's log does not have it"),
                ));
            }
        }
        let number = self.record(next);
        self.entered.insert((ledger, answer), number);
        Ok(number)
    }
}

/// The other end of a connection has no number before it is accepted.
const NOT_YET: LinkId = LinkId(u64::MAX);
