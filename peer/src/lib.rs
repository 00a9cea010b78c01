//! One peer: a thin shell of sockets, sensors and files around one [`protocol::node::Node`].
//!
//! The node makes all decisions of the protocol; this crate carries bytes. One thread runs a short
//! `mio` loop and touches sockets only; blocking work is done by threads behind bounded queues:
//! host probes and files of sinks ([`worker`]), name look-ups ([`names`]), the surroundings of the
//! process ([`scout`]), standard input, and every output ([`outputs`]).
//!
//! Where to start reading: [`shell`] is the loop, [`settings`] its configuration, [`links`] and
//! [`discovery`] its sockets, [`door`] and [`web`] its interfaces for people and programs,
//! [`narrator`] its reports to people and machines, [`inputs`] and [`replay`] the replay of a
//! finished run.

#[cfg(not(target_os = "linux"))]
compile_error!("this system runs on Linux only, for now");

pub mod address;
pub mod chronicle;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod company;
pub mod configuration;
pub mod contacts;
pub mod counters;
pub mod descriptors;
pub mod discovery;
pub mod disk;
pub mod door;
pub mod doublings;
pub mod events;
pub mod failure;
pub mod folder;
pub mod gate;
pub mod guard;
mod identity;
pub mod incarnation;
pub mod inputs;
pub mod journal;
pub mod keeper;
pub mod links;
pub mod members;
pub mod meter;
pub mod names;
pub mod narrator;
pub mod network;
pub mod notify;
pub mod opening;
pub mod outputs;
pub mod pacer;
pub mod publisher;
pub mod reach;
pub mod record;
pub mod recover;
pub mod refusals;
pub mod rejects;
pub mod reload;
pub mod replay;
pub mod scout;
pub mod seed_addresses;
pub mod sensors;
pub mod settings;
pub mod shell;
pub mod silence;
pub mod sinks;
pub mod stamps;
pub mod status;
pub mod survey;
pub mod tokens;
pub mod units;
pub mod voice;
pub mod web;
pub mod worker;

/// The id of this build: the version, and a digest of the sources of `peer` and `protocol`.
pub const BUILD: &str = env!("PEER_BUILD");
