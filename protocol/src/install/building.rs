//! Installing a log: after a claim, after an admission, and before an announcement.
//!
//! A peer that a new leader lists builds the adopted log beside its own, up to the cut, and
//! replaces it in one step; only then does it belong to the new epoch. What it lacks it asks for by
//! lineage, not by position (see `serving`). What is common to all roles is in [`Env`]; what
//! follows from it for each role is said by a method of that role.

use crate::delivery::outbox::Stretch;
use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::install::serving::REPAIR_RUNS;
use crate::install::{Base, Install, Purpose};
use crate::io::{Delivery, Outcome, Output};
use crate::log::Log;
use crate::log::entry::Ordered;
use crate::log::log_id::LogId;
use crate::log::tail::Tail;
use crate::node::Node;
use crate::report::note::Note;
use crate::roles::Role;
use crate::roles::candidate::Candidate;
use crate::roles::follower::Follower;
use crate::roles::joining::Joining;
use crate::roles::leader::Leader;
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::time::Time;
use crate::wire::message::{Message, MissingAnswer, MissingRequest, SyncFinal};

/// What has come of a log that is being built.
pub(crate) enum Built {
    /// Something is missing, or nothing is being built.
    Unfinished,
    /// It was no log: an origin was in no view.
    Void { purpose: Purpose, source: Contact },
    /// It stands in the place of the old one. `waited`: whether own readings were not ordered yet.
    Installed { purpose: Purpose, source: Contact, epoch: Epoch, waited: bool },
}

/// What an answer to the question for entries has brought besides entries.
pub(crate) enum Found {
    /// It is no answer to the open question.
    Nothing,
    /// A snapshot to go on from.
    Snapshot,
    /// They are not to be had there.
    Gone,
}

/// Whom a new leader's cut is for.
#[derive(PartialEq, Eq)]
enum Listed {
    /// For nobody, since nobody has promised it.
    Nowhere,
    /// For others: this peer was not heard in time.
    Others,
    /// For this peer, too.
    Here,
}

impl Node {
    /// Nothing has come for a while: asks again, or gives the admission up and asks for another.
    pub(crate) fn rebuild_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Some(source) = self.env.rebuild_in_time(now, out)
            && let Role::Joining(joining) = &mut self.role
        {
            joining.forget_target(now, &mut self.env, &source);
        }
    }
}

impl Joining {
    /// A new leader's cut.
    pub(crate) fn on_cut(&self, turn: &mut Turn<'_>, from: &Member, last: SyncFinal) -> Flow {
        match turn.env.listed(from, &last, turn.out) {
            Listed::Here => turn.env.build_to_follow(turn.now, from, last, turn.out),
            Listed::Others | Listed::Nowhere => STAY,
        }
    }

    /// Follows the leader that has let it in, once the log is complete.
    pub(crate) fn install(&self, turn: &mut Turn<'_>) -> Flow {
        match turn.env.install_if_complete(turn.out) {
            Built::Unfinished => STAY,
            Built::Installed { purpose, source: leader, epoch, .. } => {
                debug_assert_eq!(purpose, Purpose::Join, "who follows nobody builds no cut");
                go(Next::Follow { leader, epoch, proven_at: turn.now })
            }
            Built::Void { .. } => go(Next::Join { target: None }),
        }
    }
}

impl Follower {
    /// Builds the log of the leader that it follows from now on, if it lacks some of it.
    pub(crate) fn enter(&mut self, turn: &mut Turn<'_>) -> Flow {
        self.say_leave(turn.now, turn.env, turn.out);
        self.install(turn)?;
        turn.env.ask_missing(turn.now, turn.out);
        STAY
    }

