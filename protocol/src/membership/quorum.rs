//! Quorums of views: who may go on in mode `primary`, and what is stable there.
//!
//! The primary follows the living: each view needs a quorum of the one before (dynamic voting;
//! Jajodia and Mutchler 1990, Lotem, Keidar and Dolev 1997), so a group that shrinks member by
//! member goes on, and two halves of one that splits never do. Any two quorums of one view meet,
//! because exactly half of it counts only with the leader that the view names. While a view entry
//! is unstable it may or may not be known to those that decide next; so until it is stable both it
//! and the view before it count.
//!
//! Only counts. Who asks for promises is in `election` and `claim`, who waits for what in
//! `blocked`.

use crate::id::{Member, Seq};
use crate::log::Log;
use crate::log::view::View;

/// Whether those for whom `holds` is true are a quorum of the view.
pub(crate) fn is_quorum(view: &View, holds: impl Fn(&Member) -> bool) -> bool {
    let count = view.members.iter().filter(|contact| holds(&contact.member)).count();
    2 * count > view.size()
        || 2 * count == view.size()
            && view.leader_contact().is_some_and(|leader| holds(&leader.member))
}

/// The views of which a quorum is needed to go on from a log: its newest, and the one before unless
/// that is known stable. Never more: a third view proves the second one stable.
pub(crate) fn required(views: &[(Seq, View)], stable: Seq) -> &[(Seq, View)] {
    let known_stable = views.first().is_some_and(|(at, _)| *at <= stable);
    &views[..views.len().min(if known_stable { 1 } else { 2 })]
}

/// Whether those for whom `holds` is true may go on from a log with these newest views.
pub(crate) fn may_go_on(
    views: &[(Seq, View)],
    stable: Seq,
    holds: impl Fn(&Member) -> bool,
) -> bool {
    !views.is_empty() && required(views, stable).iter().all(|(_, view)| is_quorum(view, &holds))
}

/// The last position that a quorum of the view holds, where `held` says how far each member is.
fn reach(view: &View, held: &impl Fn(&Member) -> Seq) -> Seq {
    let mut positions: Vec<Seq> =
        view.members.iter().map(|contact| held(&contact.member)).collect();
    positions.sort_unstable_by(|a, b| b.cmp(a));
    let half = positions.len() / 2;
    let majority = positions.get(half).copied().unwrap_or(Seq::ZERO);
    if positions.len() % 2 == 1 || half == 0 {
        return majority;
    }
    let leader = view.leader_contact().map_or(Seq::ZERO, |leader| held(&leader.member));
    majority.max(leader.min(positions[half - 1]))
}

/// The last stable position of a log, where `held` says how far each member is in the present
/// epoch.
pub(crate) fn stable_by_quorum(log: &Log, held: impl Fn(&Member) -> Seq) -> Seq {
    let views = log.last_views();
    let Some((at, newest)) = views.first() else { return Seq::ZERO };
    let by_newest = reach(newest, &held);
    if *at <= log.stable() {
        return by_newest;
    }
    // Up to the newest view entry the one before is in force; the entry itself needs both, and all
    // above it follows.
    let by_both = views.get(1).map_or(by_newest, |(_, before)| reach(before, &held));
    if by_both >= *at && by_newest >= *at { by_newest } else { by_both.min(at.previous()) }
}

#[cfg(test)]
mod tests {
    use super::{is_quorum, may_go_on, stable_by_quorum};
    use crate::guarantee::Guarantee;
    use crate::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use crate::log::Log;
    use crate::log::entry::Entry;
    use crate::log::view::View;
    use bytes::Bytes;

    fn member(n: u16) -> Member {
        Member { id: PeerId::new(&format!("p{n}")).expect("a valid name"), inc: Incarnation(1) }
    }

