//! Runs: several log entries, or several requests of one sender, in one frame. The annex holds a
//! few integers for each, and for readings where each of them ends; the payloads stand one after
//! the other at the end of the body. Origins are named once a frame. Readings are copied as a whole
//! when they are written, and not at all when they are read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use serde::Deserialize;

use crate::bounded;
use crate::error::WireError;
use crate::guarantee::Guarantee;
use crate::id::{Contact, Epoch, Member, NUMBER_MAX, Oseq, Seq};
use crate::log::change::Change;
use crate::log::entry::{Entry, Ordered, Request, Requests};
use crate::log::readings::Readings;
use crate::log::remarks::Remarks;
use crate::log::view::View;
use crate::wire::message::Message;

use super::annex::{Annex, put, put_number};
use super::body::{Body, Text, write_ordered_prefix, write_requests_prefix};
use super::{RUN_MAX, group};

// Which kind an item is of, in front of it: an entry, or a request.

/// origin, first, then as [`write_readings`] has it
const READINGS: u64 = 0;
/// epoch, successor, length
const VIEW: u64 = 1;
/// origin, from, to
const LOST: u64 = 2;
/// as [`READINGS`]
const SAFE_READINGS: u64 = 3;
/// the [`Change`]
const CHANGE: u64 = 4;
/// origin, first, when they were ordered, then as [`write_readings`] has it
const TIMED_READINGS: u64 = 5;
/// as [`TIMED_READINGS`]
const TIMED_SAFE_READINGS: u64 = 6;
/// as [`VIEW`], then the [`Remarks`]
const REMARKED_VIEW: u64 = 7;
/// as [`CHANGE`], then the [`Remarks`]
const REMARKED_CHANGE: u64 = 8;
/// as [`write_readings`] has it
const WISH_READINGS: u64 = 0;
/// to
const WISH_LOST: u64 = 1;
/// as [`WISH_READINGS`]
const WISH_SAFE_READINGS: u64 = 2;

/// Writes the annex of an ORDERED.
pub(super) fn write_ordered(ordered: &Ordered, out: &mut Vec<u8>) {
    put(&(&ordered.epoch, ordered.first, ordered.stable, ordered.repair), out);
    let mut origins = Origins::of(&ordered.run);
    put(&origins.table, out);
    put(&count_of(&ordered.run), out);
    for entry in &ordered.run {
        match entry {
            Entry::Readings { origin, first, guarantee, ordered, readings } => {
                let kind = match (guarantee, ordered) {
                    (Guarantee::Agreed, None) => READINGS,
                    (Guarantee::Safe, None) => SAFE_READINGS,
                    (Guarantee::Agreed, Some(_)) => TIMED_READINGS,
                    (Guarantee::Safe, Some(_)) => TIMED_SAFE_READINGS,
                };
                [kind, origins.place(origin), first.0]
                    .into_iter()
                    .chain(*ordered)
                    .for_each(|number| put_number(number, out));
                write_readings(readings, out);
            }
            Entry::View(view) => {
                put_number(if view.remarks.is_empty() { VIEW } else { REMARKED_VIEW }, out);
                put(&(&view.epoch, &view.successor, length_of(group::length(view))), out);
                write_remarks(&view.remarks, out);
            }
            Entry::Change(change) => {
                put_number(if change.remarks.is_empty() { CHANGE } else { REMARKED_CHANGE }, out);
                put(change, out);
                write_remarks(&change.remarks, out);
            }
            Entry::Lost { origin, from, to } => {
                [LOST, origins.place(origin), from.0, to.0]
                    .into_iter()
                    .for_each(|number| put_number(number, out));
            }
        }
    }
}

/// Writes the annex of a SEQUENCER_REQUEST.
pub(super) fn write_requests(requests: &Requests, out: &mut Vec<u8>) {
    put(&(&requests.origin, requests.first), out);
    put(&count_of(&requests.run), out);
    for request in &requests.run {
        match request {
            Request::Readings { guarantee, readings } => {
                put_number(
                    if *guarantee == Guarantee::Safe { WISH_SAFE_READINGS } else { WISH_READINGS },
                    out,
                );
                write_readings(readings, out);
            }
            Request::Lost { to } => {
                [WISH_LOST, to.0].into_iter().for_each(|number| put_number(number, out))
            }
        }
    }
}

/// Where there are any.
fn write_remarks(remarks: &Remarks, out: &mut Vec<u8>) {
    if !remarks.is_empty() {
        put(remarks, out);
    }
}

/// The time of the first, how many, and their marks.
fn write_readings(readings: &Readings, out: &mut Vec<u8>) {
    put_number(readings.first_time(), out);
    put_number(readings.len(), out);
    readings.write_marks(out);
}

