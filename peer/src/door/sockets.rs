//! The sockets of a peer: where they lie, what they are called, and who may connect.
//!
//! A peer called `kitchen` listens at `kitchen.sock`, for its own user and, where that is asked
//! for, for a group; and, where that is asked for, at `kitchen.read.sock` for everybody, who may
//! ask and change nothing. Where another living peer of that name has the place, the number of the
//! process goes between. What a dead one has left there is cleared away.

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

/// Who may connect besides the user of the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Members of this group may do everything.
    pub group: Option<Gid>,
    /// Everybody may ask.
    pub everybody_reads: bool,
}

/// A socket that is listened on.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) path: PathBuf,
    pub(super) listener: UnixListener,
    pub(super) access: Access,
    /// The number of its file, to tell it from another one at the same path.
    inode: u64,
}

impl Bound {
    /// Whether its file is still there.
    pub(super) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // One that stays behind is recognised by clients: nobody answers. Another one at this path
        // is another peer's.
        if self.is_there() {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Listens in the first of the folders that will have the sockets.
///
/// # Errors
/// Those of the operating system, of the last folder that was tried.
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
    // In /tmp somebody else may have made it before.
    Folder::open(folder).map_err(|why| io::Error::other(why.to_string()))?;
    if is_open {
        let_pass(folder)?;
    }
    let mut bound = vec![bind_one(folder, &names(id, ".sock"), 0o600, Access::Full)?];
    if let Some(group) = opening.group {
        let path = &bound[0].path;
        // A service whose own group it is may not be allowed to change what is right already.
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

/// Has others get through a folder that an earlier peer has made for its user alone. One that was
/// named to us is not ours to change.
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

/// What a socket may be called, the best name first.
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
        // The file gets this mode from its first moment on.
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

/// Whether a living peer listens there; what a dead one has left is removed.
fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        // Nobody answers at a file of another kind either, and it is not ours to remove.
        Ok(file) if !file.file_type().is_socket() => return Ok(true),
        Ok(_) => {}
    }
    // One that stands still, and at which as many wait as may, would have us wait, too.
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

/// A path that is too long is told as that.
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

/// To get to a file in a folder, without being able to list it.
const PASS: u32 = 0o011;
/// `sun_path` of Linux, without its end.
const PATH_MOST: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
