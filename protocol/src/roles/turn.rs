//! One call, as a role sees it, and what a role becomes by it.
//!
//! A role's function takes a [`Turn`], and says with [`Flow`] how it goes on. What it becomes is a
//! value: `?` hands it up to the node, which alone changes the role (`roles/transitions.rs`), so
//! nothing is done any more in a role that has come to its end.

use std::ops::ControlFlow;

use crate::env::Env;
use crate::id::{Contact, Epoch, Member, PeerId};
use crate::io::{Output, StopReason};
use crate::report::note::Cause;
use crate::roles::leader::Leader;
use crate::roles::leader::first_entry::FirstEntry;
use crate::time::Time;
use crate::wire::message::Election;

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
    /// In no view, because the views have gone on without it, and leaves it to the others to claim
    /// for a while; says what it lacks, if it has claimed.
    GiveWay { lacks: Option<String> },
    /// Without a leader: asks whether it may lead, and answers whoever has just asked that.
    Elect { cause: Cause, missed: Option<PeerId>, asker: Option<Election> },
    /// Gives a claimant its promise, and waits for the outcome.
    Promise { to: Member, epoch: Epoch },
    /// Waits for the claim of the one to whom its leader, or it as the leader, has handed over.
    AwaitHeir { heir: PeerId },
    /// Follows that leader, which was there at `proven_at`.
    Follow { leader: Contact, epoch: Epoch, proven_at: Time },
    /// Leads, and claims an epoch above that one, because an entrant has promised it.
    Renew { above: Epoch },
    /// Leads, and has said so; `first` is what the first entry of its epoch will say.
    Lead { leader: Box<Leader>, first: FirstEntry },
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

/// It asks around who leads.
pub(crate) fn elect<T>(cause: Cause, asker: Option<Election>) -> Flow<T> {
    go(Next::Elect { cause, missed: None, asker })
}
