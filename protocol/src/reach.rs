//! What is out of reach: numbers that no honest peer can have got to, as far as this one knows.
//!
//! The wire bounds numbers by what can be computed with ([`crate::id::NUMBER_MAX`]); here they are
//! bounded by what this peer has seen. A round far above its own promise, an incarnation far above
//! its own and a position in the upper half of all that there are would leave no room above them:
//! after one such word nobody could claim, restart or number any more. A message that names one is
//! dropped as a whole, and counted.

use crate::env::Env;
use crate::id::{
    Contact, Epoch, Incarnation, Member, ROUND_AHEAD_MAX, Seq, TAKEN_OVER_MAX, ViewId,
};
use crate::log::entry::Entry;
use crate::log::lineage::{EpochStart, LogEnd, Snapshot};
use crate::log::view::View;
use crate::wire::message::{Message, Reason};

/// The largest numbers that a peer believes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    round: u64,
    incarnation: Incarnation,
}

impl Env {
    /// How far it reaches at the moment.
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            round: self.promised.round + ROUND_AHEAD_MAX,
            incarnation: self.me.member.inc.reach(),
        }
    }
}

impl Reach {
    /// Whether all numbers of a message are within reach.
    pub(crate) fn holds(self, message: &Message) -> bool {
        match message {
            Message::Hello(hello) => {
                self.contact(&hello.from)
                    && self.end(&hello.end)
                    && hello.knows.is_none_or(|inc| self.incarnation(inc))
            }
            Message::NewPeerRequest(join) => {
                let leading =
                    join.leading.as_ref().is_none_or(|leading| self.epoch(&leading.epoch));
                leading
                    && self.contact(&join.from)
                    && self.epoch(&join.promised)
                    && self.rows(&join.lineage)
            }
            Message::Added(added) => {
                self.epoch(&added.epoch)
                    && self.snapshot(&added.snapshot)
                    && is_taken_over(added.view_at)
            }
            Message::Heartbeat(beat) => self.epoch(&beat.epoch),
            Message::HeartbeatAck(ack) => self.epoch(&ack.epoch),
            Message::Election(election) => {
                self.contact(&election.candidate) && self.end(&election.end)
            }
            Message::Coordinator(word) => self.contact(&word.leader) && self.epoch(&word.epoch),
            Message::SeqSyncRequest(request) => {
                let view = request.view.as_ref().is_none_or(|view| self.view(view));
                view && self.epoch(&request.epoch) && self.contact(&request.claimant)
            }
            Message::SeqSyncResponse(answer) => {
                let views =
                    answer.views.iter().all(|(at, view)| is_taken_over(*at) && self.view(view));
                views
                    && self.epoch(&answer.epoch)
                    && self.rows(&answer.lineage)
                    && is_taken_over(answer.contiguous)
            }
            Message::SeqSyncFinal(last) => {
                let named = self.epoch(&last.epoch)
                    && self.contact(&last.leader)
                    && last.list.iter().all(|member| self.member(member));
                named && self.rows(&last.lineage) && is_taken_over(last.cut)
            }
            Message::SequencerRequest(requests) => self.member(&requests.origin),
            Message::Ordered(ordered) => {
                self.epoch(&ordered.epoch) && ordered.run.iter().all(|entry| self.entry(entry))
            }
            Message::OrderedAck { epoch, .. } | Message::Handover { epoch, .. } => {
                self.epoch(epoch)
            }
            Message::MissingSeqRequest(missing) => self.epoch(&missing.epoch),
            Message::MissingSeqNotFound(answer) => {
                answer.snapshot.as_ref().is_none_or(|snapshot| self.snapshot(snapshot))
            }
            Message::Rejected(rejected) => match &rejected.reason {
                Reason::Stale { promised } => self.epoch(promised),
                Reason::OldIncarnation { known } => self.incarnation(*known),
                Reason::NotLeader
                | Reason::NotMember
                | Reason::DuplicateId { .. }
                | Reason::NoQuorum
                | Reason::Version { .. }
                | Reason::Busy => true,
            },
            Message::Ok { .. }
            | Message::Clear { .. }
            | Message::ViewSyncRequest { .. }
            | Message::Leave
            | Message::Query { .. }
            | Message::Answer { .. } => true,
        }
    }

    pub(crate) fn contact(self, contact: &Contact) -> bool {
        self.member(&contact.member)
    }

    fn incarnation(self, incarnation: Incarnation) -> bool {
        incarnation <= self.incarnation
    }

    fn member(self, member: &Member) -> bool {
        self.incarnation(member.inc)
    }

    fn epoch(self, epoch: &Epoch) -> bool {
        epoch.round <= self.round && self.member(&epoch.owner)
    }

    fn end(self, end: &LogEnd) -> bool {
        self.epoch(&end.epoch) && self.epoch(&end.log_id)
    }

    fn rows(self, rows: &[EpochStart]) -> bool {
        rows.iter().all(|row| self.epoch(&row.epoch) && is_taken_over(row.first))
    }

    fn view(self, view: &View) -> bool {
        let Some(successor) = &view.successor else { return self.members(view) };
        self.contact(successor) && self.members(view)
    }

    fn members(self, view: &View) -> bool {
        is_a_view(view.view_id)
            && self.epoch(&view.epoch)
            && view.members.iter().all(|contact| self.contact(contact))
    }

