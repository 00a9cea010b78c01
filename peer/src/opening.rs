//! Opens a file with a time limit: a hanging network disk, or a device without a carrier, may block
//! for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Opens a file for appending, creating it if necessary.
///
/// A named pipe is opened for reading, too: then opening does not wait for a reader, and if a
/// reader disconnects and returns, only the data beyond the pipe's capacity is lost.
///
/// # Errors
/// Those of the operating system.
pub fn append_to(path: &Path) -> io::Result<File> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    OpenOptions::new().create(true).append(true).read(is_pipe).open(path)
}

/// The result of `open`, or an error that it took too long. Then the attempt continues without
/// effect.
///
/// # Errors
/// Those of the operating system.
pub fn in_time<T: Send + 'static>(
    open: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, outcome) = mpsc::sync_channel(1);
    thread::Builder::new().name("opening".to_owned()).spawn(move || {
        let _nobody_waits_any_more = sender.send(open());
    })?;
    outcome.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let words = format!(
            "opening it takes longer than {PATIENCE:?}; does the disk answer, and \
                             does the device have a carrier?"
        );
        Err(io::Error::new(ErrorKind::TimedOut, words))
    })
}

const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::{append_to, in_time};
    use nix::sys::stat::Mode;
    use std::io::Write as _;

    #[test]
    fn a_pipe_without_a_reader_is_opened_at_once() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a named pipe");
        let named = path.clone();
        let mut file = in_time(move || append_to(&named)).expect("it opens");
        file.write_all(b"kept until it is read\n").expect("the pipe has room");
    }
}