    fn view(view_id: u64, leader: u16, members: &[u16]) -> View {
        let contact = |n: &u16| Contact {
            member: member(*n),
            birth: 0,
            address: format!("10.0.0.1:{n}").parse().expect("valid"),
            explicit: 0,
        };
        let epoch = Epoch { round: 1, owner: member(leader) };
        View::new(ViewId(view_id), epoch, member(leader).id, members.iter().map(contact).collect())
    }

    #[track_caller]
    fn check(view: &View, holders: &[u16], expected: bool) {
        assert_eq!(
            is_quorum(view, |other| holders.iter().any(|n| member(*n) == *other)),
            expected,
            "{holders:?} of {view}"
        );
    }

    #[test]
    fn a_quorum_is_more_than_half_or_half_with_the_leader() {
        let three = view(1, 3, &[1, 2, 3]);
        check(&three, &[1, 2], true);
        check(&three, &[3], false);
        let four = view(1, 4, &[1, 2, 3, 4]);
        check(&four, &[1, 4], true);
        check(&four, &[1, 2], false);
        check(&four, &[1, 2, 3], true);
        let two = view(1, 2, &[1, 2]);
        check(&two, &[2], true);
        check(&two, &[1], false);
        check(&view(1, 1, &[1]), &[1], true);
        check(&view(1, 1, &[1]), &[], false);
    }

    #[test]
    fn any_two_quorums_of_a_view_meet() {
        for size in 1..=6_u16 {
            let members: Vec<u16> = (1..=size).collect();
            for leader in 1..=size {
                let view = view(1, leader, &members);
                let chosen = |set: u32| {
                    move |other: &Member| {
                        (1..=size).any(|n| set >> n & 1 == 1 && member(n) == *other)
                    }
                };
                let quorums: Vec<u32> = (0..1 << (size + 1))
                    .filter(|set| set & 1 == 0 && is_quorum(&view, chosen(*set)))
                    .collect();
                assert!(
                    quorums.iter().all(|a| quorums.iter().all(|b| a & b != 0)),
                    "size {size}, leader {leader}"
                );
            }
        }
    }

    #[test]
    fn an_unstable_view_does_not_count_alone() {
        let views = [(Seq(9), view(2, 5, &[4, 5])), (Seq(1), view(1, 5, &[1, 2, 3, 4, 5]))];
        let both = |other: &Member| *other == member(4) || *other == member(5);
        assert!(
            !may_go_on(&views, Seq(8), both),
            "two of the five that may not know the newer view"
        );
        assert!(may_go_on(&views, Seq(9), both));
    }

    #[test]
    fn stability_crosses_a_view_only_with_quorums_of_both() {
        let mut log = Log::empty();
        log.push_row(Epoch { round: 1, owner: member(3) });
        let data = |oseq| Entry::one(member(3), Oseq(oseq), Guarantee::Agreed, Bytes::new(), 0);
        log.append(Entry::View(view(1, 3, &[1, 2, 3])));
        log.append(data(1));
        log.append(Entry::View(view(2, 3, &[1, 2, 3, 4, 5])));
        log.append(data(2));
        let stable = |log: &Log, held: [u64; 5]| {
            stable_by_quorum(log, move |other| {
                (1..=5)
                    .find(|n| member(*n) == *other)
                    .map_or(Seq::ZERO, |n| Seq(held[usize::from(n) - 1]))
            })
        };
        // The newest view is not stable: the three decide up to it, and it needs three of the five
        // as well.
        log.raise_stable(Seq(1));
        assert_eq!(stable(&log, [0, 0, 4, 0, 0]), Seq::ZERO);
        assert_eq!(stable(&log, [0, 2, 4, 0, 0]), Seq(2));
        assert_eq!(stable(&log, [0, 4, 4, 0, 0]), Seq(2), "two of the five");
        assert_eq!(stable(&log, [0, 0, 4, 4, 4]), Seq::ZERO, "one of the three");
        assert_eq!(stable(&log, [0, 3, 4, 3, 0]), Seq(3));
        log.raise_stable(Seq(3));
        assert_eq!(stable(&log, [0, 0, 4, 4, 4]), Seq(4));
    }
}
