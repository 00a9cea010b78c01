//! At least one message of each verb, and what messages are made of.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;

use crate::guarantee::Guarantee;
use crate::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
use crate::log::change::Change;
use crate::log::dedup::Dedup;
use crate::log::entry::{Entry, Ordered, Request, Requests};
use crate::log::lineage::{EpochStart, LogEnd, Snapshot};
use crate::log::readings::{Collector, Readings};
use crate::log::remarks::Remarks;
use crate::log::view::View;
use crate::wire::message::{
    Added, Coordinator, Election, Heartbeat, HeartbeatAck, Hello, JoinRequest, Leading, Message,
    MissingAnswer, MissingRequest, Reason, Rejected, SyncAnswer, SyncFinal, SyncRequest,
};

pub(in crate::wire::frame) fn id(n: u64) -> PeerId {
    PeerId::new(&format!("peer{n}")).unwrap()
}

pub(in crate::wire::frame) fn member(n: u64) -> Member {
    Member { id: id(n), inc: Incarnation(1_700_000_000_000 + n) }
}

pub(in crate::wire::frame) fn epoch(n: u64) -> Epoch {
    Epoch { round: n, owner: member(n) }
}

pub(in crate::wire::frame) fn contact(n: u64) -> Contact {
    let port = 9_000 + u16::try_from(n).unwrap();
    Contact {
        member: member(n),
        birth: 40 + n,
        address: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), port),
        explicit: 0,
    }
}

pub(in crate::wire::frame) fn view() -> View {
    View::new(ViewId(4), epoch(2), id(2), vec![contact(1), contact(2)])
}

pub(in crate::wire::frame) fn end() -> LogEnd {
    LogEnd { epoch: epoch(2), contiguous: Seq(300), log_id: epoch(1) }
}

pub(in crate::wire::frame) fn lineage() -> Vec<EpochStart> {
    vec![
        EpochStart { epoch: epoch(1), first: Seq(1) },
        EpochStart { epoch: epoch(2), first: Seq(250) },
    ]
}

pub(in crate::wire::frame) fn snapshot() -> Snapshot {
    let table =
        Dedup::from([(id(1), (member(1).inc, Oseq(17))), (id(2), (member(2).inc, Oseq(200)))]);
    Snapshot { seq: Seq(300), view: Some(view()), table, lineage: lineage() }
}

pub(in crate::wire::frame) fn data(n: u64, oseq: u64, payload: &'static [u8]) -> Entry {
    Entry::one(
        member(n),
        Oseq(oseq),
        Guarantee::Agreed,
        Bytes::from_static(payload),
        1_700_000_000_000_000 + oseq,
    )
}

/// Readings that were published together, a few microseconds apart.
fn together(payloads: &[&[u8]]) -> Readings {
    let mut collector = Collector::default();
    payloads
        .iter()
        .zip([4, 4, 260])
        .for_each(|(payload, time)| collector.push(payload, 1_700_000_000_000_000 + time));
    // Cut out of more, which shows nowhere.
    collector.push(b"and more", 1_700_000_000_000_261);
    collector.finish().unwrap().slice(0..payloads.len() as u64)
}

pub(in crate::wire::frame) fn request(payload: &'static [u8]) -> Request {
    Request::Readings {
        guarantee: Guarantee::Agreed,
        readings: Readings::one(Bytes::from_static(payload), 1_700_000_000_000_000),
    }
}

/// The same, to be handed over only when it is safe.
fn safe(entry: Entry) -> Entry {
    match entry {
        Entry::Readings { origin, first, ordered, readings, .. } => {
            Entry::Readings { origin, first, guarantee: Guarantee::Safe, ordered, readings }
        }
        other @ (Entry::View(_) | Entry::Change(_) | Entry::Lost { .. }) => other,
    }
}

/// The same, with the time at which it was ordered.
fn timed(entry: Entry) -> Entry {
    match entry {
        Entry::Readings { origin, first, guarantee, readings, .. } => Entry::Readings {
            origin,
            first,
            guarantee,
            ordered: Some(1_700_000_000_000_777),
            readings,
        },
        other @ (Entry::View(_) | Entry::Change(_) | Entry::Lost { .. }) => other,
    }
}

fn remarks() -> Remarks {
    Remarks {
        ordered: Some(1_700_000_000_000_777),
        why: vec![(id(3), "it asked to leave".to_owned())],
    }
}

