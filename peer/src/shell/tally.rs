//! What has been delivered, as numbers that can be compared between peers.

use protocol::id::Seq;

use crate::status::Deliveries;

/// What has been delivered, in numbers.
#[derive(Default)]
pub(super) struct Tally {
    numbers: Deliveries,
    hash: u64,
}

impl Tally {
    /// Counts a reading; with `parts`, it goes into the hash.
    pub(super) fn count(&mut self, seq: Seq, bytes: usize, parts: impl FnOnce() -> Option<[u64; 3]>) {
        if self.numbers.count == 0 {
            self.numbers.first = seq.0;
        }
        self.numbers.count += 1;
        self.numbers.bytes += bytes as u64;
        for part in parts().into_iter().flatten().chain([seq.0]) {
            self.hash = (self.hash.rotate_left(5) ^ part).wrapping_mul(ODD);
        }
    }

    /// The numbers, with the hash where it is kept.
    pub(super) fn report(&self, hashed: bool) -> Deliveries {
        Deliveries { hash: hashed.then(|| format!("{:016x}", self.hash)), ..self.numbers.clone() }
    }
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
