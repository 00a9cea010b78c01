//! The files of delivered readings: `ordered.jsonl`, and on request one CSV per sensor. Runs on the
//! worker thread.
//!
//! A failing disk causes one clear message; the group continues, the sinks try again every few
//! seconds, and `ordered.jsonl` records the missed deliveries as a gap.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use protocol::io::Delivery;
use protocol::time::Time;

pub(crate) use self::hole::Hole;
use self::place::Place;
use self::rotating::Rotating;
use self::tables::Tables;
pub use self::tables::Without;
use crate::clock;
use crate::incarnation::Shared;
use crate::record;
use crate::settings::DataSettings;

mod csv;
mod hole;
mod place;
mod rotating;
mod tables;

pub use self::place::LOOK_INTERVAL;

/// The sinks of one peer.
#[derive(Debug)]
pub struct Sinks {
    settings: DataSettings,
    place: Place,
    ordered: Rotating,
    ordered_health: Health,
    /// What is missing in `ordered.jsonl` because it could not be written.
    hole: Hole,
    /// None unless requested: tables double the wear of a memory card.
    tables: Option<Tables>,
}

impl Sinks {
    /// Sinks in the folder of that store.
    #[must_use]
    pub fn new(settings: DataSettings, store: Shared) -> Self {
        let ordered = Rotating::new(
            "ordered.jsonl".to_owned(),
            "",
            settings.rotate_bytes,
            settings.rotate_keep,
        );
        let (place, hole) = (Place::new(store), Hole::new("it could not be written"));
        let tables = settings.csv.then(|| Tables::new(settings.clone()));
        Self { settings, place, ordered, ordered_health: Health::default(), hole, tables }
    }

    /// How many readings have no row in a table.
    #[must_use]
    pub fn without(&self) -> Without {
        self.tables.as_ref().map(Tables::without).unwrap_or_default()
    }

    /// Checks whether the folder and its files are still in place; to be called once a second, also
    /// if nothing is written.
    pub fn look(&mut self) {
        let was_usable = self.place.is_usable();
        let Ok(folder) = self.place.look(clock::now()) else { return };
        if !was_usable {
            self.try_at_once();
        }
        self.ordered.look(&folder);
        if let Some(tables) = &mut self.tables {
            tables.look(&folder);
        }
    }

    /// Reopens all files, and retries recent failures at once: the user has moved or mended
    /// something.
    pub fn reopen(&mut self) {
        self.look();
        self.ordered.close();
        if let Some(tables) = &mut self.tables {
            tables.close();
        }
        self.try_at_once();
    }

    /// The next reading retries a recent failure.
    fn try_at_once(&mut self) {
        for health in
            self.tables.iter_mut().flat_map(Tables::health).chain([&mut self.ordered_health])
        {
            health.retry_at = health.retry_at.and(Some(Time::ZERO));
        }
    }

    /// Writes these deliveries, in order.
    pub fn keep(&mut self, deliveries: &[Delivery]) {
        let now = clock::now();
        for part in deliveries.chunk_by(fits_together()) {
            self.keep_ordered(now, part);
            if let Some(tables) = &mut self.tables {
                tables.keep(now, &mut self.place, part);
            }
        }
    }

    /// No more deliveries follow: the missing ones are recorded now, if the disk takes that much.
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
        missed.iter().chain(part).for_each(|delivery| record::write(delivery, &mut lines));
        let (ordered, place) = (&mut self.ordered, &mut self.place);
        let path = self.settings.folder.join(ordered.name());
        let attempt =
            self.ordered_health.attempt(now, count, || append(ordered, place, now, &lines));
        attempt.tell(&path, true);
        if !attempt.has_kept() {
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

/// Whether the next delivery is written together with the previous ones.
fn fits_together() -> impl FnMut(&Delivery, &Delivery) -> bool {
    let mut lines = 0;
    move |before, next| {
        lines += lines_of(before);
        let fits = lines + lines_of(next) <= CHUNK;
        lines = if fits { lines } else { 0 };
        fits
    }
}

/// Appends to a file. If it was removed, or the folder with it, both are looked up once more, a
/// moment later.
fn append(file: &mut Rotating, place: &mut Place, now: Time, lines: &[u8]) -> io::Result<()> {
    match file.append(now, &place.folder(now)?, lines) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            thread::sleep(place::GRACE);
            file.append(now, &place.look(now)?, lines)
        }
        other => other,
    }
}

