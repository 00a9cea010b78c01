//! The thread that stores the memory of a peer. A disk may take any time, so only dependent work
//! waits for it: from the start of a store the node's outputs are held back, and towards the others
//! the peer behaves as if it were stopped. Meanwhile it still answers questions and accepts a
//! request to stop.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use mio::Waker;
use protocol::io::Output;
use protocol::time::Time;

use crate::incarnation::{Memory, Shared};

/// The loop's end.
#[derive(Debug)]
pub struct Keeper {
    jobs: SyncSender<Memory>,
    results: Receiver<(Memory, io::Result<()>)>,
    open: Option<Open>,
    held: VecDeque<Output>,
}

/// The store in progress.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: Time,
    /// The duration after which it is reported (again).
    next: Duration,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(store: Shared, waker: Arc<Waker>) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel::<Memory>(1);
        let (outbox, results) = sync_channel(1);
        thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            for memory in inbox {
                let saved = store.lock().save(memory.clone());
                if outbox.send((memory, saved)).is_err() {
                    return;
                }
                let _loop_is_gone = waker.wake();
            }
        })?;
        Ok(Self { jobs, results, open: None, held: VecDeque::new() })
    }

    /// Stores this; [`Self::stored`] returns its completion. One at a time.
    pub fn store(&mut self, now: Time, memory: Memory) {
        let _thread_is_gone = self.jobs.send(memory);
        self.open = Some(Open { since: now, next: SLOW });
    }

    /// Whether a store is in progress, so that nothing may be sent.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.open.is_some()
    }

    /// Holds an output back until everything is stored.
    pub fn hold(&mut self, output: Output) {
        self.held.push_back(output);
    }

    /// The next output that may be performed.
    pub fn release(&mut self) -> Option<Output> {
        if self.is_storing() { None } else { self.held.pop_front() }
    }

    /// The completed store, and its result.
    pub fn stored(&mut self) -> Option<(Memory, io::Result<()>)> {
        let stored = self.results.try_recv().ok()?;
        self.open = None;
        Some(stored)
    }

    /// How long the disk has taken, if that should be reported.
    pub fn slowness(&mut self, now: Time) -> Option<Duration> {
        let open = self.open.as_mut()?;
        let lasted = now.since(open.since);
        (lasted >= open.next).then(|| {
            open.next = lasted * 2;
            lasted
        })
    }

    /// When it may have to be reported next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.open.map(|open| open.since + open.next)
    }
}

/// A healthy disk stores a few bytes in less.
const SLOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{Keeper, SLOW};
    use crate::incarnation::{Memory, Past, Store};
    use mio::{Events, Poll, Token, Waker};
    use protocol::id::Incarnation;
    use protocol::io::Output;
    use protocol::message::Message;
    use protocol::time::Time;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn what_rests_on_a_slow_disk_is_held_back_and_the_slowness_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("data")).unwrap().share();
        let mut poll = Poll::new().unwrap();
        let mut keeper =
            Keeper::start(store.clone(), Arc::new(Waker::new(poll.registry(), Token(0)).unwrap()))
                .unwrap();
        let link = protocol::id::LinkId::accepted(1);
        let memory = Memory { incarnation: Incarnation(7), past: Past::Veteran, name: None };
        let start = Time::from_micros(1_000_000);
        {
            // The disk accepts nothing.
            let _busy = store.lock();
            keeper.store(start, memory.clone());
            keeper.hold(Output::Send { link, message: Message::Leave });
            assert!(keeper.is_storing() && keeper.release().is_none() && keeper.stored().is_none());
            let told: Vec<u64> = (0..100)
                .filter(|tenth| {
                    keeper.slowness(start + SLOW / 10 * u32::try_from(*tenth).unwrap()).is_some()
                })
                .collect();
            assert_eq!(told, [10, 20, 40, 80]);
        }
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
        let (stored, saved) = keeper.stored().unwrap();
        assert!(saved.is_ok() && stored == memory);
        assert!(
            matches!(keeper.release(), Some(Output::Send { .. })) && keeper.release().is_none()
        );
        assert_eq!(keeper.deadline(), None);
    }
}
