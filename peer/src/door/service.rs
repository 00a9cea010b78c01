//! The thread that serves the clients.
//!
//! While records are delivered and a client follows them, it polls every other millisecond instead
//! of being woken by each delivery: that is soon enough for people and programs, and costs the loop
//! nothing. While no client wants deliveries, it polls less often still.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use protocol::id::PeerId;
use protocol::time::Time;

use super::asks::Asks;
use super::client::{Client, Open};
use super::feed::Past;
use super::filter::Filters;
use super::folders::folders;
use super::history::{Bounds, History};
use super::sockets::{self, Bound};
use super::{Ask, Asker, Fault, Opening, Shared, Word, answer};
use crate::doublings::Doublings;
use crate::record::Renderer;
use crate::web::Web;

mod admission;
mod requests;
mod stream;

use stream::end_all;

/// The identity of this peer.
pub(super) struct Identity {
    pub(super) id: PeerId,
    pub(super) cluster: String,
    /// The sensor of a client's reading without a sensor name.
    pub(super) sensor: String,
    pub(super) payload_max: usize,
}

/// The state of the thread.
pub(super) struct Service {
    poll: Poll,
    me: Identity,
    folders: Vec<PathBuf>,
    opening: Opening,
    sockets: Vec<Bound>,
    /// When to check the sockets again.
    look_at: Instant,
    cannot_listen: Doublings,
    clients: BTreeMap<usize, Client>,
    next_client: usize,
    history: History,
    filters: Filters,
    renderer: Renderer,
    shared: Arc<Shared>,
    asks: Asks,
    /// The client that is read first in this turn.
    turn: usize,
    loop_waker: Arc<Waker>,
    /// Whether something was delivered since the last look.
    is_busy: bool,
    /// Whether the loop has sent more than was taken in this turn.
    has_words: bool,
    /// When a client last got a delivery.
    told_at: Instant,
    turned_away: Doublings,
    torn: Doublings,
    /// The HTTP clients, if HTTP is enabled.
    web: Option<Web>,
    ended: Option<(String, SyncSender<()>, Instant)>,
}

impl Service {
    pub(super) fn new(
        poll: Poll,
        me: Identity,
        opening: Opening,
        bounds: Bounds,
        shared: Arc<Shared>,
        asks: Asks,
        loop_waker: Arc<Waker>,
    ) -> Self {
        Self {
            poll,
            me,
            folders: folders(&opening),
            opening,
            sockets: Vec::new(),
            look_at: Instant::now() + LOOK,
            cannot_listen: Doublings::default(),
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            history: History::new(bounds),
            filters: Filters::default(),
            renderer: Renderer::default(),
            shared,
            asks,
            turn: 0,
            loop_waker,
            is_busy: false,
            has_words: false,
            told_at: Instant::now(),
            turned_away: Doublings::default(),
            torn: Doublings::default(),
            web: None,
            ended: None,
        }
    }

    /// The same, with the page.
    pub(super) fn with_web(self, web: Option<Web>) -> Self {
        Self { web, ..self }
    }

    /// Listens; returns the path of the socket.
    pub(super) fn open(&mut self) -> Option<String> {
        self.sockets.clear();
        let bound =
            sockets::bind(&self.folders, &self.me.id, &self.opening).and_then(|mut sockets| {
                for (place, socket) in sockets.iter_mut().enumerate() {
                    self.poll.registry().register(
                        &mut socket.listener,
                        Token(FIRST_LISTENER + place),
                        Interest::READABLE,
                    )?;
                }
                Ok(sockets)
            });
        match bound {
            Ok(sockets) => self.sockets = sockets,
            Err(error) => {
                if let Some(count) = self.cannot_listen.count() {
                    log::warn!(
                        "No commands reach this peer: it cannot listen on a socket for them: \
                         {error}. It goes on trying (attempt {count})."
                    );
                }
            }
        }
        self.sockets.first().map(|socket| socket.path.display().to_string())
    }

