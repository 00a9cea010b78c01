//! A short history in which every promise has something to look at and is kept, and one change for
//! each promise that breaks that one and no other.

use promises::fault::Weather;
use promises::{Fault, History, Options, Outcome, Record, World, judge};
use protocol::digest::Digest;
use protocol::id::{Incarnation, Oseq, Seq, ViewId};
use protocol::note::{Cause, Evidence, Note, Refusal};

use self::telling::*;

mod telling;

/// One change to the story breaks this promise and no other.
#[track_caller]
fn check_breaks(promise: &str, change: impl FnOnce(&mut Story)) {
    let mut story = Story::told();
    change(&mut story);
    let (history, options) = story.history();
    let judgement = judge(&history, &options);
    let broken: Vec<(&str, &str)> = judgement
        .broken()
        .map(|finding| (finding.promise, finding.broken[0].words.as_str()))
        .collect();
    assert_eq!(broken.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [promise], "{broken:#?}");
    assert_eq!(judgement.outcome(), Outcome::Broken);
    for broken in &judgement.find(promise).expect("it is in the catalogue").broken {
        assert!(
            broken.evidence.len() <= 6
                && broken.evidence.iter().all(|at| *at < history.records.len())
        );
    }
}

#[test]
fn the_story_keeps_every_promise_and_shows_something_for_each() {
    let (history, options) = Story::told().history();
    let judgement = judge(&history, &options);
    assert_eq!(judgement.outcome(), Outcome::Held, "{:#?}", judgement.broken().collect::<Vec<_>>());
    for finding in &judgement.findings {
        // What is promised in mode primary only has nothing to look at in a story of the other
        // mode. Nobody leaves in it either, is refused, gets anything twice or misses anything.
        let unseen =
            ["steps-down", "had-before", "gap-needed", "refusal-true", "lost-truly", "left-clean"];
        let expected =
            if unseen.contains(&finding.promise) { Outcome::Unknown } else { Outcome::Held };
        assert_eq!(finding.outcome(), expected, "{}", finding.promise);
    }
}

#[test]
fn the_story_survives_the_files() {
    let (history, options) = Story::told().history();
    let lines: Vec<String> = history.records.iter().map(|record| record.line() + "\n").collect();
    let files: Vec<(&str, String)> =
        ["\"p\":\"p1\"", "\"p\":\"p2\"", "\"p\":\"p3\"", "\"p\":\"_\""]
            .map(|key| (key, lines.iter().filter(|line| line.contains(key)).cloned().collect()))
            .to_vec();
    let read = History::read(files.iter().map(|(name, text)| (*name, text.as_str())));
    assert_eq!(read.records.len(), history.records.len());
    assert_eq!(judge(&read, &options).outcome(), Outcome::Held);
}

#[test]
fn one_leader_per_epoch() {
    check_breaks("one-leader-per-epoch", |story| {
        *story.at(315, P1) = Note::Follows { log: log(), leader: id("p2"), epoch: first() }
    });
}

#[test]
fn epoch_monotonic() {
    check_breaks("epoch-monotonic", |story| {
        story.tell(2_300, P1, Note::Promised { log: log(), epoch: first(), to: id("p3") });
    });
}

#[test]
fn fenced_sequencer() {
    check_breaks("fenced-sequencer", |story| story.tell(2_025, P2, elected("p2", epoch(1, P2))));
}

#[test]
fn no_duplicate_seq() {
    check_breaks("no-duplicate-seq", |story| {
        for (ms, seq) in [(410, 2), (420, 3)] {
            let Note::Deliver { seq: at, .. } = story.at(ms, P3) else { unreachable!() };
            *at = Seq(5 - seq);
        }
        // It gets them in the order of its own numbers, so that only what stands there differs.
        let (one, other) = (story.at(410, P3).clone(), story.at(420, P3).clone());
        (*story.at(410, P3), *story.at(420, P3)) = (other, one);
    });
}

