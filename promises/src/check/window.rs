//! The window of a peer's own readings: how many wait to be ordered, and which are refused.

use crate::check::gaps::SIZES;
use crate::index::{Entry, Kind, What};
use crate::judged_run::JudgedRun;
use crate::sheet::Sheet;
use protocol::note::Refusal;

/// No peer has more readings waiting to be ordered than its window permits. A history does not tell
/// their bytes.
pub(crate) fn windowed(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let bound = run.options.knobs.window_entries;
    for (id, life) in index.lives.iter().enumerate() {
        // How many of its own readings it has seen ordered. A replaced log may take that back, and
        // the readings are sent again, whatever their number. Readings ordered and taken back
        // unseen are unknown until the next count.
        let (mut ordered, mut had_log, mut taken_back) = (0, false, false);
        for fact in &life.facts {
            match fact.what {
                What::Entry(Entry { kind: Kind::Data { origin, oseq, .. }, .. }) => {
                    had_log = true;
                    if origin == id {
                        ordered = ordered.max(oseq);
                    }
                }
                What::Cut { .. } | What::Diverged { .. } | What::Transfer { .. } => {
                    taken_back |= had_log
                }
                What::Unordered { published, ordered: now, .. } => {
                    sheet.look();
                    ordered = ordered.max(now);
                    let count = published.saturating_sub(ordered);
                    taken_back &= count > bound;
                    if count > bound && !taken_back {
                        sheet.breach(&[fact.at], || {
                            format!(
                                "{} holds {count} unordered readings; its window has room for \
                                     {bound}",
                                index.name(id)
                            )
                        });
                    }
                }
                _ => {}
            }
        }
    }
}

/// A reading is refused only if the window is full, the reading is too large, or its peer is
/// leaving or blocked.
pub(crate) fn refusal_true(run: &JudgedRun<'_>, sheet: &mut Sheet) {
    let index = run.index;
    let knobs = &run.options.knobs;
    let fills_at = index
        .views
        .iter()
        .filter(|view| view.members.len() as u64 >= knobs.members_max)
        .map(|view| view.at)
        .min();
    for (id, life) in index.lives.iter().enumerate().filter(|(_, life)| !life.holed) {
        // How many it has published, and how many of them certainly wait: unknown while its log
        // changes.
        let (mut published, mut ordered, mut leaves) = (0, Some(0), false);
        for fact in &life.facts {
            let (why, count) = match fact.what {
                What::Publish { oseq, .. } => {
                    published = oseq;
                    continue;
                }
                What::Entry(Entry { kind: Kind::Data { origin, oseq, .. }, .. })
                    if origin == id =>
                {
                    ordered = if oseq >= published {
                        Some(oseq)
                    } else {
                        ordered.map(|known: u64| known.max(oseq))
                    };
                    continue;
                }
                What::Cut { .. }
                | What::Diverged { .. }
                | What::Transfer { .. }
                | What::Merged { .. } => {
                    ordered = ordered.filter(|_| published == 0);
                    continue;
                }
                What::Leaves => {
                    leaves = true;
                    continue;
                }
                What::Refused { why, count } => (why, count),
                _ => continue,
            };
            let waiting = ordered.map(|ordered| published.saturating_sub(ordered));
            let holds = match (why, waiting) {
                (Refusal::Leaving, _) => leaves,
                // A group without room for another member blocks the peers outside of it, in either
                // mode.
                (Refusal::NoQuorum, _) => {
                    run.is_primary() || fills_at.is_some_and(|at| at < fact.at)
                }
                (Refusal::TooLarge, _) => {
                    sheet.excuse(SIZES);
                    continue;
                }
                (Refusal::WindowFull, None) => {
                    sheet.excuse("its log had changed hands, and how many waited is not told");
                    continue;
                }
                (Refusal::WindowFull, Some(waiting)) => {
                    let may_be_full =
                        (waiting + 1).saturating_mul(knobs.payload_max) > knobs.window_bytes;
                    if waiting > 0 && waiting < knobs.window_entries && may_be_full {
                        sheet.excuse(SIZES);
                        continue;
                    }
                    waiting >= knobs.window_entries
                }
            };
            sheet.look();
            if !holds {
                sheet.breach(&[fact.at], || {
                    let waiting = waiting.map_or_else(
                        || "nobody knows how many".to_owned(),
                        |waiting| waiting.to_string(),
                    );
                    format!(
                        "{} refuses a reading as {why:?} ({count} so far), with {waiting} of \
                             its own waiting",
                        index.name(id)
                    )
                });
            }
        }
    }
}
