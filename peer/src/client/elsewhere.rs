//! Peers whose sockets are outside of this user's folders: those of a system service, another
//! session, another user or a container.
//!
//! The kernel lists every listening socket, with its path, for all users (`/proc/net/unix`):
//! including sockets whose file was removed, and sockets to which this user may not connect. A peer
//! in another network namespace is in the list of its own process. A folder of another mount
//! namespace is reached through `/proc/PID/root`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::door::folders::NAME;

/// The sockets of all peers that can be found.
pub(super) fn sockets() -> Vec<PathBuf> {
    let mut found: BTreeSet<PathBuf> = listed(&read("/proc/net/unix")).into_iter().collect();
    for process in peers() {
        let process = Path::new("/proc").join(process);
        for path in listed(&read(process.join("net/unix"))) {
            // In this mount namespace the path may lead to another file, or to none.
            let inside = process.join("root").join(path.strip_prefix("/").unwrap_or(&path));
            if path.exists() || !inside.exists() {
                found.insert(path);
            } else {
                found.remove(&path);
                found.insert(inside);
            }
        }
    }
    for folder in folders() {
        let entries =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(
            entries.filter(|path| path.extension().is_some_and(|extension| extension == "sock")),
        );
    }
    found.into_iter().collect()
}

/// The folders of other users and sessions.
pub(super) fn folders() -> Vec<PathBuf> {
    let entries = |folder: &str| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let ours = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NAME))
    };
    let mut folders: Vec<PathBuf> = entries("/tmp").into_iter().filter(ours).collect();
    folders.extend([PathBuf::from("/run").join(NAME)].into_iter().filter(|folder| folder.exists()));
    folders.extend(
        entries("/run/user")
            .into_iter()
            .map(|session| session.join(NAME))
            .filter(|folder| folder.exists()),
    );
    folders
}

/// The paths of peers' sockets in such a list.
fn listed(list: &str) -> Vec<PathBuf> {
    let paths = list.lines().filter_map(|line| {
        line.split_once(" /").map(|(_, path)| PathBuf::from(format!("/{path}")))
    });
    let name = |path: &PathBuf| Some(path.parent()?.file_name()?.to_str()?.starts_with(NAME));
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sock");
    paths.filter(|path| name(path) == Some(true) && is_socket(path)).collect()
}

/// Processes that look like a running peer: the pid in their own namespace, which differs in a
/// container, and the pid here.
pub(super) fn processes() -> Vec<(u32, u32)> {
    let own = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        line.split_whitespace().last()?.parse().ok()
    };
    let numbers = |name: String| {
        let here = name.parse().ok()?;
        Some((own(&read(format!("/proc/{name}/status"))).unwrap_or(here), here))
    };
    peers().into_iter().filter_map(numbers).collect()
}

/// The pids of all processes that look like `peer run`.
fn peers() -> Vec<String> {
    let processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    processes
        .filter(|name| {
            name.bytes().all(|byte| byte.is_ascii_digit())
                && is_peer(&read(format!("/proc/{name}/cmdline")))
        })
        .collect()
}

/// Whether this command line, with NULs between its words, is that of a running peer.
fn is_peer(command: &str) -> bool {
    let mut words = command.split('\0');
    let program = words.next().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
    program.contains("peer") && words.next() == Some("run")
}

/// The text of a file; empty if it cannot be read.
fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{PathBuf, is_peer, listed};

    #[test]
    fn sockets_of_peers_are_told_from_others() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 101 \
            /tmp/sensor-peers-0/kitchen.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 102 \
            /run/user/7/sensor-peers/attic.read.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 103 /run/dbus/system_bus_socket\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 104 /tmp/elsewhere/other.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 105 @/tmp/abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 106\n";
        let paths =
            ["/tmp/sensor-peers-0/kitchen.sock", "/run/user/7/sensor-peers/attic.read.sock"];
        assert_eq!(listed(list), paths.map(PathBuf::from));
    }

    #[test]
    fn a_running_peer_is_told_by_its_command() {
        assert!(
            is_peer("/usr/bin/peer\0run\0--id\0p1\0")
                && is_peer("./peer\0run\0")
                && is_peer("sensor-peer\0run")
        );
        assert!(!is_peer("peer\0status\0") && !is_peer("grep\0peer\0run\0") && !is_peer(""));
    }
}
