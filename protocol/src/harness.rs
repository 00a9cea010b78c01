//! A node on strings: for tests that say single words to it and look at what comes of each.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, Knobs};
use crate::id::{Contact, Epoch, Incarnation, LinkId, Member, PeerId, Seq, ViewId};
use crate::io::{Down, Input, Output, Publication};
use crate::log::dedup::Dedup;
use crate::log::entry::{Entry, Ordered};
use crate::log::lineage::{EpochStart, LogEnd, Snapshot};
use crate::log::view::View;
use crate::node::Node;
use crate::roles::Role;
use crate::roles::candidate::Candidate;
use crate::roles::leader::Leader;
use crate::roles::turn::{Flow, Turn};
use crate::time::Time;
use crate::wire::message::{
    Added, Datagram, Heartbeat, Hello, JoinRequest, Message, SyncAnswer, SyncFinal,
};

/// `p1`, and all who speak with it.
pub(crate) struct Harness {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// What has come of it, until somebody looks.
    pub(crate) out: Vec<Output>,
    links: BTreeMap<Member, LinkId>,
    accepted: u64,
}

impl Node {
    /// Does something as the candidate that it is.
    pub(crate) fn as_candidate(
        &mut self,
        now: Time,
        out: &mut Vec<Output>,
        does: impl FnOnce(&mut Candidate, &mut Turn<'_>) -> Flow,
    ) {
        let flow = match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => does(candidate, &mut turn),
            (Role::Joining(_) | Role::Follower(_) | Role::Leader(_), _) => {
                panic!("it is no candidate")
            }
        };
        self.go(now, flow, out);
    }
}

/// `pN` in its first life.
pub(crate) fn peer(n: u16) -> Contact {
    let id = PeerId::new(&format!("p{n}")).expect("a valid name");
    Contact {
        member: Member { id, inc: Incarnation(1) },
        birth: n.into(),
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5_000 + n),
        explicit: 0,
    }
}

/// `pN` in its second life.
pub(crate) fn reborn(n: u16) -> Contact {
    let first = peer(n);
    Contact {
        member: Member { inc: Incarnation(2), ..first.member },
        birth: first.birth + 1_000,
        ..first
    }
}

/// What somebody says of its log who has none.
pub(crate) fn nothing() -> LogEnd {
    LogEnd { epoch: Epoch::none(), contiguous: Seq::ZERO, log_id: Epoch::none() }
}

/// The request of a newcomer.
pub(crate) fn request(from: &Contact) -> Message {
    let promised = Epoch::none();
    let (from, contiguous, lineage) = (from.clone(), Seq::ZERO, Vec::new());
    Message::NewPeerRequest(JoinRequest {
        ask: 1 << 63 | 1,
        from,
        promised,
        contiguous,
        lineage,
        leading: None,
        has_history: false,
        recent: 0,
    })
}

/// The first epoch of a member.
pub(crate) fn epoch_of(peer: &Contact) -> Epoch {
    Epoch { round: 1, owner: peer.member.clone() }
}

impl Harness {
    /// In no group yet.
    pub(crate) fn newcomer(knobs: Knobs) -> Self {
        let node = Node::new(peer(1), Config::try_from(knobs).expect("sound"), 1, Time::ZERO);
        Self { node, now: Time::ZERO, out: Vec::new(), links: BTreeMap::new(), accepted: 0 }
    }

    /// The leader of nobody but itself.
    pub(crate) fn leader(knobs: Knobs) -> Self {
        let mut harness = Self::newcomer(knobs);
        harness.rest(Duration::from_secs(1));
        harness.leads();
        harness
    }

    /// A member of a group of three that `p3` leads; it holds the view and nothing else.
    pub(crate) fn member(knobs: Knobs) -> Self {
        let mut harness = Self::newcomer(knobs);
        harness.greet(&peer(3), nothing());
        harness.let_in(Seq::ZERO, Seq(1));
        harness.say(&peer(3), first_view());
        assert!(matches!(harness.node.role, Role::Follower(_)), "it follows");
        harness
    }

