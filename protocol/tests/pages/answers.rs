//! The recorded answers (`protocol/answers`): what a peer says at once to a word, by its role.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::source;

/// The columns of the table of verbs and roles.
pub(crate) const ROLES: [&str; 4] = ["Joining", "Follower", "Candidate", "Leader"];

/// Verb and role, and what was said at once: verbs, a refusal with its reason.
pub(crate) type Said = BTreeMap<(String, &'static str), BTreeSet<String>>;

/// What a peer that is described like this is. Who builds a log under a leader has adopted its
/// cut; who builds one under nobody is about to lead.
fn role(activity: &str, leader: &str) -> &'static str {
    match (activity, leader) {
        ("joining", _) => "Joining",
        ("building", "nobody") => "Candidate",
        ("member" | "building", _) => "Follower",
        ("leader", _) => "Leader",
        ("asking" | "blocked" | "waiting" | "syncing", _) => "Candidate",
        other => panic!("{other:?} is an activity without a role"),
    }
}

/// The verb that a word or an output begins with.
fn verb<'a>(text: &str, verbs: &'a [String]) -> Option<&'a String> {
    let begins = |verb: &&String| {
        let rest = text.strip_prefix(verb.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':', ',']))
    };
    verbs.iter().filter(begins).max_by_key(|verb| verb.len())
}

/// What an output sends over a link: its verb, and the reason of a refusal.
fn sent(output: &str, verbs: &[String]) -> Option<String> {
    let addressed = output.strip_prefix("-> ")?;
    let is_name = |word: &&str| word.starts_with('p');
    let words: Vec<&str> = addressed.split(' ').skip_while(|word| is_name(word)).collect();
    let said = words.join(" ");
    let verb = verb(&said, verbs).unwrap_or_else(|| panic!("{output:?} says nothing known"));
    if verb != "REJECTED" {
        return Some(verb.clone());
    }
    let reason: String =
        said.chars().take_while(|c| c.is_ascii_uppercase() || [':', '_'].contains(c)).collect();
    Some(reason)
}

/// Reads all transcripts but the one of earlier lives, which no role ever hears.
pub(crate) fn recorded(verbs: &[String]) -> Said {
    let mut said = Said::new();
    let folder = source::crate_folder().join("answers");
    for entry in fs::read_dir(folder).expect("the recorded answers") {
        let path = entry.expect("an entry of the folder").path();
        if path.file_name().is_some_and(|name| name == "to_a_ghost.txt") {
            continue;
        }
        let text = fs::read_to_string(path).expect("a transcript");
        let mut lines = text.lines().peekable();
        let (mut role_now, mut words) = (None, String::new());
        while let Some(line) = lines.next() {
            let described: Vec<&str> = line.split(' ').take(5).collect();
            if let [_, "is", activity, "under", leader] = described[..]
                && !line.starts_with(' ')
            {
                role_now = Some(role(activity, leader.trim_end_matches(',')));
                words.clear();
                continue;
            }
            let Some(role) = role_now else { continue };
            if line == "----" || line.is_empty() {
                (role_now, words) = (None, String::new());
                continue;
            }
            words.push_str(line);
            words.push(' ');
            if !lines.peek().is_some_and(|next| next.starts_with("    ")) {
                continue;
            }
            let mut outputs = BTreeSet::new();
            while let Some(output) = lines.next_if(|next| next.starts_with("    ")) {
                outputs.extend(sent(output.trim_start(), verbs));
            }
            for word in words.trim_end_matches([' ', ':']).split("; ") {
                // What was heard by datagram begins otherwise, and is another matter.
                if let Some(verb) = verb(word, verbs) {
                    said.entry((verb.clone(), role)).or_default().extend(outputs.clone());
                }
            }
            words.clear();
        }
    }
    said
}
