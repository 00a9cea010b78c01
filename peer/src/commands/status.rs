//! `peer status`: the status of a running peer.

use clap::Args;
use protocol::note::printable;

use super::Whom;
use crate::failure::{Failure, NOT_NOW};
use crate::status::Report;

/// What is asked.
#[derive(Args, Debug)]
pub struct Request {
    #[command(flatten)]
    whom: Whom,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing, and end with 0 only if the peer is in a group and not blocked (else with 75,
    /// and the reason)
    #[arg(long, conflicts_with = "json")]
    ready: bool,
}

/// Asks, and prints the answer.
///
/// # Errors
/// [`Failure`]: no peer answers; or, with `--ready`, the peer is not ready.
pub fn run(request: &Request) -> Result<(), Failure> {
    let mut connection = request.whom.connect()?;
    let report: Report = connection.ask("\"do\":\"status\"")?;
    if request.ready {
        return match report.not_ready() {
            None => Ok(()),
            Some(why) => {
                Err(Failure::new(NOT_NOW, format!("{} is not ready: {why}", report.status.peer_id)))
            }
        };
    }
    let text = if request.json {
        serde_json::to_string(&report).expect("a report is made of what JSON can say")
    } else {
        printable(&report.to_string()).into_owned()
    };
    Ok(stdio::answer(&format!("{text}\n"))?)
}
