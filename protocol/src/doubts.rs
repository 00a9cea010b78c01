//! Tests of elections: what a peer that misses its leader is told by the others, and for how long
//! it waits for each of them.

use std::time::Duration;

use crate::config::{Config, Knobs, Mode};
use crate::harness::{Harness, beat, epoch_of, nothing, peer, reborn};
use crate::id::{Contact, Epoch, Seq, ViewId};
use crate::io::{Input, Output};
use crate::log::entry::{Entry, Ordered};
use crate::log::lineage::LogEnd;
use crate::log::view::View;
use crate::report::activity::Activity;
use crate::roles::Role;
use crate::wire::message::{Coordinator, Election, Message, Reason, Rejected, SyncRequest};

/// A member of a group that `p3` leads, whose second view names these; all of them are linked.
fn member_of(members: &[u16]) -> Harness {
    let mut harness = Harness::member(Knobs::fast());
    numbers_view(&mut harness, 2, members);
    for n in members.iter().filter(|n| ![1, 3].contains(*n)) {
        let end = harness.node.env.log.end();
        harness.greet(&peer(*n), end);
    }
    harness
}

/// `p3` numbers a view.
fn numbers_view(harness: &mut Harness, id: u64, members: &[u16]) {
    let (leader, epoch) = (peer(3), epoch_of(&peer(3)));
    let view = View::new(
        ViewId(id),
        epoch.clone(),
        leader.id().clone(),
        members.iter().copied().map(peer).collect(),
    );
    let run = vec![Entry::View(view)];
    harness.say(
        &leader,
        Message::Ordered(Ordered { epoch, first: Seq(id), run, stable: Seq::ZERO, repair: None }),
    );
}

fn asks(harness: &mut Harness, who: &Contact) {
    let end = harness.node.env.log.end();
    harness.say(who, Message::Election(Election { ask: 77, candidate: who.clone(), end }));
}

fn claims(harness: &mut Harness, who: &Contact, epoch: Epoch) {
    let view = harness.node.env.log.view().cloned();
    harness.say(who, Message::SeqSyncRequest(SyncRequest { epoch, claimant: who.clone(), view }));
}

fn refusal(harness: &mut Harness, to: &Contact) -> Option<Reason> {
    let told = harness.told(to);
    assert!(
        !told.iter().any(|message| matches!(message, Message::Ok { .. } | Message::Clear { .. })),
        "{told:?}"
    );
    told.into_iter().find_map(|message| {
        if let Message::Rejected(Rejected { reason, .. }) = message { Some(reason) } else { None }
    })
}

/// The question that the peer puts to another one that connects anew.
fn open_question(harness: &mut Harness, to: &Contact) -> u64 {
    let end = harness.node.env.log.end();
    harness.greet(to, end);
    let ask =
        |message| if let Message::Election(election) = message { Some(election.ask) } else { None };
    harness.told(to).into_iter().filter_map(ask).next_back().expect("it asks")
}

#[test]
fn a_verdict_is_for_those_that_are_members_by_then() {
    for is_put_out in [true, false] {
        let mut harness = member_of(&[1, 2, 3]);
        harness.out.clear();
        asks(&mut harness, &peer(2));
        assert_eq!(refusal(&mut harness, &peer(2)), None, "it asks its leader first");
        numbers_view(&mut harness, 3, if is_put_out { &[1, 3] } else { &[1, 2, 3] });
        harness.rest(harness.node.env.config.witness_timeout());
        assert_eq!(harness.node.activity(), Activity::Asking);
        let told = harness.told(&peer(2));
        let is_answered = told.iter().any(|message| matches!(message, Message::Clear { ask: 77 }));
        let is_turned_away = told.iter().any(|message| {
            matches!(
                message,
                Message::Rejected(Rejected { ask: Some(77), reason: Reason::NotMember })
            )
        });
        assert_eq!((is_answered, is_turned_away), (!is_put_out, is_put_out), "{told:?}");
    }
}

#[test]
fn a_claimant_that_gains_nothing_by_a_higher_epoch_is_not_told_of_one() {
    let late = || Epoch { round: 1, owner: peer(2).member };
    for (members, why) in [
        (&[1, 2, 3][..], Reason::Stale { promised: epoch_of(&peer(3)) }),
        (&[1, 3], Reason::NotMember),
    ] {
        let mut harness = member_of(members);
        let end = harness.node.env.log.end();
        harness.greet(&peer(2), end);
        harness.out.clear();
        claims(&mut harness, &peer(2), late());
        assert_eq!(refusal(&mut harness, &peer(2)), Some(why));
    }
    let mut harness = member_of(&[1, 2, 3]);
    harness.say(&peer(3), Message::Rejected(Rejected { ask: None, reason: Reason::NotMember }));
    assert_eq!(harness.node.activity(), Activity::Joining);
    harness.out.clear();
    claims(&mut harness, &peer(2), late());
    assert_eq!(refusal(&mut harness, &peer(2)), Some(Reason::Busy), "it is between two groups");
}

