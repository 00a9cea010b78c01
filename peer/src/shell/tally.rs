//! What has been delivered, as numbers that can be compared between peers.

use hdrhistogram::Histogram;
use protocol::io::Run;
use protocol::time::Time;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::sensors::load::stamp;
use crate::status::{Deliveries, Latency};

/// What has been delivered, in numbers.
pub(super) struct Tally {
    numbers: Deliveries,
    hash: Option<Hash>,
    /// How long synthetic load took, in microseconds, where that is measured.
    latency: Option<Histogram<u64>>,
}

/// Of everything that has been delivered, in its order.
#[derive(Default)]
struct Hash {
    payloads: Xxh3,
    /// Whose each reading was, where it stood, and how long it was.
    places: u64,
}

impl Tally {
    /// Of nothing yet; with `latency`, of how long synthetic load takes, too.
    pub(super) fn new(latency: bool) -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MOST_US, 3).expect("bounds that make sense");
        Self { numbers: Deliveries::default(), hash: None, latency: latency.then(histogram) }
    }

    /// Counts readings that are delivered now; with `hashed`, they go into the hash, which is the
    /// same however they come together.
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
            // The two numbers rise together; their distance says where this origin's readings
            // stand.
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
/// Longer ones count as this long: a minute.
const LATENCY_MOST_US: u64 = 60_000_000;
