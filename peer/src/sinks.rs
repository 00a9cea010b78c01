//! Where delivered readings are kept: `ordered.jsonl`, and one CSV per sensor. Runs on the worker thread.
//!
//! A disk that does not take them is one clear message; the group goes on, the sinks try again every few seconds, and
//! what was missed meanwhile stands in `ordered.jsonl` as a hole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::id::Seq;
use protocol::seam::Delivery;
use protocol::time::Time;

use self::rotating::Rotating;
use crate::clock;
use crate::settings::DataSettings;

mod csv;
mod ordered;
mod rotating;

/// The sinks of one peer.
#[derive(Debug)]
pub struct Sinks {
    settings: DataSettings,
    ordered: Rotating,
    ordered_health: Health,
    /// What `ordered.jsonl` lacks because it could not be written.
    hole: Option<(Seq, Seq)>,
    tables: BTreeMap<String, Rotating>,
    tables_health: Health,
    /// Whether it has been told that there are too many sensors.
    told_too_many: bool,
}

impl Sinks {
    /// Sinks in that folder; it is made when it is first needed.
    #[must_use]
    pub fn new(settings: DataSettings) -> Self {
        let ordered = Rotating::new(settings.folder.join("ordered.jsonl"), "", settings.rotate_bytes, settings.rotate_keep);
        Self {
            settings,
            ordered,
            ordered_health: Health::default(),
            hole: None,
            tables: BTreeMap::new(),
            tables_health: Health::default(),
            told_too_many: false,
        }
    }

    /// Keeps these, in order.
    pub fn keep(&mut self, deliveries: &[Delivery]) {
        let now = clock::now();
        for part in deliveries.chunk_by(fits_together()) {
            self.keep_ordered(now, part);
            self.keep_tables(now, part);
        }
        if self.tables.len() > TABLES_OPEN {
            self.tables.values_mut().for_each(Rotating::close);
        }
    }

    fn keep_ordered(&mut self, now: Time, part: &[Delivery]) {
        let count = part.iter().map(lines_of).sum();
        let mut lines = Vec::with_capacity(count * 256);
        if let Some((from, to)) = self.hole {
            ordered::write_gap(from.0, to.0, &mut lines);
        }
        part.iter().for_each(|delivery| ordered::write(delivery, &mut lines));
        let (ordered, folder) = (&mut self.ordered, &self.settings.folder);
        let path = ordered.path().to_owned();
        let kept = self.ordered_health.attempt(now, &path, count, || {
            fs::create_dir_all(folder)?;
            ordered.append(&lines)
        });
        if kept {
            self.hole = None;
            return;
        }
        if let Some((first, last)) = part.first().zip(part.last()) {
            let (first, last) = (first.range().0, last.range().1);
            let from = self.hole.map_or(first, |(from, _)| from.min(first));
            self.hole = Some((from, last));
        }
    }

    fn keep_tables(&mut self, now: Time, part: &[Delivery]) {
        let mut rows: BTreeMap<&str, String> = BTreeMap::new();
        for delivery in part {
            let Delivery::Run(run) = delivery else { continue };
            for (sensor, more) in run.iter().filter_map(|reading| csv::rows(&reading)) {
                rows.entry(sensor).or_default().push_str(&more);
            }
        }
        for (sensor, rows) in rows {
            if !self.tables.contains_key(sensor) && self.tables.len() >= TABLES_MAX {
                if !std::mem::replace(&mut self.told_too_many, true) {
                    log::warn!("More than {TABLES_MAX} sensors; further ones get no CSV. `ordered.jsonl` has them all.");
                }
                continue;
            }
            let settings = &self.settings;
            let table = self.tables.entry(sensor.to_owned()).or_insert_with(|| {
                let path = settings.folder.join(format!("{sensor}.csv"));
                Rotating::new(path, csv::HEAD, settings.rotate_bytes, settings.rotate_keep)
            });
            let path: PathBuf = table.path().to_owned();
            self.tables_health.attempt(now, &path, rows.lines().count(), || table.append(rows.as_bytes()));
        }
    }
}

/// How many lines of `ordered.jsonl` a delivery takes.
fn lines_of(delivery: &Delivery) -> usize {
    match delivery {
        Delivery::Run(run) => usize::try_from(run.readings.len()).expect("they are in memory"),
        Delivery::Gap { .. } | Delivery::Lost { .. } => 1,
    }
}

/// Whether the next delivery is written together with the ones before it.
fn fits_together() -> impl FnMut(&Delivery, &Delivery) -> bool {
    let mut lines = 0;
    move |before, next| {
        lines += lines_of(before);
        let fits = lines + lines_of(next) <= CHUNK;
        lines = if fits { lines } else { 0 };
        fits
    }
}

