//! A step in a few words.

use crate::expect::title;
use crate::scenario::{Condition, Step, Verb, What};

/// A step in a few words, for the live line and for people.
#[must_use]
pub fn describe(step: &Step) -> String {
    let what = match &step.verb {
        Verb::Wait(Condition::Stable) => "wait until stable".to_owned(),
        Verb::Wait(Condition::Leader) => "wait for a leader".to_owned(),
        Verb::Wait(Condition::LeaderNot(who)) => {
            format!("wait for a leader other than {}", who.value)
        }
        Verb::Wait(Condition::Delivered(count)) => {
            format!("wait for {count} deliveries everywhere")
        }
        Verb::Wait(Condition::Unordered(count)) => format!("wait for {count} unordered readings"),
        Verb::Wait(Condition::Interrupt) => "Ctrl-C ends it".to_owned(),
        Verb::Wait(Condition::Event { pattern, .. }) => {
            format!("wait for {}", title(&What::Event(pattern.clone())))
        }
        Verb::Wait(Condition::Log { pattern, .. }) => {
            format!("wait for {}", title(&What::Log(pattern.clone())))
        }
        Verb::Publish { target, count, .. } => {
            format!("publish {count} readings from {}", target.who.value)
        }
        Verb::Spawn(spawns) => format!(
            "spawn {}",
            spawns.iter().map(|spawn| spawn.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
        Verb::Quiesce => "quiesce".to_owned(),
        Verb::Sleep => "let time pass".to_owned(),
        Verb::Starve { target, share, .. } => format!("starve {} to {share}%", target.who.value),
        Verb::Storm(storm) => format!("storm over {}", storm.who.value),
        Verb::Partition(partition) => format!("partition {}", partition.form),
        Verb::Link(link) => format!("link {} to {} is bad", link.from.value, link.to.value),
        Verb::Do(steps) => steps.iter().map(describe).collect::<Vec<_>>().join(", then "),
        verb => format!(
            "{} {}",
            verb.name(),
            verb.target().map(|target| target.who.value.to_string()).unwrap_or_default()
        ),
    };
    match &step.id {
        Some(id) => format!("{id}: {what}"),
        None => what,
    }
}
