//! What a peer measures. Host and made-up readings are taken on the worker thread, lines of standard input come from a
//! thread of their own; the loop only passes bytes on.

use bytes::Bytes;
use protocol::id::PeerId;

use self::host::Host;
use self::synthetic::Synthetic;
use crate::clock::Stamp;
use crate::settings::SensorName;

pub mod host;
pub mod load;
pub mod payload;
pub mod split;
pub mod stdin;
pub mod synthetic;

/// A sensor that is asked at intervals.
#[derive(Debug)]
pub struct Sensor {
    id: String,
    source: Source,
    /// Whether it has been told that nothing can be measured.
    told: bool,
}

#[derive(Debug)]
enum Source {
    Host(Box<Host>),
    Synthetic(Synthetic),
}

impl Sensor {
    /// The sensor of that name, of this peer; none for names that are not asked at intervals.
    #[must_use]
    pub fn new(name: SensorName, peer: &PeerId, seed: u64) -> Option<Self> {
        let (kind, source) = match name {
            SensorName::Host => ("host", Source::Host(Box::default())),
            SensorName::Synthetic => ("synthetic", Source::Synthetic(Synthetic::new(seed))),
            SensorName::Stdin | SensorName::Load | SensorName::None => return None,
        };
        Some(Self { id: payload::sensor_id(peer, kind), source, told: false })
    }

    /// Measures now; none if nothing can be measured, which is told when it begins and when it is over. May block.
    pub fn measure(&mut self, at: Stamp) -> Option<Bytes> {
        let fields = match &mut self.source {
            Source::Host(host) => host.measure(),
            Source::Synthetic(synthetic) => synthetic.measure(),
        };
        let nothing = fields.is_empty();
        if nothing != std::mem::replace(&mut self.told, nothing) {
            let id = &self.id;
            if nothing {
                log::warn!("The sensor {id} can measure nothing on this machine (is /proc mounted?). It makes no readings until it can.");
            } else {
                log::info!("The sensor {id} can measure again.");
            }
        }
        (!nothing).then(|| payload::write(&self.id, at, &fields))
    }
}
