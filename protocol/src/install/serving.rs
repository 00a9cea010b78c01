//! Serving the log to whoever lacks some of it.
//!
//! A holder answers only where its own lineage covers the range by the epoch named, so that nobody
//! builds a log out of two. One question brings a bounded part of it.

use crate::env::Env;
use crate::id::{Member, Seq};
use crate::io::Output;
use crate::log::entry::Ordered;
use crate::log::lineage::Snapshot;
use crate::roles::follower::RUN_BYTES;
use crate::time::Time;
use crate::wire::message::{Message, MissingAnswer, MissingRequest, Reason};

impl Env {
    /// Somebody lacks entries.
    pub(crate) fn on_missing(
        &mut self,
        now: Time,
        from: &Member,
        missing: &MissingRequest,
        out: &mut Vec<Output>,
    ) {
        let ask = missing.ask;
        if !self.may_read(from) {
            let why = "of a peer that is in no view of this one";
            self.reject(Some(&from.id), "MISSING_SEQ_REQUEST", why, out);
            self.refuse(now, from, Some(ask), Reason::NotMember, out);
            return;
        }
        if !self.answered.insert(from.clone()) {
            let why = "before the last one was answered";
            self.reject(Some(&from.id), "MISSING_SEQ_REQUEST", why, out);
            return;
        }
        let Some((snapshot, next)) = self.answer_from(missing) else {
            let answer = MissingAnswer { ask, snapshot: None };
            self.send(now, from, Message::MissingSeqNotFound(answer), out);
            return;
        };
        if snapshot.is_some() {
            self.send(now, from, Message::MissingSeqNotFound(MissingAnswer { ask, snapshot }), out);
        }
        self.repair(now, from, missing, next, out);
    }

    /// With what the answer begins, and from where it goes on in entries; nothing if this log does
    /// not have what is asked for.
    fn answer_from(&self, missing: &MissingRequest) -> Option<(Option<Snapshot>, Seq)> {
        let (next, to) = (missing.from, missing.to);
        let covered = !self.log.is_none()
            && to <= self.log.contiguous()
            && self.log.epoch_at(to) == missing.epoch;
        if !covered {
            return None;
        }
        if next > Seq::ZERO && self.log.retains_above(next.previous()) {
            return Some((None, next));
        }
        // Who has had something of this log misses what is not retained any more, and nothing else;
        // who has had nothing begins where the log is stable.
        let start = if next == Seq(1) { self.log.stable().min(to) } else { self.log.base() };
        if start > to || !self.log.retains_above(start) {
            return None;
        }
        let snapshot = self.log.snapshot(start);
        let next = snapshot.seq.next();
        Some((Some(snapshot), next))
    }

    /// Bounded per question; what is still missing afterwards is asked for again.
    fn repair(
        &mut self,
        now: Time,
        to: &Member,
        missing: &MissingRequest,
        mut next: Seq,
        out: &mut Vec<Output>,
    ) {
        for _ in 0..REPAIR_RUNS {
            if next > missing.to {
                return;
            }
            let message = Ordered {
                epoch: missing.epoch.clone(),
                first: next,
                run: self.log.run(next, missing.to, RUN_BYTES),
                stable: self.log.stable().min(missing.to),
                repair: Some(missing.ask),
            };
            next = next.plus(message.positions());
            self.send(now, to, Message::Ordered(message), out);
        }
    }

    /// Whether the log is for somebody: a member of the newest two views, or the claimant that has
    /// this peer's promise.
    fn may_read(&self, peer: &Member) -> bool {
        self.promised.owner == *peer
            || self.log.last_views().iter().any(|(_, view)| view.names(peer))
    }
}

/// Frames in the answer to one question.
pub(super) const REPAIR_RUNS: u32 = 64;
