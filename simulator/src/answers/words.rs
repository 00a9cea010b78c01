//! Every message that another peer could send to a node at this moment, each with a name, built
//! from what the node and the speaker know of each other.

use bytes::Bytes;
use protocol::config::Guarantee;
use protocol::dedup::Dedup;
use protocol::id::{Contact, Epoch, Incarnation, Member, Oseq, Seq, ViewId};
use protocol::message::{
    Added, Coordinator, Election, Entry, EpochStart, Heartbeat, HeartbeatAck, JoinRequest, Leading,
    LogEnd, Message, MissingAnswer, MissingRequest, Ordered, Reason, Rejected, Request, Requests,
    Snapshot, SyncAnswer, SyncFinal, SyncRequest,
};
use protocol::readings::Readings;
use protocol::view::View;

use super::Asked;

impl Asked<'_> {
    /// All messages, each with a name.
    pub(super) fn words(&self) -> Vec<(String, Message)> {
        let facts = Facts::of(self);
        let mut words = Vec::new();
        facts.say_beats(&mut words);
        facts.say_questions(&mut words);
        facts.say_claims(&mut words);
        facts.say_histories(&mut words);
        facts.say_finals(&mut words);
        facts.say_entries(&mut words);
        facts.say_wishes(&mut words);
        facts.say_holes(&mut words);
        facts.say_refusals(&mut words);
        facts.say_joins(&mut words);
        words
    }
}

