//! Every message in both directions, and everything that is no message.

mod document;
mod mutations;
pub(crate) mod samples;

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;

use crate::draw::{draw, draw_below};
use crate::error::WireError;
use crate::id::{Contact, Epoch, Incarnation, Member, NUMBER_MAX, Oseq, PeerId, Seq, ViewId};
use crate::log::entry::{Entry, Ordered, Request, Requests};
use crate::log::lineage::LogEnd;
use crate::log::readings::Readings;
use crate::log::view::View;
use crate::wire::message::{Datagram, Hello, Message, Reason, SyncAnswer, WIRE_VERSION};

use super::{
    FIRST_FRAME_MAX, FRAME_MAX, HEADER, MAGIC, PREFIX, RUN_MAX, decode, decode_datagram, encode,
    encode_datagram, encode_shared, open,
};

use samples::{VIEW_TEXT, contact, data, epoch, id, member, ordered, rejected, samples, view};

/// The frame without its length.
fn frame_of(message: &Message) -> Bytes {
    let mut out = Vec::new();
    encode(message, &mut out);
    let (prefix, frame) = out.split_first_chunk::<PREFIX>().unwrap();
    assert_eq!(u32::from_be_bytes(*prefix) as usize, frame.len());
    Bytes::copy_from_slice(frame)
}

/// The bytes behind the annex.
fn body_of(frame: &Bytes) -> Bytes {
    let annex = u32::from_be_bytes(frame[HEADER - 4..HEADER].try_into().unwrap()) as usize;
    frame.slice(HEADER + annex..)
}

/// Bytes as text: what cannot be printed is escaped, and quotes stay as they are.
fn readable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if matches!(byte, b'"' | b'\'') {
                char::from(*byte).to_string()
            } else {
                byte.escape_ascii().to_string()
            }
        })
        .collect()
}

/// That body, and the whole message back again.
#[track_caller]
fn check_wire(message: &Message, body: &str) {
    let frame = frame_of(message);
    assert_eq!(readable(&body_of(&frame)), body);
    assert_eq!(decode(&frame).as_ref(), Ok(message));
    assert_eq!(encode_shared(message).concat()[PREFIX..], frame);
    // What is refused on a link is a datagram, and the other way round.
    assert!(matches!(decode_datagram(&frame), Err(WireError::Flags { flags: 0 })));
    let datagram = Datagram { cluster: 7, from: contact(3), count: 9, message: message.clone() };
    let bytes = Bytes::from(encode_datagram(&datagram));
    assert_eq!(bytes[..MAGIC.len()], MAGIC);
    assert_eq!(body_of(&bytes), body_of(&frame));
    assert_eq!(decode_datagram(&bytes), Ok(datagram));
    assert!(matches!(decode(&bytes), Err(WireError::Flags { flags: 2 })));
}

#[test]
fn every_message_keeps_its_body_and_comes_back() {
    let mut codes = std::collections::BTreeSet::new();
    for (message, body) in samples() {
        check_wire(&message, &body);
        codes.insert(frame_of(&message)[5]);
    }
    assert_eq!(codes, (1..=23).collect(), "a verb without a sample");
}

#[test]
fn the_edges_of_numbers_and_runs_come_back() {
    let most = Epoch {
        round: NUMBER_MAX,
        owner: Member { id: PeerId::new(&"x".repeat(64)).unwrap(), inc: Incarnation(NUMBER_MAX) },
    };
    check_wire(
        &Message::OrderedAck { epoch: most, contiguous: Seq::MAX },
        "ORDERED_ACK:4611686018427387904",
    );
    check_wire(&ordered(5, Vec::new()), "ORDERED:5-4:");
    check_wire(&ordered(0, Vec::new()), "ORDERED:0-0:");
    check_wire(
        &Message::SequencerRequest(Requests { origin: member(1), first: Oseq(1), run: Vec::new() }),
        "SEQUENCER_REQUEST:",
    );
    let full = Message::Ordered(Ordered {
        epoch: epoch(1),
        first: Seq(1),
        run: (0..RUN_MAX as u64).map(|n| data(n % 3, n, b"x")).collect(),
        stable: Seq(0),
        repair: None,
    });
    assert_eq!(decode(&frame_of(&full)), Ok(full));
}

