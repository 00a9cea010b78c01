//! Adopting: a claimant builds the best log that it was shown, and announces itself with it.
//!
//! The promises are closed by now. What is missing of the log comes from whoever showed it; where
//! it cannot be had, the claim is void and everybody is asked again. The first new entry of the
//! epoch is the view of those who have promised.

use std::collections::{BTreeMap, BTreeSet};

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::install::building::{Built, Found};
use crate::install::{Install, Purpose};
use crate::io::Output;
use crate::log::entry::Ordered;
use crate::log::lineage::EpochStart;
use crate::log::tail::Tail;
use crate::report::note::{Cause, Note};
use crate::roles::candidate::{Candidate, Claim, Stage};
use crate::roles::leader::Leader;
use crate::roles::leader::first_entry::FirstEntry;
use crate::roles::leader::progress::Progress;
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::time::Time;
use crate::wire::message::{Coordinator, Message, MissingAnswer, SyncAnswer, SyncFinal};

impl Candidate {
    /// Starts building the log of `holder`, which this claimant is to announce.
    pub(super) fn adopt(
        &mut self,
        turn: &mut Turn<'_>,
        claim: Claim,
        holder: &Member,
        answer: SyncAnswer,
    ) -> Flow {
        let Turn { now, env, .. } = turn;
        let Some(source) = self.asked.get(&holder.id).cloned() else {
            unreachable!("only those who were asked have answered")
        };
        let (epoch, cut) = (claim.epoch.clone(), answer.contiguous);
        let until = *now + env.config.knobs().sync_timeout;
        self.stage = Stage::Adopting { claim, cut, until };
        let base = env.base_at(env.log.fork(&answer.lineage, cut));
        env.install = Some(Install {
            purpose: Purpose::Lead,
            epoch,
            source,
            entries: Tail::new(base.end()),
            view: base.view(&env.log),
            base,
            lineage: answer.lineage,
            target: cut,
            ask: env.fresh_ask(),
            bursts: 0,
            retry_at: *now,
        });
        env.wants_changed = true;
        self.install(turn)?;
        turn.env.ask_missing(turn.now, turn.out);
        STAY
    }

    /// Some of the entries that it has asked for.
    pub(crate) fn on_repair(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        ordered: Ordered,
    ) -> Flow {
        if turn.env.on_repair(turn.now, from, ordered, turn.out) {
            self.give_time(turn);
            self.install(turn)?;
            turn.env.ask_on(turn.now, turn.out);
        }
        STAY
    }

    pub(crate) fn on_not_found(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        answer: MissingAnswer,
    ) -> Flow {
        match turn.env.on_not_found(turn.now, from, answer) {
            Found::Nothing => STAY,
            Found::Snapshot => {
                self.give_time(turn);
                self.install(turn)
            }
            Found::Gone => self.adoption_failed(turn),
        }
    }

    /// Some of the log has come.
    fn give_time(&mut self, turn: &Turn<'_>) {
        if let Stage::Adopting { until, .. } = &mut self.stage {
            *until = turn.now + turn.env.config.knobs().sync_timeout;
        }
    }

    /// Announces the log that it builds, once that is complete.
    pub(crate) fn install(&mut self, turn: &mut Turn<'_>) -> Flow {
        let borne = turn.env.config.borne();
        if self.has_overslept(borne) && turn.env.install.as_ref().is_some_and(Install::is_complete)
        {
            // The list is closed, and those on it may have gone on under somebody else.
            turn.env.install = None;
            return self.ask(turn, Cause::Again);
        }
        match turn.env.install_if_complete(turn.out) {
            Built::Unfinished => STAY,
            Built::Installed { purpose: Purpose::Lead, .. } => self.announce(turn),
            Built::Void { purpose: Purpose::Lead, source } => self.give_up_on(turn, &source),
            Built::Installed { purpose: Purpose::Join | Purpose::Follow, .. }
            | Built::Void { purpose: Purpose::Join | Purpose::Follow, .. } => {
                unreachable!("who becomes a candidate discards what it was building")
            }
        }
    }

    /// The log to be adopted cannot be had: the claim is void, its holder is not counted on, and
    /// everybody is asked again.
    pub(crate) fn adoption_failed(&mut self, turn: &mut Turn<'_>) -> Flow {
        match turn.env.install.take() {
            Some(install) => self.give_up_on(turn, &install.source),
            None => self.ask(turn, Cause::Again),
        }
    }

    /// The same, where it is told whose log it was.
    fn give_up_on(&mut self, turn: &mut Turn<'_>, source: &Contact) -> Flow {
        self.suspects.insert(source.id().clone());
        self.dropped.insert(source.id().clone());
        self.ask(turn, Cause::Again)
    }

