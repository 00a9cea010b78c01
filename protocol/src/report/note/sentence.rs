//! The sentences of the human log: those of the seed word for word, and a few of our own in the
//! same voice.
//!
//! People read them, `chaos` and scenarios match them; the typed form of the same fact is in the
//! parent module.

use std::fmt::{self, Write as _};

use super::{Cause, Evidence, Note, Refusal, escape, printable};
use crate::id::{PeerId, Seq};
use crate::log::view::Names;

impl Note {
    /// The lines of the human log, told by the peer `me`; empty where the fact is for the event log
    /// only.
    #[must_use]
    pub fn sentence(&self, me: &PeerId) -> String {
        let mut text = String::new();
        self.tell(me, &mut text).expect("writing to a String cannot fail");
        text
    }

    fn tell(&self, me: &PeerId, f: &mut String) -> fmt::Result {
        match self {
            Self::Start { pid, address, build, .. } => {
                let (address, build) = (one_line(address), one_line(build));
                write!(f, "Peer {me} starts at {address} (pid {pid}, build {build}).")
            }
            Self::Moved { address, was } => {
                write!(f, "Peer {me} is at {} now. It was at {}.", one_line(address), one_line(was))
            }
            Self::Unreachable { peer, address, for_ms, why } => {
                let (address, why) = (one_line(address), one_line(why));
                write!(
                    f,
                    "Peer {peer} at {address} is heard by UDP, but for {} s it {why}.",
                    for_ms.div_ceil(1_000)
                )
            }
            Self::Ready => write!(f, "Peer {me} is ready and looks for a group."),
            Self::Stop { reason } => write!(f, "Peer {me} stops: {}", one_line(reason)),
            Self::Panic { message } => write!(f, "Bug: {}", escape(message.as_bytes())),
            Self::Send { m, to, kind } => {
                write!(f, "send {} to {}: {}", one_line(m), one_line(to), one_line(kind))
            }
            Self::Recv { m, kind } => write!(f, "recv {}: {}", one_line(m), one_line(kind)),
            Self::Reject { from, why, count } => {
                let from = from.as_ref().map_or("somebody", PeerId::as_str);
                write!(f, "Rejected from {from}: {} ({count} so far)", escape(why.as_bytes()))
            }
            Self::Unanswered { peer, waited_ms, count, .. } => {
                write!(
                    f,
                    "No answer from {peer} for {waited_ms} ms: dialling it anew, beside the \
                     connection that stands ({count} so far)."
                )
            }
            Self::Suspect { peer, evidence, .. } => {
                write!(f, "Peer {me} suspects {peer}: {evidence}.")
            }
            Self::PeerAdded { peer, .. } => write!(f, "Peer {peer} is in the group."),
            Self::PeerRemoved { peer, .. } => {
                write!(f, "Peer {peer} is not in the group any more.")
            }
            Self::Failed { peer, silent, ordered, .. } => {
                if *silent {
                    writeln!(
                        f,
                        "Peer {peer} timed out! No heartbeat round trip completed in time."
                    )?;
                }
                write!(
                    f,
                    "Peer {peer} failed, updated group: {{{}}}, ordered: [{}]",
                    Names(ordered),
                    Names(ordered)
                )
            }
            Self::Left { peer, ordered, .. } => {
                write!(
                    f,
                    "Peer {peer} left, updated group: {{{}}}, ordered: [{}]",
                    Names(ordered),
                    Names(ordered)
                )
            }
            Self::View { view_id, epoch, seq, leader, members, .. } => {
                write!(
                    f,
                    "Updated group view: {view_id} in epoch {epoch} at #{seq}, leader {leader}, \
                     ordered: [{}]",
                    Names(members)
                )
            }
            Self::ElectionStarted { cause, higher, .. } => {
                match cause {
                    Cause::Connection => {
                        f.push_str("Leader failure detected, initiating bully election.\n")
                    }
                    Cause::Silence => {
                        f.push_str("Leader heartbeat timeout, starting bully election\n")
                    }
                    Cause::FirstView
                    | Cause::OwnWord
                    | Cause::Handover
                    | Cause::Witnessed
                    | Cause::SteppedDown
                    | Cause::Again => {}
                }
                write!(f, "Bully election from {me}. Higher peers: [{}]", Names(higher))
            }
            Self::ElectionOk { .. } => {
                write!(f, "Received OK from higher peer, waiting for COORDINATOR.")
            }
            Self::Vetoed { by, leader } => {
                write!(f, "Election vetoed: {by} knows {leader} to lead.")
            }
            Self::Claim { alone: true, .. } => {
                write!(f, "No response received. Assuming role of Group Leader.")
            }
            Self::Claim { .. } => write!(f, "No OK received. {me} becomes leader."),
            Self::LeaderElected { peer, renewed: false, .. } => {
                write!(f, "Peer {peer} became the Group Leader via election.")
            }
            Self::LeaderElected { peer, epoch, .. } => {
                write!(f, "Peer {peer} goes on leading, in epoch {epoch}.")
            }
            Self::Coordinator { peer, .. } => {
                write!(f, "Received COORDINATOR announcement: {peer}")
            }
            Self::Follows { leader, .. } => {
                write!(f, "Peer {me} acknowledges new leader {leader}.")
            }
            Self::StepDown { epoch, why, .. } => {
                write!(f, "Peer {me} steps down as leader of epoch {epoch}: {}.", one_line(why))
            }
            Self::Publish { oseq, digest, safe } => {
                write!(f, "publish {oseq} {digest}{}", if *safe { " safe" } else { "" })
            }
            Self::Acknowledged { oseq, seq, .. } => write!(f, "Reading {oseq} is safe at #{seq}."),
            Self::Blocked { why } => write!(f, "Blocked: {}", one_line(why)),
            Self::Refused { why, count } => {
                write!(f, "A reading was refused: {why} ({count} so far).")
            }
            Self::Deliver { seq, text, .. } => write!(f, "Delivered #{seq}: {text}"),
            Self::DupSuppressed { seq, origin, oseq, .. } => {
                write!(f, "#{seq} repeats reading {oseq} of {origin}; not handed over again.")
            }
            Self::Gap { from, to, why, .. } => {
                write!(f, "Gap: #{from} to #{to} will not be delivered here ({}).", one_line(why))
            }
            Self::StateTransfer { at, resume, .. } => {
                write!(f, "Took a snapshot at #{at}; deliveries go on after #{resume}.")
            }
            Self::StaleEpoch { from, epoch, kind, .. } => {
                let kind = one_line(kind);
                write!(
                    f,
                    "Turned away {kind} of epoch {epoch} from {from}: a later one is promised."
                )
            }
            Self::Persist { incarnation } => write!(f, "stored incarnation {incarnation}"),
            Self::LeftBehind { from, to } => {
                write!(
                    f,
                    "Readings {from} to {to} of {me} may be nowhere else: it stops before it knows \
                     that its group has them."
                )
            }
            Self::EventsLost { events } => {
                write!(f, "{events} events were dropped: the event file took none for too long.")
            }
            Self::Promised { epoch, to, .. } => write!(f, "Promised epoch {epoch} to {to}."),
            Self::Cut { epoch, seq, .. } => {
                write!(f, "The log goes on in epoch {epoch} after #{seq}.")
            }
            Self::Stable { seq, .. } => write!(f, "Stable up to #{seq}."),
            Self::Diverged { from, to, .. } => write!(
                f,
                "Diverged: #{from} to #{to} were delivered here and are not in the group's log."
            ),
            Self::Merged { into, from, to, new_from, new_to, .. } => {
                let range = |from: Seq, to: Seq| {
                    if to < from { "nothing".to_owned() } else { format!("#{from} to #{to}") }
                };
                let (here, there) = (range(*from, *to), range(*new_from, *new_to));
                write!(
                    f,
                    "Merged into the group of {into}; ordered here alone: {here}, there alone: \
                     {there}."
                )
            }
            Self::Lost { seq, origin, from, to, .. } => {
                write!(
                    f,
                    "Lost #{seq}: readings {from} to {to} of {origin} are declared lost by their \
                     origin."
                )
            }
            Self::Leave => write!(f, "Peer {me} is leaving the group."),
            Self::Status(status) => f.write_str(&printable(&status.to_string())),
        }
    }
}

