//! This peer's own readings on their way to the node, and the fate of refused ones.
//!
//! Readings available together are given together, so that they share a frame: a frame for each of
//! them would cost a hundred times as much.

use protocol::io::{Input, Publication};
use protocol::note::Refusal;

use super::Shell;
use crate::clock;
use crate::sensors::gauge::Gauge;

impl Shell {
    /// Publishes readings, oldest first; returns how many were handled. The rest found no room.
    /// Readings refused for another reason are dropped, and counted.
    fn publish(&mut self, publications: Vec<Publication>) -> u64 {
        let mut dealt_with =
            publications.iter().map(|publication| publication.readings.len()).sum();
        self.feed(Input::Publish { publications });
        let refused = std::mem::take(&mut self.refused);
        if (refused.len() as u64) < dealt_with
            && !refused.iter().any(|(_, why)| *why == Refusal::NoQuorum)
            && let Some(count) = self.refusals.take()
        {
            log::info!(
                "Readings of this peer are taken again; {count} were refused while it was blocked, \
                 and are not kept."
            );
        }
        for (place, why) in refused {
            match why {
                Refusal::WindowFull => dealt_with = place,
                Refusal::TooLarge | Refusal::Leaving | Refusal::NoQuorum => {
                    self.refusals.refuse(why)
                }
            }
        }
        dealt_with
    }

    /// Publishes a measurement. It does not wait for room: the next one will be newer.
    pub(super) fn publish_measured(&mut self, reading: Publication, gauge: &Gauge) {
        if self.publish(vec![reading]) == 0 {
            self.refusals.refuse(Refusal::WindowFull);
            self.counters.drop_measurement();
            gauge.refuse(None);
        } else {
            gauge.count(None, 0);
        }
    }

    /// Publishes lines while there is room for them.
    pub(super) fn publish_lines(&mut self) {
        let Some(mut publisher) = self.lines.take() else { return };
        let now = clock::utc_micros();
        let room = self.room(self.stamps.room(now));
        let (mut lines, mut readings) = (Vec::new(), Vec::new());
        while lines.len() < room
            && let Some(line) = publisher.take()
        {
            readings.push((line.payload.clone(), self.stamps.next(now), line.guarantee));
            lines.push(line);
        }
        if !readings.is_empty() {
            let dealt_with = self.publish(Publication::together(readings));
            publisher.put_back(
                lines.split_off(usize::try_from(dealt_with).expect("no more than there were")),
            );
        }
        // A leader orders its own readings at once, and has room again without an acknowledgement.
        publisher.more = lines.len() == room && self.has_room();
        self.lines = Some(publisher);
    }

    /// Publishes due synthetic load, while there is room.
    pub(super) fn publish_load(&mut self) {
        let Some(mut load) = self.load.take() else { return };
        let now = clock::now();
        if load.waits() {
            load.begin(now, self.node.members());
        }
        let room = self.room_for(LOAD_PER_TURN, load.bytes());
        if room > 0
            && load.is_due(now)
            && let Some(readings) = load.make(now, self.stamps.next(clock::utc_micros()), room)
        {
            let given = readings.len();
            let left = given - self.publish(vec![Publication { readings, guarantee: None }]);
            if left > 0 {
                load.take_back(left);
            }
        }
        self.load = Some(load);
    }

    /// How many readings the window takes now, at most `most`.
    pub(super) fn room(&self, most: usize) -> usize {
        usize::try_from(self.node.room().0).unwrap_or(usize::MAX).min(most)
    }

    /// The same, with readings of that size; at least one if there is any room at all.
    fn room_for(&self, most: usize, bytes: usize) -> usize {
        let (readings, room) = self.node.room();
        if room == 0 {
            return 0;
        }
        let fits = (room / bytes.max(1) as u64).max(1).min(readings);
        usize::try_from(fits).unwrap_or(usize::MAX).min(most)
    }

    /// Whether the window takes another reading now.
    pub(super) fn has_room(&self) -> bool {
        let (readings, bytes) = self.node.room();
        readings > 0 && bytes > 0
    }

    /// Whether synthetic load is due, and there is room for it.
    pub(super) fn has_load(&self) -> bool {
        self.load.as_ref().is_some_and(|load| !load.is_stalled() && load.is_due(clock::now()))
            && self.has_room()
    }
}

const LOAD_PER_TURN: usize = 1_024;
