//! `peer replay`: replays a recording with the same core, and prints what the peer logged.
//!
//! Standard output is the human log of the run, with its times (exact up to the time between
//! reading a clock and writing a line); with `trace`, a line for each input and each output
//! instead. Messages about the replay itself go to standard error. Nothing is sent, dialled, stored
//! or delivered.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use clap::Args;
use protocol::config::Config;
use protocol::io::{Input, Output};
use protocol::node::Node;
use protocol::note::Note;
use protocol::time::Time;
use stdio::Unsaid;

use crate::clock::Stamp;
use crate::failure::{BAD_FILE, BUG, Failure};
use crate::inputs::{BadInputs, Entry, Life, Reader};
use crate::journal;
use crate::narrator;

mod words;

/// What to go through again, and how much to say.
#[derive(Args, Clone, Debug)]
pub struct Request {
    /// The recording: `--inputs` of a peer; of a scenario's run, `inputs/<process>.bin` in its
    /// folder
    pub inputs: PathBuf,
    /// Tell every input and every output, a line each
    #[arg(long)]
    pub trace: bool,
    /// Stop behind the input of this number
    #[arg(long, value_name = "N")]
    pub until: Option<u64>,
}

/// The node of one life, created again.
#[derive(Debug)]
pub struct Twin {
    life: Box<Life>,
    node: Node,
    /// How many outputs have been produced.
    outputs: u64,
    /// Whether the divergence of the twin has been reported.
    strayed: bool,
}

impl Twin {
    /// Creates the node again.
    ///
    /// # Errors
    /// This build refuses the knobs.
    pub fn new(life: Box<Life>) -> Result<Self, protocol::error::ConfigError> {
        let node =
            Node::new(life.me.clone(), Config::try_from(life.knobs.clone())?, life.seed, life.now);
        let node = if life.veteran { node.with_history() } else { node };
        Ok(Self { life, node, outputs: 0, strayed: false })
    }

    /// The life.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// The notes of the peer before its node got any input.
    #[must_use]
    pub fn first_notes(&self) -> Vec<Note> {
        let stored =
            self.life.stores.then_some(Note::Persist { incarnation: self.life.me.member.inc });
        [self.life.start.clone()].into_iter().chain(stored).chain([Note::Ready]).collect()
    }

    /// Gives the node the next input of the peer's node.
    pub fn give(&mut self, at: Time, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.node.handle(at, input, &mut out);
        out
    }

    /// The notes that the peer wrote for an output.
    #[must_use]
    pub fn notes_of(&self, output: &Output) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.life.readings {
            output.notes_of_readings(|note| notes.push(note));
        }
        notes.extend(self.note_of(output));
        notes
    }

    fn note_of(&self, output: &Output) -> Option<Note> {
        match output {
            Output::Note(note) => Some(note.clone()),
            Output::Persist { incarnation, .. } => {
                self.life.stores.then_some(Note::Persist { incarnation: *incarnation })
            }
            Output::Deliver(_)
            | Output::Accepted { .. }
            | Output::Acknowledged { .. }
            | Output::Dial { .. }
            | Output::HangUp { .. }
            | Output::Send { .. }
            | Output::Fan { .. }
            | Output::Broadcast { .. }
            | Output::Whisper { .. }
            | Output::Published { .. }
            | Output::Asked { .. }
            | Output::Answered { .. }
            | Output::Refused { .. }
            | Output::Stop(_) => None,
        }
    }
}

/// Replays a recording and prints it.
///
/// # Errors
/// [`Failure`]: the file cannot be read; or the core panicked, as it may have done in the run.
pub fn run(request: &Request) -> Result<(), Failure> {
    // The process's hook would only report the place; here the input matters.
    panic::set_hook(Box::new(|info| {
        let _closed =
            writeln!(io::stderr(), "peer replay: the core panics: {}", narrator::describe(info));
    }));
    let done = go_through(request, io::stdout().lock(), io::stderr(), Twin::give);
    let _default = panic::take_hook();
    done
}

