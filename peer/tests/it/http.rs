//! An HTTP client that sends whatever a test wants, and receives every byte.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// The answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Connects to a base such as `http://127.0.0.1:80`.
pub(crate) fn connect(base: &str) -> TcpStream {
    let stream = TcpStream::connect(base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Requests a path, as a program does.
#[track_caller]
pub(crate) fn get(base: &str, path: &str) -> Answer {
    let host = base.strip_prefix("http://").unwrap();
    say(
        base,
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
}

/// Sends these bytes on a connection of their own, and receives everything until it is closed.
#[track_caller]
pub(crate) fn say(base: &str, bytes: &[u8]) -> Answer {
    let mut stream = connect(base);
    stream.write_all(bytes).unwrap();
    hear(&mut stream)
}

/// Receives everything until the connection is closed.
#[track_caller]
pub(crate) fn hear(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end came: {error}; so far {}", String::from_utf8_lossy(&bytes)),
    }
    read(&bytes)
}

/// Reads an answer.
#[track_caller]
pub(crate) fn read(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