    fn snapshot(self, snapshot: &Snapshot) -> bool {
        let table = snapshot.table.iter().all(|(_, (inc, _))| self.incarnation(*inc));
        table
            && is_taken_over(snapshot.seq)
            && self.rows(&snapshot.lineage)
            && snapshot.view.as_ref().is_none_or(|view| self.view(view))
    }

    fn entry(self, entry: &Entry) -> bool {
        match entry {
            Entry::Readings { origin, .. } | Entry::Lost { origin, .. } => self.member(origin),
            Entry::View(view) => self.view(view),
            Entry::Change(change) => {
                let come = change
                    .come
                    .iter()
                    .chain(&change.successor)
                    .all(|contact| self.contact(contact));
                come && self.epoch(&change.epoch) && is_a_view(change.view_id)
            }
        }
    }
}

/// Whether a log may be taken over that has got there.
fn is_taken_over(at: Seq) -> bool {
    at.0 <= TAKEN_OVER_MAX
}

/// Whether a view may have that number.
fn is_a_view(number: ViewId) -> bool {
    number.0 <= TAKEN_OVER_MAX
}

#[cfg(test)]
mod tests {
    use crate::config::Knobs;
    use crate::harness::{Harness, peer};
    use crate::id::{
        Contact, Epoch, INCARNATION_AHEAD_MAX, Incarnation, Member, ROUND_AHEAD_MAX, Seq,
        TAKEN_OVER_MAX, ViewId,
    };
    use crate::log::dedup::Dedup;
    use crate::log::lineage::{EpochStart, Snapshot};
    use crate::log::view::View;
    use crate::node::Node;
    use crate::wire::message::{Added, Coordinator, Message, Reason, Rejected};

    fn refuses(node: &Node, message: &Message) -> bool {
        !node.env.reach().holds(message)
    }

    #[test]
    fn a_round_far_above_its_own_promise_is_out_of_reach() {
        let mut harness = Harness::newcomer(Knobs::fast());
        for promised in [0, 7] {
            harness.node.env.promised = Epoch { round: promised, owner: peer(3).member };
            let at = |round| Epoch { round, owner: peer(2).member };
            let (last, first) =
                (at(promised + ROUND_AHEAD_MAX), at(promised + ROUND_AHEAD_MAX + 1));
            for (epoch, refused) in [(last, false), (first, true)] {
                let leader = peer(2);
                let word = Coordinator {
                    leader,
                    epoch: epoch.clone(),
                    size: 1,
                    ask: None,
                    names_you: false,
                };
                let stale =
                    Rejected { ask: None, reason: Reason::Stale { promised: epoch.clone() } };
                let ack = Message::OrderedAck { epoch: epoch.clone(), contiguous: Seq(1) };
                for message in [Message::Coordinator(word), Message::Rejected(stale), ack] {
                    assert_eq!(refuses(&harness.node, &message), refused, "{message}");
                }
            }
        }
    }

    #[test]
    fn an_incarnation_far_above_its_own_is_out_of_reach() {
        let mut harness = Harness::newcomer(Knobs::fast());
        let set = Incarnation(1_900_000_000_000);
        for (own, most) in [(Incarnation(1), 1_767_225_600_000), (set, set.0)] {
            harness.node.env.me.member.inc = own;
            for (known, refused) in
                [(most + INCARNATION_AHEAD_MAX, false), (most + INCARNATION_AHEAD_MAX + 1, true)]
            {
                let old = Message::Rejected(Rejected {
                    ask: None,
                    reason: Reason::OldIncarnation { known: Incarnation(known) },
                });
                assert_eq!(refuses(&harness.node, &old), refused, "{known} for {own}");
            }
        }
    }

    #[test]
    fn a_position_or_a_view_in_the_upper_half_is_out_of_reach() {
        let harness = Harness::newcomer(Knobs::fast());
        let most = TAKEN_OVER_MAX;
        for (seq, view_at, row, view_id, refused) in [
            (most, most, most, most, false),
            (most + 1, most, 1, 1, true),
            (1, most + 1, 1, 1, true),
            (1, 1, most + 1, 1, true),
            (1, 1, 1, most + 1, true),
        ] {
            let epoch = Epoch { round: 1, owner: peer(3).member };
            let view = View::new(
                ViewId(view_id),
                epoch.clone(),
                peer(3).id().clone(),
                vec![peer(1), peer(3)],
            );
            let lineage = vec![EpochStart { epoch: epoch.clone(), first: Seq(row) }];
            let snapshot =
                Snapshot { seq: Seq(seq), view: Some(view), table: Dedup::new(), lineage };
            let added = Message::Added(Added { ask: 1, epoch, snapshot, view_at: Seq(view_at) });
            assert_eq!(refuses(&harness.node, &added), refused, "{seq} {view_at} {row} {view_id}");
        }
    }

    #[test]
    fn whoever_names_such_a_number_changes_nothing() {
        let mut harness = Harness::member(Knobs::fast());
        let promised = harness.node.env.promised.clone();
        let late =
            Contact { member: Member { inc: Incarnation(1 << 50), ..peer(2).member }, ..peer(2) };
        harness.greet(&late, crate::harness::nothing());
        assert!(!harness.node.env.links.is_linked(&late.member), "nobody speaks with it");
        harness.greet(&peer(2), crate::harness::nothing());
        let epoch = Epoch { round: 1 << 40, owner: peer(2).member };
        harness.say(&peer(2), Message::OrderedAck { epoch, contiguous: Seq(1) });
        assert_eq!(harness.node.env.promised, promised);
        assert!(harness.node.env.links.is_linked(&peer(2).member), "one word costs no link");
    }
}
