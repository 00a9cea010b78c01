//! What a node would answer: every word that somebody could say to it at this moment, each said to
//! a copy of it.
//!
//! Stories show what happens; this shows what does not: words of the past, to the wrong peer, out
//! of turn. Each copy is left alone afterwards for as long as it takes to miss somebody, so that
//! what it only remembers comes to light, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use protocol::config::Guarantee;
use protocol::dedup::Dedup;
use protocol::id::{Contact, Epoch, Incarnation, LinkId, Member, Oseq, PeerId, Seq, ViewId};
use protocol::io::{Delivery, Input, Output};
use protocol::message::{
    Added, Coordinator, Datagram, Election, Entry, EpochStart, Heartbeat, HeartbeatAck, Hello,
    JoinRequest, Leading, LogEnd, Message, MissingAnswer, MissingRequest, Ordered, Reason,
    Rejected, Request, Requests, Snapshot, SyncAnswer, SyncFinal, SyncRequest,
};
use protocol::node::Node;
use protocol::note::Level;
use protocol::readings::Readings;
use protocol::time::Time;
use protocol::view::View;

use crate::transcript::{Said, is_told};

/// A copy of a node, and what it is asked with.
pub(crate) struct Asked<'a> {
    node: Node,
    now: Time,
    /// The digest of its cluster.
    cluster: u64,
    /// Who speaks to it, and on which of its links.
    speaker: Contact,
    link: LinkId,
    /// Who is behind each of its links.
    links: BTreeMap<LinkId, PeerId>,
    /// What it has said last.
    said: Said,
    /// Somebody who is neither.
    third: &'a Contact,
}

