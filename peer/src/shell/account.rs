//! The peer's knowledge of itself, for its status, its page and its metrics.

use super::Shell;
use crate::clock;
use crate::disk;
use crate::sensors;
use crate::status::Report;
use crate::survey::Survey;

impl Shell {
    /// All of it.
    pub(super) fn survey(&self) -> Survey {
        Survey {
            report: self.report(),
            members: self.members(),
            numbers: self.counters.numbers().clone(),
            rejected: self.rejects.by_kind().clone(),
            queues: self.queues(),
            syncs: disk::syncs(),
            happenings: self.chronicle.recent(),
        }
    }

    pub(super) fn report(&self) -> Report {
        Report {
            status: self.node.status(),
            inc: self.node.contact().member.inc,
            pid: std::process::id(),
            build: crate::BUILD.to_owned(),
            cluster: self.cluster.clone(),
            delivery: self.delivery,
            refused: self.refusals.total(),
            uptime_ms: u64::try_from(clock::now().since(self.started).as_millis())
                .unwrap_or(u64::MAX),
            links: self.links.len(),
            traffic: self.links.sent().plus(self.discovery.sent()),
            view_since: self.view_since,
            rejected: self.rejects.total(),
            unreachable: self.reach.unreachable().to_vec(),
            networks: self.network.situation().to_string(),
            without_a_row: self.worker.without_a_row(),
            deliveries: self.deliveries.report(),
            outputs: self.outputs.report(),
            sensors: sensors::report(&self.gauges),
        }
    }

    /// The bytes that wait in each queue of this peer.
    fn queues(&self) -> Vec<(&'static str, u64)> {
        let sinks = self.worker.keeps().then(|| ("sinks", self.worker.waiting_bytes()));
        let own = [
            ("publish", self.node.unordered_bytes()),
            ("clients", self.door.payload_bytes()),
            ("links", self.links.waiting_bytes()),
        ];
        own.into_iter().chain(sinks).chain(self.outputs.waiting()).collect()
    }
}
