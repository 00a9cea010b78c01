//! The core, searched exhaustively: a small group, every order of events within bounds, what must
//! always be true.
//!
//! The simulator draws one order of events after the other and goes far; the search takes every
//! order and stays near. What it steps is the very [`protocol::node::Node`] that the peers ship,
//! cloned for each situation; no line of the protocol is written twice. A situation is the peers,
//! what is on its way between them, what has happened (as far as a law remembers it) and what is
//! left of the bounds. Situations that are alike are visited once; moments count by their distance
//! from the peer's own now.
//!
//! What may happen, in any order: a frame arrives, a dial is answered, a datagram is heard, a
//! deadline passes, a process dies or stands still, a reading is published, a connection breaks
//! with all that is on its way. Every peer has its own clock, so a silence, a partition and a slow
//! network are all the same: somebody's deadlines pass while frames wait.
//!
//! What it leaves out: a first process with another incarnation (restarts and twins are the
//! simulator's), frames that overtake each other on one connection, more than three peers, and
//! everything beyond the bounds, which are printed. Liveness is not asked for: a search without
//! fairness could only find that nothing needs to happen.

mod bounds;
mod fact;
mod group;
mod holdings;
mod law;
mod memory;
mod model;
mod path;
mod peer;
mod plan;
mod search;
mod start;

pub use crate::bounds::Bounds;
pub use crate::fact::{Breach, Mark};
pub use crate::memory::available;
pub use crate::plan::{Depth, Planned, plan};
pub use crate::search::{Counterexample, Report, search};
pub use crate::start::Start;
