//! The lookout: recognises rare events as they happen, from the inputs and outputs of nodes.

use std::time::Duration;

use protocol::activity::Activity;
use protocol::id::{Epoch, PeerId};
use protocol::io::Input;
use protocol::message::{Message, Reason, Rejected};
use protocol::note::{Note, Refusal};
use protocol::time::Time;

use super::{Moment, Simulation};
use crate::marks::{Class, Mark, Marks};
use crate::watch::Watch;

/// An awaited activity, and the number of the wait.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    what: Doing,
    number: u64,
    /// How many of them are let pass first.
    past: u32,
}

/// The activity of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doing {
    Begins(Activity),
    Says(String),
}

/// The memory that recognition needs.
#[derive(Debug)]
pub(super) struct Lookout {
    marks: Marks,
    /// The latest epoch with a leader.
    led: Epoch,
    /// The peer that was removed last at each host, and when.
    removed: Vec<(usize, PeerId, Time)>,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self { marks: Marks::default(), led: Epoch::none(), removed: vec![] }
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(super) fn into_marks(self) -> Marks {
        self.marks
    }
}

impl<W: Watch> Simulation<W> {
    /// A node is about to handle an input.
    pub(super) fn look_at_input(&mut self, host: usize, input: &Input) {
        let Some(process) = &self.hosts[host].process else { return };
        let elects =
            matches!(process.activity, Activity::Asking | Activity::Waiting | Activity::Syncing);
        let marks = &mut self.lookout.marks;
        let mut look = |message: &Message| match message {
            Message::Ok { .. } if !elects => marks.see(Mark::LateOk),
            Message::NewPeerRequest(_) if elects => marks.see(Mark::JoinerInElection),
            _ => {}
        };
        match input {
            Input::Received { messages, .. } => messages.iter().for_each(look),
            Input::Heard { datagram, .. } => look(&datagram.message),
            _ => {}
        }
    }