#[test]
fn no_number_is_read_that_is_above_the_top() {
    let beyond = NUMBER_MAX + 1;
    let late = || Member { inc: Incarnation(beyond), ..member(1) };
    let requests = |first: u64, run: Vec<Request>| {
        Message::SequencerRequest(Requests { origin: member(1), first: Oseq(first), run })
    };
    let two = |time| {
        let readings = Readings::one(Bytes::from_static(b"x"), time);
        Request::Readings { guarantee: crate::guarantee::Guarantee::Agreed, readings }
    };
    let lost = |from: u64, to: u64| {
        ordered(1, vec![Entry::Lost { origin: member(1), from: Oseq(from), to: Oseq(to) }])
    };
    for (message, reads) in [
        (Message::OrderedAck { epoch: epoch(1), contiguous: Seq(beyond) }, false),
        (
            Message::OrderedAck {
                epoch: Epoch { round: beyond, owner: member(1) },
                contiguous: Seq(1),
            },
            false,
        ),
        (
            Message::OrderedAck { epoch: Epoch { round: 1, owner: late() }, contiguous: Seq(1) },
            false,
        ),
        (requests(NUMBER_MAX, vec![two(7)]), true),
        (requests(NUMBER_MAX, vec![two(7), two(7)]), false),
        (requests(beyond, vec![]), false),
        (requests(1, vec![Request::Lost { to: Oseq(NUMBER_MAX) }]), true),
        (requests(1, vec![Request::Lost { to: Oseq(beyond) }]), false),
        (ordered(NUMBER_MAX, vec![data(1, NUMBER_MAX, b"x")]), true),
        (ordered(NUMBER_MAX, vec![data(1, 1, b"x"), data(1, 2, b"x")]), false),
        (ordered(1, vec![data(1, beyond, b"x")]), false),
        (lost(1, NUMBER_MAX), true),
        (lost(1, beyond), false),
        (lost(3, 2), false),
        (ordered(1, vec![Entry::View(View { view_id: ViewId(beyond), ..view() })]), false),
    ] {
        assert_eq!(decode(&frame_of(&message)).is_ok(), reads, "{message}");
    }
}

#[test]
fn what_is_mostly_something_else_is_not_kept_for_the_sake_of_a_reading() {
    for (payload, shares) in [(&b"x"[..], false), (&[b'x'; 4_000][..], true)] {
        let contacts = (1..50).map(contact).collect();
        let large = View::new(ViewId(1), epoch(1), id(1), contacts);
        let frame = frame_of(&ordered(
            301,
            vec![Entry::View(large), data(1, 18, payload), data(1, 19, payload)],
        ));
        let Ok(Message::Ordered(Ordered { run, .. })) = decode(&frame) else {
            panic!("no ORDERED")
        };
        let Some(Entry::Readings { readings, .. }) = run.last() else { panic!("no data") };
        assert_eq!(frame.as_ptr_range().contains(&readings.payloads().as_ptr()), shares);
    }
}

#[test]
fn a_largest_payload_fits_and_a_hello_fits_the_first_frame() {
    let payload = Bytes::from(vec![b'x'; 16 << 20]);
    let request = Request::Readings {
        guarantee: crate::guarantee::Guarantee::Agreed,
        readings: Readings::one(payload, u64::MAX),
    };
    assert!(
        frame_of(&Message::SequencerRequest(Requests {
            origin: member(1),
            first: Oseq(1),
            run: vec![request]
        }))
        .len()
            <= FRAME_MAX
    );
    let longest = Member { id: PeerId::new(&"x".repeat(64)).unwrap(), inc: Incarnation(u64::MAX) };
    let epoch = Epoch { round: u64::MAX, owner: longest.clone() };
    let address = SocketAddrV4::new(Ipv4Addr::BROADCAST, u16::MAX);
    let from = Contact { member: longest, birth: u64::MAX, address, explicit: i64::MIN };
    let end = LogEnd { epoch: epoch.clone(), contiguous: Seq(u64::MAX), log_id: epoch };
    let hello =
        Hello { cluster: u64::MAX, from, link: u64::MAX, end, knows: Some(Incarnation(u64::MAX)) };
    assert!(frame_of(&Message::Hello(hello)).len() <= FIRST_FRAME_MAX);
}

