//! Cuts a byte stream into frames, whatever pieces it arrives in.
//!
//! Small frames are copied out of the buffer they arrived in. A large one gets memory of its own as
//! soon as its length is known, of just its size, and whoever reads from a socket can read the rest
//! of it right into its place ([`Cutter::rest`]). So little is copied, and a frame that is kept
//! keeps nothing else. What is no stream of ours is refused as early as it can be told: at the
//! fourth byte if the length is out of bounds, at the fifth if the magic is missing.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::error::WireError;

use super::{FIRST_FRAME_MAX, FRAME_MAX, HEADER, MAGIC, PREFIX, SMALL_FRAME_MAX, length_error};

/// The unread part of one byte stream. Holds at most one frame and what was pushed behind it, as
/// long as [`Cutter::next`] is called until it has nothing more before the next push.
#[derive(Debug, Default)]
pub struct Cutter {
    buffer: BytesMut,
    /// A large frame that has begun to arrive, without its length; nothing stands in the buffer
    /// then.
    large: Option<Large>,
    /// Whether the last frame was a large one: others may follow.
    bulky: bool,
    /// Whether a first frame has passed; until then, lengths are bounded tightly.
    greeted: bool,
    /// Whether frames above [`SMALL_FRAME_MAX`] are held back until somebody allows them.
    wary: bool,
}

#[derive(Debug)]
struct Large {
    held: Vec<u8>,
    length: usize,
}

impl Cutter {
    /// For a stream that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a stream of somebody who is not known yet: a large frame is held back until
    /// [`Cutter::allow_large`].
    #[must_use]
    pub fn wary() -> Self {
        Self { wary: true, ..Self::default() }
    }

    /// From now on large frames may come.
    pub fn allow_large(&mut self) {
        self.wary = false;
    }

    /// The length of the large frame that is held back, if one is.
    #[must_use]
    pub fn held_back(&self) -> Option<usize> {
        let (prefix, _) = self.buffer.split_first_chunk::<PREFIX>()?;
        let length = u32::from_be_bytes(*prefix) as usize;
        (self.wary && self.greeted && (SMALL_FRAME_MAX + 1..=FRAME_MAX).contains(&length))
            .then_some(length)
    }

    /// How many bytes of frames are here that have not arrived in full.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() + self.large.as_ref().map_or(0, |large| large.held.len())
    }

    /// Takes what has arrived.
    pub fn push(&mut self, mut arrived: &[u8]) {
        if let Some(large) = &mut self.large {
            let missing = large.length.saturating_sub(large.held.len()).min(arrived.len());
            large.held.extend_from_slice(&arrived[..missing]);
            arrived = &arrived[missing..];
        }
        if !arrived.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer = BytesMut::with_capacity(CHUNK.max(arrived.len()));
            }
            self.buffer.extend_from_slice(arrived);
        }
    }

    /// Where the rest of a large frame belongs that has begun to arrive: there is capacity for all
    /// of it, or, of a very large one, for as much again as has come. Whatever is appended there
    /// has been taken.
    pub fn rest(&mut self) -> Option<&mut Vec<u8>> {
        let Large { held, length } = self.large.as_mut()?;
        if held.len() == held.capacity() {
            // A length alone is nobody's claim to memory.
            held.reserve_exact((*length - held.len()).min(held.len()));
        }
        Some(held)
    }

    /// How much to read, where the rest of no large frame is awaited: as much as there is, or,
    /// behind a large frame, no more than it takes to see how long the next one is.
    #[must_use]
    pub fn appetite(&self) -> usize {
        if self.bulky { PEEK } else { usize::MAX }
    }

    /// The next whole frame, without its length; nothing as long as it has not arrived in full, or
    /// is held back.
    ///
    /// # Errors
    /// [`WireError::Length`] or [`WireError::Magic`]. They stay: the stream cannot be followed any
    /// further.
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: nothing now is not the end, and it can fail"
    )]
    pub fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        if let Some(large) = &mut self.large {
            if large.held.len() < large.length {
                return Ok(None);
            }
            let behind = large.held.split_off(large.length);
            let frame = std::mem::take(&mut large.held).into();
            self.large = None;
            if !behind.is_empty() {
                self.buffer =
                    BytesMut::from_iter(behind.into_iter().chain(std::mem::take(&mut self.buffer)));
            }
            return Ok(Some(frame));
        }
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        let most = if self.greeted { FRAME_MAX } else { FIRST_FRAME_MAX };
        if !(HEADER..=most).contains(&length) {
            return Err(length_error(length, most));
        }
        let seen = rest.len().min(MAGIC.len());
        if rest[..seen] != MAGIC[..seen] {
            return Err(WireError::Magic);
        }
        if self.held_back().is_some() {
            return Ok(None);
        }
        if rest.len() < length {
            if length > CHUNK && seen == MAGIC.len() {
                let mut held = Vec::with_capacity(length.min(AT_ONCE));
                held.extend_from_slice(rest);
                self.large = Some(Large { held, length });
                self.bulky = true;
                self.empty_buffer();
            }
            return Ok(None);
        }
        self.greeted = true;
        self.bulky = length > CHUNK;
        // A share of the buffer would keep all of it, for as long as a reading of a few bytes is
        // kept.
        let frame = Bytes::copy_from_slice(&rest[..length]);
        self.buffer.advance(PREFIX + length);
        if length > CHUNK && self.buffer.is_empty() {
            self.empty_buffer();
        }
        Ok(Some(frame))
    }

    /// Nothing of it is needed any more.
    fn empty_buffer(&mut self) {
        if self.buffer.capacity() > CHUNK {
            self.buffer = BytesMut::new()
        } else {
            self.buffer.clear()
        }
    }
}

