//! What a node reports: one fact, told twice. `sentence` is the line of the human log (the sentences of the seed, word
//! for word), serde is the event of the event log; they cannot disagree, because both are this one value.
//!
//! Ids are harmless by construction and payloads are escaped, so no reading can forge a line.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::draw::digest;
use crate::id::{Epoch, Incarnation, Oseq, PeerId, Seq, ViewId, epoch_fields};
use crate::seam::Reading;
use crate::status::Status;
use crate::time::Time;
use crate::view::Names;

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
    /// The process runs. First event of a file; enough to find the process again and to know that it is the same one.
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
        /// The path of its status socket, if it has one.
        status: Option<String>,
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
        /// The name of the log: its first epoch, owner's incarnation included.
        log_id: String,
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
        /// Who.
        peer: PeerId,
        /// Its epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
    },
    /// This peer follows a leader from now on.
    Follows {
        /// Whom.
        leader: PeerId,
        /// In which epoch.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
    },
    /// This peer led and does not any more.
    StepDown {
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
        /// Digest of the payload, hex.
        digest: String,
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
        /// Digest of the payload, hex.
        digest: String,
        /// The payload, escaped; only in the sentence, not in the event.
        #[serde(skip)]
        text: String,
    },
    /// An entry was not handed over, because this peer's sinks have had that reading.
    DupSuppressed {
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
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
        /// Why.
        why: String,
    },
    /// This peer goes on from a snapshot.
    StateTransfer {
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
    /// Something rare happened that a sweep wants to have seen.
    Sometimes {
        /// What.
        mark: String,
    },
    /// This peer will accept nothing below this epoch any more, except through a cut.
    Promised {
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
        /// The name of the log.
        log_id: String,
    },
    /// Everyone in the view has everything up to here.
    Stable {
        /// The epoch it was learnt in.
        #[serde(flatten, with = "epoch_fields")]
        epoch: Epoch,
        /// The position.
        seq: Seq,
    },
    /// What this peer handed over at these positions is not what the log says there any more.
    Diverged {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// This peer's group has become part of another one.
    Merged {
        /// The leader of the other.
        into: PeerId,
        /// The first position that only the old group has.
        from: Seq,
        /// The last one.
        to: Seq,
    },
    /// An origin has declared readings of its own lost.
    Lost {
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
        /// By how many entries.
        behind: u64,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("its connection is gone and a new one is refused"),
            Self::Replaced { incarnation } => write!(f, "incarnation {incarnation} speaks in its place"),
            Self::Silence { last_round_trip_ms, beats_missed, connected, own_lag_ms } => write!(
                f,
                "no round trip since {last_round_trip_ms} ms ({beats_missed} heartbeats unanswered, {}; own loop at most {own_lag_ms} ms late)",
                if *connected { "still connected" } else { "not connected" }
            ),
            Self::OwnWord { verb } => write!(f, "it said {verb}"),
            Self::NoAnswer { waited_ms } => write!(f, "asked, and silent for {waited_ms} ms"),
            Self::Slow { behind } => write!(f, "{behind} entries behind for too long"),
        }
    }
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
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "larger than payload_max",
            Self::WindowFull => "the window is full: too many readings wait to be ordered",
            Self::Leaving => "this peer is leaving",
        })
    }
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
    pub fn delivered(reading: &Reading) -> Self {
        Self::Deliver {
            epoch: reading.epoch.clone(),
            seq: reading.seq,
            view_id: reading.view_id,
            origin: reading.origin.id.clone(),
            origin_inc: reading.origin.inc,
            oseq: reading.oseq,
            digest: hex_digest(&reading.payload),
            text: escape(&reading.payload),
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
            | Self::Refused { .. } => Level::Warn,
            Self::Send { .. }
            | Self::Recv { .. }
            | Self::Publish { .. }
            | Self::Promised { .. }
            | Self::Cut { .. }
            | Self::Stable { .. }
            | Self::Persist { .. }
            | Self::Sometimes { .. }
            | Self::DupSuppressed { .. }
            | Self::PeerAdded { .. }
            | Self::PeerRemoved { .. }
            | Self::StaleEpoch { .. } => Level::Debug,
            Self::Start { .. }
            | Self::Ready
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
            | Self::StateTransfer { .. }
            | Self::Merged { .. }
            | Self::Leave
            | Self::Status(_) => Level::Info,
        }
    }
}