#[test]
fn who_asks_again_gives_a_missed_leader_the_time_to_answer() {
    let knobs = Knobs::fast();
    for again in [false, true] {
        let mut harness = member_of(&[1, 2, 3, 4]);
        harness.say(&peer(3), beat(1, 0));
        harness.rest(knobs.heartbeat_timeout + knobs.heartbeat_interval);
        let mut ask = open_question(&mut harness, &peer(4));
        if again {
            harness.say(&peer(4), Message::Ok { ask });
            assert_eq!(harness.node.activity(), Activity::Waiting);
            harness.rest(harness.node.env.config.outcome_timeout());
            ask = open_question(&mut harness, &peer(2));
        } else {
            harness.say(&peer(4), Message::Clear { ask });
        }
        harness.say(&peer(2), Message::Clear { ask });
        let expected = if again { Activity::Asking } else { Activity::Syncing };
        assert_eq!(harness.node.activity(), expected, "p3 is linked; is its silence news?");
        if again {
            let (leader, epoch) = (peer(3), epoch_of(&peer(3)));
            let word = Coordinator { leader, epoch, size: 4, ask: Some(ask), names_you: true };
            harness.say(&peer(3), Message::Coordinator(word));
            assert_eq!(harness.node.activity(), Activity::Member);
        }
    }
}

#[test]
fn who_has_promised_asks_for_the_outcome_on_a_new_connection() {
    let mut harness = member_of(&[1, 2, 3]);
    harness.fail(&peer(3));
    claims(&mut harness, &peer(2), Epoch { round: 2, owner: peer(2).member });
    assert_eq!(harness.node.activity(), Activity::Waiting);
    let (knobs, round) = (Knobs::fast(), harness.node.env.config.round());
    harness.out.clear();
    let dials =
        |output: &Output| matches!(output, Output::Dial { to, .. } if *to == peer(2).address);
    harness.rest(knobs.sync_timeout);
    assert!(!harness.out.iter().any(dials), "the claimant may still collect promises");
    harness.rest(round);
    assert!(harness.out.iter().any(dials), "the connection may be dead");
}

#[test]
fn a_full_group_is_believed_over_a_link_as_long_as_it_answers() {
    for full in [true, false] {
        let mut harness = Harness::newcomer(Knobs::fast());
        let (leader, epoch) = (peer(3), epoch_of(&peer(3)));
        harness.greet(&leader, nothing());
        harness.hear(
            &leader,
            Message::Coordinator(Coordinator {
                leader: peer(3),
                epoch,
                size: 2,
                ask: None,
                names_you: false,
            }),
        );
        for n in 0..100 {
            let Role::Joining(joining) = &harness.node.role else { break };
            let busy = Message::Rejected(Rejected { ask: Some(joining.ask), reason: Reason::Busy });
            if full && n == 0 {
                harness.hear(&leader, busy.clone());
            }
            harness.say(&leader, busy);
            harness.rest(Duration::from_millis(500));
        }
        assert_eq!(
            harness.node.activity() == Activity::Joining,
            full,
            "only leaders say by datagram that they are busy"
        );
    }
}

#[test]
fn a_refusal_of_long_ago_is_no_proof_when_it_asks_again() {
    for is_gone in [true, false] {
        let mut harness = member_of(&[1, 2, 3, 4]);
        // An election is to take longer than what a witness needs.
        let knobs = harness.node.env.config.knobs().clone();
        let election_timeout = knobs.election_timeout * 4;
        harness.node.env.config = Config::unchecked(Knobs { election_timeout, ..knobs });
        harness.fail(&peer(3));
        harness.rest(Duration::from_millis(20));
        assert!(harness.refuse_dials(true) > 0, "p3 can speak for itself, so it is dialled again");
        let ask = open_question(&mut harness, &peer(4));
        harness.say(&peer(4), Message::Ok { ask });
        harness.rest(harness.node.env.config.outcome_timeout());
        let dials = harness.dialled();
        let ask = open_question(&mut harness, &peer(2));
        harness.say(&peer(2), Message::Clear { ask });
        for link in dials.into_iter().filter(|_| is_gone) {
            harness.give(Input::DialFailed { link, refused: true });
        }
        // As long as p4, which has let it down, may answer.
        harness.rest(harness.node.env.config.witness_timeout() + harness.node.env.config.round());
        let expected = if is_gone { Activity::Syncing } else { Activity::Asking };
        assert_eq!(harness.node.activity(), expected);
    }
}

#[test]
fn who_is_blocked_asks_a_later_life_that_is_further_in_its_log() {
    for (epochs, other_log, is_asked) in [(1, false, true), (0, false, false), (1, true, false)] {
        let mut harness = Harness::member(Knobs {
            mode: Mode::Primary,
            bootstrap: [1, 2, 3].map(|n| peer(n).member.id).into(),
            ..Knobs::fast()
        });
        harness.fail(&peer(3));
        harness.rest(harness.node.env.config.knobs().election_timeout * 4);
        assert!(harness.node.env.blocked.is_some(), "{:?}", harness.node.activity());
        let own = harness.node.env.log.end();
        let epoch = Epoch { round: own.epoch.round + epochs, ..own.epoch };
        let log_id = if other_log { epoch_of(&peer(2)) } else { own.log_id };
        harness.greet(&reborn(3), LogEnd { epoch, log_id, ..own });
        let asks = |message: &Message| matches!(message, Message::Election(_));
        assert_eq!(
            harness.told(&reborn(3)).iter().any(asks),
            is_asked,
            "{epochs} epochs later, in another log: {other_log}"
        );
    }
}