/// Whether the disk takes what it is given: told when it stops and when it starts again, and nothing between.
#[derive(Debug, Default)]
struct Health {
    /// When to try again, while it does not.
    retry_at: Option<Time>,
    missed: usize,
}

impl Health {
    /// Writes, unless it failed a moment ago; whether it has been written.
    fn attempt(&mut self, now: Time, path: &Path, lines: usize, write: impl FnOnce() -> io::Result<()>) -> bool {
        if self.retry_at.is_some_and(|at| now < at) {
            self.missed += lines;
            return false;
        }
        match write() {
            Ok(()) => {
                if self.retry_at.take().is_some() {
                    log::warn!("Writing to {} works again; {} lines are missing.", path.display(), self.missed);
                    self.missed = 0;
                }
                true
            }
            Err(error) => {
                self.missed += lines;
                if self.retry_at.replace(now + RETRY).is_none() {
                    log::warn!(
                        "Cannot write to {}: {error}. What is delivered is not kept there until that works; the group goes on.",
                        path.display()
                    );
                }
                false
            }
        }
    }
}

/// How many lines are written together, unless a single delivery has more.
const CHUNK: usize = 256;
const RETRY: Duration = Duration::from_secs(5);
/// How many sensors get a table; their ids come from others, so their number needs a bound.
const TABLES_MAX: usize = 1_024;
/// With more tables than this, their files are not kept open.
const TABLES_OPEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::{DataSettings, Health, Sinks, Time};
    use bytes::Bytes;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::readings::Readings;
    use protocol::seam::{Delivery, Run};
    use std::path::Path;
    use std::time::Duration;

    fn reading(seq: u64, payload: &str) -> Delivery {
        let origin = Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(1) };
        let epoch = Epoch { round: 1, owner: origin.clone() };
        Delivery::Run(Run {
            epoch,
            view_id: ViewId(1),
            first: Seq(seq),
            origin,
            oseq: Oseq(seq),
            guarantee: protocol::config::Guarantee::Agreed,
            readings: Readings::one(Bytes::copy_from_slice(payload.as_bytes()), 0),
        })
    }

    fn sinks(folder: &Path) -> Sinks {
        Sinks::new(DataSettings { folder: folder.to_owned(), rotate_bytes: 1 << 20, rotate_keep: 2 })
    }

    #[test]
    fn both_kinds_of_file_are_written_and_a_restart_appends() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("made/when/needed");
        sinks(&data).keep(&[reading(1, "DATA|s1|t|a=1"), reading(2, "hello"), Delivery::Gap { from: Seq(3), to: Seq(4) }]);
        sinks(&data).keep(&[reading(5, "DATA|s1|t|a=2")]);
        let ordered = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
        assert_eq!(ordered.lines().count(), 4);
        assert!(ordered.contains(r#"{"gap":[3,4]}"#), "{ordered}");
        let table = std::fs::read_to_string(data.join("s1.csv")).unwrap();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 3, "{table}");
        assert!(rows[0].starts_with("time,") && rows[1].ends_with("a,1") && rows[2].ends_with("a,2"), "{table}");
    }

    #[test]
    fn what_could_not_be_written_becomes_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        // A file stands where the folder should be.
        let data = folder.path().join("data");
        std::fs::write(&data, "").unwrap();
        let mut sinks = sinks(&data);
        sinks.keep(&[reading(1, "a"), reading(2, "b")]);
        sinks.keep(&[reading(3, "c")]);
        std::fs::remove_file(&data).unwrap();
        sinks.ordered_health.retry_at = Some(Time::ZERO);
        sinks.keep(&[reading(4, "d")]);
        let ordered = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
        let lines: Vec<&str> = ordered.lines().collect();
        assert_eq!(lines[0], r#"{"gap":[1,3]}"#);
        assert!(lines[1].contains(r#""seq":4"#) && lines.len() == 2, "{ordered}");
    }

    #[test]
    fn a_failing_disk_is_not_tried_at_every_line() {
        let mut health = Health::default();
        let path = Path::new("x");
        let full = || Err(std::io::ErrorKind::StorageFull.into());
        let now = Time::from_micros(1);
        assert!(!health.attempt(now, path, 1, full));
        assert!(!health.attempt(now, path, 1, || unreachable!("it failed a moment ago")));
        assert!(health.attempt(now + Duration::from_secs(60), path, 1, || Ok(())));
        assert_eq!(health.missed, 0);
    }

    #[test]
    fn a_full_disk_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("ordered.jsonl")).unwrap();
        let mut sinks = sinks(folder.path());
        sinks.keep(&[reading(1, "DATA|s1|t|a=1")]);
        assert!(sinks.ordered_health.retry_at.is_some());
        assert!(sinks.tables_health.retry_at.is_none(), "the other file is not to blame");
        assert_eq!(sinks.hole, Some((Seq(1), Seq(1))));
    }
}
