//! The claim: a claimant collects promises, adopts the best log among those who gave one, and cuts
//! there.
//!
//! A promise and the log's end are one message, so nothing can be acknowledged in an older epoch
//! after it. The list of those who answered closes when the cut is chosen; late answers are not
//! answers. Adopted is the longest contiguous log of the highest last-row epoch (Viewstamped
//! Replication, Raft, KIP-101). Mode `available`: the claimant needs nobody but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::install::{Install, Purpose};
use crate::io::{Output, StopReason};
use crate::log::entry::Entry;
use crate::log::lineage::EpochStart;
use crate::log::remarks::Remarks;
use crate::log::tail::Tail;
use crate::log::view::View;
use crate::node::Node;
use crate::report::note::{Cause, Note};
use crate::roles::leader::Leader;
use crate::roles::leader::progress::Progress;
use crate::roles::{Claim, Role, Stage};
use crate::time::Time;
use crate::wire::message::{Coordinator, Message, SyncAnswer, SyncFinal};

impl Node {
    /// Claims the next epoch, unless this peer is leaving: whoever leads next will do without it.
    pub(crate) fn claim(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.env.leaving.is_some() {
            self.stop(StopReason::LeftUnconfirmed, out);
        } else if matches!(&self.role, Role::Candidate(candidate) if candidate.is_disowned()) {
            // The others have gone on without this peer, and nobody else is left: it is the one
            // that has to join.
            self.give_way(now, out);
        } else if let Some(why) = self.lacks_to_claim(now) {
            self.block(now, why, out);
        } else {
            self.claim_next(now, out);
        }
    }

    pub(crate) fn claim_next(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let epoch = (&self.env.promised).max(&candidate.floor).next(self.env.me.member.clone());
        let asked = candidate.awaited().count() as u64;
        let alone = candidate.first_view && asked == 0;
        out.push(Output::Note(Note::Claim {
            log: self.env.log.name(),
            epoch: epoch.clone(),
            asked,
            alone,
        }));
        self.sync(now, epoch, None, out);
    }

    /// A working leader moves above `above`, which somebody that asks to be admitted has promised.
    /// It stays leader, so there is nothing to ask but the promise.
    pub(crate) fn renew(&mut self, now: Time, above: &Epoch, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &self.role else { return };
        let standing = leader.clone();
        let epoch = (&self.env.promised).max(above).next(self.env.me.member.clone());
        let mut candidate = self.candidate(now, None);
        candidate.dropped =
            standing.failed.iter().map(|(contact, _)| contact.id().clone()).collect();
        self.role = Role::Candidate(candidate);
        self.env.wants_changed = true;
        self.sync(now, epoch, Some(standing), out);
    }

    /// Promises the epoch to itself, and asks for the others' promises.
    fn sync(
        &mut self,
        now: Time,
        epoch: Epoch,
        standing: Option<Box<Leader>>,
        out: &mut Vec<Output>,
    ) {
        let id = self.env.me.member.id.clone();
        self.env.promise_to(&epoch, &id, out);
        let (until, round) = (now + self.env.config.knobs().sync_timeout, self.env.config.round());
        // Nobody is asked for a promise a second time, so what may have been true of the network
        // before is not relied on.
        self.env.links.dial_afresh(now, out);
        let Role::Candidate(candidate) = &mut self.role else { return };
        candidate.doubt_refusals(now, round);
        candidate.asked_at = now;
        candidate.first_wave = None;
        candidate.stage = Stage::Syncing(Claim {
            epoch,
            until,
            answers: BTreeMap::new(),
            outdone: BTreeSet::new(),
            slept: Duration::ZERO,
            overslept: false,
            standing,
            stable: Seq::ZERO,
        });
        self.env.wants_changed = true;
        self.put_question_to_all(now, out);
        self.close_if_complete(now, out);
    }

