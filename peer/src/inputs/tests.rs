//! A recording is read back; other, torn and damaged files are distinguished.

use std::fs;
use std::path::{Path, PathBuf};

use log::LevelFilter;
use protocol::config::Knobs;
use protocol::id::{Contact, Epoch, Incarnation, LinkId, Member, PeerId, Seq};
use protocol::io::{Down, Input, Publication};
use protocol::message::{Datagram, Message, WIRE_VERSION};
use protocol::note::Note;
use protocol::time::Time;
use tempfile::TempDir;

use super::{BadInputs, BadRecord, Entry, FORMAT, Life, Reader, Recorder};

pub(crate) fn life(torn: u64) -> Life {
    let me = Contact {
        member: Member { id: PeerId::new("peer1").unwrap(), inc: Incarnation(7) },
        birth: u64::MAX,
        address: "127.0.0.1:5001".parse().unwrap(),
        explicit: -3,
    };
    let now = Time::from_micros(1_000);
    let (start, knobs, seed) =
        (crate::identity::start_note(&me, None, false), Knobs::fast(), me.birth);
    Life {
        format: FORMAT,
        wire: WIRE_VERSION,
        start,
        me,
        knobs,
        seed,
        now,
        utc: 5_000_000,
        readings: true,
        stores: false,
        veteran: true,
        log_level: LevelFilter::Info,
        torn,
    }
}

/// One of each kind.
fn inputs() -> Vec<Input> {
    let epoch = Epoch::none().next(life(0).me.member);
    let ack = Message::OrderedAck { epoch, contiguous: Seq(9) };
    let datagram = Datagram {
        cluster: 4,
        from: life(0).me,
        count: 2,
        message: Message::ViewSyncRequest { ask: 5 },
    };
    vec![
        Input::LinkUp { link: LinkId::accepted(1) },
        Input::Received {
            link: LinkId::accepted(1),
            messages: vec![ack, Message::Leave, Message::Ok { ask: 3 }],
        },
        Input::Received { link: LinkId::accepted(1), messages: vec![] },
        Input::Heard { from: "127.0.0.1:9".parse().unwrap(), datagram: Box::new(datagram) },
        Input::LinkDown { link: LinkId::dialled(2), how: Down::Closed },
        Input::LinkDown { link: LinkId::dialled(3), how: Down::Reset },
        Input::LinkDown { link: LinkId::dialled(4), how: Down::Garbage },
        Input::DialFailed { link: LinkId::dialled(5), refused: true },
        Input::Backlog { link: LinkId::accepted(1), full: true },
        Input::Publish {
            publications: Publication::together([
                (&b"\x00any\xff"[..], 7, Some(protocol::config::Guarantee::Safe)),
                (b"", u64::MAX, Some(protocol::config::Guarantee::Safe)),
                (b"", u64::MAX, None),
                (b"more", u64::MAX, None),
            ]),
        },
        Input::Moved { address: "10.0.0.4:9001".parse().unwrap() },
        Input::Wake,
        Input::Leave,
    ]
}

fn scratch() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer1.bin");
    (folder, path)
}

fn record(path: &Path, lives: u64) {
    for _ in 0..lives {
        let mut recorder = Recorder::open(path).unwrap();
        recorder.begin(&life(recorder.torn()));
        for (at, input) in inputs().iter().enumerate() {
            recorder.give(Time::from_micros(at as u64), input);
            recorder.count(at);
        }
        recorder.tell(Time::from_micros(99), &Note::Stop { reason: "left".to_owned() });
    }
}

/// Every entry, and the offset of a torn one.
fn read(path: &Path) -> Result<(Vec<Entry>, Option<u64>), BadInputs> {
    let mut reader = Reader::open(path)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok((entries, reader.torn_at()))
}

