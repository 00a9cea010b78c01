//! Admission of clients, and which of them make room for others.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Token};

use super::Service;
use crate::door::client::{Client, who};
use crate::door::{Access, Fault, answer};

impl Service {
    pub(super) fn accept(&mut self, place: usize) {
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
        // Read-only clients leave room for those with full access.
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

    /// Closes the connection that was idle for longest, if that is long enough.
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
}

/// How many clients may be connected.
const CLIENTS_MAX: usize = 64;
/// How many of them by the read-only socket.
const READERS_MAX: usize = 48;
/// A connection without a request for this long makes room for another one.
const IDLE: Duration = Duration::from_secs(60);
