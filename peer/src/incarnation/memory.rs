//! The memory and its written form: one line with a checksum.
//!
//! ```text
//! peer-memory 2 1795421702345 veteran kitchen b5f088c24bf004a6
//! ```
//!
//! The incarnation of the last life, the past of earlier lives, the name (`-` if there is none),
//! and the XXH3 hash of everything before it. The older form, `1795421702345` or `1795421702345
//! veteran`, is read, too. A truncated line is neither: an unreadable memory is never taken for
//! none.

use protocol::id::{Incarnation, PeerId};
use protocol::note::escape;
use xxhash_rust::xxh3::xxh3_64;

/// The memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The incarnation of the last life.
    pub incarnation: Incarnation,
    /// The past of earlier lives.
    pub past: Past,
    /// The name of the peer.
    pub name: Option<PeerId>,
}

/// The past of earlier lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// No group of mode `primary`.
    #[default]
    Fresh,
    /// A view of a group in mode `primary`: this peer may have forgotten what that view knew, and
    /// founds no group.
    Veteran,
    /// The same, and an operator has given that group up: the next life founds a new one, alone.
    NewLog,
}

/// Why a text is no memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It has another content.
    #[error("{0}")]
    Content(String),
    /// Its incarnation is impossible.
    #[error("its incarnation, {0}, is beyond what any clock can have given")]
    Beyond(String),
}

impl Memory {
    /// The content of the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let name = self.name.as_ref().map_or(NO_NAME, PeerId::as_str);
        let text = format!("{HEAD}{} {} {name}", self.incarnation, self.past.word());
        format!("{text} {:016x}\n", xxh3_64(text.as_bytes()))
    }

    /// Parses the content of the file, at a time in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Bad`].
    pub fn decode(bytes: &[u8], utc_ms: u64) -> Result<Self, Bad> {
        let line = whole_line(bytes)?;
        let memory = match line.strip_prefix(HEAD) {
            Some(_) => checked(line)?,
            None => old(line).ok_or_else(|| unknown(bytes))?,
        };
        let (number, past, name) = memory;
        let incarnation = number.parse().ok().filter(|number| is_possible(*number, utc_ms));
        let incarnation =
            Incarnation(incarnation.ok_or_else(|| Bad::Beyond(shown(number.as_bytes())))?);
        Ok(Self { incarnation, past, name })
    }
}

/// The parts of a line: the incarnation's digits, the past, the name.
type Parts<'a> = (&'a str, Past, Option<PeerId>);

fn whole_line(bytes: &[u8]) -> Result<&str, Bad> {
    let content = |text: String| Err(Bad::Content(text));
    if bytes.is_empty() {
        return content("it is empty".to_owned());
    }
    if bytes.len() as u64 > LENGTH_MAX {
        return content(format!("it is longer than {LENGTH_MAX} bytes"));
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return content(format!("it holds {} NUL bytes and nothing else", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| unknown(bytes))?;
    match text.strip_suffix('\n').unwrap_or(text) {
        line if line.contains(char::is_control) => Err(unknown(bytes)),
        line if line.len() == text.len() => {
            content(format!("its line has no end, so it was cut short: {}", shown(bytes)))
        }
        line => Ok(line),
    }
}

fn checked(line: &str) -> Result<Parts<'_>, Bad> {
    let torn = || {
        Bad::Content(format!(
            "its checksum does not match, so it was cut short or changed: {}",
            shown(line.as_bytes())
        ))
    };
    let (text, sum) = line.rsplit_once(' ').ok_or_else(torn)?;
    if sum != format!("{:016x}", xxh3_64(text.as_bytes())) {
        return Err(torn());
    }
    let words: Vec<&str> = text[HEAD.len()..].split(' ').collect();
    let &[number, past, name] = words.as_slice() else { return Err(torn()) };
    let past = Past::of_word(past).ok_or_else(torn)?;
    let name = if name == NO_NAME { None } else { Some(PeerId::new(name).map_err(|_| torn())?) };
    Ok((number, past, name))
}

/// The form without a checksum.
fn old(line: &str) -> Option<Parts<'_>> {
    let (number, word) = line.split_once(' ').unwrap_or((line, Past::Fresh.word()));
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((number, Past::of_word(word)?, None))
}

fn unknown(bytes: &[u8]) -> Bad {
    Bad::Content(format!("it holds something else: {}", shown(bytes)))
}

fn shown(bytes: &[u8]) -> String {
    let dots = if bytes.len() > SHOWN_MAX { "…" } else { "" };
    format!("`{}{dots}`", escape(&bytes[..bytes.len().min(SHOWN_MAX)]))
}

