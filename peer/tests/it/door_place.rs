//! The places of the sockets and access to them: unusable folders, missing or obstructing files,
//! other users.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, PEER, Running, until};
use crate::talk::{Talk, alone, assert_whole};

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A peer with its sockets in that folder.
fn start_in(bench: &Bench, id: &str, folder: &str, flags: &[&str]) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", "PEER_SOCKETS=\"$0\"; export PEER_SOCKETS; exec \"$@\"", folder, PEER]);
    bench.start_as(shell, id, flags)
}

#[test]
fn a_place_that_cannot_be_had_is_told_and_the_peer_goes_on_and_finds_it_later() {
    let bench = Bench::new();
    let long = bench.path(&"x".repeat(100));
    let one = start_in(&bench, "peer1", long.to_str().unwrap(), &[]);
    until("it to be told", || {
        one.log().contains("are the most that the kernel takes. Name a shorter folder")
    });
    until("it to lead all the same", || one.members() == 1);
    drop(one);
    let open = bench.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let mut two = start_in(&bench, "peer2", open.to_str().unwrap(), &[]);
    until("it to be told", || {
        two.log().contains("others can write into it (mode 0777); `chmod go-w")
    });
    until("it to lead all the same", || two.members() == 1);
    // Once that is mended, it listens by itself.
    fs::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
    until("it to listen", || two.log().contains("The socket for commands is"));
    let status =
        bench.command(&["status", "--id", "peer2"]).env("PEER_SOCKETS", &open).output().unwrap();
    assert!(status.status.success(), "{}", words(&status));
    two.signal(Signal::SIGTERM);
    assert!(two.wait().success());
    assert!(!open.join("peer2.sock").exists(), "it takes its socket away");
    let link = bench.path("link");
    symlink(&open, &link).unwrap();
    let three = start_in(&bench, "peer3", link.to_str().unwrap(), &[]);
    until("it to be told", || three.log().contains("it is a symbolic link"));
}

#[test]
fn a_folder_of_somebody_else_is_not_used() {
    if !is_root("a folder of somebody else") {
        return;
    }
    let bench = Bench::new();
    let theirs = bench.path("theirs");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(NOBODY), None).unwrap();
    let one = start_in(&bench, "peer1", theirs.to_str().unwrap(), &[]);
    until("it to be told", || {
        one.log().contains("it belongs to user 65534, and this peer runs as user 0")
    });
    until("it to lead all the same", || one.members() == 1);
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
}

#[test]
fn a_socket_that_is_removed_comes_back_and_what_is_in_its_way_is_left_alone() {
    let bench = Bench::new();
    // A file that happens to have the name.
    fs::write(bench.path("peer1.sock"), "notes").unwrap();
    // The remains of a killed peer.
    drop(UnixListener::bind(bench.path("peer2.sock")).unwrap());
    let mut one = bench.start("peer1", &[]);
    until("it to lead alone", || one.members() == 1);
    let beside = bench.path(&format!("peer1.{}.sock", one.child.id()));
    until("it to listen beside it", || beside.exists());
    let status = bench.command(&["status", "--id", "peer1"]).output().unwrap();
    assert!(status.status.success(), "{}", words(&status));
    assert_eq!(
        fs::read_to_string(bench.path("peer1.sock")).unwrap(),
        "notes",
        "neither the peer nor the command has touched it"
    );
    let mut two = bench.start("peer2", &[]);
    until("the two to be one group", || two.members() == 2);
    let mut before = Talk::with(&bench, "peer2");
    fs::remove_file(bench.path("peer2.sock")).unwrap();
    // Connected clients stay connected.
    assert_eq!(before.ask(&json!({"id": 1, "do": "status"}))["ok"]["peer_id"], "peer2");
    until("it to be back", || bench.path("peer2.sock").exists());
    assert_eq!(Talk::with(&bench, "peer2").publish("after")["ok"]["is"], "safe");
    assert!(
        two.log().contains("The file of the socket for commands had been removed"),
        "{}",
        two.log()
    );
    for peer in [&mut one, &mut two] {
        peer.signal(Signal::SIGTERM);
        assert!(peer.wait().success());
    }
    assert!(!beside.exists() && !bench.path("peer2.sock").exists());
}

