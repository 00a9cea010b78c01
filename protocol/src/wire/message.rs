//! Everything that one node says to another. The wire form is in [`crate::wire::frame`]; `WIRE.md`
//! documents both.
//!
//! ```text
//! joining peer --NEW_PEER_REQUEST--> leader            leader --ADDED, ORDERED…--> joiner
//! member  --SEQUENCER_REQUEST--> leader --ORDERED--> all --ORDERED_ACK--> leader
//! leader  --HEARTBEAT--> member --HEARTBEAT_ACK--> leader
//! candidate --ELECTION--> all;  OK | CLEAR | COORDINATOR (a veto) come back
//! claimant --SEQ_SYNC_REQUEST--> all --SEQ_SYNC_RESPONSE--> claimant --COORDINATOR, SEQ_SYNC_FINAL--> all
//! anyone  --VIEW_SYNC_REQUEST--> supposed leader --COORDINATOR | REJECTED:NOT_LEADER--> asker
//! anyone  --MISSING_SEQ_REQUEST--> holder --ORDERED (repair) | MISSING_SEQ_NOT_FOUND--> asker
//! ```
//!
//! `Display` is for people, log lines and test scripts; it is never parsed.

use std::fmt;
use std::net::SocketAddrV4;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bounded::{self, MEMBERS_MOST, ROWS_MOST, VIEWS_MOST};
use crate::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq};
use crate::log::change::Change;
use crate::log::view::View;

pub use crate::log::entry::{Entry, Ordered, Request, Requests};
pub use crate::log::lineage::{EpochStart, LogEnd, Snapshot};

/// The wire version that this build speaks.
pub const WIRE_VERSION: u8 = 2;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// First frame of a TCP link, both ways; the acceptor answers the dialler's.
    Hello(Hello),
    /// "Let me in." From a joining peer, or from the leader of a smaller group to that of a larger
    /// one.
    NewPeerRequest(JoinRequest),
    /// "You are in; the log goes on from here." Followed by all entries above the snapshot.
    Added(Added),
    /// The leader is alive, and this is how far the log is.
    Heartbeat(Heartbeat),
    /// So is the member.
    HeartbeatAck(HeartbeatAck),
    /// "I miss the leader; do you?"
    Election(Election),
    /// "I outrank you, and also miss the leader."
    Ok {
        /// The question that this answers.
        ask: u64,
    },
    /// "I also miss the leader, and do not stand in your way": it does not outrank the asker, or
    /// has said `Ok` and cannot claim (mode `primary`).
    Clear {
        /// The question that this answers.
        ask: u64,
    },
    /// "This peer leads." An announcement or a beacon from the peer it names; hearsay from anybody
    /// else.
    Coordinator(Coordinator),
    /// "Do you lead?" The only probe.
    ViewSyncRequest {
        /// Echoed in the answer.
        ask: u64,
    },
    /// A claimant asks for a promise, and for where the log ends.
    SeqSyncRequest(SyncRequest),
    /// The promise, and where the log ends.
    SeqSyncResponse(SyncAnswer),
    /// The new leader's cut: where its epoch begins, and for whom.
    SeqSyncFinal(SyncFinal),
    /// Readings to be numbered: a run of one sender's, in order.
    SequencerRequest(Requests),
    /// Numbered entries: a run of consecutive ones.
    Ordered(Ordered),
    /// "I hold everything up to here."
    OrderedAck {
        /// Epoch of the holder's last lineage row; an ACK of another epoch counts for nothing.
        epoch: Epoch,
        /// The last contiguous position held.
        contiguous: Seq,
    },
    /// "Send me these entries."
    MissingSeqRequest(MissingRequest),
    /// "I do not have them any more", with a snapshot to go on from where there is one.
    MissingSeqNotFound(MissingAnswer),
    /// "No", and why.
    Rejected(Rejected),
    /// "I am leaving."
    Leave,
    /// To all members: "this one leads next", and it claims at once.
    Handover {
        /// Who is to lead.
        successor: PeerId,
        /// The epoch that is handed over.
        epoch: Epoch,
    },
    /// A member's program asks the leader's program something (see [`crate::report::query`]).
    Query {
        /// Echoed in the answer.
        ask: u64,
        /// Any bytes.
        question: Bytes,
    },
    /// The answer.
    Answer {
        /// The question that this answers.
        ask: u64,
        /// Any bytes.
        answer: Bytes,
    },
}

