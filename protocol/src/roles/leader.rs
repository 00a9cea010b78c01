//! The leader: numbers what members send, streams it to everyone, knows who has what.
//!
//! A fixed sequencer (Défago, Schiper, Urbán 2004, variant UB) on a log. What is numbered is
//! streamed from a cursor for each follower (see `stream`), so there is no hold-back queue: a hole
//! cannot last longer than a link. A position is *stable* when everyone in the newest view holds
//! it.

mod beating;
pub(crate) mod first_entry;
pub(crate) mod moving;
mod page;
pub(crate) mod preempt;
pub(crate) mod prioritising;
pub(crate) mod progress;
pub(crate) mod slow;
mod stepping_down;
pub(crate) mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::delivery::outbox::Stretch;
use crate::detector::Started;
use crate::env::Env;
use crate::id::{Contact, Epoch, Member, Oseq, PeerId, Seq};
use crate::io::{Outcome, Output};
use crate::links::want::Wanted;
use crate::log::Log;
use crate::log::entry::{Entry, Request, Requests};
use crate::membership::entrants::Entrant;
use crate::membership::quorum::stable_by_quorum;
use crate::report::note::Note;
use crate::roles::leader::first_entry::FirstEntry;
use crate::roles::leader::progress::Progress;
use crate::roles::leader::stream::Parting;
use crate::roles::turn::{Flow, Turn};
use crate::time::Time;
use crate::wire::message::{Coordinator, Reason, SyncFinal};

/// The facts of a leader.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    /// Everyone else in the newest view.
    pub(crate) progress: BTreeMap<PeerId, Progress>,
    /// The cut, to be said again to whoever has not adopted it.
    pub(crate) announced: SyncFinal,
    beat: u64,
    /// The last beat before this leader's first.
    beat_before: u64,
    beat_at: Time,
    /// The last heartbeat to everyone, and where the log ended then.
    pub(crate) last_beat: Option<(u64, Seq)>,
    started: Started,
    /// Nobody can be overdue before this.
    watch_at: Time,
    /// Peers that ask to be admitted.
    pub(crate) entrants: BTreeMap<PeerId, Entrant>,
    /// Members that ask to leave.
    pub(crate) leavers: BTreeSet<PeerId>,
    /// Members to be removed because they failed.
    pub(crate) failed: Vec<(Contact, bool)>,
    /// When the next view is due, if one is.
    pub(crate) batch_at: Option<Time>,
    /// Members that are out, and still to be sent the entry that says so.
    pub(crate) parting: Vec<Parting>,
    /// Set after a pause: nothing is numbered before everyone has answered this beat.
    pub(crate) doubt: Option<u64>,
    /// Set while it takes no readings, because somebody is too far behind.
    pub(crate) under_pressure: bool,
    /// Set once it numbers nothing more: it waits for everyone to have everything, then goes.
    pub(crate) retiring: Option<Retiring>,
    /// The group that it asks to be merged into.
    pub(crate) merge_request: Option<MergeRequest>,
    /// The leader of a lesser group that it invites to ask, and until when a link to it is wanted.
    pub(crate) inviting: Option<(Contact, Time)>,
    told_stable: Seq,
    /// The first view of this epoch, while it waits for the adopted one to become stable (mode
    /// `primary`).
    pub(crate) first: Option<FirstEntry>,
    /// Whether the newest view is still to become stable, so that no other may follow (mode
    /// `primary`).
    pub(crate) unsettled: bool,
    /// Members that the newest view does not name any more, and how far they were; they count until
    /// it is stable.
    departed: BTreeMap<Member, Seq>,
}

/// What comes after this leader.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Retiring {
    /// It waits no longer than that.
    pub(crate) until: Time,
    pub(crate) into: Successor,
}

/// Who comes after this leader.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Successor {
    /// A member takes over, because this peer leaves.
    Member(Member),
    /// A member takes over, because it outranks this peer, which stays.
    Better(Member),
    /// The whole group joins another one.
    Group(Contact),
}

