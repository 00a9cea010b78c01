//! The state of a group, as a table for people and as JSON for programs.

use std::fmt;

use promises::{Stand, Standing};
use serde::Serialize;

/// The state of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessTable {
    /// The leader that more than half of the live processes name in their newest view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Why there is no such leader, if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// One row per process.
    pub peers: Vec<ProcessRow>,
}

/// The state of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessRow {
    /// Its name.
    pub process: String,
    /// The peer it is.
    pub peer: String,
    /// Its pid.
    pub pid: u32,
    /// `alive`, `paused` or `dead`.
    pub state: &'static str,
    /// `leader`, `member`, `candidate` or `joining`, from its last event; `-` if the process is
    /// dead.
    pub role: &'static str,
    /// The leader that it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// The epoch of its newest view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The number of its newest view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<u64>,
    /// The members of that view, lowest priority first.
    pub members: Vec<String>,
}

impl ProcessTable {
    /// The table of a group.
    #[must_use]
    pub fn of(standing: &Standing) -> Self {
        let (leader, doubt) = match standing.leader() {
            Ok(leader) => (Some(leader.to_string()), None),
            Err(doubt) => (None, Some(doubt)),
        };
        Self { leader, doubt, peers: standing.all().map(ProcessRow::of).collect() }
    }
}

impl ProcessRow {
    fn of(stand: &Stand) -> Self {
        let seen = stand.view.as_ref();
        Self {
            process: stand.process.clone(),
            peer: stand.peer.to_string(),
            pid: stand.pid,
            state: match (stand.alive, stand.paused) {
                (false, _) => "dead",
                (true, true) => "paused",
                (true, false) => "alive",
            },
            role: match (stand.leads, stand.electing, seen) {
                _ if !stand.alive => "-",
                (true, ..) => "leader",
                (false, true, _) => "candidate",
                (false, false, Some(_)) => "member",
                (false, false, None) => "joining",
            },
            leader: seen.map(|seen| seen.leader.to_string()),
            epoch: seen.map(|seen| seen.epoch.to_string()),
            view: seen.map(|seen| seen.view_id.0),
            members: seen
                .map(|seen| seen.members.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Display for ProcessTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.peers.iter().map(|row| row.process.len()).max().unwrap_or(0).max(7);
        writeln!(
            f,
            "{:widest$}  {:>8}  {:6}  {:9}  {:widest$}  {:>10}  {:>5}  members",
            "process", "pid", "state", "role", "leader", "epoch", "view"
        )?;
        for row in &self.peers {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            let view = row.view.map_or_else(|| "-".to_owned(), |view| view.to_string());
            writeln!(
                f,
                "{:widest$}  {:>8}  {:6}  {:9}  {:widest$}  {:>10}  {view:>5}  {}",
                row.process,
                row.pid,
                row.state,
                row.role,
                text(&row.leader),
                text(&row.epoch),
                row.members.join(" ")
            )?;
        }
        match (&self.leader, &self.doubt) {
            (Some(leader), _) => write!(f, "{leader} leads."),
            (None, Some(doubt)) => write!(f, "No majority for any leader: {doubt}."),
            (None, None) => Ok(()),
        }
    }
}
