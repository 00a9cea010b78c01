//! Installing a log: after a claim, after an admission, and before an announcement.
//!
//! A peer that a new leader lists builds the adopted log beside its own, up to the cut, and
//! replaces it in one step; only then does it belong to the new epoch. What it lacks it asks for by
//! lineage, not by position: a holder answers only where its own lineage covers the range by the
//! epoch named.

use crate::delivery::outbox::Stretch;
use crate::env::Env;
use crate::id::{Member, Seq};
use crate::install::{Base, Install, Purpose};
use crate::io::{Delivery, Outcome, Output};
use crate::log::Log;
use crate::log::entry::Ordered;
use crate::log::tail::Tail;
use crate::node::Node;
use crate::report::note::{Cause, Note};
use crate::roles::follower::RUN_BYTES;
use crate::roles::{Role, Stage};
use crate::time::Time;
use crate::wire::message::{Message, MissingAnswer, MissingRequest, Reason, SyncFinal};

impl Node {
    /// A new leader's cut.
    pub(crate) fn on_final(
        &mut self,
        now: Time,
        from: &Member,
        last: SyncFinal,
        out: &mut Vec<Output>,
    ) {
        if last.leader.member != *from {
            return;
        }
        // Whoever is listed has promised that very epoch, to its owner; any other cut is somebody's
        // who was asked by nobody.
        if last.list.contains(&self.env.me.member)
            && (last.epoch != self.env.promised || last.epoch.owner != *from)
        {
            self.env.reject(
                Some(&from.id),
                "SEQ_SYNC_FINAL",
                "of an epoch that it was not promised",
                out,
            );
            return;
        }
        if !last.list.contains(&self.env.me.member) {
            // Not heard in time: it adopts nothing, keeps its log, and asks to be admitted.
            let is_known = self.env.promised.owner == *from || self.env.counts(from);
            if is_known && matches!(self.role, Role::Candidate(_)) {
                self.become_joining(now, Some(last.leader), out);
            }
            return;
        }
        match &self.role {
            Role::Leader(_) => return,
            Role::Follower(follower) if follower.epoch == last.epoch => {
                // Said again: what has been adopted is acknowledged again, what is being built goes
                // on.
                if let Role::Follower(follower) = &mut self.role {
                    follower.acked = Seq::ZERO;
                }
                return;
            }
            Role::Follower(_) | Role::Candidate(_) | Role::Joining(_) => {}
        }
        if self.env.log.lineage().iter().any(|row| row.epoch == last.epoch) {
            // Adopted long ago, and held up in some socket since; to build it again would take back
            // what came after it.
            return;
        }
        self.env.promise_to(&last.epoch, &from.id, out);
        let fork = self.env.log.fork(&last.lineage, last.cut).min(last.cut);
        let (epoch, leader) = (last.epoch.clone(), last.leader.clone());
        let ask = self.env.fresh_ask();
        let base = self.env.base_at(fork);
        self.env.install = Some(Install {
            purpose: Purpose::Follow,
            epoch: last.epoch,
            source: last.leader,
            entries: Tail::new(base.end()),
            view: base.view(&self.env.log),
            base,
            lineage: last.lineage,
            target: last.cut,
            ask,
            bursts: 0,
            retry_at: now,
        });
        self.become_member(now, now, leader, epoch, out);
        self.say_leave(now, out);
        if !self.install_if_complete(now, out) {
            self.env.ask_missing(now, out);
        }
    }

    /// Starts building the log that this claimant is to announce.
    pub(crate) fn build_to_lead(&mut self, now: Time, install: Install, out: &mut Vec<Output>) {
        self.env.install = Some(install);
        self.env.wants_changed = true;
        if !self.install_if_complete(now, out) {
            self.env.ask_missing(now, out);
        }
    }

