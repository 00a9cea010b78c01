//! A bare sequencer: the limit of the design on this machine, as a reference for the product.
//!
//! Plain TCP; one process numbers the readings that it receives and fans them out in pieces of 64
//! KiB; every process checks that the numbers have no gaps, and counts. There is no membership, no
//! epoch, no acknowledgement, no log, no failure: each of them costs something, and the ratio of
//! the two says how much. The reference is as fast as its author could make it (one thread and one
//! poll per process, vectored writes, a single copy of each payload into its piece), because a slow
//! reference would flatter the product.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use peer::clock;
use peer::pacer::Pacer;
use protocol::time::Time;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

/// The task of a process of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number, from 0; the sequencer is 0.
    pub number: u32,
    /// How many processes there are.
    pub processes: u32,
    /// Whether it sends.
    pub sends: bool,
    /// How many readings it sends, if it does.
    pub count: u64,
    /// How many readings there are in total.
    pub total: u64,
    /// The size of a reading in bytes; at least 8.
    pub bytes: usize,
    /// How many readings per second it sends; as many as possible if not set.
    pub rate: Option<u64>,
}

/// The result of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many readings were delivered to it.
    pub count: u64,
    /// When the first was delivered.
    pub first_at: Time,
    /// When the last was delivered.
    pub last_at: Time,
    /// Half of the readings took no longer than this, in microseconds.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The 99.9th percentile.
    pub p999_us: u64,
}