/// What each end of a link states once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// The digest of the cluster's name; other clusters are none of our business.
    pub cluster: u64,
    /// Who speaks.
    pub from: Contact,
    /// The dialler's number of this connection; the acceptor repeats it.
    #[serde(deserialize_with = "bounded::number")]
    pub link: u64,
    /// Where the speaker's log ends.
    pub end: LogEnd,
    /// The incarnation that the speaker's view knows of the other end, where it knows one.
    pub knows: Option<Incarnation>,
}

/// A request to be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinRequest {
    /// One per attempt; echoed in the answer.
    pub ask: u64,
    /// Who asks.
    pub from: Contact,
    /// The highest epoch that the asker promised.
    pub promised: Epoch,
    /// The last position that the asker holds and has handed over.
    pub contiguous: Seq,
    /// The asker's lineage, so that it is told what it lacks; none where it has no log. Of more
    /// than [`LINEAGE_SENT`] rows the first and the last, and one that names no epoch for those
    /// between.
    #[serde(deserialize_with = "bounded::list::<_, _, LINEAGE_SENT>")]
    pub lineage: Vec<EpochStart>,
    /// Set where the asker leads a group and asks to merge it.
    pub leading: Option<Leading>,
    /// Whether the asker has been in a view, in this life or, as far as it knows, in an earlier one
    /// (mode `primary`).
    pub has_history: bool,
    /// How many entries before its own view an asker without a log would like to have
    /// (`late_join`).
    #[serde(deserialize_with = "bounded::number")]
    pub recent: u64,
}

/// Rows of a lineage in a request to be admitted: it has to fit a datagram.
pub const LINEAGE_SENT: usize = 8;

/// What a leader says of its group when it asks to merge, or beacons.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leading {
    /// Its epoch.
    pub epoch: Epoch,
    /// How many are in its view.
    #[serde(deserialize_with = "bounded::number")]
    pub size: u64,
}

/// Admission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Added {
    /// The attempt that this answers.
    pub ask: u64,
    /// The leader's epoch.
    pub epoch: Epoch,
    /// Where to start; [`Snapshot::seq`] + 1 is the number in the body.
    pub snapshot: Snapshot,
    /// The position of the newest view entry; the joiner is in when it holds everything up to
    /// there.
    pub view_at: Seq,
}

/// From the leader, every interval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// Which beat.
    #[serde(deserialize_with = "bounded::number")]
    pub beat: u64,
    /// The last position numbered.
    pub high: Seq,
    /// Everything up to here is stable.
    pub stable: Seq,
    /// Everyone in the newest view holds everything up to here; nothing where one has not
    /// acknowledged anything yet.
    pub all_have: Option<Seq>,
    /// The last beat of which the leader has this member's ACK.
    #[serde(deserialize_with = "bounded::number_or_none")]
    pub echo: Option<u64>,
    /// The last of this member's own numbers that the leader has ordered.
    pub last_oseq: Oseq,
}

/// From a member, per heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatAck {
    /// Epoch of the member's last lineage row.
    pub epoch: Epoch,
    /// The beat that this acknowledges.
    #[serde(deserialize_with = "bounded::number")]
    pub beat: u64,
    /// The last contiguous position held, 0 while a log is being built.
    pub contiguous: Seq,
    /// How late the member's own loop ran at worst since the last beat, in microseconds.
    pub lag: u64,
}