    /// Nothing has come for a while: asks again, or gives the admission up and asks for another.
    pub(crate) fn rebuild_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(install) = &self.env.install else { return };
        if install.retry_at > now {
            return;
        }
        if install.purpose == Purpose::Join {
            let source = install.source.member.clone();
            self.env.install = None;
            if let Role::Joining(joining) = &mut self.role {
                joining.forget_target(now, &mut self.env, &source);
            }
        } else {
            self.env.ask_missing(now, out);
        }
    }

    pub(crate) fn on_repair(
        &mut self,
        now: Time,
        from: &Member,
        ask: u64,
        ordered: Ordered,
        out: &mut Vec<Output>,
    ) {
        let is_asked = |install: &Install| {
            install.source.member == *from && install.ask == ask && install.purpose != Purpose::Join
        };
        if !self.env.install.as_ref().is_some_and(is_asked) {
            return;
        }
        if self.env.holds_too_much() {
            self.env.reject(None, "ORDERED", "more than anybody may be made to keep", out);
            return;
        }
        let Some(install) = &mut self.env.install else { return };
        if !install.extend(ordered) {
            return;
        }
        install.bursts += 1;
        let answered = install.bursts.is_multiple_of(REPAIR_RUNS);
        self.progress(now);
        if !self.install_if_complete(now, out) && answered {
            // One question brings so many frames and no more.
            self.env.ask_missing(now, out);
        }
    }

    pub(crate) fn on_not_found(
        &mut self,
        now: Time,
        from: &Member,
        answer: MissingAnswer,
        out: &mut Vec<Output>,
    ) {
        // An admission asks for nothing: its leader sends what follows by itself.
        let asked = |install: &&mut Install| {
            install.purpose != Purpose::Join
                && install.ask == answer.ask
                && install.source.member == *from
        };
        let Some(install) = self.env.install.as_mut().filter(asked) else { return };
        match answer.snapshot {
            Some(snapshot) if snapshot.seq <= install.target => {
                install.rebase(snapshot);
                self.progress(now);
                self.install_if_complete(now, out);
            }
            Some(_) | None => match install.purpose {
                Purpose::Lead => self.adoption_failed(now, out),
                // The leader itself cannot complete its cut for this peer; a fresh admission brings
                // a snapshot.
                Purpose::Follow | Purpose::Join => {
                    let source = install.source.clone();
                    self.become_joining(now, Some(source), out);
                }
            },
        }
    }

    fn progress(&mut self, now: Time) {
        let retry = self.env.config.witness_timeout();
        let sync_timeout = self.env.config.knobs().sync_timeout;
        if let Some(install) = &mut self.env.install {
            install.retry_at = now + retry;
        }
        if let Role::Candidate(candidate) = &mut self.role
            && let Stage::Adopting { until, .. } = &mut candidate.stage
        {
            *until = now + sync_timeout;
        }
    }

    /// Replaces the log in one step, once the new one is complete.
    pub(crate) fn install_if_complete(&mut self, now: Time, out: &mut Vec<Output>) -> bool {
        if !self.env.install.as_ref().is_some_and(Install::is_complete) {
            return false;
        }
        if matches!(&self.role, Role::Candidate(candidate) if candidate.has_overslept()) {
            // The list is closed, and those on it may have gone on under somebody else.
            self.env.install = None;
            self.ask(now, Cause::Again, out);
            return false;
        }
        let Some(install) = self.env.install.take() else { return false };
        let (purpose, epoch, target, source) =
            (install.purpose, install.epoch.clone(), install.target, install.source.clone());
        // Who has handed over nothing yet is a newcomer, also when a cut brings it the log and no
        // admission.
        let newcomer = self.env.sinks.delivered() == Seq::ZERO;
        let snapshot = match &install.base {
            // The own log has everything that is still to be handed over.
            Base::Own(fork) if purpose == Purpose::Join => {
                Some(self.env.sinks.delivered().min(*fork))
            }
            Base::Own(fork) => Some(*fork).filter(|_| newcomer && target > Seq::ZERO),
            Base::Snapshot(snapshot) => Some(snapshot.seq),
        };
        let had_log = !self.env.log.is_none();
        let held = install.next().previous();
        let fork = if had_log { self.env.log.fork(&install.lineage, held) } else { Seq::ZERO };
        let (old_log, new_log) = (self.env.log.name(), install.name());
        let Some(log) = install.finish(&self.env.log) else {
            self.env.reject(
                Some(source.id()),
                "log",
                "with readings of an origin that was in no view",
                out,
            );
            match purpose {
                Purpose::Lead => self.give_up_on(now, Some(&source), out),
                Purpose::Follow | Purpose::Join => self.become_joining(now, None, out),
            }
            return false;
        };
        let dissolved = std::mem::take(&mut self.env.merging);
        // Also without being asked: the claimant that it has promised to may be of another log. A
        // group that comes together again in its own log has merged with nobody.
        let is_another = had_log && old_log != new_log;
        if is_another || dissolved && (purpose == Purpose::Join || fork < self.env.log.contiguous())
        {
            // What the old group ordered after the fork is in no common log; own readings among it
            // are sent again.
            let (from, to) = (fork.next(), self.env.log.contiguous());
            let (log, into_log) = (old_log.clone(), new_log);
            let leader = source.id().clone();
            let merged = Delivery::Merged {
                log: log.clone(),
                at: fork,
                into: into_log.clone(),
                leader: leader.clone(),
            };
            out.push(Output::Deliver(merged));
            out.push(Output::Note(Note::Merged {
                into: leader,
                log,
                into_log,
                from,
                to,
                new_from: from,
                new_to: held,
            }));
        }
        if purpose != Purpose::Lead && log.view().is_some() {
            // Before anything of it is acknowledged.
            self.env.remember_view(out);
        }
        let waited = self.env.outbox.waits();
        self.env.replace_log(log, fork, out);
        // An admission may be to an epoch that began long ago.
        let cut = self.env.log.lineage().last().map_or(target, |row| row.first.previous());
        out.push(Output::Note(Note::Cut {
            epoch: epoch.clone(),
            seq: cut,
            log: self.env.log.name(),
        }));
        let resume = match snapshot {
            None => Seq::ZERO,
            // A newcomer's first delivery is the view that lets it in, or as many entries before it
            // as it asked for.
            Some(at) if newcomer => {
                let first_view = match purpose {
                    Purpose::Join => self.env.log.view_at(),
                    Purpose::Follow | Purpose::Lead => {
                        self.env.log.first_view_of(&self.env.me.member).unwrap_or(target.next())
                    }
                };
                at.max(Seq(first_view
                    .previous()
                    .0
                    .saturating_sub(self.env.config.knobs().late_join.entries())))
            }
            Some(at) => at,
        };
        // Whoever was away gets the readings since, but joins with the view that admits it.
        let let_in = (purpose == Purpose::Join).then(|| self.env.log.view_at());
        self.env.sinks.on_log_replaced(&self.env.log, &old_log, fork, (resume, let_in), out);
        if let Some(at) = snapshot {
            out.push(Output::Note(Note::StateTransfer {
                log: self.env.log.name(),
                at,
                resume: self.env.sinks.delivered(),
                epoch: epoch.clone(),
            }));
        }
        self.env.wants_changed = true;
        match purpose {
            Purpose::Join => {
                self.become_member(now, now, source, epoch, out);
                self.say_leave(now, out);
            }
            Purpose::Follow => {
                self.env.outbox.rewind(self.env.log.last_oseq(&self.env.me.member));
                if waited {
                    self.say_leave(now, out);
                }
            }
            Purpose::Lead => self.announce(now, out),
        }
        true
    }
}