    /// A new leader's cut.
    pub(crate) fn on_cut(&mut self, turn: &mut Turn<'_>, from: &Member, last: SyncFinal) -> Flow {
        match turn.env.listed(from, &last, turn.out) {
            Listed::Here if self.epoch == last.epoch => {
                // Said again: what has been adopted is acknowledged again, what is being built goes
                // on.
                self.acked = Seq::ZERO;
                STAY
            }
            Listed::Here => turn.env.build_to_follow(turn.now, from, last, turn.out),
            Listed::Others | Listed::Nowhere => STAY,
        }
    }

    /// Some of the entries that it has asked for.
    pub(crate) fn on_repair(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        ordered: Ordered,
    ) -> Flow {
        if turn.env.on_repair(turn.now, from, ordered, turn.out) {
            self.install(turn)?;
            turn.env.ask_on(turn.now, turn.out);
        }
        STAY
    }

    /// What it has asked for is not to be had.
    pub(crate) fn on_not_found(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        answer: MissingAnswer,
    ) -> Flow {
        match turn.env.on_not_found(turn.now, from, answer) {
            Found::Nothing => STAY,
            Found::Snapshot => self.install(turn),
            // The leader itself cannot complete its cut for this peer; a fresh admission brings a
            // snapshot.
            Found::Gone => go(Next::Join { target: Some(self.leader.clone()) }),
        }
    }

    /// Its log is that of its leader, once it is complete.
    fn install(&mut self, turn: &mut Turn<'_>) -> Flow {
        match turn.env.install_if_complete(turn.out) {
            Built::Unfinished => STAY,
            Built::Installed { purpose, waited, .. } => {
                debug_assert_eq!(purpose, Purpose::Follow, "a member has been let in already");
                let Turn { env, .. } = turn;
                env.outbox.rewind(env.log.last_oseq(&env.me.member));
                if waited {
                    self.say_leave(turn.now, turn.env, turn.out);
                }
                STAY
            }
            Built::Void { .. } => go(Next::Join { target: None }),
        }
    }
}

impl Candidate {
    /// A new leader's cut.
    pub(crate) fn on_cut(&self, turn: &mut Turn<'_>, from: &Member, last: SyncFinal) -> Flow {
        match turn.env.listed(from, &last, turn.out) {
            Listed::Here => turn.env.build_to_follow(turn.now, from, last, turn.out),
            // It adopts nothing, keeps its log, and asks to be admitted.
            Listed::Others if turn.env.promised.owner == *from || turn.env.counts(from) => {
                go(Next::Join { target: Some(last.leader) })
            }
            Listed::Others | Listed::Nowhere => STAY,
        }
    }
}

impl Leader {
    /// The cut of another leader, which this one has promised nothing.
    pub(crate) fn on_cut(&self, turn: &mut Turn<'_>, from: &Member, last: &SyncFinal) {
        let _nobody = turn.env.listed(from, last, turn.out);
    }
}

impl Env {
    fn listed(&mut self, from: &Member, last: &SyncFinal, out: &mut Vec<Output>) -> Listed {
        if last.leader.member != *from {
            return Listed::Nowhere;
        }
        if !last.list.contains(&self.me.member) {
            return Listed::Others;
        }
        // Whoever is listed has promised that very epoch, to its owner; any other cut is somebody's
        // who was asked by nobody.
        if last.epoch != self.promised || last.epoch.owner != *from {
            self.reject(
                Some(&from.id),
                "SEQ_SYNC_FINAL",
                "of an epoch that it was not promised",
                out,
            );
            return Listed::Nowhere;
        }
        Listed::Here
    }

