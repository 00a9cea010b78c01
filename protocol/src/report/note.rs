//! What a node reports: one fact, told twice. `sentence` is the line of the human log (the
//! sentences of the seed, word for word), serde is the event of the event log; they cannot
//! disagree, because both are this one value.
//!
//! Ids are harmless by construction and payloads are escaped, so no reading can forge a line.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::guarantee::Guarantee;
use crate::id::{Epoch, Incarnation, Oseq, PeerId, Seq, ViewId, epoch_fields};
use crate::io::Reading;
use crate::log::log_id::LogId;
use crate::report::status::Status;
use crate::time::Time;

mod escape;
mod sentence;

pub use self::escape::{escape, printable};

/// The version of the event schema.
pub const EVENT_VERSION: u8 = 1;

/// A note in its envelope: one line of an event file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The schema version.
    pub v: u8,
    /// CLOCK_MONOTONIC in microseconds; in the simulator from 0.
    pub t: Time,
    /// The peer.
    pub p: PeerId,
    /// Its incarnation.
    pub inc: Incarnation,
    /// The peer's own count of its events; a hole is lost evidence.
    pub n: u64,
    /// The fact.
    #[serde(flatten)]
    pub note: Note,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
pub enum Note {
    /// The process runs. First event of a file; enough to find the process again and to know that
    /// it is the same one.
    Start {
        /// Process id; 0 in the simulator.
        pid: u32,
        /// The process's start time in clock ticks since boot (field 22 of /proc/pid/stat).
        pid_start: u64,
        /// Where the human log goes, if it is known.
        log: Option<String>,
        /// TCP address.
        address: String,
        /// The build's id.
        build: String,
        /// Drawn at start.
        birth: u64,
        /// The explicit priority.
        priority: i64,
        /// The path of its local socket, if it has one.
        status: Option<String>,
        /// Whether it tells no single readings (`log_deliveries` is off): none that is published,
        /// safe or delivered.
        #[serde(default, skip_serializing_if = "is_false")]
        omits_readings: bool,
    },
    /// This peer is to be found at another address from now on.
    Moved {
        /// Where it is.
        address: String,
        /// Where it was.
        was: String,
    },
    /// A peer is heard by datagram, and no connection to it comes about.
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// Where it says that it listens.
        address: String,
        /// For how long.
        for_ms: u64,
        /// What is wrong, and what to check.
        why: String,
    },
    /// All sockets are bound; the peer announces itself from now on.
    Ready,
    /// The last event of a life that ended by itself.
    Stop {
        /// Why.
        reason: String,
    },
    /// A bug: the process is going down.
    Panic {
        /// What it said.
        message: String,
    },
    /// Events were dropped, because nothing took them; their numbers are missing in front of this
    /// one.
    EventsLost {
        /// How many.
        events: u64,
    },
    /// A control message went out (routine ones are only counted).
    Send {
        /// `<sender>/<inc>/<dialler>:<k>/<frame>`: names the message at both ends.
        m: String,
        /// To whom; `*` for a broadcast.
        to: String,
        /// The verb.
        kind: String,
    },
    /// A control message came in.
    Recv {
        /// As in `send`.
        m: String,
        /// The verb.
        kind: String,
    },
    /// Something came in and was not accepted.
    Reject {
        /// From whom, if that is known.
        from: Option<PeerId>,
        /// Why.
        why: String,
        /// How many for that reason so far.
        count: u64,
    },
    /// A question to a member went unanswered, so the link to it is doubted and it is dialled anew
    /// beside that link.
    Unanswered {
        /// The member.
        peer: PeerId,
        /// Which of its lives.
        peer_inc: Incarnation,
        /// For how long nothing came from it.
        waited_ms: u64,
        /// How often that has happened so far, with any member.
        count: u64,
    },
    /// This peer takes another for failed, and why.
    Suspect {
        /// Whom.
        peer: PeerId,
        /// Which of its lives.
        peer_inc: Incarnation,
        /// On what evidence.
        evidence: Evidence,
    },
    /// The view that comes into force here has a peer that the one before did not have.
    PeerAdded {
        /// Whom.
        peer: PeerId,
        /// Which of its lives.
        peer_inc: Incarnation,
        /// The new view.
        view_id: ViewId,
    },
    /// The view that comes into force here lacks a peer that the one before had.
    PeerRemoved {
        /// Whom.
        peer: PeerId,
        /// Which of its lives.
        peer_inc: Incarnation,
        /// The new view.
        view_id: ViewId,
    },
    /// The leader removes a member because it failed (the sentence of the seed).
    Failed {
        /// Whom.
        peer: PeerId,
        /// Which of its lives.
        peer_inc: Incarnation,
        /// Whether it was silence (else its connection).
        silent: bool,
        /// The group without it, lowest priority first.
        ordered: Vec<PeerId>,
    },
    /// The leader removes a member that asked for it.
    Left {
        /// Whom.
        peer: PeerId,
        /// Which of its lives.
        peer_inc: Incarnation,
        /// The group without it, lowest priority first.
        ordered: Vec<PeerId>,
    },
    /// A view comes into force at this peer, at its place in the log.
    View {
        /// Its number.
        view_id: ViewId,
        /// Its epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// Its position in the log.
        seq: Seq,
        /// Who leads it.
        leader: PeerId,
        /// Everyone in it, lowest priority first.
        members: Vec<PeerId>,
        /// Their incarnations, in the same order.
        incs: Vec<Incarnation>,
        /// The log.
        #[serde(default, alias = "log_id", skip_serializing_if = "LogId::is_none")]
        log: LogId,
    },
    /// This peer misses its leader and asks around.
    ElectionStarted {
        /// Why.
        cause: Cause,
        /// Who outranks it among those it asks.
        higher: Vec<PeerId>,
        /// The leader it misses.
        missed: Option<PeerId>,
    },
    /// A higher peer said OK.
    ElectionOk {
        /// Who.
        from: PeerId,
    },
    /// Somebody knows a working leader.
    Vetoed {
        /// Who said so.
        by: PeerId,
        /// The leader.
        leader: PeerId,
    },
    /// Nobody higher answered: this peer claims.
    Claim {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// How many are asked for their promise.
        asked: u64,
        /// Whether nobody else is there at all.
        alone: bool,
    },
    /// This peer leads from now on.
    LeaderElected {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// Itself.
        peer: PeerId,
        /// Its epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// How many answered, itself included.
        size: u64,
        /// Whether it led before and only moved to a higher epoch.
        renewed: bool,
    },
    /// An announcement arrived from the peer that it names.
    Coordinator {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// Who.
        peer: PeerId,
        /// Its epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
    },
    /// This peer follows a leader from now on.
    Follows {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// Whom.
        leader: PeerId,
        /// In which epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
    },
    /// This peer led and does not any more.
    StepDown {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The epoch it led.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// Why.
        why: String,
    },
    /// A reading of this peer's own got its number.
    Publish {
        /// The number.
        oseq: Oseq,
        /// Digest of the payload.
        digest: Digest,
        /// Whether it is to be handed over only when it is safe.
        #[serde(default, skip_serializing_if = "is_false")]
        safe: bool,
    },
    /// A reading of this peer's own that was to be safe is: it is stable, so it survives whatever
    /// leaves the group a quorum (mode `available`: a member that goes on).
    Acknowledged {
        /// The log that the position is of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// Its number.
        oseq: Oseq,
        /// Its position.
        seq: Seq,
        /// The epoch of the log that it is stable in.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
    },
    /// Mode `primary`: this peer can do nothing until it reaches others, and takes no readings
    /// until then.
    Blocked {
        /// Whom or what it lacks.
        why: String,
    },
    /// This peer stops, and does not know of readings of its own that anybody else has them.
    LeftBehind {
        /// The number of the first.
        from: Oseq,
        /// The number of the last.
        to: Oseq,
    },
    /// A reading of this peer's own was not taken.
    Refused {
        /// Why.
        why: Refusal,
        /// How many so far.
        count: u64,
    },
    /// A reading was handed to the sinks.
    Deliver {
        /// The log that the position is of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The entry's epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// Its position.
        seq: Seq,
        /// The view in force there.
        view_id: ViewId,
        /// Who published it.
        origin: PeerId,
        /// In which life.
        origin_inc: Incarnation,
        /// Its number among the origin's.
        oseq: Oseq,
        /// Digest of the payload.
        digest: Digest,
        /// Whether it was handed over only when it was safe.
        #[serde(default, skip_serializing_if = "is_false")]
        safe: bool,
        /// The payload, escaped; only in the sentence, not in the event.
        #[serde(skip)]
        text: String,
    },
    /// An entry was not handed over, because this peer's sinks have had that reading.
    DupSuppressed {
        /// The log that the position is of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The entry's epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// Its position.
        seq: Seq,
        /// The view in force there.
        view_id: ViewId,
        /// Who published it.
        origin: PeerId,
        /// In which life.
        origin_inc: Incarnation,
        /// Its number among the origin's.
        oseq: Oseq,
    },
    /// This peer will never hand over what stands at these positions.
    Gap {
        /// The log that the position is of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
        /// Why.
        why: String,
    },
    /// This peer goes on from a snapshot.
    StateTransfer {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The snapshot's position.
        at: Seq,
        /// Deliveries go on above this position.
        resume: Seq,
        /// The epoch it came in.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
    },
    /// Something of an epoch below this peer's promise was turned away.
    StaleEpoch {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// From whom.
        from: PeerId,
        /// Its epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// The verb.
        kind: String,
    },
    /// An incarnation was stored.
    Persist {
        /// Which.
        incarnation: Incarnation,
    },
    /// This peer will accept nothing below this epoch any more, except through a cut.
    Promised {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// To whom.
        to: PeerId,
    },
    /// This peer's log now continues in this epoch.
    Cut {
        /// The epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// The last position before it.
        seq: Seq,
        /// The log.
        #[serde(default, alias = "log_id", skip_serializing_if = "LogId::is_none")]
        log: LogId,
    },
    /// Everyone in the view has everything up to here.
    Stable {
        /// The log that this peer holds; none before the first.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The epoch it was learnt in.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// The position.
        seq: Seq,
    },
    /// What this peer handed over at these positions is not what the log says there any more.
    Diverged {
        /// The log in which it was handed over.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// This peer's group has become part of another one.
    Merged {
        /// The log of the group that dissolves.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The leader of the other.
        into: PeerId,
        /// The log of the other; the same one where the two had parted.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        into_log: LogId,
        /// The first position that only the old group has.
        from: Seq,
        /// The last one.
        to: Seq,
        /// The first position of the other group's log after the two parted, as far as this peer
        /// takes it over.
        #[serde(default)]
        new_from: Seq,
        /// The last one; below `new_from` where there is none.
        #[serde(default)]
        new_to: Seq,
    },
    /// An origin has declared readings of its own lost.
    Lost {
        /// The log that the position is of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The entry's epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// Where the declaration stands.
        seq: Seq,
        /// The view in force there.
        view_id: ViewId,
        /// Whose.
        origin: PeerId,
        /// In which life.
        origin_inc: Incarnation,
        /// The first number.
        from: Oseq,
        /// The last number.
        to: Oseq,
    },
    /// This peer has been asked to leave.
    Leave,
    /// The role, the leader or the view changed: the status block.
    Status(Box<Status>),
}

