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
use crate::report::note::{Cause, Evidence, Note};

use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::roles::witness::Witness;
use crate::time::Time;
use crate::wire::message::{Coordinator, Election, Heartbeat, HeartbeatAck, Message};

/// The facts of a member.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Follower {
    pub(crate) leader: Contact,
    pub(crate) epoch: Epoch,
    pub(crate) liveness: Liveness,
    /// An open question to the leader, on behalf of others.
    pub(crate) witness: Option<Witness>,
    /// When which ACK was sent.
    pub(crate) acks: Started,
    /// The last position acknowledged.
    pub(crate) acked: Seq,
    /// Heartbeats since which the leader has not ordered what was sent to it.
    pub(crate) stalled_beats: u32,
    /// What all members have, and where the leader's log ended when it said so.
    pub(crate) all_have: Option<(Seq, Seq)>,
    /// Where the newest view stood when it was last looked at.
    pub(crate) viewed: Option<Seq>,
    /// When it says by datagram who leads: it may be heard where its leader is not, and have seeds
    /// that its leader has not.
    pub(crate) call_at: Time,
    /// Woken then at the latest: only a peer that expects to be called often can tell that it was
    /// not.
    pub(crate) tick_at: Time,
}

impl Follower {
    /// Follows a leader from now on; `proven_at` is the start of the round trip that showed it
    /// alive.
    pub(crate) fn new(turn: &mut Turn<'_>, proven_at: Time, leader: Contact, epoch: Epoch) -> Self {
        let Turn { now, env, out } = turn;
        out.push(Output::Note(Note::Follows {
            log: env.log.name(),
            leader: leader.id().clone(),
            epoch: epoch.clone(),
        }));
        env.been_member = true;
        env.blocked = None;
        env.outside_since = None;
        env.outbox.rewind(env.log.last_oseq(&env.me.member));
        env.wants_changed = true;
        Self {
            leader,
            epoch,
            liveness: Liveness::new(proven_at),
            witness: None,
            acks: Started::default(),
            acked: Seq::ZERO,
            stalled_beats: 0,
            all_have: None,
            viewed: None,
            call_at: *now + env.patience(),
            tick_at: *now,
        }
    }

    /// A heartbeat, of its own leader or of another one that has not got to know better.
    pub(crate) fn on_heartbeat(&mut self, turn: &mut Turn<'_>, from: &Member, beat: &Heartbeat) {
        let install = turn.env.is_building_from(from, &beat.epoch);
        let ack = turn.env.acknowledge(from, &beat.epoch, beat.beat);
        self.call(turn);
        if self.leader.member != *from || self.epoch != beat.epoch {
            return;
        }
        let Turn { now, env, out } = turn;
        self.acks.note(beat.beat, *now);
        self.tick_at = *now + 2 * env.config.knobs().heartbeat_interval;
        if let Some(started) = beat.echo.and_then(|echo| self.acks.of(echo)) {
            self.liveness.prove(started);
        }
        let stalled = beat.last_oseq < env.outbox.sent() && !install;
        self.stalled_beats = if stalled { self.stalled_beats + 1 } else { 0 };
        if self.stalled_beats > STALLED_BEATS {
            // Nothing relies on TCP: what the leader has not ordered after two more beats is sent
            // again.
            self.stalled_beats = 0;
            env.outbox.rewind(beat.last_oseq);
        }
        if !install {
            self.all_have = self.all_have.or(beat.all_have.map(|all_have| (all_have, beat.high)));
            env.learn_stable(beat.stable, out);
            self.discard_what_all_have(env);
        }
        turn.env.answer_beat(turn.now, from, ack, turn.out);
    }

    /// Says to the leader what it has said to its newest heartbeat; the link that carried it may be
    /// gone.
    pub(crate) fn acknowledge_again(&self, turn: &mut Turn<'_>) {
        let Some(beat) = self.acks.newest() else { return };
        let leader = &self.leader.member;
        let ack = turn.env.acknowledge(leader, &self.epoch, beat);
        turn.env.send(turn.now, leader, Message::HeartbeatAck(ack), turn.out);
    }

