//! Links: which connections this node wants, has, and has proof about.
//!
//! The topology is a star: a role says which members it needs a link to, and this module sees to
//! it. It dials at once, then every 10 ms up to 100 ms; it exchanges `HELLO`; of two crossing
//! connections it speaks on the one dialled by the higher name and reads both to their end; it
//! closes what has brought nothing for `link_idle`.
//!
//! Only what is heard proves a link; what is sent on it does not. A question that is overdue (see
//! `awaited`) is put on a new connection beside the old one, and the newest is spoken on. The old
//! one is read until it ends, or is closed like any other that brings nothing. There are at most
//! [`LINKS_MOST`] to one member, and at most one dial at a time.
//!
//! What it proves is narrow on purpose. A *refused* connection, or another process speaking at the
//! address, proves that a process is gone. A connection that succeeds proves nothing (the kernel
//! completes it for a stopped process), and an EOF or a reset is only a reason to dial again.
//! Nobody is suspected here; see `detector` for silence.

pub(crate) mod awaited;
mod dialling;
mod events;
mod link;
pub(crate) mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::id::{Contact, Incarnation, LinkId, Member, PeerId};
use crate::io::Output;
use crate::links::awaited::Pace;
use crate::links::link::Link;
use crate::links::want::Want;
use crate::log::lineage::LogEnd;
use crate::report::note::Note;
use crate::time::Time;
use crate::wire::message::{Hello, Message};

/// What becomes known through links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// `HELLO` has come from this member: its end of the log, and what it knows of us.
    Up { member: Member, end: LogEnd, knows: Option<Incarnation> },
    /// Nobody listens where the wanted member did, or another process does.
    Gone { member: Member, replaced_by: Option<Incarnation> },
    /// One of several links to this member is gone, perhaps with something that had been said on
    /// it.
    Thinned { member: Member },
}

/// What is counted only to be told is no part of a situation.
#[derive(Clone, Copy, Debug)]
struct Counted(u64);

impl Hash for Counted {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// All connections of a node.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Links {
    me: Contact,
    cluster: u64,
    pace: Pace,
    dials: u64,
    links: BTreeMap<LinkId, Link>,
    /// Links on which the other end has said who it is.
    by_member: BTreeMap<Member, BTreeSet<LinkId>>,
    wants: BTreeMap<Member, Want>,
    /// From which address members were heard by datagram, and when, where that is not the one that
    /// they name.
    heard: BTreeMap<Member, (Ipv4Addr, Time)>,
    /// The links of members that nobody wants are looked through at this moment.
    sweep_at: Option<Time>,
    /// The earliest dial that is due.
    dial_at: Option<Time>,
    /// No answer is overdue before this.
    doubt_at: Option<Time>,
    /// How often a question was put on a new link.
    doubts: Counted,
    /// Dials to those who are not wanted any more.
    given_up: Vec<LinkId>,
}

impl Links {
    pub(crate) fn new(me: Contact, cluster: u64, pace: Pace) -> Self {
        Self {
            me,
            cluster,
            pace,
            dials: 0,
            links: BTreeMap::new(),
            by_member: BTreeMap::new(),
            wants: BTreeMap::new(),
            heard: BTreeMap::new(),
            sweep_at: None,
            dial_at: None,
            doubt_at: None,
            doubts: Counted(0),
            given_up: Vec::new(),
        }
    }

    /// Goes by another name from now on. A link is introduced once, so those on which the old name
    /// was said are closed: whatever came on them would count as the old one's.
    pub(crate) fn rename(&mut self, me: Contact, out: &mut Vec<Output>) {
        self.me = me;
        let introduced =
            self.links.iter().filter(|(id, l)| l.peer.is_some() || id.is_dialled() && l.up);
        for link in introduced.map(|(id, _)| *id).collect::<Vec<LinkId>>() {
            self.hang_up(link, out);
        }
    }

    /// Is at another address from now on: what is said of it in each `HELLO` that follows.
    pub(crate) fn move_to(&mut self, address: SocketAddrV4) {
        self.me.address = address;
    }