/// A larger group that this one asks to be merged into.
#[derive(Clone, Debug, Hash)]
pub(crate) struct MergeRequest {
    pub(crate) leader: Contact,
    pub(crate) ask: u64,
    pub(crate) until: Time,
}

impl Leader {
    pub(crate) fn new(
        now: Time,
        beat: u64,
        announced: SyncFinal,
        progress: BTreeMap<PeerId, Progress>,
        patience: Duration,
    ) -> Self {
        Self {
            epoch: announced.epoch.clone(),
            progress,
            announced,
            beat,
            beat_before: beat,
            beat_at: now,
            last_beat: None,
            started: Started::default(),
            watch_at: now + patience,
            entrants: BTreeMap::new(),
            leavers: BTreeSet::new(),
            failed: Vec::new(),
            batch_at: None,
            parting: Vec::new(),
            doubt: None,
            under_pressure: false,
            retiring: None,
            merge_request: None,
            inviting: None,
            told_stable: Seq::ZERO,
            first: None,
            unsettled: false,
            departed: BTreeMap::new(),
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        let merge_request = self.merge_request.as_ref().map(|merge_request| merge_request.until);
        let parting = self.parting.iter().map(|parting| parting.forget_at).min();
        let retiring = self.retiring.as_ref().map(|retiring| retiring.until);
        // A view that may not be numbered now is looked at again when that changes; its time wakes
        // nobody.
        let batch = self.batch_at.filter(|_| self.is_numbering() && !self.unsettled);
        let inviting = self.inviting.as_ref().map(|(_, until)| *until);
        let soonest = batch
            .into_iter()
            .chain(merge_request)
            .chain(inviting)
            .chain(parting)
            .chain(retiring)
            .min();
        self.beat_at.min(self.watch_at).min(soonest.unwrap_or(self.beat_at))
    }

    /// Goes on with what it was doing before it moved to a higher epoch.
    pub(crate) fn resume(&mut self, standing: Self) {
        self.entrants = standing.entrants;
        self.leavers = standing.leavers;
        self.batch_at = standing.batch_at;
        self.parting = standing.parting;
    }

    /// Everyone has answered since the pause: this leader still leads.
    pub(crate) fn clear_doubt(&mut self) {
        let failed = |progress: &Progress| {
            self.failed.iter().any(|(contact, _)| contact.member == progress.contact.member)
        };
        if self.doubt.is_some()
            && self
                .progress
                .values()
                .all(|progress| progress.echo >= self.doubt || failed(progress))
        {
            self.doubt = None;
        }
    }

    /// Beats as soon as possible; returns the number that the beat will have.
    pub(crate) fn beat_now(&mut self, now: Time) -> u64 {
        self.beat_at = now;
        self.beat + 1
    }

    /// Whether it is about to go; who only makes way for a better one leads until it has.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring
            .as_ref()
            .is_some_and(|retiring| !matches!(retiring.into, Successor::Better(_)))
    }