    pub(crate) fn on_sync_answer(
        &mut self,
        now: Time,
        from: &Member,
        answer: SyncAnswer,
        out: &mut Vec<Output>,
    ) {
        let candidate = self.role.candidate();
        let asked = candidate.asked.get(&from.id).is_some_and(|contact| contact.member == *from);
        let Stage::Syncing(claim) = &mut candidate.stage else { return };
        if asked
            && answer.epoch == claim.epoch
            && answer.lineage.iter().all(|row| row.first > Seq::ZERO)
        {
            let newest = answer.views.first().map(|(_, view)| view.clone());
            claim.answers.insert(from.id.clone(), (from.clone(), answer));
            self.ask_members_of(now, newest, out);
            self.close_if_complete(now, out);
        }
    }

    /// An answer has shown a newer view: the log that is adopted may hold it, so its members are
    /// asked, too.
    fn ask_members_of(&mut self, now: Time, newest: Option<View>, out: &mut Vec<Output>) {
        let own = self.env.log.view().map(|view| (&view.epoch, view.view_id));
        let Some(newest) =
            newest.filter(|view| own.is_some_and(|own| (&view.epoch, view.view_id) > own))
        else {
            return;
        };
        let Role::Candidate(candidate) = &self.role else { return };
        // Of two lives of one name the later one is asked.
        let unasked = |contact: &&Contact| {
            let known = candidate.asked.get(contact.id()).map(|known| known.member.inc);
            contact.member != self.env.me.member && known.is_none_or(|inc| inc < contact.member.inc)
        };
        let unasked: Vec<Contact> = newest.members.iter().filter(unasked).cloned().collect();
        for contact in unasked {
            let member = contact.member.clone();
            if let Role::Candidate(candidate) = &mut self.role {
                candidate.dropped.remove(contact.id());
                candidate.suspects.remove(contact.id());
                candidate.asked.insert(contact.id().clone(), contact);
            }
            self.env.wants_changed = true;
            self.put_question(now, &member, out);
        }
    }

    /// Closes the list as soon as everybody that is waited for has answered.
    pub(crate) fn close_if_complete(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        let Stage::Syncing(claim) = &candidate.stage else { return };
        let all = || {
            candidate.awaited_to_promise().all(|contact| claim.answers.contains_key(contact.id()))
        };
        if candidate.heard_enough(claim.answers.len()) && all() && self.lacks_to_lead().is_none() {
            self.close_claim(now, out);
        }
    }

    /// The claim for which promises are being collected.
    fn open_claim(&self) -> Option<&Claim> {
        let Role::Candidate(candidate) = &self.role else { return None };
        let Stage::Syncing(claim) = &candidate.stage else { return None };
        Some(claim)
    }

    /// The newest views of the log that this claim would adopt, and how far that log is known to be
    /// stable.
    pub(crate) fn adopted_views(&self) -> (Vec<(Seq, View)>, Seq) {
        let (mut end, mut views, mut log_id) = (
            (self.env.log.epoch(), self.env.log.contiguous()),
            self.env.log.last_views(),
            self.env.log.log_id(),
        );
        let Some(claim) = self.open_claim() else { return (views, self.env.log.stable()) };
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
        let own = if self.env.log.log_id() == log_id { self.env.log.stable() } else { Seq::ZERO };
        (views, stable.max().unwrap_or(Seq::ZERO).max(own))
    }

    /// Mode `primary`: what the answers lack to make this claimant the leader.
    fn lacks_to_lead(&self) -> Option<String> {
        let claim = self.open_claim()?;
        let (views, stable) = self.adopted_views();
        let answers = |member: &Member| {
            claim.answers.get(&member.id).is_some_and(|(other, _)| other == member)
        };
        self.lacks(&views, stable, answers)
    }

    /// Asks everybody for the same promise again, once, after a pause: the answers of before it
    /// mean nothing any more.
    fn wake_claim(&mut self, now: Time, out: &mut Vec<Output>) -> bool {
        let until = now + self.env.config.knobs().sync_timeout;
        let Role::Candidate(candidate) = &mut self.role else { return false };
        let Stage::Syncing(claim) = &mut candidate.stage else { return false };
        if !std::mem::take(&mut claim.overslept) {
            return false;
        }
        claim.slept = Duration::ZERO;
        claim.answers.clear();
        claim.until = until;
        // Who was only between two groups may have arrived since.
        let busy = std::mem::take(&mut candidate.busy);
        candidate.dropped.retain(|id| !busy.contains(id));
        self.env.wants_changed = true;
        self.put_question_to_all(now, out);
        true
    }

