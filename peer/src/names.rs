//! The thread that resolves names: those of the seed addresses, and the advertised name of this
//! peer. A name service may take half a minute to answer, so nothing else waits for it.
//!
//! A peer before its first view resolves every second, because an environment that starts several
//! peers at once (Compose, Kubernetes) knows their names a moment later. A peer that is alone
//! resolves every five seconds, one in company every half minute.

use std::io;
use std::net::SocketAddrV4;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::seed_addresses::SeedAddress;

/// The result of a look-up.
#[derive(Debug)]
pub enum Lookup {
    /// The resolved seed addresses.
    SeedAddresses(Vec<SocketAddrV4>),
    /// The resolved advertised address.
    Advertised(SocketAddrV4),
}

/// The loop's end.
#[derive(Debug)]
pub struct Names {
    found: Receiver<Lookup>,
    hurry: SyncSender<()>,
    plan: Arc<Mutex<Plan>>,
}

/// Instructions for the thread.
#[derive(Debug)]
struct Plan {
    /// New seed addresses.
    addresses: Option<Vec<SeedAddress>>,
    /// How long to wait between two look-ups.
    pace: Duration,
}

impl Names {
    /// Starts the thread; it resolves everything at once, and again every second until
    /// [`Self::follow`] reports a view.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(
        addresses: Vec<SeedAddress>,
        advertise: Option<SeedAddress>,
        waker: Arc<Waker>,
    ) -> io::Result<Self> {
        let (outbox, found) = sync_channel(LOOKUPS_MAX);
        let (hurry, inbox) = sync_channel(1);
        let plan = Arc::new(Mutex::new(Plan { addresses: None, pace: pace(None) }));
        let search = Search {
            addresses,
            advertise,
            outbox,
            waker,
            plan: Arc::clone(&plan),
            are_new: false,
            failures: 0,
        };
        thread::Builder::new().name("names".to_owned()).spawn(move || search.go_on(&inbox))?;
        Ok(Self { found, hurry, plan })
    }

    /// The next result, if there is one.
    #[must_use]
    pub fn lookup(&self) -> Option<Lookup> {
        self.found.try_recv().ok()
    }

    /// Resolves again soon: the network has changed.
    pub fn hurry(&self) {
        let _asked_already = self.hurry.try_send(());
    }

    /// Resolves these from now on, and at once.
    pub fn replace(&self, addresses: Vec<SeedAddress>) {
        lock(&self.plan).addresses = Some(addresses);
        self.hurry();
    }

    /// There is a view of that many members, or none: sets the pace of look-ups.
    pub fn follow(&self, members: Option<usize>) {
        let pace = pace(members);
        let before = std::mem::replace(&mut lock(&self.plan).pace, pace);
        if pace < before {
            self.hurry();
        }
    }
}

/// The pace of look-ups, in a view of that many members or in none.
fn pace(members: Option<usize>) -> Duration {
    match members {
        None => JOINING,
        Some(..=1) => ALONE,
        Some(_) => IN_COMPANY,
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    // No value is ever left half written under this lock.
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Search {
    addresses: Vec<SeedAddress>,
    advertise: Option<SeedAddress>,
    outbox: SyncSender<Lookup>,
    waker: Arc<Waker>,
    plan: Arc<Mutex<Plan>>,
    /// Whether the loop still has to get the result for these addresses, even if it is empty.
    are_new: bool,
    /// How often a name had no address.
    failures: u64,
}

impl Search {
    fn go_on(mut self, inbox: &Receiver<()>) {
        loop {
            if let Some(addresses) = lock(&self.plan).addresses.take() {
                (self.addresses, self.are_new) = (addresses, true);
            }
            self.look_up();
            let pace = lock(&self.plan).pace;
            match inbox.recv_timeout(pace) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look_up(&mut self) {
        if self.are_new || !self.addresses.is_empty() {
            let mut resolved = Vec::new();
            for index in 0..self.addresses.len() {
                let found = self.addresses[index].resolve();
                if found.is_empty() {
                    self.miss(&format!("Seed {}", self.addresses[index]));
                }
                resolved.extend(found);
            }
            resolved.sort_unstable();
            resolved.dedup();
            // The loop may be busy; the next look-up reports it again.
            self.are_new &= self.outbox.try_send(Lookup::SeedAddresses(resolved)).is_err();
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
            let pace = lock(&self.plan).pace;
            log::warn!(
                "{what} has no IPv4 address now; looking again every {pace:?}. Check the name and \
                 the name service."
            );
        }
    }
}

/// The pace before the first view.
const JOINING: Duration = Duration::from_secs(1);
const ALONE: Duration = Duration::from_secs(5);
const IN_COMPANY: Duration = Duration::from_secs(30);
const LOOKUPS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Lookup, Names};
    use mio::{Poll, Token, Waker};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    #[track_caller]
    fn next(names: &Names) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            match names.lookup() {
                Some(Lookup::SeedAddresses(addresses)) => {
                    return addresses.iter().map(ToString::to_string).collect();
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        panic!("nothing was looked up");
    }

    #[test]
    fn names_are_asked_for_every_second_until_there_is_a_view() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let names = Names::start(vec!["127.0.0.1:7001".parse().unwrap()], None, waker).unwrap();
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(next(&names), ["127.0.0.1:7001"]);
        }
        let took = started.elapsed();
        assert!(
            took >= Duration::from_secs(2) && took < super::ALONE,
            "three look-ups took {took:?}"
        );
        names.follow(Some(3));
        // The pause of a second that had begun ends first.
        next(&names);
        names.replace(vec!["127.0.0.1:7002".parse().unwrap()]);
        assert_eq!(next(&names), ["127.0.0.1:7002"], "without waiting");
        names.replace(Vec::new());
        assert_eq!(next(&names), [""; 0], "that there are none any more is told as well");
        names.follow(None);
        names.replace(vec!["127.0.0.1:7003".parse().unwrap()]);
        assert_eq!(next(&names), ["127.0.0.1:7003"]);
        assert!(started.elapsed() < super::IN_COMPANY);
    }
}
