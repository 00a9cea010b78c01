//! The group protocol of the Distributed Sensor System, as a value that turns inputs into outputs.

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
