//! Membership under a living leader: who asks to be admitted, who leaves, who is evicted, and the
//! views that say so.
//!
//! A view change is an entry of the log like any other, so a join, a leave or a death needs no
//! flush and no stop. Joins and leaves within `join_batch` share one view; a failure is told at
//! once. A peer that is out leaves no tombstone: it may come back as soon as it asks.

pub(crate) mod leave;
pub(crate) mod merging;
pub(crate) mod quorum;
pub(crate) mod strangers;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::discovery::Via;
use crate::id::{Contact, Epoch, Incarnation, Member, PeerId, Seq};
use crate::io::Output;
use crate::log::Log;
use crate::log::entry::Entry;
use crate::log::lineage::EpochStart;
use crate::log::remarks::Remarks;
use crate::log::view::View;
use crate::membership::strangers::{DIALS_EACH, ENTRANTS_BY_DATAGRAM};
use crate::node::Node;
use crate::report::note::{Evidence, Note};
use crate::roles::Role;
use crate::roles::candidate::blocked::survives;
use crate::roles::leader::moving::ONE_ANNOUNCEMENT;
use crate::roles::leader::progress::Progress;
use crate::roles::leader::stream::Parting;
use crate::roles::leader::{Leader, MergeRequest, Retiring, Successor};
use crate::time::Time;
use crate::wire::message::{
    Added, Coordinator, JoinRequest, LINEAGE_SENT, Leading, Message, Reason, Rejected,
};

/// A peer that asks to be admitted.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Entrant {
    pub(crate) contact: Contact,
    pub(crate) ask: u64,
    pub(crate) promised: Epoch,
    past: Past,
    /// Whether it has asked over a link; what a datagram says of a promise may be anybody's word.
    asked: bool,
    /// Whether `HELLO` has passed both ways on a link to it.
    ready: bool,
    /// An older life of it is in the view, and is being probed: the beat whose ACK proves that
    /// life.
    probing: Option<u64>,
    seen: Time,
}

impl Entrant {
    /// Whether it can be let in now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }
}

impl Node {
    /// Somebody asks to be let in: over a link, or by datagram.
    pub(crate) fn on_join_request(
        &mut self,
        now: Time,
        via: Via<'_>,
        join: JoinRequest,
        out: &mut Vec<Output>,
    ) {
        match (&self.role, via) {
            (Role::Leader(_), Via::Link(from)) if join.leading.is_some() => {
                self.on_merge_request(now, from, &join, out)
            }
            (Role::Leader(_), _) => self.on_entrant(now, via, join, out),
            (Role::Follower(_), _) => {
                // Whom to ask; the asker finds out for itself whether it is true.
                if matches!(via, Via::Datagram(_)) && !self.is_one_of_few() {
                    // Everybody has heard it, the leader too, most likely; a few hints are enough,
                    // and it asks again.
                    return;
                }
                let word = self.leader_announcement(Some(join.ask));
                word.into_iter()
                    .for_each(|word| self.reply(now, via, Message::Coordinator(word), out));
            }
            (Role::Joining(_), Via::Datagram(_)) => {
                self.on_fellow_joiner(now, join.from, join.has_history)
            }
            (Role::Joining(_) | Role::Candidate(_), Via::Link(from)) => {
                self.refuse(now, from, Some(join.ask), Reason::Busy, out)
            }
            (Role::Joining(_) | Role::Candidate(_), Via::Datagram(_) | Via::Passed) => {}
        }
    }

    /// Answers on the way that a word has come.
    fn reply(&mut self, now: Time, via: Via<'_>, message: Message, out: &mut Vec<Output>) {
        match via {
            Via::Link(member) => {
                self.send(now, member, message, out);
            }
            Via::Datagram(source) => self.answer_to(now, source, message, out),
            Via::Passed => {}
        }
    }

