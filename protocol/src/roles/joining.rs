//! Joining: finding a group, or founding one.
//!
//! A joining peer announces itself by datagram, with a jittered back-off, until a leader admits it.
//! Joiners hear one another; when nobody reports a leader, the best of them claims the first view
//! with those that answer. A leader that is reported is asked directly, and believed in for
//! `join_patience`; several by turns, for twice that.

pub(crate) mod founding;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::env::Env;
use crate::id::{Contact, Member, PeerId};
use crate::install::{Base, Install, Purpose};
use crate::log::entry::Ordered;
use crate::log::lineage::Snapshot;
use crate::log::tail::Tail;
use crate::report::note::Cause;
use crate::roles::leader::moving::ONE_ANNOUNCEMENT;
use crate::roles::turn::{Flow, STAY, Turn, elect};
use crate::time::Time;
use crate::wire::message::{Added, Coordinator, Message};

/// The facts of a joining peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Joining {
    pub(crate) since: Time,
    /// When the last new joiner was heard.
    pub(crate) quiet_since: Time,
    /// The present attempt.
    pub(crate) ask: u64,
    pub(crate) ask_at: Time,
    pub(crate) wait: Duration,
    /// In a crowd of joiners: it is not to announce itself again before.
    pub(crate) silent_until: Option<Time>,
    /// Joiners in no view.
    pub(crate) heard: BTreeMap<PeerId, (Contact, Time)>,
    /// The leader that is being asked, and since when.
    pub(crate) target: Option<(Contact, Time)>,
    /// Since when somebody has reported a live leader.
    pub(crate) reported: Option<Time>,
    /// A better joiner, which is given until then to found the group.
    pub(crate) deferring: Option<(PeerId, Time)>,
    /// Who has said that another living peer has this one's name, and is asked once more over a
    /// link.
    pub(crate) accused_by: Option<Member>,
    /// Better joiners that have not.
    pub(crate) let_down: BTreeSet<PeerId>,
    /// When a group said last that it is full.
    pub(crate) full: Option<Time>,
    /// Joiners that have been in a view and lost its log.
    pub(crate) with_history: BTreeSet<PeerId>,
    /// Set where the views have gone on without it: it votes, but leaves it to the others to claim
    /// until then.
    pub(crate) gives_way_until: Option<Time>,
}

impl Joining {
    /// Nobody has been heard yet, and it asks at once, under the name `ask`.
    pub(crate) fn new(now: Time, ask: u64) -> Self {
        Self {
            since: now,
            quiet_since: now,
            ask,
            ask_at: now,
            wait: Duration::ZERO,
            silent_until: None,
            heard: BTreeMap::new(),
            target: None,
            reported: None,
            deferring: None,
            accused_by: None,
            let_down: BTreeSet::new(),
            full: None,
            with_history: BTreeSet::new(),
            gives_way_until: None,
        }
    }

    /// It comes from a group, and asks that leader first, where there is one.
    pub(crate) fn asking(now: Time, ask: u64, target: Option<Contact>) -> Self {
        let target = target.map(|contact| (contact, now));
        Self { ask_at: now + FIRST_WAIT, wait: FIRST_WAIT, target, ..Self::new(now, ask) }
    }

    pub(crate) fn deadline(&self, env: &Env) -> Time {
        self.ask_at.min(self.found_at(env))
    }

