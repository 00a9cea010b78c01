//! What holds at the end of every call, whatever came: the invariants that link the facts of a
//! node. A debug build asserts them, and so does the simulator in any build: a breach is an error
//! of the core, never of what it was told.

use crate::env::Env;
use crate::install::Purpose;
use crate::node::Node;
use crate::roles::Role;
use crate::roles::candidate::blocked::CALLERS_MOST;
use crate::roles::candidate::{Candidate, Stage};
use crate::roles::follower::Follower;
use crate::roles::joining::Joining;
use crate::roles::leader::Leader;

/// What does not hold, in words.
type Checked = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

impl Node {
    /// Whether every invariant holds.
    ///
    /// # Errors
    ///
    /// Says which one does not. That is an error of the core.
    pub fn check(&self) -> Result<(), String> {
        if self.env.stopped {
            return Ok(());
        }
        self.env.check_log()?;
        self.check_install()?;
        match &self.role {
            Role::Joining(joining) => joining.check(&self.env),
            Role::Follower(follower) => follower.check(&self.env),
            Role::Candidate(candidate) => candidate.check(&self.env),
            Role::Leader(leader) => leader.check(&self.env),
        }
    }

    /// A log is built for the state that waits for it.
    fn check_install(&self) -> Checked {
        let Some(install) = &self.env.install else { return Ok(()) };
        let waits = match (&self.role, install.purpose) {
            (Role::Joining(_), Purpose::Join) | (Role::Follower(_), Purpose::Follow) => true,
            (Role::Candidate(candidate), Purpose::Lead) => {
                matches!(candidate.stage, Stage::Adopting { .. })
            }
            (Role::Joining(_) | Role::Follower(_) | Role::Candidate(_) | Role::Leader(_), _) => {
                false
            }
        };
        ensure(waits, || {
            format!("a peer that is {} builds a log to {:?}", self.role_name(), install.purpose)
        })?;
        ensure(install.epoch >= self.env.promised, || {
            format!("it builds for {}, and has promised {}", install.epoch, self.env.promised)
        })
    }
}

impl Env {
    fn check_log(&self) -> Checked {
        let (base, stable, end) = (self.log.base(), self.log.stable(), self.log.contiguous());
        // What was handed over may lie above: a log may be replaced by a shorter one.
        ensure(base <= stable && stable <= end, || {
            format!("the log begins at #{base}, is stable up to #{stable}, and ends at #{end}")
        })
    }
}

impl Joining {
    fn check(&self, env: &Env) -> Checked {
        ensure(
            self.target.as_ref().is_none_or(|(target, _)| target.member != env.me.member),
            || "it asks itself to be let in".to_owned(),
        )
    }
}

impl Follower {
    fn check(&self, env: &Env) -> Checked {
        ensure(self.epoch <= env.promised, || {
            format!("it follows in {}, and has promised {}", self.epoch, env.promised)
        })?;
        ensure(self.acked <= env.log.contiguous(), || {
            format!("#{} is acknowledged, and #{} is held", self.acked, env.log.contiguous())
        })?;
        ensure(self.leader.member != env.me.member, || "it follows itself".to_owned())
    }
}

impl Candidate {
    fn check(&self, env: &Env) -> Checked {
        ensure(!self.asked.contains_key(env.me.id()), || "it asks itself".to_owned())?;
        ensure(self.callers.len() <= CALLERS_MOST, || {
            format!("{} callers are remembered", self.callers.len())
        })?;
        match &self.stage {
            Stage::Syncing(claim) | Stage::Adopting { claim, .. } => {
                ensure(claim.epoch <= env.promised && claim.epoch.owner == env.me.member, || {
                    format!("it claims {}, and has promised {}", claim.epoch, env.promised)
                })
            }
            Stage::Asking { .. }
            | Stage::Vetoed { .. }
            | Stage::Blocked { .. }
            | Stage::Waiting { .. } => Ok(()),
        }
    }
}

impl Leader {
    fn check(&self, env: &Env) -> Checked {
        let end = env.log.contiguous();
        ensure(self.epoch <= env.promised && self.epoch.owner == env.me.member, || {
            format!("it leads in {}, and has promised {}", self.epoch, env.promised)
        })?;
        ensure(env.log.is_in(&self.epoch), || {
            format!("it leads in {}, and its log is in {}", self.epoch, env.log.epoch())
        })?;
        ensure(!self.progress.contains_key(env.me.id()), || "it follows itself".to_owned())?;
        for progress in self.progress.values() {
            let (id, acked, sent) = (progress.contact.id(), progress.acked, progress.cursor);
            ensure(acked <= end && sent <= end, || {
                format!("{id} is sent #{sent} and has #{acked}, and the log ends at #{end}")
            })?;
        }
        let Some(view) = env.log.view() else { return Ok(()) };
        ensure(view.epoch != self.epoch || view.names(&env.me.member), || {
            "its own view does not name it".to_owned()
        })?;
        let Some(stranger) = self
            .progress
            .values()
            .find(|progress| view.epoch == self.epoch && !view.names(&progress.contact.member))
        else {
            return Ok(());
        };
        Err(format!("{} is followed up, and its view does not name it", stranger.contact.id()))
    }
}
