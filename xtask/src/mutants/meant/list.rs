//! The list of mutations by meaning (`xtask/meant/*.toml`), and what is wrong with it.
//!
//! ```toml
//! [[mutation]]
//! name = "acks-of-other-epochs-count"
//! what = "A reading is called safe although a member whose acknowledgement counts does not hold it."
//! file = "protocol/src/roles/leader.rs"
//! before = "if *epoch != leader.epoch || contiguous > end {"
//! after = "if contiguous > end {"
//! caught_by = ["truly-stable", "safe-kept"]
//! seeds = 40
//! ```
//!
//! `caught_by` names the promises and laws each of which may catch it; `seeds` says within how many
//! seeds the first of them did when that was last looked at, and is left out where none did. Where
//! nobody can lose anything, `harmless` says why instead. Where two rules guard each other,
//! `[[mutation.and]]` takes the other one away at the same time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::place;
use crate::mutants::mutant::Mutant;

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    /// Its name.
    pub(crate) name: String,
    /// What a user loses.
    pub(crate) what: String,
    /// The page of the list, and the line there.
    pub(crate) listed: String,
    /// The changes, all applied together.
    edits: Vec<Edit>,
    pub(crate) fate: Fate,
}

/// A change in one place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// The page of the core, relative to the checkout.
    file: String,
    before: String,
    after: String,
}

/// The expected result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// One of these promises catches it; within this many seeds, if it has been caught yet.
    Caught { by: Vec<String>, seeds: Option<u64> },
    /// No user loses anything, for that reason.
    Harmless(String),
}

impl Meant {
    /// The mutation for the weaver: one mutant for each place, all with one number. Fails, with the
    /// reason, if the core does not contain the quotation any more.
    pub(crate) fn mutants(&self, root: &Path, number: usize) -> Result<Vec<Mutant>, String> {
        let mutant = |Edit { file, before, after }: &Edit| {
            let page = fs::read_to_string(root.join(file))
                .map_err(|error| self.bad(&format!("{file}: {error}")))?;
            let place = place::find(&page, before);
            let (span, function) = place
                .map_err(|why| self.bad(&format!("what it quotes {why}, in {file}:\n{before}")))?;
            let (name, file, replacement) = (self.name.clone(), file.clone(), after.clone());
            Ok(Mutant { number, name, file, function, span, replacement })
        };
        let mutants = self.edits.iter().map(mutant).collect::<Result<Vec<Mutant>, String>>()?;
        let place = |mutant: &Mutant| (mutant.file.clone(), mutant.function.start.line);
        let mut places = BTreeSet::new();
        if mutants.iter().all(|mutant| places.insert(place(mutant))) {
            Ok(mutants)
        } else {
            Err(self
                .bad("two of its changes are in one function; quote from the first to the last"))
        }
    }

    fn bad(&self, words: &str) -> String {
        format!("{}: {}: {words}", self.listed, self.name)
    }
}

impl Edit {
    /// Without the line end that a multi-line text has at its end.
    fn trimmed(self) -> Self {
        let [before, after] =
            [&self.before, &self.after].map(|text| text.trim_end_matches('\n').to_owned());
        Self { before, after, ..self }
    }
}

/// The whole list, page by page.
pub(crate) fn read(root: &Path) -> Result<Vec<Meant>, String> {
    let folder = root.join(FOLDER);
    let entries = fs::read_dir(&folder).map_err(|error| format!("{FOLDER}: {error}"))?;
    let mut pages: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    pages.retain(|page| page.ends_with(".toml"));
    pages.sort();
    let known = promises(root)?;
    let mut list: Vec<Meant> = Vec::new();
    for page in pages {
        let text = fs::read_to_string(folder.join(&page))
            .map_err(|error| format!("{FOLDER}/{page}: {error}"))?;
        list.extend(parse(&format!("{FOLDER}/{page}"), &text, &known)?);
    }
    let mut names = BTreeSet::new();
    match list.iter().find(|meant| !names.insert(meant.name.as_str())) {
        Some(twice) => Err(twice.bad("there is another one of that name")),
        None => Ok(list),
    }
}

fn parse(page: &str, text: &str, known: &BTreeSet<String>) -> Result<Vec<Meant>, String> {
    let written: Page = toml::from_str(text).map_err(|error| format!("{page}: {error}"))?;
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let checked = |written: Written| {
        let listed = format!("{page}:{}", line(written.name.span().start));
        let name = written.name.into_inner();
        let bad = |words: String| Err(format!("{listed}: {name}: {words}"));
        if !name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
        {
            return bad("a name is made of small letters, digits and hyphens".to_owned());
        }
        let first = Edit { file: written.file, before: written.before, after: written.after };
        let edits: Vec<Edit> =
            std::iter::once(first).chain(written.and).map(Edit::trimmed).collect();
        if edits.iter().any(|edit| edit.before.trim().is_empty() || edit.before == edit.after) {
            return bad("it changes nothing".to_owned());
        }
        if let Some(stranger) = written.caught_by.iter().find(|promise| !known.contains(*promise)) {
            return bad(format!("there is no promise or law {stranger:?}"));
        }
        let fate = match (written.harmless, written.caught_by) {
            (Some(_), by) if !by.is_empty() || written.seeds.is_some() => {
                return bad("what is harmless is caught by nobody".to_owned());
            }
            (Some(why), _) => Fate::Harmless(why),
            (None, by) if by.is_empty() => {
                return bad("say who catches it, or why it is harmless".to_owned());
            }
            (None, by) => Fate::Caught { by, seeds: written.seeds },
        };
        Ok(Meant { listed, what: written.what, edits, fate, name })
    };
    written.mutation.into_iter().map(checked).collect()
}

