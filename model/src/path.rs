//! A readable path: the events and their consequences, one line each.

use protocol::id::LinkId;
use protocol::note::{Level, Note};

use crate::fact::Breach;
use crate::group::{Action, Group, Item};
use crate::model::{Model, Stimulus};
use crate::peer::{Effect, Request, contact};

/// Describes the events when these actions are taken one after the other.
pub(crate) fn tell(model: &mut Model, root: &Group, actions: &[Action]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut group = root.clone();
    for (number, action) in actions.iter().enumerate() {
        lines.push(format!("{:>3}. {}", number + 1, headline(model, &group, *action)));
        for (index, stimulus) in stimuli(&group, *action) {
            let Some(peer) = group.peers[usize::from(index)] else { continue };
            match model.work_out(peer, stimulus) {
                Ok(Some(effect)) => lines.extend(consequences(&group, index, &effect)),
                Ok(None) => {}
                Err(Breach { words, .. }) => lines.push(format!("     {}: {words}", name(index))),
            }
        }
        match model.step(&group, *action) {
            Ok(Some(next)) => group = next,
            Ok(None) | Err(_) => break,
        }
    }
    lines
}

fn name(index: u8) -> String {
    contact(usize::from(index)).member.id.to_string()
}

fn headline(model: &Model, group: &Group, action: Action) -> String {
    match action {
        Action::Arrive { line, end } => {
            let line = &group.lines[usize::from(line)];
            let (here, there) = (&line.ends[usize::from(end)], &line.ends[1 - usize::from(end)]);
            match here.inbox.first() {
                Some(Item::Message(message)) => format!(
                    "{} -> {}  {}",
                    name(there.peer),
                    name(here.peer),
                    model.messages.get(*message)
                ),
                Some(Item::Closed) => format!(
                    "{} sees that {} has closed a connection",
                    name(here.peer),
                    name(there.peer)
                ),
                Some(Item::Reset) | None => format!(
                    "{} sees that its connection to {} is broken",
                    name(here.peer),
                    name(there.peer)
                ),
            }
        }
        Action::Answer { line } => {
            let [own, other] = &group.lines[usize::from(line)].ends;
            let answer = if group.peers[usize::from(other.peer)].is_some() {
                "is connected to"
            } else {
                "is refused by the dead"
            };
            format!("{} {answer} {}", name(own.peer), name(other.peer))
        }
        Action::Hear { from, to } => match group.air.get(&(from, to)) {
            Some(datagram) => format!(
                "{} ~> {}  {}",
                name(from),
                name(to),
                model.datagrams.get(*datagram).message
            ),
            None => format!("{} hears nothing", name(to)),
        },
        Action::Pass { peer } => format!("{}: its next deadline passes", name(peer)),
        Action::Pause { peer } => format!("{} stands still for long", name(peer)),
        Action::Crash { peer } => format!("{} dies", name(peer)),
        Action::Publish { peer } => format!("{} publishes a reading", name(peer)),
        Action::Reset { line } => {
            let [own, other] = &group.lines[usize::from(line)].ends;
            format!(
                "a connection of {} and {} breaks, with all that is on its way",
                name(own.peer),
                name(other.peer)
            )
        }
    }
}

/// The inputs that an action gives to peers.
fn stimuli(group: &Group, action: Action) -> Vec<(u8, Stimulus)> {
    match action {
        Action::Arrive { line, end } => {
            let end = &group.lines[usize::from(line)].ends[usize::from(end)];
            let link = end.link;
            let stimulus = match end.inbox.first() {
                Some(Item::Message(message)) => Stimulus::Frame { link, message: *message },
                Some(Item::Reset) => Stimulus::Down { link, reset: true },
                Some(Item::Closed) | None => Stimulus::Down { link, reset: false },
            };
            vec![(end.peer, stimulus)]
        }
        Action::Answer { line } => {
            let [own, other] = &group.lines[usize::from(line)].ends;
            let link = own.link;
            match group.peers[usize::from(other.peer)] {
                Some(_) => vec![(other.peer, Stimulus::Accept), (own.peer, Stimulus::Up { link })],
                None => vec![(own.peer, Stimulus::Unreached { link, refused: true })],
            }
        }
        Action::Hear { from, to } => group
            .air
            .get(&(from, to))
            .map(|datagram| (to, Stimulus::Heard { from, datagram: *datagram }))
            .into_iter()
            .collect(),
        Action::Pass { peer } => vec![(peer, Stimulus::Pass { dead: group.dead() })],
        Action::Publish { peer } => vec![(peer, Stimulus::Publish)],
        Action::Pause { .. } | Action::Crash { .. } | Action::Reset { .. } => vec![],
    }
}

/// The notes of a peer, and its messages to others.
fn consequences(group: &Group, index: u8, effect: &Effect) -> Vec<String> {
    let me = name(index);
    let mut lines = Vec::new();
    for note in &effect.notes {
        let worth_it = match note {
            Note::Status(_) | Note::Send { .. } | Note::Recv { .. } => false,
            Note::Promised { .. } | Note::Cut { .. } | Note::StaleEpoch { .. } => true,
            other => other.level() <= Level::Info,
        };
        if worth_it {
            lines.push(format!(
                "     {me}: {}",
                note.sentence(&contact(usize::from(index)).member.id)
                    .trim_end()
                    .replace('\n', " / ")
            ));
        }
    }
    for request in &effect.requests {
        match request {
            Request::Dial { to, .. } => {
                lines.push(format!("     {me} dials {}", contact(*to).member.id))
            }
            Request::HangUp { link } => lines.push(format!(
                "     {me} closes its connection to {}",
                other_end(group, index, *link)
            )),
            Request::Send { link, message } => {
                lines.push(format!("     {me} to {}: {message}", other_end(group, index, *link)))
            }
            Request::Shout { to, datagram } => {
                let to = to
                    .map_or_else(|| "everybody".to_owned(), |to| contact(to).member.id.to_string());
                lines.push(format!("     {me} to {to}, by datagram: {}", datagram.message));
            }
        }
    }
    if effect.stopped {
        lines.push(format!("     {me} stops by itself"));
    }
    lines
}

fn other_end(group: &Group, index: u8, link: LinkId) -> String {
    let line = group
        .lines
        .iter()
        .find(|line| line.ends.iter().any(|end| end.peer == index && end.link == link));
    let other = line.and_then(|line| line.ends.iter().find(|end| end.peer != index));
    other.map_or_else(|| "the new connection".to_owned(), |end| name(end.peer))
}