    /// Closes the list and chooses the cut.
    pub(crate) fn close_claim(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.wake_claim(now, out) {
            return;
        }
        let Role::Candidate(candidate) = &mut self.role else { return };
        let Stage::Syncing(claim) = &candidate.stage else { return };
        if candidate.not_in_view && claim.answers.is_empty() && claim.standing.is_none() {
            self.give_way(now, out);
            return;
        }
        let mut claim = claim.clone();
        if let Some(why) = self.lacks_to_lead() {
            self.promised_in_vain(now, why, out);
            return;
        }
        claim.stable = self.adopted_views().1;
        let Role::Candidate(candidate) = &mut self.role else { return };
        let own = (self.env.log.epoch(), self.env.log.contiguous());
        // What is stable is not given up for the log of one that went on alone and was only about
        // to come back. Whoever is left out is not listed, and asks to be admitted with what it
        // has.
        let fellows = claim.answers.values().filter(|(_, answer)| {
            answer.lineage.last().is_some_and(|row| Some(row) == self.env.log.lineage().last())
        });
        let stable = fellows
            .map(|(_, answer)| answer.stable)
            .chain([self.env.log.stable()])
            .max()
            .unwrap_or(Seq::ZERO)
            .min(own.1);
        let primary = self.env.config.is_primary();
        let keeps = |answer: &SyncAnswer| {
            primary
                || end_of(answer) <= own
                || self.env.log.fork(&answer.lineage, answer.contiguous) >= stable
        };
        let (kept, outdone) = std::mem::take(&mut claim.answers)
            .into_iter()
            .partition(|(_, (_, answer))| keeps(answer));
        let outdone: BTreeMap<PeerId, (Member, SyncAnswer)> = outdone;
        claim.answers = kept;
        claim.outdone = outdone.into_keys().collect();
        // Whoever follows a standing leader holds a part of its log, and nothing better.
        let answers = claim
            .answers
            .values()
            .filter(|(_, answer)| (primary || claim.standing.is_none()) && end_of(answer) > own);
        let best = answers.max_by_key(|(_, answer)| end_of(answer)).cloned();
        if let Some((holder, _)) = best.as_ref().filter(|_| claim.standing.is_some()) {
            let why = format!("{} holds more than its leader", holder.id);
            self.claim_in_vain(now, why, out);
            return;
        }
        let (epoch, until) = (claim.epoch.clone(), now + self.env.config.knobs().sync_timeout);
        match best {
            None => {
                let cut = self.env.log.contiguous();
                candidate.stage = Stage::Adopting { claim, cut, until };
                self.env.cut_here(cut, epoch, out);
                self.announce(now, out);
            }
            Some((holder, answer)) => {
                let Some(source) = candidate.asked.get(&holder.id).cloned() else { return };
                let cut = answer.contiguous;
                candidate.stage = Stage::Adopting { claim, cut, until };
                let fork = self.env.log.fork(&answer.lineage, cut);
                let (base, ask) = (self.env.base_at(fork), self.env.fresh_ask());
                let lineage = answer.lineage;
                let purpose = Purpose::Lead;
                let (entries, view) = (Tail::new(base.end()), base.view(&self.env.log));
                let install = Install {
                    purpose,
                    epoch,
                    source,
                    base,
                    lineage,
                    entries,
                    view,
                    target: cut,
                    ask,
                    bursts: 0,
                    retry_at: now,
                };
                self.build_to_lead(now, install, out);
            }
        }
    }

    /// The log to be adopted cannot be had: the claim is void, its holder is not counted on, and
    /// everybody is asked again.
    pub(crate) fn adoption_failed(&mut self, now: Time, out: &mut Vec<Output>) {
        let source = self.env.install.take().map(|install| install.source);
        self.give_up_on(now, source.as_ref(), out);
    }

