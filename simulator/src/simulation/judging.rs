//! When the laws examine the simulation, and what they get to see.

use protocol::io::{Delivery, Output};
use protocol::message::Message;
use protocol::node::Node;
use protocol::time::Time;

use super::Simulation;
use super::host::Host;
use crate::connection::EndState;
use crate::watch::Watch;

impl<W: Watch> Simulation<W> {
    /// Every fault is healed and the group is one: from now on no peer has a reason to be blocked.
    pub fn is_whole(&mut self) {
        self.truth.is_whole();
    }

    /// Whether the peers on these hosts could continue together, by the logs that they hold.
    #[must_use]
    pub fn may_go_on(&self, hosts: &[usize]) -> bool {
        let nodes: Vec<&Node> = hosts.iter().filter_map(|host| self.node(*host)).collect();
        self.truth.may_go_on(&nodes)
    }

    /// These hosts are calm: the law about retained memory examines every node.
    pub fn is_at_rest(&mut self, hosts: &[usize]) {
        let nodes = hosts
            .iter()
            .filter_map(|host| self.hosts[*host].process.as_ref())
            .map(|process| &process.node);
        self.truth.judge_rest(self.now, nodes);
    }

    /// Some members are about to leave a group that is whole and at rest; returns the current
    /// number of records.
    pub fn begin_farewell(&mut self) -> usize {
        self.truth.begin_farewell();
        self.records.len()
    }

    /// The leavers had enough time. The records of their farewell are dropped.
    pub fn end_farewell(&mut self, leavers: &[usize], records: usize) {
        let there = leavers.iter().find_map(|host| self.hosts[*host].process.as_ref());
        self.truth.judge_farewell(self.now, there.map(|process| &process.node));
        self.records.truncate(records);
    }

    /// Compares what a node has done with what all nodes hold.
    pub(super) fn judge(&mut self, host: usize, outputs: &[Output]) {
        let Self { hosts, truth, now, is_judged: true, connections, .. } = self else { return };
        let Some(process) = &hosts[host].process else { return };
        for output in outputs {
            let Output::Send { link, message: Message::Added(added) } = output else { continue };
            let place = process.links.get(link);
            let other =
                place.map(|(connection, side)| connections[*connection].ends[1 - side].host);
            // It may have died meanwhile, unknown to its leader.
            if let Some(other) = other {
                truth.note_answered(host, &process.node, &hosts[other].id, added);
            }
        }
        // The other nodes are needed rarely.
        let is_asked = |output: &Output| {
            matches!(
                output,
                Output::Deliver(Delivery::Gap { .. })
                    | Output::Stop(_)
                    | Output::Published { place: None, .. }
            )
        };
        let asks = outputs.iter().any(is_asked) || truth.is_news(host, &process.node);
        let others = hosts.iter().enumerate().filter(|(other, _)| asks && *other != host);
        let others: Vec<&Node> =
            others.filter_map(|(_, other)| Some(&other.process.as_ref()?.node)).collect();
        let linked = |other: usize| {
            process.links.values().any(|(connection, side)| {
                let ends = &connections[*connection].ends;
                ends[1 - side].host == other && ends[*side].state == EndState::Up
            })
        };
        truth.saw(*now, host, &process.node, outputs, (&others, &linked));
    }

    /// Examines the parts of the group, twice between two heartbeats, up to the time of the next
    /// event.
    pub(super) fn look_at_parts(&mut self, end: Time) {
        if self.is_judged && end > self.now && self.truth.links.take_changed() {
            self.truth.note_parts(&nodes_of(&self.hosts));
        }
        while self.is_judged && self.look_at <= end {
            self.truth.judge_parts(self.look_at, &nodes_of(&self.hosts));
            self.look_at += self.settings.config.knobs().heartbeat_interval / 2;
        }
    }
}

/// Those that run, by their hosts.
fn nodes_of(hosts: &[Host]) -> Vec<(usize, &Node)> {
    let running = hosts.iter().enumerate();
    running.filter_map(|(host, on)| Some((host, &on.process.as_ref()?.node))).collect()
}
