//! Datagrams: what is heard, and who is answered. A datagram decides nothing.
//!
//! Anybody can say anything by datagram in anybody's name. So each one is a prompt: it says whom to
//! ask over a link, and nothing rests on it before a link has been made and has answered. Two
//! things are done at once, because they cost little: a member tells a joining peer who leads, and
//! whoever is to be asked is dialled. Everything else waits until a stranger has been heard for a
//! while (see `strangers`): then it is answered, and a member passes its word on to the leader.

use std::net::SocketAddrV4;

use crate::env::Env;
use crate::id::{Contact, Member};
use crate::io::Output;
use crate::node::Node;
use crate::roles::Role;
use crate::roles::candidate::Candidate;
use crate::roles::follower::Follower;
use crate::roles::joining::Joining;
use crate::roles::leader::Leader;
use crate::roles::turn::{Flow, STAY, Turn};
use crate::time::Time;
use crate::wire::message::{Coordinator, Datagram, JoinRequest, Message, Reason, Rejected};

/// How a word has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Via<'a> {
    /// Over a link, from that member.
    Link(&'a Member),
    /// By datagram, from there.
    Datagram(SocketAddrV4),
    /// By datagram to a member, which has passed it on.
    Passed,
}

impl Node {
    pub(crate) fn on_datagram(
        &mut self,
        now: Time,
        source: SocketAddrV4,
        datagram: Datagram,
        out: &mut Vec<Output>,
    ) {
        let from = datagram.from;
        if from.birth == self.env.me.birth || datagram.cluster != self.env.config.cluster() {
            return;
        }
        if !self.env.reach().contact(&from) || !self.env.reach().holds(&datagram.message) {
            let why = format!(
                "a datagram {} names one that no peer can have got to",
                datagram.message.verb()
            );
            self.env.reject(Some(from.id()), "number", &why, out);
            return;
        }
        self.env.links.try_elsewhere(now, &from, out);
        match datagram.message {
            Message::NewPeerRequest(join) if join.leading.is_none() && join.from == from => {
                self.env.links.on_heard(now, &from, *source.ip());
                self.on_request_heard(now, source, join, out);
            }
            Message::Coordinator(word) => {
                if word.leader.member == from.member {
                    self.env.links.on_heard(now, &word.leader, *source.ip());
                }
                self.on_leader_heard(now, source, &from, &word, out);
            }
            Message::Rejected(rejected) => self.on_refusal_heard(now, &from, rejected, out),
            other => self.env.reject(Some(from.id()), "datagram", other.verb(), out),
        }
    }

