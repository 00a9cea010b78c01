//! The memory of a peer in its data folder, and its behaviour if that is unreadable.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};
use protocol::note::{Event, Note};

use crate::bench::{Bench, PEER, Running, until};

const GROUP: [&str; 3] = ["peer1", "peer2", "peer3"];

fn folder(bench: &Bench, id: &str) -> PathBuf {
    bench.path(&format!("{id}.data"))
}

fn start(bench: &Bench, id: &str) -> Running {
    let data = folder(bench, id);
    bench.start(
        id,
        &[
            "--mode",
            "primary",
            "--bootstrap",
            "peer1,peer2,peer3",
            "--data-dir",
            data.to_str().unwrap(),
        ],
    )
}

fn kill(mut running: Running) {
    running.signal(Signal::SIGKILL);
    running.wait();
}

fn recover(bench: &Bench, flag: &str, folder: &Path) -> Option<i32> {
    bench
        .command(&["recover", flag, "--data-dir", folder.to_str().unwrap()])
        .output()
        .unwrap()
        .status
        .code()
}

/// Starts it with the present content of its folder: it ends with that code, and names the file and
/// the way out.
#[track_caller]
fn check_refused(bench: &Bench, id: &str, code: i32, words: &str) {
    let mut running = start(bench, id);
    assert_eq!(running.wait().code(), Some(code), "{words}");
    let log = running.log();
    for words in [words, "incarnation", "recover --forgotten"] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
    assert!(!log.contains("Delivered") && running.members() == 0);
}

#[test]
fn in_mode_primary_a_memory_that_cannot_be_read_founds_nothing() {
    let bench = Bench::new();
    let group = GROUP.map(|id| start(&bench, id));
    until("the three to found their group", || group.iter().all(|one| one.members() == 3));
    group.into_iter().for_each(kill);
    for id in GROUP {
        let memory = folder(&bench, id).join("incarnation");
        let length = fs::metadata(&memory).unwrap().len();
        fs::write(&memory, vec![0; usize::try_from(length).unwrap()]).unwrap();
        fs::remove_file(bench.path(&format!("{id}.jsonl"))).unwrap();
        check_refused(&bench, id, 65, "NUL bytes");
        assert_eq!(
            recover(&bench, "--new-log", &folder(&bench, id)),
            Some(65),
            "not before it is clear what was forgotten"
        );
        assert_eq!(recover(&bench, "--forgotten", &folder(&bench, id)), Some(0));
    }
    let group = GROUP.map(|id| start(&bench, id));
    until("all to say what they wait for", || {
        group.iter().all(|one| {
            one.log().contains("waiting for the group that it was in before it was restarted")
        })
    });
    assert!(group.iter().all(|one| one.members() == 0), "who has forgotten founds nothing");
    let [one, two, three] = group;
    kill(one);
    assert_eq!(recover(&bench, "--new-log", &folder(&bench, "peer1")), Some(0));
    let one = start(&bench, "peer1");
    until("one group, of the one that was told to", || {
        [&one, &two, &three].iter().all(|one| one.members() == 3)
    });
}

#[test]
fn whatever_is_in_the_place_of_a_memory_is_no_first_start() {
    let bench = Bench::new();
    let data = bench.make_folder("peer1.data");
    let memory = data.join("incarnation");
    for (text, words) in [
        ("", "empty"),
        ("rubbish\n", "something else"),
        ("1795421702345", "cut short"),
        ("peer-memory 2 1795421702345 veteran pe", "cut short"),
        ("peer-memory 2 1795421702345 fresh peer1 b5f088c24bf004a6\n", "checksum"),
        ("9000000000000000000\n", "beyond"),
        ("3500000000000\n", "beyond"),
    ] {
        fs::write(&memory, text).unwrap();
        check_refused(&bench, "peer1", 65, words);
    }
    fs::remove_file(&memory).unwrap();
    fs::create_dir(&memory).unwrap();
    check_refused(&bench, "peer1", 65, "a directory");
    fs::remove_dir(&memory).unwrap();
    symlink(&memory, &memory).unwrap();
    check_refused(&bench, "peer1", 65, "a symbolic link");
    fs::remove_file(&memory).unwrap();
    mkfifo(&memory, Mode::S_IRWXU).unwrap();
    check_refused(&bench, "peer1", 65, "a named pipe");
    fs::remove_file(&memory).unwrap();
    if Uid::effective().is_root() {
        fs::write(&memory, "1795421702345 veteran\n").unwrap();
        chown(&memory, Some(Uid::from_raw(12_345)), None).unwrap();
        check_refused(&bench, "peer1", 69, "belongs to user 12345");
        fs::remove_file(&memory).unwrap();
    }
    fs::write(data.join("ordered.jsonl"), "").unwrap();
    check_refused(&bench, "peer1", 65, "is gone from a folder that has been used");
}

