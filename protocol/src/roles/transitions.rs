//! The only place where the role changes.
//!
//! What a role is made of is taken from the one before it here; what it does when it is entered is
//! its own (`enter`), and may lead on to the next one at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::id::{Contact, Epoch, Member, PeerId};
use crate::io::Output;
use crate::log::Log;
use crate::node::Node;
use crate::report::note::Cause;
use crate::roles::Role;
use crate::roles::candidate::{Candidate, Stage};
use crate::roles::follower::Follower;
use crate::roles::joining::Joining;
use crate::roles::leader::Leader;
use crate::roles::leader::first_entry::FirstEntry;
use crate::roles::turn::{Flow, Next, STAY, Turn};
use crate::time::Time;
use crate::wire::message::Election;

/// What this peer owes to the one whose word has changed its role.
enum Owed {
    /// OK or CLEAR.
    Answer(Election),
    /// Where the log of this peer ends, which has promised that epoch.
    Promise(Member, Epoch),
}

impl Node {
    /// Does what the role says that it becomes, and what that leads to.
    pub(crate) fn go(&mut self, now: Time, mut flow: Flow, out: &mut Vec<Output>) {
        if flow.is_continue() {
            return;
        }
        let mut owed = None;
        let witness = if let Role::Follower(follower) = &mut self.role {
            follower.witness.take()
        } else {
            None
        };
        while let ControlFlow::Break(next) = flow {
            owed = match &next {
                Next::Elect { asker: Some(asker), .. } => Some(Owed::Answer(asker.clone())),
                Next::Promise { to, epoch } => Some(Owed::Promise(to.clone(), epoch.clone())),
                _ => owed,
            };
            flow = self.enter(now, next, out);
        }
        if let Some(witness) = witness
            && matches!(self.role, Role::Candidate(_))
        {
            self.answer_witnessed(now, witness, out);
        }
        match owed {
            None => {}
            Some(Owed::Answer(Election { candidate, ask, .. })) => {
                self.answer(now, &candidate, ask, out);
            }
            Some(Owed::Promise(to, epoch)) => self.env.answer_sync(now, &to, epoch, out),
        }
    }

    fn enter(&mut self, now: Time, next: Next, out: &mut Vec<Output>) -> Flow {
        match next {
            Next::Join { target } => self.become_joining(now, target, out),
            Next::GiveWay { lacks } => self.give_way(now, lacks, out),
            Next::Elect { cause, missed, .. } => return self.elect(now, cause, missed, out),
            Next::Promise { to, epoch } => {
                self.env.promise_to(&epoch, &to.id, out);
                self.wait(now, &to.id);
            }
            Next::AwaitHeir { heir } => self.await_heir(now, &heir),
            Next::Follow { leader, epoch, proven_at } => {
                self.become_member(now, proven_at, leader, epoch, out);
                let (Role::Follower(follower), mut turn) = self.turn(now, out) else {
                    unreachable!("it follows from now on")
                };
                return follower.enter(&mut turn);
            }
            Next::Renew { above } => return self.move_above(now, &above, out),
            Next::Lead { leader, first } => self.lead(now, leader, first, out),
            Next::Stop(reason) => self.stop(reason, out),
        }
        STAY
    }

    /// The views have gone on without this peer: whoever leads admits it. In mode `primary` its
    /// promise may still be needed, so it hears claims as before; but a better claimant that can
    /// never win would keep the others waiting for ever, so it leaves them the time for two claims
    /// of their own.
    fn give_way(&mut self, now: Time, lacks: Option<String>, out: &mut Vec<Output>) {
        let until = now + self.env.config.outcome_timeout() * 2;
        self.become_joining(now, None, out);
        if let Role::Joining(joining) = &mut self.role {
            joining.gives_way_until = Some(until);
        }
        if let Some(why) = lacks {
            self.env.tell_blocked(why, out);
        }
    }

    fn elect(
        &mut self,
        now: Time,
        cause: Cause,
        missed: Option<PeerId>,
        out: &mut Vec<Output>,
    ) -> Flow {
        let mut candidate = self.candidate(now, missed);
        let flow = candidate.enter(&mut Turn { now, env: &mut self.env, out }, cause);
        self.role = Role::Candidate(candidate);
        flow
    }

    fn wait(&mut self, now: Time, on: &PeerId) {
        let until = now + self.env.config.outcome_timeout();
        let stage = Stage::Waiting { on: on.clone(), until };
        match &mut self.role {
            Role::Candidate(candidate) => {
                candidate.stage = stage;
                candidate.ask_too(on);
                candidate.handed_over = false;
            }
            Role::Follower(_) | Role::Joining(_) => {
                // A member promises to nobody but the leader that it follows, so nobody is missed
                // here.
                let mut candidate = self.candidate(now, None);
                candidate.stage = stage;
                // It has asked nobody, and needs a link to nobody else.
                candidate.first_wave = Some(BTreeSet::from([on.clone()]));
                self.role = Role::Candidate(candidate);
            }
            Role::Leader(_) => unreachable!("a leader answers for itself, and promises nobody"),
        }
        self.env.wants_changed = true;
    }