/// The values that messages are built from.
struct Facts {
    me: Contact,
    speaker: Contact,
    third: Contact,
    /// Named epochs: before, of and after the node's log, and the one it has promised.
    epochs: Vec<(&'static str, Epoch)>,
    /// Request numbers to answer.
    asks: Vec<(&'static str, Option<u64>)>,
    own: Epoch,
    log_id: Epoch,
    end: Seq,
    stable: Seq,
    view: Option<View>,
    /// The last number of the speaker's readings in the node's log, and of the node's own.
    speaker_oseq: Oseq,
    own_oseq: Oseq,
    beat: u64,
}

type Words = Vec<(String, Message)>;

impl Facts {
    fn of(asked: &Asked<'_>) -> Self {
        let Asked { node, speaker, third, said, .. } = asked;
        let (own, promised, status) = (node.epoch(), node.promised().clone(), node.status());
        let lower = Epoch { round: own.round.saturating_sub(1), owner: speaker.member.clone() };
        let higher = own.clone().max(promised.clone()).next(speaker.member.clone());
        let mut epochs = vec![("old", lower), ("own", own.clone())];
        if promised != own {
            epochs.push(("promised", promised.clone()));
        }
        epochs.push(("new", higher));
        let view = node
            .entries()
            .filter_map(
                |(_, _, entry)| {
                    if let Entry::View(view) = entry { Some(view.clone()) } else { None }
                },
            )
            .last();
        let last_of = |member: &Member| {
            let number = |entry: &Entry| match entry {
                Entry::Readings { origin, first, .. } if origin == member => Some(*first),
                Entry::Readings { .. } | Entry::View(_) | Entry::Change(_) | Entry::Lost { .. } => {
                    None
                }
            };
            node.entries().filter_map(|(_, _, entry)| number(&entry)).max().unwrap_or_default()
        };
        Self {
            me: node.contact().clone(),
            speaker: (*speaker).clone(),
            third: (*third).clone(),
            asks: vec![
                ("unasked", None),
                ("asked", Some(said.ask)),
                ("claimed", Some(promised.round)),
                ("mistaken", Some(1 << 63 | 7)),
            ],
            epochs,
            own,
            log_id: node.log_id(),
            end: status.contiguous,
            stable: status.stable,
            view,
            speaker_oseq: last_of(&speaker.member),
            own_oseq: last_of(&node.contact().member),
            beat: said.beat,
        }
    }

    /// All messages with an epoch.
    fn in_epochs(&self, words: &mut Words, what: &str, message: impl Fn(&Epoch) -> Message) {
        words.extend(
            self.epochs.iter().map(|(name, epoch)| (format!("{what}{name}"), message(epoch))),
        );
    }

    /// All messages that answer a request.
    fn as_answers(&self, words: &mut Words, what: &str, message: impl Fn(Option<u64>) -> Message) {
        words.extend(self.asks.iter().map(|(name, ask)| (format!("{what}{name}"), message(*ask))));
    }

    fn say_beats(&self, words: &mut Words) {
        let beat = |epoch: &Epoch, high: Seq, stable: Seq, all_have| {
            let (epoch, echo, last_oseq) = (epoch.clone(), Some(1), self.own_oseq);
            Message::Heartbeat(Heartbeat {
                epoch,
                beat: 1_000,
                high,
                stable,
                all_have,
                echo,
                last_oseq,
            })
        };
        self.in_epochs(words, "", |epoch| beat(epoch, self.end, self.stable, None));
        words.push((
            "two ahead".to_owned(),
            beat(&self.own, self.end.plus(2), self.end.plus(1), Some(self.end)),
        ));
        let ack = |epoch: &Epoch, beat, contiguous| {
            Message::HeartbeatAck(HeartbeatAck { epoch: epoch.clone(), beat, contiguous, lag: 0 })
        };
        self.in_epochs(words, "", |epoch| ack(epoch, self.beat, self.end));
        words.push(("of no beat".to_owned(), ack(&self.own, self.beat + 1, self.end)));
        words.push(("without a log".to_owned(), ack(&self.own, self.beat, Seq::ZERO)));
        self.in_epochs(words, "", |epoch| Message::OrderedAck {
            epoch: epoch.clone(),
            contiguous: self.end,
        });
        let beyond = Message::OrderedAck { epoch: self.own.clone(), contiguous: self.end.plus(1) };
        words.push(("of more than there is".to_owned(), beyond));
    }

    fn say_questions(&self, words: &mut Words) {
        let election = |candidate: &Contact, epoch: &Epoch, contiguous, log_id: &Epoch| {
            let end = LogEnd { epoch: epoch.clone(), contiguous, log_id: log_id.clone() };
            Message::Election(Election { ask: 1 << 63 | 1, candidate: candidate.clone(), end })
        };
        let none = Epoch::none();
        words.push((
            "for a first view".to_owned(),
            election(&self.speaker, &none, Seq::ZERO, &none),
        ));
        words.push((
            "for a third".to_owned(),
            election(&self.third, &self.own, self.end, &self.log_id),
        ));
        self.in_epochs(words, "", |epoch| election(&self.speaker, epoch, self.end, &self.log_id));
        words.push((
            "own, ahead".to_owned(),
            election(&self.speaker, &self.own, self.end.plus(1), &self.log_id),
        ));
        self.as_answers(words, "", |ask| Message::Ok { ask: ask.unwrap_or_default() });
        self.as_answers(words, "", |ask| Message::Clear { ask: ask.unwrap_or_default() });
        words.push(("of now".to_owned(), Message::ViewSyncRequest { ask: 1 << 63 | 1 }));
        for (who, leader) in
            [("of itself", &self.speaker), ("of you", &self.me), ("of a third", &self.third)]
        {
            for (name, epoch) in &self.epochs {
                for (how, ask) in &self.asks {
                    for (names, names_you, size) in [("", true, 1), (" unnamed", false, 9)] {
                        let word = Coordinator {
                            leader: leader.clone(),
                            epoch: epoch.clone(),
                            size,
                            ask: *ask,
                            names_you,
                        };
                        words.push((
                            format!("{who} {name} {how}{names}"),
                            Message::Coordinator(word),
                        ));
                    }
                }
            }
        }
    }

    fn say_claims(&self, words: &mut Words) {
        let request = |claimant: &Contact, epoch: &Epoch, view: Option<View>| {
            Message::SeqSyncRequest(SyncRequest {
                epoch: epoch.clone(),
                claimant: claimant.clone(),
                view,
            })
        };
        let owned =
            |epoch: &Epoch| Epoch { round: epoch.round, owner: self.speaker.member.clone() };
        self.in_epochs(words, "with its view ", |epoch| {
            request(&self.speaker, &owned(epoch), self.view.clone())
        });
        self.in_epochs(words, "for a first view ", |epoch| {
            request(&self.speaker, &owned(epoch), None)
        });
        let newest = &self.epochs[self.epochs.len() - 1].1;
        let other = Epoch { owner: self.third.member.clone(), ..newest.clone() };
        words.push(("for a third".to_owned(), request(&self.third, newest, self.view.clone())));
        words.push((
            "for an epoch of a third".to_owned(),
            request(&self.speaker, &other, self.view.clone()),
        ));
        for (who, member) in [("with you", Some(&self.me)), ("without you", None)] {
            let members = [Some(&self.speaker), member].into_iter().flatten().cloned().collect();
            let view_id = self.view.as_ref().map_or(ViewId::ZERO, |view| view.view_id).next();
            let view = View::new(view_id, self.own.clone(), self.speaker.id().clone(), members);
            words.push((
                format!("with the next view {who}"),
                request(&self.speaker, newest, Some(view)),
            ));
        }
    }

    /// The log summaries of peers that are asked to follow a claim.
    fn say_histories(&self, words: &mut Words) {
        let newest = &self.epochs[self.epochs.len() - 1].1;
        for (what, epoch, contiguous) in [
            ("as long", &self.own, self.end),
            ("longer", &self.own, self.end.plus(1)),
            ("empty", &Epoch::none(), Seq::ZERO),
            ("newer", newest, self.end),
        ] {
            self.in_epochs(words, &format!("{what} for "), |promised| {
                let views = self.view.iter().map(|view| (self.end, view.clone())).collect();
                let (epoch, lineage, stable) = (promised.clone(), lineage(epoch), self.stable);
                Message::SeqSyncResponse(SyncAnswer { epoch, contiguous, lineage, stable, views })
            });
        }
    }

    /// The ends of a claim or of a whole reign.
    fn say_finals(&self, words: &mut Words) {
        for (what, leader, list) in [
            ("with you", &self.speaker, vec![&self.speaker, &self.me]),
            ("without you", &self.speaker, vec![&self.speaker, &self.third]),
            ("for a third", &self.third, vec![&self.third, &self.me]),
        ] {
            self.in_epochs(words, &format!("{what} "), |epoch| {
                let list = list.iter().map(|contact| contact.member.clone()).collect();
                let (leader, lineage) = (leader.clone(), lineage(&self.log_id));
                Message::SeqSyncFinal(SyncFinal {
                    epoch: epoch.clone(),
                    leader,
                    cut: self.end,
                    lineage,
                    list,
                })
            });
        }
        for (who, successor) in
            [("itself", &self.speaker), ("you", &self.me), ("a third", &self.third)]
        {
            self.in_epochs(words, &format!("to {who} "), |epoch| Message::Handover {
                successor: successor.id().clone(),
                epoch: epoch.clone(),
            });
        }
    }

    fn say_entries(&self, words: &mut Words) {
        let data = |oseq: Oseq| {
            Entry::one(
                self.speaker.member.clone(),
                oseq,
                Guarantee::Agreed,
                Bytes::from_static(b"x"),
                0,
            )
        };
        for (what, first) in
            [("next", self.end.next()), ("last", self.end), ("next but one", self.end.plus(2))]
        {
            self.in_epochs(words, &format!("the {what} "), |epoch| {
                let (epoch, run) = (epoch.clone(), vec![data(self.speaker_oseq.next())]);
                Message::Ordered(Ordered { epoch, first, run, stable: self.stable, repair: None })
            });
        }
        let stable = Ordered {
            epoch: self.own.clone(),
            first: self.end.next(),
            run: vec![],
            stable: self.end,
            repair: None,
        };
        words.push(("nothing, all stable".to_owned(), Message::Ordered(stable)));
        for (what, first) in [("of the first", Seq(1)), ("of the next", self.end.next())] {
            self.as_answers(words, &format!("repair {what} "), |repair| {
                let (epoch, run) = (self.own.clone(), vec![data(self.speaker_oseq.next())]);
                Message::Ordered(Ordered { epoch, first, run, stable: self.stable, repair })
            });
        }
    }

    fn say_wishes(&self, words: &mut Words) {
        for (what, origin, first) in [
            ("the next", &self.speaker, self.speaker_oseq.next()),
            ("repeated", &self.speaker, self.speaker_oseq),
            ("with a hole", &self.speaker, self.speaker_oseq.plus(3)),
            ("of a third", &self.third, Oseq(1)),
        ] {
            let run = vec![Request::Readings {
                guarantee: Guarantee::Agreed,
                readings: Readings::one(Bytes::from_static(b"y"), 0),
            }];
            let requests = Requests { origin: origin.member.clone(), first, run };
            words.push((what.to_owned(), Message::SequencerRequest(requests)));
        }
    }

    /// Requests for missing entries, and the answers.
    fn say_holes(&self, words: &mut Words) {
        for (what, from, to) in
            [("all", Seq(1), self.end), ("the next", self.end.next(), self.end.next())]
        {
            self.in_epochs(words, &format!("{what} "), |epoch| {
                Message::MissingSeqRequest(MissingRequest {
                    ask: 1 << 63 | 1,
                    epoch: epoch.clone(),
                    from,
                    to,
                })
            });
        }
        let none = MissingRequest {
            ask: 1 << 63 | 1,
            epoch: self.own.clone(),
            from: Seq::ZERO,
            to: self.end,
        };
        words.push(("from nothing own".to_owned(), Message::MissingSeqRequest(none)));
        for (what, at) in [
            ("", None),
            ("with a snapshot at the next ", Some(self.end.next())),
            ("with a snapshot far ahead ", Some(self.end.plus(9))),
        ] {
            self.as_answers(words, what, |ask| {
                let rows = vec![EpochStart { epoch: self.log_id.clone(), first: Seq(1) }];
                let snapshot = at.map(|seq| Snapshot {
                    seq,
                    view: self.view.clone(),
                    table: Dedup::new(),
                    lineage: rows,
                });
                Message::MissingSeqNotFound(MissingAnswer {
                    ask: ask.unwrap_or_default(),
                    snapshot,
                })
            });
        }
    }

    fn say_refusals(&self, words: &mut Words) {
        let known = |inc: u64| Reason::OldIncarnation { known: Incarnation(inc) };
        let own = self.me.member.inc.0;
        let reasons = [
            ("NOT_LEADER", Reason::NotLeader),
            ("NOT_MEMBER", Reason::NotMember),
            ("DUPLICATE_ID", Reason::DuplicateId { holder: self.third.address }),
            ("OLD_INCARNATION of the present one", known(own)),
            ("OLD_INCARNATION of a later one", known(own + 1)),
            ("NO_QUORUM", Reason::NoQuorum),
            ("BUSY", Reason::Busy),
        ];
        for (name, reason) in reasons {
            self.as_answers(words, &format!("{name} "), |ask| {
                Message::Rejected(Rejected { ask, reason: reason.clone() })
            });
        }
        for (how, ask) in &self.asks {
            self.in_epochs(words, &format!("STALE {how} for "), |promised| {
                Message::Rejected(Rejected {
                    ask: *ask,
                    reason: Reason::Stale { promised: promised.clone() },
                })
            });
        }
        words.push(("of now".to_owned(), Message::Leave));
    }

    fn say_joins(&self, words: &mut Words) {
        let join = |promised: &Epoch, contiguous, lineage: Vec<EpochStart>, leading| {
            let (from, promised) = (self.speaker.clone(), promised.clone());
            let has_history = false;
            Message::NewPeerRequest(JoinRequest {
                ask: 1 << 63 | 1,
                from,
                promised,
                contiguous,
                lineage,
                leading,
                has_history,
                recent: 0,
            })
        };
        words.push(("of a newcomer".to_owned(), join(&Epoch::none(), Seq::ZERO, vec![], None)));
        let rows = vec![EpochStart { epoch: self.log_id.clone(), first: Seq(1) }];
        self.in_epochs(words, "with the promise ", |epoch| {
            join(epoch, self.end, rows.clone(), None)
        });
        for (what, size) in [("a smaller group", 1), ("a larger group", 9)] {
            self.in_epochs(words, &format!("of the leader of {what} "), |epoch| {
                join(epoch, self.end, vec![], Some(Leading { epoch: epoch.clone(), size }))
            });
        }
        for (how, ask) in &self.asks {
            self.in_epochs(words, &format!("{how} "), |epoch| {
                let (table, lineage, view) = (
                    Dedup::new(),
                    vec![EpochStart { epoch: epoch.clone(), first: Seq(1) }],
                    self.view.clone(),
                );
                let snapshot = Snapshot { seq: Seq::ZERO, view, table, lineage };
                Message::Added(Added {
                    ask: ask.unwrap_or_default(),
                    epoch: epoch.clone(),
                    snapshot,
                    view_at: Seq(1),
                })
            });
        }
    }
}

/// A history with a single epoch.
fn lineage(epoch: &Epoch) -> Vec<EpochStart> {
    if epoch.is_none() { vec![] } else { vec![EpochStart { epoch: epoch.clone(), first: Seq(1) }] }
}
