//! `peer why`: which peer suspected which, on what evidence; why a peer leads; why a peer is not in
//! the group; and what became of its last readings.

use clap::Args;
use protocol::id::PeerId;
use protocol::note::printable;
use serde::Deserialize;

use super::Whom;
use crate::failure::Failure;

/// What is asked.
#[derive(Args, Debug)]
pub struct Request {
    /// The peer to ask about [default: the one that is asked]
    about: Option<PeerId>,
    #[command(flatten)]
    whom: Whom,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks, and prints the answer.
///
/// # Errors
/// [`Failure`]: no peer answers, or the peer in question is unknown.
pub fn run(request: &Request) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Why {
        say: Vec<String>,
    }
    let mut connection = request.whom.connect()?;
    let about =
        request.about.as_ref().map(|peer| format!(",\"peer\":\"{peer}\"")).unwrap_or_default();
    let asked = format!("\"do\":\"why\"{about}");
    if request.json {
        let text = connection.ask_raw(&asked)?;
        return Ok(stdio::answer(&format!("{text}\n"))?);
    }
    let Why { say } = connection.ask(&asked)?;
    Ok(stdio::answer(&format!("{}\n", printable(&say.join("\n"))))?)
}