    fn on_request_heard(
        &mut self,
        now: Time,
        source: SocketAddrV4,
        join: JoinRequest,
        out: &mut Vec<Output>,
    ) {
        if self.env.is_ghost(&join.from.member) {
            let (id, inc) = (join.from.id(), join.from.member.inc);
            let known = self.env.log.view().and_then(|view| view.incarnation(id)).unwrap_or(inc);
            let reason = Reason::OldIncarnation { known };
            let refusal = Rejected { ask: Some(join.ask), reason };
            self.env.answer_to(now, source, Message::Rejected(refusal), out);
            return;
        }
        match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => {
                candidate.hears_request(&mut turn, source, &join);
            }
            (Role::Follower(follower), mut turn) => follower.hears_request(&mut turn, source, join),
            (Role::Joining(joining), mut turn) => joining.hears_request(&mut turn, source, join),
            (Role::Leader(leader), mut turn) => {
                let flow = leader.hears_request(&mut turn, source, join);
                self.go(now, flow, out);
            }
        }
    }

    fn on_leader_heard(
        &mut self,
        now: Time,
        source: SocketAddrV4,
        from: &Contact,
        word: &Coordinator,
        out: &mut Vec<Output>,
    ) {
        let leader = &word.leader.member;
        if *leader == self.env.me.member || self.role.followed() == Some(leader) {
            return;
        }
        match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => {
                candidate.hears_leader(&mut turn, source, from, word);
            }
            (Role::Follower(follower), mut turn) => {
                follower.hears_leader(&mut turn, source, from, word);
            }
            (Role::Joining(joining), mut turn) => {
                joining.hears_leader(&mut turn, source, from, word);
            }
            (Role::Leader(leader), mut turn) => leader.hears_leader(&mut turn, source, from, word),
        }
    }

    /// A refusal counts only for a joining peer, and only as the answer to its open question; and
    /// what would end it has to be said over a link.
    fn on_refusal_heard(
        &mut self,
        now: Time,
        from: &Contact,
        rejected: Rejected,
        out: &mut Vec<Output>,
    ) {
        let newcomer = !self.env.been_member;
        match (self.turn(now, out), &rejected.reason) {
            ((Role::Joining(joining), mut turn), Reason::DuplicateId { .. })
                if Some(joining.ask) == rejected.ask && newcomer =>
            {
                joining.doubt_own_name(&mut turn, from.clone());
            }
            ((Role::Joining(joining), mut turn), Reason::OldIncarnation { .. }) if newcomer => {
                let flow = joining.is_refused(&mut turn, &from.member, &rejected);
                self.go(now, flow, out);
            }
            ((Role::Joining(joining), mut turn), Reason::Busy) => {
                joining.on_turned_away(&mut turn, from.id(), rejected.ask);
            }
            ((_, turn), _) => turn.env.reject(Some(from.id()), "datagram", "REJECTED", turn.out),
        }
    }
}

impl Leader {
    fn hears_request(
        &mut self,
        turn: &mut Turn<'_>,
        source: SocketAddrV4,
        join: JoinRequest,
    ) -> Flow {
        let (from, ask) = (join.from.member.clone(), join.ask);
        self.on_entrant(turn, Via::Datagram(source), join)?;
        // A link from somebody to a member does not bring it in.
        if !turn.env.links.is_linked(&from) && turn.env.is_due(turn.now, source) {
            let word = turn.env.announcement(Some(ask), None);
            turn.env.answer_to(turn.now, source, Message::Coordinator(word), turn.out);
        }
        STAY
    }

    fn hears_leader(
        &mut self,
        turn: &mut Turn<'_>,
        source: SocketAddrV4,
        from: &Contact,
        word: &Coordinator,
    ) {
        let announcement = word.leader.member == from.member;
        if announcement {
            self.court(turn, word);
        } else {
            // Somebody who follows it speaks of it.
            self.meet(turn, word);
        }
        if turn.env.is_due(turn.now, source) {
            let own = turn.env.announcement(None, None);
            turn.env.answer_to(turn.now, source, Message::Coordinator(own), turn.out);
            if announcement {
                self.invite(turn, word);
            } else {
                self.invite_through(turn, from);
            }
        }
    }
}

impl Follower {
    fn hears_request(&self, turn: &mut Turn<'_>, source: SocketAddrV4, join: JoinRequest) {
        self.advise(turn, Via::Datagram(source), &join);
        if turn.env.is_due(turn.now, source) && turn.env.is_one_of_few() {
            // It may be out of the leader's hearing.
            let passed = JoinRequest { from: as_heard(&join.from, source), ..join };
            let message = Message::NewPeerRequest(passed);
            turn.env.send(turn.now, &self.leader.member, message, turn.out);
        }
    }

    fn hears_leader(
        &self,
        turn: &mut Turn<'_>,
        source: SocketAddrV4,
        from: &Contact,
        word: &Coordinator,
    ) {
        if !turn.env.is_due(turn.now, source) || !turn.env.is_one_of_few() {
            return;
        }
        let hint = self.announcement(turn.env, None);
        turn.env.answer_to(turn.now, source, Message::Coordinator(hint), turn.out);
        let announcement = word.leader.member == from.member;
        let about = if announcement { as_heard(&word.leader, source) } else { word.leader.clone() };
        let passed = Coordinator { leader: about, ask: None, names_you: false, ..word.clone() };
        let message = Message::Coordinator(passed);
        turn.env.send(turn.now, &self.leader.member, message, turn.out);
    }

