//! The last frames of a run, kept in memory up to a bound, as a `pcapng` file: each frame with its
//! sending host and, if it was dropped, the name of the rule that dropped it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last frames.
#[derive(Debug, Default)]
pub struct Capture {
    frames: VecDeque<Captured>,
    bytes: usize,
}

#[derive(Debug)]
struct Captured {
    time: SystemTime,
    /// The port that it came from.
    port: u32,
    /// A comment on the frame, if it was dropped.
    word: Option<Arc<str>>,
    frame: Vec<u8>,
}

impl Capture {
    /// Keeps a frame; the oldest frames make room for it.
    pub fn keep(&mut self, port: u32, frame: &[u8], word: Option<Arc<str>>, time: SystemTime) {
        self.bytes += frame.len() + OVERHEAD;
        self.frames.push_back(Captured { time, port, word, frame: frame.to_vec() });
        while let Some(oldest) = self.frames.front() {
            let age = time.duration_since(oldest.time).unwrap_or_default();
            if self.bytes <= BYTES_MAX && age <= AGE_MAX {
                break;
            }
            self.bytes -= oldest.frame.len() + OVERHEAD;
            self.frames.pop_front();
        }
    }

    /// The file. `ports` are the names of the ports, in the order of their numbers.
    #[must_use]
    pub fn file(&self, ports: &[String]) -> Vec<u8> {
        let mut file = Vec::with_capacity(self.bytes + 4_096);
        // The section: byte order, version 1.0, length unknown.
        block(&mut file, 0x0A0D_0D0A, |body| {
            body.extend(0x1A2B_3C4D_u32.to_le_bytes());
            body.extend([1, 0, 0, 0]);
            body.extend([0xFF; 8]);
        });
        for name in ports {
            block(&mut file, 1, |body| {
                // Ethernet; frames are kept whole.
                body.extend([1, 0, 0, 0, 0, 0, 0, 0]);
                option(body, IF_NAME, name);
                body.extend([0; 4]);
            });
        }
        for Captured { time, port, word, frame } in &self.frames {
            let stamp =
                u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros())
                    .unwrap_or(u64::MAX);
            let (high, low) = ((stamp >> 32) as u32, (stamp & u64::from(u32::MAX)) as u32);
            let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            block(&mut file, 6, |body| {
                [*port, high, low, length, length]
                    .iter()
                    .for_each(|word| body.extend(word.to_le_bytes()));
                body.extend(frame);
                pad(body);
                if let Some(word) = word {
                    option(body, COMMENT, word);
                    body.extend([0; 4]);
                }
            });
        }
        file
    }
}

/// A block: its kind, its length, its body, its length again.
fn block(file: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    pad(&mut body);
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}

fn option(body: &mut Vec<u8>, code: u16, text: &str) {
    let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(text);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// How many bytes are kept at most.
const BYTES_MAX: usize = 8 << 20;
/// How long a frame is kept at most.
const AGE_MAX: Duration = Duration::from_secs(30);
/// The overhead of a kept frame, beside its own bytes.
const OVERHEAD: usize = 64;
/// The longest text of an option, in bytes.
const TEXT_MAX: usize = 255;
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;

#[cfg(test)]
mod tests {
    use super::{AGE_MAX, BYTES_MAX, Capture};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn blocks_are_whole_and_aligned() {
        let mut capture = Capture::default();
        capture.keep(0, &[7; 61], None, UNIX_EPOCH + Duration::from_secs(5));
        capture.keep(1, &[8; 60], Some("cut".into()), UNIX_EPOCH + Duration::from_secs(6));
        let file = capture.file(&["peer1".to_owned(), "peer2".to_owned()]);
        let (mut at, mut kinds) = (0, vec![]);
        while at < file.len() {
            let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            let length = usize::try_from(word(at + 4)).unwrap();
            assert_eq!(length % 4, 0);
            assert_eq!(word(at + length - 4), word(at + 4), "the length stands at both ends");
            kinds.push(word(at));
            at += length;
        }
        assert_eq!(kinds, [0x0A0D_0D0A, 1, 1, 6, 6]);
        assert!(file.windows(3).any(|three| three == b"cut"));
    }

    #[test]
    fn only_the_last_frames_are_kept() {
        let mut capture = Capture::default();
        for second in 0..20 {
            capture.keep(0, &vec![0; 1 << 20], None, UNIX_EPOCH + Duration::from_secs(second));
        }
        assert!(capture.file(&[]).len() <= BYTES_MAX + (1 << 20));
        capture.keep(0, &[0; 60], None, UNIX_EPOCH + Duration::from_secs(19) + 2 * AGE_MAX);
        assert!(capture.file(&[]).len() < 200);
    }
}