#[test]
fn two_peers_of_one_name_in_two_clusters_are_told_apart() {
    let bench = Bench::new();
    let clusters = ["home", "away"].map(|cluster| bench.start("peer1", &["--cluster", cluster]));
    until("both to lead alone", || {
        let told = |one: &Running| {
            fs::read_to_string(&one.log).unwrap().matches("became the Group Leader").count()
        };
        clusters.iter().map(told).max() >= Some(1) && sockets(&bench) == 2
    });
    let status = bench.command(&["status", "--id", "peer1"]).output().unwrap();
    let said = words(&status);
    assert_eq!(status.status.code(), Some(64), "{said}");
    assert!(said.contains("several peers of this name run here"), "{said}");
    assert!(
        clusters.iter().all(|one| said.contains(&format!("peer1 (process {})", one.child.id()))),
        "{said}"
    );
}

fn sockets(bench: &Bench) -> usize {
    let files = fs::read_dir(bench.folder.path())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".sock"));
    files.count()
}

#[test]
fn others_may_ask_where_that_is_allowed_and_change_nothing() {
    if !is_root("another user") {
        return;
    }
    let bench = Bench::new();
    fs::set_permissions(bench.folder.path(), Permissions::from_mode(0o755)).unwrap();
    // The program must be accessible to the other user.
    let program = bench.path("peer");
    fs::copy(PEER, &program).unwrap();
    let other = |flags: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .args(flags);
        bench.furnish(command).output()
    };
    if !other(&["--version"]).is_ok_and(|output| output.status.success()) {
        eprintln!("not run: there is no `setpriv`");
        return;
    }
    // By default only its own user has access.
    let closed = alone(&bench, "peer1", &[]);
    assert_eq!(fs::metadata(bench.path("peer1.sock")).unwrap().mode() & 0o777, 0o600);
    let refused = other(&["status", "--id", "peer1"]).unwrap();
    assert_eq!(refused.status.code(), Some(69), "{}", words(&refused));
    assert!(
        words(&refused).contains(
            "belongs to another user: ask as that user, as root, or as a member of the group"
        ),
        "{}",
        words(&refused)
    );
    drop(closed);
    let mut open = [alone(&bench, "peer1", &["--read-socket"])];
    assert_eq!(fs::metadata(bench.path("peer1.read.sock")).unwrap().mode() & 0o777, 0o666);
    assert_eq!(fs::metadata(bench.path("peer1.sock")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(Talk::with(&bench, "peer1").publish("one")["ok"]["is"], "safe");
    let status = other(&["status", "--id", "peer1"]).unwrap();
    assert!(status.status.success(), "{}", words(&status));
    let tail = other(&["tail", "--id", "peer1", "--no-follow", "--json"]).unwrap();
    assert!(
        tail.status.success()
            && String::from_utf8_lossy(&tail.stdout).contains("\"payload\":\"one\""),
        "{}",
        words(&tail)
    );
    for change in [&["publish", "two"][..], &["leave"], &["log-level", "debug"], &["demote"]] {
        let refused = other(&[change, &["--id", "peer1"]].concat()).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{change:?}: {}", words(&refused));
        assert!(
            words(&refused).contains("this socket is for reading"),
            "{change:?}: {}",
            words(&refused)
        );
    }
    assert_whole(&bench, &mut open);
    drop(open);
    // A member of the group has full access.
    let group = "nogroup";
    let mut shared = [alone(&bench, "peer1", &["--socket-group", group])];
    let meta = fs::metadata(bench.path("peer1.sock")).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, NOBODY));
    let done = other(&["publish", "--id", "peer1", "by a member"]).unwrap();
    assert!(done.status.success(), "{}", words(&done));
    assert_whole(&bench, &mut shared);
    let unknown = bench
        .command(&["run", "--id", "peer9", "--socket-group", "no-such-group"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(64));
    assert!(words(&unknown).contains("groupadd no-such-group"), "{}", words(&unknown));
}

#[test]
fn a_folder_that_was_made_for_one_user_lets_others_pass_when_that_is_asked_for() {
    let bench = Bench::new();
    let folder = bench.path("sensor-peers-test");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let one = start_in(&bench, "peer1", folder.to_str().unwrap(), &["--read-socket"]);
    until("it to listen", || folder.join("peer1.read.sock").exists());
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o711);
    drop(one);
    let named = bench.path("mine");
    fs::create_dir(&named).unwrap();
    fs::set_permissions(&named, Permissions::from_mode(0o700)).unwrap();
    let two = start_in(&bench, "peer2", named.to_str().unwrap(), &["--read-socket"]);
    until("it to be told", || {
        two.log().contains("Others cannot get to the sockets of this peer")
            && two.log().contains("chmod go+x")
    });
    assert_eq!(fs::metadata(&named).unwrap().mode() & 0o777, 0o700);
}

fn is_root(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("not run: {what} takes root");
    }
    is_root
}

/// The uid of `nobody`, and its gid.
const NOBODY: u32 = 65_534;
