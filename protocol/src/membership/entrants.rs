//! Peers that ask to be let in: from the first question until a view names them.

use std::time::Duration;

use crate::discovery::Via;
use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::io::Output;
use crate::log::Log;
use crate::log::lineage::EpochStart;
use crate::membership::strangers::{DIALS_EACH, ENTRANTS_BY_DATAGRAM};
use crate::roles::leader::Leader;
use crate::roles::leader::moving::ONE_ANNOUNCEMENT;
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
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

impl Leader {
    /// Somebody asks to be let in, or, as the leader of another group, to bring that one along; or
    /// a member passes on what it has heard.
    pub(crate) fn on_join_request(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        join: JoinRequest,
    ) -> Flow {
        if join.from.member != *from {
            let is_self = join.from.birth == turn.env.me.birth;
            if join.leading.is_none() && !is_self && self.follows(from) {
                return self.on_entrant(turn, Via::Passed, join);
            }
            turn.drop_passed(from, &join);
        } else if let Some(theirs) = &join.leading {
            self.on_merge_request(turn, from, join.ask, theirs);
        } else {
            return self.on_entrant(turn, Via::Link(from), join);
        }
        STAY
    }

    /// Somebody asks to be let in.
    pub(crate) fn on_entrant(
        &mut self,
        turn: &mut Turn<'_>,
        via: Via<'_>,
        join: JoinRequest,
    ) -> Flow {
        if turn.env.refuses_name(turn.now, via, &join, turn.out) {
            return STAY;
        }
        let view = turn.env.log.view();
        let known = view.and_then(|view| view.find(join.from.id())).cloned();
        let most = turn.env.config.knobs().members_max;
        if let Some(known) = known {
            if known.member == join.from.member {
                return self.on_member_asks(turn, via, &known, &join);
            }
        } else if view.is_some_and(|view| view.size() as u64 >= most) {
            turn.env.reject(
                Some(join.from.id()),
                "NEW_PEER_REQUEST",
                "the group has members_max members",
                turn.out,
            );
            turn.env.reply(turn.now, via, refused(join.ask, Reason::Busy), turn.out);
            return STAY;
        }
        self.await_link(turn, via, join);
        STAY
    }

    /// A peer that is in the view asks to be let in.
    fn on_member_asks(
        &mut self,
        turn: &mut Turn<'_>,
        via: Via<'_>,
        known: &Contact,
        join: &JoinRequest,
    ) -> Flow {
        if known.birth != join.from.birth {
            let reason = Reason::OldIncarnation { known: known.member.inc };
            turn.env.reply(turn.now, via, refused(join.ask, reason), turn.out);
        } else if matches!(via, Via::Link(_)) {
            return self.readmit(turn, join);
        } else {
            // It has lost its leader, or somebody speaks in its name: it is told over the link, and
            // asks there.
            let word = turn.env.announcement(Some(join.ask), Some(&join.from.member));
            turn.env.send(turn.now, &join.from.member, Message::Coordinator(word), turn.out);
        }
        STAY
    }

    /// Somebody that is not in the view asks to be let in: it is, once a link to it stands.
    fn await_link(&mut self, turn: &mut Turn<'_>, via: Via<'_>, join: JoinRequest) {
        let contact = join.from.clone();
        let asked = matches!(via, Via::Link(_));
        let ready = asked || turn.env.links.is_linked(&contact.member);
        let may_dial = ready || turn.env.strangers.may_dial(turn.now, contact.address);
        let by_datagram = self.entrants.values().filter(|entrant| !entrant.ready).count();
        let crowded = self.entrants.len() as u64 >= turn.env.config.knobs().members_max
            || !ready && by_datagram >= ENTRANTS_BY_DATAGRAM;
        if crowded && !self.entrants.contains_key(contact.id()) {
            turn.env.reply(turn.now, via, refused(join.ask, Reason::Busy), turn.out);
            return;
        }
        if !may_dial {
            return;
        }
        let other = self.entrants.get_mut(contact.id());
        if let Some(other) = other.filter(|other| !asked && other.ready) {
            // What it has said itself is not replaced by what may be anybody's word.
            if other.contact.member == contact.member {
                other.seen = turn.now;
            }
            return;
        }
        let before = self
            .entrants
            .get(contact.id())
            .filter(|entrant| entrant.contact.member == contact.member);
        let probing = before.and_then(|entrant| entrant.probing);
        // Of one announcement, said in each network of its speaker, the first copy counts.
        let first_copy = |entrant: &&Entrant| {
            !asked
                && entrant.contact.birth == contact.birth
                && turn.now.since(entrant.seen) < ONE_ANNOUNCEMENT
        };
        let kept = before.filter(first_copy).map(|entrant| entrant.contact.clone());
        let (ask, promised, past) = (join.ask, join.promised.clone(), Past::of(&join));
        let contact = kept.unwrap_or(contact);
        let id = contact.id().clone();
        let entrant =
            Entrant { ask, promised, past, asked, ready, probing, seen: turn.now, contact };
        self.entrants.insert(id.clone(), entrant);
        self.probe_older_life(turn, &id);
        if ready && self.batch_at.is_none() {
            self.batch_at = Some(turn.now + turn.env.config.knobs().join_batch);
        }
        turn.env.wants_changed = true;
    }

    /// Somebody that is linked asks to be admitted, and an older life of it is in the view: that
    /// one is asked for a beat, once.
    pub(crate) fn probe_older_life(&mut self, turn: &Turn<'_>, id: &PeerId) {
        let knows = turn.env.log.view().is_some_and(|view| view.find(id).is_some());
        if knows
            && self
                .entrants
                .get(id)
                .is_some_and(|entrant| entrant.ready && entrant.probing.is_none())
        {
            let probe = self.beat_now(turn.now);
            self.entrants.entry(id.clone()).and_modify(|entrant| entrant.probing = Some(probe));
        }
    }

