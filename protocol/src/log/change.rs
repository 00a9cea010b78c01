//! What a view changes in the one before it: how a view is told to whoever holds that one.
//!
//! A view names everybody, and everybody is told each of them, so a join into a group of N peers
//! would cost N² names. What has changed is a few. On the wire only: a log holds whole views, each
//! of which can be understood by itself.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bounded::{self, MEMBERS_MOST};
use crate::id::{Contact, Epoch, PeerId, ViewId};
use crate::log::remarks::Remarks;
use crate::log::view::View;

/// A view, as a change of the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The view before it.
    pub before: (Epoch, ViewId),
    /// Its number.
    pub view_id: ViewId,
    /// The epoch in which it was numbered.
    pub epoch: Epoch,
    /// Who leads it.
    pub leader: PeerId,
    /// Those of the view before that it does not name.
    #[serde(deserialize_with = "bounded::list::<_, _, MEMBERS_MOST>")]
    pub gone: Vec<PeerId>,
    /// Those that it names and the view before does not, or not like that: another life, another
    /// address.
    #[serde(deserialize_with = "bounded::list::<_, _, MEMBERS_MOST>")]
    pub come: Vec<Contact>,
    /// Set in the last view of a group that dissolves into another one: whom to join.
    pub successor: Option<Contact>,
    /// What else is said of the view, to people.
    #[serde(skip)]
    pub remarks: Remarks,
}

impl Change {
    /// What `view` changes in the one `before` it, if that is less to tell than the view.
    pub(crate) fn between(before: &View, view: &View) -> Option<Self> {
        // Whoever is told has to put them into their order again.
        let in_order = |view: &View| view.members.is_sorted_by(|a, b| a.priority() <= b.priority());
        if !in_order(view) {
            return None;
        }
        let gone = before
            .members
            .iter()
            .filter(|contact| view.find(contact.id()).is_none())
            .map(|contact| contact.id().clone());
        let come = view
            .members
            .iter()
            .filter(|contact| before.find(contact.id()) != Some(contact))
            .cloned();
        let (gone, come): (Vec<PeerId>, Vec<Contact>) = (gone.collect(), come.collect());
        (2 * (gone.len() + come.len()) <= view.size()).then(|| Self {
            before: (before.epoch.clone(), before.view_id),
            view_id: view.view_id,
            epoch: view.epoch.clone(),
            leader: view.leader.clone(),
            gone,
            come,
            successor: view.successor.clone(),
            remarks: view.remarks.clone(),
        })
    }

    /// The view that it makes of the one before; none of any other view.
    pub(crate) fn of(&self, before: &View) -> Option<View> {
        if (&before.epoch, before.view_id) != (&self.before.0, self.before.1) {
            return None;
        }
        let replaced: BTreeSet<&PeerId> =
            self.gone.iter().chain(self.come.iter().map(Contact::id)).collect();
        let kept =
            before.members.iter().filter(|contact| !replaced.contains(contact.id())).cloned();
        let view = View::new(
            self.view_id,
            self.epoch.clone(),
            self.leader.clone(),
            kept.chain(self.come.iter().cloned()).collect(),
        );
        Some(View { successor: self.successor.clone(), remarks: self.remarks.clone(), ..view })
    }
}

/// `VIEW_CHANGE:+[who came]-[who went]-<view_id>`. Ids need no escaping: their alphabet has nothing
/// that JSON minds.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VIEW_CHANGE:+")?;
        for ids in
            [self.come.iter().map(Contact::id).collect::<Vec<_>>(), self.gone.iter().collect()]
        {
            f.write_str("[")?;
            for (at, id) in ids.iter().enumerate() {
                write!(f, "{}\"{id}\"", if at == 0 { "" } else { "," })?;
            }
            f.write_str("]-")?;
        }
        write!(f, "{}", self.view_id)
    }
}

#[cfg(test)]
mod tests {
    use super::Change;
    use crate::harness::{epoch_of, peer, reborn};
    use crate::id::{Contact, ViewId};
    use crate::log::view::View;

    fn view(view_id: u64, leader: u16, members: Vec<Contact>) -> View {
        View::new(ViewId(view_id), epoch_of(&peer(leader)), peer(leader).id().clone(), members)
    }

    fn first(count: u16) -> Vec<Contact> {
        (1..=count).map(peer).collect()
    }

    #[test]
    fn a_view_is_what_its_change_makes_of_the_one_before() {
        let check = |before: &View, after: View, words: &str| {
            let change = Change::between(before, &after).expect("a small change");
            assert_eq!((change.to_string().as_str(), change.of(before)), (words, Some(after)));
        };
        let before = view(4, 3, first(8));
        check(
            &before,
            view(5, 3, [first(8), vec![peer(9)]].concat()),
            "VIEW_CHANGE:+[\"p9\"]-[]-5",
        );
        check(
            &before,
            view(5, 2, [first(2), (4..=8).map(peer).collect()].concat()),
            "VIEW_CHANGE:+[]-[\"p3\"]-5",
        );
        check(
            &before,
            view(5, 3, [first(7), vec![reborn(8)]].concat()),
            "VIEW_CHANGE:+[\"p8\"]-[]-5",
        );
        let moved = Contact { address: "127.0.0.1:9".parse().expect("an address"), ..peer(7) };
        check(
            &before,
            view(5, 3, [first(6), vec![moved, peer(10)]].concat()),
            "VIEW_CHANGE:+[\"p10\",\"p7\"]-[\"p8\"]-5",
        );
        check(
            &before,
            View { successor: Some(peer(70)), ..view(5, 3, first(8)) },
            "VIEW_CHANGE:+[]-[]-5",
        );
    }

    #[test]
    fn a_large_change_is_told_as_a_view_and_another_view_is_changed_by_nothing() {
        let before = view(4, 1, first(4));
        assert!(Change::between(&before, &view(5, 1, first(5))).is_some());
        assert!(Change::between(&before, &view(5, 1, first(7))).is_some());
        assert!(Change::between(&before, &view(5, 1, first(9))).is_none());
        assert!(Change::between(&before, &view(5, 1, first(1))).is_none());
        let change = Change::between(&before, &view(5, 1, first(5))).expect("a small change");
        assert_eq!(change.of(&view(3, 1, first(4))), None);
        assert_eq!(change.of(&view(4, 2, first(4))), None);
    }
}
