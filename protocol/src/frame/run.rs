//! Runs: several log entries, or several requests of one sender, in one frame. The annex holds a few integers for each,
//! its length among them; the payloads stand one after the other at the end of the body. Origins are named once a frame.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::guarantee::Guarantee;
use crate::id::{Contact, Epoch, Member, Oseq};
use crate::message::{Entry, Message, Ordered, Request, Requests, Wish};

use super::annex::{Annex, put};
use super::body::{Body, Text, write_ordered_prefix, write_requests_prefix};
use super::{RUN_MAX, group};

/// An entry without its payload.
#[derive(Serialize, Deserialize)]
enum EntryItem {
    Data { origin: u32, oseq: Oseq, time: u64, length: u32 },
    View { epoch: Epoch, successor: Option<Contact>, length: u32 },
    Lost { origin: u32, from: Oseq, to: Oseq },
    SafeData { origin: u32, oseq: Oseq, time: u64, length: u32 },
}

/// A request without its payload.
#[derive(Serialize, Deserialize)]
enum RequestItem {
    Data { time: u64, length: u32 },
    Lost { time: u64, to: Oseq },
    SafeData { time: u64, length: u32 },
}

/// Writes the annex of an ORDERED.
pub(super) fn write_ordered(ordered: &Ordered, out: &mut Vec<u8>) {
    put(&(&ordered.epoch, ordered.first, ordered.stable, ordered.repair), out);
    let origins = Origins::of(&ordered.run);
    put(&origins.table, out);
    put(&count_of(&ordered.run), out);
    for entry in &ordered.run {
        let item = match entry {
            Entry::Data { origin, oseq, time, guarantee, payload } => {
                let (origin, oseq, time, length) = (origins.place(origin), *oseq, *time, length_of(payload.len()));
                match guarantee {
                    Guarantee::Agreed => EntryItem::Data { origin, oseq, time, length },
                    Guarantee::Safe => EntryItem::SafeData { origin, oseq, time, length },
                }
            }
            Entry::View(view) => {
                EntryItem::View { epoch: view.epoch.clone(), successor: view.successor.clone(), length: length_of(group::length(view)) }
            }
            Entry::Lost { origin, from, to } => EntryItem::Lost { origin: origins.place(origin), from: *from, to: *to },
        };
        put(&item, out);
    }
}

/// Writes the annex of a SEQUENCER_REQUEST.
pub(super) fn write_requests(requests: &Requests, out: &mut Vec<u8>) {
    put(&(&requests.origin, requests.first), out);
    put(&count_of(&requests.run), out);
    for Request { what, time } in &requests.run {
        let item = match what {
            Wish::Data { payload, guarantee: Guarantee::Agreed } => RequestItem::Data { time: *time, length: length_of(payload.len()) },
            Wish::Data { payload, guarantee: Guarantee::Safe } => RequestItem::SafeData { time: *time, length: length_of(payload.len()) },
            Wish::Lost { to } => RequestItem::Lost { time: *time, to: *to },
        };
        put(&item, out);
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
        run.push(match annex.take()? {
            EntryItem::Data { origin: place, oseq, time, length } => {
                let (origin, guarantee) = (origin(annex, place)?, Guarantee::Agreed);
                Entry::Data { origin, oseq, time, guarantee, payload: body.take(length as usize)? }
            }
            EntryItem::SafeData { origin: place, oseq, time, length } => {
                let (origin, guarantee) = (origin(annex, place)?, Guarantee::Safe);
                Entry::Data { origin, oseq, time, guarantee, payload: body.take(length as usize)? }
            }
            EntryItem::View { epoch, successor, length } => Entry::View(group::read(&body.take(length as usize)?, epoch, successor)?),
            EntryItem::Lost { origin: place, from, to } => Entry::Lost { origin: origin(annex, place)?, from, to },
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
        run.push(match annex.take()? {
            RequestItem::Data { time, length } => {
                Request { what: Wish::Data { payload: body.take(length as usize)?, guarantee: Guarantee::Agreed }, time }
            }
            RequestItem::SafeData { time, length } => {
                Request { what: Wish::Data { payload: body.take(length as usize)?, guarantee: Guarantee::Safe }, time }
            }
            RequestItem::Lost { time, to } => Request { what: Wish::Lost { to }, time },
        });
    }
    annex.end()?;
    body.end()?;
    Ok(Requests { origin, first, run })
}

/// The members that a run names, each once, in the order in which they appear.
struct Origins<'a> {
    table: Vec<&'a Member>,
    places: BTreeMap<&'a Member, u32>,
}

impl<'a> Origins<'a> {
    fn of(run: &'a [Entry]) -> Self {
        let mut origins = Self { table: Vec::new(), places: BTreeMap::new() };
        for entry in run {
            let (Entry::Data { origin, .. } | Entry::Lost { origin, .. }) = entry else { continue };
            // Mostly the one before; the tree is for the rest.
            if origins.table.last() != Some(&origin) && !origins.places.contains_key(origin) {
                origins.places.insert(origin, length_of(origins.table.len()));
                origins.table.push(origin);
            }
        }
        origins
    }

    fn place(&self, origin: &Member) -> u32 {
        self.places[origin]
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