    /// Serves until the loop is gone.
    pub(super) fn serve(&mut self, words: &Receiver<Word>) {
        let mut events = Events::with_capacity(256);
        loop {
            let patience = self.patience();
            match self.poll.poll(&mut events, Some(patience)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                Err(error) => {
                    log::error!(
                        "The socket for commands fails: {error}. This peer goes on without it."
                    );
                    return;
                }
            }
            if !self.take_words(words) {
                return;
            }
            for event in &events {
                self.note(event);
            }
            let now = Instant::now();
            self.read_all(now);
            self.stream_all(now);
            self.serve_web(now);
            self.clients.retain(|_, client| {
                client.flush();
                !client.is_done()
            });
            if now >= self.look_at {
                self.look_at = now + LOOK;
                self.look();
            }
            if self.is_over(now) {
                return;
            }
        }
    }

    /// The time until the next deadline.
    fn patience(&self) -> Duration {
        let has_work = self.clients.values().any(|client| {
            client.writable
                && client.has_room()
                && client
                    .subscriptions
                    .values()
                    .any(|subscription| subscription.wants(&self.history))
                || client.may_have_more()
        });
        if self.has_words || has_work || self.web.as_ref().is_some_and(Web::has_work) {
            return Duration::ZERO;
        }
        let is_watched = self.clients.values().any(|client| !client.subscriptions.is_empty())
            || self.web.as_ref().is_some_and(Web::is_watched);
        let is_postponed = self.clients.values().any(|client| client.postponed.is_some());
        let is_short = self.is_busy && is_watched || is_postponed || self.ended.is_some();
        if is_short {
            let has_pages = self.web.as_ref().is_some_and(Web::is_watched);
            let is_wanted = is_postponed
                || has_pages
                || self.ended.is_some()
                || self.told_at.elapsed() < WANTED;
            return if is_wanted { TICK } else { TICK_UNWANTED };
        }
        let mut until_look = self.look_at.saturating_duration_since(Instant::now());
        if let Some(patience) = self.web.as_ref().and_then(Web::patience) {
            until_look = until_look.min(patience);
        }
        if is_watched {
            self.shared.wants_deliveries.store(true, Ordering::Release);
            // Missed ticks are skipped.
            if self.shared.waiting.load(Ordering::Acquire) > 0 {
                return Duration::ZERO;
            }
        }
        until_look
    }

