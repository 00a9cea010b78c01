//! The first entry of an epoch: the view of those who are in it.

use std::collections::BTreeSet;

use crate::id::{Contact, PeerId};
use crate::io::Output;
use crate::log::entry::Entry;
use crate::log::remarks::Remarks;
use crate::log::view::View;
use crate::report::note::Note;
use crate::roles::leader::Leader;
use crate::roles::turn::Turn;

/// What the first entry of an epoch will say.
#[derive(Clone, Debug, Hash)]
pub(crate) struct FirstEntry {
    /// Who has answered, besides the leader itself.
    pub(crate) listed: Vec<Contact>,
    /// Who has not, and was only silent.
    pub(crate) silent: BTreeSet<PeerId>,
}

impl Leader {
    /// The first entry of an epoch is the view of those who are in it. Of those who are not, some
    /// have only been silent.
    pub(crate) fn first_entry(&mut self, turn: &mut Turn<'_>, first: FirstEntry) {
        let FirstEntry { listed, silent } = first;
        let epoch = turn.env.log.epoch();
        let before = turn.env.log.view().cloned();
        let members = listed.into_iter().chain([turn.env.me.clone()]).collect();
        let view_id = before.as_ref().map_or(crate::id::ViewId(1), |view| view.view_id.next());
        let view = View::new(view_id, epoch, turn.env.me.id().clone(), members);
        for contact in before
            .iter()
            .flat_map(|old| old.members.iter())
            .filter(|contact| !view.names(&contact.member))
        {
            let (peer, peer_inc) = (contact.id().clone(), contact.member.inc);
            let silent = silent.contains(&peer);
            if silent {
                // As when a member is evicted for its silence.
                turn.env.links.hang_up_on(&contact.member, turn.out);
            }
            turn.out.push(Output::Note(Note::Failed {
                peer,
                peer_inc,
                silent,
                ordered: view.ids(),
            }));
        }
        let me = turn.env.me.id().clone();
        let view = match &before {
            Some(before) => turn.env.with_remarks(view, before, |_, suspected| {
                suspected.or_else(|| Some(format!("it did not answer {me}, which claimed to lead")))
            }),
            None => View { remarks: Remarks { ordered: turn.env.utc, why: Vec::new() }, ..view },
        };
        // Before this view was numbered, a member that nobody had told of its place in it may have
        // asked to be admitted. Such a request is settled now: kept, it would admit the member
        // again when the member leaves.
        self.entrants.retain(|_, entrant| !view.names(&entrant.contact.member));
        turn.env.append(Entry::View(view), turn.out);
        self.unsettle(turn.env);
    }
}
