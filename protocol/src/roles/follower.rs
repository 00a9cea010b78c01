//! A follower: sends its leader readings to be numbered, holds what it numbers, and watches it.

mod page;

use crate::delivery::outbox::{Settled, Stretch};
use crate::detector::{Liveness, Started};
use crate::env::Env;
use crate::guarantee::Guarantee;
use crate::id::{Contact, Epoch, Member, Seq};
use crate::io::{Outcome, Output, StopReason};
use crate::log::entry::{Entry, Ordered, Requests};
use crate::log::view::View;
use crate::node::Node;
use crate::report::note::{Cause, Evidence, Note};
use crate::roles::{Follower, Role};
use crate::time::Time;
use crate::wire::message::{Coordinator, Heartbeat, HeartbeatAck, Message, Reason};

impl Node {
    /// Follows a leader from now on; `proven_at` is the start of the round trip that showed it
    /// alive.
    pub(crate) fn become_member(
        &mut self,
        now: Time,
        proven_at: Time,
        leader: Contact,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Note(Note::Follows {
            log: self.env.log.name(),
            leader: leader.id().clone(),
            epoch: epoch.clone(),
        }));
        self.env.been_member = true;
        self.env.blocked = None;
        self.env.outside_since = None;
        self.env.witness = None;
        self.env.outbox.rewind(self.env.log.last_oseq(&self.env.me.member));
        self.role = Role::Follower(Follower {
            leader,
            epoch,
            liveness: Liveness::new(proven_at),
            acks: Started::default(),
            acked: Seq::ZERO,
            stalled_beats: 0,
            all_have: None,
            viewed: None,
            call_at: now + self.env.patience(),
            tick_at: now,
        });
        self.env.wants_changed = true;
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        now: Time,
        from: &Member,
        beat: &Heartbeat,
        out: &mut Vec<Output>,
    ) {
        if self.is_stale(now, from, &beat.epoch, "HEARTBEAT", out) {
            return;
        }
        let install = self.env.is_building_from(from, &beat.epoch);
        let mut ack = self.env.acknowledge(from, &beat.epoch, beat.beat);
        self.call(now, out);
        ack.lag = u64::try_from(std::mem::take(&mut self.env.lag).as_micros()).unwrap_or(u64::MAX);
        match &mut self.role {
            Role::Follower(follower)
                if follower.leader.member == *from && follower.epoch == beat.epoch =>
            {
                follower.acks.note(beat.beat, now);
                follower.tick_at = now + 2 * self.env.config.knobs().heartbeat_interval;
                if let Some(started) = beat.echo.and_then(|echo| follower.acks.of(echo)) {
                    follower.liveness.prove(started);
                }
                let stalled = beat.last_oseq < self.env.outbox.sent() && !install;
                follower.stalled_beats = if stalled { follower.stalled_beats + 1 } else { 0 };
                if follower.stalled_beats > STALLED_BEATS {
                    // Nothing relies on TCP: what the leader has not ordered after two more beats
                    // is sent again.
                    follower.stalled_beats = 0;
                    self.env.outbox.rewind(beat.last_oseq);
                }
                if !install {
                    follower.all_have =
                        follower.all_have.or(beat.all_have.map(|all_have| (all_have, beat.high)));
                    self.env.learn_stable(beat.stable, out);
                    self.discard_what_all_have();
                }
            }
            Role::Joining(_) if install => {}
            Role::Follower(_) | Role::Joining(_) | Role::Candidate(_) | Role::Leader(_) => return,
        }
        self.env.send(now, from, Message::HeartbeatAck(ack), out);
    }

    /// Says to the leader what it has said to its newest heartbeat; the link that carried it may be
    /// gone.
    pub(crate) fn acknowledge_again(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Follower(follower) = &self.role else { return };
        let Some(beat) = follower.acks.newest() else { return };
        let leader = follower.leader.member.clone();
        let ack = self.env.acknowledge(&leader, &follower.epoch, beat);
        self.env.send(now, &leader, Message::HeartbeatAck(ack), out);
    }

    /// Says by datagram who leads, all members together so often, however many they are.
    fn call(&mut self, now: Time, out: &mut Vec<Output>) {
        let size = self.env.log.view().map_or(1, View::size);
        let pause =
            self.env.patience() * u32::try_from(size).unwrap_or(u32::MAX).max(CALLS) / CALLS;
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.call_at <= now {
            follower.call_at = now + pause;
            let word = self.leader_announcement(None);
            word.into_iter().for_each(|word| self.env.broadcast(Message::Coordinator(word), out));
        }
    }

    /// Who leads, as far as this member knows; what is asked that way is for the leader to answer.
    pub(crate) fn leader_announcement(&self, ask: Option<u64>) -> Option<Coordinator> {
        let Role::Follower(follower) = &self.role else { return None };
        let (leader, epoch) = (follower.leader.clone(), follower.epoch.clone());
        let size = self.env.log.view().map_or(0, |view| view.size() as u64);
        Some(Coordinator { leader, epoch, size, ask, names_you: false })
    }

    pub(crate) fn on_ordered(
        &mut self,
        now: Time,
        from: &Member,
        ordered: Ordered,
        out: &mut Vec<Output>,
    ) {
        if let Some(ask) = ordered.repair {
            if self.env.install.as_ref().is_some_and(|install| install.source.member == *from) {
                self.on_repair(now, ask, ordered, out);
            }
            return;
        }
        if self.is_stale(now, from, &ordered.epoch, "ORDERED", out) {
            return;
        }
        if self.env.is_admission(from, &ordered) {
            self.extend_admission(now, ordered, out);
            return;
        }
        let Role::Follower(follower) = &self.role else { return };
        if follower.leader.member != *from
            || follower.epoch != ordered.epoch
            || !self.env.log.is_in(&ordered.epoch)
        {
            return;
        }
        let next = self.env.log.contiguous().next();
        if ordered.first > next {
            // A hole can only be what another link swallowed; the leader starts again at what is
            // acknowledged.
            self.env.reject(
                Some(&from.id),
                "hole",
                &format!("#{} where #{next} was due", ordered.first),
                out,
            );
            return;
        }
        if self.env.holds_too_much() {
            self.env.reject(
                Some(&from.id),
                "ORDERED",
                "more than anybody may be made to keep",
                out,
            );
            return;
        }
        let stable = ordered.stable;
        let waited = self.env.outbox.waits();
        for entry in ordered.from(next) {
            if !self.env.log.knows_origin(&entry) {
                self.env.reject(Some(&from.id), "ORDERED", "of an origin that was in no view", out);
                return;
            }
            let Some(entry) = entry.resolve(self.env.log.view()) else {
                // Two logs of one epoch do not agree. That cannot be, and is no reason to hold
                // another view than the others.
                self.env.reject(
                    Some(&from.id),
                    "change",
                    "of a view that this peer does not hold",
                    out,
                );
                let leader = self.env.links.contact(from).cloned();
                self.become_joining(now, leader, out);
                return;
            };
            if matches!(entry, Entry::View(_)) {
                self.env.remember_view(out);
            }
            self.env.append(entry, out);
        }
        if waited {
            self.say_leave(now, out);
        }
        self.env.learn_stable(stable, out);
        self.discard_what_all_have();
    }

    /// Drops what is below the promise, and says so to whoever may act on it.
    pub(crate) fn is_stale(
        &mut self,
        now: Time,
        from: &Member,
        epoch: &Epoch,
        kind: &str,
        out: &mut Vec<Output>,
    ) -> bool {
        if *epoch >= self.env.promised {
            return false;
        }
        out.push(Output::Note(Note::StaleEpoch {
            log: self.env.log.name(),
            from: from.id.clone(),
            epoch: epoch.clone(),
            kind: kind.to_owned(),
        }));
        match &self.role {
            Role::Follower(_) | Role::Leader(_) => {
                let promised = self.env.promised.clone();
                self.env.refuse(now, from, None, Reason::Stale { promised }, out);
            }
            Role::Joining(_) | Role::Candidate(_) => {}
        }
        true
    }

    /// The leader said what all members of its newest view have. That word may have overtaken the
    /// view, so it counts as soon as this log is as long as the leader's was.
    pub(crate) fn discard_what_all_have(&mut self) {
        let end = self.env.log.contiguous();
        let Role::Follower(follower) = &mut self.role else { return };
        if let Some((all_have, _)) = follower.all_have.take_if(|(_, high)| *high <= end) {
            self.env.discard(all_have);
        }
    }

    /// Acknowledges what has come, and sends what waits.
    pub(crate) fn settle_member(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Follower(follower) = &mut self.role else { return };
        let leader = follower.leader.member.clone();
        let Some(link) = self.env.links.to(&leader) else { return };
        let contiguous = self.env.log.contiguous();
        if self.env.install.is_none()
            && contiguous > follower.acked
            && self.env.log.is_in(&follower.epoch)
        {
            follower.acked = contiguous;
            let epoch = follower.epoch.clone();
            self.env.send(now, &leader, Message::OrderedAck { epoch, contiguous }, out);
        }
        if self.env.install.is_none() {
            self.env.send_requests(now, &leader, link, out);
        }
    }

    /// The leader may have been silent for too long.
    pub(crate) fn miss_in_time(&mut self, now: Time, out: &mut Vec<Output>) {
        let (patience, interval) =
            (self.env.patience(), self.env.config.knobs().heartbeat_interval);
        let Role::Follower(follower) = &mut self.role else { return };
        follower.tick_at = now + 2 * interval;
        if follower.liveness.lost_at(patience) <= now {
            self.miss_silent(now, out);
        }
    }

    /// Misses the leader for its silence.
    fn miss_silent(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Follower(follower) = &self.role else { return };
        let proven_at = follower.liveness.proven_at();
        let evidence = Evidence::Silence {
            last_round_trip_ms: millis(now.since(proven_at)),
            beats_missed: follower.acks.since(proven_at),
            connected: self.env.links.is_linked(&follower.leader.member),
            own_lag_ms: millis(self.env.lag),
        };
        self.miss(now, Cause::Silence, &evidence, out);
    }

    /// Misses the leader from now on.
    pub(crate) fn miss(
        &mut self,
        now: Time,
        cause: Cause,
        evidence: &Evidence,
        out: &mut Vec<Output>,
    ) {
        let Role::Follower(follower) = &self.role else { return };
        let leader = follower.leader.member.clone();
        self.env.suspicions.note(&leader.id, evidence.to_string());
        out.push(Output::Note(Note::Suspect {
            peer: leader.id.clone(),
            peer_inc: leader.inc,
            evidence: evidence.clone(),
        }));
        if self.env.log.view().is_none() {
            // It holds no view, so there is nobody to ask: the first view is formed anew.
            self.become_joining(now, None, out);
        } else {
            self.become_candidate(now, cause, Some(leader.id), out);
        }
    }

    /// The newest view that has been delivered may say that this peer is out, or whom to join.
    pub(crate) fn follow_view(&mut self, now: Time, out: &mut Vec<Output>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if self.env.install.is_some()
            || self.env.sinks.delivered() < self.env.log.contiguous()
            || follower.viewed == Some(self.env.log.view_at())
        {
            return;
        }
        follower.viewed = Some(self.env.log.view_at());
        let Some(view) = self.env.log.view() else { return };
        if !view.names(&self.env.me.member) {
            if view.epoch != follower.epoch {
                // The cut has been adopted, and the list of the new epoch has this peer; the view
                // that says so is on its way.
                return;
            }
            if self.env.leaving.is_some() {
                self.stop(StopReason::Left, out);
            } else {
                // Who hears of it for as long as it was not heard has a leader that is deaf, to it
                // at least: asking that one is in vain, and the others may be in the same plight.
                // If they are not, they say so. But who has heard nothing either may just have
                // stood still, for less than makes itself felt.
                let knobs = self.env.config.knobs();
                let proven_at = follower.liveness.proven_at();
                let unheard =
                    now.since(proven_at) >= knobs.heartbeat_timeout - knobs.heartbeat_interval / 4;
                let heard = follower.acks.between(proven_at, now, knobs.heartbeat_interval / 2);
                if unheard && heard {
                    self.miss_silent(now, out);
                } else {
                    let leader = follower.leader.clone();
                    self.become_joining(now, Some(leader), out);
                }
            }
        } else {
            self.join_successor(now, out);
        }
    }

    /// Joins the leader that the newest view names, if that is the last one of a group that becomes
    /// part of another one.
    pub(crate) fn join_successor(&mut self, now: Time, out: &mut Vec<Output>) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        let last = self
            .env
            .log
            .view()
            .filter(|view| view.epoch == follower.epoch && view.names(&self.env.me.member));
        let Some(successor) =
            last.and_then(|view| view.successor.clone()).filter(|_| self.env.install.is_none())
        else {
            return false;
        };
        self.env.merging = true;
        self.env.put_off_dissolving(now, successor.id());
        self.become_joining(now, Some(successor), out);
        true
    }
}