    /// Starts building the log that a new leader has cut, and follows it.
    fn build_to_follow(
        &mut self,
        now: Time,
        from: &Member,
        last: SyncFinal,
        out: &mut Vec<Output>,
    ) -> Flow {
        if self.log.lineage().iter().any(|row| row.epoch == last.epoch) {
            // Adopted long ago, and held up in some socket since; to build it again would take back
            // what came after it.
            return STAY;
        }
        self.promise_to(&last.epoch, &from.id, out);
        let fork = self.log.fork(&last.lineage, last.cut).min(last.cut);
        let (epoch, leader) = (last.epoch.clone(), last.leader.clone());
        let ask = self.fresh_ask();
        let base = self.base_at(fork);
        self.install = Some(Install {
            purpose: Purpose::Follow,
            epoch: last.epoch,
            source: last.leader,
            entries: Tail::new(base.end()),
            view: base.view(&self.log),
            base,
            lineage: last.lineage,
            target: last.cut,
            ask,
            bursts: 0,
            retry_at: now,
        });
        go(Next::Follow { leader, epoch, proven_at: now })
    }

    /// Nothing has come for a while: asks again, or gives the admission up. Whose that was.
    fn rebuild_in_time(&mut self, now: Time, out: &mut Vec<Output>) -> Option<Member> {
        let install = self.install.as_ref().filter(|install| install.retry_at <= now)?;
        if install.purpose == Purpose::Join {
            return self.install.take().map(|install| install.source.member);
        }
        self.ask_missing(now, out);
        None
    }

    /// Some of the entries that were asked for. True if it can use them.
    pub(crate) fn on_repair(
        &mut self,
        now: Time,
        from: &Member,
        ordered: Ordered,
        out: &mut Vec<Output>,
    ) -> bool {
        // An admission asks for nothing: its leader sends what follows by itself.
        let is_asked = |install: &Install| {
            install.source.member == *from
                && ordered.repair == Some(install.ask)
                && install.purpose != Purpose::Join
        };
        if !self.install.as_ref().is_some_and(is_asked) {
            return false;
        }
        if self.holds_too_much() {
            self.reject(None, "ORDERED", "more than anybody may be made to keep", out);
            return false;
        }
        let retry = self.config.witness_timeout();
        let Some(install) = &mut self.install else { return false };
        if !install.extend(ordered) {
            return false;
        }
        install.bursts += 1;
        install.retry_at = now + retry;
        true
    }

    /// One question brings so many frames and no more.
    pub(crate) fn ask_on(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.install.as_ref().is_some_and(|install| install.bursts.is_multiple_of(REPAIR_RUNS)) {
            self.ask_missing(now, out);
        }
    }

    /// What was asked for is not retained any more, or was never there.
    pub(crate) fn on_not_found(
        &mut self,
        now: Time,
        from: &Member,
        answer: MissingAnswer,
    ) -> Found {
        let retry = self.config.witness_timeout();
        let asked = |install: &&mut Install| {
            install.purpose != Purpose::Join
                && install.ask == answer.ask
                && install.source.member == *from
        };
        let Some(install) = self.install.as_mut().filter(asked) else { return Found::Nothing };
        match answer.snapshot {
            Some(snapshot) if snapshot.seq <= install.target => {
                install.rebase(snapshot);
                install.retry_at = now + retry;
                Found::Snapshot
            }
            Some(_) | None => Found::Gone,
        }
    }