impl Env {
    /// What a log can be built on that agrees with the present one up to `fork`. Below the base
    /// nothing can be taken back; asking from the very start brings everything, or a snapshot.
    pub(crate) fn base_at(&self, fork: Seq) -> Base {
        if self.log.retains_above(fork) {
            Base::Own(fork)
        } else {
            Base::Snapshot(Box::new(Log::empty().snapshot(Seq::ZERO)))
        }
    }

    /// Asks the source for what is missing, if a link to it stands.
    pub(crate) fn ask_missing(&mut self, now: Time, out: &mut Vec<Output>) {
        let retry = self.config.witness_timeout();
        let Some(install) = &mut self.install else { return };
        install.retry_at = now + retry;
        if install.purpose == Purpose::Join {
            return;
        }
        let (next, to, ask, source) =
            (install.next(), install.target, install.ask, install.source.member.clone());
        // Whoever has had something of a log, and nothing to build on, asks for all that is
        // retained.
        let from =
            if next == Seq(1) && self.sinks.delivered() > Seq::ZERO { Seq::ZERO } else { next };
        let Some(row) = install.lineage.iter().rev().find(|row| row.first <= to) else { return };
        let missing = MissingRequest { ask, epoch: row.epoch.clone(), from, to };
        self.send(now, &source, Message::MissingSeqRequest(missing), out);
    }

