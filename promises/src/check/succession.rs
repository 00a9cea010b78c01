//! Succession: a healthy leader stays; a leader that is gone is replaced in time by the right peer.

use protocol::id::{Incarnation, PeerId};
use protocol::note::Note;

use crate::fault::Fault;
use crate::history::Record;
use crate::index::{EpochId, Fact, Index, Kind, LifeId, Trouble, TroubleKind, ViewFact, What};
use crate::judged_run::JudgedRun;
use crate::sheet::{NOT_AT_REST, Sheet};
use crate::world::GroundTruth;

/// The leader of a healthy group is not replaced because of a joiner or the death of another
/// member.
pub(crate) fn contained(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    if run.options.knobs.preempt {
        return;
    }
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        let mut before: Option<&ViewFact<'_>> = None;
        for fact in &life.facts {
            match fact.what {
                What::Entry(entry) => {
                    if let Kind::View(view) = entry.kind {
                        before = Some(&index.views[view]);
                    }
                }
                What::Merged { .. } | What::Transfer { .. } => before = None,
                What::Elected { renewed: false, .. } => {
                    let Some(view) = before.filter(|view| view.leader != life.peer) else {
                        continue;
                    };
                    let leader = view
                        .lives()
                        .find(|(peer, _)| *peer == view.leader)
                        .and_then(|(peer, inc)| index.life(peer, inc));
                    let Some(leader) = leader.filter(|leader| index.lives[*leader].first.is_some())
                    else {
                        continue;
                    };
                    // Links of either peer that are cut or bad prove nothing against any peer.
                    if index.is_stormy([id, leader], fact.t) {
                        sheet.excuse("links of one of the two were bad");
                        continue;
                    }
                    if !is_well(index, leader, fact.t, fact.at) {
                        sheet.look();
                    } else if is_founding(index, view, fact.t) {
                        sheet.excuse("several had founded the group at once");
                    } else if is_left_by_its_quorum(run, leader, fact.at) {
                        sheet.excuse("its quorum was gone");
                    } else if has_gone_into_one_that_died(index, view, leader, (fact.at, fact.t)) {
                        sheet.excuse("it had gone over to a group whose leader died");
                    } else {
                        sheet.look();
                        sheet.breach(&[view.at, fact.at, index.lives[leader].last], || {
                            format!(
                                "{} takes the place of {}, and nothing was wrong with that one",
                                index.name(id),
                                index.name(leader)
                            )
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_well(index: &Index<'_>, leader: LifeId, t: u64, at: usize) -> bool {
    let life = &index.lives[leader];
    let merged = life.facts.iter().any(|fact| {
        fact.at <= at && matches!(fact.what, What::Merged { .. } | What::Transfer { .. })
    });
    life.ended.is_none_or(|ended| ended > t)
        && !index.excused(leader, t)
        && !merged
        && life.last >= at
}

/// Whether a leader of mode `primary` has stepped down because of other peers: so many members of
/// its view were dead, paused or cut off that the rest was no quorum of this view, or none of the
/// previous one, which also counts until the newest is known to be stable.
fn is_left_by_its_quorum(run: &JudgedRun<'_>, leader: LifeId, at: usize) -> bool {
    let (index, knobs) = (run.index, &run.options.knobs);
    let facts = &index.lives[leader].facts;
    let steps = facts.iter().rfind(|fact| fact.at <= at && matches!(fact.what, What::StepDown));
    let Some(steps) = steps.filter(|_| run.is_primary()) else { return false };
    let told = facts.iter().take_while(|fact| fact.at < steps.at);
    let stable = told
        .filter_map(|fact| if let What::Stable { seq } = fact.what { Some(seq) } else { None })
        .max()
        .unwrap_or(0);
    let patience = u64::try_from((knobs.heartbeat_timeout / 2).min(knobs.sync_timeout).as_micros())
        .unwrap_or(u64::MAX);
    let is_gone = |life: LifeId| {
        index.lives[life].ended.is_some_and(|ended| ended <= steps.t)
            || index.stood_still(life, steps.t, patience)
            || index.is_stormy([life, leader], steps.t)
    };
    // Half of a view is a quorum if it includes the leader that the view names.
    let is_short = |view: &&ViewFact<'_>| {
        let is_there = |(peer, inc): &(&PeerId, Incarnation)| {
            index.life(peer, *inc).is_some_and(|life| life == leader || !is_gone(life))
        };
        let rest: Vec<&PeerId> = view.lives().filter(is_there).map(|(peer, _)| peer).collect();
        2 * rest.len() < view.members.len()
            || 2 * rest.len() == view.members.len() && !rest.contains(&view.leader)
    };
    let Some(own) = index.views.iter().rfind(|view| view.life == leader && view.at < steps.at)
    else {
        return false;
    };
    // It numbered them all before it stepped down; other peers may be the first to report one.
    let of_its_epoch = index.views.iter().filter(|view| view.epoch == own.epoch);
    let newest = of_its_epoch.max_by_key(|view| view.view_id).unwrap_or(own);
    let of_its_log = index
        .views
        .iter()
        .filter(|view| view.log == newest.log && view.view_id + 1 == newest.view_id);
    let before = of_its_log.filter(|view| {
        stable < newest.seq && index.epochs[view.epoch] <= index.epochs[newest.epoch]
    });
    let before = before.max_by_key(|view| index.epochs[view.epoch]);
    [Some(newest), before].iter().flatten().any(is_short)
}

/// Whether a leader has stepped down to merge its group into another one, and the leader of that
/// other log has ended since: then the group is reunited, and its highest peer leads.
fn has_gone_into_one_that_died(
    index: &Index<'_>,
    view: &ViewFact<'_>,
    leader: LifeId,
    (at, t): (usize, u64),
) -> bool {
    let steps = index.lives[leader]
        .facts
        .iter()
        .rfind(|fact| fact.at <= at && matches!(fact.what, What::StepDown));
    let Some(steps) = steps.filter(|steps| steps.at > view.at || steps.t >= view.t) else {
        return false;
    };
    index.views.iter().any(|other| {
        let its_leader = || {
            other
                .lives()
                .find(|(peer, _)| *peer == other.leader)
                .and_then(|(peer, inc)| index.life(peer, inc))
        };
        let has_died = |life: LifeId| {
            index.lives[life].ended.is_some_and(|ended| ended >= steps.t && ended <= t)
        };
        other.log != view.log && other.t <= steps.t && its_leader().is_some_and(has_died)
    })
}

/// Several peers may found a group at once, and all but one give way.
fn is_founding(index: &Index<'_>, view: &ViewFact<'_>, t: u64) -> bool {
    let founded = index.views.iter().find(|other| other.log == view.log).map_or(0, |first| first.t);
    t.saturating_sub(founded) <= 2 * index.aftermath && stepped_down(index, view)
}

fn stepped_down(index: &Index<'_>, view: &ViewFact<'_>) -> bool {
    let founder = index.epochs[view.epoch];
    let life = index.life(&founder.owner.id, founder.owner.inc);
    life.is_some_and(|life| {
        index.lives[life].facts.iter().any(|fact| matches!(fact.what, What::StepDown))
    })
}

/// A group whose leader is gone has another one within the bound of the protocol, unless it is
/// blocked.
pub(crate) fn recovers(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let knobs = &run.options.knobs;
    let again = u64::try_from((knobs.election_timeout + knobs.sync_timeout).as_micros())
        .unwrap_or(u64::MAX);
    for trouble in index.troubles.iter().filter(|trouble| takes_away(run, trouble)) {
        let near =
            index.troubles_in(trouble.from, trouble.from.saturating_add(4 * index.aftermath));
        let (mut losses, mut disturbed) = (0, false);
        for other in near.filter(|other| other.at != trouble.at) {
            losses += u64::from(other.from > trouble.from);
            disturbed |= other.kind != TroubleKind::Down;
        }
        // One more round of election and sync for each further loss, and one round to fetch the new
        // log.
        let deadline = trouble
            .from
            .saturating_add(index.aftermath)
            .saturating_add(again.saturating_mul(losses + 1));
        let excuse =
            match (disturbed, trouble.to < deadline, index.was_blocked(trouble.from, deadline)) {
                (true, _, _) => Some("something else than deaths happened in the meantime"),
                (_, true, _) => Some("it was back within the bound"),
                (_, _, true) => Some("the group was blocked"),
                (false, false, false) => None,
            };
        if let Some(excuse) = excuse {
            sheet.excuse(excuse);
            continue;
        }
        for leader in &trouble.lives {
            survivors_move_on(index, *leader, (trouble.from, deadline), trouble.at, sheet);
        }
    }
}

/// Whether it removes a process at once. A leaving process goes after its hand-over, and a process
/// whose clock jumps stays.
fn takes_away(run: &JudgedRun<'_>, trouble: &Trouble<'_>) -> bool {
    let leaves = match &run.history.records[trouble.at] {
        Record::Peer(event) => matches!(event.note, Note::Leave),
        Record::World(event) => {
            matches!(event.what, GroundTruth::Fault { fault: Fault::Stop | Fault::Host { .. }, .. })
        }
    };
    !leaves && matches!(trouble.kind, TroubleKind::Down | TroubleKind::Paused)
}

fn survivors_move_on(
    index: &Index<'_>,
    leader: LifeId,
    (from, deadline): (u64, u64),
    at: usize,
    sheet: &mut Sheet,
) {
    let gone = &index.lives[leader];
    for (id, life) in index.lives.iter().enumerate().filter(|(id, _)| *id != leader) {
        let views = index.views.iter().filter(|view| view.life == id);
        let Some(last) = views.clone().take_while(|view| view.t <= from).last() else { continue };
        let led = last.leader == gone.peer && last.names(gone.peer, gone.inc);
        let hurt = life.ended.is_some_and(|ended| ended <= deadline)
            || index.troubles_in(from, deadline).any(|other| other.lives.contains(&id));
        if !led || hurt {
            continue;
        }
        if views
            .clone()
            .any(|view| view.t > from && view.t <= deadline && !view.names(gone.peer, gone.inc))
        {
            sheet.look();
        } else if deadline <= index.end {
            sheet.breach(&[last.at, at, life.last], || {
                format!(
                    "{} is gone, and {} has no view without it within {} ms",
                    index.name(leader),
                    index.name(id),
                    (deadline - from) / 1_000
                )
            });
        }
    }
}

/// At rest, the core has exactly one leader, and every core peer knows it.
pub(crate) fn elects(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    if !run.options.settled {
        sheet.excuse(NOT_AT_REST);
        return;
    }
    let index = run.index;
    let core = index.core();
    let mut leaders: Vec<(LifeId, usize)> = vec![];
    for id in &core {
        sheet.look();
        let last = index.said_by_rest(*id).iter().rev().find_map(|fact| match fact.what {
            What::Elected { .. } => Some((true, fact.at)),
            What::StepDown | What::Merged { .. } | What::Transfer { .. } => Some((false, fact.at)),
            What::Follows { leader, .. } => Some((leader == index.lives[*id].peer, fact.at)),
            _ => None,
        });
        if let Some((true, at)) = last {
            leaders.push((*id, at));
        }
    }
    match leaders[..] {
        [] if core.is_empty() => {}
        [] => sheet.breach(
            &core.iter().map(|id| index.lives[*id].last).take(EVIDENCE).collect::<Vec<_>>(),
            || "nobody leads".to_owned(),
        ),
        [(leader, at)] => {
            for id in &core {
                let Some(view) =
                    index.last_view(*id).filter(|view| view.leader != index.lives[leader].peer)
                else {
                    continue;
                };
                sheet.breach(&[at, view.at], || {
                    format!(
                        "{} leads, and {} follows {}",
                        index.name(leader),
                        index.name(*id),
                        view.leader
                    )
                });
            }
        }
        [(one, at), (other, other_at), ..] => {
            sheet.breach(&[at, other_at], || {
                format!("{} leads, and so does {}", index.name(one), index.name(other))
            });
        }
    }
}

/// If only the leader is gone, the highest remaining peer takes its place; with `preempt`, the
/// highest member leads once it has been there for a while.
pub(crate) fn bully_order(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    if run.options.settled && run.options.knobs.preempt {
        highest_leads(index, sheet);
    }
    for trouble in index
        .troubles
        .iter()
        .filter(|trouble| trouble.kind == TroubleKind::Down && takes_away(run, trouble))
    {
        let [leader] = trouble.lives[..] else { continue };
        let gone = &index.lives[leader];
        // The first record of a death counts; an exit follows every kill.
        if gone.ended.is_some_and(|ended| ended < trouble.from) {
            continue;
        }
        let elected = index
            .lives
            .iter()
            .enumerate()
            .flat_map(|(id, life)| life.facts.iter().map(move |fact| (id, fact)));
        let elected = elected.filter(|(_, fact)| {
            fact.t >= trouble.from && matches!(fact.what, What::Elected { renewed: false, .. })
        });
        let Some((winner, fact)) = elected.min_by_key(|(_, fact)| fact.at) else { continue };
        let What::Elected { epoch, .. } = fact.what else { continue };
        // A view in flight when the leader died may have reached the winner, and changed which peer
        // ranks highest: the winner reports it before the first view of its own, also if that is
        // after its election.
        let newest = index
            .views
            .iter()
            .filter(|view| view.life == winner)
            .take_while(|view| view.epoch != epoch)
            .last();
        let is_newest = |view: &&ViewFact<'_>| {
            newest
                .is_some_and(|newest| (newest.epoch, newest.view_id) == (view.epoch, view.view_id))
        };
        let Some(view) = common_view(index, leader, trouble.from).filter(is_newest) else {
            continue;
        };
        let clean = index.troubles_in(trouble.from, fact.t).all(|other| {
            other.kind == TroubleKind::Down
                && (other.lives.contains(&leader)
                    || other.from.saturating_add(index.aftermath) < trouble.from)
        });
        if !clean {
            continue;
        }
        sheet.look();
        // Views list their members lowest priority first. A peer that knows of no quorum leaves the
        // claim to the next one, which may know of a stable view that the first does not know.
        let blocked = |peer, inc| {
            index.life(peer, inc).is_some_and(|life| index.is_blocked(life, trouble.from, fact.t))
        };
        let highest = view
            .lives()
            .filter(|(peer, inc)| (*peer != gone.peer || *inc != gone.inc) && !blocked(peer, *inc))
            .last();
        let Some((peer, inc)) = highest else { continue };
        if (peer, inc) != (index.lives[winner].peer, index.lives[winner].inc) {
            sheet.breach(&[view.at, trouble.at, fact.at], || {
                format!(
                    "{} is gone; {} takes its place, and {peer}#{inc} ranks higher",
                    index.name(leader),
                    index.name(winner)
                )
            });
        }
    }
}

/// A disturbed hand-over is tried again, later each time; so it is demanded only if there were no
/// faults but deaths, and none lately.
fn highest_leads(index: &Index<'_>, sheet: &mut Sheet) {
    for view in index.core().into_iter().filter_map(|life| index.last_view(life)) {
        let deaths_only = index.troubles.iter().all(|trouble| {
            trouble.kind == TroubleKind::Down && trouble.from <= view.t
                || trouble.from > index.rest()
        });
        if !deaths_only || index.rest() < view.t.saturating_add(4 * index.aftermath) {
            continue;
        }
        sheet.look();
        let Some(highest) = view.members.last().filter(|highest| *highest != view.leader) else {
            continue;
        };
        sheet.breach(&[view.at], || {
            format!(
                "{highest} ranks highest in view {}, and {} still leads",
                view.view_id, view.leader
            )
        });
    }
}

/// The view that all members had when the leader died; none if they disagreed.
fn common_view<'a>(index: &'a Index<'_>, leader: LifeId, t: u64) -> Option<&'a ViewFact<'a>> {
    let gone = &index.lives[leader];
    let last = |life: LifeId| index.views.iter().rfind(|view| view.life == life && view.t <= t);
    let view = last(leader).filter(|view| view.leader == gone.peer)?;
    let of_one_mind = view.lives().all(|(peer, inc)| {
        let life = index
            .life(peer, inc)
            .filter(|life| index.lives[*life].ended.is_none_or(|ended| ended >= t));
        life.and_then(last)
            .is_some_and(|other| (other.epoch, other.view_id) == (view.epoch, view.view_id))
    });
    of_one_mind.then_some(view)
}

/// At rest there are no elections: none in the last third of the quiet window, and in all of it at
/// most one per change of the group.
pub(crate) fn no_churn(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let Some(quiet) = index.quiet.as_ref().filter(|_| run.options.settled) else { return };
    let last_third = quiet.to.saturating_sub(quiet.to.saturating_sub(quiet.from) / 3);
    let core = index.core();
    let mut elections: Vec<usize> = vec![];
    let mut foreign: Vec<EpochId> = vec![];
    for id in &core {
        sheet.look();
        for fact in
            index.lives[*id].facts.iter().filter(|fact| (quiet.from..=quiet.to).contains(&fact.t))
        {
            let is_election =
                matches!(fact.what, What::ElectionStarted | What::Elected { renewed: false, .. });
            if is_election && fact.t >= last_third {
                sheet.breach(&[fact.at], || {
                    format!(
                        "{} holds an election when the group has long been at rest",
                        index.name(*id)
                    )
                });
            }
            let What::Elected { epoch, size, renewed: false } = fact.what else { continue };
            let claimed_at = index.promise_of(*id, epoch).map_or(fact.t, |claim| claim.t);
            // Of two claims at once, one may be announced to peers that have promised the other by
            // then: its claimant leads no peer. And a claim made before the quiet window is no
            // election of that window.
            if size > 1 && !is_followed(index, epoch) || claimed_at < quiet.from {
                foreign.push(epoch);
            } else {
                elections.push(fact.at);
            }
        }
    }
    let within = index
        .views
        .iter()
        .filter(|view| core.contains(&view.life) && (quiet.from..=quiet.to).contains(&view.t));
    let mut views: Vec<(EpochId, u64)> = within
        .filter(|view| !foreign.contains(&view.epoch))
        .map(|view| (view.epoch, view.view_id))
        .collect();
    views.sort_unstable();
    views.dedup();
    // Each election makes one view; a change of the group makes another. With `preempt`, the
    // elected leader may have to give way to a higher peer at once.
    let allowed = views.len() + 1 + 2 * usize::from(run.options.knobs.preempt);
    if elections.len() > 1 && elections.len() * 2 > allowed {
        elections.sort_unstable();
        elections.truncate(EVIDENCE);
        sheet.breach(&elections.clone(), || {
            format!("{} elections for {} views in a quiet window", elections.len(), views.len())
        });
    }
}

/// Whether any peer has followed the leader of that epoch.
fn is_followed(index: &Index<'_>, epoch: EpochId) -> bool {
    let follows =
        |fact: &Fact<'_>| matches!(fact.what, What::Follows { epoch: its, .. } if its == epoch);
    index.lives.iter().any(|life| life.facts.iter().any(follows))
}

const EVIDENCE: usize = 6;
