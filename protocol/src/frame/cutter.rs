//! Cuts a byte stream into frames, whatever pieces it arrives in.
//!
//! Frames are handed out as shares of the buffer they arrived in, so nothing is copied but the bytes themselves, once.
//! What is no stream of ours is refused as early as it can be told: at the fourth byte if the length is out of bounds,
//! at the fifth if the magic is missing.

use bytes::{Bytes, BytesMut};

use crate::error::WireError;

use super::{FIRST_FRAME_MAX, FRAME_MAX, HEADER, MAGIC, PREFIX, length_error};

/// The unread part of one byte stream. Holds at most one frame and what was pushed behind it, as long as [`Cutter::next`]
/// is called until it has nothing more before the next push.
#[derive(Debug, Default)]
pub struct Cutter {
    buffer: BytesMut,
    /// Whether a first frame has passed; until then, lengths are bounded tightly.
    greeted: bool,
}

impl Cutter {
    /// For a stream that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what has arrived.
    pub fn push(&mut self, arrived: &[u8]) {
        if self.buffer.capacity() == 0 {
            self.buffer = BytesMut::with_capacity(CHUNK.max(arrived.len()));
        }
        self.buffer.extend_from_slice(arrived);
    }

    /// The next whole frame, without its length; nothing as long as it has not arrived in full.
    ///
    /// # Errors
    /// [`WireError::Length`] or [`WireError::Magic`]. They stay: the stream cannot be followed any further.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: nothing now is not the end, and it can fail")]
    pub fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        let most = if self.greeted { FRAME_MAX } else { FIRST_FRAME_MAX };
        if !(HEADER..=most).contains(&length) {
            return Err(length_error(length, most));
        }
        let seen = rest.len().min(MAGIC.len());
        if rest[..seen] != MAGIC[..seen] {
            return Err(WireError::Magic);
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.greeted = true;
        let frame = self.buffer.split_to(PREFIX + length).freeze().slice(PREFIX..);
        // The rest of the buffer shares the memory of the frame, and would keep it for reuse. After a large frame it is
        // given back as soon as nobody holds the frame; what is copied is never more than the frame, so this stays linear.
        if length > CHUNK && self.buffer.len() <= length {
            let mut buffer = BytesMut::with_capacity(CHUNK.max(self.buffer.len()));
            buffer.extend_from_slice(&self.buffer);
            self.buffer = buffer;
        }
        Ok(Some(frame))
    }
}

/// What a quiet stream keeps in memory, in bytes.
const CHUNK: usize = 16 << 10;