    /// Somebody lacks entries.
    pub(crate) fn on_missing(
        &mut self,
        now: Time,
        from: &Member,
        missing: &MissingRequest,
        out: &mut Vec<Output>,
    ) {
        let (ask, to) = (missing.ask, missing.to);
        if !self.may_read(from) {
            self.reject(
                Some(&from.id),
                "MISSING_SEQ_REQUEST",
                "of a peer that is in no view of this one",
                out,
            );
            self.refuse(now, from, Some(ask), Reason::NotMember, out);
            return;
        }
        if !self.answered.insert(from.clone()) {
            self.reject(
                Some(&from.id),
                "MISSING_SEQ_REQUEST",
                "before the last one was answered",
                out,
            );
            return;
        }
        let covered = !self.log.is_none()
            && to <= self.log.contiguous()
            && self.log.epoch_at(to) == missing.epoch;
        if !covered {
            self.send(
                now,
                from,
                Message::MissingSeqNotFound(MissingAnswer { ask, snapshot: None }),
                out,
            );
            return;
        }
        let mut next = missing.from;
        if next == Seq::ZERO || !self.log.retains_above(next.previous()) {
            // Who has had something of this log misses what is not retained any more, and nothing
            // else; who has had nothing begins where the log is stable.
            let start = if next == Seq(1) { self.log.stable().min(to) } else { self.log.base() };
            if start > to || !self.log.retains_above(start) {
                self.send(
                    now,
                    from,
                    Message::MissingSeqNotFound(MissingAnswer { ask, snapshot: None }),
                    out,
                );
                return;
            }
            let snapshot = self.log.snapshot(start);
            next = snapshot.seq.next();
            self.send(
                now,
                from,
                Message::MissingSeqNotFound(MissingAnswer { ask, snapshot: Some(snapshot) }),
                out,
            );
        }
        // Bounded per question; what is still missing afterwards is asked for again.
        for _ in 0..REPAIR_RUNS {
            if next > to {
                return;
            }
            let run = self.log.run(next, to, RUN_BYTES);
            let message = Ordered {
                epoch: missing.epoch.clone(),
                first: next,
                run,
                stable: self.log.stable().min(to),
                repair: Some(ask),
            };
            next = next.plus(message.positions());
            self.send(now, from, Message::Ordered(message), out);
        }
    }

    /// Whether the log is for somebody: a member of the newest two views, or the claimant that has
    /// this peer's promise.
    fn may_read(&self, peer: &Member) -> bool {
        self.promised.owner == *peer
            || self.log.last_views().iter().any(|(_, view)| view.names(peer))
    }

    /// Puts another log in the place of the present one, with what follows from it for this peer's
    /// own readings: those that stand above the fork have another place now, and some of all of
    /// them may be stable there.
    fn replace_log(&mut self, log: Log, fork: Seq, out: &mut Vec<Output>) {
        self.log = log;
        let own = self.log.between(fork.next(), self.log.contiguous());
        let own: Vec<Stretch> =
            own.filter_map(|(seq, entry)| Stretch::of(&entry, seq, &self.me.member)).collect();
        if let Some((first, last)) =
            self.outbox.on_log_replaced(self.log.last_oseq(&self.me.member), fork, own.clone())
        {
            out.push(Output::Published { first, last, place: None, outcome: Outcome::Ordered });
        }
        for stretch in own {
            Output::published(stretch, Outcome::Ordered, &self.log, out);
        }
        self.confirm_stable(out);
    }

    /// Takes back what the adopted log does not have, and goes on in a new epoch.
    pub(crate) fn cut_here(&mut self, cut: Seq, epoch: crate::id::Epoch, out: &mut Vec<Output>) {
        self.log.truncate(cut);
        // The first row names the log.
        self.log.push_row(epoch.clone());
        out.push(Output::Note(Note::Cut { epoch, seq: cut, log: self.log.name() }));
    }
}

/// Frames in the answer to one question.
const REPAIR_RUNS: u32 = 64;
