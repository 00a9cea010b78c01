//! What is handed over follows upon what was handed over before it.

use protocol::id::Seq;
use protocol::log_id::LogId;
use protocol::node::Node;
use protocol::seam::Delivery;
use protocol::time::Time;

use super::{Law, Truth};

/// How far the sinks of a process are.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// In which log, and to which position.
    at: Option<(LogId, Seq)>,
    /// Whether a view was told.
    has_view: bool,
    /// Where the view stands that let it in, if it came as one that joins.
    let_in: Seq,
}

impl Past {
    /// The last position that was handed over, or accounted for.
    pub(super) fn end(&self) -> Seq {
        self.at.as_ref().map_or(Seq::ZERO, |(_, at)| *at)
    }
}

impl Truth {
    /// Position by position, or it is told why not.
    pub(super) fn judge_past(&mut self, now: Time, number: usize, node: &Node, delivery: &Delivery) {
        let past = &mut self.sinks[number].past;
        let (first, last) = delivery.range();
        let Some((log, at)) = past.at.clone() else {
            let log = if let Delivery::Merged { into, .. } = delivery { into } else { delivery.log() };
            past.at = Some((log.clone(), last));
            return;
        };
        let (follows, next) = match delivery {
            Delivery::Merged { log: old, into, .. } => (*old == log, (into.clone(), at)),
            Delivery::Diverged { .. } => (last == at && first <= at, (log.clone(), first.previous())),
            Delivery::Gap { .. } | Delivery::Run(_) | Delivery::View(_) | Delivery::Repeat { .. } | Delivery::Lost { .. } => {
                // Of a log of which it has had nothing it begins anywhere.
                let continues = first == at.next() || at == Seq::ZERO;
                (*delivery.log() == log && continues, (delivery.log().clone(), last))
            }
        };
        past.at = Some(next);
        self.notes.judge(Law::NoSilentHole, now, follows, || {
            let me = &node.contact().member;
            let there = delivery.log();
            format!("{me} hands over #{first} to #{last} of log {there} ({delivery:.40?}), and was at #{at} of log {log}")
        });
    }

    /// A peer that was away tells no view from before the one that let it in again.
    pub(super) fn judge_told_view(&mut self, now: Time, number: usize, node: &Node, seq: Seq) {
        let past = &mut self.sinks[number].past;
        let is_first = !std::mem::replace(&mut past.has_view, true);
        let let_in = past.let_in;
        self.notes.judge(Law::ViewsLived, now, seq >= let_in || is_first, || {
            format!("{} tells the view at #{seq}, and was let in at #{let_in}", node.contact().member)
        });
    }

    /// Notes where a node was let in, if it just was.
    pub(super) fn note_admission(&mut self, number: usize, node: &Node) {
        let me = &node.contact().member;
        let known = &self.known[number];
        if !node.follows() || known.follows && known.tip.0 == node.epoch() {
            return;
        }
        let is_listed = self.claims.lists(&node.epoch(), me);
        let view_at = node.last_views().first().map_or(Seq::ZERO, |(at, _)| *at);
        if is_listed {
            // What a cut brings is told from wherever it is.
            self.sinks[number].past.let_in = Seq::ZERO;
        } else if known.joins {
            self.sinks[number].past.let_in = node.came_in(me).unwrap_or(view_at);
        }
    }
}
