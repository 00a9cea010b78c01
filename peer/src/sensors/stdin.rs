//! Lines of standard input: any program can be a sensor.
//!
//! Reading blocks, so it has a thread of its own. Nothing is lost: while the group takes no more (the sender's window
//! is full), the queue here fills, the thread stops reading, and whoever writes the lines is held up by the pipe. The
//! end of the input ends the sensor and not the peer.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use bytes::Bytes;
use mio::Waker;

use super::payload;

/// The lines that have been read and not yet been taken.
#[derive(Debug)]
pub struct Lines {
    batches: Receiver<Vec<Bytes>>,
    batch: VecDeque<Bytes>,
    ended: bool,
}

impl Lines {
    /// Reads lines of at most `line_max` bytes from `input` on a thread of its own, and wakes the loop when there are some.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(input: impl Read + Send + 'static, line_max: usize, waker: Arc<Waker>) -> io::Result<Self> {
        let (sender, batches) = sync_channel(BATCHES);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            read_lines(BufReader::with_capacity(BUFFER_BYTES, input), line_max, &sender, &waker);
            // The end is told by the sender going away; the loop has to look.
            drop(sender);
            let _loop_is_gone = waker.wake();
        })?;
        Ok(Self { batches, batch: VecDeque::new(), ended: false })
    }

    /// The next line.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.batch.is_empty() && !self.ended {
            match self.batches.try_recv() {
                Ok(batch) => self.batch = batch.into(),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    log::info!("Standard input has ended; this peer goes on.");
                }
            }
        }
        self.batch.pop_front()
    }

    /// Puts lines back that were taken last, oldest first.
    pub fn put_back(&mut self, lines: Vec<Bytes>) {
        lines.into_iter().rev().for_each(|line| self.batch.push_front(line));
    }
}

fn read_lines(mut input: BufReader<impl Read>, line_max: usize, sender: &SyncSender<Vec<Bytes>>, waker: &Waker) {
    let mut batch = Vec::new();
    let (mut open, mut too_long) = (true, 0_u64);
    while open {
        match read_line(&mut input, line_max) {
            Ok(Some(Line::Whole(line))) => batch.push(line),
            Ok(Some(Line::TooLong(length))) => {
                too_long += 1;
                if too_long.is_power_of_two() {
                    log::warn!(
                        "A line of {length} bytes on standard input is not published; payload_max is {line_max} ({too_long} so far)."
                    );
                }
            }
            Ok(None) => open = false,
            Err(error) => {
                log::warn!("Cannot read standard input any further: {error}.");
                open = false;
            }
        }
        // What can be had without blocking goes together; what is there must not wait for what may never come.
        let more = open && batch.len() < BATCH_LINES && input.buffer().contains(&b'\n');
        if !more && !hand_over(&mut batch, sender, waker) {
            return;
        }
    }
}

enum Line {
    Whole(Bytes),
    TooLong(usize),
}

/// Reads one line, without its end (LF or CR LF) and without a byte order mark in front; none at the end of the input. Of a line that is too long only the length is kept.
fn read_line(input: &mut impl BufRead, line_max: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut length = 0;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        length += part.len();
        if length <= line_max + EDGES {
            line.extend_from_slice(part);
        } else {
            line = Vec::new();
        }
        let (at_end, nothing) = (chunk.is_empty(), chunk.is_empty() && length == 0);
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if nothing {
            return Ok(None);
        }
        if at_end || end.is_some() {
            let bare = if length <= line_max + EDGES { Some(bare(line)).filter(|line| line.len() <= line_max) } else { None };
            return Ok(Some(bare.map_or(Line::TooLong(length), Line::Whole)));
        }
    }
}

/// The line without what terminals, serial lines and editors of other systems put around it.
fn bare(line: Vec<u8>) -> Bytes {
    let line = Bytes::from(line);
    line.slice_ref(payload::trim(&line))
}

/// Hands the batch to the loop, waiting for room; false when there is no loop any more.
fn hand_over(batch: &mut Vec<Bytes>, sender: &SyncSender<Vec<Bytes>>, waker: &Waker) -> bool {
    batch.is_empty() || sender.send(std::mem::take(batch)).is_ok() && waker.wake().is_ok()
}

/// How much longer than a reading its line may be: a byte order mark and a carriage return.
const EDGES: usize = 4;
const BATCHES: usize = 4;
const BATCH_LINES: usize = 256;
const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{Line, read_line};

    #[track_caller]
    fn check_lines(text: &[u8], expected: &[Result<&str, usize>]) {
        let mut input = std::io::BufReader::with_capacity(3, text);
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input, 6).unwrap() {
            lines.push(match line {
                Line::Whole(line) => Ok(String::from_utf8(line.to_vec()).unwrap()),
                Line::TooLong(length) => Err(length),
            });
        }
        let expected: Vec<_> = expected.iter().map(|line| line.map(str::to_owned)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_are_verbatim_and_bounded() {
        check_lines(b"", &[]);
        check_lines(b"a\n\n b \n", &[Ok("a"), Ok(""), Ok(" b ")]);
        check_lines(b"a\r\n\r\nb\r\r\nc\rd\r", &[Ok("a"), Ok(""), Ok("b"), Ok("c\rd")]);
        check_lines(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", &[Ok("a"), Ok("b")]);
        check_lines(b"123456\n1234567\nlast", &[Ok("123456"), Err(7), Ok("last")]);
        check_lines(b"1234567", &[Err(7)]);
        check_lines(b"\xef\xbb\xbf123456\r\n1234567\r\n", &[Ok("123456"), Err(8)]);
    }
}
