//! The text of the core, for tests that compare a page with it.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the crate.
pub(crate) fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the workspace.
pub(crate) fn page(path: &str) -> String {
    fs::read_to_string(crate_folder().join("..").join(path)).expect("the page is there")
}

/// All Rust files of the core, one after the other.
pub(crate) fn core() -> String {
    let (mut files, mut folders) = (Vec::new(), vec![crate_folder().join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path: PathBuf = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).expect("a file of the source"));
    texts.collect::<Vec<_>>().join("\n")
}

/// The verbs of the wire: code and name, as the table `verbs!` has them.
pub(crate) fn verbs(core: &str) -> Vec<(u8, String)> {
    let table = core.split("\nverbs! {\n").nth(1).expect("the table of verbs");
    let rows = table.lines().take_while(|line| *line != "}");
    rows.filter_map(|row| {
        let code = row.split_whitespace().next()?.parse().ok()?;
        Some((code, row.split('"').nth(1)?.to_owned()))
    })
    .collect()
}

/// The rows of the table whose head begins like this, cell by cell.
pub(crate) fn table<'a>(page: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let table: Vec<Vec<&str>> =
        rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    assert!(!table.is_empty(), "no table {head}");
    table
}

/// What stands between backquotes.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
