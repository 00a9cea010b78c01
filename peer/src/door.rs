//! The peer as a local service: a Unix socket on which programs of this machine ask, publish and
//! follow. `SOCKET.md` documents every message.
//!
//! A thread of its own serves the clients. The loop hands it what is delivered, takes requests that
//! need the node, and answers them; neither ever waits for the other, and no client can hold up the
//! loop, the group or another client. What a client may take up is bounded: connections, requests,
//! bytes of a line, records that wait.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use mio::{Poll, Waker};
use protocol::config::{Guarantee, Knobs};
use protocol::id::PeerId;
use protocol::io::Delivery;
use serde::Deserialize;

use self::asks::Asked;
pub use self::asks::Payload;
use self::history::Bounds;
use self::service::{Identity, Service};
pub use self::sockets::Opening;
use crate::clock;
use crate::sensors::payload::sensor_id;
use crate::survey::Survey;
use crate::web::{Opened, Web};

mod answer;
mod asks;
mod client;
pub mod confirmations;
pub(crate) mod feed;
mod filter;
#[cfg(test)]
mod fixtures;
pub mod folders;
mod history;
mod request;
mod service;
mod sockets;
mod subscription;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Everything.
    Full,
    /// Ask and follow.
    ReadOnly,
}

/// Up to where a publisher wants to hear of its reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// It has its number, and waits to be ordered.
    #[default]
    Accepted,
    /// It stands in the log.
    Ordered,
    /// It is stable: whatever leaves the group a quorum (mode `available`: a member that goes on)
    /// keeps it.
    Safe,
}

/// Which request of which client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    client: usize,
    /// As JSON.
    id: String,
}

/// What is asked of the loop.
#[derive(Debug)]
pub struct Ask {
    /// By whom.
    pub from: Asker,
    /// What.
    pub what: What,
}

/// What the loop can be asked.
#[derive(Debug)]
pub enum What {
    /// Where this peer stands.
    Status,
    /// All that the loop knows of itself.
    Survey,
    /// Who is in the group, and how well each keeps up.
    Members,
    /// What is known of a peer; of this one where none is named.
    Why(Option<PeerId>),
    /// To publish a reading.
    Publish {
        /// Any bytes.
        payload: Payload,
        /// When it is to be handed over, if that is said.
        guarantee: Option<Guarantee>,
        /// Up to where its publisher wants to hear of it.
        wait: Wait,
        /// Its publisher's own name for it.
        token: Option<String>,
    },
    /// To leave the group, and stop.
    Leave,
    /// To come after all others when it is asked who leads; or, undone, as it is configured.
    Demote {
        /// Whether to undo it.
        undo: bool,
    },
    /// To tell more, or less.
    LogLevel(log::LevelFilter),
}

/// Why a request is not, or not yet, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For programs; `SOCKET.md` lists them.
    pub code: &'static str,
    /// For people: what is wrong, and how to mend it.
    pub say: String,
}

impl Fault {
    /// A fault of that code.
    #[must_use]
    pub fn new(code: &'static str, say: impl Into<String>) -> Self {
        Self { code, say: say.into() }
    }

    /// A request that cannot be understood. What it repeats of the request may be long.
    fn bad(say: impl Into<String>) -> Self {
        let mut say = say.into();
        if say.len() > SAY_MAX {
            say.truncate(say.floor_char_boundary(SAY_MAX));
            say.push('…');
        }
        Self::new("bad_request", say)
    }
}

/// What the loop tells the thread.
enum Word {
    Delivered(Vec<Delivery>, u64),
    /// JSON, and whether it is the last answer to that request.
    Ok(Asker, String, bool),
    Fault(Asker, Fault),
    Survey(Box<Survey>),
    /// This peer stops; why. Everybody is told, and the sender is waited for.
    Farewell(String, SyncSender<()>),
}

/// What both ends share.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the thread wants to be woken by the next delivery.
    wants_deliveries: AtomicBool,
    /// Batches of deliveries that it has not taken yet.
    waiting: AtomicU64,
    /// When the loop turned last, in microseconds of its clock.
    turned: AtomicU64,
    /// Whether a page is open, which is to hear at once what happens.
    has_pages: AtomicBool,
    /// Whether something has happened that it does not know yet.
    is_stirred: AtomicBool,
    /// Bytes of the clients' readings that the node has not taken yet.
    payload_bytes: AtomicU64,
}

/// The loop's end.
#[derive(Debug)]
pub struct Door {
    words: Sender<Word>,
    asks: Asked,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
    path: Option<String>,
    /// Answers of this turn. They follow what it delivers: whoever hears that a reading is ordered,
    /// and asks for all that there is, finds it there.
    answers: RefCell<Vec<Word>>,
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Delivered(..) => "Delivered",
            Self::Ok(..) => "Ok",
            Self::Fault(..) => "Fault",
            Self::Survey(..) => "Survey",
            Self::Farewell(..) => "Farewell",
        })
    }
}