impl Env {
    /// What is said to a heartbeat. A peer that is still building its log is alive, and holds
    /// nothing that would count in this epoch.
    fn acknowledge(&self, leader: &Member, epoch: &Epoch, beat: u64) -> HeartbeatAck {
        let (contiguous, epoch) = if self.is_building_from(leader, epoch) {
            (Seq::ZERO, Epoch::none())
        } else {
            (self.log.contiguous(), self.log.epoch())
        };
        HeartbeatAck { contiguous, epoch, beat, lag: 0 }
    }

    fn is_building_from(&self, leader: &Member, epoch: &Epoch) -> bool {
        self.install
            .as_ref()
            .is_some_and(|install| install.epoch == *epoch && install.source.member == *leader)
    }

    /// Everything up to `seq` is stable: own readings become safe, and what lies far enough behind
    /// may go.
    pub(crate) fn learn_stable(&mut self, seq: Seq, out: &mut Vec<Output>) {
        if !self.log.raise_stable(seq) {
            return;
        }
        if !self.config.is_primary() {
            // What is stable here is what everybody has; the next heartbeat may be a million
            // entries away.
            self.discard(self.log.stable());
        }
        self.confirm_stable(out);
    }

    /// Tells which readings of its own are stable that were not known to be.
    pub(crate) fn confirm_stable(&mut self, out: &mut Vec<Output>) {
        let news = self.outbox.on_stable(self.log.stable(), self.log.base(), self.config.knobs());
        for settled in &news {
            match *settled {
                Settled::Placed(stretch) => {
                    Output::published(stretch, Outcome::Stable, &self.log, out)
                }
                Settled::Unplaced { from: first, to: last } => {
                    out.push(Output::Published {
                        first,
                        last,
                        place: None,
                        outcome: Outcome::Stable,
                    });
                }
            }
        }
        let placed = news.into_iter().filter_map(|settled| {
            if let Settled::Placed(stretch) = settled { Some(stretch) } else { None }
        });
        for Stretch { seq, oseq, count, .. } in
            placed.filter(|stretch| stretch.guarantee == Guarantee::Safe)
        {
            out.push(Output::Acknowledged {
                first: oseq,
                seq,
                count,
                log: self.log.name(),
                epoch: self.log.epoch(),
            });
        }
    }

