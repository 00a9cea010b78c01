//! The messages of a liar: any message of the protocol, with any numbers and names in it.
//!
//! The liar has heard the real messages, and recombines them: real names, epochs, request numbers
//! and views beside invented ones, and numbers that are right, nearly right, or at an end of their
//! range. It sends nothing that the wire would refuse: the totality of the decoder has a test of
//! its own. A lie is drawn from the seed and its place among all lies, so a seed replays it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use bytes::Bytes;
use protocol::change::Change;
use protocol::config::Guarantee;
use protocol::dedup::Dedup;
use protocol::draw::draw_below;
use protocol::frame;
use protocol::id::{
    Contact, Epoch, Incarnation, Member, NUMBER_MAX, Oseq, PeerId, ROUND_AHEAD_MAX, Seq,
    TAKEN_OVER_MAX, ViewId,
};
use protocol::message::{
    Added, Coordinator, Datagram, Election, Entry, EpochStart, Heartbeat, HeartbeatAck, Hello,
    JoinRequest, LogEnd, Message, MissingAnswer, MissingRequest, Ordered, Reason, Rejected,
    Request, Requests, Snapshot, SyncAnswer, SyncFinal, SyncRequest,
};
use protocol::readings::Readings;
use protocol::remarks::Remarks;
use protocol::view::View;

/// Recently heard values, and how often a message was sent.
#[derive(Debug, Default)]
pub(crate) struct Liar {
    seed: u64,
    told: u64,
    draws: u64,
    heard: VecDeque<Rc<Message>>,
    contacts: Vec<Contact>,
    epochs: VecDeque<Epoch>,
    asks: VecDeque<u64>,
    numbers: VecDeque<u64>,
    views: VecDeque<View>,
    lineages: VecDeque<Vec<EpochStart>>,
}

impl Liar {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// A peer appeared that lies may name.
    pub(crate) fn meet(&mut self, contact: &Contact) {
        if !self.contacts.contains(contact) {
            self.contacts.push(contact.clone());
            if self.contacts.len() > HEARD_MOST {
                self.contacts.remove(0);
            }
        }
    }

    /// A real message was sent.
    pub(crate) fn overhear(&mut self, message: &Rc<Message>) {
        match &**message {
            Message::NewPeerRequest(join) => self.note(&join.promised, join.ask, join.contiguous),
            Message::Added(added) => {
                self.note(&added.epoch, added.ask, added.view_at);
                keep(&mut self.lineages, added.snapshot.lineage.clone());
            }
            Message::Heartbeat(beat) => self.note(&beat.epoch, beat.beat, beat.high),
            Message::HeartbeatAck(ack) => self.note(&ack.epoch, ack.beat, ack.contiguous),
            Message::Election(election) => {
                self.note(&election.end.epoch, election.ask, election.end.contiguous)
            }
            Message::Coordinator(word) => {
                self.note(&word.epoch, word.ask.unwrap_or(word.size), Seq(word.size))
            }
            Message::ViewSyncRequest { ask } | Message::Ok { ask } | Message::Clear { ask } => {
                keep(&mut self.asks, *ask)
            }
            Message::SeqSyncRequest(request) => {
                self.note(&request.epoch, request.epoch.round, Seq::ZERO);
                request.view.iter().for_each(|view| keep(&mut self.views, view.clone()));
            }
            Message::SeqSyncResponse(answer) => {
                self.note(&answer.epoch, answer.epoch.round, answer.contiguous);
                keep(&mut self.lineages, answer.lineage.clone());
                answer.views.iter().for_each(|(_, view)| keep(&mut self.views, view.clone()));
            }
            Message::SeqSyncFinal(last) => {
                self.note(&last.epoch, last.epoch.round, last.cut);
                keep(&mut self.lineages, last.lineage.clone());
            }
            Message::Ordered(ordered) => {
                self.note(&ordered.epoch, ordered.repair.unwrap_or(0), ordered.first);
                for entry in &ordered.run {
                    if let Entry::View(view) = entry {
                        keep(&mut self.views, view.clone());
                    }
                }
            }
            Message::MissingSeqRequest(missing) => {
                self.note(&missing.epoch, missing.ask, missing.to)
            }
            Message::MissingSeqNotFound(answer) => keep(&mut self.asks, answer.ask),
            Message::OrderedAck { epoch, contiguous } => self.note(epoch, epoch.round, *contiguous),
            Message::Hello(_)
            | Message::SequencerRequest(_)
            | Message::Rejected(_)
            | Message::Leave
            | Message::Handover { .. }
            | Message::Query { .. }
            | Message::Answer { .. } => {}
        }
        keep(&mut self.heard, Rc::clone(message));
    }