/// `give` passes an input to a twin.
fn go_through(
    request: &Request,
    out: impl Write,
    remarks: impl Write,
    give: impl FnMut(&mut Twin, Time, Input) -> Vec<Output>,
) -> Result<(), Failure> {
    let mut writer = ReplayWriter { out, remarks, give, trace: request.trace, number: 0 };
    match panic::catch_unwind(AssertUnwindSafe(|| writer.tell_all(request))) {
        Ok(Err(End::Bad(bad))) => Err(Failure::new(BAD_FILE, bad.to_string())),
        Ok(Err(End::Knobs(text))) => {
            Err(Failure::new(BAD_FILE, format!("{}: {text}", request.inputs.display())))
        }
        Ok(Err(End::Unsaid(unsaid))) => Err(unsaid.into()),
        Ok(Ok(())) => Ok(()),
        Err(_told_by_the_hook) => {
            let number = writer.number;
            let command = format!(
                "peer replay {} --trace --until {}",
                request.inputs.display(),
                number.saturating_sub(1)
            );
            Err(Failure::new(
                BUG,
                format!("a bug: input {number} makes the core panic; up to there: {command}"),
            ))
        }
    }
}

/// Why the output ends early.
enum End {
    Bad(BadInputs),
    Knobs(String),
    /// The output cannot be written.
    Unsaid(Unsaid),
}

impl From<BadInputs> for End {
    fn from(bad: BadInputs) -> Self {
        Self::Bad(bad)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Unsaid(Unsaid(error))
    }
}

/// Writes a replay as lines.
struct ReplayWriter<O, R, G> {
    out: O,
    remarks: R,
    give: G,
    trace: bool,
    /// How many inputs there were, over all lives.
    number: u64,
}

impl<O: Write, R: Write, G: FnMut(&mut Twin, Time, Input) -> Vec<Output>> ReplayWriter<O, R, G> {
    fn tell_all(&mut self, request: &Request) -> Result<(), End> {
        let mut reader = Reader::open(&request.inputs)?;
        let mut twin: Option<Twin> = None;
        while let Some(entry) = reader.next_entry()? {
            match (entry, &mut twin) {
                (Entry::Life(life), _) => {
                    let fresh = Twin::new(life).map_err(|error| {
                        End::Knobs(format!("{error}; was it recorded by another build?"))
                    })?;
                    self.introduce(&fresh)?;
                    twin = Some(fresh);
                }
                (Entry::Told { at, note }, Some(twin)) => self.note(twin.life(), at, &note)?,
                (Entry::Given { at, outputs, input }, Some(twin)) => {
                    if request.until.is_some_and(|until| self.number >= until) {
                        self.remark(&format!("stopped behind input {}, as told", self.number));
                        return Ok(());
                    }
                    self.step(twin, at, outputs, input)?;
                }
                // The reader refuses a file that does not begin with a life.
                (Entry::Told { .. } | Entry::Given { .. }, None) => {}
            }
        }
        match reader.torn_at() {
            Some(offset) => self.remark(&format!(
                "byte {offset}: the last record is torn, as by a kill; it was never acted upon"
            )),
            None if twin.is_none() => {
                self.remark(&format!("nothing is recorded in {}", request.inputs.display()))
            }
            None => {}
        }
        self.out.flush()?;
        Ok(())
    }

    fn introduce(&mut self, twin: &Twin) -> Result<(), End> {
        let life = twin.life();
        if life.torn > 0 {
            self.remark(&format!(
                "the life before ended in the middle of a record ({} bytes), as by a kill",
                life.torn
            ));
        }
        if life.build() != crate::BUILD {
            self.remark(&format!(
                "WARNING: recorded by build {}, replayed by build {}: what follows may differ from \
                 what happened",
                life.build(),
                crate::BUILD
            ));
        }
        twin.first_notes().iter().try_for_each(|note| self.note(life, life.now, note))
    }

