//! Evidence first: before anything leaves this process, the events and inputs that it rests on are
//! written.
//!
//! Whoever judges a run reads what a killed process has left behind. What it had said to others, or
//! kept in its data folder, must be found there, too. So the loop waits, before it writes to a
//! socket or hands readings to the sinks, until the threads of these outputs have written
//! everything. That is microseconds as a rule, and never longer than [`PATIENCE`]: the loop waits
//! for an output that is slower once, says so, and not again before that output has caught up. Only
//! regular files are waited for. A pipe or a terminal is as fast as its reader, and holds no
//! evidence.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use stdio::Outlet;
use stdio::outlet::Taken;

use crate::doublings::Doublings;

/// What has to be written first. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    outputs: Rc<RefCell<Vec<Output>>>,
}

#[derive(Debug)]
struct Output {
    name: String,
    outlet: Outlet,
    late: Doublings,
}

impl Gate {
    /// This output is waited for, too.
    pub fn add(&self, name: String, outlet: Outlet) {
        self.outputs.borrow_mut().push(Output { name, outlet, late: Doublings::default() });
    }

    /// Waits until everything is written, for a moment at most.
    pub fn pass(&self) {
        for output in self.outputs.borrow_mut().iter_mut() {
            if output.outlet.catch_up(PATIENCE) == Taken::TooSlow
                && let Some(count) = output.late.count()
            {
                log::warn!(
                    "{} takes longer than {PATIENCE:?} to write (occurrence {count}). This peer \
                     goes on without waiting; were \
                     it killed before the file has caught up, its last lines would be missing \
                     there.",
                    output.name
                );
            }
        }
    }
}

/// How long a single wait may take; far less than any deadline of the protocol.
const PATIENCE: Duration = Duration::from_millis(100);