    /// Forgets what everybody has, except the retained tail.
    pub(crate) fn discard(&mut self, all_have: Seq) {
        let floor = all_have.min(self.log.stable()).min(self.sinks.delivered());
        let knobs = self.config.knobs();
        self.log.discard(floor, knobs.retain_entries, knobs.retain_bytes);
    }

    /// Whether what this peer keeps of the log, and builds of another one, is more than a leader
    /// lets anybody lag: such a leader takes no more readings long before.
    pub(crate) fn holds_too_much(&mut self) -> bool {
        let most = self.kept_most();
        let built = self.install.as_ref().map_or(0, |install| install.entries.weight());
        if self.log.weight() + built > most {
            // What everybody has may be known at the next heartbeat only; what is stable and handed
            // over can be done without.
            self.discard(self.log.stable());
        }
        self.log.weight() + built > most
    }

    /// How much of the log a peer keeps before it takes no more, in bytes.
    pub(crate) fn kept_most(&self) -> u64 {
        let knobs = self.config.knobs();
        3 * knobs.retain_bytes + 2 * knobs.window_bytes
    }

    fn send_requests(
        &mut self,
        now: Time,
        leader: &Member,
        link: crate::id::LinkId,
        out: &mut Vec<Output>,
    ) {
        let logged = self.log.last_oseq(&self.me.member);
        while !self.links.is_full(link)
            && let Some((first, run)) = self.outbox.next_due(logged, RUN_BYTES)
        {
            let requests = Requests { origin: self.me.member.clone(), first, run };
            self.send(now, leader, Message::SequencerRequest(requests), out);
        }
    }
}

pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The most payload bytes in one frame of requests or entries, unless a single one is larger.
pub(crate) const RUN_BYTES: u64 = 64 << 10;
/// How many members say by datagram who leads in the time that one of a few takes between two.
const CALLS: u32 = 16;
/// Beats after which unordered requests are sent again.
const STALLED_BEATS: u32 = 2;

#[cfg(test)]
mod tests {
    use crate::config::Knobs;
    use crate::guarantee::Guarantee;
    use crate::harness::{Harness, beat, epoch_of, first_view, nothing, peer};
    use crate::id::{Epoch, Oseq, Seq};
    use crate::io::Input;
    use crate::log::entry::{Entry, Ordered};
    use crate::log::view::View;
    use crate::report::activity::Activity;
    use crate::roles::Role;
    use crate::wire::message::{Heartbeat, Message, Reason, Rejected};

    /// How many frames of readings the leader has been sent.
    fn sent(harness: &mut Harness) -> usize {
        harness
            .told(&peer(3))
            .iter()
            .filter(|message| matches!(message, Message::SequencerRequest(_)))
            .count()
    }

    #[test]
    fn readings_wait_for_a_link_that_takes_no_more() {
        let mut harness = Harness::member(Knobs::fast());
        let link = harness.link(&peer(3));
        harness.give(Input::Backlog { link, full: true });
        harness.publish("x");
        assert_eq!(sent(&mut harness), 0);
        harness.give(Input::Backlog { link, full: false });
        assert_eq!(sent(&mut harness), 1);
    }

