//! Seeds with known, open breaches of promises (`simulator/open.txt`).
//!
//! A sweep reports such a seed and continues: its other findings have to be visible. A seed of the
//! list that breaks another promise fails the sweep, and so does a seed that breaks none, so that
//! the list never claims too much.

use crate::breach::Breach;
use crate::plan::Plan;
use crate::sweep::{Report, Sweep};

/// The result of comparing a sweep with the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Tokens that broke only what the list says, each with the promises.
    pub known: Vec<(String, String)>,
    /// Tokens of the list that broke nothing, or something else.
    pub stale: Vec<String>,
    /// How many seeds failed that are not on the list.
    pub others: usize,
}

impl Open {
    /// Compares the findings of a sweep with the list.
    #[must_use]
    pub fn of(sweep: &Sweep, report: &Report) -> Self {
        let mut open = Self::default();
        let found = |seed: u64| {
            report.failures.iter().find(|(failed, _)| *failed == seed).map(|(_, breaches)| breaches)
        };
        let in_range =
            |seed: u64| seed.checked_sub(sweep.from).is_some_and(|nth| nth < sweep.seeds);
        for (token, promises) in listed(LIST).filter(|_| !sweep.liar) {
            let Some(seed) = token
                .split('-')
                .nth(1)
                .and_then(|seed| seed.parse().ok())
                .filter(|seed| in_range(*seed))
            else {
                continue;
            };
            // Another generator draws another plan from that seed; nothing is known about that
            // plan.
            if sweep.plan(seed).as_ref().map(Plan::token).as_deref() != Some(token) {
                continue;
            }
            let is_known = found(seed).is_some_and(|breaches| {
                breaches.iter().all(|breach| names(promises, &breach.promise))
            });
            if is_known {
                open.known.push((token.to_owned(), promises.to_owned()));
            } else {
                open.stale.push(token.to_owned());
            }
        }
        let is_known = |seed: u64, breaches: &[Breach]| {
            sweep.plan(seed).is_some_and(|plan| {
                let token = plan.token();
                open.known.iter().any(|(known, promises)| {
                    *known == token
                        && breaches.iter().all(|breach| names(promises, &breach.promise))
                })
            })
        };
        open.others = report
            .failures
            .iter()
            .filter(|(seed, breaches)| report.is_red(breaches) && !is_known(*seed, breaches))
            .count();
        open
    }
}

/// Whether the list says that this plan breaks that promise.
#[must_use]
pub fn is_known(token: &str, promise: &str) -> bool {
    listed(LIST).any(|(known, promises)| known == token && names(promises, promise))
}

/// How many of these seeds are on the list.
#[must_use]
pub fn known_within(from: u64, seeds: u64) -> u64 {
    let seed = |token: &str| token.split('-').nth(1).and_then(|seed| seed.parse::<u64>().ok());
    let is_within = |seed: &u64| seed.checked_sub(from).is_some_and(|nth| nth < seeds);
    listed(LIST).filter_map(|(token, _)| seed(token)).filter(is_within).count() as u64
}

/// Whether a promise is in a list of promises on one line.
fn names(promises: &str, promise: &str) -> bool {
    promises.split_whitespace().any(|named| named == promise)
}

/// The tokens of the list, each with the promises and laws that it breaks.
fn listed(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ').map(|(token, promises)| (token, promises.trim())))
}

const LIST: &str = include_str!("../open.txt");

#[cfg(test)]
mod tests {
    use super::{LIST, Open, listed};
    use crate::sweep::{Report, Sweep};
    use crate::truth::LAWS;

    fn sweep(from: u64, seeds: u64) -> Sweep {
        Sweep { from, seeds, jobs: 1, check: false, failures_max: 1, one_way: false, liar: false }
    }

    #[test]
    fn each_line_names_a_drawn_plan_and_a_promise() {
        let is_one = |name: &str| {
            promises::CATALOGUE.iter().any(|known| known.id == name)
                || LAWS.iter().any(|law| law.id() == name)
        };
        for (token, promises) in listed(LIST) {
            assert!(!promises.is_empty() && promises.split_whitespace().all(is_one), "{promises}");
            let seed = token.split('-').nth(1).and_then(|seed| seed.parse().ok()).expect("a seed");
            assert_eq!(
                sweep(seed, 1).plan(seed).expect("a plan").token(),
                token,
                "drawn otherwise by now: take the line away"
            );
        }
    }

    #[test]
    fn a_seed_of_the_list_that_holds_is_told() {
        let Some((token, _)) = listed(LIST).next() else { return };
        let seed = token.split('-').nth(1).and_then(|seed| seed.parse().ok()).expect("a seed");
        let open = Open::of(&sweep(seed, 1), &Report::default());
        assert_eq!(open.stale, [token]);
        assert_eq!(Open::of(&sweep(seed + 1, 1), &Report::default()), Open::default());
    }
}