    /// When this peer founds a group, or waits for somebody better to.
    fn found_at(&self, env: &Env) -> Time {
        let knobs = env.config.knobs();
        // A newcomer that has just been heard deserves the time to hear the others; but not for
        // ever.
        let settled =
            (self.quiet_since + knobs.join_timeout / 2).min(self.since + knobs.join_patience);
        let alone = (self.since + knobs.join_timeout).max(settled);
        let believed = self.reported.map_or(alone, |since| since + knobs.join_patience);
        // Leaders that admit nobody may be asked by turns; together they get the time of two, or it
        // would ask them for ever.
        let both = self.reported.map(|since| since + 2 * knobs.join_patience);
        let asked = self.target.as_ref().map_or(alone, |(_, since)| {
            let until = *since + knobs.join_patience;
            both.map_or(until, |both| until.min(both))
        });
        let install = if env.install.is_some() { alone + knobs.join_patience } else { alone };
        let deferred = self.deferring.as_ref().map_or(alone, |(_, until)| *until);
        // A group that is there, and full, is no reason to found one beside it.
        let turned_away = self.full.map_or(alone, |at| at + knobs.join_patience.max(HEARD_FOR));
        alone.max(believed).max(asked).max(install).max(deferred).max(turned_away)
    }

    /// Asks a leader, finds out whether there is one, or founds a group.
    pub(crate) fn in_time(&mut self, turn: &mut Turn<'_>) -> Flow {
        self.doubt_fullness(turn);
        if self.found_at(turn.env) <= turn.now {
            return self.found(turn);
        }
        if self.ask_at > turn.now {
            return STAY;
        }
        let next = (self.wait * 2).clamp(FIRST_WAIT, LAST_WAIT);
        let crowd = crowd_pause(self.heard.len());
        let pause = turn.env.jitter(next);
        let silent_until = crowd.map(|pause| turn.now + turn.env.jitter(pause));
        self.wait = next;
        self.silent_until = silent_until;
        self.ask_at = (turn.now + pause).max(silent_until.unwrap_or(turn.now));
        let request = turn.env.join_request(self.ask, None);
        turn.env.broadcast(Message::NewPeerRequest(request), turn.out);
        self.introduce_linked(turn);
        if let Some((contact, _)) = &self.target {
            self.ask_to_join(turn, &contact.member);
        }
        STAY
    }

    /// Nobody leads: the best of the joiners heard claims the first view, everybody else gives it
    /// the time to.
    fn found(&mut self, turn: &mut Turn<'_>) -> Flow {
        let until = turn.now + turn.env.config.outcome_timeout();
        let heard_for =
            crowd_pause(self.heard.len()).map_or(HEARD_FOR, |pause| HEARD_FOR.max(2 * pause));
        self.heard.retain(|_, (contact, at)| {
            turn.now.since(*at) < heard_for || turn.env.links.is_linked(&contact.member)
        });
        self.with_history.retain(|id| self.heard.contains_key(id));
        self.target = None;
        self.reported = None;
        turn.env.install = None;
        if !self.may_found(turn)? {
            return STAY;
        }
        if let Some((better, _)) = self.deferring.take() {
            self.let_down.insert(better);
        }
        let others = self.heard.values().map(|(contact, _)| contact);
        // It may be somebody's word only that a better one is there: after one that did not found
        // the group, those that are linked are waited for, and nobody else.
        let env = &*turn.env;
        let (named, founders) = (env.policy().names_founders(), &env.config.knobs().bootstrap);
        let is_there = |contact: &&Contact| {
            (!named || founders.contains(contact.id()))
                && (self.let_down.is_empty() || env.links.is_linked(&contact.member))
        };
        let own = env.me.priority();
        let better = others
            .filter(|contact| contact.priority() > own && !self.let_down.contains(contact.id()))
            .filter(is_there);
        match better.max_by_key(|contact| contact.priority()) {
            Some(better) => self.deferring = Some((better.id().clone(), until)),
            None => return elect(Cause::FirstView, None),
        }
        STAY
    }

    /// Whether this peer leaves it to others to claim.
    pub(crate) fn gives_way(&self, now: Time) -> bool {
        self.gives_way_until.is_some_and(|until| until > now)
    }

    /// The leader that this peer asks to admit it, as long as that may still be about to answer.
    /// Nobody vouches for longer for a leader that has not: it may be deaf.
    fn vouched_for(&self, now: Time, env: &Env) -> Option<&Contact> {
        let (leader, since) = self.target.as_ref()?;
        let fresh = now.since(*since) <= env.config.knobs().join_timeout;
        (fresh || env.install.is_some()).then_some(leader)
    }