/// Our own words, as long as the note was made here; read from a file of events, anybody's.
fn one_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("its connection is gone and a new one is refused"),
            Self::Replaced { incarnation } => {
                write!(f, "incarnation {incarnation} speaks in its place")
            }
            Self::Silence { last_round_trip_ms, beats_missed, connected, own_lag_ms } => write!(
                f,
                "no round trip since {last_round_trip_ms} ms ({beats_missed} heartbeats \
                 unanswered, {}; own loop at most {own_lag_ms} ms late)",
                if *connected { "still connected" } else { "not connected" }
            ),
            Self::OwnWord { verb } => write!(f, "it said {}", one_line(verb)),
            Self::NoAnswer { waited_ms } => write!(f, "asked, and silent for {waited_ms} ms"),
            Self::Slow { behind, acked, high, for_ms, .. } => {
                write!(
                    f,
                    "{behind} entries behind, at #{acked} of #{high}, and too far for {for_ms} ms"
                )
            }
            Self::Unacknowledged { acked, awaited, high, for_ms, .. } => {
                write!(
                    f,
                    "it has acknowledged nothing for {for_ms} ms, at #{acked} of #{high}, and \
                     #{awaited} waits to be safe"
                )
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "larger than payload_max",
            Self::WindowFull => "the window is full: too many readings wait to be ordered",
            Self::Leaving => "this peer is leaving",
            Self::NoQuorum => {
                "this peer reaches no quorum of its group (mode primary), or its \
                               group has no room for it"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Note;
    use crate::id::{Epoch, Incarnation, Member, PeerId};
    use crate::log::log_id::LogId;
    use crate::report::note::Cause;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).expect("a valid name")
    }

    #[test]
    fn the_sentences_of_the_seed_stay_word_for_word() {
        let me = id("peer1");
        let log = LogId::none;
        let check = |note: Note, text: &str| assert_eq!(note.sentence(&me), text);
        let epoch = Epoch { round: 1, owner: Member { id: id("peer2"), inc: Incarnation(1) } };
        check(
            Note::Coordinator { log: log(), peer: id("peer2"), epoch: epoch.clone() },
            "Received COORDINATOR announcement: peer2",
        );
        check(
            Note::Follows { log: log(), leader: id("peer2"), epoch: epoch.clone() },
            "Peer peer1 acknowledges new leader peer2.",
        );
        check(
            Note::LeaderElected {
                log: log(),
                peer: me.clone(),
                epoch: epoch.clone(),
                size: 2,
                renewed: false,
            },
            "Peer peer1 became the Group Leader via election.",
        );
        check(
            Note::Claim { log: log(), epoch: epoch.clone(), asked: 1, alone: false },
            "No OK received. peer1 becomes leader.",
        );
        check(
            Note::Claim { log: log(), epoch, asked: 0, alone: true },
            "No response received. Assuming role of Group Leader.",
        );
        check(
            Note::ElectionOk { from: id("peer2") },
            "Received OK from higher peer, waiting for COORDINATOR.",
        );
        check(
            Note::ElectionStarted {
                cause: Cause::Connection,
                higher: vec![id("peer2")],
                missed: None,
            },
            "Leader failure detected, initiating bully election.\nBully election from peer1. \
             Higher peers: [peer2]",
        );
        check(
            Note::ElectionStarted { cause: Cause::Silence, higher: vec![], missed: None },
            "Leader heartbeat timeout, starting bully election\nBully election from peer1. Higher \
             peers: []",
        );
        let failed = Note::Failed {
            peer: id("peer3"),
            peer_inc: Incarnation(1),
            silent: true,
            ordered: vec![id("peer1"), id("peer2")],
        };
        let text = failed.sentence(&me);
        assert!(text.starts_with("Peer peer3 timed out! "), "{text}");
        assert!(
            text.contains(
                "\nPeer peer3 failed, updated group: {peer1, peer2}, ordered: [peer1, peer2]"
            ),
            "{text}"
        );
    }
}
