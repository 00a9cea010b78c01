//! Where a group stands, as far as its events tell: who lives, who stands still, who believes whom to lead.
//!
//! Fed with records as they come; asked by selectors, by conditions that wait, and by `chaos status`. Keyed by the
//! name of the process, because two processes may claim one peer id (and one of them is refused).

use std::collections::BTreeMap;

use protocol::id::{Epoch, Incarnation, PeerId, Priority, ViewId};
use protocol::note::{Event, Note};

use crate::fault::Fault;
use crate::world::{World, WorldEvent};

/// Where one process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The name of the process.
    pub process: String,
    /// The peer it is.
    pub peer: PeerId,
    /// Which of its lives.
    pub inc: Incarnation,
    /// Process id; 0 in the simulator.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 in the simulator.
    pub pid_start: u64,
    /// Its rank in elections.
    pub priority: Priority,
    /// Where its human log goes.
    pub log: Option<String>,
    /// Whether it runs, as far as is known.
    pub alive: bool,
    /// Whether it was told to stand still.
    pub paused: bool,
    /// Whether anything was done to it in this run (faults of links included).
    pub hit: bool,
    /// The newest view it reported in this life.
    pub view: Option<Seen>,
    /// Whether it leads, by its own word.
    pub leads: bool,
    /// Whether it misses its leader and asks around.
    pub electing: bool,
}

/// A view as a peer reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub view_id: ViewId,
    /// Who leads it.
    pub leader: PeerId,
    /// Everyone in it, lowest priority first.
    pub members: Vec<PeerId>,
}

/// Where a group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    stands: BTreeMap<String, Stand>,
}

impl Standing {
    /// Of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what the peer that runs as `process` reported.
    pub fn observe(&mut self, process: &str, event: &Event) {
        if let Note::Start { pid, pid_start, log, address, priority, .. } = &event.note {
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
            let hit = self.stands.get(process).is_some_and(|before| before.hit);
            let stand = Stand {
                process: process.to_owned(),
                peer: event.p.clone(),
                inc: event.inc,
                pid: *pid,
                pid_start: *pid_start,
                priority: Priority { explicit: *priority, id: event.p.clone(), port },
                log: log.clone(),
                alive: true,
                paused: false,
                hit,
                view: None,
                leads: false,
                electing: false,
            };
            self.stands.insert(process.to_owned(), stand);
            return;
        }
        // A peer may take a higher incarnation while it joins; the process is the same.
        let Some(stand) = self.stands.get_mut(process) else { return };
        stand.inc = event.inc;
        match &event.note {
            Note::View { view_id, epoch, leader, members, .. } => {
                let seen = Seen { epoch: epoch.clone(), view_id: *view_id, leader: leader.clone(), members: members.clone() };
                stand.leads = *leader == stand.peer;
                stand.electing = false;
                stand.view = Some(seen);
            }
            Note::ElectionStarted { .. } | Note::Claim { .. } => stand.electing = true,
            Note::Vetoed { .. } => stand.electing = false,
            Note::LeaderElected { .. } => (stand.leads, stand.electing) = (true, false),
            Note::Follows { leader, .. } => (stand.leads, stand.electing) = (*leader == stand.peer, false),
            Note::StepDown { .. } => stand.leads = false,
            Note::Stop { .. } => stand.alive = false,
            _ => {}
        }
    }

    /// Takes in what was done or seen from outside.
    pub fn witness(&mut self, event: &WorldEvent) {
        match &event.what {
            World::Exit { process, pid, .. } => {
                if let Some(stand) = self.stands.get_mut(process)
                    && (stand.pid == *pid || *pid == 0)
                {
                    stand.alive = false;
                }
            }
            World::Fault { fault, who, .. } => who.iter().for_each(|name| self.act(name, fault)),
            _ => {}
        }
    }

