//! `peer publish`: publishes readings from a shell or a program, and reports what became of them.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use protocol::config::Guarantee;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Whom;
use crate::client::{Connection, Fault, Line};
use crate::failure::{Failure, NOT_NOW, UNAVAILABLE, USAGE};
use crate::sensors::payload;

/// What is asked.
#[derive(Args, Debug)]
pub struct Request {
    /// The readings, one an argument [default: one a line of standard input]
    readings: Vec<String>,
    #[command(flatten)]
    whom: Whom,
    /// Wait until each reading has got so far
    #[arg(long, value_enum, default_value = "ordered")]
    wait: Wait,
    /// The same as --wait safe: every member (mode `primary`: a quorum) has it
    #[arg(long, conflicts_with = "wait")]
    safe: bool,
    /// When the readings are to be handed over: `agreed` or `safe` [default: as the group does it]
    #[arg(long, value_name = "GUARANTEE", value_parser = parse_guarantee)]
    delivery: Option<Guarantee>,
    /// The sensor of readings that name none [default: PEER.local]
    #[arg(long, value_name = "SENSOR")]
    sensor: Option<String>,
    /// A name for the reading: the same one, said again, is published once; for a single reading
    #[arg(long, value_name = "TEXT")]
    token: Option<String>,
    /// Print what becomes of each reading, one JSON object a line
    #[arg(long)]
    json: bool,
}

fn parse_guarantee(text: &str) -> Result<Guarantee, String> {
    text.parse().map_err(|error: protocol::error::ConfigError| error.to_string())
}

/// The stage that a reading has to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// It has its number
    Accepted,
    /// It stands in the log
    Ordered,
    /// It is stable
    Safe,
}

impl Wait {
    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ordered => "ordered",
            Self::Safe => "safe",
        }
    }
}

/// Publishes the readings.
///
/// # Errors
/// [`Failure`]: no peer answers, or not all readings were accepted.
pub fn run(request: &Request) -> Result<(), Failure> {
    let wait = if request.safe { Wait::Safe } else { request.wait };
    if request.token.is_some() && request.readings.len() != 1 {
        return Err(Failure::new(
            USAGE,
            "--token names one reading; give that reading as the one argument",
        ));
    }
    let mut connection = request.whom.connect()?;
    let unset = connection.set_patience(None);
    unset.map_err(|error| gone(&connection, &error))?;
    let begun = Instant::now();
    let (room, slots) = sync_channel(OUTSTANDING);
    let (told, sent) = channel();
    let speaker = connection.speaker().map_err(|error| gone(&connection, &error))?;
    let line = Manner {
        wait,
        delivery: request.delivery,
        sensor: request.sensor.clone(),
        token: request.token.clone(),
    };
    let readings = request.readings.clone();
    thread::Builder::new()
        .name("speaker".to_owned())
        .spawn(move || speak(speaker, readings, &line, &room, &told))
        .map_err(|error| Failure::new(UNAVAILABLE, format!("cannot start a thread: {error}")))?;
    let mut score = Score {
        wait,
        json: request.json,
        out: io::stdout().lock(),
        done: 0,
        faults: 0,
        code: 0,
        last: None,
        first: None,
    };
    listen(&mut connection, &slots, &sent, &mut score)?;
    score.end(&mut connection, begun.elapsed())
}

/// The parts of each request besides its reading.
struct Manner {
    wait: Wait,
    delivery: Option<Guarantee>,
    sensor: Option<String>,
    token: Option<String>,
}

impl Manner {
    fn of(&self, id: u64, reading: &[u8]) -> String {
        let mut keys = Map::new();
        keys.insert("id".to_owned(), json!(id));
        keys.insert("do".to_owned(), json!("publish"));
        // A control character takes six bytes, and a line is bounded.
        let is_plain = !reading.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        match std::str::from_utf8(reading) {
            Ok(text) if is_plain => keys.insert("payload".to_owned(), json!(text)),
            _ => keys.insert("payload_base64".to_owned(), json!(BASE64_STANDARD.encode(reading))),
        };
        keys.insert("wait".to_owned(), json!(self.wait.word()));
        if let Some(delivery) = self.delivery {
            keys.insert("guarantee".to_owned(), json!(delivery));
        }
        if let Some(sensor) = &self.sensor {
            keys.insert("sensor".to_owned(), json!(sensor));
        }
        if let Some(token) = &self.token {
            keys.insert("token".to_owned(), json!(token));
        }
        Value::Object(keys).to_string()
    }
}

