//! The sockets of a peer: their folders, names and permissions.
//!
//! A peer `kitchen` listens at `kitchen.sock`, for its own user and, if configured, for a group;
//! and, if configured, at `kitchen.read.sock` for all users, read-only. If another live peer of
//! that name has the path, the pid is inserted into the name. The file of a dead peer is removed.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, chown};
use protocol::id::PeerId;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Access;
use super::folders::NAME;
use crate::folder::Folder;

/// Access for others than the user of the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Members of this group may do everything.
    pub group: Option<Gid>,
    /// All users may ask.
    pub everybody_reads: bool,
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) path: PathBuf,
    pub(super) listener: UnixListener,
    pub(super) access: Access,
    /// The inode of its file, to distinguish it from another one at the same path.
    inode: u64,
}

impl Bound {
    /// Whether its file still exists.
    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Clients recognise a stale file: no process answers. Another file at this path belongs to
        // another peer.
        if self.is_there() {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Listens in the first usable folder.
///
/// # Errors
/// Those of the operating system, from the last folder tried.
pub(super) fn bind(folders: &[PathBuf], id: &PeerId, opening: &Opening) -> io::Result<Vec<Bound>> {
    let mut outcome = Err(ErrorKind::NotFound.into());
    for folder in folders {
        outcome = bind_in(folder, id, opening).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn bind_in(folder: &Path, id: &PeerId, opening: &Opening) -> io::Result<Vec<Bound>> {
    let is_open = *opening != Opening::default();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(if is_open { 0o711 } else { 0o700 })
        .create(folder)?;
    // In /tmp another user may have created it before.
    Folder::open(folder).map_err(|why| io::Error::other(why.to_string()))?;
    if is_open {
        let_pass(folder)?;
    }
    let mut bound = vec![bind_one(folder, &names(id, ".sock"), 0o600, Access::Full)?];
    if let Some(group) = opening.group {
        let path = &bound[0].path;
        // A service may not be permitted to change permissions that are right already.
        if fs::symlink_metadata(path)?.gid() != group.as_raw() {
            chown(path, None, Some(group)).map_err(|error| {
                io::Error::new(
                    io::Error::from(error).kind(),
                    format!(
                        "cannot give it to group {group} ({error}); the user of this peer has \
                             to be a member of that group"
                    ),
                )
            })?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
    }
    if opening.everybody_reads {
        let read = bind_one(folder, &names(id, ".read.sock"), 0o600, Access::ReadOnly)?;
        fs::set_permissions(&read.path, Permissions::from_mode(0o666))?;
        bound.push(read);
    }
    Ok(bound)
}

/// Lets other users pass a folder that an earlier peer created for its user alone. A configured
/// folder is never changed.
fn let_pass(folder: &Path) -> io::Result<()> {
    let mode = fs::symlink_metadata(folder)?.permissions().mode();
    if mode & PASS == PASS {
        return Ok(());
    }
    let is_ours = folder
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(NAME));
    if is_ours {
        return fs::set_permissions(folder, Permissions::from_mode(mode & 0o7777 | PASS));
    }
    log::warn!(
        "Others cannot get to the sockets of this peer: {0} does not let them pass; `chmod go+x \
         {0}`.",
        folder.display()
    );
    Ok(())
}

/// The possible names of a socket, best first.
fn names(id: &PeerId, end: &str) -> [String; 2] {
    [format!("{id}{end}"), format!("{id}.{}{end}", std::process::id())]
}

fn bind_one(folder: &Path, names: &[String], mode: u32, access: Access) -> io::Result<Bound> {
    let mut outcome = Err(ErrorKind::AddrInUse.into());
    for path in names.iter().map(|name| folder.join(name)) {
        check_length(&path)?;
        if is_taken(&path)? {
            continue;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The file has this mode from the start.
        fchmod(socket.as_fd(), Mode::from_bits_truncate(mode))?;
        match socket.bind(&SockAddr::unix(&path)?) {
            Ok(()) => {
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                let inode = fs::symlink_metadata(&path)?.ino();
                let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(
                    std::os::fd::OwnedFd::from(socket),
                ));
                return Ok(Bound { path, listener, access, inode });
            }
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// Whether a live peer listens there; the file of a dead one is removed.
fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        // No process answers at a file of another kind either, and it is not ours to remove.
        Ok(file) if !file.file_type().is_socket() => return Ok(true),
        Ok(_) => {}
    }
    // A connect to a stopped peer with a full backlog would block.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map(|()| false)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // Whatever it is, it is not ours to remove.
        Ok(_) | Err(_) => Ok(true),
    }
}

/// Reports a path that is too long as such.
fn check_length(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().len();
    if length <= PATH_MOST {
        return Ok(());
    }
    let why = format!(
        "the path of the socket, {}, has {length} bytes; {PATH_MOST} are the most that the kernel \
         takes. Name a shorter folder with \
         the variable PEER_SOCKETS, or choose a shorter --id",
        path.display()
    );
    Err(io::Error::new(ErrorKind::InvalidInput, why))
}

/// Permits access to files in a folder, without listing it.
const PASS: u32 = 0o011;
/// `sun_path` of Linux, without its end.
const PATH_MOST: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
