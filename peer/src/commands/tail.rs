//! `peer tail`: readings as they are delivered, from any point that is still retained.

use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, StdoutLock, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use protocol::id::PeerId;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Whom;
use super::show::Lines;
use crate::client::{Connection, Line, find};
use crate::commands::influx;
use crate::failure::{Failure, UNAVAILABLE, UNSAID, USAGE};

/// What is asked.
#[derive(Args, Debug)]
pub struct Request {
    #[command(flatten)]
    whom: Whom,
    /// Begin with the last N readings that are kept [default: 10]
    #[arg(long, value_name = "N", conflicts_with_all = ["since", "from"])]
    last: Option<u64>,
    /// Begin with what was delivered since then: a span (1h) or a time (2026-11-28T06:00:00Z)
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    since: Option<String>,
    /// Begin there: `start` (as far back as the peer keeps it), `now`, or LOG/SEQ (1.attic#5/1814)
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    /// Only readings of sensors that match: * stands for any text
    #[arg(long, value_name = "PATTERN")]
    sensor: Option<String>,
    /// Only readings that were published by peers that match
    #[arg(long, value_name = "PATTERN")]
    origin: Option<String>,
    /// Only these kinds of records: reading, view, gap, lost, diverged, merged, repeat
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<String>,
    /// End after so many readings
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End with what is there already, instead of waiting for more
    #[arg(long)]
    no_follow: bool,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to print records
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// How to print records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line, as `docs/DATA.md` describes them
    Json,
    /// Influx line protocol, as Telegraf (`execd`) and Vector read it; readings only
    Influx,
}

/// Follows the deliveries.
///
/// # Errors
/// [`Failure`]: no peer answers, the request is invalid, or the output cannot be written any more.
pub fn run(request: &Request) -> Result<(), Failure> {
    let format = if request.json { Format::Json } else { request.format.unwrap_or_default() };
    // The offset of local time is only available while there is one thread.
    let lines = Lines::new(
        io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    );
    let mut place = first_place(request)?;
    let stop = Stop::on_signals()?;
    let mut connection = request.whom.connect()?;
    let peer = connection.peer().clone();
    let mut tail = Tail {
        out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()),
        format,
        lines,
        readings: 0,
        last: Vec::new(),
        begin: None,
    };
    loop {
        let left = request.count.map(|count| count - tail.readings);
        let outcome = tail.follow(&mut connection, &subscribe(request, &place, left), &stop);
        let flushed = tail.out.flush();
        let outcome = outcome.and_then(|how| flushed.map(|()| how).map_err(Broken::Output));
        match outcome {
            Ok(How::Done) => return Ok(()),
            Ok(How::TooSlow { next, why }) => {
                note(&format!("too slow for {peer}: {why}; going on from #{}.", next["seq"]));
                place = next;
            }
            Ok(How::Gone { next }) => {
                if request.no_follow {
                    return Err(Failure::new(
                        UNAVAILABLE,
                        format!("{peer} has stopped before all was told"),
                    ));
                }
                place =
                    next.or_else(|| tail.place()).or_else(|| tail.begin.take()).unwrap_or(place);
                let Some(back) = wait_for(&peer, &stop) else { return tail.say_end() };
                connection = back;
            }
            Ok(How::Stopped) => return tail.say_end(),
            Err(Broken::Refused(failure)) => return Err(failure),
            Err(Broken::Output(error)) => return Err(unsaid(&error)),
        }
    }
}

/// The start, according to the command line.
fn first_place(request: &Request) -> Result<Value, Failure> {
    if let Some(since) = &request.since {
        return Ok(json!({ "since": since }));
    }
    match request.from.as_deref() {
        None => Ok(json!(format!("last {}", request.last.unwrap_or(LAST)))),
        Some("start") => Ok(json!("start")),
        Some("now") => Ok(json!("now")),
        Some(place) => {
            let parts =
                place.rsplit_once('/').and_then(|(log, seq)| Some((log, seq.parse::<u64>().ok()?)));
            let wrong = || {
                format!(
                    "--from {place}: give start, now, or a log and a position in it, such as \
                     1.attic#5/1814"
                )
            };
            let (log, seq) = parts.ok_or_else(|| Failure::new(USAGE, wrong()))?;
            Ok(json!({ "log": log, "seq": seq }))
        }
    }
}

