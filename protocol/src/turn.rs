//! One call, as a role sees it, and what a role becomes by it.
//!
//! A role's function takes a [`Turn`], and says with [`Flow`] how it goes on. What it becomes is a
//! value: `?` hands it up to the node, which alone changes the role (`roles/transitions.rs`), so
//! nothing is done any more in a role that has come to its end.

use std::ops::ControlFlow;

use crate::env::Env;
use crate::id::{Contact, Epoch, PeerId};
use crate::io::{Output, StopReason};
use crate::report::note::Cause;
use crate::time::Time;

/// One call.
pub(crate) struct Turn<'a> {
    pub(crate) now: Time,
    pub(crate) env: &'a mut Env,
    pub(crate) out: &'a mut Vec<Output>,
}

/// What a role becomes.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    /// In no view: asks that leader to be admitted, or looks for a group.
    Join { target: Option<Contact> },
    /// Without a leader: asks whether it may lead.
    Elect { cause: Cause, missed: Option<PeerId> },
    /// Waits for the claim of somebody better, to whom it has given its promise.
    Wait { on: PeerId },
    /// Waits for the claim of the one to whom its leader, or it as the leader, has handed over.
    AwaitHeir { heir: PeerId },
    /// Follows that leader, which was there at `proven_at`.
    Follow { leader: Contact, epoch: Epoch, proven_at: Time },
    /// Leads, and claims an epoch above that one, because an entrant has promised it.
    Renew { above: Epoch },
    /// Is at its end.
    Stop(StopReason),
}

/// How a role goes on: with a value, or as something else.
pub(crate) type Flow<T = ()> = ControlFlow<Next, T>;

/// It stays what it is.
pub(crate) const STAY: Flow = ControlFlow::Continue(());

/// It becomes something else.
pub(crate) fn go<T>(next: Next) -> Flow<T> {
    ControlFlow::Break(next)
}
