//! Links over real sockets: what arrives, in which order, and the fate of misbehaving peers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Poll};
use peer::clock;
use peer::links::{Found, Limits, Links};
use protocol::frame::{Cutter, decode, encode};
use protocol::id::{Incarnation, LinkId, Member, Oseq, PeerId};
use protocol::io::{Down, Input};
use protocol::message::{Message, Reason, Request, Requests};
use protocol::readings::Readings;

/// Links with a loop of their own, and all of their results so far.
struct Side {
    poll: Poll,
    links: Links,
    address: SocketAddrV4,
    inputs: Vec<Input>,
    rejects: usize,
    /// Whether its node would take large frames.
    allows_large: bool,
}

impl Side {
    fn new(limits: Limits) -> Self {
        let poll = Poll::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        let links = Links::new(poll.registry().try_clone().unwrap(), listener, limits).unwrap();
        Self { poll, links, address, inputs: Vec::new(), rejects: 0, allows_large: true }
    }

    /// One turn of its loop.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        events.iter().for_each(|event| self.links.note(event));
        self.links.begin(clock::now());
        while let Some(found) = self.links.next_found() {
            match found {
                Found::Input(input) => self.inputs.push(input),
                Found::Reject(_) => self.rejects += 1,
                Found::Large(link) if self.allows_large => self.links.allow_large(link),
                Found::Large(link) => self.links.refuse_large(link),
            }
        }
        self.links.flush();
    }

    /// The link that the other side dialled.
    fn accepted(&self) -> Option<LinkId> {
        self.inputs
            .iter()
            .find_map(|input| if let Input::LinkUp { link } = input { Some(*link) } else { None })
    }

    fn has(&self, input: &Input) -> bool {
        self.inputs.contains(input)
    }

    /// Everything received on any link.
    fn messages(&self) -> Vec<Message> {
        let received = |input: &Input| {
            if let Input::Received { messages, .. } = input { messages.clone() } else { Vec::new() }
        };
        self.inputs.iter().flat_map(received).collect()
    }
}

/// Turns all loops until a condition holds.
#[track_caller]
fn until(sides: &mut [&mut Side], mut done: impl FnMut(&[&mut Side]) -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done(sides) {
        assert!(Instant::now() < patience, "it never came; told so far: {}", told(sides));
        sides.iter_mut().for_each(|side| side.turn());
    }
}

/// The results of the loops so far, without the bytes.
fn told(sides: &[&mut Side]) -> String {
    let of = |side: &Side| {
        side.inputs
            .iter()
            .map(|input| format!("{input:?}").chars().take(80).collect())
            .collect::<Vec<String>>()
    };
    format!("{:?}", sides.iter().map(|side| of(side)).collect::<Vec<_>>())
}

fn reading(number: u64, size: usize) -> Message {
    let origin = Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(1) };
    let run = vec![Request::Readings {
        guarantee: protocol::config::Guarantee::Agreed,
        readings: Readings::one(Bytes::from(vec![7; size]), 0),
    }];
    Message::SequencerRequest(Requests { origin, first: Oseq(number), run })
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes
}

/// Two sides with a link between them: its number at the dialler, and at the other end.
fn pair(limits: Limits) -> (Side, LinkId, Side, LinkId) {
    let (mut one, mut two) = (Side::new(limits), Side::new(limits));
    let dialled = LinkId::dialled(1);
    one.links.dial(dialled, two.address);
    until(&mut [&mut one, &mut two], |sides| sides.iter().all(|side| side.accepted().is_some()));
    assert_eq!(one.accepted(), Some(dialled));
    let accepted = two.accepted().unwrap();
    assert!(!accepted.is_dialled());
    (one, dialled, two, accepted)
}

#[test]
fn a_large_frame_comes_from_those_only_who_may_send_one() {
    for allowed in [true, false] {
        let (mut one, dialled, mut two, accepted) = pair(Limits::default());
        two.allows_large = allowed;
        let messages = [
            Message::ViewSyncRequest { ask: 1 },
            reading(1, 60_000),
            reading(2, 200_000),
            reading(3, 10),
        ];
        messages.iter().for_each(|message| one.links.send(dialled, message));
        until(&mut [&mut one, &mut two], |sides| {
            sides[1].messages().len() == 4 || sides[1].rejects > 0
        });
        let down = Input::LinkDown { link: accepted, how: Down::Garbage };
        assert_eq!(
            (two.messages().len(), two.rejects, two.has(&down)),
            if allowed { (4, 0, false) } else { (2, 1, true) }
        );
    }
}

