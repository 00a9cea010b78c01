//! Lines of standard input: any program can be a sensor.
//!
//! Reading blocks, so it has a thread of its own. No line is lost: while the group accepts no more
//! (the sender's window is full), the queue fills, the thread stops reading, and the pipe blocks
//! the writer. The end of the input ends the sensor and not the peer.

use std::io::{self, Read};
use std::thread;

use bytes::Bytes;
use protocol::config::Guarantee;

use super::intake::{Gone, Intake};
use super::lines::{Assembler, Line};
use crate::doublings::Doublings;

/// Reads lines on a thread of its own. With `commands`, a line that begins with `!` is a command.
///
/// # Errors
/// Those of starting a thread.
pub fn start(
    mut input: impl Read + Send + 'static,
    commands: bool,
    mut intake: Intake,
) -> io::Result<()> {
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let why = match read(&mut input, commands, &mut intake) {
            Ok(()) => {
                log::info!("Standard input has ended; this peer goes on.");
                "standard input has ended".to_owned()
            }
            Err(Failed::Gone) => return,
            Err(Failed::Input(error)) => {
                log::warn!("Cannot read standard input any further: {error}.");
                format!("standard input cannot be read any further: {error}")
            }
        };
        intake.end(&why);
    })?;
    Ok(())
}

enum Failed {
    Gone,
    Input(io::Error),
}

impl From<Gone> for Failed {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

fn read(input: &mut impl Read, commands: bool, intake: &mut Intake) -> Result<(), Failed> {
    let longest = intake.payload_max().saturating_add(if commands { COMMAND_MAX } else { 0 });
    let mut assembler = Assembler::new(longest);
    let mut mistaken = Doublings::default();
    let mut piece = vec![0; PIECE_BYTES];
    let mut lines = Vec::new();
    let mut open = true;
    while open {
        match input.read(&mut piece) {
            Ok(0) => {
                lines.extend(assembler.finish());
                open = false;
            }
            Ok(length) => assembler.push(&piece[..length], |line| lines.push(line)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failed::Input(error)),
        }
        // Available lines are batched without blocking; they must not wait for further input.
        for line in lines.drain(..) {
            take(line, commands, intake, &mut mistaken);
            if intake.is_full() {
                intake.flush()?;
            }
        }
        intake.flush()?;
    }
    Ok(())
}

/// Takes a line, and its command if it has one. An unknown command is reported the 1st, 2nd, 4th,
/// 8th … time.
fn take(line: Line, commands: bool, intake: &mut Intake, mistaken: &mut Doublings) {
    match line {
        Line::Whole(line) if commands => match obey(&line) {
            Ok((payload, guarantee)) => intake.take(Line::Whole(payload), guarantee),
            Err(why) => {
                if let Some(count) = mistaken.count() {
                    log::warn!(
                        "A line of standard input is not published: {why} ({count} so far)."
                    );
                }
            }
        },
        line => intake.take(line, None),
    }
}

fn obey(line: &Bytes) -> Result<(Bytes, Option<Guarantee>), String> {
    let Some(rest) = line.strip_prefix(b"!") else { return Ok((line.clone(), None)) };
    if rest.starts_with(b"!") {
        return Ok((line.slice(1..), None));
    }
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let guarantee = match &rest[..end] {
        b"safe" => Guarantee::Safe,
        b"agreed" => Guarantee::Agreed,
        other => {
            let word = protocol::note::escape(&other[..other.len().min(COMMAND_MAX)]);
            return Err(format!(
                "no command is called !{word}; there are !safe and !agreed, and !! for a line that \
                 begins with !"
            ));
        }
    };
    Ok((line.slice((end + 2).min(line.len())..), Some(guarantee)))
}

/// The longest command with its space.
const COMMAND_MAX: usize = "!agreed ".len();
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::{Bytes, Guarantee, obey};

    #[track_caller]
    fn check(line: &'static str, payload: &'static str, guarantee: Option<Guarantee>) {
        assert_eq!(
            obey(&Bytes::from_static(line.as_bytes())),
            Ok((Bytes::from_static(payload.as_bytes()), guarantee)),
            "{line:?}"
        );
    }

    #[test]
    fn a_line_says_when_it_is_to_be_handed_over_or_is_left_as_it_is() {
        check("21.5 C", "21.5 C", None);
        check("", "", None);
        check(" !safe 1", " !safe 1", None);
        check("!safe 21.5 C", "21.5 C", Some(Guarantee::Safe));
        check("!agreed  two spaces", " two spaces", Some(Guarantee::Agreed));
        check("!safe", "", Some(Guarantee::Safe));
        check("!safe ", "", Some(Guarantee::Safe));
        check("!!safe 1", "!safe 1", None);
        check("!!", "!", None);
    }

    #[test]
    fn an_unknown_command_is_no_reading() {
        for line in ["!", "!saef 1", "!safely 1", "!SAFE 1"] {
            let error = obey(&Bytes::from_static(line.as_bytes())).unwrap_err();
            assert!(error.contains("!safe and !agreed"), "{error}");
        }
    }
}
