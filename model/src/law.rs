//! The laws about every single step of a peer, whatever the others do.
//!
//! Each law is a promise of the catalogue, or an invariant of the core (`ARCHITECTURE.md`), applied
//! to one call: the peer before it, the peer after it, and its outputs. Laws that only several
//! peers together can break are left to the ledger, as facts.

use std::collections::BTreeMap;

use protocol::config::Guarantee;
use protocol::id::{Epoch, Seq};
use protocol::inspect::identity;
use protocol::io::{Delivery, Output, Reading};
use protocol::message::{Entry, Message, Reason};
use protocol::node::Node;
use protocol::note::Note;

use crate::fact::{Breach, Fact, Mark};
use crate::peer::{Peer, reading};

/// The state of a peer before a call.
pub(crate) struct Before {
    promised: Epoch,
    epoch: Epoch,
    log_id: Epoch,
    held: BTreeMap<Seq, (Epoch, u128)>,
    contiguous: Seq,
    stable: Seq,
    delivered: Seq,
    /// The number of members with a known progress, and the sum of that progress.
    believed: (usize, u64),
}

impl Before {
    pub(crate) fn of(peer: &Peer) -> Self {
        let status = peer.node.status();
        Self {
            promised: peer.node.promised().clone(),
            epoch: peer.node.epoch(),
            log_id: peer.node.log_id(),
            held: peer.held(),
            contiguous: status.contiguous,
            stable: status.stable,
            delivered: status.delivered,
            believed: believed(&peer.node),
        }
    }
}

fn believed(node: &Node) -> (usize, u64) {
    node.believes().fold((0, 0), |(count, sum), (_, believed)| (count + 1, sum + believed.0))
}

/// Checks one call against the laws, and adds its facts. `after` is the peer as the call left it,
/// except that the deliveries to its sinks are entered here.
pub(crate) fn hold(
    before: &Before,
    after: &mut Peer,
    out: &[Output],
    facts: &mut Vec<Fact>,
) -> Result<(), Breach> {
    fenced(before, after, out)?;
    said_truly(after, out)?;
    logged(before, after, facts);
    noted(after, out, facts)?;
    repeated(after, out)?;
    delivered(before, after, out, facts)
}

/// No peer claims to hold more of a log than it does.
fn said_truly(after: &Peer, out: &[Output]) -> Result<(), Breach> {
    let node = &after.node;
    for output in out {
        let (Output::Send { message, .. } | Output::Fan { message, .. }) = output else { continue };
        let (epoch, contiguous) = match message {
            Message::HeartbeatAck(ack) => (&ack.epoch, ack.contiguous),
            Message::OrderedAck { epoch, contiguous, .. } => (epoch, *contiguous),
            _ => continue,
        };
        let holds = contiguous == Seq::ZERO
            || contiguous <= node.contiguous()
                && node.covers().any(|(covering, _, last)| covering == epoch && last >= contiguous);
        if !holds {
            let (me, end) = (&node.contact().member, node.contiguous());
            let words = format!(
                "{me} says that it holds #{contiguous} of epoch {epoch}, and its log ends at \
                 #{end} of epoch {}",
                node.epoch()
            );
            return Err(Breach::new("says-truly", words));
        }
    }
    Ok(())
}

/// A reading is called a repeat only if the same sinks have received it, or were told that it is
/// lost. Checked before the deliveries of this call are entered, and so takes them into account.
fn repeated(after: &Peer, out: &[Output]) -> Result<(), Breach> {
    let mut had = after.sunk.clone();
    for output in out {
        match output {
            Output::Deliver(Delivery::Run(run)) => {
                had.insert(run.origin.clone(), run.oseq.plus(run.readings.len()).previous());
            }
            Output::Deliver(Delivery::Lost { origin, to, .. }) => {
                had.entry(origin.clone())
                    .and_modify(|last| *last = (*last).max(*to))
                    .or_insert(*to);
            }
            Output::Deliver(Delivery::Repeat { origin, to, seq, .. })
                if had.get(origin).is_none_or(|last| last < to) =>
            {
                let me = &after.node.contact().member;
                let words = format!(
                    "{me} takes reading {to} of {origin} at #{seq} for a repeat, and its sinks \
                     have not had it"
                );
                return Err(Breach::new("had-before", words));
            }
            _ => {}
        }
    }
    Ok(())
}