    /// Passes on to its leader what another leader has said over a link: that leader invites this
    /// group, or cannot reach this group's leader.
    pub(crate) fn pass_on(&self, turn: &mut Turn<'_>, word: &Coordinator) {
        let leader = &self.leader.member;
        let is_own = turn.env.log.view().is_some_and(|view| view.names(&word.leader.member));
        if !word.names_you && !is_own && *leader != word.leader.member && turn.env.install.is_none()
        {
            let message = Message::Coordinator(word.clone());
            turn.env.send(turn.now, leader, message, turn.out);
        }
    }
}

impl Candidate {
    /// Which of the two can dial the other, neither knows.
    fn hears_request(&mut self, turn: &mut Turn<'_>, source: SocketAddrV4, join: &JoinRequest) {
        let Turn { now, env, out } = turn;
        let linked = env.links.is_linked(&join.from.member);
        if env.blocked.is_none() || linked || !env.is_due(*now, source) {
            return;
        }
        self.on_caller(*now, env, as_heard(&join.from, source));
        env.ask_back(*now, source, self.ask, out);
    }

    fn hears_leader(
        &mut self,
        turn: &mut Turn<'_>,
        source: SocketAddrV4,
        from: &Contact,
        word: &Coordinator,
    ) {
        self.on_beacon(turn, &from.member, word);
        // Its group has gone on without it, and some of that cannot be asked. It may have to be
        // dialled: its own question goes over the link.
        let left_out = self.is_disowned() && turn.env.leaving.is_none();
        let speaks = turn.env.blocked.is_some() || left_out;
        if speaks && turn.env.is_due(turn.now, source) {
            turn.env.ask_back(turn.now, source, self.ask, turn.out);
        }
    }
}

impl Joining {
    fn hears_request(&mut self, turn: &mut Turn<'_>, source: SocketAddrV4, join: JoinRequest) {
        let from = join.from.member.clone();
        self.on_fellow_joiner(turn, join.from, join.has_history);
        // A link from somebody to a member does not bring it in.
        if !turn.env.links.is_linked(&from) && turn.env.is_due(turn.now, source) {
            turn.env.ask_back(turn.now, source, self.ask, turn.out);
        }
    }

    fn hears_leader(
        &mut self,
        turn: &mut Turn<'_>,
        source: SocketAddrV4,
        from: &Contact,
        word: &Coordinator,
    ) {
        self.on_beacon(turn, &from.member, word);
        let linked = turn.env.links.is_linked(&word.leader.member);
        if turn.env.is_due(turn.now, source) && !linked {
            turn.env.ask_back(turn.now, source, self.ask, turn.out);
        }
    }
}

impl Env {
    /// Whether a stranger has been heard for so long that it is to be answered.
    fn is_due(&mut self, now: Time, source: SocketAddrV4) -> bool {
        let patience = self.patience();
        self.strangers.is_due(now, source, patience)
    }

    /// Whether this member of a large group is one of the few that answer a word that all of them
    /// have heard.
    pub(crate) fn is_one_of_few(&mut self) -> bool {
        let size = self.log.view().map_or(0, |view| view.size() as u64);
        size <= HINTS || self.drawn_below(size) < HINTS
    }

    /// Answers a datagram by this peer's own wish to be let in.
    fn ask_back(&mut self, now: Time, source: SocketAddrV4, ask: u64, out: &mut Vec<Output>) {
        let request = self.join_request(ask, None);
        self.answer_to(now, source, Message::NewPeerRequest(request), out);
    }

    /// Answers a datagram where it came from, unless too many have been answered lately.
    pub(crate) fn answer_to(
        &mut self,
        now: Time,
        source: SocketAddrV4,
        message: Message,
        out: &mut Vec<Output>,
    ) {
        if self.strangers.may_answer(now) {
            self.whisper(source, message, out);
        }
    }
}