/// On what evidence a peer is taken for failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Evidence {
    /// Its connection went, and nobody listens where it did.
    Refused,
    /// A younger process speaks where it did.
    Replaced {
        /// The younger incarnation.
        incarnation: Incarnation,
    },
    /// No round trip completed in time.
    Silence {
        /// How long ago the last completed one started, in milliseconds.
        last_round_trip_ms: u64,
        /// Heartbeats since.
        beats_missed: u64,
        /// Whether a connection stands all the same.
        connected: bool,
        /// How late this peer's own loop ran at worst, in milliseconds.
        own_lag_ms: u64,
    },
    /// It said so itself.
    OwnWord {
        /// With which message.
        verb: String,
    },
    /// It asked for the leader's place.
    NoAnswer {
        /// How long it was given, in milliseconds.
        waited_ms: u64,
    },
    /// It lags too far, for too long.
    Slow {
        /// The log that the positions are of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// By how many entries, since it came in.
        behind: u64,
        /// The last position that it has acknowledged.
        acked: Seq,
        /// The last position of the log.
        high: Seq,
        /// For how long it has lagged too far, in milliseconds.
        for_ms: u64,
    },
    /// A reading waits to be safe, and it acknowledges nothing.
    Unacknowledged {
        /// The log that the positions are of.
        #[serde(default, skip_serializing_if = "LogId::is_none")]
        log: LogId,
        /// The last position that it has acknowledged.
        acked: Seq,
        /// The first position that waits.
        awaited: Seq,
        /// The last position of the log.
        high: Seq,
        /// For how long it has acknowledged nothing, in milliseconds.
        for_ms: u64,
    },
}