/// No entry or claim below the promise is accepted, appended, acknowledged or promised.
fn fenced(before: &Before, after: &Peer, out: &[Output]) -> Result<(), Breach> {
    let promised = &before.promised;
    let breach = |words: String| Err(Breach::new("fenced-sequencer", words));
    let (epoch, now_promised) = (after.node.epoch(), after.node.promised());
    if now_promised < promised {
        return breach(format!("the promise falls from {promised} to {now_promised}"));
    }
    let grown = after.node.status().contiguous > before.contiguous;
    if epoch == before.epoch && grown && epoch < *promised {
        return breach(format!(
            "an entry of epoch {epoch} is appended after the promise of {promised}"
        ));
    }
    if epoch != before.epoch && !epoch.is_none() && epoch < *promised {
        return breach(format!(
            "a log of epoch {epoch} is adopted after the promise of {promised}"
        ));
    }
    for output in out {
        let (Output::Send { message, .. } | Output::Fan { message, .. }) = output else { continue };
        let binding = match message {
            Message::HeartbeatAck(ack) => ack.contiguous > Seq::ZERO,
            Message::Ordered(ordered) => ordered.repair.is_none(),
            Message::Heartbeat(_)
            | Message::OrderedAck { .. }
            | Message::SeqSyncFinal(_)
            | Message::SeqSyncResponse(_) => true,
            _ => false,
        };
        if let Some(epoch) = message.epoch().filter(|epoch| binding && *epoch < promised) {
            return breach(format!(
                "{} of epoch {epoch} is sent after the promise of {promised}",
                message.verb()
            ));
        }
    }
    Ok(())
}

/// New entries of the log since the last call.
fn logged(before: &Before, after: &Peer, facts: &mut Vec<Fact>) {
    let held = after.held();
    for (seq, (epoch, digest)) in &held {
        if before.held.get(seq) != Some(&(epoch.clone(), *digest)) {
            facts.push(Fact::Entry { epoch: epoch.clone(), seq: *seq, digest: *digest });
        }
    }
    let first = held.keys().next().copied().unwrap_or(Seq::ZERO);
    if before.held.iter().any(|(seq, entry)| *seq >= first && held.get(seq) != Some(entry)) {
        facts.push(Fact::Mark(Mark::TakenBack));
    }
    let id = after.node.log_id();
    if id != before.log_id && !held.is_empty() {
        facts.push(Fact::Log { id });
    }
    let stable = after.node.status().stable;
    let is_as_before =
        after.node.epoch() == before.epoch && after.node.status().contiguous == before.contiguous;
    if !is_as_before || stable != before.stable || believed(&after.node) != before.believed {
        facts.push(Fact::Moved);
    }
    for (seq, (epoch, digest)) in
        held.range(before.stable.next()..).take_while(|(seq, _)| **seq <= stable)
    {
        facts.push(Fact::Stable {
            seq: *seq,
            epoch: epoch.clone(),
            digest: *digest,
            told_in: after.node.epoch(),
        });
    }
}