/// Somebody as a member has heard it: where it can be dialled is where its words came from.
fn as_heard(contact: &Contact, source: SocketAddrV4) -> Contact {
    Contact { address: SocketAddrV4::new(*source.ip(), contact.address.port()), ..contact.clone() }
}

/// How many members of a large group answer a datagram that all of them have heard, about.
const HINTS: u64 = 16;

#[cfg(test)]
mod tests {
    use crate::config::{Knobs, Mode};
    use crate::harness::{Harness, beat, epoch_of, nothing, peer, request};
    use crate::id::{Contact, Incarnation, Member, PeerId};
    use crate::io::{Input, Output, StopReason};
    use crate::roles::Role;
    use crate::roles::turn::{Next, go};
    use crate::wire::message::{Coordinator, Datagram, Message, Reason, Rejected};
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    fn no(ask: Option<u64>, reason: Reason) -> Message {
        Message::Rejected(Rejected { ask, reason })
    }

    fn later(known: u64) -> Reason {
        Reason::OldIncarnation { known: Incarnation(known) }
    }

    fn stops(harness: &Harness) -> Vec<&StopReason> {
        harness
            .out
            .iter()
            .filter_map(
                |output| if let Output::Stop(reason) = output { Some(reason) } else { None },
            )
            .collect()
    }

    fn beacon(n: u16, size: u64) -> Message {
        Message::Coordinator(Coordinator {
            leader: peer(n),
            epoch: epoch_of(&peer(n)),
            size,
            ask: None,
            names_you: false,
        })
    }

    /// Where it has dialled, and whom it has answered by datagram, since somebody last looked.
    fn reached(harness: &mut Harness) -> (Vec<SocketAddrV4>, Vec<SocketAddrV4>) {
        let (mut dialled, mut answered) = (vec![], vec![]);
        for output in std::mem::take(&mut harness.out) {
            match output {
                Output::Dial { to, .. } => dialled.push(to),
                Output::Whisper { to, .. } => answered.push(to),
                _ => {}
            }
        }
        (dialled, answered)
    }

    #[test]
    fn no_datagram_ends_or_moves_anybody() {
        let puppets = [
            Harness::newcomer(Knobs::fast()),
            Harness::member(Knobs::fast()),
            Harness::leader(Knobs::fast()),
        ];
        for mut harness in puppets {
            let ask = if let Role::Joining(joining) = &harness.node.role { joining.ask } else { 7 };
            let before = harness.node.status();
            harness.out.clear();
            for from in [peer(3), peer(9)] {
                for ask in [None, Some(7), Some(ask)] {
                    for reason in [
                        later(u64::MAX),
                        later(1 << 62),
                        Reason::NotMember,
                        Reason::NotLeader,
                        Reason::Busy,
                    ] {
                        harness.hear(&from, no(ask, reason));
                    }
                    harness.hear(&from, no(ask, Reason::DuplicateId { holder: peer(9).address }));
                }
            }
            let after = harness.node.status();
            assert!(stops(&harness).is_empty(), "{:?}", harness.out);
            assert_eq!(
                (before.role, before.incarnation, before.view_id),
                (after.role, after.incarnation, after.view_id)
            );
        }
    }

    #[test]
    fn a_joining_peer_takes_a_later_incarnation_within_a_bound() {
        let mut harness = Harness::newcomer(Knobs::fast());
        let ask = |harness: &Harness| {
            if let Role::Joining(joining) = &harness.node.role { joining.ask } else { 0 }
        };
        let top = Incarnation(1).reach().0;
        for (known, inc) in [
            (top + 1, 1),
            (5, 7),
            (6, 7),
            (3, 7),
            (top - 1, top + 1),
            (top, top + 1),
            (top + 2, top + 1),
        ] {
            let ask = ask(&harness);
            harness.hear(&peer(9), no(Some(ask), later(known)));
            assert_eq!(harness.node.env.me.member.inc, Incarnation(inc), "after {known}");
        }
    }

