//! Asking in steps: whom a candidate asks first, and when it asks everybody.
//!
//! Intuition: if everybody who misses a leader asks everybody, a group of N opens N² links to learn
//! what one of its best could have said. So a candidate asks a few first, the best of those that
//! outrank it: one of them says `OK`, vetoes, or leads. When all of them are gone or stand in
//! nobody's way, the next ones are asked, as many as so far. Whoever finds nobody better asks
//! everybody, and is the only one that has to.
//!
//! No promise depends on the first wave. A candidate does not claim before it has asked everybody,
//! and everybody is asked after a quarter of `election_timeout` at the latest, which leaves a
//! witness the time for its verdict. A missed leader that may be alive is asked at once, because it
//! can speak for itself.

use std::cmp::Reverse;

use crate::env::Env;
use crate::id::{Contact, Member, PeerId};
use crate::roles::candidate::{Candidate, Stage};
use crate::roles::turn::Turn;

impl Candidate {
    /// Chooses those that the question that begins now is put to first.
    pub(crate) fn choose_first_wave(&mut self, env: &Env) {
        // Whoever led tells those who follow it that it does not any more, and who is blocked waits
        // for anybody.
        let asks_everybody = env.blocked.is_some() || env.log.epoch().owner == env.me.member;
        self.first_wave = None;
        if !asks_everybody {
            // Suspects are waited for by nobody, and whoever of them is alive answers.
            self.first_wave = Some(self.suspects.clone());
            self.extend_first_wave(&env.me, FIRST_ASKED);
        }
    }

    /// Asks the next ones, if those asked so far are gone or stand in nobody's way. True as long as
    /// not everybody is asked.
    pub(crate) fn ask_on(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(first_wave) = &self.first_wave else { return false };
        if first_wave.iter().all(|id| !self.is_awaited(id) || self.has_spoken(id)) {
            let as_many = first_wave.len().max(FIRST_ASKED);
            let next = self.extend_first_wave(&turn.env.me, as_many);
            self.put_question_to(turn, next);
        }
        self.first_wave.is_some()
    }

    /// Nobody better has answered for a while: asks everybody, and gives them the time that is
    /// theirs.
    pub(crate) fn ask_everybody(&mut self, turn: &mut Turn<'_>) {
        let theirs = turn.now
            + (turn.env.config.knobs().election_timeout - turn.env.config.first_wave_timeout());
        if let Stage::Asking { until, .. } = &mut self.stage {
            *until = (*until).max(theirs);
        }
        let next = self.ask_rest();
        self.put_question_to(turn, next);
    }

    fn put_question_to(&self, turn: &mut Turn<'_>, members: Vec<Member>) {
        turn.env.wants_changed = true;
        for member in members {
            self.put_question(turn, &member);
        }
    }

    /// Puts the best `count` of those to the few that outrank this peer and are not among them; if
    /// there are none, asks all the rest. Those who are asked by it.
    fn extend_first_wave(&mut self, me: &Contact, count: usize) -> Vec<Member> {
        let Some(first_wave) = &self.first_wave else { return Vec::new() };
        let mut better: Vec<&Contact> = self
            .awaited()
            .filter(|contact| !first_wave.contains(contact.id()) && contact.outranks(me))
            .collect();
        better.sort_by_cached_key(|contact| Reverse(contact.priority()));
        better.truncate(count);
        let next: Vec<Member> = better.into_iter().map(|contact| contact.member.clone()).collect();
        if next.is_empty() {
            return self.ask_rest();
        }
        next.iter().for_each(|member| self.ask_too(&member.id));
        if self
            .first_wave
            .as_ref()
            .is_some_and(|first_wave| self.asked.keys().all(|id| first_wave.contains(id)))
        {
            self.first_wave = None;
        }
        next
    }

    /// Asks everybody from now on; those who were not asked before.
    fn ask_rest(&mut self) -> Vec<Member> {
        let first_wave = self.first_wave.take().unwrap_or_default();
        self.asked
            .values()
            .filter(|contact| !first_wave.contains(contact.id()))
            .map(|contact| contact.member.clone())
            .collect()
    }

    /// Whoever has its promise may be somebody that it would have asked later.
    pub(crate) fn ask_too(&mut self, id: &PeerId) {
        if let Some(first_wave) = &mut self.first_wave {
            first_wave.insert(id.clone());
        }
    }

