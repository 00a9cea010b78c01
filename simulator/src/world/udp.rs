//! Datagrams: lost, late, repeated and damaged, for each receiver on its own.

use std::net::SocketAddrV4;
use std::rc::Rc;

use bytes::Bytes;
use protocol::draw::draw_below;
use protocol::frame;
use protocol::message::Datagram;
use protocol::seam::Input;

use super::{Moment, World};
use crate::watch::Watch;

/// A datagram on its way: a value that all its receivers share, or bytes.
#[derive(Clone, Debug)]
pub(super) enum Flying {
    Whole(Rc<Datagram>),
    Bytes(Bytes),
}

impl<W: Watch> World<W> {
    pub(super) fn broadcast(&mut self, host: usize, datagram: Datagram) {
        self.watch.called(self.now, &self.hosts[host].id, None, &datagram);
        let flying = self.pack(datagram);
        // Everybody on the segment hears a broadcast, the sender included.
        for to in 0..self.hosts.len() {
            self.fly(host, to, &flying);
        }
    }

    pub(super) fn whisper(&mut self, host: usize, address: SocketAddrV4, datagram: Datagram) {
        let to = self.by_address.get(&address).copied();
        self.watch.called(self.now, &self.hosts[host].id, to.map(|to| &self.hosts[to].id), &datagram);
        let flying = self.pack(datagram);
        if let Some(to) = to {
            self.fly(host, to, &flying);
        }
    }

    fn pack(&self, datagram: Datagram) -> Flying {
        if self.settings.bytes { Flying::Bytes(frame::encode_datagram(&datagram).into()) } else { Flying::Whole(Rc::new(datagram)) }
    }

    fn fly(&mut self, from: usize, to: usize, flying: &Flying) {
        let host = &mut self.hosts[from];
        host.datagrams += 1;
        let (seed, key) = (host.datagram_seed, host.datagrams);
        if self.table.is_cut(from, to) || self.weather.loss.happens(seed, "loss", key) {
            self.tally.lost += 1;
            return;
        }
        let mut flying = flying.clone();
        if let Flying::Bytes(bytes) = &mut flying
            && self.weather.corruption.happens(seed, "corruption", key)
        {
            let mut damaged = bytes.to_vec();
            let at = usize::try_from(draw_below(seed, "damaged byte", key, bytes.len() as u64)).expect("below a length");
            damaged[at] ^= 1 << draw_below(seed, "damaged bit", key, 8);
            // UDP's checksum stops what is damaged on a real network; what it would let through is the decoder's to refuse.
            self.tally.corrupted += 1;
            if frame::decode_datagram(&Bytes::from(damaged)).is_err() {
                return;
            }
        }
        let copies = if self.weather.repeat.happens(seed, "repeat", key) { 2 } else { 1 };
        self.tally.repeated += copies - 1;
        for copy in 0..copies {
            let (delay, slow) = self.weather.delay(seed, key << 1 | copy);
            self.tally.delayed += u64::from(slow);
            self.agenda.add(self.now + delay, Moment::Heard { to, from, datagram: flying.clone() });
        }
    }

    pub(super) fn on_heard(&mut self, to: usize, from: usize, datagram: Flying) {
        let Some(process) = self.hosts[to].process.as_mut() else { return };
        if process.paused {
            // A socket's buffer is small; what does not fit is lost.
            if process.datagrams_waiting < DATAGRAMS_WAITING_MAX {
                process.datagrams_waiting += 1;
                process.waiting.push_back(Moment::Heard { to, from, datagram });
            } else {
                self.tally.lost += 1;
            }
            return;
        }
        let datagram = match datagram {
            Flying::Whole(datagram) => Rc::unwrap_or_clone(datagram),
            Flying::Bytes(bytes) => frame::decode_datagram(&bytes).expect("what was encoded can be decoded"),
        };
        let address = self.hosts[from].address;
        self.handle(to, Some(from), Input::Heard { from: address, datagram: Box::new(datagram) });
    }
}

/// How many datagrams wait at most for a process that is stopped.
const DATAGRAMS_WAITING_MAX: usize = 200;
