//! Membership under a living leader: who asks to be admitted, who leaves, who is evicted, and the
//! views that say so.
//!
//! A view change is an entry of the log like any other, so a join, a leave or a death needs no
//! flush and no stop. Joins and leaves within `join_batch` share one view; a failure is told at
//! once. A peer that is out leaves no tombstone: it may come back as soon as it asks.

pub(crate) mod entrants;
pub(crate) mod leave;
pub(crate) mod merging;
pub(crate) mod quorum;
pub(crate) mod strangers;

use std::collections::BTreeSet;

use crate::env::Env;
use crate::id::{Contact, Incarnation, Member, PeerId};
use crate::io::Output;
use crate::log::entry::Entry;
use crate::log::remarks::Remarks;
use crate::log::view::View;
use crate::membership::entrants::{Entrant, start_for};
use crate::report::note::{Evidence, Note};
use crate::roles::candidate::blocked::survives;
use crate::roles::leader::Leader;
use crate::roles::leader::progress::Progress;
use crate::roles::leader::stream::Parting;
use crate::roles::turn::{Flow, Next, STAY, Turn, go};

impl Leader {
    /// A member asks to leave.
    pub(crate) fn on_member_leaves(&mut self, turn: &Turn<'_>, from: &Member) {
        let batch_at = turn.now + turn.env.config.knobs().join_batch;
        if self.follows(from) {
            self.leavers.insert(from.id.clone());
            self.batch_at = self.batch_at.or(Some(batch_at));
        }
    }

    /// Removes a member that has failed; the next view says so.
    pub(crate) fn evict(&mut self, turn: &mut Turn<'_>, contact: &Contact, evidence: &Evidence) {
        let silent = matches!(evidence, Evidence::Silence { .. } | Evidence::NoAnswer { .. });
        if self.failed.iter().any(|(failed, _)| failed.member == contact.member) {
            return;
        }
        self.failed.push((contact.clone(), silent));
        let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
        turn.env.suspicions.note(&peer, evidence.to_string());
        turn.out.push(Output::Note(Note::Suspect { peer, peer_inc, evidence: evidence.clone() }));
    }

    /// Numbers the next view, if one is due and may be numbered.
    pub(crate) fn change_view(&mut self, turn: &mut Turn<'_>) -> Flow {
        if turn.env.policy().needs_quorum() && !self.failed.is_empty() {
            self.doubt_quorum(turn)?;
        }
        // Whoever has failed cannot clear the doubt, so it stops counting for it.
        self.clear_doubt();
        let batch_due = self.batch_at.is_some_and(|at| at <= turn.now);
        if self.failed.is_empty() && !batch_due || !self.is_numbering() || self.unsettled {
            return STAY;
        }
        let Some(view) = turn.env.log.view().cloned() else { unreachable!("{NO_VIEW}") };
        let failed = std::mem::take(&mut self.failed);
        let mut change = Change { failed, left: Vec::new(), entrants: Vec::new() };
        if batch_due {
            self.add_batch(turn, &view, &mut change)?;
        }
        let mut members: Vec<Contact> =
            view.members.iter().filter(|contact| change.keeps(contact)).cloned().collect();
        if batch_due {
            turn.env.renew_contacts(&mut members);
        }
        members.extend(change.entrants.iter().map(|entrant| entrant.contact.clone()));
        let me = turn.env.me.id().clone();
        let next = View::new(view.view_id.next(), turn.env.log.epoch(), me, members);
        change.tell(&view, &next, turn.out);
        if next.members == view.members {
            return STAY;
        }
        let why = |id: &PeerId, suspected| {
            if change.left.contains(id) { Some("it asked to leave".to_owned()) } else { suspected }
        };
        let next = turn.env.with_remarks(next, &view, why);
        turn.env.append(Entry::View(next), turn.out);
        self.unsettle(turn.env);
        self.follow_members(turn, change);
        STAY
    }