impl Note {
    /// The lines of the human log, told by the peer `me`; empty where the fact is for the event log only.
    #[must_use]
    pub fn sentence(&self, me: &PeerId) -> String {
        let mut text = String::new();
        self.tell(me, &mut text).expect("writing to a String cannot fail");
        text
    }

    fn tell(&self, me: &PeerId, f: &mut String) -> fmt::Result {
        match self {
            Self::Start { pid, address, build, .. } => write!(f, "Peer {me} starts at {address} (pid {pid}, build {build})."),
            Self::Ready => write!(f, "Peer {me} is ready and looks for a group."),
            Self::Stop { reason } => write!(f, "Peer {me} stops: {reason}"),
            Self::Panic { message } => write!(f, "Bug: {}", escape(message.as_bytes())),
            Self::Send { m, to, kind } => write!(f, "send {m} to {to}: {kind}"),
            Self::Recv { m, kind } => write!(f, "recv {m}: {kind}"),
            Self::Reject { from, why, count } => {
                let from = from.as_ref().map_or("somebody", PeerId::as_str);
                write!(f, "Rejected from {from}: {} ({count} so far)", escape(why.as_bytes()))
            }
            Self::Suspect { peer, evidence, .. } => write!(f, "Peer {me} suspects {peer}: {evidence}."),
            Self::PeerAdded { peer, .. } => write!(f, "Peer {peer} is in the group."),
            Self::PeerRemoved { peer, .. } => write!(f, "Peer {peer} is not in the group any more."),
            Self::Failed { peer, silent, ordered, .. } => {
                if *silent {
                    writeln!(f, "Peer {peer} timed out! No heartbeat round trip completed in time.")?;
                }
                write!(f, "Peer {peer} failed, updated group: {{{}}}, ordered: [{}]", Names(ordered), Names(ordered))
            }
            Self::Left { peer, ordered, .. } => {
                write!(f, "Peer {peer} left, updated group: {{{}}}, ordered: [{}]", Names(ordered), Names(ordered))
            }
            Self::View { view_id, epoch, seq, leader, members, .. } => {
                write!(f, "Updated group view: {view_id} in epoch {epoch} at #{seq}, leader {leader}, ordered: [{}]", Names(members))
            }
            Self::ElectionStarted { cause, higher, .. } => {
                match cause {
                    Cause::Connection => f.push_str("Leader failure detected, initiating bully election.\n"),
                    Cause::Silence => f.push_str("Leader heartbeat timeout, starting bully election\n"),
                    Cause::FirstView | Cause::OwnWord | Cause::Handover | Cause::Witnessed | Cause::SteppedDown | Cause::Again => {}
                }
                write!(f, "Bully election from {me}. Higher peers: [{}]", Names(higher))
            }
            Self::ElectionOk { .. } => write!(f, "Received OK from higher peer, waiting for COORDINATOR."),
            Self::Vetoed { by, leader } => write!(f, "Election vetoed: {by} knows {leader} to lead."),
            Self::Claim { alone: true, .. } => write!(f, "No response received. Assuming role of Group Leader."),
            Self::Claim { .. } => write!(f, "No OK received. {me} becomes leader."),
            Self::LeaderElected { peer, renewed: false, .. } => write!(f, "Peer {peer} became the Group Leader via election."),
            Self::LeaderElected { peer, epoch, .. } => write!(f, "Peer {peer} goes on leading, in epoch {epoch}."),
            Self::Coordinator { peer, .. } => write!(f, "Received COORDINATOR announcement: {peer}"),
            Self::Follows { leader, .. } => write!(f, "Peer {me} acknowledges new leader {leader}."),
            Self::StepDown { epoch, why } => write!(f, "Peer {me} steps down as leader of epoch {epoch}: {why}."),
            Self::Publish { oseq, digest } => write!(f, "publish {oseq} {digest}"),
            Self::Refused { why, count } => write!(f, "A reading was refused: {why} ({count} so far)."),
            Self::Deliver { seq, text, .. } => write!(f, "Delivered #{seq}: {text}"),
            Self::DupSuppressed { seq, origin, oseq, .. } => write!(f, "#{seq} repeats reading {oseq} of {origin}; not handed over again."),
            Self::Gap { from, to, why } => write!(f, "Gap: #{from} to #{to} will not be delivered here ({why})."),
            Self::StateTransfer { at, resume, .. } => write!(f, "Took a snapshot at #{at}; deliveries go on after #{resume}."),
            Self::StaleEpoch { from, epoch, kind } => {
                write!(f, "Turned away {kind} of epoch {epoch} from {from}: a later one is promised.")
            }
            Self::Persist { incarnation } => write!(f, "stored incarnation {incarnation}"),
            Self::Sometimes { mark } => write!(f, "sometimes: {mark}"),
            Self::Promised { epoch, to } => write!(f, "Promised epoch {epoch} to {to}."),
            Self::Cut { epoch, seq, .. } => write!(f, "The log goes on in epoch {epoch} after #{seq}."),
            Self::Stable { seq, .. } => write!(f, "Stable up to #{seq}."),
            Self::Diverged { from, to } => write!(f, "Diverged: #{from} to #{to} were delivered here and are not in the group's log."),
            Self::Merged { into, from, to } if to < from => write!(f, "Merged into the group of {into}; nothing was ordered here alone."),
            Self::Merged { into, from, to } => write!(f, "Merged into the group of {into}; #{from} to #{to} were ordered here alone."),
            Self::Lost { seq, origin, from, to, .. } => {
                write!(f, "Lost #{seq}: readings {from} to {to} of {origin} are declared lost by their origin.")
            }
            Self::Leave => write!(f, "Peer {me} is leaving the group."),
            Self::Status(status) => write!(f, "{status}"),
        }
    }
}

