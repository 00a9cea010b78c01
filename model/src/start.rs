//! The start of a search: at the very beginning, or in the middle of a group's life.
//!
//! A formed group is many steps away from three processes that have just started, and a group after
//! a partition many more; to get there in every order would exceed any search. So a short script
//! gets there in one order, with equal clocks and without losses, and the search begins where the
//! script ends.
//!
//! A joining peer is linked to the leader alone, and an election links all of its participants. The
//! many orders in which those links come up would fill every search from a fresh group, so most
//! searches begin after an election.

use std::collections::BTreeSet;

use protocol::config::{Config, Mode};
use protocol::status::Status;
use protocol::time::Time;

use crate::bounds::Bounds;
use crate::fact::Breach;
use crate::group::{Action, Group};
use crate::model::{Model, Stimulus};
use crate::peer::contact;

/// The start of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// Three processes that have just started.
    Boot,
    /// A group of three at rest that has had no election yet: all are linked to the leader, and to
    /// no other peer.
    Star,
    /// A group of three at rest, led by the successor of a dead leader: all are linked to all.
    Formed,
    /// A group after a partition, the leader on one side and the other two on the other. Each side
    /// has ordered a reading that the other lacks (or would have, with a quorum), and each can
    /// reach the other again.
    Torn,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Boot, Self::Star, Self::Formed, Self::Torn];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Star => "star",
            Self::Formed => "formed",
            Self::Torn => "torn",
        }
    }

    /// Runs the script to this start.
    pub(crate) fn reach(
        self,
        model: &mut Model,
        config: &Config,
        bounds: Bounds,
    ) -> Result<Group, Breach> {
        let size = usize::from(bounds.peers);
        // The first leader of a group after an election is one additional peer.
        let (config, booted) = if self == Self::Formed {
            (&founded_by(config, size), size + 1)
        } else {
            (config, size)
        };
        let mut group = model.boot(config, booted);
        model.bounds = Bounds { datagrams: true, ..bounds };
        let mut script = Script { model, group: &mut group, clock: Time::ZERO, torn: false };
        match self {
            Self::Boot => {}
            Self::Star => script.form(size)?,
            Self::Formed => {
                script.form(size + 1)?;
                script.lose_the_leader(size)?;
            }
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

/// The knobs of a group founded by the searched peers and the peer after them, which ranks highest.
fn founded_by(config: &Config, size: usize) -> Config {
    let mut knobs = config.knobs().clone();
    if knobs.mode == Mode::Primary {
        knobs.bootstrap.push(contact(size).member.id);
    }
    Config::try_from(knobs).expect("one name more is within the bounds")
}

fn ordered([one, other]: [u8; 2]) -> [u8; 2] {
    [one.min(other), one.max(other)]
}

/// One order of events: messages in flight arrive at once, then the earliest deadline passes.
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
            script.statuses().all(|status| {
                status.members.len() == size
                    && status.stable == status.contiguous
                    && status.role != "candidate"
            })
        })
    }

    /// The leader dies; runs until the others, which look for each other, are in one view, linked
    /// to each other and at rest.
    fn lose_the_leader(&mut self, size: usize) -> Result<(), Breach> {
        self.group.bury(u8::try_from(size).expect("a handful of peers"));
        self.group.tidy();
        self.form(size)?;
        let pairs = size * (size - 1) / 2;
        let linked: BTreeSet<[u8; 2]> = self
            .group
            .lines
            .iter()
            .map(|line| line.ends.each_ref().map(|end| end.peer))
            .map(ordered)
            .collect();
        if linked.len() == pairs && self.group.lines.len() == pairs {
            return Ok(());
        }
        Err(Breach::new(
            "converges",
            format!("the election leaves links between {linked:?} of {size} peers"),
        ))
    }

    /// Cuts the leader off until it and the others have continued without each other, then heals
    /// the cut.
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
            let at_rest = |status: &Status| {
                status.stable == status.contiguous && status.published == status.ordered
            };
            let statuses: Vec<Status> = script.statuses().collect();
            let (last, others) = statuses.split_last().expect("there are peers");
            // In mode `primary`, a leader that has stepped down waits for the others.
            let apart = last.members.len() == 1 && at_rest(last) || last.role == "candidate";
            apart && others.iter().all(|status| status.members.len() == size - 1 && at_rest(status))
        })?;
        self.torn = false;
        self.give_up_dials()
    }

    /// Dials across the cut have failed.
    fn give_up_dials(&mut self) -> Result<(), Breach> {
        while let Some(at) =
            (0..self.group.lines.len()).find(|at| !self.group.lines[*at].up && self.crosses(*at))
        {
            let own = self.group.lines.remove(at).ends[0].clone();
            self.model.tell(
                self.group,
                own.peer,
                Stimulus::Unreached { link: own.link, refused: false },
            )?;
        }
        Ok(())
    }

    fn statuses(&self) -> impl Iterator<Item = Status> {
        self.group.peers.iter().flatten().map(|peer| self.model.peers.get(*peer).node.status())
    }

    /// Whether a connection crosses the cut.
    fn crosses(&self, line: usize) -> bool {
        let last = self.group.peers.len() - 1;
        self.group.lines[line].ends.iter().filter(|end| usize::from(end.peer) == last).count() == 1
    }

    fn run_until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), Breach> {
        for _ in 0..STEPS_MAX {
            let action = self
                .model
                .actions(self.group)
                .into_iter()
                .find(|action| self.is_on_its_way(*action));
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
            Action::Pass { .. }
            | Action::Pause { .. }
            | Action::Crash { .. }
            | Action::Publish { .. }
            | Action::Reset { .. } => false,
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
        let peers =
            (0_u8..).zip(&self.group.peers).filter_map(|(index, peer)| Some((index, (*peer)?)));
        let deadlines = peers
            .filter_map(|(index, peer)| Some((self.model.peers.get(peer).node.deadline()?, index)));
        let Some((deadline, index)) = deadlines.min() else { return Ok(()) };
        self.clock = self.clock.max(deadline);
        self.model.set_clock(self.group, index, self.clock);
        self.model.tell(self.group, index, Stimulus::Wake)?;
        self.group.tidy();
        Ok(())
    }
}