    #[test]
    fn one_of_its_own_group_ends_it_at_the_second_word_and_a_stranger_never() {
        let question = |told: Vec<Message>| {
            told.into_iter().find_map(|message| {
                if let Message::ViewSyncRequest { ask } = message { Some(ask) } else { None }
            })
        };
        let mut harness = Harness::member(Knobs::fast());
        harness.greet(&peer(9), nothing());
        harness.out.clear();
        harness.say(&peer(9), no(None, later(2)));
        assert_eq!(question(harness.told(&peer(9))), None, "a stranger is not even asked");
        harness.say(&peer(3), no(None, later(1 << 50)));
        assert_eq!(question(harness.told(&peer(3))), None, "no possible number");
        harness.say(&peer(3), no(Some(7), later(2)));
        let ask = question(harness.told(&peer(3))).expect("it asks once more");
        harness.say(&peer(3), no(Some(7), later(2)));
        harness.say(&peer(9), no(Some(ask), later(2)));
        assert!(stops(&harness).is_empty());
        harness.say(&peer(3), no(Some(ask), later(2)));
        assert_eq!(stops(&harness), [&StopReason::OldIncarnation { known: Incarnation(2) }]);
    }

    #[test]
    fn a_name_that_is_taken_has_to_be_said_twice_over_a_link() {
        let mut harness = Harness::newcomer(Knobs::fast());
        let ask = |harness: &Harness| {
            if let Role::Joining(joining) = &harness.node.role { joining.ask } else { 0 }
        };
        let taken = |ask| no(Some(ask), Reason::DuplicateId { holder: peer(4).address });
        harness.hear(&peer(9), taken(ask(&harness)));
        assert_eq!(reached(&mut harness).0, [peer(9).address], "who says so is asked");
        harness.greet(&peer(9), nothing());
        harness.say(&peer(9), taken(ask(&harness)));
        assert_eq!(
            stops(&harness),
            [&StopReason::DuplicateId { holder: peer(4).address, own: peer(1).address }]
        );
    }

    #[test]
    fn the_leader_that_it_asks_ends_it_by_its_name_only_when_its_own_group_has_disowned_it() {
        for (not_in_view, leads, ends) in
            [(false, true, false), (true, false, false), (true, true, true)]
        {
            let mut harness = Harness::member(Knobs::fast());
            harness.greet(&peer(9), nothing());
            if not_in_view {
                let gives_way = go(Next::GiveWay { lacks: None });
                harness.node.go(harness.now, gives_way, &mut harness.out);
            } else {
                harness.node.become_joining(harness.now, None, &mut harness.out);
            }
            if leads {
                harness.hear(&peer(9), beacon(9, 2));
            }
            for word in 1..=2 {
                assert!(stops(&harness).is_empty(), "after {} words", word - 1);
                let Role::Joining(joining) = &harness.node.role else {
                    panic!("it asks {:?}", harness.node.activity())
                };
                let ask = joining.ask;
                harness
                    .say(&peer(9), no(Some(ask), Reason::DuplicateId { holder: peer(4).address }));
            }
            assert_eq!(
                !stops(&harness).is_empty(),
                ends,
                "disowned: {not_in_view}, asks it: {leads}"
            );
        }
    }

