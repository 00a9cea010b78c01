//! Connections: dialling, accepting, flowing, closing and breaking.

use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::draw::{draw, draw_below};
use protocol::error::WireError;
use protocol::frame::{self, Cutter};
use protocol::id::LinkId;
use protocol::io::{Down, Input};
use protocol::message::Message;
use protocol::time::Time;

use super::{Answer, Host, Moment, Simulation};
use crate::connection::{
    Connection, End, EndState, Parcel, SENT_AGAIN, Side, Stream, sent_again_at,
};
use crate::truth::Wrong;
use crate::watch::Watch;

impl<W: Watch> Simulation<W> {
    pub(super) fn dial(&mut self, host: usize, link: LinkId, to: SocketAddrV4) {
        let connection = self.connections.len();
        let key = connection as u64;
        let life = self.hosts[host].life;
        let target = self.by_address.get(&to).copied().unwrap_or(NOWHERE);
        let dialler = End { host, life, link, state: EndState::Pending };
        let acceptor = End { host: target, life: 0, link, state: EndState::Pending };
        let stream = |side: u64| Stream::new(draw(self.settings.seed, "stream", key << 1 | side));
        self.connections
            .push(Connection { ends: [dialler, acceptor], streams: [stream(0), stream(1)] });
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        process.links.insert(link, (connection, 0));
        if self.hosts[host].starved {
            // No descriptor for a socket: the process is told at once, and the failure proves
            // nothing about the other host.
            self.agenda.add(self.now, Moment::Answer { connection, answer: Answer::Silence });
            return;
        }
        let at = self.now + self.delay(connection, 0);
        self.agenda.add(at, Moment::Syn { connection, since: self.now });
    }

    /// The first packet of a connection reaches the other host, or is lost.
    pub(super) fn on_syn(&mut self, connection: usize, since: Time) {
        let [dialler, acceptor] = self.connections[connection].ends;
        if dialler.state == EndState::Gone {
            return;
        }
        let (from, to) = (dialler.host, acceptor.host);
        let is_forgotten =
            self.connections[connection].streams.iter().any(|stream| stream.forgotten);
        let is_unreachable =
            to == NOWHERE || self.hosts[to].dark || self.dials_cut.is_cut(from, to) || is_forgotten;
        if is_unreachable || self.streams_cut.is_cut(from, to) || self.streams_cut.is_cut(to, from)
        {
            let give_up = since + self.settings.connect_timeout;
            if self.now >= give_up {
                self.agenda.add(self.now, Moment::Answer { connection, answer: Answer::Silence });
            } else {
                let again = sent_again_at(since, SYN_AGAIN, self.now + Duration::from_micros(1));
                self.agenda.add(again.min(give_up), Moment::Syn { connection, since });
            }
            return;
        }
        let is_refused = self.resets_cut.is_cut(from, to) || self.resets_cut.is_cut(to, from);
        let answer = if self.hosts[to].process.is_some() && !is_refused {
            self.connections[connection].ends[1].life = self.hosts[to].life;
            self.agenda.add(self.now, Moment::Accept { connection });
            Answer::Connected
        } else {
            Answer::Refused
        };
        let at = self.now + self.delay(connection, 1);
        self.agenda.add(at, Moment::Answer { connection, answer });
    }

    /// The dialler learns the result of its dial.
    pub(super) fn on_answer(&mut self, connection: usize, answer: Answer) {
        let End { host, life, link, state } = self.connections[connection].ends[0];
        if state != EndState::Pending {
            return;
        }
        if answer != Answer::Silence && self.connections[connection].streams[1].forgotten {
            // The answer was lost on the way, and so are its retransmissions.
            self.agenda.add(
                self.now + self.settings.connect_timeout,
                Moment::Answer { connection, answer: Answer::Silence },
            );
            return;
        }
        let Some(process) = self.process_of(host, life) else { return };
        if process.keep(Moment::Answer { connection, answer }).is_none() {
            return;
        }
        let input = match answer {
            Answer::Connected => {
                self.connections[connection].ends[0].state = EndState::Up;
                self.schedule_flow(connection, 1);
                Input::LinkUp { link }
            }
            Answer::Refused | Answer::Silence => {
                process.links.remove(&link);
                self.connections[connection].ends[0].state = EndState::Gone;
                Input::DialFailed { link, refused: answer == Answer::Refused }
            }
        };
        let other = self.connections[connection].ends[1].host;
        self.handle(host, (other != NOWHERE).then_some(other), input);
    }

