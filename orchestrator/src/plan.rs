//! A dry run as text: what the seed draws, and the length of every duration.

use std::fmt::Write as _;

use crate::engine::describe;
use crate::expect::{shown, title};
use crate::scenario::{Expectation, Scenario, Step, Verb, Workload};

/// Describes what a run with this seed does.
#[must_use]
pub fn tell(scenario: &Scenario, seed: u64) -> String {
    let mut text = String::new();
    write_plan(scenario, seed, &mut text).expect("writing to a String cannot fail");
    text
}

fn write_plan(scenario: &Scenario, seed: u64, text: &mut String) -> std::fmt::Result {
    let cluster = &scenario.cluster;
    let knobs = &cluster.knobs;
    let ids = cluster.ids.in_starting_order(seed);
    let names: Vec<&str> = ids.iter().map(protocol::id::PeerId::as_str).collect();
    writeln!(text, "scenario   {}: {}", scenario.name, scenario.about)?;
    writeln!(text, "seed       {seed}")?;
    writeln!(
        text,
        "world      {}",
        if scenario.needs_hosts.is_empty() { "processes, hosts" } else { "hosts" }
    )?;
    writeln!(text, "peers      {}", names.join(", "))?;
    writeln!(
        text,
        "stagger    {} to {}",
        shown(cluster.stagger.0.under(knobs)),
        shown(cluster.stagger.1.under(knobs))
    )?;
    writeln!(
        text,
        "timing     {}: heartbeat {}, heartbeat_timeout {}, election_timeout {}, sync_timeout {}, \
         join_timeout {}",
        cluster.profile.name(),
        shown(knobs.heartbeat_interval),
        shown(knobs.heartbeat_timeout),
        shown(knobs.election_timeout),
        shown(knobs.sync_timeout),
        shown(knobs.join_timeout)
    )?;
    for (flag, value) in &cluster.flags {
        writeln!(text, "option     --{flag} {value}")?;
    }
    match &scenario.workload {
        Some(Workload::Fed { interval, from }) => {
            writeln!(text, "workload   one reading every {} from {}", shown(*interval), from.value)?
        }
        Some(Workload::Host { interval }) => writeln!(
            text,
            "workload   every peer measures the machine every {}",
            shown(interval.under(knobs))
        )?,
        None => {}
    }
    writeln!(text, "timeout    {}", shown(scenario.timeout.under(knobs)))?;
    writeln!(text, "steps")?;
    for (at, step) in scenario.steps.iter().enumerate() {
        write_step(step, scenario, &format!("{}", at + 1), text)?;
    }
    writeln!(text, "expectations")?;
    for expectation in &scenario.expectations {
        write_expectation(expectation, scenario, text)?;
    }
    Ok(())
}

fn write_step(
    step: &Step,
    scenario: &Scenario,
    number: &str,
    text: &mut String,
) -> std::fmt::Result {
    let knobs = &scenario.cluster.knobs;
    write!(text, "  {number:<6} {}", describe(step))?;
    for (word, span) in [("at", &step.at), ("for", &step.lasts), ("within", &step.within)] {
        if let Some(span) = span {
            write!(text, ", {word} {}", shown(span.under(knobs)))?;
        }
    }
    if step.repeat > 1 {
        write!(text, ", {} times", step.repeat)?;
    }
    writeln!(text)?;
    if let Verb::Do(steps) = &step.verb {
        for (at, inner) in steps.iter().enumerate() {
            write_step(inner, scenario, &format!("{number}.{}", at + 1), text)?;
        }
    }
    Ok(())
}

fn write_expectation(
    expectation: &Expectation,
    scenario: &Scenario,
    text: &mut String,
) -> std::fmt::Result {
    let Expectation { what, on, after, before, within, count, .. } = expectation;
    let how_often = match count {
        (0, 0) => "never ".to_owned(),
        (1, u64::MAX) => String::new(),
        (least, most) if least == most => format!("{least} times "),
        (least, u64::MAX) => format!("at least {least} times "),
        (least, most) => format!("{least} to {most} times "),
    };
    write!(text, "  {how_often}{}", title(what))?;
    if let Some(on) = on {
        write!(text, " at {}", on.value)?;
    }
    for (word, point) in [("after", after), ("before", before)] {
        if let Some(point) = point {
            write!(
                text,
                ", {word} the {} of {}",
                if point.end { "end" } else { "start" },
                point.step
            )?;
        }
    }
    if let Some(within) = within {
        write!(text, ", within {} ({within})", shown(within.under(&scenario.cluster.knobs)))?;
    }
    writeln!(text)
}
