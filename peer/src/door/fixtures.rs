//! Deliveries for the tests of this module.

use protocol::config::Guarantee;
use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
use protocol::io::{Delivery, Run};
use protocol::log_id::LogId;
use protocol::readings::Collector;

use super::history::{Bounds, History};

/// A life of a peer.
pub(super) fn member(id: &str) -> Member {
    Member { id: PeerId::new(id).unwrap(), inc: Incarnation(7) }
}

/// A term of leadership.
pub(super) fn epoch(round: u64, owner: &str) -> Epoch {
    Epoch { round, owner: member(owner) }
}

/// The log that this peer has founded.
pub(super) fn log(owner: &str) -> LogId {
    LogId::founded_by(epoch(1, owner))
}

/// Readings of the sensors `s0` and `s1` in turn, numbered by their positions.
pub(super) fn run(owner: &str, round: u64, positions: std::ops::RangeInclusive<u64>) -> Delivery {
    let mut readings = Collector::with_capacity(1, 1);
    for position in positions.clone() {
        readings.push(format!("DATA|s{}|t|n={position}", position % 2).as_bytes(), position);
    }
    let (first, readings) = (Seq(*positions.start()), readings.finish().unwrap());
    let (origin, oseq, view_id) = (member("kitchen"), Oseq(*positions.start()), ViewId(1));
    let epoch = epoch(round, owner);
    Delivery::Run(Run {
        log: log("a"),
        epoch,
        view_id,
        first,
        origin,
        oseq,
        guarantee: Guarantee::Agreed,
        ordered: None,
        readings,
    })
}

/// The deliveries there differ from the group's log.
pub(super) fn diverged(from: u64, to: u64) -> Delivery {
    Delivery::Diverged { log: log("a"), from: Seq(from), to: Seq(to) }
}

/// The group merges into another one.
pub(super) fn merged(at: u64) -> Delivery {
    Delivery::Merged { log: log("a"), at: Seq(at), into: log("a"), leader: member("b").id }
}

/// Readings that were handed over before.
pub(super) fn repeat(owner: &str, round: u64, seq: u64, last: u64) -> Delivery {
    let (seqs, oseqs) = ((Seq(seq), Seq(last)), (Oseq(seq), Oseq(last)));
    let epoch = epoch(round, owner);
    Delivery::Repeat {
        log: log("a"),
        epoch,
        seq: seqs.0,
        last: seqs.1,
        origin: member("kitchen"),
        from: oseqs.0,
        to: oseqs.1,
    }
}

/// Positions that are missing.
pub(super) fn gap(from: u64, to: u64) -> Delivery {
    Delivery::Gap { log: log("a"), from: Seq(from), to: Seq(to), why: "it was away".to_owned() }
}

/// A history with one delivery per second.
pub(super) fn history(records: u64, deliveries: Vec<Delivery>) -> History {
    let mut history = History::new(Bounds { records, bytes: 1 << 30 });
    for (second, delivery) in deliveries.into_iter().enumerate() {
        history.add(delivery, second as u64 * 1_000_000);
    }
    history
}
