//! The steps for hosts and network: `partition`, `link`, `interface`, `firewall`, `disk`, `heal`;
//! and the `[hosts]` tables. Raw text in, checked values with places out; the processes are chosen
//! when the step runs.

use std::collections::BTreeMap;
use std::fmt;

use hosts::network::{Change, Plan};
use hosts::rule::{Cast, Protocol, Traffic};
use promises::selector::Selector;

use super::diagnostic::Placed;
use super::span_of_time::SpanOfTime;
use super::target::{selector, target_table};
use super::tree::{TomlTable, Value, Walk};
use super::{Host, Target};

/// The links that a partition cuts.
#[derive(Clone, Debug)]
pub struct Partition {
    /// In which form.
    pub form: Form,
    /// Which frames are cut.
    pub traffic: Traffic,
}

/// In which form a partition is given.
#[derive(Clone, Debug)]
pub enum Form {
    /// A shape over all peers.
    Shape(ShapeName),
    /// A shape round one peer.
    Of(ShapeOf, Placed<Selector>),
    /// Groups that cannot reach one another.
    Groups(Vec<Placed<Selector>>),
    /// Single directions.
    OneWay(Vec<(Placed<Selector>, Placed<Selector>)>),
}

/// A shape over all peers, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeName {
    /// The lower half and the upper half.
    Halves,
    /// The lower third and the rest.
    MinorityThird,
    /// Two halves, joined by the one in the middle.
    Bridge,
    /// Each peer reaches only its two neighbours in a ring.
    Ring,
    /// Each peer reaches a bare majority, and no two peers the same one.
    MajorityRing,
    /// Each peer reaches only its neighbours in a chain.
    Chain,
    /// All pairs: with `discovery-only` and `unicast-only`.
    Everybody,
}

/// A shape around one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeOf {
    /// It and all others, both ways.
    Isolate,
    /// It can send, and receives nothing.
    Deaf,
    /// It receives, and can send nothing.
    Mute,
    /// Every peer reaches only this one.
    Star,
    /// Two halves, joined only by this peer.
    Bridge,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(ShapeName::Everybody) => f.write_str("between all"),
            Self::Shape(shape) => f.write_str(
                SHAPES.iter().find(|(_, known)| known == shape).map_or("", |(name, _)| name),
            ),
            Self::Of(shape, who) => {
                let prefix =
                    SHAPES_OF.iter().find(|(_, known)| known == shape).map_or("", |(name, _)| name);
                write!(f, "{prefix}{}", who.value)
            }
            Self::Groups(groups) => f.write_str(
                &groups.iter().map(|group| group.value.to_string()).collect::<Vec<_>>().join(" | "),
            ),
            Self::OneWay(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(from, to)| format!("{} -> {}", from.value, to.value))
                    .collect();
                f.write_str(&pairs.join(", "))
            }
        }
    }
}

/// A bad line.
#[derive(Clone, Debug)]
pub struct Link {
    /// The senders.
    pub from: Placed<Selector>,
    /// The receivers.
    pub to: Placed<Selector>,
    /// Whether the reverse direction is as bad.
    pub both: bool,
    /// Which frames.
    pub traffic: Traffic,
    /// Of a thousand frames, how many are lost.
    pub loss: u64,
    /// Of a thousand frames, how many come twice.
    pub duplicate: u64,
    /// Of a thousand frames, how many are overtaken.
    pub reorder: u64,
    /// Additional delay of each frame.
    pub delay: SpanOfTime,
    /// The greatest additional delay on top of it.
    pub jitter: SpanOfTime,
    /// Bytes per second; 0 is unlimited.
    pub rate: u64,
    /// The longest packet; 0 is unlimited.
    pub mtu: u64,
}

/// A change of an interface.
#[derive(Clone, Debug)]
pub struct InterfaceStep {
    /// Whose.
    pub target: Target,
    /// Which.
    pub name: String,
    /// The change.
    pub change: Change,
}

/// What a firewall in front of a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// Only answers to the host's own requests come in.
    DefaultDeny,
    /// No TCP.
    UdpOnly,
    /// Only this port, and answers to the host's own requests.
    PortOnly(u16),
    /// TCP is answered with resets.
    Reset,
    /// Existing flows are forgotten.
    Forgets,
}

/// A fault of a peer's data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// The disk is full.
    Full,
    /// The folder and its content are removed.
    Removed,
}

/// What is healed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healing {
    /// Everything.
    All,
    /// The faults of these steps.
    Steps(Vec<String>),
}

const SHAPES: [(&str, ShapeName); 6] = [
    ("halves", ShapeName::Halves),
    ("minority-third", ShapeName::MinorityThird),
    ("bridge", ShapeName::Bridge),
    ("ring", ShapeName::Ring),
    ("majority-ring", ShapeName::MajorityRing),
    ("chain", ShapeName::Chain),
];

