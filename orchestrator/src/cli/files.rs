//! The scenario files of a command: finds them, reads them, and reports their mistakes.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use stdio::{answer, last_words};

use super::{Failure, PATIENCE};
use crate::runner::Place;
use crate::scenario::diagnostic::{Diagnostic, Severity, Source};
use crate::scenario::{Cell, Profile, Scenario, cells, parse};
use crate::verdict::case_name;

#[derive(Debug, Args)]
pub(super) struct Files {
    /// Scenario files; a folder stands for all files in it.
    #[arg(default_value = "scenarios")]
    pub(super) files: Vec<PathBuf>,
    /// Only scenarios with this tag.
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Vec<String>,
    /// No scenarios with this tag.
    #[arg(long, value_name = "TAG")]
    pub(super) skip_tag: Vec<String>,
}

/// A scenario that can be run, and the matrix cell that it comes from.
pub(super) struct Loaded {
    pub(super) source: Source,
    pub(super) cell: Cell,
    pub(super) scenario: Scenario,
}

impl Loaded {
    /// The worlds it runs in, and why it does not run in the others.
    fn worlds(&self) -> String {
        let path = self.source.path.display();
        match self.scenario.needs_hosts.first() {
            None => format!("{path} runs in processes and hosts"),
            Some(need) => format!(
                "{path} runs in hosts only: {} in line {}",
                need.value,
                self.source.locate(need.span.start).line
            ),
        }
    }

    /// The world it runs in if this one was asked for; otherwise why it cannot.
    pub(super) fn place(&self, asked: Option<Place>) -> Result<Place, String> {
        match (asked, self.scenario.needs_hosts.is_empty()) {
            (Some(Place::Processes), false) => Err(self.worlds()),
            (Some(place), _) => Ok(place),
            (None, true) => Ok(Place::Processes),
            (None, false) => Ok(Place::Hosts),
        }
    }
}

impl Files {
    fn paths(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        for path in &self.files {
            if !path.is_dir() {
                paths.push(path.clone());
                continue;
            }
            let entries = std::fs::read_dir(path).map_err(|source| Failure::Unreadable {
                path: path.display().to_string(),
                source,
            })?;
            let mut inside: Vec<PathBuf> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
                .collect();
            inside.sort();
            paths.extend(inside);
        }
        Ok(paths)
    }

    /// Loads all files that were asked for; the mistakes of every file are reported before the
    /// command fails.
    pub(super) fn load(&self, profile: Option<Profile>) -> Result<Vec<Loaded>, Failure> {
        let mut loaded = Vec::new();
        let (mut errors, mut bad) = (0, Vec::new());
        for path in self.paths()? {
            match load(&path, profile)? {
                Ok(found) => {
                    loaded.extend(found.into_iter().filter(|one| self.wants(&one.scenario)))
                }
                Err(count) => {
                    errors += count;
                    bad.push(path.display().to_string());
                }
            }
        }
        if errors > 0 {
            let errors =
                if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
            return Err(Failure::Invalid { errors, files: bad.join(", ") });
        }
        if loaded.is_empty() { Err(Failure::Nothing) } else { Ok(loaded) }
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        let has = |tag: &String| scenario.tags.contains(tag);
        (self.tag.is_empty() || self.tag.iter().any(has)) && !self.skip_tag.iter().any(has)
    }

    pub(super) fn check(&self) -> Result<u8, Failure> {
        let loaded = self.load(None)?;
        let only: Vec<&Loaded> =
            loaded.iter().filter(|one| !one.scenario.needs_hosts.is_empty()).collect();
        let mut told: Vec<String> = only.iter().map(|one| one.worlds()).collect();
        told.dedup();
        let mut words: String = told.iter().map(|line| format!("{line}\n")).collect();
        let both = loaded.len() - only.len();
        words += &format!(
            "{} scenarios, no errors: {both} run in processes and hosts, {} in hosts only\n",
            loaded.len(),
            only.len()
        );
        answer(&words)?;
        Ok(0)
    }

    pub(super) fn list(&self) -> Result<u8, Failure> {
        let loaded = self.load(None)?;
        let titles: Vec<String> =
            loaded.iter().map(|one| case_name(&one.scenario.name, &one.cell)).collect();
        let wide = titles.iter().map(String::len).max().unwrap_or(0);
        for (title, Loaded { scenario, .. }) in titles.iter().zip(&loaded) {
            answer(&format!(
                "{title:<wide$}  [{}]  {}\n",
                scenario.tags.join(", "),
                scenario.about
            ))?;
        }
        Ok(0)
    }
}

/// Reads one file and reports its mistakes; returns the number of errors if there are any.
fn load(path: &Path, profile: Option<Profile>) -> Result<Result<Vec<Loaded>, usize>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Failure::Unreadable { path: path.display().to_string(), source })?;
    let source = Source::new(path, text);
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut loaded = Vec::new();
    match cells(&source) {
        Err(diagnostics) => found.extend(diagnostics),
        Ok(cells) => {
            for cell in cells {
                match parse(&source, &cell, profile) {
                    Ok((scenario, warnings)) => {
                        found.extend(warnings);
                        loaded.push(Loaded { source: source.clone(), cell, scenario });
                    }
                    Err(diagnostics) => found.extend(diagnostics),
                }
            }
        }
    }
    // The cells of one matrix mostly share their mistakes.
    let mut told: Vec<Diagnostic> = Vec::new();
    for one in found {
        if !told.contains(&one) {
            last_words(&one.render(&source, std::io::stderr().is_terminal()), PATIENCE);
            told.push(one);
        }
    }
    let errors = told.iter().filter(|one| one.severity == Severity::Error).count();
    Ok(if errors == 0 { Ok(loaded) } else { Err(errors) })
}
