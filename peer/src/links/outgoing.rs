//! The output queue of one link: control frames before bulk, and never one frame inside another.
//!
//! A frame is a few pieces of memory, shared with the other links that it goes to and with the log:
//! see [`protocol::frame::encode_shared`].

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use bytes::{Buf, Bytes};

/// The frames queued for one link.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The rest of a partly written frame.
    partial: VecDeque<Bytes>,
    control: VecDeque<Vec<Bytes>>,
    bulk: VecDeque<Vec<Bytes>>,
    bytes: usize,
}

impl Outgoing {
    /// Queues a frame; bulk goes after everything else.
    pub(super) fn push(&mut self, frame: Vec<Bytes>, bulk: bool) {
        self.bytes += frame.iter().map(Bytes::len).sum::<usize>();
        if bulk { self.bulk.push_back(frame) } else { self.control.push_back(frame) }
    }

    /// How many bytes are queued.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes until nothing is left or the other side accepts no more; an error of kind
    /// `WouldBlock` is no failure.
    pub(super) fn write_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        while self.bytes > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let whole = self.control.iter().chain(&self.bulk).flatten();
            for piece in
                self.partial.iter().chain(whole).filter(|piece| !piece.is_empty()).take(SLICES_MAX)
            {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
            match to.write_vectored(&slices[..count]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let Some(piece) = self.partial.front_mut() else {
                let next = self.control.pop_front().or_else(|| self.bulk.pop_front());
                self.partial = next.expect("no more was written than was queued").into();
                continue;
            };
            let step = written.min(piece.len());
            piece.advance(step);
            written -= step;
            if piece.is_empty() {
                self.partial.pop_front();
            }
        }
    }
}

/// How many pieces go into one system call.
const SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Bytes, Outgoing};
    use std::io::{self, ErrorKind, Write};

    /// Accepts a few bytes at a time, then no more.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let step = bytes.len().min(self.room).min(3);
            self.room -= step;
            self.taken.extend_from_slice(&bytes[..step]);
            Ok(step)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn control_overtakes_bulk_but_never_cuts_a_frame() {
        let mut queue = Outgoing::default();
        queue.push(
            ["<bu", "", "lk1>"].map(|piece| Bytes::from_static(piece.as_bytes())).into(),
            true,
        );
        queue.push(vec![Bytes::from_static(b"<bulk2>")], true);
        let mut narrow = Narrow { taken: Vec::new(), room: 4 };
        let blocked = queue.write_to(&mut narrow).expect_err("no more room");
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        queue.push(vec![Bytes::from_static(b"<control>")], false);
        assert_eq!(queue.bytes(), 3 + 7 + 9);
        narrow.room = 100;
        queue.write_to(&mut narrow).expect("room for all");
        assert_eq!(narrow.taken, b"<bulk1><control><bulk2>");
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn more_frames_than_one_call_takes_all_arrive() {
        let mut queue = Outgoing::default();
        for _ in 0..1_000 {
            queue.push(vec![Bytes::from_static(b"12"), Bytes::from_static(b"345")], true);
        }
        let mut all = Vec::new();
        queue.write_to(&mut all).expect("a vector takes everything");
        assert_eq!(all.len(), 5_000);
    }
}
