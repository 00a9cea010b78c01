//! `peer leave`, `peer demote`, `peer log-level`: commands that change something.

use clap::Args;
use log::LevelFilter;
use serde::Deserialize;

use super::Whom;
use crate::client::{Connection, Line};
use crate::failure::{Failure, UNAVAILABLE};

/// `peer leave`.
#[derive(Args, Debug)]
pub struct Leave {
    #[command(flatten)]
    whom: Whom,
    /// Do not wait until it has left
    #[arg(long)]
    no_wait: bool,
}

/// `peer demote`.
#[derive(Args, Debug)]
pub struct Demote {
    #[command(flatten)]
    whom: Whom,
    /// Give the peer its configured priority again
    #[arg(long)]
    undo: bool,
}

/// `peer log-level`.
#[derive(Args, Debug)]
pub struct Level {
    #[command(flatten)]
    whom: Whom,
    /// off, error, warn, info, debug
    level: LevelFilter,
}

/// Asks a peer to leave the group, and waits until it has.
///
/// # Errors
/// [`Failure`]: no peer answers, or it refuses.
pub fn leave(request: &Leave) -> Result<(), Failure> {
    let mut connection = request.whom.connect()?;
    let peer = connection.peer().clone();
    let _leaving = connection.ask_raw("\"do\":\"leave\"")?;
    if request.no_wait {
        return Ok(stdio::answer(&format!("{peer} is leaving the group.\n"))?);
    }
    let unset = connection.set_patience(None);
    unset.map_err(|error| Failure::new(UNAVAILABLE, error.to_string()))?;
    let how = last_words(&mut connection).unwrap_or_else(|| "it has stopped".to_owned());
    Ok(stdio::answer(&format!("{peer} has stopped: {how}.\n"))?)
}

/// The last line of a peer.
fn last_words(connection: &mut Connection) -> Option<String> {
    #[derive(Deserialize)]
    struct Left {
        say: String,
    }
    let line = connection.hear().ok()??;
    let ok = serde_json::from_slice::<Line<'_>>(line).ok()?.ok?;
    serde_json::from_str::<Left>(ok.get()).ok().map(|left| left.say)
}

/// Gives a peer the lowest priority in elections.
///
/// # Errors
/// [`Failure`]: no peer answers, or it refuses.
pub fn demote(request: &Demote) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Done {
        priority: String,
        say: String,
    }
    let mut connection = request.whom.connect()?;
    let Done { priority, say } =
        connection.ask(&format!("\"do\":\"demote\",\"undo\":{}", request.undo))?;
    Ok(stdio::answer(&format!("{} has priority {priority} now. {say}\n", connection.peer()))?)
}

/// Changes the log level of a peer.
///
/// # Errors
/// [`Failure`]: no peer answers, or it refuses.
pub fn log_level(request: &Level) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Done {
        was: String,
        is: String,
    }
    let mut connection = request.whom.connect()?;
    let level = request.level.as_str().to_lowercase();
    let Done { was, is } =
        connection.ask(&format!("\"do\":\"log_level\",\"level\":\"{level}\""))?;
    Ok(stdio::answer(&format!(
        "The log of {} tells {is} now; before it was {was}.\n",
        connection.peer()
    ))?)
}
