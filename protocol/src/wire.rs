//! What peers say to each other: the messages, and the bytes that carry them.

pub mod frame;
pub mod message;
