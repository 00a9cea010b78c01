//! Frames that are nearly right: examples with bytes turned over, cut out, doubled, put together
//! from two, and with integers at the ends of what there is. Whatever comes of one is a message or
//! an error, never a panic; what is a message is written and read again as the same; and it holds
//! no more than its frame has bytes for.
//!
//! `CASES=20000000 cargo test --release -p protocol mutations` tries more of them, and says with
//! which case one fails.

use bytes::Bytes;

use crate::draw::draw_below;
use crate::log::entry::Entry;
use crate::wire::frame::{
    Cutter, HEADER, MAGIC, PREFIX, decode, decode_datagram, encode, encode_datagram,
};
use crate::wire::message::{Datagram, Message};

use super::samples::{contact, samples};

/// Draws of one case.
struct Dice {
    case: u64,
    draws: u64,
}

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.draws += 1;
        usize::try_from(draw_below(self.case, "mutation", self.draws, bound as u64))
            .expect("below a length")
    }
}

/// The varint of a number at an end of what there is, or of a small one.
fn odd_number(dice: &mut Dice) -> Vec<u8> {
    let numbers = [
        0,
        1,
        127,
        128,
        1 << 31,
        1 << 32,
        1 << 61,
        (1 << 62) - 1,
        1 << 62,
        (1 << 62) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let mut number: u64 = numbers[dice.below(numbers.len())];
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// A frame that differs from `frame` somewhere; its annex is as long as it says, most of the time.
fn mutated(frame: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let annex =
        u32::from_be_bytes(frame[HEADER - 4..HEADER].try_into().expect("four bytes")) as usize;
    let (mut head, mut annex, mut body) = (
        frame[..HEADER].to_vec(),
        frame[HEADER..HEADER + annex].to_vec(),
        frame[HEADER + annex..].to_vec(),
    );
    for _ in 0..=dice.below(3) {
        let part = match dice.below(12) {
            0 => &mut head,
            1 | 2 => &mut body,
            _ => &mut annex,
        };
        if part.is_empty() {
            continue;
        }
        let at = dice.below(part.len());
        match dice.below(7) {
            0 => part[at] ^= 1 << dice.below(8),
            1 => part[at] = u8::try_from(dice.below(256)).expect("a byte"),
            2 => {
                let end = at + dice.below(part.len() - at);
                part.drain(at..end);
            }
            3 => {
                let end = at + dice.below(part.len() - at);
                let again = part[at..end].to_vec();
                part.splice(at..at, again);
            }
            4 => {
                let from = dice.below(other.len());
                let end = from + dice.below((other.len() - from).min(40));
                part.splice(at..at, other[from..end].iter().copied());
            }
            _ => {
                // In the place of an integer, which ends at the first byte without the top bit.
                let length = part[at..]
                    .iter()
                    .position(|byte| *byte < 0x80)
                    .map_or(part.len() - at, |last| last + 1);
                part.splice(at..at + length, odd_number(dice));
            }
        }
    }
    let mut frame = head;
    frame.resize(HEADER, 0);
    if dice.below(20) > 0 {
        frame[..MAGIC.len()].copy_from_slice(&MAGIC);
        frame[HEADER - 4..]
            .copy_from_slice(&u32::try_from(annex.len()).expect("a small annex").to_be_bytes());
    }
    [frame, annex, body].concat()
}

/// How many names, rows and readings a message holds.
fn items(message: &Message) -> u64 {
    let view = |view: &crate::log::view::View| view.size() as u64;
    match message {
        Message::NewPeerRequest(join) => join.lineage.len() as u64,
        Message::Added(added) => {
            let snapshot = &added.snapshot;
            snapshot.lineage.len() as u64
                + snapshot.table.len() as u64
                + snapshot.view.as_ref().map_or(0, view)
        }
        Message::SeqSyncRequest(request) => request.view.as_ref().map_or(0, view),
        Message::SeqSyncResponse(answer) => {
            answer.lineage.len() as u64
                + answer.views.iter().map(|(_, each)| 1 + view(each)).sum::<u64>()
        }
        Message::SeqSyncFinal(last) => (last.lineage.len() + last.list.len()) as u64,
        Message::MissingSeqNotFound(answer) => answer.snapshot.as_ref().map_or(0, |snapshot| {
            snapshot.lineage.len() as u64
                + snapshot.table.len() as u64
                + snapshot.view.as_ref().map_or(0, view)
        }),
        Message::SequencerRequest(requests) => requests.run.len() as u64,
        Message::Ordered(ordered) => {
            let in_entry = |entry: &Entry| match entry {
                Entry::View(each) => view(each),
                Entry::Change(change) => (change.gone.len() + change.come.len()) as u64,
                Entry::Readings { .. } | Entry::Lost { .. } => entry.positions(),
            };
            ordered.run.iter().map(in_entry).sum()
        }
        _ => 0,
    }
}

#[test]
fn whatever_comes_is_a_message_or_an_error() {
    let cases = option_env!("CASES").and_then(|cases| cases.parse().ok()).unwrap_or(200_000_u64);
    let mut frames: Vec<(Vec<u8>, bool)> = Vec::new();
    for (message, _) in samples() {
        let mut frame = Vec::new();
        encode(&message, &mut frame);
        frames.push((frame.split_off(PREFIX), false));
        let datagram = Datagram { cluster: 7, from: contact(3), count: 9, message };
        frames.push((encode_datagram(&datagram), true));
    }
    let mut read = 0;
    for case in 0..cases {
        let mut dice = Dice { case, draws: 0 };
        let ((frame, is_datagram), (other, _)) =
            (&frames[dice.below(frames.len())], &frames[dice.below(frames.len())]);
        let bytes = Bytes::from(mutated(frame, other, &mut dice));
        let message = if *is_datagram {
            let Ok(datagram) = decode_datagram(&bytes) else { continue };
            let again = Bytes::from(encode_datagram(&datagram));
            assert_eq!(decode_datagram(&again).as_ref(), Ok(&datagram), "case {case}");
            datagram.message
        } else {
            let Ok(message) = decode(&bytes) else { continue };
            let mut again = Vec::new();
            encode(&message, &mut again);
            assert_eq!(
                decode(&again.split_off(PREFIX).into()).as_ref(),
                Ok(&message),
                "case {case}"
            );
            message
        };
        read += 1;
        assert!(
            items(&message) <= bytes.len() as u64,
            "case {case}: {} items of {} bytes",
            items(&message),
            bytes.len()
        );
    }
    assert!(read > cases / 100, "only {read} of {cases} were messages: nothing much was tried");
}

#[test]
fn whatever_comes_in_a_stream_is_cut_or_refused() {
    let mut stream = Vec::new();
    samples().iter().for_each(|(message, _)| encode(message, &mut stream));
    for case in 0..2_000 {
        let mut dice = Dice { case, draws: 0 };
        let mut bytes = stream.clone();
        for _ in 0..=dice.below(3) {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        let mut cutter = if dice.below(2) == 0 { Cutter::new() } else { Cutter::wary() };
        let piece = 1 + dice.below(500);
        'stream: for arrived in bytes.chunks(piece) {
            cutter.push(arrived);
            loop {
                match cutter.next() {
                    Ok(Some(frame)) => drop(decode(&frame)),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
            assert!(cutter.held() <= bytes.len(), "case {case}");
        }
    }
}
