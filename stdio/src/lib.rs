//! What a program of this system says and hears through its process.
//!
//! - [`outlet`]: an output that never holds up the thread that writes to it. A thread of its own
//!   does the writing, behind a bounded queue; what the queue has no room for is counted, and the
//!   output itself says so.
//! - [`answer()`]: what a command was asked for goes to standard output, and an error of writing it
//!   is an error.
//! - [`signals`]: which signals were ignored at the start, and what counts as one request to stop.
//!
//! Knows nothing of peers, scenarios or promises.

pub mod answer;
pub mod outlet;
pub mod signals;

pub use answer::{UNSAID, Unsaid, answer, last_words};
pub use outlet::{Drain, Outlet};
