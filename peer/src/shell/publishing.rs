//! This peer's own readings on their way to the node, and what becomes of those that it does not take.

use std::time::Duration;

use bytes::Bytes;
use protocol::config::Guarantee;
use protocol::note::Refusal;
use protocol::seam::Input;

use super::Shell;
use crate::clock;

impl Shell {
    /// Publishes a reading; why it was not taken, if it was not.
    pub(super) fn publish(&mut self, payload: Bytes, time: u64, guarantee: Option<Guarantee>) -> Option<Refusal> {
        self.refused = None;
        self.feed(Input::Publish { payload, time, guarantee });
        let refused = self.refused.take();
        if refused.is_none()
            && let Some(count) = self.refusals.take()
        {
            log::info!("Readings of this peer are taken again; {count} were refused while it was blocked, and are not kept.");
        }
        refused
    }

    /// Publishes lines while there is room for them.
    pub(super) fn publish_lines(&mut self) {
        let Some(mut publisher) = self.lines.take() else { return };
        let now = clock::now();
        if publisher.retry_at.is_none_or(|at| at <= now) {
            publisher.retry_at = None;
            let mut room = 0;
            for _ in 0..LINES_PER_TURN {
                let Some(line) = publisher.lines.peek().cloned() else { break };
                if room == 0 {
                    let status = self.node.status();
                    room = publisher.window.saturating_sub(status.published.above(status.ordered));
                }
                if room == 0 {
                    publisher.retry_at = Some(now + RETRY);
                    break;
                }
                room -= 1;
                let wish = publisher.read(&line);
                let refused = wish.and_then(|(payload, guarantee)| self.publish(payload, clock::utc_micros(), guarantee));
                match refused {
                    Some(Refusal::WindowFull) => {
                        publisher.retry_at = Some(now + RETRY);
                        break;
                    }
                    Some(why @ (Refusal::TooLarge | Refusal::Leaving | Refusal::NoQuorum)) => self.refusals.refuse(why),
                    None => {}
                }
                publisher.lines.take();
            }
            publisher.more = publisher.retry_at.is_none() && publisher.lines.peek().is_some();
        }
        self.lines = Some(publisher);
    }
}

const LINES_PER_TURN: usize = 1_024;
const RETRY: Duration = Duration::from_millis(10);