    fn on_entrant(&mut self, now: Time, via: Via<'_>, join: JoinRequest, out: &mut Vec<Output>) {
        let contact = join.from.clone();
        let asked = matches!(via, Via::Link(_));
        let refused = |reason| Message::Rejected(Rejected { ask: Some(join.ask), reason });
        if *contact.id() == *self.me.id() {
            let holder = self.me.address;
            self.reply(now, via, refused(Reason::DuplicateId { holder }), out);
            return;
        }
        if let Some(known) = self.log.later_incarnation(&contact.member) {
            let is_out = self.log.view().is_none_or(|view| view.find(contact.id()).is_none());
            if self.links.is_linked(&contact.member) {
                self.send(now, &contact.member, refused(Reason::OldIncarnation { known }), out);
                return;
            }
            self.reply(now, via, refused(Reason::OldIncarnation { known }), out);
            // Who is heard may hear nobody: like any other that asks it is dialled, and told over
            // the link.
            if asked || !is_out {
                return;
            }
        }
        let known = self.log.view().and_then(|view| view.find(contact.id())).cloned();
        if let Some(known) = &known {
            if known.member == contact.member {
                if known.birth != contact.birth {
                    let known = known.member.inc;
                    self.reply(now, via, refused(Reason::OldIncarnation { known }), out);
                } else if asked {
                    self.readmit(now, &join, out);
                } else {
                    // It has lost its leader, or somebody speaks in its name: it is told over the
                    // link, and asks there.
                    let word = self.announcement(Some(join.ask), Some(&contact.member));
                    self.send(now, &contact.member, Message::Coordinator(word), out);
                }
                return;
            }
        } else if self
            .log
            .view()
            .is_some_and(|view| view.size() as u64 >= self.config.knobs().members_max)
        {
            self.reject(
                Some(contact.id()),
                "NEW_PEER_REQUEST",
                "the group has members_max members",
                out,
            );
            self.reply(now, via, refused(Reason::Busy), out);
            return;
        }
        let ready = asked || self.links.is_linked(&contact.member);
        let may_dial = ready || self.strangers.may_dial(now, contact.address);
        let Role::Leader(leader) = &mut self.role else { return };
        let by_datagram = leader.entrants.values().filter(|entrant| !entrant.ready).count();
        let crowded = leader.entrants.len() as u64 >= self.config.knobs().members_max
            || !ready && by_datagram >= ENTRANTS_BY_DATAGRAM;
        if crowded && !leader.entrants.contains_key(contact.id()) {
            self.reply(now, via, refused(Reason::Busy), out);
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
            leader.batch_at = Some(now + self.config.knobs().join_batch);
        }
        self.wants_changed = true;
    }

