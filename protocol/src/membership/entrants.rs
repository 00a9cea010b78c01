//! Peers that ask to be let in: from the first question until a view names them.

use std::time::Duration;

use crate::discovery::Via;
use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::io::Output;
use crate::log::Log;
use crate::log::lineage::EpochStart;
use crate::membership::strangers::{DIALS_EACH, ENTRANTS_BY_DATAGRAM};
use crate::node::Node;
use crate::roles::Role;
use crate::roles::leader::moving::ONE_ANNOUNCEMENT;
use crate::time::Time;
use crate::wire::message::{Added, JoinRequest, Message, Reason, Rejected};

/// A peer that asks to be admitted.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Entrant {
    pub(crate) contact: Contact,
    pub(crate) ask: u64,
    pub(crate) promised: Epoch,
    pub(crate) past: Past,
    /// Whether it has asked over a link; what a datagram says of a promise may be anybody's word.
    pub(crate) asked: bool,
    /// Whether `HELLO` has passed both ways on a link to it.
    pub(crate) ready: bool,
    /// An older life of it is in the view, and is being probed: the beat whose ACK proves that
    /// life.
    pub(crate) probing: Option<u64>,
    pub(crate) seen: Time,
}

/// What a peer that asks to be admitted has, and what it would like to have.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Past {
    pub(crate) contiguous: Seq,
    pub(crate) lineage: Vec<EpochStart>,
    pub(crate) recent: u64,
}

/// Where a newcomer's log starts: at the stable position, or below it where its log is this one, so
/// that a member that was away for a while misses nothing but what is not retained any more,
/// however many leaders each side has had since. One that has had nothing gets as many of the
/// entries before the newest view as it asks for, and as are retained.
pub(crate) fn start_for(log: &Log, past: &Past) -> Seq {
    // Never above the view that admits it: in mode `primary` that may be stable before the newcomer
    // holds it.
    let below_view = log.view_at().previous();
    let stable =
        if log.retains_above(below_view) { log.stable().min(below_view) } else { log.stable() };
    if past.contiguous == Seq::ZERO {
        let wanted = Seq(log.view_at().previous().0.saturating_sub(past.recent));
        return wanted.max(log.base()).min(stable);
    }
    let is_same = past.lineage.first().is_some_and(|row| row.epoch == log.log_id());
    let fork = log.fork(&past.lineage, past.contiguous).min(stable);
    if is_same { fork.max(log.base()).min(stable) } else { stable }
}

/// An entrant asks at least every two seconds; one that has not for that long has gone.
pub(crate) const ASKED_AGAIN: Duration = Duration::from_secs(4);

impl Entrant {
    /// Whether it can be let in now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }
}

impl Past {
    fn of(join: &JoinRequest) -> Self {
        Self { contiguous: join.contiguous, lineage: join.lineage.clone(), recent: join.recent }
    }
}

