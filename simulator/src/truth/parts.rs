//! The duties of each part of the group: a leader in time, and order for the readings published
//! there.
//!
//! A part is a maximal set of hosts that reach one another, directly or through others, over links
//! that really are whole. It has duties once it was undisturbed for long enough: no peer of it
//! died, started or was paused, and no link between two of its peers was cut or bad. Events
//! elsewhere or earlier are no excuse. If some peers of a part cannot reach each other, it has no
//! duties: not every peer can take part in the choice of a leader. If a peer outside is heard and
//! cannot be answered, its claims and numbers count here too, and the part begins anew when it has
//! given up on that peer: its leader is due one election later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::activity::Activity;
use protocol::config::Knobs;
use protocol::id::{PeerId, Seq};
use protocol::node::Node;
use protocol::time::Time;

use super::links::round;
use super::{Law, Truth};

/// The present parts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    all: Vec<Part>,
}

/// One part.
#[derive(Clone, Debug)]
struct Part {
    hosts: BTreeSet<usize>,
    /// When it appeared, or was disturbed last.
    since: Time,
    /// How many groups, and peers without a leader, it consisted of then.
    groups: u32,
    /// Whether the only disturbance was the end of peers whose machines reported it at once.
    told: bool,
    /// Whether a peer outside was heard since, and could not be answered.
    hears: bool,
    /// Whether every peer in it has a leader by now, and whether it is the same one.
    is_led: bool,
    is_one: bool,
    /// The readings that waited at the last mark: they are ordered by the next one.
    marked: Option<Mark>,
    /// Whether it was a part of a larger one, or none, since it was looked at.
    was_else: bool,
}

/// A moment, and the readings that waited then, by host.
#[derive(Clone, Debug)]
struct Mark {
    at: Time,
    /// The number of a reading that is to be ordered, and the end of its publisher's log.
    due: BTreeMap<usize, (u64, Seq)>,
}

impl Truth {
    /// Judges all parts; `nodes` are the running ones, by host.
    pub(crate) fn judge_parts(&mut self, now: Time, nodes: &[(usize, &Node)]) {
        let before = std::mem::take(&mut self.parts.all);
        for hosts in self.components(nodes) {
            let members: Vec<(usize, &Node)> =
                nodes.iter().filter(|(host, _)| hosts.contains(host)).copied().collect();
            let is_known = |part: &&Part| part.hosts == hosts && !part.was_else;
            let known = before.iter().find(is_known).cloned();
            let mut part = known.unwrap_or_else(|| self.begun(now, &hosts, &before));
            let quiet = self.quiet_since(&part.hosts).unwrap_or(now);
            if quiet > part.since {
                part = Part { since: quiet, told: false, ..Part::new(now, hosts) };
            }
            if part.groups == 0 {
                part.groups = groups(&members);
            }
            part.hears |= !part.is_led && self.hears_outsiders(&part.hosts, nodes);
            // A leader that moves to a higher epoch still leads, and a leader after a hand-over
            // leads as soon as its followers have promised its epoch.
            let renews = members
                .iter()
                .any(|(host, node)| node.renews() || self.has_handed_over(now, *host));
            let later = if renews { self.knobs.sync_timeout } else { Duration::ZERO };
            if !part.is_led && part.since + part.replaced_within(&self.knobs) + later <= now {
                part.is_led = true;
                self.judge_leader(now, &part, &members);
            }
            if !part.is_one && part.since + part.one_within(&self.knobs) + later <= now {
                part.is_one = true;
                self.judge_oneness(now, &part, &members);
            }
            if part.is_led {
                self.judge_order(now, &mut part, &members);
            }
            self.parts.all.push(part);
        }
    }

    /// Something has changed between two looks: who belongs together for a moment only begins anew
    /// all the same.
    pub(crate) fn note_parts(&mut self, nodes: &[(usize, &Node)]) {
        let present = self.components(nodes);
        for part in &mut self.parts.all {
            part.was_else |= !present.contains(&part.hosts);
        }
    }

