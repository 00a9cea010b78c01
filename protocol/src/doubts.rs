//! Tests of elections: what a peer that misses its leader is told by the others, and for how long
//! it waits for each of them.

use std::time::Duration;

use crate::config::{Config, Knobs, Mode};
use crate::id::{Contact, Epoch, Seq, ViewId};
use crate::message::{
    Coordinator, Election, Entry, LogEnd, Message, Ordered, Reason, Rejected, SyncRequest,
};
use crate::phase::Phase;
use crate::puppet::{Puppet, beat, epoch_of, nothing, peer, reborn};
use crate::role::Role;
use crate::seam::{Input, Output};
use crate::view::View;

/// A member of a group that `p3` leads, whose second view names these; all of them are linked.
fn member_of(members: &[u16]) -> Puppet {
    let mut puppet = Puppet::member(Knobs::fast());
    numbers_view(&mut puppet, 2, members);
    for n in members.iter().filter(|n| ![1, 3].contains(*n)) {
        let end = puppet.node.log.end();
        puppet.greet(&peer(*n), end);
    }
    puppet
}

/// `p3` numbers a view.
fn numbers_view(puppet: &mut Puppet, id: u64, members: &[u16]) {
    let (leader, epoch) = (peer(3), epoch_of(&peer(3)));
    let view = View::new(
        ViewId(id),
        epoch.clone(),
        leader.id().clone(),
        members.iter().copied().map(peer).collect(),
    );
    let run = vec![Entry::View(view)];
    puppet.say(
        &leader,
        Message::Ordered(Ordered { epoch, first: Seq(id), run, stable: Seq::ZERO, repair: None }),
    );
}

fn asks(puppet: &mut Puppet, who: &Contact) {
    let end = puppet.node.log.end();
    puppet.say(who, Message::Election(Election { ask: 77, candidate: who.clone(), end }));
}

fn claims(puppet: &mut Puppet, who: &Contact, epoch: Epoch) {
    let view = puppet.node.log.view().cloned();
    puppet.say(who, Message::SeqSyncRequest(SyncRequest { epoch, claimant: who.clone(), view }));
}

fn refusal(puppet: &mut Puppet, to: &Contact) -> Option<Reason> {
    let told = puppet.told(to);
    assert!(
        !told.iter().any(|message| matches!(message, Message::Ok { .. } | Message::Clear { .. })),
        "{told:?}"
    );
    told.into_iter().find_map(|message| {
        if let Message::Rejected(Rejected { reason, .. }) = message { Some(reason) } else { None }
    })
}

/// The question that the peer puts to another one that connects anew.
fn open_question(puppet: &mut Puppet, to: &Contact) -> u64 {
    let end = puppet.node.log.end();
    puppet.greet(to, end);
    let ask =
        |message| if let Message::Election(election) = message { Some(election.ask) } else { None };
    puppet.told(to).into_iter().filter_map(ask).next_back().expect("it asks")
}

#[test]
fn a_verdict_is_for_those_that_are_members_by_then() {
    for is_put_out in [true, false] {
        let mut puppet = member_of(&[1, 2, 3]);
        puppet.out.clear();
        asks(&mut puppet, &peer(2));
        assert_eq!(refusal(&mut puppet, &peer(2)), None, "it asks its leader first");
        numbers_view(&mut puppet, 3, if is_put_out { &[1, 3] } else { &[1, 2, 3] });
        puppet.rest(puppet.node.config.witness_timeout());
        assert_eq!(puppet.node.phase(), Phase::Asking);
        let told = puppet.told(&peer(2));
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
        let mut puppet = member_of(members);
        let end = puppet.node.log.end();
        puppet.greet(&peer(2), end);
        puppet.out.clear();
        claims(&mut puppet, &peer(2), late());
        assert_eq!(refusal(&mut puppet, &peer(2)), Some(why));
    }
    let mut puppet = member_of(&[1, 2, 3]);
    puppet.say(&peer(3), Message::Rejected(Rejected { ask: None, reason: Reason::NotMember }));
    assert_eq!(puppet.node.phase(), Phase::Joining);
    puppet.out.clear();
    claims(&mut puppet, &peer(2), late());
    assert_eq!(refusal(&mut puppet, &peer(2)), Some(Reason::Busy), "it is between two groups");
}

