//! The deliveries that a sink missed: their positions, as gaps to record later.
//!
//! Numbers begin anew in each log and fall back when a log is left, so a hole is a list of ranges,
//! one for each stretch of one log. The two records about the fate of earlier lines are few and
//! small; they are kept unchanged.

use protocol::id::Seq;
use protocol::io::Delivery;
use protocol::log_id::LogId;

/// The missed deliveries, oldest first.
#[derive(Debug)]
pub(crate) struct Hole {
    parts: Vec<Delivery>,
    why: &'static str,
}

impl Hole {
    /// An empty hole; `why` is the reason in each gap.
    pub(crate) fn new(why: &'static str) -> Self {
        Self { parts: Vec::new(), why }
    }

    /// Adds missed deliveries.
    pub(crate) fn add(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            match delivery {
                Delivery::Diverged { .. } | Delivery::Merged { .. }
                    if self.parts.len() < PARTS_MAX =>
                {
                    self.parts.push(delivery.clone())
                }
                Delivery::Diverged { .. } | Delivery::Merged { .. } => {}
                Delivery::Run(_)
                | Delivery::View(_)
                | Delivery::Gap { .. }
                | Delivery::Repeat { .. }
                | Delivery::Lost { .. } => {
                    let (from, to) = delivery.range();
                    self.miss(delivery.log(), from, to);
                }
            }
        }
    }

    /// The records of the hole, in order; it is empty from then on.
    pub(crate) fn take(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.parts)
    }

    fn miss(&mut self, log: &LogId, first: Seq, last: Seq) {
        let full = self.parts.len() >= PARTS_MAX;
        match self.parts.last_mut() {
            Some(Delivery::Gap { log: same, to, .. }) if same == log && first > *to => *to = last,
            // Too many stretches to keep apart: the last one is less precise, and still covers the
            // missing positions.
            Some(Delivery::Gap { log: same, from, to, .. }) if full && same == log => {
                (*from, *to) = ((*from).min(first), (*to).max(last))
            }
            _ => self.parts.push(Delivery::Gap {
                log: log.clone(),
                from: first,
                to: last,
                why: self.why.to_owned(),
            }),
        }
    }
}

/// How many stretches and records are kept apart. A log is left once in a merge, and merges are
/// rare.
const PARTS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::{Delivery, Hole, LogId, PARTS_MAX, Seq};

    fn gap(log: &str, from: u64, to: u64) -> Delivery {
        Delivery::Gap {
            log: log.parse().unwrap(),
            from: Seq(from),
            to: Seq(to),
            why: "the disk is full".to_owned(),
        }
    }

    #[test]
    fn stretches_of_one_log_are_one_gap_and_logs_are_told_apart() {
        let log: LogId = "1.p1#1".parse().unwrap();
        let diverged = Delivery::Diverged { log, from: Seq(3), to: Seq(4) };
        let mut hole = Hole::new("the disk is full");
        hole.add(&[gap("1.p1#1", 1, 2), gap("1.p1#1", 3, 3), gap("1.p1#1", 4, 4)]);
        hole.add(&[diverged.clone(), gap("1.p1#1", 3, 3), gap("1.p2#1", 4, 9)]);
        assert_eq!(
            hole.take(),
            [gap("1.p1#1", 1, 4), diverged, gap("1.p1#1", 3, 3), gap("1.p2#1", 4, 9)]
        );
        assert_eq!(hole.take(), []);
    }

    #[test]
    fn it_is_bounded() {
        let mut hole = Hole::new("the disk is full");
        (0..2 * PARTS_MAX).for_each(|_| hole.add(&[gap("1.p1#1", 1, 2)]));
        assert_eq!(hole.take().len(), PARTS_MAX);
    }
}