/// Appends the payloads, for the two verbs that have some.
pub(super) fn write_payloads(message: &Message, out: &mut Vec<u8>) {
    if let Message::Ordered(ordered) = message {
        for entry in &ordered.run {
            match entry {
                Entry::Readings { readings, .. } => out.extend_from_slice(readings.payloads()),
                Entry::View(_) | Entry::Change(_) | Entry::Lost { .. } => write_text(entry, out),
            }
        }
    } else if let Message::SequencerRequest(requests) = message {
        for request in &requests.run {
            if let Request::Readings { readings, .. } = request {
                out.extend_from_slice(readings.payloads());
            }
        }
    }
}

/// What stands in the body for an entry that is no reading.
fn write_text(entry: &Entry, out: &mut Vec<u8>) {
    match entry {
        Entry::View(view) => group::write(view, &mut Text(out)),
        Entry::Change(change) => write!(Text(out), "{change}"),
        Entry::Readings { .. } | Entry::Lost { .. } => Ok(()),
    }
    .expect("a Vec takes any text");
}

/// A frame in pieces.
pub(super) struct Pieces {
    /// The beginning, whose length is still to be filled in.
    pub(super) first: Vec<u8>,
    /// What comes behind it.
    pub(super) others: Vec<Bytes>,
    /// Bytes of all.
    pub(super) length: usize,
}

/// Appends the payloads to the head of a frame, and shares those that are worth it.
pub(super) fn share_payloads(message: &Message, head: Vec<u8>) -> Pieces {
    let mut pieces = Pieces { first: Vec::new(), others: Vec::new(), length: 0 };
    // What is copied collects here, until something is shared.
    let mut copied = Some(head);
    let mut part = |pieces: &mut Pieces, payloads: &Bytes| {
        if payloads.len() < SHARED_FROM {
            copied.get_or_insert_default().extend_from_slice(payloads);
        } else {
            pieces.close(copied.take());
            pieces.length += payloads.len();
            pieces.others.push(payloads.clone());
        }
    };
    match message {
        Message::Ordered(ordered) => {
            for entry in &ordered.run {
                match entry {
                    Entry::Readings { readings, .. } => part(&mut pieces, readings.payloads()),
                    Entry::View(_) | Entry::Change(_) | Entry::Lost { .. } => {
                        let mut text = Vec::new();
                        write_text(entry, &mut text);
                        part(&mut pieces, &text.into());
                    }
                }
            }
        }
        Message::SequencerRequest(requests) => {
            for request in &requests.run {
                if let Request::Readings { readings, .. } = request {
                    part(&mut pieces, readings.payloads());
                }
            }
        }
        _ => {}
    }
    pieces.close(copied.take());
    pieces
}

impl Pieces {
    fn close(&mut self, copied: Option<Vec<u8>>) {
        let Some(copied) = copied else { return };
        self.length += copied.len();
        if self.first.is_empty() {
            self.first = copied;
        } else {
            self.others.push(copied.into());
        }
    }
}

/// How many bytes of the payloads and marks of a message [`share_payloads`] copies, at most.
pub(super) fn weight_copied(message: &Message) -> usize {
    let shared = |readings: &Readings| {
        if readings.payloads().len() < SHARED_FROM { 0 } else { readings.payloads().len() }
    };
    let shared: usize = match message {
        Message::Ordered(ordered) => {
            let readings = |entry: &Entry| {
                if let Entry::Readings { readings, .. } = entry { shared(readings) } else { 0 }
            };
            ordered.run.iter().map(readings).sum()
        }
        Message::SequencerRequest(requests) => {
            let readings = |request: &Request| {
                if let Request::Readings { readings, .. } = request { shared(readings) } else { 0 }
            };
            requests.run.iter().map(readings).sum()
        }
        _ => 0,
    };
    weight(message).saturating_sub(shared)
}

/// How many bytes the payloads and marks of a message take, so that room can be made for them at
/// once.
pub(super) fn weight(message: &Message) -> usize {
    let weight = match message {
        Message::Ordered(ordered) => ordered.run.iter().map(Entry::frame_weight).sum(),
        Message::SequencerRequest(requests) => requests.run.iter().map(Request::frame_weight).sum(),
        _ => 0,
    };
    usize::try_from(weight).unwrap_or(0)
}