impl Door {
    /// Listens, and starts the thread. A socket that cannot be had now is tried again, and is told.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(
        id: PeerId,
        knobs: &Knobs,
        opening: Opening,
        page: Option<Opened>,
        waker: Arc<Waker>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let own = Arc::new(Waker::new(poll.registry(), service::WAKER)?);
        let shared = Arc::new(Shared::default());
        let (words, inbox) = channel();
        let (outbox, asks) = asks::channel();
        let bounds = Bounds { records: knobs.retain_entries, bytes: knobs.retain_bytes };
        let payload_max = usize::try_from(knobs.payload_max).unwrap_or(usize::MAX);
        let me = Identity {
            sensor: sensor_id(&id, "local"),
            id,
            cluster: knobs.cluster.clone(),
            payload_max,
        };
        let page =
            page.map(|page| Web::start(page, &me.id, &me.cluster, poll.registry())).transpose()?;
        let mut service =
            Service::new(poll, me, opening, bounds, Arc::clone(&shared), outbox, waker)
                .with_web(page);
        let path = service.open();
        thread::Builder::new().name("door".to_owned()).spawn(move || service.serve(&inbox))?;
        Ok(Self { words, asks, waker: own, shared, path, answers: RefCell::default() })
    }

    /// One that nobody gets to, and whose answers stay where they are.
    #[cfg(test)]
    fn deaf(waker: Arc<Waker>) -> Self {
        let (words, _) = channel();
        let (_, asks) = asks::channel();
        Self { words, asks, waker, shared: Arc::default(), path: None, answers: RefCell::default() }
    }

    /// Where it listens; none where it could not at the start.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The next request; to publish or to change something only where the loop takes such.
    #[must_use]
    pub fn ask(&self, takes_orders: bool) -> Option<Ask> {
        self.asks.next(takes_orders)
    }

    /// Bytes of readings of clients that the node has not taken yet.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.shared.payload_bytes.load(Ordering::Relaxed)
    }

    /// Hands on what was delivered at that moment (in microseconds since 1970).
    pub fn deliver(&self, deliveries: Vec<Delivery>, at: u64) {
        let waiting = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let _thread_is_gone = self.words.send(Word::Delivered(deliveries, at));
        if self.shared.wants_deliveries.swap(false, Ordering::AcqRel) || waiting >= WAITING_MAX {
            let _thread_is_gone = self.waker.wake();
        }
    }

    /// Something has happened that people watch for.
    pub fn stir(&self) {
        if self.shared.has_pages.load(Ordering::Acquire)
            && !self.shared.is_stirred.swap(true, Ordering::AcqRel)
        {
            let _thread_is_gone = self.waker.wake();
        }
    }

    /// Hands on all that the loop knows of itself. It follows nothing: whether the loop turns is to
    /// be heard while the disk stores, too.
    pub fn survey(&self, survey: Survey) {
        let _thread_is_gone = self.words.send(Word::Survey(Box::new(survey)));
        let _thread_is_gone = self.waker.wake();
    }

    /// Answers a request with JSON; `is_last` where nothing more will come of it.
    pub fn answer(&self, to: Asker, body: String, is_last: bool) {
        self.say(Word::Ok(to, body, is_last));
    }

    /// Says that a request cannot be done.
    pub fn refuse(&self, to: Asker, fault: Fault) {
        self.say(Word::Fault(to, fault));
    }

    /// Hands on the answers of a turn, when what it delivered was handed on.
    pub fn close_turn(&self) {
        self.shared.turned.store(clock::now().as_micros(), Ordering::Relaxed);
        let answers = self.answers.take();
        if answers.is_empty() {
            return;
        }
        for answer in answers {
            let _thread_is_gone = self.words.send(answer);
        }
        let _thread_is_gone = self.waker.wake();
    }

    /// Tells all clients that this peer stops, and waits for them to hear it, for that long at
    /// most.
    pub fn farewell(&self, why: String, patience: Duration) {
        let (done, finished) = sync_channel(1);
        self.say(Word::Farewell(why, done));
        self.close_turn();
        let _too_slow = finished.recv_timeout(patience);
    }

    fn say(&self, word: Word) {
        self.answers.borrow_mut().push(word);
    }
}

/// Batches of deliveries that may wait without the thread being woken.
const WAITING_MAX: u64 = 256;
/// Bytes of a sentence about a request that cannot be understood.
const SAY_MAX: usize = 400;