    /// A new part: the rest of a larger one, or a new combination.
    fn begun(&self, now: Time, hosts: &BTreeSet<usize>, before: &[Part]) -> Part {
        let part = Part::new(now, hosts.clone());
        let Some(larger) =
            before.iter().find(|larger| larger.is_led && larger.hosts.is_superset(hosts))
        else {
            return part;
        };
        // A peer that was cut off from it before, or could not dial it, could not notice.
        let is_before = |since: Option<Time>, end: Time| since.is_some_and(|since| since < end);
        let noticed = |here: usize, host: usize, end: Time| {
            is_before(self.links.open_since(here, host), end)
                && is_before(self.links.dialled_since(here, host), end)
        };
        let reached = |host: usize, end: Time| hosts.iter().all(|here| noticed(*here, host, end));
        let told = |host: &usize| self.links.told_end(*host).filter(|end| reached(*host, *end));
        let ends: Option<Vec<Time>> = larger.hosts.difference(hosts).map(told).collect();
        let Some(last) =
            ends.and_then(|ends| ends.into_iter().max()).filter(|last| *last >= larger.since)
        else {
            return part;
        };
        Part { since: last, told: true, ..part }
    }

    fn judge_leader(&mut self, now: Time, part: &Part, members: &[(usize, &Node)]) {
        let nodes: Vec<&Node> = members.iter().map(|(_, node)| *node).collect();
        let span = part.replaced_within(&self.knobs);
        // A peer in no group looks for one first, and that takes as long as a return; its vote
        // comes that late.
        let was_in = |host: usize| {
            self.current[host]
                .is_some_and(|number| self.seats[number].joining.is_none_or(|at| at < part.since))
        };
        let voters: Vec<&Node> =
            members.iter().filter(|(host, _)| was_in(*host)).map(|(_, node)| *node).collect();
        let is_blocked = self.is_primary() && !self.may_go_on(&voters);
        // Who knows none of the others, and does not hear them, cannot find them: that two groups
        // become one in time is another law.
        let hears = |host: usize, other: usize| {
            self.links.heard_since(host, other).is_some_and(|since| since <= part.since)
        };
        let knows = |node: &Node, it: &Node| {
            node.last_views().iter().any(|(_, view)| view.names(&it.contact().member))
        };
        let is_lost = |host: usize, node: &Node| {
            let mut others = members.iter().filter(|(other, _)| *other != host).peekable();
            self.is_primary()
                && others.peek().is_some()
                && !others.any(|(other, it)| knows(node, it) || hears(host, *other))
        };
        let owed = members.iter().filter(|(host, node)| {
            was_in(*host) && !self.is_leaving(*host) && !is_lost(*host, node)
        });
        for node in owed.map(|(_, node)| *node).collect::<Vec<&Node>>() {
            let leader = node.status().leader;
            let is_led =
                nodes.iter().any(|one| one.leads() && leader.as_ref() == Some(one.contact().id()));
            self.notes.judge(Law::LedInTime, now, is_led || is_blocked, || {
                format!("{}; {span:?} after anything happened to {}", stand(node), names(&nodes))
            });
        }
    }

    /// By its deadline a part is one group.
    fn judge_oneness(&mut self, now: Time, part: &Part, members: &[(usize, &Node)]) {
        let nodes: Vec<&Node> = members.iter().map(|(_, node)| *node).collect();
        let hears = part.hosts.iter().all(|one| {
            part.hosts.range(one + 1..).all(|two| {
                self.links.heard_since(*one, *two).is_some_and(|since| since <= part.since)
            })
        });
        let ids: BTreeSet<&PeerId> = nodes.iter().map(|node| node.contact().id()).collect();
        let has_room = nodes.len() as u64 <= self.knobs.members_max;
        if !hears
            || !has_room
            || ids.len() < nodes.len()
            || members.iter().any(|(host, _)| self.is_leaving(*host))
            || !self.may_go_on(&nodes)
        {
            return;
        }
        let leader = nodes.iter().find(|node| node.leads()).map(|node| node.contact().id().clone());
        for node in &nodes {
            let follows = leader.is_some()
                && node.status().leader == leader
                && matches!(node.activity(), Activity::Member | Activity::Leader);
            let span = part.one_within(&self.knobs);
            self.notes.judge(Law::OneInTime, now, follows, || {
                format!(
                    "{}; {span:?} after anything happened to {}, led by {leader:?}",
                    stand(node),
                    names(&nodes)
                )
            });
        }
    }

