//! Bully election: the best living peer asks to lead; the claim decides where its log continues.
//!
//! Intuition: ask around, and wait for whoever is better; if nobody better answers in time, nobody
//! better is alive (Garcia-Molina 1982). A few of the better ones are asked first, and everybody
//! before the asker claims (see `asking`). Bully needs bounded delays to be safe, so here it only
//! chooses who *asks*: a claim is fenced by its epoch, and a leader that works is protected by a
//! question that only itself can answer (a veto never rests on memory; etcd's PreVote is a cousin).
//! What a claimant may adopt is in `claim`.

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::report::note::{Cause, Note};
use crate::roles::candidate::{Candidate, Stage};
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::time::Time;
use crate::wire::message::{Coordinator, Election, Message, SyncRequest};

impl Candidate {
    /// Asks around from now on; after a hand-over there is nobody to ask.
    pub(crate) fn enter(&mut self, turn: &mut Turn<'_>, cause: Cause) -> Flow {
        if cause == Cause::OwnWord {
            // It lives and does not lead: nothing to wait for when asking, but it keeps its place
            // if it promises.
            self.revived.extend(self.missed.clone());
        }
        self.only_silent = matches!(cause, Cause::Silence | Cause::Witnessed);
        turn.env.install = None;
        turn.env.wants_changed = true;
        if cause == Cause::Handover {
            self.tell_election(turn, cause);
            self.claim_next(turn)
        } else {
            self.ask(turn, cause)
        }
    }

    /// Asks around (again).
    pub(crate) fn ask(&mut self, turn: &mut Turn<'_>, cause: Cause) -> Flow {
        self.doubt_refusals(turn.now, turn.env.config.round());
        self.ask = turn.env.fresh_ask();
        self.asked_at = turn.now;
        self.answered.clear();
        // Who was only between two groups may have arrived since.
        let arriving = std::mem::take(&mut self.busy);
        if turn.env.blocked.is_some() {
            // It cannot go on without them, and a refusal may have been the word of a firewall.
            self.dropped.clear();
        } else {
            self.dropped.retain(|id| !arriving.contains(id));
        }
        self.not_in_view = false;
        self.vetoed_by = None;
        self.asks_again = cause == Cause::Again;
        self.stage = turn.env.asking(turn.now);
        self.choose_first_wave(turn.env);
        turn.env.install = None;
        turn.env.wants_changed = true;
        // Who is blocked asks for as long as it takes, and says so once.
        if cause != Cause::Again || turn.env.blocked.is_none() {
            self.tell_election(turn, cause);
        }
        self.put_question_to_all(turn);
        self.claim_if_clear(turn)
    }

    fn tell_election(&self, turn: &mut Turn<'_>, cause: Cause) {
        let higher = self
            .awaited()
            .filter(|contact| contact.outranks(&turn.env.me))
            .map(|contact| contact.id().clone())
            .collect();
        let missed = self.missed.clone();
        turn.out.push(Output::Note(Note::ElectionStarted { cause, higher, missed }));
    }

    /// Repeats the open question to everybody who is asked.
    pub(crate) fn put_question_to_all(&self, turn: &mut Turn<'_>) {
        for contact in self.asked.values() {
            self.put_question(turn, &contact.member);
        }
    }

    /// Repeats to one member whatever question is open to it; called whenever a link to it is new.
    pub(crate) fn put_question(&self, turn: &mut Turn<'_>, member: &Member) {
        let Turn { now, env, out } = turn;
        let asked = self.asked.get(&member.id).is_some_and(|contact| contact.member == *member)
            && self.asks(&member.id);
        let ask = self.ask;
        match &self.stage {
            Stage::Asking { .. } | Stage::Blocked { .. } if asked => {
                // In a claim on a first view the log does not matter, and saying none says that it
                // is one.
                let none = LogEnd {
                    epoch: Epoch::none(),
                    contiguous: crate::id::Seq::ZERO,
                    log_id: Epoch::none(),
                };
                let end = if self.first_view { none } else { env.log.end() };
                let election = Election { ask, candidate: env.me.clone(), end };
                env.send(*now, member, Message::Election(election), out);
            }
            Stage::Vetoed { .. }
                if self.vetoed_by.as_ref().is_some_and(|named| named.member == *member) =>
            {
                env.send(*now, member, Message::ViewSyncRequest { ask }, out);
            }
            Stage::Syncing(claim) if asked => {
                // An answer may have shown a newer view: whoever only that one names knows by it
                // that it is asked rightly.
                let newest = self.adopted_views(env).0.into_iter().next().map(|(_, view)| view);
                let view = newest.filter(|_| !self.first_view);
                let request =
                    SyncRequest { epoch: claim.epoch.clone(), claimant: env.me.clone(), view };
                env.send(*now, member, Message::SeqSyncRequest(request), out);
            }
            Stage::Waiting { on, .. } if asked => {
                if self.handed_over {
                    let (successor, epoch) = (on.clone(), env.log.epoch());
                    env.send(*now, member, Message::Handover { successor, epoch }, out);
                } else if *on == member.id && env.promised.owner == *member {
                    // The promise may have gone with the other link.
                    let epoch = env.promised.clone();
                    env.answer_sync(*now, member, epoch, out);
                }
            }
            Stage::Adopting { .. } => env.ask_missing(*now, out),
            Stage::Asking { .. }
            | Stage::Blocked { .. }
            | Stage::Vetoed { .. }
            | Stage::Waiting { .. }
            | Stage::Syncing(_) => {}
        }
    }

