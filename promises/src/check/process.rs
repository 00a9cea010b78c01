//! Processes: they end correctly, their files match their deliveries, and their resources stay
//! flat.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::PeerId;

use crate::check::tables::tables_match;
use crate::disk::{Disk, DiskLine, Place};
use crate::fault::{Fault, Identity};
use crate::history::Record;
use crate::index::{Entry, Fact, Index, Kind, Life, What};
use crate::judged_run::JudgedRun;
use crate::sheet::{Broken, Sheet};
use crate::world::GroundTruth;

/// A process ends when it is told to, and with the right status.
pub(crate) fn no_crash(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        for fact in &life.facts {
            match fact.what {
                What::Start => sheet.look(),
                What::Panic { message } => {
                    sheet.breach(&[fact.at], || format!("{} panicked: {message}", index.name(id)))
                }
                _ => {}
            }
        }
    }
    let (mut killed, mut stopped): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) =
        (BTreeMap::new(), BTreeMap::new());
    // Processes started without their stored data.
    let mut wiped: BTreeSet<&str> = BTreeSet::new();
    // Peers that met another process of their own name.
    let mut twins: BTreeSet<&str> = BTreeSet::new();
    // The peer of each running process.
    let mut running: BTreeMap<&str, &PeerId> = BTreeMap::new();
    for (at, record) in run.history.records.iter().enumerate() {
        let Record::World(event) = record else { continue };
        match &event.what {
            GroundTruth::Spawn { process, peer, .. } => {
                for (other, _) in
                    running.iter().filter(|(other, name)| **name == peer && **other != process)
                {
                    twins.extend([*other, process.as_str()]);
                }
                running.insert(process, peer);
                killed.remove(process.as_str());
                stopped.remove(process.as_str());
            }
            GroundTruth::Fault {
                fault: Fault::Restart { identity: Identity::Fresh }, who, ..
            } => wiped.extend(who.iter().map(String::as_str)),
            GroundTruth::Fault { fault: Fault::Kill, who, .. } => {
                killed.extend(who.iter().map(|name| (name.as_str(), at)))
            }
            GroundTruth::Fault { fault: Fault::Stop, who, .. } => {
                stopped.extend(who.iter().map(|name| (name.as_str(), at)))
            }
            GroundTruth::Exit { process, status, signal, expected, .. } => {
                sheet.look();
                running.remove(process.as_str());
                // Of two processes with one name either may be sent away while it is about to
                // leave. So may a peer that lost its folder, by members that know its earlier life.
                let is_twin = twins.contains(process.as_str()) || wiped.contains(process.as_str());
                let how = || match (status, signal) {
                    (_, Some(signal)) => format!("by signal {signal}"),
                    (Some(status), None) => format!("with status {status}"),
                    (None, None) => "nobody knows how".to_owned(),
                };
                let process = process.as_str();
                if killed.contains_key(process) {
                    continue;
                }
                match stopped.get(process) {
                    Some(_) if *status == Some(0) || is_twin && signal.is_none() => {}
                    Some(asked) => sheet.breach(&[*asked, at], || {
                        format!("{process} was asked to leave and ended {}", how())
                    }),
                    None if *expected && !signal.is_some_and(is_crash) => {}
                    None => sheet.breach(&[at], || {
                        format!("{process} ended {}, and nobody had asked for it", how())
                    }),
                }
            }
            _ => {}
        }
    }
}

/// The signals of a process's own errors: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
fn is_crash(signal: i32) -> bool {
    [4, 5, 6, 7, 8, 11, 31].contains(&signal)
}

/// The files of a process hold its deliveries, in the same order. A life that was killed may lack
/// the end of its file, or of its events.
pub(crate) fn disk_matches(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    for disk in &run.options.disks {
        for bad in &disk.unreadable {
            sheet.breach(&[], || format!("the file of {bad}"));
        }
        match compare(run, disk, sheet) {
            Ok(()) => tables_match(run, disk, sheet),
            // The expected rows of the tables are derived from the ordered file.
            Err(broken) => sheet.breach(&broken.evidence, || broken.words),
        }
    }
}

