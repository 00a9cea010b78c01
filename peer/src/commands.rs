//! The commands that talk with a running peer. Standard output is for the answer; everything else
//! goes to standard error.

use clap::Args;
use protocol::id::PeerId;

use crate::client::{Connection, PATIENCE, find};
use crate::failure::Failure;

pub mod control;
pub mod influx;
pub mod members;
pub mod publish;
pub mod reference;
pub mod show;
pub mod status;
pub mod tail;
pub mod why;

/// The peer to ask.
#[derive(Args, Clone, Debug)]
pub struct Whom {
    /// The peer to ask; may be left out where only one runs on this machine
    #[arg(long, value_name = "PEER")]
    pub id: Option<PeerId>,
}

impl Whom {
    /// Connects to it.
    ///
    /// # Errors
    /// [`Failure`]: it cannot be found, or refuses access.
    pub fn connect(&self) -> Result<Connection, Failure> {
        let connection = find(self.id.as_ref())?;
        let unset = connection.set_patience(Some(PATIENCE));
        unset.map_err(|error| Failure::new(crate::failure::UNAVAILABLE, error.to_string()))?;
        Ok(connection)
    }
}