    /// Those who leave and those who come in with the view that is due.
    fn add_batch(&mut self, turn: &Turn<'_>, view: &View, change: &mut Change) -> Flow {
        let needs_quorum = turn.env.policy().needs_quorum();
        self.batch_at = None;
        // Who builds this epoch's log is sent no entry, so it would not learn that it may go.
        change.left = self
            .leavers
            .extract_if(.., |id| self.progress.get(id).is_none_or(|progress| progress.adopted))
            .collect();
        if needs_quorum {
            let later = hold_back(view, &change.failed, &mut change.left);
            self.batch_at = later.first().map(|_| turn.now);
            self.leavers.extend(later);
        }
        // Its link may have gone since it asked; with the next one it is ready again.
        let is_linked =
            |entrant: &&Entrant| entrant.ready && turn.env.links.is_linked(&entrant.contact.member);
        let is_ripe = |entrant: &&Entrant| {
            is_linked(entrant) && (entrant.asked || entrant.promised <= self.epoch)
        };
        let mut entrants: Vec<Entrant> = self
            .entrants
            .values()
            .filter(|entrant| is_ripe(entrant) && change.is_gone(view, entrant.contact.id()))
            .cloned()
            .collect();
        if let Some(above) = entrants
            .iter()
            .map(|entrant| &entrant.promised)
            .max()
            .filter(|above| **above > self.epoch)
            .cloned()
        {
            // They have promised to accept nothing below that; so this leader moves above it first.
            self.leavers.extend(std::mem::take(&mut change.left));
            self.failed = std::mem::take(&mut change.failed);
            self.batch_at = Some(turn.now);
            return go(Next::Renew { above });
        }
        let is_left = |contact: &&Contact| !change.is_gone(view, contact.id());
        let kept: Vec<&Contact> = view.members.iter().filter(is_left).collect();
        // Several have asked while there was room for one; the others ask again, and are told that
        // there is none.
        let room = turn.env.config.knobs().members_max.saturating_sub(kept.len() as u64);
        entrants.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if needs_quorum {
            entrants.truncate(self.bearable(&turn.env.me.member, &kept));
        }
        change.entrants = entrants;
        STAY
    }

    /// The followers become those of the newest view; whoever is new is told so, whoever is out is
    /// sent the entry that says it. Who is out for its silence may be heard and not hear: it comes
    /// back over a new connection, which proves both ways.
    fn follow_members(&mut self, turn: &mut Turn<'_>, change: Change) {
        let Change { failed, entrants, .. } = change;
        let is_silent = |member: &Member| {
            failed.iter().any(|(other, silent)| *silent && other.member == *member)
        };
        let (view_at, awaits) = (turn.env.log.view_at(), turn.env.log.unsafe_to());
        let Some(view) = turn.env.log.view().cloned() else { unreachable!("{NO_VIEW}") };
        self.follow_moves(&view);
        let forget_at = turn.now + turn.env.config.knobs().heartbeat_timeout;
        let out_of_it: Vec<Progress> = self
            .progress
            .extract_if(.., |_, progress| !view.names(&progress.contact.member))
            .map(|(_, progress)| progress)
            .collect();
        for progress in out_of_it {
            let member = progress.contact.member.clone();
            let is_silent = is_silent(&member);
            if !progress.adopted || is_silent && !progress.has_answered() {
                if is_silent {
                    turn.env.links.hang_up_on(&member, turn.out);
                }
            } else {
                let old_links = if is_silent { turn.env.links.all_to(&member) } else { Vec::new() };
                self.parting.push(Parting {
                    member,
                    cursor: progress.cursor,
                    until: view_at,
                    awaits,
                    forget_at,
                    old_links,
                });
            }
            if progress.adopted {
                self.depart(&progress);
            }
        }
        self.clear_doubt();
        for entrant in entrants {
            self.entrants.remove(entrant.contact.id());
            let progress =
                Progress::newcomer(entrant.contact.clone(), entrant.ask, view_at, turn.now);
            self.progress.insert(entrant.contact.id().clone(), progress);
            let start = start_for(&turn.env.log, &entrant.past);
            self.admit(turn, &entrant.contact.member, entrant.ask, start);
        }
        turn.env.wants_changed = true;
    }