    /// Takes messages of the loop; false once it is gone. It takes at most so many deliveries at a
    /// time that half of the history stays, so that nothing is dropped before subscribers have
    /// passed it.
    fn take_words(&mut self, words: &Receiver<Word>) -> bool {
        self.is_busy = false;
        let begun = self.history.amount();
        loop {
            self.has_words = self.history.is_half_new(begun);
            if self.has_words {
                return true;
            }
            match words.try_recv() {
                Ok(Word::Delivered(deliveries, at)) => {
                    self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
                    self.is_busy = true;
                    deliveries.into_iter().for_each(|delivery| self.history.add(delivery, at));
                }
                Ok(Word::Ok(to, body, is_last)) => {
                    self.on_answer(&to, is_last, |id, out| answer::ok(id, &body, out))
                }
                Ok(Word::Fault(to, fault)) => {
                    self.on_answer(&to, true, |id, out| answer::fault(Some(id), &fault, out))
                }
                Ok(Word::Survey(survey)) => {
                    if let Some(web) = &mut self.web {
                        web.on_survey(*survey);
                    }
                }
                Ok(Word::Farewell(why, done)) => self.say_farewell(why, done),
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn on_answer(&mut self, to: &Asker, is_last: bool, write: impl FnOnce(&str, &mut Vec<u8>)) {
        if let Some(web) = self.web.as_mut().filter(|_| to.client == WEB) {
            let mut line = Vec::new();
            write(&to.id, &mut line);
            web.on_members(&line);
            return;
        }
        // A client that is gone is not told.
        let Some(client) = self.clients.get_mut(&to.client) else { return };
        let is_open = if is_last { client.finish(&to.id) } else { client.has_open(&to.id) };
        if is_open {
            write(&to.id, client.output());
        }
    }

    fn note(&mut self, event: &Event) {
        if let Some(web) = self.web.as_mut()
            && web.note(event)
        {
            return;
        }
        let Token(token) = event.token();
        if let Some(place) = token.checked_sub(FIRST_LISTENER).filter(|_| token < FIRST_CLIENT) {
            self.accept(place);
        } else if let Some(client) = self.clients.get_mut(&token) {
            client.readable |= event.is_readable() || event.is_read_closed();
            client.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            client.hung_up |= event.is_write_closed() || event.is_error();
        }
    }

    /// Handles the HTTP clients.
    fn serve_web(&mut self, now: Instant) {
        let Self { web: Some(web), history, renderer, shared, .. } = self else { return };
        if shared.is_stirred.swap(false, Ordering::AcqRel) {
            web.stir();
        }
        web.turn(
            now,
            &mut Past { history, renderer },
            Time::from_micros(shared.turned.load(Ordering::Relaxed)),
        );
        shared.has_pages.store(web.is_watched(), Ordering::Release);
        for what in web.asks(now) {
            // If there is no room, the request is repeated.
            if self
                .asks
                .pass_on(
                    Ask { from: Asker { client: WEB, id: "0".to_owned() }, what },
                    &self.shared,
                )
                .is_ok()
            {
                let _loop_is_gone = self.loop_waker.wake();
            }
        }
    }

    /// Checks whether the sockets' files still exist, and creates them again if not.
    fn look(&mut self) {
        // A connection that could not be accepted for lack of descriptors is not announced again.
        (0..self.sockets.len()).for_each(|place| self.accept(place));
        let gone = self.sockets.iter().any(|socket| !socket.is_there());
        if self.ended.is_some() || !gone && !self.sockets.is_empty() {
            return;
        }
        if let Some(path) = self.open() {
            let what = if gone {
                "The file of the socket for commands had been removed; it is"
            } else {
                "The socket for commands is"
            };
            log::info!("{what} {path} now.");
        }
    }

    fn say_farewell(&mut self, why: String, done: SyncSender<()>) {
        for client in self.clients.values_mut() {
            for (id, kind) in client.finish_all() {
                let out = client.output();
                match kind {
                    Open::Leave => answer::ok(
                        &id,
                        &format!("{{\"is\":\"left\",\"say\":{}}}", answer::text(&why)),
                        out,
                    ),
                    Open::Publish => {
                        let say = format!(
                            "this peer stops ({why}) before it has heard what became of the \
                             reading; it may be ordered all the same"
                        );
                        answer::fault(Some(&id), &Fault::new("stopping", say), out);
                    }
                    Open::Other => answer::fault(
                        Some(&id),
                        &Fault::new("stopping", format!("this peer stops: {why}")),
                        out,
                    ),
                }
            }
        }
        let now = Instant::now();
        if let Some(web) = &mut self.web {
            web.farewell(
                &why,
                now,
                &mut Past { history: &self.history, renderer: &mut self.renderer },
            );
        }
        // Earlier deliveries go out first, as far as there is room.
        self.stream_all(now);
        for client in self.clients.values_mut() {
            let (subscriptions, out) = client.streams();
            let all = subscriptions
                .keys()
                .map(|id| (id.clone(), Fault::new("stopping", format!("this peer stops: {why}"))))
                .collect();
            end_all(all, subscriptions, &self.history, out);
            client.closing = true;
        }
        self.sockets.clear();
        self.ended = Some((why, done, now + FAREWELL));
    }

    /// Whether every client has got the farewell, or had the time to.
    fn is_over(&self, now: Instant) -> bool {
        let Some((_, done, until)) = &self.ended else { return false };
        let is_over =
            self.clients.is_empty() && self.web.as_ref().is_none_or(Web::is_empty) || now >= *until;
        if is_over {
            let _nobody_waits = done.try_send(());
        }
        is_over
    }
}

pub(super) const WAKER: Token = Token(0);
const FIRST_LISTENER: usize = 1;
const FIRST_CLIENT: usize = 16;
/// The client number of the HTTP clients' requests.
const WEB: usize = usize::MAX;
/// How often the files of the sockets are checked.
const LOOK: Duration = Duration::from_secs(1);
/// How often deliveries are polled while there are some.
const TICK: Duration = Duration::from_millis(2);
/// The same while no client wants them.
const TICK_UNWANTED: Duration = Duration::from_millis(8);
/// If no client got a delivery for this long, no client wants any.
const WANTED: Duration = Duration::from_millis(100);
/// How long clients have to read the farewell.
const FAREWELL: Duration = Duration::from_millis(400);
