//! The group protocol of the Distributed Sensor System, as a value that turns inputs into outputs.

mod adoption;
mod building;
mod delivery;
mod detector;
mod election;
mod joining;
mod leave;
mod links;
mod log;
mod member;
mod membership;
mod outbox;
mod proof;
mod role;
mod sequencer;
mod sync;

pub mod config;
pub mod draw;
pub mod error;
pub mod frame;
pub mod id;
pub mod message;
pub mod node;
pub mod note;
pub mod seam;
pub mod status;
pub mod time;
pub mod view;
