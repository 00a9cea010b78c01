//! The state of a group, as far as its events tell: which processes live, which are paused, and
//! which leader each believes in.
//!
//! Fed with records as they arrive; used by selectors, by waiting conditions, and by `chaos
//! status`. Keyed by process name, because two processes may claim one peer id (and one of them is
//! refused).

use std::collections::BTreeMap;

use protocol::id::{Epoch, Incarnation, PeerId, Priority, ViewId};
use protocol::note::{Event, Note};

use crate::fault::Fault;
use crate::world::{GroundTruth, WorldEvent};

/// The state of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The name of the process.
    pub process: String,
    /// The peer it is.
    pub peer: PeerId,
    /// Its incarnation.
    pub inc: Incarnation,
    /// Process id; 0 in the simulator.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 in the simulator.
    pub pid_start: u64,
    /// Its rank in elections.
    pub priority: Priority,
    /// The path of its human log.
    pub log: Option<String>,
    /// Whether it runs, as far as known.
    pub alive: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether any fault hit it in this run (faults of links included).
    pub hit: bool,
    /// The newest view it reported in this life.
    pub view: Option<Seen>,
    /// Whether it leads, by its own report.
    pub leads: bool,
    /// Whether it misses its leader and runs an election.
    pub electing: bool,
}

/// A view as a peer reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub view_id: ViewId,
    /// Its leader.
    pub leader: PeerId,
    /// Its members, lowest priority first.
    pub members: Vec<PeerId>,
}

/// The state of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    stands: BTreeMap<String, Stand>,
}

