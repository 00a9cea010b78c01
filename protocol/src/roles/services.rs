//! What every role does in the same way.

use crate::env::Env;
use crate::id::Member;
use crate::io::Output;
use crate::report::note::Note;
use crate::roles::turn::Turn;
use crate::wire::message::{Coordinator, JoinRequest, MissingRequest, Reason, SyncRequest};

impl Turn<'_> {
    /// Sends of its log what somebody lacks.
    pub(crate) fn serve(&mut self, from: &Member, missing: &MissingRequest) {
        self.env.on_missing(self.now, from, missing, self.out);
    }

    /// Mode `primary`: whether that is one blocked peer introducing another one to a third.
    pub(crate) fn is_introduced(&self, join: &JoinRequest) -> bool {
        let blocked = self.env.policy().needs_quorum() && self.env.blocked.is_some();
        blocked && join.leading.is_none() && join.from.birth != self.env.me.birth
    }

    /// Drops a request in another peer's name.
    pub(crate) fn drop_passed(&mut self, from: &Member, join: &JoinRequest) {
        if join.leading.is_some() || join.from.birth != self.env.me.birth {
            let why = "for another peer";
            self.env.reject(Some(&from.id), "NEW_PEER_REQUEST", why, self.out);
        }
    }

    /// Whether a claim is refused: for that reason of the role, or because this peer has promised a
    /// higher epoch. A peer that would not promise a higher one either says so first, because to
    /// claim again is in vain.
    pub(crate) fn refuses_claim(
        &mut self,
        from: &Member,
        request: &SyncRequest,
        turned_away: Option<Reason>,
    ) -> bool {
        let stale = request.epoch < self.env.promised;
        let reason = turned_away
            .or_else(|| stale.then(|| Reason::Stale { promised: self.env.promised.clone() }));
        let Some(reason) = reason else { return false };
        self.env.refuse(self.now, from, Some(request.epoch.round), reason, self.out);
        true
    }

    /// Tells whoever asks that this peer does not lead.
    pub(crate) fn does_not_lead(&mut self, from: &Member, ask: u64) {
        self.env.refuse(self.now, from, Some(ask), Reason::NotLeader, self.out);
    }
}

impl Env {
    /// A leader says over a link that it leads.
    pub(crate) fn hear_announcement(
        &mut self,
        from: &Member,
        word: &Coordinator,
        out: &mut Vec<Output>,
    ) {
        // What a stranger announces changes nothing, and is nothing to tell.
        if word.epoch >= self.promised && (self.promised.owner == *from || self.counts(from)) {
            let (log, epoch) = (self.log.name(), word.epoch.clone());
            out.push(Output::Note(Note::Coordinator { log, peer: from.id.clone(), epoch }));
        }
        self.merge_backoffs.on_invitation(&from.id);
    }
}
