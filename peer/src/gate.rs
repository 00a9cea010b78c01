//! Evidence first: before anything leaves this process, the corresponding events and inputs are
//! written.
//!
//! The judge of a run reads the files of a killed process. Whatever the process had sent to others,
//! or stored in its data folder, must be found there, too. So before the loop writes to a socket or
//! passes readings to the sinks, it waits until the threads of these outputs have written
//! everything. That takes microseconds as a rule, and never longer than [`PATIENCE`]: the loop
//! waits once for a slower output, reports it, and does not wait again before that output has
//! caught up. Only regular files are waited for. A pipe or a terminal is as fast as its reader, and
//! holds no evidence.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use stdio::Outlet;
use stdio::outlet::Taken;

use crate::doublings::Doublings;

/// The outputs that have to be written first. Clones share them.
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
    /// Also waits for this output.
    pub fn add(&self, name: String, outlet: Outlet) {
        self.outputs.borrow_mut().push(Output { name, outlet, late: Doublings::default() });
    }

    /// Waits until everything is written, for a short time at most.
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

/// The longest single wait; far shorter than any deadline of the protocol.
const PATIENCE: Duration = Duration::from_millis(100);