/// "I miss the leader."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Election {
    /// Echoed in the answers.
    pub ask: u64,
    /// Who asks; its name is the body.
    pub candidate: Contact,
    /// Where its log ends.
    pub end: LogEnd,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Coordinator {
    /// The leader; its name is the body.
    pub leader: Contact,
    /// Its epoch, as far as the speaker knows.
    pub epoch: Epoch,
    /// The size of its view, as far as the speaker knows.
    #[serde(deserialize_with = "bounded::number")]
    pub size: u64,
    /// The question that this answers (an ELECTION, a VIEW_SYNC_REQUEST, a SEQ_SYNC_REQUEST or a
    /// NEW_PEER_REQUEST); nothing in an announcement and in a beacon.
    pub ask: Option<u64>,
    /// Whether the speaker's newest view names the peer that it speaks to.
    pub names_you: bool,
}

/// A claimant's question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The epoch claimed; the question is named by it.
    pub epoch: Epoch,
    /// Who claims.
    pub claimant: Contact,
    /// The newest view entry that the claimant holds; none in a claim on a first view.
    pub view: Option<View>,
}

/// The promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SyncAnswer {
    /// The epoch promised.
    pub epoch: Epoch,
    /// The last contiguous position held; also in the body.
    pub contiguous: Seq,
    /// The rows of the lineage; none where there is no log.
    #[serde(deserialize_with = "bounded::list::<_, _, ROWS_MOST>")]
    pub lineage: Vec<EpochStart>,
    /// The answerer's stable position.
    pub stable: Seq,
    /// The newest two view entries held and where they stand, newest first; a view that is not
    /// retained any more stands at the position below which nothing is.
    #[serde(deserialize_with = "bounded::list::<_, _, VIEWS_MOST>")]
    pub views: Vec<(Seq, View)>,
}

/// The cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SyncFinal {
    /// The new epoch.
    pub epoch: Epoch,
    /// The new leader.
    pub leader: Contact,
    /// The last position of the adopted log; also in the body. The new epoch begins above it.
    pub cut: Seq,
    /// The adopted lineage, without the new row.
    #[serde(deserialize_with = "bounded::list::<_, _, ROWS_MOST>")]
    pub lineage: Vec<EpochStart>,
    /// Those who answered in time, the new leader among them; nobody else may adopt this cut.
    #[serde(deserialize_with = "bounded::list::<_, _, MEMBERS_MOST>")]
    pub list: Vec<Member>,
}

/// A question for entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MissingRequest {
    /// Echoed in the answer.
    pub ask: u64,
    /// The epoch of the row that covers `to` in the log that asks.
    pub epoch: Epoch,
    /// The first position wanted, or 0 for all that is retained, after a snapshot of what comes
    /// before; also in the body.
    pub from: Seq,
    /// The last position wanted; also in the body.
    pub to: Seq,
}

/// "I do not have them."
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MissingAnswer {
    /// The question that this answers.
    pub ask: u64,
    /// Where to go on from instead.
    pub snapshot: Option<Snapshot>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejected {
    /// The question that this answers, where it had a number.
    pub ask: Option<u64>,
    /// Why.
    pub reason: Reason,
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Its epoch is below what the speaker promised.
    Stale {
        /// The promise.
        promised: Epoch,
    },
    /// The speaker does not lead.
    NotLeader,
    /// The speaker is in a view that does not name the sender.
    NotMember,
    /// Another living process has that name.
    DuplicateId {
        /// Where it listens.
        holder: SocketAddrV4,
    },
    /// A later incarnation of that name is known.
    OldIncarnation {
        /// The later one.
        known: Incarnation,
    },
    /// The speaker is in a minority and may not do this.
    NoQuorum,
    /// The speaker does not speak that wire version.
    Version {
        /// What it speaks.
        speaks: u8,
    },
    /// Not now; ask again. From a leader, without an ask: readings were not taken and are to be
    /// sent again.
    Busy,
}

impl Reason {
    /// The reason's name in the body.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "STALE",
            Self::NotLeader => "NOT_LEADER",
            Self::NotMember => "NOT_MEMBER",
            Self::DuplicateId { .. } => "DUPLICATE_ID",
            Self::OldIncarnation { .. } => "OLD_INCARNATION",
            Self::NoQuorum => "NO_QUORUM",
            Self::Version { .. } => "VERSION",
            Self::Busy => "BUSY",
        }
    }
}

