//! Input of the links: bytes become frames, and frames become messages.
//!
//! A link with a large frame is not read further before the loop has decided whether it may carry
//! one, and incomplete frames are bounded over all links together.

use std::io::{self, ErrorKind, Read};

use protocol::error::WireError;
use protocol::frame::decode;
use protocol::id::LinkId;
use protocol::io::{Down, Input};
use protocol::message::{Message, Reason, Rejected, WIRE_VERSION};
use rustix::buffer::spare_capacity;

use super::link::State;
use super::{Found, Links};
use crate::rejects::{Reject, RejectReason};

impl Links {
    /// From now on a link may carry large frames.
    pub fn allow_large(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.asking) else { return };
        link.asking = false;
        link.cutter.allow_large();
        if link.state == State::Up {
            self.cut(id);
            self.count_half_received(id);
        }
        self.mark_ready(id);
    }

    /// A link may not carry large frames, and one has begun: the link is closed.
    pub fn refuse_large(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.asking) else { return };
        link.asking = false;
        let length = link.cutter.held_back().unwrap_or_default();
        let why = RejectReason::LargeFrame { length };
        self.found.push_back(Found::Reject(Reject { from: link.remote, why }));
        self.end(id, Down::Garbage);
    }

    pub(super) fn read(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.ready = false;
        if link.asking && link.state == State::Up {
            return; // it is read on when it is known whether it may say so much
        }
        let room = link.cutter.appetite().min(self.buffer.len());
        // Bytes of a large frame go directly to their final place.
        let (read, room) = match link.cutter.rest().filter(|_| link.state == State::Up) {
            Some(place) => {
                let room = place.capacity() - place.len();
                (
                    rustix::io::read(&link.stream, spare_capacity(place)).map_err(io::Error::from),
                    room,
                )
            }
            None => (link.stream.read(&mut self.buffer[..room]), room),
        };
        match read {
            Ok(0) => self.end(id, Down::Closed),
            Ok(count) => {
                // There may be more. If less than requested was there, more bytes cause an event of
                // their own, unless the end has come already, in the same event as these bytes.
                let more = count == room || link.ending || link.broken;
                if link.state == State::Up {
                    if link.cutter.rest().is_none() {
                        link.cutter.push(&self.buffer[..count]);
                    }
                    self.cut(id);
                    self.count_half_received(id);
                }
                if more {
                    self.mark_ready(id);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && !link.broken => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.mark_ready(id),
            Err(_) => self.end(id, Down::Reset),
        }
    }

    /// Turns the bytes of a link into messages.
    fn cut(&mut self, id: LinkId) {
        let link = self.links.get_mut(&id).expect("the caller has just read from it");
        let mut messages = Vec::new();
        let mut fatal = None;
        loop {
            match link.cutter.next().and_then(|frame| frame.map(|frame| decode(&frame)).transpose())
            {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    let hopeless = !link.spoken && messages.is_empty()
                        || matches!(
                            error,
                            WireError::Length { .. } | WireError::Magic | WireError::Version { .. }
                        );
                    let why = RejectReason::Wire(error.clone());
                    self.found.push_back(Found::Reject(Reject { from: link.remote, why }));
                    if hopeless {
                        fatal = Some(error);
                        break;
                    }
                }
            }
        }
        if !messages.is_empty() {
            self.grown |= !link.spoken;
            link.spoken = true;
            self.found.push_back(Found::Input(Input::Received { link: id, messages }));
        }
        if fatal.is_none()
            && self.links.get(&id).is_some_and(|link| link.cutter.held_back().is_some())
        {
            let link = self.links.get_mut(&id).expect("it has just been looked at");
            link.asking = true;
            self.found.push_back(Found::Large(id));
        }
        let Some(error) = fatal else { return };
        self.found.push_back(Found::Input(Input::LinkDown { link: id, how: Down::Garbage }));
        if matches!(error, WireError::Version { .. }) {
            self.send(
                id,
                &Message::Rejected(Rejected {
                    ask: None,
                    reason: Reason::Version { speaks: WIRE_VERSION },
                }),
            );
        }
        self.hang_up(id);
    }

    /// The bytes of a link belong to an incomplete frame now, or not any more.
    fn count_half_received(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let held = link.cutter.held();
        self.half_received = self.half_received + held - link.held;
        link.held = held;
        if held == 0 {
            link.begun = None;
        } else if link.begun.is_none() {
            self.begun += 1;
            link.begun = Some(self.begun);
        }
        while self.half_received > self.limits.half_received {
            let begun = self.links.iter().filter_map(|(id, link)| Some((link.begun?, *id)));
            let Some((_, oldest)) = begun.min() else { return };
            let why = RejectReason::HalfReceived { most: self.limits.half_received };
            let from = self.links[&oldest].remote;
            self.found.push_back(Found::Reject(Reject { from, why }));
            self.end(oldest, Down::Garbage);
        }
    }
}
