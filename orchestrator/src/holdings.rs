//! The resources of a process according to /proc: open descriptors and memory.

use std::fs;

/// The resources of a process at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Open file descriptors.
    pub descriptors: u64,
    /// Resident memory in bytes.
    pub memory: u64,
}

impl Holdings {
    /// The resources of a process now; none if there is no such process or it is a zombie.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
        Some(Self { descriptors, memory: kibibytes * 1_024 })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::Holdings;

    #[test]
    fn this_process_holds_at_least_its_streams_and_itself() {
        let held = Holdings::of(std::process::id()).unwrap();
        assert!(held.descriptors >= 3 && held.memory > 1 << 20, "{held:?}");
    }

    #[test]
    fn a_process_holds_something_until_it_ends() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(Holdings::of(child.id()).is_some());
        child.kill().unwrap();
        let ended =
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()));
        nix::sys::wait::waitid(
            ended,
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        assert_eq!(Holdings::of(child.id()), None, "a zombie holds nothing");
        child.wait().unwrap();
        assert_eq!(Holdings::of(child.id()), None);
    }
}
