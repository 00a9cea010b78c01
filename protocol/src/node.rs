//! The node: one peer of the group, as a value. Inputs in, outputs out.
//!
//! This file owns the facts that survive every change of role, sorts what comes in, and finishes
//! each call by settling what follows from it. What passes the `gate` goes to the page of the
//! present role (`roles/*/page.rs`), which names every message.

use crate::config::Config;
use crate::env::Env;
use crate::id::{Contact, LinkId, Member, PeerId, ViewId};
use crate::io::{Input, Output, StopReason};
use crate::links::Proof;
use crate::links::want::Wanted;
use crate::report::inspect::situation;
use crate::report::note::Note;
use crate::roles::Role;
use crate::roles::joining::Joining;
use crate::time::Time;

/// One peer of the group.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) env: Env,
    pub(crate) role: Role,
}

impl Node {
    /// A peer that is in no group yet; it announces itself at its first wake-up.
    /// `seed` feeds its jitter and the names of its questions, and nothing else.
    #[must_use]
    pub fn new(me: Contact, config: Config, seed: u64, now: Time) -> Self {
        let mut env = Env::new(me, config, seed, now);
        let ask = env.fresh_ask();
        Self { env, role: Role::Joining(Joining::new(now, ask)) }
    }

    /// Says that this peer has been in a view in an earlier life: in mode `primary` it then founds
    /// no group, because it may have forgotten what that view knew.
    #[must_use]
    pub fn with_history(self) -> Self {
        Self { env: Env { has_history: true, ..self.env }, ..self }
    }

    /// Says what the wall clock shows, in microseconds since 1970 (UTC), as [`Input::Clock`] does.
    #[must_use]
    pub fn with_clock(mut self, now: Time, utc: u64) -> Self {
        self.env.clock.set_wall(now, utc);
        self
    }