    /// Readings published three beats ago are ordered.
    fn judge_order(&mut self, now: Time, part: &mut Part, members: &[(usize, &Node)]) {
        let beats = 3 * self.knobs.heartbeat_interval;
        let leader = members.iter().find(|(_, node)| node.leads()).map(|(_, node)| *node);
        let is_steady = leader.and_then(|leader| Some((leader, leader.view()?))).is_some_and(
            |(leader, view)| {
                let follows = |node: &Node| {
                    node.epoch() == leader.epoch()
                        && matches!(node.activity(), Activity::Member | Activity::Leader)
                };
                view.size() == members.len()
                    && members
                        .iter()
                        .all(|(_, node)| view.names(&node.contact().member) && follows(node))
            },
        );
        // That it has a reason to take no readings is for another law.
        let is_pressed = leader.is_some_and(Node::is_under_pressure);
        if !is_steady || is_pressed {
            part.marked = None;
            return;
        }
        if let Some(Mark { at, due }) = &part.marked {
            if *at + beats > now {
                return;
            }
            for (host, node) in members {
                let Some((leader, (due, held))) = leader.zip(due.get(host)) else { continue };
                // Entries far behind others in the leader's log reach their publisher after those.
                let is_near = leader.contiguous().above(*held) <= NEAR;
                let ordered = if is_near {
                    node.status().ordered
                } else {
                    leader.last_oseq(&node.contact().member)
                }
                .0;
                self.notes.judge(Law::OrderedInTime, now, ordered >= *due, || {
                    format!(
                        "{} waits since {at} for its reading {due} to be ordered, and \
                             {ordered} are",
                        node.contact().member
                    )
                });
            }
        }
        // Bandwidth is limited: in a flood no reading is in time, and of those that wait elsewhere
        // some are due. And beyond the permitted lag the leader refuses some readings, which are
        // sent again behind all others.
        let flood = FLOOD.min(self.knobs.max_lag_entries);
        let waits = |node: &Node| (node.status().published.0, node.status().ordered.0);
        let is_flooded = members
            .iter()
            .map(|(_, node)| waits(node))
            .any(|(published, ordered)| published - ordered > flood);
        let due = members.iter().map(|(host, node)| {
            let (published, ordered) = waits(node);
            (*host, (published.min(ordered + FEW), node.contiguous()))
        });
        let due = due.collect();
        part.marked = (!is_flooded).then_some(Mark { at: now, due });
    }

    /// Whether its process has just handed over to another leader.
    fn has_handed_over(&self, now: Time, host: usize) -> bool {
        let handed_over = self.current[host].and_then(|number| self.seats[number].handed_over);
        handed_over.is_some_and(|at| now < at + self.knobs.sync_timeout)
    }

    fn is_leaving(&self, host: usize) -> bool {
        self.current[host].is_some_and(|number| self.sinks[number].leaves)
    }

    /// The hosts with a process, grouped by connectivity.
    fn components(&self, nodes: &[(usize, &Node)]) -> Vec<BTreeSet<usize>> {
        let mut left: Vec<usize> = nodes
            .iter()
            .map(|(host, _)| *host)
            .filter(|host| !self.links.is_still(*host))
            .collect();
        let mut all = vec![];
        while let Some(first) = left.pop() {
            let (mut hosts, mut edge) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = edge.pop() {
                let (near, far): (Vec<usize>, Vec<usize>) =
                    left.iter().partition(|other| !self.links.is_cut(one, **other));
                left = far;
                hosts.extend(&near);
                edge.extend(near);
            }
            all.push(hosts);
        }
        all
    }