    /// Says by datagram who leads, all members together so often, however many they are.
    fn call(&mut self, turn: &mut Turn<'_>) {
        let size = turn.env.log.view().map_or(1, View::size);
        let pause =
            turn.env.patience() * u32::try_from(size).unwrap_or(u32::MAX).max(CALLS) / CALLS;
        if self.call_at <= turn.now {
            self.call_at = turn.now + pause;
            let word = self.announcement(turn.env, None);
            turn.env.broadcast(Message::Coordinator(word), turn.out);
        }
    }

    /// Who leads, as far as this member knows; what is asked that way is for the leader to answer.
    pub(crate) fn announcement(&self, env: &Env, ask: Option<u64>) -> Coordinator {
        let (leader, epoch) = (self.leader.clone(), self.epoch.clone());
        let size = env.log.view().map_or(0, |view| view.size() as u64);
        Coordinator { leader, epoch, size, ask, names_you: false }
    }

    /// What the leader has numbered.
    pub(crate) fn on_ordered(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Member,
        ordered: Ordered,
    ) -> Flow {
        let Turn { now, env, out } = turn;
        if self.leader.member != *from
            || self.epoch != ordered.epoch
            || !env.log.is_in(&ordered.epoch)
        {
            return STAY;
        }
        let next = env.log.contiguous().next();
        if ordered.first > next {
            // A hole can only be what another link swallowed; the leader starts again at what is
            // acknowledged.
            let why = format!("#{} where #{next} was due", ordered.first);
            env.reject(Some(&from.id), "hole", &why, out);
            return STAY;
        }
        if env.holds_too_much() {
            let why = "more than anybody may be made to keep";
            env.reject(Some(&from.id), "ORDERED", why, out);
            return STAY;
        }
        let stable = ordered.stable;
        let waited = env.outbox.waits();
        for entry in ordered.from(next) {
            if !env.log.knows_origin(&entry) {
                env.reject(Some(&from.id), "ORDERED", "of an origin that was in no view", out);
                return STAY;
            }
            let Some(entry) = entry.resolve(env.log.view()) else {
                // Two logs of one epoch do not agree. That cannot be, and is no reason to hold
                // another view than the others.
                let why = "of a view that this peer does not hold";
                env.reject(Some(&from.id), "change", why, out);
                return go(Next::Join { target: env.links.contact(from).cloned() });
            };
            if matches!(entry, Entry::View(_)) {
                env.remember_view(out);
            }
            env.append(entry, out);
        }
        if waited {
            self.say_leave(*now, env, out);
        }
        env.learn_stable(stable, out);
        self.discard_what_all_have(env);
        STAY
    }

    /// The leader said what all members of its newest view have. That word may have overtaken the
    /// view, so it counts as soon as this log is as long as the leader's was.
    fn discard_what_all_have(&mut self, env: &mut Env) {
        let end = env.log.contiguous();
        if let Some((all_have, _)) = self.all_have.take_if(|(_, high)| *high <= end) {
            env.discard(all_have);
        }
    }