/// Why an election starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// There is no group yet.
    FirstView,
    /// The leader's connection went, and it is proven gone.
    Connection,
    /// The leader was silent for too long.
    Silence,
    /// The leader said itself that it does not lead.
    OwnWord,
    /// The leader hands over.
    Handover,
    /// Somebody else misses the leader, and it did not answer this peer either.
    Witnessed,
    /// This peer led, and has learnt that it should not.
    SteppedDown,
    /// The last attempt came to nothing.
    Again,
}

/// Why a reading was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Larger than `payload_max`.
    TooLarge,
    /// The window is full: too many readings wait to be ordered.
    WindowFull,
    /// The peer is leaving.
    Leaving,
    /// The peer is blocked: it reaches no quorum of the group (mode `primary`).
    NoQuorum,
}

/// How loud a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that should not.
    Error,
    /// Something failed that the group copes with.
    Warn,
    /// What people follow.
    Info,
    /// Details, off by default.
    Debug,
}

impl Note {
    /// What is told of a delivery.
    #[must_use]
    pub fn delivered(reading: &Reading<'_>) -> Self {
        let Reading { run, seq, oseq, payload, .. } = *reading;
        Self::Deliver {
            log: run.log.clone(),
            epoch: run.epoch.clone(),
            seq,
            view_id: run.view_id,
            origin: run.origin.id.clone(),
            origin_inc: run.origin.inc,
            oseq,
            digest: Digest::of(payload),
            safe: run.guarantee == Guarantee::Safe,
            text: escape(payload),
        }
    }