impl Node {
    pub(crate) fn on_entrant(
        &mut self,
        now: Time,
        via: Via<'_>,
        join: JoinRequest,
        out: &mut Vec<Output>,
    ) {
        let contact = join.from.clone();
        let asked = matches!(via, Via::Link(_));
        let refused = |reason| Message::Rejected(Rejected { ask: Some(join.ask), reason });
        if *contact.id() == *self.env.me.id() {
            let holder = self.env.me.address;
            self.env.reply(now, via, refused(Reason::DuplicateId { holder }), out);
            return;
        }
        if let Some(known) = self.env.log.later_incarnation(&contact.member) {
            let is_out = self.env.log.view().is_none_or(|view| view.find(contact.id()).is_none());
            if self.env.links.is_linked(&contact.member) {
                self.env.send(now, &contact.member, refused(Reason::OldIncarnation { known }), out);
                return;
            }
            self.env.reply(now, via, refused(Reason::OldIncarnation { known }), out);
            // Who is heard may hear nobody: like any other that asks it is dialled, and told over
            // the link.
            if asked || !is_out {
                return;
            }
        }
        let known = self.env.log.view().and_then(|view| view.find(contact.id())).cloned();
        if let Some(known) = &known {
            if known.member == contact.member {
                if known.birth != contact.birth {
                    let known = known.member.inc;
                    self.env.reply(now, via, refused(Reason::OldIncarnation { known }), out);
                } else if asked {
                    self.readmit(now, &join, out);
                } else {
                    // It has lost its leader, or somebody speaks in its name: it is told over the
                    // link, and asks there.
                    let word = self.env.announcement(Some(join.ask), Some(&contact.member));
                    self.env.send(now, &contact.member, Message::Coordinator(word), out);
                }
                return;
            }
        } else if self
            .env
            .log
            .view()
            .is_some_and(|view| view.size() as u64 >= self.env.config.knobs().members_max)
        {
            self.env.reject(
                Some(contact.id()),
                "NEW_PEER_REQUEST",
                "the group has members_max members",
                out,
            );
            self.env.reply(now, via, refused(Reason::Busy), out);
            return;
        }
        let ready = asked || self.env.links.is_linked(&contact.member);
        let may_dial = ready || self.env.strangers.may_dial(now, contact.address);
        let Role::Leader(leader) = &mut self.role else { return };
        let by_datagram = leader.entrants.values().filter(|entrant| !entrant.ready).count();
        let crowded = leader.entrants.len() as u64 >= self.env.config.knobs().members_max
            || !ready && by_datagram >= ENTRANTS_BY_DATAGRAM;
        if crowded && !leader.entrants.contains_key(contact.id()) {
            self.env.reply(now, via, refused(Reason::Busy), out);
            return;
        }
        if !may_dial {
            return;
        }
        let other = leader.entrants.get_mut(contact.id());
        if let Some(other) = other.filter(|other| !asked && other.ready) {
            // What it has said itself is not replaced by what may be anybody's word.
            if other.contact.member == contact.member {
                other.seen = now;
            }
            return;
        }
        let before = leader
            .entrants
            .get(contact.id())
            .filter(|entrant| entrant.contact.member == contact.member);
        let probing = before.and_then(|entrant| entrant.probing);
        // Of one announcement, said in each network of its speaker, the first copy counts.
        let first_copy = |entrant: &&Entrant| {
            !asked
                && entrant.contact.birth == contact.birth
                && now.since(entrant.seen) < ONE_ANNOUNCEMENT
        };
        let kept = before.filter(first_copy).map(|entrant| entrant.contact.clone());
        let (ask, promised, past) = (join.ask, join.promised.clone(), Past::of(&join));
        let contact = kept.unwrap_or(contact);
        let id = contact.id().clone();
        let entrant = Entrant { ask, promised, past, asked, ready, probing, seen: now, contact };
        leader.entrants.insert(id.clone(), entrant);
        self.probe_older_life(now, &id);
        let Role::Leader(leader) = &mut self.role else { return };
        if ready && leader.batch_at.is_none() {
            leader.batch_at = Some(now + self.env.config.knobs().join_batch);
        }
        self.env.wants_changed = true;
    }

    /// Somebody that is linked asks to be admitted, and an older life of it is in the view: that
    /// one is asked for a beat, once.
    pub(crate) fn probe_older_life(&mut self, now: Time, id: &PeerId) {
        let knows = self.env.log.view().is_some_and(|view| view.find(id).is_some());
        let Role::Leader(leader) = &mut self.role else { return };
        if knows
            && leader
                .entrants
                .get(id)
                .is_some_and(|entrant| entrant.ready && entrant.probing.is_none())
        {
            let probe = leader.beat_now(now);
            leader.entrants.entry(id.clone()).and_modify(|entrant| entrant.probing = Some(probe));
        }
    }