#[test]
fn payloads_are_shares_of_the_frame() {
    let frame = frame_of(&ordered(301, vec![data(1, 18, b"one"), data(1, 19, b"two")]));
    let Ok(Message::Ordered(Ordered { run, .. })) = decode(&frame) else { panic!("no ORDERED") };
    for entry in run {
        let Entry::Readings { readings, .. } = entry else { panic!("no data") };
        assert!(frame.as_ptr_range().contains(&readings.payloads().as_ptr()));
    }
}

#[test]
fn large_payloads_are_shared_with_their_message() {
    let large = Bytes::from(vec![b'x'; 5_000]);
    let reading = |oseq: u64, payload: &Bytes| {
        Entry::one(member(1), Oseq(oseq), crate::guarantee::Guarantee::Agreed, payload.clone(), 7)
    };
    let small = Bytes::from_static(b"small");
    let run = [&small, &large, &small, &small, &large, &large]
        .into_iter()
        .zip(1..)
        .map(|(payload, oseq)| reading(oseq, payload));
    let message = ordered(1, run.chain([Entry::View(view())]).collect());
    let pieces = encode_shared(&message);
    assert_eq!(pieces.iter().filter(|piece| piece.as_ptr() == large.as_ptr()).count(), 3);
    assert_eq!(
        pieces.len(),
        1 + 3 + 1 + 1,
        "the head and the first; three large ones; the two between; the view"
    );
    let mut whole = Vec::new();
    encode(&message, &mut whole);
    assert_eq!(pieces.concat(), whole);
    let requests = vec![
        Request::Lost { to: Oseq(3) },
        Request::Readings {
            guarantee: crate::guarantee::Guarantee::Safe,
            readings: Readings::one(large.clone(), 1),
        },
    ];
    let message =
        Message::SequencerRequest(Requests { origin: member(1), first: Oseq(1), run: requests });
    let pieces = encode_shared(&message);
    assert_eq!((pieces.len(), pieces[1].as_ptr()), (2, large.as_ptr()));
    assert_eq!(pieces.concat()[PREFIX..], frame_of(&message));
}

#[test]
fn origins_stand_once_in_a_frame() {
    let run: Vec<Entry> = (0..100).map(|n| data(n % 2, n, b"x")).collect();
    let frame = frame_of(&ordered(1, run));
    for name in [b"peer0", b"peer1"] {
        assert_eq!(frame.windows(name.len()).filter(|window| window == name).count(), 1);
    }
}

/// The frame with another header byte.
#[track_caller]
fn check_header(at: usize, byte: u8, expected: &WireError) {
    let mut frame = frame_of(&Message::Ok { ask: 1 }).to_vec();
    frame[at] = byte;
    assert_eq!(decode(&Bytes::from(frame)).as_ref(), Err(expected));
}

#[test]
fn a_wrong_header_is_named() {
    check_header(0, b'G', &WireError::Magic);
    check_header(
        4,
        WIRE_VERSION + 1,
        &WireError::Version { theirs: WIRE_VERSION + 1, ours: WIRE_VERSION },
    );
    check_header(5, 0, &WireError::Verb { code: 0 });
    check_header(5, 24, &WireError::Verb { code: 24 });
    check_header(6, 1, &WireError::Flags { flags: 1 });
    check_header(7, 16, &WireError::Tag { length: 16 });
    check_header(11, 4, &WireError::Truncated { verb: "OK", announced: 4, held: 3 });
    check_header(11, 2, &WireError::Annex { verb: "OK", why: "1 bytes too many".into() });
    assert_eq!(
        decode(&Bytes::new()),
        Err(WireError::Length { length: 0, least: HEADER, most: FRAME_MAX })
    );
    assert_eq!(decode(&Bytes::from_static(b"GET /")), Err(WireError::Magic));
}

