//! One connection: reads a head, writes an answer, and repeats; or streams events until one side
//! ends it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::events::Page;
use super::request::{self, HEAD_MAX, Request};
use super::response::{self, Response};

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    state: State,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// When its client last read something, or had nothing to read.
    moved_at: Instant,
    readable: bool,
    writable: bool,
    /// Whether nothing reaches its client any more.
    is_gone: bool,
    requests: u32,
}

#[derive(Debug)]
enum State {
    /// Waits for a head since then.
    Head(Instant),
    /// Waits for the loop's answer.
    Waiting(Box<Request>, Instant),
    /// Streams events; the page is taken out during a turn.
    Stream(Option<Box<Page>>),
    /// The last answer goes out; further input is dropped, so that the answer is not lost.
    Closing { until: Instant, is_shut: bool },
}

/// The next step.
pub(super) enum Turn {
    /// Nothing.
    Idle,
    /// A request to perform.
    Whole(Box<Request>),
}

impl Connection {
    pub(super) fn new(stream: TcpStream, now: Instant) -> Self {
        Self {
            stream,
            state: State::Head(now),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            moved_at: now,
            readable: false,
            writable: true,
            is_gone: false,
            requests: 0,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> std::io::Result<()> {
        // Small events should arrive at once.
        let _slower_without = self.stream.set_nodelay(true);
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed();
        self.writable |= event.is_writable();
        self.is_gone |= event.is_error() || event.is_write_closed();
    }

    /// Reports that there is no room; a fresh socket has room for that.
    pub(super) fn turn_away(&mut self, response: &Response) {
        response.write(false, false, &mut self.output);
        let _gone = self.stream.write(&self.output);
        // Input is dropped, so that the answer arrives.
        let _gone = self.stream.shutdown(Shutdown::Write);
        let _nothing_yet = self.stream.read(&mut [0; HEAD_MAX]);
    }

    /// Since when it is in its present state.
    pub(super) fn since(&self) -> Instant {
        match &self.state {
            State::Head(since) | State::Waiting(_, since) => *since,
            State::Stream(_) | State::Closing { .. } => self.moved_at,
        }
    }

    /// Whether its last request is answered, and there is no new one.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Head(_))
            && self.requests > 0
            && self.input.is_empty()
            && self.output.is_empty()
    }

    /// Reads the available input.
    pub(super) fn read(&mut self, now: Instant) -> Turn {
        match self.state {
            State::Head(since) => {
                // A client that does not read answers has to wait with further requests.
                if self.output.len() > ANSWERS_MAX {
                    return Turn::Idle;
                }
                self.fill();
                if self.input.is_empty() && now.duration_since(since) < HEAD_PATIENCE {
                    return Turn::Idle;
                }
                self.look(since, now)
            }
            State::Waiting(..) => Turn::Idle,
            State::Stream(_) | State::Closing { .. } => {
                self.throw_away();
                Turn::Idle
            }
        }
    }

    fn look(&mut self, since: Instant, now: Instant) -> Turn {
        match request::read(&self.input) {
            request::Read::Whole(request, taken) => {
                self.input.drain(..taken);
                self.requests += 1;
                return Turn::Whole(request);
            }
            request::Read::Wrong(response) => self.close_with(&response, now),
            request::Read::Partial if now.duration_since(since) >= HEAD_PATIENCE => {
                if self.input.is_empty() {
                    self.close_soon(now);
                } else {
                    let say =
                        format!("the request was not whole after {} s", HEAD_PATIENCE.as_secs());
                    self.close_with(&Response::fault(408, say), now);
                }
            }
            request::Read::Partial => {}
        }
        Turn::Idle
    }

    fn fill(&mut self) {
        let mut chunk = [0; HEAD_MAX];
        while self.readable && self.input.len() < HEAD_MAX {
            let room = HEAD_MAX - self.input.len();
            match self.stream.read(&mut chunk[..room]) {
                // A client that has sent everything may still wait for its answer; a partial
                // request gets none.
                Ok(0) => {
                    self.readable = false;
                    self.is_gone |= !matches!(request::read(&self.input), request::Read::Whole(..));
                }
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(_) => (self.readable, self.is_gone) = (false, true),
            }
        }
    }

    fn throw_away(&mut self) {
        let mut chunk = [0; HEAD_MAX];
        for _ in 0..CHUNKS_PER_TURN {
            if !self.readable {
                return;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => (self.readable, self.is_gone) = (false, true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(_) => (self.readable, self.is_gone) = (false, true),
            }
        }
    }

    /// Answers a request; the next one may follow.
    pub(super) fn answer(&mut self, request: &Request, response: &Response, now: Instant) {
        let keeps = request.keeps && self.requests < REQUESTS_MAX;
        response.write(keeps, request.head_only, &mut self.output);
        if keeps {
            self.state = State::Head(now);
        } else {
            self.close_soon(now);
        }
    }

    fn close_with(&mut self, response: &Response, now: Instant) {
        response.write(false, self.input.starts_with(b"HEAD "), &mut self.output);
        self.close_soon(now);
    }

    /// Closes it once the queued output has gone out.
    pub(super) fn close_soon(&mut self, now: Instant) {
        if !matches!(self.state, State::Closing { .. }) {
            self.state = State::Closing { until: now + LINGER, is_shut: false };
        }
    }

    /// Makes it wait for the loop's answer.
    pub(super) fn wait(&mut self, request: Request, now: Instant) {
        self.state = State::Waiting(Box::new(request), now);
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(..))
    }

    /// The request that waits.
    pub(super) fn take_waiting(&mut self) -> Option<Box<Request>> {
        let State::Waiting(_, since) = &self.state else { return None };
        let since = *since;
        match std::mem::replace(&mut self.state, State::Head(since)) {
            State::Waiting(request, _) => Some(request),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// The request that has waited for that long, if there is one.
    pub(super) fn take_overdue(
        &mut self,
        now: Instant,
        patience: Duration,
    ) -> Option<Box<Request>> {
        let is_overdue = matches!(&self.state, State::Waiting(_, since) if now.duration_since(*since) >= patience);
        if is_overdue { self.take_waiting() } else { None }
    }

    /// Begins a stream; true if events follow the head.
    pub(super) fn begin_stream(&mut self, request: &Request, now: Instant) -> bool {
        response::write_stream_head(&mut self.output);
        if request.head_only {
            self.close_soon(now);
            return false;
        }
        (self.state, self.moved_at) = (State::Stream(None), now);
        true
    }

    pub(super) fn has_page(&self) -> bool {
        matches!(self.state, State::Stream(_))
    }

    /// Takes out its page; to be put back with [`Self::set_page`].
    pub(super) fn page(&mut self) -> Option<Box<Page>> {
        if let State::Stream(page) = &mut self.state { page.take() } else { None }
    }

    pub(super) fn set_page(&mut self, page: Box<Page>) {
        if let State::Stream(place) = &mut self.state {
            *place = Some(page);
        }
    }

    /// The output buffer.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Whether the socket accepts data now.
    pub(super) fn can_write(&self) -> bool {
        self.writable && !self.is_gone
    }

    /// Writes as much as possible.
    pub(super) fn flush(&mut self, now: Instant) {
        while self.can_write() && self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.moved_at = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => self.is_gone = true,
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(OUTPUT_KEPT);
            (self.written, self.moved_at) = (0, now);
        } else if self.written > OUTPUT_KEPT {
            self.output.drain(..self.written);
            self.written = 0;
        }
        if matches!(&self.state, State::Stream(Some(page)) if page.is_over()) {
            self.close_soon(now);
        }
        if let State::Closing { until, is_shut: is_shut @ false } = &mut self.state
            && self.output.is_empty()
        {
            (*is_shut, *until) = (true, now + LINGER);
            let _gone = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Whether it can be dropped.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let is_late = matches!(&self.state, State::Closing { until, .. } if now >= *until);
        let is_stuck = !self.output.is_empty() && now.duration_since(self.moved_at) >= STUCK;
        self.is_gone || is_late || is_stuck
    }
}

/// How long a request may take to be complete, and how long a connection may be idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// A client that reads nothing for this long is cut off.
const STUCK: Duration = Duration::from_secs(10);
/// How long the end of an answer may take to arrive.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of answers that may wait for one client before further requests are read.
const ANSWERS_MAX: usize = 64 << 10;
const OUTPUT_KEPT: usize = 64 << 10;
const CHUNKS_PER_TURN: usize = 16;
/// Requests per connection.
const REQUESTS_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::{Connection, Duration, Instant, Request, TcpStream};
    use crate::web::request::Endpoint;

    #[test]
    fn a_request_is_overdue_when_the_loop_has_had_its_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let begun = Instant::now();
        let mut connection =
            Connection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap(), begun);
        let patience = Duration::from_secs(2);
        let overdue = |connection: &mut Connection, millis| {
            connection.take_overdue(begun + Duration::from_millis(millis), patience)
        };
        assert!(overdue(&mut connection, 60_000).is_none(), "it has asked for nothing");
        let request = Request {
            endpoint: Endpoint::Healthz,
            host: None,
            token: None,
            head_only: false,
            keeps: true,
        };
        connection.wait(request, begun + Duration::from_secs(10));
        assert!(overdue(&mut connection, 11_999).is_none() && connection.is_waiting());
        assert_eq!(
            overdue(&mut connection, 12_000).map(|request| request.endpoint),
            Some(Endpoint::Healthz)
        );
        assert!(
            overdue(&mut connection, 60_000).is_none() && !connection.is_waiting(),
            "it is answered once"
        );
    }
}
