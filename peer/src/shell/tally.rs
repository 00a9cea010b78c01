//! What has been delivered, as numbers that can be compared between peers.

use hdrhistogram::Histogram;
use protocol::seam::Reading;
use protocol::time::Time;
use xxhash_rust::xxh3::xxh3_64;

use crate::sensors::load::stamp;
use crate::status::{Deliveries, Latency};

/// What has been delivered, in numbers.
pub(super) struct Tally {
    numbers: Deliveries,
    hash: Option<u64>,
    /// How long synthetic load took, in microseconds, where that is measured.
    latency: Option<Histogram<u64>>,
}

impl Tally {
    /// Of nothing yet; with `latency`, of how long synthetic load takes, too.
    pub(super) fn new(latency: bool) -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_MOST_US, 3).expect("bounds that make sense");
        Self { numbers: Deliveries::default(), hash: None, latency: latency.then(histogram) }
    }

    /// Counts a reading that is delivered now; with `hashed`, it goes into the hash.
    pub(super) fn count(&mut self, now: Time, reading: &Reading, hashed: bool) {
        let numbers = &mut self.numbers;
        if numbers.count == 0 {
            (numbers.first, numbers.first_at) = (reading.seq.0, now);
        }
        numbers.last_at = now;
        numbers.count += 1;
        numbers.bytes += reading.payload.len() as u64;
        if hashed {
            let origin = xxh3_64(reading.origin.id.as_str().as_bytes());
            let hash = self.hash.get_or_insert(0);
            for part in [origin, reading.oseq.0, xxh3_64(&reading.payload), reading.seq.0] {
                *hash = (hash.rotate_left(5) ^ part).wrapping_mul(ODD);
            }
        }
        if let Some(histogram) = &mut self.latency
            && let Some(due) = stamp(&reading.payload)
        {
            histogram.saturating_record(u64::try_from(now.since(due).as_micros()).unwrap_or(LATENCY_MOST_US));
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
        Deliveries { hash: self.hash.map(|hash| format!("{hash:016x}")), latency, ..self.numbers.clone() }
    }
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Longer ones count as this long: a minute.
const LATENCY_MOST_US: u64 = 60_000_000;
