//! Inputs and outputs as text, for a trace: a line for each message.

use protocol::io::{Delivery, Input, Output};
use protocol::note::escape;

use crate::clock::Stamp;

/// An input of a node; only a run of messages has more than one line.
pub(super) fn of_input(input: &Input) -> Vec<String> {
    match input {
        Input::Received { link, messages } => {
            messages.iter().map(|message| format!("[{link}] {message}")).collect()
        }
        Input::Heard { from, datagram } => {
            vec![format!("[{from}] {} says {}", datagram.from.member, datagram.message)]
        }
        Input::LinkUp { link } => vec![format!("[{link}] is up")],
        Input::LinkDown { link, how } => vec![format!("[{link}] is down: {how:?}")],
        Input::DialFailed { link, refused } => {
            vec![format!(
                "[{link}] never came up: {}",
                if *refused { "refused" } else { "no answer" }
            )]
        }
        Input::Backlog { link, full } => {
            vec![format!("[{link}] backlog {}", if *full { "full" } else { "drained" })]
        }
        Input::Publish { publications } => {
            let readings = publications.iter().flat_map(|publication| publication.readings.iter());
            readings.map(|(payload, _)| format!("publish {}", escape(payload))).collect()
        }
        Input::Moved { address } => vec![format!("moved to {address}")],
        Input::Clock { utc } => vec![format!("the wall clock shows {}", Stamp(*utc))],
        Input::Prioritised { explicit } => vec![format!("has priority {explicit} from now on")],
        Input::Ask { ask, .. } => vec![format!("asks the leader {ask:x}")],
        Input::Answer { to, ask, .. } => vec![format!("answers {to} {ask:x}")],
        Input::Leave => vec!["leave".to_owned()],
        Input::Wake => vec!["wake".to_owned()],
    }
}

/// An output of a node; none for notes, which have sentences of their own.
pub(super) fn of_output(output: &Output) -> Option<String> {
    Some(match output {
        Output::Dial { link, to } => format!("[{link}] dial {to}"),
        Output::HangUp { link } => format!("[{link}] hang up"),
        Output::Send { link, message } => format!("[{link}] {message}"),
        Output::Fan { links, message } => {
            let links: Vec<String> = links.iter().map(ToString::to_string).collect();
            format!("[{}] {message}", links.join(" "))
        }
        Output::Broadcast { datagram } => format!("[*] {}", datagram.message),
        Output::Whisper { to, datagram } => format!("[{to}] {}", datagram.message),
        Output::Deliver(Delivery::Gap { from, to, .. }) => {
            format!("deliver a gap #{from} to #{to}")
        }
        Output::Deliver(Delivery::Lost { seq, origin, from, to, .. }) => {
            format!("deliver #{seq}: readings {from} to {to} of {origin} are lost")
        }
        Output::Accepted { .. }
        | Output::Acknowledged { .. }
        | Output::Published { .. }
        | Output::Refused { .. } => return output.fate(),
        Output::Persist { incarnation, has_history } => {
            format!(
                "store incarnation {incarnation}{}",
                if *has_history { ", and that it has been in a view" } else { "" }
            )
        }
        Output::Stop(reason) => format!("stop: {reason:?}"),
        Output::Deliver(Delivery::Repeat { seq, last, origin, from, to, .. }) => {
            format!("deliver #{seq} to #{last}: readings {from} to {to} of {origin} again")
        }
        Output::Asked { from, ask, .. } => format!("{from} asks {ask:x}"),
        Output::Answered { ask, .. } => format!("the leader answers {ask:x}"),
        // Each reading has a line of its own; the others have notes of their own.
        Output::Deliver(
            Delivery::Run(_)
            | Delivery::View(_)
            | Delivery::Diverged { .. }
            | Delivery::Merged { .. },
        )
        | Output::Note(_) => {
            return None;
        }
    })
}