const STEPS_MAX: u32 = 5_000;

#[cfg(test)]
mod tests {
    use super::{Start, ordered};
    use crate::model::Model;
    use crate::plan::{Depth, plan};
    use protocol::config::{Config, Knobs, Mode};
    use std::time::Duration;

    /// Runs to a start of three peers; checks the links there, the round, and the possible events.
    #[track_caller]
    fn check(mode: Mode, start: Start, links: &[[u8; 2]], round: u64) {
        let bootstrap = if mode == Mode::Primary {
            (0..3).map(|index| super::contact(index).member.id).collect()
        } else {
            vec![]
        };
        let knobs = Knobs {
            join_batch: Duration::ZERO,
            link_idle: Duration::from_secs(86_400),
            mode,
            bootstrap,
            ..Knobs::default()
        };
        let (config, bounds) =
            (Config::try_from(knobs).unwrap(), plan(Depth::Usual, mode)[0].bounds);
        let mut model = Model::new(&config, bounds);
        let group = start.reach(&mut model, &config, bounds).expect("lawful");
        let mut linked: Vec<[u8; 2]> = group
            .lines
            .iter()
            .map(|line| ordered(line.ends.each_ref().map(|end| end.peer)))
            .collect();
        linked.sort_unstable();
        assert_eq!(linked, links, "{mode:?} {start:?}");
        assert!(group.is_at_rest());
        let living: Vec<_> =
            group.peers.iter().flatten().map(|peer| &model.peers.get(*peer).node).collect();
        assert_eq!(living.len(), 3);
        assert!(living.iter().all(|node| node.promised().round == round), "{mode:?} {start:?}");
    }

    #[test]
    fn an_election_links_all_to_all() {
        for mode in [Mode::Available, Mode::Primary] {
            check(mode, Start::Star, &[[0, 2], [1, 2]], 1);
            check(mode, Start::Formed, &[[0, 1], [0, 2], [1, 2]], 2);
        }
    }
}