    /// Advances the node to `now`. Never blocks, sleeps or reads a clock; same inputs, same
    /// outputs.
    ///
    /// # Panics
    /// If `now` is before the `now` of an earlier call.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        if self.env.stopped {
            return;
        }
        if let Input::Clock { utc } = input {
            self.env.clock.set_wall(now, utc);
        }
        self.env.utc = self.env.clock.utc(now);
        // From here on it lives by its own time.
        let now = self.advance(now);
        match input {
            Input::Received { link, messages } => {
                for message in messages {
                    // One of them may end the link, or this peer.
                    if !self.env.stopped && self.env.links.has(link) {
                        self.on_frame(now, link, message, out);
                    }
                }
            }
            Input::Heard { from, datagram } => self.on_datagram(now, from, *datagram, out),
            Input::LinkUp { link } => {
                let (end, log) = (self.env.log.end(), &self.env.log);
                self.env.links.on_up(
                    now,
                    link,
                    end,
                    |id| log.view().and_then(|view| view.incarnation(id)),
                    out,
                );
            }
            Input::LinkDown { link, .. } => self.on_link_down(now, link, false, out),
            Input::DialFailed { link, refused } => self.on_link_down(now, link, refused, out),
            Input::Backlog { link, full } => self.env.links.set_full(link, full),
            Input::Publish { publications } => self.env.on_publish(publications, out),
            Input::Moved { address } => self.on_moved(now, address, out),
            Input::Prioritised { explicit } => self.on_prioritised(now, explicit, out),
            Input::Ask { ask, question } => {
                let _nobody_to_ask = self.ask_leader(now, ask, question, out);
            }
            Input::Answer { to, ask, answer } => self.env.answer_query(now, &to, ask, answer, out),
            Input::Clock { .. } => {}
            Input::Leave => self.on_leave(now, out),
            Input::Wake => self.on_wake(now, out),
        }
        self.settle(now, out);
        if cfg!(debug_assertions)
            && let Err(why) = self.check()
        {
            panic!("{}: {why}", self.env.me.member);
        }
    }

    /// The earliest moment at which something is to be looked at.
    pub(crate) fn due(&self) -> Option<Time> {
        if self.env.stopped {
            return None;
        }
        let role = match &self.role {
            Role::Joining(joining) => joining.deadline(&self.env),
            Role::Follower(follower) => follower.deadline(&self.env),
            Role::Candidate(candidate) => candidate.deadline(),
            Role::Leader(leader) => leader.deadline(),
        };
        let leaving = self.env.leaving.map(|leaving| match &self.role {
            Role::Leader(leader) if !leader.is_retiring() => {
                leaving.linger_until.min(leaving.until)
            }
            Role::Leader(_) | Role::Joining(_) | Role::Follower(_) | Role::Candidate(_) => {
                leaving.until
            }
        });
        let install = self.env.install.as_ref().map(|install| install.retry_at);
        let soon = self.env.more_at.into_iter().chain(self.env.tick_at);
        self.env
            .links
            .deadline()
            .into_iter()
            .chain(soon)
            .chain(leaving)
            .chain(install)
            .chain([role])
            .min()
    }

    /// How many members the newest view has.
    #[must_use]
    pub fn members(&self) -> usize {
        self.env.log.view().map_or(0, crate::log::view::View::size)
    }

    /// Whether large frames may come on a link: from the members of the newest two views, and from
    /// whoever this peer has asked for something that may be large. A joiner asks everybody, and a
    /// leader that it has not heard of may answer.
    #[must_use]
    pub fn takes_large(&self, link: LinkId) -> bool {
        let Some(peer) = self.env.links.peer(link) else { return false };
        let is_entrant =
            matches!(&self.role, Role::Leader(leader) if leader.entrants.contains_key(&peer.id));
        let is_asked = || !is_entrant && self.env.links.is_wanted(peer);
        let is_joining = matches!(self.role, Role::Joining(_));
        is_joining
            || is_asked()
            || self.env.log.last_views().iter().any(|(_, view)| view.names(peer))
    }

    /// What tells this situation from every other one that the node can be in (see
    /// [`crate::report::inspect`]).
    #[must_use]
    pub fn identity(&self, now: Time) -> u128 {
        // Named one by one, so that nobody adds a field without deciding whether it counts.
        let Self { env, role } = self;
        let Env {
            me,
            config: _,
            seed: _,
            draws: _,
            datagrams: _,
            promised,
            log,
            sinks,
            outbox,
            links,
            install,
            leaving,
            preempted,
            merge_backoffs,
            strangers,
            merging,
            doubted,
            first_inc,
            been_member,
            has_history,
            blocked,
            outside_since: _,
            wants_changed,
            beats,
            rejects: _,
            refused: _,
            told: _,
            tick_at,
            more_at,
            // Empty between two calls.
            answered: _,
            lag,
            stopped,
            demoted,
            // As far as it counts it is in the present.
            clock: _,
            // For people.
            utc: _,
            suspicions: _,
        } = env;
        let holds = (me, promised, log, sinks, outbox, links);
        let meets = (merge_backoffs, strangers, doubted, first_inc);
        let goes =
            (leaving, preempted, meets, merging, been_member, has_history, blocked.is_some());
        let does = (role, install, goes, wants_changed, beats, demoted);
        let (own, overdue) = self.present(now);
        situation(&(holds, does, tick_at, more_at, lag, overdue, stopped), own)
    }

    /// The newest view, with the contact of each member.
    #[must_use]
    pub fn view(&self) -> Option<&crate::log::view::View> {
        self.env.log.view()
    }

    /// Who is at the other end of a link, once that is known.
    #[must_use]
    pub fn peer_of(&self, link: LinkId) -> Option<&Member> {
        self.env.links.peer(link)
    }

    /// Who this peer is.
    #[must_use]
    pub fn contact(&self) -> &Contact {
        &self.env.me
    }

    pub(crate) fn role_name(&self) -> &'static str {
        match &self.role {
            Role::Joining(_) => "joining",
            Role::Follower(_) => "member",
            Role::Candidate(_) => "candidate",
            Role::Leader(_) => "leader",
        }
    }

    pub(crate) fn leader_id(&self) -> Option<PeerId> {
        match &self.role {
            Role::Follower(follower) => Some(follower.leader.id().clone()),
            Role::Leader(_) => Some(self.env.me.member.id.clone()),
            Role::Joining(_) | Role::Candidate(_) => None,
        }
    }

    pub(crate) fn stop(&mut self, reason: StopReason, out: &mut Vec<Output>) {
        self.env.deliver_up_to(self.env.log.safe_up_to(self.deliverable()), out);
        self.env.stopped = true;
        // A leader has numbered whatever its log holds, and has let a member go. Whoever goes from
        // between two groups, or before it reaches anybody, may be the only one that holds what is
        // not stable; and what was stable in a group that has dissolved need not stand in the log
        // of the present one.
        let stands = self.env.log.last_oseq(&self.env.me.member);
        let known = match &self.role {
            Role::Follower(_) | Role::Leader(_) => stands,
            Role::Candidate(_) | Role::Joining(_) => self.env.outbox.stable().min(stands),
        };
        let (from, to) = (known.next(), self.env.outbox.last());
        if from <= to {
            out.push(Output::Note(Note::LeftBehind { from, to }));
        }
        out.push(Output::Stop(reason));
    }

    pub(crate) fn on_link_down(
        &mut self,
        now: Time,
        link: LinkId,
        refused: bool,
        out: &mut Vec<Output>,
    ) {
        // An EOF or a reset is only a reason to dial again, which the links do by themselves.
        if let Some(proof) = self.env.links.on_down(now, link, refused) {
            self.on_proof(now, proof, out);
        }
    }

    pub(crate) fn on_proof(&mut self, now: Time, proof: Proof, out: &mut Vec<Output>) {
        match proof {
            Proof::Up { member, end, knows } => self.on_linked(now, &member, &end, knows, out),
            Proof::Thinned { member } => self.on_thinned(now, &member, out),
            Proof::Gone { member, replaced_by } => self.on_gone(now, &member, replaced_by, out),
        }
    }

    /// Deadlines are looked at only here, and shells call this after they have drained their
    /// sockets.
    fn on_wake(&mut self, now: Time, out: &mut Vec<Output>) {
        self.env.clock.rest();
        self.env.tick_at = None;
        self.leave_in_time(now, out);
        if self.env.stopped {
            return;
        }
        self.env.links.doubt(now, out);
        if let (Role::Follower(follower), mut turn) = self.turn(now, out) {
            let flow = follower.witness_in_time(&mut turn);
            self.go(now, flow, out);
        }
        self.rebuild_in_time(now, out);
        let flow = match self.turn(now, out) {
            (Role::Candidate(candidate), mut turn) => candidate.elect_in_time(&mut turn),
            (Role::Joining(joining), mut turn) => joining.in_time(&mut turn),
            (Role::Follower(follower), mut turn) => follower.miss_in_time(&mut turn),
            (Role::Leader(leader), mut turn) => leader.lead_in_time(&mut turn),
        };
        self.go(now, flow, out);
    }

    /// What follows from a call, whatever it was: number, send, acknowledge, then deliver; then who
    /// is wanted.
    fn settle(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.env.stopped {
            return;
        }
        self.env.more_at = None;
        self.env.answered.clear();
        match self.turn(now, out) {
            (Role::Leader(leader), mut turn) => {
                let flow = leader.change_view(&mut turn);
                self.go(now, flow, out);
                // It leads again at once where its new claim has nobody to wait for.
                if let (Role::Leader(leader), mut turn) = self.turn(now, out) {
                    let flow = leader.settle(&mut turn);
                    self.go(now, flow, out);
                }
            }
            (Role::Follower(follower), mut turn) => follower.settle(&mut turn),
            (Role::Joining(_) | Role::Candidate(_), _) => {}
        }
        self.deliver(now, out);
        if self.env.stopped {
            return;
        }
        if self.env.wants_changed {
            self.env.wants_changed = false;
            let wanted = self.wanted();
            self.env.links.want(now, wanted);
        }
        self.env.links.tend(now, out);
        self.expect_a_tick(now);
        self.tell_status(out);
    }

    /// Whom a link is wanted to.
    fn wanted(&self) -> Vec<Wanted> {
        let as_wanted = |contact: &Contact, by_word| Wanted { contact: contact.clone(), by_word };
        let mut wanted: Vec<Wanted> = match &self.role {
            Role::Joining(joining) => {
                let target = joining.target.iter().map(|(contact, _)| {
                    as_wanted(contact, !self.env.is_own(None, &contact.member))
                });
                let others = joining.go_betweens(&self.env);
                others.iter().map(|contact| as_wanted(contact, true)).chain(target).collect()
            }
            Role::Follower(follower) => vec![as_wanted(&follower.leader, false)],
            Role::Candidate(candidate) => {
                let asked = candidate
                    .asked_so_far()
                    .into_iter()
                    .map(|contact| as_wanted(contact, candidate.first_view));
                let callers = candidate
                    .callers
                    .values()
                    .filter(|caller| !candidate.asked.contains_key(caller.id()));
                asked
                    .chain(
                        candidate
                            .vetoed_by
                            .iter()
                            .chain(callers)
                            .map(|contact| as_wanted(contact, true)),
                    )
                    .collect()
            }
            Role::Leader(leader) => leader.wanted(),
        };
        wanted.extend(self.env.install.iter().map(|install| as_wanted(&install.source, false)));
        wanted
    }

    fn tell_status(&mut self, out: &mut Vec<Output>) {
        let view_id = self.env.log.view().map_or(ViewId::ZERO, |view| view.view_id);
        let joins = matches!(self.role, Role::Joining(_));
        let now = (joins, self.env.blocked.is_some(), self.leader_id(), view_id);
        if self.env.told.as_ref() != Some(&now) {
            self.env.told = Some(now);
            out.push(Output::Note(Note::Status(Box::new(self.status()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Node;
    use crate::config::{Config, Knobs};
    use crate::delivery::handing::DELIVERED_AT_ONCE;
    use crate::guarantee::Guarantee;
    use crate::harness::{Harness, epoch_of, peer};
    use crate::id::{Epoch, LinkId, Oseq, Seq};
    use crate::io::{Input, Output, Publication};
    use crate::log::entry::{Entry, Ordered};
    use crate::log::lineage::LogEnd;
    use crate::report::note::Note;
    use crate::roles::Role;
    use crate::time::Time;
    use crate::wire::message::{Hello, Message, Reason, Rejected};
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn newcomer(knobs: Knobs, seed: u64) -> Node {
        Node::new(peer(1), Config::try_from(knobs).expect("sound"), seed, Time::ZERO)
    }

    #[test]
    fn two_peers_of_one_seed_ask_under_different_names() {
        for seed in 0..2 {
            let config = Config::try_from(Knobs::fast()).expect("sound");
            let [one, other] = [2, 4]
                .map(|n| Node::new(peer(n), config.clone(), seed, Time::ZERO).env.fresh_ask());
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_wait_is_drawn_between_half_of_the_span_and_all_of_it() {
        let mut node = newcomer(Knobs::fast(), 1);
        let drawn: BTreeSet<Duration> =
            (0..100).map(|_| node.env.jitter(Duration::from_micros(4))).collect();
        assert_eq!(drawn, [2, 3, 4].map(Duration::from_micros).into());
        assert_eq!(node.env.jitter(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_question_has_a_name_of_its_own_and_is_no_round() {
        let mut asks = BTreeSet::new();
        for seed in 0..2 {
            let mut node = newcomer(Knobs::fast(), seed);
            asks.extend((0..100).map(|_| node.env.fresh_ask()));
        }
        assert!(asks.len() == 200 && asks.iter().all(|ask| *ask >= 1 << 63), "{asks:?}");
    }

    #[test]
    fn a_burst_is_handed_over_in_parts_without_a_rest() {
        let mut harness = Harness::member(Knobs::fast());
        harness.give(Input::Wake);
        assert!(harness.node.deadline() > Some(harness.now), "nothing is left to do");
        let burst = DELIVERED_AT_ONCE + 100;
        let data = |oseq| Entry::one(peer(2).member, Oseq(oseq), Guarantee::Agreed, "x".into(), 0);
        let run = (1..=burst).map(data).collect();
        harness.say(
            &peer(3),
            Message::Ordered(Ordered {
                epoch: epoch_of(&peer(3)),
                first: Seq(2),
                run,
                stable: Seq::ZERO,
                repair: None,
            }),
        );
        // The first position is the view's.
        assert_eq!(harness.node.status().delivered, Seq(1 + DELIVERED_AT_ONCE));
        assert_eq!(harness.node.deadline(), Some(harness.now));
        harness.give(Input::Wake);
        assert_eq!(harness.node.status().delivered, Seq(1 + burst));
        assert!(harness.node.deadline() > Some(harness.now));
    }

    #[test]
    fn who_has_lost_its_log_takes_readings_until_it_is_blocked_and_orders_what_it_took() {
        let knobs = Knobs {
            mode: crate::guarantee::Mode::Primary,
            bootstrap: vec![peer(1).member.id, peer(2).member.id],
            ..Knobs::fast()
        };
        let publish = |node: &mut Node, now: Time| {
            let mut out = Vec::new();
            node.handle(
                now,
                Input::Publish { publications: vec![Publication::one("x".into(), 0, None)] },
                &mut out,
            );
            out.iter().any(|output| matches!(output, Output::Accepted { .. }))
        };
        let (mut founder, mut has_history) =
            (newcomer(knobs.clone(), 1), newcomer(knobs, 1).with_history());
        assert!(
            publish(&mut founder, Time::ZERO) && publish(&mut has_history, Time::ZERO),
            "nobody is blocked yet"
        );
        let (mut out, mut now) = (Vec::new(), Time::ZERO);
        while has_history.status().blocked.is_none() || founder.status().blocked.is_none() {
            now += Duration::from_millis(1);
            has_history.handle(now, Input::Wake, &mut out);
            founder.handle(now, Input::Wake, &mut out);
        }
        assert!(publish(&mut founder, now), "a founder keeps them for the group that it founds");
        out.clear();
        assert!(!publish(&mut has_history, now), "a veteran may wait for ever");
        assert_eq!(
            (has_history.status().published, has_history.env.refused),
            (Oseq(1), 1),
            "what it took before is kept"
        );
    }

    #[test]
    fn each_datagram_has_a_count_of_its_own() {
        let (mut node, mut out) = (newcomer(Knobs::fast(), 1), Vec::new());
        for milli in 1..=150 {
            node.handle(Time::from_micros(milli * 1_000), Input::Wake, &mut out);
        }
        let count = |output: &Output| {
            if let Output::Broadcast { datagram } = output { Some(datagram.count) } else { None }
        };
        let counts: Vec<u64> = out.iter().filter_map(count).collect();
        assert!(counts.len() > 1 && counts.is_sorted_by(|one, next| one < next), "{counts:?}");
    }

    #[test]
    fn where_it_stands_is_told_when_that_changes() {
        let (mut node, mut out) = (newcomer(Knobs::fast(), 1), Vec::new());
        for milli in 1..=1_000 {
            node.handle(Time::from_micros(milli * 1_000), Input::Wake, &mut out);
        }
        let role = |output: &Output| {
            if let Output::Note(Note::Status(status)) = output {
                Some(status.role.clone())
            } else {
                None
            }
        };
        let roles: Vec<String> = out.iter().filter_map(role).collect();
        assert_eq!(roles, ["joining", "leader"], "once each");
    }

    #[test]
    fn a_reading_is_noted_with_what_was_asked_for_it() {
        let (mut node, mut out) =
            (newcomer(Knobs { delivery: Guarantee::Safe, ..Knobs::fast() }, 1), Vec::new());
        for guarantee in [Some(Guarantee::Agreed), Some(Guarantee::Safe), None] {
            let publications = vec![Publication::one("x".into(), 0, guarantee)];
            node.handle(Time::ZERO, Input::Publish { publications }, &mut out);
        }
        let mut noted = Vec::new();
        out.iter().for_each(|output| {
            output.notes_of_readings(|note| {
                if let Note::Publish { safe, .. } = note {
                    noted.push(safe)
                }
            });
        });
        assert_eq!(noted, [false, true, true]);
    }

    #[test]
    fn nothing_is_said_after_the_end() {
        let (mut node, mut out, link) =
            (newcomer(Knobs::fast(), 1), Vec::new(), LinkId::accepted(0));
        let cluster = node.env.config.cluster();
        let end = LogEnd { epoch: Epoch::none(), contiguous: Seq::ZERO, log_id: Epoch::none() };
        let hello = Message::Hello(Hello { cluster, from: peer(2), link: 1, end, knows: None });
        node.handle(Time::ZERO, Input::LinkUp { link }, &mut out);
        node.handle(Time::ZERO, Input::Received { link, messages: vec![hello] }, &mut out);
        let Role::Joining(joining) = &node.role else { panic!("it is in no group") };
        let no = Rejected {
            ask: Some(joining.ask),
            reason: Reason::DuplicateId { holder: peer(3).address },
        };
        let question = Message::ViewSyncRequest { ask: 1 };
        let answers = |out: &[Output]| {
            out.iter()
                .any(|output| matches!(output, Output::Send { message: Message::Rejected(_), .. }))
        };
        out.clear();
        node.clone().handle(
            Time::ZERO,
            Input::Received { link, messages: vec![question.clone()] },
            &mut out,
        );
        assert!(answers(&out), "it would answer");
        out.clear();
        // Never at the first word: it asks the same peer once more, under another name.
        node.handle(
            Time::ZERO,
            Input::Received { link, messages: vec![Message::Rejected(no.clone())] },
            &mut out,
        );
        let Role::Joining(joining) = &node.role else { panic!("it is in no group") };
        assert!(
            Some(joining.ask) != no.ask
                && !out.iter().any(|output| matches!(output, Output::Stop(_)))
        );
        let no = Rejected { ask: Some(joining.ask), ..no };
        out.clear();
        node.handle(
            Time::ZERO,
            Input::Received { link, messages: vec![Message::Rejected(no), question] },
            &mut out,
        );
        assert!(
            out.iter().any(|output| matches!(output, Output::Stop(_))) && !answers(&out),
            "{out:?}"
        );
        assert_eq!(node.deadline(), None);
    }

    #[test]
    fn a_full_window_is_told_now_and_then_and_any_other_refusal_each_time() {
        let check = |knobs: Knobs, payload: &'static str, refused: usize, counts: &[u64]| {
            let (mut node, mut out) = (newcomer(knobs, 1), Vec::new());
            for _ in 0..7 {
                let publications = vec![Publication::one(payload.into(), 0, None)];
                node.handle(Time::ZERO, Input::Publish { publications }, &mut out);
            }
            let is_refused = |output: &&Output| matches!(output, Output::Refused { .. });
            assert_eq!(
                out.iter().filter(is_refused).count(),
                refused,
                "the sensor hears it each time"
            );
            let count = |output: &Output| {
                if let Output::Note(Note::Refused { count, .. }) = output {
                    Some(*count)
                } else {
                    None
                }
            };
            assert_eq!(out.iter().filter_map(count).collect::<Vec<_>>(), counts);
        };
        check(Knobs { window_entries: 1, ..Knobs::fast() }, "x", 6, &[1, 2, 4]);
        check(Knobs { payload_max: 1, ..Knobs::fast() }, "xx", 7, &[1, 2, 3, 4, 5, 6, 7]);
    }
}
