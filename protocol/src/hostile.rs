//! Tests: what a stranger says, or a member that is out of its mind, changes nothing and takes up
//! little.

use bytes::Bytes;

use crate::config::{Guarantee, Knobs, Mode};
use crate::harness::{Harness, epoch_of, nothing, peer, request};
use crate::id::{Contact, Epoch, Oseq, Seq};
use crate::io::{Input, Output, Publication};
use crate::log::entry::{Entry, Ordered, Request, Requests};
use crate::log::log_id::LogId;
use crate::log::readings::Collector;
use crate::log::view::View;
use crate::report::activity::Activity;
use crate::report::note::{Evidence, Note};
use crate::roles::Role;
use crate::wire::message::{
    Coordinator, Message, MissingRequest, Reason, Rejected, SyncFinal, SyncRequest,
};

/// How often something of that kind was turned away, as far as it was told.
fn rejects(harness: &Harness, words: &str) -> u64 {
    let count = |output: &Output| match output {
        Output::Note(Note::Reject { why, count, .. }) if why.starts_with(words) => Some(*count),
        _ => None,
    };
    harness.out.iter().filter_map(count).max().unwrap_or(0)
}

/// `p3` orders readings of somebody.
fn numbered(first: u64, origin: &Contact, oseq: u64, bytes: usize) -> Message {
    let run = vec![Entry::one(
        origin.member.clone(),
        Oseq(oseq),
        Guarantee::Agreed,
        Bytes::from(vec![b'x'; bytes]),
        0,
    )];
    Message::Ordered(Ordered {
        epoch: epoch_of(&peer(3)),
        first: Seq(first),
        run,
        stable: Seq::ZERO,
        repair: None,
    })
}

#[test]
fn a_cut_that_nobody_was_promised_is_adopted_by_nobody() {
    let (stranger, mut harness) = (peer(9), Harness::member(Knobs::fast()));
    harness.greet(&stranger, nothing());
    let epoch = Epoch { round: 7, owner: stranger.member.clone() };
    let list = vec![peer(1).member, stranger.member.clone()];
    let cut = SyncFinal {
        epoch: epoch.clone(),
        leader: stranger.clone(),
        cut: Seq::ZERO,
        lineage: Vec::new(),
        list,
    };
    let word = Coordinator {
        leader: stranger.clone(),
        epoch: epoch.clone(),
        size: 2,
        ask: None,
        names_you: true,
    };
    harness.say(&stranger, Message::Coordinator(word));
    harness.say(&stranger, Message::SeqSyncFinal(cut.clone()));
    let Role::Follower(follower) = &harness.node.role else {
        panic!("{:?}", harness.node.activity())
    };
    assert_eq!((&follower.leader, &harness.node.env.promised), (&peer(3), &epoch_of(&peer(3))));
    assert_eq!(rejects(&harness, "SEQ_SYNC_FINAL"), 1);
    let told =
        harness.out.iter().any(|output| matches!(output, Output::Note(Note::Coordinator { .. })));
    assert!(!told, "what changes nothing is nothing to tell");
    // Its own leader, whom it did not promise that either.
    let epoch = Epoch { round: 7, owner: peer(3).member };
    harness.say(&peer(3), Message::SeqSyncFinal(SyncFinal { epoch, leader: peer(3), ..cut }));
    assert_eq!(harness.node.env.promised, epoch_of(&peer(3)));
}

#[test]
fn a_candidate_is_sent_to_no_group_by_a_cut_of_a_stranger() {
    let (stranger, mut harness) = (peer(9), Harness::member(Knobs::fast()));
    harness.greet(&stranger, nothing());
    harness.fail(&peer(3));
    assert!(matches!(harness.node.role, Role::Candidate(_)));
    let epoch = Epoch { round: 7, owner: stranger.member.clone() };
    let list = vec![stranger.member.clone()];
    let cut =
        SyncFinal { epoch, leader: stranger.clone(), cut: Seq::ZERO, lineage: Vec::new(), list };
    harness.say(&stranger, Message::SeqSyncFinal(cut));
    assert!(matches!(harness.node.role, Role::Candidate(_)), "it asks on");
}

