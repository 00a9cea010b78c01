//! Faults of the network and their ends. Each fault is recorded with the directed pairs that it
//! affects. It lasts until its time is over or a step heals it, and the end of the file heals the
//! rest.

use std::collections::BTreeSet;

use hosts::network::Change;
use hosts::rule::Line;
use promises::fault::{Fault, Hurt, LinkSet, Weather};
use promises::selector::{Draw, Selector};
use promises::shape::{Shape, Who};
use promises::world::GroundTruth;
use protocol::time::Time;

use super::{Engine, Halt, name_of};
use crate::scenario::diagnostic::Placed;
use crate::scenario::{
    Disk, Form, Healing, InterfaceStep, Link, Partition, ShapeName, ShapeOf, Step, Target, Wall,
};
use crate::world::Wrong;

/// A network fault in force.
#[derive(Debug)]
pub(super) struct Lasting {
    /// Its name in the history and in the world.
    name: String,
    ends: Option<Time>,
    occurrence: Option<usize>,
    /// Whether the end of the file ends it, too; a host that has moved keeps its new address.
    heals: bool,
    /// Whether the fault is over and only its effect lasts: there is nothing to undo.
    is_felt: bool,
}

impl Engine<'_> {
    /// Cuts links.
    pub(super) fn partition(
        &mut self,
        step: &Step,
        partition: &Partition,
        occurrence: Option<usize>,
    ) -> Result<(), Halt> {
        let mut table = LinkSet::default();
        let limit = self.limit(step);
        self.wait(step, limit, "the peers of the partition", |engine| {
            engine.table_of(step, partition).map(|found| table = found)
        })?;
        let minority = self.minority(&table);
        self.bindings.insert(format!("minority-of:{}", name_of(step)), minority);
        let Partition { traffic, .. } = *partition;
        let fault = if traffic.has_streams() {
            Fault::Partition { table: table.clone() }
        } else {
            Fault::Link {
                table: table.clone(),
                weather: Weather { loss: ALL, ..Weather::default() },
            }
        };
        let who = named_in(&table);
        self.go_wrong(step, (fault, who), Wrong::Cut { table, traffic }, occurrence, true)
    }

    /// Degrades links.
    pub(super) fn bad_link(
        &mut self,
        step: &Step,
        link: &Link,
        occurrence: Option<usize>,
    ) -> Result<(), Halt> {
        let (mut from, mut to) = (vec![], vec![]);
        let limit = self.limit(step);
        self.wait(step, limit, "the peers of the link", |engine| {
            from = engine.all_of(step, &link.from, 0)?;
            to = engine.all_of(step, &link.to, 1)?;
            Ok(())
        })?;
        let mut pairs: BTreeSet<(String, String)> = from
            .iter()
            .flat_map(|from| {
                to.iter().filter(move |to| *to != from).map(move |to| (from.clone(), to.clone()))
            })
            .collect();
        if link.both {
            pairs.extend(pairs.clone().into_iter().map(|(from, to)| (to, from)));
        }
        let knobs = &self.scenario.cluster.knobs;
        let line = Line {
            loss: link.loss,
            duplicate: link.duplicate,
            reorder: link.reorder,
            delay: link.delay.under(knobs),
            jitter: link.jitter.under(knobs),
            rate: link.rate,
            mtu: link.mtu,
        };
        let table = LinkSet::directed(pairs);
        let fault = Fault::Link { table: table.clone(), weather: line.weather(link.traffic) };
        let who = named_in(&table);
        self.go_wrong(
            step,
            (fault, who),
            Wrong::Bad { table, traffic: link.traffic, line },
            occurrence,
            true,
        )
    }

    /// Changes an interface.
    pub(super) fn interface(
        &mut self,
        step: &Step,
        change: &InterfaceStep,
        occurrence: Option<usize>,
    ) -> Result<(), Halt> {
        let InterfaceStep { target, name, change } = change;
        let who = self.hosts_meant(step, target)?;
        let wrong = Wrong::Interface { who: who.clone(), name: name.clone(), change: *change };
        let cut = Fault::Partition { table: isolating(&who, &self.everybody()) };
        match change {
            Change::Down | Change::NoCarrier | Change::NoAddress => {
                self.go_wrong(step, (cut, who), wrong, occurrence, true)
            }
            Change::NewAddress | Change::OtherSubnet if step.lasts.is_some() => self.go_wrong(
                step,
                (Fault::Host { hurt: Hurt::Address }, who),
                wrong,
                occurrence,
                false,
            ),
            Change::NewAddress
            | Change::OtherSubnet
            | Change::OwnAddress
            | Change::FirstAddress
            | Change::Up
            | Change::Carrier => {
                // The broken connections are felt for a while; nothing else is affected.
                let moved = Fault::Host { hurt: Hurt::Address };
                self.go_wrong(step, (moved, who), wrong, None, false)?;
                let ends = self.world.now() + FELT * self.scenario.cluster.knobs.heartbeat_timeout;
                if let Some(last) = self.lasting.last_mut() {
                    (last.ends, last.is_felt) = (Some(ends), true);
                }
                Ok(())
            }
        }
    }

    /// Puts a firewall in front of a host.
    pub(super) fn firewall(
        &mut self,
        step: &Step,
        target: &Target,
        wall: Wall,
        occurrence: Option<usize>,
    ) -> Result<(), Halt> {
        let who = self.hosts_meant(step, target)?;
        let table = isolating(&who, &self.everybody());
        let weather = match wall {
            Wall::Reset | Wall::Forgets => Weather { reset: ALL, ..Weather::default() },
            Wall::DefaultDeny | Wall::UdpOnly | Wall::PortOnly(_) => {
                Weather { loss: ALL, segments: ALL, ..Weather::default() }
            }
        };
        let wrong = Wrong::Wall { who: who.clone(), wall };
        self.go_wrong(step, (Fault::Link { table, weather }, who), wrong, occurrence, true)
    }

    /// Fills or removes the folder of a peer.
    pub(super) fn disk(
        &mut self,
        step: &Step,
        target: &Target,
        disk: Disk,
        occurrence: Option<usize>,
    ) -> Result<(), Halt> {
        let who = self.hosts_meant(step, target)?;
        let wrong = Wrong::Disk { who: who.clone(), disk };
        self.go_wrong(step, (Fault::Host { hurt: Hurt::Disk }, who), wrong, occurrence, true)
    }

    /// Ends network faults.
    pub(super) fn heal(&mut self, healing: &Healing) -> Result<(), Halt> {
        let over: Vec<usize> = (0..self.lasting.len())
            .filter(|at| match healing {
                Healing::All => !self.lasting[*at].is_felt,
                Healing::Steps(names) => names.contains(&self.lasting[*at].name),
            })
            .collect();
        over.into_iter().rev().try_for_each(|at| self.mend(at))
    }

    /// Ends the faults whose time is over.
    pub(super) fn mend_due(&mut self, now: Time) -> Result<(), Halt> {
        while let Some(at) =
            self.lasting.iter().position(|lasting| lasting.ends.is_some_and(|ends| ends <= now))
        {
            self.mend(at)?;
        }
        Ok(())
    }

    /// When the last fault that ends by itself is over.
    pub(super) fn last_mend(&self) -> Option<Time> {
        self.lasting.iter().filter_map(|lasting| lasting.ends).max()
    }

    /// The end of the file heals the remaining faults.
    pub(super) fn mend_rest(&mut self) -> Result<(), Halt> {
        while let Some(at) = self.lasting.iter().position(|lasting| lasting.heals) {
            self.mend(at)?;
        }
        Ok(())
    }

    fn mend(&mut self, at: usize) -> Result<(), Halt> {
        let Lasting { name, occurrence, is_felt, .. } = self.lasting.remove(at);
        if is_felt {
            return Ok(self.record_at(self.world.now(), GroundTruth::Heal { id: name })?);
        }
        self.world.mend(&name)?;
        self.console.act(&format!("heal {name}"), self.world.now().since(self.began));
        self.record_at(self.world.now(), GroundTruth::Heal { id: name })?;
        self.close_if_named(occurrence)
    }

    fn go_wrong(
        &mut self,
        step: &Step,
        (fault, who): (Fault, Vec<String>),
        wrong: Wrong,
        occurrence: Option<usize>,
        heals: bool,
    ) -> Result<(), Halt> {
        let name = name_of(step);
        // A fault that is put in force again starts anew.
        if let Some(at) = self.lasting.iter().position(|lasting| lasting.name == name) {
            self.mend(at)?;
        }
        // The moment before the change, because the peers may react before it is recorded.
        let t = self.world.now();
        self.console.act(&format!("{name}: {fault}"), t.since(self.began));
        self.world.go_wrong(&name, &wrong)?;
        self.record_at(t, GroundTruth::Fault { id: name.clone(), fault, who, confirmed: true })?;
        let ends = step
            .lasts
            .as_ref()
            .map(|lasts| self.world.now() + lasts.under(&self.scenario.cluster.knobs));
        self.lasting.push(Lasting {
            name,
            ends,
            occurrence,
            heals: heals || ends.is_some(),
            is_felt: false,
        });
        Ok(())
    }

    /// The hosts of the processes that a target denotes. Names are used directly: a host exists
    /// before its peer starts.
    fn hosts_meant(&mut self, step: &Step, target: &Target) -> Result<Vec<String>, Halt> {
        let is_plain = match &target.who.value {
            Selector::Named(_) | Selector::All => true,
            Selector::List(list) => list.iter().all(|one| matches!(one, Selector::Named(_))),
            _ => false,
        };
        if !is_plain {
            return self.choose(step, target, false);
        }
        let who = self
            .all_of(step, &target.who, 0)
            .map_err(|words| Halt::Step { span: target.who.span.clone(), words })?;
        if let Some(name) = &target.bind {
            self.bindings.insert(name.clone(), who.clone());
        }
        Ok(who)
    }

    /// All processes of the run, sorted by name.
    fn everybody(&self) -> Vec<String> {
        self.scenario
            .cluster
            .ids
            .in_starting_order(self.seed)
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// The processes that a selector denotes, running or not; `all` means every process.
    fn all_of(
        &self,
        step: &Step,
        who: &Placed<Selector>,
        counter: u64,
    ) -> Result<Vec<String>, String> {
        let purpose = name_of(step);
        let draw = Draw { seed: self.seed, purpose: &purpose, counter };
        match &who.value {
            Selector::All => Ok(self.everybody()),
            Selector::Named(name) => Ok(vec![name.clone()]),
            Selector::List(list) => {
                let each: Result<Vec<Vec<String>>, String> = list
                    .iter()
                    .map(|one| {
                        self.all_of(
                            step,
                            &Placed { value: one.clone(), span: who.span.clone() },
                            counter,
                        )
                    })
                    .collect();
                let mut all: Vec<String> = each?.concat();
                all.dedup();
                Ok(all)
            }
            other => other
                .resolve(&self.observed.standing, &self.bindings, draw)
                .map_err(|error| error.to_string()),
        }
    }

    fn table_of(&self, step: &Step, partition: &Partition) -> Result<LinkSet, String> {
        let everybody = self.everybody();
        let place = |name: &String| {
            everybody
                .iter()
                .position(|other| other == name)
                .ok_or_else(|| format!("{name} is no host"))
        };
        let named =
            |shape: &Shape| {
                let pairs = shape.pairs(everybody.len(), |who| {
                    if let Who::Peer(at) = who { Some(at) } else { None }
                });
                LinkSet::directed(
                    pairs
                        .into_iter()
                        .map(|(from, to)| (everybody[from].clone(), everybody[to].clone())),
                )
            };
        match &partition.form {
            Form::Shape(shape) => Ok(named(&match shape {
                ShapeName::Halves => Shape::Halves,
                ShapeName::MinorityThird => Shape::MinorityThird,
                ShapeName::Bridge => Shape::Bridge(everybody.len() / 2),
                ShapeName::Ring => Shape::Ring,
                ShapeName::MajorityRing => Shape::MajorityRing,
                ShapeName::Chain => Shape::Chain,
                ShapeName::Everybody => {
                    let apart: Vec<Vec<String>> =
                        everybody.iter().map(|name| vec![name.clone()]).collect();
                    return Ok(LinkSet::split(&apart));
                }
            })),
            Form::Of(shape, who) => {
                let who = self.all_of(step, who, 0)?;
                let [one] = who.as_slice() else {
                    return Err(format!("a shape is round one peer, and these are {}", who.len()));
                };
                let one = place(one)?;
                Ok(named(&match shape {
                    ShapeOf::Isolate => Shape::Isolate(Who::Peer(one)),
                    ShapeOf::Deaf => Shape::Deaf(Who::Peer(one)),
                    ShapeOf::Mute => Shape::Mute(Who::Peer(one)),
                    ShapeOf::Star => Shape::Star(Who::Peer(one)),
                    ShapeOf::Bridge => Shape::Bridge(one),
                }))
            }
            Form::Groups(groups) => {
                let groups: Result<Vec<Vec<String>>, String> = groups
                    .iter()
                    .zip(0..)
                    .map(|(group, counter)| self.all_of(step, group, counter))
                    .collect();
                Ok(LinkSet::split(&groups?))
            }
            Form::OneWay(directions) => {
                let mut pairs = BTreeSet::new();
                for ((from, to), counter) in directions.iter().zip(0..) {
                    let (from, to) = (
                        self.all_of(step, from, 2 * counter)?,
                        self.all_of(step, to, 2 * counter + 1)?,
                    );
                    pairs.extend(
                        from.iter()
                            .flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone()))),
                    );
                }
                pairs.retain(|(from, to)| from != to);
                Ok(LinkSet::directed(pairs))
            }
        }
    }

    /// The processes that reach fewer than half of all processes both ways, themselves included.
    fn minority(&self, table: &LinkSet) -> Vec<String> {
        let everybody = self.everybody();
        let reached = |one: &String| {
            let reaches = |other: &&String| {
                *other == one || !(table.has(one, other) || table.has(other, one))
            };
            everybody.iter().filter(reaches).count()
        };
        everybody.iter().filter(|one| reached(one) * 2 <= everybody.len()).cloned().collect()
    }
}

/// The links between these processes and all others, both ways.
fn isolating(who: &[String], everybody: &[String]) -> LinkSet {
    let others = || everybody.iter().filter(|other| !who.contains(other));
    LinkSet::directed(who.iter().flat_map(|one| {
        others().flat_map(|other| [(one.clone(), other.clone()), (other.clone(), one.clone())])
    }))
}

/// All processes in a set of links, sorted.
fn named_in(table: &LinkSet) -> Vec<String> {
    table
        .links()
        .flat_map(|(from, to)| [from.to_owned(), to.to_owned()])
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// For how many times `heartbeat_timeout` other peers may be affected by a host that has moved.
const FELT: u32 = 4;
/// All frames, in thousandths.
const ALL: u64 = 1_000;
