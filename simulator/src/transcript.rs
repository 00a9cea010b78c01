//! A transcript of a simulation: one line for each relevant event.
//!
//! It has two levels: for people (the nodes' own sentences and their control messages), and
//! everything with its time, for the analysis of a failed run.

use std::collections::BTreeMap;
use std::fmt;

use protocol::id::PeerId;
use protocol::io::{Input, Output};
use protocol::message::{Coordinator, Datagram, Message};
use protocol::note::{Level, Note};
use protocol::time::Time;

use crate::watch::Watch;

/// Turns events into lines, and passes each line to a function.
#[derive(Debug)]
pub struct Transcript<F> {
    /// Whether every event is shown, with its time.
    pub all: bool,
    /// The last request and counter of each peer.
    pub(crate) said: BTreeMap<PeerId, Said>,
    tell: F,
}

/// The last values of a peer that other messages refer to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// Its request number.
    pub(crate) ask: u64,
    /// Its beat.
    pub(crate) beat: u64,
}

impl Said {
    fn hear(&mut self, message: &Message) {
        match message {
            Message::NewPeerRequest(join) => self.ask = join.ask,
            Message::Election(election) => self.ask = election.ask,
            Message::ViewSyncRequest { ask } => self.ask = *ask,
            Message::MissingSeqRequest(missing) => self.ask = missing.ask,
            Message::Heartbeat(beat) => self.beat = beat.beat,
            _ => {}
        }
    }
}

impl<F: FnMut(fmt::Arguments<'_>)> Transcript<F> {
    /// A transcript whose lines go to `tell`.
    pub fn new(all: bool, tell: F) -> Self {
        Self { all, said: BTreeMap::new(), tell }
    }

    fn line(&mut self, now: Time, what: fmt::Arguments<'_>) {
        if self.all { (self.tell)(format_args!("{now} {what}")) } else { (self.tell)(what) }
    }
}

impl<F: FnMut(fmt::Arguments<'_>)> Watch for Transcript<F> {
    fn input(&mut self, now: Time, who: &PeerId, from: Option<&PeerId>, input: &Input) {
        if !self.all {
            return;
        }
        let from = from.map_or("", PeerId::as_str);
        match input {
            Input::Received { link, messages } => {
                for message in messages {
                    self.line(now, format_args!("{who}<-{from} [{link}] {message}"));
                }
            }
            Input::Heard { datagram, .. } => {
                self.line(now, format_args!("{who}<~{from} {}", datagram.message))
            }
            Input::LinkUp { link } => {
                self.line(now, format_args!("{who} link {link} to {from} is up"))
            }
            Input::LinkDown { link, how } => {
                self.line(now, format_args!("{who} link {link} to {from} is down: {how:?}"))
            }
            Input::DialFailed { link, refused } => {
                let why = if *refused { "refused" } else { "silence" };
                self.line(now, format_args!("{who} dial {link} to {from} failed: {why}"));
            }
            Input::Backlog { link, full } => self.line(
                now,
                format_args!("{who} backlog of {link}: {}", if *full { "full" } else { "drained" }),
            ),
            Input::Publish { publications } => {
                for (payload, _) in
                    publications.iter().flat_map(|publication| publication.readings.iter())
                {
                    self.line(now, format_args!("{who} publishes {} bytes", payload.len()));
                }
            }
            Input::Moved { address } => self.line(now, format_args!("{who} is at {address} now")),
            Input::Clock { utc } => {
                self.line(now, format_args!("{who} sees {utc} on the wall clock"))
            }
            Input::Prioritised { explicit } => {
                self.line(now, format_args!("{who} has priority {explicit} now"))
            }
            Input::Ask { ask, .. } => self.line(now, format_args!("{who} asks its leader {ask}")),
            Input::Answer { to, ask, .. } => {
                self.line(now, format_args!("{who} answers {to} {ask}"))
            }
            Input::Leave => self.line(now, format_args!("{who} is asked to leave")),
            Input::Wake => self.line(now, format_args!("{who} wakes")),
        }
    }

    fn output(&mut self, now: Time, who: &PeerId, output: &Output) {
        match output {
            Output::Note(note) if is_told(note) && (self.all || note.level() != Level::Debug) => {
                for sentence in note.sentence(who).lines() {
                    self.line(now, format_args!("{who}: {sentence}"));
                }
            }
            Output::Deliver(protocol::io::Delivery::Run(_)) | Output::Acknowledged { .. } => {
                output.notes_of_readings(|note| {
                    self.line(now, format_args!("{who}: {}", note.sentence(who)))
                });
            }
            Output::Stop(reason) => self.line(now, format_args!("{who} stops: {reason:?}")),
            Output::Dial { link, to } if self.all => {
                self.line(now, format_args!("{who} dials {to} as {link}"))
            }
            Output::HangUp { link } if self.all => {
                self.line(now, format_args!("{who} hangs up {link}"))
            }
            _ => {
                if let Some(fate) = output.fate().filter(|_| self.all) {
                    self.line(now, format_args!("{who} {fate}"));
                }
            }
        }
    }

    fn sent(&mut self, now: Time, who: &PeerId, to: &PeerId, message: &Message) {
        self.said.entry(who.clone()).or_default().hear(message);
        if self.all || !message.is_routine() && !matches!(message, Message::Hello(_)) {
            self.line(now, format_args!("{who}->{to} {message}"));
        }
    }

    fn called(&mut self, now: Time, who: &PeerId, to: Option<&PeerId>, datagram: &Datagram) {
        self.said.entry(who.clone()).or_default().hear(&datagram.message);
        let beacon =
            matches!(datagram.message, Message::Coordinator(Coordinator { ask: None, .. }));
        if self.all || !beacon {
            self.line(
                now,
                format_args!("{who}~>{} {}", to.map_or("*", PeerId::as_str), datagram.message),
            );
        }
    }

    fn act(&mut self, now: Time, what: fmt::Arguments<'_>) {
        if self.all {
            self.line(now, format_args!("-- {what}"));
        }
    }
}

/// Whether a note says more than the transcript says anyway.
pub(crate) fn is_told(note: &Note) -> bool {
    !matches!(
        note,
        Note::Send { .. }
            | Note::Recv { .. }
            | Note::Status(_)
            | Note::Deliver { .. }
            | Note::Publish { .. }
    )
}