fn subscribe(request: &Request, from: &Value, left: Option<u64>) -> String {
    let mut keys = Map::new();
    let mut put =
        |key: &str, value: Option<Value>| value.map(|value| keys.insert(key.to_owned(), value));
    put("id", Some(json!(1)));
    put("do", Some(json!("subscribe")));
    put("from", Some(from.clone()));
    put("sensor", request.sensor.as_ref().map(|pattern| json!(pattern)));
    put("origin", request.origin.as_ref().map(|pattern| json!(pattern)));
    put("kinds", (!request.kinds.is_empty()).then(|| json!(request.kinds)));
    put("count", left.map(|left| json!(left)));
    put("until", request.no_follow.then(|| json!("now")));
    Value::Object(keys).to_string()
}

/// How a subscription ended.
enum How {
    /// There are no more records.
    Done,
    /// This command was too slow, and continues from there.
    TooSlow { next: Value, why: String },
    /// The peer is gone.
    Gone { next: Option<Value> },
    /// The user pressed Ctrl-C.
    Stopped,
}

enum Broken {
    Refused(Failure),
    Output(io::Error),
}

struct Tail<'a> {
    out: BufWriter<StdoutLock<'a>>,
    format: Format,
    lines: Lines,
    readings: u64,
    /// The last record with content at its position.
    last: Vec<u8>,
    /// The start according to the peer, until there is such a record.
    begin: Option<Value>,
}

