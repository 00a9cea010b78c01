//! The loop's reactions to changed surroundings.

use std::net::{Ipv4Addr, SocketAddrV4};

use protocol::io::Input;
use protocol::message::Datagram;
use protocol::time::Time;

use super::Shell;
use crate::clock;
use crate::names::Lookup;
use crate::scout::News;

impl Shell {
    /// Takes the reports of the scout and of the name look-ups, and the reachability according to
    /// the links.
    pub(super) fn look_around(&mut self) {
        while let Some(news) = self.scout.news() {
            match news {
                News::Surroundings(around) => {
                    self.network.look_around(around);
                    if let Some(names) = &self.names {
                        names.hurry();
                    }
                    self.settle_network();
                }
            }
        }
        while let Some(lookup) = self.names.as_ref().and_then(|names| names.lookup()) {
            match lookup {
                Lookup::SeedAddresses(addresses) => {
                    let others = addresses
                        .iter()
                        .copied()
                        .filter(|address| !self.discovery.is_this_peer(*address));
                    self.silence.watch(clock::now(), others);
                    self.discovery.set_seed_addresses(addresses);
                }
                Lookup::Advertised(address) => {
                    self.network.advertise(address);
                    self.settle_network();
                }
            }
        }
        if let Some(links) = self.links.by_address() {
            self.network.follow(&links);
            self.move_if_elsewhere();
        }
        for note in self.reach.look(clock::now(), self.links.failing(clock::now())) {
            self.tell(note);
        }
        let is_alone = self.node.view().is_none_or(|view| view.size() <= 1);
        for silent in self.silence.look(clock::now(), is_alone) {
            log::warn!("{silent}");
        }
    }

    /// Adapts the sockets to the present networks, and tells the node its address.
    pub(super) fn settle_network(&mut self) {
        self.discovery.meet(self.network.places(), self.network.voice());
        if !self.discovery.bind() {
            self.scout.look_again();
        }
        self.links.set_voice(self.network.voice());
        let network = &self.network;
        self.links.give_up(|local: Ipv4Addr| network.has_lost(local));
        self.tell_network();
        self.move_if_elsewhere();
    }

    /// Reports the situation of the networks once.
    fn tell_network(&mut self) {
        match self.network.news() {
            Some(situation) if situation.is_fine() => log::info!("{situation}"),
            Some(situation) => log::warn!("{situation}"),
            None => {}
        }
    }

    fn move_if_elsewhere(&mut self) {
        let address = self.network.contact();
        if address != self.node.contact().address {
            // Broadcasts carry the address of each network, and that of this machine changes with
            // it.
            self.discovery.meet(self.network.places(), self.network.voice());
            self.feed(Input::Moved { address });
        }
    }

    /// A peer is heard by datagram, so it lives.
    pub(super) fn hear(&mut self, from: SocketAddrV4, datagram: &Datagram) {
        if datagram.cluster == self.cluster_digest
            && datagram.from.birth != self.node.contact().birth
        {
            self.reach.hear(clock::now(), datagram.from.id(), datagram.from.address);
            self.silence.hear(clock::now(), from);
        }
    }

    /// When to check reachability again; never while all peers are reachable.
    pub(super) fn reach_deadline(&self) -> Option<Time> {
        self.links.failing(clock::now()).next().map(|_| self.reach.deadline())
    }

    /// Records the members of the new view, and contacts former members at their last addresses.
    pub(super) fn remember_contacts(&mut self) {
        let own = self.node.contact().id();
        let others = self
            .node
            .view()
            .into_iter()
            .flat_map(|view| view.members.iter())
            .filter(|contact| contact.id() != own);
        if self.contacts.meet(others) {
            self.discovery.set_missing(self.contacts.missing());
            self.scout.keep(self.contacts.text());
        }
    }
}
