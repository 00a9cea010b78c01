//! What has been handed to the sinks, and what comes next.
//!
//! The position is the log's; `sunk` is this peer's own: the highest number of each member that its sinks have had. It
//! is never rolled back and never shipped, so a reading that comes again in another log is told apart and not handed
//! over twice. Views come into force here, at their place among the readings (virtual synchrony).

use crate::id::{Incarnation, Oseq, PeerId, Seq, ViewId};
use crate::log::Log;
use crate::message::{Entry, Table};
use crate::note::Note;
use crate::seam::{Delivery, Output, Reading};
use crate::view::View;

/// How far this peer's sinks are.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Sinks {
    delivered: Seq,
    sunk: Table,
    /// The view in force at `delivered`.
    in_force: ViewId,
    /// Views below this are not told: they came into force while this peer was away.
    tell_from: Seq,
    /// The last view that named this peer, as it was told.
    told: Option<View>,
}

impl Sinks {
    pub(crate) fn new() -> Self {
        Self { delivered: Seq::ZERO, sunk: Table::new(), in_force: ViewId::ZERO, tell_from: Seq::ZERO, told: None }
    }

    pub(crate) fn delivered(&self) -> Seq {
        self.delivered
    }

    /// Hands over everything up to `limit` that the log holds.
    pub(crate) fn deliver(&mut self, log: &Log, limit: Seq, me: (&PeerId, Incarnation), out: &mut Vec<Output>) {
        while self.delivered < limit {
            let seq = self.delivered.next();
            let Some(entry) = log.get(seq) else { return };
            self.delivered = seq;
            match entry {
                Entry::Data { origin, oseq, time, guarantee, payload } => {
                    let epoch = log.epoch_at(seq);
                    let view_id = self.in_force;
                    if self.has_sunk(&origin.id, origin.inc, *oseq) {
                        let (origin, origin_inc, oseq) = (origin.id.clone(), origin.inc, *oseq);
                        out.push(Output::Note(Note::DupSuppressed { epoch, seq, view_id, origin, origin_inc, oseq }));
                    } else {
                        self.sink(&origin.id, origin.inc, *oseq);
                        let (origin, payload) = (origin.clone(), payload.clone());
                        let reading = Reading { epoch, view_id, seq, origin, oseq: *oseq, time: *time, guarantee: *guarantee, payload };
                        out.push(Output::Deliver(Delivery::Reading(reading)));
                    }
                }
                Entry::Lost { origin, from, to } => {
                    let had = self.has_sunk(&origin.id, origin.inc, *to);
                    // Its origin says it in any case: whoever else could may be gone.
                    if !had || (&origin.id, origin.inc) == me {
                        out.push(Output::Note(Note::Lost {
                            epoch: log.epoch_at(seq),
                            seq,
                            view_id: self.in_force,
                            origin: origin.id.clone(),
                            origin_inc: origin.inc,
                            from: *from,
                            to: *to,
                        }));
                    }
                    if !had {
                        self.sink(&origin.id, origin.inc, *to);
                        out.push(Output::Deliver(Delivery::Lost { seq, origin: origin.clone(), from: *from, to: *to }));
                    }
                }
                Entry::View(view) => {
                    self.in_force = view.view_id;
                    self.forget(log);
                    if seq >= self.tell_from && view.incarnation(me.0) == Some(me.1) {
                        self.tell(log, view, seq, out);
                    }
                }
            }
        }
    }

    /// The log has become another one that agrees with the old one up to `fork`; deliveries go on after `resume`, and views
    /// are told from `tell_from` on.
    pub(crate) fn on_log_replaced(&mut self, log: &Log, fork: Seq, resume: Seq, tell_from: Seq, out: &mut Vec<Output>) {
        // Let in again before it was told of the view that let it in first, and which stands: that one is its first still.
        let joined_before = self.told.is_none() && (Seq(1)..=fork).contains(&self.tell_from);
        self.tell_from = if joined_before { self.tell_from.min(tell_from) } else { tell_from };
        if self.delivered > fork {
            out.push(Output::Note(Note::Diverged { from: fork.next(), to: self.delivered }));
            self.delivered = fork;
        }
        // A newcomer has no past to miss: its first delivery is where it joined.
        if self.delivered > Seq::ZERO && self.delivered < resume {
            let (from, to) = (self.delivered.next(), resume);
            out.push(Output::Note(Note::Gap { from, to, why: "the entries had been discarded".to_owned() }));
            out.push(Output::Deliver(Delivery::Gap { from, to }));
        }
        self.delivered = self.delivered.max(resume);
        self.in_force = log.view_in_force(self.delivered).map_or(ViewId::ZERO, |view| view.view_id);
    }

    fn tell(&mut self, log: &Log, view: &View, seq: Seq, out: &mut Vec<Output>) {
        // In another log views may come that are older than those told; they are history, not news.
        if self.told.as_ref().is_some_and(|told| (&view.epoch, view.view_id) <= (&told.epoch, told.view_id)) {
            return;
        }
        let before = self.told.replace(view.clone());
        let before = before.as_ref();
        for contact in view.members.iter().filter(|contact| before.is_none_or(|old| !old.names(&contact.member))) {
            out.push(Output::Note(Note::PeerAdded { peer: contact.id().clone(), peer_inc: contact.member.inc, view_id: view.view_id }));
        }
        for contact in before.iter().flat_map(|old| old.members.iter()).filter(|contact| !view.names(&contact.member)) {
            out.push(Output::Note(Note::PeerRemoved { peer: contact.id().clone(), peer_inc: contact.member.inc, view_id: view.view_id }));
        }
        out.push(Output::Note(Note::View {
            view_id: view.view_id,
            epoch: view.epoch.clone(),
            seq,
            leader: view.leader.clone(),
            members: view.ids(),
            incs: view.members.iter().map(|contact| contact.member.inc).collect(),
            log_id: format!("{:?}", log.log_id()),
        }));
    }

    /// Bounds what is remembered of those who are gone, oldest incarnation first; another log may still bring them back,
    /// so the bound is generous.
    fn forget(&mut self, log: &Log) {
        if self.sunk.len() <= SUNK_MOST {
            return;
        }
        let mut gone: Vec<(Incarnation, PeerId)> =
            self.sunk.iter().filter(|(id, _)| !log.remembers(id)).map(|(id, (inc, _))| (*inc, id.clone())).collect();
        gone.sort();
        for (_, id) in gone.into_iter().take(self.sunk.len() - SUNK_MOST) {
            self.sunk.remove(&id);
        }
    }

    fn has_sunk(&self, origin: &PeerId, inc: Incarnation, oseq: Oseq) -> bool {
        self.sunk.get(origin).is_some_and(|(known, last)| (*known, *last) >= (inc, oseq))
    }

    fn sink(&mut self, origin: &PeerId, inc: Incarnation, oseq: Oseq) {
        match self.sunk.get_mut(origin) {
            Some(row) => *row = (inc, oseq),
            None => {
                self.sunk.insert(origin.clone(), (inc, oseq));
            }
        }
    }
}

/// Names whose last number is remembered, beyond those that the log remembers.
const SUNK_MOST: usize = 16_384;
