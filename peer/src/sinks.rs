//! Where delivered readings are kept: `ordered.jsonl`, and one CSV per sensor. Runs on the worker thread.
//!
//! A disk that does not take them is one clear message; the group goes on, the sinks try again every few seconds, and
//! what was missed meanwhile stands in `ordered.jsonl` as a hole.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use protocol::seam::Delivery;
use protocol::time::Time;

pub(crate) use self::hole::Hole;
use self::rotating::Rotating;
use self::tables::Tables;
pub use self::tables::Without;
use crate::clock;
use crate::settings::DataSettings;

mod csv;
mod hole;
mod ordered;
mod rotating;
mod tables;

/// The sinks of one peer.
#[derive(Debug)]
pub struct Sinks {
    settings: DataSettings,
    ordered: Rotating,
    ordered_health: Health,
    /// What `ordered.jsonl` lacks because it could not be written.
    hole: Hole,
    tables: Tables,
}

impl Sinks {
    /// Sinks in that folder; it is made when it is first needed.
    #[must_use]
    pub fn new(settings: DataSettings) -> Self {
        let ordered = Rotating::new(settings.folder.join("ordered.jsonl"), "", settings.rotate_bytes, settings.rotate_keep);
        let tables = Tables::new(settings.clone());
        Self { settings, ordered, ordered_health: Health::default(), hole: Hole::new("it could not be written"), tables }
    }

    /// How many readings have no row in a table.
    #[must_use]
    pub fn without(&self) -> Without {
        self.tables.without()
    }

    /// Keeps these, in order.
    pub fn keep(&mut self, deliveries: &[Delivery]) {
        let now = clock::now();
        for part in deliveries.chunk_by(fits_together()) {
            self.keep_ordered(now, part);
            self.tables.keep(now, part);
        }
    }

    /// Nothing follows: what is missing is told now, if the disk takes that much.
    pub fn close(&mut self) {
        let now = clock::now();
        if self.ordered_health.retry_at.is_some() {
            self.ordered_health.retry_at = Some(now);
            self.keep_ordered(now, &[]);
        }
    }

    fn keep_ordered(&mut self, now: Time, part: &[Delivery]) {
        let count = part.iter().map(lines_of).sum();
        let mut lines = Vec::with_capacity(count * 256);
        let missed = self.hole.take();
        missed.iter().chain(part).for_each(|delivery| ordered::write(delivery, &mut lines));
        let (ordered, folder) = (&mut self.ordered, &self.settings.folder);
        let path = ordered.path().to_owned();
        let kept = self.ordered_health.attempt(now, &path, count, || {
            fs::create_dir_all(folder)?;
            ordered.append(&lines)
        });
        if !kept {
            self.hole.add(&missed);
            self.hole.add(part);
        }
    }
}