    /// Those that the open question goes to, and a link is wanted to: neither gone, nor left for
    /// later.
    pub(crate) fn asked_so_far(&self) -> Vec<&Contact> {
        let asked = match &self.first_wave {
            Some(first_wave) => {
                first_wave.iter().filter_map(|id| self.asked.get(id)).collect::<Vec<_>>()
            }
            None => self.asked.values().collect(),
        };
        asked.into_iter().filter(|contact| !self.dropped.contains(contact.id())).collect()
    }

    /// Whether somebody is among them.
    pub(crate) fn asks(&self, id: &PeerId) -> bool {
        !self.dropped.contains(id)
            && self.first_wave.as_ref().is_none_or(|first_wave| first_wave.contains(id))
    }

    fn is_awaited(&self, id: &PeerId) -> bool {
        self.asked.contains_key(id) && !self.suspects.contains(id) && !self.dropped.contains(id)
    }

    /// Whether somebody has said that it stands in nobody's way.
    pub(crate) fn has_spoken(&self, id: &PeerId) -> bool {
        self.answered.contains(id) || self.busy.contains(id)
    }
}

/// Asked first: an heir that dies together with its leader, or stands still, does not make
/// everybody ask everybody.
const FIRST_ASKED: usize = 3;

#[cfg(test)]
mod tests {
    use crate::config::{Config, Knobs};
    use crate::harness::{epoch_of, nothing, peer};
    use crate::id::{Contact, Epoch, LinkId};
    use crate::io::{Input, Output};
    use crate::log::entry::Entry;
    use crate::log::view::View;
    use crate::node::Node;
    use crate::report::note::Cause;
    use crate::roles::Role;
    use crate::roles::candidate::{Candidate, Stage};
    use crate::roles::turn::{Flow, Next, Turn, go};
    use crate::time::Time;
    use crate::wire::message::Message;
    use std::collections::BTreeMap;

    /// One of nine that `p9` leads, which holds the view and is linked to all the others.
    struct Elector {
        node: Node,
        out: Vec<Output>,
        links: BTreeMap<LinkId, u16>,
    }

    impl Elector {
        fn new(n: u16) -> Self {
            let me = peer(n);
            let (node, out) = (
                Node::new(me, Config::try_from(Knobs::fast()).expect("sound"), 1, Time::ZERO),
                Vec::new(),
            );
            let mut elector = Self { node, out, links: BTreeMap::new() };
            let leader = peer(9);
            elector.node.env.promise_to(&epoch_of(&leader), leader.id(), &mut elector.out);
            elector.node.env.log.push_row(epoch_of(&leader));
            let members = (1..=9).map(peer).collect();
            let view =
                View::new(crate::id::ViewId(1), epoch_of(&leader), leader.id().clone(), members);
            elector.node.env.log.append(Entry::View(view));
            elector.node.become_member(
                Time::ZERO,
                Time::ZERO,
                leader.clone(),
                epoch_of(&leader),
                &mut elector.out,
            );
            for other in (1..=9).filter(|other| *other != n) {
                elector.greet(other);
            }
            elector
        }

        fn greet(&mut self, n: u16) {
            let (link, cluster) = (LinkId::accepted(n.into()), self.node.env.config.cluster());
            self.links.insert(link, n);
            let hello = crate::wire::message::Hello {
                cluster,
                from: peer(n),
                link: n.into(),
                end: nothing(),
                knows: None,
            };
            self.node.handle(Time::ZERO, Input::LinkUp { link }, &mut self.out);
            self.node.handle(
                Time::ZERO,
                Input::Received { link, messages: vec![Message::Hello(hello)] },
                &mut self.out,
            );
        }

        fn misses(&mut self, cause: Cause) {
            self.out.clear();
            let missed = Some(peer(9).id().clone());
            let elect = go(Next::Elect { cause, missed, asker: None });
            self.node.go(Time::ZERO, elect, &mut self.out);
        }

        /// Whom it has asked since somebody last looked.
        fn asked(&mut self) -> Vec<u16> {
            let asked = |output| match output {
                Output::Send { link, message: Message::Election(_) } => {
                    self.links.get(&link).copied()
                }
                _ => None,
            };
            std::mem::take(&mut self.out).into_iter().filter_map(asked).collect()
        }

        fn candidate(&self) -> &Candidate {
            let Role::Candidate(candidate) = &self.node.role else { panic!("it is no candidate") };
            candidate
        }

        fn candidate_mut(&mut self) -> &mut Candidate {
            let Role::Candidate(candidate) = &mut self.node.role else {
                panic!("it is no candidate")
            };
            candidate
        }