    fn act(&mut self, process: &str, fault: &Fault) {
        let Some(stand) = self.stands.get_mut(process) else { return };
        stand.hit = true;
        match fault {
            Fault::Kill => stand.alive = false,
            Fault::Pause => stand.paused = true,
            Fault::Resume => stand.paused = false,
            Fault::Stop | Fault::Restart { .. } | Fault::Spawn | Fault::Partition { .. } | Fault::Link { .. } => {}
        }
    }

    /// Notes that a process is gone, or that it is there after all, when somebody has looked.
    pub fn set_alive(&mut self, process: &str, alive: bool) {
        if let Some(stand) = self.stands.get_mut(process) {
            stand.alive = alive;
        }
    }

    /// Notes that a process stands still, or does not, when somebody has looked.
    pub fn set_paused(&mut self, process: &str, paused: bool) {
        if let Some(stand) = self.stands.get_mut(process) {
            stand.paused = paused;
        }
    }

    /// Everyone ever seen, by name of process.
    pub fn all(&self) -> impl Iterator<Item = &Stand> {
        self.stands.values()
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, process: &str) -> Option<&Stand> {
        self.stands.get(process)
    }

    /// Those that live, lowest priority first.
    #[must_use]
    pub fn live(&self) -> Vec<&Stand> {
        let mut live: Vec<&Stand> = self.stands.values().filter(|stand| stand.alive).collect();
        live.sort_by(|a, b| a.priority.cmp(&b.priority).then_with(|| a.process.cmp(&b.process)));
        live
    }

    /// The peer that more than half of those that live and move name in their newest view.
    ///
    /// # Errors
    /// Who believes what, as a sentence, if there is no such peer.
    pub fn leader(&self) -> Result<PeerId, String> {
        let voters: Vec<&Stand> = self.stands.values().filter(|stand| stand.alive && !stand.paused).collect();
        let mut votes: BTreeMap<&PeerId, usize> = BTreeMap::new();
        for seen in voters.iter().filter_map(|stand| stand.view.as_ref()) {
            *votes.entry(&seen.leader).or_default() += 1;
        }
        match votes.iter().find(|(_, count)| **count * 2 > voters.len()) {
            Some((leader, _)) => Ok((*leader).clone()),
            None if voters.is_empty() => Err("nobody lives".to_owned()),
            None => Err(beliefs(&voters)),
        }
    }

    /// Whether one view, led by one of them, is in force at all that live and names exactly them, and nobody is asking
    /// for another leader; else the words that say what is missing.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub fn stable(&self) -> Result<&Seen, String> {
        let live = self.live();
        let Some(first) = live.first() else { return Err("nobody lives".to_owned()) };
        if let Some(electing) = live.iter().find(|stand| stand.electing) {
            return Err(format!("{} holds an election", electing.process));
        }
        let Some(seen) = &first.view else { return Err(format!("{} has no view yet", first.process)) };
        if let Some(other) = live.iter().find(|stand| stand.view.as_ref() != Some(seen)) {
            return Err(match &other.view {
                None => format!("{} has no view yet", other.process),
                Some(_) => beliefs(&live),
            });
        }
        let mut names: Vec<&PeerId> = live.iter().map(|stand| &stand.peer).collect();
        let mut members: Vec<&PeerId> = seen.members.iter().collect();
        names.sort();
        members.sort();
        if names != members {
            return Err(format!("the view has {members:?}, alive are {names:?}"));
        }
        match live.iter().find(|stand| stand.leads) {
            Some(stand) if stand.peer == seen.leader => Ok(seen),
            _ => Err(format!("{} does not lead yet", seen.leader)),
        }
    }
}

fn beliefs(stands: &[&Stand]) -> String {
    let words: Vec<String> = stands
        .iter()
        .map(|stand| match &stand.view {
            Some(seen) => format!("{} follows {} in view {} of epoch {}", stand.process, seen.leader, seen.view_id, seen.epoch),
            None => format!("{} has no view", stand.process),
        })
        .collect();
    words.join("; ")
}