    /// Whether that is the leader that it asks.
    pub(crate) fn asks(&self, member: &Member) -> bool {
        self.target.as_ref().is_some_and(|(leader, _)| leader.member == *member)
    }

    /// Asks a leader to be admitted, if a link to it stands.
    pub(crate) fn ask_to_join(&self, turn: &mut Turn<'_>, to: &Member) {
        if self.asks(to) {
            let request = turn.env.join_request(self.ask, None);
            turn.env.send(turn.now, to, Message::NewPeerRequest(request), turn.out);
        }
    }

    /// Another joiner is there.
    pub(crate) fn on_fellow_joiner(
        &mut self,
        turn: &mut Turn<'_>,
        contact: Contact,
        has_history: bool,
    ) {
        let soon = turn.now + turn.env.jitter(FIRST_WAIT / 4);
        if *contact.id() == turn.env.me.member.id
            || (self.heard.len() >= HEARD_MOST && !self.heard.contains_key(contact.id()))
        {
            return;
        }
        if has_history {
            self.with_history.insert(contact.id().clone());
        } else {
            self.with_history.remove(contact.id());
        }
        // A process with several addresses says each of them in its own network; it is heard anew,
        // and is no news.
        let process = |contact: &Contact| (contact.member.clone(), contact.birth);
        let before = self.heard.remove(contact.id());
        let same = before.filter(|(before, _)| process(before) == process(&contact));
        let news = same.is_none();
        // Of one announcement the first copy counts.
        let kept =
            same.filter(|(_, at)| turn.now.since(*at) < ONE_ANNOUNCEMENT).map(|(before, _)| before);
        self.heard.insert(contact.id().clone(), (kept.unwrap_or(contact), turn.now));
        if news {
            // It may not have heard this peer, which may be in the middle of a long pause.
            turn.env.wants_changed |= turn.env.policy().needs_quorum();
            self.quiet_since = turn.now;
            self.ask_at = self.ask_at.min(soon.max(self.silent_until.unwrap_or(soon)));
        }
    }

    /// Somebody says who leads: from the leader itself a beacon, from anybody else hearsay. Either
    /// only says whom to ask.
    pub(crate) fn on_beacon(&mut self, turn: &mut Turn<'_>, from: &Member, word: &Coordinator) {
        self.reported = self.reported.or(Some(turn.now));
        let announcement = word.leader.member == *from;
        let better = self.target.as_ref().is_none_or(|(target, since)| {
            announcement
                && target.member != *from
                && turn.now.since(*since) > turn.env.config.knobs().join_timeout
        });
        // Somebody may take this peer for a leader that it is no more.
        let is_other = word.leader.member != turn.env.me.member;
        if better && is_other && turn.env.install.is_none() {
            self.target = Some((word.leader.clone(), turn.now));
            turn.env.wants_changed = true;
            self.ask_to_join(turn, &word.leader.member);
        }
    }

    /// A leader has answered the open question by datagram: its group is full. Only leaders answer
    /// so in that way.
    pub(crate) fn on_turned_away(&mut self, turn: &mut Turn<'_>, by: &PeerId, ask: Option<u64>) {
        if ask == Some(self.ask) {
            self.full = Some(turn.now);
            let why = format!(
                "the group of {by} has members_max members and admits nobody; waiting for room"
            );
            turn.env.tell_blocked(why, turn.out);
        }
    }

    /// Mode `available`: a group that has not said again that it is full may have room, or be gone.
    /// So this peer takes readings again, and they wait.
    fn doubt_fullness(&self, turn: &mut Turn<'_>) {
        let is_told = self.full.is_some_and(|at| turn.now.since(at) <= LAST_WAIT);
        if !turn.env.policy().needs_quorum() && !is_told {
            turn.env.blocked = None;
        }
    }