#[test]
fn entries_are_repaired_for_members_and_one_answer_at_a_time() {
    let mut harness = Harness::member(Knobs::fast());
    for n in 1..=9 {
        harness.say(&peer(3), numbered(1 + n, &peer(2), n, 10));
    }
    let missing = |ask| {
        Message::MissingSeqRequest(MissingRequest {
            ask,
            epoch: epoch_of(&peer(3)),
            from: Seq(1),
            to: Seq(5),
        })
    };
    harness.greet(&peer(9), nothing());
    harness.greet(&peer(2), nothing());
    harness.out.clear();
    harness.say(&peer(9), missing(1));
    let no = Message::Rejected(Rejected { ask: Some(1), reason: Reason::NotMember });
    assert_eq!(harness.told(&peer(9)), [no], "not a byte of the log");
    let link = harness.link(&peer(2));
    harness.give(Input::Received { link, messages: (0..100).map(missing).collect() });
    let repairs = |harness: &mut Harness| harness.entries(&peer(2)).len();
    assert_eq!(repairs(&mut harness), 1, "one answer");
    harness.say(&peer(2), missing(7));
    assert_eq!(repairs(&mut harness), 1, "and the next one to the next question");
}

#[test]
fn another_process_under_a_members_name_is_not_spoken_with() {
    let mut harness = Harness::member(Knobs::fast());
    let twin = Contact { birth: 99, ..peer(3) };
    let before = harness.link(&peer(3));
    harness.greet(&twin, nothing());
    let after = harness.link(&twin);
    assert!(harness.node.env.links.has(before) && !harness.node.env.links.has(after));
    assert_eq!(rejects(&harness, "HELLO"), 1);
}

#[test]
fn an_origin_that_was_in_no_view_is_nobody() {
    let mut harness = Harness::member(Knobs::fast());
    harness.say(&peer(3), numbered(2, &peer(9), 1, 10));
    assert_eq!((harness.node.env.log.contiguous(), rejects(&harness, "ORDERED")), (Seq(1), 1));
    harness.say(&peer(3), numbered(2, &peer(2), 1, 10));
    assert_eq!(harness.node.env.log.contiguous(), Seq(2));
}

#[test]
fn a_leader_that_says_nothing_is_stable_makes_nobody_keep_everything() {
    let knobs = Knobs {
        retain_bytes: 10_000,
        payload_max: 1_000,
        window_bytes: 1_000,
        members_max: 4,
        ..Knobs::fast()
    };
    for mode in [Mode::Available, Mode::Primary] {
        let bootstrap = if mode == Mode::Primary { vec![peer(3).id().clone()] } else { Vec::new() };
        let mut harness = Harness::member(Knobs { mode, bootstrap, ..knobs.clone() });
        for n in 1..=100 {
            harness.say(&peer(3), numbered(1 + n, &peer(2), n, 1_000));
        }
        let holding = harness.node.holding();
        assert!(holding.bytes > 30_000 && holding.bytes <= holding.bytes_most, "{holding:?}");
        assert!(rejects(&harness, "ORDERED") > 0 && matches!(harness.node.role, Role::Follower(_)));
    }
}

#[test]
fn own_numbers_that_it_never_gave_are_nothing_of_its() {
    let mut harness = Harness::member(Knobs::fast());
    harness.say(&peer(3), numbered(2, &peer(1), 1_000_000, 10));
    harness.publish("x");
    let sent = |message: &Message| matches!(message, Message::SequencerRequest(requests) if requests.first == Oseq(1));
    assert!(harness.told(&peer(3)).iter().any(sent), "its first reading is its first");
}

#[test]
fn what_a_frame_brings_that_is_known_is_not_kept_for_the_sake_of_the_rest() {
    let mut harness = Harness::leader(Knobs::fast());
    harness.admit(&peer(2));
    let readings = |count: u64| {
        let mut collector = Collector::default();
        (0..count).for_each(|_| collector.push(&[b'x'; 1_000], 0));
        collector.finish().expect("some")
    };
    for (count, shares) in [(5, true), (6, false)] {
        let readings = readings(count);
        let memory = readings.payloads().as_ptr_range();
        let run =
            vec![Request::Readings { guarantee: Guarantee::Agreed, readings: readings.clone() }];
        harness.say(
            &peer(2),
            Message::SequencerRequest(Requests { origin: peer(2).member, first: Oseq(1), run }),
        );
        let end = harness.node.env.log.contiguous();
        let Some((_, Entry::Readings { readings: kept, .. })) =
            harness.node.env.log.between(end, end).next()
        else {
            panic!("a reading")
        };
        assert_eq!(memory.contains(&kept.payloads().as_ptr()), shares, "{count}");
    }
}

