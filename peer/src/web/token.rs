//! The required token of HTTP clients: a line of a file, which is read again when it changes.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::response::Response;
use crate::doublings::Doublings;

/// The file, and its last content.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    mark: Mark,
    token: Result<String, String>,
    unusable: Doublings,
}

/// The attributes by which a change of the file is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    mode: u32,
}

impl TokenFile {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let token = read(&path)?;
        Ok(Self { mark: Mark::of(&path)?, path, token: Ok(token), unusable: Doublings::default() })
    }

    /// Whether that is the token; otherwise the refusal.
    pub(super) fn judge(&mut self, shown: Option<&str>) -> Result<(), Response> {
        self.renew();
        let Ok(token) = &self.token else {
            let say =
                "the file with the token cannot be used; the log of this peer says why".to_owned();
            return Err(Response::fault(503, say));
        };
        match shown {
            Some(shown) if is_same(token.as_bytes(), shown.as_bytes()) => Ok(()),
            Some(_) => Err(unauthorised("that is not the token of this peer")),
            None => Err(unauthorised(
                "show the token of this peer, as `Authorization: Bearer …` or as `?token=…`",
            )),
        }
    }

    fn renew(&mut self) {
        let mark = Mark::of(&self.path);
        if mark.as_ref().is_ok_and(|mark| *mark == self.mark) && self.token.is_ok() {
            return;
        }
        let before = self.token.is_ok();
        self.token = mark.and_then(|mark| {
            self.mark = mark;
            read(&self.path)
        });
        match &self.token {
            Ok(_) => {
                log::info!("The token for the page is read again from {}.", self.path.display())
            }
            Err(why) => {
                if let Some(count) = self.unusable.count().filter(|_| before || self.token.is_err())
                {
                    log::warn!("Nobody gets to the page: {why} (occurrence {count}).");
                }
            }
        }
    }
}

impl Mark {
    fn of(path: &Path) -> Result<Self, String> {
        let about = fs::metadata(path)
            .map_err(|error| format!("http_token_file: {}: {error}", path.display()))?;
        let (inode, bytes, mode) = (about.ino(), about.len(), about.mode());
        Ok(Self { inode, bytes, modified: (about.mtime(), about.mtime_nsec()), mode })
    }
}

fn read(path: &Path) -> Result<String, String> {
    let wrong = |why: String| format!("http_token_file: {}: {why}", path.display());
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let about = file.metadata().map_err(|error| wrong(error.to_string()))?;
    if !about.is_file() {
        return Err(wrong("it is no file".to_owned()));
    }
    if about.mode() & 0o007 != 0 {
        return Err(wrong(
            "everybody on this machine can read or write it; chmod o= takes that away".to_owned(),
        ));
    }
    let mut text = String::new();
    file.take(FILE_MOST).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    let token = text.trim();
    if token.len() < TOKEN_LEAST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(format!(
            "it has to hold a token of at least {TOKEN_LEAST} letters, digits or signs, and \
             nothing else; `openssl rand -hex 24` makes one"
        )));
    }
    Ok(token.to_owned())
}

fn unauthorised(say: &str) -> Response {
    Response::fault(401, say.to_owned()).with("WWW-Authenticate", "Bearer realm=\"peer\"")
}

/// Compares in constant time, which does not reveal where the two differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && std::hint::black_box(one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)))
            == 0
}

/// A shorter token can be guessed.
const TOKEN_LEAST: usize = 16;
const FILE_MOST: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::TokenFile;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_is_read_again_when_it_changes_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let write = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(TokenFile::open(path.clone()).is_err());
        write("0123456789abcdef\n", 0o644);
        assert!(TokenFile::open(path.clone()).unwrap_err().contains("everybody"));
        write("short", 0o600);
        assert!(TokenFile::open(path.clone()).unwrap_err().contains("at least 16"));
        write("0123456789abcdef\n", 0o640);
        let mut file = TokenFile::open(path.clone()).unwrap();
        let mut status =
            |shown| file.judge(shown).map_or_else(|response| response.status(), |()| 200);
        assert_eq!(
            (
                status(Some("0123456789abcdef")),
                status(Some("0123456789abcdeF")),
                status(Some("")),
                status(None)
            ),
            (200, 401, 401, 401)
        );
        write("another token? no: blanks", 0o600);
        assert_eq!(status(Some("0123456789abcdef")), 503);
        write("fedcba9876543210", 0o600);
        assert_eq!(
            (status(Some("0123456789abcdef")), status(Some("fedcba9876543210"))),
            (401, 200)
        );
        write("fedcba9876543210", 0o604);
        assert_eq!(status(Some("fedcba9876543210")), 503);
    }
}