    /// The heir of that `p3`: it has just announced its cut to `p2`, which has not adopted it yet.
    /// Its announcement.
    pub(crate) fn heir(knobs: Knobs) -> (Self, SyncFinal) {
        let mut harness = Self::member(knobs);
        let held = harness.node.env.log.end();
        harness.greet(&peer(2), held.clone());
        harness.fail(&peer(3));
        let ask = harness.told(&peer(2)).into_iter().find_map(|message| {
            if let Message::Election(election) = message { Some(election.ask) } else { None }
        });
        harness.say(&peer(2), Message::Clear { ask: ask.expect("it asks the other one") });
        let epoch = harness.node.env.promised.clone();
        let lineage = harness.node.env.log.lineage().to_vec();
        let views = vec![(Seq(1), first_view_of_three())];
        harness.say(
            &peer(2),
            Message::SeqSyncResponse(SyncAnswer {
                epoch,
                contiguous: held.contiguous,
                lineage,
                stable: Seq::ZERO,
                views,
            }),
        );
        harness.leads();
        let announced = harness.finals(&peer(2)).pop().expect("announced");
        (harness, announced)
    }

    /// What it knows as a leader.
    #[track_caller]
    pub(crate) fn leads(&mut self) -> &mut Leader {
        let Role::Leader(leader) = &mut self.node.role else { panic!("it does not lead") };
        leader
    }

    /// Does something as the leader that it is.
    pub(crate) fn lead<T>(
        &mut self,
        at: Time,
        act: impl FnOnce(&mut Leader, &mut Turn<'_>) -> T,
    ) -> T {
        match self.node.turn(at, &mut self.out) {
            (Role::Leader(leader), mut turn) => act(leader, &mut turn),
            (Role::Joining(_) | Role::Follower(_) | Role::Candidate(_), _) => {
                panic!("it does not lead")
            }
        }
    }

    pub(crate) fn give(&mut self, input: Input) {
        self.node.handle(self.now, input, &mut self.out);
    }

    /// Time passes, and it is called whenever it wants to be.
    pub(crate) fn rest(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.node.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.give(Input::Wake);
        }
        self.now = end;
    }

    /// Somebody connects, and says where its log ends.
    pub(crate) fn greet(&mut self, from: &Contact, end: LogEnd) {
        self.accepted += 1;
        let link = LinkId::accepted(self.accepted);
        let (cluster, from) = (self.node.env.config.cluster(), from.clone());
        self.links.insert(from.member.clone(), link);
        self.give(Input::LinkUp { link });
        self.give(Input::Received {
            link,
            messages: vec![Message::Hello(Hello {
                cluster,
                from,
                link: self.accepted,
                end,
                knows: None,
            })],
        });
    }

    /// The last link on which somebody has connected.
    pub(crate) fn link(&self, with: &Contact) -> LinkId {
        self.links[&with.member]
    }

    pub(crate) fn say(&mut self, from: &Contact, message: Message) {
        let link = self.link(from);
        self.give(Input::Received { link, messages: vec![message] });
    }

    /// Somebody says something by datagram.
    pub(crate) fn hear(&mut self, from: &Contact, message: Message) {
        let datagram = Datagram {
            cluster: self.node.env.config.cluster(),
            from: from.clone(),
            count: 1,
            message,
        };
        self.give(Input::Heard { from: from.address, datagram: Box::new(datagram) });
    }

    pub(crate) fn publish(&mut self, payload: &'static str) {
        self.give(Input::Publish {
            publications: vec![Publication::one(Bytes::from_static(payload.as_bytes()), 0, None)],
        });
    }

    /// Somebody's link breaks, without a word.
    pub(crate) fn cut(&mut self, from: &Contact) {
        let link = self.link(from);
        self.give(Input::LinkDown { link, how: Down::Reset });
    }

    /// What it has dialled since somebody last looked.
    pub(crate) fn dialled(&mut self) -> Vec<LinkId> {
        let dial = |output| if let Output::Dial { link, .. } = output { Some(link) } else { None };
        std::mem::take(&mut self.out).into_iter().filter_map(dial).collect()
    }