    /// Waits for the claim of the one that the leader has handed over to, without missing that
    /// leader.
    fn await_heir(&mut self, now: Time, heir: &PeerId) {
        let led = matches!(self.role, Role::Leader(_));
        let mut candidate = self.candidate(now, None);
        candidate.handed_over = led;
        let until = now + self.env.config.outcome_timeout();
        candidate.stage = Stage::Waiting { on: heir.clone(), until };
        self.role = Role::Candidate(candidate);
        self.env.wants_changed = true;
    }

    /// A working leader moves above `above`, which somebody that asks to be admitted has promised.
    /// It stays leader, so there is nothing to ask but the promise.
    fn move_above(&mut self, now: Time, above: &Epoch, out: &mut Vec<Output>) -> Flow {
        let Role::Leader(leader) = &self.role else { unreachable!("only a leader moves") };
        let standing = leader.clone();
        let epoch = (&self.env.promised).max(above).next(self.env.me.member.clone());
        let mut candidate = self.candidate(now, None);
        candidate.dropped =
            standing.failed.iter().map(|(contact, _)| contact.id().clone()).collect();
        let mut turn = Turn { now, env: &mut self.env, out };
        let flow = candidate.sync(&mut turn, epoch, Some(standing));
        self.role = Role::Candidate(candidate);
        flow
    }

    fn lead(
        &mut self,
        now: Time,
        mut leader: Box<Leader>,
        first: FirstEntry,
        out: &mut Vec<Output>,
    ) {
        if self.env.policy().settles_each_view()
            && self.env.log.view().is_some()
            && self.env.log.view_at() > self.env.log.stable()
        {
            // One view may be unstable at a time, so this epoch's first one waits until the adopted
            // one is stable.
            leader.first = Some(first);
        } else {
            leader.first_entry(&mut Turn { now, env: &mut self.env, out }, first);
        }
        self.role = Role::Leader(leader);
        self.env.outbox.rewind(self.env.log.last_oseq(&self.env.me.member));
    }

    /// The facts of a candidate: it asks the members of its newest view, or, without one, the
    /// joiners it has heard.
    fn candidate(&mut self, now: Time, missed: Option<PeerId>) -> Box<Candidate> {
        let (first_view, mut asked): (bool, BTreeMap<PeerId, Contact>) = match &self.role {
            Role::Joining(_) if self.env.is_elector() => (false, self.env.electorate()),
            Role::Joining(joining) => {
                // A group that has dissolved into one that is silent comes together again: its
                // members know each other.
                let own = if self.env.merging { self.env.electorate() } else { BTreeMap::new() };
                let heard =
                    joining.heard.iter().map(|(id, (contact, _))| (id.clone(), contact.clone()));
                (true, heard.chain(own).collect())
            }
            Role::Candidate(before) => (before.first_view, before.asked.clone()),
            Role::Follower(_) | Role::Leader(_) => {
                (self.env.log.view().is_none(), self.env.electorate())
            }
        };
        // Whatever it was building: it is about to have another leader, or to lead.
        self.env.install = None;
        let seen = self.deliverable();
        let ask = self.env.fresh_ask();
        asked.remove(&self.env.me.member.id);
        Box::new(Candidate {
            first_view,
            ask,
            asked_at: now,
            asked,
            first_wave: None,
            answered: BTreeSet::new(),
            suspects: missed.iter().cloned().collect(),
            missed,
            revived: BTreeSet::new(),
            busy: BTreeSet::new(),
            dropped: BTreeSet::new(),
            refused: BTreeMap::new(),
            callers: BTreeMap::new(),
            only_silent: false,
            asks_again: false,
            not_in_view: false,
            vetoed_by: None,
            floor: Epoch::none(),
            failed_claim: None,
            told_ok: BTreeMap::new(),
            seen,
            handed_over: false,
            stage: self.env.asking(now),
        })
    }

    /// In no view from now on; asks `target`, where there is one. The log stays, until a better one
    /// replaces it.
    pub(crate) fn become_joining(
        &mut self,
        now: Time,
        target: Option<Contact>,
        out: &mut Vec<Output>,
    ) {
        self.deliver_last(out);
        self.env.install = None;
        if self.env.log.view().is_none() {
            // A cut that never got its first view is nobody's log; two that went on from it would
            // fork it in silence.
            self.env.log = Log::empty();
        }
        let ask = self.env.fresh_ask();
        let target = target.filter(|contact| contact.member != self.env.me.member);
        let joining = Joining::asking(now, ask, target);
        self.env.wants_changed = true;
        let mut turn = Turn { now, env: &mut self.env, out };
        if let Some((leader, _)) = &joining.target {
            joining.ask_to_join(&mut turn, &leader.member);
        }
        self.role = Role::Joining(joining);
    }

    /// Follows a leader from now on.
    pub(crate) fn become_member(
        &mut self,
        now: Time,
        proven_at: Time,
        leader: Contact,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) {
        let mut turn = Turn { now, env: &mut self.env, out };
        self.role = Role::Follower(Follower::new(&mut turn, proven_at, leader, epoch));
    }

    /// One call, as a role sees it.
    pub(crate) fn turn<'a>(
        &'a mut self,
        now: Time,
        out: &'a mut Vec<Output>,
    ) -> (&'a mut Role, Turn<'a>) {
        (&mut self.role, Turn { now, env: &mut self.env, out })
    }
}