pub(in crate::wire::frame) fn ordered(first: u64, run: Vec<Entry>) -> Message {
    Message::Ordered(Ordered {
        epoch: epoch(2),
        first: Seq(first),
        run,
        stable: Seq(290),
        repair: None,
    })
}

pub(in crate::wire::frame) const VIEW_TEXT: &str = concat!(
    r#"VIEW_CHANGE:["peer1","peer2"]-"#,
    r#"{"peer1":{"address":"10.0.0.1","port":9001,"role":"member","inc":1700000000001,"birth":41,"priority":0},"#,
    r#""peer2":{"address":"10.0.0.1","port":9002,"role":"leader","inc":1700000000002,"birth":42,"priority":0}}-4"#
);

/// At least one message of each verb, with its body as readable text; `WIRE.md` shows the same
/// ones.
pub(crate) fn samples() -> Vec<(Message, String)> {
    let samples = [
        (
            Message::Hello(Hello {
                cluster: 0x0123_4567_89AB_CDEF,
                from: contact(1),
                link: 6,
                end: end(),
                knows: Some(member(2).inc),
            }),
            "HELLO",
        ),
        (
            Message::NewPeerRequest(JoinRequest {
                ask: 1,
                from: contact(3),
                promised: Epoch::none(),
                contiguous: Seq(0),
                lineage: vec![],
                leading: None,
                has_history: false,
                recent: 100,
            }),
            "NEW_PEER_REQUEST:peer3:9003",
        ),
        (
            Message::NewPeerRequest(JoinRequest {
                ask: 2,
                from: contact(1),
                promised: epoch(2),
                contiguous: Seq(300),
                lineage: lineage(),
                leading: Some(Leading { epoch: epoch(2), size: 2 }),
                has_history: true,
                recent: 0,
            }),
            "NEW_PEER_REQUEST:peer1:9001",
        ),
        (
            Message::Added(Added {
                ask: 1,
                epoch: epoch(2),
                snapshot: snapshot(),
                view_at: Seq(305),
            }),
            "ADDED TO NETWORK:301",
        ),
        (
            Message::Heartbeat(Heartbeat {
                epoch: epoch(2),
                beat: 12,
                high: Seq(305),
                stable: Seq(300),
                all_have: Some(Seq(299)),
                echo: Some(11),
                last_oseq: Oseq(17),
            }),
            "HEARTBEAT",
        ),
        (
            Message::HeartbeatAck(HeartbeatAck {
                epoch: epoch(2),
                beat: 12,
                contiguous: Seq(305),
                lag: 180,
            }),
            "HEARTBEAT_ACK",
        ),
        (
            Message::Election(Election { ask: 5, candidate: contact(1), end: end() }),
            "ELECTION:peer1",
        ),
        (Message::Ok { ask: 5 }, "OK"),
        (Message::Clear { ask: 5 }, "CLEAR"),
        (
            Message::Coordinator(Coordinator {
                leader: contact(2),
                epoch: epoch(2),
                size: 3,
                ask: Some(5),
                names_you: true,
            }),
            "COORDINATOR:peer2",
        ),
        (Message::ViewSyncRequest { ask: 8 }, "VIEW_SYNC_REQUEST"),
        (
            Message::SeqSyncRequest(SyncRequest {
                epoch: epoch(3),
                claimant: contact(3),
                view: Some(view()),
            }),
            "SEQ_SYNC_REQUEST",
        ),
        (
            Message::SeqSyncResponse(SyncAnswer {
                epoch: epoch(3),
                contiguous: Seq(305),
                lineage: lineage(),
                stable: Seq(300),
                views: vec![(Seq(297), view())],
            }),
            "SEQ_SYNC_RESPONSE:305",
        ),
        (
            Message::SeqSyncFinal(SyncFinal {
                epoch: epoch(3),
                leader: contact(3),
                cut: Seq(305),
                lineage: lineage(),
                list: vec![member(1), member(3)],
            }),
            "SEQ_SYNC_FINAL:305",
        ),
        (
            Message::SequencerRequest(Requests {
                origin: member(1),
                first: Oseq(18),
                run: vec![request(b"21.5 C")],
            }),
            "SEQUENCER_REQUEST:21.5 C",
        ),
        (
            Message::SequencerRequest(Requests {
                origin: member(1),
                first: Oseq(18),
                run: vec![
                    request(b"a:b-c\n"),
                    Request::Lost { to: Oseq(25) },
                    Request::Readings {
                        guarantee: Guarantee::Safe,
                        readings: together(&[b"", b"\x00\xff", b"z"]),
                    },
                ],
            }),
            r"SEQUENCER_REQUEST:a:b-c\n\x00\xffz",
        ),
        (ordered(301, vec![data(1, 18, b"21.5 C")]), "ORDERED:301:21.5 C"),
        (
            ordered(
                301,
                vec![
                    data(1, 18, b"ab"),
                    data(2, 201, b""),
                    safe(data(1, 19, b"c")),
                    Entry::Lost { origin: member(2), from: Oseq(202), to: Oseq(209) },
                    Entry::Readings {
                        origin: member(1),
                        first: Oseq(20),
                        guarantee: Guarantee::Agreed,
                        ordered: None,
                        readings: together(&[b"d", b"ef", b""]),
                    },
                ],
            ),
            "ORDERED:301-307:abcdef",
        ),
        (ordered(305, vec![Entry::View(view())]), "ORDERED:305:<view>"),
        (
            ordered(301, vec![timed(data(1, 18, b"ab")), timed(safe(data(1, 19, b"c")))]),
            "ORDERED:301-302:abc",
        ),
        (
            ordered(305, vec![Entry::View(View { remarks: remarks(), ..view() })]),
            "ORDERED:305:<view>",
        ),
        (
            Message::Ordered(Ordered {
                epoch: epoch(2),
                first: Seq(305),
                run: vec![
                    Entry::View(View { successor: Some(contact(3)), ..view() }),
                    data(1, 20, b"-7"),
                ],
                stable: Seq(305),
                repair: Some(31),
            }),
            "ORDERED:305-306:<view>-7",
        ),
        (
            ordered(
                306,
                vec![
                    Entry::Change(Change {
                        before: (epoch(2), ViewId(4)),
                        view_id: ViewId(5),
                        epoch: epoch(2),
                        leader: id(2),
                        gone: vec![id(1)],
                        come: vec![contact(3)],
                        successor: None,
                        remarks: Remarks::default(),
                    }),
                    data(2, 210, b"21.5 C"),
                ],
            ),
            r#"ORDERED:306-307:VIEW_CHANGE:+["peer3"]-["peer1"]-521.5 C"#,
        ),
        (Message::OrderedAck { epoch: epoch(2), contiguous: Seq(306) }, "ORDERED_ACK:306"),
        (
            Message::MissingSeqRequest(MissingRequest {
                ask: 31,
                epoch: epoch(2),
                from: Seq(290),
                to: Seq(295),
            }),
            "MISSING_SEQ_REQUEST:290-295",
        ),
        (
            Message::MissingSeqNotFound(MissingAnswer { ask: 31, snapshot: None }),
            "MISSING_SEQ_NOT_FOUND",
        ),
        (
            Message::MissingSeqNotFound(MissingAnswer { ask: 31, snapshot: Some(snapshot()) }),
            "MISSING_SEQ_NOT_FOUND",
        ),
        (rejected(Reason::Stale { promised: epoch(3) }), "REJECTED:STALE"),
        (rejected(Reason::NotLeader), "REJECTED:NOT_LEADER"),
        (rejected(Reason::NotMember), "REJECTED:NOT_MEMBER"),
        (rejected(Reason::DuplicateId { holder: contact(3).address }), "REJECTED:DUPLICATE_ID"),
        (rejected(Reason::OldIncarnation { known: member(3).inc }), "REJECTED:OLD_INCARNATION"),
        (rejected(Reason::NoQuorum), "REJECTED:NO_QUORUM"),
        (
            Message::Rejected(Rejected { ask: None, reason: Reason::Version { speaks: 1 } }),
            "REJECTED:VERSION",
        ),
        (rejected(Reason::Busy), "REJECTED:BUSY"),
        (Message::Leave, "LEAVE"),
        (Message::Handover { successor: id(3), epoch: epoch(2) }, "HANDOVER:peer3"),
        (
            Message::Query { ask: 31, question: Bytes::from_static(b"{\"do\":\"members\"}") },
            "QUERY",
        ),
        (Message::Answer { ask: 31, answer: Bytes::from_static(b"{}") }, "ANSWER"),
    ];
    samples.map(|(message, body)| (message, body.replace("<view>", VIEW_TEXT))).into()
}

pub(in crate::wire::frame) fn rejected(reason: Reason) -> Message {
    Message::Rejected(Rejected { ask: Some(8), reason })
}
