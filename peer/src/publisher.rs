//! Lines of standard input on their way to the node: as they stand, or with a word in front that says when they are to
//! be handed over.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mio::Waker;
use protocol::config::{Config, Guarantee};

use crate::sensors::stdin::Lines;

/// Lines, and when to go on with them.
#[derive(Debug)]
pub struct Publisher {
    /// What has been read.
    pub lines: Lines,
    /// Whether there were more lines than one turn takes.
    pub more: bool,
    commands: bool,
    /// Lines with a command that there is not.
    mistaken: u64,
}

impl Publisher {
    /// Starts to read. With `commands`, a line that begins with `!` is one.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(config: &Config, commands: bool, waker: &Arc<Waker>) -> io::Result<Self> {
        let knobs = config.knobs();
        let payload_max = usize::try_from(knobs.payload_max).unwrap_or(usize::MAX);
        let line_max = if commands { payload_max.saturating_add(COMMAND_MAX) } else { payload_max };
        let lines = Lines::start(io::stdin(), line_max, Arc::clone(waker))?;
        Ok(Self { lines, more: false, commands, mistaken: 0 })
    }

    /// What a line asks for: the reading, and when it is to be handed over if that is said. None for a line that begins with a
    /// command that there is not, which is told at the 1st, 2nd, 4th, 8th … time.
    pub fn read(&mut self, line: &Bytes) -> Option<(Bytes, Option<Guarantee>)> {
        if !self.commands {
            return Some((line.clone(), None));
        }
        match obey(line) {
            Ok(wish) => Some(wish),
            Err(why) => {
                self.mistaken += 1;
                if self.mistaken.is_power_of_two() {
                    log::warn!("A line of standard input is not published: {why} ({} so far).", self.mistaken);
                }
                None
            }
        }
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
            return Err(format!("no command is called !{word}; there are !safe and !agreed, and !! for a line that begins with !"));
        }
    };
    Ok((line.slice((end + 2).min(line.len())..), Some(guarantee)))
}

/// The longest command with its space.
const COMMAND_MAX: usize = "!agreed ".len();

#[cfg(test)]
mod tests {
    use super::{Bytes, Guarantee, obey};

    #[track_caller]
    fn check(line: &'static str, payload: &'static str, guarantee: Option<Guarantee>) {
        assert_eq!(obey(&Bytes::from_static(line.as_bytes())), Ok((Bytes::from_static(payload.as_bytes()), guarantee)), "{line:?}");
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
