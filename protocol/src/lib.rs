//! The group protocol of the Distributed Sensor System, as a value that turns inputs into outputs.
//!
//! **The group's life is one numbered log.** Readings and view changes are both entries in it. The
//! leader numbers entries; an election decides who may *ask* to number next; a claim decides
//! where the log continues.
//!
//! What you hold is a [`node::Node`]. It never reads a clock, opens a socket, starts a thread or
//! logs; you tell it what happened ([`io::Input`]) and do what it asks ([`io::Output`]), in the
//! order in which it asks. What you owe it:
//!
//! - the present time with every call, from one monotonic clock;
//! - a [`io::Input::Wake`] when [`node::Node::deadline`] has passed, after you have drained your
//!   sockets;
//! - an answer to every `Dial` (`LinkUp` or `DialFailed`), and a `LinkDown` for every link that you
//!   lose.
//!
//! Where to start reading: `docs/PROTOCOL.md` (the protocol as it is), [`message`] (what peers
//! say), [`io`] (what can happen), `node` (how a call runs), then the page of the role that you
//! came for: `roles/{joining,follower,candidate,leader}/page.rs`. The folders are layers: `log`
//! (what is kept), `wire` (what is sent), `roles`, `membership`, `links`, `install` and `delivery`
//! (what is done), `report` (what is told to those who watch). The wire form is in [`frame`] and
//! `WIRE.md`.
//!
//! A lone peer founds its group, and gets back what it publishes:
//!
//! ```
//! use protocol::config::{Config, Knobs};
//! use protocol::id::{Contact, Incarnation, Member, PeerId};
//! use protocol::node::Node;
//! use protocol::io::{Delivery, Input, Output, Publication};
//! use protocol::time::Time;
//!
//! let me = Contact {
//!     member: Member { id: PeerId::new("peer1")?, inc: Incarnation(1) },
//!     birth: 4_711,
//!     address: "127.0.0.1:5001".parse()?,
//!     explicit: 0,
//! };
//! let mut now = Time::ZERO;
//! let mut node = Node::new(me, Config::try_from(Knobs::fast())?, 1, now);
//! let mut out = Vec::new();
//! let publications = vec![Publication::one("21.5 C".into(), 0, None)];
//! node.handle(now, Input::Publish { publications }, &mut out);
//! let run = 'group: loop {
//!     for output in out.drain(..) {
//!         // A shell dials, sends, logs and stores here.
//!         if let Output::Deliver(Delivery::Run(run)) = output {
//!             break 'group run;
//!         }
//!     }
//!     // A shell waits for its sockets until then; here nobody else is there, so time just passes.
//!     now = node.deadline().expect("a living node always wants to be woken");
//!     node.handle(now, Input::Wake, &mut out);
//! };
//! assert_eq!((&run.readings.payloads()[..], run.first.0), (&b"21.5 C"[..], 2));
//! assert_eq!(node.status().role, "leader");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backoff;
mod bounded;
mod check;
mod clock;
mod delivery;
mod detector;
mod discovery;
#[cfg(test)]
mod doubts;
mod env;
mod gate;
mod guarantee;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile;
mod install;
mod links;
mod log;
mod membership;
mod policy;
mod publishing;
mod reach;
mod report;
mod roles;
mod sending;
mod wire;

pub mod config;
pub mod digest;
pub mod draw;
pub mod error;
pub mod id;
pub mod io;
pub mod node;
pub mod time;

pub use log::{change, dedup, lineage, log_id, readings, remarks, view};
pub use report::{activity, holding, inspect, note, query, status};
pub use wire::{frame, message};
