//! The liar's access to the simulation: messages that no node has sent are delivered to real nodes.
//!
//! A member's lies come on the links of its host, beside its node's own messages; a stranger's on
//! links that only the liar has. Their effect is bounded: by how much a node requests at once, and
//! by how much it keeps.

use protocol::id::LinkId;
use protocol::io::Input;
use protocol::message::Message;

use super::Simulation;
use crate::liar::Liar;
use crate::watch::Watch;

impl<W: Watch> Simulation<W> {
    /// From now on the liar overhears all messages, and may lie. With a lying member nothing is
    /// promised about the group; a stranger's lies must have no effect.
    pub fn begin_lies(&mut self, by_member: bool) {
        self.is_judged = !by_member;
        self.liar = Some(Liar::new(self.settings.seed));
    }

    /// One lie: from the node on a host, or from a stranger, to a drawn node.
    pub fn lie(&mut self, member: Option<usize>) {
        let Some(mut liar) = self.liar.take() else { return };
        self.tell_lie(&mut liar, member);
        self.liar = Some(liar);
    }

    fn tell_lie(&mut self, liar: &mut Liar, member: Option<usize>) {
        let strict = member.is_none();
        let cluster = self.cluster();
        self.hosts
            .iter()
            .filter_map(|host| host.process.as_ref())
            .for_each(|process| liar.meet(&process.contact));
        let ears: Vec<usize> = (0..self.hosts.len())
            .filter(|host| Some(*host) != member && self.can_hear(*host))
            .collect();
        if ears.is_empty() {
            return;
        }
        let victim = ears[usize::try_from(liar.below(ears.len() as u64)).expect("below a length")];
        if liar.one_in(6) {
            if let Some(datagram) = liar.call(cluster, strict) {
                let from = datagram.from.address;
                self.handle(victim, None, Input::Heard { from, datagram: Box::new(datagram) });
            }
            return;
        }
        let speaker = member
            .and_then(|host| self.hosts[host].process.as_ref())
            .map(|process| process.contact.clone());
        let real: Vec<LinkId> = self
            .links(victim)
            .into_iter()
            .filter(|(_, other)| Some(*other) == member)
            .map(|(link, _)| link)
            .collect();
        let (link, me) = match (real.last(), speaker) {
            (Some(link), Some(me)) if !liar.one_in(8) => (*link, me),
            (_, speaker) => {
                let me = speaker.filter(|_| liar.one_in(2)).unwrap_or_else(|| liar.stranger());
                let Some(process) = self.hosts[victim].process.as_mut() else { return };
                let link = LinkId::accepted(process.accepted);
                process.accepted += 1;
                self.handle(victim, None, Input::LinkUp { link });
                let hello = liar.hello(cluster, me.clone());
                self.hear(victim, link, hello);
                (link, me)
            }
        };
        for _ in 0..=liar.below(3) {
            if let Some(message) = liar.lie(&me, strict) {
                self.hear(victim, link, message);
            }
        }
        // The liar's own connections are closed eventually.
        if !real.contains(&link) {
            self.handle(victim, None, Input::LinkDown { link, how: protocol::io::Down::Closed });
        }
    }

    fn hear(&mut self, victim: usize, link: LinkId, message: Message) {
        if self.can_hear(victim) {
            self.handle(victim, None, Input::Received { link, messages: vec![message] });
        }
    }

    fn can_hear(&self, host: usize) -> bool {
        self.hosts[host].process.as_ref().is_some_and(|process| !process.paused && !process.busy)
    }

    /// With a liar, the number of a node's outputs and the memory it keeps are judged after each
    /// step.
    ///
    /// # Panics
    /// If either exceeds its bound.
    pub(super) fn judge_bounds(&self, host: usize, asked: usize) {
        if self.liar.is_none() {
            return;
        }
        let Some(node) = self.node(host) else { return };
        assert!(asked <= ASKED_MOST, "{} asks for {asked} things at once", self.hosts[host].id);
        let holding = node.holding();
        // A limit that is checked before a frame is taken may be exceeded by one frame at most.
        assert!(
            holding.bytes <= holding.bytes_most + FRAME_BYTES,
            "{} keeps too much: {holding:?}",
            self.hosts[host].id
        );
        assert!(holding.rows <= ROWS_MOST, "{} keeps too much: {holding:?}", self.hosts[host].id);
    }
}

/// The greatest number of outputs of a node in one call: it delivers 4,096 positions, sends a
/// message to each of a few hundred members, and notes each.
const ASKED_MOST: usize = 20_000;
/// The greatest size of a frame of these simulations in memory.
const FRAME_BYTES: u64 = 2 << 20;
/// The greatest number of rows in all tables and lists of a node together.
const ROWS_MOST: usize = 60_000;
