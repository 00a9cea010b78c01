//! `peer members`: the members of the group, and how well each keeps up.

use std::time::Duration;

use clap::Args;
use protocol::config::Mode;
use protocol::note::printable;

use super::Whom;
use super::show::TextTable;
use crate::clock::span;
use crate::failure::Failure;
use crate::members::{MemberRow, Members};

/// What is asked.
#[derive(Args, Debug)]
pub struct Request {
    #[command(flatten)]
    whom: Whom,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks, and prints the answer.
///
/// # Errors
/// [`Failure`]: no peer answers.
pub fn run(request: &Request) -> Result<(), Failure> {
    let mut connection = request.whom.connect()?;
    if request.json {
        let text = connection.ask_raw("\"do\":\"members\"")?;
        return Ok(stdio::answer(&format!("{text}\n"))?);
    }
    let members: Members = connection.ask("\"do\":\"members\"")?;
    Ok(stdio::answer(&printable(&text(&members)))?)
}

fn text(members: &Members) -> String {
    let mut table =
        TextTable::new(&["PEER", "ROLE", "ADDRESS", "SINCE", "LAG", "RTT", "VERSION", ""]);
    for row in &members.members {
        table.row(vec![
            row.peer.clone(),
            row.role.clone(),
            row.address.clone(),
            since(row),
            row.lag.map_or_else(|| unknown(row), |lag| lag.to_string()),
            row.rtt_us.map_or_else(|| unknown(row), round_trip),
            row.build.as_deref().map_or_else(
                || "?".to_owned(),
                |build| build.split('-').next().unwrap_or(build).to_owned(),
            ),
            if row.this { "(this one)".to_owned() } else { String::new() },
        ]);
    }
    let mut text = table.to_string();
    let count = members.members.len();
    if let (Some(view), Some(epoch)) = (members.view, &members.epoch) {
        let (noun, lose) = (if count == 1 { "member" } else { "members" }, lose(members));
        text.push_str(&format!("{count} {noun} in view {view} of epoch {epoch}{lose}.\n"));
    } else {
        text = format!("{} is in no group yet.\n", members.peer);
    }
    if let Some(why) = &members.blocked {
        text.push_str(&format!("Blocked: {why}\n"));
    }
    if let Some(why) = &members.unknown {
        text.push_str(&format!("?: {why}\n"));
    }
    text
}

/// A leader has no lag and no round trip to itself.
fn unknown(row: &MemberRow) -> String {
    if row.role == "leader" { "–".to_owned() } else { "?".to_owned() }
}

fn lose(members: &Members) -> String {
    match (members.mode, members.can_lose) {
        (_, 0) => "; it can lose none and go on".to_owned(),
        (Mode::Available, lose) => format!("; it can lose {lose} and go on"),
        (Mode::Primary, lose) => format!("; it can lose {lose} at once and go on"),
    }
}

fn since(row: &MemberRow) -> String {
    let Some(millis) = row.for_ms else { return "?".to_owned() };
    let at_least = if row.since.is_none() { "> " } else { "" };
    format!("{at_least}{} ago", span(Duration::from_millis(millis)))
}

fn round_trip(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{:.2} ms", micros as f64 / 1_000.0),
        1_000..100_000 => format!("{:.1} ms", micros as f64 / 1_000.0),
        _ => format!("{} ms", micros / 1_000),
    }
}
