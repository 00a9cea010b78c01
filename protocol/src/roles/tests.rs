//! Which role takes which message, as `ROLES.md` shows it: the document is made from the code.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::config::Knobs;
use crate::harness::{Harness, nothing, peer};
use crate::node::Node;
use crate::roles::{Heard, Role};
use crate::wire::frame::tests::samples::samples;
use crate::wire::message::Message;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ROLES.md");

const HEAD: &str = "\
# Who takes which message

A peer has one role at a time, and each role has a page in `src/roles/` that names every verb. This
table is made from those pages (`UPDATE=1 cargo test -p protocol roles` writes it anew): **takes**
means that the page looks at the message, and whether it does something depends on what the message
says; anything else is why the page ignores it. What never reaches a page: a HELLO, which the links
take; a frame of a link that has not greeted; the words of an earlier life of a member; numbers out
of reach.

";

/// One peer in each role, in the order of the columns.
fn roles() -> [(&'static str, Node); 4] {
    let mut candidate = Harness::member(Knobs::fast());
    candidate.greet(&peer(2), nothing());
    candidate.fail(&peer(3));
    assert!(matches!(candidate.node.role, Role::Candidate(_)), "it misses its leader");
    [
        ("joining", Harness::newcomer(Knobs::fast()).node),
        ("follower", Harness::member(Knobs::fast()).node),
        ("candidate", candidate.node),
        ("leader", Harness::leader(Knobs::fast()).node),
    ]
}

fn table() -> String {
    let mut verbs: BTreeMap<&str, Message> = BTreeMap::new();
    for (message, _) in samples() {
        if !matches!(message, Message::Hello(_)) {
            verbs.entry(message.verb()).or_insert(message);
        }
    }
    let roles = roles();
    let mut text = String::from(HEAD);
    let names = roles.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" | ");
    writeln!(text, "| Verb | {names} |\n|---|---|---|---|---|").expect("a String takes all");
    for (verb, message) in verbs {
        write!(text, "| `{verb}` |").expect("a String takes all");
        for (_, node) in &roles {
            let (mut node, now) = (node.clone(), crate::time::Time::from_micros(60_000_000));
            match node.hear(now, &peer(2).member, message.clone(), &mut Vec::new()) {
                Heard::Taken => write!(text, " **takes** |"),
                Heard::Ignored(why) => write!(text, " {why} |"),
            }
            .expect("a String takes all");
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_document_shows_who_takes_what() {
    let shown = table();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(DOCUMENT, &shown).expect("the document can be written");
    }
    let written = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(written == shown, "ROLES.md is not what the pages say; UPDATE=1 writes it anew");
}
