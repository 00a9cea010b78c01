//! Measures real groups of peers on this machine: the programs that ship, over real sockets, killed
//! from outside.
//!
//! The results come from the event files of the peers, whose clock (CLOCK_MONOTONIC) is the same
//! for the whole machine. The bench itself is not part of the measurement: it only writes lines to
//! the peers' standard input and kills a peer from time to time.

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
