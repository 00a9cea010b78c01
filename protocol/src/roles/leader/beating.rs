//! How a leader and its followers know that the other is there: heartbeats and what is said to
//! them.

use crate::id::{Member, Seq};
use crate::report::note::Evidence;
use crate::roles::follower::millis;
use crate::roles::leader::Leader;
use crate::roles::turn::{Flow, STAY, Turn};
use crate::wire::message::{Heartbeat, HeartbeatAck, Message};

/// Beats after which unacknowledged entries are sent again.
const STUCK_BEATS: u32 = 2;

impl Leader {
    pub(crate) fn on_heartbeat_ack(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        ack: &HeartbeatAck,
    ) {
        let Some(progress) =
            self.progress.get_mut(&from.id).filter(|progress| progress.contact.member == *from)
        else {
            return;
        };
        let Some(started) = progress.greetings.of(ack.beat).or(self.started.of(ack.beat)) else {
            return;
        };
        progress.greetings.forget_to(ack.beat);
        progress.liveness.prove(started);
        progress.echo = progress.echo.max(Some(ack.beat));
        let holder = progress.contact.clone();
        // A member that answers before the view without it is numbered stays in.
        self.failed.retain(|(contact, silent)| !silent || contact.member != *from);
        self.clear_doubt();
        self.refuse_duplicates(turn, from, &holder, ack.beat);
        self.on_ordered_ack(turn, from, &ack.epoch, ack.contiguous);
    }

    /// Beats, watches, batches.
    pub(crate) fn lead_in_time(&mut self, turn: &mut Turn<'_>) -> Flow {
        self.doubt_quorum(turn)?;
        let now = turn.now;
        self.watch(turn);
        self.forget_parting(turn);
        self.stop_merge_request(turn, |merge_request| merge_request.until <= now);
        self.stop_inviting(turn);
        self.forget_entrants(turn);
        if self.beat_at <= now {
            self.beat(turn);
        }
        STAY
    }

    /// Evicts who has been silent, or behind, for too long.
    pub(crate) fn watch(&mut self, turn: &mut Turn<'_>) {
        let timeout = turn.env.config.knobs().heartbeat_timeout;
        if self.watch_at > turn.now {
            return;
        }
        let mut overdue = Vec::new();
        for progress in self.progress.values() {
            if progress.liveness.lost_at(timeout) <= turn.now {
                let proven_at = progress.liveness.proven_at();
                overdue.push((
                    progress.contact.clone(),
                    Evidence::Silence {
                        last_round_trip_ms: millis(turn.now.since(proven_at)),
                        beats_missed: self.started.since(proven_at),
                        connected: turn.env.links.is_linked(&progress.contact.member),
                        own_lag_ms: millis(turn.env.lag),
                    },
                ));
            }
        }
        // A leader that needs a quorum has to notice before its members do that it has none.
        let patience = if turn.env.policy().needs_quorum() {
            turn.env.config.quorum_timeout()
        } else {
            timeout
        };
        let soonest = self
            .progress
            .values()
            .map(|progress| progress.lost_at(patience))
            .filter(|at| *at > turn.now)
            .min();
        self.watch_at = soonest.unwrap_or(turn.now + timeout);
        for (contact, evidence) in overdue {
            self.evict(turn, &contact, &evidence);
        }
    }

    /// One heartbeat to everyone, and the beacon.
    pub(crate) fn beat(&mut self, turn: &mut Turn<'_>) {
        let (high, stable) = (turn.env.log.contiguous(), turn.env.log.stable());
        self.note_steadiness();
        self.beat += 1;
        self.last_beat = Some((self.beat, high));
        self.beat_at = turn.now + turn.env.config.knobs().heartbeat_interval;
        self.started.note(self.beat, turn.now);
        turn.env.beats = self.beat;
        let (beat, epoch) = (self.beat, self.epoch.clone());
        let all_have = self
            .progress
            .values()
            .all(|progress| progress.adopted && progress.acked > Seq::ZERO)
            .then(|| self.all_acked(high));
        let mut beats = Vec::with_capacity(self.progress.len());
        for progress in self.progress.values_mut() {
            // Nothing relies on TCP: what has been sent and not acknowledged for two more beats is
            // sent again.
            let stuck = progress.adopted
                && progress.cursor > progress.acked
                && progress.stuck.0 == progress.acked;
            progress.stuck = (progress.acked, if stuck { progress.stuck.1 + 1 } else { 0 });
            let full = turn
                .env
                .links
                .to(&progress.contact.member)
                .is_some_and(|link| turn.env.links.is_full(link));
            if progress.stuck.1 > STUCK_BEATS && !full {
                progress.stuck.1 = 0;
                progress.resume();
            }
            beats.push((progress.contact.member.clone(), progress.echo, progress.adopted));
        }
        // The first beat follows the announcement at once; whoever has not adopted it by the next
        // one may not have got it.
        let say_again = self.beat > self.beat_before + 1;
        let announced = self.announced.clone();
        for (member, echo, adopted) in beats {
            let last_oseq = turn.env.log.last_oseq(&member);
            let heartbeat =
                Heartbeat { epoch: epoch.clone(), beat, high, stable, all_have, echo, last_oseq };
            turn.env.send(turn.now, &member, Message::Heartbeat(heartbeat), turn.out);
            if say_again && !adopted && announced.list.contains(&member) {
                let cut = Message::SeqSyncFinal(announced.clone());
                turn.env.send(turn.now, &member, cut, turn.out);
            }
        }
        if let Some(all_have) = all_have {
            turn.env.discard(all_have);
        }
        self.evict_slow(turn);
        self.notice_moves(turn);
        self.yield_to_better(turn);
        let beacon = Message::Coordinator(turn.env.announcement(None, None));
        turn.env.broadcast(beacon, turn.out);
        self.tell_stable(turn);
    }

    /// One heartbeat out of turn: whatever the old link swallowed must not cost a round trip.
    pub(crate) fn greet(&mut self, turn: &mut Turn<'_>, member: &Member) {
        let (high, stable, last_oseq) =
            (turn.env.log.contiguous(), turn.env.log.stable(), turn.env.log.last_oseq(member));
        let Some(progress) = self.progress.get_mut(&member.id) else { return };
        self.beat += 1;
        turn.env.beats = self.beat;
        progress.greetings.note(self.beat, turn.now);
        let (epoch, beat, echo) = (self.epoch.clone(), self.beat, progress.echo);
        let heartbeat = Heartbeat { epoch, beat, high, stable, all_have: None, echo, last_oseq };
        turn.env.send(turn.now, member, Message::Heartbeat(heartbeat), turn.out);
    }
}
