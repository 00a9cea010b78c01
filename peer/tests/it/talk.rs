//! A client of the local socket, as a program of a user would be: lines out, lines in, and no more
//! patience than a test has.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, Running, until};

/// A connection to a peer.
pub(crate) struct Talk {
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Talk {
    /// Connects to a peer of the bench, and takes its greeting.
    pub(crate) fn with(bench: &Bench, id: &str) -> Self {
        let mut talk = Self::begin(bench, id);
        let greeting = talk.hear();
        assert_eq!((&greeting["peer"], &greeting["speaks"]), (&json!(id), &json!(1)), "{greeting}");
        talk
    }

    /// Connects, once there is a socket, and hears nothing yet.
    pub(crate) fn begin(bench: &Bench, id: &str) -> Self {
        let path = socket(bench, id);
        let mut stream = None;
        until(&format!("{} to be listened on", path.display()), || {
            stream = UnixStream::connect(&path).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream), line: Vec::new() }
    }

    /// The bare connection.
    pub(crate) fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// Says bytes, whatever they are.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// Says one line.
    pub(crate) fn say(&mut self, request: &Value) {
        self.say_bytes(format!("{request}\n").as_bytes());
    }

    /// The next line; none once the connection is closed.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Value> {
        self.line.clear();
        match self.reader.read_until(b'\n', &mut self.line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&self.line).unwrap_or_else(|error| {
                panic!(
                    "{error}: {}",
                    String::from_utf8_lossy(&self.line[..self.line.len().min(300)])
                );
            })),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line came: {error}"),
        }
    }

    /// The next line, which has to come.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        self.next().expect("the connection is open")
    }

    /// The first answer that says so.
    #[track_caller]
    pub(crate) fn until_is(&mut self, is: &str) -> Value {
        loop {
            let line = self.hear();
            assert!(line.get("error").is_none(), "{line}");
            if line["ok"]["is"] == is {
                return line;
            }
        }
    }

    /// Says one line, and hears one.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        self.say(request);
        self.hear()
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.stream().set_read_timeout(Some(span)).unwrap();
        let silent =
            self.reader.fill_buf().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Has nothing more to say.
    pub(crate) fn hush(&self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Everything up to the end of a subscription: its records, and the line that ends it.
    #[track_caller]
    pub(crate) fn until_end(&mut self, id: u64) -> (Vec<Value>, Value) {
        let mut records = Vec::new();
        loop {
            let mut line = self.hear();
            if line["id"] != json!(id) {
                continue;
            }
            if line.get("end").is_some() || line.get("error").is_some() {
                return (records, line);
            }
            if line.get("record").is_some() {
                records.push(line["record"].take());
            }
        }
    }

    /// Publishes, and hears what became of it.
    #[track_caller]
    pub(crate) fn publish(&mut self, payload: &str) -> Value {
        self.say(&json!({"id": "publish", "do": "publish", "payload": payload, "wait": "safe"}));
        loop {
            let line = self.hear();
            if line["id"] == "publish"
                && (line["ok"]["is"] == "safe" || line.get("error").is_some())
            {
                return line;
            }
        }
    }
}

/// Where the socket of a peer of the bench lies.
pub(crate) fn socket(bench: &Bench, id: &str) -> PathBuf {
    bench.path(&format!("{id}.sock"))
}

/// A peer that leads alone, and answers.
pub(crate) fn alone(bench: &Bench, id: &str, flags: &[&str]) -> Running {
    let one = bench.start(id, flags);
    until("it to lead alone", || one.members() == 1);
    drop(Talk::with(bench, id));
    one
}

/// Two peers in one view.
pub(crate) fn pair(bench: &Bench, flags: &[&str]) -> [Running; 2] {
    let both = ["peer1", "peer2"].map(|id| bench.start(id, flags));
    until("the two to be one group", || both.iter().all(|one| one.members() == 2));
    both
}

/// Whether the peer is still there, answers, has told of no panic, and has the company that it
/// should have.
#[track_caller]
pub(crate) fn assert_whole(bench: &Bench, group: &mut [Running]) {
    let size = group.len();
    for (place, one) in group.iter_mut().enumerate() {
        let id = format!("peer{}", place + 1);
        assert_eq!(one.child.try_wait().unwrap(), None, "{id} has ended");
        let log = one.log();
        assert!(!log.contains("panic"), "{log}");
        let report = Talk::with(bench, &id).ask(&json!({"id": 1, "do": "status"}));
        let members = report["ok"]["members"].as_array().map(Vec::len);
        assert_eq!(members, Some(size), "{report}");
    }
}

/// How many descriptors a process holds.
pub(crate) fn descriptors(one: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", one.child.id())).unwrap().count()
}

/// The processor time that a process has used, in ticks of 10 ms.
pub(crate) fn ticks(one: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", one.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(20);
