//! The claim: a claimant collects promises, adopts the best log among those who gave one, and cuts
//! there.
//!
//! A promise and the log's end are one message, so nothing can be acknowledged in an older epoch
//! after it. The list of those who answered closes when the cut is chosen; late answers are not
//! answers. Adopted is the longest contiguous log of the highest last-row epoch (Viewstamped
//! Replication, Raft, KIP-101). Mode `available`: the claimant needs nobody but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::io::{Output, StopReason};
use crate::log::view::View;
use crate::report::note::Note;
use crate::roles::candidate::{Candidate, Claim, Stage};
use crate::roles::leader::Leader;
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::wire::message::SyncAnswer;

impl Candidate {
    /// Claims the next epoch, unless this peer is leaving: whoever leads next will do without it.
    pub(crate) fn claim(&mut self, turn: &mut Turn<'_>) -> Flow {
        if turn.env.leaving.is_some() {
            go(Next::Stop(StopReason::LeftUnconfirmed))
        } else if self.is_disowned() {
            // The others have gone on without this peer, and nobody else is left: it is the one
            // that has to join.
            go(Next::GiveWay { lacks: None })
        } else if let Some(why) = self.lacks_to_claim(turn.now, turn.env) {
            self.block(turn, why)
        } else {
            self.claim_next(turn)
        }
    }

    pub(crate) fn claim_next(&mut self, turn: &mut Turn<'_>) -> Flow {
        let env = &turn.env;
        let epoch = (&env.promised).max(&self.floor).next(env.me.member.clone());
        let asked = self.awaited().count() as u64;
        let alone = self.first_view && asked == 0;
        let log = env.log.name();
        turn.out.push(Output::Note(Note::Claim { log, epoch: epoch.clone(), asked, alone }));
        self.sync(turn, epoch, None)
    }

