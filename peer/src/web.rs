//! The peer over HTTP: a page for people, metrics for Prometheus, and health probes. `docs/PAGE.md`
//! is for its users.
//!
//! It runs on the thread of the door ([`crate::door`]), with the same poll: the loop answers one
//! bounded question, and no state of an HTTP client ever waits in the loop. The service is
//! read-only.
//!
//! Its resources are bounded: connections, pages, bytes of a request, bytes that wait for a reader,
//! and time.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use protocol::id::PeerId;
use protocol::time::Time;

use self::address::Hosts;
pub use self::address::Opened;
use self::connection::{Connection, Turn};
use self::events::Page;
use self::request::{Endpoint, Request};
use self::response::Response;
use self::state::State;
use self::token::TokenFile;
use crate::clock;
use crate::door::What;
use crate::door::feed::Past;
use crate::doublings::Doublings;
use crate::survey::Survey;

pub mod address;
mod connection;
mod events;
mod metrics;
mod page;
mod request;
mod response;
mod state;
mod token;

/// The HTTP service.
pub(crate) struct Web {
    listener: TcpListener,
    registry: Registry,
    hosts: Hosts,
    token: Option<TokenFile>,
    connections: BTreeMap<usize, Connection>,
    next: usize,
    state: State,
    /// When the loop was asked for its survey, if the answer is open.
    asked: Option<Instant>,
    /// The same for the leader's measurements.
    asked_members: Option<Instant>,
    /// When to ask again for the pages.
    ask_at: Instant,
    ask_members_at: Instant,
    turned_away: Doublings,
    cannot_accept: Doublings,
    /// Whether there is something to do at once.
    has_work: bool,
    /// Set once this peer stops.
    is_ending: bool,
}

