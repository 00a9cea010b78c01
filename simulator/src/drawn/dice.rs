//! The dice of one seed: keyed draws, so that removing one draw changes no other.

use protocol::draw::draw_below;

use crate::plan::Who;

pub(super) struct Dice {
    pub(super) seed: u64,
}

impl Dice {
    pub(super) fn below(&self, purpose: &str, counter: u64, bound: u64) -> u64 {
        draw_below(self.seed, purpose, counter, bound)
    }

    pub(super) fn one_in(&self, purpose: &str, counter: u64, n: u64) -> bool {
        self.below(purpose, counter, n) == 0
    }

    pub(super) fn pick<T: Copy>(&self, purpose: &str, counter: u64, from: &[T]) -> T {
        from[usize::try_from(self.below(purpose, counter, from.len() as u64))
            .expect("below a length")]
    }

    pub(super) fn host(&self, purpose: &str, counter: u64, hosts: usize) -> usize {
        usize::try_from(self.below(purpose, counter, hosts as u64)).expect("below a count of hosts")
    }

    /// The target of a fault; `it` is available to a fault that waits for a peer's activity.
    pub(super) fn who(&self, purpose: &str, counter: u64, hosts: usize, it: bool) -> Who {
        if it && !self.one_in("somebody else", counter, 3) && purpose != "other" {
            return Who::It;
        }
        match self.below(purpose, counter, 8) {
            0 | 1 => Who::Leader,
            2 => Who::Successor,
            3 => Who::Highest,
            4 => self.pick("last or leader", counter, &[Who::Lowest, Who::Leader]),
            _ => Who::Peer(self.host(purpose, counter + 1_000, hosts)),
        }
    }
}
