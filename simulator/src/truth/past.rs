//! Each delivery continues where the one before it ended.

use protocol::id::Seq;
use protocol::io::Delivery;
use protocol::log_id::LogId;
use protocol::message::Entry;
use protocol::node::Node;
use protocol::time::Time;

use super::{Law, Truth};

/// The progress of a process's sinks.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The log, and the position in it.
    at: Option<(LogId, Seq)>,
    /// Whether a view was delivered.
    has_view: bool,
    /// Whether the first view was delivered after an absence and a new admission.
    is_late: bool,
    /// If it came as a joining peer: the last common position of its old log and the new one, and
    /// the position of the view that admitted it.
    away: (Seq, Seq),
}

impl Past {
    /// The last position that was delivered, or accounted for.
    pub(super) fn end(&self) -> Seq {
        self.at.as_ref().map_or(Seq::ZERO, |(_, at)| *at)
    }
}

impl Truth {
    /// Every position is delivered, or reported as missing.
    pub(super) fn judge_past(
        &mut self,
        now: Time,
        number: usize,
        node: &Node,
        delivery: &Delivery,
    ) {
        let past = &mut self.sinks[number].past;
        let (first, last) = delivery.range();
        let Some((log, at)) = past.at.clone() else {
            // Who has been handed nothing when it merges has had nothing of the other log either.
            past.at = Some(match delivery {
                Delivery::Merged { into, .. } => (into.clone(), Seq::ZERO),
                _ => (delivery.log().clone(), last),
            });
            return;
        };
        let (follows, next) = match delivery {
            Delivery::Merged { log: old, into, .. } => (*old == log, (into.clone(), at)),
            Delivery::Diverged { .. } => {
                (last == at && first <= at, (log.clone(), first.previous()))
            }
            Delivery::Gap { .. }
            | Delivery::Run(_)
            | Delivery::View(_)
            | Delivery::Repeat { .. }
            | Delivery::Lost { .. } => {
                // In a log of which it has nothing it begins anywhere.
                let continues = first == at.next() || at == Seq::ZERO;
                (*delivery.log() == log && continues, (delivery.log().clone(), last))
            }
        };
        past.at = Some(next);
        self.notes.judge(Law::NoSilentHole, now, follows, || {
            let me = &node.contact().member;
            let there = delivery.log();
            format!(
                "{me} hands over #{first} to #{last} of log {there} ({delivery:.40?}), and was \
                     at #{at} of log {log}"
            )
        });
    }

    /// A peer that was away delivers no view from before the view that admitted it again.
    pub(super) fn judge_told_view(&mut self, now: Time, number: usize, node: &Node, seq: Seq) {
        let past = &mut self.sinks[number].past;
        let is_first = !std::mem::replace(&mut past.has_view, true);
        let (held, let_in) = past.away;
        // Of the views that it held before it may deliver the admitting one first, and later ones,
        // if it has delivered none.
        past.is_late |= is_first && seq <= held;
        let lived = seq >= let_in || past.is_late && seq <= held;
        self.notes.judge(Law::ViewsLived, now, lived, || {
            format!(
                "{} tells the view at #{seq}, held #{held} when it was away, and was let in at \
                     #{let_in}",
                node.contact().member
            )
        });
    }

    /// Records where a node was admitted, if it just was.
    pub(super) fn note_admission(&mut self, number: usize, node: &Node) {
        let me = &node.contact().member;
        let known = &self.known[number];
        let is_in = node.follows() || node.leads();
        if !is_in || (known.follows || known.leads) && known.tip.0 == node.epoch() {
            return;
        }
        let (of, end) = &known.tip;
        let held = node.covers().find(|(epoch, first, _)| *epoch == of && first <= end);
        let held = held.map_or(Seq::ZERO, |(_, _, last)| last.min(*end));
        let is_listed = node.leads() || self.claims.lists(&node.epoch(), me);
        let past = &mut self.sinks[number].past;
        if is_listed {
            // A cut admits no peer: its entries are delivered, and entries from before an absence
            // are not.
            past.away.1 = past.away.1.min(held.next());
        } else if known.joins {
            (past.away, past.is_late) = ((held, let_in(node, held)), false);
        }
    }
}

/// The position of the first view, among those that it did not hold before, by which a node came
/// into its log's group. In one call it may be admitted, removed and admitted again, and the first
/// view counts.
fn let_in(node: &Node, held: Seq) -> Seq {
    let me = &node.contact().member;
    let mut was_in = false;
    for (at, entry) in node.between(node.base().next(), node.contiguous()) {
        let Entry::View(view) = entry else { continue };
        if at > held && view.names(me) && !was_in {
            return at;
        }
        was_in = view.names(me);
    }
    node.last_views().first().map_or(Seq::ZERO, |(at, _)| *at)
}
