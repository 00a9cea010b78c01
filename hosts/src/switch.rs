//! The switch: one thread that reads frames from every host, applies the rules, and writes the
//! frames to their receivers, at once or later.
//!
//! The rules apply at the moment of sending. A delayed frame in flight when a cut begins still
//! arrives, as on a long line; the end of a cut does not deliver frames that it has dropped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use protocol::draw::draw_below;
use tappers::Tap;

use crate::capture::Capture;
use crate::firewall::{Flows, Passage};
use crate::frame::{Frame, Kind, Mac};
use crate::nat::Nat;
use crate::rule::{Effect, Line, Rule};
use crate::segment;

/// A running switch; it ends with this value.
pub struct Switch {
    shared: Arc<Mutex<Shared>>,
    waker: PipeWriter,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("tally", &self.tally()).finish_non_exhaustive()
    }
}

/// The port of a host's interface.
#[derive(Debug)]
pub struct Port {
    /// The number of the host.
    pub host: usize,
    /// The names of host and interface.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The network that it is plugged into; frames do not leave their network.
    pub network: u32,
    /// The router with address translation in front of it, if there is one.
    pub nat: Option<Nat>,
}

/// Counts of frames, by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that were sent.
    pub sent: u64,
    /// Frames that were dropped by a rule, for each receiver.
    pub dropped: u64,
    /// Frames that were held back.
    pub delayed: u64,
    /// Frames that were written twice.
    pub doubled: u64,
}

/// The state shared between the switch and its owner.
#[derive(Default)]
struct Shared {
    arriving: Vec<(Port, Tap)>,
    rules: Vec<Rule>,
    flows: Flows,
    capture: Capture,
    names: Vec<String>,
    tally: Tally,
    failure: Option<String>,
    over: bool,
}

impl Switch {
    /// A switch without hosts. The seed draws which frames are lost, doubled or overtaken.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(seed: u64) -> io::Result<Self> {
        let (wakes, waker) = io::pipe()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut work = Work {
            shared: Arc::clone(&shared),
            wakes,
            seed,
            ports: vec![],
            flying: BinaryHeap::new(),
            counter: 0,
            busy: BTreeMap::new(),
            last: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name("switch".to_owned()).spawn(move || {
            if let Err(error) = work.run() {
                lock(&work.shared).failure = Some(error.to_string());
            }
        })?;
        Ok(Self { shared, waker, thread: Some(thread) })
    }

    /// Plugs a host in.
    ///
    /// # Errors
    /// If the device cannot be read from.
    pub fn plug(&mut self, port: Port, mut device: Tap) -> io::Result<()> {
        device.set_nonblocking(true)?;
        lock(&self.shared).arriving.push((port, device));
        self.wake()
    }

    /// Puts a rule in force; it replaces a rule of the same name.
    pub fn put(&self, rule: Rule) {
        let mut shared = lock(&self.shared);
        shared.rules.retain(|other| other.name != rule.name);
        shared.rules.push(rule);
    }

    /// Removes a rule, and those whose names consist of this name and a further word.
    pub fn take(&self, name: &str) {
        let is_its = |rule: &Rule| {
            rule.name
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        lock(&self.shared).rules.retain(|rule| !is_its(rule));
    }

    /// The connections with an end at an address.
    #[must_use]
    pub fn connections_of(
        &self,
        address: Ipv4Addr,
    ) -> std::collections::BTreeSet<crate::frame::Flow> {
        lock(&self.shared).flows.of(address)
    }

    /// The last frames, as a file.
    #[must_use]
    pub fn capture(&self) -> Vec<u8> {
        let shared = lock(&self.shared);
        shared.capture.file(&shared.names)
    }

    /// The counts of frames so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.shared).tally
    }

    /// Why the switch has stopped, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared).failure.clone()
    }

    fn wake(&mut self) -> io::Result<()> {
        self.waker.write_all(&[1])
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        lock(&self.shared).over = true;
        // If nothing reads any more, the thread has ended already.
        let _ = self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A delayed frame. Ordered by arrival, then by the order of sending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due: Instant,
    order: u64,
    to: usize,
    frame: Arc<[u8]>,
}

/// The state of the thread.
struct Work {
    shared: Arc<Mutex<Shared>>,
    wakes: PipeReader,
    seed: u64,
    ports: Vec<(Port, Tap)>,
    flying: BinaryHeap<Reverse<Flying>>,
    /// The counter of all draws.
    counter: u64,
    /// Until when a slow line is busy, by rule and pair.
    busy: BTreeMap<(String, usize, usize), Instant>,
    /// The arrival of the last frame of a pair that keeps its order.
    last: BTreeMap<(usize, usize), Instant>,
}

