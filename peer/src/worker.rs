//! The thread for work that may block for a while: host probes, and files of the sinks.
//!
//! Two bounded queues connect it to the loop. If the disk is slower than the group, deliveries
//! beyond the bound do not reach the sinks, and a gap record does instead; if the loop is slower
//! than the sensors, a reading is dropped.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use mio::Waker;
use protocol::io::Delivery;
use protocol::time::Time;

use crate::clock::{self, Stamp, utc_micros};
use crate::sensors::Sensor;
use crate::sensors::gauge::Gauge;
use crate::sinks::{Hole, LOOK_INTERVAL, Sinks, Without};

/// The tasks of the worker.
#[derive(Debug)]
pub struct Duties {
    /// The sensors to measure.
    pub sensors: Vec<Sensor>,
    /// The sinks for deliveries.
    pub sinks: Option<Sinks>,
}

/// A report of the worker to the loop.
#[derive(Debug)]
pub enum Finding {
    /// A sensor has made a reading.
    Measured {
        /// The reading.
        payload: Bytes,
        /// Its time, in microseconds since 1970.
        time: u64,
        /// The gauge of the sensor.
        gauge: Gauge,
    },
}

/// The loop's end of the two queues.
#[derive(Debug)]
pub struct Worker {
    jobs: SyncSender<Job>,
    findings: Receiver<Finding>,
    /// Bytes of readings that wait for the sinks.
    waiting: Arc<AtomicU64>,
    keeps: bool,
    without: Without,
    /// The deliveries that the sinks will never get, because too many came at once.
    hole: Hole,
}

enum Job {
    Keep(Vec<Delivery>, u64),
    Reopen,
    Finish(SyncSender<()>),
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(duties: Duties, waker: Arc<Waker>) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let (outbox, findings) = sync_channel(FINDINGS_MAX);
        let waiting = Arc::new(AtomicU64::new(0));
        let (keeps, without) =
            (duties.sinks.is_some(), duties.sinks.as_ref().map(Sinks::without).unwrap_or_default());
        let mut shift = Shift {
            duties,
            outbox,
            waker,
            waiting: Arc::clone(&waiting),
            due: Vec::new(),
            left_out: 0,
        };
        thread::Builder::new().name("worker".to_owned()).spawn(move || shift.work(&inbox))?;
        let hole = Hole::new("the disk was slower than the group");
        Ok(Self { jobs, findings, waiting, keeps, without, hole })
    }

    /// The next report, if there is one.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        self.findings.try_recv().ok()
    }

    /// Whether there are sinks at all.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// Bytes that wait for the sinks.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many readings the sinks have no row in a table for.
    #[must_use]
    pub fn without_a_row(&self) -> u64 {
        self.without.count()
    }

    /// Passes these deliveries to the sinks.
    pub fn keep(&mut self, mut deliveries: Vec<Delivery>) {
        if !self.keeps || deliveries.is_empty() {
            return;
        }
        let missed = self.hole.take();
        let behind = missed.len();
        deliveries.splice(0..0, missed);
        let weight = deliveries.iter().map(weight).sum();
        let full = self.waiting.load(Ordering::Relaxed) > WAITING_MAX_BYTES;
        let job = Job::Keep(deliveries, weight);
        let refused = if full { Some(job) } else { self.hand_over(job, weight) };
        match refused {
            Some(Job::Keep(deliveries, _)) => {
                if behind == 0 {
                    let first = deliveries[0].range().0;
                    log::warn!(
                        "The disk is slower than the group: readings from #{first} on are not \
                         kept, until it has caught up."
                    );
                }
                self.hole.add(&deliveries);
            }
            Some(Job::Finish(_) | Job::Reopen) => unreachable!("it is what was just made"),
            None if behind > 0 => log::warn!(
                "The disk has caught up; what it missed stands as gaps in `ordered.jsonl`."
            ),
            None => {}
        }
    }

    /// Reopens the files of the sinks, because they may have been moved.
    pub fn reopen(&self) {
        // With a full queue the worker is busy, and checks once a second anyway.
        let _no_room = self.jobs.try_send(Job::Reopen);
    }

    /// Passes a job to the thread; returns it if there is no room.
    fn hand_over(&self, job: Job, weight: u64) -> Option<Job> {
        self.waiting.fetch_add(weight, Ordering::Relaxed);
        let (TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.jobs.try_send(job).err()?;
        self.waiting.fetch_sub(weight, Ordering::Relaxed);
        Some(job)
    }

    /// Waits until everything passed on is written, and missing deliveries are recorded in the
    /// file, or the time is over.
    pub fn finish(&mut self, patience: Duration) -> bool {
        let until = clock::now() + patience;
        let (done, finished) = sync_channel(1);
        let missed = self.hole.take();
        let mut jobs = VecDeque::from([Job::Finish(done)]);
        if !missed.is_empty() {
            jobs.push_front(Job::Keep(missed, 0));
        }
        while let Some(job) = jobs.pop_front() {
            match self.jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) if clock::now() < until => {
                    jobs.push_front(job);
                    thread::sleep(FULL_PAUSE);
                }
                Err(_) => return false,
            }
        }
        finished.recv_timeout(until.since(clock::now())).is_ok()
    }
}

