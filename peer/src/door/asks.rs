//! Requests on their way to the loop. Questions and changing requests use separate queues, so that
//! `status` is answered while readings wait for room. The queues are bounded by number and by
//! bytes; a client without room waits, and its request is tried again.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::{Ask, Shared, What};

/// The end of the serving thread.
#[derive(Debug)]
pub(super) struct Asks {
    questions: SyncSender<Ask>,
    orders: SyncSender<Ask>,
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Asked {
    questions: Receiver<Ask>,
    orders: Receiver<Ask>,
}

/// Both ends.
pub(super) fn channel() -> (Asks, Asked) {
    let (questions, asked) = sync_channel(ASKS_MAX);
    let (orders, ordered) = sync_channel(ASKS_MAX);
    (Asks { questions, orders }, Asked { questions: asked, orders: ordered })
}

impl Asks {
    /// Passes a request on, or returns it if there is no room.
    pub(super) fn pass_on(&self, ask: Ask, shared: &Shared) -> Result<(), Ask> {
        let way = match &ask.what {
            What::Status | What::Survey | What::Members | What::Why(_) => &self.questions,
            What::Publish { payload, .. } => {
                let others = shared
                    .payload_bytes
                    .load(Ordering::Relaxed)
                    .saturating_sub(payload.len() as u64);
                if others >= PAYLOAD_BYTES_MAX {
                    return Err(ask);
                }
                &self.orders
            }
            What::Leave | What::Demote { .. } | What::LogLevel(_) => &self.orders,
        };
        match way.try_send(ask) {
            Err(TrySendError::Full(ask)) => Err(ask),
            // If the loop is gone, no request is answered any more.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

impl Asked {
    /// The next request; changing requests only if there is room for them.
    pub(super) fn next(&self, takes_orders: bool) -> Option<Ask> {
        self.questions
            .try_recv()
            .ok()
            .or_else(|| if takes_orders { self.orders.try_recv().ok() } else { None })
    }
}

/// A reading of a client; it counts until the node has taken it.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    shared: Arc<Shared>,
}

impl Payload {
    pub(super) fn new(bytes: Vec<u8>, shared: &Arc<Shared>) -> Self {
        shared.payload_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Self { bytes, shared: Arc::clone(shared) }
    }
}

impl Deref for Payload {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.shared.payload_bytes.fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// How many requests of each kind may wait for the loop.
const ASKS_MAX: usize = 8_192;
/// Bytes of readings that may wait for the loop.
const PAYLOAD_BYTES_MAX: u64 = 32 << 20;
