//! Measures real groups of peers on this machine: the programs that ship, over real sockets, killed
//! from outside.
//!
//! Everything is read from the event files of the peers, whose clock (CLOCK_MONOTONIC) is one for
//! the whole machine. The bench itself is no part of what it measures: it only writes lines to the
//! peers' standard input and, now and then, kills one.

pub mod bare;
pub mod cli;
pub mod door;
pub mod failover;
pub mod feed;
pub mod group;
pub mod latency;
pub mod lease;
pub mod observed;
pub mod outage;
pub mod pairs;
pub mod peers;
pub mod reference;
pub mod restart;
pub mod scale;
pub mod soak;
pub mod spread;
pub mod throughput;
pub mod usage;