    /// How loud it is.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Panic { .. } => Level::Error,
            Self::Suspect { .. }
            | Self::Reject { .. }
            | Self::Gap { .. }
            | Self::Diverged { .. }
            | Self::Lost { .. }
            | Self::EventsLost { .. }
            | Self::LeftBehind { .. }
            | Self::Unreachable { .. }
            | Self::Blocked { .. } => Level::Warn,
            // Each is an event; people are told of the 1st, 2nd, 4th, 8th …
            Self::Refused { count, .. } | Self::Unanswered { count, .. } => {
                if count.is_power_of_two() { Level::Warn } else { Level::Debug }
            }
            Self::Send { .. }
            | Self::Recv { .. }
            | Self::Publish { .. }
            | Self::Promised { .. }
            | Self::Cut { .. }
            | Self::Stable { .. }
            | Self::Persist { .. }
            | Self::DupSuppressed { .. }
            | Self::PeerAdded { .. }
            | Self::PeerRemoved { .. }
            | Self::StaleEpoch { .. } => Level::Debug,
            Self::Start { .. }
            | Self::Ready
            | Self::Moved { .. }
            | Self::Stop { .. }
            | Self::Failed { .. }
            | Self::Left { .. }
            | Self::View { .. }
            | Self::ElectionStarted { .. }
            | Self::ElectionOk { .. }
            | Self::Vetoed { .. }
            | Self::Claim { .. }
            | Self::LeaderElected { .. }
            | Self::Coordinator { .. }
            | Self::Follows { .. }
            | Self::StepDown { .. }
            | Self::Deliver { .. }
            | Self::Acknowledged { .. }
            | Self::StateTransfer { .. }
            | Self::Merged { .. }
            | Self::Leave
            | Self::Status(_) => Level::Info,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::{Event, Note};
    use crate::id::{Epoch, Incarnation, Member, PeerId, Seq, ViewId};
    use crate::time::Time;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    #[test]
    fn an_event_survives_the_file() {
        let event = Event {
            v: super::EVENT_VERSION,
            t: Time::from_micros(7),
            p: id("peer2"),
            inc: Incarnation(9),
            n: 3,
            note: Note::View {
                view_id: ViewId(7),
                epoch: Epoch { round: 3, owner: Member { id: id("a.b"), inc: Incarnation(4) } },
                seq: Seq(12),
                leader: id("a.b"),
                members: vec![id("a.b"), id("peer2")],
                incs: vec![Incarnation(4), Incarnation(9)],
                log: "1.a.b#4".parse().expect("a log"),
            },
        };
        let line = serde_json::to_string(&event).expect("an event is JSON");
        assert!(
            line.starts_with(r#"{"v":1,"t":7,"p":"peer2","inc":9,"n":3,"ev":"view","view_id":7,"epoch":"3.a.b","epoch_inc":4,"seq":12"#),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<Event>(&line).expect("and back"), event);
    }
}
