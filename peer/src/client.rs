//! The client side of a peer's socket, for the commands: finds a peer of this machine, and talks
//! with it.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use protocol::id::PeerId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::failure::{Failure, NOT_NOW, REFUSED, UNAVAILABLE, USAGE};
use crate::status::Report;

pub use self::find::{find, find_all};

mod elsewhere;
mod find;

/// A connection to a peer.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
    greeting: Greeting,
    line: Vec<u8>,
}

/// The first line of a peer.
#[derive(Clone, Debug, Deserialize)]
pub struct Greeting {
    /// Its name.
    pub peer: PeerId,
    /// Its cluster.
    pub cluster: String,
    /// The version of the socket's protocol.
    pub speaks: u32,
    /// Its build.
    pub build: String,
    /// The pid of its process, in its own namespace.
    pub pid: u32,
    /// `write` or `read`.
    pub access: String,
}

/// A line from a peer.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// The request that it answers.
    pub id: Option<u64>,
    /// The request was or will be performed.
    #[serde(borrow)]
    pub ok: Option<&'a RawValue>,
    /// The request failed.
    pub error: Option<Fault>,
    /// A record of a subscription.
    #[serde(borrow)]
    pub record: Option<&'a RawValue>,
    /// The end of a subscription, and its reason, for programs.
    pub end: Option<String>,
    /// The reason, for people.
    pub say: Option<String>,
    /// The log in which the subscription could continue.
    pub log: Option<String>,
    /// The position at which it could continue.
    pub next: Option<u64>,
    /// The epoch of the last entry.
    pub epoch: Option<String>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// For programs.
    pub code: String,
    /// For people.
    pub say: String,
}

impl Fault {
    /// The failure of the command.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        let code = match self.code.as_str() {
            "blocked" | "busy" | "stopping" => NOT_NOW,
            "bad_request" => USAGE,
            _ => REFUSED,
        };
        Failure::new(code, self.say)
    }
}

impl Connection {
    /// Connects, and reads the greeting.
    ///
    /// # Errors
    /// Those of the operating system; `WouldBlock` if no greeting comes in time, `ResourceBusy` if
    /// the peer accepts no further client now.
    pub fn open(path: &Path, patience: Duration) -> io::Result<Self> {
        // A connect to a stopped peer with a full backlog would block for ever.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_write_timeout(Some(patience))?;
        socket.connect(&SockAddr::unix(path)?)?;
        let stream = UnixStream::from(OwnedFd::from(socket));
        stream.set_write_timeout(None)?;
        stream.set_read_timeout(Some(patience))?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
        let mut line = Vec::new();
        reader.by_ref().take(GREETING_MOST).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Ok(Line { error: Some(Fault { say, .. }), .. }) = serde_json::from_slice(&line) {
            return Err(io::Error::new(ErrorKind::ResourceBusy, say));
        }
        let greeting = serde_json::from_slice(&line)?;
        Ok(Self { reader, greeting, line })
    }

    /// The greeting.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Its name.
    #[must_use]
    pub fn peer(&self) -> &PeerId {
        &self.greeting.peer
    }

    /// Sends a line.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes())
    }

    /// A second handle of the connection, to send while this one reads.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn speaker(&self) -> io::Result<UnixStream> {
        self.reader.get_ref().try_clone()
    }

    /// How long [`Self::hear`] waits; without limit if none is given.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(patience)
    }

    /// The next line, without its end; none if the other end has closed the connection. A line that
    /// was incomplete when the time ran out is continued by the next call.
    ///
    /// # Errors
    /// Those of the operating system; `WouldBlock` if no line came in time.
    pub fn hear(&mut self) -> io::Result<Option<&[u8]>> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        loop {
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.last() == Some(&b'\n') => {
                    return Ok(self.line.strip_suffix(b"\n"));
                }
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a whole line is in the buffer already.
    #[must_use]
    pub fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// Sends a request and returns the answer.
    ///
    /// # Errors
    /// [`Failure`]: the peer refuses it, or does not answer.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &str) -> Result<T, Failure> {
        let peer = self.peer().clone();
        let text = self.ask_raw(request)?;
        serde_json::from_str(&text).map_err(|error| {
            let build = &self.greeting.build;
            Failure::new(
                UNAVAILABLE,
                format!(
                    "{peer} (build {build}) gave an answer that this build ({}) does not \
                         understand: {error}",
                    crate::BUILD
                ),
            )
        })
    }

    /// The status of the peer, for a program that asks again later if the peer is busy.
    ///
    /// # Errors
    /// Those of the operating system; `WouldBlock` if no answer came in time.
    pub fn report(&mut self) -> io::Result<Report> {
        self.say("{\"id\":1,\"do\":\"status\"}")?;
        let line = self.hear()?.ok_or(ErrorKind::UnexpectedEof)?;
        let Line { ok, error, .. } = serde_json::from_slice(line)?;
        match (ok, error) {
            (Some(ok), _) => Ok(serde_json::from_str(ok.get())?),
            (None, fault) => Err(io::Error::other(
                fault.map_or_else(|| "no answer".to_owned(), |fault| fault.say),
            )),
        }
    }

    /// The same, as JSON.
    ///
    /// # Errors
    /// [`Failure`]: the peer refuses it, or does not answer.
    pub fn ask_raw(&mut self, request: &str) -> Result<String, Failure> {
        let peer = self.peer().clone();
        let gone = |error: &io::Error| Failure::new(UNAVAILABLE, no_answer(&peer, error));
        self.say(&format!("{{\"id\":1,{request}}}")).map_err(|error| gone(&error))?;
        let Some(line) = self.hear().map_err(|error| gone(&error))? else {
            return Err(Failure::new(
                UNAVAILABLE,
                format!("{peer} has closed the connection without an answer; it may have stopped"),
            ));
        };
        match serde_json::from_slice(line) {
            Ok(Line { ok: Some(ok), .. }) => Ok(ok.get().to_owned()),
            Ok(Line { error: Some(fault), .. }) => Err(fault.into_failure()),
            _ => Err(Failure::new(
                UNAVAILABLE,
                format!("{peer} gave an answer that this build does not understand"),
            )),
        }
    }
}

/// Why there is no answer.
fn no_answer(peer: &PeerId, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!(
                "{peer} runs, and has not answered for {PATIENCE:?}: it stands still, or is very \
                 busy"
            )
        }
        _ => format!("{peer} does not answer: {error}"),
    }
}

/// How long a peer may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);
const GREETING_MOST: u64 = 16 << 10;
const BUFFER_BYTES: usize = 256 << 10;