/// A change of the bytes that makes a body disagree with its annex.
#[track_caller]
fn check_body(message: &Message, from: &str, to: &str) {
    let frame = frame_of(message);
    let at = frame
        .windows(from.len())
        .rposition(|window| window == from.as_bytes())
        .expect("the text to change is in the frame");
    let mut changed = frame[..at].to_vec();
    changed.extend_from_slice(to.as_bytes());
    changed.extend_from_slice(&frame[at + from.len()..]);
    match decode(&Bytes::from(changed)) {
        Err(WireError::Body { .. } | WireError::Truncated { .. }) => {}
        other => panic!("{from} as {to} gave {other:?}"),
    }
}

#[test]
fn a_body_that_contradicts_its_annex_is_refused() {
    check_body(&Message::Leave, "LEAVE", "LEAVE ");
    check_body(&Message::Leave, "LEAVE", "LEAV");
    check_body(&Message::Handover { successor: id(3), epoch: epoch(2) }, ":peer3", ":peer4");
    check_body(&Message::OrderedAck { epoch: epoch(2), contiguous: Seq(306) }, "306", "307");
    check_body(&Message::OrderedAck { epoch: epoch(2), contiguous: Seq(306) }, "306", "0306");
    check_body(&rejected(Reason::Busy), "BUSY", "NO_QUORUM");
    let two = ordered(301, vec![data(1, 18, b"ab"), data(1, 19, b"c")]);
    check_body(&two, "301-302", "301-303");
    check_body(&two, "301-302", "301");
    check_body(&two, ":abc", ":ab");
    check_body(&two, ":abc", ":abcd");
}

/// A view's text in place of the good one; its length is right.
fn read_view(text: &str) -> Result<View, WireError> {
    super::group::read(text.as_bytes(), epoch(2), None)
}