#[test]
fn everything_recorded_is_read_again_over_all_lives() {
    let (_folder, path) = scratch();
    record(&path, 2);
    let mut expected = vec![Entry::Life(Box::new(life(0)))];
    let mut outputs = 0;
    for (at, input) in inputs().into_iter().enumerate() {
        expected.push(Entry::Given { at: Time::from_micros(at as u64), outputs, input });
        outputs += at as u64;
    }
    expected.push(Entry::Told {
        at: Time::from_micros(99),
        note: Box::new(Note::Stop { reason: "left".to_owned() }),
    });
    let twice = [expected.clone(), expected].concat();
    assert_eq!(read(&path).unwrap(), (twice, None));
}

#[test]
fn wherever_a_kill_tears_it_the_rest_is_read_and_the_next_life_goes_on() {
    let (_folder, path) = scratch();
    record(&path, 1);
    let whole = fs::read(&path).unwrap();
    let all = read(&path).unwrap().0;
    for length in (0..whole.len()).step_by(5) {
        fs::write(&path, &whole[..length]).unwrap();
        let (entries, torn) = read(&path).unwrap();
        assert_eq!(entries, all[..entries.len()], "cut at {length}");
        let kept = torn.map_or(length, |at| usize::try_from(at).unwrap());
        assert!(entries.len() < all.len() && kept <= length);
        // The meaning of fewer bytes than these is unknown; only a file of ours is continued.
        let recorder = Recorder::open(&path).unwrap();
        assert_eq!(recorder.torn(), (length - kept) as u64);
        assert_eq!(fs::metadata(&path).unwrap().len(), kept as u64);
    }
}

#[test]
fn what_is_no_recording_is_left_alone() {
    let (_folder, path) = scratch();
    let missing = Reader::open(&path).unwrap_err();
    assert!(matches!(missing.what, BadRecord::Io(_)), "{missing}");
    for other in ["#!/bin/sh\necho hello\n", "\0\0\0\u{18}ftypmp42", "{\"v\":1}\n"] {
        fs::write(&path, other).unwrap();
        assert!(
            matches!(Reader::open(&path).unwrap_err().what, BadRecord::NoRecording),
            "{other:?}"
        );
        assert!(Recorder::open(&path).is_err(), "{other:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), other, "not a byte is touched");
    }
}

#[test]
fn damage_is_placed() {
    let (_folder, path) = scratch();
    record(&path, 1);
    let whole = fs::read(&path).unwrap();
    let second = 4 + u32::from_be_bytes(whole[..4].try_into().unwrap()) as usize;
    let damaged = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        read(&path).unwrap_err()
    };
    let bad = damaged(second + 4, 77);
    assert!(matches!(bad.what, BadRecord::Entry(_)) && bad.offset == second as u64, "{bad}");
    let bad = damaged(second, 0xff);
    assert!(
        matches!(bad.what, BadRecord::Length(_))
            && bad.to_string().contains(&format!("byte {second}:")),
        "{bad}"
    );
    let wire = whole.windows(7).position(|bytes| bytes == b"\"wire\":").unwrap();
    let bad = damaged(wire + 7, b'9');
    assert!(matches!(&bad.what, BadRecord::Life { build, .. } if build == crate::BUILD), "{bad}");
}

#[test]
fn one_file_has_one_peer_at_a_time() {
    let (_folder, path) = scratch();
    let first = Recorder::open(&path).unwrap();
    assert!(Recorder::open(&path).unwrap_err().to_string().contains("another running peer"));
    drop(first);
    assert!(Recorder::open(&path).is_ok());
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    let mut recorder = Recorder::open(Path::new("/dev/full")).unwrap();
    assert!(!recorder.outlet().health().ended);
    recorder.begin(&life(0));
    assert!(recorder.outlet().settle(std::time::Duration::from_secs(60)));
    assert!(recorder.outlet().health().ended);
    recorder.give(Time::ZERO, &Input::Wake);
    recorder.tell(Time::ZERO, &Note::Ready);
}