    /// Whether messages of a peer outside come in, and none go back.
    fn hears_outsiders(&self, hosts: &BTreeSet<usize>, nodes: &[(usize, &Node)]) -> bool {
        let mut outside = nodes
            .iter()
            .map(|(host, _)| *host)
            .filter(|host| !hosts.contains(host) && !self.links.is_still(*host));
        outside.any(|from| hosts.iter().any(|host| !self.links.is_barred(from, *host)))
    }

    /// Since when these hosts are undisturbed; none if two of them do not reach each other, or one
    /// is about to leave.
    fn quiet_since(&self, hosts: &BTreeSet<usize>) -> Option<Time> {
        let mut quiet = Time::ZERO;
        for one in hosts {
            quiet = quiet.max(self.links.same_since(*one)).max(self.links.well_since(*one)?);
            for other in hosts.range(one + 1..) {
                quiet = quiet
                    .max(self.links.whole_since(*one, *other)?)
                    .max(self.links.dialled_since(*one, *other)?);
            }
        }
        Some(quiet)
    }
}

impl Part {
    fn new(now: Time, hosts: BTreeSet<usize>) -> Self {
        Self {
            hosts,
            since: now,
            groups: 0,
            told: false,
            hears: false,
            is_led: false,
            is_one: false,
            marked: None,
            was_else: false,
        }
    }

    /// How long a peer that lost its leader takes at most to get another one (`docs/GUARANTEES.md`
    /// says the same), with one more round of requests, because the peers do not begin at the same
    /// moment, and one more election if a peer outside is heard.
    fn replaced_within(&self, knobs: &Knobs) -> Duration {
        let asking = knobs.election_timeout + knobs.sync_timeout;
        let later = if self.hears { asking } else { Duration::ZERO };
        later
            + if self.told {
                4 * round(knobs) + asking
            } else {
                knobs.heartbeat_timeout + knobs.heartbeat_interval + 2 * asking
            }
    }

    /// How long it takes to become one group: one return for each group that it was, and one for
    /// messages in flight.
    fn one_within(&self, knobs: &Knobs) -> Duration {
        returned_within(knobs) * (1 + self.groups) + 2 * BACK_OFF_MAX
    }
}

/// How many groups and peers without a leader these are.
fn groups(members: &[(usize, &Node)]) -> u32 {
    let leaders: Vec<Option<PeerId>> =
        members.iter().map(|(_, node)| node.status().leader).collect();
    let followed: BTreeSet<&PeerId> = leaders.iter().flatten().collect();
    let alone = leaders.iter().filter(|leader| leader.is_none()).count();
    u32::try_from(followed.len() + alone).unwrap_or(u32::MAX)
}

fn stand(node: &Node) -> String {
    let leader = node.status().leader;
    format!(
        "{} is {} and follows {}",
        node.contact().member,
        node.activity(),
        leader.as_ref().map_or("nobody", |leader| leader.as_str())
    )
}

fn names(nodes: &[&Node]) -> String {
    nodes.iter().map(|node| node.contact().member.to_string()).collect::<Vec<_>>().join(" ")
}

/// How long one return, or the merge of two groups, takes after a heal (`docs/GUARANTEES.md` says
/// the same): it depends on no timer but those of the knobs.
pub(crate) fn returned_within(knobs: &Knobs) -> Duration {
    let Knobs {
        heartbeat_interval,
        heartbeat_timeout,
        election_timeout,
        sync_timeout,
        join_timeout,
        join_patience,
        ..
    } = *knobs;
    heartbeat_timeout * 2
        + heartbeat_interval
        + election_timeout
        + sync_timeout
        + join_timeout
        + join_patience
}

/// This many readings of one peer pass in three beats, however narrow the link.
const FEW: u64 = 8;
/// Among this many positions are those few of a peer, and no more than a few of all others.
const NEAR: u64 = 2 * FEW;
/// With more waiting readings of one peer, its links are flooded.
const FLOOD: u64 = 64;
/// The longest pause between two announcements of a joining peer.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
