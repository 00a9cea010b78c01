//! Membership: no peer is declared dead by mistake, every live peer is admitted, and is admitted
//! again after a failure.

use std::collections::BTreeMap;

use protocol::id::{Incarnation, PeerId};

use crate::index::{Entry, Fact, Index, Kind, Lag, LifeId, TroubleKind, ViewFact, What};
use crate::judged_run::JudgedRun;
use crate::sheet::{NOT_AT_REST, Sheet};

/// A peer that a leader removes was dead, leaving, in another group, or out of reach: by the ground
/// truth, not by the leader's belief.
pub(crate) fn no_false_death(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    for (id, life) in index.lives.iter().enumerate() {
        let mut before: Option<&ViewFact<'_>> = None;
        for fact in &life.facts {
            match fact.what {
                What::Entry(entry) => {
                    let Kind::View(view) = entry.kind else { continue };
                    let view = &index.views[view];
                    if let Some(old) = before.replace(view)
                        && old.log == view.log
                        // A view between the two did not name this life; another leader numbered
                        // it.
                        && old.view_id + 1 == view.view_id
                        && view.leader == life.peer
                    {
                        removals(run, id, old, view, sheet);
                    }
                }
                // A peer that was outside meanwhile has no group to remove a member from.
                What::Transfer { .. }
                | What::Diverged { .. }
                | What::Merged { .. }
                | What::Unordered { outside: true, .. } => {
                    before = None;
                }
                _ => {}
            }
        }
    }
}

/// Whether the group had removed a leader, according to others, before that leader led again: then
/// it was alone.
fn is_sent_away(index: &Index<'_>, leader: LifeId, old: &ViewFact<'_>, new: &ViewFact<'_>) -> bool {
    let own = &index.lives[leader];
    index.views.iter().any(|view| {
        let between = view.at < new.at && view.view_id > old.view_id && view.epoch == old.epoch;
        between && view.life != leader && !view.names(own.peer, own.inc)
    })
}

fn removals(
    run: &JudgedRun<'_>,
    leader: LifeId,
    old: &ViewFact<'_>,
    new: &ViewFact<'_>,
    sheet: &mut Sheet,
) {
    let index = run.index;
    // If the leader itself was paused for as long as it waits for answers, the others may have
    // continued without it, and it may not have heard them.
    let knobs = &run.options.knobs;
    let patience = u64::try_from((knobs.heartbeat_timeout / 2).min(knobs.sync_timeout).as_micros())
        .unwrap_or(u64::MAX);
    let (stood_still, is_out) =
        (index.stood_still(leader, new.t, patience), is_sent_away(index, leader, old, new));
    if stood_still || is_out {
        for _ in old.lives().filter(|(peer, inc)| !new.names(peer, *inc)) {
            sheet.excuse(if stood_still {
                "its leader stood still"
            } else {
                "the group had removed its leader"
            });
        }
        return;
    }
    for (peer, inc) in old.lives().filter(|(peer, inc)| !new.names(peer, *inc)) {
        let Some(removed) = index.life(peer, inc).filter(|life| index.lives[*life].first.is_some())
        else {
            continue;
        };
        // An established leader judges a member by its own link to it; a newly elected one by the
        // peers that it could ask.
        let stands = old.epoch == new.epoch;
        if if stands {
            index.is_cut_between([leader, removed], new.t)
        } else {
            index.is_stormy([leader, removed], new.t)
        } {
            sheet.excuse("links between the two were cut or bad");
            continue;
        }
        if !stands && was_led_in_a_storm(index, old, new) {
            sheet.excuse("links of the leader before were bad");
            continue;
        }
        sheet.look();
        let life = &index.lives[removed];
        let gone = life.ended.is_some_and(|ended| ended <= new.t) || index.excused(removed, new.t);
        // No record says that it died, and it has reported nothing since: its state is unknown.
        let silent = life.last < new.at;
        // Admitted, but never arrived in this log: its leader died before it had the log, so it
        // asks the next leader again.
        let (asked, decided) = if stands {
            let numbered = numbered_at(index, leader, removed, new);
            (numbered, numbered)
        } else {
            claimed_and_elected_at(index, leader, new)
        };
        let mut before = life.facts.iter().take_while(|fact| fact.at < asked);
        let arrived =
            before.any(|fact| matches!(fact.what, What::Cut { log, .. } if log == old.log));
        if gone
            || silent
            || !arrived
            || is_slow(run, leader, removed, old, new)
            || !follows(index, removed, (old, new), decided)
        {
            continue;
        }
        sheet.breach(&[old.at, new.at, life.last], || {
            format!(
                "{} removes {} in view {} of epoch {}, and nothing was wrong with it",
                index.name(leader),
                index.name(removed),
                new.view_id,
                index.epochs[new.epoch]
            )
        });
    }
}

