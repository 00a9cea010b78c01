//! Readings for the peers to publish: a steady flow, and bursts. Each is a line on a peer's stdin;
//! a reading counts as published only when the peer's event says so.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::time::Time;

use crate::clock;

/// The source of readings.
#[derive(Debug, Default)]
pub struct Readings {
    /// When each process gets its next reading of the flow, and how many readings it got in its
    /// present life.
    taps: BTreeMap<String, Tap>,
    /// Numbers the readings of the run, so that no two are equal.
    count: u64,
}

#[derive(Debug, Default)]
struct Tap {
    /// None while the process is not part of the flow.
    next: Option<Time>,
    fed: u64,
}

impl Readings {
    /// Directs the flow to exactly these processes; those already in it keep their pace.
    pub fn flow_to(&mut self, processes: &[String], now: Time) {
        for (process, tap) in &mut self.taps {
            if !processes.contains(process) {
                tap.next = None;
            }
        }
        for process in processes {
            self.taps.entry(process.clone()).or_default().next.get_or_insert(now);
        }
    }

    /// The processes whose next reading is due.
    pub fn due(&mut self, now: Time, interval: Duration) -> Vec<String> {
        let mut due = Vec::new();
        for (process, tap) in &mut self.taps {
            let Some(next) = tap.next.filter(|next| *next <= now) else { continue };
            // Missed readings are not made up for with a burst: that would be another workload.
            tap.next = Some((next + interval).max(now));
            due.push(process.clone());
        }
        due
    }

    /// The next reading of a process, as the line that a sensor would write; at least `size` bytes
    /// long.
    pub fn reading(&mut self, process: &str, size: u64) -> String {
        self.count += 1;
        let mut line = format!("DATA|{process}|{}|count={}", clock::rfc3339(), self.count);
        let missing = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(line.len());
        if missing > PAD.len() {
            line.push_str(PAD);
            line.extend(std::iter::repeat_n('x', missing - PAD.len()));
        }
        line
    }

    /// Counts a reading given to a process.
    pub fn fed(&mut self, process: &str) {
        self.taps.entry(process.to_owned()).or_default().fed += 1;
    }

    /// How many readings a process got in its present life.
    #[must_use]
    pub fn given(&self, process: &str) -> u64 {
        self.taps.get(process).map_or(0, |tap| tap.fed)
    }

    /// A new life of a process begins: readings given to its predecessor do not count.
    pub fn reborn(&mut self, process: &str) {
        self.taps.remove(process);
    }
}

const PAD: &str = "|pad=";

#[cfg(test)]
mod tests {
    use super::Readings;
    use protocol::time::Time;
    use std::time::Duration;

    #[test]
    fn the_flow_keeps_its_pace_and_makes_up_for_nothing() {
        let mut workload = Readings::default();
        let interval = Duration::from_micros(10);
        workload.flow_to(&["a".to_owned(), "b".to_owned()], Time::from_micros(100));
        assert_eq!(workload.due(Time::from_micros(100), interval), ["a", "b"]);
        assert!(workload.due(Time::from_micros(105), interval).is_empty());
        workload.flow_to(&["b".to_owned()], Time::from_micros(106));
        assert_eq!(workload.due(Time::from_micros(500), interval), ["b"]);
        assert_eq!(
            workload.due(Time::from_micros(500), interval),
            ["b"],
            "late once, not forty times"
        );
        assert!(workload.due(Time::from_micros(509), interval).is_empty());
    }

    #[test]
    fn readings_differ_and_are_as_long_as_asked() {
        let mut workload = Readings::default();
        let (a, b) = (workload.reading("p", 0), workload.reading("p", 200));
        assert!(a.starts_with("DATA|p|") && a.ends_with("|count=1"), "{a}");
        assert!(b.contains("|count=2|pad=xxx") && b.len() == 200, "{b}");
    }
}
