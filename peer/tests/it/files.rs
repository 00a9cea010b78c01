//! Other programs' effects on a peer's data files while it runs: moving, removing and truncating
//! them, filling the disk, holding them open.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use protocol::note::Note;

use crate::bench::{Bench, PEER, Running, until};

/// A peer that keeps what it is given, and the number of the next reading.
struct Keeper {
    running: Running,
    next: u32,
}

impl Keeper {
    /// Publishes a reading of that many bytes; its number.
    fn publish(&mut self, bytes: usize) -> u32 {
        self.next += 1;
        let pad = "x".repeat(bytes);
        writeln!(self.running.child.stdin.as_mut().unwrap(), "DATA|s1|t|v={}|pad={pad}", self.next)
            .unwrap();
        self.next
    }

    /// Publishes readings until one of them is in both files of the folder.
    #[track_caller]
    fn until_kept(&mut self, data: &Path) {
        let first = self.next + 1;
        until(&format!("later readings to be in {}", data.display()), || {
            let last = self.publish(1);
            (first..=last).any(|number| is_kept(data, number))
        });
    }

    fn told(&self, words: &str) -> bool {
        self.running.log().lines().any(|line| {
            line.contains(words) && (line.contains(" WARN ") || line.contains(" ERROR "))
        })
    }
}

fn keeper(bench: &Bench, data: &Path, flags: &[&str]) -> Keeper {
    let flags =
        [&["--sensor", "stdin", "--csv", "--data-dir", data.to_str().unwrap()], flags].concat();
    Keeper { running: bench.start("peer1", &flags), next: 0 }
}

fn is_kept(data: &Path, number: u32) -> bool {
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap_or_default();
    read("ordered.jsonl").contains(&format!("|v={number}|"))
        && read("s1.csv").contains(&format!(",v,{number}\n"))
}

#[test]
fn a_folder_that_is_removed_moved_or_replaced_is_gone_on_with_at_its_path() {
    let bench = Bench::new();
    let data = bench.path("data");
    let mut keeper = keeper(&bench, &data, &[]);
    keeper.until_kept(&data);
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(data.join("ordered.jsonl")).unwrap().mode() & 0o777, 0o600);
    // Fails if a file is created again meanwhile.
    until("it to be removed", || fs::remove_dir_all(&data).is_ok());
    until("it to be noticed though nothing is written", || data.join("incarnation").exists());
    keeper.until_kept(&data);
    assert!(keeper.told("was moved, removed or replaced"), "{}", keeper.running.log());
    fs::rename(&data, bench.path("moved")).unwrap();
    // Unless the peer was faster.
    let _made = fs::create_dir(&data)
        .and_then(|()| fs::set_permissions(&data, Permissions::from_mode(0o700)));
    keeper.until_kept(&data);
    let mut second = bench.start("peer2", &["--data-dir", data.to_str().unwrap()]);
    assert_eq!(second.wait().code(), Some(69), "the new folder is locked, too");
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&data, bench.path("moved again")).unwrap();
    symlink(&elsewhere, &data).unwrap();
    until("it to be told that it does not follow", || keeper.told("it is a symbolic link"));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(&data).unwrap();
    keeper.until_kept(&data);
    let memory = fs::read_to_string(data.join("incarnation")).unwrap();
    assert!(memory.contains(" fresh peer1 "), "{memory}");
}

#[test]
fn sighup_opens_the_files_again_and_is_no_wish_to_leave() {
    let bench = Bench::new();
    let data = bench.path("data");
    let mut keeper = keeper(&bench, &data, &[]);
    keeper.until_kept(&data);
    for name in ["ordered.jsonl", "s1.csv"] {
        fs::rename(data.join(name), data.join(format!("{name}-20260101"))).unwrap();
    }
    keeper.running.signal(Signal::SIGHUP);
    until("it to be told", || keeper.running.log().contains("opened again"));
    keeper.until_kept(&data);
    let table = fs::read_to_string(data.join("s1.csv")).unwrap();
    assert!(table.starts_with("time,"), "{table}");
    keeper.running.signal(Signal::SIGTERM);
    assert!(keeper.running.wait().success());
    let left = |note: &Note| matches!(note, Note::Stop { reason } if reason == "left the group");
    assert!(keeper.running.has(left), "SIGTERM was the first wish");
}

#[test]
fn a_folder_of_others_is_refused_with_the_command_that_mends_it() {
    let bench = Bench::new();
    let data = bench.make_folder("data");
    fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    let mut one = bench.start("peer1", &["--data-dir", data.to_str().unwrap()]);
    assert_eq!(one.wait().code(), Some(69));
    assert!(one.log().contains(&format!("chmod go-w {}", data.display())), "{}", one.log());
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made in it");
}

