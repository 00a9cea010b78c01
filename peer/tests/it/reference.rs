//! Files generated from the command itself: manual pages and shell completions.

use std::collections::BTreeSet;
use std::process::Command;

use super::bench::PEER;

#[test]
fn every_command_has_a_page_and_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(PEER).arg("man").arg(folder.path()).output().unwrap();
    assert!(made.status.success() && made.stdout.is_empty(), "{made:?}");
    let pages: BTreeSet<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let asking = ["status", "members", "tail", "publish", "why", "leave", "demote", "log-level"];
    for name in asking {
        let page = std::fs::read_to_string(folder.path().join(format!("peer-{name}.1"))).unwrap();
        assert!(
            page.contains("Example")
                && page.contains(".SH OPTIONS")
                && page.contains(&format!("peer\\-{}", name.replace('-', "\\-"))),
            "{page}"
        );
    }
    assert!(
        pages.contains("peer.1") && pages.contains("peer-run.1") && !pages.contains("peer-guard.1"),
        "{pages:?}"
    );
}

#[test]
fn shells_are_told_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let made = Command::new(PEER).args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(made.stdout).unwrap();
        assert!(
            made.status.success() && text.contains("tail") && text.contains("demote"),
            "{shell}"
        );
    }
    let wrong = Command::new(PEER).args(["completions", "cmd"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
}
