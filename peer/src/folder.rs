//! A data folder, held open: the checks apply to the opened folder, and every file in it is reached
//! through it.
//!
//! A path can be redirected between two system calls, an open folder cannot. Nothing here follows a
//! symbolic link in the last component of a path, truncates a file by opening it, or writes into a
//! file of another user.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat, renameat};
use nix::libc::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
// Sizes, times and inodes have 64 bits there on every machine; those of the C library do not.
use rustix::fs::{AtFlags, Stat, lstat, statat};
use rustix::io::Errno;

use crate::disk;

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
    identity: Identity,
}

/// The identity of a file, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoFolder {
    /// It must not be used; the text says why, and what to do.
    #[error("{0}")]
    Unfit(String),
    /// The operating system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The file at the path of an open folder now.
#[derive(Debug)]
pub enum Presence {
    /// The folder that is open.
    Same,
    /// Nothing, or something else.
    Changed,
    /// Unknown: the path cannot be examined.
    Unknown,
}

impl Folder {
    /// Opens a folder, creating it if necessary, for its user alone.
    ///
    /// # Errors
    /// [`NoFolder`].
    pub fn make(path: &Path) -> Result<Self, NoFolder> {
        match Self::open(path) {
            Err(NoFolder::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(plain(path))?;
                Self::open(path)
            }
            other => other,
        }
    }