#[test]
fn a_view_names_everyone_once_and_one_leader() {
    assert_eq!(read_view(VIEW_TEXT), Ok(view()));
    // JSON is free in its blanks and in the order of names; the list gives the order.
    assert_eq!(read_view(&VIEW_TEXT.replace("\",\"peer2\"]", "\", \"peer2\" ]")), Ok(view()));
    for (from, to) in [
        ("VIEW_CHANGE:", "VIEW_CHANGE"),
        (r#"["peer1","peer2"]"#, r#"["peer1"]"#),
        (r#"["peer1","peer2"]"#, r#"["peer2"]"#),
        (r#"["peer1","peer2"]"#, r#"["peer1","peer2","peer2"]"#),
        (r#"["peer1","peer2"]"#, r#"["peer1","peer3"]"#),
        (r#"["peer1","peer2"]"#, r#"["peer1","peer2",""]"#),
        (r#"["peer1","peer2"]"#, r#"["peer1","peer2""#),
        (r#"{"peer1""#, r#"{"peer2""#),
        (r#""role":"leader""#, r#""role":"member""#),
        (r#""role":"member""#, r#""role":"leader""#),
        (r#""role":"member""#, r#""role":"boss""#),
        (r#","birth":41"#, r#","berth":41"#),
        (r#","birth":41"#, ""),
        (r#","birth":41"#, r#","birth":41,"more":1"#),
        ("9001", "90010"),
        ("]-{", "]{"),
        ("}}-4", "}}-04"),
        ("}}-4", "}}-+4"),
        ("}}-4", "}}-4 "),
        ("}}-4", "}}--4"),
        ("}}-4", "}}-"),
        ("}}-4", "}}"),
        ("}}-4", "}}-18446744073709551616"),
    ] {
        assert!(VIEW_TEXT.contains(from));
        let text = VIEW_TEXT.replacen(from, to, 1);
        assert!(
            matches!(read_view(&text), Err(WireError::Body { verb: "VIEW_CHANGE", .. })),
            "{text}"
        );
    }
    assert!(read_view("VIEW_CHANGE:[]-{}-4").is_err());
}

#[test]
fn a_dash_in_an_id_is_harmless() {
    let id = PeerId::new("a-{b}-1".replace(['{', '}'], ".").as_str()).unwrap();
    let odd = Contact { member: Member { id: id.clone(), inc: Incarnation(1) }, ..contact(1) };
    let view = View::new(ViewId(1), epoch(1), id, vec![odd, contact(2)]);
    let message = ordered(1, vec![Entry::View(view)]);
    assert_eq!(decode(&frame_of(&message)), Ok(message));
}

#[test]
fn nobody_is_a_name_in_epochs_only() {
    let owner = Message::OrderedAck { epoch: Epoch::none(), contiguous: Seq(0) };
    assert_eq!(decode(&frame_of(&owner)), Ok(owner));
    let nobody = Message::Handover { successor: Epoch::none().owner.id, epoch: epoch(1) };
    assert!(matches!(decode(&frame_of(&nobody)), Err(WireError::Annex { .. })));
}

#[test]
fn a_lying_count_costs_nothing() {
    // A run that says it has more entries than its bytes can hold, and a list that says it has 2^60
    // rows.
    let frame = frame_of(&Message::SequencerRequest(Requests {
        origin: member(1),
        first: Oseq(1),
        run: Vec::new(),
    }));
    let mut lying = frame.to_vec();
    let count =
        HEADER + u32::from_be_bytes(frame[HEADER - 4..HEADER].try_into().unwrap()) as usize - 1;
    assert_eq!(lying[count], 0);
    lying[count] = 100;
    assert!(matches!(decode(&Bytes::from(lying)), Err(WireError::Annex { .. })));

    let answer = SyncAnswer {
        epoch: epoch(3),
        contiguous: Seq(0),
        lineage: Vec::new(),
        stable: Seq(0),
        views: Vec::new(),
    };
    let frame = frame_of(&Message::SeqSyncResponse(answer));
    let annex = open(&frame).map(|(_, annex, _)| annex.left()).unwrap();
    let mut lying = frame.to_vec();
    let rows = HEADER + annex - 3;
    lying.splice(rows..=rows, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    lying[HEADER - 1] += 8;
    assert!(matches!(decode(&Bytes::from(lying)), Err(WireError::Annex { .. })));
}

#[test]
fn a_prefix_of_a_message_is_no_message() {
    for (message, _) in samples() {
        let frame = frame_of(&message);
        for length in 0..frame.len() {
            assert!(decode(&frame.slice(..length)).is_err(), "{message} cut to {length}");
        }
    }
}

#[test]
fn corrupted_bytes_give_a_message_or_an_error() {
    for (message, _) in samples() {
        let frame = frame_of(&message);
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut bytes = frame.to_vec();
                bytes[at] ^= 1 << bit;
                check_total(bytes);
            }
        }
    }
}

#[test]
fn random_bytes_give_a_message_or_an_error() {
    let samples = samples();
    for k in 0..20_000 {
        let length = draw_below(1, "length", k, 200);
        let random = |n: u64| draw(2, "byte", k * 1_000 + n).to_be_bytes()[0];
        check_total((0..length).map(random).collect());
        // With a good header, or with several bytes of a good frame changed, it gets further.
        let mut headed = MAGIC.to_vec();
        headed.extend([WIRE_VERSION, random(300) % 22, 0, 0, 0, 0, 0, random(301) % 100]);
        headed.extend((0..length).map(random));
        check_total(headed);
        let (message, _) =
            &samples[usize::try_from(draw_below(3, "sample", k, samples.len() as u64)).unwrap()];
        let mut changed = frame_of(message).to_vec();
        for n in 0..4 {
            let at = usize::try_from(draw_below(4, "at", k * 4 + n, changed.len() as u64)).unwrap();
            changed[at] = random(400 + n);
        }
        check_total(changed);
    }
}

/// That bytes are read without a panic, and that what they mean can be said again.
fn check_total(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    if let Ok(message) = decode(&bytes) {
        assert_eq!(decode(&frame_of(&message)), Ok(message));
    }
    if let Ok(datagram) = decode_datagram(&bytes) {
        assert_eq!(decode_datagram(&Bytes::from(encode_datagram(&datagram))), Ok(datagram));
    }
}