    /// The address of a member, as it says itself on every link to it that is not `known`; none
    /// where one of them still says the known address.
    pub(crate) fn moved_to(
        &self,
        member: &Member,
        birth: u64,
        known: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        let links = || {
            self.by_member.get(member).into_iter().flatten().filter_map(|link| self.links.get(link))
        };
        let heard = links().map(|l| l.heard).max()?;
        // One that has brought nothing for long may have died with the address at its other end.
        let lately =
            links().filter(|l| l.heard + self.pace.most > heard).filter_map(|l| l.peer.as_ref());
        let is_there =
            lately.into_iter().any(|contact| contact.birth != birth || contact.address == known);
        let best = self.contact(member)?;
        (!is_there).then_some(best.address)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.sweep_at.into_iter().chain(self.dial_at).chain(self.doubt_at).min()
    }

    /// How many rows its tables have in all.
    pub(crate) fn rows(&self) -> usize {
        self.links.len() + self.by_member.len() + self.wants.len()
    }

    /// The link to speak to a member on.
    pub(crate) fn to(&self, member: &Member) -> Option<LinkId> {
        let links = self.by_member.get(member)?;
        if links.len() == 1 {
            return links.first().copied();
        }
        // Those that have brought something lately, and of these the newest. Of dials that crossed,
        // both ends prefer the one of the higher name.
        let all = || links.iter().filter_map(|id| self.links.get(id).map(|l| (*id, l)));
        let heard = all().map(|(_, l)| l.heard).max()?;
        let lately = || all().filter(|(_, l)| l.heard + self.pace.round > heard);
        let since = lately().map(|(_, l)| l.since).max()?;
        let crossing = lately().filter(|(_, l)| l.since + self.pace.round > since);
        crossing.max_by_key(|(_, l)| (l.dialler.clone(), l.k)).map(|(id, _)| id)
    }

    pub(crate) fn is_linked(&self, member: &Member) -> bool {
        self.by_member.contains_key(member)
    }

    /// Whether there is a link to a member, and none has brought anything for longer than a
    /// leader's would be silent.
    fn is_silent(&self, now: Time, member: &Member) -> bool {
        let links = self
            .by_member
            .get(member)
            .into_iter()
            .flatten()
            .filter_map(|link| self.links.get(link));
        links
            .map(|l| l.heard)
            .max()
            .is_some_and(|heard| now.since(heard) > self.pace.interval + self.pace.round)
    }

    /// Whether the role wants a link to a member.
    pub(crate) fn is_wanted(&self, member: &Member) -> bool {
        self.wants.contains_key(member)
    }