/// The valid names in `caught_by`: the promises of the catalogue, and the laws of the simulator.
fn promises(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut known = BTreeSet::new();
    for (page, before) in [(CATALOGUE, "id: \""), (TRUTH, " => \"")] {
        let text =
            fs::read_to_string(root.join(page)).map_err(|error| format!("{page}: {error}"))?;
        known.extend(
            text.split(before)
                .skip(1)
                .filter_map(|rest| rest.split_once('"'))
                .map(|(id, _)| id.to_owned()),
        );
    }
    Ok(known)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    mutation: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    what: String,
    file: String,
    before: String,
    after: String,
    #[serde(default)]
    and: Vec<Edit>,
    #[serde(default)]
    caught_by: Vec<String>,
    seeds: Option<u64>,
    harmless: Option<String>,
}

const FOLDER: &str = "xtask/meant";
const CATALOGUE: &str = "promises/src/catalogue.rs";
const TRUTH: &str = "simulator/src/truth.rs";

#[cfg(test)]
mod tests {
    use super::{Fate, parse, read};
    use crate::mutants::weave;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    const SOUND: &str = "[[mutation]]\nname = \"a\"\nwhat = \"w\"\nfile = \"f.rs\"\nbefore = \
                         '''\nx''' \nafter = 'y'\ncaught_by = ['fifo']\n";

    fn known() -> BTreeSet<String> {
        BTreeSet::from(["fifo".to_owned()])
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, words: &[&str]) {
        let error = parse("p.toml", &format!("# A topic.\n{}", SOUND.replace(from, to)), &known())
            .unwrap_err();
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    }

    #[test]
    fn a_page_is_read() {
        let list = parse(
            "p.toml",
            &format!("{SOUND}\n{}seeds = 4", SOUND.replace("\"a\"", "\"b\"")),
            &known(),
        )
        .unwrap();
        let told: Vec<_> = list
            .iter()
            .map(|meant| {
                (meant.listed.as_str(), meant.edits[0].before.as_str(), meant.fate.clone())
            })
            .collect();
        let by = |seeds| Fate::Caught { by: vec!["fifo".to_owned()], seeds };
        assert_eq!(told, [("p.toml:2", "x", by(None)), ("p.toml:11", "x", by(Some(4)))]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        check_refused("what", "why", &["p.toml", "line 4", "unknown field `why`"]);
        check_refused("caught_by = ['fifo']", "", &["p.toml:3: a: say who catches it"]);
        check_refused("'fifo'", "'filo'", &["p.toml:3: a:", "no promise or law \"filo\""]);
        check_refused(
            "caught_by",
            "harmless = 'h'\ncaught_by",
            &["what is harmless is caught by nobody"],
        );
        check_refused("'y'", "'x'", &["it changes nothing"]);
        check_refused("\"a\"", "\"An a\"", &["small letters"]);
    }

    #[test]
    fn a_second_change_goes_with_the_first() {
        let text = format!("{SOUND}[[mutation.and]]\nfile = 'g.rs'\nbefore = 'z'\nafter = ''\n");
        let list = parse("p.toml", &text, &known()).unwrap();
        let files: Vec<_> =
            list[0].edits.iter().map(|edit| (edit.file.as_str(), edit.before.as_str())).collect();
        assert_eq!(files, [("f.rs", "x"), ("g.rs", "z")]);
    }

    /// The list cannot rot: a change of quoted code fails this test.
    #[test]
    fn every_quotation_is_found_once_in_the_core_and_can_be_woven() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let list = read(root).unwrap_or_else(|error| panic!("{error}"));
        assert!(list.len() >= 80, "{} mutations", list.len());
        let mut pages: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (place, meant) in list.iter().enumerate() {
            for mutant in meant.mutants(root, place + 1).unwrap_or_else(|error| panic!("{error}")) {
                pages.entry(mutant.file.clone()).or_default().push(mutant);
            }
            assert!(meant.what.ends_with('.'), "{}: a sentence", meant.listed);
        }
        for (file, mutants) in pages {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            let woven = weave::weave(&text, &mutants.iter().collect::<Vec<_>>());
            assert!(woven.is_ok(), "{woven:?}");
        }
    }
}
