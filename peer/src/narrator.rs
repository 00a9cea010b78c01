//! Tells each [`Note`] twice, as a sentence to people and as an event to machines, and numbers the events.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::{Arc, Mutex, TryLockError};

use protocol::id::{Incarnation, PeerId};
use protocol::note::{EVENT_VERSION, Event, Level, Note};

use crate::clock;
use crate::events::EventFile;
use crate::failure;
use crate::inputs;

/// Tells notes; clones tell in the same voice.
#[derive(Clone, Debug)]
pub struct Narrator {
    voice: Arc<Mutex<Voice>>,
    /// Whether every single reading is told.
    readings: bool,
}

#[derive(Debug)]
struct Voice {
    me: PeerId,
    inc: Incarnation,
    /// How many events there have been.
    told: u64,
    events: Option<EventFile>,
}

impl Narrator {
    /// Speaks for `me`. Without `readings`, no single reading is told, neither when it is published nor when delivered.
    #[must_use]
    pub fn new(me: PeerId, inc: Incarnation, events: Option<EventFile>, readings: bool) -> Self {
        Self { voice: Arc::new(Mutex::new(Voice { me, inc, told: 0, events })), readings }
    }

    /// Whether every single reading is told.
    #[must_use]
    pub fn tells_readings(&self) -> bool {
        self.readings
    }

    /// Speaks for another incarnation from now on.
    pub fn set_incarnation(&self, inc: Incarnation) {
        self.with(|voice| voice.inc = inc);
    }

    /// Tells a note.
    pub fn tell(&self, note: Note) {
        if !self.readings && is_of_reading(&note) {
            return;
        }
        self.with(|voice| voice.tell(note));
    }

    /// From now on a panic of any thread is told as what it is, a mistake of ours, and ends the process. Where inputs are
    /// recorded, so is the way to go through them again.
    pub fn tell_panics(&self, recording: Option<&Path>) {
        let narrator = self.clone();
        let again = recording.map(inputs::replay_command);
        std::panic::set_hook(Box::new(move |info| {
            let message = describe(info);
            // Standard error is unbuffered and needs no lock of ours; it is there even where the rest is not.
            let _closed = writeln!(std::io::stderr(), "peer: a bug: {message}");
            if let Some(command) = &again {
                let _closed = writeln!(std::io::stderr(), "peer: what led to it: {command}");
            }
            match narrator.voice.try_lock() {
                Ok(mut voice) => voice.tell(Note::Panic { message }),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().tell(Note::Panic { message }),
                // The narrator itself panicked, or another thread is speaking: no time to wait for either.
                Err(TryLockError::WouldBlock) => {}
            }
            std::process::exit(failure::BUG.into());
        }));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Voice) -> T) -> T {
        act(&mut self.voice.lock().expect("a panic ends the process, so nobody sees the lock after one"))
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
        self.told += 1;
        if let Some(events) = &mut self.events {
            events.write(&Event { v: EVENT_VERSION, t: clock::now(), p: self.me.clone(), inc: self.inc, n: self.told, note });
        }
    }
}

/// Whether a note tells of a single reading.
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

/// What a panic says, and where.
pub(crate) fn describe(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("no message");
    match info.location() {
        Some(place) => format!("{what} ({}:{})", place.file(), place.line()),
        None => what.to_owned(),
    }
}