    #[test]
    fn who_is_known_by_datagram_alone_is_dialled_where_that_came_from() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.out.clear();
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 40_000);
        let datagram = Datagram {
            cluster: harness.node.env.config.cluster(),
            from: peer(9),
            count: 1,
            message: request(&peer(9)),
        };
        let at_source = SocketAddrV4::new(*source.ip(), peer(9).address.port());
        let mut dialled = vec![];
        for _ in 0..50 {
            harness.give(Input::Heard { from: source, datagram: Box::new(datagram.clone()) });
            dialled.extend(reached(&mut harness).0);
            harness.out.clear();
            harness.rest(Duration::from_millis(10));
            let out = std::mem::take(&mut harness.out);
            for output in out {
                if let Output::Dial { link, to } = output {
                    dialled.push(to);
                    harness.give(Input::DialFailed { link, refused: false });
                }
            }
        }
        assert_eq!(dialled.first(), Some(&at_source));
        assert!(
            dialled.len() <= 3
                && dialled.iter().all(|to| [at_source, peer(9).address].contains(to)),
            "{dialled:?}"
        );
    }

    #[test]
    fn who_is_blocked_dials_another_that_asks_and_answers_it_after_a_while() {
        let bootstrap =
            ["p1", "p2", "p3"].map(|id| PeerId::new(id).expect("a valid name")).to_vec();
        let mut harness =
            Harness::member(Knobs { mode: Mode::Primary, bootstrap, ..Knobs::fast() });
        harness.fail(&peer(3));
        while harness.node.env.blocked.is_none() {
            harness.refuse_dials(true);
            harness.rest(Duration::from_millis(10));
        }
        let (mut dialled, mut answers) = (false, 0);
        for n in 1..=20 {
            harness.out.clear();
            harness.hear(&peer(9), request(&peer(9)));
            let (dials, whispers) = reached(&mut harness);
            dialled |= dials.contains(&peer(9).address);
            answers += whispers.iter().filter(|to| **to == peer(9).address).count();
            assert!(n > 6 || answers == 0, "they may find each other by themselves");
            harness.rest(Duration::from_millis(100));
        }
        assert!(dialled && (1..=2).contains(&answers), "{dialled} {answers}");
    }

    #[test]
    fn a_member_answers_another_leader_after_a_while_and_passes_its_word_on() {
        let mut harness = Harness::member(Knobs::fast());
        let passed = |told: Vec<Message>| {
            told.into_iter().filter(|message| matches!(message, Message::Coordinator(_))).count()
        };
        let (mut answers, mut passes) = (0, 0);
        for n in 1..=20 {
            let mut word = beat(n, 0);
            if let Message::Heartbeat(beat) = &mut word {
                beat.echo = Some(n - 1);
            }
            harness.say(&peer(3), word);
            harness.out.clear();
            harness.hear(&peer(9), beacon(9, 1));
            let out = harness.out.clone();
            answers += reached(&mut harness).1.iter().filter(|to| **to == peer(9).address).count();
            harness.out = out;
            passes += passed(harness.told(&peer(3)));
            if n <= 6 {
                assert_eq!((answers, passes), (0, 0), "they may find each other by themselves");
            }
            harness.rest(Duration::from_millis(100));
        }
        assert!((1..=2).contains(&answers) && answers == passes, "{answers} {passes}");
    }

    #[test]
    fn a_leader_invites_a_lesser_one_and_asks_a_better_one() {
        let lesser =
            Contact { member: Member { inc: Incarnation(0), ..peer(0).member }, ..peer(0) };
        let word = |leader: &Contact, size| {
            Message::Coordinator(Coordinator {
                leader: leader.clone(),
                epoch: epoch_of(leader),
                size,
                ask: None,
                names_you: false,
            })
        };
        let mut harness = Harness::leader(Knobs::fast());
        harness.out.clear();
        for _ in 0..7 {
            harness.hear(&lesser, word(&lesser, 1));
            harness.now += Duration::from_millis(100);
            harness.give(Input::Wake);
        }
        let (dialled, answered) = reached(&mut harness);
        assert_eq!(
            (dialled.first(), &answered[..]),
            (Some(&lesser.address), &[lesser.address][..])
        );
        harness.greet(&lesser, nothing());
        assert!(
            harness.told(&lesser).iter().any(|message| matches!(message, Message::Coordinator(_))),
            "it is invited"
        );
    }
}
