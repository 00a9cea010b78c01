//! Turns the text of a file into a checked scenario, or into all its mistakes.

use std::collections::BTreeMap;
use std::time::Duration;

use promises::selector::Selector;
use protocol::config::Knobs;
use toml::de::DeTable;

use super::cluster::read_cluster;
use super::diagnostic::{Diagnostic, Diagnostics, Placed, Source};
use super::expectation::expectation;
use super::span_of_time::SpanOfTime;
use super::step::step;
use super::target::selector;
use super::tree::{TomlTable, Walk};
use super::{Cluster, Profile, Scenario, Workload};

/// One combination of the values of `[matrix]`: what `${name}` stands for.
pub type Cell = BTreeMap<String, String>;

/// The combinations that a file asks for; one empty one where there is no `[matrix]`.
///
/// # Errors
/// What is wrong with `[matrix]`.
pub fn cells(source: &Source) -> Result<Vec<Cell>, Vec<Diagnostic>> {
    let (document, _) = DeTable::parse_recoverable(&source.text);
    let nothing = Cell::new();
    let mut walk = Walk::new(Diagnostics::default(), &nothing);
    let root = TomlTable::new(document.get_ref(), document.span());
    let mut cells = vec![Cell::new()];
    if let Some(matrix) = root.table("matrix", &mut walk) {
        for (name, values) in matrix.entries() {
            let values = walk.strings(values).unwrap_or_default();
            if values.is_empty() {
                walk.diagnostics.error(
                    "S005",
                    &name.span,
                    format!("`{}` has no values", name.value),
                );
            }
            let with = |cell: &Cell, value: &Placed<String>| {
                let mut cell = cell.clone();
                cell.insert(name.value.clone(), value.value.clone());
                cell
            };
            cells = cells
                .iter()
                .flat_map(|cell| values.iter().map(|value| with(cell, value)).collect::<Vec<_>>())
                .collect();
        }
    }
    if walk.diagnostics.has_errors() { Err(walk.diagnostics.into_sorted()) } else { Ok(cells) }
}

/// Reads and checks a file. `profile` overrides the file's own timing.
/// # Errors
/// Everything that is wrong with it; warnings are among them, and come beside the scenario where
/// there is no error.
pub fn parse(
    source: &Source,
    cell: &Cell,
    profile: Option<Profile>,
) -> Result<(Scenario, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::default();
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        diagnostics.error("S001", &error.span().unwrap_or(0..0), error.message().to_owned());
    }
    // Values guessed for a broken table would only cause wrong errors further down.
    if diagnostics.has_errors() {
        return Err(diagnostics.into_sorted());
    }
    let mut walk = Walk::new(diagnostics, cell);
    let scenario = read(&TomlTable::new(document.get_ref(), 0..0), profile, &mut walk);
    let failed = walk.diagnostics.has_errors();
    let found = walk.diagnostics.into_sorted();
    match scenario {
        Some(scenario) if !failed => Ok((scenario, found)),
        _ => Err(found),
    }
}

fn read(
    root: &TomlTable<'_, '_>,
    profile: Option<Profile>,
    walk: &mut Walk<'_>,
) -> Option<Scenario> {
    root.get("matrix");
    let head = root.table("scenario", walk);
    let cluster = root.table("cluster", walk);
    let workload = root.table("workload", walk);
    let steps: Vec<_> =
        root.tables("step", walk).iter().filter_map(|table| step(table, walk)).collect();
    let expectations =
        root.tables("expect", walk).iter().filter_map(|table| expectation(table, walk)).collect();
    let invariants = root.table("invariants", walk);
    let hosts = root.table("hosts", walk);
    root.refuse_the_rest(walk);
    let head = head.or_else(|| {
        walk.missing(&(0..0), "[scenario]", "[scenario] with a name");
        None
    });
    let cluster = match cluster {
        Some(table) => read_cluster(&table, profile, hosts.as_ref(), walk),
        None => {
            walk.missing(&(0..0), "[cluster]", "[cluster] with peers = 3");
            None
        }
    };
    let has_workload = workload.is_some();
    let workload = workload.and_then(|table| read_workload(&table, walk));
    let mentions = std::mem::take(&mut walk.mentions);
    let late = cluster.as_ref().map(|cluster| cluster.late.clone()).unwrap_or_default();
    mentions.check(
        cluster.as_ref().map(|cluster| &cluster.ids),
        &late,
        has_workload,
        &mut walk.diagnostics,
    );
    let (required, excused) =
        invariants.map(|table| read_invariants(&table, walk)).unwrap_or_default();
    let head = head?;
    let name = head.string("name", walk);
    let about = head.string("about", walk).map(|about| about.value).unwrap_or_default();
    let tags = head.get("tags").and_then(|tags| walk.strings(tags)).unwrap_or_default();
    let timeout = head.positive_duration("timeout", walk);
    check_timeout(timeout.as_ref(), cluster.as_ref(), walk);
    let timeout =
        timeout.map_or_else(|| SpanOfTime::from_millis(TIMEOUT_MS), |timeout| timeout.value);
    let repeat = head.count("repeat", 1, 1_000, walk).map_or(1, |repeat| repeat.value);
    let mut needs_hosts = needs(&head, hosts.as_ref(), walk);
    head.refuse_the_rest(walk);
    let Some(name) = name else {
        walk.missing(&head.span, "name", "name = \"leader_election\"");
        return None;
    };
    if name.value.is_empty() || !name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        walk.diagnostics
            .error("S005", &name.span, "a name has letters, digits and underscores only")
            .help("it becomes the name of a folder");
    }
    let tags = tags.into_iter().map(|tag| tag.value).collect();
    let cluster = cluster?;
    let mut scenario = Scenario {
        name: name.value,
        about,
        tags,
        timeout,
        repeat,
        cluster,
        workload,
        steps,
        expectations,
        needs_hosts: vec![],
        required,
        excused,
    };
    let of_network = scenario.all_steps().into_iter().filter(|step| step.verb.is_of_hosts());
    needs_hosts.extend(
        of_network.map(|step| Placed {
            value: format!("`{}`", step.verb.name()),
            span: step.span.clone(),
        }),
    );
    scenario.needs_hosts = needs_hosts;
    Some(scenario)
}

