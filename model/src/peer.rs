//! One peer of the searched group: the real node, its clock, and the deliveries to its sinks.
//!
//! Each peer has a clock of its own, which only the search advances. So a timeout may expire at any
//! point, however many messages are in flight: slow networks, drifting clocks and pauses are all
//! the same here, and safety must not depend on any of them. Work that is due at once is done at
//! once, as in a shell that has drained its sockets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use protocol::config::Config;
use protocol::id::{Contact, Epoch, Incarnation, LinkId, Member, Oseq, PeerId, Seq};
use protocol::inspect::identity;
use protocol::io::{Input, Output, Publication};
use protocol::message::{Datagram, Entry, Message};
use protocol::node::Node;
use protocol::note::Note;
use protocol::time::Time;

use crate::fact::{Breach, Fact, held};
use crate::law;

/// A peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// Connections accepted so far; the shell numbers them in this order.
    pub(crate) accepted: u64,
    /// The last number of each origin that its sinks have received.
    pub(crate) sunk: BTreeMap<Member, Oseq>,
}

/// The effect of one input on a peer, and its requests.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) peer: Peer,
    pub(crate) requests: Vec<Request>,
    pub(crate) facts: Vec<Fact>,
    /// Whether it stopped by itself.
    pub(crate) stopped: bool,
    /// Its notes.
    pub(crate) notes: Vec<Note>,
}

/// A request of a peer to its environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    Dial { link: LinkId, to: usize },
    HangUp { link: LinkId },
    Send { link: LinkId, message: Box<Message> },
    Shout { to: Option<usize>, datagram: Box<Datagram> },
}

impl Peer {
    /// The `index`-th peer, in no group yet.
    pub(crate) fn new(index: usize, config: &Config) -> Self {
        let me = contact(index);
        let node = Node::new(me, config.clone(), SEED, Time::ZERO);
        Self { node, now: Time::ZERO, accepted: 0, sunk: BTreeMap::new() }
    }

    /// The identity of this state: equal states have equal identities.
    pub(crate) fn identity(&self) -> u128 {
        identity(&(self.node.identity(self.now), self.accepted, &self.sunk))
    }

    /// The content of its log, by position.
    pub(crate) fn held(&self) -> BTreeMap<Seq, (Epoch, u128)> {
        held(&self.node)
    }

    /// Whether a deadline of its own has passed, so that a shell would wake it as soon as its
    /// sockets are drained.
    pub(crate) fn is_due(&self) -> bool {
        self.node.deadline().is_some_and(|deadline| deadline <= self.now)
    }

    /// The next reading that it would publish: the text names the origin and the number.
    pub(crate) fn next_reading(&self) -> Input {
        let oseq = self.node.status().published.next();
        let payload = reading(&self.node.contact().member.id, oseq);
        Input::Publish {
            publications: vec![Publication::one(payload.into_bytes().into(), 0, None)],
        }
    }

    /// Pauses for `span`; the effect shows at the next call.
    pub(crate) fn pause(&self, span: Duration) -> Self {
        Self { now: self.now + span, ..self.clone() }
    }

    /// A connection arrives.
    pub(crate) fn accept(&self) -> Result<Effect, Breach> {
        let accepted = self.accepted + 1;
        Self { accepted, ..self.clone() }.take(Input::LinkUp { link: LinkId::accepted(accepted) })
    }

    /// Lets the peer handle an input, and then everything that is due at once.
    pub(crate) fn take(&self, input: Input) -> Result<Effect, Breach> {
        // A peer that was late before has more to read before it looks at its clock.
        let late = self.is_due();
        let mut step = Step::of(self);
        step.handle(input)?;
        if !late {
            step.do_what_is_due()?;
        }
        Ok(step.effect)
    }

    /// Lets its next deadline pass; deadlines without a visible effect are skipped. Bit `n` of
    /// `dead` is set if peer `n` is dead. A dial to a dead peer is refused within the same step, so
    /// it has no visible effect. Otherwise each repeated dial would be a situation of its own,
    /// without end.
    pub(crate) fn pass(&self, dead: u8) -> Result<Option<Effect>, Breach> {
        let mut step = Step::of(self);
        for _ in 0..QUIET_WAKES {
            let Some(deadline) = step.effect.peer.node.deadline() else { return Ok(None) };
            step.effect.peer.now = step.effect.peer.now.max(deadline);
            let role = step.effect.peer.node.status().role;
            step.handle(Input::Wake)?;
            step.do_what_is_due()?;
            step.refuse_dials(dead)?;
            let shows =
                !step.effect.requests.is_empty() || step.effect.peer.node.status().role != role;
            if shows || step.effect.stopped {
                return Ok(Some(step.effect));
            }
        }
        Ok(None)
    }
}

