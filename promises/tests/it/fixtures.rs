//! Every promise of the catalogue has a history that keeps it and one that breaks it, as a file
//! that a person can read: `fixtures/<id>.good.jsonl` and `fixtures/<id>.bad.jsonl`.
//!
//! Lines that begin with `#` say what the history is about, with which options it is judged
//! (`# options: settled, mode=primary`), what stands in a peer's files (`# file p1: …`,
//! `# table s1: …`), and, in a bad one, what the judge has to say: the words, and which of its
//! lines show it. With `UPDATE=1` the judge's words and lines are written into the bad ones; read
//! the difference before you keep it.

use std::fs;
use std::path::PathBuf;

use promises::disk::Disk;
use promises::{Broken, CATALOGUE, History, Judgement, Options, Outcome, judge};
use protocol::config::Knobs;

/// A history as its file has it.
struct Fixture {
    path: PathBuf,
    text: String,
    history: History,
    options: Options,
    /// The expected finding of the judge.
    breaks: Option<String>,
    evidence: Option<String>,
}

impl Fixture {
    fn read(id: &str, kind: &str) -> Self {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{id}.{kind}.jsonl"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("promise {id} has no {kind} fixture: {}: {error}", path.display())
        });
        let mut options = Options { knobs: Knobs::fast(), ..Options::default() };
        let (mut breaks, mut evidence, mut file, mut table) =
            (None, None, String::new(), String::new());
        let comments: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        assert!(
            comments.first().is_some_and(|about| about.ends_with('.')),
            "{}: begin with what it is about",
            path.display()
        );
        for comment in &comments[1..] {
            match comment.split_once(": ") {
                Some(("options", list)) => {
                    list.split(", ").for_each(|option| set(&mut options, option))
                }
                Some(("file p1", line)) => file += &format!("{line}\n"),
                Some(("table s1", line)) => table += &format!("{line}\n"),
                Some(("breaks", words)) => breaks = Some(words.to_owned()),
                Some(("evidence", lines)) => evidence = Some(lines.to_owned()),
                _ => panic!("{}: what is `# {comment}`?", path.display()),
            }
        }
        if !file.is_empty() {
            let mut disk = Disk::read("p1", &file);
            disk.read_table(&table);
            options.disks.push(disk);
        }
        let events: String = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        let history = History::read([(id, events.as_str())]);
        assert!(
            history.unreadable.is_empty() && history.torn.is_empty(),
            "{}: {:?}",
            path.display(),
            history.unreadable
        );
        Self { path, text, history, options, breaks, evidence }
    }

    fn judge(&self) -> Judgement {
        let judgement = judge(&self.history, &self.options);
        assert!(
            judgement.holes.is_empty() && judgement.unconfirmed.is_empty(),
            "{}: {:?}",
            self.path.display(),
            judgement.doubts()
        );
        judgement
    }

    /// The lines of the file that show a breach, counted from 1.
    fn lines(&self, broken: &Broken) -> String {
        let head = self.text.lines().take_while(|line| line.starts_with('#')).count();
        let lines: Vec<String> =
            broken.evidence.iter().map(|at| (head + at + 1).to_string()).collect();
        lines.join(", ")
    }

    /// Writes the judge's finding into the file.
    fn update(&self, broken: &Broken) {
        let (old, events): (Vec<&str>, Vec<&str>) =
            self.text.lines().partition(|line| line.starts_with('#'));
        let mut head: Vec<String> = old.iter().map(|line| (*line).to_owned()).collect();
        head.retain(|line| !line.starts_with("# breaks: ") && !line.starts_with("# evidence: "));
        let more = head.len() + 2;
        let lines: Vec<String> =
            broken.evidence.iter().map(|at| (more + at + 1).to_string()).collect();
        head.push(format!("# breaks: {}", broken.words));
        head.push(format!("# evidence: {}", lines.join(", ")));
        fs::write(&self.path, format!("{}\n{}\n", head.join("\n"), events.join("\n")))
            .expect("the fixture can be written");
    }
}

fn set(options: &mut Options, option: &str) {
    match option.split_once('=') {
        None if option == "settled" => options.settled = true,
        None if option == "preempt" => options.knobs.preempt = true,
        Some(("members_max", number)) => {
            options.knobs.members_max = number.parse().expect("a number")
        }
        Some(("merge_retain_entries", number)) => {
            options.knobs.merge_retain_entries = number.parse().expect("a number")
        }
        Some(("mode", mode)) => options.knobs.mode = mode.parse().expect("a mode"),
        Some(("late_join", late_join)) => {
            options.knobs.late_join = late_join.parse().expect("what a newcomer gets")
        }
        _ => panic!("no option is called {option:?}"),
    }
}

fn broken(judgement: &Judgement) -> Vec<(&'static str, &str)> {
    judgement.broken().map(|finding| (finding.promise, finding.broken[0].words.as_str())).collect()
}

#[test]
fn every_promise_has_a_history_that_keeps_it() {
    let mut problems = vec![];
    for promise in CATALOGUE {
        let fixture = Fixture::read(promise.id, "good");
        let judgement = fixture.judge();
        let finding = judgement.find(promise.id).expect("it is in the catalogue");
        if judgement.broken().next().is_some() {
            problems.push(format!("{}: {:#?}", fixture.path.display(), broken(&judgement)));
        } else if finding.outcome() != Outcome::Held {
            problems.push(format!("{} shows nothing for its promise", fixture.path.display()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_promise_has_a_history_that_breaks_it_and_no_other() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut problems = vec![];
    for promise in CATALOGUE {
        let fixture = Fixture::read(promise.id, "bad");
        let judgement = fixture.judge();
        let broken = broken(&judgement);
        if broken.iter().map(|(id, _)| *id).ne([promise.id]) {
            problems.push(format!("{}: {broken:#?}", fixture.path.display()));
            continue;
        }
        let first = &judgement.find(promise.id).expect("it is in the catalogue").broken[0];
        if update {
            fixture.update(first);
            continue;
        }
        let told = (Some(first.words.clone()), Some(fixture.lines(first)));
        if told != (fixture.breaks.clone(), fixture.evidence.clone()) {
            problems.push(format!("{}: the judge says {told:?}", fixture.path.display()));
        }
        if first.evidence.is_empty() || first.evidence.len() > 6 {
            problems.push(format!(
                "{}: {} lines show it",
                fixture.path.display(),
                first.evidence.len()
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_fixture_belongs_to_a_promise() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for entry in fs::read_dir(folder).expect("the fixtures are there") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let known = CATALOGUE.iter().any(|promise| {
            [".good.jsonl", ".bad.jsonl"].iter().any(|end| name == format!("{}{end}", promise.id))
        });
        assert!(known, "{name} is a fixture of no promise");
    }
}