/// A peer in a mount namespace of its own, after these commands; with the folder as it sees it.
/// None if there are no namespaces.
fn in_namespace(
    bench: &Bench,
    mounts: &str,
    data: &Path,
    flags: &[&str],
) -> Option<(Keeper, PathBuf)> {
    let space = ["--map-root-user", "--mount"];
    if !Command::new("unshare")
        .args(space)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("not run: there are no user namespaces here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(space).args(["sh", "-ec", &format!("{mounts}; exec \"$0\" \"$@\""), PEER]);
    let flags =
        [&["--sensor", "stdin", "--csv", "--data-dir", data.to_str().unwrap()], flags].concat();
    let running = bench.start_as(command, "peer1", &flags);
    let seen = PathBuf::from(format!("/proc/{}/root", running.child.id()))
        .join(data.strip_prefix("/").unwrap());
    Some((Keeper { running, next: 0 }, seen))
}

#[test]
fn files_that_others_cut_and_a_disk_that_is_full_leave_whole_lines() {
    let bench = Bench::new();
    let disk = bench.make_folder("disk");
    let mounts = format!("mount -t tmpfs -o size=4m none {}", disk.display());
    let Some((mut keeper, data)) = in_namespace(&bench, &mounts, &disk.join("data"), &[]) else {
        return;
    };
    for _ in 0..40 {
        keeper.publish(900);
    }
    until("all to be kept", || is_kept(&data, 40));
    let files = ["ordered.jsonl", "s1.csv"].map(|name| data.join(name));
    files.iter().for_each(|path| drop(File::create(path).unwrap()));
    let other = data.parent().unwrap().join("other");
    let full = fs::write(&other, vec![1; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // Larger than what is left of a page.
    keeper.publish(9_000);
    until("it to be told", || keeper.told("Cannot write to"));
    fs::remove_file(&other).unwrap();
    keeper.until_kept(&data);
    let [ordered, table] = files.map(|path| fs::read_to_string(path).unwrap());
    assert!(
        !ordered.contains('\0')
            && ordered.lines().all(|line| line.starts_with('{') && line.ends_with('}')),
        "{ordered}"
    );
    assert!(!table.contains('\0') && table.starts_with("time,"), "{table}");
}

#[test]
fn a_file_that_cannot_be_renamed_costs_no_archive_and_no_reading() {
    let bench = Bench::new();
    let data = bench.make_folder("data");
    fs::write(bench.path("current"), format!("{{\"current\":\"{}\"}}\n", "x".repeat(4_060)))
        .unwrap();
    for (name, text) in
        [("ordered.jsonl", ""), ("ordered.jsonl.1", "newest"), ("ordered.jsonl.2", "oldest")]
    {
        fs::write(data.join(name), text).unwrap();
    }
    let mounts = format!(
        "mount --bind {} {}",
        bench.path("current").display(),
        data.join("ordered.jsonl").display()
    );
    let flags = ["--rotate-bytes", "4KiB", "--rotate-keep", "2"];
    let Some((mut keeper, seen)) = in_namespace(&bench, &mounts, &data, &flags) else { return };
    for _ in 0..5 {
        keeper.until_kept(&seen);
    }
    assert!(keeper.told("Cannot put") && keeper.told("ordered.jsonl"), "{}", keeper.running.log());
    let archives = [1, 2]
        .map(|number| fs::read_to_string(data.join(format!("ordered.jsonl.{number}"))).unwrap());
    assert_eq!(archives, ["newest", "oldest"]);
    let kept = fs::read_to_string(bench.path("current")).unwrap();
    assert!((1..=keeper.next - 1).all(|number| kept.contains(&format!("|v={number}|"))), "{kept}");
}

#[test]
fn mode_primary_refuses_a_disk_that_can_only_be_read() {
    let bench = Bench::new();
    let data = bench.path("data");
    let group = ["--mode", "primary", "--bootstrap", "peer1"];
    let mut first =
        bench.start("peer1", &[group.as_slice(), &["--data-dir", data.to_str().unwrap()]].concat());
    until("it to lead", || first.members() == 1);
    first.signal(Signal::SIGKILL);
    first.wait();
    let mounts = format!("mount --bind {0} {0}; mount -o remount,bind,ro {0}", data.display());
    let Some((mut keeper, _)) = in_namespace(&bench, &mounts, &data, &group) else { return };
    assert_eq!(keeper.running.wait().code(), Some(69));
    assert!(keeper.running.log().contains("must be able to store"), "{}", keeper.running.log());
}