#[test]
fn of_a_history_without_single_readings_the_rest_is_judged() {
    let mut story = Story::told();
    story.told.retain(|(_, _, note)| {
        !matches!(note, Note::Publish { .. } | Note::Deliver { .. } | Note::Acknowledged { .. })
    });
    for (_, _, note) in &mut story.told {
        if let Note::Start { omits_readings, .. } = note {
            *omits_readings = true;
        }
    }
    let (history, options) = story.history();
    let judgement = judge(&history, &options);
    assert_eq!(
        judgement.outcome(),
        Outcome::Unknown,
        "{:#?}",
        judgement.broken().collect::<Vec<_>>()
    );
    let outcome =
        |promise: &str| judgement.find(promise).expect("it is in the catalogue").outcome();
    for unknown in ["gap-free", "integrity", "fifo", "delivers", "disk-matches", "total-order"] {
        assert_eq!(outcome(unknown), Outcome::Unknown, "{unknown}");
    }
    for held in ["view-legal", "elects", "converges", "no-crash", "one-leader-per-epoch"] {
        assert_eq!(outcome(held), Outcome::Held, "{held}");
    }
    let doubt = "log_deliveries is off at p1, p2, p3: what was delivered there cannot be judged";
    assert!(judgement.doubts().iter().any(|words| words == doubt), "{:?}", judgement.doubts());
}