    /// The probed incarnation of that name is gone, or has been replaced.
    pub(crate) fn on_member_gone(
        &mut self,
        turn: &mut Turn<'_>,
        member: &Member,
        replaced_by: Option<Incarnation>,
    ) {
        if self.entrants.get(&member.id).is_some_and(|entrant| entrant.contact.member == *member)
            && let Some(entrant) = self.entrants.remove(&member.id)
        {
            let dials = turn.env.links.vain_dials(member).unwrap_or(1);
            turn.env.strangers.on_vain_dials(turn.now, entrant.contact.address, dials);
            turn.env.wants_changed = true;
        }
        self.stop_merge_request(turn, |merge_request| merge_request.leader.member == *member);
        self.forget_invited(turn, member);
        let contact = self.progress_of(member).map(|progress| progress.contact.clone());
        if let Some(contact) = contact {
            let evidence = replaced_by
                .map_or(Evidence::Refused, |incarnation| Evidence::Replaced { incarnation });
            self.evict(turn, &contact, &evidence);
        }
    }
}

impl Env {
    /// A view that this peer numbers now, with its time and with why those went who were in the one
    /// before.
    pub(crate) fn with_remarks(
        &mut self,
        view: View,
        before: &View,
        why: impl Fn(&PeerId, Option<String>) -> Option<String>,
    ) -> View {
        let gone = before.members.iter().map(Contact::id).filter(|id| view.find(id).is_none());
        let why = gone.filter_map(|id| {
            let suspected = self.suspicions.take(id);
            Some((id.clone(), why(id, suspected)?))
        });
        let remarks = Remarks { why: why.collect(), ordered: self.utc };
        View { remarks, ..view }
    }
}

impl Leader {
    /// Mode `primary`: how many may come into a view in which these stay. Those who have
    /// acknowledged something to this leader have to be a quorum of it, the leader among them:
    /// newcomers that never say a word would block the group for good.
    fn bearable(&self, me: &Member, kept: &[&Contact]) -> usize {
        let acknowledges = |contact: &&&Contact| {
            let progress = self.progress_of(&contact.member);
            contact.member == *me || progress.is_some_and(Progress::has_answered)
        };
        (2 * kept.iter().filter(acknowledges).count()).saturating_sub(kept.len())
    }
}

/// What the next view changes.
struct Change {
    /// Who has failed, and whether it was only silent.
    failed: Vec<(Contact, bool)>,
    /// Who has asked to leave.
    left: Vec<PeerId>,
    /// Who comes in.
    entrants: Vec<Entrant>,
}

impl Change {
    /// Whether nobody of that name stays in the view.
    fn is_gone(&self, view: &View, id: &PeerId) -> bool {
        view.find(id).is_none()
            || self.failed.iter().any(|(contact, _)| contact.id() == id)
            || self.left.contains(id)
    }

    /// Whether that very peer stays.
    fn keeps(&self, contact: &Contact) -> bool {
        !self.failed.iter().any(|(other, _)| other.member == contact.member)
            && !self.left.contains(contact.id())
    }

    /// Tells who goes, and why.
    fn tell(&self, view: &View, next: &View, out: &mut Vec<Output>) {
        for (contact, silent) in &self.failed {
            let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
            out.push(Output::Note(Note::Failed {
                peer,
                peer_inc,
                silent: *silent,
                ordered: next.ids(),
            }));
        }
        for contact in self.left.iter().filter_map(|id| view.find(id)) {
            let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
            out.push(Output::Note(Note::Left { peer, peer_inc, ordered: next.ids() }));
        }
    }
}

/// Mode `primary`: those who leave go at most as many at a time as leave a quorum of the view;
/// returns the others.
fn hold_back(view: &View, failed: &[(Contact, bool)], left: &mut Vec<PeerId>) -> BTreeSet<PeerId> {
    let mut later = BTreeSet::new();
    let gone = |left: &[PeerId], contact: &Contact| {
        left.contains(contact.id())
            || failed.iter().any(|(other, _)| other.member == contact.member)
    };
    while !left.is_empty() && !survives(view, |contact| gone(left, contact)) {
        later.extend(left.pop());
    }
    later
}

/// Whoever leads has numbered a view, or waits for the one of its log to become stable.
pub(crate) const NO_VIEW: &str = "the log of a leader holds a view";

