//! The processing of one sensor's lines on its own thread: they are split, counted, reported, and
//! queued for the loop.
//!
//! No line is lost here. While the group accepts no more, the queue fills, the thread waits, and so
//! does the source of the lines.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use bytes::Bytes;
use mio::Waker;
use protocol::config::Guarantee;

use super::gauge::{Gauge, SensorState, shown};
use super::lines::Line;
use super::split::{self, Origin, Split};
use crate::clock;
use crate::doublings::Doublings;

/// A reading that is ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What is published.
    pub payload: Bytes,
    /// The guarantee of its delivery, if set.
    pub guarantee: Option<Guarantee>,
}

/// The thread's end of the queue.
#[derive(Debug)]
pub struct Intake {
    /// The name of the sensor.
    name: String,
    /// The sensor id of a line without a sensor.
    id: String,
    tags: Vec<(String, String)>,
    payload_max: usize,
    gauge: Gauge,
    queue: SyncSender<Vec<Ready>>,
    waker: Arc<Waker>,
    batch: Vec<Ready>,
    batch_bytes: usize,
    tellings: Tellings,
}

/// How often recurring events happened, for reports at doublings.
#[derive(Debug, Default)]
struct Tellings {
    unsplit: Doublings,
    too_long: Doublings,
    kept_as_text: Doublings,
    trouble: Doublings,
    /// Whether the present problem has been reported.
    trouble_is_told: bool,
}

/// The loop does not take readings any more: the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Intake {
    /// The intake of the sensor with that name and id.
    #[must_use]
    pub fn new(
        (name, id): (String, String),
        tags: Vec<(String, String)>,
        payload_max: usize,
        gauge: Gauge,
        queue: SyncSender<Vec<Ready>>,
        waker: Arc<Waker>,
    ) -> Self {
        let tellings = Tellings::default();
        Self {
            name,
            id,
            tags,
            payload_max,
            gauge,
            queue,
            waker,
            batch: Vec::new(),
            batch_bytes: 0,
            tellings,
        }
    }

    /// The name of the sensor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The longest payload.
    #[must_use]
    pub fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// Takes a line; the next [`Self::flush`] passes it on.
    pub fn take(&mut self, line: Line, guarantee: Option<Guarantee>) {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong(length) => return self.refuse(length),
        };
        let origin = Origin { sensor: &self.id, tags: &self.tags, payload_max: self.payload_max };
        let payload = match split::at_origin(&line, &origin) {
            Split::Typed { payload, kept_as_text } => {
                self.gauge.count(None, kept_as_text);
                if kept_as_text > 0
                    && let Some(count) = self.tellings.kept_as_text.count()
                {
                    log::warn!(
                        "Sensor {}: a value in ({}) looks like a number and stays text; numbers \
                         are written as in JSON, with at \
                         most 15 digits ({count} such readings so far).",
                        self.name,
                        shown(&line)
                    );
                }
                payload
            }
            Split::Verbatim { payload, why } => {
                self.gauge.count(Some(why.to_string()), 0);
                if let Some(count) = self.tellings.unsplit.count() {
                    log::warn!(
                        "Sensor {}: a line is published as it stands, without fields: {why} ({}; \
                         {count} so far).",
                        self.name,
                        shown(&line)
                    );
                }
                payload
            }
            Split::TooLong { length } => return self.refuse(length),
        };
        self.batch_bytes += payload.len();
        self.batch.push(Ready { payload, guarantee });
    }

    /// Whether enough has been taken for a flush.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_LINES || self.batch_bytes >= BATCH_BYTES
    }

    /// Passes on the taken lines, waiting for room; returns how long it had to wait.
    ///
    /// # Errors
    /// [`Gone`] if the loop has ended.
    pub fn flush(&mut self) -> Result<Duration, Gone> {
        if self.batch.is_empty() {
            return Ok(Duration::ZERO);
        }
        self.batch_bytes = 0;
        let mut held_up = Duration::ZERO;
        match self.queue.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(Gone),
            Err(TrySendError::Full(batch)) => {
                let since = clock::now();
                self.gauge.hold_up(true);
                self.queue.send(batch).map_err(|_| Gone)?;
                self.gauge.hold_up(false);
                held_up = clock::now().since(since);
            }
        }
        self.waker.wake().map_err(|_| Gone)?;
        Ok(held_up)
    }

    /// A problem of the sensor: reported the 1st, 2nd, 4th, 8th … time.
    pub fn trouble(&mut self, state: SensorState, why: String) {
        let told = self.tellings.trouble.count();
        self.tellings.trouble_is_told = told.is_some();
        if let Some(count) = told {
            let again = if count > 1 { format!(" ({count} times so far)") } else { String::new() };
            log::warn!("Sensor {}: {why}{again}.", self.name);
        }
        self.gauge.trouble(state, why);
    }

    /// The problem is over; reported if the problem was.
    pub fn recover(&mut self) {
        if self.gauge.recover() && std::mem::take(&mut self.tellings.trouble_is_told) {
            log::info!("Sensor {} works again.", self.name);
        }
    }

    /// Its input has ended normally.
    pub fn end(&self, why: &str) {
        self.gauge.trouble(SensorState::Ended, why.to_owned());
    }

    fn refuse(&mut self, length: usize) {
        let why = format!(
            "a line of {length} bytes is not published; payload_max is {}",
            self.payload_max
        );
        if let Some(count) = self.tellings.too_long.count() {
            log::warn!("Sensor {}: {why} ({count} so far).", self.name);
        }
        self.gauge.refuse(Some(why));
    }
}

/// The greatest number of lines per flush.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