    /// The leader that was asked is gone, or does not lead.
    pub(crate) fn forget_target(&mut self, now: Time, env: &mut Env, member: &Member) {
        if self.asks(member) {
            self.target = None;
            self.reported = None;
            self.ask_at = self.ask_at.min(now + FIRST_WAIT);
            if env.install.as_ref().is_some_and(|install| install.source.member == *member) {
                env.install = None;
            }
            env.wants_changed = true;
        }
    }

    /// Admitted: the log goes on from the leader's snapshot.
    pub(crate) fn on_added(&mut self, turn: &mut Turn<'_>, from: &Member, added: Added) -> Flow {
        let Turn { now, env, out } = turn;
        if added.ask != self.ask || added.epoch < env.promised || added.view_at < added.snapshot.seq
        {
            return STAY;
        }
        let Some(source) = env.links.contact(from).cloned() else { return STAY };
        self.target = Some((source.clone(), *now));
        self.reported = Some(*now);
        env.promise_to(&added.epoch, &from.id, out);
        let (lineage, target) = (added.snapshot.lineage.clone(), added.view_at);
        let base = env.base_for(added.snapshot);
        env.install = Some(Install {
            purpose: Purpose::Join,
            epoch: added.epoch,
            source,
            entries: Tail::new(base.end()),
            view: base.view(&env.log),
            base,
            lineage,
            target,
            ask: 0,
            bursts: 0,
            retry_at: *now + env.config.knobs().join_patience,
        });
        env.wants_changed = true;
        self.install(turn)
    }

    /// Some of the entries that it is waiting for.
    pub(crate) fn extend_admission(&self, turn: &mut Turn<'_>, ordered: Ordered) -> Flow {
        let Turn { now, env, out } = turn;
        if env.holds_too_much() {
            env.reject(None, "ORDERED", "more than anybody may be made to keep", out);
            return STAY;
        }
        let patience = env.config.knobs().join_patience;
        if let Some(install) = &mut env.install
            && install.extend(ordered)
        {
            install.retry_at = *now + patience;
        }
        self.install(turn)
    }
}

impl Env {
    /// What an admission stands on: this peer's own log, as far as that is the leader's, so that it
    /// takes nothing back that it has acknowledged, and keeps what it retains for whoever has been
    /// away for longer; else the snapshot.
    fn base_for(&self, snapshot: Snapshot) -> Base {
        let fork = self.log.fork(&snapshot.lineage, self.log.contiguous());
        let is_ours = !self.log.is_none() && fork >= snapshot.seq && self.log.retains_above(fork);
        if is_ours { Base::Own(fork) } else { Base::Snapshot(Box::new(snapshot)) }
    }

    /// Whether these are entries that a joiner is waiting for.
    pub(crate) fn is_admission(&self, from: &Member, ordered: &Ordered) -> bool {
        let awaits = |install: &Install| {
            install.purpose == Purpose::Join
                && install.source.member == *from
                && install.epoch == ordered.epoch
        };
        self.install.as_ref().is_some_and(awaits)
    }
}

/// How long a joiner that hears so many others leaves between two announcements: everybody hears
/// each of them, so that of N joiners each is heard by N, and together they would be heard N³ times
/// while they start one after the other. With this they are heard so often a second, however many
/// they are.
fn crowd_pause(heard: usize) -> Option<Duration> {
    let heard = u64::try_from(heard).unwrap_or(u64::MAX);
    (heard >= CROWD).then(|| {
        Duration::from_micros(
            heard.saturating_mul(heard).saturating_mul(1_000_000 / HEARD_A_SECOND),
        )
    })
}