    /// Somebody that is linked asks to be admitted, and an older life of it is in the view: that
    /// one is asked for a beat, once.
    fn probe_older_life(&mut self, now: Time, id: &PeerId) {
        let knows = self.log.view().is_some_and(|view| view.find(id).is_some());
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
        let batch_at = now + self.config.knobs().join_batch;
        let said = self.links.contact(member).cloned();
        let later = self.log.later_incarnation(member);
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
            self.wants_changed = true;
            self.send(now, member, refused, out);
            return;
        }
        entrant.ready = true;
        entrant.contact = said.unwrap_or(entrant.contact.clone());
        leader.batch_at = leader.batch_at.or(Some(batch_at));
        let ask = (!entrant.asked && entrant.promised > leader.epoch).then_some(entrant.ask);
        if ask.is_some() {
            let word = self.announcement(ask, Some(member));
            self.send(now, member, Message::Coordinator(word), out);
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
            self.send(now, &entrant.contact.member, word, out);
            self.wants_changed = true;
        }
    }

    /// Entrants that have stopped asking are forgotten.
    pub(crate) fn forget_entrants(&mut self, now: Time) {
        let patience = self.config.knobs().join_patience.max(ASKED_AGAIN);
        let Self { role: Role::Leader(leader), links, strangers, .. } = self else { return };
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
        self.wants_changed |= leader.entrants.len() != before;
    }

    pub(crate) fn on_member_leaves(&mut self, now: Time, from: &Member) {
        let batch_at = now + self.config.knobs().join_batch;
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.progress.get(&from.id).is_some_and(|progress| progress.contact.member == *from) {
            leader.leavers.insert(from.id.clone());
            leader.batch_at = leader.batch_at.or(Some(batch_at));
        }
    }

    /// Removes a member that has failed; the next view says so.
    pub(crate) fn evict(&mut self, contact: &Contact, evidence: &Evidence, out: &mut Vec<Output>) {
        let silent = matches!(evidence, Evidence::Silence { .. } | Evidence::NoAnswer { .. });
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.failed.iter().any(|(failed, _)| failed.member == contact.member) {
            return;
        }
        leader.failed.push((contact.clone(), silent));
        let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
        self.suspicions.note(&peer, evidence.to_string());
        out.push(Output::Note(Note::Suspect { peer, peer_inc, evidence: evidence.clone() }));
    }

    /// Numbers the next view, if one is due and may be numbered.
    pub(crate) fn change_view(&mut self, now: Time, out: &mut Vec<Output>) {
        let primary = self.config.is_primary();
        if primary
            && matches!(&self.role, Role::Leader(leader) if !leader.failed.is_empty())
            && self.doubt_quorum(now, out)
        {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        // Whoever has failed cannot clear the doubt, so it stops counting for it.
        leader.clear_doubt();
        let batch_due = leader.batch_at.is_some_and(|at| at <= now);
        if leader.failed.is_empty() && !batch_due || !leader.is_numbering() || leader.unsettled {
            return;
        }
        let Some(view) = self.log.view().cloned() else { return };
        let failed = std::mem::take(&mut leader.failed);
        let mut left = Vec::new();
        let mut entrants = Vec::new();
        if batch_due {
            leader.batch_at = None;
            // Who builds this epoch's log is sent no entry, so it would not learn that it may go.
            left = leader
                .leavers
                .extract_if(.., |id| {
                    leader.progress.get(id).is_none_or(|progress| progress.adopted)
                })
                .collect();
            if primary {
                let later = hold_back(&view, &failed, &mut left);
                leader.batch_at = later.first().map(|_| now);
                leader.leavers.extend(later);
            }
            let is_gone = |id: &PeerId| {
                view.find(id).is_none()
                    || failed.iter().any(|(contact, _)| contact.id() == id)
                    || left.contains(id)
            };
            // Its link may have gone since it asked; with the next one it is ready again.
            let is_linked =
                |entrant: &&Entrant| entrant.ready && self.links.is_linked(&entrant.contact.member);
            let is_ripe = |entrant: &&Entrant| {
                is_linked(entrant) && (entrant.asked || entrant.promised <= leader.epoch)
            };
            entrants = leader
                .entrants
                .values()
                .filter(|entrant| is_ripe(entrant) && is_gone(entrant.contact.id()))
                .cloned()
                .collect();
            if let Some(above) = entrants
                .iter()
                .map(|entrant| &entrant.promised)
                .max()
                .filter(|above| **above > leader.epoch)
                .cloned()
            {
                // They have promised to accept nothing below that; so this leader moves above it
                // first.
                leader.leavers.extend(left);
                leader.failed = failed;
                leader.batch_at = Some(now);
                self.renew(now, &above, out);
                return;
            }
            let is_left = |contact: &&Contact| !is_gone(contact.id());
            let kept: Vec<&Contact> = view.members.iter().filter(is_left).collect();
            // Several have asked while there was room for one; the others ask again, and are told
            // that there is none.
            let room = self.config.knobs().members_max.saturating_sub(kept.len() as u64);
            entrants.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            if primary {
                entrants.truncate(leader.bearable(&self.me.member, &kept));
            }
        }
        let gone = |contact: &&Contact| {
            !failed.iter().any(|(other, _)| other.member == contact.member)
                && !left.contains(contact.id())
        };
        let mut members: Vec<Contact> = view.members.iter().filter(gone).cloned().collect();
        if batch_due {
            self.renew_contacts(&mut members);
        }
        members.extend(entrants.iter().map(|entrant| entrant.contact.clone()));
        let next = View::new(view.view_id.next(), self.log.epoch(), self.me.id().clone(), members);
        for (contact, silent) in &failed {
            let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
            out.push(Output::Note(Note::Failed {
                peer,
                peer_inc,
                silent: *silent,
                ordered: next.ids(),
            }));
        }
        for contact in left.iter().filter_map(|id| view.find(id)) {
            let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
            out.push(Output::Note(Note::Left { peer, peer_inc, ordered: next.ids() }));
        }
        if next.members == view.members {
            return;
        }
        let why = |id: &PeerId, suspected| {
            if left.contains(id) { Some("it asked to leave".to_owned()) } else { suspected }
        };
        let next = self.with_remarks(next, &view, why);
        self.append(Entry::View(next), out);
        self.unsettle();
        let silent = failed
            .into_iter()
            .filter(|(_, silent)| *silent)
            .map(|(contact, _)| contact.member)
            .collect();
        self.follow_members(now, entrants, &silent, out);
    }

    /// A view that this peer numbers now, with its time and with why those went who were in the one
    /// before.
    pub(crate) fn with_remarks(
        &mut self,
        view: View,
        before: &View,
        why: impl Fn(&PeerId, Option<String>) -> Option<String>,
    ) -> View {
        let gone = before.members.iter().map(Contact::id).filter(|id| view.find(id).is_none());
        let why = gone.filter_map(|id| {
            let suspected = self.suspicions.take(id);
            Some((id.clone(), why(id, suspected)?))
        });
        let remarks = Remarks { why: why.collect(), ordered: self.utc };
        View { remarks, ..view }
    }

    /// The followers become those of the newest view; whoever is new is told so, whoever is out is
    /// sent the entry that says it. Who is out for its silence may be heard and not hear: it comes
    /// back over a new connection, which proves both ways.
    fn follow_members(
        &mut self,
        now: Time,
        entrants: Vec<Entrant>,
        silent: &BTreeSet<Member>,
        out: &mut Vec<Output>,
    ) {
        let (view_at, awaits) = (self.log.view_at(), self.log.unsafe_to());
        let Some(view) = self.log.view().cloned() else { return };
        self.follow_moves(&view);
        let forget_at = now + self.config.knobs().heartbeat_timeout;
        let Role::Leader(leader) = &mut self.role else { return };
        let out_of_it: Vec<PeerId> = leader
            .progress
            .values()
            .filter(|f| !view.names(&f.contact.member))
            .map(|f| f.contact.id().clone())
            .collect();
        for id in out_of_it {
            let Some(progress) = leader.progress.remove(&id) else { continue };
            let member = progress.contact.member.clone();
            let is_silent = silent.contains(&member);
            if !progress.adopted || is_silent && !progress.has_answered() {
                if is_silent {
                    self.links.hang_up_on(&member, out);
                }
            } else {
                let old_links = if is_silent { self.links.all_to(&member) } else { Vec::new() };
                leader.parting.push(Parting {
                    member,
                    cursor: progress.cursor,
                    until: view_at,
                    awaits,
                    forget_at,
                    old_links,
                });
            }
            if progress.adopted {
                leader.depart(&progress);
            }
        }
        leader.clear_doubt();
        for entrant in entrants {
            let Role::Leader(leader) = &mut self.role else { return };
            leader.entrants.remove(entrant.contact.id());
            let progress = Progress::newcomer(entrant.contact.clone(), entrant.ask, view_at, now);
            leader.progress.insert(entrant.contact.id().clone(), progress);
            let start = start_for(&self.log, &entrant.past);
            self.admit(now, &entrant.contact.member, entrant.ask, start, out);
        }
        self.wants_changed = true;
    }

    /// A peer that is in the view asks again: it is told again.
    fn readmit(&mut self, now: Time, join: &JoinRequest, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        if join.promised > leader.epoch {
            let above = join.promised.clone();
            // Even in doubt: a claim is safe whoever makes it, and it ends the doubt.
            if !leader.is_retiring() {
                self.renew(now, &above, out);
            }
            return;
        }
        if leader.progress.contains_key(join.from.id()) && self.links.is_linked(&join.from.member) {
            let start = start_for(&self.log, &Past::of(join));
            self.admit(now, &join.from.member, join.ask, start, out);
        }
    }

    /// Sends a snapshot, and streams what comes above it.
    fn admit(&mut self, now: Time, member: &Member, ask: u64, start: Seq, out: &mut Vec<Output>) {
        let epoch = self.log.epoch();
        let snapshot = self.log.snapshot(start);
        let cursor = snapshot.seq;
        let (view_at, high) = (self.log.view_at(), self.log.contiguous());
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(progress) = leader.progress.get_mut(&member.id) {
            progress.admit(ask, cursor, high, now);
        }
        self.send(now, member, Message::Added(Added { ask, epoch, snapshot, view_at }), out);
    }

    /// Another leader beacons: of two groups, the outranked one asks to become part of the other.
    pub(crate) fn court(&mut self, now: Time, word: &Coordinator, out: &mut Vec<Output>) {
        let size = self.log.view().map_or(1, |view| view.size() as u64);
        let until = now + self.config.knobs().election_timeout;
        let Role::Leader(leader) = &self.role else { return };
        let outranked = (word.size, &word.epoch) > (size, &leader.epoch);
        // In mode `primary` there is one group, and whoever is not in it is not a leader for long.
        if self.config.is_primary()
            || !outranked
            || leader.merge_request.is_some()
            || !leader.is_numbering()
            || self.leaving.is_some()
        {
            return;
        }
        if !self.merge_backoffs.may_ask(now, word.leader.id()) {
            return;
        }
        let ask = self.fresh_ask();
        if let Role::Leader(leader) = &mut self.role {
            leader.merge_request = Some(MergeRequest { leader: word.leader.clone(), ask, until });
        }
        self.wants_changed = true;
        self.ask_to_merge(now, &word.leader.member, out);
    }

    /// Asks the courted leader, if a link to it stands.
    pub(crate) fn ask_to_merge(&mut self, now: Time, to: &Member, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        let Some(merge_request) = leader
            .merge_request
            .as_ref()
            .filter(|merge_request| merge_request.leader.member == *to)
        else {
            return;
        };
        let leading = Leading {
            epoch: leader.epoch.clone(),
            size: self.log.view().map_or(1, |view| view.size() as u64),
        };
        let ask = merge_request.ask;
        let request = self.join_request(ask, Some(leading));
        self.send(now, to, Message::NewPeerRequest(request), out);
    }

    pub(crate) fn join_request(&self, ask: u64, leading: Option<Leading>) -> JoinRequest {
        let lineage = self.log.shortened(LINEAGE_SENT);
        // What it holds and has not handed over (`safe`) comes again: no more than this is its
        // past.
        let contiguous = self.log.contiguous().min(self.sinks.delivered());
        let recent = self.config.knobs().late_join.entries();
        JoinRequest {
            ask,
            from: self.me.clone(),
            promised: self.promised.clone(),
            contiguous,
            lineage,
            leading,
            has_history: self.has_history,
            recent,
        }
    }

    fn on_merge_request(
        &mut self,
        now: Time,
        from: &Member,
        join: &JoinRequest,
        out: &mut Vec<Output>,
    ) {
        let Some(theirs) = &join.leading else { return };
        let size = self.log.view().map_or(1, |view| view.size() as u64);
        let Role::Leader(leader) = &self.role else { return };
        let outranks = (size, &leader.epoch) > (theirs.size, &theirs.epoch);
        // One that it would like to ask, and cannot reach, is nobody to wait for.
        let asks = leader
            .merge_request
            .as_ref()
            .is_some_and(|merge_request| self.links.is_linked(&merge_request.leader.member));
        if outranks
            && !self.config.is_primary()
            && !asks
            && leader.is_numbering()
            && self.leaving.is_none()
        {
            self.stop_merge_request(now, |_| true);
            let word = self.announcement(Some(join.ask), Some(from));
            self.send(now, from, Message::Coordinator(word), out);
        } else {
            self.refuse(now, from, Some(join.ask), Reason::Busy, out);
        }
    }

    /// The other leader has said yes, which proves both directions: the group's last view names
    /// whom to join.
    pub(crate) fn dissolve(&mut self, now: Time, out: &mut Vec<Output>) {
        let until = now + self.config.knobs().sync_timeout;
        let Some(view) = self.log.view().cloned() else { return };
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.is_numbering() {
            return;
        }
        let Some(merge_request) = leader.merge_request.take() else { return };
        // Where it is, it has said on the link.
        let into = self
            .links
            .contact(&merge_request.leader.member)
            .cloned()
            .unwrap_or(merge_request.leader);
        let id = into.id().clone();
        leader.retiring = Some(Retiring { until, into: Successor::Group(into.clone()) });
        let mut last = View { view_id: view.view_id.next(), ..view };
        last.successor = Some(into);
        self.append(Entry::View(last), out);
        self.put_off_dissolving(now, &id);
    }

    /// The probed incarnation of that name is gone, or has been replaced.
    pub(crate) fn on_member_gone(
        &mut self,
        now: Time,
        member: &Member,
        replaced_by: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.entrants.get(&member.id).is_some_and(|entrant| entrant.contact.member == *member)
            && let Some(entrant) = leader.entrants.remove(&member.id)
        {
            let dials = self.links.vain_dials(member).unwrap_or(1);
            self.strangers.on_vain_dials(now, entrant.contact.address, dials);
            self.wants_changed = true;
        }
        self.stop_merge_request(now, |merge_request| merge_request.leader.member == *member);
        self.forget_invited(member);
        let Role::Leader(leader) = &self.role else { return };
        let Some(contact) =
            leader.progress.get(&member.id).map(|progress| progress.contact.clone())
        else {
            return;
        };
        if contact.member == *member {
            let evidence = replaced_by
                .map_or(Evidence::Refused, |incarnation| Evidence::Replaced { incarnation });
            self.evict(&contact, &evidence, out);
        }
    }
}