    /// A link to somebody stands: if it asks to be admitted, it can be now.
    pub(crate) fn on_entrant_linked(&mut self, turn: &mut Turn<'_>, member: &Member) {
        let batch_at = turn.now + turn.env.config.knobs().join_batch;
        let said = turn.env.links.contact(member).cloned();
        let later = turn.env.log.later_incarnation(member);
        let Some(entrant) =
            self.entrants.get_mut(&member.id).filter(|entrant| entrant.contact.member == *member)
        else {
            return;
        };
        if let Some(known) = later {
            let refused = refused(entrant.ask, Reason::OldIncarnation { known });
            self.entrants.remove(&member.id);
            turn.env.wants_changed = true;
            turn.env.send(turn.now, member, refused, turn.out);
            return;
        }
        entrant.ready = true;
        entrant.contact = said.unwrap_or(entrant.contact.clone());
        self.batch_at = self.batch_at.or(Some(batch_at));
        let ask = (!entrant.asked && entrant.promised > self.epoch).then_some(entrant.ask);
        if ask.is_some() {
            let word = turn.env.announcement(ask, Some(member));
            turn.env.send(turn.now, member, Message::Coordinator(word), turn.out);
        }
        self.probe_older_life(turn, &member.id);
    }

    /// The older life of somebody that asks to be admitted has proven itself: the newcomer is a
    /// duplicate.
    pub(crate) fn refuse_duplicates(
        &mut self,
        turn: &mut Turn<'_>,
        of: &Member,
        holder: &Contact,
        beat: u64,
    ) {
        let proven = self
            .entrants
            .get(&of.id)
            .is_some_and(|entrant| entrant.probing.is_some_and(|probe| beat >= probe));
        if !proven {
            return;
        }
        if let Some(entrant) = self.entrants.remove(&of.id) {
            let word = refused(entrant.ask, Reason::DuplicateId { holder: holder.address });
            turn.env.send(turn.now, &entrant.contact.member, word, turn.out);
            turn.env.wants_changed = true;
        }
    }

    /// A peer that is in the view asks again: it is told again.
    pub(crate) fn readmit(&mut self, turn: &mut Turn<'_>, join: &JoinRequest) -> Flow {
        if join.promised > self.epoch {
            // Even in doubt: a claim is safe whoever makes it, and it ends the doubt.
            if self.is_retiring() {
                return STAY;
            }
            return go(Next::Renew { above: join.promised.clone() });
        }
        if self.progress.contains_key(join.from.id()) && turn.env.links.is_linked(&join.from.member)
        {
            let start = start_for(&turn.env.log, &Past::of(join));
            self.admit(turn, &join.from.member, join.ask, start);
        }
        STAY
    }

    /// Sends a snapshot, and streams what comes above it.
    pub(crate) fn admit(&mut self, turn: &mut Turn<'_>, member: &Member, ask: u64, start: Seq) {
        let epoch = turn.env.log.epoch();
        let snapshot = turn.env.log.snapshot(start);
        let cursor = snapshot.seq;
        let (view_at, high) = (turn.env.log.view_at(), turn.env.log.contiguous());
        if let Some(progress) = self.progress.get_mut(&member.id) {
            progress.admit(ask, cursor, high, turn.now);
        }
        let word = Message::Added(Added { ask, epoch, snapshot, view_at });
        turn.env.send(turn.now, member, word, turn.out);
    }

    /// Entrants that have stopped asking are forgotten.
    pub(crate) fn forget_entrants(&mut self, turn: &mut Turn<'_>) {
        let patience = turn.env.config.knobs().join_patience.max(ASKED_AGAIN);
        let now = turn.now;
        let Env { links, strangers, .. } = &mut *turn.env;
        let before = self.entrants.len();
        self.entrants.retain(|_, entrant| {
            let vain = links
                .vain_dials(&entrant.contact.member)
                .filter(|dials| !entrant.ready && *dials >= DIALS_EACH);
            if let Some(dials) = vain {
                strangers.on_vain_dials(now, entrant.contact.address, dials);
            }
            vain.is_none() && now.since(entrant.seen) < patience
        });
        turn.env.wants_changed |= self.entrants.len() != before;
    }
}

fn refused(ask: u64, reason: Reason) -> Message {
    Message::Rejected(Rejected { ask: Some(ask), reason })
}

impl Env {
    /// Whether somebody asks under this peer's own name, or in a life that is over; it is told so.
    fn refuses_name(
        &mut self,
        now: Time,
        via: Via<'_>,
        join: &JoinRequest,
        out: &mut Vec<Output>,
    ) -> bool {
        let contact = &join.from;
        if *contact.id() == *self.me.id() {
            let holder = self.me.address;
            self.reply(now, via, refused(join.ask, Reason::DuplicateId { holder }), out);
            return true;
        }
        let Some(known) = self.log.later_incarnation(&contact.member) else { return false };
        let is_out = self.log.view().is_none_or(|view| view.find(contact.id()).is_none());
        let refused = refused(join.ask, Reason::OldIncarnation { known });
        if self.links.is_linked(&contact.member) {
            self.send(now, &contact.member, refused, out);
            return true;
        }
        self.reply(now, via, refused, out);
        // Who is heard may hear nobody: like any other that asks it is dialled, and told over the
        // link.
        matches!(via, Via::Link(_)) || !is_out
    }

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