/// Whether the old leader's own links were bad in its last days. It may have evicted members with a
/// view that the others have not received. And its successor may not have heard that it is to lead,
/// and so has failed the peers that waited for it.
fn was_led_in_a_storm(index: &Index<'_>, old: &ViewFact<'_>, new: &ViewFact<'_>) -> bool {
    let mut lives = old
        .lives()
        .filter(|(peer, _)| **peer == *old.leader)
        .filter_map(|(peer, inc)| index.life(peer, inc));
    lives.any(|life| {
        let said = index.lives[life].facts.iter().take_while(|fact| fact.at <= new.at);
        let step_down = said.filter(|fact| matches!(fact.what, What::StepDown)).last();
        index.is_stormy([life, life], step_down.map_or(new.t, |fact| fact.t))
    })
}

/// When an established leader decided to remove a peer. It decides when it numbers the view and
/// reports the view when it delivers it; a peer that did not answer before may have come back in
/// between.
fn numbered_at(index: &Index<'_>, leader: LifeId, removed: LifeId, new: &ViewFact<'_>) -> usize {
    let said = index.lives[leader].facts.iter().take_while(|fact| fact.at <= new.at);
    let is_word = |fact: &&Fact<'_>| matches!(fact.what, What::Removes { life, ordered } if life == removed && ordered == new.members);
    said.filter(is_word).last().map_or(new.at, |fact| fact.at)
}

/// When a new leader asked for the members of its first view, and when it chose them. It asks with
/// its own promise; a peer that arrives later could not be asked. It chooses when it reports its
/// election, and reports the view when it delivers it; a peer outside the view may have come back
/// by then.
fn claimed_and_elected_at(
    index: &Index<'_>,
    leader: LifeId,
    first: &ViewFact<'_>,
) -> (usize, usize) {
    let said = index.lives[leader].facts.iter().take_while(|fact| fact.at <= first.at);
    let is_word =
        |fact: &Fact<'_>| matches!(fact.what, What::Elected { epoch, .. } if epoch == first.epoch);
    let elected = said.filter(|fact| is_word(fact)).last().map_or(first.at, |fact| fact.at);
    let claimed = index.promise_of(leader, first.epoch).map_or(elected, |fact| fact.at);
    (claimed, elected)
}

/// Whether the leader reported that a member lags, while its log ended between the two views, with
/// numbers that permit an eviction. It decides when it numbers the second view; both are reported
/// when they are delivered, which under `safe` may be much later.
fn is_slow(
    run: &JudgedRun<'_>,
    leader: LifeId,
    removed: LifeId,
    old: &ViewFact<'_>,
    new: &ViewFact<'_>,
) -> bool {
    let mut said = run.index.lives[leader].facts.iter().take_while(|fact| fact.at <= new.at);
    said.any(|fact| {
        let What::Slow { life, lag } = fact.what else { return false };
        life == removed && (old.seq..new.seq).contains(&lag.high) && may_evict(run, lag)
    })
}

fn may_evict(run: &JudgedRun<'_>, Lag { behind, acked, high, for_ms, awaited }: Lag) -> bool {
    let knobs = &run.options.knobs;
    // A few large readings weigh as much as many small ones; the history does not hold their sizes.
    let heavy = high.saturating_mul(run.heaviest_entry()) > knobs.retain_bytes;
    // Or a reading waits to be safe, and all peers wait with it.
    let far = behind > knobs.max_lag_entries
        || heavy && behind > 0
        || awaited.is_some_and(|at| acked < at && at <= high);
    far && behind <= high.saturating_sub(acked)
        && u128::from(for_ms) >= knobs.slow_timeout.as_millis()
}

/// Whether a life, by its own reports, was in the group that moves from one view to the other when
/// the second view came: it had neither moved to another leader's epoch or another group, nor was
/// it outside of any group or waiting for the outcome of another peer's claim.
fn follows(
    index: &Index<'_>,
    life: LifeId,
    (old, new): (&ViewFact<'_>, &ViewFact<'_>),
    decided: usize,
) -> bool {
    let said = index.lives[life].facts.iter().take_while(|fact| fact.at <= decided);
    let epochs = said.filter_map(|fact| match fact.what {
        What::Entry(entry) => matches!(entry.kind, Kind::View(_)).then_some(Some(entry.epoch)),
        What::Cut { epoch, .. }
        | What::Transfer { epoch, .. }
        | What::Follows { epoch, .. }
        | What::Promised { epoch } => Some(Some(epoch)),
        // It was told that it is not in the group, and asks to be admitted again.
        What::Merged { .. } | What::Unordered { outside: true, .. } => Some(None),
        _ => None,
    });
    epochs.last().flatten().is_some_and(|epoch| epoch == old.epoch || epoch == new.epoch)
}

