//! What can go wrong here: what, where, how to mend, and the exit code it ends with.

use std::fmt;
use std::io;
use std::process::{ExitCode, ExitStatus};

/// The command line makes no sense.
pub(crate) const USAGE: u8 = 64;
/// Something that should work on every machine did not.
const TROUBLE: u8 = 70;
/// Somebody asked us to stop.
const INTERRUPTED: u8 = 130;

/// Why a command of ours did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program of ours could not be started, or a file not be read.
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        error: io::Error,
    },
    /// `cargo build` failed; it has said why itself.
    Build {
        /// What was built.
        what: String,
    },
    /// There is no such thing.
    Usage(String),
    /// A stage of a longer job failed; what it printed is above.
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
    /// From an I/O error, with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }

    /// Tells it on standard error; gives the exit code.
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

/// How a child ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}