    fn step(&mut self, twin: &mut Twin, at: Time, outputs: u64, input: Input) -> Result<(), End> {
        if twin.outputs != outputs && !std::mem::replace(&mut twin.strayed, true) {
            self.remark(&format!(
                "WARNING: by input {} the recorded peer had put out {outputs} outputs, this one \
                 {}: from here on it is another story",
                self.number, twin.outputs
            ));
        }
        self.number += 1;
        if self.trace {
            for line in words::of_input(&input) {
                self.line(twin.life(), at, "<-", &line)?;
            }
        }
        let out = (self.give)(twin, at, input);
        twin.outputs += out.len() as u64;
        for output in &out {
            let notes = twin.notes_of(output);
            notes.iter().try_for_each(|note| self.note(twin.life(), at, note))?;
            let told = matches!(output, Output::Persist { .. }) && !notes.is_empty();
            if let Some(line) = words::of_output(output).filter(|_| self.trace && !told) {
                self.line(twin.life(), at, "->", &line)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, life: &Life, at: Time, note: &Note) -> Result<(), End> {
        let level = narrator::loudness(note.level());
        if !self.trace && level > life.log_level {
            return Ok(());
        }
        let sentence = note.sentence(life.me.id());
        if self.trace {
            return sentence.lines().try_for_each(|line| self.line(life, at, "--", line));
        }
        let stamp = Stamp(life.utc(at));
        self.out.write_all(journal::lines(stamp, level, &sentence).as_bytes())?;
        Ok(())
    }

    fn line(&mut self, life: &Life, at: Time, arrow: &str, text: &str) -> Result<(), End> {
        let stamp = Stamp(life.utc(at));
        writeln!(self.out, "#{:<6} {stamp} {arrow} {text}", self.number)?;
        Ok(())
    }

    fn remark(&mut self, text: &str) {
        let _closed = writeln!(self.remarks, "peer replay: {text}");
    }
}

#[cfg(test)]
mod tests {
    use super::{BUG, Failure, Input, Output, Request, Time, Twin, go_through};
    use crate::inputs::Recorder;
    use crate::inputs::tests::life;
    use protocol::note::Note;

    /// The standard output and standard error of a replay of five wake-ups, recorded as if they had
    /// no effect.
    fn replay(
        build: &str,
        give: impl FnMut(&mut Twin, Time, Input) -> Vec<Output>,
    ) -> (Result<(), Failure>, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let inputs = folder.path().join("peer1.bin");
        let mut life = life(0);
        if let Note::Start { build: recorded, .. } = &mut life.start {
            build.clone_into(recorded);
        }
        let mut recorder = Recorder::open(&inputs).unwrap();
        recorder.begin(&life);
        (0..5).for_each(|at| recorder.give(Time::from_micros(at), &Input::Wake));
        drop(recorder);
        let request = Request { inputs, trace: true, until: None };
        let (mut out, mut remarks) = (Vec::new(), Vec::new());
        let done = go_through(&request, &mut out, &mut remarks, give);
        (done, String::from_utf8(out).unwrap(), String::from_utf8(remarks).unwrap())
    }

    #[test]
    fn the_input_that_makes_the_core_panic_is_named() {
        let mut left = 3;
        let (done, out, _) = replay(crate::BUILD, |_, _, _| {
            left -= 1;
            assert!(left > 0, "out of cheese");
            Vec::new()
        });
        let failure = done.unwrap_err();
        assert!(
            failure.code == BUG && failure.text.contains("input 3 makes the core panic"),
            "{failure}"
        );
        assert!(failure.text.contains("--trace --until 2"), "{failure}");
        assert!(out.contains("#3      ") && !out.contains("#4      "), "{out}");
    }

    #[test]
    fn another_build_and_another_story_are_said_once() {
        let same = |_: &mut Twin, _, _| Vec::new();
        assert_eq!(replay(crate::BUILD, same).2, "");
        let (done, _, remarks) = replay("0.0.0+another", same);
        assert!(done.is_ok() && remarks.lines().count() == 1, "{remarks}");
        assert!(remarks.contains("recorded by build 0.0.0+another"), "{remarks}");
        let (done, _, remarks) = replay(crate::BUILD, |_, _, _| vec![Output::Note(Note::Leave)]);
        assert!(done.is_ok() && remarks.lines().count() == 1, "{remarks}");
        assert!(
            remarks.contains("by input 1 the recorded peer had put out 0 outputs, this one 1"),
            "{remarks}"
        );
    }
}