#[test]
fn total_order() {
    // The owner of the second epoch says that it starts one position later than its first entry
    // stands.
    check_breaks("total-order", |story| *story.at(2_030, P2) = cut(second(), 4));
    check_breaks("total-order", |story| {
        // The same entry after another one: the last position before the cut belongs to another
        // epoch here.
        let Note::Deliver { epoch: numbered, .. } = story.at(420, P1) else { unreachable!() };
        *numbered = epoch(1, P1);
        story.disk =
            story.disk.replace(r#""epoch":"1.p3#1","seq":3"#, r#""epoch":"1.p1#1","seq":3"#);
        story.told.retain(|(_, _, note)| !matches!(note, Note::Stable { .. }));
    });
}

#[test]
fn gap_free() {
    check_breaks("gap-free", |story| {
        // The killed one passes over a reading on its last day, so that no view closes behind it.
        story.untell(410, P3);
    });
}

#[test]
fn had_before() {
    check_breaks("had-before", |story| {
        // It says that it has had the reading, and that is not so.
        let Note::Deliver { epoch, seq, view_id, origin, origin_inc, oseq, .. } =
            story.at(410, P3).clone()
        else {
            unreachable!()
        };
        *story.at(410, P3) =
            Note::DupSuppressed { log: log(), epoch, seq, view_id, origin, origin_inc, oseq };
    });
    check_breaks("gap-free", |story| {
        story.tell(
            430,
            P3,
            Note::DupSuppressed {
                log: log(),
                epoch: first(),
                seq: Seq(2),
                view_id: ViewId(1),
                origin: id("p1"),
                origin_inc: Incarnation(1),
                oseq: Oseq(1),
            },
        )
    });
}

#[test]
fn integrity() {
    check_breaks("integrity", |story| {
        story.untell(400, P1);
        story.tell(
            400,
            P1,
            Note::Publish { oseq: Oseq(1), digest: Digest::of(b"something else"), safe: false },
        );
    });
    check_breaks("integrity", |story| {
        for peer in [P1, P2, P3B] {
            story.tell(9_020, peer, deliver(second(), 8, 3, P3B, 1));
        }
        story.disk += &kept("2.p2#1", 8, P3B, 1);
    });
}

#[test]
fn fifo() {
    check_breaks("fifo", |story| {
        story.tell(8_900, P3B, publish(P3B, 2));
        for peer in [P1, P2, P3B] {
            *story.at(9_010, peer) = deliver(second(), 7, 3, P3B, 2);
            story.tell(9_020, peer, deliver(second(), 8, 3, P3B, 1));
        }
        let last = story.disk.trim_end().rfind('\n').unwrap();
        story.disk.truncate(last + 1);
        for (seq, oseq) in [(7, 2), (8, 1)] {
            story.disk += &kept("2.p2#1", seq, P3B, oseq);
        }
    });
}

#[test]
fn view_legal() {
    check_breaks("view-legal", |story| {
        *story.at(2_050, P1) = view(2, second(), 4, "p2", &[P2, P1]);
    });
}

#[test]
fn view_synchrony() {
    check_breaks("view-synchrony", |story| {
        // p2 learns of the reading only in the next view.
        let Note::Deliver { view_id, .. } = story.at(2_110, P2) else { unreachable!() };
        *view_id = ViewId(1);
    });
}

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

/// Whether p2 may send p1 away, having decided that at one moment and told of it half a second
/// later, if p1 was outside until some moment.
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

/// Whether p2 may send p1 away at #8, having said that it lags while its own log ended there.
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
    // Before the view that still names it is told of: it is told of when it is handed over.
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
fn disk_matches() {
    check_breaks("disk-matches", |story| story.disk = story.disk.replace("p2 says 1", "p2 said 1"));
    check_breaks("disk-matches", |story| {
        let last = story.disk.trim_end().rfind('\n').unwrap();
        story.disk.truncate(last + 1);
    });
    check_breaks("disk-matches", |story| story.disk += "garbage\n");
}

#[test]
fn no_crash() {
    check_breaks("no-crash", |story| {
        story.tell(3_000, P1, Note::Panic { message: "a bug".to_owned() })
    });
    check_breaks("no-crash", |story| {
        story.done(
            12_900,
            World::Fault {
                id: "end".to_owned(),
                fault: Fault::Stop,
                who: vec!["p9".to_owned()],
                confirmed: true,
            },
        );
        story.done(12_950, exit("p9", Some(1), None, true));
    });
}

#[test]
fn stable_agreement() {
    check_breaks("stable-agreement", |story| {
        for peer in [P1, P2] {
            *story.at(450, peer) = Note::Stable { log: log(), epoch: first(), seq: Seq(9) };
        }
    });
}

#[test]
fn confirmed() {
    check_breaks("confirmed", |story| {
        story.told.retain(|(_, _, note)| !matches!(note, Note::Acknowledged { .. }))
    });
    check_breaks("confirmed", |story| story.tell(456, P1, acknowledged(1, 2)));
}

#[test]
fn safe_kept() {
    check_breaks("safe-kept", |story| {
        story.tell(12_600, P1, Note::Diverged { log: log(), from: Seq(7), to: Seq(7) });
        let Note::Deliver { epoch, seq, view_id, origin, origin_inc, oseq, .. } =
            story.at(9_010, P1).clone()
        else {
            unreachable!()
        };
        story.tell(
            12_610,
            P1,
            Note::DupSuppressed { log: log(), epoch, seq, view_id, origin, origin_inc, oseq },
        );
    });
    // p2 founds an epoch below what it had and p1 knew to be stable.
    check_breaks("safe-kept", |story| {
        story.cut_for_a_while();
        story.untell(12_500, P2);
        story.tell(12_600, P1, Note::Stable { log: log(), epoch: second(), seq: Seq(7) });
        story.tell(12_610, P2, cut(epoch(3, P2), 6));
    });
    // Links are cut somewhere, and p1 still has no reason to take back what p2's log has, too.
    check_breaks("safe-kept", |story| {
        story.cut_for_a_while();
        story.tell(2_031, P1, Note::Diverged { log: log(), from: Seq(3), to: Seq(3) });
        story.tell(
            2_032,
            P1,
            Note::DupSuppressed {
                log: log(),
                epoch: first(),
                seq: Seq(3),
                view_id: ViewId(1),
                origin: id("p2"),
                origin_inc: Incarnation(1),
                oseq: Oseq(1),
            },
        );
    });
}

#[test]
fn accounted() {
    check_breaks("accounted", |story| story.tell(7_000, P1, publish(P1, 3)));
}

#[test]
fn contained() {
    check_breaks("contained", |story| {
        // p1 takes over from p2, and nobody has touched p2.
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
fn refusal_true() {
    check_breaks("refusal-true", |story| {
        story.tell(3_000, P1, Note::Refused { why: Refusal::WindowFull, count: 1 })
    });
    check_breaks("refusal-true", |story| {
        story.tell(3_000, P1, Note::Refused { why: Refusal::NoQuorum, count: 1 })
    });
}

#[test]
fn views_unbroken() {
    check_breaks("views-unbroken", |story| {
        for peer in [P1, P2, P3B] {
            *story.at(6_300, peer) = view(4, second(), 6, "p2", &[P1, P2, P3B]);
            *story.at(9_010, peer) = deliver(second(), 7, 4, P3B, 1);
        }
    });
}

#[test]
fn windowed() {
    check_breaks("windowed", |story| story.tell(470, P1, status(10_000, 1)));
}

#[test]
fn recovers() {
    check_breaks("recovers", |story| {
        // p1 gets the view that replaces the dead leader three seconds late, and all that follows
        // from it.
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
                World::Sample {
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
        // Its links were bad, so its removal was nobody's mistake.
        let table = "p3>p2".parse().unwrap();
        story.done(
            6_900,
            World::Fault {
                id: "rain".to_owned(),
                fault: Fault::Link { table, weather: Weather { reset: 100, ..Weather::default() } },
                who: vec!["p3".to_owned()],
                confirmed: true,
            },
        );
        story.done(7_250, World::Heal { id: "rain".to_owned() });
    });
}

#[test]
fn lost_evidence_is_unknown_and_not_a_pass() {
    let (mut history, options) = Story::told().history();
    history.records.retain(
        |record| !matches!(record, Record::Peer(event) if event.p.as_str() == "p1" && event.n == 5),
    );
    let judgement = judge(&history, &options);
    assert_eq!(
        judgement.outcome(),
        Outcome::Unknown,
        "{:#?}",
        judgement.broken().collect::<Vec<_>>()
    );
    assert_eq!(judgement.doubts(), ["events 5 to 5 of p1#1 are missing"]);
}

#[test]
fn nothing_seen_is_unknown() {
    let options = Options { required: vec!["total-order".to_owned()], ..Options::default() };
    let judgement = judge(&History::default(), &options);
    assert_eq!(judgement.outcome(), Outcome::Unknown);
    assert_eq!(
        judgement.doubts(),
        ["total-order is required, and saw nothing", "no law saw anything"]
    );
}

#[test]
fn a_fault_that_may_not_have_worked_is_unknown() {
    let mut story = Story::told();
    story.done(
        12_000,
        World::Fault { id: "try".to_owned(), fault: Fault::Stop, who: vec![], confirmed: false },
    );
    let (history, options) = story.history();
    assert_eq!(judge(&history, &options).doubts(), ["fault \"try\" was not seen to have worked"]);
}

#[test]
fn a_torn_line_is_kept_and_not_an_error() {
    let (history, _) = Story::told().history();
    let line = history.records[3].line();
    let torn = &line[..line.len() / 2];
    let read = History::read([
        ("p1.jsonl", format!("{line}\n{torn}{line}\n{torn}").as_str()),
        ("p2.jsonl", "nonsense\n"),
    ]);
    assert_eq!(read.records.len(), 2);
    assert_eq!(read.torn.iter().map(|torn| torn.line).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(
        read.unreadable.iter().map(|bad| (bad.file.as_str(), bad.line)).collect::<Vec<_>>(),
        [("p2.jsonl", 1)]
    );
}
