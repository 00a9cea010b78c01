//! A node's answers: every message that another peer could send to it at this moment, each
//! delivered to a copy of the node.
//!
//! Scripts show what happens; answers show what does not happen: messages of the past, to the wrong
//! peer, out of turn. Each copy then runs alone for as long as it takes to miss a peer, so that an
//! effect on its memory becomes visible, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use protocol::id::{Contact, Incarnation, LinkId, PeerId};
use protocol::io::{Delivery, Input, Output};
use protocol::message::{Datagram, Hello, LogEnd, Message, Rejected};
use protocol::node::Node;
use protocol::note::Level;
use protocol::time::Time;

use crate::transcript::{Said, is_told};

mod words;

/// A copy of a node, and the context of the messages.
pub(crate) struct Asked<'a> {
    node: Node,
    now: Time,
    /// The digest of its cluster.
    cluster: u64,
    /// The sender, and the link that it uses.
    speaker: Contact,
    link: LinkId,
    /// The peer at the other end of each link.
    links: BTreeMap<LinkId, PeerId>,
    /// The values that it sent last.
    said: Said,
    /// A peer that is neither.
    third: &'a Contact,
}

impl<'a> Asked<'a> {
    /// Prepares messages to a node of a cluster, over one of its links, or over a new one if no
    /// link leads to the speaker.
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

    /// A paragraph for each effect, with the messages that have it; messages without an effect are
    /// left out.
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

    /// All messages as inputs of the node; those that may also come as datagrams are marked.
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
        let (mut later, mut at, end) = (Vec::new(), self.now, self.now + ALONE);
        while let Some(due) = node.deadline().filter(|due| *due <= end) {
            at = at.max(due);
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

    /// An output as a line; routine messages only if they are answers.
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
            // Beacons are sent all the time.
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
            // The other outputs have notes with the same content.
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
}

/// Messages by verb, each with its difference from others of that verb.
type Named = Vec<(String, Vec<String>)>;

/// Adds a paragraph, wrapped to readable lines.
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

/// The effect of a message.
#[derive(PartialEq, Eq)]
struct Effect {
    said: Vec<String>,
    then: String,
    later: Vec<String>,
}

impl Effect {
    /// As lines, without the lines that appear without any message, too.
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

/// A message with the fields that its short form leaves out.
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

/// The greatest length of a line.
const WIDTH: usize = 130;
/// A link number that no script uses.
const NEW_LINK: u64 = 1 << 20;
/// How long a copy runs alone: long enough to miss a peer and to give up waiting, with the knobs of
/// `fast`.
const ALONE: Duration = Duration::from_millis(900);
