//! When which peer is dialled: at once, and ever more slowly while nobody answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::id::{Contact, LinkId, Member};
use crate::io::Output;
use crate::links::Links;
use crate::links::awaited::Awaited;
use crate::links::link::Link;
use crate::links::want::{Want, Wanted};
use crate::membership::strangers::DIALS_EACH;
use crate::time::Time;

pub(crate) const REDIAL_FIRST: Duration = Duration::from_millis(10);

pub(crate) const REDIAL_MOST: Duration = Duration::from_millis(100);

/// A dial without an answer for that long is given up for another address that the peer was heard
/// from.
pub(crate) const REDIAL_STUCK: Duration = Duration::from_millis(300);

pub(crate) const REDIAL_STRANGER: Duration = Duration::from_secs(1);

impl Links {
    /// A datagram names an address of a process that is wanted and cannot be reached. The next dial
    /// tries it: the process may have moved. A stranger can say so, too, hence a dial that fails
    /// there says nothing of the process.
    pub(crate) fn try_elsewhere(&mut self, now: Time, contact: &Contact, out: &mut Vec<Output>) {
        let is_linked = self.by_member.contains_key(&contact.member);
        let Some(want) = self.wants.get_mut(&contact.member) else { return };
        if is_linked && !want.anew
            || want.contact.birth != contact.birth
            || want.contact.address == contact.address
        {
            return;
        }
        want.heard = Some(contact.address);
        let stuck = |link: &LinkId| {
            self.links.get(link).is_some_and(|l| {
                let elsewhere =
                    l.target.as_ref().is_some_and(|target| target.address != contact.address);
                !l.up && elsewhere && now.since(l.since) >= REDIAL_STUCK
            })
        };
        if let Some(link) = want.dialling.filter(stuck) {
            want.dial_at = want.dial_at.min(now);
            self.hang_up(link, out);
        }
    }

    /// Says which members a link is wanted to, and nobody else.
    pub(crate) fn want<T: Into<Wanted>>(&mut self, now: Time, wanted: Vec<T>) {
        let mut wants = BTreeMap::new();
        for Wanted { contact, by_word } in wanted.into_iter().map(Into::into) {
            if contact.member == self.me.member {
                continue;
            }
            let want = match self.wants.remove(&contact.member) {
                Some(old) if old.contact.address == contact.address => Want { by_word, ..old },
                Some(_) => Want::new(Wanted { contact, by_word }, now, &self.pace),
                // Nobody has asked anything on a link that nobody wanted, so its death would not
                // have been noticed.
                None => {
                    let anew = self.is_silent(now, &contact.member);
                    Want { anew, ..Want::new(Wanted { contact, by_word }, now, &self.pace) }
                }
            };
            wants.insert(want.contact.member.clone(), want);
        }
        let given_up = std::mem::replace(&mut self.wants, wants)
            .into_values()
            .filter_map(|want| want.dialling);
        self.given_up.extend(given_up.filter(|link| self.links.get(link).is_some_and(|l| !l.up)));
        self.schedule(now);
        self.doubt_at = self.wants.values().filter_map(Want::overdue_at).min();
    }

    /// Dials that hang are begun anew: what they were sent into may have mended.
    pub(crate) fn dial_afresh(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut hanging = Vec::new();
        for want in self.wants.values_mut() {
            if let Some(dialling) = want.dialling {
                (want.awaited, want.dial_at, want.wait) =
                    (Awaited::new(&self.pace), now, Duration::ZERO);
                hanging.push(dialling);
            }
        }
        hanging.into_iter().for_each(|link| self.hang_up(link, out));
    }

