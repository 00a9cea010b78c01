//! Reports to a service manager: readiness, status, reloads, the stop, and a watchdog for the loop.
//! Without a manager nothing is sent.
//!
//! The protocol is that of `sd_notify(3)`: datagrams of `NAME=value` lines to the socket that
//! `NOTIFY_SOCKET` names. A peer is ready if it is in a view and not blocked, because only then its
//! readings are ordered. A manager that does not read delays nothing: datagrams without room are
//! dropped, and the next change is sent again.

use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use protocol::note::printable;
use protocol::status::Status;
use protocol::time::Time;
use rustix::fs::fstat;

/// The connection to the service manager.
#[derive(Debug, Default)]
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// The last `STATUS=`.
    said: String,
    /// Whether readiness was reported.
    is_ready: bool,
    is_stopping: bool,
    /// The interval of watchdog reports; half of the manager's timeout.
    beat: Option<Duration>,
    beat_at: Option<Time>,
}

impl Notify {
    /// The connection that the environment names, if any.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::new(|name| std::env::var_os(name), std::process::id())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let Some(path) = given("NOTIFY_SOCKET") else { return Self::default() };
        let manager = open(&path)
            .inspect_err(|error| {
                log::warn!(
                    "NOTIFY_SOCKET is {path:?}: {error}. The service manager is told nothing."
                )
            })
            .ok();
        let number = |name| given(name)?.to_str()?.parse::<u64>().ok();
        // The variable may have been inherited from another process.
        let is_watched = manager.is_some()
            && number("WATCHDOG_PID").is_none_or(|watched| watched == u64::from(pid));
        let patience = number("WATCHDOG_USEC").filter(|patience| is_watched && *patience > 0);
        Self {
            manager,
            beat: patience.map(|patience| Duration::from_micros(patience / 2)),
            ..Self::default()
        }
    }

    /// Whether there is a manager.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// Reports the status of the peer, if it has changed; and readiness, the first time that the
    /// peer is in a view and not blocked.
    pub fn stand(&mut self, status: &Status) {
        if self.is_stopping {
            return;
        }
        let said = sentence(status);
        let becomes_ready = !self.is_ready && is_ready(status);
        if becomes_ready {
            self.is_ready = self.send(&format!("READY=1\nSTATUS={said}"));
        } else if said != self.said {
            self.send(&format!("STATUS={said}"));
        }
        self.said = said;
    }

    /// A reload of the configuration begins.
    pub fn reload(&mut self, now: Time) {
        // A service that is still starting has no state to return to.
        if self.is_ready {
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
        }
    }

    /// The reload is complete.
    pub fn reloaded(&mut self) {
        if self.is_ready {
            let said = self.said.clone();
            self.send(&format!("READY=1\nSTATUS={said}"));
        }
    }

    /// The peer stops.
    pub fn stop(&mut self, why: &str) {
        self.is_stopping = true;
        self.said = printable(why).into_owned();
        let said = self.said.clone();
        self.send(&format!("STOPPING=1\nSTATUS={said}"));
    }

    /// The loop turns; to be called at every turn.
    pub fn turn(&mut self, now: Time) {
        if let Some(beat) = self.beat.filter(|_| self.beat_at.is_none_or(|at| at <= now)) {
            self.beat_at = Some(now + beat);
            self.send("WATCHDOG=1");
        }
    }

    /// When the loop has to turn for the watchdog.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.beat_at
    }

    fn send(&mut self, words: &str) -> bool {
        let Some((socket, address)) = &self.manager else { return false };
        socket.send_to_addr(words.as_bytes(), address).is_ok()
    }
}

/// A name that begins with `@` is an abstract one; any other is the path of a socket.
fn open(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "neither an absolute path nor an abstract name (@…)",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Whether the readings of a peer with this status are ordered.
fn is_ready(status: &Status) -> bool {
    !status.members.is_empty() && status.blocked.is_none()
}

fn sentence(status: &Status) -> String {
    let words = match (&status.blocked, &status.leader) {
        (Some(lacks), _) => format!("Blocked: {lacks}"),
        (None, _) if status.members.is_empty() => "Looking for a group".to_owned(),
        (None, leader) => {
            let leader = leader.as_ref().map_or("nobody", |leader| leader.as_str());
            let count = status.members.len();
            let members =
                if count == 1 { "1 member".to_owned() } else { format!("{count} members") };
            format!(
                "{members}, led by {leader}, in view {} of epoch {}",
                status.view_id, status.epoch
            )
        }
    };
    printable(&words).into_owned()
}

/// Whether standard output is the journal of the system, which time-stamps, stores and rotates each
/// line.
#[must_use]
pub fn writes_to_the_journal() -> bool {
    let stat = fstat(std::io::stdout());
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stat.is_ok_and(|stat| is_stream(&stream, stat.st_dev, stat.st_ino)))
}

/// The variable is `DEVICE:INODE` of the stream; a service that writes elsewhere has it as well.
fn is_stream(variable: &str, device: u64, inode: u64) -> bool {
    let split = variable.split_once(':');
    split.is_some_and(|(first, second)| first.parse() == Ok(device) && second.parse() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::{Duration, Notify, OsString, Time, is_stream};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn notify(socket: OsString, watchdog: Option<(&str, &str)>) -> Notify {
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(socket.clone()),
            "WATCHDOG_USEC" => watchdog.map(|(micros, _)| micros.into()),
            "WATCHDOG_PID" => watchdog.map(|(_, pid)| pid.into()),
            _ => None,
        };
        Notify::new(variable, 7)
    }

    #[track_caller]
    fn check_heard(manager: &UnixDatagram, words: &str) {
        manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 256];
        let count = manager.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..count]), Ok(words));
    }

    #[test]
    fn a_manager_hears_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("peer-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let managers = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ];
        for (manager, socket) in managers {
            let mut notify = notify(socket, None);
            notify.reload(Time::from_micros(1));
            notify.reloaded();
            notify.is_ready = true;
            notify.reload(Time::from_micros(17));
            notify.reloaded();
            notify.stop("left the group");
            check_heard(&manager, "RELOADING=1\nMONOTONIC_USEC=17");
            check_heard(&manager, "READY=1\nSTATUS=");
            check_heard(&manager, "STOPPING=1\nSTATUS=left the group");
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_barks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut fed = notify(path.clone().into(), Some(("3000000", "7")));
        let at = |millis: u64| Time::from_micros(millis * 1_000);
        [0, 1_499, 1_500, 2_000].map(at).iter().for_each(|now| fed.turn(*now));
        assert_eq!(fed.deadline(), Some(at(3_000)));
        check_heard(&manager, "WATCHDOG=1");
        check_heard(&manager, "WATCHDOG=1");
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut [0; 16]).is_err(), "that was all");
        let mut others = notify(path.into(), Some(("3000000", "8")));
        others.turn(at(0));
        assert_eq!(others.deadline(), None, "another process is watched");
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        for nobody in ["", "relative/path", "/no/such/socket"] {
            let mut notify = notify(nobody.into(), Some(("0", "7")));
            notify.turn(Time::from_micros(1));
            notify.stop("done");
            assert_eq!(notify.deadline(), None, "{nobody}");
        }
    }

    #[test]
    fn the_journal_is_known_by_its_stream() {
        assert!(is_stream("9:1234", 9, 1_234));
        for other in ["", "9", "9:", "9:12345", "8:1234", "x:y", "9:1234:5"] {
            assert!(!is_stream(other, 9, 1_234), "{other}");
        }
    }
}
