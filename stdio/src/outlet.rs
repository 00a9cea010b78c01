//! An output that never blocks the thread that writes to it.
//!
//! An unread pipe, a terminal stopped with Ctrl-S, or a hanging network disk may block a `write`
//! for any time. So the lines go into a bounded queue, and a thread of the outlet writes them.
//! Lines without room are dropped and counted. Once the output accepts lines again, it reports how
//! many are missing, at the place where they are missing.
//!
//! Lines are written in order, as many whole ones at a time as a pipe accepts in one piece, so that
//! several processes can share a pipe or a file. The thread never waits for more lines before it
//! writes.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// The target of an outlet. All of it is called on the outlet's own thread, and may block.
pub trait Drain: Send + 'static {
    /// Writes some of these bytes, and returns how many.
    ///
    /// # Errors
    /// Those of the operating system. Unwritten lines are dropped and counted.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reopens the file by its path.
    fn reopen(&mut self) {}

    /// Whether the output ends inside a line of another writer; called at the start and after
    /// reopening.
    fn is_torn(&mut self) -> bool {
        false
    }

    /// Writing fails from here on.
    fn failed(&mut self, _error: &io::Error) {}

    /// Writing works again.
    fn recovered(&mut self) {}
}

impl Drain for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }
}

/// The limits of the queue, and the handling of dropped lines.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The greatest number of waiting bytes.
    pub bytes_max: usize,
    /// The greatest number of waiting lines.
    pub lines_max: usize,
    /// The handling of dropped lines.
    pub loss: Loss,
}

/// The handling of dropped lines.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// It writes this line in their place.
    Tell(fn(u64) -> Vec<u8>),
    /// The writer asks with [`Outlet::take_lost`], and reports them itself.
    Ask,
    /// The outlet stops writing: data after a hole is worthless.
    End,
}

/// An output with a queue and a thread. Clones write to the same one; when the last one goes, so
/// does the thread.
#[derive(Clone, Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
    _last: Arc<Closer>,
}

/// The state of an outlet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Lines that wait.
    pub waiting_lines: usize,
    /// Bytes of them.
    pub waiting_bytes: usize,
    /// Lines that were dropped so far.
    pub dropped: u64,
    /// For how long the output has accepted nothing while lines waited.
    pub stuck: Option<Duration>,
    /// Why writing fails at present.
    pub failing: Option<String>,
    /// Whether it has stopped writing, because lines were dropped.
    pub ended: bool,
}

/// The result of waiting for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Everything has been written, or dropped.
    All,
    /// The time was used up just now.
    TooSlow,
    /// It was too slow before, and has not caught up; there was no wait.
    Behind,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is work for the thread.
    work: Condvar,
    /// The thread has made progress.
    progress: Condvar,
    manner: Manner,
}

#[derive(Debug, Default)]
struct State {
    pending: Batch,
    /// The number of lines accepted so far.
    taken: u64,
    /// Lines dropped after those that are pending.
    lost_behind: u64,
    /// The rest of the batch that is being written.
    held_lines: usize,
    held_bytes: usize,
    /// When the output last accepted data, or had none to accept.
    moved: Option<Instant>,
    dropped: u64,
    /// Dropped lines that are not reported yet.
    untold: u64,
    failing: Option<String>,
    /// Whether a wait has failed since everything was written last.
    behind: bool,
    reopen: bool,
    closed: bool,
    /// The thread has ended, or writes nothing any more.
    ended: bool,
    gone: bool,
}

/// Lines that are written together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// How many lines are missing before it.
    lost_before: u64,
}