/// Whether a peer can have had this incarnation, by the present time.
#[must_use]
fn is_possible(incarnation: u64, utc_ms: u64) -> bool {
    incarnation <= TOP && incarnation <= utc_ms.max(NOT_BEFORE_MS) + AHEAD_MAX_MS
}

impl Past {
    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Veteran => "veteran",
            Self::NewLog => "new-log",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Fresh, Self::Veteran, Self::NewLog].into_iter().find(|past| past.word() == word)
    }
}

const HEAD: &str = "peer-memory 2 ";
const NO_NAME: &str = "-";
/// The greatest length of a memory.
pub(super) const LENGTH_MAX: u64 = 256;
/// The greatest number of this protocol.
const TOP: u64 = 1 << 62;
/// By how much an incarnation may be ahead of the clock: some 34 years.
const AHEAD_MAX_MS: u64 = 1 << 40;
/// The beginning of 2026. A clock with an earlier time was never set.
const NOT_BEFORE_MS: u64 = 1_767_225_600_000;
const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::{AHEAD_MAX_MS, Bad, Incarnation, Memory, NOT_BEFORE_MS, Past, PeerId, TOP};

    const NOW: u64 = 1_795_421_702_345;

    fn memory(past: Past, name: Option<&str>) -> Memory {
        Memory {
            incarnation: Incarnation(NOW),
            past,
            name: name.map(|name| PeerId::new(name).unwrap()),
        }
    }

    #[track_caller]
    fn check_bad(bytes: &[u8], words: &str) {
        match Memory::decode(bytes, NOW) {
            Err(Bad::Content(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{:?} is {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_less() {
        for past in [Past::Fresh, Past::Veteran, Past::NewLog] {
            for name in [None, Some("vm-1a2b")] {
                let memory = memory(past, name);
                let text = memory.encode();
                assert_eq!(Memory::decode(text.as_bytes(), NOW), Ok(memory.clone()));
                for length in 0..text.len() {
                    assert!(
                        Memory::decode(&text.as_bytes()[..length], NOW).is_err(),
                        "cut to {length} bytes"
                    );
                }
                for at in 0..text.len() {
                    let mut changed = text.clone().into_bytes();
                    changed[at] ^= 1;
                    assert!(Memory::decode(&changed, NOW).is_err(), "byte {at} changed");
                }
            }
        }
    }

    #[test]
    fn the_form_is_a_contract() {
        let text = memory(Past::Veteran, Some("kitchen")).encode();
        assert_eq!(text, "peer-memory 2 1795421702345 veteran kitchen b5f088c24bf004a6\n");
    }

    #[test]
    fn the_older_form_is_read() {
        let read = |text: &str| Memory::decode(text.as_bytes(), NOW);
        assert_eq!(read("1795421702345\n"), Ok(memory(Past::Fresh, None)));
        assert_eq!(read("1795421702345 veteran\n"), Ok(memory(Past::Veteran, None)));
        assert_eq!(read("1795421702345 new-log\n"), Ok(memory(Past::NewLog, None)));
    }

    #[test]
    fn what_is_no_memory_is_said() {
        check_bad(b"", "empty");
        check_bad(&[0; 22], "22 NUL bytes");
        check_bad(b"1795421702345\0\0\0\n", "something else");
        check_bad(b"rubbish\n", "`rubbish");
        check_bad(b"7 rubbish\n", "something else");
        check_bad(b"7 veteran of sorts\n", "something else");
        check_bad(b"-7\n", "something else");
        check_bad(b"1795421702345", "no end");
        check_bad(b"peer-memory 2 1795421702345 veteran pe", "no end");
        check_bad(b"\xff\xfe\n", "something else");
        check_bad(b"peer-memory 2 \n", "checksum");
        check_bad(&[b'7'; 300], "longer than");
    }

    #[test]
    fn numbers_have_a_top() {
        let read = |number: u64, now| Memory::decode(format!("{number}\n").as_bytes(), now).is_ok();
        assert!(read(NOW + AHEAD_MAX_MS, NOW) && !read(NOW + AHEAD_MAX_MS + 1, NOW));
        assert!(read(TOP, TOP) && !read(TOP + 1, TOP));
        assert!(
            read(NOT_BEFORE_MS + AHEAD_MAX_MS, 0),
            "a board without a clock of its own begins in 1970"
        );
        assert!(!read(u64::MAX, NOW));
        assert!(matches!(Memory::decode(b"99999999999999999999999\n", NOW), Err(Bad::Beyond(_))));
    }
}