    /// Claims as soon as everybody that is waited for has answered, and nobody better has.
    pub(crate) fn claim_if_clear(&mut self, turn: &mut Turn<'_>) -> Flow {
        if self.is_blocked() {
            if self.lacks_to_claim(turn.now, turn.env).is_none() {
                return self.claim(turn);
            }
            return STAY;
        }
        if !matches!(self.stage, Stage::Asking { .. }) || self.ask_on(turn) {
            return STAY;
        }
        // Each answer brings this question up again, so who still has many to wait for does not
        // look at each of them.
        let clear = self.heard_enough(self.answered.len() + self.busy.len())
            && self.awaited().all(|contact| self.has_spoken(contact.id()));
        let only_silent = |id: &PeerId| self.is_silent(id) && !self.revived.contains(id);
        let suspects =
            self.suspects.iter().filter(|id| only_silent(id)).filter_map(|id| self.asked.get(id));
        let may_answer =
            suspects.into_iter().any(|suspect| turn.env.links.is_linked(&suspect.member));
        if clear && (self.answered.is_empty() || self.asks_again) && may_answer {
            // Nobody else can say whether they live, or what is said is of before. They have been
            // asked, and whoever works answers at once, or when it has asked the leader itself.
            let (witness_timeout, round) =
                (turn.env.config.witness_timeout(), turn.env.config.round());
            let soon = self.asked_at + witness_timeout + round;
            if let Stage::Asking { until, .. } = &mut self.stage {
                *until = (*until).min(soon);
            }
            STAY
        } else if clear {
            self.claim(turn)
        } else {
            STAY
        }
    }

    pub(crate) fn on_ok(&mut self, turn: &mut Turn<'_>, from: &Member, ask: u64) -> Flow {
        let until = turn.now + turn.env.config.outcome_timeout();
        self.revive(&from.id);
        if self.ask != ask
            || !self.has_asked(from)
            || !matches!(self.stage, Stage::Asking { .. } | Stage::Blocked { .. })
        {
            return STAY;
        }
        if self.suspects.contains(&from.id) {
            // It has let this candidate down before and is not waited for; but it answers, and
            // counts for a quorum.
            if turn.env.policy().needs_quorum() {
                self.answered.insert(from.id.clone());
                return self.claim_if_clear(turn);
            }
            return STAY;
        }
        self.stage = Stage::Waiting { on: from.id.clone(), until };
        turn.out.push(Output::Note(Note::ElectionOk { from: from.id.clone() }));
        STAY
    }

    pub(crate) fn on_clear(&mut self, turn: &mut Turn<'_>, from: &Member, ask: u64) -> Flow {
        self.revive(&from.id);
        if self.ask != ask || !self.has_asked(from) {
            return STAY;
        }
        if self.is_waiting_on(&from.id) && !self.first_view {
            // It has said OK, and cannot claim.
            self.suspects.insert(from.id.clone());
            return self.ask(turn, Cause::Again);
        }
        self.answered.insert(from.id.clone());
        self.claim_if_clear(turn)
    }

    /// OK if this peer outranks another candidate, else CLEAR.
    pub(crate) fn answer(&mut self, turn: &mut Turn<'_>, candidate: &Contact, ask: u64) {
        let outranks = turn.env.answer_election(turn.now, candidate, ask, turn.out);
        if outranks && self.has_asked(&candidate.member) {
            self.told_ok.insert(candidate.member.clone(), ask);
        }
    }

