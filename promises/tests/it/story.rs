//! A short history in which every promise has something to check and is kept, and for each promise
//! one change that breaks this promise and no other.

use promises::{Fault, GroundTruth, History, Outcome, judge};
use protocol::digest::Digest;
use protocol::id::{Incarnation, Oseq, Seq, ViewId};
use protocol::note::{Note, Refusal};

use self::telling::*;

mod evidence;
mod levels;
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
        // Promises of mode `primary` have nothing to check in a story of the other mode. In this
        // story no peer leaves, is refused, receives anything twice or misses anything.
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
        // It receives them in the order of its own numbers, so that only the content differs.
        let (one, other) = (story.at(410, P3).clone(), story.at(420, P3).clone());
        (*story.at(410, P3), *story.at(420, P3)) = (other, one);
    });
}

#[test]
fn total_order() {
    // The owner of the second epoch reports a start one position after the epoch's first entry.
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
        // The killed peer skips a reading shortly before its death, so that no view closes after
        // it.
        story.untell(410, P3);
    });
}

#[test]
fn had_before() {
    check_breaks("had-before", |story| {
        // It claims to have received the reading, and has not.
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
        // p2 receives the reading only in the next view.
        let Note::Deliver { view_id, .. } = story.at(2_110, P2) else { unreachable!() };
        *view_id = ViewId(1);
    });
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
            GroundTruth::Fault {
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
    // Links are cut, and p1 still has no reason to take back an entry that p2's log has, too.
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