    #[test]
    fn what_has_not_been_ordered_after_two_more_beats_is_sent_again() {
        let mut harness = Harness::member(Knobs::fast());
        for n in 1..9 {
            harness.say(&peer(3), beat(n, 0));
        }
        harness.publish("x");
        assert_eq!(sent(&mut harness), 1);
        for (n, ordered, again) in [
            (9, 0, 0),
            (10, 0, 0),
            (11, 0, 1),
            (12, 0, 0),
            (13, 1, 0),
            (14, 0, 0),
            (15, 0, 0),
            (16, 0, 1),
        ] {
            harness.say(&peer(3), beat(n, ordered));
            assert_eq!(sent(&mut harness), again, "beat {n}");
        }
    }

    #[test]
    fn whom_to_join_says_the_last_view_of_its_group_also_while_something_before_it_waits_to_be_safe()
     {
        let mut harness = Harness::member(Knobs::fast());
        let epoch = epoch_of(&peer(3));
        let view = harness.node.env.log.view().cloned().expect("it is in one");
        let last = View { view_id: view.view_id.next(), successor: Some(peer(4)), ..view };
        let run = vec![
            Entry::one(peer(2).member, Oseq(1), Guarantee::Safe, "x".into(), 0),
            Entry::View(last),
        ];
        harness.say(
            &peer(3),
            Message::Ordered(Ordered {
                epoch: epoch.clone(),
                first: Seq(2),
                run,
                stable: Seq(1),
                repair: None,
            }),
        );
        assert_eq!(harness.node.activity(), Activity::Member, "who has it is to be said yet");
        harness.say(
            &peer(3),
            Message::Rejected(Rejected { ask: Some(epoch.round), reason: Reason::NotLeader }),
        );
        let Role::Joining(joining) = &harness.node.role else { panic!("it elects") };
        assert_eq!(joining.target.as_ref().map(|(target, _)| target), Some(&peer(4)));
    }

    #[test]
    fn who_is_being_let_in_answers_its_own_leader_and_holds_nothing_yet() {
        let acks = |harness: &mut Harness, from: u16, message: Message| {
            harness.out.clear();
            harness.say(&peer(from), message);
            let ack = |message| {
                if let Message::HeartbeatAck(ack) = message {
                    Some((ack.epoch, ack.contiguous))
                } else {
                    None
                }
            };
            harness.told(&peer(from)).into_iter().filter_map(ack).collect::<Vec<_>>()
        };
        let mut harness = Harness::newcomer(Knobs::fast());
        harness.greet(&peer(2), nothing());
        harness.greet(&peer(3), nothing());
        assert_eq!(acks(&mut harness, 3, beat(1, 0)), []);
        harness.let_in(Seq::ZERO, Seq(1));
        assert_eq!(acks(&mut harness, 3, beat(2, 0)), [(Epoch::none(), Seq::ZERO)]);
        assert_eq!(acks(&mut harness, 2, beat(3, 0)), [], "somebody else");
        let Message::Heartbeat(later) = beat(4, 0) else { unreachable!("a heartbeat") };
        let later = Heartbeat { epoch: later.epoch.next(peer(3).member), ..later };
        assert_eq!(acks(&mut harness, 3, Message::Heartbeat(later)), [], "another epoch");
        harness.say(&peer(3), first_view());
        assert_eq!(acks(&mut harness, 3, beat(5, 0)), [(epoch_of(&peer(3)), Seq(1))]);
    }
}
