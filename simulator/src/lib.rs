//! The simulation in virtual time: the real nodes, on a network drawn from a seed.
//!
//! A [`Simulation`](simulation::Simulation) is a clock, an agenda and the nodes; a plan lists its
//! faults; a run goes through boot, chaos, healing and quiet, and the promises judge it. One seed
//! is always the same run. Nothing here reads a clock or opens a socket; a run takes processor time
//! only.

mod agenda;
mod answers;
pub mod breach;
mod clock;
mod connection;
pub mod director;
mod drawn;
pub mod guard;
pub mod hearing;
pub mod kept;
mod knobs;
mod liar;
pub mod marks;
pub mod open;
mod pairs;
pub mod plan;
pub mod run;
pub mod script;
pub mod shrink;
pub mod simulation;
pub mod sweep;
pub mod tally;
pub mod transcript;
pub mod truth;
pub mod watch;
pub mod weather;