/// Messages from the sending thread to the receiving one.
enum Told {
    /// One more reading was sent.
    Said,
    /// The reading of that number has this many bytes, more than the peer accepts.
    TooLong(u64, u64),
    /// Standard input cannot be read any more.
    Unreadable(String),
}

/// Sends the readings, at most as many at a time as there are slots; shuts down its side of the
/// connection at the end.
fn speak(
    mut stream: std::os::unix::net::UnixStream,
    readings: Vec<String>,
    line: &Manner,
    room: &SyncSender<()>,
    told: &Sender<Told>,
) {
    let mut id = 0;
    let mut say = |reading: &[u8], skipped: u64| -> bool {
        id += 1;
        if skipped > 0 || reading.len() > READING_MOST {
            return told.send(Told::TooLong(id, skipped + reading.len() as u64)).is_ok();
        }
        // Announced before it is sent, so that no answer comes first.
        room.send(()).is_ok()
            && told.send(Told::Said).is_ok()
            && writeln!(stream, "{}", line.of(id, reading)).is_ok()
    };
    if readings.is_empty() {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, io::stdin());
        let mut text = Vec::new();
        loop {
            match read_line(&mut input, &mut text) {
                Ok(None) => break,
                Ok(Some(skipped)) => {
                    let bare = text.strip_suffix(b"\n").unwrap_or(&text);
                    if !say(payload::trim(bare), skipped) {
                        break;
                    }
                }
                Err(error) => {
                    let _gone = told.send(Told::Unreadable(error.to_string()));
                    break;
                }
            }
        }
    } else {
        let _told_by_the_listener = readings.iter().all(|reading| say(reading.as_bytes(), 0));
    }
    let _gone = stream.shutdown(std::net::Shutdown::Write);
}

/// Reads a line, or the beginning of one that is too long; returns the number of bytes left out, or
/// none at the end.
fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<Option<u64>> {
    text.clear();
    if input.take(READING_MOST as u64 + 2).read_until(b'\n', text)? == 0 {
        return Ok(None);
    }
    if text.len() <= READING_MOST + 1 || text.last() == Some(&b'\n') {
        return Ok(Some(0));
    }
    let mut skipped = 0;
    loop {
        let chunk = input.fill_buf()?;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |end| end + 1);
        skipped += end.unwrap_or(taken) as u64;
        input.consume(taken);
        if end.is_some() || taken == 0 {
            return Ok(Some(skipped));
        }
    }
}

/// Receives the answers, until everything is sent and answered.
fn listen(
    connection: &mut Connection,
    slots: &Receiver<()>,
    sent: &Receiver<Told>,
    score: &mut Score<'_>,
) -> Result<(), Failure> {
    let mut said = 0;
    loop {
        let how = match connection.hear() {
            Ok(Some(line)) => {
                if let Ok(answer) = serde_json::from_slice::<Line<'_>>(line)
                    && score.take(&answer)?
                {
                    let _slot_is_free = slots.try_recv();
                }
                None
            }
            Ok(None) => Some("has closed the connection".to_owned()),
            Err(error) => Some(format!("does not answer: {error}")),
        };
        for told in sent.try_iter() {
            match told {
                Told::Said => said += 1,
                Told::TooLong(id, bytes) => {
                    let say = format!(
                        "it has {bytes} bytes; {READING_MOST} are the most that this command \
                         publishes"
                    );
                    score.fault(id, &Fault { code: "too_large".to_owned(), say })?;
                    said += 1;
                }
                Told::Unreadable(why) => {
                    return Err(Failure::new(
                        UNAVAILABLE,
                        format!("cannot read standard input: {why}"),
                    ));
                }
            }
        }
        let Some(how) = how else { continue };
        // The peer closes once everything is answered; the fate of unanswered readings is unknown.
        let open = said - score.done - score.faults;
        if open == 0 {
            return Ok(());
        }
        let peer = connection.peer();
        return Err(Failure::new(
            UNAVAILABLE,
            format!("{peer} {how}; what became of {open} readings is not known"),
        ));
    }
}

