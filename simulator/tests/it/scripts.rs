//! Every script in `protocol/scripts` and every table of answers in `protocol/answers` is replayed,
//! and has to reproduce the file. `UPDATE=1` rewrites them; review the difference.

use std::fs;
use std::path::Path;

use similar::TextDiff;

/// Replays the files of a folder of the core.
#[track_caller]
fn check(folder: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol").join(folder);
    let mut paths: Vec<_> = fs::read_dir(&path)
        .expect("the folder is there")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= least, "there should be at least {least} scripts in {}", path.display());
    let update = std::env::var_os("UPDATE").is_some();
    for path in paths {
        let name =
            format!("protocol/{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy());
        let text = fs::read_to_string(&path).expect("a script can be read");
        let replayed =
            simulator::script::replay(&text).unwrap_or_else(|error| panic!("{name}, {error}"));
        if update {
            fs::write(&path, replayed).expect("a script can be written");
        } else {
            let verdict = "comes out differently; if that is right: UPDATE=1 cargo test -p \
                           simulator --test it every_";
            assert!(replayed == text, "{name} {verdict}\n{}", difference(&text, &replayed));
        }
    }
}

/// The first lines that differ, each with its neighbours.
fn difference(expected: &str, replayed: &str) -> String {
    let difference =
        TextDiff::from_lines(expected, replayed).unified_diff().context_radius(3).to_string();
    let mut lines = difference.lines();
    let mut shown: Vec<String> = lines.by_ref().take(SHOWN).map(str::to_owned).collect();
    let more = lines.count();
    if more > 0 {
        shown.push(format!("… and {more} lines more"));
    }
    shown.join("\n")
}

/// Lines of a difference that fit a screen.
const SHOWN: usize = 60;

#[test]
fn every_script_comes_out_as_it_stands() {
    check("scripts", 12);
}

#[test]
fn every_answer_comes_out_as_it_stands() {
    check("answers", 10);
}
