//! The thread that serves the clients.
//!
//! While records are delivered and somebody follows them, it looks every other millisecond instead
//! of being woken by each delivery: that is soon enough for a person and for a program, and costs
//! the loop nothing. While nobody wants anything of what is delivered, it looks less often still.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token, Waker};
use protocol::id::PeerId;
use protocol::time::Time;

use super::asks::Asks;
use super::client::{Client, Line, Open, who};
use super::feed::Past;
use super::filter::Filters;
use super::folders::folders;
use super::history::{Bounds, History};
use super::request::{self, Request, Subscribe, Wish};
use super::sockets::{self, Bound};
use super::subscription::Subscription;
use super::{Access, Ask, Asker, Fault, Opening, Payload, Shared, What, Word, answer};
use crate::clock;
use crate::doublings::Doublings;
use crate::record::Renderer;
use crate::sensors::split::{self, Split};
use crate::web::Web;

mod stream;

use stream::end_all;

/// Whom the thread speaks for.
pub(super) struct Identity {
    pub(super) id: PeerId,
    pub(super) cluster: String,
    /// The sensor of a reading of a client that names none.
    pub(super) sensor: String,
    pub(super) payload_max: usize,
}

/// Everything of the thread.
pub(super) struct Service {
    poll: Poll,
    me: Identity,
    folders: Vec<PathBuf>,
    opening: Opening,
    sockets: Vec<Bound>,
    /// When to look whether the sockets are still there.
    look_at: Instant,
    cannot_listen: Doublings,
    clients: BTreeMap<usize, Client>,
    next_client: usize,
    history: History,
    filters: Filters,
    renderer: Renderer,
    shared: Arc<Shared>,
    asks: Asks,
    /// Who is read first in this turn.
    turn: usize,
    loop_waker: Arc<Waker>,
    /// Whether something was delivered since it looked last.
    is_busy: bool,
    /// Whether the loop has said more than was taken in this turn.
    has_words: bool,
    /// When somebody was last told something of what is delivered.
    told_at: Instant,
    turned_away: Doublings,
    torn: Doublings,
    /// Those who ask over HTTP, where that is offered.
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

    /// The same, that serves the page, too.
    pub(super) fn with_web(self, web: Option<Web>) -> Self {
        Self { web, ..self }
    }

    /// Listens; the path of the socket.
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

