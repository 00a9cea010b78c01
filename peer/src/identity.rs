//! The identity of this process: for its machine, and for the group.

use std::hash::{BuildHasher, RandomState};

use protocol::id::{Contact, PeerId};
use protocol::note::Note;

use crate::clock;

/// The first event of a life: enough to find the process again, and to recognise it.
pub(crate) fn start_note(me: &Contact, status: Option<&str>, omits_readings: bool) -> Note {
    let pid = std::process::id();
    Note::Start {
        pid,
        pid_start: process_start().unwrap_or(0),
        log: log_path(),
        address: me.address.to_string(),
        build: crate::BUILD.to_owned(),
        birth: me.birth,
        priority: me.explicit,
        status: status.map(ToOwned::to_owned),
        omits_readings,
    }
}

/// The process's start time in clock ticks since boot: field 22 of its `stat`, counted after the
/// name, which may contain any character.
fn process_start() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// The path of standard output, if that is a regular file.
fn log_path() -> Option<String> {
    let path = std::fs::read_link("/proc/self/fd/1").ok()?;
    path.metadata().is_ok_and(|meta| meta.is_file()).then(|| path.display().to_string())
}

/// `<host name>-<4 hex digits>`.
pub(crate) fn generated_id(birth: u64) -> PeerId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = host.trim().chars().filter(allowed).take(HOST_NAME_MAX).collect();
    let name = if name.is_empty() { "peer" } else { &name };
    PeerId::new(&format!("{name}-{:04x}", birth & 0xFFFF))
        .expect("made of allowed characters, and short")
}

/// A random number, distinct for each process; not for secrets.
pub(crate) fn random() -> u64 {
    // The standard library's hash keys come from the operating system's random source.
    RandomState::new().hash_one((std::process::id(), clock::now().as_micros()))
}

const HOST_NAME_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::{generated_id, process_start, random};

    #[test]
    fn a_generated_id_tells_the_host() {
        let id = generated_id(0xABCD_1234);
        assert!(id.as_str().ends_with("-1234"), "{id}");
        assert_ne!(random(), random());
    }

    #[test]
    fn the_start_time_is_that_of_the_process() {
        assert_eq!(process_start(), process_start());
        assert!(process_start().is_some_and(|ticks| ticks > 0));
    }
}
