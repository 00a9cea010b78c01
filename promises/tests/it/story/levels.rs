//! One change to the story for each service level.

use promises::fault::Weather;
use promises::{Fault, GroundTruth, Outcome, judge};
use protocol::id::{Incarnation, Seq};
use protocol::note::{Cause, Evidence, Note};

use super::check_breaks;
use super::telling::*;

#[test]
fn no_false_death() {
    check_breaks("no-false-death", send_away_and_let_in_again);
}

/// p2 does so with p1.
fn send_away_and_let_in_again(story: &mut Story) {
    for peer in [P2, P3B] {
        story.tell(9_500, peer, view(4, second(), 8, "p2", &[P2, P3B]));
    }
    for peer in [P1, P2, P3B] {
        story.tell(9_600, peer, view(5, second(), 9, "p2", &[P1, P2, P3B]));
    }
}

/// Whether p2 may remove p1, if it decided so at one moment and reported it half a second later,
/// and p1 was outside until some moment.
#[track_caller]
fn check_outside(decided: u64, until: u64, outcome: Outcome) {
    let mut story = Story::told();
    let mut outside = status(2, 2);
    let Note::Status(status) = &mut outside else { unreachable!() };
    status.role = "joining".to_owned();
    story.tell(8_900, P1, outside);
    let ordered = vec![id("p2"), id("p3")];
    story.tell(
        decided,
        P2,
        Note::Failed { peer: id("p1"), peer_inc: Incarnation(1), silent: true, ordered },
    );
    story.tell(until, P1, Note::Follows { log: log(), leader: id("p2"), epoch: second() });
    send_away_and_let_in_again(&mut story);
    let (history, options) = story.history();
    let judgement = judge(&history, &options);
    assert_eq!(
        judgement.find("no-false-death").expect("it is in the catalogue").outcome(),
        outcome
    );
}

#[test]
fn whom_a_leader_sends_away_is_judged_by_where_it_was_when_that_was_decided() {
    for (decided, until, outcome) in [
        (9_100, 9_200, Outcome::Held),
        (9_200, 9_100, Outcome::Broken),
        (9_100, 9_600, Outcome::Held),
        (8_800, 9_100, Outcome::Broken),
    ] {
        check_outside(decided, until, outcome);
    }
}

/// Whether p2 may remove p1 at #8, after reporting that p1 lags while its own log ended there.
#[track_caller]
fn check_too_slow(high: u64, outcome: Outcome) {
    let mut story = Story::told();
    let evidence = Evidence::Slow {
        log: log(),
        behind: 3,
        acked: Seq(high - 3),
        high: Seq(high),
        for_ms: 10_000,
    };
    // Before the view that still names it is reported: a view is reported when it is delivered.
    story.tell(6_250, P2, Note::Suspect { peer: id("p1"), peer_inc: Incarnation(1), evidence });
    send_away_and_let_in_again(&mut story);
    let (history, mut options) = story.history();
    options.knobs.max_lag_entries = 2;
    let judgement = judge(&history, &options);
    assert_eq!(
        judgement.find("no-false-death").expect("it is in the catalogue").outcome(),
        outcome
    );
}

#[test]
fn who_is_too_slow_is_sent_away_once_for_each_word() {
    check_too_slow(7, Outcome::Held);
    check_too_slow(5, Outcome::Broken);
    check_too_slow(8, Outcome::Broken);
}

#[test]
fn contained() {
    check_breaks("contained", |story| {
        // p1 takes over from p2 without any fault of p2.
        let third = epoch(3, P1);
        for peer in [P1, P2, P3B] {
            story.tell(7_000, peer, cut(third.clone(), 6));
            story.tell(7_050, peer, view(4, third.clone(), 7, "p1", &[P1, P2, P3B]));
            *story.at(9_010, peer) = deliver(third.clone(), 8, 4, P3B, 1);
        }
        story.tell(7_010, P1, elected("p1", third.clone()));
        story.tell(
            7_010,
            P2,
            Note::StepDown { log: log(), epoch: second(), why: "for no reason".to_owned() },
        );
        story.disk =
            story.disk.replace(r#""epoch":"2.p2#1","seq":7"#, r#""epoch":"3.p1#1","seq":8"#);
    });
}

#[test]
fn recovers() {
    check_breaks("recovers", |story| {
        // p1 gets the view that replaces the dead leader three seconds late, and everything after
        // it.
        for ms in [2_020, 2_030, 2_045, 2_050, 2_110, 2_150] {
            let note = story.at(ms, P1).clone();
            story.untell(ms, P1);
            story.tell(ms + 3_000, P1, note);
        }
    });
}

#[test]
fn hygiene() {
    check_breaks("hygiene", |story| {
        for k in 0..8 {
            story.done(
                8_900 + k * 10,
                GroundTruth::Sample {
                    process: "p1".to_owned(),
                    pid: 7,
                    descriptors: 900,
                    memory: 1 << 24,
                },
            );
        }
    });
}

#[test]
fn elects() {
    check_breaks("elects", |story| {
        story.tell(
            11_900,
            P2,
            Note::StepDown { log: log(), epoch: second(), why: "for no reason".to_owned() },
        )
    });
}

#[test]
fn bully_order() {
    check_breaks("bully-order", |story| {
        // The same two, and p1 ranks higher by what the views say.
        for peer in [P1, P2, P3] {
            *story.at(320, peer) = view(1, first(), 1, "p3", &[P2, P1, P3]);
        }
    });
}

#[test]
fn converges() {
    check_breaks("converges", |story| {
        for peer in [P1, P2, P3B] {
            story.tell(11_950, peer, view(4, second(), 8, "p2", &[P1, P2, P3B, ("p4", 1)]));
        }
    });
}

#[test]
fn delivers() {
    check_breaks("delivers", |story| story.untell(9_010, P3B));
}

#[test]
fn late_join() {
    check_breaks("late-join", |story| {
        story.tell(6_010, ("p4", 1), start());
        story.tell(6_020, ("p4", 1), Note::Ready);
        story.tell(9_500, ("p4", 1), Note::Stop { reason: "nobody took it in".to_owned() });
    });
}

#[test]
fn no_churn() {
    check_breaks("no-churn", |story| {
        story.tell(
            11_500,
            P1,
            Note::ElectionStarted { cause: Cause::Silence, higher: vec![], missed: None },
        );
    });
}

#[test]
fn rejoins() {
    check_breaks("rejoins", |story| {
        for peer in [P1, P2] {
            story.tell(7_000, peer, view(4, second(), 7, "p2", &[P1, P2]));
            story.tell(7_100, peer, view(5, second(), 8, "p2", &[P1, P2, P3]));
        }
        for peer in [P1, P2, P3B] {
            story.tell(7_200, peer, view(6, second(), 9, "p2", &[P1, P2, P3B]));
            *story.at(9_010, peer) = deliver(second(), 10, 6, P3B, 1);
        }
        story.disk = story.disk.replace(r#""seq":7"#, r#""seq":10"#);
        // Its links were degraded, so its removal was right.
        let table = "p3>p2".parse().unwrap();
        story.done(
            6_900,
            GroundTruth::Fault {
                id: "rain".to_owned(),
                fault: Fault::Link { table, weather: Weather { reset: 100, ..Weather::default() } },
                who: vec!["p3".to_owned()],
                confirmed: true,
            },
        );
        story.done(7_250, GroundTruth::Heal { id: "rain".to_owned() });
    });
}