/// A datagram: the facts that a link states once, and one message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// The digest of the cluster's name.
    pub cluster: u64,
    /// Who speaks.
    pub from: Contact,
    /// The speaker's own count of its datagrams.
    pub count: u64,
    /// What it says.
    pub message: Message,
}

impl Message {
    /// The verb: the message's name on the wire and in logs.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::NewPeerRequest(_) => "NEW_PEER_REQUEST",
            Self::Added(_) => "ADDED TO NETWORK",
            Self::Heartbeat(_) => "HEARTBEAT",
            Self::HeartbeatAck(_) => "HEARTBEAT_ACK",
            Self::Election(_) => "ELECTION",
            Self::Ok { .. } => "OK",
            Self::Clear { .. } => "CLEAR",
            Self::Coordinator(_) => "COORDINATOR",
            Self::ViewSyncRequest { .. } => "VIEW_SYNC_REQUEST",
            Self::SeqSyncRequest(_) => "SEQ_SYNC_REQUEST",
            Self::SeqSyncResponse(_) => "SEQ_SYNC_RESPONSE",
            Self::SeqSyncFinal(_) => "SEQ_SYNC_FINAL",
            Self::SequencerRequest(_) => "SEQUENCER_REQUEST",
            Self::Ordered(_) => "ORDERED",
            Self::OrderedAck { .. } => "ORDERED_ACK",
            Self::MissingSeqRequest(_) => "MISSING_SEQ_REQUEST",
            Self::MissingSeqNotFound(_) => "MISSING_SEQ_NOT_FOUND",
            Self::Rejected(_) => "REJECTED",
            Self::Leave => "LEAVE",
            Self::Handover { .. } => "HANDOVER",
            Self::Query { .. } => "QUERY",
            Self::Answer { .. } => "ANSWER",
        }
    }

    /// Whether it is bulk: everything else goes before it on a link. Last words keep their place:
    /// `LEAVE` behind the leaver's readings, `HANDOVER` behind the entries that it hands over.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        matches!(
            self,
            Self::SequencerRequest(_)
                | Self::Ordered(_)
                | Self::OrderedAck { .. }
                | Self::Leave
                | Self::Handover { .. }
        )
    }

    /// Whether the event log only counts it, because it comes all the time.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::SequencerRequest(_)
                | Self::Ordered(_)
                | Self::OrderedAck { .. }
                | Self::Heartbeat(_)
                | Self::HeartbeatAck(_)
        )
    }

    /// The epoch it names, where it names one.
    #[must_use]
    pub fn epoch(&self) -> Option<&Epoch> {
        match self {
            Self::Added(Added { epoch, .. })
            | Self::Heartbeat(Heartbeat { epoch, .. })
            | Self::HeartbeatAck(HeartbeatAck { epoch, .. })
            | Self::Coordinator(Coordinator { epoch, .. })
            | Self::SeqSyncRequest(SyncRequest { epoch, .. })
            | Self::SeqSyncResponse(SyncAnswer { epoch, .. })
            | Self::SeqSyncFinal(SyncFinal { epoch, .. })
            | Self::Ordered(Ordered { epoch, .. })
            | Self::OrderedAck { epoch, .. }
            | Self::Handover { epoch, .. } => Some(epoch),
            Self::Hello(_)
            | Self::NewPeerRequest(_)
            | Self::Election(_)
            | Self::Ok { .. }
            | Self::Clear { .. }
            | Self::ViewSyncRequest { .. }
            | Self::SequencerRequest(_)
            | Self::MissingSeqRequest(_)
            | Self::MissingSeqNotFound(_)
            | Self::Rejected(_)
            | Self::Leave
            | Self::Query { .. }
            | Self::Answer { .. } => None,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb();
        match self {
            Self::Hello(hello) => write!(
                f,
                "{verb} {} at {} {}",
                hello.from.member, hello.end.epoch, hello.end.contiguous
            ),
            Self::NewPeerRequest(join) => {
                write!(f, "{verb}:{}:{}", join.from.id(), join.from.address.port())?;
                match &join.leading {
                    Some(leading) => {
                        write!(f, " (leads {} of epoch {})", leading.size, leading.epoch)
                    }
                    None => Ok(()),
                }
            }
            Self::Added(added) => {
                write!(f, "{verb}:{} in {}", added.snapshot.seq.next(), added.epoch)
            }
            Self::Heartbeat(beat) => write!(
                f,
                "{verb} {} of {} high {} stable {}",
                beat.beat, beat.epoch, beat.high, beat.stable
            ),
            Self::HeartbeatAck(ack) => {
                write!(f, "{verb} {} of {} has {}", ack.beat, ack.epoch, ack.contiguous)
            }
            Self::Election(election) => write!(f, "{verb}:{}", election.candidate.id()),
            Self::Ok { .. }
            | Self::Clear { .. }
            | Self::ViewSyncRequest { .. }
            | Self::Leave
            | Self::Query { .. }
            | Self::Answer { .. } => f.write_str(verb),
            Self::Coordinator(word) => write!(f, "{verb}:{} in {}", word.leader.id(), word.epoch),
            Self::SeqSyncRequest(request) => write!(f, "{verb} for {}", request.epoch),
            Self::SeqSyncResponse(answer) => {
                write!(f, "{verb}:{} for {}", answer.contiguous, answer.epoch)
            }
            Self::SeqSyncFinal(last) => {
                write!(f, "{verb}:{} in {} for", last.cut, last.epoch)?;
                last.list.iter().try_for_each(|member| write!(f, " {}", member.id))
            }
            Self::SequencerRequest(requests) if requests.last() == requests.first => {
                write!(f, "{verb} {}", requests.first)
            }
            Self::SequencerRequest(requests) => {
                write!(f, "{verb} {}-{}", requests.first, requests.last())
            }
            Self::Ordered(ordered) => {
                write!(f, "{verb}:{}", ordered.first)?;
                if ordered.positions() > 1 {
                    write!(f, "-{}", ordered.first.plus(ordered.positions()).previous())?;
                }
                write!(f, " in {}", ordered.epoch)?;
                for entry in &ordered.run {
                    match entry {
                        Entry::View(View { view_id, .. })
                        | Entry::Change(Change { view_id, .. }) => {
                            write!(f, " VIEW_CHANGE {view_id}")?
                        }
                        Entry::Readings { .. } | Entry::Lost { .. } => {}
                    }
                }
                if ordered.repair.is_some() { f.write_str(" (repair)") } else { Ok(()) }
            }
            Self::OrderedAck { epoch, contiguous } => write!(f, "{verb}:{contiguous} in {epoch}"),
            Self::MissingSeqRequest(missing) => {
                write!(f, "{verb}:{}-{} of {}", missing.from, missing.to, missing.epoch)
            }
            Self::MissingSeqNotFound(missing) => match &missing.snapshot {
                Some(snapshot) => write!(f, "{verb}, snapshot at {}", snapshot.seq),
                None => f.write_str(verb),
            },
            Self::Rejected(no) => match &no.reason {
                Reason::Stale { promised } => write!(f, "{verb}:STALE({promised})"),
                Reason::DuplicateId { holder } => write!(f, "{verb}:DUPLICATE_ID({holder})"),
                Reason::OldIncarnation { known } => write!(f, "{verb}:OLD_INCARNATION({known})"),
                Reason::Version { speaks } => write!(f, "{verb}:VERSION({speaks})"),
                reason @ (Reason::NotLeader
                | Reason::NotMember
                | Reason::NoQuorum
                | Reason::Busy) => write!(f, "{verb}:{}", reason.name()),
            },
            Self::Handover { successor, .. } => write!(f, "{verb}:{successor}"),
        }
    }
}
