//! Turns bytes into lines of bounded length, however the bytes are divided into pieces.

use bytes::Bytes;

use super::payload;

/// A line, without its end (LF or CR LF) and without a leading byte order mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The whole line.
    Whole(Bytes),
    /// The length in bytes of a line that is too long.
    TooLong(usize),
}

impl Line {
    /// Whether it contains only blanks.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        matches!(self, Self::Whole(line) if line.trim_ascii().is_empty())
    }
}

/// Assembles lines from pieces.
#[derive(Debug)]
pub struct Assembler {
    line_max: usize,
    /// The current partial line; empty once it is too long.
    line: Vec<u8>,
    length: usize,
}

impl Assembler {
    /// For lines of at most this many bytes.
    #[must_use]
    pub fn new(line_max: usize) -> Self {
        Self { line_max, line: Vec::new(), length: 0 }
    }

    /// Takes the next piece; passes the lines that end in it to `each`.
    pub fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(Line)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.extend(&piece[..end]);
            each(self.end());
            piece = &piece[end + 1..];
        }
        self.extend(piece);
    }

    /// The last line, which has no end.
    pub fn finish(&mut self) -> Option<Line> {
        (self.length > 0).then(|| self.end())
    }

    /// Drops the current partial line.
    pub fn clear(&mut self) {
        (self.line, self.length) = (Vec::new(), 0);
    }

    fn extend(&mut self, part: &[u8]) {
        self.length = self.length.saturating_add(part.len());
        if self.length <= self.line_max.saturating_add(EDGES) {
            self.line.extend_from_slice(part);
        } else {
            self.line = Vec::new();
        }
    }

    fn end(&mut self) -> Line {
        let length = std::mem::take(&mut self.length);
        let line = Bytes::from(std::mem::take(&mut self.line));
        if length > self.line_max.saturating_add(EDGES) {
            return Line::TooLong(length);
        }
        let bare = line.slice_ref(payload::trim(&line));
        if bare.len() > self.line_max { Line::TooLong(length) } else { Line::Whole(bare) }
    }
}

/// How much longer than a reading its line may be: a byte order mark and a carriage return.
const EDGES: usize = 4;

#[cfg(test)]
mod tests {
    use super::{Assembler, Line};

    #[track_caller]
    fn check_lines(text: &[u8], expected: &[Result<&str, usize>]) {
        for piece in 1..=text.len().max(1) {
            let mut assembler = Assembler::new(6);
            let mut lines = Vec::new();
            text.chunks(piece).for_each(|piece| assembler.push(piece, |line| lines.push(line)));
            lines.extend(assembler.finish());
            let lines: Vec<_> = lines
                .into_iter()
                .map(|line| match line {
                    Line::Whole(line) => Ok(String::from_utf8(line.to_vec()).unwrap()),
                    Line::TooLong(length) => Err(length),
                })
                .collect();
            let expected: Vec<_> = expected.iter().map(|line| line.map(str::to_owned)).collect();
            assert_eq!(lines, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn lines_are_verbatim_and_bounded() {
        check_lines(b"", &[]);
        check_lines(b"a\n\n b \n", &[Ok("a"), Ok(""), Ok(" b ")]);
        check_lines(b"a\r\n\r\nb\r\r\nc\rd\r", &[Ok("a"), Ok(""), Ok("b"), Ok("c\rd")]);
        check_lines(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", &[Ok("a"), Ok("b")]);
        check_lines(b"123456\n1234567\nlast", &[Ok("123456"), Err(7), Ok("last")]);
        check_lines(b"1234567", &[Err(7)]);
        check_lines(b"1234567890123\n1", &[Err(13), Ok("1")]);
        check_lines(b"\xef\xbb\xbf123456\r\n1234567\r\n", &[Ok("123456"), Err(8)]);
    }
}
