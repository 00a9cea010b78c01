//! Reports each [`Note`] twice, as a sentence for people and as an event for machines, and numbers
//! the events.

use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use protocol::id::{Incarnation, PeerId};
use protocol::note::{EVENT_VERSION, Event, Level, Note};
use stdio::{Outlet, last_words};

use crate::clock;
use crate::events::EventFile;
use crate::failure;
use crate::inputs;
use crate::journal;

/// Reports notes; clones share the event file and the numbers.
#[derive(Clone, Debug)]
pub struct Narrator {
    voice: Arc<Mutex<Voice>>,
    /// Whether every single reading is reported.
    readings: bool,
}

#[derive(Debug)]
struct Voice {
    me: PeerId,
    inc: Incarnation,
    /// The number of events so far.
    told: u64,
    events: Option<EventFile>,
}

impl Narrator {
    /// A narrator of the peer `me`. Without `readings`, no single reading is reported, neither its
    /// publication nor its delivery.
    #[must_use]
    pub fn new(me: PeerId, inc: Incarnation, events: Option<EventFile>, readings: bool) -> Self {
        Self { voice: Arc::new(Mutex::new(Voice { me, inc, told: 0, events })), readings }
    }

    /// Whether every single reading is reported.
    #[must_use]
    pub fn tells_readings(&self) -> bool {
        self.readings
    }

    /// Reports under another incarnation from now on.
    pub fn set_incarnation(&self, inc: Incarnation) {
        self.with(|voice| voice.inc = inc);
    }

    /// Reports a note.
    pub fn tell(&self, note: Note) {
        if !self.readings && is_of_reading(&note) {
            return;
        }
        self.with(|voice| voice.tell(note));
    }

    /// The outlet of the event file, if there is one.
    #[must_use]
    pub fn outlet(&self) -> Option<Outlet> {
        self.with(|voice| voice.events.as_ref().map(|events| events.outlet().clone()))
    }

    /// Reports how many events were dropped, once there is room for it.
    pub fn tell_losses(&self) {
        self.with(Voice::tell_losses);
    }

    /// From now on a panic of any thread is reported as a bug, and ends the process. If inputs are
    /// recorded, the report includes the command to replay them.
    pub fn tell_panics(&self, recording: Option<&Path>) {
        let narrator = self.clone();
        let again = recording.map(inputs::replay_command);
        let outlet = self.outlet();
        std::panic::set_hook(Box::new(move |info| {
            let message = describe(info);
            // Standard error needs no lock of ours; it works even if the rest does not.
            let command = again
                .as_ref()
                .map(|command| format!("\npeer: what led to it: {command}"))
                .unwrap_or_default();
            last_words(&format!("peer: a bug: {message}{command}"), PATIENCE);
            match narrator.voice.try_lock() {
                Ok(mut voice) => voice.tell(Note::Panic { message }),
                Err(TryLockError::Poisoned(poisoned)) => {
                    poisoned.into_inner().tell(Note::Panic { message })
                }
                // The narrator itself panicked, or another thread holds it: there is no time to
                // wait for either.
                Err(TryLockError::WouldBlock) => {}
            }
            journal::settle(PATIENCE);
            if let Some(outlet) = &outlet {
                let _too_slow = outlet.settle(PATIENCE);
            }
            std::process::exit(failure::BUG.into());
        }));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Voice) -> T) -> T {
        act(&mut self
            .voice
            .lock()
            .expect("a panic ends the process, so nobody sees the lock after one"))
    }
}

impl Voice {
    fn tell(&mut self, note: Note) {
        let level = loudness(note.level());
        if log::log_enabled!(level) {
            let sentence = note.sentence(&self.me);
            if !sentence.is_empty() {
                log::log!(level, "{sentence}");
            }
        }
        self.tell_losses();
        self.write(note);
    }

    fn tell_losses(&mut self) {
        if let Some(events) = self.events.as_ref().and_then(EventFile::take_lost) {
            self.write(Note::EventsLost { events });
        }
    }

    /// A dropped event has its number nevertheless, so that a hole is visible.
    fn write(&mut self, note: Note) {
        self.told += 1;
        if let Some(events) = &mut self.events {
            let event = Event {
                v: EVENT_VERSION,
                t: clock::now(),
                p: self.me.clone(),
                inc: self.inc,
                n: self.told,
                note,
            };
            let _dropped_and_counted = events.write(&event);
        }
    }
}

/// Whether a note concerns a single reading.
pub(crate) fn is_of_reading(note: &Note) -> bool {
    matches!(note, Note::Publish { .. } | Note::Acknowledged { .. } | Note::Deliver { .. })
}

/// The level of a note in the human log.
pub(crate) fn loudness(level: Level) -> log::Level {
    match level {
        Level::Error => log::Level::Error,
        Level::Warn => log::Level::Warn,
        Level::Info => log::Level::Info,
        Level::Debug => log::Level::Debug,
    }
}

/// How long a process with a bug waits for each of its outputs.
const PATIENCE: Duration = Duration::from_millis(300);

/// The message and the place of a panic.
pub(crate) fn describe(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("no message");
    match info.location() {
        Some(place) => format!("{what} ({}:{})", place.file(), place.line()),
        None => what.to_owned(),
    }
}
