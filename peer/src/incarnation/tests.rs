//! Tests of the store: what it remembers, and what it accepts as a memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Bad, Found, Incarnation, Memory, NoStore, Past, PeerId, Store, Unreadable, choose};

fn memory(number: u64, past: Past) -> Memory {
    Memory { incarnation: Incarnation(number), past, name: Some(PeerId::new("p1").unwrap()) }
}

fn found(folder: &Path) -> Result<Found, Unreadable> {
    Store::open(folder).unwrap().load()
}

#[test]
fn it_rises_even_when_the_clock_falls() {
    assert_eq!(choose(None, 1_000), Incarnation(1_000));
    assert_eq!(choose(Some(Incarnation(5_000)), 1_000), Incarnation(5_001));
    assert_eq!(choose(Some(Incarnation(500)), 1_000), Incarnation(1_000));
}

#[test]
fn it_survives_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.load().unwrap(), Found::Nothing { used: None });
    for (number, past) in [(7, Past::Fresh), (8, Past::Veteran), (9, Past::NewLog)] {
        store.save(memory(number, past)).unwrap();
        assert_eq!(store.load().unwrap(), Found::Memory(memory(number, past)));
    }
}

#[test]
fn what_cannot_be_read_is_no_first_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("incarnation");
    for rubbish in ["rubbish", "7 rubbish\n", "", "7 veteran of sorts\n", "\0\0\0\0"] {
        fs::write(&path, rubbish).unwrap();
        assert!(
            matches!(found(folder.path()), Err(Unreadable::Bad(Bad::Content(_)))),
            "{rubbish:?}"
        );
    }
    fs::write(&path, format!("{}\n", u64::MAX)).unwrap();
    assert!(matches!(found(folder.path()), Err(Unreadable::Bad(Bad::Beyond(_)))));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(found(folder.path()).unwrap_err().to_string().contains("a directory"));
    let store = Store::open(folder.path()).unwrap();
    assert!(store.put_aside().unwrap().ends_with("incarnation.unreadable"));
    symlink("incarnation", &path).unwrap();
    assert!(store.load().unwrap_err().to_string().contains("a symbolic link"));
    assert!(store.put_aside().unwrap().ends_with("incarnation.unreadable.2"), "none is lost");
}

#[test]
fn a_memory_that_vanished_leaves_a_folder_that_was_used() {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path()).unwrap().save(memory(7, Past::Veteran)).unwrap();
    fs::remove_file(folder.path().join("incarnation")).unwrap();
    assert!(
        matches!(found(folder.path()), Ok(Found::Nothing { used: Some(why) }) if why.contains("lock"))
    );
    fs::write(folder.path().join("lock"), "").unwrap();
    assert_eq!(
        found(folder.path()).unwrap(),
        Found::Nothing { used: None },
        "as a first start leaves it"
    );
    fs::write(folder.path().join("ordered.jsonl"), "").unwrap();
    assert!(
        matches!(found(folder.path()), Ok(Found::Nothing { used: Some(why) }) if why.contains("ordered.jsonl"))
    );
}

#[test]
fn a_folder_has_one_peer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(NoStore::Taken)));
    drop(store);
    assert!(Store::open(folder.path()).is_ok());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Store::open(&file), Err(NoStore::Unwritable(_))));
}

#[test]
fn a_folder_that_is_moved_away_is_made_anew_with_lock_and_memory() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("data");
    let mut store = Store::open(&path).unwrap();
    store.save(memory(7, Past::Veteran)).unwrap();
    let first = store.look().unwrap();
    fs::rename(&path, base.path().join("moved")).unwrap();
    let second = store.look().unwrap();
    assert!(!std::sync::Arc::ptr_eq(&first, &second));
    assert!(matches!(Store::open(&path), Err(NoStore::Taken)), "locked again");
    drop(store);
    assert_eq!(found(&path).unwrap(), Found::Memory(memory(7, Past::Veteran)));
    assert!(Store::open(&base.path().join("moved")).is_ok(), "the one that was moved away is free");
}

#[test]
fn files_that_vanish_or_change_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.save(memory(7, Past::Veteran)).unwrap();
    let path = folder.path().join("incarnation");
    let mut check = |what: &str| {
        store.look().unwrap();
        assert_eq!(store.load().unwrap(), Found::Memory(memory(7, Past::Veteran)), "{what}");
    };
    fs::remove_file(&path).unwrap();
    check("removed");
    fs::write(&path, "garbage").unwrap();
    check("overwritten");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    check("a directory in its place");
    fs::remove_file(folder.path().join("lock")).unwrap();
    check("unlocked");
    assert!(matches!(Store::open(folder.path()), Err(NoStore::Taken)), "locked again");
}

#[test]
fn a_folder_that_another_peer_has_by_now_is_left_alone() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("data");
    let mut store = Store::open(&path).unwrap();
    store.save(memory(7, Past::Fresh)).unwrap();
    fs::rename(&path, base.path().join("moved")).unwrap();
    let mut other = Store::open(&path).unwrap();
    let theirs = Memory { name: Some(PeerId::new("p2").unwrap()), ..memory(9, Past::Fresh) };
    other.save(theirs.clone()).unwrap();
    assert!(store.look().unwrap_err().to_string().contains("another running peer"));
    drop(other);
    assert!(store.look().unwrap_err().to_string().contains("peer p2"));
    assert!(store.save(memory(8, Past::Fresh)).is_err(), "what cannot be stored is not said to be");
    assert_eq!(Store::open(&path).unwrap().load().unwrap(), Found::Memory(theirs));
    fs::remove_dir_all(&path).unwrap();
    assert!(store.look().is_ok());
    assert_eq!(store.load().unwrap(), Found::Memory(memory(8, Past::Fresh)));
}