    /// Whether it may number now.
    pub(crate) fn is_numbering(&self) -> bool {
        self.doubt.is_none() && self.retiring.is_none() && self.first.is_none()
    }

    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let entrants = self.entrants.values().map(|entrant| &entrant.contact);
        let courted = self.merge_request.iter().map(|merge_request| &merge_request.leader);
        let invited = self.inviting.iter().map(|(invited, _)| invited);
        let as_wanted =
            |by_word| move |contact: &Contact| Wanted { contact: contact.clone(), by_word };
        let progress =
            self.progress.values().map(|progress| &progress.contact).map(as_wanted(false));
        // Of two wants for one member the last counts, and that is the one of the view.
        entrants.chain(courted).chain(invited).map(as_wanted(true)).chain(progress).collect()
    }

    /// The last position that somebody else holds, or everything where there is nobody else.
    pub(crate) fn seen_elsewhere(&self, contiguous: Seq) -> Seq {
        self.progress.values().map(|progress| progress.acked).max().unwrap_or(contiguous)
    }

    /// The last position that is stable: everyone in the newest view holds it, its own entry
    /// included, or a quorum does.
    fn stable(&self, log: &Log, by_quorum: bool, me: &Member) -> Seq {
        let contiguous = log.contiguous();
        if by_quorum {
            return stable_by_quorum(log, |member| {
                let progress = self.progress_of(member);
                let held = progress.map(|progress| progress.acked).or(self.departed_with(member));
                if member == me { contiguous } else { held.unwrap_or(Seq::ZERO) }
            });
        }
        let acked = self.all_acked(contiguous);
        if acked >= log.view_at() { acked } else { Seq::ZERO }
    }

    /// The last position that everyone in the newest view holds.
    pub(crate) fn all_acked(&self, contiguous: Seq) -> Seq {
        self.progress.values().map(|progress| progress.acked).min().unwrap_or(contiguous)
    }

    /// How far a member is that the newest view does not name any more, while it still counts.
    pub(crate) fn departed_with(&self, member: &Member) -> Option<Seq> {
        self.departed.get(member).copied()
    }

    /// A member that has asked to leave has adopted this epoch's log: it can be told now that it
    /// may go.
    pub(crate) fn let_go(&mut self, id: &PeerId, now: Time) {
        if self.leavers.contains(id) {
            self.batch_at = self.batch_at.or(Some(now));
        }
    }

    /// A member is in the newest view no more.
    pub(crate) fn depart(&mut self, progress: &Progress) {
        self.departed.insert(progress.contact.member.clone(), progress.acked);
    }

    /// Whether this very process follows this leader.
    pub(crate) fn follows(&self, member: &Member) -> bool {
        self.progress_of(member).is_some()
    }

    /// What it knows of a member, if this very process follows it.
    pub(crate) fn progress_of(&self, member: &Member) -> Option<&Progress> {
        self.progress.get(&member.id).filter(|progress| progress.contact.member == *member)
    }

    /// How many rows its tables and lists have in all.
    pub(crate) fn rows(&self) -> usize {
        let (lists, known) = (
            self.failed.len() + self.parting.len() + self.leavers.len(),
            self.entrants.len() + self.departed.len(),
        );
        self.progress.len() + self.announced.list.len() + lists + known
    }

    /// Whether everybody has acknowledged everything.
    pub(crate) fn is_level(&self, contiguous: Seq) -> bool {
        self.all_acked(contiguous) >= contiguous
    }

    pub(crate) fn on_requests(&mut self, turn: &mut Turn<'_>, from: &Member, requests: Requests) {
        if requests.origin != *from {
            turn.env.reject(Some(&from.id), "SEQUENCER_REQUEST", "of another origin", turn.out);
            return;
        }
        if !self.follows(from) {
            turn.env.refuse(turn.now, from, None, Reason::NotMember, turn.out);
            return;
        }
        if !self.takes_readings() {
            // The sender still has them, and sends them again: after the next cut, or when it is
            // asked to.
            if let Some(progress) = self.progress.get_mut(&from.id) {
                progress.turned_away = true;
            }
            return;
        }
        // Kept as they are, the new ones would keep the memory of all that is known.
        let repeats = turn.env.log.last_oseq(from) >= requests.first;
        let requests = if repeats { requests.alone() } else { requests };
        let mut own = requests.first;
        for request in requests.run {
            let (first, end) = (own, request.last(own));
            own = end.next();
            // Readings that it has sent before, and has sent again together with new ones.
            let known = turn.env.log.last_oseq(from).next().above(first);
            match request {
                Request::Readings { guarantee, readings }
                    if known < readings.len()
                        && turn.env.log.last_oseq(from) >= first.previous() =>
                {
                    let (first, readings) =
                        (first.plus(known), readings.slice(known..readings.len()));
                    let (origin, ordered) = (from.clone(), turn.env.utc);
                    let entry = Entry::Readings { origin, first, guarantee, ordered, readings };
                    turn.env.append(entry, turn.out);
                }
                Request::Lost { .. } if turn.env.log.last_oseq(from) == first.previous() => {
                    let lost = Entry::Lost { origin: from.clone(), from: first, to: end };
                    turn.env.append(lost, turn.out);
                }
                Request::Readings { .. } | Request::Lost { .. } => {}
            }
        }
    }

    pub(crate) fn on_ordered_ack(
        &mut self,
        turn: &Turn<'_>,
        from: &Member,
        epoch: &Epoch,
        contiguous: Seq,
    ) {
        let end = turn.env.log.contiguous();
        if *epoch != self.epoch || contiguous > end {
            return;
        }
        if let Some(held) = self.departed.get_mut(from) {
            *held = contiguous.max(*held);
        }
        let Some(progress) =
            self.progress.get_mut(&from.id).filter(|progress| progress.contact.member == *from)
        else {
            return;
        };
        if !progress.adopted && contiguous >= self.announced.cut {
            progress.begin_at(contiguous);
        }
        let is_first = !progress.has_answered();
        progress.acknowledge(contiguous);
        self.let_go(&from.id, turn.now);
        if is_first && self.entrants.values().any(Entrant::is_ready) {
            // There may be as many more as it bears now.
            self.batch_at = self.batch_at.or(Some(turn.now));
        }
    }

    fn tell_stable(&mut self, turn: &mut Turn<'_>) {
        let stable = turn.env.log.stable();
        if stable > self.told_stable {
            self.told_stable = stable;
            turn.out.push(Output::Note(Note::Stable {
                log: turn.env.log.name(),
                epoch: self.epoch.clone(),
                seq: stable,
            }));
        }
    }

    /// Numbers own readings, streams, and learns what is stable.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>) -> Flow {
        self.feel_pressure(turn);
        while let most @ 1.. = self.own_room(turn.env)
            && let Some((first, run)) = turn.env.outbox.next_part(u64::MAX, most)
        {
            let mut own = first;
            for request in run {
                let (first, end) = (own, request.last(own));
                let origin = turn.env.me.member.clone();
                turn.env.append(entry(origin, first, request, turn.env.utc), turn.out);
                own = end.next();
            }
        }
        self.stream(turn);
        let awaited = turn.env.log.unsafe_from();
        let stable =
            self.stable(&turn.env.log, turn.env.policy().needs_quorum(), &turn.env.me.member);
        turn.env.learn_stable(stable, turn.out);
        if awaited.is_some_and(|at| at <= turn.env.log.stable()) {
            self.spread_stable(turn);
            self.stream_parting(turn);
        }
        self.settle_view(turn);
        self.retire(turn)
    }

    /// Mode `primary`: a view has been numbered, and no other may follow until it is stable.
    pub(crate) fn unsettle(&mut self, env: &Env) {
        self.unsettled = env.policy().settles_each_view();
    }

    /// The newest view has become stable: whoever it does not name counts no more, and in mode
    /// `primary` the next one may follow.
    fn settle_view(&mut self, turn: &mut Turn<'_>) {
        let settled = turn.env.log.view_at() <= turn.env.log.stable();
        if !settled {
            return;
        }
        self.departed.clear();
        if self.unsettled {
            self.unsettled = false;
            turn.env.more_at = Some(turn.now);
        }
        if let Some(first) = self.first.take() {
            turn.env.more_at = Some(turn.now);
            self.first_entry(turn, first);
        }
    }
}