#[test]
fn who_asks_again_gives_a_missed_leader_the_time_to_answer() {
    let knobs = Knobs::fast();
    for again in [false, true] {
        let mut puppet = member_of(&[1, 2, 3, 4]);
        puppet.say(&peer(3), beat(1, 0));
        puppet.rest(knobs.heartbeat_timeout + knobs.heartbeat_interval);
        let mut ask = open_question(&mut puppet, &peer(4));
        if again {
            puppet.say(&peer(4), Message::Ok { ask });
            assert_eq!(puppet.node.phase(), Phase::Waiting);
            puppet.rest(puppet.node.config.outcome_timeout());
            ask = open_question(&mut puppet, &peer(2));
        } else {
            puppet.say(&peer(4), Message::Clear { ask });
        }
        puppet.say(&peer(2), Message::Clear { ask });
        let expected = if again { Phase::Asking } else { Phase::Syncing };
        assert_eq!(puppet.node.phase(), expected, "p3 is linked; is its silence news?");
        if again {
            let (leader, epoch) = (peer(3), epoch_of(&peer(3)));
            let word = Coordinator { leader, epoch, size: 4, ask: Some(ask), names_you: true };
            puppet.say(&peer(3), Message::Coordinator(word));
            assert_eq!(puppet.node.phase(), Phase::Member);
        }
    }
}

#[test]
fn who_has_promised_asks_for_the_outcome_on_a_new_connection() {
    let mut puppet = member_of(&[1, 2, 3]);
    puppet.fail(&peer(3));
    claims(&mut puppet, &peer(2), Epoch { round: 2, owner: peer(2).member });
    assert_eq!(puppet.node.phase(), Phase::Waiting);
    let (knobs, round) = (Knobs::fast(), puppet.node.config.round());
    puppet.out.clear();
    let dials =
        |output: &Output| matches!(output, Output::Dial { to, .. } if *to == peer(2).address);
    puppet.rest(knobs.sync_timeout);
    assert!(!puppet.out.iter().any(dials), "the claimant may still collect promises");
    puppet.rest(round);
    assert!(puppet.out.iter().any(dials), "the connection may be dead");
}

#[test]
fn a_full_group_is_believed_over_a_link_as_long_as_it_answers() {
    for full in [true, false] {
        let mut puppet = Puppet::newcomer(Knobs::fast());
        let (leader, epoch) = (peer(3), epoch_of(&peer(3)));
        puppet.greet(&leader, nothing());
        puppet.hear(
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
            let Role::Joining(joining) = &puppet.node.role else { break };
            let busy = Message::Rejected(Rejected { ask: Some(joining.ask), reason: Reason::Busy });
            if full && n == 0 {
                puppet.hear(&leader, busy.clone());
            }
            puppet.say(&leader, busy);
            puppet.rest(Duration::from_millis(500));
        }
        assert_eq!(
            puppet.node.phase() == Phase::Joining,
            full,
            "only leaders say by datagram that they are busy"
        );
    }
}

#[test]
fn a_refusal_of_long_ago_is_no_proof_when_it_asks_again() {
    for is_gone in [true, false] {
        let mut puppet = member_of(&[1, 2, 3, 4]);
        // An election is to take longer than what a witness needs.
        let knobs = puppet.node.config.knobs().clone();
        let election_timeout = knobs.election_timeout * 4;
        puppet.node.config = Config::unchecked(Knobs { election_timeout, ..knobs });
        puppet.fail(&peer(3));
        puppet.rest(Duration::from_millis(20));
        assert!(puppet.refuse_dials(true) > 0, "p3 can speak for itself, so it is dialled again");
        let ask = open_question(&mut puppet, &peer(4));
        puppet.say(&peer(4), Message::Ok { ask });
        puppet.rest(puppet.node.config.outcome_timeout());
        let dials = puppet.dialled();
        let ask = open_question(&mut puppet, &peer(2));
        puppet.say(&peer(2), Message::Clear { ask });
        for link in dials.into_iter().filter(|_| is_gone) {
            puppet.give(Input::DialFailed { link, refused: true });
        }
        // As long as p4, which has let it down, may answer.
        puppet.rest(puppet.node.config.witness_timeout() + puppet.node.config.round());
        let expected = if is_gone { Phase::Syncing } else { Phase::Asking };
        assert_eq!(puppet.node.phase(), expected);
    }
}

#[test]
fn who_is_blocked_asks_a_later_life_that_is_further_in_its_log() {
    for (epochs, other_log, is_asked) in [(1, false, true), (0, false, false), (1, true, false)] {
        let mut puppet = Puppet::member(Knobs {
            mode: Mode::Primary,
            bootstrap: [1, 2, 3].map(|n| peer(n).member.id).into(),
            ..Knobs::fast()
        });
        puppet.fail(&peer(3));
        puppet.rest(puppet.node.config.knobs().election_timeout * 4);
        assert!(puppet.node.blocked.is_some(), "{:?}", puppet.node.phase());
        let own = puppet.node.log.end();
        let epoch = Epoch { round: own.epoch.round + epochs, ..own.epoch };
        let log_id = if other_log { epoch_of(&peer(2)) } else { own.log_id };
        puppet.greet(&reborn(3), LogEnd { epoch, log_id, ..own });
        let asks = |message: &Message| matches!(message, Message::Election(_));
        assert_eq!(
            puppet.told(&reborn(3)).iter().any(asks),
            is_asked,
            "{epochs} epochs later, in another log: {other_log}"
        );
    }
}