#[test]
fn of_all_frames_that_come_in_part_the_oldest_goes_when_they_are_too_much() {
    let mut side = Side::new(Limits { half_received: 250_000, ..Limits::default() });
    let mut callers: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(side.address).unwrap()).collect();
    let bytes = bytes_of(&reading(1, 1 << 20));
    for (n, caller) in callers.iter_mut().enumerate() {
        caller.write_all(&bytes_of(&Message::Leave)).unwrap();
        until(&mut [&mut side], |sides| sides[0].messages().len() == n + 1);
        // The first two are within the limit.
        caller.write_all(&bytes[..100_000]).unwrap();
        let end = Instant::now() + Duration::from_millis(20);
        until(&mut [&mut side], |sides| Instant::now() > end || sides[0].rejects > 0);
    }
    until(&mut [&mut side], |sides| sides[0].rejects > 0);
    let gone: Vec<&Input> =
        side.inputs.iter().filter(|input| matches!(input, Input::LinkDown { .. })).collect();
    assert_eq!(gone, [&Input::LinkDown { link: LinkId::accepted(0), how: Down::Garbage }]);
    assert_eq!(side.rejects, 1, "there is room for the others");
}

#[test]
fn frames_arrive_whole_and_in_order_and_a_hang_up_loses_none() {
    let (mut one, link, mut two, accepted) = pair(Limits::default());
    one.links.send(link, &Message::Leave);
    let sent: Vec<Message> = (1..=200).map(|number| reading(number, 100 * 1_024)).collect();
    sent.iter().for_each(|message| one.links.send(link, message));
    one.links.hang_up(link);
    until(&mut [&mut one, &mut two], |sides| {
        sides[1].has(&Input::LinkDown { link: accepted, how: Down::Closed })
    });
    let received = two.messages();
    assert_eq!(received[0], Message::Leave);
    assert!(received[1..] == sent[..], "{} of {} arrived", received.len() - 1, sent.len());
    until(&mut [&mut one], |sides| sides[0].links.is_empty());
    assert!(
        !one.inputs.iter().any(|input| matches!(input, Input::LinkDown { .. })),
        "who hangs up is not told of it"
    );
}

#[test]
fn a_fan_is_one_message_for_all() {
    let (mut one, link, mut two, _) = pair(Limits::default());
    let mut three = Side::new(Limits::default());
    let other = LinkId::dialled(2);
    one.links.dial(other, three.address);
    until(&mut [&mut one, &mut three], |sides| sides[1].accepted().is_some());
    one.links.fan(&[link, other, LinkId::dialled(99)], &reading(1, 10));
    until(&mut [&mut one, &mut two, &mut three], |sides| {
        sides[1..].iter().all(|side| side.messages() == [reading(1, 10)])
    });
}

#[test]
fn a_port_where_nobody_listens_refuses_at_once() {
    let mut side = Side::new(Limits::default());
    let gone = Side::new(Limits::default()).address;
    let started = Instant::now();
    side.links.dial(LinkId::dialled(1), gone);
    let refused = Input::DialFailed { link: LinkId::dialled(1), refused: true };
    until(&mut [&mut side], |sides| sides[0].has(&refused));
    assert!(started.elapsed() < Duration::from_secs(1), "a refusal needs no timeout");
    assert!(side.links.is_empty());
}

#[test]
fn a_dead_end_is_told_after_what_it_still_said() {
    let mut side = Side::new(Limits::default());
    let mut stranger = TcpStream::connect(side.address).unwrap();
    stranger.write_all(&bytes_of(&Message::Leave)).unwrap();
    drop(stranger);
    until(&mut [&mut side], |sides| {
        let link = sides[0].accepted();
        link.is_some_and(|link| sides[0].has(&Input::LinkDown { link, how: Down::Closed }))
    });
    let link = side.accepted().unwrap();
    let messages = vec![Message::Leave];
    assert_eq!(
        side.inputs[1..],
        [Input::Received { link, messages }, Input::LinkDown { link, how: Down::Closed }]
    );
}

#[test]
fn a_reset_is_told_as_one() {
    let mut side = Side::new(Limits::default());
    let stranger = TcpStream::connect(side.address).unwrap();
    socket2::SockRef::from(&stranger).set_linger(Some(Duration::ZERO)).unwrap();
    until(&mut [&mut side], |sides| sides[0].accepted().is_some());
    drop(stranger);
    let link = side.accepted().unwrap();
    until(&mut [&mut side], |sides| sides[0].has(&Input::LinkDown { link, how: Down::Reset }));
}