    /// The listener hands a connection to its process.
    pub(super) fn on_accept(&mut self, connection: usize) {
        let End { host, life, .. } = self.connections[connection].ends[1];
        let Some(process) = self.process_of(host, life) else {
            // The process died with the connection still in its listener's queue: the kernel resets
            // it.
            self.connections[connection].ends[1].state = EndState::Gone;
            let at = self.now + self.delay(connection, 1);
            self.connections[connection].streams[1].break_off(Down::Reset, at, 0);
            self.schedule_flow(connection, 1);
            return;
        };
        if process.keep(Moment::Accept { connection }).is_none() {
            return;
        }
        if self.hosts[host].starved {
            self.hosts[host].unaccepted.push(connection);
            return;
        }
        let Some(process) = self.process_of(host, life) else { return };
        let link = LinkId::accepted(process.accepted);
        process.accepted += 1;
        process.links.insert(link, (connection, 1));
        let end = &mut self.connections[connection].ends[1];
        end.link = link;
        end.state = EndState::Up;
        self.schedule_flow(connection, 0);
        let from = self.connections[connection].ends[0].host;
        self.handle(host, Some(from), Input::LinkUp { link });
    }

    pub(super) fn send(&mut self, host: usize, link: LinkId, message: Rc<Message>) {
        let place =
            self.hosts[host].process.as_ref().and_then(|process| process.links.get(&link).copied());
        // A link may have gone down while the node was deciding to use it.
        let Some((connection, side)) = place else {
            self.tally.lost += 1;
            return;
        };
        self.look_at_word(host, &message);
        let Connection { ends, streams } = &mut self.connections[connection];
        assert!(
            ends[side].state == EndState::Up,
            "{} sent {} on link {link}, which does not stand yet",
            self.hosts[host].id,
            message.verb()
        );
        let other = ends[1 - side].host;
        self.watch.sent(self.now, &self.hosts[host].id, &self.hosts[other].id, &message);
        if let (true, Some(process)) = (self.is_judged, &self.hosts[host].process) {
            self.truth.said(self.now, host, &process.node, &message);
        }
        if let Some(liar) = &mut self.liar {
            liar.overhear(&message);
        }
        if streams[side].is_deaf_to_writes() {
            self.tally.lost += 1;
            return;
        }
        if self.is_filtered_frame(host, other, &message) {
            // TCP never loses one frame alone: the connection goes with it.
            self.tally.lost += 1;
            self.break_connection(connection);
            return;
        }
        self.connections[connection].streams[side].queue(message);
        let Host { life, process: Some(process), .. } = &mut self.hosts[host] else { return };
        if process.to_write.is_empty() && self.settings.turn_us > 0 {
            let at = self.now + Duration::from_micros(u64::from(self.settings.turn_us));
            self.agenda.add(at, Moment::TurnOver { host, life: *life });
        }
        if process.to_write.last() != Some(&(connection, side)) {
            process.to_write.push((connection, side));
        }
    }

    /// A turn of a process's loop ends: its output is written.
    pub(super) fn on_turn_over(&mut self, host: usize, life: u32) {
        let Some(process) = self.process_of(host, life) else { return };
        if process.keep(Moment::TurnOver { host, life }).is_some() {
            self.write_out(host);
        }
    }

    pub(super) fn write_out(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        let mut to_write = std::mem::take(&mut process.to_write);
        for (connection, side) in to_write.drain(..) {
            self.pump(connection, side);
            self.schedule_flow(connection, side);
        }
        if let Some(process) = self.hosts[host].process.as_mut() {
            process.to_write = to_write;
        }
    }

