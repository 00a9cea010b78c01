//! An exhaustive search of the core: a small group, every order of events within bounds, and the
//! laws that must always hold.
//!
//! The simulator draws one order of events after the other and goes far; the search takes every
//! order and stays near. It steps the very [`protocol::node::Node`] that the peers ship, cloned for
//! each situation; no line of the protocol is written twice. A situation consists of the peers, the
//! messages in flight, the past (as far as a law remembers it) and the remaining bounds. Equal
//! situations are visited once; times count by their distance from the peer's own clock.
//!
//! Events in any order: a frame arrives, a dial is answered, a datagram arrives, a deadline passes,
//! a process dies or is paused, a reading is published, a connection breaks with all messages in
//! flight. Every peer has its own clock, so a silence, a partition and a slow network are the same:
//! a peer's deadlines pass while frames wait.
//!
//! Not covered: a first process with another incarnation (the simulator covers restarts and twins),
//! reordering on one connection, more than three peers, and everything beyond the printed bounds.
//! Liveness is not checked: a search without fairness could only find that nothing needs to happen.

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