    /// Promises the epoch to itself, and asks for the others' promises.
    pub(crate) fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        epoch: Epoch,
        standing: Option<Box<Leader>>,
    ) -> Flow {
        let Turn { now, env, out } = turn;
        let id = env.me.member.id.clone();
        env.promise_to(&epoch, &id, out);
        let until = *now + env.config.knobs().sync_timeout;
        // Nobody is asked for a promise a second time, so what may have been true of the network
        // before is not relied on.
        env.links.dial_afresh(*now, out);
        self.doubt_refusals(*now, env.config.round());
        self.asked_at = *now;
        self.first_wave = None;
        self.stage = Stage::Syncing(Claim {
            epoch,
            until,
            answers: BTreeMap::new(),
            outdone: BTreeSet::new(),
            slept: Duration::ZERO,
            standing,
            stable: Seq::ZERO,
        });
        env.wants_changed = true;
        self.put_question_to_all(turn);
        self.close_if_complete(turn)
    }

    pub(crate) fn on_sync_answer(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        answer: SyncAnswer,
    ) -> Flow {
        let asked = self.asked.get(&from.id).is_some_and(|contact| contact.member == *from);
        let Stage::Syncing(claim) = &mut self.stage else { return STAY };
        if asked
            && answer.epoch == claim.epoch
            && answer.lineage.iter().all(|row| row.first > Seq::ZERO)
        {
            let newest = answer.views.first().map(|(_, view)| view.clone());
            claim.answers.insert(from.id.clone(), (from.clone(), answer));
            self.ask_members_of(turn, newest);
            return self.close_if_complete(turn);
        }
        STAY
    }

    /// An answer has shown a newer view: the log that is adopted may hold it, so its members are
    /// asked, too.
    fn ask_members_of(&mut self, turn: &mut Turn<'_>, newest: Option<View>) {
        let own = turn.env.log.view().map(|view| (&view.epoch, view.view_id));
        let Some(newest) =
            newest.filter(|view| own.is_some_and(|own| (&view.epoch, view.view_id) > own))
        else {
            return;
        };
        // Of two lives of one name the later one is asked.
        let unasked = |contact: &&Contact| {
            let known = self.asked.get(contact.id()).map(|known| known.member.inc);
            contact.member != turn.env.me.member && known.is_none_or(|inc| inc < contact.member.inc)
        };
        let unasked: Vec<Contact> = newest.members.iter().filter(unasked).cloned().collect();
        // They are given as long as everybody; whoever shows ever more of them gains nothing.
        let span = turn.env.config.knobs().sync_timeout;
        if let Stage::Syncing(claim) = &mut self.stage
            && !unasked.is_empty()
        {
            claim.until = claim.until.max((turn.now + span).min(self.asked_at + 2 * span));
        }
        for contact in unasked {
            let member = contact.member.clone();
            self.dropped.remove(contact.id());
            self.suspects.remove(contact.id());
            self.asked.insert(contact.id().clone(), contact);
            turn.env.wants_changed = true;
            self.put_question(turn, &member);
        }
    }

    /// Closes the list as soon as everybody that is waited for has answered.
    pub(crate) fn close_if_complete(&mut self, turn: &mut Turn<'_>) -> Flow {
        let Some(claim) = self.open_claim() else { return STAY };
        let all =
            || self.awaited_to_promise().all(|contact| claim.answers.contains_key(contact.id()));
        if self.heard_enough(claim.answers.len()) && all() && self.lacks_to_lead(turn.env).is_none()
        {
            return self.close_claim(turn);
        }
        STAY
    }

    /// The claim for which promises are being collected.
    fn open_claim(&self) -> Option<&Claim> {
        let Stage::Syncing(claim) = &self.stage else { return None };
        Some(claim)
    }

    /// The newest views of the log that this claim would adopt, and how far that log is known to be
    /// stable.
    pub(crate) fn adopted_views(&self, env: &Env) -> (Vec<(Seq, View)>, Seq) {
        let (mut end, mut views, mut log_id) =
            (own_end(env), env.log.last_views(), env.log.log_id());
        let Some(claim) = self.open_claim() else { return (views, env.log.stable()) };
        let name = |answer: &SyncAnswer| {
            answer.lineage.first().map_or_else(Epoch::none, |row| row.epoch.clone())
        };
        for (_, answer) in claim.answers.values() {
            if end_of(answer) > end {
                (end, views, log_id) = (end_of(answer), answer.views.clone(), name(answer));
            }
        }
        // What is stable in one log says nothing of another one.
        let stable = claim
            .answers
            .values()
            .filter(|(_, answer)| name(answer) == log_id)
            .map(|(_, answer)| answer.stable);
        let own = if env.log.log_id() == log_id { env.log.stable() } else { Seq::ZERO };
        (views, stable.max().unwrap_or(Seq::ZERO).max(own))
    }

    /// Mode `primary`: what the answers lack to make this claimant the leader.
    fn lacks_to_lead(&self, env: &Env) -> Option<String> {
        let claim = self.open_claim()?;
        let (views, stable) = self.adopted_views(env);
        let answers = |member: &Member| {
            claim.answers.get(&member.id).is_some_and(|(other, _)| other == member)
        };
        self.lacks(env, &views, stable, answers)
    }

    /// Asks everybody for the same promise again, once, after a pause: the answers of before it
    /// mean nothing any more.
    fn wake_claim(&mut self, turn: &mut Turn<'_>) -> bool {
        let config = &turn.env.config;
        let (until, borne) = (turn.now + config.knobs().sync_timeout, config.borne());
        if !self.has_overslept(borne) {
            return false;
        }
        let Stage::Syncing(claim) = &mut self.stage else { return false };
        claim.slept = Duration::ZERO;
        claim.answers.clear();
        claim.until = until;
        // Who was only between two groups may have arrived since.
        let busy = std::mem::take(&mut self.busy);
        self.dropped.retain(|id| !busy.contains(id));
        turn.env.wants_changed = true;
        self.put_question_to_all(turn);
        true
    }

    /// Closes the list and chooses the cut.
    pub(crate) fn close_claim(&mut self, turn: &mut Turn<'_>) -> Flow {
        if self.wake_claim(turn) {
            return STAY;
        }
        let Some(claim) = self.open_claim() else { unreachable!("a list is closed once") };
        if self.not_in_view && claim.answers.is_empty() && claim.standing.is_none() {
            return go(Next::GiveWay { lacks: None });
        }
        if let Some(why) = self.lacks_to_lead(turn.env) {
            return self.promised_in_vain(turn, why);
        }
        let mut claim = claim.clone();
        claim.stable = self.adopted_views(turn.env).1;
        claim.leave_out(turn.env);
        match claim.best(turn.env) {
            Some((holder, _)) if claim.standing.is_some() => {
                let why = format!("{} holds more than its leader", holder.id);
                self.claim_in_vain(turn, why)
            }
            Some((holder, answer)) => self.adopt(turn, claim, &holder, answer),
            None => {
                let (cut, epoch) = (turn.env.log.contiguous(), claim.epoch.clone());
                let until = turn.now + turn.env.config.knobs().sync_timeout;
                self.stage = Stage::Adopting { claim, cut, until };
                turn.env.cut_here(cut, epoch, turn.out);
                self.announce(turn)
            }
        }
    }
}