    /// Moves frames from user space to the kernel, as far as it has room, and tells the writer when
    /// its backlog crosses a mark.
    fn pump(&mut self, connection: usize, side: Side) {
        let Self { connections, settings, weather, tally, now, agenda, truth, .. } = self;
        let [one, other] = connections[connection].ends.map(|end| end.host);
        let stream = &mut connections[connection].streams[side];
        while let Some((weight, message)) = stream.next_frame(settings.capacity) {
            stream.count += 1;
            let (delay, slow) = weather.delay(stream.seed, stream.count);
            tally.delayed += u64::from(slow);
            if !settings.bytes {
                stream.put(*now, delay, weight, Parcel::Whole(message));
                continue;
            }
            let mut bytes = Vec::new();
            frame::encode(&message, &mut bytes);
            if weather.damage.happens(stream.seed, "damage", stream.count)
                && damage(&mut bytes, stream.seed, stream.count)
            {
                tally.damaged += 1;
                truth.links.touch(*now, &Wrong::Ways(vec![(one, other), (other, one)]));
            }
            // Up to three pieces, cut anywhere; later pieces may be later.
            let mut start = 0;
            let pieces = draw_below(stream.seed, "pieces", stream.count, 3);
            for piece in 0..pieces {
                let rest = (bytes.len() - start) as u64;
                let cut = start
                    + usize::try_from(draw_below(
                        stream.seed,
                        "cut",
                        stream.count << 2 | piece,
                        rest,
                    ))
                    .expect("below a length");
                if cut > start {
                    tally.cut_at_byte += 1;
                    stream.put(*now, delay, 0, Parcel::Piece(bytes[start..cut].to_vec()));
                    start = cut;
                }
            }
            let late = Duration::from_micros(if pieces > 0 {
                draw_below(stream.seed, "late piece", stream.count, 2_000)
            } else {
                0
            });
            stream.put(*now, delay + late, weight, Parcel::Piece(bytes.split_off(start)));
        }
        if let Some(full) = stream.crossed() {
            agenda.add(*now, Moment::Backlog { connection, side, full });
        }
    }

    pub(super) fn on_backlog(&mut self, connection: usize, side: Side, full: bool) {
        let End { host, life, link, state } = self.connections[connection].ends[side];
        if state != EndState::Up {
            return;
        }
        let Some(process) = self.process_of(host, life) else { return };
        if process.keep(Moment::Backlog { connection, side, full }).is_none() {
            return;
        }
        self.handle(host, None, Input::Backlog { link, full });
    }

    /// Data is readable at the other end of a stream, at least it was expected to be when this was
    /// scheduled.
    pub(super) fn on_flow(&mut self, connection: usize, side: Side) {
        let now = self.now;
        let Connection { ends, streams } = &mut self.connections[connection];
        let stream = &mut streams[side];
        stream.scheduled = None;
        let (writer, reader) = (ends[side], ends[1 - side]);
        match reader.state {
            // Delivered as soon as the end knows that the connection is established.
            EndState::Pending => return,
            EndState::Gone => {
                self.tally.lost += stream.discard();
                return;
            }
            EndState::Up => {}
        }
        if stream.forgotten {
            return;
        }
        if self.streams_cut.is_cut(writer.host, reader.host) {
            stream.held_up_since.get_or_insert(now);
            return; // mending the cut lets it flow again
        }
        let process =
            self.hosts[reader.host].process.as_mut().expect("an end that is up has its process");
        if process.keep(Moment::Flow { connection, side }).is_none() {
            return;
        }
        stream.held_up_since = stream.held_up_since.filter(|_| now < stream.stalled_until);
        if now < stream.stalled_until {
            self.schedule_flow(connection, side);
            return;
        }
        let mut messages = Vec::new();
        let mut is_garbage = false;
        while !is_garbage && let Some(parcel) = stream.take_due(now) {
            match parcel {
                Parcel::Whole(message) => messages.push(Rc::unwrap_or_clone(message)),
                Parcel::Piece(bytes) => {
                    is_garbage = read(&mut stream.cutter, &bytes, &mut messages).is_err()
                }
            }
        }
        if is_garbage {
            self.give_up(connection, 1 - side, messages);
            return;
        }
        self.pump(connection, side);
        if !messages.is_empty()
            && self.hosts[writer.host].life != writer.life
            && self.hosts[writer.host].process.is_some()
        {
            self.look_at_ghost();
        }
        let input = if !messages.is_empty() {
            self.schedule_flow(connection, side);
            Input::Received { link: reader.link, messages }
        } else if let Some(how) = self.connections[connection].streams[side].ended(now) {
            self.connections[connection].ends[1 - side].state = EndState::Gone;
            let process = self.hosts[reader.host].process.as_mut().expect("looked at above");
            process.links.remove(&reader.link);
            self.tally.lost += self.connections[connection].streams[1 - side].discard();
            Input::LinkDown { link: reader.link, how }
        } else {
            self.schedule_flow(connection, side);
            return;
        };
        self.handle(reader.host, Some(writer.host), input);
    }