    /// Replaces the log in one step, once the new one is complete.
    pub(crate) fn install_if_complete(&mut self, out: &mut Vec<Output>) -> Built {
        let Some(install) = self.install.take_if(|install| install.is_complete()) else {
            return Built::Unfinished;
        };
        let (purpose, epoch, target, source) =
            (install.purpose, install.epoch.clone(), install.target, install.source.clone());
        // Who has handed over nothing yet is a newcomer, also when a cut brings it the log and no
        // admission.
        let newcomer = self.sinks.delivered() == Seq::ZERO;
        let snapshot = self.taken_over(&install, newcomer);
        let had_log = !self.log.is_none();
        let held = install.next().previous();
        let fork = if had_log { self.log.fork(&install.lineage, held) } else { Seq::ZERO };
        let (old_log, new_log) = (self.log.name(), install.name());
        let Some(log) = install.finish(&self.log) else {
            let why = "with readings of an origin that was in no view";
            self.reject(Some(source.id()), "log", why, out);
            return Built::Void { purpose, source };
        };
        let dissolved = std::mem::take(&mut self.merging);
        // Also without being asked: the claimant that it has promised to may be of another log. A
        // group that comes together again in its own log has merged with nobody.
        let is_another = had_log && old_log != new_log;
        if is_another || dissolved && (purpose == Purpose::Join || fork < self.log.contiguous()) {
            self.tell_merged((&old_log, new_log), (fork, held), source.id(), out);
        }
        if purpose != Purpose::Lead && log.view().is_some() {
            // Before anything of it is acknowledged.
            self.remember_view(out);
        }
        let waited = self.outbox.waits();
        self.replace_log(log, fork, out);
        // An admission may be to an epoch that began long ago.
        let seq = self.log.lineage().last().map_or(target, |row| row.first.previous());
        out.push(Output::Note(Note::Cut { epoch: epoch.clone(), seq, log: self.log.name() }));
        let resume = match snapshot {
            None => Seq::ZERO,
            Some(at) if newcomer => at.max(self.first_of_newcomer(purpose, target)),
            Some(at) => at,
        };
        // Whoever was away gets the readings since, but joins with the view that admits it.
        let let_in = (purpose == Purpose::Join).then(|| self.log.view_at());
        self.sinks.on_log_replaced(&self.log, &old_log, fork, (resume, let_in), out);
        if let Some(at) = snapshot {
            let (log, resume) = (self.log.name(), self.sinks.delivered());
            out.push(Output::Note(Note::StateTransfer { log, at, resume, epoch: epoch.clone() }));
        }
        self.wants_changed = true;
        Built::Installed { purpose, source, epoch, waited }
    }

    /// The position up to which the log is taken over as it is, if it is.
    fn taken_over(&self, install: &Install, newcomer: bool) -> Option<Seq> {
        match &install.base {
            // The own log has everything that is still to be handed over.
            Base::Own(fork) if install.purpose == Purpose::Join => {
                Some(self.sinks.delivered().min(*fork))
            }
            Base::Own(fork) => Some(*fork).filter(|_| newcomer && install.target > Seq::ZERO),
            Base::Snapshot(snapshot) => Some(snapshot.seq),
        }
    }

    /// What the old group ordered after the fork is in no common log; own readings among it are
    /// sent again.
    fn tell_merged(
        &self,
        (log, into_log): (&LogId, LogId),
        (fork, held): (Seq, Seq),
        leader: &PeerId,
        out: &mut Vec<Output>,
    ) {
        let (from, to) = (fork.next(), self.log.contiguous());
        out.push(Output::Deliver(Delivery::Merged {
            log: log.clone(),
            at: fork,
            into: into_log.clone(),
            leader: leader.clone(),
        }));
        out.push(Output::Note(Note::Merged {
            into: leader.clone(),
            log: log.clone(),
            into_log,
            from,
            to,
            new_from: from,
            new_to: held,
        }));
    }

    /// A newcomer's first delivery is the view that lets it in, or as many entries before it as it
    /// asked for: the position before that one.
    fn first_of_newcomer(&self, purpose: Purpose, target: Seq) -> Seq {
        let first_view = match purpose {
            Purpose::Join => self.log.view_at(),
            Purpose::Follow | Purpose::Lead => {
                self.log.first_view_of(&self.me.member).unwrap_or(target.next())
            }
        };
        let before = self.config.knobs().late_join.entries();
        Seq(first_view.previous().0.saturating_sub(before))
    }

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
    pub(crate) fn cut_here(&mut self, cut: Seq, epoch: Epoch, out: &mut Vec<Output>) {
        self.log.truncate(cut);
        // The first row names the log.
        self.log.push_row(epoch.clone());
        out.push(Output::Note(Note::Cut { epoch, seq: cut, log: self.log.name() }));
    }
}