fn compare(run: &JudgedRun<'_>, disk: &Disk, sheet: &mut Sheet) -> Result<(), Broken> {
    let index = run.index;
    let mut lives: Vec<&Life<'_>> =
        index.lives.iter().filter(|life| life.process == Some(disk.process.as_str())).collect();
    lives.sort_by_key(|life| life.first);
    if lives.is_empty() || lives.iter().any(|life| life.holed) {
        return Ok(());
    }
    let told: Vec<Vec<&Fact<'_>>> = lives
        .iter()
        .map(|life| life.facts.iter().filter(|fact| position(&fact.what).is_some()).collect())
        .collect();
    let mut lines = disk.lines.iter().filter(|line| is_told(line)).peekable();
    for (turn, (life, facts)) in lives.iter().zip(&told).enumerate() {
        let complete = life.stopped || (run.options.settled && life.ended.is_none());
        // Any later life, since a life in between may have been killed before it wrote anything.
        let later = || told[turn + 1..].iter().flat_map(|facts| facts.first());
        let starts_next =
            |line: &DiskLine| later().any(|fact| says_the_same(index, line, &fact.what));
        let mut all_there = true;
        for fact in facts {
            // A disk that was full for a while leaves a gap and reports it.
            let Some(position) = position(&fact.what) else { continue };
            while lines
                .next_if(|line| matches!(line, DiskLine::Gap { to, .. } if to.0 < position))
                .is_some()
            {}
            // Positions begin anew after these two, so a gap before them is closed.
            if matches!(fact.what, What::Diverged { .. } | What::Merged { .. }) {
                while lines.next_if(|line| matches!(line, DiskLine::Gap { .. })).is_some() {}
            }
            let is_untold = |line: &DiskLine| {
                is_view(line) && !says_the_same(index, line, &fact.what) && !starts_next(line)
            };
            while lines.next_if(|line| is_untold(line)).is_some() {}
            match lines.peek() {
                Some(line) if says_the_same(index, line, &fact.what) => {
                    sheet.look();
                    lines.next();
                }
                Some(DiskLine::Gap { from, to, .. }) if (from.0..=to.0).contains(&position) => {}
                found if !complete && found.is_none_or(|line| starts_next(line)) => {
                    all_there = false;
                    break;
                }
                found => {
                    let found = found.map_or("nothing".to_owned(), |line| format!("{line:?}"));
                    let words = format!(
                        "{} delivered {}, and its file has {found} there",
                        disk.process,
                        describe(&fact.what)
                    );
                    return Err(Broken { words, evidence: vec![fact.at] });
                }
            }
        }
        if !complete && all_there {
            while lines.next_if(|line| !starts_next(line)).is_some() {}
        }
    }
    match lines.find(|line| !is_view(line)) {
        Some(line) => Err(Broken {
            words: format!("the file of {} has {line:?}, which it never reported", disk.process),
            evidence: vec![],
        }),
        None => Ok(()),
    }
}

/// A file also holds the views of the time in which its peer was away, and views without it; no
/// peer reports those.
fn is_view(line: &DiskLine) -> bool {
    matches!(line, DiskLine::View { .. })
}

/// Whether peers report the content of such a line. Repeats are reported one by one; losses only by
/// peers that have not received the readings.
fn is_told(line: &DiskLine) -> bool {
    match line {
        DiskLine::Reading { .. }
        | DiskLine::View { .. }
        | DiskLine::Gap { .. }
        | DiskLine::Diverged { .. }
        | DiskLine::Merged { .. } => true,
        DiskLine::Repeat { .. } | DiskLine::Lost { .. } => false,
    }
}

/// The position of a sink's record: a reading or a view, or the last one of a range.
fn position(what: &What<'_>) -> Option<u64> {
    match what {
        What::Entry(entry) => {
            matches!(entry.kind, Kind::Data { digest: Some(_), .. } | Kind::View(_))
                .then_some(entry.seq)
        }
        What::Gap { to, .. } | What::Diverged { to, .. } => Some(*to),
        What::Merged { old: (from, _), .. } => Some(from.saturating_sub(1)),
        _ => None,
    }
}

