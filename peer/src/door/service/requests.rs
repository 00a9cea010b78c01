//! Requests of clients: lines are read, and each request is performed here or passed to the loop.

use std::time::Instant;

use super::Service;
use crate::clock;
use crate::door::client::{Line, Open, who};
use crate::door::request::{self, Request, Subscribe, Wish};
use crate::door::subscription::Subscription;
use crate::door::{Access, Ask, Asker, Fault, Payload, What, answer};
use crate::sensors::split::{self, Split};

impl Service {
    /// Reads and performs the requests of all clients, a bounded number of them.
    pub(super) fn read_all(&mut self, now: Instant) {
        let mut tokens: Vec<usize> = self.clients.keys().copied().collect();
        if tokens.is_empty() {
            return;
        }
        // If there is not room for all, each client comes first in turn.
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
        let Some(client) = self.clients.get_mut(&token) else { return };
        if let Wish::Cancel = wish {
            self.cancel(token, &id);
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
                self.subscribe(token, id, *asked, now);
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

    fn cancel(&mut self, token: usize, id: &str) {
        let Self { clients, history, .. } = self;
        let Some(client) = clients.get_mut(&token) else { return };
        match client.subscriptions.remove(id) {
            Some(subscription) => answer::end(
                id,
                &Fault::new("cancelled", "as asked for"),
                &subscription.next_json(history),
                client.output(),
            ),
            None => {
                let say = format!("no subscription of this connection has the id {id}");
                answer::fault(Some(id), &Fault::new("no_such_request", say), client.output());
            }
        }
    }

    fn subscribe(&mut self, token: usize, id: String, asked: Subscribe, now: Instant) {
        let Self { clients, history, filters, .. } = self;
        let Some(client) = clients.get_mut(&token) else { return };
        if client.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            let say = format!(
                "this connection has {SUBSCRIPTIONS_MAX} subscriptions, which is the most; cancel \
                 one, or connect again"
            );
            answer::fault(Some(&id), &Fault::new("too_many_subscriptions", say), client.output());
            return;
        }
        let filter = filters.share(asked.filter.clone());
        let subscription = Subscription::new(&id, Subscribe { filter, ..asked }, history, now);
        let next = subscription.next_json(history);
        let oldest = history.oldest_position();
        let oldest = oldest.map(|(log, seq)| {
            format!("\"oldest\":{{\"log\":{},\"seq\":{seq}}}", answer::text(&log.to_string()))
        });
        let body: Vec<String> =
            Some(next).filter(|next| !next.is_empty()).into_iter().chain(oldest).collect();
        answer::ok(&id, &format!("{{{}}}", body.join(",")), client.output());
        client.subscriptions.insert(id, subscription);
    }

    /// Passes a request to the loop, or makes its client wait until there is room.
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
}

/// Subscriptions per connection.
const SUBSCRIPTIONS_MAX: usize = 16;
/// Requests of one client per turn.
const LINES_MOST: usize = 256;
