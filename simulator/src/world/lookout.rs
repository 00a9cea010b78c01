//! The lookout: recognises what is rare, as it happens, from what nodes hear and say.

use std::time::Duration;

use protocol::id::{Epoch, PeerId};
use protocol::message::Message;
use protocol::note::Note;
use protocol::phase::Phase;
use protocol::seam::Input;
use protocol::time::Time;

use super::{Moment, World};
use crate::marks::{Class, Mark, Marks};
use crate::watch::Watch;

/// What has to be remembered to recognise it.
#[derive(Debug)]
pub(super) struct Lookout {
    marks: Marks,
    /// The latest epoch that anybody has led.
    led: Epoch,
    /// Who was removed last at which host, and when.
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

impl<W: Watch> World<W> {
    /// A node is about to handle something.
    pub(super) fn look_at_input(&mut self, host: usize, input: &Input) {
        let Some(process) = &self.hosts[host].process else { return };
        let elects = matches!(process.phase, Phase::Asking | Phase::Waiting | Phase::Syncing);
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

    /// A node is in the middle of something else now.
    pub(super) fn look_at_phase(&mut self, host: usize, phase: Phase) {
        if phase == Phase::Asking {
            let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != host);
            let asks = others.into_iter().any(|(_, host)| host.process.as_ref().is_some_and(|process| process.phase == phase));
            if asks {
                self.lookout.marks.see(Mark::TwoInitiators);
            }
        }
        let (now, agenda) = (self.now, &mut self.agenda);
        self.awaited.retain(|&(awaited, number)| {
            if awaited == phase {
                agenda.add(now, Moment::Struck { number, host });
            }
            awaited != phase
        });
    }

    /// A node tells something.
    pub(super) fn look_at_note(&mut self, host: usize, note: &Note) {
        match note {
            Note::StaleEpoch { .. } => self.lookout.marks.see(Mark::StaleEpoch),
            Note::LeaderElected { epoch, .. } if *epoch > self.lookout.led => self.lookout.led = epoch.clone(),
            Note::StepDown { epoch, .. } if *epoch < self.lookout.led => self.lookout.marks.see(Mark::OldLeader),
            Note::PeerRemoved { peer, .. } => {
                self.look_at_change(host, peer);
                let now = self.now;
                let interval = self.settings.config.knobs().heartbeat_interval;
                self.lookout.removed.retain(|(.., at)| now.since(*at) <= interval);
                self.lookout.removed.push((host, peer.clone(), now));
            }
            Note::PeerAdded { peer, .. } => {
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
        self.lookout.removed.iter().any(|(where_, who, at)| *where_ == host && who == peer && within(*at))
    }

    /// A view has brought or taken somebody: does anybody else in it still build its log?
    fn look_at_change(&mut self, host: usize, peer: &PeerId) {
        let builds =
            |other: &&super::Host| other.id != *peer && other.process.as_ref().is_some_and(|process| process.phase == Phase::Building);
        let building: Vec<&PeerId> = self.hosts.iter().filter(builds).map(|other| &other.id).collect();
        if building.is_empty() {
            return;
        }
        let members = self.status(host).map_or_else(Vec::new, |status| status.members);
        if building.into_iter().any(|one| members.contains(one)) {
            self.lookout.marks.see(Mark::ViewInTransfer);
        }
    }

    /// A datagram came twice, and nothing came of it.
    pub(super) fn look_at_repeat(&mut self) {
        self.lookout.marks.see(Mark::RepeatSuppressed);
    }

    /// Something is done to a host.
    pub(super) fn look_at_fault(&mut self, class: Class, host: usize) {
        let Some(process) = &self.hosts[host].process else { return };
        self.lookout.marks.meet(class, process.phase);
        if matches!(class, Class::Kill | Class::Outage) && process.phase == Phase::Leader {
            let status = process.node.status();
            if status.stable < status.contiguous {
                self.lookout.marks.see(Mark::OrdersInFlight);
            }
        }
    }
}