/// Runs the sequencer: announces its port, waits for the others, works, and returns its result.
///
/// # Errors
/// Those of the sockets.
pub fn sequence(part: &Part, tell_port: impl FnOnce(u16)) -> io::Result<Seen> {
    let listener = std::net::TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    tell_port(listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    let mut ends = Vec::new();
    for token in 1..part.processes {
        ends.push(End::new(listener.accept()?.0, &poll, token)?);
    }
    let (mut events, mut batch, mut number) =
        (Events::with_capacity(64), Vec::with_capacity(PIECE), 0_u64);
    let (mut source, mut sink) = (Source::new(part), Sink::new());
    let mut pacer = Pacer::start(poll.registry(), PACER)?;
    while sink.count < part.total || ends.iter().any(|end| end.queued > 0) {
        let backed_up = ends.iter().any(|end| end.queued > BACKLOG);
        let busy = !backed_up && (source.is_due() || ends.iter().any(|end| end.readable));
        wait(&mut poll, &mut events, busy, source.next_at(), &mut pacer, &mut ends)?;
        if !backed_up {
            for at in 0..ends.len() {
                if !ends[at].readable || !ends[at].read()? {
                    continue;
                }
                while let Some(payload) = ends[at].take(PREFIX) {
                    number += 1;
                    write_numbered(
                        number,
                        ends[at].other,
                        &ends[at].input[payload.clone()],
                        &mut batch,
                    );
                    sink.take(number, &ends[at].input[payload]);
                    if batch.len() >= PIECE {
                        spread(&mut batch, &mut ends);
                    }
                }
            }
            while batch.len() < PIECE && source.is_due() {
                number += 1;
                let payload = source.next();
                write_numbered(number, 0, payload, &mut batch);
                sink.take(number, payload);
            }
        }
        if !batch.is_empty() {
            spread(&mut batch, &mut ends);
        }
        for end in &mut ends {
            end.write()?;
        }
    }
    Ok(sink.seen())
}

/// Runs another process.
///
/// # Errors
/// Those of the sockets.
pub fn follow(part: &Part, port: u16) -> io::Result<Seen> {
    let mut poll = Poll::new()?;
    let mut stream = std::net::TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(&part.number.to_be_bytes())?;
    let mut ends = vec![End::of(stream, part.number, &poll, 1)?];
    let mut events = Events::with_capacity(64);
    let (mut source, mut sink, mut returned) = (Source::new(part), Sink::new(), 0);
    let mut pacer = Pacer::start(poll.registry(), PACER)?;
    while sink.count < part.total {
        let open = source.made - returned < WINDOW;
        let next_at = source.next_at().filter(|_| open);
        wait(
            &mut poll,
            &mut events,
            ends[0].readable || open && source.is_due(),
            next_at,
            &mut pacer,
            &mut ends,
        )?;
        let end = &mut ends[0];
        if end.readable && end.read()? {
            while let Some(message) = end.take(PREFIX + NUMBER) {
                let (head, payload) = end.input[message].split_at(NUMBER);
                let (seq, origin) = head.split_at(8);
                returned += u64::from(origin == part.number.to_be_bytes());
                sink.take(
                    u64::from_be_bytes(seq.try_into().expect("eight bytes were split off")),
                    payload,
                );
            }
        }
        let mut batch = Vec::new();
        while batch.len() < PIECE && source.made - returned < WINDOW && source.is_due() {
            let payload = source.next();
            batch.extend_from_slice(
                &u32::try_from(payload.len()).expect("readings are small").to_be_bytes(),
            );
            batch.extend_from_slice(payload);
        }
        if !batch.is_empty() {
            end.push(Rc::new(batch));
        }
        end.write()?;
    }
    Ok(sink.seen())
}

/// Sends one piece to all.
fn spread(batch: &mut Vec<u8>, ends: &mut [End]) {
    let piece = Rc::new(std::mem::replace(batch, Vec::with_capacity(PIECE + ROOM)));
    ends.iter_mut().for_each(|end| end.push(Rc::clone(&piece)));
}

fn write_numbered(number: u64, origin: u32, payload: &[u8], batch: &mut Vec<u8>) {
    batch.extend_from_slice(
        &u32::try_from(payload.len()).expect("readings are small").to_be_bytes(),
    );
    batch.extend_from_slice(&number.to_be_bytes());
    batch.extend_from_slice(&origin.to_be_bytes());
    batch.extend_from_slice(payload);
}

fn wait(
    poll: &mut Poll,
    events: &mut Events,
    busy: bool,
    next: Option<Time>,
    pacer: &mut Pacer,
    ends: &mut [End],
) -> io::Result<()> {
    if let Some(at) = next.filter(|_| !busy) {
        pacer.set(at)?;
    }
    match poll.poll(events, busy.then_some(Duration::ZERO)) {
        Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for event in events.iter().filter(|event| event.token() != PACER) {
        let end = &mut ends[event.token().0 - 1];
        end.readable |= event.is_readable() || event.is_read_closed();
    }
    Ok(())
}

/// One end of a connection.
struct End {
    stream: TcpStream,
    /// The number of the process at the other end.
    other: u32,
    readable: bool,
    /// Whether the other end may close before this one.
    may_go: bool,
    input: Vec<u8>,
    /// The bytes received, and how many of them were consumed.
    filled: usize,
    taken: usize,
    output: VecDeque<Rc<Vec<u8>>>,
    /// How much of the first piece has been written.
    written: usize,
    queued: usize,
}

impl End {
    /// The end of a process that sends its number first.
    fn new(mut stream: std::net::TcpStream, poll: &Poll, token: u32) -> io::Result<Self> {
        let mut number = [0; 4];
        stream.read_exact(&mut number)?;
        Ok(Self { may_go: true, ..Self::of(stream, u32::from_be_bytes(number), poll, token)? })
    }

    fn of(stream: std::net::TcpStream, other: u32, poll: &Poll, token: u32) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        SockRef::from(&stream).set_tcp_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(
            &mut stream,
            Token(token as usize),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Self {
            stream,
            other,
            readable: true,
            may_go: false,
            input: vec![0; INPUT],
            filled: 0,
            taken: 0,
            output: VecDeque::new(),
            written: 0,
            queued: 0,
        })
    }

    /// Reads once; true if bytes arrived.
    fn read(&mut self) -> io::Result<bool> {
        self.input.copy_within(self.taken..self.filled, 0);
        (self.filled, self.taken) = (self.filled - self.taken, 0);
        match self.stream.read(&mut self.input[self.filled..]) {
            // A process that has everything closes while others are still being written to.
            Ok(0) if self.may_go => {
                self.readable = false;
                Ok(false)
            }
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.filled += count;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The place of the next whole message, without its length; `head` bytes, including the length,
    /// precede the payload.
    fn take(&mut self, head: usize) -> Option<std::ops::Range<usize>> {
        let held = &self.input[self.taken..self.filled];
        let length =
            u32::from_be_bytes(held.get(..PREFIX)?.try_into().expect("four bytes")) as usize;
        let whole = head + length;
        if held.len() < whole {
            return None;
        }
        let begin = self.taken + PREFIX;
        self.taken += whole;
        Some(begin..self.taken)
    }

    fn push(&mut self, piece: Rc<Vec<u8>>) {
        self.queued += piece.len();
        self.output.push_back(piece);
    }

    fn write(&mut self) -> io::Result<()> {
        while self.queued > 0 {
            let mut slices = [IoSlice::new(&[]); 16];
            let mut count = 0;
            for (at, piece) in self.output.iter().take(slices.len()).enumerate() {
                slices[count] = IoSlice::new(&piece[if at == 0 { self.written } else { 0 }..]);
                count += 1;
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(written) => {
                    self.queued -= written;
                    self.written += written;
                    while let Some(first) =
                        self.output.front().filter(|first| first.len() <= self.written)
                    {
                        self.written -= first.len();
                        self.output.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Creates readings; each begins with the time at which it was due.
struct Source {
    payload: Vec<u8>,
    left: u64,
    made: u64,
    begun: Time,
    rate: Option<u64>,
}

impl Source {
    fn new(part: &Part) -> Self {
        let left = if part.sends { part.count } else { 0 };
        Self {
            payload: vec![b'.'; part.bytes],
            left,
            made: 0,
            begun: clock::now(),
            rate: part.rate,
        }
    }

    fn due_at(&self) -> Option<Time> {
        let rate = self.rate?;
        Some(self.begun + Duration::from_micros(self.made * 1_000_000 / rate))
    }

    fn is_due(&self) -> bool {
        self.left > 0 && self.due_at().is_none_or(|at| at <= clock::now())
    }

    /// When the next reading is due, if there is a rate and one is left.
    fn next_at(&self) -> Option<Time> {
        self.due_at().filter(|_| self.left > 0)
    }

    fn next(&mut self) -> &[u8] {
        if let Some(at) = self.due_at() {
            self.payload[..8].copy_from_slice(&at.as_micros().to_be_bytes());
        }
        self.made += 1;
        self.left -= 1;
        &self.payload
    }
}

/// Receives the readings.
struct Sink {
    count: u64,
    first_at: Time,
    latency: Histogram<u64>,
}

impl Sink {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that make sense");
        Self { count: 0, first_at: Time::ZERO, latency }
    }

    fn take(&mut self, number: u64, payload: &[u8]) {
        self.count += 1;
        assert_eq!(number, self.count, "the reference lost its order");
        if self.count == 1 {
            self.first_at = clock::now();
        }
        // An unpaced reading has no due time.
        if payload[0] == 0 {
            let due = Time::from_micros(u64::from_be_bytes(
                payload[..8].try_into().expect("eight bytes"),
            ));
            self.latency.saturating_record(
                u64::try_from(clock::now().since(due).as_micros()).unwrap_or(u64::MAX),
            );
        }
    }

    fn seen(&self) -> Seen {
        let at = |quantile| self.latency.value_at_quantile(quantile);
        let (p50_us, p99_us, p999_us) = (at(0.5), at(0.99), at(0.999));
        Seen {
            count: self.count,
            first_at: self.first_at,
            last_at: clock::now(),
            p50_us,
            p99_us,
            p999_us,
        }
    }
}

const PACER: Token = Token(0);
/// The size of a piece in bytes.
const PIECE: usize = 64 << 10;
/// The room for the last reading of a piece.
const ROOM: usize = 32 << 10;
const INPUT: usize = 256 << 10;
const PREFIX: usize = 4;
/// The size of number and origin.
const NUMBER: usize = 12;
/// How many of its own readings a sender has in flight.
const WINDOW: u64 = 8_192;
/// With more bytes queued for one process, no further readings are read.
const BACKLOG: usize = 4 << 20;
