//! A copy of a part of the workspace below `target`: for changes of the core that must never be a
//! part of the product.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Copies some members, and makes them a workspace of their own.
pub(crate) fn make(root: &Path, copy: &Path, members: &[&str]) -> Result<(), Failure> {
    let io = |path: &Path| Failure::io(path.display().to_string());
    fs::create_dir_all(copy).map_err(io(copy))?;
    for member in members {
        let folder = copy.join(member);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io(&folder))?;
        }
        copy_folder(&root.join(member), &folder).map_err(io(&folder))?;
    }
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(io(&manifest))?;
    let to = copy.join("Cargo.toml");
    fs::write(&to, workspace_of(&text, members)).map_err(io(&to))?;
    let lock = copy.join("Cargo.lock");
    fs::copy(root.join("Cargo.lock"), &lock).map_err(io(&lock))?;
    Ok(())
}

/// The manifest of the workspace, reduced to some members.
fn workspace_of(manifest: &str, members: &[&str]) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some(("members", _)) => format!("members = {members:?}\n"),
        Some(("default-members", _)) => String::new(),
        _ => format!("{line}\n"),
    };
    manifest.lines().map(line).collect()
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::workspace_of;

    #[test]
    fn the_copy_has_the_members_it_was_given() {
        let manifest = "[workspace]\nmembers = [\"a\", \"b\"]\ndefault-members = \
                        [\"a\"]\n\n[profile.dev]\nopt-level = 1\n";
        assert_eq!(
            workspace_of(manifest, &["b", "c"]),
            "[workspace]\nmembers = [\"b\", \"c\"]\n\n[profile.dev]\nopt-level = 1\n"
        );
    }
}
