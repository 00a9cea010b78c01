//! File descriptors: a sufficient limit, and the listener on the highest number.
//!
//! When a process is killed, Linux closes its descriptors from the highest to the lowest. If the
//! listener were closed after the links, a peer that sees its link end and dials again at once
//! would still be accepted by a listener without a process, be reset a moment later, and would have
//! to ask again for its proof. With the listener on top, the first dial is refused, and a dead
//! leader is proven dead within a round trip.

use std::net::TcpListener;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit as far as useful; returns the new limit.
///
/// Uses `rustix`, whose limits have 64 bits everywhere; those of the C library have 32 on some
/// boards.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // None means unlimited.
    let [soft, hard] = [limit.current, limit.maximum].map(|limit| limit.unwrap_or(u64::MAX));
    let wanted = hard.min(ENOUGH);
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if soft < wanted && setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { soft }
}

/// Moves the listener to the highest number below `limit`; keeps the old one if that fails.
#[must_use]
pub fn on_top(listener: TcpListener, limit: u64) -> TcpListener {
    let top = i32::try_from(limit.min(ENOUGH)).unwrap_or(i32::MAX) - 1;
    match fcntl_dupfd_cloexec(&listener, top) {
        Ok(duplicate) => duplicate.into(),
        Err(_) => listener,
    }
}

/// More than all links and files of one peer need.
const ENOUGH: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::{on_top, raise_limit};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_listener_ends_up_above_the_rest() {
        let limit = raise_limit();
        assert!(limit >= 64, "{limit}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = on_top(listener, limit);
        assert_eq!(listener.local_addr().unwrap(), address);
        let later = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listener.as_raw_fd() > later.as_raw_fd());
    }
}
