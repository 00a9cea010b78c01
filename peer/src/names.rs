//! The thread that looks names up: those of the seeds, and the one that this peer advertises. A name service may be silent for
//! half a minute, so nothing else waits for it.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::seeds::Seed;

/// What was looked up.
#[derive(Debug)]
pub enum Lookup {
    /// The addresses behind the seeds.
    Seeds(Vec<SocketAddrV4>),
    /// The address that others are told.
    Advertised(SocketAddrV4),
}

/// The loop's end.
#[derive(Debug)]
pub struct Names {
    found: Receiver<Lookup>,
    hurry: SyncSender<()>,
}

impl Names {
    /// Starts the thread; it looks everything up at once, and again every half minute.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(seeds: Vec<Seed>, advertise: Option<Seed>, waker: Arc<Waker>) -> io::Result<Self> {
        let (outbox, found) = sync_channel(LOOKUPS_MAX);
        let (hurry, inbox) = sync_channel(1);
        let search = Search { seeds, advertise, outbox, waker, failures: 0 };
        thread::Builder::new().name("names".to_owned()).spawn(move || search.go_on(&inbox))?;
        Ok(Self { found, hurry })
    }

    /// What was found, if anything.
    #[must_use]
    pub fn lookup(&self) -> Option<Lookup> {
        self.found.try_recv().ok()
    }

    /// Looks again soon: the network has changed.
    pub fn hurry(&self) {
        let _asked_already = self.hurry.try_send(());
    }
}

struct Search {
    seeds: Vec<Seed>,
    advertise: Option<Seed>,
    outbox: SyncSender<Lookup>,
    waker: Arc<Waker>,
    /// How often names have had no address.
    failures: u64,
}

impl Search {
    fn go_on(mut self, inbox: &Receiver<()>) {
        loop {
            self.look_up();
            match inbox.recv_timeout(INTERVAL) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look_up(&mut self) {
        if !self.seeds.is_empty() {
            let mut addresses = Vec::new();
            for index in 0..self.seeds.len() {
                let found = self.seeds[index].resolve();
                if found.is_empty() {
                    self.miss(&format!("Seed {}", self.seeds[index]));
                }
                addresses.extend(found);
            }
            addresses.sort_unstable();
            addresses.dedup();
            // The loop may be busy; the next look-up tells it again.
            let _no_room = self.outbox.try_send(Lookup::Seeds(addresses));
        }
        if let Some(name) = &self.advertise {
            match name.resolve().first() {
                Some(address) => drop(self.outbox.try_send(Lookup::Advertised(*address))),
                None => self.miss(&format!("--advertise {name}")),
            }
        }
        let _loop_is_gone = self.waker.wake();
    }

    fn miss(&mut self, what: &str) {
        self.failures += 1;
        if self.failures.is_power_of_two() {
            log::warn!("{what} has no IPv4 address now; looking again every {INTERVAL:?}. Check the name and the name service.");
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(30);
const LOOKUPS_MAX: usize = 8;