    /// A process cannot decode its input: it gets what came before that, and closes, as the shell
    /// does.
    fn give_up(&mut self, connection: usize, side: Side, messages: Vec<Message>) {
        let End { host, life, link, .. } = self.connections[connection].ends[side];
        let from = self.connections[connection].ends[1 - side].host;
        if !messages.is_empty() {
            self.handle(host, Some(from), Input::Received { link, messages });
        }
        let Some(process) = self.process_of(host, life) else { return };
        // Unless an earlier message was reason enough to hang up.
        if process.links.remove(&link).is_some() {
            self.close(connection, side);
            self.handle(host, Some(from), Input::LinkDown { link, how: Down::Garbage });
        }
    }

    /// Puts the next event of a stream on the agenda, unless an earlier one is there.
    pub(super) fn schedule_flow(&mut self, connection: usize, side: Side) {
        let stream = &mut self.connections[connection].streams[side];
        let Some(due) = stream.next_due() else { return };
        let due = due.max(self.now);
        if stream.scheduled.is_none_or(|at| due < at) {
            stream.scheduled = Some(due);
            self.agenda.add(due, Moment::Flow { connection, side });
        }
    }

    /// Lets everything that a cut held up flow again.
    pub(super) fn flow_again(&mut self) {
        for connection in 0..self.connections.len() {
            for side in 0..2 {
                let delay = self.delay(connection, side);
                let stream = &mut self.connections[connection].streams[side];
                if stream.next_due().is_some() && stream.scheduled.is_none() {
                    // The kernel notices at its next retransmission, not at once.
                    let again = stream
                        .held_up_since
                        .map_or(self.now, |since| sent_again_at(since, SENT_AGAIN, self.now));
                    stream.stalled_until = stream.stalled_until.max(again + delay);
                    self.schedule_flow(connection, side);
                }
            }
        }
    }

    /// Closes a link: queued frames still go out.
    pub(super) fn hang_up(&mut self, host: usize, link: LinkId) {
        let Some(process) = self.hosts[host].process.as_mut() else { return };
        // The link may have broken by itself meanwhile.
        let Some((connection, side)) = process.links.remove(&link) else { return };
        self.close(connection, side);
    }

    /// A process closes its end: its stream ends after the queued frames, and the other stream has
    /// no reader any more.
    pub(super) fn close(&mut self, connection: usize, side: Side) {
        let at = self.now + self.delay(connection, side);
        let Connection { ends, streams } = &mut self.connections[connection];
        ends[side].state = EndState::Gone;
        streams[side].close(at);
        self.tally.lost += streams[1 - side].discard();
        self.schedule_flow(connection, side);
    }

    /// An end dies with its process: the tail of what the kernel had taken may be lost.
    pub(super) fn break_end(&mut self, connection: usize, side: Side) {
        let at = self.now + self.delay(connection, side);
        let Connection { ends, streams } = &mut self.connections[connection];
        ends[side].state = EndState::Gone;
        let on_the_way = streams[side].wire.len();
        let key = connection as u64;
        let (how, kept) = if self.settings.rude.happens(self.settings.seed, "rude", key) {
            let kept = draw_below(self.settings.seed, "kept", key, on_the_way as u64 + 1);
            (Down::Reset, usize::try_from(kept).expect("at most a length"))
        } else {
            (Down::Closed, on_the_way)
        };
        self.tally.lost += streams[side].break_off(how, at, kept);
        self.tally.lost += streams[1 - side].discard();
        self.schedule_flow(connection, side);
    }

    /// An end vanishes silently: what it has sent still arrives, and then nothing more.
    pub(super) fn abandon_end(&mut self, connection: usize, side: Side) {
        let Connection { ends, streams } = &mut self.connections[connection];
        ends[side].state = EndState::Gone;
        self.tally.lost += streams[side].fall_silent();
        self.tally.lost += streams[1 - side].vanish();
    }

    /// Both ends of a connection learn that it is broken; data in flight is lost.
    pub(super) fn break_connection(&mut self, connection: usize) {
        for side in 0..2 {
            let at = self.now + self.delay(connection, side);
            let lost = self.connections[connection].streams[side].break_off(Down::Reset, at, 0);
            self.tally.lost += lost;
            self.schedule_flow(connection, side);
        }
    }

    /// The delay of a packet that is no frame: an opening, an answer, an end.
    pub(super) fn delay(&self, connection: usize, side: Side) -> Duration {
        let stream = &self.connections[connection].streams[side];
        self.weather.delay(stream.seed, stream.count << 8 | 0x80).0
    }

