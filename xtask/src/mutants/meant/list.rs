//! The list of mutations by meaning (`xtask/meant/*.toml`), and what is wrong with it.
//!
//! ```toml
//! [[mutation]]
//! name = "acks-of-other-epochs-count"
//! what = "A reading is called safe although a member whose acknowledgement counts does not hold it."
//! file = "protocol/src/sequencer.rs"
//! before = "if *epoch != leader.epoch || contiguous > end {"
//! after = "if contiguous > end {"
//! caught_by = ["truly-stable", "safe-kept"]
//! seeds = 40
//! ```
//!
//! `caught_by` names the promises and laws each of which may catch it; `seeds` says within how many seeds the first of them did when
//! that was last looked at, and is left out where none did. Where nobody can lose anything, `harmless` says why instead.

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
    /// The page of the core, from the top of the checkout.
    pub(crate) file: String,
    before: String,
    after: String,
    pub(crate) fate: Fate,
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// One of these promises catches it; within so many seeds, if it has been caught yet.
    Caught { by: Vec<String>, seeds: Option<u64> },
    /// Nobody loses anything, for that reason.
    Harmless(String),
}

impl Meant {
    /// As the weaver wants it. Fails, with the reason, where the core does not say any more what is quoted.
    pub(crate) fn mutant(&self, root: &Path, number: usize) -> Result<Mutant, String> {
        let page = fs::read_to_string(root.join(&self.file)).map_err(|error| self.bad(&format!("{}: {error}", self.file)))?;
        let place = place::find(&page, &self.before);
        let (span, function) = place.map_err(|why| self.bad(&format!("what it quotes {why}, in {}:\n{}", self.file, self.before)))?;
        let (name, file, replacement) = (self.name.clone(), self.file.clone(), self.after.clone());
        Ok(Mutant { number, name, file, function, span, replacement })
    }

    fn bad(&self, words: &str) -> String {
        format!("{}: {}: {words}", self.listed, self.name)
    }
}

/// The whole list, page by page.
pub(crate) fn read(root: &Path) -> Result<Vec<Meant>, String> {
    let folder = root.join(FOLDER);
    let entries = fs::read_dir(&folder).map_err(|error| format!("{FOLDER}: {error}"))?;
    let mut pages: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    pages.retain(|page| page.ends_with(".toml"));
    pages.sort();
    let known = promises(root)?;
    let mut list: Vec<Meant> = Vec::new();
    for page in pages {
        let text = fs::read_to_string(folder.join(&page)).map_err(|error| format!("{FOLDER}/{page}: {error}"))?;
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
        if !name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-') {
            return bad("a name is made of small letters, digits and hyphens".to_owned());
        }
        let (before, after) = (written.before.trim_end_matches('\n'), written.after.trim_end_matches('\n'));
        if before.trim().is_empty() || before == after {
            return bad("it changes nothing".to_owned());
        }
        if let Some(stranger) = written.caught_by.iter().find(|promise| !known.contains(*promise)) {
            return bad(format!("there is no promise or law {stranger:?}"));
        }
        let fate = match (written.harmless, written.caught_by) {
            (Some(_), by) if !by.is_empty() || written.seeds.is_some() => return bad("what is harmless is caught by nobody".to_owned()),
            (Some(why), _) => Fate::Harmless(why),
            (None, by) if by.is_empty() => return bad("say who catches it, or why it is harmless".to_owned()),
            (None, by) => Fate::Caught { by, seeds: written.seeds },
        };
        let (before, after) = (before.to_owned(), after.to_owned());
        Ok(Meant { listed, what: written.what, file: written.file, before, after, fate, name })
    };
    written.mutation.into_iter().map(checked).collect()
}

/// The names that may stand in `caught_by`: the promises of the catalogue, and the laws of the simulator's truth.
fn promises(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut known = BTreeSet::new();
    for (page, before) in [(CATALOGUE, "id: \""), (TRUTH, " => \"")] {
        let text = fs::read_to_string(root.join(page)).map_err(|error| format!("{page}: {error}"))?;
        known.extend(text.split(before).skip(1).filter_map(|rest| rest.split_once('"')).map(|(id, _)| id.to_owned()));
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

    const SOUND: &str =
        "[[mutation]]\nname = \"a\"\nwhat = \"w\"\nfile = \"f.rs\"\nbefore = '''\nx''' \nafter = 'y'\ncaught_by = ['fifo']\n";

    fn known() -> BTreeSet<String> {
        BTreeSet::from(["fifo".to_owned()])
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, words: &[&str]) {
        let error = parse("p.toml", &format!("# A topic.\n{}", SOUND.replace(from, to)), &known()).unwrap_err();
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    }

    #[test]
    fn a_page_is_read() {
        let list = parse("p.toml", &format!("{SOUND}\n{}seeds = 4", SOUND.replace("\"a\"", "\"b\"")), &known()).unwrap();
        let told: Vec<_> = list.iter().map(|meant| (meant.listed.as_str(), meant.before.as_str(), meant.fate.clone())).collect();
        let by = |seeds| Fate::Caught { by: vec!["fifo".to_owned()], seeds };
        assert_eq!(told, [("p.toml:2", "x", by(None)), ("p.toml:11", "x", by(Some(4)))]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        check_refused("what", "why", &["p.toml", "line 4", "unknown field `why`"]);
        check_refused("caught_by = ['fifo']", "", &["p.toml:3: a: say who catches it"]);
        check_refused("'fifo'", "'filo'", &["p.toml:3: a:", "no promise or law \"filo\""]);
        check_refused("caught_by", "harmless = 'h'\ncaught_by", &["what is harmless is caught by nobody"]);
        check_refused("'y'", "'x'", &["it changes nothing"]);
        check_refused("\"a\"", "\"An a\"", &["small letters"]);
    }

    /// The list cannot rot: whoever changes what it quotes hears of it here.
    #[test]
    fn every_quotation_is_found_once_in_the_core_and_can_be_woven() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let list = read(root).unwrap_or_else(|error| panic!("{error}"));
        assert!(list.len() >= 80, "{} mutations", list.len());
        let mut pages: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (place, meant) in list.iter().enumerate() {
            let mutant = meant.mutant(root, place + 1).unwrap_or_else(|error| panic!("{error}"));
            pages.entry(&meant.file).or_default().push(mutant);
            assert!(meant.what.ends_with('.'), "{}: a sentence", meant.listed);
        }
        for (file, mutants) in pages {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            let woven = weave::weave(&text, &mutants.iter().collect::<Vec<_>>());
            assert!(woven.is_ok(), "{woven:?}");
        }
    }
}
