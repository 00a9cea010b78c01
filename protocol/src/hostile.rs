//! Tests: what a stranger says, or a member that is out of its mind, changes nothing and takes up
//! little.

use bytes::Bytes;

use crate::config::{Guarantee, Knobs, Mode};
use crate::id::{Contact, Epoch, Oseq, Seq};
use crate::log_id::LogId;
use crate::message::{
    Coordinator, Entry, Message, MissingRequest, Ordered, Reason, Rejected, Requests, SyncFinal,
    SyncRequest, Wish,
};
use crate::note::{Evidence, Note};
use crate::phase::Phase;
use crate::puppet::{Puppet, epoch_of, nothing, peer, wish};
use crate::readings::Collector;
use crate::role::Role;
use crate::seam::{Input, Output, Publication};
use crate::view::View;

/// How often something of that kind was turned away, as far as it was told.
fn rejects(puppet: &Puppet, words: &str) -> u64 {
    let count = |output: &Output| match output {
        Output::Note(Note::Reject { why, count, .. }) if why.starts_with(words) => Some(*count),
        _ => None,
    };
    puppet.out.iter().filter_map(count).max().unwrap_or(0)
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
    let (stranger, mut puppet) = (peer(9), Puppet::member(Knobs::fast()));
    puppet.greet(&stranger, nothing());
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
    puppet.say(&stranger, Message::Coordinator(word));
    puppet.say(&stranger, Message::SeqSyncFinal(cut.clone()));
    let Role::Member(following) = &puppet.node.role else { panic!("{:?}", puppet.node.phase()) };
    assert_eq!((&following.leader, &puppet.node.promised), (&peer(3), &epoch_of(&peer(3))));
    assert_eq!(rejects(&puppet, "SEQ_SYNC_FINAL"), 1);
    let told =
        puppet.out.iter().any(|output| matches!(output, Output::Note(Note::Coordinator { .. })));
    assert!(!told, "what changes nothing is nothing to tell");
    // Its own leader, whom it did not promise that either.
    let epoch = Epoch { round: 7, owner: peer(3).member };
    puppet.say(&peer(3), Message::SeqSyncFinal(SyncFinal { epoch, leader: peer(3), ..cut }));
    assert_eq!(puppet.node.promised, epoch_of(&peer(3)));
}

#[test]
fn a_candidate_is_sent_to_no_group_by_a_cut_of_a_stranger() {
    let (stranger, mut puppet) = (peer(9), Puppet::member(Knobs::fast()));
    puppet.greet(&stranger, nothing());
    puppet.fail(&peer(3));
    assert!(matches!(puppet.node.role, Role::Candidate(_)));
    let epoch = Epoch { round: 7, owner: stranger.member.clone() };
    let list = vec![stranger.member.clone()];
    let cut =
        SyncFinal { epoch, leader: stranger.clone(), cut: Seq::ZERO, lineage: Vec::new(), list };
    puppet.say(&stranger, Message::SeqSyncFinal(cut));
    assert!(matches!(puppet.node.role, Role::Candidate(_)), "it asks on");
}

#[test]
fn entries_are_repaired_for_members_and_one_answer_at_a_time() {
    let mut puppet = Puppet::member(Knobs::fast());
    for n in 1..=9 {
        puppet.say(&peer(3), numbered(1 + n, &peer(2), n, 10));
    }
    let missing = |ask| {
        Message::MissingSeqRequest(MissingRequest {
            ask,
            epoch: epoch_of(&peer(3)),
            from: Seq(1),
            to: Seq(5),
        })
    };
    puppet.greet(&peer(9), nothing());
    puppet.greet(&peer(2), nothing());
    puppet.out.clear();
    puppet.say(&peer(9), missing(1));
    let no = Message::Rejected(Rejected { ask: Some(1), reason: Reason::NotMember });
    assert_eq!(puppet.told(&peer(9)), [no], "not a byte of the log");
    let link = puppet.link(&peer(2));
    puppet.give(Input::Received { link, messages: (0..100).map(missing).collect() });
    let repairs = |puppet: &mut Puppet| puppet.entries(&peer(2)).len();
    assert_eq!(repairs(&mut puppet), 1, "one answer");
    puppet.say(&peer(2), missing(7));
    assert_eq!(repairs(&mut puppet), 1, "and the next one to the next question");
}

#[test]
fn another_process_under_a_members_name_is_not_spoken_with() {
    let mut puppet = Puppet::member(Knobs::fast());
    let twin = Contact { birth: 99, ..peer(3) };
    let before = puppet.link(&peer(3));
    puppet.greet(&twin, nothing());
    let after = puppet.link(&twin);
    assert!(puppet.node.links.has(before) && !puppet.node.links.has(after));
    assert_eq!(rejects(&puppet, "HELLO"), 1);
}

#[test]
fn an_origin_that_was_in_no_view_is_nobody() {
    let mut puppet = Puppet::member(Knobs::fast());
    puppet.say(&peer(3), numbered(2, &peer(9), 1, 10));
    assert_eq!((puppet.node.log.contiguous(), rejects(&puppet, "ORDERED")), (Seq(1), 1));
    puppet.say(&peer(3), numbered(2, &peer(2), 1, 10));
    assert_eq!(puppet.node.log.contiguous(), Seq(2));
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
        let mut puppet = Puppet::member(Knobs { mode, bootstrap, ..knobs.clone() });
        for n in 1..=100 {
            puppet.say(&peer(3), numbered(1 + n, &peer(2), n, 1_000));
        }
        let holding = puppet.node.holding();
        assert!(holding.bytes > 30_000 && holding.bytes <= holding.bytes_most, "{holding:?}");
        assert!(rejects(&puppet, "ORDERED") > 0 && matches!(puppet.node.role, Role::Member(_)));
    }
}

