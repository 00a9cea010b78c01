//! Readings from the output lines of a command: one that is run at intervals, or one that runs
//! continuously.
//!
//! Each has a thread of its own, on which it may fail, hang or print nonsense without affecting
//! others. Problems are reported, counted and shown in the status of that sensor. A command that is
//! faster than the group is blocked by its pipe; the blocked time does not count against its
//! timeout.

use std::io;
use std::thread;
use std::time::Duration;

use protocol::time::Time;

use self::chatter::Chatter;
use self::process::{End, Process, Progress};
use super::gauge::SensorState;
use super::intake::{Gone, Intake};
use super::lines::{Assembler, Line};
use crate::clock;
use crate::settings::{ExecSettings, Run};

mod chatter;
mod process;

/// Runs the command on a thread of its own. A continuous command counts as missed when it has been
/// silent for `patience`.
///
/// # Errors
/// Those of starting a thread.
pub fn start(settings: ExecSettings, patience: Duration, intake: Intake) -> io::Result<()> {
    let name = format!("exec {}", intake.name());
    let chatter = Chatter::new(intake.name().to_owned());
    let mut sensor = Exec { settings, patience, intake, chatter, lines: 0, is_missed: false };
    thread::Builder::new().name(name).spawn(move || {
        let Err(Gone) = match sensor.settings.run {
            Some(run) => sensor.run_at_intervals(run),
            None => sensor.keep_running(),
        };
    })?;
    Ok(())
}

struct Exec {
    settings: ExecSettings,
    patience: Duration,
    intake: Intake,
    chatter: Chatter,
    /// How many lines the present run has printed.
    lines: u64,
    /// Whether its silence has been reported.
    is_missed: bool,
}

impl Exec {
    fn run_at_intervals(&mut self, run: Run) -> Result<std::convert::Infallible, Gone> {
        let mut due = clock::now();
        loop {
            self.lines = 0;
            match self.run_once(Some(run.timeout))? {
                End::Exited(0) if self.lines > 0 => self.intake.recover(),
                End::Exited(0) => {
                    self.fail(SensorState::Silent, "its command has ended well and printed nothing")
                }
                end => self.fail(SensorState::Failing, &self.words(&end)),
            }
            // After a pause there is one run, and not all those that were missed.
            due = (due + run.every).max(clock::now());
            thread::sleep(due.since(clock::now()));
        }
    }

    fn keep_running(&mut self) -> Result<std::convert::Infallible, Gone> {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = clock::now();
            self.lines = 0;
            let end = self.run_once(None)?;
            if clock::now().since(begun) > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            let words = self.words(&end);
            self.fail(
                SensorState::Failing,
                &format!("{words}; it is started again in {}", humantime::format_duration(pause)),
            );
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Runs the command to its end, or to its timeout.
    fn run_once(&mut self, timeout: Option<Duration>) -> Result<End, Gone> {
        let mut process = match Process::start(&self.settings.command) {
            Ok(process) => process,
            Err(error) => return Ok(End::NotStarted(error.to_string())),
        };
        let mut deadline = timeout.map(|timeout| clock::now() + timeout);
        let silent_at = clock::now() + self.patience;
        let mut assembler = Assembler::new(self.intake.payload_max());
        let mut is_late = false;
        self.is_missed = false;
        loop {
            let now = clock::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                is_late = true;
                deadline = None;
                process.stop();
            }
            let is_silent = timeout.is_none() && self.lines == 0 && !self.is_missed;
            if is_silent && now >= silent_at {
                self.is_missed = true;
                self.fail(SensorState::Silent, &self.hint());
            }
            let wake = deadline
                .into_iter()
                .chain((is_silent && !self.is_missed).then_some(silent_at))
                .min();
            let progress = match process.wait(wake.map(|wake: Time| wake.since(now))) {
                Ok(progress) => progress,
                Err(error) => return Ok(End::Lost(error.to_string())),
            };
            match progress {
                Progress::Printed(piece) => {
                    let held_up = self.take(&mut assembler, Some(&piece))?;
                    deadline = deadline.map(|deadline| deadline + held_up);
                }
                Progress::Said(piece) => self.chatter.hear(&piece),
                Progress::Nothing => {}
                Progress::Ended(end) => {
                    self.take(&mut assembler, None)?;
                    self.chatter.end();
                    return Ok(if is_late {
                        End::TimedOut(timeout.unwrap_or_default())
                    } else {
                        end
                    });
                }
            }
        }
    }

    /// Takes the lines that end in the piece, or the last one without an end. Returns how long it
    /// had to wait.
    fn take(&mut self, assembler: &mut Assembler, piece: Option<&[u8]>) -> Result<Duration, Gone> {
        let mut lines: Vec<Line> = Vec::new();
        match piece {
            Some(piece) => assembler.push(piece, |line| lines.push(line)),
            None => lines.extend(assembler.finish()),
        }
        let mut held_up = Duration::ZERO;
        for line in lines.into_iter().filter(|line| !line.is_blank()) {
            self.lines += 1;
            self.intake.take(line, None);
            if self.intake.is_full() {
                held_up += self.intake.flush()?;
            }
        }
        held_up += self.intake.flush()?;
        if self.lines > 0 && self.settings.run.is_none() {
            self.intake.recover();
        }
        Ok(held_up)
    }

    fn fail(&mut self, state: SensorState, why: &str) {
        self.intake.trouble(state, why.to_owned());
    }

    fn words(&self, end: &End) -> String {
        let said =
            self.chatter.last().map(|line| format!("; it said last: {line}")).unwrap_or_default();
        format!("{end}{said}")
    }

    fn hint(&self) -> String {
        let patience = humantime::format_duration(self.patience);
        format!(
            "its command runs and has printed nothing for {patience}. Does it buffer what it \
             prints into a pipe? `python3 -u` and \
             `stdbuf -oL COMMAND` print each line at once"
        )
    }
}

/// The pause between the end of a continuous command and its next start.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