    pub(crate) fn is_full(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| l.full)
    }

    pub(crate) fn set_full(&mut self, link: LinkId, full: bool) {
        if let Some(l) = self.links.get_mut(&link) {
            l.full = full;
        }
    }

    /// Whether there is such a link, from this side.
    pub(crate) fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(crate) fn peer(&self, link: LinkId) -> Option<&Member> {
        Some(&self.links.get(&link)?.peer.as_ref()?.member)
    }

    /// What a member has said of itself on the link to it.
    pub(crate) fn contact(&self, member: &Member) -> Option<&Contact> {
        self.links.get(&self.to(member)?)?.peer.as_ref()
    }

    /// A member speaks by datagram: that is where it is dialled, as long as it is known by words
    /// alone.
    pub(crate) fn on_heard(&mut self, now: Time, contact: &Contact, from: Ipv4Addr) {
        let member = &contact.member;
        if *contact.address.ip() == from || self.is_linked(member) {
            self.heard.remove(member);
            return;
        }
        if self.heard.len() >= HEARD_MOST && !self.heard.contains_key(member) {
            let oldest =
                self.heard.iter().min_by_key(|(_, (_, at))| *at).map(|(member, _)| member.clone());
            oldest.map(|oldest| self.heard.remove(&oldest));
        }
        self.heard.insert(member.clone(), (from, now));
    }

    /// How often a wanted member has been dialled; nothing while a dial is under way.
    pub(crate) fn vain_dials(&self, member: &Member) -> Option<u32> {
        self.wants.get(member).filter(|want| want.dialling.is_none()).map(|want| want.dials)
    }

    /// Where a member is dialled next. Of one that is known by words alone the words came from
    /// somewhere: there first, and where it says that it is in between, since a datagram may have
    /// been sent through another interface or a router.
    fn address_of(&self, want: &Want) -> SocketAddrV4 {
        let said = want.contact.address;
        let source =
            self.heard.get(&want.contact.member).filter(|_| want.by_word && want.dials % 3 != 1);
        source.map_or(said, |(ip, _)| SocketAddrV4::new(*ip, said.port()))
    }

    /// Looks for what is overdue. To be called once everything that has come has been read: what
    /// was asked is answered by then.
    pub(crate) fn doubt(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.doubt_at.is_none_or(|at| at > now) {
            return;
        }
        let mut closed = Vec::new();
        for want in
            self.wants.values_mut().filter(|want| want.overdue_at().is_some_and(|at| at <= now))
        {
            let waited = want.awaited.put_again(now, &self.pace);
            // A dial is given up, and begun again.
            closed.extend(want.dialling);
            let Some(links) = self
                .by_member
                .get(&want.contact.member)
                .filter(|_| !want.anew && want.dialling.is_none())
            else {
                continue;
            };
            (want.anew, want.dial_at) = (true, now);
            self.doubts.0 += 1;
            let Member { id: peer, inc: peer_inc } = want.contact.member.clone();
            let (waited_ms, count) =
                (u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), self.doubts.0);
            out.push(Output::Note(Note::Unanswered { peer, peer_inc, waited_ms, count }));
            if links.len() >= LINKS_MOST {
                closed.extend(
                    links.iter().copied().min_by_key(|link| self.links.get(link).map(|l| l.heard)),
                );
            }
        }
        closed.into_iter().for_each(|link| self.hang_up(link, out));
        self.schedule(now);
        self.doubt_at = self.wants.values().filter_map(Want::overdue_at).min();
    }

    /// Something has come from a member: whatever was to be dialled anew for its silence is not.
    fn hear(&mut self, now: Time, link: LinkId, greets: bool, out: &mut Vec<Output>) {
        let Some(l) = self.links.get_mut(&link) else { return };
        l.heard = now;
        let Some(contact) = &l.peer else { return };
        let Some(want) = self.wants.get_mut(&contact.member) else { return };
        if greets {
            want.awaited.begin_anew();
        } else {
            want.awaited.hear(now, &self.pace);
        }
        if std::mem::take(&mut want.anew)
            && let Some(dialling) =
                want.dialling.filter(|dialling| self.links.get(dialling).is_some_and(|l| !l.up))
        {
            self.hang_up(dialling, out);
        }
    }

    /// A connection stands.
    pub(crate) fn on_up(
        &mut self,
        now: Time,
        link: LinkId,
        end: LogEnd,
        knows: impl Fn(&PeerId) -> Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        if link.is_dialled() {
            let Some(l) = self.links.get_mut(&link) else {
                // The want has gone while it was being dialled.
                out.push(Output::HangUp { link });
                return;
            };
            l.up = true;
            l.heard = now;
            let known = l.target.as_ref().and_then(|target| knows(target.id()));
            self.hello(link, end, known, out);
        } else {
            let dialler = self.me.member.id.clone();
            self.links.insert(link, Link::new(None, dialler, 0, true, now));
        }
        self.sweep_at = Some(self.sweep_at.unwrap_or(now + self.pace.idle));
    }

    fn hello(
        &mut self,
        link: LinkId,
        end: LogEnd,
        knows: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) {
        let k = self.links.get(&link).map_or(0, |l| l.k);
        let hello = Hello { cluster: self.cluster, from: self.me.clone(), link: k, end, knows };
        self.send_on(link, Message::Hello(hello), out);
    }

    /// The other end has said who it is. An error is a reason to hang up.
    pub(crate) fn on_hello(
        &mut self,
        now: Time,
        link: LinkId,
        hello: &Hello,
        end: LogEnd,
        knows: Option<Incarnation>,
        out: &mut Vec<Output>,
    ) -> Result<Vec<Proof>, String> {
        let mut proofs = Vec::new();
        let Some(l) = self.links.get_mut(&link) else { return Ok(proofs) };
        if l.peer.is_some() {
            return Err("a second HELLO".to_owned());
        }
        let ours = hello.cluster == self.cluster && hello.from.birth != self.me.birth;
        if let Some(target) = l.target.clone() {
            if !ours || hello.from.member != target.member {
                let replaced_by =
                    (ours && hello.from.id() == target.id()).then_some(hello.from.member.inc);
                let is_known = |want: &Want| want.contact.address == target.address;
                // Beside a link that stands, somebody else at the address says nothing about the
                // other end of that one.
                let is_proof =
                    replaced_by.is_some() || !self.by_member.contains_key(&target.member);
                if is_proof && self.wants.get(&target.member).is_none_or(is_known) {
                    proofs.push(Proof::Gone { member: target.member.clone(), replaced_by });
                }
                if let Some(want) = self.wants.get_mut(&target.member) {
                    want.dialling = None;
                }
                if !ours {
                    self.schedule_too(&target.member);
                    self.hang_up(link, out);
                    return Ok(proofs);
                }
            }
        } else if !ours {
            return Err(format!(
                "HELLO of another cluster ({:016x}, ours is {:016x}) or of this very process",
                hello.cluster, self.cluster
            ));
        } else {
            l.dialler = hello.from.id().clone();
            l.k = hello.link;
        }
        l.peer = Some(hello.from.clone());
        (l.since, l.heard) = (now, now);
        if let Some(target) = l.target.clone() {
            // It is somebody else who has answered.
            self.schedule_too(&target.member);
        }
        if !link.is_dialled() {
            self.hello(link, end, knows, out);
        }
        let is_due = self.is_due(&hello.from.member);
        self.by_member.entry(hello.from.member.clone()).or_default().insert(link);
        if let Some(want) = self.wants.get_mut(&hello.from.member) {
            if want.dialling == Some(link) {
                want.dialling = None;
            }
            want.wait = Duration::ZERO;
            want.dials = 0;
        }
        self.heard.remove(&hello.from.member);
        self.hear(now, link, true, out);
        self.close_surplus(&hello.from.member, link, out);
        if is_due {
            self.schedule(now);
        }
        proofs.push(Proof::Up {
            member: hello.from.member.clone(),
            end: hello.end.clone(),
            knows: hello.knows,
        });
        Ok(proofs)
    }

    /// A connection is gone, or a dial came to nothing. Tells what that proves, if anything.
    pub(crate) fn on_down(&mut self, now: Time, link: LinkId, refused: bool) -> Option<Proof> {
        let l = self.links.remove(&link)?;
        let mut proof = None;
        if let Some(target) = &l.target
            && let Some(want) = self.wants.get_mut(&target.member)
            && want.dialling == Some(link)
        {
            want.dialling = None;
            let is_known = target.address == want.contact.address;
            self.schedule_too(&target.member);
            // A reset before HELLO is dialled again like any other failure; only a refusal is
            // proof.
            if refused && is_known && !self.by_member.contains_key(&target.member) {
                proof = Some(Proof::Gone { member: target.member.clone(), replaced_by: None });
            }
        }
        if let Some(Contact { member, .. }) = l.peer
            && let Some(links) = self.by_member.get_mut(&member)
        {
            links.remove(&link);
            if links.is_empty() {
                self.by_member.remove(&member);
                if let Some(want) = self.wants.get_mut(&member) {
                    want.dial_at = now;
                }
                self.schedule_too(&member);
            } else {
                proof = Some(Proof::Thinned { member });
            }
        }
        proof
    }

    /// Closes a link from this side.
    pub(crate) fn hang_up(&mut self, link: LinkId, out: &mut Vec<Output>) {
        let Some(l) = self.links.remove(&link) else { return };
        if let Some(Contact { member, .. }) = l.peer
            && let Some(links) = self.by_member.get_mut(&member)
        {
            links.remove(&link);
            if links.is_empty() {
                self.by_member.remove(&member);
                self.schedule_too(&member);
            }
        }
        if let Some(Contact { member, .. }) = l.target
            && let Some(want) = self.wants.get_mut(&member)
            && want.dialling == Some(link)
        {
            want.dialling = None;
            self.schedule_too(&member);
        }
        out.push(Output::HangUp { link });
    }

    /// Closes all links to a member, so that whoever speaks with it again has proven that both
    /// directions work.
    pub(crate) fn hang_up_on(&mut self, member: &Member, out: &mut Vec<Output>) {
        self.all_to(member).into_iter().for_each(|link| self.hang_up(link, out));
    }

    /// All links to a member.
    pub(crate) fn all_to(&self, member: &Member) -> Vec<LinkId> {
        self.by_member.get(member).into_iter().flatten().copied().collect()
    }

    /// Sends to a member; false where there is no link.
    pub(crate) fn send(
        &mut self,
        now: Time,
        to: &Member,
        message: Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(link) = self.to(to) else { return false };
        if let Some(allowance) = self.pace.allows(&self.me.member, &message)
            && let Some(want) = self.wants.get_mut(to)
        {
            want.awaited.ask(now, allowance);
            self.doubt_at = self.doubt_at.into_iter().chain(want.overdue_at()).min();
        }
        self.send_on(link, message, out);
        true
    }

    /// Sends on a link.
    pub(crate) fn send_on(&mut self, link: LinkId, message: Message, out: &mut Vec<Output>) {
        let Some(l) = self.links.get_mut(&link) else { return };
        if message.is_bulk() {
            out.push(Output::Send { link, message });
            return;
        }
        l.sent += 1;
        if !message.is_routine() {
            let to = l.peer.as_ref().map(Contact::id).or(l.target.as_ref().map(Contact::id));
            out.push(Output::Note(Note::Send {
                m: format!(
                    "{}/{}/{}:{}/{}",
                    self.me.member.id, self.me.member.inc, l.dialler, l.k, l.sent
                ),
                to: to.map_or("?", PeerId::as_str).to_owned(),
                kind: message.verb().to_owned(),
            }));
        }
        out.push(Output::Send { link, message });
    }

    /// Sends one bulk message on several links.
    pub(crate) fn fan(&self, links: Vec<LinkId>, message: Message, out: &mut Vec<Output>) {
        out.push(Output::Fan { links, message });
    }

    /// A message has come in on a link: counts it, and names it where it is to be told.
    pub(crate) fn on_received(
        &mut self,
        now: Time,
        link: LinkId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        self.hear(now, link, false, out);
        let Some(l) = self.links.get_mut(&link) else { return };
        if message.is_bulk() {
            return;
        }
        l.received += 1;
        if !message.is_routine() {
            let (sender, dialler, k) = match (&l.peer, message) {
                (Some(contact), _) => (contact.member.clone(), &l.dialler, l.k),
                (None, Message::Hello(hello)) if l.target.is_none() => {
                    (hello.from.member.clone(), hello.from.id(), hello.link)
                }
                (None, Message::Hello(hello)) => (hello.from.member.clone(), &l.dialler, l.k),
                (None, _) => return,
            };
            out.push(Output::Note(Note::Recv {
                m: format!("{}/{}/{dialler}:{k}/{}", sender.id, sender.inc, l.received),
                kind: message.verb().to_owned(),
            }));
        }
    }

    /// Whoever dials again and again does not fill this side with links that have died without a
    /// word.
    fn close_surplus(&mut self, member: &Member, newest: LinkId, out: &mut Vec<Output>) {
        let Some(links) = self.by_member.get(member).filter(|links| links.len() > LINKS_MOST)
        else {
            return;
        };
        let others = links.iter().copied().filter(|link| *link != newest);
        if let Some(oldest) = others.min_by_key(|link| self.links.get(link).map(|l| l.heard)) {
            self.hang_up(oldest, out);
        }
    }
}

/// Links to one member, besides one that is being dialled.
const LINKS_MOST: usize = 2;
/// Members remembered that were heard by datagram.
const HEARD_MOST: usize = 256;

#[cfg(test)]
mod tests;