impl Work {
    fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; FRAME_MAX];
        loop {
            self.deliver_due();
            let timeout = self
                .flying
                .peek()
                .map(|Reverse(next)| next.due.saturating_duration_since(Instant::now()));
            let ready = self.wait(timeout)?;
            if ready[0] {
                // One read takes everything written so far; it only signals that there is something
                // to look at.
                let _ = self.wakes.read(&mut buffer[..64])?;
                let mut shared = lock(&self.shared);
                if shared.over {
                    return Ok(());
                }
                let arriving = std::mem::take(&mut shared.arriving);
                shared.names.extend(arriving.iter().map(|(port, _)| port.name.clone()));
                drop(shared);
                self.ports.extend(arriving);
            }
            for port in 0..ready.len() - 1 {
                if ready[port + 1] {
                    self.read(port, &mut buffer);
                }
            }
        }
    }

    /// Waits for a frame or a timeout; returns the ready ports, the owner's wake-up first.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<bool>> {
        let mut fds = vec![PollFd::new(self.wakes.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.ports.iter().map(|(_, device)| PollFd::new(device.as_fd(), PollFlags::POLLIN)),
        );
        match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok(vec![false; fds.len()]),
            Err(error) => return Err(error.into()),
        }
        Ok(fds.iter().map(|fd| fd.any().unwrap_or(false)).collect())
    }

    /// Reads some frames of a port, so that no other port waits for long.
    fn read(&mut self, port: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            // An interface that is down cannot be read; it may come up again.
            let Ok(length) = self.ports[port].1.recv(buffer) else { return };
            self.forward(port, &buffer[..length]);
        }
    }

    fn forward(&mut self, from: usize, bytes: &[u8]) {
        let now = Instant::now();
        let Some(frame) = Frame::read(bytes).filter(|frame| frame.kind != Kind::Other) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let mut shared = lock(&shared);
        shared.tally.sent += 1;
        // Frames of a host behind a router leave the router with another sender.
        let mut translated = None;
        let (frame, bytes) = match &mut self.ports[from].0.nat {
            None => (frame, bytes),
            Some(nat) => {
                if let Some(answer) = nat.answer_inside(&frame, bytes) {
                    self.write(from, &answer);
                    return;
                }
                let Some(outside) = nat.outward(&frame, bytes) else { return };
                let outside: &[u8] = translated.insert(outside);
                let Some(frame) = Frame::read(outside) else { return };
                (frame, outside)
            }
        };
        shared.flows.see(&frame, now);
        let mut word: Option<Arc<str>> = None;
        for to in 0..self.ports.len() {
            let (own, other) = (&self.ports[from].0, &self.ports[to].0);
            if to == from || own.network != other.network {
                continue;
            }
            if let (Some(nat), Kind::Arp { asks: true, target, .. }) = (&other.nat, frame.kind)
                && target == nat.outside
            {
                if let Some(answer) = segment::answer(bytes, nat.mac, target) {
                    self.write(from, &answer);
                }
                continue;
            }
            let mac = other.nat.as_ref().map_or(other.mac, |nat| nat.mac);
            if frame.is_broadcast() || frame.to == mac {
                let dropped = self.pass(&mut shared, (from, to), (&frame, bytes), now);
                word = word.or(dropped);
            }
        }
        let number = u32::try_from(from).unwrap_or(u32::MAX);
        shared.capture.keep(number, bytes, word, SystemTime::now());
    }

    /// Passes a frame from one port to another according to the rules; returns the name of the rule
    /// that dropped it, if any.
    fn pass(
        &mut self,
        shared: &mut MutexGuard<'_, Shared>,
        (from, to): (usize, usize),
        (frame, bytes): (&Frame, &[u8]),
        now: Instant,
    ) -> Option<Arc<str>> {
        let pair = (self.ports[from].0.host, self.ports[to].0.host);
        let mut lines: Vec<(String, Line)> = vec![];
        let mut refuses = false;
        let Shared { rules, flows, .. } = &mut **shared;
        let drops = rules.iter().find(|rule| match &rule.effect {
            Effect::Cut { pairs, traffic } => {
                pairs.contains(&pair) && traffic.means(frame) && !is_spared(frame, pairs, pair)
            }
            Effect::Bad { pairs, traffic, line } => {
                if pairs.contains(&pair) && traffic.means(frame) {
                    lines.push((rule.name.clone(), *line));
                }
                false
            }
            Effect::Wall { host, firewall } => {
                let leaves = *host == pair.0;
                let passage = if leaves || *host == pair.1 {
                    firewall.passage(frame, leaves, flows, now)
                } else {
                    Passage::Passes
                };
                refuses = passage == Passage::Refused;
                passage != Passage::Passes
            }
        });
        if let Some(rule) = drops {
            let name: Arc<str> = format!("dropped: {}", rule.name).into();
            shared.tally.dropped += 1;
            if refuses
                && let Some(refusal) = frame.flow().and_then(|flow| segment::refusal(bytes, flow))
            {
                self.arrive(from, &refusal);
            }
            return Some(name);
        }
        if lines.is_empty() && !self.last.contains_key(&pair) {
            self.arrive(to, bytes);
            return None;
        }
        let dropped = self.go_over(shared, &lines, (pair, to), bytes, now);
        if dropped.is_some() {
            shared.tally.dropped += 1;
        }
        dropped
    }

    /// Sends a frame over bad lines.
    fn go_over(
        &mut self,
        shared: &mut MutexGuard<'_, Shared>,
        lines: &[(String, Line)],
        (pair, to): ((usize, usize), usize),
        bytes: &[u8],
        now: Instant,
    ) -> Option<Arc<str>> {
        let (mut due, mut keeps_place, mut copies) = (now, true, 1);
        for (name, line) in lines {
            let lost = |why: &str| Some(format!("{why}: {name}").into());
            let packet = bytes.len().saturating_sub(crate::frame::HEAD) as u64;
            if line.mtu > 0 && packet > line.mtu {
                return lost("too long");
            }
            if self.happens("loss", line.loss) {
                return lost("lost");
            }
            if line.rate > 0 {
                let busy = self.busy.entry((name.clone(), pair.0, pair.1)).or_insert(now);
                let begins = (*busy).max(now);
                // A slow line has a short queue in front of it; frames that do not fit are lost.
                if begins.duration_since(now) > QUEUE {
                    return lost("queue full");
                }
                *busy = begins + Duration::from_secs_f64(bytes.len() as f64 / line.rate as f64);
                due = due.max(*busy);
            }
            let jitter = u64::try_from(line.jitter.as_micros()).unwrap_or(u64::MAX);
            due += line.delay
                + Duration::from_micros(if jitter == 0 { 0 } else { self.below("jitter", jitter) });
            if self.happens("reorder", line.reorder) {
                (due, keeps_place) = (due + OVERTAKEN.max(line.delay / 2), false);
            }
            if self.happens("duplicate", line.duplicate) {
                copies += 1;
                shared.tally.doubled += 1;
            }
        }
        if keeps_place {
            let last = self.last.entry(pair).or_insert(due);
            due = due.max(*last);
            *last = due;
            if lines.is_empty() && due <= now {
                self.last.remove(&pair);
            }
        }
        if due <= now {
            (0..copies).for_each(|_| self.arrive(to, bytes));
            return None;
        }
        shared.tally.delayed += 1;
        let frame: Arc<[u8]> = bytes.into();
        for _ in 0..copies {
            self.counter += 1;
            self.flying.push(Reverse(Flying {
                due,
                order: self.counter,
                to,
                frame: Arc::clone(&frame),
            }));
        }
        None
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse(next)) = self.flying.peek()
            && next.due <= now
        {
            let Some(Reverse(Flying { to, frame, .. })) = self.flying.pop() else { return };
            self.arrive(to, &frame);
        }
    }

    /// A frame reaches a port; a router in front of the host may have to translate it.
    fn arrive(&mut self, to: usize, bytes: &[u8]) {
        match &mut self.ports[to].0.nat {
            None => self.write(to, bytes),
            Some(nat) => {
                let inside = Frame::read(bytes).and_then(|frame| nat.inward(&frame, bytes));
                if let Some(inside) = inside {
                    self.write(to, &inside);
                }
            }
        }
    }

    fn write(&self, to: usize, bytes: &[u8]) {
        // An interface that is down, or whose queue is full, loses its frames.
        let _ = self.ports[to].1.send(bytes);
    }

    fn happens(&mut self, purpose: &str, thousandths: u64) -> bool {
        thousandths > 0 && self.below(purpose, 1_000) < thousandths
    }

    fn below(&mut self, purpose: &str, bound: u64) -> u64 {
        self.counter += 1;
        draw_below(self.seed, purpose, self.counter, bound)
    }
}

/// ARP is cut only if both directions are. A one-way cut models a firewall or a bad antenna, behind
/// which a host still knows where the others are.
fn is_spared(
    frame: &Frame,
    pairs: &std::collections::BTreeSet<(usize, usize)>,
    (from, to): (usize, usize),
) -> bool {
    matches!(frame.kind, Kind::Arp { .. }) && !pairs.contains(&(to, from))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest frame, in bytes.
const FRAME_MAX: usize = 65_600;
/// How many frames of one port are read before the next port's turn.
const BATCH: usize = 64;
/// How long a frame may wait in front of a slow line.
const QUEUE: Duration = Duration::from_millis(200);
/// The least additional delay of a frame that others overtake.
const OVERTAKEN: Duration = Duration::from_millis(3);
