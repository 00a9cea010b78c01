//! Datagrams: lost, late, repeated and damaged, independently for each receiver.

use std::net::SocketAddrV4;
use std::rc::Rc;

use bytes::Bytes;
use protocol::draw::{draw, draw_below};
use protocol::frame;
use protocol::io::Input;
use protocol::message::Datagram;

use super::{Host, Moment, Simulation};
use crate::plan::Lost;
use crate::watch::Watch;

/// A datagram in flight: a value that all its receivers share, or bytes.
#[derive(Clone, Debug)]
pub(super) enum Flying {
    Whole(Rc<Datagram>),
    Bytes(Bytes),
}

impl<W: Watch> Simulation<W> {
    pub(super) fn broadcast(&mut self, host: usize, datagram: Datagram) {
        self.watch.called(self.now, &self.hosts[host].id, None, &datagram);
        self.look_at_word(host, &datagram.message);
        let flying = self.pack(datagram);
        // Every host on the segment hears a broadcast, the sender included.
        for to in 0..self.hosts.len() {
            if !self.broadcasts_cut.is_cut(host, to) {
                self.fly(host, to, &flying);
            }
        }
        for nth in 0..self.hosts[host].seeds.len() {
            self.fly_to_one(host, self.hosts[host].seeds[nth], &flying);
        }
    }

    pub(super) fn whisper(&mut self, host: usize, address: SocketAddrV4, datagram: Datagram) {
        let to = self.by_address.get(&address).copied();
        self.watch.called(
            self.now,
            &self.hosts[host].id,
            to.map(|to| &self.hosts[to].id),
            &datagram,
        );
        self.look_at_word(host, &datagram.message);
        let flying = self.pack(datagram);
        if let Some(to) = to {
            self.fly_to_one(host, to, &flying);
        }
    }

    fn fly_to_one(&mut self, from: usize, to: usize, flying: &Flying) {
        if self.unicasts_cut.is_cut(from, to) {
            self.tally.lost += 1;
        } else {
            self.fly(from, to, flying);
        }
    }

    fn pack(&self, datagram: Datagram) -> Flying {
        if self.settings.bytes {
            Flying::Bytes(frame::encode_datagram(&datagram).into())
        } else {
            Flying::Whole(Rc::new(datagram))
        }
    }

    fn fly(&mut self, from: usize, to: usize, flying: &Flying) {
        let host = &mut self.hosts[from];
        host.datagrams += 1;
        let (seed, key) = (host.datagram_seed, host.datagrams);
        if self.is_taken(from, to, seed, key) || self.is_filtered(from, to, flying) {
            self.tally.lost += 1;
            return;
        }
        if let Flying::Bytes(bytes) = flying
            && self.weather.corruption.happens(seed, "corruption", key)
        {
            self.tally.corrupted += 1;
            // On a real network UDP's checksum stops damaged datagrams; if damage passes it, the
            // decoder has to refuse the datagram.
            if frame::decode_datagram(&damaged(bytes, seed, key)).is_err() {
                return;
            }
        }
        let copies = if self.weather.repeat.happens(seed, "repeat", key) { 2 } else { 1 };
        self.tally.repeated += copies - 1;
        for copy in 0..copies {
            let (delay, slow) = self.weather.delay(seed, key << 1 | copy);
            self.tally.delayed += u64::from(slow);
            let number = self.admit(to, seed, key << 1 | copy);
            self.agenda.add(
                self.now + delay,
                Moment::Heard { to, from, number, again: copy > 0, datagram: flying.clone() },
            );
        }
    }

    /// Whether a datagram is lost on the way: by a cut, by the plan's list, or by the weather.
    fn is_taken(&mut self, from: usize, to: usize, seed: u64, key: u64) -> bool {
        if self.datagrams_cut.is_cut(from, to)
            || !self.settings.lost.is_empty() && self.settings.lost.contains(&(from, key))
        {
            return true;
        }
        let taken = self.weather.loss.happens(seed, "loss", key);
        if taken && self.keeps_losses {
            self.losses.push(Lost { from, nth: key });
        }
        taken
    }

    /// Makes room for one more datagram at a host, if its room is limited; returns the number of
    /// the new one.
    fn admit(&mut self, to: usize, seed: u64, key: u64) -> u64 {
        self.flown += 1;
        if self.settings.datagrams > 0 {
            let held = &mut self.hosts[to].held;
            held.push(self.flown);
            if held.len() > self.settings.datagrams {
                let out = draw_below(seed, "crowded out", key, held.len() as u64);
                held.swap_remove(usize::try_from(out).expect("below a length"));
                self.tally.crowded_out += 1;
            }
        }
        self.flown
    }

    pub(super) fn on_heard(
        &mut self,
        to: usize,
        from: usize,
        number: u64,
        again: bool,
        datagram: Flying,
    ) {
        let Host { process, held, .. } = &mut self.hosts[to];
        let place = held.iter().position(|one| *one == number);
        if self.settings.datagrams > 0 && place.is_none() {
            return; // crowded out
        }
        let Some(process) = process.as_mut() else {
            place.map(|place| held.swap_remove(place));
            return;
        };
        if process.paused || process.busy {
            // A socket's buffer is small; what does not fit is lost.
            if process.datagrams_waiting < DATAGRAMS_WAITING_MAX {
                process.datagrams_waiting += 1;
                process.waiting.push_back(Moment::Heard { to, from, number, again, datagram });
            } else {
                self.tally.lost += 1;
            }
            return;
        }
        place.map(|place| held.swap_remove(place));
        let datagram = match datagram {
            Flying::Whole(datagram) => Rc::unwrap_or_clone(datagram),
            Flying::Bytes(bytes) => {
                frame::decode_datagram(&bytes).expect("what was encoded can be decoded")
            }
        };
        let address = self.hosts[from].address;
        let asked = self.handle(
            to,
            Some(from),
            Input::Heard { from: address, datagram: Box::new(datagram) },
        );
        if again && asked == 0 {
            self.look_at_repeat();
        }
    }
}

/// A datagram with a flipped bit, or without its end.
fn damaged(bytes: &Bytes, seed: u64, key: u64) -> Bytes {
    let at = usize::try_from(draw_below(seed, "damaged byte", key, bytes.len() as u64))
        .expect("below a length");
    if draw(seed, "truncated", key) & 3 == 0 {
        return bytes.slice(..at);
    }
    let mut damaged = bytes.to_vec();
    damaged[at] ^= 1 << draw_below(seed, "damaged bit", key, 8);
    damaged.into()
}

/// How many datagrams wait at most for a stopped process.
const DATAGRAMS_WAITING_MAX: usize = 200;
