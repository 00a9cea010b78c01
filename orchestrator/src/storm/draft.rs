//! Draws a scenario from a seed. First the kinds of faults are drawn, since a little of every kind
//! finds less. Then faults follow each other under load, some while others last. Then everything is
//! healed, dead peers restart, and the group has to become one.
//!
//! The draft is text like a hand-written scenario, so that it can be kept, read, reduced and run
//! again.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use protocol::draw::{draw, draw_below};

use crate::runner::Place;
use crate::scenario::Profile;

/// The scenario of a seed.
#[must_use]
pub fn draft(seed: u64, place: Place, profile: Profile) -> String {
    let mut draft = Draft::new(seed, place);
    draft.head(profile);
    let steps = 4 + draft.below(8);
    for _ in 0..steps {
        draft.fault();
        draft.pause_between();
    }
    draft.foot();
    draft.text
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Leave,
    Return,
    Pause,
    Starve,
    Burst,
    Cut,
    OneWay,
    BadLine,
    Interface,
    Address,
    Firewall,
}

const OF_PROCESSES: [Kind; 6] =
    [Kind::Kill, Kind::Leave, Kind::Return, Kind::Pause, Kind::Starve, Kind::Burst];
const OF_NETWORK: [Kind; 6] =
    [Kind::Cut, Kind::OneWay, Kind::BadLine, Kind::Interface, Kind::Address, Kind::Firewall];

struct Draft {
    seed: u64,
    counter: u64,
    text: String,
    peers: u64,
    primary: bool,
    /// The kinds of this seed.
    kinds: Vec<Kind>,
    /// The peers that are dead or leaving, by number.
    away: Vec<u64>,
    /// The peers that were dead or leaving at some time.
    restarted: BTreeSet<u64>,
    /// How many steps have a name.
    named: u64,
    on_hosts: bool,
}

impl Draft {
    fn new(seed: u64, place: Place) -> Self {
        let on_hosts = place == Place::Hosts;
        let mut draft = Self {
            seed,
            counter: 0,
            text: String::new(),
            peers: 3,
            primary: false,
            kinds: vec![],
            away: vec![],
            restarted: BTreeSet::new(),
            named: 0,
            on_hosts,
        };
        draft.peers = 3 + draft.below(7).min(draft.below(7));
        draft.primary = draft.below(2) == 0;
        let all: Vec<Kind> = if on_hosts {
            OF_PROCESSES.into_iter().chain(OF_NETWORK).collect()
        } else {
            OF_PROCESSES.to_vec()
        };
        draft.kinds = all.iter().copied().filter(|_| draft.below(2) == 0).collect();
        if draft.kinds.iter().all(|kind| matches!(kind, Kind::Return | Kind::Burst)) {
            draft.kinds.push(if on_hosts { Kind::Cut } else { Kind::Kill });
        }
        if draft.kinds.iter().any(|kind| matches!(kind, Kind::Kill | Kind::Leave))
            && !draft.kinds.contains(&Kind::Return)
        {
            draft.kinds.push(Kind::Return);
        }
        draft
    }

    fn head(&mut self, profile: Profile) {
        let (mode, delivery) = (
            if self.primary { "primary" } else { "available" },
            ["agreed", "safe"][self.choice(2)],
        );
        let rate = [5, 20, 50, 100][self.choice(4)];
        let (seed, peers, timing) = (self.seed, self.peers, profile.name());
        let kinds = &self.kinds;
        let timeout = match profile {
            Profile::Fast => "120s",
            Profile::Default => "30 heartbeat_timeout + 900s",
        };
        let needs = if self.on_hosts { "needs   = [\"hosts\"]\n" } else { "" };
        let head = format!(
            "# Drawn from seed {seed}: {kinds:?}\n[scenario]\nname    = \"storm\"\nabout   = \
             \"Faults drawn from seed {seed}, under load; then one group.\"\n\
             tags    = [\"storm\"]\n{needs}timeout = \"{timeout}\"\n\n[cluster]\npeers   = \
             {peers}\ntiming  = \"{timing}\"\n\
             options = {{ mode = \"{mode}\", delivery = \"{delivery}\" }}\n\n[workload]\nsensors = \
             {{ rate = \"{rate}/s\" }}\n\n\
             [[step]]\nwait = \"stable\"\n"
        );
        self.text.push_str(&head);
    }

    /// Heals everything, restarts all peers, and expects one group.
    fn foot(&mut self) {
        self.heal();
        self.away.clone().into_iter().for_each(|peer| self.come_back(peer));
        self.one_group();
        self.step("quiesce = \"workload\"");
    }

    /// Heals all faults, and waits until all running peers are in one view.
    fn whole(&mut self) {
        self.heal();
        self.one_group();
    }

    fn heal(&mut self) {
        if self.on_hosts {
            self.step("heal = \"all\"");
        }
    }

    fn one_group(&mut self) {
        self.step(
            "wait   = \"stable\"\nwithin = \"5s + 6 heartbeat_timeout + 8 election_timeout\"",
        );
    }