struct Score<'a> {
    wait: Wait,
    json: bool,
    out: io::StdoutLock<'a>,
    done: u64,
    faults: u64,
    /// The exit code of the worst fault.
    code: u8,
    first: Option<u64>,
    last: Option<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    is: String,
    seq: Option<u64>,
}

impl Score<'_> {
    /// Takes an answer; true if it is the last one to its reading.
    fn take(&mut self, answer: &Line<'_>) -> Result<bool, Failure> {
        let Some(id) = answer.id else { return Ok(false) };
        if let Some(fault) = &answer.error {
            self.fault(id, fault)?;
            return Ok(true);
        }
        let Some(ok) = answer.ok else { return Ok(false) };
        if self.json {
            let text = ok.get().strip_prefix('{').unwrap_or_default();
            self.print(&format!("{{\"reading\":{id},{text}\n"))?;
        }
        let Ok(place) = serde_json::from_str::<Place>(ok.get()) else { return Ok(false) };
        let is_last = place.is == "safe" || place.is == self.wait.word();
        if is_last {
            self.done += 1;
            self.first = self.first.or(place.seq);
            self.last = Some(place);
        }
        Ok(is_last)
    }

    /// A reading was not published.
    fn fault(&mut self, id: u64, fault: &Fault) -> Result<(), Failure> {
        self.faults += 1;
        let failure = fault.clone().into_failure();
        self.code =
            if self.code == 0 || failure.code != NOT_NOW { failure.code } else { self.code };
        self.tell_fault(id, fault)
    }

    fn tell_fault(&mut self, id: u64, fault: &Fault) -> Result<(), Failure> {
        if self.json {
            let (code, say) = (json!(fault.code), json!(fault.say));
            return self.print(&format!(
                "{{\"reading\":{id},\"error\":{{\"code\":{code},\"say\":{say}}}}}\n"
            ));
        }
        if self.faults <= FAULTS_TOLD {
            let _unread = writeln!(
                io::stderr(),
                "peer: reading {id} was not published: {}",
                protocol::note::printable(&fault.say)
            );
        }
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| {
            let text = if error.kind() == io::ErrorKind::BrokenPipe {
                String::new()
            } else {
                format!("cannot write to standard output: {error}")
            };
            Failure::new(crate::failure::UNSAID, text)
        })
    }

    /// Prints the summary.
    fn end(&mut self, connection: &mut Connection, took: Duration) -> Result<(), Failure> {
        if !self.json && self.done > 0 {
            let word = self.wait.word();
            let at = match (self.done, self.first, self.last.as_ref().and_then(|place| place.seq)) {
                (1, _, Some(seq)) => format!(" at #{seq}"),
                (_, Some(first), Some(last)) => format!(", #{first} to #{last}"),
                _ => String::new(),
            };
            let text = if self.done == 1 {
                format!("{word}{at}\n")
            } else {
                format!("{} readings {word}{at}, in {:.1} s\n", self.done, took.as_secs_f64())
            };
            self.print(&text)?;
        }
        if self.faults == 0 {
            return Ok(());
        }
        let peer = connection.peer();
        Err(Failure::new(
            self.code,
            format!(
                "{} of {} readings were not published by {peer}",
                self.faults,
                self.faults + self.done
            ),
        ))
    }
}

fn gone(connection: &Connection, error: &io::Error) -> Failure {
    Failure::new(UNAVAILABLE, format!("{} does not answer: {error}", connection.peer()))
}

/// How many readings may wait for their answers.
const OUTSTANDING: usize = 1_024;
/// The longest reading that fits into a request.
const READING_MOST: usize = 1 << 20;
/// How many faults are printed one by one.
const FAULTS_TOLD: u64 = 10;
const BUFFER_BYTES: usize = 64 << 10;
