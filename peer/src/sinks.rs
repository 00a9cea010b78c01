//! Where delivered readings are kept: `ordered.jsonl`, and one CSV per sensor. Runs on the worker thread.
//!
//! A disk that does not take them is one clear message; the group goes on, the sinks try again every few seconds, and
//! what was missed meanwhile stands in `ordered.jsonl` as a hole.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use protocol::id::Seq;
use protocol::seam::Delivery;
use protocol::time::Time;

use self::place::Place;
use self::rotating::Rotating;
use crate::clock;
use crate::incarnation::Shared;
use crate::settings::DataSettings;

mod csv;
mod ordered;
mod place;
mod rotating;

pub use self::place::LOOK_INTERVAL;

/// The sinks of one peer.
#[derive(Debug)]
pub struct Sinks {
    settings: DataSettings,
    place: Place,
    ordered: Rotating,
    ordered_health: Health,
    /// What `ordered.jsonl` lacks because it could not be written.
    hole: Option<(Seq, Seq)>,
    tables: BTreeMap<String, Table>,
    /// How often a table has begun to fail.
    tables_failed: u64,
    /// Whether it has been told that there are too many sensors.
    told_too_many: bool,
}

/// A sensor's file. One that cannot be written holds up no other.
#[derive(Debug)]
struct Table {
    file: Rotating,
    health: Health,
}

impl Sinks {
    /// Sinks in the folder of that store.
    #[must_use]
    pub fn new(settings: DataSettings, store: Shared) -> Self {
        let ordered = Rotating::new("ordered.jsonl".to_owned(), "", settings.rotate_bytes, settings.rotate_keep);
        Self {
            settings,
            place: Place::new(store),
            ordered,
            ordered_health: Health::default(),
            hole: None,
            tables: BTreeMap::new(),
            tables_failed: 0,
            told_too_many: false,
        }
    }

    /// Sees whether the folder and its files are still where they were; to be called once a second, also if nothing is kept.
    pub fn look(&mut self) {
        let was_usable = self.place.is_usable();
        let Ok(folder) = self.place.look(clock::now()) else { return };
        if !was_usable {
            self.try_at_once();
        }
        self.ordered.look(&folder);
        self.tables.values_mut().for_each(|table| table.file.look(&folder));
    }

    /// Opens all files again, and tries at once those that failed a moment ago: somebody has moved or mended something.
    pub fn reopen(&mut self) {
        self.look();
        self.ordered.close();
        self.tables.values_mut().for_each(|table| table.file.close());
        self.try_at_once();
    }

    /// What failed a moment ago is tried again by the next reading.
    fn try_at_once(&mut self) {
        for health in self.tables.values_mut().map(|table| &mut table.health).chain([&mut self.ordered_health]) {
            health.retry_at = health.retry_at.and(Some(Time::ZERO));
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
            self.tables.values_mut().for_each(|table| table.file.close());
        }
    }

    fn keep_ordered(&mut self, now: Time, part: &[Delivery]) {
        let count = part.iter().map(lines_of).sum();
        let mut lines = Vec::with_capacity(count * 256);
        if let Some((from, to)) = self.hole {
            ordered::write_gap(from.0, to.0, &mut lines);
        }
        part.iter().for_each(|delivery| ordered::write(delivery, &mut lines));
        let (ordered, place) = (&mut self.ordered, &mut self.place);
        let path = self.settings.folder.join(ordered.name());
        let attempt = self.ordered_health.attempt(now, count, || append(ordered, place, now, &lines));
        attempt.tell(&path, true);
        if attempt.has_kept() {
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
                let name = format!("{sensor}.csv");
                let file = Rotating::new(name, csv::HEAD, settings.rotate_bytes, settings.rotate_keep);
                Table { file, health: Health::default() }
            });
            let path = settings.folder.join(table.file.name());
            let (file, place) = (&mut table.file, &mut self.place);
            let attempt = table.health.attempt(now, rows.lines().count(), || append(file, place, now, rows.as_bytes()));
            self.tables_failed += u64::from(matches!(attempt, Attempt::Failed(_)));
            // A disk that is full fails for all of them.
            attempt.tell(&path, self.tables_failed.is_power_of_two());
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

/// Appends to a file. Where it was removed, or the folder with it, both are looked for once more, a moment later.
fn append(file: &mut Rotating, place: &mut Place, now: Time, lines: &[u8]) -> io::Result<()> {
    match file.append(now, &place.folder(now)?, lines) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            thread::sleep(place::GRACE);
            file.append(now, &place.look(now)?, lines)
        }
        other => other,
    }
}