impl Env {
    /// Appends one entry to the log, with all that follows from it for this peer's own readings.
    pub(crate) fn append(&mut self, entry: Entry, out: &mut Vec<Output>) {
        let first = self.log.contiguous().next();
        if let Some(stretch) = Stretch::of(&entry, first, &self.me.member) {
            self.outbox.on_ordered(stretch);
            Output::published(stretch, Outcome::Ordered, &self.log, out);
        }
        self.log.append(entry);
    }

    /// "I lead", as an announcement, a beacon, or an answer to somebody.
    pub(crate) fn announcement(&self, ask: Option<u64>, to: Option<&Member>) -> Coordinator {
        let view = self.log.view();
        Coordinator {
            leader: self.me.clone(),
            epoch: self.log.epoch(),
            size: view.map_or(1, |view| view.size() as u64),
            ask,
            names_you: to.is_some_and(|member| view.is_some_and(|view| view.names(member))),
        }
    }
}

fn entry(origin: Member, first: Oseq, request: Request, ordered: Option<u64>) -> Entry {
    match request {
        Request::Readings { guarantee, readings } => {
            Entry::Readings { origin, first, guarantee, ordered, readings }
        }
        Request::Lost { to } => Entry::Lost { origin, from: first, to: to.max(first) },
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Knobs;
    use crate::harness::{Harness, nothing, peer};
    use crate::id::Seq;
    use crate::wire::message::{Election, HeartbeatAck, Message};

    #[test]
    fn what_all_have_is_said_once_all_have_acknowledged_something() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        let said = |harness: &mut Harness| {
            harness.out.clear();
            harness.rest(harness.node.env.config.knobs().heartbeat_interval);
            let all_have = |message| {
                if let Message::Heartbeat(beat) = message { Some(beat.all_have) } else { None }
            };
            harness.told(&peer(2)).into_iter().filter_map(all_have).collect::<Vec<Option<Seq>>>()
        };
        assert_eq!(said(&mut harness), [None]);
        harness.acknowledge(&peer(2), Seq(2));
        assert_eq!(said(&mut harness), [Some(Seq(2))]);
    }

    #[test]
    fn who_answers_before_the_view_without_it_is_numbered_was_not_gone() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.rest(harness.node.env.config.knobs().heartbeat_interval);
        let beat = |message| if let Message::Heartbeat(beat) = message { Some(beat) } else { None };
        let last =
            harness.told(&peer(2)).into_iter().filter_map(beat).next_back().expect("it beats");
        for (is_silent, stays) in [(true, true), (false, false)] {
            harness.leads().doubt = Some(last.beat + 1);
            harness.leads().failed = vec![(peer(2), is_silent)];
            let (epoch, beat, contiguous) = (last.epoch.clone(), last.beat, last.high);
            harness.say(
                &peer(2),
                Message::HeartbeatAck(HeartbeatAck { epoch, beat, contiguous, lag: 0 }),
            );
            assert_eq!(
                harness.node.env.log.view().is_some_and(|view| view.names(&peer(2).member)),
                stays
            );
        }
    }

    #[test]
    fn each_heartbeat_out_of_turn_may_be_the_one_that_is_answered() {
        for answered in [0, 1, 2] {
            let mut harness = Harness::leader(Knobs::fast());
            harness.admit(&peer(2));
            harness.out.clear();
            let beat = |message| {
                if let Message::Heartbeat(beat) = message { Some(beat.beat) } else { None }
            };
            let mut beats: Vec<u64> = Vec::new();
            for _ in 0..2 {
                harness.greet(&peer(2), nothing());
                beats.extend(harness.told(&peer(2)).into_iter().filter_map(beat));
            }
            // Who asks who leads is sent one with the answer.
            let (ask, candidate, end) = (7, peer(2), nothing());
            harness.say(&peer(2), Message::Election(Election { ask, candidate, end }));
            beats.extend(harness.told(&peer(2)).into_iter().filter_map(beat));
            assert_eq!(beats.len(), 3, "{beats:?}");
            let (beat, epoch) = (beats[answered], harness.node.epoch());
            let ack = HeartbeatAck { epoch, beat, contiguous: Seq::ZERO, lag: 0 };
            harness.say(&peer(2), Message::HeartbeatAck(ack));
            assert_eq!(
                harness.leads().progress[&peer(2).member.id].echo,
                Some(beat),
                "of {beats:?}"
            );
        }
    }
}