/// The parts of the head and of the table of hosts that need real hosts.
fn needs(
    head: &TomlTable<'_, '_>,
    hosts: Option<&TomlTable<'_, '_>>,
    walk: &mut Walk<'_>,
) -> Vec<Placed<String>> {
    let mut needs = vec![];
    for word in head.get("needs").and_then(|needs| walk.strings(needs)).unwrap_or_default() {
        if walk.word(&word, &[("hosts", ())]).is_some() {
            needs.push(Placed { value: "`needs`".to_owned(), span: word.span });
        }
    }
    needs.extend(
        hosts.map(|table| Placed { value: "[hosts]".to_owned(), span: table.span.clone() }),
    );
    needs
}

/// There is no group before a joining peer has listened for its full time.
fn check_timeout(
    timeout: Option<&Placed<SpanOfTime>>,
    cluster: Option<&Cluster>,
    walk: &mut Walk<'_>,
) {
    let (Some(timeout), Some(cluster)) = (timeout, cluster) else { return };
    let (given, least) = (timeout.value.under(&cluster.knobs), cluster.knobs.join_timeout);
    if given <= least {
        walk.diagnostics
            .error("S022", &timeout.span, format!("no group can form within {given:?}"))
            .help(format!("a joining peer listens for {least:?} first (join_timeout)"));
    }
}

fn read_workload(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<Workload> {
    let sensors = table.table("sensors", walk);
    table.refuse_the_rest(walk);
    let Some(sensors) = sensors else {
        walk.missing(&table.span, "sensors", "sensors = { rate = \"20/s\", from = \"all\" }");
        return None;
    };
    let rate = sensors.string("rate", walk);
    let from = sensors.get("from").map(|from| selector(from, walk));
    let host = sensors.positive_duration("host", walk);
    sensors.refuse_the_rest(walk);
    match (host, &rate) {
        (Some(interval), None) if interval.value.under(&Knobs::fast()) < HOST_INTERVAL_MIN => {
            let message = format!("a peer measures every {HOST_INTERVAL_MIN:?} at most");
            walk.diagnostics
                .error("S022", &interval.span, message)
                .help("for example: host = \"200ms\"");
            return None;
        }
        (Some(interval), None) => return Some(Workload::Host { interval: interval.value }),
        (Some(_), Some(rate)) => {
            walk.diagnostics.error(
                "S016",
                &rate.span,
                "readings are either measured (`host`) or made up (`rate`)",
            );
            return None;
        }
        (None, _) => {}
    }
    let Some(rate) = rate else {
        walk.missing(&sensors.span, "rate", "rate = \"20/s\"");
        return None;
    };
    let per_second = rate
        .value
        .strip_suffix("/s")
        .and_then(|number| number.trim().parse::<u32>().ok())
        .filter(|rate| (1..=RATE_MAX).contains(rate));
    let Some(per_second) = per_second else {
        walk.diagnostics
            .error("S005", &rate.span, format!("expected readings per second, 1/s to {RATE_MAX}/s"))
            .help("for example: rate = \"20/s\"");
        return None;
    };
    let everybody = || Some(Placed { value: Selector::All, span: sensors.span.clone() });
    Some(Workload::Fed {
        interval: Duration::from_secs(1) / per_second,
        from: from.unwrap_or_else(everybody)?,
    })
}

fn read_invariants(
    table: &TomlTable<'_, '_>,
    walk: &mut Walk<'_>,
) -> (Vec<String>, BTreeMap<String, String>) {
    let known = promise_ids();
    let check = |ids: Option<Vec<Placed<String>>>, walk: &mut Walk<'_>| -> Vec<String> {
        let mut good = Vec::new();
        for id in ids.unwrap_or_default() {
            if known.contains(&id.value.as_str()) {
                good.push(id.value);
            } else {
                walk.diagnostics
                    .error("S019", &id.span, format!("unknown promise `{}`", id.value))
                    .suggest(&id.value, known.iter().copied());
            }
        }
        good
    };
    let required = table.get("require").and_then(|ids| walk.strings(ids));
    let required = check(required, walk);
    let report = table.get("report").and_then(|ids| walk.strings(ids));
    let report = check(report, walk);
    let because = table.string("because", walk);
    table.refuse_the_rest(walk);
    if !report.is_empty() && because.is_none() {
        walk.diagnostics
            .error("S004", &table.key_span("report"), "`because` is missing")
            .help("a promise that does not count needs a reason");
    }
    let because = because.map(|because| because.value).unwrap_or_default();
    (required, report.into_iter().map(|id| (id, because.clone())).collect())
}

fn promise_ids() -> Vec<&'static str> {
    promises::CATALOGUE.iter().map(|promise| promise.id).collect()
}

/// The limit of a run without its own `timeout`.
const TIMEOUT_MS: u64 = 60_000;
/// A higher rate from one peer is a benchmark, not a scenario.
const RATE_MAX: u32 = 10_000;
/// The least value of `--interval` that a peer accepts.
const HOST_INTERVAL_MIN: Duration = Duration::from_millis(1);
