//! One connection, as the node sees it.

use std::hash::{Hash, Hasher};

use crate::id::{Contact, PeerId};
use crate::time::Time;

#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The other end, once it has said who it is.
    pub(super) peer: Option<Contact>,
    /// Whom this end meant to reach.
    pub(super) target: Option<Contact>,
    /// `<dialler>:<k>`: names the link at both ends.
    pub(super) dialler: PeerId,
    pub(super) k: u64,
    pub(super) up: bool,
    pub(super) full: bool,
    /// Control frames only: those keep their order on a link, whatever bulk they overtake, so both
    /// ends count alike.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// When the other end said who it is; when it began, before that.
    pub(super) since: Time,
    /// When something last came on it.
    pub(super) heard: Time,
}

/// What was counted only to name frames is no part of what a link is.
impl Hash for Link {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { peer, target, dialler, k, up, full, sent: _, received: _, since, heard } = self;
        (peer, target, dialler, k, up, full, since, heard).hash(state);
    }
}

impl Link {
    pub(crate) fn new(
        target: Option<Contact>,
        dialler: PeerId,
        k: u64,
        up: bool,
        now: Time,
    ) -> Self {
        Self {
            peer: None,
            target,
            dialler,
            k,
            up,
            full: false,
            sent: 0,
            received: 0,
            since: now,
            heard: now,
        }
    }
}
