//! The mistakes of a scenario file and their places: collected, sorted, and printed all at once.
//!
//! A mistake carries its byte range, so that every later message (terminal, annotation of a forge,
//! report) can point to file, line and column. Nothing here decides what a mistake is.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Where something stands in the file, in bytes.
pub type Span = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

/// The text of a scenario, and its path.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it was read from.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Source {
    /// A text with a path.
    #[must_use]
    pub fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text }
    }

    /// The line and column of a byte.
    #[must_use]
    pub fn locate(&self, byte: usize) -> Position {
        let mut end = byte.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
        }
    }

    /// `path:line:column` of a span.
    #[must_use]
    pub fn place(&self, span: &Span) -> String {
        let Position { line, column } = self.locate(span.start);
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// Whether the file can run in spite of the mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but part of it probably is not what the author meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its number, stable between builds: `S012`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// A short label at the place.
    pub label: Option<String>,
    /// How to mend it.
    pub help: Option<String>,
}

/// The mistakes of one file, as they are found.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Notes an error; the returned value can be given a label and a help text.
    pub fn error(
        &mut self,
        code: &'static str,
        span: &Span,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(code, Severity::Error, span, message.into())
    }

    /// Notes a warning.
    pub fn warning(
        &mut self,
        code: &'static str,
        span: &Span,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(code, Severity::Warning, span, message.into())
    }

    fn push(
        &mut self,
        code: &'static str,
        severity: Severity,
        span: &Span,
        message: String,
    ) -> &mut Diagnostic {
        self.0.push(Diagnostic {
            code,
            severity,
            message,
            span: span.clone(),
            label: None,
            help: None,
        });
        self.0.last_mut().expect("one was pushed just now")
    }

    /// Whether any of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|found| found.severity == Severity::Error)
    }

    /// All of them, in the order of the file, each once.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.0.sort_by_key(|found| (found.span.start, found.severity, found.code));
        self.0.dedup();
        self.0
    }
}

impl Diagnostic {
    /// Adds a label at the place.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    /// Adds advice on how to mend it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests the nearest known name, or lists all names if none is near.
    pub fn suggest<'a>(
        &mut self,
        wrong: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) -> &mut Self {
        match nearest(wrong, known.clone()) {
            Some(near) => self.label(format!("did you mean `{near}`?")),
            None => match known.into_iter().collect::<Vec<_>>().join(", ") {
                known if known.is_empty() => {
                    self.help("there is nothing of that kind in this file")
                }
                known => self.help(format!("known here: {known}")),
            },
        }
    }

    /// The mistake with the lines of the file around it.
    #[must_use]
    pub fn render(&self, source: &Source, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let end = source.text.len();
        let span = self.span.start.min(end)..self.span.end.min(end);
        let mut mark = AnnotationKind::Primary.span(span);
        if let Some(label) = &self.label {
            mark = mark.label(label.as_str());
        }
        let path = source.path.display().to_string();
        let snippet = Snippet::source(source.text.as_str()).path(path).annotation(mark);
        let mut group = level.primary_title(self.message.as_str()).id(self.code).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// The known name that a mistyped one most likely means: at most a third of its letters differ.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (wrong.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .min()
        .filter(|&(apart, _)| apart <= allowed)
        .map(|(_, name)| name)
}

/// The edit distance: letters inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::{Position, Source, nearest};
    use std::path::Path;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["leader", "member", "all"];
        assert_eq!(nearest("leeder", known), Some("leader"));
        assert_eq!(nearest("laeder", known), Some("leader"));
        assert_eq!(nearest("al", known), Some("all"));
        assert_eq!(nearest("everyone", known), None);
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source::new(Path::new("x.toml"), "a = 1\nä = 2\n".to_owned());
        assert_eq!(source.locate(0), Position { line: 1, column: 1 });
        assert_eq!(source.locate(6), Position { line: 2, column: 1 });
        assert_eq!(source.locate(8), Position { line: 2, column: 2 });
        assert_eq!(source.locate(999), Position { line: 3, column: 1 });
    }
}
