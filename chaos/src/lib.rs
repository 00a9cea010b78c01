//! Injects faults into a running group of peers and observes it.
//!
//! Works on any run folder, no matter which program started the peers: a [`Group`] follows the
//! event files and determines the leader; a [`FaultInjector`] injects a fault into a process,
//! confirms its effect and records it as ground truth; a [`LogWatch`] waits for a pattern in the
//! human logs; and [`report`] checks the whole history against the promises. The command `chaos` is
//! a thin shell over these types, and the orchestrator links them.
//!
//! Linux only: a process is identified by its pid *and* its start time from /proc.

pub mod clock;
pub mod expect;
pub mod faults;
pub mod group;
pub mod held;
pub mod patience;
pub mod process_table;
pub mod procfs;
pub mod report;
pub mod run_folder;
pub mod tail;

pub use expect::LogWatch;
pub use faults::{FaultError, FaultInjector};
pub use group::Group;
pub use held::Held;
pub use report::Report;
pub use run_folder::RunFolder;
pub use tail::Tail;