/// At rest, every core peer reports one view with exactly the core as members.
pub(crate) fn converges(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    if !run.options.settled {
        sheet.excuse(NOT_AT_REST);
        return;
    }
    let index = run.index;
    let core = index.core();
    let mut first: Option<&ViewFact<'_>> = None;
    for id in &core {
        sheet.look();
        let Some(view) = index.last_view(*id) else {
            sheet.breach(&[index.lives[*id].last], || format!("{} has no view", index.name(*id)));
            continue;
        };
        let known = *first.get_or_insert(view);
        if (known.epoch, known.view_id) != (view.epoch, view.view_id) {
            sheet.breach(&[known.at, view.at], || {
                let title = |view: &ViewFact<'_>| {
                    format!(
                        "{} has view {} of epoch {}",
                        index.name(view.life),
                        view.view_id,
                        index.epochs[view.epoch]
                    )
                };
                format!("{}, and {}", title(known), title(view))
            });
        }
    }
    let Some(view) = first else { return };
    let strangers = view.lives().filter(|(peer, inc)| {
        !core.iter().any(|id| index.lives[*id].peer == *peer && index.lives[*id].inc == *inc)
    });
    for (peer, inc) in strangers {
        sheet.breach(&[view.at], || {
            format!("view {} still names {peer}#{inc}, which is not there", view.view_id)
        });
    }
    for id in core.iter().filter(|id| !view.names(index.lives[**id].peer, index.lives[**id].inc)) {
        sheet.breach(&[view.at, index.lives[*id].last], || {
            format!("view {} does not name {}", view.view_id, index.name(*id))
        });
    }
}

/// A peer that starts undisturbed is in a view within the bound, unless the group is blocked; and a
/// peer that joins for the first time gets as much of the past as `late_join` says.
pub(crate) fn late_join(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let knobs = &run.options.knobs;
    // It listens, trusts for a while a leader that does not answer, asks again, and fetches the
    // log.
    let span = knobs.join_timeout
        + knobs.join_patience
        + 2 * (knobs.election_timeout + knobs.sync_timeout);
    let bound = index.aftermath.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    for (id, life) in index.lives.iter().enumerate() {
        let Some(start) = life.facts.iter().find(|fact| matches!(fact.what, What::Ready)) else {
            continue;
        };
        let deadline = start.t.saturating_add(bound);
        let disturbed = index.troubles_in(start.t, deadline).any(|trouble| {
            trouble.from > start.t
                || trouble.to < u64::MAX
                || trouble.lives.contains(&id)
                || trouble.kind != TroubleKind::Down
        });
        // On its way in it may have been told to take a higher incarnation.
        let joined = |view: &&ViewFact<'_>| {
            index.lives[view.life].process == life.process && (start.t..=deadline).contains(&view.t)
        };
        if index.views.iter().any(|view| joined(&view)) {
            sheet.look();
        } else if deadline <= index.end && !disturbed && !index.was_blocked(start.t, deadline) {
            sheet.breach(&[start.at, life.last], || {
                format!("{} is ready, and in no view {} ms later", index.name(id), bound / 1_000)
            });
        }
    }
    for id in 0..index.lives.len() {
        the_past_as_asked(run, id, sheet);
    }
}