/// Reads an ORDERED.
pub(super) fn read_ordered(
    annex: &mut Annex<'_>,
    mut body: Body<'_>,
) -> Result<Ordered, WireError> {
    let (epoch, first, stable, repair): (Epoch, Seq, Seq, Option<u64>) = annex.take()?;
    let Origin(origins) = annex.take()?;
    let origin = |annex: &Annex<'_>, place: u32| {
        origins
            .get(place as usize)
            .cloned()
            .ok_or_else(|| annex.error(&format!("origin {place} of {}", origins.len())))
    };
    let count = take_count(annex)?;
    // The text in front of the payloads says how many positions there are, and that stands further
    // on in the annex.
    let positions = count_positions(annex.rest(), count)?;
    ends_in_time(annex, first.0, positions)?;
    body.expect(|out| write_ordered_prefix(first, positions, out))?;
    let mut run = Vec::with_capacity(count.min(AHEAD));
    for _ in 0..count {
        run.push(match annex.take_number()? {
            kind @ (READINGS | SAFE_READINGS | TIMED_READINGS | TIMED_SAFE_READINGS) => {
                let guarantee = if matches!(kind, SAFE_READINGS | TIMED_SAFE_READINGS) {
                    Guarantee::Safe
                } else {
                    Guarantee::Agreed
                };
                let place = annex.take_small()?;
                let origin = origin(annex, place)?;
                let first = annex.take_own_number()?;
                let is_timed = matches!(kind, TIMED_READINGS | TIMED_SAFE_READINGS);
                let ordered = is_timed.then(|| annex.take_number()).transpose()?;
                let readings = read_readings(annex, &mut body)?;
                ends_in_time(annex, first.0, readings.len())?;
                Entry::Readings { origin, first, guarantee, ordered, readings }
            }
            kind @ (VIEW | REMARKED_VIEW) => {
                let (epoch, successor, length): (Epoch, Option<Contact>, u32) = annex.take()?;
                let remarks = read_remarks(annex, kind == REMARKED_VIEW)?;
                Entry::View(View {
                    remarks,
                    ..group::read(&body.take(length as usize)?, epoch, successor)?
                })
            }
            kind @ (CHANGE | REMARKED_CHANGE) => {
                let change: Change = annex.take()?;
                let change =
                    Change { remarks: read_remarks(annex, kind == REMARKED_CHANGE)?, ..change };
                body.expect(|out| write!(out, "{change}"))?;
                Entry::Change(change)
            }
            LOST => {
                let place = annex.take_small()?;
                let (origin, from, to) =
                    (origin(annex, place)?, annex.take_own_number()?, annex.take_own_number()?);
                if from > to {
                    return Err(annex.error(&format!("numbers from {from} to {to} that are lost")));
                }
                Entry::Lost { origin, from, to }
            }
            kind => return Err(annex.error(&format!("an entry of kind {kind}"))),
        });
    }
    annex.end()?;
    body.end()?;
    let ordered = Ordered { epoch, first, run, stable, repair };
    let readings = ordered.run.iter().filter(|entry| matches!(entry, Entry::Readings { .. }));
    if body.is_mostly_else(readings.map(Entry::frame_weight).sum()) {
        return Ok(ordered.alone());
    }
    Ok(ordered)
}

/// Reads them where there are any. One way to write a message: remarks that say nothing are left
/// out.
fn read_remarks(annex: &mut Annex<'_>, are_there: bool) -> Result<Remarks, WireError> {
    if !are_there {
        return Ok(Remarks::default());
    }
    let remarks: Remarks = annex.take()?;
    if remarks.is_empty() { Err(annex.error("remarks that say nothing")) } else { Ok(remarks) }
}

/// How many positions the entries of an annex take up.
fn count_positions(mut annex: Annex<'_>, count: usize) -> Result<u64, WireError> {
    let mut positions = 0;
    for _ in 0..count {
        positions += match annex.take_number()? {
            kind @ (READINGS | SAFE_READINGS | TIMED_READINGS | TIMED_SAFE_READINGS) => {
                let (_place, _first) = (annex.take_number()?, annex.take_number()?);
                let is_timed = matches!(kind, TIMED_READINGS | TIMED_SAFE_READINGS);
                let _ordered = is_timed.then(|| annex.take_number()).transpose()?;
                let _time = annex.take_number()?;
                let readings = annex.take_number()?;
                annex.take_marks(readings)?;
                readings
            }
            kind @ (VIEW | REMARKED_VIEW) => {
                let _view: (Epoch, Option<Contact>, u32) = annex.take()?;
                let _remarks = read_remarks(&mut annex, kind == REMARKED_VIEW)?;
                1
            }
            kind @ (CHANGE | REMARKED_CHANGE) => {
                let _change: Change = annex.take()?;
                let _remarks = read_remarks(&mut annex, kind == REMARKED_CHANGE)?;
                1
            }
            LOST => {
                let _lost = (annex.take_number()?, annex.take_number()?, annex.take_number()?);
                1
            }
            kind => return Err(annex.error(&format!("an entry of kind {kind}"))),
        };
    }
    Ok(positions)
}

