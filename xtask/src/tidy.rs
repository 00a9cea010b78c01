//! Checks that neither the compiler nor the linter makes: files that are too long, modules without
//! a description, left-over notes, and paths of a developer's machine.
//!
//! Checks Rust, TOML, Markdown, YAML and the protocol's scripts. All findings are printed at once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Checks all files of the checkout.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let mut files = Vec::new();
    collect(root, root, &mut files).map_err(Failure::io("cannot read the checkout"))?;
    files.sort();
    let private = private_paths(root);
    let mut findings = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(root.join(file)).map_err(Failure::io(file.display().to_string()))?;
        findings.extend(
            look(file, &text, &private)
                .into_iter()
                .map(|finding| format!("{}{finding}", file.display())),
        );
    }
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    eprintln!("{} files, {} findings", files.len(), findings.len());
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Stage { stage: "tidiness", how: format!("{} findings", findings.len()) })
    }
}

/// All hand-written files, relative to the root.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        if kind.is_dir() {
            if !NOT_OURS.iter().any(|skip| name == *skip) {
                collect(root, &path, files)?;
            }
        } else if kind.is_file()
            && path.extension().is_some_and(|ending| OURS.iter().any(|known| ending == *known))
        {
            files.push(path.strip_prefix(root).expect("it was found below the root").to_owned());
        }
    }
    Ok(())
}

/// Findings in one file, each as `:line: words`.
fn look(file: &Path, text: &str, private: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let rust = file.extension().is_some_and(|ending| ending == "rs");
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        let mut say = |words: String| findings.push(format!(":{}: {words}", index + 1));
        if line.contains('\t') {
            say("a tab; indent with spaces".to_owned());
        }
        in_fence ^= line.trim_start_matches(['/', '!', '#', ' ']).starts_with("```");
        if line.chars().count() > WIDTH && is_prose(file, line) && !in_fence {
            say(format!("longer than {WIDTH} columns"));
        }
        if line.ends_with(' ') {
            say("spaces at the end of the line".to_owned());
        }
        if let Some(path) = private.iter().find(|path| line.contains(path.as_str())) {
            say(format!("a path of one machine: {path}"));
        }
        if let Some(word) = LEFT_OVER.iter().find(|word| rust && line.contains(&word.concat())) {
            say(format!("{} is left over", word.concat()));
        }
    }
    if rust {
        if file.components().any(|part| part.as_os_str() == "src") && !text.starts_with("//!") {
            findings.push(":1: the module has no description: begin it with `//! …`".to_owned());
        }
        let lines = code_lines(text);
        if lines > CODE_LINES_MAX {
            findings.push(format!(
                ": {lines} lines of code (limit {CODE_LINES_MAX}): split it by concept"
            ));
        }
    }
    findings
}

/// Comments and paragraphs of Markdown; the formatter checks code, and a table row or an address
/// cannot be broken.
fn is_prose(file: &Path, line: &str) -> bool {
    let text = line.trim_start();
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("rs") => text.starts_with("//"),
        Some("toml" | "yml" | "yaml") => text.starts_with('#'),
        Some("md") => !text.starts_with('|') && !text.contains("](http"),
        _ => false,
    }
}

/// The lines that a reader has to keep in mind: no comments, no blank lines, not the tests at the
/// bottom.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// Beginnings of paths that mean something on one machine only: home folders, and this very
/// checkout.
fn private_paths(root: &Path) -> Vec<String> {
    let homes = ["home", "root", "Users"].map(|folder| format!("/{folder}/"));
    // A checkout directly below the root of the file system has too common a name to search for.
    let here = (root.components().count() > 2).then(|| root.display().to_string());
    homes.into_iter().chain(here).collect()
}

const OURS: [&str; 6] = ["rs", "toml", "md", "yml", "yaml", "txt"];
const NOT_OURS: [&str; 4] = ["target", "logs", ".git", "fixtures"];
/// Each in two halves, so that this file does not find itself.
const LEFT_OVER: [[&str; 2]; 5] =
    [["todo", "!("], ["unimplemented", "!("], ["TO", "DO"], ["FIX", "ME"], ["XX", "X"]];
const WIDTH: usize = 100;
const CODE_LINES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::{CODE_LINES_MAX, LEFT_OVER, WIDTH, check, look, private_paths};
    use std::path::Path;

    #[track_caller]
    fn check_look(file: &str, text: &str, findings: &[&str]) {
        assert_eq!(look(Path::new(file), text, &private_paths(Path::new("/a/checkout"))), findings);
    }

    #[test]
    fn a_tidy_page_is_left_alone() {
        check_look("peer/src/a.rs", "//! A noun.\n\nfn f() {}\n", &[]);
        check_look("README.md", "# Words\n", &[]);
    }

    #[test]
    fn each_finding_has_its_line() {
        check_look("a/src/a.rs", "//! A.\n\tx\n", &[":2: a tab; indent with spaces"]);
        check_look("README.md", "a \n", &[":1: spaces at the end of the line"]);
        check_look(
            "a/src/a.rs",
            "fn f() {}\n",
            &[":1: the module has no description: begin it with `//! …`"],
        );
        let long = "w ".repeat(WIDTH / 2) + "w";
        check_look("a.md", &long, &[":1: longer than 100 columns"]);
        check_look("a.toml", &format!("# {long}\na = '{long}'"), &[":1: longer than 100 columns"]);
        check_look("a.md", &format!("| {long} |\n```\n{long}\n```"), &[]);
        let note = LEFT_OVER[2].concat();
        check_look(
            "a/tests/a.rs",
            &format!("// {note}: more\n"),
            &[&format!(":1: {note} is left over")],
        );
        check_look(
            "README.md",
            "see /a/checkout/logs\n",
            &[":1: a path of one machine: /a/checkout"],
        );
        let home = &private_paths(Path::new("/"))[0];
        check_look(
            "README.md",
            &format!("in {home}me\n"),
            &[&format!(":1: a path of one machine: {home}")],
        );
    }

    #[test]
    fn long_pages_count_code_only() {
        let code = "x();\n".repeat(CODE_LINES_MAX);
        check_look("a/src/a.rs", &format!("//! A.\n{code}// why\n\n#[cfg(test)]\n{code}"), &[]);
        let findings = look(Path::new("a/src/a.rs"), &format!("//! A.\n{code}y();\n"), &[]);
        assert!(findings[0].starts_with(": 501 lines of code"), "{findings:?}");
    }

    #[test]
    fn this_crate_is_tidy() {
        check(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("no findings");
    }
}
