//! The `[cluster]` and `[hosts]` tables: the peers, when they start, and their settings.

use std::collections::{BTreeMap, BTreeSet};

use protocol::config::{Config, Mode};
use protocol::id::PeerId;
use toml::de::DeValue;

use super::diagnostic::Placed;
use super::ids::{PEERS_MAX, numbered_peer};
use super::network::host;
use super::options::read_options;
use super::span_of_time::SpanOfTime;
use super::target::peer_id;
use super::tree::{TomlTable, Value, Walk};
use super::{Cluster, Host, Ids, Profile};

pub(super) fn read_cluster(
    table: &TomlTable<'_, '_>,
    forced: Option<Profile>,
    hosts: Option<&TomlTable<'_, '_>>,
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
        // If the file names no founders, all peers present at the start found the group.
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

/// The ids of the peers.
fn read_ids(
    table: &TomlTable<'_, '_>,
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

/// The profile, and the table of changes to it if the file gives one.
fn timing<'t, 'i>(
    table: &TomlTable<'t, 'i>,
    forced: Option<Profile>,
    walk: &mut Walk<'_>,
) -> (Profile, Option<TomlTable<'t, 'i>>) {
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

/// `[hosts.peer3]`: special settings of single hosts.
fn read_hosts(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> BTreeMap<String, Host> {
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