    /// Opens an existing folder.
    ///
    /// # Errors
    /// [`NoFolder`].
    pub fn open(path: &Path) -> Result<Self, NoFolder> {
        let path = plain(path);
        if kind(lstat(&path).map_err(io::Error::from)?.st_mode) == S_IFLNK {
            let leads_to = std::fs::read_link(&path)
                .map_or_else(|_| "its target".to_owned(), |to| to.display().to_string());
            return Err(NoFolder::Unfit(format!(
                "it is a symbolic link; give the folder that it leads to ({leads_to})"
            )));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = File::from(open(&path, flags, Mode::empty()).map_err(io::Error::from)?);
        let meta = handle.metadata()?;
        judge(&path, &meta)?;
        Ok(Self { identity: Identity::of(&meta), path, handle })
    }

    /// The path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it.
    #[must_use]
    pub fn presence(&self) -> Presence {
        match lstat(&self.path) {
            Ok(stat) if Identity::of_stat(&stat) == self.identity => Presence::Same,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Presence::Changed,
            Err(_) => Presence::Unknown,
        }
    }

    /// The file behind a name in it, without following a symbolic link; none if the name does not
    /// exist.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a name in it denotes that very file.
    #[must_use]
    pub fn has(&self, name: &str, identity: Identity) -> Presence {
        match self.stat(name) {
            Ok(Some(stat)) if Identity::of_stat(&stat) == identity => Presence::Same,
            Ok(_) => Presence::Changed,
            Err(_) => Presence::Unknown,
        }
    }

    /// The content of a file, up to this many bytes and one more.
    ///
    /// # Errors
    /// Those of the operating system; and if it is no regular file of this user.
    pub fn read(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        let file = self.open_file(name, OFlag::O_RDONLY)?;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a file for reading and appending, creating it if necessary, for its user alone.
    ///
    /// # Errors
    /// Those of the operating system; and if it is no regular file of this user.
    pub fn append_to(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT)
    }

    /// Creates a file, replacing one that was left behind.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn create(&self, name: &str) -> io::Result<File> {
        if self.stat(name)?.is_some() {
            self.remove(name)?;
        }
        self.open_file(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    /// Renames a file, replacing an existing one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Makes the entries of the folder survive a crash of the machine.
    ///
    /// # Errors
    /// Those of the operating system; a file system that cannot sync folders is no error.
    pub fn sync(&self) -> io::Result<()> {
        match disk::sync_all(&self.handle) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn open_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        if let Some(stat) = self.stat(name)? {
            // Checked before it is opened: opening some devices has an effect.
            check_file(kind(stat.st_mode), stat.st_uid)?;
        }
        let flags = flags
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC
            | OFlag::O_LARGEFILE;
        let file = File::from(openat(&self.handle, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let meta = file.metadata()?;
        check_file(kind(meta.mode()), meta.uid())?;
        Ok(file)
    }
}

impl Identity {
    /// The identity of an open file.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }

    fn of_stat(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// The kind of a file that is not regular.
#[must_use]
pub fn other_kind(stat: &Stat) -> Option<&'static str> {
    other(kind(stat.st_mode))
}

fn other(kind: u32) -> Option<&'static str> {
    match kind {
        S_IFREG => None,
        S_IFDIR => Some("a directory"),
        S_IFLNK => Some("a symbolic link"),
        S_IFIFO => Some("a named pipe"),
        S_IFSOCK => Some("a socket"),
        S_IFBLK | S_IFCHR => Some("a device"),
        _ => Some("something else"),
    }
}

fn kind(mode: u32) -> u32 {
    mode & S_IFMT
}

fn check_file(kind: u32, owner: u32) -> io::Result<()> {
    if let Some(other) = other(kind) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is {other}, and no file"),
        ));
    }
    if is_trusted(owner) {
        return Ok(());
    }
    let text = format!(
        "it belongs to user {owner}, and this peer runs as user {}; change its owner (chown)",
        geteuid()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn judge(path: &Path, meta: &Metadata) -> Result<(), NoFolder> {
    let shown = path.display();
    let own = geteuid();
    if !is_trusted(meta.uid()) {
        let text = format!(
            "it belongs to user {}, and this peer runs as user {own}; `chown {own} {shown}`, or \
             give another folder",
            meta.uid()
        );
        return Err(NoFolder::Unfit(text));
    }
    // With the sticky bit other users can add files, which are not opened, and cannot rename or
    // remove this peer's own.
    if meta.mode() & WRITABLE_BY_OTHERS != 0 && meta.mode() & STICKY == 0 {
        let text = format!(
            "others can write into it (mode {:04o}); `chmod go-w {shown}`, or give a folder below \
             it, which the peer makes by itself",
            meta.mode() & 0o7777
        );
        return Err(NoFolder::Unfit(text));
    }
    Ok(())
}

fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}

/// Without a trailing slash, which would follow a symbolic link.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::{Folder, NoFolder, Presence};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    #[track_caller]
    fn check_unfit(path: &Path, words: &str) {
        match Folder::make(path) {
            Err(NoFolder::Unfit(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_is_real_and_its_users_alone() {
        let base = tempfile::tempdir().unwrap();
        let made = base.path().join("deep/folder");
        let folder = Folder::make(&made).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert!(folder.append_to("a").unwrap().metadata().unwrap().mode() & 0o777 == 0o600);
        symlink(&made, base.path().join("link")).unwrap();
        check_unfit(&base.path().join("link"), "symbolic link");
        check_unfit(&base.path().join("link/"), "symbolic link");
        for mode in [0o777, 0o770, 0o702] {
            fs::set_permissions(&made, Permissions::from_mode(mode)).unwrap();
            check_unfit(&made, "chmod go-w");
        }
        for mode in [0o1777, 0o755] {
            fs::set_permissions(&made, Permissions::from_mode(mode)).unwrap();
            assert!(Folder::make(&made).is_ok());
            assert_eq!(
                fs::metadata(&made).unwrap().mode() & 0o7777,
                mode,
                "a folder that is there stays as it is"
            );
        }
        symlink(base.path(), base.path().join("parent")).unwrap();
        assert!(
            Folder::make(&base.path().join("parent/deep/folder")).is_ok(),
            "the way there may lead over links"
        );
        fs::write(base.path().join("file"), "").unwrap();
        assert!(matches!(Folder::make(&base.path().join("file")), Err(NoFolder::Io(_))));
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_emptied() {
        let base = tempfile::tempdir().unwrap();
        let victim = base.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let folder = Folder::make(&base.path().join("data")).unwrap();
        symlink(&victim, folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("directory")).unwrap();
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (name, words) in
            [("link", "symbolic link"), ("directory", "a directory"), ("pipe", "named pipe")]
        {
            for error in [folder.append_to(name).unwrap_err(), folder.read(name, 9).unwrap_err()] {
                assert!(error.to_string().contains(words), "{error}");
            }
        }
        drop(folder.create("link").unwrap());
        assert_eq!(
            fs::read_to_string(&victim).unwrap(),
            "precious",
            "the link was removed, and not followed"
        );
    }

    #[test]
    fn it_notices_that_its_path_leads_elsewhere() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("data");
        let folder = Folder::make(&path).unwrap();
        assert!(matches!(folder.presence(), Presence::Same));
        fs::rename(&path, base.path().join("moved")).unwrap();
        assert!(matches!(folder.presence(), Presence::Changed));
        fs::create_dir(&path).unwrap();
        assert!(matches!(folder.presence(), Presence::Changed), "another one of the same name");
    }
}
