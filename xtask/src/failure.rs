//! Failures: what failed, where, how to mend it, and the exit code.

use std::fmt;
use std::io;
use std::process::{ExitCode, ExitStatus};

/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// Something that should work on every machine failed.
const TROUBLE: u8 = 70;
/// The user asked to stop.
const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program could not be started, or a file not be read.
    Io {
        /// The failed operation.
        doing: String,
        /// The error of the system.
        error: io::Error,
    },
    /// `cargo build` failed and has printed why.
    Build {
        /// The packages.
        what: String,
    },
    /// A wrong command line.
    Usage(String),
    /// A stage of a longer job failed; its output is above.
    Stage {
        /// Its name.
        stage: &'static str,
        /// How it ended.
        how: String,
    },
    /// Ctrl-C, or a request to terminate.
    Interrupted,
}

impl Failure {
    /// From an I/O error and the failed operation.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }

    /// Prints it on standard error; returns the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        eprintln!("error: {self}");
        ExitCode::from(match self {
            Self::Io { .. } | Self::Build { .. } => TROUBLE,
            Self::Usage(_) => USAGE,
            Self::Stage { .. } => 1,
            Self::Interrupted => INTERRUPTED,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, error } => write!(f, "{doing}: {error}"),
            Self::Build { what } => write!(f, "{what} did not build; cargo's words are above"),
            Self::Usage(words) => f.write_str(words),
            Self::Stage { stage, how } => {
                write!(f, "stage `{stage}` failed ({how}); what it said is above")
            }
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// The end of a child, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}