    /// The log is adopted and cut: this peer leads from now on, and the first new entry is the
    /// list.
    pub(super) fn announce(&mut self, turn: &mut Turn<'_>) -> Flow {
        let Stage::Adopting { claim, cut, .. } = &self.stage else {
            unreachable!("what is announced has been adopted")
        };
        let (claim, cut) = (claim.clone(), *cut);
        let Turn { now, env, out } = turn;
        let Outcome { listed, unlisted, mut silent } = self.outcome(env, &claim);
        let announced = announcement(env, claim.epoch, cut, &listed);
        let progress: BTreeMap<PeerId, Progress> = listed
            .iter()
            .map(|contact| (contact.id().clone(), Progress::new(contact.clone(), cut, *now)))
            .collect();
        // Before anybody hears of the view that it is about to number.
        env.remember_view(out);
        let mut leader = Leader::new(
            *now,
            env.beats,
            announced.clone(),
            progress,
            env.config.knobs().heartbeat_timeout,
        );
        let renewed = claim.standing.is_some();
        if let Some(standing) = claim.standing {
            silent.extend(
                standing
                    .failed
                    .iter()
                    .filter(|(_, silent)| *silent)
                    .map(|(contact, _)| contact.id().clone()),
            );
            leader.resume(*standing);
        }
        env.been_member = true;
        env.merging = false;
        env.blocked = None;
        env.wants_changed = true;
        env.tell_elected(*now, announced, (&listed, &unlisted), renewed, out);
        if env.policy().has_one_log() {
            env.learn_stable(claim.stable, out);
        }
        go(Next::Lead { leader: Box::new(leader), first: FirstEntry { listed, silent } })
    }

    /// Who is in the new epoch, and who is not.
    fn outcome(&mut self, env: &Env, claim: &Claim) -> Outcome {
        let is_silent = |id: &&PeerId| self.is_silent(id) && !claim.outdone.contains(*id);
        let silent: BTreeSet<PeerId> = self.asked.keys().filter(is_silent).cloned().collect();
        let asked = std::mem::take(&mut self.asked);
        let (mut listed, mut unlisted): (Vec<Contact>, Vec<Contact>) =
            asked.into_values().partition(|contact| {
                claim.answers.get(contact.id()).is_some_and(|(member, _)| *member == contact.member)
            });
        // A view has no more members than a group takes. Those of the newest view come first; the
        // others ask to be let in, and wait for room.
        let most = usize::try_from(env.config.knobs().members_max - 1).unwrap_or(usize::MAX);
        if listed.len() > most {
            let newest = env.log.view();
            listed.sort_by_key(|contact| newest.is_none_or(|view| !view.names(&contact.member)));
            unlisted.extend(listed.drain(most..));
        }
        // Who was known by words alone has said on its link where it is.
        let said = |contact: Contact| {
            env.links
                .contact(&contact.member)
                .filter(|_| self.first_view)
                .cloned()
                .unwrap_or(contact)
        };
        Outcome { listed: listed.into_iter().map(said).collect(), unlisted, silent }
    }
}

/// What has come of a claim.
struct Outcome {
    /// Who has promised, and is in the new epoch.
    listed: Vec<Contact>,
    unlisted: Vec<Contact>,
    /// Those of whom nothing is known but their silence.
    silent: BTreeSet<PeerId>,
}

impl Env {
    /// Tells everybody who was asked that this peer leads, and those listed where to go on.
    fn tell_elected(
        &mut self,
        now: Time,
        announced: SyncFinal,
        (listed, unlisted): (&[Contact], &[Contact]),
        renewed: bool,
        out: &mut Vec<Output>,
    ) {
        let (leader, epoch) = (self.me.clone(), announced.epoch.clone());
        let size = listed.len() as u64 + 1;
        let (log, peer) = (self.log.name(), leader.id().clone());
        out.push(Output::Note(Note::LeaderElected {
            log,
            peer,
            epoch: epoch.clone(),
            size,
            renewed,
        }));
        let word = Coordinator { leader, epoch, size, ask: None, names_you: false };
        for contact in listed.iter().chain(unlisted) {
            let names_you = listed.iter().any(|other| other.member == contact.member);
            let word = Coordinator { names_you, ..word.clone() };
            self.send(now, &contact.member, Message::Coordinator(word), out);
        }
        for contact in listed {
            self.send(now, &contact.member, Message::SeqSyncFinal(announced.clone()), out);
        }
    }
}

/// What those listed are told to adopt.
fn announcement(env: &Env, epoch: Epoch, cut: Seq, listed: &[Contact]) -> SyncFinal {
    let list: Vec<Member> = listed
        .iter()
        .map(|contact| contact.member.clone())
        .chain([env.me.member.clone()])
        .collect();
    let rows = env.log.lineage();
    let lineage: Vec<EpochStart> =
        rows.iter().take(rows.len().saturating_sub(1)).cloned().collect();
    SyncFinal { epoch, leader: env.me.clone(), cut, lineage, list }
}