        fn does(&mut self, does: impl FnOnce(&mut Candidate, &mut Turn<'_>) -> Flow) {
            self.node.as_candidate(Time::ZERO, &mut self.out, does);
        }

        fn clear(&mut self, n: u16) {
            let ask = self.candidate().ask;
            let from = peer(n).member;
            self.does(|candidate, turn| candidate.on_clear(turn, &from, ask));
        }

        fn gone(&mut self, n: u16) {
            let member = peer(n).member;
            self.does(|candidate, turn| candidate.on_asked_gone(turn, &member));
        }

        fn wanted(&self) -> Vec<u16> {
            let number = |contact: &&Contact| contact.address.port() - 5_000;
            self.candidate().asked_so_far().iter().map(number).collect()
        }
    }

    #[test]
    fn a_few_of_those_that_outrank_it_are_asked_first() {
        for (me, asked) in [
            (1, vec![6, 7, 8, 9]),
            (5, vec![6, 7, 8, 9]),
            (6, vec![7, 8, 9]),
            (7, vec![8, 9]),
            (8, (1..=7).chain([9]).collect()),
        ] {
            let mut elector = Elector::new(me);
            elector.misses(Cause::Silence);
            assert_eq!(elector.asked(), asked, "p{me}: the silent leader can speak for itself");
            assert_eq!(elector.wanted(), asked, "p{me}");
        }
    }

    #[test]
    fn who_led_or_is_blocked_asks_everybody() {
        let mut elector = Elector::new(2);
        elector.node.env.blocked = Some("too few".to_owned());
        elector.misses(Cause::Silence);
        assert_eq!(elector.asked().len(), 8);
        let mut elector = Elector::new(2);
        elector.node.env.log.push_row(epoch_of(&peer(2)));
        elector.misses(Cause::SteppedDown);
        assert_eq!(elector.asked().len(), 8);
    }

    #[test]
    fn those_who_stand_in_nobodys_way_make_room_for_as_many_again() {
        let mut elector = Elector::new(2);
        elector.misses(Cause::Connection);
        assert_eq!(elector.asked(), [6, 7, 8, 9]);
        elector.gone(9);
        elector.gone(8);
        elector.clear(7);
        assert!(elector.asked().is_empty(), "p6 has not answered");
        elector.gone(6);
        assert_eq!(elector.asked(), [5, 4, 3], "the best first");
        assert_eq!(elector.wanted(), [3, 4, 5, 7]);
        for n in 3..=5 {
            elector.clear(n);
        }
        assert_eq!(elector.asked(), [1], "nobody better is left");
        assert!(matches!(elector.candidate().stage, Stage::Asking { .. }));
        elector.clear(1);
        assert!(matches!(elector.candidate().stage, Stage::Syncing(_)), "it has asked everybody");
    }

    #[test]
    fn a_few_that_are_all_are_everybody() {
        let mut elector = Elector::new(5);
        elector.misses(Cause::Connection);
        assert!(elector.candidate().first_wave.is_some());
        for n in 1..=4 {
            elector.candidate_mut().asked.remove(peer(n).id());
        }
        elector.does(|candidate, turn| candidate.ask(turn, Cause::Again));
        assert_eq!(elector.candidate().first_wave, None);
    }

    #[test]
    fn everybody_is_asked_after_a_quarter_of_the_time_and_has_the_rest_of_it() {
        let knobs = Knobs::fast();
        let quarter = Time::ZERO + knobs.election_timeout / 4;
        for late in [0, 10] {
            let mut elector = Elector::new(2);
            elector.misses(Cause::Connection);
            assert_eq!(elector.candidate().deadline(), quarter);
            elector.asked();
            let now = quarter + std::time::Duration::from_millis(late);
            elector.node.as_candidate(now, &mut elector.out, Candidate::elect_in_time);
            assert_eq!(elector.asked(), [1, 3, 4, 5], "those that have not been asked");
            assert_eq!(elector.candidate().deadline(), now + knobs.election_timeout * 3 / 4);
        }
    }

    #[test]
    fn a_link_is_wanted_to_whoever_has_its_promise() {
        let mut elector = Elector::new(2);
        elector.misses(Cause::Silence);
        assert_eq!(elector.wanted(), [6, 7, 8, 9]);
        let epoch = Epoch { round: 9, owner: peer(3).member };
        let promise = go(Next::Promise { to: peer(3).member, epoch });
        elector.node.go(Time::ZERO, promise, &mut elector.out);
        assert_eq!(elector.wanted(), [3, 6, 7, 8, 9]);
    }
}
