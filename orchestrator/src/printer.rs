//! Prints to standard output and standard error while runs go on.
//!
//! Threads do the writing: a slow reader must not keep this process from ending peers in time or
//! from handling Ctrl-C. At the end a command waits until its results are read, unless it is
//! interrupted.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};
use stdio::Outlet;
use stdio::outlet::{Loss, Manner};

use crate::signals::Interrupts;

/// Both outputs of the command.
#[derive(Clone, Debug)]
pub struct Printer {
    results: Outlet,
    remarks: Outlet,
}

impl Printer {
    /// Takes over both outputs.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start() -> io::Result<Self> {
        let outlet = |name, output: io::Result<OwnedFd>, manner| {
            Outlet::start(name, File::from(output?), manner)
        };
        Ok(Self {
            results: outlet("results", io::stdout().as_fd().try_clone_to_owned(), RESULTS)?,
            remarks: outlet("remarks", io::stderr().as_fd().try_clone_to_owned(), REMARKS)?,
        })
    }

    /// Prints a result on standard output, after the remarks before it.
    pub fn result(&self, text: &str) {
        self.remarks.catch_up(ORDER_PATIENCE);
        let _dropped_and_counted = self.results.put(text.as_bytes());
        self.results.catch_up(ORDER_PATIENCE);
    }

    /// Prints a remark on standard error.
    pub fn remark(&self, text: &str) {
        let _dropped_and_counted = self.remarks.put(text.as_bytes());
    }

    /// The target of the live line: standard error.
    #[must_use]
    pub fn draw_target(&self) -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(Screen {
            remarks: self.remarks.clone(),
            drawn: Mutex::default(),
        }))
    }

    /// Waits until the results are read or the user asks to stop; true if all of them were written.
    /// A user who asked to stop before does not have to ask again.
    pub fn finish(&self, interrupts: &mut Interrupts) -> bool {
        let before = interrupts.count();
        let began = Instant::now();
        while !self.results.settle(SIGNAL_PATIENCE) {
            let asked = interrupts.poll() && interrupts.count() > before;
            if asked || before > 0 && began.elapsed() > INTERRUPTED_PATIENCE {
                return false;
            }
        }
        self.remarks.settle(REMARKS_PATIENCE);
        self.results.health().dropped == 0
    }

    /// Why the results could not be written; none if the reader closed the pipe or nothing failed.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let broken_pipe = io::Error::from_raw_os_error(nix::errno::Errno::EPIPE as i32).to_string();
        self.results.health().failing.filter(|why| *why != broken_pipe)
    }
}

/// A terminal whose output goes through an outlet, one drawing at a time.
#[derive(Debug)]
struct Screen {
    remarks: Outlet,
    drawn: Mutex<String>,
}

impl Screen {
    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn
            .lock()
            .map_err(|_| io::Error::other("a thread panicked while it drew the live line"))?
            .push_str(text);
        Ok(())
    }

    /// Moves the cursor by a number of places in the direction of an ANSI sequence.
    fn go(&self, places: usize, direction: char) -> io::Result<()> {
        if places == 0 { Ok(()) } else { self.draw(&format!("\u{1b}[{places}{direction}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Term::stderr().size().1
    }

    fn height(&self) -> u16 {
        Term::stderr().size().0
    }

    fn move_cursor_up(&self, places: usize) -> io::Result<()> {
        self.go(places, 'A')
    }

    fn move_cursor_down(&self, places: usize) -> io::Result<()> {
        self.go(places, 'B')
    }

    fn move_cursor_right(&self, places: usize) -> io::Result<()> {
        self.go(places, 'C')
    }

    fn move_cursor_left(&self, places: usize) -> io::Result<()> {
        self.go(places, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self
            .drawn
            .lock()
            .map_err(|_| io::Error::other("a thread panicked while it drew the live line"))?;
        if !drawn.is_empty() {
            let _dropped_and_counted = self.remarks.put(drawn.as_bytes());
            drawn.clear();
        }
        Ok(())
    }
}

fn gap(dropped: u64) -> Vec<u8> {
    format!("({dropped} lines were dropped while nobody read this output)\n").into_bytes()
}

/// Results wait for their reader.
const RESULTS: Manner = Manner { bytes_max: 256 << 20, lines_max: 1 << 20, loss: Loss::Tell(gap) };
const REMARKS: Manner = Manner { bytes_max: 1 << 20, lines_max: 1 << 13, loss: Loss::Tell(gap) };
/// Results and remarks mostly go to the same terminal and should keep their order there.
const ORDER_PATIENCE: Duration = Duration::from_millis(200);
const SIGNAL_PATIENCE: Duration = Duration::from_millis(100);
/// How long the results of an interrupted command may wait for their reader.
const INTERRUPTED_PATIENCE: Duration = Duration::from_secs(1);
const REMARKS_PATIENCE: Duration = Duration::from_millis(500);
