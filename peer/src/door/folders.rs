//! Where the sockets of peers lie.

use std::env;
use std::path::PathBuf;

use super::Opening;

/// The folders for the socket of a peer of this user, the preferred one first; it takes the first
/// that will have it. `PEER_SOCKETS` names the only one. A service has the one that systemd has
/// made for it (`RUNTIME_DIRECTORY`). A peer that opens its socket to others has it where they get
/// to; any other one where this session has such things (`XDG_RUNTIME_DIR`), or in `/tmp`.
#[must_use]
pub fn folders(opening: &Opening) -> Vec<PathBuf> {
    if let Some(only) = named() {
        return vec![only];
    }
    let service = env::var("RUNTIME_DIRECTORY")
        .ok()
        .and_then(|folders| folders.split(':').next().map(PathBuf::from));
    let service = service.filter(|folder| folder.is_absolute());
    if *opening != Opening::default() {
        return service.into_iter().chain([PathBuf::from(SERVICES), own()]).collect();
    }
    service.into_iter().chain(session()).chain([own()]).collect()
}

/// The folders in which a command of this user looks first.
#[must_use]
pub fn looked_in() -> Vec<PathBuf> {
    named().map_or_else(
        || session().into_iter().chain([own(), PathBuf::from(SERVICES)]).collect(),
        |only| vec![only],
    )
}

/// The only folder, if one is named.
#[must_use]
pub fn named() -> Option<PathBuf> {
    absolute("PEER_SOCKETS")
}

fn session() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR").map(|runtime| runtime.join(NAME))
}

fn own() -> PathBuf {
    PathBuf::from(format!("/tmp/{NAME}-{}", nix::unistd::geteuid()))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// What the names of these folders begin with.
pub const NAME: &str = "sensor-peers";
/// The folder of peers that run as services.
const SERVICES: &str = "/run/sensor-peers";
