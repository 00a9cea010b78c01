//! Where status sockets lie.

use std::env;
use std::path::PathBuf;

/// The folders for the sockets of this user, the preferred one first. `PEER_SOCKETS` names the only one. Else it is that of the
/// session (`XDG_RUNTIME_DIR`), and the one in `/tmp` for processes that have no session, such as a system service; a peer
/// takes the first that will have it, and a client looks in both.
#[must_use]
pub fn folders() -> Vec<PathBuf> {
    if let Some(only) = named() {
        return vec![only];
    }
    let session = absolute("XDG_RUNTIME_DIR").map(|runtime| runtime.join(NAME));
    session.into_iter().chain([PathBuf::from(format!("/tmp/{NAME}-{}", nix::unistd::geteuid()))]).collect()
}

/// The only folder, if one is named.
pub(super) fn named() -> Option<PathBuf> {
    absolute("PEER_SOCKETS")
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// What the names of these folders begin with.
pub(super) const NAME: &str = "sensor-peers";
