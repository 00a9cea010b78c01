//! Who is in the group: nobody is declared dead by mistake, everybody who lives gets in, and comes
//! back in.

use std::collections::BTreeMap;

use protocol::id::{Incarnation, PeerId};

use crate::index::{Entry, Fact, Index, Kind, Lag, LifeId, TroubleKind, ViewFact, What};
use crate::judged_run::JudgedRun;
use crate::sheet::{NOT_AT_REST, Sheet};

/// Whoever a leader removes was dead, leaving, in another group, or out of reach: by what was done
/// to it, not by what the leader believed.
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
                        // A view between the two did not name this life, and was another's work.
                        && old.view_id + 1 == view.view_id
                        && view.leader == life.peer
                    {
                        removals(run, id, old, view, sheet);
                    }
                }
                // Whoever was outside meanwhile has no group to remove anybody from.
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

/// Whether the group had removed a leader, by the word of others, before that one led again: it was
/// alone by then.
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
    // While the leader itself stood still for as long as it waits for answers, the others may have
    // gone on without it, and it may not have heard them.
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
        // A leader that stands judges by its own link to a member; one that has just been elected,
        // by who could be asked.
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
        // Nobody has said that it died, and it has not said a word since: who can tell?
        let silent = life.last < new.at;
        // Admitted, but never arrived in this log: its leader died before it had that, so it asks
        // the next one again.
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

/// Whether the old leader's own links were bad in its last days. It may have evicted some by a view
/// that others have not heard of; and its heir may not have heard that it is to lead, and has then
/// let down everybody who waited for it.
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

/// When a standing leader decided that somebody is out. It says so when it numbers the view, and
/// tells of that one when it is handed over; whoever did not answer until then may have come back
/// in the meantime.
fn numbered_at(index: &Index<'_>, leader: LifeId, removed: LifeId, new: &ViewFact<'_>) -> usize {
    let said = index.lives[leader].facts.iter().take_while(|fact| fact.at <= new.at);
    let is_word = |fact: &&Fact<'_>| matches!(fact.what, What::Removes { life, ordered } if life == removed && ordered == new.members);
    said.filter(is_word).last().map_or(new.at, |fact| fact.at)
}

/// When a new leader asked who could be in its first view, and when it chose. It asks with its own
/// promise; whoever arrives after that was not there to be asked. It chooses when it says that it
/// leads, and tells of the view when it hands it over; whoever is not in it may have come in again
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

/// Whether the leader said, while its log ended between the two views, that a member lags, and with
/// numbers that allow to evict it. It says so when it numbers the second one; both are told of when
/// they are handed over, which under `safe` may be much later.
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
    // Few large readings weigh as much as many small ones; how large they were is not in the
    // history.
    let heavy = high.saturating_mul(run.heaviest_entry()) > knobs.retain_bytes;
    // Or a reading waits to be safe, and everybody with it.
    let far = behind > knobs.max_lag_entries
        || heavy && behind > 0
        || awaited.is_some_and(|at| acked < at && at <= high);
    far && behind <= high.saturating_sub(acked)
        && u128::from(for_ms) >= knobs.slow_timeout.as_millis()
}

/// Whether a life was, by its own word, in the group that passes from one view to the other, when
/// the other came: it had gone on neither to another leader's epoch nor to another group, nor was
/// it outside of any or waited for the outcome of somebody else's claim.
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
        // It has been told that it is not in the group, and asks to be let in again.
        What::Merged { .. } | What::Unordered { outside: true, .. } => Some(None),
        _ => None,
    });
    epochs.last().flatten().is_some_and(|epoch| epoch == old.epoch || epoch == new.epoch)
}

/// At rest, everybody in the core reports one view, and it names exactly the core.
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

/// A peer that starts, and to which nothing happens, is in a view within the bound, unless the
/// group is blocked; and who joins for the first time gets as much of the past as `late_join` says.
pub(crate) fn late_join(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let knobs = &run.options.knobs;
    // It listens, believes for a while in a leader that does not answer, asks again, and fetches
    // the log.
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
        // It may have been told to take a higher incarnation on its way in.
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

/// Who joins a group that it did not found begins so many entries before the view that admits it;
/// with fewer only where there are none, or where they need not be retained.
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
    // Who is let in a second time before it has seen its first view is told of the second one.
    let next = facts.find_map(|fact| match fact.what {
        What::Entry(Entry { kind: Kind::View(view), .. }) => Some(Some(&index.views[view])),
        What::Cut { .. } | What::Transfer { .. } => Some(None),
        _ => None,
    });
    // Its leader may die before it is admitted, and the next one admits it later.
    let Some(view) = next.flatten().filter(|view| view.epoch == epoch) else { return };
    sheet.look();
    let got = view.seq.saturating_sub(resume + 1);
    let leader = index.life(view.leader, index.epochs[view.epoch].owner.inc);
    // Who has been there since the first entry retains them all, as long as they are few.
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

/// A process that is started again comes in with a higher incarnation, and no view goes back to the
/// old one, unless it is of another group, whose log took the place of the one that knew better.
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
            // Who has lost its folder, or could not store its number, counts by its clock, which
            // may be behind, until it is told of the earlier life.
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

/// Whether the older of two lives was over when the younger began.
fn succeeded(index: &Index<'_>, peer: &PeerId, older: Incarnation, younger: Incarnation) -> bool {
    let ended = index.life(peer, older).and_then(|life| index.lives[life].ended);
    let began = index
        .life(peer, younger)
        .and_then(|life| index.lives[life].facts.first())
        .map(|fact| fact.t);
    ended.zip(began).is_some_and(|(ended, began)| ended <= began)
}

fn no_ghosts(index: &Index<'_>, id: LifeId, sheet: &mut Sheet) {
    // The lives of each peer that its views have named, newest last, and where: what another log
    // takes back is unseen.
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
                // Two processes of one name that both live are twins, and either may be the one
                // that stays after a partition.
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