    /// The same, where it is told whose log it was.
    pub(crate) fn give_up_on(
        &mut self,
        now: Time,
        source: Option<&Contact>,
        out: &mut Vec<Output>,
    ) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if let Some(source) = source {
            candidate.suspects.insert(source.id().clone());
            candidate.dropped.insert(source.id().clone());
        }
        self.ask(now, Cause::Again, out);
    }

    /// The log is adopted and cut: this peer leads from now on, and the first new entry is the
    /// list.
    pub(crate) fn announce(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        let Stage::Adopting { claim, cut, .. } = &candidate.stage else { return };
        let (claim, cut) = (claim.clone(), *cut);
        let (asked, first_view) = (std::mem::take(&mut candidate.asked), candidate.first_view);
        let is_silent = |id: &&PeerId| candidate.is_silent(id) && !claim.outdone.contains(*id);
        let mut silent: BTreeSet<PeerId> = asked.keys().filter(is_silent).cloned().collect();
        let (mut listed, mut unlisted): (Vec<Contact>, Vec<Contact>) =
            asked.into_values().partition(|contact| {
                claim.answers.get(contact.id()).is_some_and(|(member, _)| *member == contact.member)
            });
        if first_view {
            // A group is founded by no more than it takes; the others ask to be let in, and wait
            // for room.
            let most =
                usize::try_from(self.env.config.knobs().members_max - 1).unwrap_or(usize::MAX);
            unlisted.extend(listed.drain(most.min(listed.len())..));
        }
        // Who was known by words alone has said on its link where it is.
        let said = |contact: Contact| {
            self.env
                .links
                .contact(&contact.member)
                .filter(|_| first_view)
                .cloned()
                .unwrap_or(contact)
        };
        let listed: Vec<Contact> = listed.into_iter().map(said).collect();
        let list: Vec<Member> = listed
            .iter()
            .map(|contact| contact.member.clone())
            .chain([self.env.me.member.clone()])
            .collect();
        let rows = self.env.log.lineage();
        let lineage: Vec<EpochStart> =
            rows.iter().take(rows.len().saturating_sub(1)).cloned().collect();
        let epoch = claim.epoch.clone();
        let announced =
            SyncFinal { epoch: epoch.clone(), leader: self.env.me.clone(), cut, lineage, list };
        let progress: BTreeMap<PeerId, Progress> = listed
            .iter()
            .map(|contact| (contact.id().clone(), Progress::new(contact.clone(), cut, now)))
            .collect();
        // Before anybody hears of the view that it is about to number.
        self.env.remember_view(out);
        let mut leader = Leader::new(
            now,
            self.env.beats,
            announced.clone(),
            progress,
            self.env.config.knobs().heartbeat_timeout,
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
        self.role = Role::Leader(Box::new(leader));
        self.env.been_member = true;
        self.env.merging = false;
        self.env.blocked = None;
        self.env.witness = None;
        self.env.wants_changed = true;
        let size = listed.len() as u64 + 1;
        let log = self.env.log.name();
        out.push(Output::Note(Note::LeaderElected {
            log,
            peer: self.env.me.id().clone(),
            epoch: epoch.clone(),
            size,
            renewed,
        }));
        let word = Coordinator {
            leader: self.env.me.clone(),
            epoch: epoch.clone(),
            size,
            ask: None,
            names_you: false,
        };
        for contact in listed.iter().chain(&unlisted) {
            let names_you = listed.iter().any(|other| other.member == contact.member);
            let word = Coordinator { names_you, ..word.clone() };
            self.env.send(now, &contact.member, Message::Coordinator(word), out);
        }
        for contact in &listed {
            self.env.send(now, &contact.member, Message::SeqSyncFinal(announced.clone()), out);
        }
        if self.env.config.is_primary() {
            self.env.learn_stable(claim.stable, out);
        }
        let first = FirstEntry { listed, silent };
        if self.env.config.is_primary()
            && self.env.log.view().is_some()
            && self.env.log.view_at() > self.env.log.stable()
        {
            // One view may be unstable at a time, so this epoch's first one waits until the adopted
            // one is stable.
            if let Role::Leader(leader) = &mut self.role {
                leader.first = Some(first);
            }
        } else {
            self.first_entry(first, out);
        }
        self.env.outbox.rewind(self.env.log.last_oseq(&self.env.me.member));
    }

    /// The first entry of an epoch is the view of those who are in it. Of those who are not, some
    /// have only been silent.
    pub(crate) fn first_entry(&mut self, first: FirstEntry, out: &mut Vec<Output>) {
        let FirstEntry { listed, silent } = first;
        let epoch = self.env.log.epoch();
        let before = self.env.log.view().cloned();
        let members = listed.into_iter().chain([self.env.me.clone()]).collect();
        let view_id = before.as_ref().map_or(crate::id::ViewId(1), |view| view.view_id.next());
        let view = View::new(view_id, epoch, self.env.me.id().clone(), members);
        for contact in before
            .iter()
            .flat_map(|old| old.members.iter())
            .filter(|contact| !view.names(&contact.member))
        {
            let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
            let silent = silent.contains(&peer);
            if silent {
                // As when a member is evicted for its silence.
                self.env.links.hang_up_on(&contact.member, out);
            }
            out.push(Output::Note(Note::Failed { peer, peer_inc, silent, ordered: view.ids() }));
        }
        let me = self.env.me.id().clone();
        let view = match &before {
            Some(before) => self.env.with_remarks(view, before, |_, suspected| {
                suspected.or_else(|| Some(format!("it did not answer {me}, which claimed to lead")))
            }),
            None => View { remarks: Remarks { ordered: self.env.utc, why: Vec::new() }, ..view },
        };
        if let Role::Leader(leader) = &mut self.role {
            // Before this view was numbered, a member that nobody had told of its place in it may
            // have asked to be admitted. Such a request is settled now: kept, it would admit the
            // member again when the member leaves.
            leader.entrants.retain(|_, entrant| !view.names(&entrant.contact.member));
        }
        self.env.append(Entry::View(view), out);
        self.unsettle();
    }
}

