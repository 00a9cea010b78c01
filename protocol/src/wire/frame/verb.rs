//! The verbs: one row each, with its code, its name and the form of its body. A code is never used
//! again for another verb.

use crate::wire::message::Message;

macro_rules! verbs {
    ($($code:literal $verb:ident $message:pat => $name:literal, $form:literal;)*) => {
        /// What a frame says it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Verb {
            $($verb,)*
        }

        impl Verb {
            /// The verb of a message.
            pub(super) fn of(message: &Message) -> Self {
                match message {
                    $($message => Self::$verb,)*
                }
            }

            pub(super) fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$verb),)*
                    _ => None,
                }
            }

            pub(super) fn code(self) -> u8 {
                match self {
                    $(Self::$verb => $code,)*
                }
            }

            /// As [`Message::verb`] says it.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$verb => $name,)*
                }
            }

            /// What its body looks like.
            pub(super) fn form(self) -> &'static str {
                match self {
                    $(Self::$verb => $form,)*
                }
            }
        }
    };
}

verbs! {
    1 Hello Message::Hello(_) => "HELLO", "HELLO";
    2 NewPeerRequest Message::NewPeerRequest(_) => "NEW_PEER_REQUEST", "NEW_PEER_REQUEST:<peer_id>:<port>, as in the annex";
    3 Added Message::Added(_) => "ADDED TO NETWORK", "ADDED TO NETWORK:<next_seq>, as in the annex";
    4 Heartbeat Message::Heartbeat(_) => "HEARTBEAT", "HEARTBEAT";
    5 HeartbeatAck Message::HeartbeatAck(_) => "HEARTBEAT_ACK", "HEARTBEAT_ACK";
    6 Election Message::Election(_) => "ELECTION", "ELECTION:<peer_id>, as in the annex";
    7 Ok Message::Ok { .. } => "OK", "OK";
    8 Clear Message::Clear { .. } => "CLEAR", "CLEAR";
    9 Coordinator Message::Coordinator(_) => "COORDINATOR", "COORDINATOR:<peer_id>, as in the \
                                                             annex";
    10 ViewSyncRequest Message::ViewSyncRequest { .. } => "VIEW_SYNC_REQUEST", "VIEW_SYNC_REQUEST";
    11 SeqSyncRequest Message::SeqSyncRequest(_) => "SEQ_SYNC_REQUEST", "SEQ_SYNC_REQUEST";
    12 SeqSyncResponse Message::SeqSyncResponse(_) => "SEQ_SYNC_RESPONSE", "SEQ_SYNC_RESPONSE:<contiguous>, as in the annex";
    13 SeqSyncFinal Message::SeqSyncFinal(_) => "SEQ_SYNC_FINAL", "SEQ_SYNC_FINAL:<cut>, as in the \
        annex";
    14 SequencerRequest Message::SequencerRequest(_) => "SEQUENCER_REQUEST", "SEQUENCER_REQUEST:<payloads>";
    15 Ordered Message::Ordered(_) => "ORDERED", "ORDERED:<seq>:<payload>, or \
                                                  ORDERED:<first>-<last>:<payloads>, as in the \
                                                  annex";
    16 OrderedAck Message::OrderedAck { .. } => "ORDERED_ACK", "ORDERED_ACK:<seq>, as in the annex";
    17 MissingSeqRequest Message::MissingSeqRequest(_) => "MISSING_SEQ_REQUEST", "MISSING_SEQ_REQUEST:<a>-<b>, as in the annex";
    18 MissingSeqNotFound Message::MissingSeqNotFound(_) => "MISSING_SEQ_NOT_FOUND", "MISSING_SEQ_NOT_FOUND";
    19 Rejected Message::Rejected(_) => "REJECTED", "REJECTED:<reason>, as in the annex";
    20 Leave Message::Leave => "LEAVE", "LEAVE";
    21 Handover Message::Handover { .. } => "HANDOVER", "HANDOVER:<peer_id>, as in the annex";
    22 Query Message::Query { .. } => "QUERY", "QUERY";
    23 Answer Message::Answer { .. } => "ANSWER", "ANSWER";
}

#[cfg(test)]
mod tests {
    use super::Verb;

    #[test]
    fn codes_and_forms_belong_to_their_verbs() {
        for code in 0..=u8::MAX {
            let Some(verb) = Verb::from_code(code) else {
                assert!(code == 0 || code > 23, "code {code} got lost");
                continue;
            };
            assert_eq!(verb.code(), code);
            assert!(verb.form().starts_with(verb.name()), "{}", verb.form());
        }
    }
}
