//! Names are never reused, neither the name of a position nor that of a reading, in any life and by
//! any peer.
//!
//! A user who stores deliveries identifies them by these names, across restarts, rotations and
//! merges. So this check looks at all lives of a history at once, and at the files that they left
//! behind, earlier lives included.

use protocol::id::{Epoch, Incarnation, Oseq, PeerId, Seq, ViewId};
use protocol::log_id::LogId;
use protocol::note::Note;

use crate::disk::DiskLine;
use crate::history::Record;
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// A position.
type Place<'a> = (&'a LogId, &'a Epoch, Seq);
/// A reading.
type Name<'a> = (&'a PeerId, Incarnation, Oseq);

/// The content of a position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Content<'a> {
    Reading(Name<'a>),
    Lost(Name<'a>, Oseq),
    View(ViewId),
}

/// No position holds two entries, and no name means two readings.
pub(crate) fn no_reuse(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    // A line of a file that its peer did not report concerns `disk-matches`.
    let (mut told, mut kept) = (Said::default(), Said::default());
    for (at, record) in run.history.records.iter().enumerate() {
        if let Record::Peer(event) = record {
            told.by(&event.note, at);
        }
    }
    for (process, line) in run
        .options
        .disks
        .iter()
        .flat_map(|disk| disk.lines.iter().map(|line| (disk.process.as_str(), line)))
    {
        kept.by_a_file(process, line);
    }
    told.hold(sheet);
    kept.hold(sheet);
}

impl Said<'_> {
    /// Finds names with two meanings.
    fn hold(self, sheet: &mut Sheet) {
        let Self { mut contents, mut readings } = self;
        sheet.look_at(contents.len() + readings.len());
        // By name, then by source, so that the first one is the earliest.
        contents.sort_unstable_by_key(|(place, content, source)| (*place, *source, *content));
        for pair in contents.windows(2) {
            let [(place, one, first), (same, other, second)] = pair else { continue };
            if place == same && one != other {
                let (log, epoch, seq) = place;
                breach(sheet, [first, second], || {
                    format!("#{seq} of epoch {epoch:?} in log {log} is two things")
                });
            }
        }
        readings.sort_unstable_by_key(|(name, digest, source)| (*name, *source, *digest));
        for pair in readings.windows(2) {
            let [(name, one, first), (same, other, second)] = pair else { continue };
            if name == same && one != other {
                let (origin, inc, oseq) = name;
                breach(sheet, [first, second], || {
                    format!("reading {oseq} of {origin}#{inc} is two readings")
                });
            }
        }
    }
}

/// The source of a statement: a record, or the file of a process.
type Source<'a> = Result<usize, &'a str>;

fn breach(sheet: &mut Sheet, sources: [&Source<'_>; 2], what: impl Fn() -> String) {
    let records: Vec<usize> = sources.iter().filter_map(|source| source.ok()).collect();
    let files: Vec<&str> = sources.iter().filter_map(|source| source.err()).collect();
    sheet.breach(&records, || match files[..] {
        [] => what(),
        [file] => format!("{} (in the file of {file})", what()),
        _ => format!("{} (in the files of {})", what(), files.join(" and ")),
    });
}

/// All statements about positions and readings.
#[derive(Default)]
struct Said<'a> {
    contents: Vec<(Place<'a>, Content<'a>, Source<'a>)>,
    readings: Vec<(Name<'a>, u64, Source<'a>)>,
}

impl<'a> Said<'a> {
    fn by(&mut self, note: &'a Note, at: usize) {
        let (place, content) = match note {
            Note::Deliver { log, epoch, seq, origin, origin_inc, oseq, digest, .. } => {
                self.readings.push(((origin, *origin_inc, *oseq), digest.value(), Ok(at)));
                ((log, epoch, *seq), Content::Reading((origin, *origin_inc, *oseq)))
            }
            Note::DupSuppressed { log, epoch, seq, origin, origin_inc, oseq, .. } => {
                ((log, epoch, *seq), Content::Reading((origin, *origin_inc, *oseq)))
            }
            Note::Lost { log, epoch, seq, origin, origin_inc, from, to, .. } => {
                ((log, epoch, *seq), Content::Lost((origin, *origin_inc, *from), *to))
            }
            Note::View { log, epoch, seq, view_id, .. } => {
                ((log, epoch, *seq), Content::View(*view_id))
            }
            _ => return,
        };
        // A position without its log has no name yet; `no-duplicate-seq` checks it by epoch alone.
        if !place.0.is_none() {
            self.contents.push((place, content, Ok(at)));
        }
    }

    fn by_a_file(&mut self, process: &'a str, line: &'a DiskLine) {
        let (place, content) = match line {
            DiskLine::Reading { place, origin, inc, oseq, digest, .. } => {
                self.readings.push(((origin, *inc, *oseq), *digest, Err(process)));
                (place, Content::Reading((origin, *inc, *oseq)))
            }
            DiskLine::Lost { place, origin, inc, from, to } => {
                (place, Content::Lost((origin, *inc, *from), *to))
            }
            DiskLine::View { place, view } => (place, Content::View(*view)),
            DiskLine::Gap { .. }
            | DiskLine::Diverged { .. }
            | DiskLine::Merged { .. }
            | DiskLine::Repeat { .. } => return,
        };
        self.contents.push(((&place.log, &place.epoch, place.seq), content, Err(process)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Name, Said};
    use crate::sheet::Sheet;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::log_id::LogId;

    #[test]
    fn a_position_holds_one_thing_and_a_name_is_one_reading() {
        let peer = |name: &str| PeerId::new(name).unwrap();
        let (p1, p2) = (peer("p1"), peer("p2"));
        let epoch =
            |inc: u64| Epoch { round: 1, owner: Member { id: p1.clone(), inc: Incarnation(inc) } };
        let (one, other, log) = (epoch(1), epoch(2), LogId::none());
        let name = |origin, oseq| -> Name<'_> { (origin, Incarnation(1), Oseq(oseq)) };
        let place = |epoch, seq| (&log, epoch, Seq(seq));
        let told = |contents: Vec<_>, readings: Vec<_>| {
            let contents =
                contents.into_iter().map(|(place, content)| (place, content, Err("p1"))).collect();
            let readings =
                readings.into_iter().map(|(name, digest)| (name, digest, Err("p1"))).collect();
            let mut sheet = Sheet::default();
            Said { contents, readings }.hold(&mut sheet);
            sheet.words()
        };
        let reading = |origin, oseq| Content::Reading(name(origin, oseq));
        let well = vec![
            (place(&one, 2), reading(&p1, 1)),
            (place(&one, 2), reading(&p1, 1)),
            (place(&other, 2), reading(&p1, 2)),
            (place(&one, 3), Content::View(ViewId(2))),
        ];
        assert_eq!(
            told(well.clone(), vec![(name(&p1, 1), 7), (name(&p1, 1), 7), (name(&p2, 1), 8)]),
            Vec::<String>::new()
        );
        for wrong in [
            reading(&p1, 2),
            reading(&p2, 1),
            Content::View(ViewId(2)),
            Content::Lost(name(&p1, 1), Oseq(1)),
        ] {
            let words = told([well.clone(), vec![(place(&one, 2), wrong)]].concat(), vec![]);
            assert!(
                words.len() == 1 && words[0].contains("#2") && words[0].contains("two things"),
                "{words:?}"
            );
        }
        let words = told(well, vec![(name(&p1, 1), 7), (name(&p1, 1), 8)]);
        assert!(
            words.len() == 1 && words[0].contains("reading 1 of p1#1 is two readings"),
            "{words:?}"
        );
    }
}
