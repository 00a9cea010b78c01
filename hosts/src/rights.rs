//! The rights and tools that creating hosts needs, and advice on how to get missing ones.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, getgid, getuid};
use thiserror::Error;

use crate::network::{Network, Plan};

/// Something missing, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}: {why}; {help}")]
pub struct Missing {
    /// What is missing.
    pub what: &'static str,
    /// The evidence.
    pub why: String,
    /// How to get it.
    pub help: &'static str,
}

/// Moves this process into namespaces in which it may create hosts, and checks that all tools are
/// present. Loopback is up there, too. To be called once per process, before it starts a thread.
///
/// # Errors
/// What is missing.
pub fn ready() -> Result<(), Missing> {
    tools()?;
    acquire()?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).stdin(Stdio::null()).output();
    match up {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Missing {
                what: NAMESPACES,
                why: format!("`ip link set lo up`: {why}"),
                help: NAMESPACES_HELP,
            })
        }
        Err(error) => Err(Missing { what: IP, why: error.to_string(), help: IP_HELP }),
    }
}

/// Moves this process into namespaces of its own, in which it may create hosts: as root directly,
/// otherwise in a user namespace. To be called once per process, before it starts a thread.
///
/// # Errors
/// What is missing.
pub fn acquire() -> Result<(), Missing> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let (user, group) = (getuid(), getgid());
    let as_root = if user == Uid::from_raw(0) { unshare(own) } else { Err(Errno::EPERM) };
    if as_root.is_err() {
        unshare(own | CloneFlags::CLONE_NEWUSER).map_err(|error| Missing {
            what: NAMESPACES,
            why: error.desc().to_owned(),
            help: match error {
                Errno::ENOSPC => "raise the limit: sysctl -w user.max_user_namespaces=10000",
                _ => NAMESPACES_HELP,
            },
        })?;
        // Inside, the user is mapped to root, and root has all rights there: so programs may
        // configure the network.
        let mapped = fs::write("/proc/self/setgroups", "deny")
            .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {user} 1")))
            .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {group} 1")));
        mapped.map_err(|error| Missing {
            what: NAMESPACES,
            why: error.to_string(),
            help: NAMESPACES_HELP,
        })?;
    }
    // Mounts from here on stay private. If that is refused, mounting is refused, too.
    let _ =
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>);
    Ok(())
}

/// Checks the TAP device, and the program that configures interfaces.
///
/// # Errors
/// What is missing.
pub fn tools() -> Result<(), Missing> {
    let device = fs::OpenOptions::new().read(true).write(true).open(TUN);
    device.map_err(|error| Missing {
        what: TUN,
        why: error.to_string(),
        help: if error.kind() == io::ErrorKind::PermissionDenied {
            "let everybody use it: chmod 666 /dev/net/tun"
        } else if Path::new("/sys/module/tun").exists() {
            "make the device: mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200 (a \
             container: run it with --device /dev/net/tun)"
        } else {
            "load the module: modprobe tun (a container: on its host, and run the container with \
             --device /dev/net/tun)"
        },
    })?;
    let ip = Command::new("ip")
        .arg("-V")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ip {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Missing { what: IP, why: format!("`ip -V`: {status}"), help: IP_HELP }),
        Err(error) => Err(Missing { what: IP, why: error.to_string(), help: IP_HELP }),
    }
}

/// Creates a host and removes it, in existing namespaces.
///
/// # Errors
/// What is missing.
pub fn ready_for_one() -> Result<(), Missing> {
    let made = Network::new(0).and_then(|mut network| network.add("trial", &[Plan::plain()], 1));
    made.map(drop).map_err(|error| Missing {
        what: "a host",
        why: error.to_string(),
        help: NAMESPACES_HELP,
    })
}

const NAMESPACES: &str = "namespaces of its own";
const NAMESPACES_HELP: &str = "allow user namespaces (sysctl -w \
                               kernel.unprivileged_userns_clone=1, \
    sysctl -w kernel.apparmor_restrict_unprivileged_userns=0), or run it as root \
    (a container: with --cap-add SYS_ADMIN --cap-add NET_ADMIN, or --privileged)";
const TUN: &str = "/dev/net/tun";
const IP: &str = "the program `ip`";
const IP_HELP: &str = "install iproute2 (apt-get install iproute2)";