    /// Somebody has just had an answer from the leader: this peer asks it itself, and claims
    /// nothing in this round.
    pub(crate) fn on_veto(&mut self, turn: &mut Turn<'_>, by: &Member, leader: Contact) {
        let until = turn.now + turn.env.config.knobs().election_timeout;
        if leader.member == turn.env.me.member
            || matches!(self.stage, Stage::Waiting { .. } | Stage::Adopting { .. })
        {
            return;
        }
        turn.out
            .push(Output::Note(Note::Vetoed { by: by.id.clone(), leader: leader.id().clone() }));
        let member = leader.member.clone();
        self.stage = Stage::Vetoed { until };
        self.vetoed_by = Some(leader);
        turn.env.wants_changed = true;
        self.put_question(turn, &member);
    }

    /// "This peer leads", as the answer to what this candidate has asked.
    pub(crate) fn on_answer(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        word: Coordinator,
    ) -> Flow {
        if !self.is_asking(word.ask) || !self.has_asked(from) || self.is_standing() {
            return STAY;
        }
        if word.leader.member == *from {
            return self.end_candidacy(turn.env, word);
        }
        self.on_veto(turn, from, word.leader);
        STAY
    }

    /// The leader has answered this peer's own question: the candidacy is over.
    fn end_candidacy(&self, env: &Env, word: Coordinator) -> Flow {
        let Coordinator { leader, epoch, names_you, .. } = word;
        if names_you && epoch >= env.promised && env.log.is_in(&epoch) {
            go(Next::Follow { leader, epoch, proven_at: self.asked_at })
        } else {
            go(Next::Join { target: Some(leader) })
        }
    }

    pub(crate) fn elect_in_time(&mut self, turn: &mut Turn<'_>) -> Flow {
        if self.deadline() > turn.now {
            return STAY;
        }
        match &self.stage {
            Stage::Asking { .. } if self.first_wave.is_some() => {
                self.ask_everybody(turn);
                STAY
            }
            Stage::Asking { .. } => self.claim(turn),
            Stage::Vetoed { .. } | Stage::Blocked { .. } => {
                self.ask(turn, Cause::Again)?;
                self.call_blocked(turn);
                STAY
            }
            Stage::Waiting { .. } if self.first_view => go(Next::Join { target: None }),
            Stage::Waiting { on, .. } => {
                // This one deadline cures an OK without a COORDINATOR, and every cascade of deaths.
                self.suspects.insert(on.clone());
                self.ask(turn, Cause::Again)
            }
            Stage::Syncing(_) => self.close_claim(turn),
            Stage::Adopting { .. } => self.adoption_failed(turn),
        }
    }

    /// A peer is proven gone: nobody waits for it any longer.
    pub(crate) fn on_asked_gone(&mut self, turn: &mut Turn<'_>, member: &Member) -> Flow {
        if self.vetoed_by.as_ref().is_some_and(|named| named.member == *member) {
            self.vetoed_by = None;
            turn.env.wants_changed = true;
            self.ask_again_soon(turn);
        }
        let source_gone =
            turn.env.install.as_ref().is_some_and(|install| install.source.member == *member);
        if self.asked.get(&member.id).is_none_or(|contact| contact.member != *member)
            || !self.dropped.insert(member.id.clone())
        {
            return STAY;
        }
        turn.env.wants_changed = true;
        match &self.stage {
            Stage::Asking { .. } => self.claim_if_clear(turn),
            Stage::Syncing(_) => self.close_if_complete(turn),
            Stage::Waiting { on, .. } if *on == member.id => self.ask(turn, Cause::Again),
            Stage::Adopting { .. } if source_gone => self.adoption_failed(turn),
            Stage::Waiting { .. }
            | Stage::Vetoed { .. }
            | Stage::Blocked { .. }
            | Stage::Adopting { .. } => STAY,
        }
    }

    /// The leader that a veto has named does not lead: the group is asked again, but not in a
    /// frenzy.
    pub(crate) fn ask_again_soon(&mut self, turn: &Turn<'_>) {
        let soon = turn.now + turn.env.config.witness_timeout() / 4;
        if let Stage::Vetoed { until } = &mut self.stage {
            *until = (*until).min(soon);
        }
    }
}

impl Env {
    pub(crate) fn asking(&self, now: Time) -> Stage {
        Stage::Asking {
            until: now + self.config.knobs().election_timeout,
            first_wave_until: now + self.config.first_wave_timeout(),
        }
    }
}