#[test]
fn mode_primary_does_not_start_without_a_folder_that_keeps_its_memory() {
    let bench = Bench::new();
    // A file where the folder should be: as good as a disk that cannot be written, also for root.
    File::create(folder(&bench, "peer1")).unwrap();
    let mut running = start(&bench, "peer1");
    assert_eq!(running.wait().code(), Some(69));
    assert!(
        running.log().contains("in mode primary a peer must be able to store"),
        "{}",
        running.log()
    );
}

#[test]
fn in_mode_available_a_bad_memory_is_put_aside_and_told() {
    let bench = Bench::new();
    let data = bench.make_folder("data");
    let memory = data.join("incarnation");
    fs::write(&memory, [0; 14]).unwrap();
    let flags = ["--data-dir", data.to_str().unwrap()];
    let one = bench.start("peer1", &flags);
    until("it to be ready", || one.has(|note| matches!(note, Note::Ready)));
    assert!(
        one.log().contains("14 NUL bytes") && one.log().contains("incarnation.unreadable"),
        "{}",
        one.log()
    );
    assert_eq!(fs::read(data.join("incarnation.unreadable")).unwrap(), [0; 14]);
    assert!(fs::read_to_string(&memory).unwrap().starts_with("peer-memory 2 "));
    kill(one);
    fs::write(&memory, format!("{}\n", u64::MAX)).unwrap();
    let mut one = bench.start("peer1", &flags);
    assert_eq!(one.wait().code(), Some(65));
    assert!(one.log().contains("beyond what any clock"), "{}", one.log());
}

#[test]
fn a_generated_name_is_kept_in_the_data_folder() {
    let bench = Bench::new();
    let data = bench.path("data");
    let life = |turn: u32, more: &[&str]| {
        let (events, log) =
            (bench.path(&format!("{turn}.jsonl")), bench.path(&format!("{turn}.log")));
        let own = std::process::id().to_string();
        let mut command = bench.furnish(Command::new(PEER));
        command
            .args([
                "run",
                "--address",
                "127.0.0.1",
                "--timing",
                "fast",
                "--sensor",
                "none",
                "--die-with",
                &own,
            ])
            .args(more);
        command.args(["--data-dir", data.to_str().unwrap(), "--events", events.to_str().unwrap()]);
        let child =
            command.stdin(Stdio::null()).stdout(File::create(&log).unwrap()).spawn().unwrap();
        let running = Running { child, events, log };
        until("it to be ready", || running.has(|note| matches!(note, Note::Ready)));
        let name = running.events().first().map(|event: &Event| event.p.to_string()).unwrap();
        let log = running.log();
        kill(running);
        (name, log)
    };
    let (first, _) = life(1, &[]);
    assert_eq!(life(2, &[]).0, first);
    let (given, log) = life(3, &["--id", "kitchen"]);
    assert_eq!(given, "kitchen");
    assert!(log.contains(&format!("was that of peer {first}")), "{log}");
    let (last, log) = life(4, &[]);
    assert!(last == "kitchen" && !log.contains("was that of peer"), "{log}");
}

/// The effect of a hanging disk: `fsync` returns when the file named in the environment is gone.
const HANGS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
int fsync(int descriptor) {
    const char *hangs = getenv("HANGS_WHILE");
    while (hangs && access(hangs, F_OK) == 0) usleep(1000);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(descriptor);
}
"#;

#[test]
fn a_disk_that_hangs_holds_up_what_rests_on_it_and_nothing_else() {
    let bench = Bench::new();
    let (source, library, hangs) =
        (bench.path("hangs.c"), bench.path("hangs.so"), bench.path("hangs"));
    fs::write(&source, HANGS).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(built.unwrap().success(), "a linker is what Rust programs are built with, too");
    let folder = bench.path("data");
    let flags =
        ["--mode", "primary", "--bootstrap", "peer1,peer2", "--data-dir", folder.to_str().unwrap()];
    let mut command = Command::new(PEER);
    command.env("LD_PRELOAD", &library).env("HANGS_WHILE", &hangs);
    let mut one = bench.start_as(command, "peer1", &flags);
    until("it to be ready", || one.has(|note| matches!(note, Note::Ready)));
    fs::write(&hangs, "").unwrap();
    let two = bench.start_as(
        Command::new(PEER),
        "peer2",
        &["--mode", "primary", "--bootstrap", "peer1,peer2"],
    );
    // The group is founded, and that this peer has been in it has to be stored before it sends
    // anything more.
    until("it to say what it waits for", || {
        one.log().contains("The disk of the data folder has not stored")
    });
    assert!(bench.report("peer1").is_some(), "it can be asked");
    fs::remove_file(&hangs).unwrap();
    until("both to be in the group", || one.members() == 2 && two.members() == 2);
    one.signal(Signal::SIGTERM);
    assert!(one.wait().success());
}
