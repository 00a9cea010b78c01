//! The sensors of a peer. Host and synthetic readings are taken on the worker thread. Lines of
//! standard input, of commands and of files come from a thread per sensor, are split there, and
//! share one queue; the loop only passes bytes on.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use mio::Waker;
use protocol::id::PeerId;

use self::gauge::{Gauge, SensorReport, SensorState};
use self::host::Host;
use self::intake::{Intake, Ready};
use self::split::{Origin, Split};
use self::synthetic::Synthetic;
use crate::clock::Stamp;
use crate::publisher::Publisher;
use crate::settings::{SensorSettings, SourceSettings};

pub mod exec;
pub mod file;
pub mod gauge;
pub mod host;
pub mod intake;
pub mod lines;
pub mod load;
pub mod payload;
pub mod split;
pub mod stdin;
pub mod synthetic;

/// The settings that all sensors of a peer share.
#[derive(Debug)]
pub struct Common<'a> {
    /// The peer.
    pub peer: &'a PeerId,
    /// The seed of synthetic readings.
    pub seed: u64,
    /// The interval of sensors without one of their own.
    pub interval: Duration,
    /// The longest payload, in bytes.
    pub payload_max: usize,
    /// Whether lines of standard input may begin with a command.
    pub stdin_commands: bool,
    /// Wakes the loop when there are readings.
    pub waker: &'a Arc<Waker>,
}

/// The sensors of a running peer.
#[derive(Debug)]
pub struct Sensors {
    /// The sensors measured at intervals by the worker.
    pub asked: Vec<Sensor>,
    /// The readings of the other sensors; none if there are no others.
    pub publisher: Option<Publisher>,
    /// The state of each sensor.
    pub gauges: Vec<Gauge>,
}

impl Sensors {
    /// Starts them.
    ///
    /// # Errors
    /// Those of starting threads.
    pub fn start(sensors: Vec<SensorSettings>, common: &Common<'_>) -> io::Result<Self> {
        let (publisher, queue) = Publisher::new();
        let (mut asked, mut gauges) = (Vec::new(), Vec::new());
        let all = sensors.len();
        for settings in sensors {
            let gauge = Gauge::new(&settings);
            gauges.push(gauge.clone());
            if let Some(sensor) = Sensor::new(&settings, common, &gauge) {
                asked.push(sensor);
            } else {
                start_reading(settings, common, gauge, queue.clone())?;
            }
        }
        let publisher = (asked.len() < all).then_some(publisher);
        Ok(Self { asked, publisher, gauges })
    }
}

/// Starts the thread of a sensor with lines.
fn start_reading(
    settings: SensorSettings,
    common: &Common<'_>,
    gauge: Gauge,
    queue: SyncSender<Vec<Ready>>,
) -> io::Result<()> {
    let id = payload::sensor_id(common.peer, &settings.name);
    let intake = Intake::new(
        (settings.name, id),
        settings.tags,
        common.payload_max,
        gauge,
        queue,
        Arc::clone(common.waker),
    );
    match settings.source {
        SourceSettings::Stdin => stdin::start(io::stdin(), common.stdin_commands, intake),
        SourceSettings::Exec(exec) => {
            exec::start(exec, common.interval.saturating_mul(MISSED_INTERVALS), intake)
        }
        SourceSettings::File(file) => file::start(file, intake),
        SourceSettings::Host { .. } | SourceSettings::Synthetic { .. } => Ok(()),
    }
}

/// The state of these sensors.
#[must_use]
pub fn report(gauges: &[Gauge]) -> Vec<SensorReport> {
    gauges.iter().map(Gauge::report).collect()
}

/// A sensor measured at intervals.
#[derive(Debug)]
pub struct Sensor {
    id: String,
    tags: Vec<(String, String)>,
    payload_max: usize,
    every: Duration,
    source: Source,
    gauge: Gauge,
    /// Whether it has been reported that nothing can be measured.
    told: bool,
}

#[derive(Debug)]
enum Source {
    Host(Box<Host>),
    Synthetic(Synthetic),
}

impl Sensor {
    /// The sensor of these settings; none for a sensor that is not measured at intervals.
    #[must_use]
    pub fn new(settings: &SensorSettings, common: &Common<'_>, gauge: &Gauge) -> Option<Self> {
        let (every, source) = match settings.source {
            SourceSettings::Host { every } => (every, Source::Host(Box::default())),
            SourceSettings::Synthetic { every } => {
                (every, Source::Synthetic(Synthetic::new(common.seed)))
            }
            SourceSettings::Stdin | SourceSettings::Exec(_) | SourceSettings::File(_) => {
                return None;
            }
        };
        Some(Self {
            id: payload::sensor_id(common.peer, &settings.name),
            tags: settings.tags.clone(),
            payload_max: common.payload_max,
            every: every.unwrap_or(common.interval),
            source,
            gauge: gauge.clone(),
            told: false,
        })
    }

    /// Its interval.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Its state.
    #[must_use]
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// Measures now; none if nothing can be measured, which is reported when it begins and when it
    /// ends. May block.
    pub fn measure(&mut self, at: Stamp) -> Option<Bytes> {
        let fields = match &mut self.source {
            Source::Host(host) => host.measure(),
            Source::Synthetic(synthetic) => synthetic.measure(),
        };
        let nothing = fields.is_empty();
        if nothing != std::mem::replace(&mut self.told, nothing) {
            let id = &self.id;
            if nothing {
                let why = "it can measure nothing on this machine (is /proc mounted?)";
                self.gauge.trouble(SensorState::Failing, why.to_owned());
                log::warn!(
                    "The sensor {id} can measure nothing on this machine (is /proc mounted?). It \
                     makes no readings until it can."
                );
            } else {
                self.gauge.recover();
                log::info!("The sensor {id} can measure again.");
            }
        }
        (!nothing).then(|| self.tagged(payload::write(&self.id, at, &fields)))
    }

    fn tagged(&self, line: Bytes) -> Bytes {
        if self.tags.is_empty() {
            return line;
        }
        match split::at_origin(
            &line,
            &Origin { sensor: &self.id, tags: &self.tags, payload_max: self.payload_max },
        ) {
            Split::Typed { payload, .. } | Split::Verbatim { payload, .. } => payload,
            Split::TooLong { .. } => line,
        }
    }
}

/// A continuous command counts as missed when it has printed nothing for this many intervals.
const MISSED_INTERVALS: u32 = 3;