/// Whether the disk takes what it is given: told when it stops and when it starts again, and nothing between.
#[derive(Debug, Default)]
struct Health {
    /// When to try again, while it does not.
    retry_at: Option<Time>,
    missed: usize,
}

/// What came of an attempt to write.
#[derive(Debug)]
enum Attempt {
    Kept,
    /// For the first time since that many lines were missed.
    KeptAgain(usize),
    /// For the first time.
    Failed(io::Error),
    /// As it did before.
    StillFails,
}

impl Health {
    /// Writes, unless it failed a moment ago.
    fn attempt(&mut self, now: Time, lines: usize, write: impl FnOnce() -> io::Result<()>) -> Attempt {
        if self.retry_at.is_some_and(|at| now < at) {
            self.missed += lines;
            return Attempt::StillFails;
        }
        match write() {
            Ok(()) if self.retry_at.take().is_some() => Attempt::KeptAgain(std::mem::take(&mut self.missed)),
            Ok(()) => Attempt::Kept,
            Err(error) => {
                self.missed += lines;
                if self.retry_at.replace(now + RETRY).is_none() { Attempt::Failed(error) } else { Attempt::StillFails }
            }
        }
    }
}

impl Attempt {
    fn has_kept(&self) -> bool {
        matches!(self, Self::Kept | Self::KeptAgain(_))
    }

    fn tell(&self, path: &Path, failures: bool) {
        match self {
            Self::KeptAgain(missed) => log::warn!("Writing to {} works again; {missed} lines are missing.", path.display()),
            Self::Failed(error) if failures => log::warn!(
                "Cannot write to {}: {error}. What is delivered is not kept there until that works; the group goes on.",
                path.display()
            ),
            Self::Kept | Self::Failed(_) | Self::StillFails => {}
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
    use super::{Attempt, DataSettings, Health, Sinks, Time};
    use crate::incarnation::Store;
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
        let store = Store::open(folder).unwrap_or_else(|_| Store::without(folder));
        Sinks::new(DataSettings { folder: folder.to_owned(), rotate_bytes: 1 << 20, rotate_keep: 2 }, store.share())
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
        let full = || Err(std::io::ErrorKind::StorageFull.into());
        let now = Time::from_micros(1);
        assert!(matches!(health.attempt(now, 1, full), Attempt::Failed(_)));
        assert!(matches!(health.attempt(now, 1, || unreachable!("it failed a moment ago")), Attempt::StillFails));
        assert!(matches!(health.attempt(now + Duration::from_secs(60), 1, || Ok(())), Attempt::KeptAgain(2)));
        assert_eq!(health.missed, 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ordered.jsonl", "s1.csv"] {
            std::os::unix::fs::symlink("/dev/null", folder.path().join(name)).unwrap();
        }
        let mut sinks = sinks(folder.path());
        sinks.keep(&[reading(1, "DATA|s1|t|a=1"), reading(2, "DATA|s2|t|a=1")]);
        assert!(sinks.ordered_health.retry_at.is_some() && sinks.tables["s1"].health.retry_at.is_some());
        assert!(sinks.tables["s2"].health.retry_at.is_none(), "the other file is not to blame");
        assert!(folder.path().join("s2.csv").exists());
        assert_eq!(sinks.hole, Some((Seq(1), Seq(2))));
    }

    #[test]
    fn a_folder_that_is_removed_is_made_anew_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut sinks = sinks(&data);
        sinks.keep(&[reading(1, "DATA|s1|t|a=1")]);
        std::fs::remove_dir_all(&data).unwrap();
        sinks.keep(&[reading(2, "DATA|s1|t|a=2")]);
        std::fs::rename(&data, folder.path().join("moved")).unwrap();
        sinks.look();
        sinks.keep(&[reading(3, "DATA|s1|t|a=3")]);
        for (name, value, seq) in [("moved", "a,2", 2), ("data", "a,3", 3)] {
            let at = folder.path().join(name);
            let (ordered, table) = ["ordered.jsonl", "s1.csv"].map(|file| std::fs::read_to_string(at.join(file)).unwrap()).into();
            assert!(ordered.contains(&format!("\"seq\":{seq}")) && ordered.lines().count() == 1, "{ordered}");
            assert!(table.contains(value) && table.lines().count() == 2, "{table}");
        }
    }
}