/// The worker's end.
struct Shift {
    duties: Duties,
    outbox: SyncSender<Finding>,
    waker: Arc<Waker>,
    waiting: Arc<AtomicU64>,
    /// When each sensor is measured next.
    due: Vec<Time>,
    /// How many readings were dropped because the loop had no room.
    left_out: u64,
}

impl Shift {
    fn work(&mut self, inbox: &Receiver<Job>) {
        // Soon, so that the user sees a reading; not at once, because CPU usage needs an interval.
        let begun = clock::now();
        self.due = self
            .duties
            .sensors
            .iter()
            .map(|sensor| begun + sensor.every().min(FIRST_MEASURE))
            .collect();
        let mut look_at = clock::now();
        loop {
            let now = clock::now();
            if let Some(sinks) = self.duties.sinks.as_mut().filter(|_| now >= look_at) {
                sinks.look();
                look_at = clock::now() + LOOK_INTERVAL;
            }
            if self.due.iter().any(|due| now >= *due) {
                self.measure(now);
            }
            match inbox.recv_timeout(self.patience(look_at)) {
                Ok(Job::Keep(deliveries, weight)) => {
                    if let Some(sinks) = &mut self.duties.sinks {
                        sinks.keep(&deliveries);
                    }
                    self.waiting.fetch_sub(weight, Ordering::Relaxed);
                }
                Ok(Job::Reopen) => {
                    log::info!("The data files are opened again.");
                    if let Some(sinks) = &mut self.duties.sinks {
                        sinks.reopen();
                    }
                }
                Ok(Job::Finish(done)) => {
                    if let Some(sinks) = &mut self.duties.sinks {
                        sinks.close();
                    }
                    let _nobody_waits_any_more = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// The time until the next deadline.
    fn patience(&self, look_at: Time) -> Duration {
        let now = clock::now();
        let measure = self.due.iter().min().map(|due| due.since(now));
        let look = self.duties.sinks.as_ref().map(|_| look_at.since(now));
        measure.into_iter().chain(look).min().unwrap_or(IDLE)
    }

    /// Measures the due sensors.
    fn measure(&mut self, now: Time) {
        for (sensor, due) in
            self.duties.sensors.iter_mut().zip(&mut self.due).filter(|(_, due)| now >= **due)
        {
            let time = utc_micros();
            let measured = sensor.measure(Stamp(time));
            // After a pause there is one reading, and not all those that were missed.
            *due = (*due + sensor.every()).max(clock::now());
            let Some(payload) = measured else { continue };
            let gauge = sensor.gauge().clone();
            if let Err(unsent) = self.outbox.try_send(Finding::Measured { payload, time, gauge }) {
                let (TrySendError::Full(Finding::Measured { gauge, .. })
                | TrySendError::Disconnected(Finding::Measured { gauge, .. })) = unsent;
                gauge.refuse(None);
                self.left_out += 1;
                if self.left_out.is_power_of_two() {
                    log::warn!(
                        "The group is slower than the sensors: {} readings left out so far.",
                        self.left_out
                    );
                }
            }
        }
        let _loop_is_gone = self.waker.wake();
    }
}

fn weight(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Run(run) => run.readings.bytes() + run.readings.len() * READING_BYTES,
        Delivery::View(standing) => (standing.view.size() as u64 + 1) * READING_BYTES,
        Delivery::Gap { .. }
        | Delivery::Diverged { .. }
        | Delivery::Merged { .. }
        | Delivery::Repeat { .. }
        | Delivery::Lost { .. } => READING_BYTES,
    }
}

/// Batches that may wait for the sinks; each has the deliveries of one turn of the loop.
const JOBS_MAX: usize = 4_096;
/// Bytes of readings that may wait for the sinks.
const WAITING_MAX_BYTES: u64 = 64 << 20;
/// The approximate memory of a reading besides its payload.
const READING_BYTES: u64 = 128;
/// Readings that may wait for the loop.
const FINDINGS_MAX: usize = 256;
const FIRST_MEASURE: Duration = Duration::from_millis(300);
/// The time between two checks for room in a full queue, at the end.
const FULL_PAUSE: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_secs(3_600);
