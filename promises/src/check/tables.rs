//! The tables of the sensors hold the same readings as the ordered file, in the same order.

use std::collections::BTreeMap;

use crate::disk::{Disk, DiskLine, Row};
use crate::index::{Kind, Life, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;

/// Every table has the rows of the readings that its process delivered, in that order. If all lives
/// of the process ended by themselves, no row is missing; a killed life may have written a reading
/// to one file and not to the other.
pub(crate) fn tables_match(run: &JudgedRun<'_>, disk: &Disk, sheet: &mut Sheet) {
    if disk.tables_unreadable > 0 {
        sheet.breach(&[], || {
            format!(
                "{} records in the tables of {} cannot be read",
                disk.tables_unreadable, disk.process
            )
        });
    }
    if disk.tables.is_empty() {
        // Tables are written on request only.
        return;
    }
    let lives: Vec<&Life<'_>> =
        run.index.lives.iter().filter(|life| life.process == Some(disk.process.as_str())).collect();
    let is_whole = disk.torn.is_empty()
        && lives.iter().all(|life| life.stopped && !life.holed)
        && !disk.lines.iter().any(|line| matches!(line, DiskLine::Gap { .. }));
    let due = due(disk);
    for (sensor, rows) in &disk.tables {
        let (mut next, none) = (0, vec![]);
        let due = due.get(sensor.as_str()).unwrap_or(&none);
        // A restarted peer may deliver again what an earlier life delivered.
        let mut places: BTreeMap<&Row, Vec<usize>> = BTreeMap::new();
        due.iter().enumerate().for_each(|(place, row)| places.entry(row).or_default().push(place));
        for row in rows {
            sheet.look();
            let all = places.get(row).map(Vec::as_slice).unwrap_or_default();
            let place = all.iter().find(|place| **place >= next).or(all.last()).copied();
            let words = match place {
                Some(place) if place < next => "again, or too late",
                Some(place) if place > next && is_whole => "before one that is missing",
                None if is_whole || disk.lines.iter().any(|line| stands_at(line, row)) => {
                    "which was not delivered so"
                }
                _ => {
                    next = place.map_or(next, |place| place + 1);
                    continue;
                }
            };
            let evidence: Vec<usize> =
                lives.iter().filter_map(|life| delivery(run, life, row)).take(2).collect();
            sheet.breach(&evidence, || {
                let Row { place, field, .. } = row;
                format!(
                    "the table {sensor} of {} has {field} of #{} of epoch {} {words}",
                    disk.process, place.seq, place.epoch
                )
            });
            break;
        }
        if is_whole && next < due.len() && rows.len() < due.len() {
            let row = &due[next];
            let evidence: Vec<usize> =
                lives.iter().filter_map(|life| delivery(run, life, row)).take(2).collect();
            sheet.breach(&evidence, || {
                format!(
                    "the table {sensor} of {} lacks #{} of epoch {}",
                    disk.process, row.place.seq, row.place.epoch
                )
            });
        }
    }
    let has_room = disk.tables.len() < TABLES_PER_ORIGIN;
    if let Some(sensor) =
        due.keys().find(|sensor| is_whole && has_room && !disk.tables.contains_key(**sensor))
    {
        sheet.breach(&[], || {
            format!("{} has delivered readings of {sensor}, and has no table of it", disk.process)
        });
    }
}

/// The expected rows of each table, derived from the ordered file.
fn due(disk: &Disk) -> BTreeMap<&str, Vec<Row>> {
    let mut due: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for line in &disk.lines {
        let DiskLine::Reading { place, origin, inc, oseq, measured: Some(measured), .. } = line
        else {
            continue;
        };
        let row = |(field, value): &(String, String)| Row {
            place: place.clone(),
            origin: origin.to_string(),
            inc: *inc,
            oseq: *oseq,
            field: field.clone(),
            value: value.clone(),
        };
        due.entry(measured.sensor.as_str()).or_default().extend(measured.fields.iter().map(row));
    }
    due
}

/// Whether the ordered file has this very reading.
fn stands_at(line: &DiskLine, row: &Row) -> bool {
    matches!(line, DiskLine::Reading { place, .. } if *place == row.place)
}

fn delivery(run: &JudgedRun<'_>, life: &Life<'_>, row: &Row) -> Option<usize> {
    let found = life.facts.iter().find(|fact| match fact.what {
        What::Entry(entry) => {
            matches!(entry.kind, Kind::Data { digest: Some(_), .. })
                && entry.seq == row.place.seq.0
                && *run.index.epochs[entry.epoch] == row.place.epoch
        }
        _ => false,
    });
    found.map(|fact| fact.at)
}

/// The greatest number of tables per origin; further ones may be missing.
const TABLES_PER_ORIGIN: usize = 256;
