//! The `[[step]]` tables: exactly one verb each, and the keys that all verbs share.

use super::diagnostic::Placed;
use super::network::{disk, firewall, heal, interface, link, partition};
use super::pattern::{COUNT_MAX, event_pattern, log_pattern};
use super::span_of_time::SpanOfTime;
use super::storm::storm;
use super::target::{binding, peer_id, selector, target, target_table};
use super::tree::{TomlTable, Value, Walk};
use super::when::{condition_holds, point};
use super::{Condition, Spawn, Step, Verb};

/// The verbs, in the order of their introduction.
const VERBS: [&str; 19] = [
    "wait",
    "kill",
    "stop",
    "pause",
    "resume",
    "restart",
    "spawn",
    "starve",
    "storm",
    "publish",
    "quiesce",
    "partition",
    "link",
    "interface",
    "firewall",
    "disk",
    "heal",
    "do",
    "for",
];

/// One step.
pub(super) fn step(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<Step> {
    let before_it = walk.mentions.clone();
    let id = table.string("id", walk);
    walk.mentions.ids.extend(id.clone());
    let at = table.duration("at", walk);
    let after = table.string("after", walk).and_then(|text| point(&text, walk));
    let lasts = table.positive_duration("for", walk);
    let within = table.positive_duration("within", walk);
    let repeat = table.count("repeat", 1, REPEAT_MAX, walk).map_or(1, |count| count.value);
    let when = condition_holds(table, walk);
    let verb = verb(table, walk);
    table.refuse_the_rest(walk);
    if let Some(at) = &at {
        walk.diagnostics.warning("S031", &at.span, "fixed sleep").help(SLEEP_HELP);
    }
    if !when? {
        walk.mentions = before_it;
        return None;
    }
    let verb = verb?;
    if let (Some(lasts), Verb::Sleep) = (&lasts, &verb) {
        walk.diagnostics.warning("S031", &lasts.span, "fixed sleep").help(SLEEP_HELP);
    }
    let can_last = verb.can_last();
    if let (Some(lasts), false) = (&lasts, can_last) {
        walk.diagnostics
            .error("S017", &lasts.span, format!("`for` has no meaning beside `{}`", verb.name()))
            .help(
                "pauses, starvation, storms and faults of the network can last, and a condition \
                   can have to hold that long",
            );
        return None;
    }
    if let (None, Verb::Storm(_)) = (&lasts, &verb) {
        walk.missing(&table.span, "for", "for = \"10 heartbeat_timeout\"");
        return None;
    }
    let strip = |placed: Option<Placed<_>>| placed.map(|placed| placed.value);
    Some(Step {
        id: id.map(|id| id.value),
        span: table.span.clone(),
        verb,
        at: strip(at),
        after,
        lasts: strip(lasts),
        within: strip(within),
        repeat,
    })
}

fn verb(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<Verb> {
    let present: Vec<(&'static str, &Value<'_>)> =
        VERBS.iter().filter_map(|verb| Some((*verb, table.get(verb)?))).collect();
    // `for` is a verb only if it is the only one: a bare sleep.
    let verbs: Vec<_> = if present.len() > 1 {
        present.into_iter().filter(|(verb, _)| *verb != "for").collect()
    } else {
        present
    };
    match verbs.as_slice() {
        [("for", _)] => Some(Verb::Sleep),
        [(verb, value)] => read_verb(verb, value, walk),
        [] => {
            walk.diagnostics
                .error("S016", &table.span, "this step does nothing")
                .help(format!("give it one of: {}", VERBS.join(", ")));
            None
        }
        [(first, value), (second, _), ..] => {
            // Read in spite of the mistake: other steps may refer to the name it binds.
            let _ = read_verb(first, value, walk);
            let message = format!("a step has one verb, this one has `{first}` and `{second}`");
            walk.diagnostics
                .error("S016", &table.key_span(second), message)
                .help("write two steps, or one with do = [{ … }, { … }]");
            None
        }
    }
}

fn read_verb(verb: &str, value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Verb> {
    match verb {
        "wait" => condition(value, walk).map(Verb::Wait),
        "kill" => target(value, walk).map(Verb::Kill),
        "stop" => target(value, walk).map(Verb::Stop),
        "pause" => target(value, walk).map(Verb::Pause),
        "resume" => target(value, walk).map(Verb::Resume),
        "restart" => restart(value, walk),
        "spawn" => spawns(value, walk).map(Verb::Spawn),
        "starve" => starve(value, walk),
        "storm" => storm(value, walk).map(Verb::Storm),
        "publish" => publish(value, walk),
        "partition" => partition(value, walk).map(Verb::Partition),
        "link" => link(value, walk).map(|link| Verb::Link(Box::new(link))),
        "interface" => interface(value, walk).map(Verb::Interface),
        "firewall" => firewall(value, walk).map(|(target, wall)| Verb::Firewall { target, wall }),
        "disk" => disk(value, walk).map(|(target, disk)| Verb::Disk { target, disk }),
        "heal" => heal(value, walk).map(Verb::Heal),
        "quiesce" => {
            walk.mentions.quiescences.push(value.span());
            walk.string(value)
                .and_then(|word| walk.word(&word, &[("workload", ())]))
                .map(|()| Verb::Quiesce)
        }
        _ => steps(value, walk).map(Verb::Do),
    }
}

fn steps(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Vec<Step>> {
    let Some(items) = value.get_ref().as_array() else {
        walk.wrong_type(value, "a list of steps");
        return None;
    };
    let steps: Vec<Step> = items
        .iter()
        .filter_map(|item| walk.table(item).and_then(|table| step(&table, walk)))
        .collect();
    if items.is_empty() {
        walk.diagnostics.error("S016", &value.span(), "this step does nothing");
    }
    Some(steps)
}

fn starve(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Verb> {
    let table = walk.table(value)?;
    let target = target_table(&table, "who", walk);
    let share = table.count("share", 1, 99, walk);
    let period = table.positive_duration("period", walk);
    if table.get("share").is_none() {
        walk.missing(
            &table.span,
            "share",
            "starve = { who = \"member\", share = 20 }, in percent of its time",
        );
    }
    table.refuse_the_rest(walk);
    let period =
        period.map_or_else(|| SpanOfTime::from_millis(STARVE_PERIOD_MS), |period| period.value);
    Some(Verb::Starve { target: target?, share: share?.value, period })
}

fn restart(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Verb> {
    if !value.get_ref().is_table() {
        return target(value, walk).map(|target| Verb::Restart { target, same_identity: true });
    }
    let table = walk.table(value)?;
    let identity = table.string("identity", walk);
    let same =
        identity.map_or(Some(true), |word| walk.word(&word, &[("same", true), ("fresh", false)]));
    let target = target_table(&table, "who", walk);
    table.refuse_the_rest(walk);
    Some(Verb::Restart { target: target?, same_identity: same? })
}

fn spawns(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Vec<Spawn>> {
    if !value.get_ref().is_table() {
        let names = walk.strings(value)?;
        walk.mentions.spawned.extend(names.iter().cloned());
        return names
            .iter()
            .map(|name| {
                peer_id(name, walk).map(|id| Spawn { name: name.value.clone(), id, exits: None })
            })
            .collect();
    }
    let table = walk.table(value)?;
    let id = table.string("id", walk);
    let name = table.string("name", walk);
    let exits = table
        .count("exits", 0, 255, walk)
        .map(|status| i32::try_from(status.value).expect("a byte fits"));
    table.refuse_the_rest(walk);
    let Some(id) = id else {
        walk.missing(&table.span, "id", "spawn = { name = \"twin\", id = \"peer2\" }");
        return None;
    };
    let peer = peer_id(&id, walk)?;
    let name = name.unwrap_or(id);
    walk.mentions.spawned.push(name.clone());
    // The name becomes part of file names, so it uses the alphabet of ids.
    let name = peer_id(&name, walk)?;
    Some(vec![Spawn { name: name.to_string(), id: peer, exits }])
}

fn publish(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Verb> {
    walk.mentions.publishes = true;
    let table = walk.table(value)?;
    let count = table.count("count", 1, BURST_MAX, walk);
    let size = table.count("size", 1, 65_536, walk).map_or(0, |size| size.value);
    let target = target_table(&table, "from", walk);
    if table.get("count").is_none() {
        walk.missing(&table.span, "count", "publish = { from = \"member\", count = 1000 }");
    }
    table.refuse_the_rest(walk);
    Some(Verb::Publish { target: target?, count: count?.value, size })
}

fn condition(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Condition> {
    if value.get_ref().is_str() {
        let word = walk.string(value)?;
        let words = [("stable", 0), ("leader", 1), ("interrupt", 2)];
        return Some(match walk.word(&word, &words)? {
            0 => Condition::Stable,
            1 => Condition::Leader,
            _ => Condition::Interrupt,
        });
    }
    let table = walk.table(value)?;
    let on = table.get("on").and_then(|on| selector(on, walk));
    let bind = binding(&table, walk);
    let found: Vec<Option<Condition>> = [
        table.get("leader_not").map(|who| selector(who, walk).map(Condition::LeaderNot)),
        table.get("delivered").map(|count| {
            walk.count(count, 1, COUNT_MAX).map(|count| Condition::Delivered(count.value))
        }),
        table.get("unordered").map(|count| {
            walk.count(count, 1, COUNT_MAX).map(|count| Condition::Unordered(count.value))
        }),
        table.get("event").map(|event| {
            let count = table.count("count", 1, COUNT_MAX, walk).map_or(1, |count| count.value);
            event_pattern(event, table.get("where"), walk).map(|pattern| Condition::Event {
                pattern,
                on: on.clone(),
                count,
                bind: bind.clone(),
            })
        }),
        table.get("log").map(|log| {
            log_pattern(log, walk).map(|pattern| Condition::Log {
                pattern,
                on: on.clone(),
                bind: bind.clone(),
            })
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    table.refuse_the_rest(walk);
    if found.len() != 1 {
        walk.diagnostics
            .error("S016", &table.span, "a wait waits for one thing")
            .help("one of: leader_not, delivered, unordered, event, log");
        return None;
    }
    let found = found.into_iter().flatten().next()?;
    if let (Some(_), false) =
        (bind, matches!(found, Condition::Event { .. } | Condition::Log { .. }))
    {
        walk.diagnostics
            .error(
                "S017",
                &table.key_span("as"),
                "`as` has a meaning beside `event` and `log` only",
            )
            .help("it names those at whom the event or the line was seen");
        return None;
    }
    Some(found)
}
const SLEEP_HELP: &str = "what are you waiting for? `wait = \"stable\"` ends as soon as it is \
                          true, and fails with a reason";
/// Short enough that no peer is suspected for its pauses, long enough for a busy machine.
const STARVE_PERIOD_MS: u64 = 50;
/// More repetitions would exceed any timeout.
const REPEAT_MAX: u64 = 1_000;
/// A larger burst would only measure the orchestrator's own memory.
const BURST_MAX: u64 = 1_000_000;
