//! The local service of a peer: a Unix socket on which programs of this machine ask, publish and
//! subscribe. `SOCKET.md` documents every message.
//!
//! A thread serves the clients. The loop passes deliveries to it, takes requests that need the
//! node, and answers them; neither ever waits for the other, and no client can delay the loop, the
//! group or another client. The resources of a client are bounded: connections, requests, bytes of
//! a line, waiting records.

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
    /// Ask and subscribe.
    ReadOnly,
}

/// The stage of its reading that a publisher waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// It has its number, and waits to be ordered.
    #[default]
    Accepted,
    /// It is in the log.
    Ordered,
    /// It is stable: it survives any failure that leaves the group a quorum (mode `available`: a
    /// member that continues).
    Safe,
}

/// A request and its client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    client: usize,
    /// As JSON.
    id: String,
}

/// A request to the loop.
#[derive(Debug)]
pub struct Ask {
    /// The client and its request.
    pub from: Asker,
    /// The content.
    pub what: What,
}

/// The content of a request to the loop.
#[derive(Debug)]
pub enum What {
    /// The status of this peer.
    Status,
    /// The loop's own survey.
    Survey,
    /// The members of the group, and how well each keeps up.
    Members,
    /// The facts about a peer; about this one if none is named.
    Why(Option<PeerId>),
    /// To publish a reading.
    Publish {
        /// Any bytes.
        payload: Payload,
        /// The guarantee of its delivery, if not the cluster's.
        guarantee: Option<Guarantee>,
        /// The stage that its publisher waits for.
        wait: Wait,
        /// The publisher's own name for it.
        token: Option<String>,
    },
    /// To leave the group, and stop.
    Leave,
    /// Lowest priority in elections; undone, the configured one.
    Demote {
        /// Whether to undo it.
        undo: bool,
    },
    /// Changes the log level.
    LogLevel(log::LevelFilter),
}

/// Why a request failed, or cannot be performed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For programs; `SOCKET.md` lists them.
    pub code: &'static str,
    /// For people: what is wrong, and how to mend it.
    pub say: String,
}

impl Fault {
    /// A fault with that code.
    #[must_use]
    pub fn new(code: &'static str, say: impl Into<String>) -> Self {
        Self { code, say: say.into() }
    }

    /// An invalid request. The quoted part of the request may be long.
    fn bad(say: impl Into<String>) -> Self {
        let mut say = say.into();
        if say.len() > SAY_MAX {
            say.truncate(say.floor_char_boundary(SAY_MAX));
            say.push('…');
        }
        Self::new("bad_request", say)
    }
}

/// A message from the loop to the thread.
enum Word {
    Delivered(Vec<Delivery>, u64),
    /// JSON, and whether it is the last answer to that request.
    Ok(Asker, String, bool),
    Fault(Asker, Fault),
    Survey(Box<Survey>),
    /// This peer stops, for this reason. All clients are told, and the sender is told when that is
    /// done.
    Farewell(String, SyncSender<()>),
}

/// The state that both ends share.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the next delivery should wake the thread.
    wants_deliveries: AtomicBool,
    /// Batches of deliveries not taken yet.
    waiting: AtomicU64,
    /// When the loop turned last, in microseconds of its clock.
    turned: AtomicU64,
    /// Whether a page is open that shows events at once.
    has_pages: AtomicBool,
    /// Whether an event happened that the thread does not know yet.
    is_stirred: AtomicBool,
    /// Bytes of clients' readings that the node has not taken yet.
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
    /// Answers of this turn. They follow the turn's deliveries: a client that hears that its
    /// reading is ordered, and then asks for all records, finds the reading among them.
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
    /// Listens, and starts the thread. A socket that is unavailable now is tried again, and the
    /// problem is reported.
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

    /// A door without clients, whose answers are dropped.
    #[cfg(test)]
    fn deaf(waker: Arc<Waker>) -> Self {
        let (words, _) = channel();
        let (_, asks) = asks::channel();
        Self { words, asks, waker, shared: Arc::default(), path: None, answers: RefCell::default() }
    }

    /// The path of the socket; none if it could not listen at the start.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The next request; publishing and changing requests only if the loop accepts them.
    #[must_use]
    pub fn ask(&self, takes_orders: bool) -> Option<Ask> {
        self.asks.next(takes_orders)
    }

    /// Bytes of clients' readings that the node has not taken yet.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.shared.payload_bytes.load(Ordering::Relaxed)
    }

    /// Passes on deliveries with their time (in microseconds since 1970).
    pub fn deliver(&self, deliveries: Vec<Delivery>, at: u64) {
        let waiting = self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let _thread_is_gone = self.words.send(Word::Delivered(deliveries, at));
        if self.shared.wants_deliveries.swap(false, Ordering::AcqRel) || waiting >= WAITING_MAX {
            let _thread_is_gone = self.waker.wake();
        }
    }

    /// An event happened that users watch for.
    pub fn stir(&self) {
        if self.shared.has_pages.load(Ordering::Acquire)
            && !self.shared.is_stirred.swap(true, Ordering::AcqRel)
        {
            let _thread_is_gone = self.waker.wake();
        }
    }

    /// Passes on the loop's survey. It does not wait for the turn's deliveries: whether the loop
    /// turns should be visible while the disk stores, too.
    pub fn survey(&self, survey: Survey) {
        let _thread_is_gone = self.words.send(Word::Survey(Box::new(survey)));
        let _thread_is_gone = self.waker.wake();
    }

    /// Answers a request with JSON; `is_last` if no more answers follow.
    pub fn answer(&self, to: Asker, body: String, is_last: bool) {
        self.say(Word::Ok(to, body, is_last));
    }

    /// Reports that a request failed.
    pub fn refuse(&self, to: Asker, fault: Fault) {
        self.say(Word::Fault(to, fault));
    }

    /// Passes on the answers of a turn, after its deliveries.
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

    /// Tells all clients that this peer stops, and waits until they know, at most for that long.
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

/// Batches of deliveries that may wait before the thread is woken.
const WAITING_MAX: u64 = 256;
/// Bytes of a message about an invalid request.
const SAY_MAX: usize = 400;