impl Tail<'_> {
    fn follow(
        &mut self,
        connection: &mut Connection,
        request: &str,
        stop: &Stop,
    ) -> Result<How, Broken> {
        let unset = connection
            .set_patience(None)
            .and_then(|()| connection.speaker())
            .map(|stream| stop.hang_up(stream));
        if unset.and_then(|()| connection.say(request)).is_err() {
            return Ok(if stop.is_set() { How::Stopped } else { How::Gone { next: None } });
        }
        loop {
            if !connection.has_line() {
                self.out.flush().map_err(Broken::Output)?;
            }
            let line = match connection.hear() {
                Ok(Some(line)) => line,
                _ if stop.is_set() => return Ok(How::Stopped),
                Ok(None) | Err(_) => return Ok(How::Gone { next: None }),
            };
            if let Some(record) = line.strip_prefix(RECORD).and_then(|line| line.strip_suffix(b"}"))
            {
                self.print(record).map_err(Broken::Output)?;
                continue;
            }
            let Ok(answer) = serde_json::from_slice::<Line<'_>>(line) else { continue };
            if let Some(fault) = answer.error {
                return Err(Broken::Refused(fault.into_failure()));
            }
            if let Some(Ok(begin)) = answer.ok.map(|ok| serde_json::from_str::<Begin>(ok.get())) {
                self.begin = begin.log.zip(begin.next).map(|(log, seq)| at(log, seq, begin.epoch));
            }
            let Some(why) = answer.end else { continue };
            let next = answer.log.zip(answer.next).map(|(log, seq)| at(log, seq, answer.epoch));
            return Ok(match (why.as_str(), next) {
                ("too_slow", Some(next)) => {
                    How::TooSlow { next, why: answer.say.unwrap_or_default() }
                }
                ("stopping", next) => How::Gone { next },
                _ => How::Done,
            });
        }
    }

    fn print(&mut self, record: &[u8]) -> io::Result<()> {
        let is_reading = record.starts_with(br#"{"kind":"reading""#);
        self.readings += u64::from(is_reading);
        if !record.starts_with(br#"{"kind":"diverged""#)
            && !record.starts_with(br#"{"kind":"merged""#)
        {
            self.last.clear();
            self.last.extend_from_slice(record);
        }
        if self.format == Format::Json {
            self.out.write_all(record)?;
            return self.out.write_all(b"\n");
        }
        if self.format == Format::Influx && !is_reading {
            return Ok(());
        }
        let Ok(record) = serde_json::from_slice::<Map<String, Value>>(record) else {
            return Ok(());
        };
        let line = match self.format {
            Format::Text | Format::Json => self.lines.line(&record),
            Format::Influx => influx::line(&record),
        };
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// The position after the last record.
    fn place(&self) -> Option<Value> {
        #[derive(Deserialize)]
        struct At {
            log: String,
            epoch: Option<String>,
            seq: Option<u64>,
            last: Option<u64>,
            to: Option<u64>,
            kind: String,
        }
        let At { log, epoch, seq, last, to, kind } = serde_json::from_slice(&self.last).ok()?;
        // A gap counts positions from its beginning to its end; `to` of a lost reading is a number
        // of its origin.
        let seq = if kind == "gap" { to } else { last.or(seq) }? + 1;
        Some(at(log, seq, epoch))
    }

    /// The position reached, when the user ends it; that is no failure.
    fn say_end(&self) -> Result<(), Failure> {
        let at = self
            .place()
            .and_then(|place| place["seq"].as_u64())
            .map(|next| format!(", up to #{}", next - 1))
            .unwrap_or_default();
        note(&format!("{} readings{at}.", self.readings));
        Ok(())
    }
}

/// The start of a subscription.
#[derive(Deserialize)]
struct Begin {
    log: Option<String>,
    next: Option<u64>,
    epoch: Option<String>,
}

/// A position in the form of the socket; `epoch` is that of the entry before it.
fn at(log: String, seq: u64, epoch: Option<String>) -> Value {
    let epoch = epoch.map(|epoch| ("epoch".to_owned(), json!(epoch)));
    Value::Object(
        [("log".to_owned(), json!(log)), ("seq".to_owned(), json!(seq))]
            .into_iter()
            .chain(epoch)
            .collect(),
    )
}

/// Waits until a peer of that name runs again; none if the user presses Ctrl-C first.
fn wait_for(peer: &PeerId, stop: &Stop) -> Option<Connection> {
    note(&format!("waiting for {peer} to come back …"));
    loop {
        if stop.is_set() {
            return None;
        }
        let begun = Instant::now();
        if let Ok(connection) = find(Some(peer)) {
            note(&format!("{peer} is back."));
            return Some(connection);
        }
        stop.sleep(PAUSE.saturating_sub(begun.elapsed()));
    }
}

fn note(text: &str) {
    // If nothing reads it, it is not missed.
    let _unread = writeln!(io::stderr(), "peer: {text}");
}

fn unsaid(error: &io::Error) -> Failure {
    let text = if error.kind() == ErrorKind::BrokenPipe {
        String::new()
    } else {
        format!("cannot write to standard output: {error}")
    };
    Failure::new(UNSAID, text)
}

/// Whether the user has asked this command to end.
#[derive(Clone, Debug, Default)]
struct Stop(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    is_set: AtomicBool,
    stream: std::sync::Mutex<Option<std::os::unix::net::UnixStream>>,
    changed: std::sync::Condvar,
}

impl Stop {
    /// Ctrl-C and SIGTERM set it, and end the current wait; a second one ends the process, and so
    /// does the first one if nothing reads the output.
    fn on_signals() -> Result<Self, Failure> {
        let stop = Self::default();
        let set = stop.clone();
        let failed = |error: io::Error| {
            Failure::new(UNAVAILABLE, format!("cannot watch for signals: {error}"))
        };
        let mut signals =
            signal_hook::iterator::Signals::new(stdio::signals::heeded(&[SIGINT, SIGTERM]).signals)
                .map_err(failed)?;
        let watch = move || {
            for signal in signals.forever() {
                if set.0.is_set.swap(true, Ordering::SeqCst) {
                    let _it_ends_here = signal_hook::low_level::emulate_default_handler(signal);
                }
                if let Some(stream) = set.lock().take() {
                    let _gone = stream.shutdown(std::net::Shutdown::Both);
                }
                set.0.changed.notify_all();
                // If nothing reads the output, its end cannot be written either.
                let _no_thread_no_end = thread::Builder::new().spawn(move || {
                    thread::sleep(LAST_WORDS);
                    signal_hook::low_level::emulate_default_handler(signal)
                });
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
        Ok(stop)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<std::os::unix::net::UnixStream>> {
        self.0.stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::SeqCst)
    }

    /// The connection that a signal has to shut down.
    fn hang_up(&self, stream: std::os::unix::net::UnixStream) {
        let mut slot = self.lock();
        if self.is_set() {
            let _gone = stream.shutdown(std::net::Shutdown::Both);
        } else {
            *slot = Some(stream);
        }
    }

    fn sleep(&self, span: Duration) {
        let slot = self.lock();
        let _woken = self.0.changed.wait_timeout_while(slot, span, |_| !self.is_set());
    }
}

/// The prefix of a record line; the request has the id 1.
const RECORD: &[u8] = br#"{"id":1,"record":"#;
const LAST: u64 = 10;
const BUFFER_BYTES: usize = 64 << 10;
/// How long the end of the command may take after a signal.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The time between two searches for a peer that is gone.
const PAUSE: Duration = Duration::from_millis(300);
