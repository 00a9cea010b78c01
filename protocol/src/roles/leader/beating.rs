//! How a leader and its followers know that the other is there: heartbeats and what is said to
//! them.

use crate::id::{Member, Seq};
use crate::io::Output;
use crate::node::Node;
use crate::report::note::Evidence;
use crate::roles::Role;
use crate::roles::follower::millis;
use crate::time::Time;
use crate::wire::message::{Heartbeat, HeartbeatAck, Message};

/// Beats after which unacknowledged entries are sent again.
const STUCK_BEATS: u32 = 2;

impl Node {
    pub(crate) fn on_heartbeat_ack(
        &mut self,
        now: Time,
        from: &Member,
        ack: &HeartbeatAck,
        out: &mut Vec<Output>,
    ) {
        let leader = self.role.leader();
        let Some(progress) =
            leader.progress.get_mut(&from.id).filter(|progress| progress.contact.member == *from)
        else {
            return;
        };
        let Some(started) = progress.greetings.of(ack.beat).or(leader.started.of(ack.beat)) else {
            return;
        };
        progress.greetings.forget_to(ack.beat);
        progress.liveness.prove(started);
        progress.echo = progress.echo.max(Some(ack.beat));
        let holder = progress.contact.clone();
        // A member that answers before the view without it is numbered stays in.
        leader.failed.retain(|(contact, silent)| !silent || contact.member != *from);
        leader.clear_doubt();
        self.refuse_duplicates(now, from, &holder, ack.beat, out);
        self.on_ordered_ack(now, from, &ack.epoch, ack.contiguous);
    }

    /// Beats, watches, batches.
    pub(crate) fn lead_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.doubt_quorum(now, out) {
            return;
        }
        self.watch(now, out);
        self.forget_parting(now, out);
        self.stop_merge_request(now, |merge_request| merge_request.until <= now);
        self.stop_inviting(now);
        self.forget_entrants(now);
        let Role::Leader(leader) = &self.role else { return };
        if leader.beat_at <= now {
            self.beat(now, out);
        }
    }

    /// Evicts who has been silent, or behind, for too long.
    pub(crate) fn watch(&mut self, now: Time, out: &mut Vec<Output>) {
        let timeout = self.env.config.knobs().heartbeat_timeout;
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.watch_at > now {
            return;
        }
        let mut overdue = Vec::new();
        for progress in leader.progress.values() {
            if progress.liveness.lost_at(timeout) <= now {
                let proven_at = progress.liveness.proven_at();
                overdue.push((
                    progress.contact.clone(),
                    Evidence::Silence {
                        last_round_trip_ms: millis(now.since(proven_at)),
                        beats_missed: leader.started.since(proven_at),
                        connected: self.env.links.is_linked(&progress.contact.member),
                        own_lag_ms: millis(self.env.lag),
                    },
                ));
            }
        }
        // A leader that needs a quorum has to notice before its members do that it has none.
        let patience =
            if self.env.config.is_primary() { self.env.config.quorum_timeout() } else { timeout };
        let soonest = leader
            .progress
            .values()
            .map(|progress| progress.lost_at(patience))
            .filter(|at| *at > now)
            .min();
        leader.watch_at = soonest.unwrap_or(now + timeout);
        for (contact, evidence) in overdue {
            self.evict(&contact, &evidence, out);
        }
    }

    /// One heartbeat to everyone, and the beacon.
    pub(crate) fn beat(&mut self, now: Time, out: &mut Vec<Output>) {
        let knobs = self.env.config.knobs().clone();
        let (high, stable) = (self.env.log.contiguous(), self.env.log.stable());
        let Role::Leader(leader) = &mut self.role else { return };
        leader.note_steadiness();
        leader.beat += 1;
        leader.last_beat = Some((leader.beat, high));
        leader.beat_at = now + knobs.heartbeat_interval;
        leader.started.note(leader.beat, now);
        self.env.beats = leader.beat;
        let (beat, epoch) = (leader.beat, leader.epoch.clone());
        let all_have = leader
            .progress
            .values()
            .all(|progress| progress.adopted && progress.acked > Seq::ZERO)
            .then(|| leader.all_acked(high));
        let mut beats = Vec::with_capacity(leader.progress.len());
        for progress in leader.progress.values_mut() {
            // Nothing relies on TCP: what has been sent and not acknowledged for two more beats is
            // sent again.
            let stuck = progress.adopted
                && progress.cursor > progress.acked
                && progress.stuck.0 == progress.acked;
            progress.stuck = (progress.acked, if stuck { progress.stuck.1 + 1 } else { 0 });
            let full = self
                .env
                .links
                .to(&progress.contact.member)
                .is_some_and(|link| self.env.links.is_full(link));
            if progress.stuck.1 > STUCK_BEATS && !full {
                progress.stuck.1 = 0;
                progress.resume();
            }
            beats.push((progress.contact.member.clone(), progress.echo, progress.adopted));
        }
        // The first beat follows the announcement at once; whoever has not adopted it by the next
        // one may not have got it.
        let say_again = leader.beat > leader.beat_before + 1;
        let announced = leader.announced.clone();
        for (member, echo, adopted) in beats {
            let last_oseq = self.env.log.last_oseq(&member);
            let heartbeat =
                Heartbeat { epoch: epoch.clone(), beat, high, stable, all_have, echo, last_oseq };
            self.env.send(now, &member, Message::Heartbeat(heartbeat), out);
            if say_again && !adopted && announced.list.contains(&member) {
                self.env.send(now, &member, Message::SeqSyncFinal(announced.clone()), out);
            }
        }
        if let Some(all_have) = all_have {
            self.env.discard(all_have);
        }
        self.evict_slow(now, out);
        self.notice_moves(now);
        self.yield_to_better(now);
        let beacon = Message::Coordinator(self.env.announcement(None, None));
        self.env.broadcast(beacon, out);
        self.tell_stable(out);
    }

    /// One heartbeat out of turn: whatever the old link swallowed must not cost a round trip.
    pub(crate) fn greet(&mut self, now: Time, member: &Member, out: &mut Vec<Output>) {
        let (high, stable, last_oseq) =
            (self.env.log.contiguous(), self.env.log.stable(), self.env.log.last_oseq(member));
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&member.id) else { return };
        leader.beat += 1;
        self.env.beats = leader.beat;
        progress.greetings.note(leader.beat, now);
        let (epoch, beat, echo) = (leader.epoch.clone(), leader.beat, progress.echo);
        let heartbeat = Heartbeat { epoch, beat, high, stable, all_have: None, echo, last_oseq };
        self.env.send(now, member, Message::Heartbeat(heartbeat), out);
    }
}
