//! Reads the lines appended to a growing file. Only whole lines are returned; an incomplete line
//! waits for its end. A file that does not exist yet counts as empty.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The read end of a growing file.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// Bytes of an incomplete last line.
    rest: Vec<u8>,
    /// How many bytes were returned as whole lines or skipped.
    taken: u64,
    /// Whether the current line began before the start offset; such a line is skipped.
    is_old: bool,
    buffer: Vec<u8>,
}

/// A line and its offset in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The offset of its first byte.
    pub offset: u64,
    /// Its text without the line end; invalid UTF-8 is replaced.
    pub text: String,
}

impl Tail {
    /// Reads from the start of a file, which need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
            taken: 0,
            is_old: false,
            buffer: vec![0; CHUNK],
        }
    }

    /// Reads what is written from now on. A line that has begun already is skipped.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let mut tail = Self::new(path);
        if !tail.open()? {
            return Ok(tail);
        }
        let Some(file) = &mut tail.file else { return Ok(tail) };
        let length = file.seek(SeekFrom::End(0))?;
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
            tail.is_old = last != *b"\n";
        }
        tail.taken = length;
        Ok(tail)
    }

    /// Appends the new lines, at most [`TURN`] bytes per call, so that one busy file cannot delay
    /// the others.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn read(&mut self, lines: &mut Vec<Line>) -> io::Result<()> {
        if !self.open()? {
            return Ok(());
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut budget = TURN;
        while budget > 0 {
            let count = file.read(&mut self.buffer)?;
            if count == 0 {
                break;
            }
            budget = budget.saturating_sub(count);
            let mut chunk = &self.buffer[..count];
            while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
                self.rest.extend_from_slice(&chunk[..end]);
                if !std::mem::take(&mut self.is_old) {
                    lines.push(Line {
                        offset: self.taken,
                        text: String::from_utf8_lossy(&self.rest).into_owned(),
                    });
                }
                self.taken += self.rest.len() as u64 + 1;
                self.rest.clear();
                chunk = &chunk[end + 1..];
            }
            self.rest.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// The current length of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Whether everything the file holds has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.taken + self.rest.len() as u64 >= self.length()
    }

    fn open(&mut self) -> io::Result<bool> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

const CHUNK: usize = 64 << 10;
/// How many bytes of one file are read in one turn.
pub const TURN: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::{Line, Tail};
    use std::io::Write as _;

    #[test]
    fn only_whole_lines_are_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut tail = Tail::new(&path);
        let mut lines = Vec::new();
        tail.read(&mut lines).unwrap();
        assert!(lines.is_empty());
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        tail.read(&mut lines).unwrap();
        assert_eq!(lines, [Line { offset: 0, text: "one".to_owned() }]);
        assert!(tail.is_at_end());
        file.write_all(b"o\n\xff\n").unwrap();
        assert!(!tail.is_at_end());
        tail.read(&mut lines).unwrap();
        assert_eq!(
            lines[1..],
            [
                Line { offset: 4, text: "two".to_owned() },
                Line { offset: 8, text: "\u{fffd}".to_owned() }
            ]
        );
    }

    #[test]
    fn from_now_on_means_lines_that_begin_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"old\nhalf").unwrap();
        let mut tail = Tail::at_end(&path).unwrap();
        file.write_all(b" old\nnew\n").unwrap();
        let mut lines = Vec::new();
        tail.read(&mut lines).unwrap();
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["new"]);
    }
}
