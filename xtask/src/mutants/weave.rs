//! All mutants of a page in one page, so that they are built together and not each separately.
//!
//! A function with two mutants becomes `match crate::mutant::number() { 1 => { … } 2 => { … } _ =>
//! { … } }`: a body with the first change, one with the second, and the unchanged body. The
//! environment selects the body (`MUTANT=2`), so one program is run again and again. Mutants that
//! do not compile are found by the lines of the compiler's errors, and left out.

use std::collections::BTreeMap;

use super::mutant::{Mutant, Place};

/// A page with these mutants of it. Fails, with the reason, if a function has an unexpected form.
pub(crate) fn weave(text: &str, mutants: &[&Mutant]) -> Result<String, String> {
    let page = Page::new(text);
    let mut functions: BTreeMap<(usize, usize), Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        let place =
            |place| page.offset(place).ok_or_else(|| format!("{} is not in its page", mutant.name));
        functions
            .entry((place(mutant.function.start)?, place(mutant.function.end)?))
            .or_default()
            .push(mutant);
    }
    let mut woven = String::new();
    let mut at = 0;
    for ((start, end), mutants) in functions {
        let name = &mutants[0].name;
        let head = text
            .get(at.max(start)..end)
            .filter(|_| start >= at)
            .ok_or_else(|| format!("{name}: a function in a function"))?;
        let body =
            start + brace(head).ok_or_else(|| format!("{name}: its function has no body"))?;
        let bodies = |before: &str, after: &str| {
            let mut arms = String::new();
            for mutant in &mutants {
                let (from, to) = (page.offset(mutant.span.start)?, page.offset(mutant.span.end)?);
                let (first, last) = (text.get(body + 1..from)?, text.get(to..end)?);
                let number = mutant.number;
                arms.push_str(&format!(
                    "\n{OPEN}{number}\n{number} => {before}{{{first} {} {last}{after},\n{CLOSE}\n",
                    mutant.replacement
                ));
            }
            Some(format!(
                "{{ match crate::mutant::number() {{{arms}_ => {before}{}{after} }} }}",
                &text[body..end]
            ))
        };
        woven.push_str(&text[at..start]);
        let signature = &text[start..body];
        // An `impl Trait` is one type, and closures with changes in them are several.
        let (signature, bodies) = match signature.split_once("-> impl ") {
            Some((front, promised)) => (
                format!("{front}-> Box<dyn {} + '_> ", promised.trim_end()),
                bodies("Box::new(", ")"),
            ),
            None => (signature.to_owned(), bodies("", "")),
        };
        woven.push_str(&signature);
        woven.push_str(&bodies.ok_or_else(|| format!("{name} is not in its function"))?);
        at = end;
    }
    woven.push_str(&text[at..]);
    Ok(woven)
}

/// The mutant of each line of a woven page.
pub(crate) fn owners(woven: &str) -> Vec<Option<usize>> {
    let mut owner = None;
    let of_line = |line: &str| {
        if let Some(number) = line.strip_prefix(OPEN) {
            owner = number.parse().ok();
        } else if line == CLOSE {
            owner = None;
        }
        owner
    };
    woven.lines().map(of_line).collect()
}

/// The module that woven pages call; it becomes a part of their crate.
pub(crate) const NUMBER: &str = r#"//! Which mutant this process is; 0 is none.

static NUMBER: std::sync::OnceLock<u32> = std::sync::OnceLock::new();

#[doc(hidden)]
pub fn number() -> u32 {
    *NUMBER.get_or_init(|| std::env::var("MUTANT").map_or(0, |number| number.parse().expect("MUTANT is a number")))
}
"#;

/// A page and where its lines begin.
struct Page<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Page<'a> {
    fn new(text: &'a str) -> Self {
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    /// The byte offset of a place.
    fn offset(&self, place: Place) -> Option<usize> {
        let start = *self.lines.get(place.line.checked_sub(1)?)?;
        let line = self.text.get(start..)?.lines().next().unwrap_or_default();
        let column = place.column.checked_sub(1)?;
        Some(start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at))
    }
}

/// The start of a function's body: the first brace outside of its docs and of brackets.
fn brace(function: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    for line in function.split_inclusive('\n') {
        let said = line.trim_start();
        if !said.starts_with("//") {
            for (column, letter) in line.char_indices() {
                match letter {
                    '(' | '[' => depth += 1,
                    ')' | ']' => depth -= 1,
                    '{' if depth == 0 => return Some(at + column),
                    _ => {}
                }
            }
        }
        at += line.len();
    }
    None
}

const OPEN: &str = "// mutant ";
const CLOSE: &str = "// end of a mutant";

#[cfg(test)]
mod tests {
    use super::{owners, weave};
    use crate::mutants::mutant::{Mutant, Place, Span};

    const PAGE: &str = "/// What { is said.\n#[must_use]\nfn more(a: u8, [b]: [u8; 1]) -> bool \
                        {\n    a > b\n}\n\nfn rest() {}\n";

    fn mutant(
        number: usize,
        function: (usize, usize),
        columns: (usize, usize),
        replacement: &str,
    ) -> Mutant {
        let span = |from: (usize, usize), to: (usize, usize)| Span {
            start: Place { line: from.0, column: from.1 },
            end: Place { line: to.0, column: to.1 },
        };
        Mutant {
            number,
            name: format!("mutant {number}"),
            file: "page.rs".to_owned(),
            function: span((function.0, 1), (function.1, 2)),
            span: span((4, columns.0), (4, columns.1)),
            replacement: replacement.to_owned(),
        }
    }

    #[test]
    fn each_mutant_is_a_body_of_its_own_and_the_original_is_kept() {
        let mutants = [mutant(3, (1, 5), (7, 8), "<"), mutant(8, (1, 5), (5, 10), "true")];
        let woven = weave(PAGE, &[&mutants[0], &mutants[1]]).unwrap();
        let body = "{ match crate::mutant::number() {\n// mutant 3\n3 => {\n    a  <  b\n},\n// \
                    end of a mutant\n\
                    \n// mutant 8\n8 => {\n     true \n},\n// end of a mutant\n_ => {\n    a > \
                    b\n} } }";
        assert_eq!(woven, PAGE.replace("{\n    a > b\n}", body));
        let owners = owners(&woven);
        let line =
            |words: &str| owners[woven.lines().position(|line| line.trim() == words).unwrap()];
        assert_eq!(
            (line("a  <  b"), line("true"), line("a > b"), line("fn rest() {}")),
            (Some(3), Some(8), None, None)
        );
    }

    #[test]
    fn what_is_promised_as_a_trait_is_boxed() {
        let page = "\n\nfn all(&self) -> impl Iterator<Item = u8> {\n    self.0.iter()\n}\n";
        let woven = weave(page, &[&mutant(1, (3, 5), (5, 18), "empty()")]).unwrap();
        assert!(
            woven.contains("-> Box<dyn Iterator<Item = u8> + '_> { match")
                && woven.contains("1 => Box::new({\n     empty() \n}),"),
            "{woven}"
        );
        assert!(woven.ends_with("_ => Box::new({\n    self.0.iter()\n}) } }\n"), "{woven}");
    }

    #[test]
    fn what_cannot_be_woven_is_named() {
        assert_eq!(
            weave(PAGE, &[&mutant(1, (7, 7), (7, 8), "<")]),
            Err("mutant 1: its function has no body".to_owned())
        );
        assert_eq!(
            weave(PAGE, &[&mutant(2, (70, 71), (7, 8), "<")]),
            Err("mutant 2 is not in its page".to_owned())
        );
    }
}
