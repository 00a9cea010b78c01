//! `peer config`: writes an initial configuration file, or finds the mistakes in one.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::failure::{BAD_FILE, Failure, UNAVAILABLE};
use crate::settings::{Settings, template};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Request {
    /// Write a commented configuration with every setting, its default and its unit
    Init {
        /// Where to write it [default: standard output]
        file: Option<PathBuf>,
        /// Replace a file that is there
        #[arg(long, requires = "file")]
        force: bool,
    },
    /// Say what is wrong in these files, where, and how to mend it; nothing is run
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Performs the request.
///
/// # Errors
/// [`Failure`]: the file exists or cannot be written; or the mistakes, by file.
pub fn run(request: &Request) -> Result<(), Failure> {
    match request {
        Request::Init { file: None, .. } => Ok(stdio::answer(&template())?),
        Request::Init { file: Some(path), force } => {
            write(path, *force)?;
            Ok(stdio::answer(&format!(
                "{} has every setting, as a comment. `peer run --config {0}` uses it.\n",
                path.display()
            ))?)
        }
        Request::Check { files } => {
            let broken: Vec<String> = files
                .iter()
                .filter_map(|path| Settings::check_file(path).err())
                .map(|failure| failure.text)
                .collect();
            if broken.is_empty() {
                let names: Vec<String> =
                    files.iter().map(|path| path.display().to_string()).collect();
                return Ok(stdio::answer(&format!("{}: sound\n", names.join(", ")))?);
            }
            Err(Failure::new(
                BAD_FILE,
                broken.iter().map(|text| text.trim_end()).collect::<Vec<_>>().join("\n"),
            ))
        }
    }
}

fn write(path: &Path, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o644);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(template().as_bytes()));
    written.map_err(|error| {
        let shown = path.display();
        let text = match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{shown} is there already; --force replaces it, and what it says is lost")
            }
            _ => format!("{shown}: {error}"),
        };
        Failure::new(UNAVAILABLE, text)
    })
}
