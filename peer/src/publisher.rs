//! Readings made from lines by the sensors' threads, on their way to the node.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::sensors::intake::Ready;

/// The loop's end of the queue shared by all sensors with lines. It is fair: the sensor that has
/// waited longest for room is next.
#[derive(Debug)]
pub struct Publisher {
    batches: Receiver<Vec<Ready>>,
    batch: VecDeque<Ready>,
    /// Whether there were more readings than one turn takes.
    pub more: bool,
}

impl Publisher {
    /// Both ends of the queue.
    #[must_use]
    pub fn new() -> (Self, SyncSender<Vec<Ready>>) {
        let (queue, batches) = sync_channel(BATCHES);
        (Self { batches, batch: VecDeque::new(), more: false }, queue)
    }

    /// The next reading.
    pub fn take(&mut self) -> Option<Ready> {
        if self.batch.is_empty()
            && let Ok(batch) = self.batches.try_recv()
        {
            self.batch = batch.into();
        }
        self.batch.pop_front()
    }

    /// Puts the readings taken last back, oldest first.
    pub fn put_back(&mut self, readings: Vec<Ready>) {
        readings.into_iter().rev().for_each(|reading| self.batch.push_front(reading));
    }
}

const BATCHES: usize = 4;