impl Web {
    /// Serves what was opened.
    pub(crate) fn start(
        opened: Opened,
        id: &PeerId,
        cluster: &str,
        registry: &Registry,
    ) -> std::io::Result<Self> {
        let Opened { listener, hosts, token } = opened;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, Token(LISTENER), Interest::READABLE)?;
        let now = Instant::now();
        Ok(Self {
            listener,
            registry: registry.try_clone()?,
            hosts,
            token,
            connections: BTreeMap::new(),
            next: LISTENER + 1,
            state: State::new(id, cluster),
            asked: None,
            asked_members: None,
            ask_at: now,
            ask_members_at: now,
            turned_away: Doublings::default(),
            cannot_accept: Doublings::default(),
            has_work: false,
            is_ending: false,
        })
    }

    /// Notes an event; true if it belongs to one of these sockets.
    pub(crate) fn note(&mut self, event: &Event) -> bool {
        let Token(token) = event.token();
        match token {
            LISTENER => self.accept(Instant::now()),
            _ if token > LISTENER => {
                if let Some(connection) = self.connections.get_mut(&token) {
                    connection.note(event);
                }
            }
            _ => return false,
        }
        true
    }

    fn accept(&mut self, now: Instant) {
        while !self.is_ending {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let token = self.next;
                    self.next += 1;
                    let mut connection = Connection::new(stream, now);
                    if self.connections.len() >= CONNECTIONS_MAX && !self.make_room() {
                        let say = format!(
                            "{CONNECTIONS_MAX} connections stand, which is the most; try again in \
                             a while."
                        );
                        connection
                            .turn_away(&Response::fault(503, say).with("Retry-After", RETRY_AFTER));
                        if let Some(count) = self.turned_away.count() {
                            log::warn!(
                                "A client of the page was turned away: {CONNECTIONS_MAX} \
                                 connections stand ({count} so far)."
                            );
                        }
                        continue;
                    }
                    if connection.register(&self.registry, Token(token)).is_ok() {
                        self.connections.insert(token, connection);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    if let Some(count) = self.cannot_accept.count() {
                        log::warn!(
                            "Cannot accept a client of the page: {error} (occurrence {count})."
                        );
                    }
                    return;
                }
            }
        }
    }

    /// Closes the idle connection whose answer is oldest, if there is one.
    fn make_room(&mut self) -> bool {
        let idle = self.connections.iter().filter(|(_, connection)| connection.is_idle());
        let Some(longest) =
            idle.min_by_key(|(_, connection)| connection.since()).map(|(token, _)| *token)
        else {
            return false;
        };
        self.connections.remove(&longest);
        true
    }

    /// An event happened that users watch for.
    pub(crate) fn stir(&mut self) {
        let soon = Instant::now() + STIR;
        self.ask_at = self.ask_at.min(soon);
    }

    /// Reads, answers and streams. `turned` is the time of the loop's last turn.
    pub(crate) fn turn(&mut self, now: Instant, past: &mut Past<'_>, turned: Time) {
        self.has_work = false;
        self.accept(now);
        let tokens: Vec<usize> = self.connections.keys().copied().collect();
        for token in tokens {
            self.serve(token, now, past);
        }
        self.answer_overdue(now, turned);
        self.state.begin_turn();
        for connection in self.connections.values_mut() {
            if let Some(page) = connection.page() {
                let mut page = page;
                let more = page.pump(past, &self.state, now, connection.output());
                self.has_work |= more && connection.can_write();
                connection.set_page(page);
            }
            connection.flush(now);
        }
        self.connections.retain(|_, connection| !connection.is_over(now));
    }

    /// Reads the requests of one client, and performs them.
    fn serve(&mut self, token: usize, now: Instant, past: &Past<'_>) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(connection) = self.connections.get_mut(&token) else { return };
            let Turn::Whole(request) = connection.read(now) else { return };
            self.obey(token, *request, now, past);
        }
        self.has_work = true;
    }

    fn obey(&mut self, token: usize, request: Request, now: Instant, past: &Past<'_>) {
        let judged = self.judge(&request);
        let pages = self.connections.values().filter(|connection| connection.has_page()).count();
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if let Err(response) = judged {
            connection.answer(&request, &response, now);
            return;
        }
        match &request.endpoint {
            Endpoint::Asset(asset) => connection.answer(&request, &Response::asset(asset), now),
            Endpoint::Events(_) if pages >= PAGES_MAX => {
                let say = format!(
                    "{PAGES_MAX} pages are open, which is the most; close one, or try again in a \
                     while."
                );
                connection.answer(
                    &request,
                    &Response::fault(503, say).with("Retry-After", RETRY_AFTER),
                    now,
                );
            }
            Endpoint::Events(wish) => {
                if connection.begin_stream(&request, now) {
                    connection.set_page(Page::open(wish, past, now, &self.state));
                    self.ask_at = now;
                    self.ask_members_at = now;
                }
            }
            Endpoint::Metrics | Endpoint::Healthz | Endpoint::Readyz => {
                connection.wait(request, now)
            }
        }
    }

    /// Whether a request may be answered; otherwise the response that refuses it.
    fn judge(&mut self, request: &Request) -> Result<(), Response> {
        self.hosts.judge(request.host.as_deref())?;
        if request.is_public() {
            return Ok(());
        }
        match &mut self.token {
            Some(file) => file.judge(request.token.as_deref()),
            None => Ok(()),
        }
    }

    /// The questions for the loop now.
    pub(crate) fn asks(&mut self, now: Instant) -> Vec<What> {
        let mut asks = Vec::new();
        let is_open = self.connections.values().any(Connection::has_page);
        let waits = self.connections.values().any(Connection::is_waiting);
        let is_stale =
            |asked: Option<Instant>| asked.is_none_or(|at| now.duration_since(at) > ASK_AGAIN);
        if (waits || is_open && now >= self.ask_at) && is_stale(self.asked) {
            (self.asked, self.ask_at) = (Some(now), now + EVERY);
            asks.push(What::Survey);
        }
        if is_open && now >= self.ask_members_at && is_stale(self.asked_members) {
            (self.asked_members, self.ask_members_at) = (Some(now), now + EVERY);
            asks.push(What::Members);
        }
        asks
    }

    /// The survey of the loop has arrived.
    pub(crate) fn on_survey(&mut self, survey: Survey) {
        self.asked = None;
        let now = Instant::now();
        for connection in self.connections.values_mut() {
            let Some(request) = connection.take_waiting() else { continue };
            let response = match request.endpoint {
                Endpoint::Metrics => Response::metrics(metrics::render(&survey)),
                Endpoint::Readyz => match survey.report.not_ready() {
                    None => Response::text(200, "ready\n".to_owned()),
                    Some(why) => Response::text(503, format!("not ready: {why}\n")),
                },
                _ => Response::text(200, "the loop turns\n".to_owned()),
            };
            connection.answer(&request, &response, now);
        }
        self.state.renew(survey, now);
    }

    /// The leader's measurements have arrived.
    pub(crate) fn on_members(&mut self, line: &[u8]) {
        self.asked_members = None;
        self.state.measured(line);
    }

    /// Answers requests for which the loop's answer is overdue.
    fn answer_overdue(&mut self, now: Instant, turned: Time) {
        for connection in self.connections.values_mut() {
            let Some(request) = connection.take_overdue(now, PATIENCE) else { continue };
            let silent = clock::now().since(turned).max(PATIENCE).as_secs();
            let response = Response::text(503, format!("the loop has not turned for {silent} s\n"));
            connection.answer(&request, &response, now);
        }
    }

    /// Whether there is something to do at once.
    pub(crate) fn has_work(&self) -> bool {
        self.has_work
    }

    /// Whether any client follows deliveries.
    pub(crate) fn is_watched(&self) -> bool {
        self.connections.values().any(Connection::has_page)
    }

    /// Whether there are no connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// When it needs a turn without an event; none if it does not.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let is_waiting = self.connections.values().any(Connection::is_waiting);
        let due = self.ask_at.saturating_duration_since(Instant::now()).max(SOON);
        (is_waiting || self.is_watched())
            .then(|| if is_waiting { due.min(LOOK) } else { due.min(EVERY) })
    }

    /// This peer stops: all clients are told, and the connections are closed.
    pub(crate) fn farewell(&mut self, why: &str, now: Instant, past: &mut Past<'_>) {
        self.is_ending = true;
        for connection in self.connections.values_mut() {
            if let Some(mut page) = connection.page() {
                page.pump(past, &self.state, now, connection.output());
                page.say_end("stopping", &format!("this peer stops: {why}"), connection.output());
            }
            if let Some(request) = connection.take_waiting() {
                connection.answer(
                    &request,
                    &Response::text(503, format!("this peer stops: {why}\n")),
                    now,
                );
            }
            connection.close_soon(now);
            connection.flush(now);
        }
        self.connections.retain(|_, connection| !connection.is_over(now));
    }
}

/// Tokens from here on belong to these sockets.
const LISTENER: usize = usize::MAX / 2;
/// How many connections there may be.
const CONNECTIONS_MAX: usize = 64;
/// How many pages (event streams) there may be.
const PAGES_MAX: usize = 16;
/// Requests of one connection in one turn.
const REQUESTS_PER_TURN: usize = 16;
/// How often the loop is asked while a page is open.
const EVERY: Duration = Duration::from_secs(1);
/// Events within this time are sent together.
const STIR: Duration = Duration::from_millis(20);
/// A missing answer is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How long the loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often overdue answers are checked for.
const LOOK: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_millis(5);
/// When a rejected client should come again, in seconds.
const RETRY_AFTER: &str = "10";