impl Standing {
    /// Of an empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a report of the peer that runs as `process`.
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
                let seen = Seen {
                    epoch: epoch.clone(),
                    view_id: *view_id,
                    leader: leader.clone(),
                    members: members.clone(),
                };
                stand.leads = *leader == stand.peer;
                stand.electing = false;
                stand.view = Some(seen);
            }
            Note::ElectionStarted { .. } | Note::Claim { .. } => stand.electing = true,
            Note::Vetoed { .. } => stand.electing = false,
            Note::LeaderElected { .. } => (stand.leads, stand.electing) = (true, false),
            Note::Follows { leader, .. } => {
                (stand.leads, stand.electing) = (*leader == stand.peer, false)
            }
            Note::StepDown { .. } => stand.leads = false,
            Note::Stop { .. } => stand.alive = false,
            _ => {}
        }
    }

    /// Takes a fact of the ground truth.
    pub fn witness(&mut self, event: &WorldEvent) {
        match &event.what {
            GroundTruth::Exit { process, pid, .. } => {
                if let Some(stand) = self.stands.get_mut(process)
                    && (stand.pid == *pid || *pid == 0)
                {
                    stand.alive = false;
                }
            }
            GroundTruth::Fault { fault, who, .. } => {
                who.iter().for_each(|name| self.act(name, fault))
            }
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
            Fault::Stop
            | Fault::Restart { .. }
            | Fault::Spawn
            | Fault::Partition { .. }
            | Fault::Link { .. }
            | Fault::Host { .. } => {}
        }
    }

    /// Records whether a process exists, after a look at the system.
    pub fn set_alive(&mut self, process: &str, alive: bool) {
        if let Some(stand) = self.stands.get_mut(process) {
            stand.alive = alive;
        }
    }

    /// Records whether a process is paused, after a look at the system.
    pub fn set_paused(&mut self, process: &str, paused: bool) {
        if let Some(stand) = self.stands.get_mut(process) {
            stand.paused = paused;
        }
    }

    /// All processes ever seen, by name.
    pub fn all(&self) -> impl Iterator<Item = &Stand> {
        self.stands.values()
    }

    /// The state of one process.
    #[must_use]
    pub fn find(&self, process: &str) -> Option<&Stand> {
        self.stands.get(process)
    }

    /// The live processes, lowest priority first.
    #[must_use]
    pub fn live(&self) -> Vec<&Stand> {
        let mut live: Vec<&Stand> = self.stands.values().filter(|stand| stand.alive).collect();
        live.sort_by(|a, b| a.priority.cmp(&b.priority).then_with(|| a.process.cmp(&b.process)));
        live
    }

    /// The peer that more than half of the live and running processes name in their newest view.
    ///
    /// # Errors
    /// Who believes what, as a sentence, if there is no such peer.
    pub fn leader(&self) -> Result<PeerId, String> {
        let voters: Vec<&Stand> =
            self.stands.values().filter(|stand| stand.alive && !stand.paused).collect();
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

    /// Whether one view, led by one of them, is in force at all live processes and names exactly
    /// them, and none of them asks for another leader; otherwise what is missing.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    pub fn stable(&self) -> Result<&Seen, String> {
        let live = self.live();
        let Some(first) = live.first() else { return Err("nobody lives".to_owned()) };
        if let Some(electing) = live.iter().find(|stand| stand.electing) {
            return Err(format!("{} holds an election", electing.process));
        }
        let Some(seen) = &first.view else {
            return Err(format!("{} has no view yet", first.process));
        };
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
            Some(seen) => format!(
                "{} follows {} in view {} of epoch {}",
                stand.process, seen.leader, seen.view_id, seen.epoch
            ),
            None => format!("{} has no view", stand.process),
        })
        .collect();
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::Standing;
    use crate::fault::Fault;
    use crate::world::{GroundTruth, WorldEvent};
    use protocol::id::{Epoch, Incarnation, Member, PeerId, Seq, ViewId};
    use protocol::log_id::LogId;
    use protocol::note::{Cause, EVENT_VERSION, Event, Note};
    use protocol::time::Time;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    fn say(standing: &mut Standing, name: &str, note: Note) {
        standing.observe(
            name,
            &Event {
                v: EVENT_VERSION,
                t: Time::ZERO,
                p: id(name),
                inc: Incarnation(1),
                n: 0,
                note,
            },
        );
    }

    fn start(standing: &mut Standing, name: &str) {
        let (log, build, status) = (None, String::new(), None);
        let address = "127.0.0.1:5001".to_owned();
        say(
            standing,
            name,
            Note::Start {
                pid: 0,
                pid_start: 0,
                log,
                address,
                build,
                birth: 0,
                priority: 0,
                status,
                omits_readings: false,
            },
        );
    }

    fn view(standing: &mut Standing, name: &str, view_id: u64, members: &[&str]) {
        let epoch = Epoch { round: 1, owner: Member { id: id("p2"), inc: Incarnation(1) } };
        let members: Vec<PeerId> = members.iter().map(|name| id(name)).collect();
        let incs = vec![Incarnation(1); members.len()];
        let (seq, view_id, leader, log) = (Seq(view_id), ViewId(view_id), id("p2"), LogId::none());
        say(standing, name, Note::View { view_id, epoch, seq, leader, members, incs, log });
    }

    #[test]
    fn a_group_is_stable_when_nothing_is_missing() {
        let mut standing = Standing::new();
        assert_eq!(standing.stable().unwrap_err(), "nobody lives");
        start(&mut standing, "p1");
        start(&mut standing, "p2");
        assert_eq!(standing.stable().unwrap_err(), "p1 has no view yet");
        view(&mut standing, "p1", 1, &["p1", "p2"]);
        assert_eq!(standing.stable().unwrap_err(), "p2 has no view yet");
        view(&mut standing, "p2", 1, &["p1", "p2"]);
        assert_eq!(standing.stable().unwrap().leader, id("p2"));
        say(
            &mut standing,
            "p1",
            Note::ElectionStarted { cause: Cause::Silence, higher: vec![], missed: None },
        );
        assert_eq!(standing.stable().unwrap_err(), "p1 holds an election");
        view(&mut standing, "p1", 2, &["p1"]);
        assert!(standing.stable().unwrap_err().contains("p1 follows p2 in view 2"));
    }

    #[test]
    fn what_is_done_to_a_process_is_remembered() {
        let mut standing = Standing::new();
        start(&mut standing, "p1");
        for (fault, alive, paused) in
            [(Fault::Pause, true, true), (Fault::Resume, true, false), (Fault::Kill, false, false)]
        {
            let what = GroundTruth::Fault {
                id: String::new(),
                fault,
                who: vec!["p1".to_owned()],
                confirmed: true,
            };
            standing.witness(&WorldEvent::new(Time::ZERO, "_", 1, what));
            let stand = standing.find("p1").unwrap();
            assert_eq!((stand.alive, stand.paused, stand.hit), (alive, paused, true));
        }
        start(&mut standing, "p1");
        assert!(standing.find("p1").is_some_and(|stand| stand.alive && stand.hit));
    }
}
