//! Runs: several log entries, or several requests of one sender, in one frame. The annex holds a few integers for each,
//! its length among them; the payloads stand one after the other at the end of the body. Origins are named once a frame.

use std::collections::BTreeMap;

use crate::error::WireError;
use crate::guarantee::Guarantee;
use crate::id::{Contact, Epoch, Member, Oseq};
use crate::message::{Entry, Message, Ordered, Request, Requests, Wish};

use super::annex::{Annex, put, put_number};
use super::body::{Body, Text, write_ordered_prefix, write_requests_prefix};
use super::{RUN_MAX, group};

// Which kind an item is of, in front of it: an entry, or a request.

/// origin, oseq, time, length
const DATA: u64 = 0;
/// epoch, successor, length
const VIEW: u64 = 1;
/// origin, from, to
const LOST: u64 = 2;
/// as [`DATA`]
const SAFE_DATA: u64 = 3;
/// time, length
const WISH_DATA: u64 = 0;
/// time, to
const WISH_LOST: u64 = 1;
/// as [`WISH_DATA`]
const WISH_SAFE_DATA: u64 = 2;

/// Writes the annex of an ORDERED.
pub(super) fn write_ordered(ordered: &Ordered, out: &mut Vec<u8>) {
    put(&(&ordered.epoch, ordered.first, ordered.stable, ordered.repair), out);
    let mut origins = Origins::of(&ordered.run);
    put(&origins.table, out);
    put(&count_of(&ordered.run), out);
    for entry in &ordered.run {
        match entry {
            Entry::Data { origin, oseq, time, guarantee, payload } => {
                let kind = if *guarantee == Guarantee::Safe { SAFE_DATA } else { DATA };
                let numbers = [kind, origins.place(origin), oseq.0, *time, length_of(payload.len()).into()];
                numbers.into_iter().for_each(|number| put_number(number, out));
            }
            Entry::View(view) => {
                put_number(VIEW, out);
                put(&(&view.epoch, &view.successor, length_of(group::length(view))), out);
            }
            Entry::Lost { origin, from, to } => {
                [LOST, origins.place(origin), from.0, to.0].into_iter().for_each(|number| put_number(number, out));
            }
        }
    }
}

/// Writes the annex of a SEQUENCER_REQUEST.
pub(super) fn write_requests(requests: &Requests, out: &mut Vec<u8>) {
    put(&(&requests.origin, requests.first), out);
    put(&count_of(&requests.run), out);
    for Request { what, time } in &requests.run {
        let numbers = match what {
            Wish::Data { payload, guarantee } => {
                let kind = if *guarantee == Guarantee::Safe { WISH_SAFE_DATA } else { WISH_DATA };
                [kind, *time, length_of(payload.len()).into()]
            }
            Wish::Lost { to } => [WISH_LOST, *time, to.0],
        };
        numbers.into_iter().for_each(|number| put_number(number, out));
    }
}

/// Appends the payloads, for the two verbs that have some.
pub(super) fn write_payloads(message: &Message, out: &mut Vec<u8>) {
    if let Message::Ordered(ordered) = message {
        for entry in &ordered.run {
            match entry {
                Entry::Data { payload, .. } => out.extend_from_slice(payload),
                Entry::View(view) => group::write(view, &mut Text(out)).expect("a Vec takes any text"),
                Entry::Lost { .. } => {}
            }
        }
    } else if let Message::SequencerRequest(requests) = message {
        for request in &requests.run {
            if let Wish::Data { payload, .. } = &request.what {
                out.extend_from_slice(payload);
            }
        }
    }
}

/// Reads an ORDERED.
pub(super) fn read_ordered(annex: &mut Annex<'_>, mut body: Body<'_>) -> Result<Ordered, WireError> {
    let (epoch, first, stable, repair) = annex.take()?;
    let origins: Vec<Member> = annex.take()?;
    let origin = |annex: &Annex<'_>, place: u32| {
        origins.get(place as usize).cloned().ok_or_else(|| annex.error(&format!("origin {place} of {}", origins.len())))
    };
    let count = take_count(annex)?;
    body.expect(|out| write_ordered_prefix(first, count, out))?;
    let mut run = Vec::with_capacity(count);
    for _ in 0..count {
        run.push(match annex.take_number()? {
            kind @ (DATA | SAFE_DATA) => {
                let guarantee = if kind == SAFE_DATA { Guarantee::Safe } else { Guarantee::Agreed };
                let place = annex.take_small()?;
                let origin = origin(annex, place)?;
                let (oseq, time, length) = (Oseq(annex.take_number()?), annex.take_number()?, annex.take_small()?);
                Entry::Data { origin, oseq, time, guarantee, payload: body.take(length as usize)? }
            }
            VIEW => {
                let (epoch, successor, length): (Epoch, Option<Contact>, u32) = annex.take()?;
                Entry::View(group::read(&body.take(length as usize)?, epoch, successor)?)
            }
            LOST => {
                let place = annex.take_small()?;
                Entry::Lost { origin: origin(annex, place)?, from: Oseq(annex.take_number()?), to: Oseq(annex.take_number()?) }
            }
            kind => return Err(annex.error(&format!("an entry of kind {kind}"))),
        });
    }
    annex.end()?;
    body.end()?;
    Ok(Ordered { epoch, first, run, stable, repair })
}

/// Reads a SEQUENCER_REQUEST.
pub(super) fn read_requests(annex: &mut Annex<'_>, mut body: Body<'_>) -> Result<Requests, WireError> {
    let (origin, first) = annex.take()?;
    let count = take_count(annex)?;
    body.expect(write_requests_prefix)?;
    let mut run = Vec::with_capacity(count);
    for _ in 0..count {
        let (kind, time) = (annex.take_number()?, annex.take_number()?);
        let what = match kind {
            WISH_DATA | WISH_SAFE_DATA => {
                let guarantee = if kind == WISH_SAFE_DATA { Guarantee::Safe } else { Guarantee::Agreed };
                Wish::Data { payload: body.take(annex.take_small()? as usize)?, guarantee }
            }
            WISH_LOST => Wish::Lost { to: Oseq(annex.take_number()?) },
            kind => return Err(annex.error(&format!("a request of kind {kind}"))),
        };
        run.push(Request { what, time });
    }
    annex.end()?;
    body.end()?;
    Ok(Requests { origin, first, run })
}

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
            let (Entry::Data { origin, .. } | Entry::Lost { origin, .. }) = entry else { continue };
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
    // An item takes at least three bytes, so a count above what is left is a lie, whatever memory it asks for.
    if count > RUN_MAX || count > annex.left() {
        return Err(annex.error(&format!("a run of {count}; {RUN_MAX} are allowed and {} bytes are left", annex.left())));
    }
    Ok(count)
}

fn length_of(length: usize) -> u32 {
    u32::try_from(length).expect("larger frames are refused below four gigabytes")
}