/// The notes of the peer.
fn noted(after: &Peer, out: &[Output], facts: &mut Vec<Fact>) -> Result<(), Breach> {
    let me = &after.node.contact().member;
    for output in out {
        match output {
            Output::Note(Note::View { view_id, epoch, leader, members, incs, log, .. }) => {
                if !members.contains(leader) || !members.contains(&me.id) {
                    return Err(Breach::new(
                        "view-legal",
                        format!(
                            "{} holds view {view_id} of epoch {epoch}: {members:?} under {leader}",
                            me.id
                        ),
                    ));
                }
                let digest = identity(&(leader, members, incs, log));
                facts.push(Fact::View { epoch: epoch.clone(), view_id: *view_id, digest });
            }
            Output::Note(Note::LeaderElected { epoch, .. }) => {
                if epoch.owner != *me {
                    return Err(Breach::new(
                        "one-leader-per-epoch",
                        format!("{} leads epoch {epoch}, which is not its own", me.id),
                    ));
                }
                facts.push(Fact::Leads { epoch: epoch.clone(), peer: me.id.clone() });
            }
            Output::Note(Note::StaleEpoch { .. }) => facts.push(Fact::Mark(Mark::StaleRefused)),
            Output::Note(Note::Vetoed { .. }) => facts.push(Fact::Mark(Mark::Vetoed)),
            Output::Note(Note::StepDown { .. }) => facts.push(Fact::Mark(Mark::SteppedDown)),
            Output::Note(Note::Failed { silent: true, .. }) => {
                facts.push(Fact::Mark(Mark::Evicted))
            }
            Output::Note(Note::DupSuppressed { .. }) => facts.push(Fact::Mark(Mark::DupSuppressed)),
            Output::Note(Note::Diverged { .. }) => facts.push(Fact::Mark(Mark::Diverged)),
            Output::Note(Note::Merged { .. }) => facts.push(Fact::Mark(Mark::Merged)),
            Output::Note(Note::StateTransfer { .. }) => facts.push(Fact::Mark(Mark::Admitted)),
            Output::Note(Note::Blocked { .. }) => facts.push(Fact::Mark(Mark::Blocked)),
            Output::Send { message: Message::Rejected(rejected), .. } if rejected.ask.is_some() => {
                if matches!(rejected.reason, Reason::Stale { .. }) {
                    facts.push(Fact::Mark(Mark::ClaimRefused));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The sinks get every reading of the log in order, once, as it was published; omitted readings are
/// reported.
fn delivered(
    before: &Before,
    after: &mut Peer,
    out: &[Output],
    facts: &mut Vec<Fact>,
) -> Result<(), Breach> {
    let mut at = before.delivered;
    let (end, stable) = (after.node.status().delivered, after.node.status().stable);
    let data: Vec<Seq> = after
        .node
        .entries()
        .filter(|(_, _, entry)| matches!(entry, Entry::Readings { .. }))
        .map(|(seq, _, _)| seq)
        .collect();
    let leap = |from: Seq, to: Seq| match data.iter().find(|seq| **seq > from && **seq < to) {
        Some(seq) => Err(Breach::new(
            "gap-free",
            format!("#{seq} is passed over in silence, between #{from} and #{to}"),
        )),
        None => Ok(()),
    };
    for output in out {
        match output {
            Output::Deliver(Delivery::Run(run)) => {
                let last = run.first.plus(run.readings.len()).previous();
                facts.push(Fact::HandedOver { epoch: run.epoch.clone(), seq: last });
                for Reading { seq, oseq, payload, .. } in run.iter() {
                    let origin = &run.origin;
                    if seq <= at {
                        return Err(Breach::new(
                            "gap-free",
                            format!("#{seq} is delivered behind #{at}"),
                        ));
                    }
                    leap(at, seq)?;
                    if *payload != *reading(&origin.id, oseq).as_bytes() {
                        return Err(Breach::new(
                            "integrity",
                            format!("#{seq}, number {oseq} of {origin}, is not what it published"),
                        ));
                    }
                    if run.guarantee == Guarantee::Safe && seq > stable {
                        return Err(Breach::new(
                            "safe-kept",
                            format!("#{seq} is safe, and delivered while #{stable} is stable"),
                        ));
                    }
                    let last = after.sunk.insert(origin.clone(), oseq);
                    if let Some(last) = last.filter(|last| *last >= oseq) {
                        return Err(Breach::new(
                            "fifo",
                            format!("number {oseq} of {origin} is delivered after number {last}"),
                        ));
                    }
                    at = seq;
                }
            }
            Output::Note(Note::DupSuppressed { seq, .. }) => {
                leap(at, *seq)?;
                at = *seq;
            }
            Output::Note(Note::Diverged { from, .. }) => at = at.min(from.previous()),
            Output::Deliver(Delivery::Lost { origin, to, .. }) => {
                let last = after.sunk.entry(origin.clone()).or_insert(*to);
                *last = (*last).max(*to);
            }
            Output::Deliver(Delivery::Gap { to, .. }) => at = at.max(*to),
            // Only a newcomer's sinks miss nothing.
            Output::Note(Note::StateTransfer { resume, .. }) if at == Seq::ZERO => at = *resume,
            _ => {}
        }
    }
    leap(at, end.next())
}

#[cfg(test)]
mod tests {
    use super::{Before, hold};
    use crate::peer::Peer;
    use protocol::config::{Config, Guarantee, Knobs};
    use protocol::id::{Epoch, LinkId, Oseq, Seq};
    use protocol::io::{Delivery, Input, Output, Publication, Run};
    use protocol::log_id::LogId;
    use protocol::message::Message;
    use protocol::note::Note;
    use protocol::readings::Readings;

    /// A peer that has founded a group of its own, with a reading in its log.
    fn peer() -> Peer {
        let mut peer = Peer::new(0, &Config::try_from(Knobs::fast()).unwrap());
        while peer.node.status().role != "leader" {
            peer = peer.pass(0).expect("lawful").expect("something shows").peer;
        }
        peer.take(peer.next_reading()).expect("lawful").peer
    }

    fn above(peer: &Peer) -> Epoch {
        peer.node.epoch().next(peer.node.contact().member.clone())
    }

    #[track_caller]
    fn check(before: &Before, after: &Peer, out: &[Output], promise: &str) {
        let breach = hold(before, &mut after.clone(), out, &mut Vec::new()).expect_err("a breach");
        assert_eq!(breach.promise, promise, "{breach:?}");
    }

    fn reading(peer: &Peer, seq: u64, oseq: u64, payload: &str) -> Output {
        let origin = peer.node.contact().member.clone();
        let view_id = peer.node.status().view_id;
        let readings = Readings::one(payload.as_bytes().to_vec().into(), 0);
        let guarantee = Guarantee::Agreed;
        let (epoch, first, oseq) = (peer.node.epoch(), Seq(seq), Oseq(oseq));
        Output::Deliver(Delivery::Run(Run {
            log: LogId::none(),
            epoch,
            view_id,
            first,
            origin,
            oseq,
            guarantee,
            ordered: None,
            readings,
        }))
    }

    #[test]
    fn nothing_happens_below_the_promise() {
        let peer = peer();
        let lawful = Before::of(&peer);
        assert!(hold(&lawful, &mut peer.clone(), &[], &mut Vec::new()).is_ok());
        let promised = Before { promised: above(&peer), ..Before::of(&peer) };
        check(&promised, &peer, &[], "fenced-sequencer");
        let ack = Message::OrderedAck { epoch: Epoch::none(), contiguous: Seq(1) };
        check(
            &lawful,
            &peer,
            &[Output::Send { link: LinkId::dialled(1), message: ack }],
            "fenced-sequencer",
        );
    }

    #[test]
    fn sinks_get_each_reading_once_in_order_and_as_it_was() {
        let peer = peer();
        let before = || Before { delivered: Seq(1), ..Before::of(&peer) };
        let fresh = Peer { sunk: std::collections::BTreeMap::new(), ..peer.clone() };
        assert!(
            hold(
                &before(),
                &mut fresh.clone(),
                &[reading(&peer, 2, 1, "peer1/1")],
                &mut Vec::new()
            )
            .is_ok()
        );
        check(&before(), &fresh, &[], "gap-free");
        check(&before(), &fresh, &[reading(&peer, 2, 1, "peer1/2")], "integrity");
        check(&before(), &peer, &[reading(&peer, 2, 1, "peer1/1")], "fifo");
        check(&Before::of(&peer), &fresh, &[reading(&peer, 2, 1, "peer1/1")], "gap-free");
        let early = match reading(&peer, 3, 1, "peer1/1") {
            Output::Deliver(Delivery::Run(run)) => Run { guarantee: Guarantee::Safe, ..run },
            other => unreachable!("{other:?}"),
        };
        check(&Before::of(&peer), &fresh, &[Output::Deliver(Delivery::Run(early))], "safe-kept");
    }

    #[test]
    fn nobody_says_that_it_holds_what_it_does_not() {
        let peer = peer();
        let before = Before::of(&peer);
        let ack = |contiguous: u64| {
            let message =
                Message::OrderedAck { epoch: peer.node.epoch(), contiguous: Seq(contiguous) };
            Output::Send { link: LinkId::dialled(1), message }
        };
        assert!(hold(&before, &mut peer.clone(), &[ack(2)], &mut Vec::new()).is_ok());
        check(&before, &peer, &[ack(3)], "says-truly");
    }

    #[test]
    fn only_what_the_sinks_had_is_a_repeat() {
        let peer = peer();
        let origin = peer.node.contact().member.clone();
        let repeat = |oseq: u64| {
            let (from, to, seq, last) = (Oseq(oseq), Oseq(oseq), Seq(2), Seq(2));
            Output::Deliver(Delivery::Repeat {
                log: LogId::none(),
                epoch: peer.node.epoch(),
                seq,
                last,
                origin: origin.clone(),
                from,
                to,
            })
        };
        let before = Before::of(&peer);
        assert!(hold(&before, &mut peer.clone(), &[repeat(1)], &mut Vec::new()).is_ok());
        check(&before, &peer, &[repeat(2)], "had-before");
    }

    #[test]
    fn who_leads_owns_the_epoch_and_stands_in_the_view() {
        let peer = peer();
        let me = peer.node.contact().member.id.clone();
        let mut epoch = above(&peer);
        epoch.owner.inc = epoch.owner.inc.max(protocol::id::Incarnation(99));
        let elected =
            Note::LeaderElected { log: LogId::none(), peer: me, epoch, size: 1, renewed: false };
        check(&Before::of(&peer), &peer, &[Output::Note(elected)], "one-leader-per-epoch");
    }

    #[test]
    fn who_is_never_woken_in_vain_is_not_stuck() {
        let peer = peer();
        assert!(!peer.is_due());
        let late = peer.pause(std::time::Duration::from_secs(60));
        assert!(late.is_due());
        let read_first = late
            .take(Input::Publish {
                publications: vec![Publication::one("peer1/2".into(), 0, None)],
            })
            .expect("lawful")
            .peer;
        assert!(read_first.is_due(), "it has not looked at its clock yet");
    }
}
