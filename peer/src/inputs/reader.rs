//! Reads a recording, entry by entry. Only the current record is in memory, so a file may have any
//! length.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::{BadInputs, BadRecord, Entry, PREFIX, RECORD_MAX};

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    /// The offset of the next record.
    offset: u64,
    torn: bool,
}

impl Reader {
    /// Opens a recording, and checks that it is one.
    ///
    /// # Errors
    /// [`BadInputs`].
    pub fn open(path: &Path) -> Result<Self, BadInputs> {
        let bad = |what| BadInputs { path: path.to_owned(), offset: 0, what };
        let mut file = File::open(path).map_err(|error| bad(error.into()))?;
        let length = file.metadata().map_err(|error| bad(error.into()))?.len();
        whole_length(&file, length.min(PREFIX as u64 + 1))
            .map_err(|_| bad(BadRecord::NoRecording))?;
        file.rewind().map_err(|error| bad(error.into()))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), offset: 0, torn: false })
    }

    /// The next entry; none at the end, and before a torn record.
    ///
    /// # Errors
    /// [`BadInputs`]: the recording cannot be read further.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BadInputs> {
        match self.read() {
            Ok(entry) => Ok(entry),
            Err(what) => Err(BadInputs { path: self.path.clone(), offset: self.offset, what }),
        }
    }

    /// The offset of a torn record, once the end has been reached, if there is one.
    #[must_use]
    pub fn torn_at(&self) -> Option<u64> {
        self.torn.then_some(self.offset)
    }

    fn read(&mut self) -> Result<Option<Entry>, BadRecord> {
        let mut prefix = Vec::new();
        self.file.by_ref().take(PREFIX as u64).read_to_end(&mut prefix)?;
        let Ok(prefix) = <[u8; PREFIX]>::try_from(prefix.as_slice()) else {
            self.torn = !prefix.is_empty();
            return Ok(None);
        };
        let length = checked_length(prefix)?;
        // The buffer grows with the available bytes, so that a wrong length costs no memory.
        let mut record = Vec::new();
        if self.file.by_ref().take(length).read_to_end(&mut record)? as u64 != length {
            self.torn = true;
            return Ok(None);
        }
        let entry = Entry::read(&record)?;
        if self.offset == 0 && !matches!(entry, Entry::Life(_)) {
            return Err(BadRecord::NoRecording);
        }
        self.offset += PREFIX as u64 + length;
        Ok(Some(entry))
    }
}

fn checked_length(prefix: [u8; PREFIX]) -> Result<u64, BadRecord> {
    let length = u64::from(u32::from_be_bytes(prefix));
    if (1..=RECORD_MAX).contains(&length) { Ok(length) } else { Err(BadRecord::Length(length)) }
}

/// The length of the whole records in a file of this length.
///
/// # Errors
/// Those of the operating system; and if the file is no recording.
pub(super) fn whole_length(file: &File, length: u64) -> io::Result<u64> {
    let mut file = BufReader::new(file);
    let mut whole = 0;
    while whole + (PREFIX as u64) < length {
        let mut prefix = [0; PREFIX];
        file.read_exact(&mut prefix)?;
        let record = checked_length(prefix).ok();
        let mut first = [0];
        if whole == 0 {
            // The number of the entry's kind: a recording begins with a life.
            file.read_exact(&mut first)?;
            file.seek_relative(-1)?;
        }
        let Some(record) = record.filter(|_| first == [0]) else {
            let what = if whole == 0 {
                BadRecord::NoRecording
            } else {
                BadRecord::Length(u32::from_be_bytes(prefix).into())
            };
            return Err(io::Error::other(format!(
                "the file is there already, and cannot be gone on with; byte {whole}: {what}"
            )));
        };
        let next = whole + PREFIX as u64 + record;
        if next > length {
            return Ok(whole);
        }
        file.seek_relative(i64::try_from(record).expect("no record is that long"))?;
        whole = next;
    }
    Ok(whole)
}