/// A payload as text on one line: what is not printable ASCII or plain UTF-8 text is escaped.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Line and paragraph separators are no control characters, yet terminals and log tools break lines at them.
            if c == '\\' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    text
}

/// The digest of a payload as events carry it.
#[must_use]
pub fn hex_digest(payload: &[u8]) -> String {
    format!("{:016x}", digest(payload))
}

#[cfg(test)]
mod tests {
    use super::{Event, Note, escape};
    use crate::id::{Epoch, Incarnation, Member, PeerId, Seq, ViewId};
    use crate::time::Time;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    #[test]
    fn no_payload_forges_a_line() {
        assert_eq!(escape(b"a\nPeer p1 became the Group Leader\\"), "a\\nPeer p1 became the Group Leader\\\\");
        assert_eq!(escape(b"\xff\x00\xe2\x82\xac"), "\\xff\\u{0}\u{20ac}");
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
                log_id: "1.a.b".to_owned(),
            },
        };
        let line = serde_json::to_string(&event).expect("an event is JSON");
        assert!(
            line.starts_with(r#"{"v":1,"t":7,"p":"peer2","inc":9,"n":3,"ev":"view","view_id":7,"epoch":"3.a.b","epoch_inc":4,"seq":12"#),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<Event>(&line).expect("and back"), event);
    }

    #[test]
    fn the_sentences_of_the_seed_stay_word_for_word() {
        let me = id("peer1");
        let check = |note: Note, text: &str| assert_eq!(note.sentence(&me), text);
        let epoch = Epoch { round: 1, owner: Member { id: id("peer2"), inc: Incarnation(1) } };
        check(Note::Coordinator { peer: id("peer2"), epoch: epoch.clone() }, "Received COORDINATOR announcement: peer2");
        check(Note::Follows { leader: id("peer2"), epoch: epoch.clone() }, "Peer peer1 acknowledges new leader peer2.");
        check(
            Note::LeaderElected { peer: me.clone(), epoch: epoch.clone(), size: 2, renewed: false },
            "Peer peer1 became the Group Leader via election.",
        );
        check(Note::Claim { epoch: epoch.clone(), asked: 1, alone: false }, "No OK received. peer1 becomes leader.");
        check(Note::Claim { epoch, asked: 0, alone: true }, "No response received. Assuming role of Group Leader.");
        check(Note::ElectionOk { from: id("peer2") }, "Received OK from higher peer, waiting for COORDINATOR.");
        check(
            Note::ElectionStarted { cause: super::Cause::Connection, higher: vec![id("peer2")], missed: None },
            "Leader failure detected, initiating bully election.\nBully election from peer1. Higher peers: [peer2]",
        );
        check(
            Note::ElectionStarted { cause: super::Cause::Silence, higher: vec![], missed: None },
            "Leader heartbeat timeout, starting bully election\nBully election from peer1. Higher peers: []",
        );
        let failed = Note::Failed { peer: id("peer3"), peer_inc: Incarnation(1), silent: true, ordered: vec![id("peer1"), id("peer2")] };
        let text = failed.sentence(&me);
        assert!(text.starts_with("Peer peer3 timed out! "), "{text}");
        assert!(text.contains("\nPeer peer3 failed, updated group: {peer1, peer2}, ordered: [peer1, peer2]"), "{text}");
    }
}