impl Claim {
    /// Mode `available`: what is stable is not given up for the log of one that went on alone and
    /// was only about to come back. Whoever is left out is not listed, and asks to be admitted with
    /// what it has.
    fn leave_out(&mut self, env: &Env) {
        let own = own_end(env);
        let fellows = self.answers.values().filter(|(_, answer)| {
            answer.lineage.last().is_some_and(|row| Some(row) == env.log.lineage().last())
        });
        let stable = fellows
            .map(|(_, answer)| answer.stable)
            .chain([env.log.stable()])
            .max()
            .unwrap_or(Seq::ZERO)
            .min(own.1);
        let one_log = env.policy().has_one_log();
        let keeps = |answer: &SyncAnswer| {
            one_log
                || end_of(answer) <= own
                || env.log.fork(&answer.lineage, answer.contiguous) >= stable
        };
        let (kept, outdone) = std::mem::take(&mut self.answers)
            .into_iter()
            .partition(|(_, (_, answer))| keeps(answer));
        let outdone: BTreeMap<PeerId, (Member, SyncAnswer)> = outdone;
        self.answers = kept;
        self.outdone = outdone.into_keys().collect();
    }

    /// The answer that shows the best log, if that is better than the own one. Whoever follows a
    /// standing leader holds a part of its log, and nothing better.
    fn best(&self, env: &Env) -> Option<(Member, SyncAnswer)> {
        let (own, one_log) = (own_end(env), env.policy().has_one_log());
        let answers = self
            .answers
            .values()
            .filter(|(_, answer)| (one_log || self.standing.is_none()) && end_of(answer) > own);
        answers.max_by_key(|(_, answer)| end_of(answer)).cloned()
    }
}

fn own_end(env: &Env) -> (Epoch, Seq) {
    (env.log.epoch(), env.log.contiguous())
}

