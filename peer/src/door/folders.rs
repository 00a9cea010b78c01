//! The folders of peers' sockets.

use std::env;
use std::path::PathBuf;

use super::Opening;

/// The folders for the socket of a peer of this user, the preferred one first; the first usable one
/// is taken. `PEER_SOCKETS` names the only one. A service has the folder that systemd created for
/// it (`RUNTIME_DIRECTORY`). A peer that opens its socket to other users needs a folder that they
/// can reach; any other peer uses the session's folder (`XDG_RUNTIME_DIR`), or `/tmp`.
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

/// The folders that a command of this user searches first.
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

/// The beginning of these folders' names.
pub const NAME: &str = "sensor-peers";
/// The folder of peers that run as services.
const SERVICES: &str = "/run/sensor-peers";