    /// Somebody is gone, and nobody listens where it did.
    pub(crate) fn fail(&mut self, who: &Contact) {
        self.out.clear();
        self.cut(who);
        self.refuse_dials(true);
    }

    /// What it dials is refused, or comes to nothing. How many dials that were.
    pub(crate) fn refuse_dials(&mut self, refused: bool) -> usize {
        let out = self.out.clone();
        let dials = self.dialled();
        self.out =
            out.into_iter().filter(|output| !matches!(output, Output::Dial { .. })).collect();
        for link in &dials {
            self.give(Input::DialFailed { link: *link, refused });
        }
        dials.len()
    }

    /// What has been said to somebody on its last link since somebody last looked.
    pub(crate) fn told(&mut self, to: &Contact) -> Vec<Message> {
        let to = self.link(to);
        let said = |output| match output {
            Output::Send { link, message } if link == to => Some(message),
            Output::Fan { links, message } if links.contains(&to) => Some(message),
            _ => None,
        };
        std::mem::take(&mut self.out).into_iter().filter_map(said).collect()
    }

    /// Of that, the cuts.
    pub(crate) fn finals(&mut self, to: &Contact) -> Vec<SyncFinal> {
        let cut = |message| if let Message::SeqSyncFinal(cut) = message { Some(cut) } else { None };
        self.told(to).into_iter().filter_map(cut).collect()
    }

    /// Of that, the entries: each frame's first position, and how many.
    pub(crate) fn entries(&mut self, to: &Contact) -> Vec<(u64, u64)> {
        let run = |message| {
            if let Message::Ordered(ordered) = message {
                Some((ordered.first.0, ordered.positions()))
            } else {
                None
            }
        };
        self.told(to).into_iter().filter_map(run).collect()
    }

    /// A newcomer connects, asks to be admitted, and is.
    pub(crate) fn admit(&mut self, who: &Contact) {
        self.greet(who, nothing());
        self.say(who, request(who));
        self.rest(self.node.env.config.knobs().join_batch);
        assert!(
            self.node.env.log.view().is_some_and(|view| view.names(&who.member)),
            "{who:?} is in"
        );
    }

    /// Somebody holds everything up to there.
    pub(crate) fn acknowledge(&mut self, from: &Contact, contiguous: Seq) {
        let epoch = self.node.env.log.epoch();
        self.say(from, Message::OrderedAck { epoch, contiguous });
    }

    /// `p3` lets it in: a snapshot that stands there, and a view that stands there.
    pub(crate) fn let_in(&mut self, seq: Seq, view_at: Seq) {
        let Role::Joining(joining) = &self.node.role else { panic!("it is in a group") };
        let (ask, epoch) = (joining.ask, epoch_of(&peer(3)));
        let view = (seq > Seq::ZERO).then(first_view_of_three);
        let lineage = vec![EpochStart { epoch: epoch.clone(), first: Seq(1) }];
        let snapshot = Snapshot { seq, view, table: Dedup::new(), lineage };
        self.say(&peer(3), Message::Added(Added { ask, epoch, snapshot, view_at }));
    }
}

fn first_view_of_three() -> View {
    let leader = peer(3);
    View::new(ViewId(1), epoch_of(&leader), leader.id().clone(), vec![peer(1), peer(2), leader])
}

/// The first view of `p3`, as it numbers it.
pub(crate) fn first_view() -> Message {
    let run = vec![Entry::View(first_view_of_three())];
    Message::Ordered(Ordered {
        epoch: epoch_of(&peer(3)),
        first: Seq(1),
        run,
        stable: Seq::ZERO,
        repair: None,
    })
}

/// A heartbeat of `p3`, which has ordered that many of this peer's readings.
pub(crate) fn beat(beat: u64, last_oseq: u64) -> Message {
    let (epoch, stable, last_oseq) = (epoch_of(&peer(3)), Seq::ZERO, crate::id::Oseq(last_oseq));
    Message::Heartbeat(Heartbeat {
        epoch,
        beat,
        high: Seq(1),
        stable,
        all_have: None,
        echo: None,
        last_oseq,
    })
}