    fn step(&mut self, text: &str) {
        write!(self.text, "\n[[step]]\n{text}\n").expect("writing to a String cannot fail");
    }

    fn fault(&mut self) {
        let at = self.choice(self.kinds.len());
        let kind = self.kinds[at];
        match kind {
            Kind::Kill | Kind::Leave => self.take_away(kind == Kind::Kill),
            Kind::Return => {
                if let Some(peer) = self.away.pop() {
                    self.come_back(peer);
                }
            }
            Kind::Pause => {
                let (Some(peer), span) = (self.present(), self.span()) else { return };
                self.lasting(
                    &format!("pause = {{ who = \"peer{peer}\", if_none = \"skip\" }}"),
                    &span,
                );
            }
            Kind::Starve => {
                let (Some(peer), share, span) = (self.present(), 10 + self.below(50), self.span())
                else {
                    return;
                };
                self.lasting(
                    &format!(
                        "starve = {{ who = \"peer{peer}\", share = {share}, if_none = \"skip\" }}"
                    ),
                    &span,
                );
            }
            Kind::Burst => {
                let (Some(peer), count, size) =
                    (self.present(), 100 + self.below(900), 64 + self.below(1_000))
                else {
                    return;
                };
                self.step(&format!(
                    "publish = {{ from = \"peer{peer}\", count = {count}, size = \
                                    {size}, if_none = \"skip\" }}"
                ));
            }
            Kind::Cut | Kind::OneWay => {
                let (shape, span) =
                    (if kind == Kind::Cut { self.cut() } else { self.one_way() }, self.span());
                self.lasting(&format!("partition = \"{shape}\""), &span);
            }
            Kind::BadLine => {
                let (line, span) = (self.bad_line(), self.span());
                self.lasting(&format!("link = {{ {line} }}"), &span);
            }
            Kind::Interface => {
                let (peer, state, span) = (
                    self.anybody(),
                    ["state = \"down\"", "state = \"no carrier\""][self.choice(2)],
                    self.span(),
                );
                self.lasting(&format!("interface = {{ who = \"peer{peer}\", {state} }}"), &span);
            }
            Kind::Address => {
                let (peer, address, span) =
                    (self.anybody(), ["new", "gone"][self.choice(2)], self.span());
                self.lasting(
                    &format!("interface = {{ who = \"peer{peer}\", address = \"{address}\" }}"),
                    &span,
                );
            }
            Kind::Firewall => {
                let rule =
                    ["forget", "forget", "rst", "default-deny", "udp only", "port 9999 only"]
                        [self.choice(6)];
                let (peer, span) = (self.anybody(), self.span());
                self.lasting(
                    &format!("firewall = {{ who = \"peer{peer}\", rule = \"{rule}\" }}"),
                    &span,
                );
            }
        }
    }

    /// A step that ends by itself, with a name of its own.
    fn lasting(&mut self, text: &str, span: &str) {
        self.named += 1;
        let id = format!("f{}", self.named);
        self.step(&format!("id  = \"{id}\"\n{text}\nfor = \"{span}\""));
    }

    fn take_away(&mut self, kill: bool) {
        let Some(peer) = self.present() else { return };
        // In mode `primary` a restarted peer has no log until a leader admits it. If most peers
        // have restarted, no leader can, by design; so fewer than half of the peers ever restart.
        let lost = self.restarted.len() as u64 + u64::from(!self.restarted.contains(&peer));
        let is_too_much = if self.primary {
            2 * lost >= self.peers
        } else {
            self.away.len() as u64 + 1 >= self.peers
        };
        if is_too_much {
            return;
        }
        if self.primary {
            // A view that shrank before may have a quorum of one or two; if a member forgets its
            // log, the group is lost with it, by design. So every other peer has to be in the view
            // first.
            self.whole();
        }
        self.away.push(peer);
        self.restarted.insert(peer);
        let verb = if kill { "kill" } else { "stop" };
        self.step(&format!("{verb} = {{ who = \"peer{peer}\", if_none = \"skip\" }}"));
    }

    fn come_back(&mut self, peer: u64) {
        self.away.retain(|other| *other != peer);
        // In mode `primary` a peer that forgets its log is a new peer, and may promise what its
        // predecessor refused.
        let identity = if !self.primary && self.below(4) == 0 { "fresh" } else { "same" };
        self.step(&format!("restart = {{ who = \"peer{peer}\", identity = \"{identity}\" }}"));
    }

    fn cut(&mut self) -> String {
        let one = self.anybody();
        match self.choice(8) {
            0 => "halves".to_owned(),
            1 => "minority-third".to_owned(),
            2 => "majority-ring".to_owned(),
            3 => "chain".to_owned(),
            4 => format!("bridge-peer{one}"),
            5 => format!("isolate-peer{one}"),
            6 => format!("star-peer{one}"),
            _ => {
                let sides: (Vec<u64>, Vec<u64>) =
                    (1..=self.peers).partition(|_| self.below(2) == 0);
                if sides.0.is_empty() || sides.1.is_empty() {
                    return "halves".to_owned();
                }
                format!("{} | {}", names(&sides.0), names(&sides.1))
            }
        }
    }