    /// A link to somebody stands: if it asks to be admitted, it can be now.
    pub(crate) fn on_entrant_linked(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        let batch_at = now + self.env.config.knobs().join_batch;
        let said = self.env.links.contact(member).cloned();
        let later = self.env.log.later_incarnation(member);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(entrant) =
            leader.entrants.get_mut(&member.id).filter(|entrant| entrant.contact.member == *member)
        else {
            return;
        };
        if let Some(known) = later {
            let refused = Message::Rejected(Rejected {
                ask: Some(entrant.ask),
                reason: Reason::OldIncarnation { known },
            });
            leader.entrants.remove(&member.id);
            self.env.wants_changed = true;
            self.env.send(now, member, refused, out);
            return;
        }
        entrant.ready = true;
        entrant.contact = said.unwrap_or(entrant.contact.clone());
        leader.batch_at = leader.batch_at.or(Some(batch_at));
        let ask = (!entrant.asked && entrant.promised > leader.epoch).then_some(entrant.ask);
        if ask.is_some() {
            let word = self.env.announcement(ask, Some(member));
            self.env.send(now, member, Message::Coordinator(word), out);
        }
        self.probe_older_life(now, &member.id);
    }

    /// The older life of somebody that asks to be admitted has proven itself: the newcomer is a
    /// duplicate.
    pub(crate) fn refuse_duplicates(
        &mut self,
        now: Time,
        of: &Member,
        holder: &Contact,
        beat: u64,
        out: &mut Vec<Output>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let proven = leader
            .entrants
            .get(&of.id)
            .is_some_and(|entrant| entrant.probing.is_some_and(|probe| beat >= probe));
        if !proven {
            return;
        }
        if let Some(entrant) = leader.entrants.remove(&of.id) {
            let reason = Reason::DuplicateId { holder: holder.address };
            let word = Message::Rejected(Rejected { ask: Some(entrant.ask), reason });
            self.env.send(now, &entrant.contact.member, word, out);
            self.env.wants_changed = true;
        }
    }

    /// A peer that is in the view asks again: it is told again.
    pub(crate) fn readmit(&mut self, now: Time, join: &JoinRequest, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        if join.promised > leader.epoch {
            let above = join.promised.clone();
            // Even in doubt: a claim is safe whoever makes it, and it ends the doubt.
            if !leader.is_retiring() {
                self.renew(now, &above, out);
            }
            return;
        }
        if leader.progress.contains_key(join.from.id())
            && self.env.links.is_linked(&join.from.member)
        {
            let start = start_for(&self.env.log, &Past::of(join));
            self.admit(now, &join.from.member, join.ask, start, out);
        }
    }

    /// Sends a snapshot, and streams what comes above it.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        member: &Member,
        ask: u64,
        start: Seq,
        out: &mut Vec<Output>,
    ) {
        let epoch = self.env.log.epoch();
        let snapshot = self.env.log.snapshot(start);
        let cursor = snapshot.seq;
        let (view_at, high) = (self.env.log.view_at(), self.env.log.contiguous());
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.progress.get_mut(&member.id) {
            progress.admit(ask, cursor, high, now);
        }
        self.env.send(now, member, Message::Added(Added { ask, epoch, snapshot, view_at }), out);
    }

    /// Entrants that have stopped asking are forgotten.
    pub(crate) fn forget_entrants(&mut self, now: Time) {
        let patience = self.env.config.knobs().join_patience.max(ASKED_AGAIN);
        let Role::Leader(leader) = &mut self.role else { return };
        let Env { links, strangers, .. } = &mut self.env;
        let before = leader.entrants.len();
        leader.entrants.retain(|_, entrant| {
            let vain = links
                .vain_dials(&entrant.contact.member)
                .filter(|dials| !entrant.ready && *dials >= DIALS_EACH);
            if let Some(dials) = vain {
                strangers.on_vain_dials(now, entrant.contact.address, dials);
            }
            vain.is_none() && now.since(entrant.seen) < patience
        });
        self.env.wants_changed |= leader.entrants.len() != before;
    }
}

impl Env {
    /// Answers on the way that a word has come.
    pub(crate) fn reply(
        &mut self,
        now: Time,
        via: Via<'_>,
        message: Message,
        out: &mut Vec<Output>,
    ) {
        match via {
            Via::Link(member) => {
                self.send(now, member, message, out);
            }
            Via::Datagram(source) => self.answer_to(now, source, message, out),
            Via::Passed => {}
        }
    }
}
