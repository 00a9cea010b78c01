//! From the text of a file to a checked scenario, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use promises::selector::Selector;
use protocol::config::{Config, Knobs, Mode};
use protocol::draw::draw_below;
use protocol::id::PeerId;
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Diagnostics, Placed, Source};
use super::expectation::expectation;
use super::network::host;
use super::references::numbered;
use super::span_of_time::SpanOfTime;
use super::step::{peer_id, selector, step};
use super::tree::{Table, Value, Walk};
use super::{Cluster, Host, Ids, Profile, Scenario, Workload};

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
    let root = Table::new(document.get_ref(), document.span());
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

/// Reads and checks a file. `profile` goes before the file's own timing.
///
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
    // What was guessed of a broken table would only be guessed wrong further down.
    if diagnostics.has_errors() {
        return Err(diagnostics.into_sorted());
    }
    let mut walk = Walk::new(diagnostics, cell);
    let scenario = read(&Table::new(document.get_ref(), 0..0), profile, &mut walk);
    let failed = walk.diagnostics.has_errors();
    let found = walk.diagnostics.into_sorted();
    match scenario {
        Some(scenario) if !failed => Ok((scenario, found)),
        _ => Err(found),
    }
}

fn read(root: &Table<'_, '_>, profile: Option<Profile>, walk: &mut Walk<'_>) -> Option<Scenario> {
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

/// What the head of a file and its table of hosts need.
fn needs(
    head: &Table<'_, '_>,
    hosts: Option<&Table<'_, '_>>,
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

/// No group is there before a joining peer has listened for as long as it has to.
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

fn read_cluster(
    table: &Table<'_, '_>,
    forced: Option<Profile>,
    hosts: Option<&Table<'_, '_>>,
    walk: &mut Walk<'_>,
) -> Option<Cluster> {
    let late = table.get("late").and_then(|late| walk.strings(late)).unwrap_or_default();
    let late: Vec<PeerId> = late.iter().filter_map(|name| peer_id(name, walk)).collect();
    let peers = table.count("peers", 1, PEERS_MAX, walk);
    let ids = table.get("ids");
    let (profile, changes) = timing(table, forced, walk);
    let stagger = table.string("stagger", walk);
    let options = table.table("options", walk);
    table.refuse_the_rest(walk);
    let mut flags = Vec::new();
    let mut knobs = profile.knobs();
    for table in changes.iter().chain(options.iter()) {
        read_options(table, &mut knobs, &mut flags, walk);
    }
    let ids = read_ids(table, peers.as_ref(), ids, walk);
    if knobs.mode == Mode::Primary && knobs.bootstrap.is_empty() {
        // Where nobody says who founds the group, all do that are there at the start.
        knobs.bootstrap = ids.as_ref().map_or_else(|| vec![numbered_peer(1)], Ids::in_order);
        let names: Vec<&str> = knobs.bootstrap.iter().map(PeerId::as_str).collect();
        flags.push(("bootstrap".to_owned(), names.join(",")));
    }
    if let Err(error) = Config::try_from(knobs.clone()) {
        walk.diagnostics.error("S020", &table.span, error.to_string());
    }
    let stagger = stagger
        .map_or(Some((SpanOfTime::from_millis(0), SpanOfTime::from_millis(0))), |text| {
            walk.range_of_time(&text)
        });
    let hosts = hosts.map(|table| read_hosts(table, walk)).unwrap_or_default();
    Some(Cluster { ids: ids?, stagger: stagger?, knobs, profile, flags, late, hosts })
}

/// Which peers there are.
fn read_ids(
    table: &Table<'_, '_>,
    peers: Option<&Placed<u64>>,
    ids: Option<&Value<'_>>,
    walk: &mut Walk<'_>,
) -> Option<Ids> {
    match ids {
        None => {
            let Some(peers) = peers else {
                if table.get("peers").is_none() {
                    walk.missing(&table.span, "peers", "peers = 3");
                }
                return None;
            };
            Some(Ids::Given((1..=peers.value).map(numbered_peer).collect()))
        }
        Some(value) if value.get_ref().is_str() => {
            let word = walk.string(value)?;
            walk.word(&word, &[("random", ())])?;
            let Some(peers) = peers else {
                walk.missing(&table.span, "peers", "peers = 3");
                return None;
            };
            Some(Ids::Random(peers.value))
        }
        Some(value) => {
            let names = walk.strings(value)?;
            let given: Vec<PeerId> = names.iter().filter_map(|name| peer_id(name, walk)).collect();
            let distinct: BTreeSet<&PeerId> = given.iter().collect();
            if distinct.len() < given.len() {
                walk.diagnostics.error("S005", &value.span(), "an id is named twice").help(
                    "for a second process of one id: spawn = { name = \"twin\", id = \"peer2\" }",
                );
            }
            if let Some(peers) = peers
                && peers.value != names.len() as u64
            {
                walk.diagnostics.error(
                    "S005",
                    &peers.span,
                    format!("peers = {}, and {} ids are given", peers.value, names.len()),
                );
            }
            Some(Ids::Given(given))
        }
    }
}

impl Ids {
    /// All of them, in the order in which they are started.
    #[must_use]
    pub fn in_starting_order(&self, seed: u64) -> Vec<PeerId> {
        let mut left = self.in_order();
        match self {
            Self::Given(_) => left,
            Self::Random(count) => (0..*count)
                .map(|turn| {
                    let at = draw_below(seed, "ids", turn, left.len() as u64);
                    left.remove(usize::try_from(at).expect("an index of a list in memory"))
                })
                .collect(),
        }
    }

    /// All of them, whoever starts first.
    fn in_order(&self) -> Vec<PeerId> {
        match self {
            Self::Given(given) => given.clone(),
            Self::Random(count) => (1..=*count).map(numbered_peer).collect(),
        }
    }
}

/// The profile, and the table of changes to it if the file gives one.
fn timing<'t, 'i>(
    table: &Table<'t, 'i>,
    forced: Option<Profile>,
    walk: &mut Walk<'_>,
) -> (Profile, Option<Table<'t, 'i>>) {
    let found = table.get("timing").map(|value| match value.get_ref() {
        DeValue::Table(_) => (Profile::Fast, walk.table(value)),
        _ => {
            let word = walk.string(value);
            let profile = word.and_then(|word| {
                walk.word(&word, &[("fast", Profile::Fast), ("default", Profile::Default)])
            });
            (profile.unwrap_or(Profile::Fast), None)
        }
    });
    match (forced, found) {
        (Some(profile), _) => (profile, None),
        (None, Some(found)) => found,
        (None, None) => (Profile::Fast, None),
    }
}

/// Knobs and flags by their names; each becomes a flag of `peer run`.
pub(super) fn read_options(
    table: &Table<'_, '_>,
    knobs: &mut Knobs,
    flags: &mut Vec<(String, String)>,
    walk: &mut Walk<'_>,
) {
    let Ok(Json::Object(mut raw)) = serde_json::to_value(&*knobs) else {
        unreachable!("knobs are a table of plain values")
    };
    for (key, value) in table.entries() {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(is) => is.to_string(),
            DeValue::String(_) => match walk.string(value) {
                Some(text) => text.value,
                None => continue,
            },
            DeValue::Array(_) => match walk.strings(value) {
                Some(texts) => {
                    texts.into_iter().map(|text| text.value).collect::<Vec<_>>().join(",")
                }
                None => continue,
            },
            _ => {
                walk.wrong_type(value, "a number, a string, a boolean, or a list of strings");
                continue;
            }
        };
        let flag = key.value.replace('_', "-");
        if OTHER_FLAGS.contains(&key.value.as_str()) {
            match bad_flag(&key.value, &text) {
                None => flags.push((flag, text)),
                Some(why) => drop(walk.diagnostics.error(
                    "S005",
                    &value.span(),
                    format!("`{}` cannot be that: {why}", key.value),
                )),
            }
            continue;
        }
        let Some(old) = raw.get(&key.value).cloned() else {
            let known = raw.keys().map(String::as_str).chain(OTHER_FLAGS);
            walk.diagnostics
                .error("S002", &key.span, format!("unknown knob `{}`", key.value))
                .suggest(&key.value, known.collect::<Vec<_>>());
            continue;
        };
        let plain = || Json::String(text.clone());
        let new = match old {
            Json::Number(_) => text.parse::<u64>().map_or_else(|_| plain(), Json::from),
            Json::Bool(_) => text.parse::<bool>().map_or_else(|_| plain(), Json::from),
            Json::Array(_) => text.split(',').map(str::to_owned).collect(),
            _ => plain(),
        };
        raw.insert(key.value.clone(), new);
        match serde_json::from_value::<Knobs>(Json::Object(raw.clone())) {
            Ok(changed) => {
                *knobs = changed;
                flags.push((flag, text));
            }
            Err(error) => {
                raw.insert(key.value.clone(), old);
                walk.diagnostics.error(
                    "S005",
                    &value.span(),
                    format!("`{}` cannot be that: {error}", key.value),
                );
            }
        }
    }
}

/// `[hosts.peer3]`: what is special about single hosts.
fn read_hosts(table: &Table<'_, '_>, walk: &mut Walk<'_>) -> BTreeMap<String, Host> {
    let mut hosts = BTreeMap::new();
    for (name, value) in table.entries() {
        let (Some(name), Some(table)) =
            (walk.substitute(&name.value, &name.span), walk.table(value))
        else {
            continue;
        };
        if let Some(host) = host(&table, walk) {
            hosts.insert(name, host);
        }
    }
    hosts
}

/// Why a peer would refuse a flag, so that the file is blamed for it and not the peer.
fn bad_flag(name: &str, text: &str) -> Option<String> {
    match name {
        "rotate_bytes" => {
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
            let (number, unit) = units
                .iter()
                .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
                .unwrap_or((text, 1));
            let bytes =
                number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
            match bytes {
                None => Some("expected a number of bytes, or one with KiB, MiB or GiB".to_owned()),
                Some(bytes) => (bytes < ROTATE_BYTES_MIN)
                    .then(|| format!("the least is {ROTATE_BYTES_MIN} bytes")),
            }
        }
        _ => {
            let known = ["off", "error", "warn", "info", "debug", "trace"];
            (!known.contains(&text.to_ascii_lowercase().as_str()))
                .then(|| format!("expected one of {}", known.join(", ")))
        }
    }
}

fn read_workload(table: &Table<'_, '_>, walk: &mut Walk<'_>) -> Option<Workload> {
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
    table: &Table<'_, '_>,
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

fn numbered_peer(k: u64) -> PeerId {
    PeerId::new(&numbered(k)).expect("letters and digits are a legal id")
}

/// Without a `timeout` of its own, a run may take this long.
const TIMEOUT_MS: u64 = 60_000;
/// More processes than this do not fit on one machine's loopback in a scenario's time.
pub(super) const PEERS_MAX: u64 = 200;
/// More readings a second than this from one peer are a benchmark, not a scenario.
const RATE_MAX: u32 = 10_000;
/// What a peer takes at least for `--interval` and `--rotate-bytes`.
const HOST_INTERVAL_MIN: Duration = Duration::from_millis(1);
const ROTATE_BYTES_MIN: u64 = 4 << 10;
/// Flags of `peer run` that are no knobs of the protocol and may be set all the same.
pub(super) const OTHER_FLAGS: [&str; 6] =
    ["rotate_bytes", "log_level", "port", "seeds", "advertise", "address"];
