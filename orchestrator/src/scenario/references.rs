//! Checks references between parts of a file: names that are bound nowhere, points of steps that do
//! not exist, steps that can never do anything.
//!
//! References are collected while the file is read, also from tables with other mistakes: a typing
//! mistake in `[cluster]` hides no mistake further down, and a broken step still has the id that
//! others refer to.

use std::collections::BTreeSet;

use promises::selector::{Selector, SelectorError};
use protocol::id::PeerId;

use super::diagnostic::{Diagnostics, Placed, Span};
use super::ids::{PEERS_MAX, numbered};
use super::{Ids, Point};

/// Everything that refers to something else, or can be referred to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mentions {
    /// The ids of steps.
    pub(crate) ids: Vec<Placed<String>>,
    /// The names that steps bind.
    pub(crate) bound: Vec<String>,
    /// The processes that steps start.
    pub(crate) spawned: Vec<Placed<String>>,
    /// Points of steps.
    pub(crate) points: Vec<Point>,
    /// Selectors.
    pub(crate) selectors: Vec<Placed<Selector>>,
    /// Bound names used in fields of events and in expressions.
    pub(crate) names: Vec<Placed<String>>,
    /// Steps that wait for readings to arrive.
    pub(crate) quiescences: Vec<Span>,
    /// Whether any step publishes.
    pub(crate) publishes: bool,
}

impl Mentions {
    /// Reports everything that refers to nothing. `ids` are the peers at the start, if they could
    /// be read.
    pub(crate) fn check(
        &self,
        ids: Option<&Ids>,
        late: &[PeerId],
        has_workload: bool,
        diagnostics: &mut Diagnostics,
    ) {
        self.check_points(diagnostics);
        self.check_processes(ids, late, diagnostics);
        self.check_names(diagnostics);
        if !has_workload && !self.publishes {
            for span in &self.quiescences {
                diagnostics
                    .warning("S032", span, "dead step: nothing is ever published")
                    .help("add [workload], or drop this step");
            }
        }
    }

    fn check_points(&self, diagnostics: &mut Diagnostics) {
        let mut steps = BTreeSet::new();
        for id in &self.ids {
            if !steps.insert(id.value.as_str()) {
                diagnostics.error("S015", &id.span, format!("two steps are called `{}`", id.value));
            }
        }
        for Point { step, span, .. } in &self.points {
            if !steps.contains(step.as_str()) {
                diagnostics
                    .error("S011", span, format!("no step has the id `{step}`"))
                    .suggest(step, steps.iter().copied());
            }
        }
    }

    fn check_processes(&self, ids: Option<&Ids>, late: &[PeerId], diagnostics: &mut Diagnostics) {
        let mut processes: BTreeSet<String> = match ids {
            Some(Ids::Given(given)) => given.iter().map(PeerId::to_string).collect(),
            Some(Ids::Random(count)) => (1..=*count).map(numbered).collect(),
            // The default ids, if the real ones are unknown.
            None => (1..=PEERS_MAX).map(numbered).collect(),
        };
        for Placed { value, span } in &self.spawned {
            let is_late = late.iter().any(|id| id.as_str() == value);
            if !processes.insert(value.clone()) && ids.is_some() && !is_late {
                diagnostics
                    .error("S015", span, format!("a process called `{value}` is there already"))
                    .help("restart = … starts one again; a twin needs a name of its own");
            }
        }
        let processes: Vec<String> = processes.into_iter().collect();
        for Placed { value, span } in &self.selectors {
            let Err(SelectorError::Unknown { text, near }) =
                Selector::parse(&value.to_string(), &processes)
            else {
                continue;
            };
            match near {
                Some(near) => {
                    diagnostics
                        .error("S012", span, format!("unknown selector `{text}`"))
                        .label(format!("did you mean `{near}`?"));
                }
                // It may be the id of a peer that could not be read.
                None if ids.is_none() => {}
                None => {
                    let help = format!("processes here: {}", processes.join(", "));
                    diagnostics
                        .error("S012", span, format!("unknown selector `{text}`"))
                        .help(help);
                }
            }
        }
    }

    fn check_names(&self, diagnostics: &mut Diagnostics) {
        let of_selectors = self.selectors.iter().flat_map(|selector| {
            bound_names(&selector.value)
                .into_iter()
                .map(|name| Placed { value: name.to_owned(), span: selector.span.clone() })
        });
        for Placed { value: name, span } in self.names.iter().cloned().chain(of_selectors) {
            if self.bound.contains(&name) {
                continue;
            }
            let found = diagnostics.error("S013", &span, format!("`${name}` is bound by no step"));
            if self.bound.is_empty() {
                found.help("a step binds its choice with as = \"name\"");
            } else {
                found.suggest(&name, self.bound.iter().map(String::as_str));
            }
        }
    }
}

/// The names that a selector uses as `$name`.
fn bound_names(selector: &Selector) -> Vec<&str> {
    match selector {
        Selector::Bound(name) => vec![name],
        Selector::Some(_, of) => bound_names(of),
        Selector::List(list) => list.iter().flat_map(bound_names).collect(),
        _ => Vec::new(),
    }
}
