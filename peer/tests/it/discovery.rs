//! Datagrams on loopback: a broadcast reaches every peer of the machine.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use peer::discovery::Discovery;
use peer::links::Found;
use peer::network::Place;
use peer::voice::Voice;
use protocol::id::{Contact, Incarnation, Member, PeerId};
use protocol::io::Input;
use protocol::message::{Datagram, Message};

struct Side {
    poll: Poll,
    discovery: Discovery,
    own: SocketAddrV4,
    heard: Vec<(SocketAddrV4, Datagram)>,
    rejects: usize,
}

impl Side {
    fn new(port: u16) -> Self {
        let poll = Poll::new().unwrap();
        // As the TCP listener does it: a port that no other process has.
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free);
        let mut discovery =
            Discovery::new(poll.registry().try_clone().unwrap(), own, port).unwrap();
        discovery.meet(vec![Place::loopback(Ipv4Addr::LOCALHOST)], Voice::of_one_address());
        Self { poll, discovery, own, heard: Vec::new(), rejects: 0 }
    }

    fn turn(&mut self) {
        let mut events = Events::with_capacity(8);
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        events.iter().for_each(|event| self.discovery.note(event));
        self.discovery.begin();
        while let Some(found) = self.discovery.next_found() {
            match found {
                Found::Input(Input::Heard { from, datagram }) => self.heard.push((from, *datagram)),
                Found::Input(input) => panic!("{input:?}"),
                Found::Large(link) => panic!("{link} in a datagram"),
                Found::Reject(_) => self.rejects += 1,
            }
        }
    }
}

#[track_caller]
fn until(sides: &mut [Side], done: impl Fn(&[Side]) -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done(sides) {
        assert!(
            Instant::now() < patience,
            "it never came: {:?}",
            sides.iter().map(|side| &side.heard).collect::<Vec<_>>()
        );
        sides.iter_mut().for_each(Side::turn);
    }
}

/// A discovery port that no other test uses: held for as long as the socket lives, and shared with
/// the peers of this test.
fn lease() -> (UdpSocket, u16) {
    let holder = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    (holder, port)
}

fn datagram(own: SocketAddrV4) -> Datagram {
    let member = Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(1) };
    Datagram {
        cluster: 7,
        from: Contact { member, birth: 1, address: own, explicit: 0 },
        count: 1,
        message: Message::Leave,
    }
}

#[test]
fn a_broadcast_reaches_everyone_but_oneself_and_a_whisper_one() {
    let (_lease, port) = lease();
    let mut sides: Vec<Side> = (0..4).map(|_| Side::new(port)).collect();
    let said = datagram(sides[0].own);
    sides[0].discovery.broadcast(&said);
    until(&mut sides, |sides| {
        sides[1..].iter().all(|side| side.heard == [(said.from.address, said.clone())])
    });
    assert!(sides[0].heard.is_empty());
    let to = sides[2].own;
    sides[1].discovery.whisper(to, &said);
    until(&mut sides, |sides| sides[2].heard.len() == 2);
    assert_eq!(sides[2].heard[1].0, sides[1].own, "answers come back to the own socket");
    assert_eq!([0, 1, 3].map(|index: usize| sides[index].heard.len()), [0, 1, 1]);
}

#[test]
fn seeds_hear_broadcasts_where_there_is_none() {
    let (_lease, port) = lease();
    let (_other_lease, elsewhere) = lease();
    let mut sides = vec![Side::new(port), Side::new(elsewhere)];
    let seed = sides[1].own;
    sides[0].discovery.set_seed_addresses(vec![seed]);
    let said = datagram(sides[0].own);
    sides[0].discovery.broadcast(&said);
    until(&mut sides, |sides| sides[1].heard.len() == 1);
}

#[test]
fn random_bytes_are_turned_away() {
    let (_lease, port) = lease();
    let mut sides = vec![Side::new(port)];
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for length in [0, 1, 100, 1_400] {
        stranger.send_to(&vec![0xAA; length], sides[0].own).unwrap();
    }
    until(&mut sides, |sides| sides[0].rejects == 4);
    assert!(sides[0].heard.is_empty());
}