fn says_the_same(index: &Index<'_>, line: &DiskLine, what: &What<'_>) -> bool {
    let at = |place: &Place, entry: &Entry| {
        place.seq.0 == entry.seq && place.epoch == *index.epochs[entry.epoch]
    };
    match (line, what) {
        (DiskLine::Gap { from: a, to: b, .. }, What::Gap { from, to }) => {
            (a.0, b.0) == (*from, *to)
        }
        (DiskLine::Diverged { from: a, to: b, .. }, What::Diverged { from, to }) => {
            (a.0, b.0) == (*from, *to)
        }
        (DiskLine::Merged { at, .. }, What::Merged { old: (from, _), .. }) => {
            at.0 == from.saturating_sub(1)
        }
        (DiskLine::View { place, view }, What::Entry(entry)) => match entry.kind {
            Kind::View(known) => at(place, entry) && index.views[known].view_id == view.0,
            Kind::Data { .. } | Kind::Lost { .. } => false,
        },
        (DiskLine::Reading { place, origin, inc, oseq, digest, .. }, What::Entry(entry)) => {
            match entry.kind {
                Kind::Data { origin: life, oseq: number, digest: Some(known), .. } => {
                    let life = &index.lives[life];
                    at(place, entry)
                        && (oseq.0, *digest, inc, origin) == (number, known, &life.inc, life.peer)
                }
                Kind::Data { .. } | Kind::Lost { .. } | Kind::View(_) => false,
            }
        }
        _ => false,
    }
}

fn describe(what: &What<'_>) -> String {
    match what {
        What::Entry(Entry { seq, kind: Kind::View(_), .. }) => format!("the view at #{seq}"),
        What::Entry(entry) => format!("the reading at #{}", entry.seq),
        What::Diverged { from, to } => format!("#{from} to #{to}, which it took back"),
        What::Merged { old: (from, _), .. } => format!("a merge after #{}", from.saturating_sub(1)),
        What::Gap { from, to } => format!("a gap from #{from} to #{to}"),
        _ => String::new(),
    }
}

/// Refused input is counted, and the counts only rise. Descriptors and memory stay flat once a peer
/// is in company: the second half of a window holds little more than the first.
pub(crate) fn hygiene(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    rejects_are_counted(run.index, sheet);
    let mut samples: BTreeMap<(&str, u32), Vec<Sample>> = BTreeMap::new();
    for (at, record) in run.history.records.iter().enumerate() {
        let Record::World(event) = record else { continue };
        if let GroundTruth::Sample { process, pid, descriptors, memory } = &event.what {
            samples.entry((process, *pid)).or_default().push(Sample {
                t: event.t.as_micros(),
                at,
                descriptors: *descriptors,
                memory: *memory,
            });
        }
    }
    for ((process, pid), mut samples) in samples {
        // Before it was in company, a peer had hardly any connections and files.
        let begun = samples[0].t;
        let in_company =
            run.index.views.iter().filter(|view| view.t >= begun && view.members.len() > 1);
        let joined = in_company
            .filter(|view| run.index.lives[view.life].process == Some(process))
            .map(|view| view.t)
            .min();
        samples.retain(|sample| joined.is_none_or(|joined| sample.t > joined));
        if samples.len() < SAMPLES_MIN {
            continue;
        }
        sheet.look_at(samples.len());
        let (early, late) = samples.split_at(samples.len() / 2);
        let evidence = [early[early.len() / 2].at, late[late.len() / 2].at];
        let (before, after) =
            (median(early, |sample| sample.descriptors), median(late, |sample| sample.descriptors));
        if after > before * 2 + DESCRIPTORS_SLACK {
            sheet.breach(&evidence, || {
                format!("{process} (pid {pid}) held {before} descriptors, and later {after}")
            });
        }
        let (before, after) =
            (median(early, |sample| sample.memory), median(late, |sample| sample.memory));
        if after > before * 2 + MEMORY_SLACK {
            sheet.breach(&evidence, || {
                format!("{process} (pid {pid}) held {before} bytes of memory, and later {after}")
            });
        }
    }
}

fn rejects_are_counted(index: &Index<'_>, sheet: &mut Sheet) {
    for (id, life) in index.lives.iter().enumerate() {
        let mut counts: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for fact in &life.facts {
            let What::Reject { why, count } = fact.what else { continue };
            sheet.look();
            if let Some((before, at)) = counts.insert(why, (count, fact.at))
                && count <= before
            {
                sheet.breach(&[at, fact.at], || {
                    format!(
                        "{} has turned away {before} for {why:?}, and later only {count}",
                        index.name(id)
                    )
                });
            }
        }
    }
}

/// The resources of a process at one moment.
struct Sample {
    t: u64,
    at: usize,
    descriptors: u64,
    memory: u64,
}

fn median(part: &[Sample], which: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = part.iter().map(which).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// With fewer samples there is no trend.
const SAMPLES_MIN: usize = 8;
const DESCRIPTORS_SLACK: u64 = 16;
/// The retained log may still be filling.
const MEMORY_SLACK: u64 = 96 << 20;
