//! `peer completions` and `peer man`: shell completions and manual pages, generated from the
//! command itself.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::{Failure, UNAVAILABLE};

/// `peer completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// `peer man`.
#[derive(Args, Debug)]
pub struct Man {
    /// Write peer.1, peer-run.1, … into this folder [default: print peer.1]
    folder: Option<PathBuf>,
}

/// Prints the shell completions.
///
/// # Errors
/// [`Failure`]: it cannot be printed.
pub fn completions(request: &Completions, mut command: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(request.shell, &mut command, name, &mut text);
    Ok(stdio::answer(&String::from_utf8_lossy(&text))?)
}

/// Prints the page of the command, or writes the pages of all subcommands.
///
/// # Errors
/// [`Failure`]: they cannot be written.
pub fn man(request: &Man, command: Command) -> Result<(), Failure> {
    let Some(folder) = &request.folder else {
        return Ok(stdio::answer(&String::from_utf8_lossy(&page(command)?))?);
    };
    let unwritable = |path: &PathBuf| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::new(UNAVAILABLE, format!("{path}: {error}"))
    };
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    let name = command.get_name().to_owned();
    let parts: Vec<Command> =
        command.get_subcommands().filter(|part| !part.is_hide_set()).cloned().collect();
    for part in parts {
        let title = format!("{name}-{}", part.get_name());
        let path = folder.join(format!("{title}.1"));
        // The name of the page is the file's; the synopsis shows how the command is typed.
        let spelled = format!("{name} {}", part.get_name());
        let text = page(part.name(title).bin_name(spelled))?;
        fs::write(&path, text).map_err(unwritable(&path))?;
    }
    let path = folder.join(format!("{name}.1"));
    fs::write(&path, page(command)?).map_err(unwritable(&path))
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let written = clap_mangen::Man::new(command).render(&mut text);
    written.map_err(|error| Failure::new(UNAVAILABLE, format!("cannot make the page: {error}")))?;
    Ok(text)
}