#[test]
fn a_member_that_acknowledges_nothing_while_a_reading_waits_to_be_safe_is_sent_away() {
    for (delivery, acknowledges, evicted) in [
        (Guarantee::Safe, false, true),
        (Guarantee::Safe, true, false),
        (Guarantee::Agreed, false, false),
    ] {
        let mut harness = Harness::leader(Knobs { delivery, ..Knobs::fast() });
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        let payload = Bytes::from_static(b"x");
        harness.give(Input::Publish { publications: vec![Publication::one(payload, 0, None)] });
        let until = harness.now + 2 * harness.node.env.config.knobs().slow_timeout;
        let mut reasons = Vec::new();
        while harness.now < until {
            harness.rest(harness.node.env.config.knobs().heartbeat_interval);
            let beats = harness.told(&peer(2));
            let last = beats.iter().rev().find_map(|message| {
                if let Message::Heartbeat(beat) = message { Some(beat.beat) } else { None }
            });
            if let Some(beat) = last {
                // It is heard, and hears.
                let ack = crate::wire::message::HeartbeatAck {
                    epoch: Epoch::none(),
                    beat,
                    contiguous: Seq::ZERO,
                    lag: 0,
                };
                harness.out.clear();
                harness.say(&peer(2), Message::HeartbeatAck(ack));
            }
            if acknowledges {
                let end = harness.node.env.log.contiguous();
                harness.acknowledge(&peer(2), end);
            }
            let leader =
                harness.node.env.log.view().is_some_and(|view| view.names(&peer(2).member));
            if !leader {
                reasons.push("sent away");
                break;
            }
        }
        assert_eq!(!reasons.is_empty(), evicted, "{delivery:?} {acknowledges}");
    }
}

#[test]
fn its_reason_has_numbers() {
    let evidence = Evidence::Unacknowledged {
        log: LogId::default(),
        acked: Seq(2),
        awaited: Seq(3),
        high: Seq(5),
        for_ms: 30_000,
    };
    assert_eq!(
        evidence.to_string(),
        "it has acknowledged nothing for 30000 ms, at #2 of #5, and #3 waits to be safe"
    );
}

#[test]
fn in_mode_primary_as_many_come_in_as_those_who_acknowledge_can_bear() {
    let bootstrap = vec![peer(1).id().clone()];
    let mut harness = Harness::leader(Knobs { mode: Mode::Primary, bootstrap, ..Knobs::fast() });
    let batch = harness.node.env.config.knobs().join_batch;
    for n in 2..=5 {
        harness.greet(&peer(n), nothing());
        harness.say(&peer(n), request(&peer(n)));
    }
    harness.rest(batch);
    let size = |harness: &Harness| harness.node.env.log.view().map_or(0, View::size);
    assert_eq!(size(&harness), 2, "half of it is the leader");
    harness.rest(batch * 2);
    assert_eq!(size(&harness), 2, "the one has not said a word");
    let one =
        harness.node.env.log.view().and_then(|view| {
            view.members.iter().find(|contact| contact.id() != peer(1).id()).cloned()
        });
    let one = one.expect("one of the four");
    let end = harness.node.env.log.contiguous();
    harness.acknowledge(&one, end);
    harness.rest(batch);
    assert_eq!(size(&harness), 4, "two bear two");
}

#[test]
fn whom_a_full_group_turns_away_founds_none_beside_it() {
    for full in [true, false] {
        let mut harness = Harness::newcomer(Knobs::fast());
        for _ in 0..100 {
            let Role::Joining(joining) = &harness.node.role else { break };
            let busy = Message::Rejected(Rejected { ask: Some(joining.ask), reason: Reason::Busy });
            if full {
                harness.hear(&peer(3), busy);
            }
            harness.rest(std::time::Duration::from_millis(500));
        }
        assert_eq!(harness.node.activity() == Activity::Joining, full);
        let told: Vec<String> = harness.out.iter().filter_map(blocked).collect();
        let words = "the group of p3 has members_max members and admits nobody; waiting for room";
        assert_eq!(told, if full { vec![words.to_owned()] } else { vec![] }, "once");
    }
}

fn blocked(output: &Output) -> Option<String> {
    if let Output::Note(Note::Blocked { why }) = output { Some(why.clone()) } else { None }
}

#[test]
fn a_claim_of_somebody_who_was_not_asked_for_it_costs_no_promise() {
    let mut harness = Harness::member(Knobs::fast());
    let stranger = peer(9);
    harness.greet(&stranger, nothing());
    let epoch = Epoch { round: 5, owner: stranger.member.clone() };
    harness.say(
        &stranger,
        Message::SeqSyncRequest(SyncRequest { epoch, claimant: stranger.clone(), view: None }),
    );
    assert_eq!(harness.node.env.promised, epoch_of(&peer(3)));
}
