//! What a program publishes: taken into the outbox, or refused with the reason.

use crate::env::Env;
use crate::id::Oseq;
use crate::io::{Output, Publication};
use crate::node::Node;
use crate::report::note::{Note, Refusal};

impl Node {
    /// How many more readings the window takes now, and how many bytes of them; one that is larger
    /// than the window goes through it alone.
    #[must_use]
    pub fn room(&self) -> (u64, u64) {
        self.env.outbox.room(self.env.config.knobs())
    }
}

impl Env {
    pub(crate) fn on_publish(&mut self, publications: Vec<Publication>, out: &mut Vec<Output>) {
        let refuses = if self.leaving.is_some() {
            Some(Refusal::Leaving)
        } else if self.blocked.is_some() && (self.been_member || self.has_history) {
            Some(Refusal::NoQuorum)
        } else {
            None
        };
        let mut place = 0;
        for Publication { readings, guarantee } in publications {
            let guarantee = guarantee.unwrap_or(self.config.knobs().delivery);
            let (mut at, end) = (0, readings.len());
            while at < end {
                let rest = readings.slice(at..end);
                let (taken, why) = match refuses {
                    None => self.outbox.publish(&rest, guarantee, self.config.knobs()),
                    why => (0, why),
                };
                if taken > 0 {
                    let first = self.outbox.last().plus(1).0 - taken;
                    out.push(Output::Accepted {
                        first: Oseq(first),
                        guarantee,
                        readings: rest.slice(0..taken),
                    });
                }
                at += taken;
                let Some(why) = why else { continue };
                self.refuse_reading(place + at, why, out);
                if why == Refusal::WindowFull {
                    return;
                }
                at += 1;
            }
            place += end;
        }
    }

    pub(crate) fn refuse_reading(&mut self, place: u64, why: Refusal, out: &mut Vec<Output>) {
        self.refused += 1;
        // A full window is asked again and again; any other refusal is the end of a reading, and is
        // accounted for.
        if why != Refusal::WindowFull || self.refused.is_power_of_two() {
            out.push(Output::Note(Note::Refused { why, count: self.refused }));
        }
        out.push(Output::Refused { place, why });
    }
}
