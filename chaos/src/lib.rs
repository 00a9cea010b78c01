//! The hand that touches a running group, and the eye that watches it.
//!
//! Works on the folder of any run, whoever started the peers: a [`Group`] follows the event files
//! and knows who leads, a [`FaultInjector`] does something to a process, sees that it worked and writes it
//! down as ground truth, a [`LogWatch`] waits for words in the human logs, and [`report`] holds the
//! whole history against the promises. The command `chaos` is a thin shell over these, and the
//! orchestrator links them.
//!
//! Linux only: a process is known by its pid *and* its start time, as /proc tells them.

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
