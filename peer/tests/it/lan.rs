//! A network of hosts that are network namespaces, joined by a bridge in a namespace of its own. It
//! needs the rights to create them; a test without these rights prints that it was not run.
//! Everything disappears with the processes that hold the namespaces, and those end with the test.

use std::process::{Child, Command, Stdio};

use crate::bench::PEER;

/// A network namespace.
pub(crate) struct Host {
    holder: Child,
}

impl Host {
    fn new() -> Option<Self> {
        // It reads until the test is gone.
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let host = Self { holder };
        let ready = || {
            std::fs::read(format!("/proc/{}/comm", host.holder.id()))
                .is_ok_and(|name| name == b"cat\n")
        };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !ready() {
            if std::time::Instant::now() > until {
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        host.sh("ip link set lo up").then_some(host)
    }

    /// A program, as it runs on that host.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.holder.id().to_string(), program]);
        command
    }

    /// The peer, as it runs on that host.
    pub(crate) fn peer(&self) -> Command {
        self.command(PEER)
    }

    /// Whether all these commands succeed.
    pub(crate) fn sh(&self, lines: &str) -> bool {
        let status = self
            .command("sh")
            .args(["-ec", lines])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ended = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

/// Hosts on one network; each has an interface `eth0`, which is up and has no address.
pub(crate) struct Lan {
    pub(crate) hosts: Vec<Host>,
    switch: Host,
}

impl Lan {
    /// None, with a message, if it is unavailable.
    pub(crate) fn new(hosts: usize) -> Option<Self> {
        let lan = Self::build(hosts);
        if lan.is_none() {
            eprintln!(
                "not run: this user may not make network namespaces, or `ip`, `unshare` or \
                 `nsenter` is missing (root has them)"
            );
        }
        lan
    }

    fn build(count: usize) -> Option<Self> {
        let switch = Host::new()?;
        if !switch.sh("ip link add bridge type bridge; ip link set bridge up") {
            return None;
        }
        let mut lan = Self { hosts: Vec::new(), switch };
        for number in 1..=count {
            let host = Host::new()?;
            let pid = host.holder.id();
            let plug = format!(
                "ip link add port{number} type veth peer name eth0 netns {pid}; ip link set \
                 port{number} master bridge up"
            );
            if !lan.switch.sh(&plug) || !host.sh("ip link set eth0 up") {
                return None;
            }
            lan.hosts.push(host);
        }
        Some(lan)
    }

    /// Pulls the cable of a host, or plugs it in again.
    pub(crate) fn plug(&self, host: usize, plugged: bool) -> bool {
        self.switch.sh(&format!(
            "ip link set port{} {}",
            host + 1,
            if plugged { "up" } else { "down" }
        ))
    }
}
