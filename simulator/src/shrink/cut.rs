//! Removes parts of a plan without breaking the rest of it.

use crate::plan::{Act, Fate, Plan, Who};
use promises::shape::Shape;

/// The plan without a peer, and without every reference to it; the numbers of later peers move up.
pub(super) fn without(plan: &Plan, gone: usize) -> Plan {
    let mut plan = plan.clone();
    let name = plan.peers.remove(gone).name;
    if plan.peers.iter().all(|peer| peer.name != name) {
        plan.knobs.bootstrap.retain(|id| id.as_str() != name);
    }
    let moved = |peer: usize| (peer != gone).then(|| peer - usize::from(peer > gone));
    plan.loads.retain_mut(|load| renumber(&mut load.peer, moved));
    if let Some(member) = plan.lies.as_mut().and_then(|lies| lies.member.as_mut()) {
        // The liar stays, or there would be no failure to find.
        *member = moved(*member).unwrap_or(0);
    }
    plan.lost.retain_mut(|lost| renumber(&mut lost.from, moved));
    for list in plan.hearing.lists() {
        list.retain_mut(|(from, to)| renumber(from, moved) && renumber(to, moved));
    }
    plan.outside.retain_mut(|outside| {
        if let Fate::Apart { hears, heard_by } = &mut outside.fate {
            hears.retain_mut(|peer| renumber(peer, moved));
            heard_by.retain_mut(|peer| renumber(peer, moved));
        }
        renumber(&mut outside.peer, moved)
    });
    plan.faults.retain_mut(|fault| {
        named(&mut fault.act).into_iter().all(|who| renumber_who(who, moved))
            && reshape(&mut fault.act, moved)
    });
    plan
}

fn renumber(peer: &mut usize, moved: impl Fn(usize) -> Option<usize>) -> bool {
    moved(*peer).map(|to| *peer = to).is_some()
}

fn renumber_who(who: &mut Who, moved: impl Fn(usize) -> Option<usize>) -> bool {
    if let Who::Peer(peer) = who { renumber(peer, moved) } else { true }
}

/// The targets of an act.
fn named(act: &mut Act) -> Vec<&mut Who> {
    match act {
        Act::Kill { who, .. }
        | Act::Outage { who, .. }
        | Act::Pause { who, .. }
        | Act::Leave { who, .. }
        | Act::Publish { who, .. }
        | Act::Clock { who, .. }
        | Act::Disk { who, .. }
        | Act::Descriptors { who, .. }
        | Act::Slow { who, .. } => vec![who],
        Act::Reset { who, other }
        | Act::Stall { who, other, .. }
        | Act::Drip { who, other, .. }
        | Act::HalfOpen { who, other, .. } => {
            vec![who, other]
        }
        Act::Forget { who, other, .. } => std::iter::once(who).chain(other).collect(),
        Act::Lose { from, to, .. } => from.iter_mut().chain(to).collect(),
        Act::Cut {
            shape: Shape::Isolate(who) | Shape::Deaf(who) | Shape::Mute(who) | Shape::Star(who),
            ..
        } => vec![who],
        Act::Cut { .. } | Act::Storm { .. } => vec![],
    }
}

/// Renumbers the peers of the act's shape; whether any are left.
fn reshape(act: &mut Act, moved: impl Fn(usize) -> Option<usize>) -> bool {
    let Act::Cut { shape, .. } = act else { return true };
    match shape {
        Shape::Split(side) => {
            side.retain_mut(|peer| renumber(peer, &moved));
            !side.is_empty()
        }
        Shape::Pairs(pairs) => {
            pairs.retain_mut(|(from, to)| renumber(from, &moved) && renumber(to, &moved));
            !pairs.is_empty()
        }
        Shape::Bridge(peer) => renumber(peer, moved),
        Shape::Isolate(_)
        | Shape::Deaf(_)
        | Shape::Mute(_)
        | Shape::Star(_)
        | Shape::Halves
        | Shape::MinorityThird
        | Shape::Ring
        | Shape::MajorityRing
        | Shape::Chain => true,
    }
}

/// How long an act lasts, if it does.
pub(super) fn span(act: &mut Act) -> Option<&mut u64> {
    match act {
        Act::Pause { span_us, .. }
        | Act::Stall { span_us, .. }
        | Act::Drip { span_us, .. }
        | Act::HalfOpen { span_us, .. }
        | Act::Lose { span_us, .. }
        | Act::Disk { span_us, .. }
        | Act::Descriptors { span_us, .. }
        | Act::Slow { span_us, .. }
        | Act::Cut { span_us, .. }
        | Act::Storm { span_us, .. } => Some(span_us),
        Act::Clock { jump_us, .. } => Some(jump_us),
        Act::Kill { back, .. } | Act::Outage { back, .. } | Act::Leave { back, .. } => {
            back.as_mut().map(|back| &mut back.after_us)
        }
        Act::Publish { .. } | Act::Reset { .. } | Act::Forget { .. } => None,
    }
}

/// Every time in a plan.
pub(super) fn times(plan: &mut Plan) -> Vec<&mut u64> {
    let mut times = vec![&mut plan.chaos_us];
    times.extend(plan.peers.iter_mut().map(|peer| &mut peer.at_us));
    times.extend(plan.loads.iter_mut().flat_map(|load| [&mut load.from_us, &mut load.every_us]));
    for fault in &mut plan.faults {
        times.extend([&mut fault.at_us, &mut fault.later_us]);
        times.extend(span(&mut fault.act));
    }
    times
}

/// Rounds a time up; a time above zero never becomes zero.
pub(super) fn snap(time: &mut u64, grid: u64) {
    *time = time.div_ceil(grid) * grid;
}

#[cfg(test)]
mod tests {
    use super::{times, without};
    use crate::director::Director;
    use crate::plan::{Act, Plan, Who};
    use crate::watch::Unwatched;

    #[test]
    fn what_is_left_of_a_plan_can_be_run_and_speaks_of_nobody_else() {
        for seed in 0..200 {
            let plan = Plan::drawn(seed);
            for gone in 0..plan.peers.len() {
                let less = without(&plan, gone);
                if less.peers.is_empty()
                    || less.outside.len() >= less.peers.len()
                    || less.knobs.bootstrap.is_empty() != plan.knobs.bootstrap.is_empty()
                {
                    continue;
                }
                Director::new(&less, Unwatched)
                    .unwrap_or_else(|error| panic!("seed {seed} without {gone}: {error}"));
                let strangers = less
                    .faults
                    .iter()
                    .filter(|fault| matches!(fault.act, Act::Kill { who: Who::Peer(peer), .. } if peer >= less.peers.len()));
                assert_eq!(strangers.count(), 0, "seed {seed} without {gone}");
            }
        }
    }

    #[test]
    fn every_time_can_be_rounded() {
        let mut plan = Plan::drawn(3);
        let all = times(&mut plan).len();
        assert!(all > plan.peers.len() + plan.faults.len());
        times(&mut plan).into_iter().for_each(|time| super::snap(time, 1_000_000));
        assert!(times(&mut plan).into_iter().all(|time| *time % 1_000_000 == 0));
    }
}
