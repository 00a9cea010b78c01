//! Accepts connections.
//!
//! Without descriptors a caller stays in the kernel's queue, and the listener pauses; above the
//! limit of links a caller is rejected.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::Interest;
use mio::net::TcpStream;
use nix::errno::Errno;
use protocol::id::LinkId;
use protocol::io::Input;
use protocol::time::Time;

use super::link::{Link, State};
use super::{Found, Links};
use crate::rejects::{Reject, RejectReason};

impl Links {
    pub(super) fn accept(&mut self, now: Time) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, remote)) => {
                    self.starved = false;
                    self.take_in(now, stream, remote);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.calling = false;
                    return;
                }
                Err(error) if out_of_descriptors(&error) => {
                    // The caller stays in the kernel's queue, and the listener would report it for
                    // ever.
                    if !std::mem::replace(&mut self.starved, true)
                        && let Some(count) = self.starvations.count()
                    {
                        log::warn!(
                            "Cannot accept connections: {error}. Trying again every \
                             {ACCEPT_PAUSE:?}. Occurrence {count}; told at \
                             the 1st, 2nd, 4th, 8th …. `ulimit -n` raises the number of \
                             descriptors."
                        );
                    }
                    self.accept_at = Some(now + ACCEPT_PAUSE);
                    return;
                }
                // The caller has gone already; no other link is affected.
                Err(_) => {}
            }
        }
    }

    fn take_in(&mut self, now: Time, mut stream: TcpStream, remote: SocketAddr) {
        if self.links.len() >= self.limits.links {
            let why = RejectReason::TooManyLinks { most: self.limits.links };
            self.found.push_back(Found::Reject(Reject { from: remote, why }));
            return;
        }
        let id = LinkId::accepted(self.accepted);
        self.accepted += 1;
        if self
            .registry
            .register(&mut stream, self.tokens.of(id), Interest::READABLE | Interest::WRITABLE)
            .is_err()
        {
            return;
        }
        let link = Link::new(stream, remote, State::Up);
        link.tune(self.limits.dead);
        self.links.insert(id, link);
        self.expiring.insert((now + self.limits.silence, id));
        self.found.push_back(Found::Input(Input::LinkUp { link: id }));
    }
}

fn out_of_descriptors(error: &io::Error) -> bool {
    let exhausted = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&Errno::from_raw(code)))
}

const ACCEPTS_PER_TURN: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