impl Leader {
    /// Mode `primary`: how many may come into a view in which these stay. Those who have
    /// acknowledged something to this leader have to be a quorum of it, the leader among them:
    /// newcomers that never say a word would block the group for good.
    fn bearable(&self, me: &Member, kept: &[&Contact]) -> usize {
        let acknowledges = |contact: &&&Contact| {
            let progress = self
                .progress
                .get(contact.id())
                .filter(|progress| progress.contact.member == contact.member);
            contact.member == *me || progress.is_some_and(Progress::has_answered)
        };
        (2 * kept.iter().filter(acknowledges).count()).saturating_sub(kept.len())
    }
}

/// What a peer that asks to be admitted has, and what it would like to have.
#[derive(Clone, Debug, Hash)]
struct Past {
    contiguous: Seq,
    lineage: Vec<EpochStart>,
    recent: u64,
}

impl Past {
    fn of(join: &JoinRequest) -> Self {
        Self { contiguous: join.contiguous, lineage: join.lineage.clone(), recent: join.recent }
    }
}

/// Where a newcomer's log starts: at the stable position, or below it where its log is this one, so
/// that a member that was away for a while misses nothing but what is not retained any more,
/// however many leaders each side has had since. One that has had nothing gets as many of the
/// entries before the newest view as it asks for, and as are retained.
fn start_for(log: &Log, past: &Past) -> Seq {
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

/// Mode `primary`: those who leave go at most as many at a time as leave a quorum of the view;
/// returns the others.
fn hold_back(view: &View, failed: &[(Contact, bool)], left: &mut Vec<PeerId>) -> BTreeSet<PeerId> {
    let mut later = BTreeSet::new();
    let gone = |left: &[PeerId], contact: &Contact| {
        left.contains(contact.id())
            || failed.iter().any(|(other, _)| other.member == contact.member)
    };
    while !left.is_empty() && !survives(view, |contact| gone(left, contact)) {
        later.extend(left.pop());
    }
    later
}

/// An entrant asks at least every two seconds; one that has not for that long has gone.
const ASKED_AGAIN: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::{ASKED_AGAIN, hold_back};
    use crate::config::Knobs;
    use crate::harness::{Harness, epoch_of, nothing, peer, reborn, request};
    use crate::id::{Contact, Epoch, Incarnation, Member, Seq, ViewId};
    use crate::io::{Input, Output};
    use crate::log::entry::{Entry, Ordered};
    use crate::log::view::View;
    use crate::report::note::Evidence;
    use crate::wire::message::{Coordinator, HeartbeatAck, JoinRequest, Message, Reason, Rejected};
    use std::time::Duration;

    const MICRO: Duration = Duration::from_micros(1);

    /// The refusals that have gone out by datagram since somebody last looked.
    fn refusals(harness: &mut Harness) -> Vec<Reason> {
        let refusal = |output| match output {
            Output::Whisper { datagram, .. } => match datagram.message {
                Message::Rejected(Rejected { reason, .. }) => Some(reason),
                _ => None,
            },
            _ => None,
        };
        std::mem::take(&mut harness.out).into_iter().filter_map(refusal).collect()
    }

    fn admissions(harness: &mut Harness, to: &Contact) -> usize {
        harness.told(to).iter().filter(|message| matches!(message, Message::Added(_))).count()
    }

    #[test]
    fn who_stops_asking_is_forgotten_and_dialled_no_more() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.hear(&peer(2), request(&peer(2)));
        let until = harness.now + ASKED_AGAIN;
        let mut dials = 0;
        // Known by datagram alone: it is dialled three times.
        while harness.now + MICRO < until {
            dials += harness.refuse_dials(false);
            harness.out.clear();
            let rest = until.since(harness.now + MICRO);
            harness.rest(rest.min(Duration::from_millis(5)));
        }
        harness.give(Input::Wake);
        assert!(dials == 3 && harness.leads().entrants.is_empty());
        harness.hear(&peer(2), request(&peer(2)));
        assert_eq!(harness.refuse_dials(false), 0, "it is forgotten for a minute");
        harness.rest(Duration::from_secs(60));
        harness.hear(&peer(2), request(&peer(2)));
        assert_eq!(harness.refuse_dials(false), 1);
        harness.rest(ASKED_AGAIN + Duration::from_millis(200));
        harness.refuse_dials(false);
        assert!(harness.leads().entrants.is_empty(), "it has stopped asking");
        assert_eq!(harness.node.links.deadline(), None, "nobody wants a link to it");
    }

    #[test]
    fn an_older_life_that_is_heard_is_dialled_and_told_over_the_link_unless_the_later_one_is_a_member()
     {
        for is_out in [false, true] {
            let mut harness = Harness::leader(Knobs::fast());
            harness.admit(&reborn(2));
            harness.acknowledge(&reborn(2), Seq(2));
            if is_out {
                harness.fail(&reborn(2));
                harness.rest(Knobs::fast().heartbeat_timeout);
            }
            harness.out.clear();
            harness.hear(&peer(2), request(&peer(2)));
            let knows = harness.leads().entrants.contains_key(peer(2).id());
            assert_eq!((harness.dialled().len() == 1, knows), (is_out, is_out));
            harness.greet(&peer(2), nothing());
            let Message::NewPeerRequest(join) = request(&peer(2)) else { unreachable!("a wish") };
            let no = Rejected {
                ask: Some(join.ask),
                reason: Reason::OldIncarnation { known: reborn(2).member.inc },
            };
            assert_eq!(harness.told(&peer(2)).contains(&Message::Rejected(no)), is_out);
            assert!(
                !harness.leads().entrants.contains_key(peer(2).id()),
                "it is to ask by another name"
            );
        }
    }

    #[test]
    fn no_more_ask_at_a_time_than_a_group_may_have() {
        let mut harness = Harness::leader(Knobs { members_max: 2, ..Knobs::fast() });
        for (n, refused) in [(2, vec![]), (3, vec![]), (4, vec![Reason::Busy]), (2, vec![])] {
            harness.hear(&peer(n), request(&peer(n)));
            assert_eq!(refusals(&mut harness), refused, "p{n}");
        }
    }

    #[test]
    fn of_those_who_ask_together_no_more_are_let_in_than_there_is_room_for() {
        let mut harness = Harness::leader(Knobs { members_max: 3, ..Knobs::fast() });
        for n in [2, 4, 5] {
            harness.greet(&peer(n), nothing());
            harness.say(&peer(n), request(&peer(n)));
        }
        harness.rest(Knobs::fast().join_batch);
        let size = harness.node.log.view().map(View::size);
        assert_eq!(size, Some(3));
    }

    #[test]
    fn the_older_life_is_probed_once_for_each_newcomer() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        let probing = |harness: &mut Harness| {
            harness.leads().entrants[peer(2).id()].probing.expect("an older life is in the view")
        };
        harness.hear(&reborn(2), request(&reborn(2)));
        assert_eq!(
            harness.leads().entrants[peer(2).id()].probing,
            None,
            "it may be anybody's word"
        );
        harness.greet(&reborn(2), nothing());
        let probe = probing(&mut harness);
        harness.rest(Duration::from_millis(1));
        harness.hear(&reborn(2), request(&reborn(2)));
        assert_eq!(probing(&mut harness), probe, "the same one");
        let third = Contact {
            member: Member { inc: Incarnation(3), ..peer(2).member },
            birth: 3_000,
            ..peer(2)
        };
        harness.greet(&third, nothing());
        harness.say(&third, request(&third));
        assert!(probing(&mut harness) > probe, "another one");
        let ack = |beat| {
            Message::HeartbeatAck(HeartbeatAck {
                epoch: Epoch::none(),
                beat,
                contiguous: Seq::ZERO,
                lag: 0,
            })
        };
        harness.out.clear();
        harness.say(&peer(2), ack(probe));
        assert_eq!(refusals(&mut harness), [], "that was the answer to an earlier probe");
        harness.rest(Duration::from_millis(1));
        harness.say(&peer(2), ack(probe + 1));
        let refused = harness.told(&third);
        assert!(
            matches!(
                &refused[..],
                [Message::Rejected(Rejected { reason: Reason::DuplicateId { .. }, .. })]
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn who_has_asked_by_datagram_is_admitted_when_a_link_stands() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.hear(&peer(2), request(&peer(2)));
        harness.rest(Duration::from_millis(50));
        assert_eq!(harness.node.log.contiguous(), Seq(1), "nothing proves that it can be reached");
        harness.greet(&peer(2), nothing());
        harness.out.clear();
        harness.rest(Duration::from_millis(20));
        assert_eq!(admissions(&mut harness, &peer(2)), 1);
    }

    #[test]
    fn one_view_replaces_an_older_life_that_is_gone() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.greet(&reborn(2), nothing());
        harness.say(&reborn(2), request(&reborn(2)));
        harness.rest(Duration::from_millis(20) - MICRO);
        harness.node.evict(&peer(2), &Evidence::Refused, &mut harness.out);
        harness.now += MICRO;
        harness.give(Input::Wake);
        let view = harness.node.log.view().expect("a view");
        assert!(view.view_id.0 == 3 && view.names(&reborn(2).member), "{view}");
    }

    #[test]
    fn who_asks_again_without_a_link_keeps_what_it_has_acknowledged() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.cut(&peer(2));
        let Message::NewPeerRequest(join) = request(&peer(2)) else { unreachable!("a wish") };
        harness.hear(&peer(2), Message::NewPeerRequest(JoinRequest { ask: join.ask + 1, ..join }));
        assert_eq!(harness.leads().progress[peer(2).id()].acked, Seq(2));
        harness.greet(&peer(2), nothing());
        harness.out.clear();
        harness.hear(&peer(2), request(&peer(2)));
        let told = harness.told(&peer(2));
        assert!(
            told.iter().any(|message| matches!(message, Message::Coordinator(_))),
            "now it can be told whom to ask: {told:?}"
        );
        harness.say(&peer(2), request(&peer(2)));
        assert_eq!(admissions(&mut harness, &peer(2)), 1, "and has asked itself");
    }

    #[test]
    fn who_says_that_it_is_elsewhere_is_out_at_once_unless_it_has_asked_or_answered_since() {
        for (ask, acked, stays) in [
            (Some(1 << 63 | 1), None, false),
            (Some(1 << 63 | 2), None, true),
            (None, None, true),
            (Some(1 << 63 | 1), Some(Seq(2)), true),
        ] {
            let mut harness = Harness::leader(Knobs::fast());
            harness.admit(&peer(2));
            if let Some(acked) = acked {
                harness.acknowledge(&peer(2), acked);
            }
            harness.say(&peer(2), Message::Rejected(Rejected { ask, reason: Reason::NotMember }));
            let view = harness.node.log.view().expect("a view");
            assert_eq!(view.names(&peer(2).member), stays, "{ask:?}, {acked:?}");
        }
    }

    #[test]
    fn a_courted_leader_that_is_gone_is_not_waited_for() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        let beacon = |n: u16| {
            let epoch = Epoch { round: 5, owner: peer(n).member };
            Message::Coordinator(Coordinator {
                leader: peer(n),
                epoch,
                size: 9,
                ask: None,
                names_you: false,
            })
        };
        harness.out.clear();
        harness.hear(&peer(8), beacon(8));
        let dials = harness.dialled();
        harness.fail(&peer(2));
        let courted = |harness: &mut Harness| {
            harness.leads().merge_request.as_ref().map(|merge_request| merge_request.leader.clone())
        };
        assert_eq!(courted(&mut harness), Some(peer(8)), "somebody else is gone");
        harness.give(Input::DialFailed { link: dials[0], refused: true });
        assert_eq!(courted(&mut harness), None);
        harness.hear(&peer(9), beacon(9));
        assert_eq!(courted(&mut harness), Some(peer(9)));
    }

    #[test]
    fn a_newcomer_that_is_gone_is_not_waited_for_and_its_older_life_is_another() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.hear(&reborn(2), request(&reborn(2)));
        let dials = harness.dialled();
        harness.fail(&peer(2));
        assert!(harness.leads().entrants.contains_key(peer(2).id()), "only its older life is gone");
        harness.give(Input::DialFailed { link: dials[0], refused: true });
        assert!(harness.leads().entrants.is_empty());
    }

    #[test]
    fn of_those_who_leave_at_once_as_many_go_as_leave_a_quorum() {
        let (failed, ids) = ([(peer(5), true)], |peers: &[u16]| {
            peers.iter().map(|n| peer(*n).id().clone()).collect::<Vec<_>>()
        });
        let view = View::new(
            ViewId(1),
            Epoch { round: 1, owner: peer(1).member },
            peer(1).id().clone(),
            (1..=5).map(peer).collect(),
        );
        for (request, failed, now) in [
            (vec![4, 3], &failed[..], vec![4]),
            (vec![4], &failed[..], vec![4]),
            (vec![4, 3, 2], &[], vec![4, 3]),
        ] {
            let mut left = ids(&request);
            let later = hold_back(&view, failed, &mut left);
            assert_eq!(left, ids(&now), "{request:?}");
            assert_eq!(later, ids(&request[now.len()..]).into_iter().collect(), "{request:?}");
        }
    }

    #[test]
    fn a_few_of_a_large_group_tell_a_newcomer_whom_to_ask() {
        let told = |members: u16| {
            let mut harness = Harness::newcomer(Knobs::fast());
            harness.greet(&peer(3), nothing());
            harness.let_in(Seq::ZERO, Seq(1));
            let all = (1..=members).map(peer).collect();
            let view = View::new(ViewId(1), epoch_of(&peer(3)), peer(3).id().clone(), all);
            let run = vec![Entry::View(view)];
            harness.say(
                &peer(3),
                Message::Ordered(Ordered {
                    epoch: epoch_of(&peer(3)),
                    first: Seq(1),
                    run,
                    stable: Seq::ZERO,
                    repair: None,
                }),
            );
            harness.out.clear();
            (0..1_000).for_each(|_| harness.hear(&peer(900), request(&peer(900))));
            harness.out.iter().filter(|output| matches!(output, Output::Whisper { .. })).count()
        };
        assert_eq!(told(16), 1_000);
        let of_many = told(160);
        assert!(
            (50..200).contains(&of_many),
            "{of_many} of 1,000 times, where each of 160 is to answer one time in ten"
        );
    }
}