    fn note(&mut self, epoch: &Epoch, ask: u64, number: Seq) {
        if !self.epochs.contains(epoch) {
            keep(&mut self.epochs, epoch.clone());
        }
        keep(&mut self.asks, ask);
        keep(&mut self.numbers, number.0);
    }

    /// The next lie, if the wire can carry it; `as_whom` is the pretended sender.
    pub(crate) fn lie(&mut self, as_whom: &Contact, strict: bool) -> Option<Message> {
        self.told += 1;
        let message =
            if !strict && self.one_in(6) { self.replay()? } else { self.word(as_whom, strict) };
        let mut bytes = Vec::new();
        frame::encode(&message, &mut bytes);
        frame::decode(&Bytes::from(bytes.split_off(PREFIX))).ok()
    }

    /// The next lie by datagram.
    pub(crate) fn call(&mut self, cluster: u64, strict: bool) -> Option<Datagram> {
        let from = self.contact();
        let message = self.lie(&from, strict)?;
        let datagram = Datagram { cluster, from, count: self.number(), message };
        frame::decode_datagram(&frame::encode_datagram(&datagram).into()).ok()
    }

    /// A number from 0 up to `bound`, exclusive.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        draw_below(self.seed, "lie", self.draws, bound)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// The name of a stranger: never that of an existing peer.
    pub(crate) fn stranger(&mut self) -> Contact {
        let number = self.below(4);
        let id = PeerId::new(&format!("stranger{number}")).expect("a valid name");
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), 9_000);
        Contact {
            member: Member { id, inc: Incarnation(1_767_225_600_000 + number) },
            birth: 99 + number,
            address,
            explicit: 0,
        }
    }

    /// The HELLO of a peer.
    pub(crate) fn hello(&mut self, cluster: u64, from: Contact) -> Message {
        let (link, end) = (self.number().min(NUMBER_MAX), self.end());
        let knows = self.one_in(4).then(|| Incarnation(self.number()));
        Message::Hello(Hello { cluster, from, link, end, knows })
    }

    fn replay(&mut self) -> Option<Message> {
        let place = self.place(self.heard.len())?;
        Some((*self.heard[place]).clone())
    }

    fn place(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| usize::try_from(self.below(length as u64)).expect("below a length"))
    }

    fn number(&mut self) -> u64 {
        let heard = match self.place(self.numbers.len()) {
            Some(place) => self.numbers[place],
            None => 1,
        };
        match self.below(14) {
            0 => 0,
            1 => 1,
            2 => heard + 1,
            3 => heard.saturating_sub(1),
            4 => heard + self.below(100),
            5 => heard + 1_000_000,
            6 => ROUND_AHEAD_MAX + heard,
            7 => NUMBER_MAX - self.below(3),
            8 => TAKEN_OVER_MAX - self.below(3),
            9 => TAKEN_OVER_MAX + 1,
            10 => self.below(20),
            _ => heard,
        }
    }

    fn ask(&mut self) -> u64 {
        match self.place(self.asks.len()) {
            Some(place) if !self.one_in(8) => self.asks[place],
            _ => self.number(),
        }
    }

    fn contact(&mut self) -> Contact {
        let mut contact = match self.place(self.contacts.len()) {
            Some(place) if !self.one_in(6) => self.contacts[place].clone(),
            _ => self.stranger(),
        };
        match self.below(10) {
            0 => contact.member.inc.0 += self.below(3),
            1 => contact.member.inc = Incarnation(self.number()),
            2 => contact.birth = self.below(4),
            3 => contact.address.set_port(9),
            4 => contact.explicit = i64::MAX,
            _ => {}
        }
        contact
    }

    fn member(&mut self) -> Member {
        self.contact().member
    }

    fn epoch(&mut self) -> Epoch {
        let mut epoch = match self.place(self.epochs.len()) {
            Some(place) => self.epochs[place].clone(),
            None => Epoch { round: 1, owner: self.member() },
        };
        match self.below(8) {
            0 => epoch.round += self.below(3),
            1 => epoch.round = self.number(),
            2 => epoch.owner = self.member(),
            3 => epoch = epoch.next(self.member()),
            4 => epoch = Epoch::none(),
            _ => {}
        }
        epoch
    }

    fn end(&mut self) -> LogEnd {
        LogEnd { epoch: self.epoch(), contiguous: Seq(self.number()), log_id: self.epoch() }
    }

    fn rows(&mut self, most: u64) -> Vec<EpochStart> {
        let mut rows = match self.place(self.lineages.len()) {
            Some(place) if !self.one_in(3) => self.lineages[place].clone(),
            _ => (0..self.below(most))
                .map(|_| EpochStart { epoch: self.epoch(), first: Seq(self.number()) })
                .collect(),
        };
        if let Some(place) = self.place(rows.len()).filter(|_| self.one_in(2)) {
            rows[place].first = Seq(self.number());
        }
        rows.truncate(usize::try_from(most).expect("a few"));
        rows
    }

    fn view(&mut self) -> View {
        let mut view = match self.place(self.views.len()) {
            Some(place) if !self.one_in(3) => self.views[place].clone(),
            _ => {
                let many = if self.one_in(20) { 300 } else { 6 };
                let mut members: Vec<Contact> =
                    (0..self.below(many)).map(|_| self.contact()).collect();
                if many > 6 {
                    for (n, contact) in members.iter_mut().enumerate() {
                        contact.member.id =
                            PeerId::new(&format!("crowd{n}")).expect("a valid name");
                    }
                }
                members.sort_by(|a, b| a.id().cmp(b.id()));
                members.dedup_by(|a, b| a.id() == b.id());
                let leader = self.member().id;
                View::new(ViewId(self.number()), self.epoch(), leader, members)
            }
        };
        match self.below(6) {
            0 => view.view_id = ViewId(self.number()),
            1 => view.epoch = self.epoch(),
            2 => view.successor = Some(self.contact()),
            3 => view.view_id = ViewId(view.view_id.0 + 1),
            _ => {}
        }
        view
    }

    fn snapshot(&mut self) -> Snapshot {
        let rows = (0..self.below(5)).map(|_| (self.member(), self.number()));
        let rows: std::collections::BTreeMap<_, _> =
            rows.collect::<Vec<_>>().into_iter().map(|(m, n)| (m.id, (m.inc, Oseq(n)))).collect();
        let view = self.one_in(2).then(|| self.view());
        Snapshot { seq: Seq(self.number()), view, table: Dedup::from(rows), lineage: self.rows(9) }
    }

    fn readings(&mut self) -> Readings {
        let bytes = usize::try_from(self.below(40)).expect("a few");
        let time = self.number();
        if self.one_in(30) {
            Readings::one(Bytes::from(vec![b'l'; 2_000]), time)
        } else {
            Readings::one(Bytes::from(vec![b'l'; bytes]), time)
        }
    }

    fn guarantee(&mut self) -> Guarantee {
        if self.one_in(2) { Guarantee::Safe } else { Guarantee::Agreed }
    }

    fn entry(&mut self) -> Entry {
        match self.below(8) {
            0 => Entry::View(self.view()),
            1 => {
                let before = (self.epoch(), ViewId(self.number()));
                let (gone, come) = (
                    (0..self.below(3)).map(|_| self.member().id).collect(),
                    (0..self.below(3)).map(|_| self.contact()).collect(),
                );
                let (view_id, epoch, leader) =
                    (ViewId(self.number()), self.epoch(), self.member().id);
                let successor = self.one_in(4).then(|| self.contact());
                Entry::Change(Change {
                    before,
                    view_id,
                    epoch,
                    leader,
                    gone,
                    come,
                    successor,
                    remarks: self.remarks(),
                })
            }
            2 => {
                let from = self.number();
                Entry::Lost {
                    origin: self.member(),
                    from: Oseq(from),
                    to: Oseq(from.saturating_add(self.below(9))),
                }
            }
            _ => Entry::Readings {
                origin: self.member(),
                first: Oseq(self.number()),
                guarantee: self.guarantee(),
                ordered: self.one_in(2).then(|| self.number()),
                readings: self.readings(),
            },
        }
    }

    fn remarks(&mut self) -> Remarks {
        let ordered = self.one_in(2).then(|| self.number());
        Remarks {
            ordered,
            why: (0..self.below(3)).map(|_| (self.member().id, "a lie".to_owned())).collect(),
        }
    }

    fn run(&mut self) -> Vec<Entry> {
        let many = if self.one_in(20) { 200 } else { 4 };
        (0..self.below(many)).map(|_| self.entry()).collect()
    }

    fn reason(&mut self) -> Reason {
        match self.below(8) {
            0 => Reason::Stale { promised: self.epoch() },
            1 => Reason::NotLeader,
            2 => Reason::NotMember,
            3 => Reason::DuplicateId { holder: self.contact().address },
            4 => Reason::OldIncarnation { known: Incarnation(self.number()) },
            5 => Reason::NoQuorum,
            6 => Reason::Version { speaks: 9 },
            _ => Reason::Busy,
        }
    }

    /// A message with arbitrary content. With `strict`, the lie contains nothing that an open group
    /// has to believe of a peer that wants to join or to found a group.
    fn word(&mut self, me: &Contact, strict: bool) -> Message {
        let own =
            |liar: &mut Self| if strict || !liar.one_in(4) { me.clone() } else { liar.contact() };
        let may = |liar: &mut Self| if liar.one_in(3) { Some(liar.ask()) } else { None };
        loop {
            return match self.below(20) {
                0 if !strict => Message::NewPeerRequest(JoinRequest {
                    ask: self.ask(),
                    from: own(self),
                    promised: self.epoch(),
                    contiguous: Seq(self.number()),
                    lineage: self.rows(8),
                    leading: None,
                    has_history: self.one_in(2),
                    recent: self.number(),
                }),
                1 if !strict => {
                    let (ask, epoch, snapshot) = (self.ask(), self.epoch(), self.snapshot());
                    Message::Added(Added { ask, epoch, snapshot, view_at: Seq(self.number()) })
                }
                2 => Message::Heartbeat(Heartbeat {
                    epoch: self.epoch(),
                    beat: self.ask() & NUMBER_MAX,
                    high: Seq(self.number()),
                    stable: Seq(self.number()),
                    all_have: self.one_in(2).then(|| Seq(self.number())),
                    echo: self.one_in(2).then(|| self.number()),
                    last_oseq: Oseq(self.number()),
                }),
                3 => Message::HeartbeatAck(HeartbeatAck {
                    epoch: self.epoch(),
                    beat: self.ask() & NUMBER_MAX,
                    contiguous: Seq(self.number()),
                    lag: self.number(),
                }),
                4 if !strict => Message::Election(Election {
                    ask: self.ask(),
                    candidate: own(self),
                    end: self.end(),
                }),
                5 => Message::Ok { ask: self.ask() },
                6 => Message::Clear { ask: self.ask() },
                7 if !strict => {
                    let (leader, epoch, size) = (own(self), self.epoch(), self.number());
                    Message::Coordinator(Coordinator {
                        leader,
                        epoch,
                        size,
                        ask: may(self),
                        names_you: self.one_in(2),
                    })
                }
                8 => Message::ViewSyncRequest { ask: self.ask() },
                9 if !strict => {
                    let claimant = own(self);
                    let epoch = Epoch { owner: claimant.member.clone(), ..self.epoch() };
                    Message::SeqSyncRequest(SyncRequest {
                        epoch,
                        claimant,
                        view: self.one_in(2).then(|| self.view()),
                    })
                }
                10 => {
                    let views =
                        (0..self.below(3)).map(|_| (Seq(self.number()), self.view())).collect();
                    let (epoch, contiguous, lineage) =
                        (self.epoch(), Seq(self.number()), self.rows(9));
                    Message::SeqSyncResponse(SyncAnswer {
                        epoch,
                        contiguous,
                        lineage,
                        stable: Seq(self.number()),
                        views,
                    })
                }
                11 => {
                    let leader = own(self);
                    let mut epoch = self.epoch();
                    if !self.one_in(4) {
                        epoch.owner = leader.member.clone();
                    }
                    let list = (0..self.below(6)).map(|_| self.member()).collect();
                    Message::SeqSyncFinal(SyncFinal {
                        epoch,
                        leader,
                        cut: Seq(self.number()),
                        lineage: self.rows(9),
                        list,
                    })
                }
                12 => {
                    let run = (0..self.below(4)).map(|_| match self.one_in(4) {
                        true => Request::Lost { to: Oseq(self.number()) },
                        false => Request::Readings {
                            guarantee: self.guarantee(),
                            readings: self.readings(),
                        },
                    });
                    let run = run.collect();
                    Message::SequencerRequest(Requests {
                        origin: own(self).member,
                        first: Oseq(self.number()),
                        run,
                    })
                }
                13 | 14 => {
                    let (epoch, first, run) = (self.epoch(), Seq(self.number()), self.run());
                    Message::Ordered(Ordered {
                        epoch,
                        first,
                        run,
                        stable: Seq(self.number()),
                        repair: may(self),
                    })
                }
                15 => Message::OrderedAck { epoch: self.epoch(), contiguous: Seq(self.number()) },
                16 => {
                    let (ask, epoch, from) = (self.ask(), self.epoch(), Seq(self.number()));
                    Message::MissingSeqRequest(MissingRequest {
                        ask,
                        epoch,
                        from,
                        to: Seq(self.number()),
                    })
                }
                17 => {
                    let ask = self.ask();
                    Message::MissingSeqNotFound(MissingAnswer {
                        ask,
                        snapshot: self.one_in(2).then(|| self.snapshot()),
                    })
                }
                18 if !strict => {
                    Message::Rejected(Rejected { ask: may(self), reason: self.reason() })
                }
                19 => match self.below(4) {
                    0 => Message::Leave,
                    1 => Message::Query {
                        ask: self.ask(),
                        question: vec![b'x'; self.below(64) as usize].into(),
                    },
                    2 => Message::Answer {
                        ask: self.ask(),
                        answer: vec![b'x'; self.below(64) as usize].into(),
                    },
                    _ => Message::Handover { successor: self.member().id, epoch: self.epoch() },
                },
                _ => continue,
            };
        }
    }
}

/// Keeps the newest few.
fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= HEARD_MOST {
        list.pop_front();
    }
    list.push_back(item);
}

/// How many values of each kind are remembered.
const HEARD_MOST: usize = 32;
/// The length in front of a frame, in bytes.
const PREFIX: usize = 4;

#[cfg(test)]
mod tests {
    use super::Liar;
    use std::collections::BTreeSet;

    #[test]
    fn a_liar_says_every_word() {
        let mut liar = Liar::new(7);
        let me = liar.stranger();
        let said: BTreeSet<&str> =
            (0..5_000).filter_map(|_| liar.lie(&me, false)).map(|message| message.verb()).collect();
        assert_eq!(said.len(), 22, "all but HELLO, which begins a link: {said:?}");
        let strict: BTreeSet<&str> =
            (0..5_000).filter_map(|_| liar.lie(&me, true)).map(|message| message.verb()).collect();
        assert!(
            !strict.contains("NEW_PEER_REQUEST")
                && !strict.contains("COORDINATOR")
                && strict.len() > 12,
            "{strict:?}"
        );
    }
}