const SHAPES_OF: [(&str, ShapeOf); 5] = [
    ("isolate-", ShapeOf::Isolate),
    ("deaf-", ShapeOf::Deaf),
    ("mute-", ShapeOf::Mute),
    ("star-", ShapeOf::Star),
    ("bridge-", ShapeOf::Bridge),
];

/// `"halves"`, `"deaf-leader"`, `"peer1, peer2 | peer3"`, `"one-way leader -> member"`, or a table
/// with one of them.
pub(super) fn partition(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Partition> {
    if !value.get_ref().is_table() {
        let text = walk.string(value)?;
        return form(&text, Traffic::default(), walk);
    }
    let table = walk.table(value)?;
    let shape = table.string("shape", walk);
    let traffic = traffic(&table, walk);
    table.refuse_the_rest(walk);
    let Some(shape) = shape else {
        walk.missing(
            &table.span,
            "shape",
            "partition = { shape = \"halves\", protocol = \"udp\" }",
        );
        return None;
    };
    form(&shape, traffic?, walk)
}

fn form(text: &Placed<String>, traffic: Traffic, walk: &mut Walk<'_>) -> Option<Partition> {
    let word = text.value.trim();
    let only = |cast| {
        Some(Partition {
            form: Form::Shape(ShapeName::Everybody),
            traffic: Traffic { cast: Some(cast), ..traffic },
        })
    };
    match word {
        "discovery-only" => return only(Cast::Broadcast),
        "unicast-only" => return only(Cast::Unicast),
        _ => {}
    }
    if let Some((_, shape)) = SHAPES.iter().find(|(name, _)| *name == word) {
        return Some(Partition { form: Form::Shape(*shape), traffic });
    }
    if let Some((shape, who)) =
        SHAPES_OF.iter().find_map(|(prefix, shape)| Some((shape, word.strip_prefix(prefix)?)))
    {
        let who = selector_text(who, text, walk)?;
        return Some(Partition { form: Form::Of(*shape, who), traffic });
    }
    let directions = word.strip_prefix("one-way ").unwrap_or(word);
    if directions.contains('>') {
        let pairs: Vec<_> = directions
            .split(',')
            .map(|pair| {
                let (from, to) = pair.split_once("->").or_else(|| pair.split_once('>'))?;
                Some((selector_text(from, text, walk)?, selector_text(to, text, walk)?))
            })
            .collect();
        let Some(pairs) = pairs.into_iter().collect::<Option<Vec<_>>>() else {
            if !walk.diagnostics.has_errors() {
                walk.diagnostics
                    .error("S021", &text.span, "not a list of directions")
                    .help("for example: \"peer1 -> peer2, peer3 -> peer2\"");
            }
            return None;
        };
        return Some(Partition { form: Form::OneWay(pairs), traffic });
    }
    if word.contains('|') {
        let groups: Option<Vec<_>> =
            word.split('|').map(|group| selector_text(group, text, walk)).collect();
        return Some(Partition { form: Form::Groups(groups?), traffic });
    }
    let known = SHAPES.iter().map(|(name, _)| *name).chain([
        "discovery-only",
        "unicast-only",
        "isolate-leader",
        "deaf-leader",
        "mute-leader",
    ]);
    walk.diagnostics
        .error("S021", &text.span, format!("unknown shape `{word}`"))
        .suggest(word, known.collect::<Vec<_>>())
        .help("or groups (`peer1, peer2 | peer3`), or directions (`leader -> member`)");
    None
}

/// A selector that is a part of a text.
fn selector_text(
    part: &str,
    whole: &Placed<String>,
    walk: &mut Walk<'_>,
) -> Option<Placed<Selector>> {
    match part.trim().parse::<Selector>() {
        Ok(one) => {
            let placed = Placed { value: one, span: whole.span.clone() };
            walk.mentions.selectors.push(placed.clone());
            Some(placed)
        }
        Err(error) => {
            walk.diagnostics.error("S012", &whole.span, error.to_string());
            None
        }
    }
}

/// `protocol` and `cast`.
fn traffic(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<Traffic> {
    let protocols = [
        ("arp", Protocol::Arp),
        ("udp", Protocol::Udp),
        ("tcp", Protocol::Tcp),
        ("icmp", Protocol::Icmp),
    ];
    let casts = [("broadcast", Cast::Broadcast), ("unicast", Cast::Unicast)];
    let protocol = table.string("protocol", walk).map(|word| walk.word(&word, &protocols));
    let cast = table.string("cast", walk).map(|word| walk.word(&word, &casts));
    if protocol == Some(None) || cast == Some(None) {
        return None;
    }
    Some(Traffic { protocol: protocol.flatten(), cast: cast.flatten() })
}

/// `link = { from = "leader", to = "members", loss = "10%", … }`.
pub(super) fn link(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Link> {
    let table = walk.table(value)?;
    let everybody = || Some(Placed { value: Selector::All, span: table.span.clone() });
    let from = table.get("from").map_or_else(everybody, |from| selector(from, walk));
    let to = table.get("to").map_or_else(everybody, |to| selector(to, walk));
    let both = table.get("both").is_some_and(|both| both.get_ref().as_bool().unwrap_or(false));
    let traffic = traffic(&table, walk);
    let mut chance = |key| table.string(key, walk).map_or(Some(0), |text| thousandths(&text, walk));
    let (loss, duplicate, reorder) = (chance("loss"), chance("duplicate"), chance("reorder"));
    let mut span = |key| {
        table.duration(key, walk).map_or_else(|| SpanOfTime::from_millis(0), |span| span.value)
    };
    let (delay, jitter) = (span("delay"), span("jitter"));
    let rate = table.string("rate", walk).map_or(Some(0), |text| bytes_per_second(&text, walk));
    let mtu = table.count("mtu", 68, 65_535, walk).map_or(0, |mtu| mtu.value);
    table.refuse_the_rest(walk);
    let harms = ["loss", "duplicate", "reorder", "delay", "jitter", "rate", "mtu"]
        .iter()
        .any(|key| table.get(key).is_some());
    if !harms {
        walk.diagnostics.error("S016", &table.span, "this link is as good as before").help(
            "say what is wrong: loss, duplicate or reorder = \"10%\", delay or jitter = \
                   \"20ms\", rate = \"64 kbit/s\", mtu = 576",
        );
        return None;
    }
    Some(Link {
        from: from?,
        to: to?,
        both,
        traffic: traffic?,
        loss: loss?,
        duplicate: duplicate?,
        reorder: reorder?,
        delay,
        jitter,
        rate: rate?,
        mtu,
    })
}

/// `"2.5%"` in thousandths.
fn thousandths(text: &Placed<String>, walk: &mut Walk<'_>) -> Option<u64> {
    let percent =
        text.value.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let found = percent.filter(|percent| (0.0..=100.0).contains(percent));
    if found.is_none() {
        walk.diagnostics
            .error("S005", &text.span, "expected a percentage, 0% to 100%")
            .help("for example: loss = \"10%\"");
    }
    found.map(|percent| (percent * 10.0).round() as u64)
}

/// `"64 kbit/s"` in bytes a second.
fn bytes_per_second(text: &Placed<String>, walk: &mut Walk<'_>) -> Option<u64> {
    let units = [("Mbit/s", 125_000), ("kbit/s", 125), ("MB/s", 1_000_000), ("kB/s", 1_000)];
    let value = text.value.trim();
    let read = units.iter().find_map(|(unit, bytes)| {
        Some(value.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*bytes))
    });
    let found = read.flatten().filter(|rate| *rate > 0);
    if found.is_none() {
        walk.diagnostics
            .error("S005", &text.span, "expected a rate")
            .help("for example: rate = \"64 kbit/s\"; units: kbit/s, Mbit/s, kB/s, MB/s");
    }
    found
}

/// `interface = { who = "member", state = "down" }` or `{ who = "member", address = "new" }`.
pub(super) fn interface(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<InterfaceStep> {
    let table = walk.table(value)?;
    let name = table.string("name", walk).map_or_else(|| "eth0".to_owned(), |name| name.value);
    let states = [
        ("down", Change::Down),
        ("up", Change::Up),
        ("no carrier", Change::NoCarrier),
        ("carrier", Change::Carrier),
    ];
    let addresses = [
        ("new", Change::NewAddress),
        ("gone", Change::NoAddress),
        ("own", Change::OwnAddress),
        ("other subnet", Change::OtherSubnet),
    ];
    let state = table.string("state", walk).map(|word| walk.word(&word, &states));
    let address = table.string("address", walk).map(|word| walk.word(&word, &addresses));
    let target = target_table(&table, "who", walk);
    table.refuse_the_rest(walk);
    let ((Some(change), None) | (None, Some(change))) = (state, address) else {
        walk.diagnostics.error("S016", &table.span, "a step does one thing to an interface").help(
            "either state = \"down\", \"up\", \"no carrier\", \"carrier\", or address = \"new\", \
             \"gone\", \"own\", \"other subnet\"",
        );
        return None;
    };
    Some(InterfaceStep { target: target?, name, change: change? })
}

/// `firewall = { who = "peer2", rule = "default-deny" }`.
pub(super) fn firewall(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<(Target, Wall)> {
    let table = walk.table(value)?;
    let rule = table.string("rule", walk);
    let target = target_table(&table, "who", walk);
    table.refuse_the_rest(walk);
    let Some(rule) = rule else {
        walk.missing(
            &table.span,
            "rule",
            "firewall = { who = \"member\", rule = \"default-deny\" }",
        );
        return None;
    };
    let port = rule
        .value
        .strip_prefix("port ")
        .and_then(|rest| rest.strip_suffix(" only"))
        .and_then(|port| port.trim().parse().ok());
    let walls = [
        ("default-deny", Wall::DefaultDeny),
        ("udp only", Wall::UdpOnly),
        ("rst", Wall::Reset),
        ("forget", Wall::Forgets),
    ];
    let wall = match port {
        Some(port) => Wall::PortOnly(port),
        None if rule.value.starts_with("port ") => {
            walk.diagnostics
                .error("S005", &rule.span, "expected the number of a port")
                .help("for example: rule = \"port 9999 only\"");
            return None;
        }
        None => walk.word(&rule, &walls)?,
    };
    Some((target?, wall))
}

/// `disk = { who = "peer2", state = "full" }`.
pub(super) fn disk(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<(Target, Disk)> {
    let table = walk.table(value)?;
    let state = table.string("state", walk);
    let target = target_table(&table, "who", walk);
    table.refuse_the_rest(walk);
    let Some(state) = state else {
        walk.missing(&table.span, "state", "disk = { who = \"member\", state = \"full\" }");
        return None;
    };
    let disk = walk.word(&state, &[("full", Disk::Full), ("removed", Disk::Removed)])?;
    Some((target?, disk))
}

/// `heal = "all"`, `heal = "cut"`, `heal = ["cut", "slow"]`: ids of steps.
pub(super) fn heal(value: &Value<'_>, walk: &mut Walk<'_>) -> Option<Healing> {
    let names = walk.strings(value)?;
    if let [one] = names.as_slice()
        && one.value == "all"
    {
        return Some(Healing::All);
    }
    for name in &names {
        walk.mentions.points.push(super::Point {
            step: name.value.clone(),
            end: false,
            span: name.span.clone(),
        });
    }
    Some(Healing::Steps(names.into_iter().map(|name| name.value).collect()))
}

/// One `[hosts.NAME]`: `flags`, `interfaces`, `nat`.
pub(super) fn host(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Option<Host> {
    let mut flags = Vec::new();
    for (name, value) in
        table.table("flags", walk).iter().flat_map(TomlTable::entries).collect::<Vec<_>>()
    {
        let text =
            walk.strings(value)?.into_iter().map(|text| text.value).collect::<Vec<_>>().join(",");
        flags.push((name.value.replace('_', "-"), text));
    }
    let mut interfaces: Vec<Plan> =
        table.tables("interfaces", walk).iter().map(|table| interface_plan(table, walk)).collect();
    if let Some(published) = table.table("nat", walk) {
        let mut ports = BTreeMap::new();
        for (outside, inside) in published.entries() {
            let inside = walk.count(inside, 1, 65_535)?;
            let Ok(outside) = outside.value.parse::<u16>() else {
                walk.diagnostics
                    .error("S005", &outside.span, "expected the number of a port")
                    .help("for example: nat = { 7000 = 5000 }");
                return None;
            };
            ports.insert(outside, u16::try_from(inside.value).expect("at most 65535"));
        }
        if interfaces.is_empty() {
            interfaces.push(Plan::plain());
        }
        interfaces[0].nat = Some(ports);
    }
    let unread = table
        .string("stdout", walk)
        .is_some_and(|word| walk.word(&word, &[("unread", ())]).is_some());
    let disk = table.count("disk_mib", 1, 1_024, walk).map(|size| size.value);
    table.refuse_the_rest(walk);
    // In a matrix, an empty value leaves a flag out.
    flags.retain(|(_, value): &(String, String)| !value.is_empty());
    Some(Host { flags, interfaces, unread, disk })
}

fn interface_plan(table: &TomlTable<'_, '_>, walk: &mut Walk<'_>) -> Plan {
    let plain = Plan::plain();
    let name = table.string("name", walk).map_or(plain.name, |name| name.value);
    let network = table
        .count("network", 0, 9, walk)
        .map_or(0, |network| u8::try_from(network.value).expect("at most 9"));
    let is_default = table.get("default").is_none_or(|is| is.get_ref().as_bool().unwrap_or(true));
    let addressed = table
        .string("address", walk)
        .is_none_or(|word| walk.word(&word, &[("own", true), ("gone", false)]).unwrap_or(true));
    let plugged = table.string("state", walk).is_none_or(|word| {
        walk.word(&word, &[("up", true), ("no carrier", false)]).unwrap_or(true)
    });
    table.refuse_the_rest(walk);
    Plan { name, network, addressed, plugged, is_default, nat: None }
}
