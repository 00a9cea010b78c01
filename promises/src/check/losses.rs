//! Readings that are given up: those that their origin declares lost, and those that a leaving peer
//! leaves behind.

use std::collections::BTreeMap;

use crate::check::gaps::SIZES;
use crate::index::{Entry, EpochId, Index, Kind, LifeId, What};
use crate::judged_run::JudgedRun;
use crate::sheet::{NOT_AT_REST, Sheet};

/// Readings are declared lost only if they lie further back than `merge_retain` and are not in that
/// log.
pub(crate) fn lost_truly(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let knobs = &run.options.knobs;
    let mut stands: BTreeMap<(EpochId, LifeId, u64), (u64, usize)> = BTreeMap::new();
    for group in index.positions() {
        for placed in group {
            if let Kind::Data { origin, oseq, .. } = placed.entry.kind {
                let first = stands
                    .entry((placed.entry.epoch, origin, oseq))
                    .or_insert((placed.entry.seq, placed.at));
                *first = (*first).min((placed.entry.seq, placed.at));
            }
        }
    }
    for group in index.positions() {
        let lost = group.iter().find_map(|placed| match placed.entry.kind {
            Kind::Lost { origin, from, to } => Some((placed, origin, from, to)),
            Kind::Data { .. } | Kind::View(_) => None,
        });
        let Some((told, origin, from, to)) = lost else { continue };
        let (epoch, seq) = (told.entry.epoch, told.entry.seq);
        sheet.look();
        let above = stands.range((epoch, origin, from)..=(epoch, origin, to.max(from)));
        if let Some((oseq, at, record)) = above
            .map(|((.., oseq), (at, record))| (*oseq, *at, *record))
            .find(|(_, at, _)| *at < seq)
        {
            sheet.breach(&[record, told.at], || {
                let origin = index.name(origin);
                format!(
                    "readings {from} to {to} of {origin} are declared lost at #{seq}, and \
                         reading {oseq} stands at #{at} of that log"
                )
            });
        }
        if index.lives[origin].holed || index.lives[origin].first.is_none() {
            continue;
        }
        // At the first report, no more readings had been published than at this one, so no more
        // were behind when it was declared.
        let first = group.iter().map(|placed| placed.at).min().unwrap_or(told.at);
        let facts = index.lives[origin].facts.iter().take_while(|fact| fact.at <= first);
        let published = facts
            .filter_map(
                |fact| if let What::Publish { oseq, .. } = fact.what { Some(oseq) } else { None },
            )
            .max();
        let behind = published.unwrap_or(0).saturating_sub(to);
        if behind >= knobs.merge_retain_entries {
            continue;
        }
        if (behind + 1).saturating_mul(knobs.payload_max) > knobs.merge_retain_bytes {
            sheet.excuse(SIZES);
            continue;
        }
        sheet.breach(&[first], || {
            let (origin, least) = (index.name(origin), knobs.merge_retain_entries);
            format!(
                "readings {from} to {to} of {origin} are declared lost, with {behind} after \
                     them; it is to keep {least}"
            )
        });
    }
}

/// When a peer stops after leaving, every reading that it accepted is in the log of a live peer, or
/// the peer has reported which are not.
pub(crate) fn left_clean(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    if !run.options.settled {
        sheet.excuse(NOT_AT_REST);
        return;
    }
    for (id, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        let Some(left) =
            life.facts.iter().find(|fact| matches!(fact.what, What::Ends { left: true }))
        else {
            continue;
        };
        if left.t > index.rest() {
            continue;
        }
        let told_of = life.facts.iter().find_map(|fact| {
            if let What::LeftBehind { from } = fact.what { Some(from) } else { None }
        });
        let published: Vec<(u64, usize)> = life
            .facts
            .iter()
            .filter_map(|fact| {
                if let What::Publish { oseq, .. } = fact.what {
                    Some((oseq, fact.at))
                } else {
                    None
                }
            })
            .filter(|(oseq, _)| told_of.is_none_or(|from| *oseq < from))
            .collect();
        if published.is_empty() {
            continue;
        }
        let stands = |oseq: u64| {
            index.is_declared_lost(id, oseq)
                || index.placed.iter().any(|placed| {
                    placed.life != id && matches!(placed.entry.kind, Kind::Data { origin, oseq: its, .. } if (origin, its) == (id, oseq))
                })
        };
        // The last one suffices: a log takes the readings of one origin in the order of their
        // numbers.
        let missing = published.last().filter(|(oseq, _)| !stands(*oseq));
        let Some((oseq, at)) = missing else {
            sheet.look();
            continue;
        };
        let own = life.facts.iter().rev().find_map(|fact| match fact.what {
            What::Entry(Entry { seq, kind: Kind::Data { origin, oseq: its, .. }, .. })
                if (origin, its) == (id, *oseq) =>
            {
                Some(seq)
            }
            _ => None,
        });
        match heirs(index, id, left.t, own) {
            // No other peer needs it: an entry below the join point of all others is still in their
            // log.
            Heirs::Nobody => sheet.look(),
            Heirs::Gone => {
                sheet.excuse("those who may have had its readings died, or took them back")
            }
            Heirs::There => sheet.breach(&[*at, left.at], || {
                format!(
                    "{} leaves, and nobody who lives has its reading {oseq} in the log",
                    index.name(id)
                )
            }),
        }
    }
}

/// The fate of the other members of a leaver's last view.
enum Heirs {
    /// The leaver was the last member whose log reached back that far.
    Nobody,
    /// One of them lost its log.
    Gone,
    /// All of them kept their logs.
    There,
}

/// The fate of the members whose log reaches back to the position of the leaver's reading.
fn heirs(index: &Index<'_>, life: LifeId, t: u64, own: Option<u64>) -> Heirs {
    let core = index.core();
    let view = index.views.iter().rfind(|view| view.life == life);
    let members: Vec<LifeId> = view
        .into_iter()
        .flat_map(|view| view.lives())
        .filter_map(|(peer, inc)| index.life(peer, inc))
        .collect();
    let lived =
        |other: &LifeId| *other != life && index.lives[*other].ended.is_none_or(|ended| ended > t);
    // Its entries from a log of its own, before its group merged into another one, say nothing
    // about that log.
    let goes_back = |other: &LifeId| {
        let facts = &index.lives[*other].facts;
        let merged =
            facts.iter().rposition(|fact| fact.t <= t && matches!(fact.what, What::Merged { .. }));
        let since = facts.iter().skip(merged.map_or(0, |at| at + 1));
        let first = since
            .filter_map(
                |fact| if let What::Entry(entry) = fact.what { Some(entry.seq) } else { None },
            )
            .min();
        own.is_none_or(|own| first.is_none_or(|first| first <= own))
    };
    let mut heirs = members.into_iter().filter(|other| lived(other) && goes_back(other)).peekable();
    if heirs.peek().is_none() {
        return Heirs::Nobody;
    }
    let upset = |fact: &crate::index::Fact<'_>| {
        fact.t >= t
            && matches!(
                fact.what,
                What::Gap { .. }
                    | What::Transfer { .. }
                    | What::Diverged { .. }
                    | What::Merged { .. }
            )
    };
    let is_through = |other: LifeId| {
        core.contains(&other)
            && !index.lives[other].holed
            && !index.lives[other].facts.iter().any(upset)
    };
    if heirs.all(is_through) { Heirs::There } else { Heirs::Gone }
}