#[test]
fn own_numbers_that_it_never_gave_are_nothing_of_its() {
    let mut puppet = Puppet::member(Knobs::fast());
    puppet.say(&peer(3), numbered(2, &peer(1), 1_000_000, 10));
    puppet.publish("x");
    let sent = |message: &Message| matches!(message, Message::SequencerRequest(requests) if requests.first == Oseq(1));
    assert!(puppet.told(&peer(3)).iter().any(sent), "its first reading is its first");
}

#[test]
fn what_a_frame_brings_that_is_known_is_not_kept_for_the_sake_of_the_rest() {
    let mut puppet = Puppet::leader(Knobs::fast());
    puppet.admit(&peer(2));
    let readings = |count: u64| {
        let mut collector = Collector::default();
        (0..count).for_each(|_| collector.push(&[b'x'; 1_000], 0));
        collector.finish().expect("some")
    };
    for (count, shares) in [(5, true), (6, false)] {
        let readings = readings(count);
        let memory = readings.payloads().as_ptr_range();
        let run = vec![Wish::Readings { guarantee: Guarantee::Agreed, readings: readings.clone() }];
        puppet.say(
            &peer(2),
            Message::SequencerRequest(Requests { origin: peer(2).member, first: Oseq(1), run }),
        );
        let end = puppet.node.log.contiguous();
        let Some((_, Entry::Readings { readings: kept, .. })) =
            puppet.node.log.between(end, end).next()
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
        let mut puppet = Puppet::leader(Knobs { delivery, ..Knobs::fast() });
        puppet.admit(&peer(2));
        puppet.acknowledge(&peer(2), Seq(2));
        let payload = Bytes::from_static(b"x");
        puppet.give(Input::Publish { publications: vec![Publication::one(payload, 0, None)] });
        let until = puppet.now + 2 * puppet.node.config.knobs().slow_timeout;
        let mut reasons = Vec::new();
        while puppet.now < until {
            puppet.rest(puppet.node.config.knobs().heartbeat_interval);
            let beats = puppet.told(&peer(2));
            let last = beats.iter().rev().find_map(|message| {
                if let Message::Heartbeat(beat) = message { Some(beat.beat) } else { None }
            });
            if let Some(beat) = last {
                // It is heard, and hears.
                let ack = crate::message::HeartbeatAck {
                    epoch: Epoch::none(),
                    beat,
                    contiguous: Seq::ZERO,
                    lag: 0,
                };
                puppet.out.clear();
                puppet.say(&peer(2), Message::HeartbeatAck(ack));
            }
            if acknowledges {
                let end = puppet.node.log.contiguous();
                puppet.acknowledge(&peer(2), end);
            }
            let leader = puppet.node.log.view().is_some_and(|view| view.names(&peer(2).member));
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
    let mut puppet = Puppet::leader(Knobs { mode: Mode::Primary, bootstrap, ..Knobs::fast() });
    let batch = puppet.node.config.knobs().join_batch;
    for n in 2..=5 {
        puppet.greet(&peer(n), nothing());
        puppet.say(&peer(n), wish(&peer(n)));
    }
    puppet.rest(batch);
    let size = |puppet: &Puppet| puppet.node.log.view().map_or(0, View::size);
    assert_eq!(size(&puppet), 2, "half of it is the leader");
    puppet.rest(batch * 2);
    assert_eq!(size(&puppet), 2, "the one has not said a word");
    let one =
        puppet.node.log.view().and_then(|view| {
            view.members.iter().find(|contact| contact.id() != peer(1).id()).cloned()
        });
    let one = one.expect("one of the four");
    let end = puppet.node.log.contiguous();
    puppet.acknowledge(&one, end);
    puppet.rest(batch);
    assert_eq!(size(&puppet), 4, "two bear two");
}

#[test]
fn whom_a_full_group_turns_away_founds_none_beside_it() {
    for full in [true, false] {
        let mut puppet = Puppet::newcomer(Knobs::fast());
        for _ in 0..100 {
            let Role::Joining(joining) = &puppet.node.role else { break };
            let busy = Message::Rejected(Rejected { ask: Some(joining.ask), reason: Reason::Busy });
            if full {
                puppet.hear(&peer(3), busy);
            }
            puppet.rest(std::time::Duration::from_millis(500));
        }
        assert_eq!(puppet.node.phase() == Phase::Joining, full);
        let told: Vec<String> = puppet.out.iter().filter_map(blocked).collect();
        let words = "the group of p3 has members_max members and admits nobody; waiting for room";
        assert_eq!(told, if full { vec![words.to_owned()] } else { vec![] }, "once");
    }
}

fn blocked(output: &Output) -> Option<String> {
    if let Output::Note(Note::Blocked { why }) = output { Some(why.clone()) } else { None }
}

#[test]
fn a_claim_of_somebody_who_was_not_asked_for_it_costs_no_promise() {
    let mut puppet = Puppet::member(Knobs::fast());
    let stranger = peer(9);
    puppet.greet(&stranger, nothing());
    let epoch = Epoch { round: 5, owner: stranger.member.clone() };
    puppet.say(
        &stranger,
        Message::SeqSyncRequest(SyncRequest { epoch, claimant: stranger.clone(), view: None }),
    );
    assert_eq!(puppet.node.promised, epoch_of(&peer(3)));
}