/// How many lines of `ordered.jsonl` a delivery takes.
fn lines_of(delivery: &Delivery) -> usize {
    match delivery {
        Delivery::Run(run) => usize::try_from(run.readings.len()).expect("they are in memory"),
        Delivery::View(_)
        | Delivery::Gap { .. }
        | Delivery::Diverged { .. }
        | Delivery::Merged { .. }
        | Delivery::Repeat { .. }
        | Delivery::Lost { .. } => 1,
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

#[cfg(test)]
mod tests {
    use super::{DataSettings, Health, Sinks, Time};
    use bytes::Bytes;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::log_id::LogId;
    use protocol::readings::Readings;
    use protocol::seam::{Delivery, Run};
    use std::path::Path;
    use std::time::Duration;

    fn reading(seq: u64, payload: &str) -> Delivery {
        let origin = Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(1) };
        let epoch = Epoch { round: 1, owner: origin.clone() };
        Delivery::Run(Run {
            log: log(),
            epoch,
            view_id: ViewId(1),
            first: Seq(seq),
            origin,
            oseq: Oseq(seq),
            guarantee: protocol::config::Guarantee::Agreed,
            readings: Readings::one(Bytes::copy_from_slice(payload.as_bytes()), 0),
        })
    }

    fn log() -> LogId {
        "1.p1#1".parse().unwrap()
    }

    fn gap(from: u64, to: u64) -> Delivery {
        Delivery::Gap { log: log(), from: Seq(from), to: Seq(to), why: "it was away".to_owned() }
    }

    fn sinks(folder: &Path) -> Sinks {
        Sinks::new(DataSettings { folder: folder.to_owned(), rotate_bytes: 1 << 20, rotate_keep: 2 })
    }

    #[test]
    fn both_kinds_of_file_are_written_and_a_restart_appends() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("made/when/needed");
        sinks(&data).keep(&[reading(1, "DATA|s1|t|a=1"), reading(2, "hello"), gap(3, 4)]);
        sinks(&data).keep(&[reading(5, "DATA|s1|t|a=2")]);
        let ordered = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
        assert_eq!(ordered.lines().count(), 4);
        assert!(ordered.contains(r#"{"kind":"gap","log":"1.p1#1","from":3,"to":4,"why":"it was away"}"#), "{ordered}");
        let table = std::fs::read_to_string(data.join("s1.csv")).unwrap();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 3, "{table}");
        assert!(rows[0].starts_with("time,") && rows[1].ends_with("a,1") && rows[2].ends_with("a,2"), "{table}");
    }

    #[test]
    fn every_line_has_a_row_or_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut sinks = sinks(folder.path());
        let lines = ["DATA|A4:C1|t|x=1", "DATA|a/b|t|x=2\r", "DATA|..|t|x=3|", "DATA|note|t|n=a|b|x=4", "DATA||t|x=5", "hello"];
        let deliveries: Vec<Delivery> = (1..).zip(lines).map(|(seq, line)| reading(seq, line)).collect();
        sinks.keep(&deliveries);
        assert_eq!(sinks.without().count(), 3);
        for (name, end) in [("A4%3AC1.csv", ",A4:C1,x,1"), ("a%2Fb.csv", ",a/b,x,2"), ("%2E..csv", ",..,x,3")] {
            let table = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(table.lines().nth(1).unwrap().ends_with(end) && !table.contains('\r'), "{table}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "the tables, and ordered.jsonl");
    }

    #[test]
    fn one_origin_leaves_room_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut sinks = sinks(folder.path());
        let many: Vec<Delivery> = (1..=300).map(|n| reading(n, &format!("DATA|s{n}|t|x=1"))).collect();
        sinks.keep(&many);
        assert_eq!(sinks.without().count(), 300 - 256);
        let Delivery::Run(mut run) = reading(301, "DATA|other|t|x=1") else { unreachable!() };
        run.origin.id = PeerId::new("p2").unwrap();
        sinks.keep(&[Delivery::Run(run), reading(302, "DATA|s1|t|x=2")]);
        assert_eq!(sinks.without().count(), 300 - 256, "a table that is there goes on");
        assert!(folder.path().join("other.csv").exists());
    }

    #[test]
    fn a_table_of_another_build_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let old = "time,epoch,seq,origin,sensor,field,value\nt,1.p1,1,p1,s1,a,1\n";
        std::fs::write(folder.path().join("s1.csv"), old).unwrap();
        sinks(folder.path()).keep(&[reading(1, "DATA|s1|t|a=2")]);
        assert_eq!(std::fs::read_to_string(folder.path().join("s1.csv.columns1")).unwrap(), old);
        assert!(std::fs::read_to_string(folder.path().join("s1.csv")).unwrap().ends_with(",s1,a,2\n"));
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
        assert_eq!(lines[0], r#"{"kind":"gap","log":"1.p1#1","from":1,"to":3,"why":"it could not be written"}"#);
        assert!(lines[1].contains(r#""seq":4"#) && lines.len() == 2, "{ordered}");
    }

    #[test]
    fn a_hole_at_the_end_is_told_when_the_disk_has_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::write(&data, "").unwrap();
        let mut sinks = sinks(&data);
        sinks.keep(&[reading(1, "a"), reading(2, "b")]);
        sinks.close();
        std::fs::remove_file(&data).unwrap();
        sinks.close();
        let ordered = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
        assert!(ordered.lines().count() == 1 && ordered.contains(r#""from":1,"to":2"#), "{ordered}");
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
        assert!(sinks.tables.health.retry_at.is_none(), "the other file is not to blame");
        assert_eq!(sinks.hole.take().iter().map(Delivery::range).collect::<Vec<_>>(), [(Seq(1), Seq(1))]);
    }
}
