//! The standard streams and the signals of a program of this system.
//!
//! - [`outlet`]: an output that never blocks the thread that writes to it. A thread of its own does
//!   the writing, behind a bounded queue; lines without room are counted, and the output itself
//!   reports them.
//! - [`answer()`]: the answer of a command goes to standard output, and a failed write is an error.
//! - [`signals`]: the signals that were ignored at the start, and requests to stop.
//!
//! Independent of peers, scenarios and promises.

pub mod answer;
pub mod outlet;
pub mod signals;

pub use answer::{UNSAID, Unsaid, answer, last_words};
pub use outlet::{Drain, Outlet};