/// What a quiet stream keeps in memory, in bytes; larger frames get memory of their own.
const CHUNK: usize = 16 << 10;
/// Memory that is taken for a frame on the strength of its length, in bytes.
const AT_ONCE: usize = 256 << 10;
/// What is read behind a large frame, in bytes.
const PEEK: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::draw::draw;
    use crate::error::WireError;
    use crate::id::{Incarnation, Member, Oseq, PeerId};
    use crate::log::entry::{Request, Requests};
    use crate::log::readings::Readings;
    use crate::wire::frame::tests::samples::samples;
    use crate::wire::frame::{
        FIRST_FRAME_MAX, FRAME_MAX, HEADER, MAGIC, PREFIX, SMALL_FRAME_MAX, decode, encode,
    };
    use crate::wire::message::Message;

    use super::{AT_ONCE, CHUNK, Cutter};

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
            assert_eq!(
                frames.iter().map(|frame| decode(frame).unwrap()).collect::<Vec<_>>(),
                messages
            );
        }
        // A frame that is still on its way is no frame.
        assert_eq!(cut(&stream[..stream.len() - 1], 64).unwrap().len(), messages.len() - 1);
    }

    #[test]
    fn a_large_frame_of_a_stranger_waits_until_it_is_allowed() {
        let request = |bytes: usize| {
            let origin = Member { id: PeerId::new("peer1").unwrap(), inc: Incarnation(1) };
            let readings = Readings::one(Bytes::from(vec![b'x'; bytes]), 0);
            let run = vec![Request::Readings {
                guarantee: crate::guarantee::Guarantee::Agreed,
                readings,
            }];
            Message::SequencerRequest(Requests { origin, first: Oseq(1), run })
        };
        let messages = [
            Message::Leave,
            request(SMALL_FRAME_MAX - 1_000),
            request(SMALL_FRAME_MAX),
            Message::Leave,
        ];
        let mut stream = Vec::new();
        messages.iter().for_each(|message| encode(message, &mut stream));
        let mut cutter = Cutter::wary();
        let mut read = Vec::new();
        for (at, arrived) in stream.chunks(1_000).enumerate() {
            cutter.push(arrived);
            while let Some(frame) = cutter.next().unwrap() {
                read.push(decode(&frame).unwrap());
            }
            assert!(read.len() <= 2 || at >= 100, "a large one has passed");
            if cutter.held_back().is_some() && at >= 100 {
                cutter.allow_large();
            }
        }
        while let Some(frame) = cutter.next().unwrap() {
            read.push(decode(&frame).unwrap());
        }
        assert_eq!((read, cutter.held()), (messages.to_vec(), 0));
    }

    #[test]
    fn the_rest_of_a_large_frame_can_be_put_right_into_its_place() {
        let large = |n: u8| {
            let origin = Member { id: PeerId::new("peer1").unwrap(), inc: Incarnation(1) };
            let readings = Readings::one(Bytes::from(vec![n; 40_000 * usize::from(n)]), 0);
            let run = vec![Request::Readings {
                guarantee: crate::guarantee::Guarantee::Agreed,
                readings,
            }];
            Message::SequencerRequest(Requests { origin, first: Oseq(1), run })
        };
        let messages = [
            Message::Leave,
            large(1),
            large(2),
            Message::Leave,
            Message::Leave,
            large(30),
            Message::Leave,
        ];
        let mut stream = Vec::new();
        messages.iter().for_each(|message| encode(message, &mut stream));
        for (piece, beyond) in [(1_000, 0), (70_000, 0), (333, 17), (70_000, 50_000)] {
            let (mut cutter, mut frames, mut rest) = (Cutter::new(), Vec::new(), &stream[..]);
            while !rest.is_empty() {
                let appetite = cutter.appetite();
                let count = if let Some(place) = cutter.rest() {
                    // A reader may find more capacity than there is of the frame.
                    let missing = place.capacity() - place.len();
                    let count = piece.min(missing + beyond).min(rest.len());
                    place.extend_from_slice(&rest[..count]);
                    count
                } else {
                    let count = piece.min(appetite).min(rest.len());
                    cutter.push(&rest[..count]);
                    count
                };
                rest = &rest[count..];
                while let Some(frame) = cutter.next().unwrap() {
                    frames.push(decode(&frame).unwrap());
                }
            }
            assert_eq!(frames, messages, "{piece} bytes at a time");
            assert!(
                cutter.buffer.capacity() <= CHUNK.max(piece),
                "{} bytes are kept",
                cutter.buffer.capacity()
            );
        }
    }

    #[test]
    fn a_length_alone_takes_little_memory() {
        let mut stream = Vec::new();
        encode(&Message::Leave, &mut stream);
        stream.extend(u32::try_from(FRAME_MAX).unwrap().to_be_bytes());
        stream.extend(MAGIC);
        let mut cutter = Cutter::new();
        cutter.push(&stream);
        assert!(cutter.next().unwrap().is_some() && cutter.next().unwrap().is_none());
        let mut held = MAGIC.len();
        for _ in 0..3 {
            let place = cutter.rest().expect("a large frame has begun");
            assert!(
                place.len() == held && place.capacity() <= AT_ONCE.max(2 * held),
                "{} for {held}",
                place.capacity()
            );
            place.resize(place.capacity(), 0);
            held = place.capacity();
            assert!(cutter.next().unwrap().is_none());
        }
    }

    #[test]
    fn what_is_no_stream_of_ours_is_refused_at_once() {
        let http = cut(b"GET / HTTP/1.1\r\n", 1);
        assert_eq!(
            http,
            Err(WireError::Length { length: 0x4745_5420, least: HEADER, most: FIRST_FRAME_MAX })
        );
        assert_eq!(cut(&[0, 0, 1, 0, b'x'], 1), Err(WireError::Magic));
        assert_eq!(cut(&[0, 0, 1, 0, MAGIC[0], MAGIC[1], b'x'], 1), Err(WireError::Magic));
        assert_eq!(
            cut(&[0, 0, 0, 0], 1),
            Err(WireError::Length { length: 0, least: HEADER, most: FIRST_FRAME_MAX })
        );
        for k in 0..1_000 {
            let bytes: Vec<u8> =
                (0..64).flat_map(|n| draw(5, "stream", k * 64 + n).to_be_bytes()).collect();
            assert!(
                matches!(cut(&bytes, 16), Err(WireError::Length { .. } | WireError::Magic)),
                "stream {k}"
            );
        }
    }

    #[test]
    fn only_a_greeted_stream_may_send_large_frames() {
        let large = (FIRST_FRAME_MAX + 1).to_be_bytes()[4..].to_vec();
        let refused =
            WireError::Length { length: FIRST_FRAME_MAX + 1, least: HEADER, most: FIRST_FRAME_MAX };
        assert_eq!(cut(&large, 4), Err(refused));
        let mut greeted = Vec::new();
        encode(&Message::Leave, &mut greeted);
        greeted.extend(&large);
        assert_eq!(cut(&greeted, 4).unwrap().len(), 1);
        greeted.truncate(greeted.len() - 4);
        greeted.extend(u32::try_from(FRAME_MAX + 1).unwrap().to_be_bytes());
        assert_eq!(
            cut(&greeted, 4),
            Err(WireError::Length { length: FRAME_MAX + 1, least: HEADER, most: FRAME_MAX })
        );
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
        let run = vec![Request::Readings {
            guarantee: crate::guarantee::Guarantee::Agreed,
            readings: Readings::one(payload, 0),
        }];
        let mut stream = Vec::new();
        encode(&Message::Leave, &mut stream);
        encode(&Message::SequencerRequest(Requests { origin, first: Oseq(1), run }), &mut stream);
        encode(&Message::Leave, &mut stream);
        // Whoever drops the frame frees its memory, whether or not something had arrived behind it.
        for stream in [
            &stream[..],
            &stream[..stream.len() - 1],
            &stream[..stream.len() - PREFIX - HEADER - 5],
        ] {
            let mut cutter = Cutter::new();
            for arrived in stream.chunks(10_000) {
                cutter.push(arrived);
                while let Some(frame) = cutter.next().unwrap() {
                    assert!(frame.len() < CHUNK || frame.is_unique());
                }
            }
            assert!(
                cutter.buffer.capacity() <= CHUNK,
                "{} bytes are kept",
                cutter.buffer.capacity()
            );
        }
    }
}