#[cfg(test)]
mod tests {
    use super::hold_back;
    use crate::config::Knobs;
    use crate::harness::{Harness, epoch_of, nothing, peer, reborn, request};
    use crate::id::{Contact, Epoch, Incarnation, Member, Seq, ViewId};
    use crate::io::{Input, Output};
    use crate::log::entry::{Entry, Ordered};
    use crate::log::view::View;
    use crate::membership::entrants::ASKED_AGAIN;
    use crate::report::note::Evidence;
    use crate::wire::message::{Coordinator, HeartbeatAck, JoinRequest, Message, Reason, Rejected};
    use std::time::Duration;

    const MICRO: Duration = Duration::from_micros(1);

    /// The refusals that have gone out by datagram since somebody last looked.
    fn refusals(harness: &mut Harness) -> Vec<Reason> {
        let refusal = |output| match output {
            Output::Whisper { datagram, .. } => match datagram.message {
                Message::Rejected(Rejected { reason, .. }) => Some(reason),
                _ => None,
            },
            _ => None,
        };
        std::mem::take(&mut harness.out).into_iter().filter_map(refusal).collect()
    }

    fn admissions(harness: &mut Harness, to: &Contact) -> usize {
        harness.told(to).iter().filter(|message| matches!(message, Message::Added(_))).count()
    }

