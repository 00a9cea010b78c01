//! The place of a quotation in a page of Rust, and its function: `weave` needs both of a mutant,
//! and `cargo-mutants` does not provide them for hand-written ones.
//!
//! Parses no more of Rust than it needs to see where functions begin and end. The tests at the
//! bottom of a page are ignored.

use crate::mutants::mutant::{Place, Span};

/// The place of `quoted`, and the outermost function around it. White space does not count: a
/// formatter may have broken the line.
pub(crate) fn find(page: &str, quoted: &str) -> Result<(Span, Span), String> {
    let code = &page[..page.find("\n#[cfg(test)]\n").unwrap_or(page.len())];
    let ((dense, places), (wanted, _)) = (dense(code), dense(quoted));
    let mut found = dense.windows(wanted.len()).enumerate().filter(|(_, text)| *text == wanted);
    let (first, _) = found.next().ok_or("is not found; the core has moved on")?;
    if found.next().is_some() {
        return Err("is found more than once; quote more of it".to_owned());
    }
    let (at, end) = (places[first], places[first + wanted.len() - 1] + 1);
    let function = functions(code).into_iter().find(|(from, to)| *from <= at && end <= *to);
    let (from, to) = function.ok_or("is in no function")?;
    Ok((span(code, at, end), span(code, from, to)))
}

/// The bytes of a text without white space, and without a comma before a closing bracket, each with
/// its offset.
fn dense(text: &str) -> (Vec<u8>, Vec<usize>) {
    let solid = |(_, byte): &(usize, u8)| !byte.is_ascii_whitespace();
    let bytes: Vec<(usize, u8)> = text.bytes().enumerate().filter(solid).collect();
    let is_layout = |at: usize| {
        let next = bytes.get(at + 1).map(|(_, byte)| *byte);
        bytes[at].1 == b',' && next.is_some_and(|next| matches!(next, b')' | b']' | b'}'))
    };
    let kept = (0..bytes.len()).filter(|at| !is_layout(*at)).map(|at| bytes[at]);
    kept.map(|(place, byte)| (byte, place)).unzip()
}

fn span(text: &str, from: usize, to: usize) -> Span {
    Span { start: place(text, from), end: place(text, to) }
}

fn place(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line, column }
}

/// The outermost functions: from `fn` to the last brace.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let bare = bare(code);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) =
        bare[at..].windows(3).position(|word| word == b"fn ").map(|next| at + next)
    {
        at = next + 3;
        let is_word =
            next == 0 || !(bare[next - 1].is_ascii_alphanumeric() || bare[next - 1] == b'_');
        let is_named =
            bare.get(at).is_some_and(|letter| letter.is_ascii_alphabetic() || *letter == b'_');
        if let Some(end) = (is_word && is_named).then(|| end_of(&bare, at)).flatten() {
            found.push((next, end));
            at = end;
        }
    }
    found
}

/// The end of the body of the function whose name is there; none if it has no body.
fn end_of(bare: &[u8], name: usize) -> Option<usize> {
    let (mut brackets, mut braces) = (0_u32, 0_u32);
    for (at, letter) in bare.iter().enumerate().skip(name) {
        match letter {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.checked_sub(1)?,
            b';' if brackets == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && brackets == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The page with spaces for every byte of a comment, a string or a character, so that each
/// remaining bracket is code.
fn bare(code: &str) -> Vec<u8> {
    let (text, mut bare) = (code.as_bytes(), code.as_bytes().to_vec());
    let mut at = 0;
    while at < text.len() {
        let end = match text[at..] {
            [b'/', b'/', ..] => until(code, at, "\n"),
            [b'/', b'*', ..] => until(code, at + 2, "*/"),
            [b'"', ..] => quoted(text, at + 1, b'"'),
            [b'\'', b'\\', ..] => quoted(text, at + 1, b'\''),
            // A character literal, not a lifetime.
            [b'\'', ..] if code[at + 1..].chars().nth(1) == Some('\'') => until(code, at + 1, "'"),
            [b'r', b'#', b'"', ..] => until(code, at + 3, "\"#"),
            _ => {
                at += 1;
                continue;
            }
        };
        bare[at..end].fill(b' ');
        at = end;
    }
    bare
}

/// The offset after the next `mark`.
fn until(code: &str, from: usize, mark: &str) -> usize {
    code[from..].find(mark).map_or(code.len(), |at| from + at + mark.len())
}

/// The offset after the next quotation mark without a backslash before it.
fn quoted(text: &[u8], from: usize, mark: u8) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != mark {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::find;

    const PAGE: &str = r##"//! fn none() {
impl A {
    /// Says } to all.
    pub(crate) fn one<'a>(&'a self, [b]: [u8; 2]) -> impl Fn(u8) -> u8 {
        let odd = ['{', '\'', '"'];
        fn inner() -> &'static str { "}\"}" }
        move |x| x + 1 // }
    }
}

trait T {
    fn promised(&self);
    fn given(&self) -> u8 { 7 }
}

const SEVEN: u8 = 77;

#[cfg(test)]
mod tests {
    fn one() { x + 1 }
}
"##;

    /// Line and column of the quotation, line and column of its function, and the last line of the
    /// function.
    type Found = ([usize; 2], [usize; 2], usize);

    #[track_caller]
    fn check(quoted: &str, expected: Result<Found, &str>) {
        let found = find(PAGE, quoted).map(|(span, function)| {
            let [start, begin] =
                [span.start, function.start].map(|place| [place.line, place.column]);
            (start, begin, function.end.line)
        });
        assert_eq!(found, expected.map_err(str::to_owned), "{quoted}");
    }

    #[test]
    fn a_quotation_is_found_in_the_outermost_function_around_it() {
        check("x + 1", Ok(([7, 18], [4, 16], 8)));
        check("\"}\\\"}\"", Ok(([6, 38], [4, 16], 8)));
        check("7 }", Ok(([13, 29], [13, 5], 13)));
        check("['{', '\\'',\n  '\"',\n]", Ok(([5, 19], [4, 16], 8)));
    }

    #[test]
    fn what_stands_nowhere_twice_or_in_no_function_is_refused() {
        check("x + 2", Err("is not found; the core has moved on"));
        check("move |y|", Err("is not found; the core has moved on"));
        check("self", Err("is found more than once; quote more of it"));
        check("77", Err("is in no function"));
        check("mod tests", Err("is not found; the core has moved on"));
    }
}