/// Whether the disk accepts data: reported when it stops and when it starts again, and not in
/// between.
#[derive(Debug, Default)]
struct Health {
    /// When to try again, while it does not.
    retry_at: Option<Time>,
    missed: usize,
}

/// The result of an attempt to write.
#[derive(Debug)]
enum Attempt {
    Kept,
    /// For the first time since that many lines were missed.
    KeptAgain(usize),
    /// A first failure.
    Failed(io::Error),
    /// Another failure.
    StillFails,
}

impl Health {
    /// Writes, unless it failed a moment ago.
    fn attempt(
        &mut self,
        now: Time,
        lines: usize,
        write: impl FnOnce() -> io::Result<()>,
    ) -> Attempt {
        if self.retry_at.is_some_and(|at| now < at) {
            self.missed += lines;
            return Attempt::StillFails;
        }
        match write() {
            Ok(()) if self.retry_at.take().is_some() => {
                Attempt::KeptAgain(std::mem::take(&mut self.missed))
            }
            Ok(()) => Attempt::Kept,
            Err(error) => {
                self.missed += lines;
                if self.retry_at.replace(now + RETRY).is_none() {
                    Attempt::Failed(error)
                } else {
                    Attempt::StillFails
                }
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
            Self::KeptAgain(missed) => {
                log::warn!("Writing to {} works again; {missed} lines are missing.", path.display())
            }
            Self::Failed(error) if failures => log::warn!(
                "Cannot write to {}: {error}. What is delivered is not kept there until that \
                 works; the group goes on.",
                path.display()
            ),
            Self::Kept | Self::Failed(_) | Self::StillFails => {}
        }
    }
}

/// How many lines are written together, unless a single delivery has more.
const CHUNK: usize = 256;
const RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::{Attempt, DataSettings, Health, Sinks, Time};
    use crate::incarnation::{LOCK, Store};
    use bytes::Bytes;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::io::{Delivery, Run};
    use protocol::log_id::LogId;
    use protocol::readings::Readings;
    use std::collections::BTreeSet;
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
            ordered: None,
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
        let store = Store::open(folder).unwrap_or_else(|_| Store::without(folder));
        Sinks::new(
            DataSettings {
                folder: folder.to_owned(),
                rotate_bytes: 1 << 20,
                rotate_keep: 2,
                csv: true,
            },
            store.share(),
        )
    }

    #[test]
    fn both_kinds_of_file_are_written_and_a_restart_appends() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("made/when/needed");
        sinks(&data).keep(&[reading(1, "DATA|s1|t|a=1"), reading(2, "hello"), gap(3, 4)]);
        sinks(&data).keep(&[reading(5, "DATA|s1|t|a=2")]);
        let ordered = std::fs::read_to_string(data.join("ordered.jsonl")).unwrap();
        assert_eq!(ordered.lines().count(), 4);
        assert!(
            ordered
                .contains(r#"{"kind":"gap","log":"1.p1#1","from":3,"to":4,"why":"it was away"}"#),
            "{ordered}"
        );
        let table = std::fs::read_to_string(data.join("s1.csv")).unwrap();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 3, "{table}");
        assert!(
            rows[0].starts_with("time,") && rows[1].ends_with("a,1") && rows[2].ends_with("a,2"),
            "{table}"
        );
    }

    #[test]
    fn every_line_has_a_row_or_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut sinks = sinks(folder.path());
        let lines = [
            "DATA|A4:C1|t|x=1",
            "DATA|a/b|t|x=2\r",
            "DATA|..|t|x=3|",
            "DATA|note|t|n=a|b|x=4",
            "DATA||t|x=5",
            "hello",
        ];
        let deliveries: Vec<Delivery> =
            (1..).zip(lines).map(|(seq, line)| reading(seq, line)).collect();
        sinks.keep(&deliveries);
        assert_eq!(sinks.without().count(), 3);
        for (name, end) in
            [("A4%3AC1.csv", ",A4:C1,x,1"), ("a%2Fb.csv", ",a/b,x,2"), ("%2E..csv", ",..,x,3")]
        {
            let table = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(
                table.lines().nth(1).unwrap().ends_with(end) && !table.contains('\r'),
                "{table}"
            );
        }
        let names = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept: BTreeSet<String> = names.filter(|name| name != LOCK).collect();
        assert_eq!(
            kept,
            ["%2E..csv", "A4%3AC1.csv", "a%2Fb.csv", "ordered.jsonl"].map(str::to_owned).into()
        );
    }

    #[test]
    fn without_being_asked_for_there_are_no_tables() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DataSettings { csv: false, ..sinks(folder.path()).settings };
        let store = Store::open(folder.path()).unwrap_or_else(|_| Store::without(folder.path()));
        let mut sinks = Sinks::new(settings, store.share());
        sinks.keep(&[reading(1, "DATA|s1|t|a=1"), reading(2, "hello")]);
        sinks.reopen();
        assert!(
            folder.path().join("ordered.jsonl").exists() && !folder.path().join("s1.csv").exists()
        );
        assert_eq!(sinks.without().count(), 0, "nothing is missing where nothing is wanted");
    }

    #[test]
    fn one_origin_leaves_room_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut sinks = sinks(folder.path());
        let many: Vec<Delivery> =
            (1..=300).map(|n| reading(n, &format!("DATA|s{n}|t|x=1"))).collect();
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
        assert!(
            std::fs::read_to_string(folder.path().join("s1.csv")).unwrap().ends_with(",s1,a,2\n")
        );
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
        assert_eq!(
            lines[0],
            r#"{"kind":"gap","log":"1.p1#1","from":1,"to":3,"why":"it could not be written"}"#
        );
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
        assert!(
            ordered.lines().count() == 1 && ordered.contains(r#""from":1,"to":2"#),
            "{ordered}"
        );
    }

    #[test]
    fn a_failing_disk_is_not_tried_at_every_line() {
        let mut health = Health::default();
        let full = || Err(std::io::ErrorKind::StorageFull.into());
        let now = Time::from_micros(1);
        assert!(matches!(health.attempt(now, 1, full), Attempt::Failed(_)));
        assert!(matches!(
            health.attempt(now, 1, || unreachable!("it failed a moment ago")),
            Attempt::StillFails
        ));
        assert!(matches!(
            health.attempt(now + Duration::from_secs(60), 1, || Ok(())),
            Attempt::KeptAgain(2)
        ));
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
        assert!(
            sinks.ordered_health.retry_at.is_some()
                && sinks.tables.as_ref().unwrap().get("s1.csv").health.retry_at.is_some()
        );
        assert!(
            sinks.tables.as_ref().unwrap().get("s2.csv").health.retry_at.is_none(),
            "the other file is not to blame"
        );
        assert!(folder.path().join("s2.csv").exists());
        assert_eq!(
            sinks.hole.take().iter().map(Delivery::range).collect::<Vec<_>>(),
            [(Seq(1), Seq(2))]
        );
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
            let (ordered, table) = ["ordered.jsonl", "s1.csv"]
                .map(|file| std::fs::read_to_string(at.join(file)).unwrap())
                .into();
            assert!(
                ordered.contains(&format!("\"seq\":{seq}")) && ordered.lines().count() == 1,
                "{ordered}"
            );
            assert!(table.contains(value) && table.lines().count() == 2, "{table}");
        }
    }
}
