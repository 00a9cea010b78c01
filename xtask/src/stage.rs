//! A long job in stages: each prints its start, the first failure ends the job, and at the end the
//! time of each is printed.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::children;
use crate::failure::{Failure, ending};

/// The stages so far.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    done: Vec<(&'static str, Duration)>,
}

impl Stages {
    /// Runs one stage.
    pub(crate) fn stage<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = work();
        self.done.push((name, start.elapsed()));
        let result = if children::interrupted() { Err(Failure::Interrupted) } else { result };
        if result.is_err() {
            eprint!("{}", self.table(" <- stopped here"));
        }
        result
    }

    /// Runs a stage that is one command.
    pub(crate) fn command(
        &mut self,
        name: &'static str,
        command: &mut Command,
    ) -> Result<(), Failure> {
        self.stage(name, || must_succeed(name, command))
    }

    /// Prints the times after success.
    pub(crate) fn finish(&self) -> ExitCode {
        eprint!("{}", self.table(""));
        eprintln!("all green");
        ExitCode::SUCCESS
    }

    fn table(&self, last: &str) -> String {
        let width = self.done.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        let mut text = String::from("\n");
        for (index, (name, took)) in self.done.iter().enumerate() {
            let mark = if index + 1 == self.done.len() { last } else { "" };
            text.push_str(&format!("{name:width$} {:>8.1} s{mark}\n", took.as_secs_f64()));
        }
        text.push_str(&format!("{:width$} {:>8.1} s\n", "total", total.as_secs_f64()));
        text
    }
}

/// Runs a command of a stage; anything but success fails the stage.
pub(crate) fn must_succeed(stage: &'static str, command: &mut Command) -> Result<(), Failure> {
    let status =
        children::run(command).map_err(Failure::io(format!("cannot run stage `{stage}`")))?;
    if status.success() { Ok(()) } else { Err(Failure::Stage { stage, how: ending(status) }) }
}

#[cfg(test)]
mod tests {
    use super::Stages;
    use crate::failure::Failure;
    use std::time::Duration;

    #[test]
    fn the_table_names_the_stage_that_failed() {
        let stages = Stages {
            done: vec![
                ("format", Duration::from_millis(1_240)),
                ("lints", Duration::from_secs(62)),
            ],
        };
        assert_eq!(
            stages.table(" <- stopped here"),
            "\nformat      1.2 s\nlints      62.0 s <- stopped here\ntotal      63.2 s\n"
        );
    }

    #[test]
    fn a_failing_stage_is_a_failure() {
        let mut stages = Stages::default();
        let result = stages.command("doomed", &mut std::process::Command::new("false"));
        assert!(matches!(result, Err(Failure::Stage { stage: "doomed", .. })), "{result:?}");
    }
}