/// An effect under construction.
struct Step {
    effect: Effect,
}

impl Step {
    fn of(peer: &Peer) -> Self {
        let effect = Effect {
            peer: peer.clone(),
            requests: vec![],
            facts: vec![],
            stopped: false,
            notes: vec![],
        };
        Self { effect }
    }

    fn do_what_is_due(&mut self) -> Result<(), Breach> {
        for _ in 0..RINGS_MAX {
            if self.effect.stopped || !self.effect.peer.is_due() {
                return Ok(());
            }
            self.handle(Input::Wake)?;
        }
        Err(Breach::new(
            "no-crash",
            format!("woken {RINGS_MAX} times, it still wants to be woken at once"),
        ))
    }

    /// Refuses each dial to a dead peer, and removes the request.
    fn refuse_dials(&mut self, dead: u8) -> Result<(), Breach> {
        let is_vain =
            |request: &Request| matches!(request, Request::Dial { to, .. } if dead >> to & 1 == 1);
        for _ in 0..RINGS_MAX {
            let Some(at) = self.effect.requests.iter().position(is_vain) else { return Ok(()) };
            let Request::Dial { link, .. } = self.effect.requests.remove(at) else { return Ok(()) };
            self.handle(Input::DialFailed { link, refused: true })?;
            self.do_what_is_due()?;
        }
        Err(Breach::new("no-crash", format!("refused {RINGS_MAX} times, it dials again at once")))
    }

    fn handle(&mut self, input: Input) -> Result<(), Breach> {
        let Effect { peer, requests, facts, stopped, notes } = &mut self.effect;
        let before = law::Before::of(peer);
        let mut out = Vec::new();
        peer.node.handle(peer.now, input, &mut out);
        law::hold(&before, peer, &out, facts)?;
        // A shell writes control before bulk at the end of each turn.
        let mut bulk = Vec::new();
        for output in out {
            match output {
                Output::Dial { link, to } => {
                    requests.push(Request::Dial { link, to: index_of(to) })
                }
                Output::HangUp { link } => {
                    requests.append(&mut bulk);
                    requests.push(Request::HangUp { link });
                }
                Output::Send { link, message } => {
                    let queue = if message.is_bulk() { &mut bulk } else { &mut *requests };
                    queue.push(Request::Send { link, message: Box::new(message) });
                }
                Output::Fan { links, message } => {
                    bulk.extend(
                        links
                            .into_iter()
                            .map(|link| Request::Send { link, message: Box::new(message.clone()) }),
                    );
                }
                Output::Broadcast { datagram } => {
                    requests.push(Request::Shout { to: None, datagram: uncounted(datagram) })
                }
                Output::Whisper { to, datagram } => {
                    requests.push(Request::Shout {
                        to: Some(index_of(to)),
                        datagram: uncounted(datagram),
                    });
                }
                Output::Stop(_) => *stopped = true,
                Output::Note(note) => notes.push(note),
                Output::Deliver(_)
                | Output::Accepted { .. }
                | Output::Acknowledged { .. }
                | Output::Published { .. }
                | Output::Asked { .. }
                | Output::Answered { .. }
                | Output::Refused { .. }
                | Output::Persist { .. } => {}
            }
        }
        requests.append(&mut bulk);
        Ok(())
    }
}

/// The count only names a datagram in event logs.
fn uncounted(datagram: Box<Datagram>) -> Box<Datagram> {
    Box::new(Datagram { count: 0, ..*datagram })
}

/// The contact of the peer with that index.
pub(crate) fn contact(index: usize) -> Contact {
    let number = u8::try_from(index + 1).expect("a group that is searched has a handful of peers");
    let id = PeerId::new(&format!("peer{number}")).expect("a valid name");
    let address = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, number), PORT);
    Contact {
        member: Member { id, inc: Incarnation(1) },
        birth: u64::from(number),
        address,
        explicit: 0,
    }
}

/// The index of the peer with that address.
pub(crate) fn index_of(address: SocketAddrV4) -> usize {
    usize::from(address.ip().octets()[3]) - 1
}

/// The text of a reading.
pub(crate) fn reading(origin: &PeerId, oseq: Oseq) -> String {
    format!("{origin}/{oseq}")
}

/// The digest of an entry.
pub(crate) fn digest(entry: &Entry) -> u128 {
    identity(entry)
}

const PORT: u16 = 5_000;
/// The seed only draws the names of requests, which do not matter here.
const SEED: u64 = 1;
/// The greatest number of consecutive wake-ups without a visible effect.
const QUIET_WAKES: u32 = 32;
/// The greatest number of wake-ups at one moment.
const RINGS_MAX: u32 = 200;