    /// Acknowledges what has come, and sends what waits.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>) {
        let Turn { now, env, out } = turn;
        let leader = &self.leader.member;
        let Some(link) = env.links.to(leader) else { return };
        let contiguous = env.log.contiguous();
        if env.install.is_some() {
            return;
        }
        if contiguous > self.acked && env.log.is_in(&self.epoch) {
            self.acked = contiguous;
            let epoch = self.epoch.clone();
            env.send(*now, leader, Message::OrderedAck { epoch, contiguous }, out);
        }
        env.send_requests(*now, leader, link, out);
    }

    pub(crate) fn deadline(&self, env: &Env) -> Time {
        let lost_at = self.liveness.lost_at(env.patience());
        let asked = self.witness.as_ref().map(|witness| witness.until);
        asked.into_iter().chain([lost_at, self.tick_at]).min().unwrap_or(self.tick_at)
    }

    /// The leader may have been silent for too long.
    pub(crate) fn miss_in_time(&mut self, turn: &mut Turn<'_>) -> Flow {
        self.tick_at = turn.now + 2 * turn.env.config.knobs().heartbeat_interval;
        if self.liveness.lost_at(turn.env.patience()) <= turn.now {
            return self.miss_silent(turn);
        }
        STAY
    }

    /// Misses the leader for its silence.
    fn miss_silent(&self, turn: &mut Turn<'_>) -> Flow {
        let proven_at = self.liveness.proven_at();
        let evidence = Evidence::Silence {
            last_round_trip_ms: millis(turn.now.since(proven_at)),
            beats_missed: self.acks.since(proven_at),
            connected: turn.env.links.is_linked(&self.leader.member),
            own_lag_ms: millis(turn.env.lag),
        };
        self.miss(turn, Cause::Silence, &evidence, None)
    }

    /// Misses the leader from now on; `asker` is answered as soon as it asks around itself.
    pub(crate) fn miss(
        &self,
        turn: &mut Turn<'_>,
        cause: Cause,
        evidence: &Evidence,
        asker: Option<Election>,
    ) -> Flow {
        let leader = self.leader.member.clone();
        turn.env.suspicions.note(&leader.id, evidence.to_string());
        turn.out.push(Output::Note(Note::Suspect {
            peer: leader.id.clone(),
            peer_inc: leader.inc,
            evidence: evidence.clone(),
        }));
        if turn.env.log.view().is_none() {
            // It holds no view, so there is nobody to ask: the first view is formed anew.
            go(Next::Join { target: None })
        } else {
            go(Next::Elect { cause, missed: Some(leader.id), asker })
        }
    }

    /// The newest view that has been delivered may say that this peer is out, or whom to join.
    pub(crate) fn follow_view(&mut self, turn: &mut Turn<'_>) -> Flow {
        let env = &*turn.env;
        if env.install.is_some()
            || env.sinks.delivered() < env.log.contiguous()
            || self.viewed == Some(env.log.view_at())
        {
            return STAY;
        }
        self.viewed = Some(env.log.view_at());
        let Some(view) = env.log.view() else { return STAY };
        if view.names(&env.me.member) {
            return self.join_successor(turn);
        }
        if view.epoch != self.epoch {
            // The cut has been adopted, and the list of the new epoch has this peer; the view that
            // says so is on its way.
            return STAY;
        }
        if env.leaving.is_some() {
            return go(Next::Stop(StopReason::Left));
        }
        // Who hears of it for as long as it was not heard has a leader that is deaf, to it at
        // least: asking that one is in vain, and the others may be in the same plight. If they are
        // not, they say so. But who has heard nothing either may just have stood still, for less
        // than makes itself felt.
        let knobs = env.config.knobs();
        let proven_at = self.liveness.proven_at();
        let unheard =
            turn.now.since(proven_at) >= knobs.heartbeat_timeout - knobs.heartbeat_interval / 4;
        let heard = self.acks.between(proven_at, turn.now, knobs.heartbeat_interval / 2);
        if unheard && heard {
            self.miss_silent(turn)
        } else {
            go(Next::Join { target: Some(self.leader.clone()) })
        }
    }

    /// Joins the leader that the newest view names, if that is the last one of a group that becomes
    /// part of another one.
    pub(crate) fn join_successor(&self, turn: &mut Turn<'_>) -> Flow {
        let Turn { now, env, .. } = turn;
        let last =
            env.log.view().filter(|view| view.epoch == self.epoch && view.names(&env.me.member));
        let Some(successor) =
            last.and_then(|view| view.successor.clone()).filter(|_| env.install.is_none())
        else {
            return STAY;
        };
        env.merging = true;
        env.put_off_dissolving(*now, successor.id());
        go(Next::Join { target: Some(successor) })
    }
}

impl Env {
    /// What is said to a heartbeat. A peer that is still building its log is alive, and holds
    /// nothing that would count in this epoch.
    pub(crate) fn acknowledge(&self, leader: &Member, epoch: &Epoch, beat: u64) -> HeartbeatAck {
        let (contiguous, epoch) = if self.is_building_from(leader, epoch) {
            (Seq::ZERO, Epoch::none())
        } else {
            (self.log.contiguous(), self.log.epoch())
        };
        HeartbeatAck { contiguous, epoch, beat, lag: 0 }
    }

    /// Answers a heartbeat, and says how late this node has been called since it last did.
    pub(crate) fn answer_beat(
        &mut self,
        now: Time,
        to: &Member,
        ack: HeartbeatAck,
        out: &mut Vec<Output>,
    ) {
        let lag = u64::try_from(std::mem::take(&mut self.lag).as_micros()).unwrap_or(u64::MAX);
        self.send(now, to, Message::HeartbeatAck(HeartbeatAck { lag, ..ack }), out);
    }

    pub(crate) fn is_building_from(&self, leader: &Member, epoch: &Epoch) -> bool {
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
        if self.policy().stable_is_everywhere() {
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