impl<'a> Asked<'a> {
    /// Asks a node of a cluster, over one of its links, or over a new one where none leads to the
    /// speaker.
    pub(crate) fn new(
        node: &Node,
        now: Time,
        mut links: BTreeMap<LinkId, PeerId>,
        (speaking, third): (&Node, &'a Contact),
        ghost: bool,
        said: Said,
        cluster: u64,
    ) -> Self {
        let (mut node, mut speaker) = (node.clone(), speaking.contact().clone());
        let mut known =
            links.iter().find(|(_, other)| *other == speaker.id()).map(|(link, _)| *link);
        if ghost {
            speaker.member.inc = Incarnation(speaker.member.inc.0 - 1);
            speaker.birth += 1;
            known = None;
        }
        let link = known.unwrap_or_else(|| {
            let (link, mut out) = (LinkId::accepted(NEW_LINK), Vec::new());
            let end = LogEnd {
                epoch: speaking.epoch(),
                contiguous: speaking.status().contiguous,
                log_id: speaking.log_id(),
            };
            let knows = Some(node.contact().member.inc);
            let hello = Message::Hello(Hello {
                cluster,
                from: speaker.clone(),
                link: NEW_LINK,
                end,
                knows,
            });
            node.handle(now, Input::LinkUp { link }, &mut out);
            node.handle(now, Input::Received { link, messages: vec![hello] }, &mut out);
            links.insert(link, speaker.id().clone());
            link
        });
        Self { node, now, cluster, speaker, link, links, said, third }
    }

    /// A paragraph for each effect, with the words that have it; those that have none are not
    /// named.
    pub(crate) fn tell(&self) -> String {
        let silence = self.effect(None);
        let mut effects: Vec<(Effect, Named)> = Vec::new();
        for (verb, detail, input) in self.inputs() {
            let effect = self.effect(Some(input));
            if effect == silence {
                continue;
            }
            let known = effects.iter().position(|(known, _)| *known == effect);
            let place = known.unwrap_or_else(|| {
                effects.push((effect, Vec::new()));
                effects.len() - 1
            });
            let words = &mut effects[place].1;
            match words.last_mut().filter(|(last, _)| *last == verb) {
                Some((_, details)) => details.push(detail),
                None => words.push((verb, vec![detail])),
            }
        }
        let mut text = format!("{} is {}\n", self.node.contact().id(), state(&self.node));
        for (effect, words) in effects {
            let words: Vec<String> = words
                .iter()
                .map(|(verb, details)| format!("{verb} {}", details.join(", ")))
                .collect();
            wrap(&mut text, &format!("{}:", words.join("; ")));
            for line in effect.beside(&silence) {
                writeln!(text, "    {line}").expect("writing to a String cannot fail");
            }
        }
        text.push_str("everything else:\n    nothing\n");
        text
    }

    /// All the words as they reach the node; those that datagrams bring, too, are marked so.
    fn inputs(&self) -> Vec<(String, String, Input)> {
        let (link, from, cluster) = (self.link, self.speaker.address, self.cluster);
        let mut inputs = Vec::new();
        for (detail, message) in self.words() {
            if matches!(
                message,
                Message::Coordinator(_) | Message::NewPeerRequest(_) | Message::Rejected(_)
            ) {
                let datagram = Datagram {
                    cluster,
                    from: self.speaker.clone(),
                    count: NEW_LINK,
                    message: message.clone(),
                };
                let input = Input::Heard { from, datagram: Box::new(datagram) };
                inputs.push((format!("~{}", message.verb()), detail.clone(), input));
            }
            inputs.push((
                message.verb().to_owned(),
                detail,
                Input::Received { link, messages: vec![message] },
            ));
        }
        inputs.sort_by_key(|(verb, _, _)| verb.starts_with('~'));
        inputs
    }

    fn effect(&self, input: Option<Input>) -> Effect {
        let mut node = self.node.clone();
        let mut out = Vec::new();
        if let Some(input) = input {
            node.handle(self.now, input, &mut out);
        }
        let said = out.iter().filter_map(|output| self.line(output, true)).collect();
        let then = state(&node);
        let (mut later, end) = (Vec::new(), self.now + ALONE);
        while let Some(at) = node.deadline().filter(|at| *at <= end).map(|at| at.max(self.now)) {
            out.clear();
            node.handle(at, Input::Wake, &mut out);
            let lines = out.iter().filter_map(|output| self.line(output, false));
            later.extend(lines.map(|line| {
                format!("+{} ms {line}", (at.as_micros() - self.now.as_micros()) / 1_000)
            }));
        }
        later.push(format!("at last {}", state(&node)));
        Effect { said, then, later }
    }

    /// An output in words; routine only where it is an answer.
    fn line(&self, output: &Output, answer: bool) -> Option<String> {
        let to = |link: &LinkId| self.links.get(link).map_or("?", PeerId::as_str);
        match output {
            Output::Send { message, .. } | Output::Fan { message, .. }
                if !answer && message.is_routine() =>
            {
                None
            }
            Output::Send { link, message } => Some(format!("-> {} {}", to(link), words(message))),
            Output::Fan { links, message } => Some(format!(
                "-> {} {}",
                links.iter().map(to).collect::<Vec<_>>().join(" "),
                words(message)
            )),
            // Beacons come all the time.
            Output::Broadcast { datagram }
                if matches!(datagram.message, Message::Coordinator(_)) =>
            {
                None
            }
            Output::Broadcast { datagram } => Some(format!("~> * {}", words(&datagram.message))),
            Output::Whisper { to, datagram } => {
                Some(format!("~> {to} {}", words(&datagram.message)))
            }
            Output::Dial { to, .. } => Some(format!("dials {to}")),
            Output::HangUp { link } => Some(format!("hangs up on {}", to(link))),
            Output::Deliver(Delivery::Run(run)) if run.readings.len() > 1 => {
                Some(format!("hands over #{} to #{}", run.first, run.last()))
            }
            Output::Deliver(Delivery::Run(run)) => Some(format!("hands over #{}", run.first)),
            Output::Deliver(other @ (Delivery::Gap { .. } | Delivery::Lost { .. })) => {
                Some(format!("hands over {other:?}"))
            }
            // The others have notes that say the same.
            Output::Deliver(
                Delivery::View(_)
                | Delivery::Repeat { .. }
                | Delivery::Diverged { .. }
                | Delivery::Merged { .. },
            ) => None,
            Output::Accepted { .. } | Output::Published { .. } => output.fate(),
            Output::Asked { from, .. } => Some(format!("is asked by {}", from.id)),
            Output::Answered { .. } => Some("is answered".to_owned()),
            Output::Acknowledged { .. } => {
                let mut sentences = Vec::new();
                output.notes_of_readings(|note| {
                    sentences.push(note.sentence(self.node.contact().id()))
                });
                Some(sentences.join(" "))
            }
            Output::Refused { place, why } => {
                Some(format!("reading at place {place} is refused: {why:?}"))
            }
            Output::Note(note) if is_told(note) && note.level() != Level::Debug => Some(
                note.sentence(self.node.contact().id())
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
            Output::Note(_) => None,
            Output::Persist { incarnation, has_history } => {
                Some(format!("stores incarnation {incarnation}, veteran {has_history}"))
            }
            Output::Stop(reason) => Some(format!("stops: {reason:?}")),
        }
    }

    /// All the words, each with a name.
    fn words(&self) -> Vec<(String, Message)> {
        let facts = Facts::of(self);
        let mut words = Vec::new();
        facts.say_beats(&mut words);
        facts.say_questions(&mut words);
        facts.say_claims(&mut words);
        facts.say_entries(&mut words);
        facts.say_refusals(&mut words);
        facts.say_joins(&mut words);
        words
    }
}

/// Words by their verbs, each with what tells it from others of that verb.
type Named = Vec<(String, Vec<String>)>;

/// Adds a paragraph, in lines of bearable length.
fn wrap(text: &mut String, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split(' ') {
        if column > 0 && column + word.len() > WIDTH {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

/// What comes of a word.
#[derive(PartialEq, Eq)]
struct Effect {
    said: Vec<String>,
    then: String,
    later: Vec<String>,
}

impl Effect {
    /// In lines, without what comes anyway.
    fn beside(&self, silence: &Self) -> Vec<String> {
        let mut lines = self.said.clone();
        if self.then != silence.then {
            lines.push(format!("is {}", self.then));
        }
        let missing = |of: &[String], other: &[String]| -> Vec<String> {
            of.iter().filter(|line| !other.contains(line)).cloned().collect()
        };
        let others = missing(&self.later, &silence.later);
        if others.is_empty() {
            lines.extend(
                missing(&silence.later, &self.later)
                    .first()
                    .map(|line| format!("and never: {line}")),
            );
        }
        lines.extend(others.into_iter().map(|line| format!("later: {line}")));
        lines
    }
}

fn state(node: &Node) -> String {
    let status = node.status();
    let leader = status.leader.as_ref().map_or("nobody", |leader| leader.as_str());
    let (activity, epoch, promised) = (node.activity(), &status.epoch, &status.promised);
    let members = status.members.iter().map(PeerId::as_str).collect::<Vec<_>>().join(" ");
    let (contiguous, delivered, stable, ordered) =
        (status.contiguous, status.delivered, status.stable, status.ordered);
    format!(
        "{activity} under {leader}, epoch {epoch}, promised {promised}, view {} [{members}], holds \
         {contiguous}, delivered {delivered}, stable {stable}, own {ordered}",
        status.view_id
    )
}

/// A message with what its short form leaves out.
fn words(message: &Message) -> String {
    match message {
        Message::Coordinator(word) => {
            let you = if word.names_you { ", names you" } else { "" };
            let asked = if word.ask.is_some() { ", asked" } else { "" };
            format!("{message} ({}{you}{asked})", word.size)
        }
        Message::Rejected(Rejected { ask, .. }) => {
            format!("{message}{}", if ask.is_some() { " (asked)" } else { "" })
        }
        Message::HeartbeatAck(ack) => format!("{message} lag {}", ack.lag),
        Message::SeqSyncResponse(answer) => {
            let views = answer
                .views
                .iter()
                .map(|(seq, view)| format!("{}@{seq}", view.view_id))
                .collect::<Vec<_>>()
                .join(" ");
            format!(
                "{message} (rows {}, stable {}, views {views})",
                answer.lineage.len(),
                answer.stable
            )
        }
        Message::NewPeerRequest(join) => {
            format!(
                "{message} (promised {}, holds {}, rows {})",
                join.promised,
                join.contiguous,
                join.lineage.len()
            )
        }
        other => other.to_string(),
    }
}

/// What the words are made of.
struct Facts {
    me: Contact,
    speaker: Contact,
    third: Contact,
    /// Epochs to name, each with its name: before, of and after the node's log, and the one it has
    /// promised.
    epochs: Vec<(&'static str, Epoch)>,
    /// Questions to answer.
    asks: Vec<(&'static str, Option<u64>)>,
    own: Epoch,
    log_id: Epoch,
    end: Seq,
    stable: Seq,
    view: Option<View>,
    /// The last number of the speaker's in the node's log, and of the node's own.
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

    /// Everything with an epoch.
    fn in_epochs(&self, words: &mut Words, what: &str, message: impl Fn(&Epoch) -> Message) {
        words.extend(
            self.epochs.iter().map(|(name, epoch)| (format!("{what}{name}"), message(epoch))),
        );
    }

    /// Everything that answers.
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
        let rows = |epoch: &Epoch| {
            if epoch.is_none() {
                vec![]
            } else {
                vec![EpochStart { epoch: epoch.clone(), first: Seq(1) }]
            }
        };
        for (what, epoch, contiguous) in [
            ("as long", &self.own, self.end),
            ("longer", &self.own, self.end.plus(1)),
            ("empty", &Epoch::none(), Seq::ZERO),
            ("newer", newest, self.end),
        ] {
            self.in_epochs(words, &format!("{what} for "), |promised| {
                let views = self.view.iter().map(|view| (self.end, view.clone())).collect();
                let (epoch, lineage, stable) = (promised.clone(), rows(epoch), self.stable);
                Message::SeqSyncResponse(SyncAnswer { epoch, contiguous, lineage, stable, views })
            });
        }
        for (what, leader, list) in [
            ("with you", &self.speaker, vec![&self.speaker, &self.me]),
            ("without you", &self.speaker, vec![&self.speaker, &self.third]),
            ("for a third", &self.third, vec![&self.third, &self.me]),
        ] {
            self.in_epochs(words, &format!("{what} "), |epoch| {
                let list = list.iter().map(|contact| contact.member.clone()).collect();
                let (leader, lineage) = (leader.clone(), rows(&self.log_id));
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

/// How long a line of words may get.
const WIDTH: usize = 130;
/// A number that no link of a script has.
const NEW_LINK: u64 = 1 << 20;
/// For so long a copy is left alone: long enough to miss somebody and to give up waiting, with the
/// knobs of `fast`.
const ALONE: Duration = Duration::from_millis(900);
