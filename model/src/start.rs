//! Where a search starts: at the very beginning, or in the middle of a life.
//!
//! A formed group is many steps away from three processes that have just started, and a group that was torn apart many
//! more; to get there in every order would use up what a search can do. So a short script goes there in one order, with
//! all clocks going alike and nothing lost, and the search begins where the script ends.

use protocol::config::Config;
use protocol::status::Status;
use protocol::time::Time;

use crate::bounds::Bounds;
use crate::fact::Breach;
use crate::group::{Action, Group};
use crate::model::{Model, Stimulus};

/// Where a search starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// Three processes that have just started.
    Boot,
    /// A group of three that has come to rest.
    Formed,
    /// A group that was torn apart, the leader from the other two; each side has ordered a reading that the other lacks (or
    /// would have, had it a quorum), and each can reach the other again.
    Torn,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Boot, Self::Formed, Self::Torn];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Formed => "formed",
            Self::Torn => "torn",
        }
    }

    /// Goes there.
    pub(crate) fn reach(self, model: &mut Model, config: &Config, bounds: Bounds) -> Result<Group, Breach> {
        let size = usize::from(bounds.peers);
        let mut group = model.boot(config, size);
        model.bounds = Bounds { datagrams: true, ..bounds };
        let mut script = Script { model, group: &mut group, clock: Time::ZERO, torn: false };
        match self {
            Self::Boot => {}
            Self::Formed => script.form(size)?,
            Self::Torn => {
                script.form(size)?;
                script.tear(size)?;
            }
        }
        script.set_clocks();
        model.begin_at(&mut group, bounds);
        Ok(group)
    }
}

/// One order of events: what is on its way arrives at once, then the earliest deadline passes.
struct Script<'a> {
    model: &'a mut Model,
    group: &'a mut Group,
    clock: Time,
    /// Whether the last peer is cut off from the others.
    torn: bool,
}

impl Script<'_> {
    /// Runs until all are in one view and at rest.
    fn form(&mut self, size: usize) -> Result<(), Breach> {
        self.run_until("a group has formed", |script| {
            script.statuses().all(|status| status.members.len() == size && status.stable == status.contiguous && status.role != "candidate")
        })
    }

    /// Cuts the leader off until it and the others have gone on without each other, then heals the cut.
    fn tear(&mut self, size: usize) -> Result<(), Breach> {
        self.torn = true;
        for line in 0..self.group.lines.len() {
            if self.crosses(line) {
                self.group.reset(line);
            }
        }
        for peer in [size - 1, size - 2] {
            let peer = u8::try_from(peer).expect("a handful of peers");
            self.model.set_clock(self.group, peer, self.clock);
            self.model.tell(self.group, peer, Stimulus::Publish)?;
        }
        self.run_until("the group has been torn", |script| {
            let at_rest = |status: &Status| status.stable == status.contiguous && status.published == status.ordered;
            let statuses: Vec<Status> = script.statuses().collect();
            let (last, others) = statuses.split_last().expect("there are peers");
            // Whoever does not lead any more waits for the others, in mode `primary`.
            let apart = last.members.len() == 1 && at_rest(last) || last.role == "candidate";
            apart && others.iter().all(|status| status.members.len() == size - 1 && at_rest(status))
        })?;
        self.torn = false;
        self.give_up_dials()
    }

    /// What was dialled across the cut has come to nothing.
    fn give_up_dials(&mut self) -> Result<(), Breach> {
        while let Some(at) = (0..self.group.lines.len()).find(|at| !self.group.lines[*at].up && self.crosses(*at)) {
            let own = self.group.lines.remove(at).ends[0].clone();
            self.model.tell(self.group, own.peer, Stimulus::Unreached { link: own.link, refused: false })?;
        }
        Ok(())
    }

    fn statuses(&self) -> impl Iterator<Item = Status> {
        self.group.peers.iter().flatten().map(|peer| self.model.peers.get(*peer).node.status())
    }

    /// Whether a connection leads from one side of the cut to the other.
    fn crosses(&self, line: usize) -> bool {
        let last = self.group.peers.len() - 1;
        self.group.lines[line].ends.iter().filter(|end| usize::from(end.peer) == last).count() == 1
    }

    fn run_until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), Breach> {
        for _ in 0..STEPS_MAX {
            let action = self.model.actions(self.group).into_iter().find(|action| self.is_on_its_way(*action));
            match action {
                Some(action) => self.take(action)?,
                None if reached(self) => return Ok(()),
                None => self.wake_the_earliest()?,
            }
        }
        Err(Breach::new("converges", format!("after {STEPS_MAX} steps it is not so that {what}")))
    }

    fn is_on_its_way(&self, action: Action) -> bool {
        let last = self.group.peers.len() - 1;
        let far = |peer: u8| usize::from(peer) == last;
        match action {
            Action::Arrive { line, end } => {
                let lost = self.torn && self.crosses(usize::from(line));
                let inbox = &self.group.lines[usize::from(line)].ends[usize::from(end)].inbox;
                !lost || inbox.first() == Some(&crate::group::Item::Reset)
            }
            Action::Answer { line } => !(self.torn && self.crosses(usize::from(line))),
            Action::Hear { from, to } => !(self.torn && far(from) != far(to)),
            Action::Pass { .. } | Action::Pause { .. } | Action::Crash { .. } | Action::Publish { .. } | Action::Reset { .. } => false,
        }
    }

    fn take(&mut self, action: Action) -> Result<(), Breach> {
        self.set_clocks();
        if let Some(next) = self.model.step(self.group, action)? {
            *self.group = next;
        }
        Ok(())
    }

    fn set_clocks(&mut self) {
        for peer in 0..u8::try_from(self.group.peers.len()).expect("a handful of peers") {
            self.model.set_clock(self.group, peer, self.clock);
        }
    }

    fn wake_the_earliest(&mut self) -> Result<(), Breach> {
        let peers = (0_u8..).zip(&self.group.peers).filter_map(|(index, peer)| Some((index, (*peer)?)));
        let deadlines = peers.filter_map(|(index, peer)| Some((self.model.peers.get(peer).node.deadline()?, index)));
        let Some((deadline, index)) = deadlines.min() else { return Ok(()) };
        self.clock = self.clock.max(deadline);
        self.model.set_clock(self.group, index, self.clock);
        self.model.tell(self.group, index, Stimulus::Wake)?;
        self.group.tidy();
        Ok(())
    }
}

const STEPS_MAX: u32 = 5_000;
