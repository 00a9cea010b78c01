//! Advances the subscriptions of all clients, a little of each in turn.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Service;
use crate::door::history::History;
use crate::door::subscription::{Step, Subscription};
use crate::door::{Fault, answer};

impl Service {
    /// Advances all subscriptions.
    pub(super) fn stream_all(&mut self, now: Instant) {
        let Self { clients, history, renderer, told_at, .. } = self;
        for client in clients.values_mut() {
            let mut rounds = 0;
            while client.has_room() && client.writable && rounds < ROUNDS_MOST {
                rounds += 1;
                let mut has_more = false;
                // A record may be large, and then there is not room for one of each.
                let first = client.first % client.subscriptions.len().max(1);
                client.first = first + 1;
                let (subscriptions, out) = client.streams();
                let mut over = Vec::new();
                let mut order: Vec<_> = subscriptions.iter_mut().collect();
                order.rotate_left(first);
                for (id, subscription) in order {
                    if out.len() >= OUTPUT_MAX {
                        has_more = true;
                        break;
                    }
                    let room = out.len() + RECORDS_EACH;
                    let before = out.len();
                    let step = subscription.pump(history, renderer, now, out, room);
                    if out.len() > before {
                        *told_at = now;
                    }
                    match step {
                        Step::Idle => {}
                        Step::More => has_more = true,
                        Step::Over(why) => over.push((id.clone(), why)),
                    }
                }
                end_all(over, subscriptions, history, out);
                client.flush();
                if !has_more {
                    break;
                }
            }
            let (subscriptions, out) = client.streams();
            let late = subscriptions.iter_mut().filter_map(|(id, subscription)| {
                Some((id.clone(), subscription.is_too_slow(history, now)?))
            });
            let late = late.collect();
            end_all(late, subscriptions, history, out);
        }
    }
}

/// Ends these subscriptions, each with its reason.
pub(super) fn end_all(
    over: Vec<(String, Fault)>,
    subscriptions: &mut BTreeMap<String, Subscription>,
    history: &History,
    out: &mut Vec<u8>,
) {
    for (id, why) in over {
        if let Some(subscription) = subscriptions.remove(&id) {
            answer::end(&id, &why, &subscription.next_json(history), out);
        }
    }
}

/// Bytes of records of one subscription before the next one of the same client.
const RECORDS_EACH: usize = 32 << 10;
/// Bytes at which no further record is prepared for a client.
const OUTPUT_MAX: usize = 1 << 20;
/// How often a client's output is filled in one turn, before the next client.
const ROUNDS_MOST: usize = 16;