/// What the first entry of an epoch will say.
#[derive(Clone, Debug, Hash)]
pub(crate) struct FirstEntry {
    /// Who has answered, besides the leader itself.
    listed: Vec<Contact>,
    /// Who has not, and was only silent.
    silent: BTreeSet<PeerId>,
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
    use crate::time::Time;
    use crate::wire::message::{Hello, Message, SyncAnswer};

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
        node.become_candidate(at(0), Cause::Connection, Some(contact(4).id().clone()), &mut out);
        node.claim_next(at(0), &mut out);
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

    /// The same claimant when it has heard both, and fetches what only p2 has.
    fn fetching() -> Node {
        let (mut node, mut out) = (claimant(), Vec::new());
        for (n, contiguous) in [(1, 3), (2, 200)] {
            let answer = answer(&node, contiguous, 1, &[(epoch(1, 4), 1)]);
            node.on_sync_answer(at(1), &contact(n).member, answer, &mut out);
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
        node.on_sync_answer(at(1), &contact(1).member, lonely, &mut out);
        node.on_sync_answer(at(1), &contact(2).member, fellow, &mut out);
        assert!(matches!(node.role, Role::Leader(_)), "it has nothing to fetch");
        assert_eq!(
            node.env.log.view().map(View::ids),
            Some(vec![contact(2).id().clone(), contact(3).id().clone()]),
            "p1 rejoins"
        );
        assert_eq!(node.env.log.epoch_at(Seq(3)), epoch(1, 4), "#3 stands");
    }

    #[test]
    fn a_log_that_begins_at_nothing_is_no_answer() {
        let (mut node, mut out) = (claimant(), Vec::new());
        for first in [0, 1] {
            let answer = answer(&node, 3, 1, &[(epoch(1, 4), first)]);
            node.on_sync_answer(at(1), &contact(2).member, answer, &mut out);
            assert_eq!(node.open_claim().map(|claim| claim.answers.len() as u64), Some(first));
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
            node.on_repair(at(10 * n), &holder, ask, ordered, &mut out);
            let Role::Candidate(candidate) = &node.role else { panic!("it is not done yet") };
            assert_eq!(candidate.deadline(), at(10 * n) + sync_timeout, "it is coming");
        }
    }
}
