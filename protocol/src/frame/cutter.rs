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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::draw::draw;
    use crate::error::WireError;
    use crate::frame::tests::samples::samples;
    use crate::frame::{FIRST_FRAME_MAX, FRAME_MAX, HEADER, MAGIC, PREFIX, decode, encode};
    use crate::id::{Incarnation, Member, Oseq, PeerId};
    use crate::message::{Message, Requests, Wish};
    use crate::readings::Readings;

    use super::{CHUNK, Cutter};

    /// Cuts `stream`, pushed in pieces of `piece` bytes.
    fn cut(stream: &[u8], piece: usize) -> Result<Vec<Bytes>, WireError> {
        let mut cutter = Cutter::new();
        let mut frames = Vec::new();
        for arrived in stream.chunks(piece) {
            cutter.push(arrived);
            while let Some(frame) = cutter.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_stream_is_cut_alike_whatever_its_pieces() {
        let messages: Vec<Message> = samples().into_iter().map(|(message, _)| message).collect();
        let mut stream = Vec::new();
        for message in &messages {
            encode(message, &mut stream);
        }
        for piece in [1, 2, 3, 7, 64, 1_000, stream.len()] {
            let frames = cut(&stream, piece).unwrap();
            assert_eq!(frames.iter().map(|frame| decode(frame).unwrap()).collect::<Vec<_>>(), messages);
        }
        // A frame that is still on its way is no frame.
        assert_eq!(cut(&stream[..stream.len() - 1], 64).unwrap().len(), messages.len() - 1);
    }

    #[test]
    fn what_is_no_stream_of_ours_is_refused_at_once() {
        let http = cut(b"GET / HTTP/1.1\r\n", 1);
        assert_eq!(http, Err(WireError::Length { length: 0x4745_5420, least: HEADER, most: FIRST_FRAME_MAX }));
        assert_eq!(cut(&[0, 0, 1, 0, b'x'], 1), Err(WireError::Magic));
        assert_eq!(cut(&[0, 0, 1, 0, MAGIC[0], MAGIC[1], b'x'], 1), Err(WireError::Magic));
        assert_eq!(cut(&[0, 0, 0, 0], 1), Err(WireError::Length { length: 0, least: HEADER, most: FIRST_FRAME_MAX }));
        for k in 0..1_000 {
            let bytes: Vec<u8> = (0..64).flat_map(|n| draw(5, "stream", k * 64 + n).to_be_bytes()).collect();
            assert!(matches!(cut(&bytes, 16), Err(WireError::Length { .. } | WireError::Magic)), "stream {k}");
        }
    }

    #[test]
    fn only_a_greeted_stream_may_send_large_frames() {
        let large = (FIRST_FRAME_MAX + 1).to_be_bytes()[4..].to_vec();
        let refused = WireError::Length { length: FIRST_FRAME_MAX + 1, least: HEADER, most: FIRST_FRAME_MAX };
        assert_eq!(cut(&large, 4), Err(refused));
        let mut greeted = Vec::new();
        encode(&Message::Leave, &mut greeted);
        greeted.extend(&large);
        assert_eq!(cut(&greeted, 4).unwrap().len(), 1);
        greeted.truncate(greeted.len() - 4);
        greeted.extend(u32::try_from(FRAME_MAX + 1).unwrap().to_be_bytes());
        assert_eq!(cut(&greeted, 4), Err(WireError::Length { length: FRAME_MAX + 1, least: HEADER, most: FRAME_MAX }));
    }

    #[test]
    fn an_error_stays() {
        let mut cutter = Cutter::new();
        cutter.push(b"GET / HTTP/1.1\r\n");
        let first = cutter.next();
        assert!(first.is_err());
        cutter.push(&[0; 100]);
        assert_eq!(cutter.next(), first);
    }

    #[test]
    fn a_large_frame_is_not_shared_with_the_cutter() {
        let payload = Bytes::from(vec![b'x'; 4 << 20]);
        let origin = Member { id: PeerId::new("peer1").unwrap(), inc: Incarnation(1) };
        let run = vec![Wish::Readings { guarantee: crate::guarantee::Guarantee::Agreed, readings: Readings::one(payload, 0) }];
        let mut stream = Vec::new();
        encode(&Message::Leave, &mut stream);
        encode(&Message::SequencerRequest(Requests { origin, first: Oseq(1), run }), &mut stream);
        encode(&Message::Leave, &mut stream);
        // Whoever drops the frame frees its memory, whether or not something had arrived behind it.
        for stream in [&stream[..], &stream[..stream.len() - 1], &stream[..stream.len() - PREFIX - HEADER - 5]] {
            let mut cutter = Cutter::new();
            for arrived in stream.chunks(10_000) {
                cutter.push(arrived);
                while let Some(frame) = cutter.next().unwrap() {
                    assert!(frame.len() < CHUNK || frame.is_unique());
                }
            }
            assert!(cutter.buffer.capacity() <= CHUNK, "{} bytes are kept", cutter.buffer.capacity());
        }
    }
}