    /// The established connections between two hosts.
    pub(super) fn between(&self, a: usize, b: usize) -> Vec<usize> {
        let stands = |connection: &Connection| {
            let [one, two] = connection.ends;
            let hosts = (one.host, two.host);
            one.state == EndState::Up
                && two.state == EndState::Up
                && (hosts == (a, b) || hosts == (b, a))
        };
        (0..self.connections.len()).filter(|&at| stands(&self.connections[at])).collect()
    }

    /// The connections between two hosts that are established or being established.
    pub(super) fn begun_between(&self, a: usize, b: usize) -> Vec<usize> {
        let is_there = |connection: &Connection| {
            let [one, two] = connection.ends;
            let hosts = (one.host, two.host);
            one.state != EndState::Gone
                && two.state != EndState::Gone
                && (hosts == (a, b) || hosts == (b, a))
        };
        (0..self.connections.len()).filter(|&at| is_there(&self.connections[at])).collect()
    }

    /// Data in flight from one host to another over connections that are established or being
    /// established never arrives, nor does any later data on them; neither end is told. Returns
    /// these connections.
    pub(super) fn forget_flows(&mut self, from: usize, to: usize) -> Vec<usize> {
        let connections = self.begun_between(from, to);
        for &connection in &connections {
            let [one, two] = self.connections[connection].ends;
            if one.state == EndState::Pending || two.state == EndState::Pending {
                self.look_at_unmade();
            }
            let side = usize::from(two.host == from);
            self.connections[connection].streams[side].forgotten = true;
        }
        connections
    }

    /// Holds back all data from one host to another.
    pub(super) fn hold_back(&mut self, from: usize, to: usize, until: Time) {
        for connection in self.between(from, to) {
            let side = usize::from(self.connections[connection].ends[1].host == from);
            let stream = &mut self.connections[connection].streams[side];
            stream.stalled_until = stream.stalled_until.max(until);
        }
    }

    /// Lets one piece of the data from one host to another through after each `gap`.
    pub(super) fn slow_down(&mut self, from: usize, to: usize, gap: Duration) {
        for connection in self.between(from, to) {
            let side = usize::from(self.connections[connection].ends[1].host == from);
            self.connections[connection].streams[side].drip = gap;
        }
    }

    /// Ends all dripping; data held up by it flows at once.
    pub(super) fn speed_up(&mut self) {
        for connection in 0..self.connections.len() {
            for side in 0..2 {
                let stream = &mut self.connections[connection].streams[side];
                if stream.drip > Duration::ZERO {
                    stream.flood(self.now);
                    self.schedule_flow(connection, side);
                }
            }
        }
    }

    /// Ends all holding back.
    pub(super) fn release(&mut self) {
        for connection in 0..self.connections.len() {
            for side in 0..2 {
                let stream = &mut self.connections[connection].streams[side];
                if stream.stalled_until > self.now {
                    stream.stalled_until = self.now;
                    self.schedule_flow(connection, side);
                }
            }
        }
    }
}

/// Flips a bit of a frame, or cuts its end off. On a real network TCP's checksum stops that; if
/// damage passes it, the reader has to refuse the frame. A frame that would still be decoded is
/// left as it was.
fn damage(bytes: &mut [u8], seed: u64, count: u64) -> bool {
    let at = usize::try_from(draw_below(seed, "damaged byte", count, bytes.len() as u64))
        .expect("below a length");
    let Some((prefix, frame)) = bytes.split_at_mut_checked(PREFIX) else { return false };
    if at < PREFIX {
        // A length beyond all bounds; any other would only be noticed frames later.
        prefix[0] |= 0x80;
        return true;
    }
    let mut damaged = frame.to_vec();
    if draw(seed, "truncated", count) & 3 == 0 {
        // The following bytes are not the rest of it.
        damaged[at - PREFIX..].fill(0);
    } else {
        damaged[at - PREFIX] ^= 1 << draw_below(seed, "damaged bit", count, 8);
    }
    let is_refused = frame::decode(&Bytes::from(damaged.clone())).is_err();
    if is_refused {
        frame.copy_from_slice(&damaged);
    }
    is_refused
}

/// Decodes the bytes that have arrived.
fn read(cutter: &mut Cutter, bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), WireError> {
    cutter.push(bytes);
    while let Some(body) = cutter.next()? {
        messages.push(frame::decode(&body)?);
    }
    Ok(())
}

/// The length in front of a frame, in bytes.
const PREFIX: usize = 4;

/// The host of an address without a host.
const NOWHERE: usize = usize::MAX;

/// The first retransmission of an opening packet.
const SYN_AGAIN: Duration = Duration::from_secs(1);