/// A peer that joins a group that it did not found starts that number of entries before the view
/// that admits it; with fewer only if there are no more, or if they need not be retained.
fn the_past_as_asked(run: &JudgedRun<'_>, id: LifeId, sheet: &mut Sheet) {
    let (index, knobs) = (run.index, &run.options.knobs);
    let asked = knobs.late_join.entries();
    let mut facts = index.lives[id].facts.iter();
    let Some(transfer) = facts.find(|fact| {
        matches!(fact.what, What::Entry(_) | What::Transfer { .. } | What::Diverged { .. })
    }) else {
        return;
    };
    let What::Transfer { resume, epoch } = transfer.what else { return };
    // A peer that is admitted a second time before it has seen its first view receives the second
    // one.
    let next = facts.find_map(|fact| match fact.what {
        What::Entry(Entry { kind: Kind::View(view), .. }) => Some(Some(&index.views[view])),
        What::Cut { .. } | What::Transfer { .. } => Some(None),
        _ => None,
    });
    // Its leader may die before admitting it, and the next leader admits it later.
    let Some(view) = next.flatten().filter(|view| view.epoch == epoch) else { return };
    sheet.look();
    let got = view.seq.saturating_sub(resume + 1);
    let leader = index.life(view.leader, index.epochs[view.epoch].owner.inc);
    // A member since the first entry retains all entries, as long as they are few.
    let founder = leader.is_some_and(|leader| {
        let first = index.views.iter().find(|view| view.life == leader);
        let mut facts = index.lives[leader].facts.iter();
        first.is_some_and(|first| first.seq == 1)
            && !facts.any(|fact| matches!(fact.what, What::Transfer { .. }))
    });
    let few = view.seq < knobs.retain_entries / 2
        && view.seq.saturating_mul(run.heaviest_entry()) < knobs.retain_bytes;
    let due = if founder && few { asked.min(view.seq - 1) } else { 0 };
    if got > asked || got < due {
        sheet.breach(&[transfer.at, view.at], || {
            format!(
                "{} joins with {got} earlier entries, and is to have {asked} where there are \
                     so many",
                index.name(id)
            )
        });
    }
}

/// A restarted process joins with a higher incarnation, and no view returns to the old one, except
/// a view of another group whose log replaced the log that knew the new one.
pub(crate) fn rejoins(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let core = index.core();
    for (id, life) in index.lives.iter().enumerate() {
        let Some(first) = life.first else { continue };
        let earlier = index
            .lives
            .iter()
            .enumerate()
            .filter(|(_, other)| other.peer == life.peer && other.process == life.process);
        for (other, earlier) in
            earlier.filter(|(_, other)| other.first.is_some_and(|at| at < first))
        {
            sheet.look();
            // A peer that lost its folder, or could not store its number, derives it from its
            // clock, which may be behind, until it is told of the earlier life.
            let knows = !index.is_wiped_between(earlier.first, first, life.process)
                && !index.is_full_at(earlier.first, life.process);
            if earlier.inc >= life.inc && knows {
                sheet.breach(&[first, earlier.last], || {
                    format!("{} comes after {}", index.name(id), index.name(other))
                });
            }
            if run.options.settled && core.contains(&id) && index.last_view(id).is_none() {
                sheet.breach(&[first, life.last], || {
                    format!("{} came back and is in no view", index.name(id))
                });
            }
        }
        no_ghosts(index, id, sheet);
    }
}

/// Whether the older of two lives ended before the younger began.
fn succeeded(index: &Index<'_>, peer: &PeerId, older: Incarnation, younger: Incarnation) -> bool {
    let ended = index.life(peer, older).and_then(|life| index.lives[life].ended);
    let began = index
        .life(peer, younger)
        .and_then(|life| index.lives[life].facts.first())
        .map(|fact| fact.t);
    ended.zip(began).is_some_and(|(ended, began)| ended <= began)
}

fn no_ghosts(index: &Index<'_>, id: LifeId, sheet: &mut Sheet) {
    // The lives of each peer in the views so far, newest last, and their positions: entries that
    // another log takes back count as unseen.
    let mut known: BTreeMap<&PeerId, Vec<(Incarnation, &ViewFact<'_>)>> = BTreeMap::new();
    for fact in &index.lives[id].facts {
        let view = match fact.what {
            What::Diverged { from, .. } => {
                known.values_mut().for_each(|seen| seen.retain(|(_, view)| view.seq < from));
                continue;
            }
            What::Entry(Entry { kind: Kind::View(view), .. }) => &index.views[view],
            _ => continue,
        };
        for (peer, inc) in view.lives() {
            let seen = known.entry(peer).or_default();
            match seen.last() {
                // Two live processes of one name are twins, and either may stay after a partition.
                Some((newest, _)) if *newest > inc && !succeeded(index, peer, inc, *newest) => {}
                Some((newest, before)) if *newest > inc => {
                    let words = || {
                        format!(
                            "{} sees {peer}#{inc} in view {} after {peer}#{newest}",
                            index.name(id),
                            view.view_id
                        )
                    };
                    sheet.breach(&[before.at, view.at], words);
                }
                Some((newest, _)) if *newest == inc => {}
                Some(_) | None => seen.push((inc, view)),
            }
        }
    }
}
