//! The simulation of virtual time: the real nodes, on a network that a seed has drawn.
//!
//! A [`Simulation`](simulation::Simulation) is a clock, an agenda and the nodes; a plan says what is done to it; a
//! run goes through boot, chaos, healing and quiet, and is judged by the promises. One seed is one
//! run, always the same one. Nothing here reads a clock or opens a socket; what takes time here is
//! the processor's.

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
