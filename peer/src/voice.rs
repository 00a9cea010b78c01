//! The own address that a peer announces to each receiver.
//!
//! A peer with several networks is dialled at another address in each of them. The node knows one
//! address, the first; messages into another network announce the address there instead, so that
//! every receiver can dial it. Addresses of other peers, and those in the log, are not changed.
//!
//! A peer on this machine is told the first address, because it reaches all of them: so the address
//! that such a peer puts into a view is the one that other machines can dial best.

use std::net::{Ipv4Addr, SocketAddrV4};

use protocol::id::Contact;
use protocol::message::{Datagram, Message};

use crate::address::Interface;

/// A peer's own addresses.
#[derive(Clone, Debug, Default)]
pub struct Voice {
    birth: u64,
    port: u16,
    /// Empty if one address is announced to all.
    interfaces: Vec<Interface>,
}

impl Voice {
    /// One address is announced to all.
    #[must_use]
    pub fn of_one_address() -> Self {
        Self::default()
    }

    /// The process of this birth listens on this port at each of these addresses.
    #[must_use]
    pub fn new(birth: u64, port: u16, interfaces: Vec<Interface>) -> Self {
        Self { birth, port, interfaces }
    }

    /// Whether this is an address of this machine.
    #[must_use]
    pub fn is_own(&self, address: Ipv4Addr) -> bool {
        address.is_loopback()
            || self.interfaces.iter().any(|interface| interface.address == address)
    }

    /// The address to announce to `to` on a connection with this local end; none if the first one
    /// is right.
    #[must_use]
    pub fn on_link(&self, local: Ipv4Addr, to: Ipv4Addr) -> Option<SocketAddrV4> {
        let other = !self.interfaces.is_empty() && !local.is_loopback() && !self.is_own(to);
        other.then(|| SocketAddrV4::new(local, self.port))
    }

    /// The address to announce to `to` by datagram; none if the first one is right.
    #[must_use]
    pub fn by_datagram(&self, to: Ipv4Addr) -> Option<SocketAddrV4> {
        let near = self
            .interfaces
            .iter()
            .find(|interface| interface.running && interface.reaches(to) && !self.is_own(to))?;
        Some(SocketAddrV4::new(near.address, self.port))
    }

    /// The message with this address of its sender; none if it contains no such address.
    #[must_use]
    pub fn message(&self, message: &Message, address: SocketAddrV4) -> Option<Message> {
        let mut message = match message {
            Message::Hello(_) | Message::NewPeerRequest(_) | Message::Coordinator(_) => {
                message.clone()
            }
            _ => return None,
        };
        let contact = match &mut message {
            Message::Hello(hello) => &mut hello.from,
            Message::NewPeerRequest(join) => &mut join.from,
            Message::Coordinator(word) => &mut word.leader,
            _ => return None,
        };
        self.renew(contact, address).then_some(message)
    }

    /// The datagram with this address of its sender.
    #[must_use]
    pub fn datagram(&self, datagram: &Datagram, address: SocketAddrV4) -> Datagram {
        let message = self.message(&datagram.message, address);
        let mut said = Datagram {
            message: message.unwrap_or_else(|| datagram.message.clone()),
            ..datagram.clone()
        };
        self.renew(&mut said.from, address);
        said
    }

    fn renew(&self, contact: &mut Contact, address: SocketAddrV4) -> bool {
        let own = contact.birth == self.birth;
        if own {
            contact.address = address;
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use super::{Contact, Datagram, Interface, Ipv4Addr, Message, SocketAddrV4, Voice};
    use protocol::id::{Epoch, Incarnation, Member, PeerId};
    use protocol::message::Coordinator;

    fn contact(birth: u64, address: &str) -> Contact {
        let member = Member { id: PeerId::new(&format!("p{birth}")).unwrap(), inc: Incarnation(1) };
        Contact { member, birth, address: address.parse().unwrap(), explicit: 0 }
    }

    fn voice() -> Voice {
        let lan = |address: [u8; 4]| Interface {
            name: "eth0".to_owned(),
            index: 2,
            address: address.into(),
            prefix: 24,
            broadcast: None,
            running: true,
            bridge: false,
        };
        Voice::new(1, 5_001, vec![lan([10, 0, 0, 1]), lan([192, 168, 1, 1])])
    }

    #[test]
    fn each_network_is_told_the_address_there() {
        let (voice, ip) = (voice(), |text: &str| text.parse::<Ipv4Addr>().unwrap());
        let said = |address: &str| Some(address.parse::<SocketAddrV4>().unwrap());
        assert_eq!(voice.by_datagram(ip("192.168.1.9")), said("192.168.1.1:5001"));
        assert_eq!(voice.by_datagram(ip("172.16.0.1")), None, "the first address has to do");
        assert_eq!(
            voice.on_link(ip("192.168.1.1"), ip("172.16.0.1")),
            said("192.168.1.1:5001"),
            "it came in there"
        );
        for own in ["10.0.0.1", "127.0.0.1", "192.168.1.1"] {
            assert_eq!(
                voice.on_link(ip("10.0.0.1"), ip(own)),
                None,
                "a peer of this machine reaches all of them"
            );
            assert_eq!(voice.by_datagram(ip(own)), None);
        }
        assert_eq!(Voice::of_one_address().on_link(ip("10.0.0.1"), ip("10.0.0.2")), None);
    }

    #[test]
    fn only_its_own_contact_is_changed() {
        let address: SocketAddrV4 = "192.168.1.1:5001".parse().unwrap();
        let word = |leader: Contact| {
            let epoch = Epoch { round: 1, owner: leader.member.clone() };
            Message::Coordinator(Coordinator {
                leader,
                epoch,
                size: 2,
                ask: None,
                names_you: false,
            })
        };
        let of = |message: Message| Datagram {
            cluster: 7,
            from: contact(1, "10.0.0.1:5001"),
            count: 1,
            message,
        };
        let own = voice().datagram(&of(word(contact(1, "10.0.0.1:5001"))), address);
        assert_eq!(
            own,
            Datagram {
                from: contact(1, "192.168.1.1:5001"),
                ..of(word(contact(1, "192.168.1.1:5001")))
            }
        );
        let others = voice().datagram(&of(word(contact(2, "10.0.0.2:5002"))), address);
        assert_eq!(others.message, word(contact(2, "10.0.0.2:5002")));
        assert_eq!(voice().message(&Message::Leave, address), None);
    }
}