fn end_of(answer: &SyncAnswer) -> (Epoch, Seq) {
    (answer.lineage.last().map_or_else(Epoch::none, |row| row.epoch.clone()), answer.contiguous)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Knobs};
    use crate::guarantee::Guarantee;
    use crate::id::{Contact, Epoch, Incarnation, LinkId, Member, Oseq, PeerId, Seq, ViewId};
    use crate::io::{Input, Output};
    use crate::log::entry::{Entry, Ordered};
    use crate::log::lineage::{EpochStart, LogEnd};
    use crate::log::view::View;
    use crate::node::Node;
    use crate::report::note::{Cause, Note};
    use crate::roles::Role;
    use crate::roles::candidate::Candidate;
    use crate::roles::turn::{Next, go};
    use crate::time::Time;
    use crate::wire::message::{Hello, Message, Reason, Rejected, SyncAnswer};

    fn contact(n: u16) -> Contact {
        let id = PeerId::new(&format!("p{n}")).expect("a valid name");
        let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 5_000 + n);
        Contact {
            member: Member { id, inc: Incarnation(1) },
            birth: n.into(),
            address,
            explicit: 0,
        }
    }

    fn epoch(round: u64, owner: u16) -> Epoch {
        Epoch { round, owner: contact(owner).member }
    }

    fn at(milli: u64) -> Time {
        Time::from_micros(milli * 1_000)
    }

    fn data(oseq: u64) -> Entry {
        Entry::one(contact(4).member, Oseq(oseq), Guarantee::Agreed, "x".into(), 0)
    }

    /// p3 of a group of four, whose leader p4 is gone: it holds three entries, and asks p1 and p2
    /// for their promise.
    fn claimant() -> Node {
        let (mut node, mut out) = (
            Node::new(contact(3), Config::try_from(Knobs::fast()).expect("sound"), 1, at(0)),
            Vec::new(),
        );
        let (link, cluster) = (LinkId::accepted(0), node.env.config.cluster());
        let end = LogEnd { epoch: Epoch::none(), contiguous: Seq::ZERO, log_id: Epoch::none() };
        let hello = Message::Hello(Hello { cluster, from: contact(2), link: 1, end, knows: None });
        node.handle(at(0), Input::LinkUp { link }, &mut out);
        node.handle(at(0), Input::Received { link, messages: vec![hello] }, &mut out);
        node.env.promise_to(&epoch(1, 4), contact(4).id(), &mut out);
        node.env.log.push_row(epoch(1, 4));
        let members = (1..=4).map(contact).collect();
        node.env.log.append(Entry::View(View::new(
            ViewId(1),
            epoch(1, 4),
            contact(4).id().clone(),
            members,
        )));
        node.env.log.append(data(1));
        node.env.log.append(data(2));
        node.become_member(at(0), at(0), contact(4), epoch(1, 4), &mut out);
        let (cause, missed) = (Cause::Connection, Some(contact(4).id().clone()));
        node.go(at(0), go(Next::Elect { cause, missed, asker: None }), &mut out);
        node.as_candidate(at(0), &mut out, Candidate::claim_next);
        node
    }

    /// What somebody answers to that claim.
    fn answer(node: &Node, contiguous: u64, stable: u64, rows: &[(Epoch, u64)]) -> SyncAnswer {
        let lineage = rows
            .iter()
            .map(|(epoch, first)| EpochStart { epoch: epoch.clone(), first: Seq(*first) })
            .collect();
        SyncAnswer {
            epoch: epoch(2, 3),
            contiguous: Seq(contiguous),
            lineage,
            stable: Seq(stable),
            views: node.env.log.last_views(),
        }
    }

    /// The claimant hears somebody's answer.
    fn hear(node: &mut Node, n: u16, answer: SyncAnswer, out: &mut Vec<Output>) {
        let from = contact(n).member;
        node.as_candidate(at(1), out, |candidate, turn| {
            candidate.on_sync_answer(turn, &from, answer)
        });
    }

    /// The same claimant when it has heard both, and fetches what only p2 has.
    fn fetching() -> Node {
        let (mut node, mut out) = (claimant(), Vec::new());
        for (n, contiguous) in [(1, 3), (2, 200)] {
            let answer = answer(&node, contiguous, 1, &[(epoch(1, 4), 1)]);
            hear(&mut node, n, answer, &mut out);
        }
        let is_question = |output: &Output| {
            matches!(output, Output::Send { message: Message::MissingSeqRequest(_), .. })
        };
        assert!(out.iter().any(is_question) && node.env.install.is_some());
        node
    }

    #[test]
    fn what_a_fellow_knows_to_be_stable_is_not_given_up_for_a_lonely_log() {
        let (mut node, mut out) = (claimant(), Vec::new());
        let lonely = answer(&node, 4, 2, &[(epoch(1, 4), 1), (epoch(2, 1), 3)]);
        let fellow = answer(&node, 3, 3, &[(epoch(1, 4), 1)]);
        hear(&mut node, 1, lonely, &mut out);
        hear(&mut node, 2, fellow, &mut out);
        assert!(matches!(node.role, Role::Leader(_)), "it has nothing to fetch");
        assert_eq!(
            node.env.log.view().map(View::ids),
            Some(vec![contact(2).id().clone(), contact(3).id().clone()]),
            "p1 rejoins"
        );
        assert_eq!(node.env.log.epoch_at(Seq(3)), epoch(1, 4), "#3 stands");
    }

    #[test]
    fn who_is_asked_late_is_given_as_long_as_the_others_but_not_for_ever() {
        let (mut node, mut out) = (claimant(), Vec::new());
        // Each shows a newer view, with one more member.
        for (n, milli, until) in [(1, 100, 300), (2, 250, 400)] {
            let members = (1..=4 + n).map(contact).collect();
            let leader = contact(4).id().clone();
            let view = View::new(ViewId(1 + u64::from(n)), epoch(1, 4), leader, members);
            let answer = answer(&node, 3, 1, &[(epoch(1, 4), 1)]);
            let answer = SyncAnswer { views: vec![(Seq(3), view)], ..answer };
            node.as_candidate(at(milli), &mut out, |candidate, turn| {
                candidate.on_sync_answer(turn, &contact(n).member, answer)
            });
            let Role::Candidate(candidate) = &node.role else { panic!("it still claims") };
            assert_eq!(candidate.deadline(), at(until));
        }
    }

    #[test]
    fn a_member_of_the_list_that_has_acknowledged_nothing_does_not_unseat_its_leader() {
        for has_acknowledged in [false, true] {
            let (mut node, mut out) = (claimant(), Vec::new());
            for n in [1, 2] {
                let answer = answer(&node, 3, 1, &[(epoch(1, 4), 1)]);
                node.as_candidate(at(1), &mut out, |candidate, turn| {
                    candidate.on_sync_answer(turn, &contact(n).member, answer)
                });
            }
            let from = &contact(1).member;
            if has_acknowledged {
                let ack = Message::OrderedAck { epoch: epoch(2, 3), contiguous: Seq(4) };
                node.hear(at(2), from, ack, &mut out);
            }
            let reason = Reason::Stale { promised: epoch(3, 4) };
            node.hear(at(3), from, Message::Rejected(Rejected { ask: None, reason }), &mut out);
            assert_eq!(matches!(node.role, Role::Leader(_)), !has_acknowledged);
        }
    }

    #[test]
    fn a_log_that_begins_at_nothing_is_no_answer() {
        let (mut node, mut out) = (claimant(), Vec::new());
        for first in [0, 1] {
            let answer = answer(&node, 3, 1, &[(epoch(1, 4), first)]);
            hear(&mut node, 2, answer, &mut out);
            let Role::Candidate(candidate) = &node.role else { panic!("it still claims") };
            assert_eq!(candidate.open_claim().map(|claim| claim.answers.len() as u64), Some(first));
        }
    }

    #[test]
    fn a_promise_is_noted_once_and_discards_what_is_built_for_a_lower_epoch() {
        let (mut node, mut out) = (fetching(), Vec::new());
        for (epoch, builds) in [(epoch(2, 3), true), (epoch(3, 4), false), (epoch(3, 4), false)] {
            node.env.promise_to(&epoch, contact(4).id(), &mut out);
            assert_eq!(node.env.install.is_some(), builds, "{epoch:?}");
        }
        assert_eq!(
            out.iter()
                .filter(|output| matches!(output, Output::Note(Note::Promised { .. })))
                .count(),
            1
        );
    }

    #[test]
    fn whoever_sends_a_long_log_is_asked_on_and_given_the_time() {
        let (mut node, mut out) = (fetching(), Vec::new());
        let asked = |out: &[Output]| {
            out.iter()
                .filter(|output| {
                    matches!(output, Output::Send { message: Message::MissingSeqRequest(_), .. })
                })
                .count() as u64
        };
        let ask = node.env.install.as_ref().expect("it fetches the log of p2").ask;
        let holder = node.env.install.as_ref().expect("of p2").source.member.clone();
        let sync_timeout = node.env.config.knobs().sync_timeout;
        for n in 0..100 {
            // Nothing more is asked for before all is there that one question brings.
            assert_eq!(asked(&out), u64::from(n >= 64), "after {n} frames");
            let ordered = Ordered {
                epoch: epoch(1, 4),
                first: Seq(4 + n),
                run: vec![data(3 + n)],
                stable: Seq(1),
                repair: Some(ask),
            };
            node.as_candidate(at(10 * n), &mut out, |candidate, turn| {
                candidate.on_repair(turn, &holder, ordered)
            });
            let Role::Candidate(candidate) = &node.role else { panic!("it is not done yet") };
            assert_eq!(candidate.deadline(), at(10 * n) + sync_timeout, "it is coming");
        }
    }
}