    /// How long nothing is due.
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
            // What came between is not waited for.
            if self.shared.waiting.load(Ordering::Acquire) > 0 {
                return Duration::ZERO;
            }
        }
        until_look
    }

    /// Takes what the loop has said; false once it is gone. It takes no more deliveries at a time
    /// than leave half of the history as it was, so that nothing is forgotten before those who
    /// follow have passed it.
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
        // Whoever is gone is not told.
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

    fn accept(&mut self, place: usize) {
        while let Some(socket) = self.sockets.get(place) {
            let access = socket.access;
            match socket.listener.accept() {
                Ok((stream, _)) => self.welcome(stream, access),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(count) = self.turned_away.count() {
                        log::warn!(
                            "Cannot accept a client on the socket for commands: {error} \
                             (occurrence {count})."
                        );
                    }
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, mut stream: UnixStream, access: Access) {
        let now = Instant::now();
        // Whoever may only read leaves room for those who may do everything.
        let (most, who_counts) = match access {
            Access::Full => (CLIENTS_MAX, self.clients.len()),
            Access::ReadOnly => (
                READERS_MAX,
                self.clients.values().filter(|client| client.access == access).count(),
            ),
        };
        if (who_counts >= most || self.clients.len() >= CLIENTS_MAX) && !self.make_room(access, now)
        {
            let mut out = Vec::new();
            let say = format!(
                "{most} clients are connected to this socket, which is the most; close one, or use \
                 one connection for more"
            );
            answer::fault(None, &Fault::new("too_many_connections", say), &mut out);
            // A fresh socket has room for that.
            let _gone = io::Write::write(&mut stream, &out);
            if let Some(count) = self.turned_away.count() {
                log::warn!(
                    "A client of the socket for commands was turned away: {} are connected \
                     ({count} so far; this one is {}).",
                    self.clients.len(),
                    who(&stream)
                );
            }
            return;
        }
        let token = self.next_client;
        self.next_client += 1;
        if self
            .poll
            .registry()
            .register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)
            .is_err()
        {
            return;
        }
        let greeting = answer::greeting(self.me.id.as_str(), &self.me.cluster, access);
        self.clients.insert(token, Client::new(stream, access, greeting, now));
    }

    /// Closes the connection that has been idle for longest, if that is long enough.
    fn make_room(&mut self, access: Access, now: Instant) -> bool {
        let idle = self.clients.iter().filter(|(_, client)| {
            client.is_idle()
                && now.duration_since(client.active_at) > IDLE
                && (access == Access::Full || client.access == Access::ReadOnly)
        });
        let Some(longest) =
            idle.min_by_key(|(_, client)| client.active_at).map(|(token, _)| *token)
        else {
            return false;
        };
        self.clients.remove(&longest);
        true
    }

    /// Reads and obeys what all clients have asked, some of it where it is much.
    fn read_all(&mut self, now: Instant) {
        let mut tokens: Vec<usize> = self.clients.keys().copied().collect();
        if tokens.is_empty() {
            return;
        }
        // Where there is not room for all, everybody comes first once.
        self.turn = (self.turn + 1) % tokens.len();
        tokens.rotate_left(self.turn);
        for token in tokens {
            let Some(client) = self.clients.get_mut(&token) else { continue };
            if let Some(ask) = client.postponed.take() {
                self.pass_on(ask);
            }
            let Some(client) = self.clients.get_mut(&token).filter(|client| client.may_be_read())
            else {
                continue;
            };
            client.fill();
            self.obey_lines(token, now);
            self.look_for_torn(token);
        }
    }

    fn look_for_torn(&mut self, token: usize) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let Some(left) = client.take_torn() else { return };
        let say = format!(
            "the last {left} bytes have no end of a line, so nothing was done for them; end each \
             request with a newline"
        );
        answer::fault(None, &Fault::new("cut_off", say), client.output());
        if let Some(count) = self.torn.count() {
            let who = who(&client.stream);
            log::warn!(
                "A client of the socket for commands ({who}) ended in the middle of a request; its \
                 {left} bytes are dropped ({count} so far)."
            );
        }
    }

    fn obey_lines(&mut self, token: usize, now: Instant) {
        for _ in 0..LINES_MOST {
            let Some(client) = self.clients.get_mut(&token).filter(|client| client.may_be_read())
            else {
                return;
            };
            let Some(line) = client.line() else { return };
            client.active_at = now;
            match line {
                Line::TooLong(bytes) => {
                    let say =
                        format!("the line has {bytes} bytes; {} are the most", client.line_max());
                    answer::fault(None, &Fault::new("too_long", say), client.output());
                }
                Line::Whole(line) if line.iter().all(u8::is_ascii_whitespace) => {}
                Line::Whole(line) => match request::read(&line, clock::utc_micros()) {
                    Ok(request) => self.obey(token, request, now),
                    Err((id, fault)) => answer::fault(id.as_deref(), &fault, client.output()),
                },
            }
        }
    }

    fn obey(&mut self, token: usize, Request { id, wish }: Request, now: Instant) {
        let Self { clients, history, filters, .. } = self;
        let Some(client) = clients.get_mut(&token) else { return };
        if let Wish::Cancel = wish {
            match client.subscriptions.remove(&id) {
                Some(subscription) => answer::end(
                    &id,
                    &Fault::new("cancelled", "as asked for"),
                    &subscription.next_json(history),
                    client.output(),
                ),
                None => {
                    let say = format!("no subscription of this connection has the id {id}");
                    answer::fault(Some(&id), &Fault::new("no_such_request", say), client.output());
                }
            }
            return;
        }
        if client.has_open(&id) || client.subscriptions.contains_key(&id) {
            let say =
                format!("a request with the id {id} is open on this connection; take another id");
            answer::fault(Some(&id), &Fault::new("id_in_use", say), client.output());
            return;
        }
        let what = match wish {
            Wish::Subscribe(asked) => {
                if client.subscriptions.len() >= SUBSCRIPTIONS_MAX {
                    let say = format!(
                        "this connection has {SUBSCRIPTIONS_MAX} subscriptions, which is the most; \
                         cancel one, or connect again"
                    );
                    answer::fault(
                        Some(&id),
                        &Fault::new("too_many_subscriptions", say),
                        client.output(),
                    );
                    return;
                }
                let filter = filters.share(asked.filter.clone());
                let subscription =
                    Subscription::new(&id, Subscribe { filter, ..*asked }, history, now);
                let next = subscription.next_json(history);
                let oldest = history.oldest_position();
                let oldest = oldest.map(|(log, seq)| {
                    format!(
                        "\"oldest\":{{\"log\":{},\"seq\":{seq}}}",
                        answer::text(&log.to_string())
                    )
                });
                let body: Vec<String> =
                    Some(next).filter(|next| !next.is_empty()).into_iter().chain(oldest).collect();
                answer::ok(&id, &format!("{{{}}}", body.join(",")), client.output());
                client.subscriptions.insert(id, subscription);
                return;
            }
            Wish::Cancel => unreachable!("it was dealt with"),
            Wish::Status => What::Status,
            Wish::Members => What::Members,
            Wish::Why(peer) => What::Why(peer),
            Wish::Publish { payload, sensor, guarantee, wait, token } => {
                let sensor = sensor.as_deref().unwrap_or(&self.me.sensor);
                let origin = split::Origin { sensor, tags: &[], payload_max: self.me.payload_max };
                let payload = match split::at_origin(&payload.into(), &origin) {
                    Split::Typed { payload, .. } | Split::Verbatim { payload, .. } => payload,
                    Split::TooLong { length } => {
                        let say = format!(
                            "the reading has {length} bytes; payload_max is {}",
                            self.me.payload_max
                        );
                        answer::fault(Some(&id), &Fault::new("too_large", say), client.output());
                        return;
                    }
                };
                What::Publish {
                    payload: Payload::new(payload.into(), &self.shared),
                    guarantee,
                    wait,
                    token,
                }
            }
            Wish::Leave => What::Leave,
            Wish::Demote { undo } => What::Demote { undo },
            Wish::LogLevel(level) => What::LogLevel(level),
        };
        let changes = !matches!(what, What::Status | What::Members | What::Why(_));
        if changes && client.access == Access::ReadOnly {
            let say = "this socket is for reading; who may change something uses the other one";
            answer::fault(Some(&id), &Fault::new("read_only", say), client.output());
            return;
        }
        let kind = match &what {
            What::Publish { .. } => Open::Publish,
            What::Leave => Open::Leave,
            _ => Open::Other,
        };
        client.begin(id.clone(), kind);
        self.pass_on(Ask { from: Asker { client: token, id }, what });
    }

    /// Hands a request to the loop, or has its client wait until there is room for it.
    fn pass_on(&mut self, ask: Ask) {
        match self.asks.pass_on(ask, &self.shared) {
            Ok(()) => {
                let _loop_is_gone = self.loop_waker.wake();
            }
            Err(ask) => {
                if let Some(client) = self.clients.get_mut(&ask.from.client) {
                    client.postponed = Some(ask);
                }
            }
        }
    }

    /// Does what is to be done for those who ask over HTTP.
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
            // Where there is no room, it is asked again.
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

    /// Sees whether the sockets are still where they were, and makes them again.
    fn look(&mut self) {
        // One that could not be accepted, for want of descriptors, is not announced again.
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
        // What was delivered before goes out first, as far as there is room for it.
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

    /// Whether everybody has heard the farewell, or had the time to.
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
/// Who asks the loop for those who ask over HTTP.
const WEB: usize = usize::MAX;
/// Connections at a time.
const CLIENTS_MAX: usize = 64;
/// Those of them that came by the socket for reading.
const READERS_MAX: usize = 48;
/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 16;
/// A connection that asks for nothing for so long makes room for another one, where there is none.
const IDLE: Duration = Duration::from_secs(60);
/// How often the files of the sockets are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks for deliveries while there are some.
const TICK: Duration = Duration::from_millis(2);
/// The same while nobody wants anything of them.
const TICK_UNWANTED: Duration = Duration::from_millis(8);
/// After so long in which nobody was told anything, nobody wants anything.
const WANTED: Duration = Duration::from_millis(100);
/// How long clients have to hear that this peer stops.
const FAREWELL: Duration = Duration::from_millis(400);
/// Requests of one client in one turn.
const LINES_MOST: usize = 256;