    /// Dials what is due, closes what nobody needs.
    pub(crate) fn tend(&mut self, now: Time, out: &mut Vec<Output>) {
        std::mem::take(&mut self.given_up).into_iter().for_each(|link| self.hang_up(link, out));
        if self.dial_at.is_some_and(|at| at <= now) {
            let is_free =
                |want: &Want| want.anew || !self.by_member.contains_key(&want.contact.member);
            let is_due =
                |want: &&Want| want.dialling.is_none() && is_free(want) && want.dial_at <= now;
            let due = self
                .wants
                .values()
                .filter(is_due)
                .map(|want| (want.contact.member.clone(), self.address_of(want)));
            for (member, address) in due.collect::<Vec<(Member, SocketAddrV4)>>() {
                let Some(want) = self.wants.get_mut(&member) else { continue };
                self.dials += 1;
                let link = LinkId::dialled(self.dials);
                let address = want.heard.take().unwrap_or(address);
                let target = Some(Contact { address, ..want.contact.clone() });
                let (dialler, k) = (self.me.member.id.clone(), self.dials);
                self.links.insert(link, Link::new(target, dialler, k, false, now));
                (want.dialling, want.dialled_at) = (Some(link), now);
                self.doubt_at = self.doubt_at.into_iter().chain(want.overdue_at()).min();
                // Two of three dials go to the source. Beyond three only that matters, and a count
                // would have no end.
                want.dials =
                    if want.dials < 2 * DIALS_EACH - 1 { want.dials + 1 } else { DIALS_EACH };
                let rarely = want.by_word && want.dials >= DIALS_EACH;
                want.wait = if rarely {
                    REDIAL_STRANGER
                } else {
                    (want.wait * 2).clamp(REDIAL_FIRST, REDIAL_MOST)
                };
                want.dial_at = now + want.wait;
                out.push(Output::Dial { link, to: address });
            }
            self.schedule(now);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now, out);
        }
    }

    /// Sets the next moment at which something is to be dialled.
    pub(crate) fn schedule(&mut self, now: Time) {
        self.dial_at = self
            .wants
            .values()
            .filter(|want| {
                want.dialling.is_none()
                    && (want.anew || !self.by_member.contains_key(&want.contact.member))
            })
            .map(|want| want.dial_at.max(now))
            .min();
    }

    /// Sees to it that one more is dialled in time. Who wants links to many does not look at all of
    /// them for each that fails.
    pub(crate) fn schedule_too(&mut self, member: &Member) {
        let overdue = self.wants.get(member).and_then(Want::overdue_at);
        self.doubt_at = self.doubt_at.into_iter().chain(overdue).min();
        let due = self.wants.get(member).filter(|_| self.is_due(member)).map(|want| want.dial_at);
        self.dial_at = self.dial_at.into_iter().chain(due).min();
    }

    /// Whether somebody is to be dialled, now or after a wait.
    pub(crate) fn is_due(&self, member: &Member) -> bool {
        let is_linked = self.by_member.contains_key(member);
        self.wants
            .get(member)
            .is_some_and(|want| want.dialling.is_none() && (want.anew || !is_linked))
    }

    /// Closes links that have brought nothing for `link_idle`: of members that are not wanted,
    /// surplus ones, and those on which nobody has said who it is. Nobody may have asked anything
    /// on one that is wanted, so it may have died without a word; after a much longer silence it is
    /// made anew.
    pub(crate) fn sweep(&mut self, now: Time, out: &mut Vec<Output>) {
        let best: BTreeSet<LinkId> =
            self.wants.values().filter_map(|want| self.to(&want.contact.member)).collect();
        let idle: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(id, l)| {
                // The dialler of a named link decides; the acceptor only helps itself against
                // strangers.
                let mine =
                    id.is_dialled() || l.peer.is_none() || now.since(l.heard) >= 3 * self.pace.idle;
                let patience = if best.contains(id) {
                    3 * self.pace.idle.max(self.pace.most)
                } else {
                    self.pace.idle
                };
                l.up && mine && now.since(l.heard) >= patience
            })
            .map(|(id, _)| *id)
            .collect();
        for link in idle {
            self.hang_up(link, out);
        }
        self.schedule(now);
        self.sweep_at = (!self.links.is_empty()).then(|| now + self.pace.idle / 2);
    }
}
