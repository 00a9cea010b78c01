//! Mode `primary`: who founds the group, and how those that may not find their way in.

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId, Seq};
use crate::log::view::Names;
use crate::report::note::Cause;
use crate::roles::joining::Joining;
use crate::roles::turn::{Flow, Turn, elect};
use crate::wire::message::{JoinRequest, Message};

impl Joining {
    /// Whether this peer may found a group now. Where it holds a part of one that has lost its
    /// leader, there is nothing to found: it asks for that one's votes.
    pub(super) fn may_found(&mut self, turn: &mut Turn<'_>) -> Flow<bool> {
        let Turn { now, env, out } = turn;
        if !env.policy().names_founders() {
            return Flow::Continue(true);
        }
        let is_elector = env.is_elector();
        if is_elector && !self.gives_way(*now) {
            return elect(Cause::Again, None);
        }
        self.since = *now;
        if is_elector {
            return Flow::Continue(false);
        }
        let advises = now.since(*env.outside_since.get_or_insert(*now))
            >= env.config.knobs().heartbeat_timeout * ADVICE_AFTER;
        let lacks = self.lacks_to_found(env, advises);
        let may = lacks.is_none();
        if let Some(why) = lacks {
            env.tell_blocked(why, out);
        }
        Flow::Continue(may)
    }

    pub(super) fn lacks_founders(&self, env: &Env) -> bool {
        env.policy().names_founders() && self.lacks_to_found(env, false).is_some()
    }

    fn lacks_to_found(&self, env: &Env, advises: bool) -> Option<String> {
        let (bootstrap, me) = (&env.config.knobs().bootstrap, &env.me.member.id);
        lacks_to_found(self, bootstrap, me, env.has_history, advises)
    }

    /// The blocked peers that this one knows, founders first. They are linked, because one may have
    /// heard those that another has not: founders that are missing, or the members of a view that a
    /// third peer may know of.
    pub(crate) fn go_betweens(&self, env: &Env) -> Vec<Contact> {
        if env.blocked.is_none() || !env.policy().needs_quorum() {
            return vec![];
        }
        let bootstrap = &env.config.knobs().bootstrap;
        let founders = bootstrap.iter().filter_map(|id| self.heard.get(id));
        let others = self
            .heard
            .iter()
            .filter(|(id, _)| !bootstrap.contains(id))
            .map(|(_, heard)| heard)
            .take(OTHERS);
        founders.chain(others).map(|(contact, _)| contact.clone()).collect()
    }

    pub(super) fn introduce_linked(&self, turn: &mut Turn<'_>) {
        // Whoever was heard before this peer was blocked is wanted now.
        turn.env.wants_changed |= turn.env.blocked.is_some();
        let mut linked = self.go_betweens(turn.env);
        linked.retain(|contact| turn.env.links.is_linked(&contact.member));
        for to in &linked {
            for from in linked.iter().filter(|from| from.member != to.member) {
                let request = JoinRequest {
                    ask: self.ask,
                    from: from.clone(),
                    promised: Epoch::none(),
                    contiguous: Seq::ZERO,
                    lineage: vec![],
                    leading: None,
                    has_history: self.with_history.contains(from.id()),
                    recent: 0,
                };
                let message = Message::NewPeerRequest(request);
                turn.env.send(turn.now, &to.member, message, turn.out);
            }
        }
    }

    /// A founder that is linked counts as heard.
    pub(super) fn on_founder_linked(&mut self, turn: &mut Turn<'_>, member: &Member) {
        let Some(contact) = turn.env.links.contact(member).cloned() else { return };
        if turn.env.policy().names_founders()
            && turn.env.config.knobs().bootstrap.contains(&member.id)
        {
            let has_history = self.with_history.contains(&member.id);
            self.on_fellow_joiner(turn, contact, has_history);
        }
    }
}

/// What a joining peer lacks to found the group.
fn lacks_to_found(
    joining: &Joining,
    bootstrap: &[PeerId],
    me: &PeerId,
    has_history: bool,
    advises: bool,
) -> Option<String> {
    let advice = if advises { NEW_LOG } else { "" };
    if has_history {
        let heard: Vec<PeerId> = joining.heard.keys().cloned().collect();
        let heard = if heard.is_empty() {
            "nobody".to_owned()
        } else {
            format!("{} outside of it, too, and no leader", Names(&heard))
        };
        return Some(format!(
            "waiting for the group that it was in before it was restarted; heard so far: \
             {heard}{advice}"
        ));
    }
    if !bootstrap.contains(me) {
        return Some(others_found(bootstrap));
    }
    let others = || bootstrap.iter().filter(|id| *id != me);
    let forgetful: Vec<PeerId> =
        others().filter(|id| joining.with_history.contains(*id)).cloned().collect();
    if !forgetful.is_empty() {
        let names = Names(&forgetful);
        return Some(format!(
            "waiting for a leader; in a group before, and waiting for it: {names}{advice}"
        ));
    }
    let missing: Vec<PeerId> =
        others().filter(|id| !joining.heard.contains_key(*id)).cloned().collect();
    awaited_to_found(&missing)
}

/// Said by who is not named in `bootstrap`.
pub(crate) fn others_found(bootstrap: &[PeerId]) -> String {
    format!("waiting for a leader; {} found the group", Names(bootstrap))
}

/// Said by a founder, as long as some are missing.
pub(crate) fn awaited_to_found(missing: &[PeerId]) -> Option<String> {
    (!missing.is_empty()).then(|| format!("waiting for {} to found the group", Names(missing)))
}

/// After so many `heartbeat_timeout`s outside of a group whose members have lost its log it is said
/// how to give that one up.
const ADVICE_AFTER: u32 = 30;
/// Said by then.
const NEW_LOG: &str = "; only if no peer of that group is left anywhere, `peer recover --new-log` \
                       on one peer begins another log";
/// How many joining peers besides the founders are linked, at most.
const OTHERS: usize = 8;
