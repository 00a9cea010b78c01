//! Evidence that is missing, torn or in doubt is unknown, and never a pass.

use promises::{Fault, GroundTruth, History, Options, Outcome, Record, judge};
use protocol::note::Note;

use super::telling::*;

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
        GroundTruth::Fault {
            id: "try".to_owned(),
            fault: Fault::Stop,
            who: vec![],
            confirmed: false,
        },
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