/// Reads a SEQUENCER_REQUEST.
pub(super) fn read_requests(
    annex: &mut Annex<'_>,
    mut body: Body<'_>,
) -> Result<Requests, WireError> {
    let (origin, first): (Member, Oseq) = annex.take()?;
    let count = take_count(annex)?;
    body.expect(write_requests_prefix)?;
    let mut run = Vec::with_capacity(count.min(AHEAD));
    for _ in 0..count {
        run.push(match annex.take_number()? {
            kind @ (WISH_READINGS | WISH_SAFE_READINGS) => {
                let guarantee =
                    if kind == WISH_SAFE_READINGS { Guarantee::Safe } else { Guarantee::Agreed };
                Request::Readings { guarantee, readings: read_readings(annex, &mut body)? }
            }
            WISH_LOST => Request::Lost { to: annex.take_own_number()? },
            kind => return Err(annex.error(&format!("a request of kind {kind}"))),
        });
    }
    annex.end()?;
    body.end()?;
    let requests = Requests { origin, first, run };
    let taken: u64 = requests
        .run
        .iter()
        .map(
            |request| {
                if let Request::Readings { readings, .. } = request { readings.len() } else { 1 }
            },
        )
        .sum();
    ends_in_time(annex, requests.first.0, taken)?;
    if body.is_mostly_else(requests.run.iter().map(Request::frame_weight).sum()) {
        return Ok(requests.alone());
    }
    Ok(requests)
}

/// Reads what [`write_readings`] wrote; marks and payloads stay where they are, in the frame.
fn read_readings(annex: &mut Annex<'_>, body: &mut Body<'_>) -> Result<Readings, WireError> {
    let (time, count) = (annex.take_number()?, annex.take_number()?);
    let marks = annex.take_marks(count)?;
    let length = Readings::check_marks(&marks).map_err(|why| annex.error(why))?;
    Ok(Readings::from_frame(time, marks, body.take(length)?))
}

/// Numbers that begin in bounds have to end there.
fn ends_in_time(annex: &Annex<'_>, first: u64, count: u64) -> Result<(), WireError> {
    if first + count > NUMBER_MAX + 1 {
        Err(annex.error(&format!("{count} numbers from {first} on; they end at {NUMBER_MAX}")))
    } else {
        Ok(())
    }
}

/// The members that a run names, as they are read.
#[derive(Deserialize)]
struct Origin(#[serde(deserialize_with = "bounded::list::<_, _, RUN_MAX>")] Vec<Member>);

/// The members that a run names, each once, in the order in which they appear.
struct Origins<'a> {
    table: Vec<&'a Member>,
    places: BTreeMap<&'a Member, usize>,
    /// The place that was asked for last.
    last: usize,
}

impl<'a> Origins<'a> {
    fn of(run: &'a [Entry]) -> Self {
        let mut origins = Self { table: Vec::new(), places: BTreeMap::new(), last: 0 };
        for entry in run {
            let (Entry::Readings { origin, .. } | Entry::Lost { origin, .. }) = entry else {
                continue;
            };
            // Mostly the one before; the tree is for the rest.
            if origins.table.last() != Some(&origin) && !origins.places.contains_key(origin) {
                origins.places.insert(origin, origins.table.len());
                origins.table.push(origin);
            }
        }
        origins
    }

    fn place(&mut self, origin: &Member) -> u64 {
        if self.table.get(self.last) != Some(&origin) {
            self.last = self.places[origin];
        }
        self.last as u64
    }
}

fn count_of<T>(run: &[T]) -> u32 {
    assert!(run.len() <= RUN_MAX, "a run of {} entries; runs end at {RUN_MAX}", run.len());
    length_of(run.len())
}

fn take_count(annex: &mut Annex<'_>) -> Result<usize, WireError> {
    let count = annex.take::<u32>()? as usize;
    // An item takes at least two bytes, so a count above what is left is a lie, whatever memory it
    // asks for.
    if count > RUN_MAX || count > annex.left() {
        return Err(annex.error(&format!(
            "a run of {count}; {RUN_MAX} are allowed and {} bytes are left",
            annex.left()
        )));
    }
    Ok(count)
}

/// Items for which memory is taken on the strength of their number.
const AHEAD: usize = 1_024;
/// Payloads of so many bytes are shared with the message that is written: a smaller piece costs
/// more than its copy.
const SHARED_FROM: usize = 2 << 10;

fn length_of(length: usize) -> u32 {
    u32::try_from(length).expect("larger frames are refused below four gigabytes")
}
