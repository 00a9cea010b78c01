//! How a node speaks: over a link to a member, and by datagram to everybody or to one address.

use std::net::SocketAddrV4;

use crate::env::Env;
use crate::id::{Member, PeerId};
use crate::io::Output;
use crate::report::note::Note;
use crate::time::Time;
use crate::wire::message::{Datagram, Message, Reason, Rejected};

impl Env {
    pub(crate) fn send(
        &mut self,
        now: Time,
        to: &Member,
        message: Message,
        out: &mut Vec<Output>,
    ) -> bool {
        self.links.send(now, to, message, out)
    }

    pub(crate) fn refuse(
        &mut self,
        now: Time,
        to: &Member,
        ask: Option<u64>,
        reason: Reason,
        out: &mut Vec<Output>,
    ) {
        self.send(now, to, Message::Rejected(Rejected { ask, reason }), out);
    }

    pub(crate) fn broadcast(&mut self, message: Message, out: &mut Vec<Output>) {
        let datagram = self.datagram(message);
        out.push(Output::Broadcast { datagram });
    }

    pub(crate) fn whisper(&mut self, to: SocketAddrV4, message: Message, out: &mut Vec<Output>) {
        let datagram = self.datagram(message);
        out.push(Output::Whisper { to, datagram });
    }

    pub(crate) fn datagram(&mut self, message: Message) -> Box<Datagram> {
        self.datagrams += 1;
        Box::new(Datagram {
            cluster: self.config.cluster(),
            from: self.me.clone(),
            count: self.datagrams,
            message,
        })
    }

    /// Something came in that is not accepted; counted by kind, told at the 1st, 2nd, 4th, 8th …
    /// time.
    pub(crate) fn reject(
        &mut self,
        from: Option<&PeerId>,
        kind: &'static str,
        why: &str,
        out: &mut Vec<Output>,
    ) {
        let count = self.rejects.entry(kind).or_default();
        *count += 1;
        if count.is_power_of_two() {
            out.push(Output::Note(Note::Reject {
                from: from.cloned(),
                why: format!("{kind}: {why}"),
                count: *count,
            }));
        }
    }
}