    #[test]
    fn who_stops_asking_is_forgotten_and_dialled_no_more() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.hear(&peer(2), request(&peer(2)));
        let until = harness.now + ASKED_AGAIN;
        let mut dials = 0;
        // Known by datagram alone: it is dialled three times.
        while harness.now + MICRO < until {
            dials += harness.refuse_dials(false);
            harness.out.clear();
            let rest = until.since(harness.now + MICRO);
            harness.rest(rest.min(Duration::from_millis(5)));
        }
        harness.give(Input::Wake);
        assert!(dials == 3 && harness.leads().entrants.is_empty());
        harness.hear(&peer(2), request(&peer(2)));
        assert_eq!(harness.refuse_dials(false), 0, "it is forgotten for a minute");
        harness.rest(Duration::from_secs(60));
        harness.hear(&peer(2), request(&peer(2)));
        assert_eq!(harness.refuse_dials(false), 1);
        harness.rest(ASKED_AGAIN + Duration::from_millis(200));
        harness.refuse_dials(false);
        assert!(harness.leads().entrants.is_empty(), "it has stopped asking");
        assert_eq!(harness.node.env.links.deadline(), None, "nobody wants a link to it");
    }

    #[test]
    fn an_older_life_that_is_heard_is_dialled_and_told_over_the_link_unless_the_later_one_is_a_member()
     {
        for is_out in [false, true] {
            let mut harness = Harness::leader(Knobs::fast());
            harness.admit(&reborn(2));
            harness.acknowledge(&reborn(2), Seq(2));
            if is_out {
                harness.fail(&reborn(2));
                harness.rest(Knobs::fast().heartbeat_timeout);
            }
            harness.out.clear();
            harness.hear(&peer(2), request(&peer(2)));
            let knows = harness.leads().entrants.contains_key(peer(2).id());
            assert_eq!((harness.dialled().len() == 1, knows), (is_out, is_out));
            harness.greet(&peer(2), nothing());
            let Message::NewPeerRequest(join) = request(&peer(2)) else { unreachable!("a wish") };
            let no = Rejected {
                ask: Some(join.ask),
                reason: Reason::OldIncarnation { known: reborn(2).member.inc },
            };
            assert_eq!(harness.told(&peer(2)).contains(&Message::Rejected(no)), is_out);
            assert!(
                !harness.leads().entrants.contains_key(peer(2).id()),
                "it is to ask by another name"
            );
        }
    }

    #[test]
    fn no_more_ask_at_a_time_than_a_group_may_have() {
        let mut harness = Harness::leader(Knobs { members_max: 2, ..Knobs::fast() });
        for (n, refused) in [(2, vec![]), (3, vec![]), (4, vec![Reason::Busy]), (2, vec![])] {
            harness.hear(&peer(n), request(&peer(n)));
            assert_eq!(refusals(&mut harness), refused, "p{n}");
        }
    }

    #[test]
    fn of_those_who_ask_together_no_more_are_let_in_than_there_is_room_for() {
        let mut harness = Harness::leader(Knobs { members_max: 3, ..Knobs::fast() });
        for n in [2, 4, 5] {
            harness.greet(&peer(n), nothing());
            harness.say(&peer(n), request(&peer(n)));
        }
        harness.rest(Knobs::fast().join_batch);
        let size = harness.node.env.log.view().map(View::size);
        assert_eq!(size, Some(3));
    }

    #[test]
    fn the_older_life_is_probed_once_for_each_newcomer() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        let probing = |harness: &mut Harness| {
            harness.leads().entrants[peer(2).id()].probing.expect("an older life is in the view")
        };
        harness.hear(&reborn(2), request(&reborn(2)));
        assert_eq!(
            harness.leads().entrants[peer(2).id()].probing,
            None,
            "it may be anybody's word"
        );
        harness.greet(&reborn(2), nothing());
        let probe = probing(&mut harness);
        harness.rest(Duration::from_millis(1));
        harness.hear(&reborn(2), request(&reborn(2)));
        assert_eq!(probing(&mut harness), probe, "the same one");
        let third = Contact {
            member: Member { inc: Incarnation(3), ..peer(2).member },
            birth: 3_000,
            ..peer(2)
        };
        harness.greet(&third, nothing());
        harness.say(&third, request(&third));
        assert!(probing(&mut harness) > probe, "another one");
        let ack = |beat| {
            Message::HeartbeatAck(HeartbeatAck {
                epoch: Epoch::none(),
                beat,
                contiguous: Seq::ZERO,
                lag: 0,
            })
        };
        harness.out.clear();
        harness.say(&peer(2), ack(probe));
        assert_eq!(refusals(&mut harness), [], "that was the answer to an earlier probe");
        harness.rest(Duration::from_millis(1));
        harness.say(&peer(2), ack(probe + 1));
        let refused = harness.told(&third);
        assert!(
            matches!(
                &refused[..],
                [Message::Rejected(Rejected { reason: Reason::DuplicateId { .. }, .. })]
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn who_has_asked_by_datagram_is_admitted_when_a_link_stands() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.hear(&peer(2), request(&peer(2)));
        harness.rest(Duration::from_millis(50));
        assert_eq!(
            harness.node.env.log.contiguous(),
            Seq(1),
            "nothing proves that it can be reached"
        );
        harness.greet(&peer(2), nothing());
        harness.out.clear();
        harness.rest(Duration::from_millis(20));
        assert_eq!(admissions(&mut harness, &peer(2)), 1);
    }

    #[test]
    fn one_view_replaces_an_older_life_that_is_gone() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.greet(&reborn(2), nothing());
        harness.say(&reborn(2), request(&reborn(2)));
        harness.rest(Duration::from_millis(20) - MICRO);
        harness.lead(harness.now, |leader, turn| {
            leader.evict(turn, &peer(2), &Evidence::Refused);
        });
        harness.now += MICRO;
        harness.give(Input::Wake);
        let view = harness.node.env.log.view().expect("a view");
        assert!(view.view_id.0 == 3 && view.names(&reborn(2).member), "{view}");
    }

    #[test]
    fn who_asks_again_without_a_link_keeps_what_it_has_acknowledged() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.cut(&peer(2));
        let Message::NewPeerRequest(join) = request(&peer(2)) else { unreachable!("a wish") };
        harness.hear(&peer(2), Message::NewPeerRequest(JoinRequest { ask: join.ask + 1, ..join }));
        assert_eq!(harness.leads().progress[peer(2).id()].acked, Seq(2));
        harness.greet(&peer(2), nothing());
        harness.out.clear();
        harness.hear(&peer(2), request(&peer(2)));
        let told = harness.told(&peer(2));
        assert!(
            told.iter().any(|message| matches!(message, Message::Coordinator(_))),
            "now it can be told whom to ask: {told:?}"
        );
        harness.say(&peer(2), request(&peer(2)));
        assert_eq!(admissions(&mut harness, &peer(2)), 1, "and has asked itself");
    }

    #[test]
    fn who_says_that_it_is_elsewhere_is_out_at_once_unless_it_has_asked_or_answered_since() {
        for (ask, acked, stays) in [
            (Some(1 << 63 | 1), None, false),
            (Some(1 << 63 | 2), None, true),
            (None, None, true),
            (Some(1 << 63 | 1), Some(Seq(2)), true),
        ] {
            let mut harness = Harness::leader(Knobs::fast());
            harness.admit(&peer(2));
            if let Some(acked) = acked {
                harness.acknowledge(&peer(2), acked);
            }
            harness.say(&peer(2), Message::Rejected(Rejected { ask, reason: Reason::NotMember }));
            let view = harness.node.env.log.view().expect("a view");
            assert_eq!(view.names(&peer(2).member), stays, "{ask:?}, {acked:?}");
        }
    }

    #[test]
    fn a_courted_leader_that_is_gone_is_not_waited_for() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        let beacon = |n: u16| {
            let epoch = Epoch { round: 5, owner: peer(n).member };
            Message::Coordinator(Coordinator {
                leader: peer(n),
                epoch,
                size: 9,
                ask: None,
                names_you: false,
            })
        };
        harness.out.clear();
        harness.hear(&peer(8), beacon(8));
        let dials = harness.dialled();
        harness.fail(&peer(2));
        let courted = |harness: &mut Harness| {
            harness.leads().merge_request.as_ref().map(|merge_request| merge_request.leader.clone())
        };
        assert_eq!(courted(&mut harness), Some(peer(8)), "somebody else is gone");
        harness.give(Input::DialFailed { link: dials[0], refused: true });
        assert_eq!(courted(&mut harness), None);
        harness.hear(&peer(9), beacon(9));
        assert_eq!(courted(&mut harness), Some(peer(9)));
    }

    #[test]
    fn a_newcomer_that_is_gone_is_not_waited_for_and_its_older_life_is_another() {
        let mut harness = Harness::leader(Knobs::fast());
        harness.admit(&peer(2));
        harness.acknowledge(&peer(2), Seq(2));
        harness.hear(&reborn(2), request(&reborn(2)));
        let dials = harness.dialled();
        harness.fail(&peer(2));
        assert!(harness.leads().entrants.contains_key(peer(2).id()), "only its older life is gone");
        harness.give(Input::DialFailed { link: dials[0], refused: true });
        assert!(harness.leads().entrants.is_empty());
    }

    #[test]
    fn of_those_who_leave_at_once_as_many_go_as_leave_a_quorum() {
        let (failed, ids) = ([(peer(5), true)], |peers: &[u16]| {
            peers.iter().map(|n| peer(*n).id().clone()).collect::<Vec<_>>()
        });
        let view = View::new(
            ViewId(1),
            Epoch { round: 1, owner: peer(1).member },
            peer(1).id().clone(),
            (1..=5).map(peer).collect(),
        );
        for (request, failed, now) in [
            (vec![4, 3], &failed[..], vec![4]),
            (vec![4], &failed[..], vec![4]),
            (vec![4, 3, 2], &[], vec![4, 3]),
        ] {
            let mut left = ids(&request);
            let later = hold_back(&view, failed, &mut left);
            assert_eq!(left, ids(&now), "{request:?}");
            assert_eq!(later, ids(&request[now.len()..]).into_iter().collect(), "{request:?}");
        }
    }

    #[test]
    fn a_few_of_a_large_group_tell_a_newcomer_whom_to_ask() {
        let told = |members: u16| {
            let mut harness = Harness::newcomer(Knobs::fast());
            harness.greet(&peer(3), nothing());
            harness.let_in(Seq::ZERO, Seq(1));
            let all = (1..=members).map(peer).collect();
            let view = View::new(ViewId(1), epoch_of(&peer(3)), peer(3).id().clone(), all);
            let run = vec![Entry::View(view)];
            harness.say(
                &peer(3),
                Message::Ordered(Ordered {
                    epoch: epoch_of(&peer(3)),
                    first: Seq(1),
                    run,
                    stable: Seq::ZERO,
                    repair: None,
                }),
            );
            harness.out.clear();
            (0..1_000).for_each(|_| harness.hear(&peer(900), request(&peer(900))));
            harness.out.iter().filter(|output| matches!(output, Output::Whisper { .. })).count()
        };
        assert_eq!(told(16), 1_000);
        let of_many = told(160);
        assert!(
            (50..200).contains(&of_many),
            "{of_many} of 1,000 times, where each of 160 is to answer one time in ten"
        );
    }
}