#[track_caller]
fn check_garbage(bytes: &[u8]) {
    let (mut good, link, mut side, _) = pair(Limits::default());
    let mut stranger = TcpStream::connect(side.address).unwrap();
    stranger.write_all(bytes).unwrap();
    until(&mut [&mut good, &mut side], |sides| {
        sides[1].rejects == 1
            && sides[1]
                .inputs
                .iter()
                .any(|input| matches!(input, Input::LinkDown { how: Down::Garbage, .. }))
    });
    // It is hung up on, whatever else it would send.
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut answer = [0; 256];
    until(
        &mut [&mut side],
        |_| !matches!(stranger.read(&mut answer), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
    );
    // No other link is affected.
    good.links.send(link, &reading(1, 10));
    until(&mut [&mut good, &mut side], |sides| sides[1].messages() == [reading(1, 10)]);
    assert!(side.messages().iter().all(|message| message != &Message::Leave));
}

#[test]
fn strangers_are_hung_up_on() {
    check_garbage(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    check_garbage(&[0xFF; 4_096]);
    check_garbage(&[0; 64]);
    // A first frame that claims to be huge.
    let mut oversized = bytes_of(&Message::Leave);
    oversized[..4].copy_from_slice(&(1_u32 << 30).to_be_bytes());
    check_garbage(&oversized);
    // A frame whose body is not what its verb needs.
    let mut broken = bytes_of(&Message::Leave);
    let last = broken.len() - 1;
    broken[last] = b'X';
    check_garbage(&broken);
}

#[test]
fn one_bad_frame_among_good_ones_costs_only_itself() {
    let mut side = Side::new(Limits::default());
    let mut stranger = TcpStream::connect(side.address).unwrap();
    let mut bytes = bytes_of(&Message::Leave);
    let mut broken = bytes.clone();
    let last = broken.len() - 1;
    broken[last] = b'X';
    bytes.extend(broken);
    bytes.extend(bytes_of(&reading(1, 10)));
    // One byte at a time, so that every place to cut is tried.
    for byte in bytes {
        stranger.write_all(&[byte]).unwrap();
        side.turn();
    }
    until(&mut [&mut side], |sides| sides[0].messages() == [Message::Leave, reading(1, 10)]);
    assert_eq!(side.rejects, 1);
}

#[test]
fn another_wire_version_is_told_which_one_is_spoken_here() {
    let mut side = Side::new(Limits::default());
    let mut stranger = TcpStream::connect(side.address).unwrap();
    let mut bytes = bytes_of(&Message::Leave);
    // The version stands behind the length and the magic.
    bytes[8] = 99;
    stranger.write_all(&bytes).unwrap();
    until(&mut [&mut side], |sides| sides[0].rejects == 1 && sides[0].links.is_flushed());
    let mut cutter = Cutter::new();
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut answer = Vec::new();
    until(&mut [&mut side], |_| stranger.read_to_end(&mut answer).is_ok());
    cutter.push(&answer);
    let Message::Rejected(rejected) = decode(&cutter.next().unwrap().unwrap()).unwrap() else {
        panic!("no refusal")
    };
    assert!(matches!(rejected.reason, Reason::Version { .. }), "{rejected:?}");
}

#[test]
fn a_link_that_takes_nothing_is_backed_up_until_it_does() {
    let limits = Limits { backlog: 1 << 20, ..Limits::default() };
    let mut side = Side::new(limits);
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let link = LinkId::dialled(1);
    side.links
        .dial(link, SocketAddrV4::new(Ipv4Addr::LOCALHOST, deaf.local_addr().unwrap().port()));
    let (mut reader, _) = deaf.accept().unwrap();
    until(&mut [&mut side], |sides| sides[0].accepted().is_some());
    let full = Input::Backlog { link, full: true };
    let mut sent = 0;
    while !side.has(&full) {
        assert!(sent < 100_000, "nothing holds that much");
        side.links.send(link, &reading(sent, 16 << 10));
        sent += 1;
        side.turn();
    }
    let drained = Input::Backlog { link, full: false };
    assert!(!side.has(&drained));
    side.links.hang_up(link);
    let counting = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    until(&mut [&mut side], |_| counting.is_finished());
    assert_eq!(
        counting.join().unwrap(),
        usize::try_from(sent).unwrap() * bytes_of(&reading(1, 16 << 10)).len()
    );
}

#[test]
fn control_overtakes_bulk_that_waits() {
    let limits = Limits { backlog: 1 << 20, ..Limits::default() };
    let (mut one, link, mut two, _) = pair(limits);
    // Before anything is written, so that the order is the queue's own.
    (1..=50).for_each(|number| one.links.send(link, &reading(number, 10)));
    one.links.send(link, &Message::Clear { ask: 1 });
    until(&mut [&mut one, &mut two], |sides| sides[1].messages().len() == 51);
    assert_eq!(two.messages()[0], Message::Clear { ask: 1 });
}

#[test]
fn a_link_that_holds_too_much_is_given_up() {
    let limits = Limits { backlog: 1 << 10, queue: 1 << 20, ..Limits::default() };
    let (mut one, link, _two, _) = pair(limits);
    (1..=200).for_each(|number| one.links.send(link, &reading(number, 10 << 10)));
    until(&mut [&mut one], |sides| sides[0].has(&Input::LinkDown { link, how: Down::Reset }));
}

#[test]
fn who_connects_and_says_nothing_does_not_stay() {
    let limits = Limits { silence: Duration::from_millis(50), ..Limits::default() };
    let mut side = Side::new(limits);
    let mut stranger = TcpStream::connect(side.address).unwrap();
    until(&mut [&mut side], |sides| sides[0].rejects == 1);
    assert!(side.links.is_empty());
    assert_eq!(stranger.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn more_than_enough_is_too_many() {
    let limits = Limits { links: 4, ..Limits::default() };
    let mut side = Side::new(limits);
    let strangers: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(side.address).unwrap()).collect();
    until(&mut [&mut side], |sides| sides[0].rejects == 6);
    assert_eq!(side.links.len(), 4);
    drop(strangers);
    until(&mut [&mut side], |sides| sides[0].links.is_empty());
}