    /// A node has entered another phase.
    pub(super) fn look_at_activity(&mut self, host: usize, activity: Activity) {
        if activity == Activity::Asking {
            let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != host);
            let asks = others.into_iter().any(|(_, host)| {
                host.process.as_ref().is_some_and(|process| process.activity == activity)
            });
            if asks {
                self.lookout.marks.see(Mark::TwoInitiators);
            }
        }
        self.strike(host, |what| *what == Doing::Begins(activity));
    }

    /// A node sends a message.
    pub(super) fn look_at_word(&mut self, host: usize, message: &Message) {
        if let Message::Rejected(Rejected { reason: Reason::OldIncarnation { .. }, .. }) = message {
            self.lookout.marks.see(Mark::OldLife);
        }
        if !self.awaited.is_empty() {
            let verb = message.verb();
            self.strike(host, |what| matches!(what, Doing::Says(awaited) if awaited == verb));
        }
    }

    /// Makes [`Simulation::step`] return [`Step::Struck`](super::Step::Struck) with this number
    /// when the next node begins that phase, after `past` others.
    pub fn await_activity(&mut self, activity: Activity, past: u32, number: u64) {
        self.awaited.push(Awaited { what: Doing::Begins(activity), number, past });
    }

    /// The same, for the next message of that kind.
    pub fn await_word(&mut self, verb: &str, past: u32, number: u64) {
        self.awaited.push(Awaited { what: Doing::Says(verb.to_owned()), number, past });
    }

    /// A host does something: the waits for it are triggered, unless they let this one pass.
    fn strike(&mut self, host: usize, is_it: impl Fn(&Doing) -> bool) {
        let (now, agenda, marks) = (self.now, &mut self.agenda, &mut self.lookout.marks);
        self.awaited.retain_mut(|awaited| {
            let is_over = is_it(&awaited.what) && awaited.past == 0;
            if is_over {
                if let Doing::Says(verb) = &awaited.what {
                    marks.strike(verb);
                }
                agenda.add(now, Moment::Struck { number: awaited.number, host });
            } else if is_it(&awaited.what) {
                awaited.past -= 1;
            }
            !is_over
        });
    }

    /// A node writes a note.
    pub(super) fn look_at_note(&mut self, host: usize, note: &Note) {
        match note {
            Note::StaleEpoch { .. } => self.lookout.marks.see(Mark::StaleEpoch),
            Note::LeaderElected { epoch, .. } if *epoch > self.lookout.led => {
                self.lookout.led = epoch.clone()
            }
            Note::StepDown { epoch, .. } if *epoch < self.lookout.led => {
                self.lookout.marks.see(Mark::OldLeader)
            }
            Note::PeerRemoved { peer, .. } => {
                self.look_at_change(host, peer);
                let now = self.now;
                let interval = self.settings.config.knobs().heartbeat_interval;
                self.lookout.removed.retain(|(.., at)| now.since(*at) <= interval);
                self.lookout.removed.push((host, peer.clone(), now));
            }
            Note::Reject { why, .. } if why.contains("members_max members") => {
                self.lookout.marks.see(Mark::FullGroup)
            }
            Note::PeerAdded { peer, .. } => {
                let is_gone = |other: &super::Host| {
                    other.process.as_ref().is_none_or(|process| process.paused)
                };
                if self.hosts.iter().filter(|other| other.id == *peer).all(is_gone) {
                    self.lookout.marks.see(Mark::LetInGone);
                }
                self.look_at_change(host, peer);
                if self.is_back_at_once(host, peer) {
                    self.lookout.marks.see(Mark::RemovedAndAdded);
                }
            }
            _ => {}
        }
    }

    fn is_back_at_once(&self, host: usize, peer: &PeerId) -> bool {
        let interval: Duration = self.settings.config.knobs().heartbeat_interval;
        let within = |at: Time| self.now.since(at) <= interval;
        self.lookout
            .removed
            .iter()
            .any(|(where_, who, at)| *where_ == host && who == peer && within(*at))
    }

    /// A view has added or removed a member: does another member still build its log?
    fn look_at_change(&mut self, host: usize, peer: &PeerId) {
        let builds = |other: &&super::Host| {
            other.id != *peer
                && other
                    .process
                    .as_ref()
                    .is_some_and(|process| process.activity == Activity::Building)
        };
        let building: Vec<&PeerId> =
            self.hosts.iter().filter(builds).map(|other| &other.id).collect();
        if building.is_empty() {
            return;
        }
        let members = self.status(host).map_or_else(Vec::new, |status| status.members);
        if building.into_iter().any(|one| members.contains(one)) {
            self.lookout.marks.see(Mark::ViewInTransfer);
        }
    }

    /// A reading is refused.
    pub(super) fn look_at_refusal(&mut self, host: usize, why: Refusal) {
        let Some(process) = &self.hosts[host].process else { return };
        let status = process.node.status();
        let has_room =
            status.published.above(status.ordered) < self.settings.config.knobs().window_entries;
        match why {
            Refusal::TooLarge => self.lookout.marks.see(Mark::TooLarge),
            Refusal::WindowFull if has_room => self.lookout.marks.see(Mark::BytesFull),
            Refusal::WindowFull | Refusal::Leaving | Refusal::NoQuorum => {}
        }
    }

    /// A connection is forgotten while it is being established.
    pub(super) fn look_at_unmade(&mut self) {
        self.lookout.marks.see(Mark::Unmade);
    }

    /// Data of a dead process reaches a process that its successor may have spoken to.
    pub(super) fn look_at_ghost(&mut self) {
        self.lookout.marks.see(Mark::Ghost);
    }

    /// A datagram came twice, and the second one had no effect.
    pub(super) fn look_at_repeat(&mut self) {
        self.lookout.marks.see(Mark::RepeatSuppressed);
    }

    /// A fault hits a host.
    pub(super) fn look_at_fault(&mut self, class: Class, host: usize) {
        let Some(process) = &self.hosts[host].process else { return };
        self.lookout.marks.meet(class, process.activity);
        if matches!(class, Class::Kill | Class::Outage) && process.activity == Activity::Leader {
            let status = process.node.status();
            if status.stable < status.contiguous {
                self.lookout.marks.see(Mark::OrdersInFlight);
            }
        }
    }
}
