//! Mode `primary`: who may go on, and what a peer does that may not.
//!
//! A candidate claims only with a quorum of the views that count (see `quorum`); without one it is
//! *blocked*: it raises no round, takes no readings, and asks again whenever somebody comes back. A
//! leader that no quorum has answered for four fifths of `heartbeat_timeout` steps down before its
//! members' own deadlines pass. The first view needs every peer that `bootstrap` names, and none of
//! them may have been in a view before: who has forgotten what a view knew founds nothing.
//!
//! Safety does not rest on any of these deadlines: what a leader without a quorum numbers never
//! becomes stable.

use crate::env::Env;
use crate::id::{Contact, Member, PeerId, Seq};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::log::view::{Names, View};
use crate::membership::quorum::{is_quorum, may_go_on, required};
use crate::report::note::Note;
use crate::roles::candidate::{Candidate, Stage};
use crate::roles::joining::founding::{awaited_to_found, others_found};
use crate::roles::turn::{Flow, Next, STAY, Turn, go};
use crate::time::Time;
use crate::wire::message::Message;

impl Candidate {
    /// What a candidate lacks to claim; nothing in mode `available`. Whoever has claimed in vain
    /// lacks the same as long as nobody answers but those who promised then: they know of views
    /// that it does not, and another claim would only raise the round.
    pub(crate) fn lacks_to_claim(&self, now: Time, env: &Env) -> Option<String> {
        let in_vain = self
            .failed_claim
            .as_ref()
            .is_some_and(|(promised, until)| *until > now && self.answered.is_subset(promised));
        if let Some(why) = env.blocked.as_ref().filter(|_| in_vain) {
            return Some(why.clone());
        }
        let answers = |member: &Member| {
            self.answered.contains(&member.id)
                && self.asked.get(&member.id).is_some_and(|contact| contact.member == *member)
        };
        self.lacks(env, &env.log.last_views(), env.log.stable(), answers)
    }

    /// What those who answer and this candidate lack to go on from a log with these newest views;
    /// without any, to found the group.
    pub(crate) fn lacks(
        &self,
        env: &Env,
        views: &[(Seq, View)],
        stable: Seq,
        answers: impl Fn(&Member) -> bool,
    ) -> Option<String> {
        if !env.policy().needs_quorum() {
            return None;
        }
        if self.first_view && views.is_empty() {
            if !env.may_lead() {
                return Some(others_found(&env.config.knobs().bootstrap));
            }
            let answered =
                |id: &PeerId| self.asked.get(id).is_some_and(|contact| answers(&contact.member));
            let bootstrap = env.config.knobs().bootstrap.iter();
            let missing = bootstrap.filter(|id| **id != env.me.member.id && !answered(id));
            let missing: Vec<PeerId> = missing.cloned().collect();
            return awaited_to_found(&missing);
        }
        shortfall(views, stable, |member| *member == env.me.member || answers(member))
    }

    /// Cannot go on, and asks again when somebody comes back, or after a while.
    pub(crate) fn block(&mut self, turn: &mut Turn<'_>, why: String) -> Flow {
        let until = turn.now + turn.env.config.knobs().election_timeout;
        if self.first_view {
            // Nobody counts on it: whoever leads admits it.
            turn.env.tell_blocked(why, turn.out);
            return go(Next::Join { target: None });
        }
        if self.not_in_view {
            return go(Next::GiveWay { lacks: Some(why) });
        }
        self.stage = Stage::Blocked { until };
        // It stands in nobody's way: who waits for it may know more, and be able to claim.
        for (member, ask) in std::mem::take(&mut self.told_ok) {
            turn.env.send(turn.now, &member, Message::Clear { ask }, turn.out);
        }
        turn.env.tell_blocked(why, turn.out);
        STAY
    }

    /// A blocked candidate asks a peer that greets it from a later epoch of its own log. The
    /// members of the candidate's views may all be gone, or may have come back as other processes.
    /// Only a member of the group can say that the views have gone on.
    pub(crate) fn ask_further(&mut self, env: &mut Env, member: &Member, end: &LogEnd) {
        let goes_on = end.log_id == env.log.log_id() && end.epoch > env.log.epoch();
        let contact =
            env.links.contact(member).filter(|_| goes_on && env.blocked.is_some()).cloned();
        let Some(contact) = contact.filter(|_| self.only_asks() && !self.first_view) else {
            return;
        };
        // Of two lives of one name the later one is asked.
        if self.asked.get(&member.id).is_none_or(|known| known.member.inc < member.inc) {
            self.asked.insert(member.id.clone(), contact);
            self.dropped.remove(&member.id);
            env.wants_changed = true;
        }
    }