/// A few joiners need not hold back.
const CROWD: u64 = 16;
/// How many receptions of announcements a second all joiners together cause, about.
const HEARD_A_SECOND: u64 = 100_000;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(2);
/// A joiner that has not been heard for that long is not counted on; more than two of the longest
/// pauses.
const HEARD_FOR: Duration = Duration::from_secs(5);
/// Joiners remembered.
const HEARD_MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::{HEARD_FOR, HEARD_MOST, LAST_WAIT};
    use crate::config::{Knobs, Mode};
    use crate::harness::{Harness, epoch_of, first_view, nothing, peer, request};
    use crate::id::{Contact, Epoch, Seq};
    use crate::io::Output;
    use crate::log::dedup::Dedup;
    use crate::log::entry::Ordered;
    use crate::log::lineage::Snapshot;
    use crate::report::activity::Activity;
    use crate::roles::Role;
    use crate::roles::joining::Joining;
    use crate::roles::turn::{Next, go};
    use crate::time::Time;
    use crate::wire::message::{Added, Coordinator, Message, MissingAnswer, Reason, Rejected};
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn joining(harness: &Harness) -> &Joining {
        let Role::Joining(joining) = &harness.node.role else { panic!("it is in a group") };
        joining
    }

    /// `p3` is about to let it in.
    fn being_let_in() -> Harness {
        let mut harness = Harness::newcomer(Knobs::fast());
        harness.greet(&peer(2), nothing());
        harness.greet(&peer(3), nothing());
        harness.let_in(Seq::ZERO, Seq(1));
        assert_eq!(harness.node.activity(), Activity::Building);
        harness
    }

    #[test]
    fn nobody_waits_for_a_twin_of_its_own_or_remembers_more_than_a_bound() {
        let mut harness = Harness::newcomer(Knobs::fast());
        let twin = Contact { birth: 99, ..peer(1) };
        harness.hear(&twin, request(&twin));
        assert!(joining(&harness).heard.is_empty());
        for n in 0..=u16::try_from(HEARD_MOST).expect("a few thousand") {
            harness.hear(&peer(n + 2), request(&peer(n + 2)));
        }
        let last = u16::try_from(HEARD_MOST).expect("a few thousand") + 2;
        assert!(
            joining(&harness).heard.len() == HEARD_MOST
                && !joining(&harness).heard.contains_key(peer(last).id())
        );
        harness.now += Duration::from_millis(1);
        harness.hear(&peer(2), request(&peer(2)));
        assert_eq!(
            joining(&harness).heard[peer(2).id()].1,
            harness.now,
            "who is known is heard again"
        );
    }

    #[test]
    fn who_was_about_to_let_it_in_and_is_gone_is_not_waited_for() {
        let mut harness = being_let_in();
        harness.fail(&peer(3));
        assert_eq!(harness.node.activity(), Activity::Joining);
    }

    #[test]
    fn only_the_leader_that_lets_it_in_tells_it_the_entries_since() {
        let mut harness = being_let_in();
        harness.say(&peer(2), first_view());
        assert_eq!(harness.node.activity(), Activity::Building, "they come from somebody else");
        let Message::Ordered(ordered) = first_view() else { unreachable!("entries") };
        let later: Epoch = ordered.epoch.next(peer(3).member);
        harness.say(&peer(3), Message::Ordered(Ordered { epoch: later, ..ordered }));
        assert_eq!(harness.node.activity(), Activity::Building, "they are of another epoch");
        harness.say(&peer(3), first_view());
        assert_eq!(harness.node.activity(), Activity::Member);
    }

    #[test]
    fn an_answer_to_a_question_that_it_never_asked_does_not_end_its_admission() {
        let mut harness = being_let_in();
        let answer = MissingAnswer { ask: 0, snapshot: None };
        harness.say(&peer(3), Message::MissingSeqNotFound(answer));
        assert_eq!(harness.node.activity(), Activity::Building);
    }

    #[test]
    fn a_snapshot_may_stand_at_the_view_that_lets_it_in_but_not_above() {
        for (snapshot, view_at, stage) in
            [(5, 4, Activity::Joining), (5, 5, Activity::Member), (5, 6, Activity::Building)]
        {
            let mut harness = Harness::newcomer(Knobs::fast());
            harness.greet(&peer(3), nothing());
            harness.let_in(Seq(snapshot), Seq(view_at));
            assert_eq!(harness.node.activity(), stage, "{snapshot} and {view_at}");
        }
    }

    #[test]
    fn who_follows_somebody_else_tells_a_leader_that_lets_it_in() {
        for (mut harness, round, from, refuses) in [
            (Harness::member(Knobs::fast()), 2, 3, false),
            (Harness::member(Knobs::fast()), 2, 2, true),
            (Harness::member(Knobs::fast()), 1, 4, true),
            (Harness::member(Knobs::fast()), 1, 2, false),
            (Harness::leader(Knobs::fast()), 1, 2, false),
            (Harness::newcomer(Knobs::fast()), 1, 2, false),
        ] {
            harness.greet(&peer(from), nothing());
            harness.out.clear();
            let epoch = Epoch { round, owner: peer(from).member };
            let snapshot =
                Snapshot { seq: Seq(4), view: None, table: Dedup::new(), lineage: Vec::new() };
            harness.say(
                &peer(from),
                Message::Added(Added { ask: 7, epoch, snapshot, view_at: Seq(5) }),
            );
            let no = Message::Rejected(Rejected { ask: Some(7), reason: Reason::NotMember });
            assert_eq!(
                harness.told(&peer(from)).contains(&no),
                refuses,
                "{:?} to p{from} in {round}",
                harness.node.activity()
            );
        }
    }

    #[test]
    fn who_holds_a_part_of_a_group_that_lost_its_leader_claims_unless_it_gives_way() {
        let knobs = Knobs {
            mode: Mode::Primary,
            bootstrap: vec![peer(1).id().clone(), peer(2).id().clone()],
            ..Knobs::fast()
        };
        let mut harness = Harness::member(knobs);
        harness.node.become_joining(harness.now, None, &mut harness.out);
        harness.rest(Duration::from_millis(300));
        assert!(matches!(harness.node.role, Role::Candidate(_)), "{:?}", harness.node.activity());
        harness.node.go(harness.now, go(Next::GiveWay { lacks: None }), &mut harness.out);
        harness.rest(Duration::from_millis(300));
        let Role::Joining(joining) = &harness.node.role else { panic!("it claims again") };
        assert!(joining.gives_way(harness.now), "{:?}", harness.node.activity());
    }

    #[test]
    fn a_leader_that_does_not_answer_is_left_for_one_that_speaks_for_itself() {
        let beacon = |leader: u16| {
            let (leader, epoch) = (peer(leader), Epoch { round: 1, owner: peer(leader).member });
            Message::Coordinator(Coordinator {
                leader,
                epoch,
                size: 1,
                ask: None,
                names_you: false,
            })
        };
        let mut harness = Harness::newcomer(Knobs::fast());
        harness.hear(&peer(3), beacon(3));
        let asks = |harness: &Harness| {
            joining(harness).target.as_ref().map(|(contact, _)| contact.id().to_string())
        };
        let patience = harness.node.env.config.knobs().join_timeout;
        for (from, leader, after, asked) in
            [(2, 2, 0, "p3"), (2, 2, 0, "p3"), (4, 2, 1, "p3"), (3, 3, 1, "p3"), (2, 2, 1, "p2")]
        {
            let at = Time::ZERO + patience + Duration::from_micros(after);
            harness.rest(at.since(harness.now));
            harness.hear(&peer(from), beacon(leader));
            assert_eq!(asks(&harness).as_deref(), Some(asked), "p{from} names p{leader}");
        }
    }

    #[test]
    fn two_leaders_that_admit_nobody_are_believed_for_no_longer_than_twice_as_long_as_one() {
        let mut harness = Harness::newcomer(Knobs::fast());
        let patience = harness.node.env.config.knobs().join_patience;
        let (mut asked, mut from) = (BTreeSet::new(), 2);
        while matches!(harness.node.role, Role::Joining(_)) {
            let (leader, epoch, ask) = (peer(from), epoch_of(&peer(from)), None);
            let beacon = Coordinator { leader, epoch, size: 1, ask, names_you: false };
            harness.hear(&peer(from), Message::Coordinator(beacon));
            asked.extend(joining(&harness).target.iter().map(|(contact, _)| contact.id().clone()));
            harness.rest(Duration::from_millis(100));
            from = 5 - from;
        }
        assert_eq!(asked.len(), 2);
        let spent = harness.now.since(Time::ZERO);
        let most = 2 * patience + Duration::from_millis(100);
        assert!(spent > patience && spent <= most, "{spent:?}");
    }

    #[test]
    fn who_is_not_told_again_that_a_group_is_full_takes_readings() {
        let knobs = Knobs { join_patience: Duration::from_secs(30), ..Knobs::fast() };
        let mut harness = Harness::member(knobs);
        harness.node.become_joining(harness.now, None, &mut harness.out);
        let takes = |harness: &mut Harness| {
            harness.out.clear();
            harness.publish("x");
            harness.out.iter().any(|output| matches!(output, Output::Accepted { .. }))
        };
        let ask = joining(&harness).ask;
        harness
            .hear(&peer(3), Message::Rejected(Rejected { ask: Some(ask), reason: Reason::Busy }));
        for (after, taken) in [(0, false), (LAST_WAIT.as_millis(), false), (100, true)] {
            harness.rest(Duration::from_millis(u64::try_from(after).expect("a few seconds")));
            assert_eq!(takes(&mut harness), taken, "{after} ms later");
        }
        assert_eq!(
            harness.node.activity(),
            Activity::Joining,
            "it founds no group beside that one yet"
        );
    }

    #[test]
    fn a_better_one_is_given_the_time_to_found_the_group_as_long_as_it_is_heard() {
        for (since, waits) in [(HEARD_FOR - Duration::from_micros(1), true), (HEARD_FOR, false)] {
            let mut harness = Harness::newcomer(Knobs::fast());
            harness.hear(&peer(2), request(&peer(2)));
            let now = harness.now + since;
            let (Role::Joining(joining), mut turn) = harness.node.turn(now, &mut harness.out)
            else {
                panic!("it is in no group")
            };
            let flow = joining.found(&mut turn);
            harness.node.go(now, flow, &mut harness.out);
            assert_eq!(matches!(harness.node.role, Role::Joining(_)), waits, "{since:?}");
        }
    }

    #[test]
    fn in_a_crowd_nobody_announces_itself_often() {
        let announced = |others: u16| {
            let mut harness = Harness::newcomer(Knobs {
                join_timeout: Duration::from_secs(60),
                join_patience: Duration::from_secs(60),
                ..Knobs::default()
            });
            // A new one every 5 ms, and then all of them are known.
            for n in 0..others {
                harness.hear(&peer(1_000 + n), request(&peer(1_000 + n)));
                harness.rest(Duration::from_millis(5));
            }
            let said = |harness: &mut Harness| {
                let requests = |output: &&Output| matches!(output, Output::Broadcast { .. });
                let said = harness.out.iter().filter(requests).count();
                harness.out.clear();
                said
            };
            let starting = said(&mut harness);
            harness.rest(Duration::from_secs(10));
            (starting, said(&mut harness))
        };
        let (alone, crowd) = (announced(15), announced(800));
        assert!(alone.0 >= 3 && alone.1 >= 5, "{alone:?}");
        assert!(crowd.0 <= 40, "not for each of them: {crowd:?}");
        assert!((1..=4).contains(&crowd.1), "every six seconds, about: {crowd:?}");
    }
}