impl Outlet {
    /// An outlet into `drain`, whose thread has that name.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(name: &str, drain: impl Drain, manner: Manner) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            manner,
        });
        let writer = Writer { shared: Arc::clone(&shared), drain, torn: false, carried: 0 };
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.work())?;
        let last = Arc::new(Closer(Arc::clone(&shared)));
        Ok(Self { shared, _last: last })
    }

    /// Queues a line, including its end. False if it was dropped.
    pub fn put(&self, line: &[u8]) -> bool {
        let mut state = self.shared.lock();
        if state.ended || state.lost_behind > 0 || !state.has_room(line.len(), &self.shared.manner)
        {
            self.shared.drop_line(&mut state);
            return false;
        }
        state.pending.bytes.extend_from_slice(line);
        let end = state.pending.bytes.len();
        state.pending.ends.push(end);
        state.taken += 1;
        if state.pending.ends.len() == 1 {
            state.moved.get_or_insert_with(Instant::now);
            self.shared.work.notify_one();
        }
        true
    }

    /// The number of lines accepted so far: the position that [`Self::reach`] waits for.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.lock().taken
    }

    /// Waits until the lines up to a position have been written or dropped, regardless of later
    /// ones; false if that takes too long.
    pub fn reach(&self, position: u64, patience: Duration) -> bool {
        let state = self.shared.lock();
        let waits = |state: &mut State| state.done() < position && !state.gone;
        let waited = self.shared.progress.wait_timeout_while(state, patience, waits);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// Waits until everything that was queued has been written or dropped; false if that takes too
    /// long.
    pub fn settle(&self, patience: Duration) -> bool {
        let state = self.shared.lock();
        let waits = |state: &mut State| state.is_busy() && !state.gone;
        let waited = self.shared.progress.wait_timeout_while(state, patience, waits);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// The same for a writer that waits repeatedly: after an output was too slow once, there is no
    /// wait until it has caught up.
    pub fn catch_up(&self, patience: Duration) -> Taken {
        {
            let state = self.shared.lock();
            match (state.is_busy() && !state.gone, state.behind) {
                (false, _) => return Taken::All,
                (true, true) => return Taken::Behind,
                (true, false) => {}
            }
        }
        if self.settle(patience) {
            return Taken::All;
        }
        let mut state = self.shared.lock();
        state.behind = state.is_busy();
        if state.behind { Taken::TooSlow } else { Taken::All }
    }

    /// How many lines were dropped and not reported yet, once the output accepts lines again; they
    /// count as reported from here on.
    pub fn take_lost(&self) -> Option<u64> {
        let mut state = self.shared.lock();
        let takes = state.failing.is_none()
            && !state.ended
            && state.lost_behind == 0
            && state.has_room(1, &self.shared.manner);
        (takes && state.untold > 0).then(|| std::mem::take(&mut state.untold))
    }

    /// Stops writing: later lines are ignored.
    pub fn end(&self) {
        self.shared.lock().ended = true;
    }

    /// Reopens the file by its path, before the next line is written.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// The present state.
    #[must_use]
    pub fn health(&self) -> Health {
        let state = self.shared.lock();
        Health {
            waiting_lines: state.held_lines + state.pending.ends.len(),
            waiting_bytes: state.held_bytes + state.pending.bytes.len(),
            dropped: state.dropped,
            stuck: state.moved.filter(|_| state.is_busy()).map(|moved| moved.elapsed()),
            failing: state.failing.clone(),
            ended: state.ended,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No holder of the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn drop_line(&self, state: &mut State) {
        state.dropped += 1;
        state.untold += 1;
        match self.manner.loss {
            Loss::End => state.ended = true,
            Loss::Ask | Loss::Tell(_) if state.pending.ends.is_empty() => {
                state.pending.lost_before += 1
            }
            Loss::Ask | Loss::Tell(_) => state.lost_behind += 1,
        }
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.held_lines > 0 || !self.pending.ends.is_empty()
    }

    /// How many of the accepted lines have been written or dropped.
    fn done(&self) -> u64 {
        self.taken - (self.held_lines + self.pending.ends.len()) as u64
    }

    fn has_room(&self, bytes: usize, manner: &Manner) -> bool {
        let lines = self.held_lines + self.pending.ends.len();
        // One line always fits, however long it is.
        lines == 0
            || lines < manner.lines_max
                && self.held_bytes + self.pending.bytes.len() + bytes <= manner.bytes_max
    }
}

/// Ends the thread when no writer is left, after a moment for the queue.
#[derive(Debug)]
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.work.notify_one();
        let _too_slow =
            self.0.progress.wait_timeout_while(state, CLOSING_PATIENCE, |state| !state.gone);
    }
}

/// The thread's side.
struct Writer<D> {
    shared: Arc<Shared>,
    drain: D,
    /// Whether the output ends in the middle of a line.
    torn: bool,
    /// Lines lost by failed writes, and not reported yet.
    carried: u64,
}

/// The next task of the thread.
enum Work {
    Reopen,
    Write(Batch),
    End,
}

impl<D: Drain> Writer<D> {
    fn work(self) {
        // Reported last, when the drain has closed its file.
        let _gone = Gone(Arc::clone(&self.shared));
        let mut writer = self;
        writer.torn = writer.drain.is_torn();
        loop {
            match writer.next() {
                Work::Reopen => {
                    writer.drain.reopen();
                    writer.torn = writer.drain.is_torn();
                }
                Work::Write(batch) => writer.write(&batch),
                Work::End => return,
            }
        }
    }

    fn next(&self) -> Work {
        let mut state = self.shared.lock();
        (state.held_lines, state.held_bytes) = (0, 0);
        if state.pending.ends.is_empty() {
            (state.behind, state.moved) = (false, None);
        }
        self.shared.progress.notify_all();
        let tells = matches!(self.shared.manner.loss, Loss::Tell(_));
        loop {
            let has_lines = !state.pending.ends.is_empty();
            // A failing output is tried again with the next line, and not before.
            let has_loss = tells
                && state.failing.is_none()
                && (state.pending.lost_before > 0 || self.carried > 0);
            if std::mem::take(&mut state.reopen) {
                return Work::Reopen;
            }
            if has_lines || has_loss {
                let next = Batch {
                    lost_before: std::mem::take(&mut state.lost_behind),
                    ..Batch::default()
                };
                let batch = std::mem::replace(&mut state.pending, next);
                (state.held_lines, state.held_bytes) = (batch.ends.len(), batch.bytes.len());
                state.moved = Some(Instant::now());
                return Work::Write(batch);
            }
            if state.closed {
                return Work::End;
            }
            state = self.shared.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn write(&mut self, batch: &Batch) {
        if matches!(self.shared.manner.loss, Loss::End) {
            let mut state = self.shared.lock();
            if state.failing.is_some() {
                state.dropped += batch.ends.len() as u64;
                return;
            }
        }
        let missing = self.carried + batch.lost_before;
        if let (Loss::Tell(words), true) = (self.shared.manner.loss, missing > 0) {
            let line = words(missing);
            if let Err(error) = self.write_whole(&line, &[line.len()]) {
                self.carried = missing + batch.ends.len() as u64;
                return self.fail(&error, batch.ends.len());
            }
            self.shared.lock().untold = 0;
        }
        self.carried = 0;
        let mut from = 0;
        while from < batch.ends.len() {
            let start = from.checked_sub(1).map_or(0, |before| batch.ends[before]);
            let fits = batch.ends[from..].partition_point(|end| end - start <= PIECE).max(1);
            let ends: Vec<usize> =
                batch.ends[from..from + fits].iter().map(|end| end - start).collect();
            if let Err(Cut { whole, error }) =
                self.write_piece(&batch.bytes[start..start + ends[fits - 1]], &ends)
            {
                let lost = batch.ends.len() - from - whole;
                self.carried = lost as u64;
                return self.fail(&error, lost);
            }
            from += fits;
            let mut state = self.shared.lock();
            state.held_lines = batch.ends.len() - from;
            state.held_bytes = batch.bytes.len() - batch.ends[from - 1];
            state.moved = Some(Instant::now());
            self.shared.progress.notify_all();
            if state.failing.take().is_some() {
                drop(state);
                self.drain.recovered();
            }
        }
    }

    fn write_whole(&mut self, bytes: &[u8], ends: &[usize]) -> io::Result<()> {
        self.write_piece(bytes, ends).map_err(|cut| cut.error)
    }

    /// Writes lines that go together, as a rule in one call.
    fn write_piece(&mut self, bytes: &[u8], ends: &[usize]) -> Result<(), Cut> {
        if self.torn {
            // A line of ours must not continue an incomplete line of another writer.
            self.write_all(b"\n").map_err(|(_, error)| Cut { whole: 0, error })?;
            self.torn = false;
        }
        self.write_all(bytes).map_err(|(written, error)| {
            let whole = ends.partition_point(|end| *end <= written);
            self.torn = written > whole.checked_sub(1).map_or(0, |last| ends[last]);
            Cut { whole, error }
        })
    }

    /// The position reached, if a write failed before the end.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.drain.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the output has changed it; it is tried again soon.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(NONBLOCKING_PAUSE)
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error, lost: usize) {
        let mut state = self.shared.lock();
        state.dropped += lost as u64;
        state.untold += lost as u64;
        state.ended |= matches!(self.shared.manner.loss, Loss::End);
        let first = state.failing.replace(error.to_string()).is_none();
        drop(state);
        if first {
            self.drain.failed(error);
        }
    }
}

/// A write that ended early: how many of its lines are whole, and why.
struct Cut {
    whole: usize,
    error: io::Error,
}

/// However the thread ends, no writer waits for it any more.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.gone, state.ended) = (true, true);
        self.0.progress.notify_all();
    }
}

/// The size that a pipe accepts in one piece (PIPE_BUF).
const PIECE: usize = 4_096;
const NONBLOCKING_PAUSE: Duration = Duration::from_millis(20);
/// How long the last writer waits for the queue.
const CLOSING_PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