    /// A blocked peer says by datagram that it is there, as rarely as a stranger is answered: the
    /// group may have gone on, and it may neither hear its leader nor reach anybody that it knows.
    pub(crate) fn call_blocked(&self, turn: &mut Turn<'_>) {
        let patience = turn.env.patience();
        let env = &mut *turn.env;
        if env.blocked.is_some()
            && !self.first_view
            && env.strangers.is_due(turn.now, env.me.address, patience)
        {
            let request = env.join_request(self.ask, None);
            env.broadcast(Message::NewPeerRequest(request), turn.out);
        }
    }

    /// A blocked candidate hears a peer: it wants a link to that peer, which may be unable to dial.
    pub(crate) fn on_caller(&mut self, now: Time, env: &mut Env, caller: Contact) {
        let may_dial = env.strangers.may_dial(now, caller.address);
        if may_dial && (self.callers.len() < CALLERS_MOST || self.callers.contains_key(caller.id()))
        {
            self.callers.insert(caller.id().clone(), caller);
            env.wants_changed = true;
        }
    }

    /// Those who have promised are not enough to lead.
    pub(crate) fn promised_in_vain(&mut self, turn: &mut Turn<'_>, why: String) -> Flow {
        let until = turn.now + turn.env.config.outcome_timeout() * VAIN_ROUNDS;
        if let Stage::Syncing(claim) = &self.stage {
            // Who has answered the question, and not the claim, may not be there any more.
            self.answered.retain(|id| claim.answers.contains_key(id));
            // Who only wanted to lead on asks as a candidate first.
            self.failed_claim =
                claim.standing.is_none().then(|| (claim.answers.keys().cloned().collect(), until));
        }
        self.claim_in_vain(turn, why)
    }

    /// A standing leader, or a candidate, has not got what it needs.
    pub(crate) fn claim_in_vain(&mut self, turn: &mut Turn<'_>, why: String) -> Flow {
        if let Stage::Syncing(claim) = &mut self.stage
            && let Some(standing) = claim.standing.take()
        {
            turn.env.tell_stepped_down(turn.now, &standing, why.clone(), turn.out);
        }
        self.block(turn, why)
    }

    /// Whether it waits for somebody to come back.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(self.stage, Stage::Blocked { .. })
    }
}

impl Env {
    /// Says what this peer lacks, each time that is something else.
    pub(crate) fn tell_blocked(&mut self, why: String, out: &mut Vec<Output>) {
        if self.blocked.as_ref() != Some(&why) {
            out.push(Output::Note(Note::Blocked { why: why.clone() }));
        }
        self.blocked = Some(why);
    }
}

/// How many that were heard while a peer is blocked are linked.
pub(crate) const CALLERS_MOST: usize = 8;
/// After so many rounds of asking a claim is tried again with the very same peers: what one of them
/// held may have gone.
const VAIN_ROUNDS: u32 = 4;

/// Whether removing some leaves a quorum of the view that can make the removal stable.
pub(crate) fn survives(view: &View, gone: impl Fn(&Contact) -> bool) -> bool {
    is_quorum(view, |member| view.find(&member.id).is_some_and(|contact| !gone(contact)))
}

/// Why those for whom `holds` is true may not go on from a log, if they may not.
pub(crate) fn shortfall(
    views: &[(Seq, View)],
    stable: Seq,
    holds: impl Fn(&Member) -> bool,
) -> Option<String> {
    if may_go_on(views, stable, &holds) {
        return None;
    }
    let lacking =
        required(views, stable).iter().map(|(_, view)| view).find(|view| !is_quorum(view, &holds));
    Some(lacking.map_or_else(
        || "it has been in no view".to_owned(),
        |view| {
            let lacking = view
                .members
                .iter()
                .filter(|contact| !holds(&contact.member))
                .map(|contact| contact.id().clone());
            let lacking: Vec<PeerId> = lacking.collect();
            let (count, names) = (view.size() - lacking.len(), Names(&lacking));
            let what = format!(
                "{count} of the {} members of view {} can be reached",
                view.size(),
                view.view_id
            );
            format!("{what}, and that is no quorum; no answer from {names}")
        },
    ))
}
