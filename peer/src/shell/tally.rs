//! The deliveries, as numbers that can be compared between peers.

use hdrhistogram::Histogram;
use protocol::io::Run;
use protocol::time::Time;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::sensors::load::stamp;
use crate::status::{Deliveries, Latency};

/// The deliveries, in numbers.
pub(super) struct Tally {
    numbers: Deliveries,
    hash: Option<Hash>,
    /// The latency of synthetic load, in microseconds, if it is measured.
    latency: Option<Histogram<u64>>,
}

/// A hash of all deliveries, in their order.
#[derive(Default)]
struct Hash {
    payloads: Xxh3,
    /// The origin, the position and the length of each reading.
    places: u64,
}

impl Tally {
    /// Without deliveries; with `latency`, also measures the latency of synthetic load.
    pub(super) fn new(latency: bool) -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MOST_US, 3).expect("bounds that make sense");
        Self { numbers: Deliveries::default(), hash: None, latency: latency.then(histogram) }
    }

    /// Counts the readings of a delivery; with `hashed`, they go into the hash, which does not
    /// depend on their division into runs.
    pub(super) fn count(&mut self, now: Time, run: &Run, hashed: bool) {
        let numbers = &mut self.numbers;
        if numbers.count == 0 {
            (numbers.first, numbers.first_at) = (run.first.0, now);
        }
        numbers.last_at = now;
        numbers.count += run.readings.len();
        numbers.bytes += run.readings.bytes();
        if hashed {
            let hash = self.hash.get_or_insert_with(Hash::default);
            hash.payloads.update(run.readings.payloads());
            // The two numbers rise together; their difference determines the positions of this
            // origin's readings.
            let origin = xxh3_64(run.origin.id.as_str().as_bytes())
                ^ run.first.0.wrapping_sub(run.oseq.0).wrapping_mul(ODD);
            for (payload, _) in run.readings.iter() {
                hash.places =
                    (hash.places.rotate_left(5) ^ origin ^ payload.len() as u64).wrapping_mul(ODD);
            }
        }
        if let Some(histogram) = &mut self.latency {
            for due in run.readings.iter().filter_map(|(payload, _)| stamp(payload)) {
                histogram.saturating_record(
                    u64::try_from(now.since(due).as_micros()).unwrap_or(LATENCY_MOST_US),
                );
            }
        }
    }

    /// The numbers so far.
    pub(super) fn report(&self) -> Deliveries {
        let latency = self.latency.as_ref().map(|histogram| Latency {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        });
        let hash =
            self.hash.as_ref().map(|hash| format!("{:016x}", hash.payloads.digest() ^ hash.places));
        Deliveries { hash, latency, ..self.numbers.clone() }
    }
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Longer latencies count as this: a minute.
const LATENCY_MOST_US: u64 = 60_000_000;
