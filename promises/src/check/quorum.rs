//! Mode `primary`: a peer that reaches no quorum of its group does not lead it.

use crate::fault::Fault;
use crate::history::Record;
use crate::index::{Index, Kind, LifeId, Trouble, TroubleKind, ViewFact, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;
use crate::world::GroundTruth;

/// A leader that is cut off from every quorum of its view has stepped down before the others give
/// it up.
///
/// The reach of the leader follows from the cut in the ground truth, not from its belief. Judged
/// only if nothing else happened to the leader meanwhile: a paused leader cannot report that it
/// steps down.
pub(crate) fn steps_down(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    if !run.is_primary() {
        return;
    }
    let index = run.index;
    let knobs = &run.options.knobs;
    let patience = u64::try_from((knobs.heartbeat_timeout + knobs.heartbeat_interval).as_micros())
        .unwrap_or(u64::MAX);
    // A bad link is no cut: some frames pass.
    let is_cut = |at: usize| matches!(&run.history.records[at], Record::World(event) if matches!(event.what, GroundTruth::Fault { fault: Fault::Partition { .. }, .. }));
    let cuts = index
        .troubles
        .iter()
        .filter(|trouble| trouble.kind == TroubleKind::Links && is_cut(trouble.at));
    for cut in cuts {
        let deadline = cut.from.saturating_add(patience);
        if cut.to < deadline || index.end < deadline {
            continue;
        }
        for leader in 0..index.lives.len() {
            let Some(view) = leads(index, leader, cut.from) else { continue };
            let life = &index.lives[leader];
            let meanwhile =
                || life.facts.iter().filter(|fact| (cut.from..=deadline).contains(&fact.t));
            let disturbed = life.ended.is_some_and(|ended| ended <= deadline)
                || index.troubles_in(cut.from, deadline).any(|other| other.at != cut.at && is_own(other, leader))
                // Another view has another quorum.
                || meanwhile().any(|fact| matches!(fact.what, What::Entry(entry) if matches!(entry.kind, Kind::View(_))));
            if disturbed || has_quorum(index, view, leader, cut) {
                continue;
            }
            sheet.look();
            if !meanwhile().any(|fact| matches!(fact.what, What::StepDown)) {
                sheet.breach(&[view.at, cut.at, life.last], || {
                    format!(
                        "{} leads, reaches no quorum of view {} any more, and has not stepped down \
                         {} ms later",
                        index.name(leader),
                        view.view_id,
                        patience / 1_000
                    )
                });
            }
        }
    }
}

fn is_own(trouble: &Trouble<'_>, life: LifeId) -> bool {
    trouble.kind == TroubleKind::Machine || trouble.lives.contains(&life)
}

/// The view in which a life leads at that moment, if it leads.
fn leads<'a>(index: &'a Index<'_>, life: LifeId, t: u64) -> Option<&'a ViewFact<'a>> {
    let mut leads = false;
    for fact in index.lives[life].facts.iter().take_while(|fact| fact.t < t) {
        match fact.what {
            What::Elected { .. } => leads = true,
            What::StepDown | What::Follows { .. } | What::Merged { .. } | What::Transfer { .. } => {
                leads = false
            }
            _ => {}
        }
    }
    if !leads {
        return None;
    }
    index
        .views
        .iter()
        .rfind(|view| view.life == life && view.t < t)
        .filter(|view| view.leader == index.lives[life].peer)
}

/// Whether the leader and the peers that a cut leaves to it are more than half of its view, or
/// exactly half including the leader.
fn has_quorum(index: &Index<'_>, view: &ViewFact<'_>, leader: LifeId, cut: &Trouble<'_>) -> bool {
    let Some((table, own)) = cut.table.zip(index.lives[leader].process) else { return true };
    let reaches = |name: &str| !table.has(own, name) && !table.has(name, own);
    let reached = |life: LifeId| index.lives[life].process.is_some_and(reaches);
    let count = view
        .lives()
        .filter_map(|(peer, inc)| index.life(peer, inc))
        .filter(|life| *life == leader || reached(*life))
        .count();
    2 * count >= view.members.len()
}