    fn one_way(&mut self) -> String {
        let (one, other) = (self.anybody(), self.anybody());
        match self.choice(6) {
            0 => "deaf-leader".to_owned(),
            1 => "mute-leader".to_owned(),
            2 => format!("deaf-peer{one}"),
            3 => format!("mute-peer{one}"),
            4 => "discovery-only".to_owned(),
            _ => format!(
                "peer{one} -> peer{}",
                if one == other { one % self.peers + 1 } else { other }
            ),
        }
    }

    fn bad_line(&mut self) -> String {
        let one = self.anybody();
        let ends = [
            "both = true".to_owned(),
            format!("from = \"peer{one}\""),
            format!("to = \"peer{one}\""),
            format!("from = \"peer{one}\", both = true"),
        ];
        let ends = ends[self.choice(4)].clone();
        let how = match self.choice(5) {
            0 => format!("loss = \"{}%\"", 1 + self.below(20)),
            1 => format!(
                "delay = \"{}ms\", jitter = \"{}ms\"",
                1 + self.below(40),
                1 + self.below(30)
            ),
            2 => format!(
                "duplicate = \"{}%\", reorder = \"{}%\"",
                1 + self.below(20),
                1 + self.below(20)
            ),
            3 => format!("rate = \"{} kB/s\"", 60 + self.below(400)),
            _ => format!("loss = \"{}%\", delay = \"{}ms\"", 1 + self.below(8), 1 + self.below(20)),
        };
        format!("{ends}, {how}")
    }

    /// Waits some time, waits for the group to come to rest, or goes on at once.
    fn pause_between(&mut self) {
        match self.choice(4) {
            0 => {}
            1 | 2 => {
                let span = [
                    "1 heartbeat",
                    "4 heartbeats",
                    "1 heartbeat_timeout",
                    "2 heartbeat_timeout + 2 election_timeout",
                ][self.choice(4)];
                self.step(&format!("for = \"{span}\""));
            }
            _ => self.step("for = \"5 heartbeat_timeout\""),
        }
    }

    fn span(&mut self) -> String {
        ["2 heartbeats", "1 heartbeat_timeout", "3 heartbeat_timeout", "8 heartbeat_timeout"]
            [self.choice(4)]
        .to_owned()
    }

    /// A peer that runs, as far as this draft knows.
    fn present(&mut self) -> Option<u64> {
        let there: Vec<u64> = (1..=self.peers).filter(|peer| !self.away.contains(peer)).collect();
        if there.is_empty() { None } else { Some(there[self.choice(there.len())]) }
    }

    fn anybody(&mut self) -> u64 {
        1 + self.below(self.peers)
    }

    fn choice(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("an index of a list in memory")
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.counter += 1;
        draw_below(draw(self.seed, "storm", 0), "storm", self.counter, bound)
    }
}

fn names(peers: &[u64]) -> String {
    peers.iter().map(|peer| format!("peer{peer}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::draft;
    use crate::runner::Place;
    use crate::scenario::diagnostic::{Severity, Source};
    use crate::scenario::{Cell, Profile, parse};
    use std::path::Path;

    #[test]
    fn every_draft_is_a_sound_scenario_and_the_same_each_time() {
        for (place, profile) in
            [(Place::Hosts, Profile::Fast), (Place::Processes, Profile::Default)]
        {
            for seed in 0..300 {
                let text = draft(seed, place, profile);
                assert_eq!(text, draft(seed, place, profile));
                let source = Source::new(Path::new("storm.toml"), text);
                let found = match parse(&source, &Cell::new(), None) {
                    Ok((scenario, found)) => {
                        assert_eq!(
                            scenario.needs_hosts.is_empty(),
                            place == Place::Processes,
                            "{}",
                            source.text
                        );
                        found
                    }
                    Err(found) => found,
                };
                let error = found.iter().find(|one| one.severity == Severity::Error);
                assert!(
                    error.is_none(),
                    "{}\n{}",
                    error.unwrap().render(&source, false),
                    source.text
                );
            }
        }
    }

    #[test]
    fn drafts_draw_every_kind() {
        let all: String = (0..300).map(|seed| draft(seed, Place::Hosts, Profile::Fast)).collect();
        for words in [
            "kill =",
            "stop =",
            "restart =",
            "pause =",
            "starve =",
            "publish =",
            "partition =",
            "link =",
            "interface =",
            "firewall =",
            "identity = \"fresh\"",
            "deaf-leader",
            "primary",
            "available",
            "safe",
            "agreed",
            "peers   = 9",
            "peers   = 3",
        ] {
            assert!(all.contains(words), "{words}");
        }
    }
}
