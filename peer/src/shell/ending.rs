//! The end of a run: last messages, and a moment for them to arrive.

use std::time::Duration;

use mio::{Events, Token};
use protocol::io::StopReason;
use protocol::note::Note;

use super::{EVENTS_MAX, PACER, SIGNALS, Shell, WAKER, poll};
use crate::clock;
use crate::discovery;
use crate::failure::{Failure, REFUSED};

impl Shell {
    /// Sends the last messages, and waits a moment for them to arrive, on links and on the disk.
    pub(super) fn end(mut self, reason: Option<StopReason>) -> Result<(), Failure> {
        self.close_turn();
        let until = clock::now() + FAREWELL;
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.links.is_flushed() && clock::now() < until {
            let _signal = poll(&mut self.poll, &mut events, Some(until.since(clock::now())));
            events
                .iter()
                .filter(|event| is_link(event.token()))
                .for_each(|event| self.links.note(event));
            self.links.begin(clock::now());
            while self.links.next_found().is_some() {}
            self.links.flush();
        }
        if !self.worker.finish(SINKS_PATIENCE) {
            log::warn!("The disk is too slow; the last readings are not kept.");
        }
        if !self.settle_tokens(TOKENS_PATIENCE) {
            log::warn!(
                "The disk is too slow; what became of the last readings with a token is not \
                 stored, and will not be known."
            );
        }
        self.tell_unordered();
        let (words, outcome) = match self.broken.take() {
            Some(failure) => (failure.text.clone(), Err(failure)),
            None => farewell(reason),
        };
        self.door.farewell(words.clone(), FAREWELL);
        self.notify.stop(&words);
        self.tell(Note::Stop { reason: words });
        self.outputs.settle(FAREWELL);
        outcome
    }

    /// Accepted readings without a place in the log end with this process.
    fn tell_unordered(&self) {
        let status = self.node.status();
        let count = status.published.above(status.ordered);
        if count > 0 {
            log::warn!(
                "{count} readings of this peer were accepted and have no place in the log; they \
                 are lost with this process."
            );
        }
    }
}

fn is_link(token: Token) -> bool {
    !discovery::is_ours(token) && !matches!(token, SIGNALS | WAKER | PACER)
}

/// The text of the last event, and the result of the command.
fn farewell(reason: Option<StopReason>) -> (String, Result<(), Failure>) {
    match reason {
        None => ("stopped by a second signal, without leaving the group".to_owned(), Ok(())),
        Some(StopReason::Left) => ("left the group".to_owned(), Ok(())),
        Some(StopReason::LeftUnconfirmed) => {
            ("left the group; nobody confirmed it in time".to_owned(), Ok(()))
        }
        Some(StopReason::DuplicateId { holder, own }) => {
            let text = format!(
                "refused: another living process at {holder} has the id of this one at {own}; \
                 choose another --id"
            );
            (text.clone(), Err(Failure::new(REFUSED, text)))
        }
        Some(StopReason::OldIncarnation { known }) => {
            let text = format!(
                "refused: a later process of this name (incarnation {known}) is in the group"
            );
            (text.clone(), Err(Failure::new(REFUSED, text)))
        }
    }
}

const FAREWELL: Duration = Duration::from_millis(500);
const SINKS_PATIENCE: Duration = Duration::from_secs(5);
const TOKENS_PATIENCE: Duration = Duration::from_secs(5);
