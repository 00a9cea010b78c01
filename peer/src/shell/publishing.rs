//! This peer's own readings on their way to the node, and what becomes of those that it does not take.
//!
//! Readings that are there together are given together, so that they travel together: a frame for each of them would cost
//! a hundred times as much.

use protocol::note::Refusal;
use protocol::seam::{Input, Publication};

use super::Shell;
use crate::clock;

impl Shell {
    /// Publishes readings, oldest first; the places of those that were not taken, and why.
    pub(super) fn publish(&mut self, readings: Vec<Publication>) -> Vec<(usize, Refusal)> {
        let given = readings.len();
        self.feed(Input::Publish { readings });
        let refused = std::mem::take(&mut self.refused);
        if refused.len() < given
            && !refused.iter().any(|(_, why)| *why == Refusal::NoQuorum)
            && let Some(count) = self.refusals.take()
        {
            log::info!("Readings of this peer are taken again; {count} were refused while it was blocked, and are not kept.");
        }
        refused
    }

    /// Publishes what was measured; what is not taken is gone, and counted.
    pub(super) fn publish_measured(&mut self, reading: Publication) {
        for (_, why) in self.publish(vec![reading]) {
            self.refusals.refuse(why);
        }
    }

    /// Publishes lines while there is room for them. Only what others say makes room, and that is another turn.
    pub(super) fn publish_lines(&mut self) {
        let Some(mut publisher) = self.lines.take() else { return };
        let room = usize::try_from(self.node.room()).unwrap_or(usize::MAX).min(LINES_PER_TURN);
        let time = clock::utc_micros();
        let (mut lines, mut readings) = (Vec::new(), Vec::new());
        while readings.len() < room
            && let Some(line) = publisher.lines.take()
        {
            if let Some((payload, guarantee)) = publisher.read(&line) {
                lines.push(line);
                readings.push(Publication { payload, time, guarantee });
            }
        }
        let mut left = lines.len();
        if !readings.is_empty() {
            for (place, why) in self.publish(readings) {
                match why {
                    Refusal::WindowFull => left = place,
                    Refusal::TooLarge | Refusal::Leaving | Refusal::NoQuorum => self.refusals.refuse(why),
                }
            }
        }
        publisher.more = room == LINES_PER_TURN && lines.len() == room && left == room;
        publisher.lines.put_back(lines.split_off(left));
        self.lines = Some(publisher);
    }

    /// Publishes what synthetic load is due, while there is room for it.
    pub(super) fn publish_load(&mut self) {
        let Some(mut load) = self.load.take() else { return };
        let now = clock::now();
        if load.waits() {
            load.begin(now, self.node.members());
        }
        let room = usize::try_from(self.node.room()).unwrap_or(usize::MAX).min(LOAD_PER_TURN);
        if room > 0 && load.is_due(now) {
            let readings = load.make(now, clock::utc_micros(), room);
            let given = readings.len();
            for (place, why) in self.publish(readings) {
                match why {
                    Refusal::WindowFull => load.take_back(given - place),
                    Refusal::TooLarge | Refusal::Leaving | Refusal::NoQuorum => self.refusals.refuse(why),
                }
            }
        }
        self.load = Some(load);
    }

    /// Whether synthetic load is due, and there is room for it.
    pub(super) fn has_load(&self) -> bool {
        self.load.as_ref().is_some_and(|load| !load.is_stalled() && load.is_due(clock::now())) && self.node.room() > 0
    }
}

const LOAD_PER_TURN: usize = 1_024;
const LINES_PER_TURN: usize = 1_024;
