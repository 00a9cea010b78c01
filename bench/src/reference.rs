//! Runs the reference: the processes of a bare sequencer (`bare`), and the greatest rate at which
//! one process can write (`ceiling`).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bare::{Part, Seen};

/// Runs a bare group with these parts, the sequencer's first; returns the result of each process.
///
/// # Errors
/// A process could not be started, or failed.
pub fn run(parts: &[Part]) -> io::Result<Vec<Seen>> {
    let Some((first, rest)) = parts.split_first() else { return Ok(Vec::new()) };
    let mut sequencer = Process::start(&["bare", "--part", &text(first)])?;
    let port = sequencer.line()?;
    let mut all = vec![sequencer];
    for part in rest {
        all.push(Process::start(&["bare", "--part", &text(part), "--port", port.trim()])?);
    }
    all.iter_mut().map(|process| Ok(serde_json::from_str(&process.line()?)?)).collect()
}

/// How many bytes per second one process writes to `sockets` sockets in pieces of 64 KiB, each read
/// by a process that does nothing else.
///
/// # Errors
/// A process could not be started, or a socket failed.
pub fn ceiling(sockets: usize, span: Duration) -> io::Result<f64> {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port().to_string();
    let mut readers = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..sockets {
        readers.push(Process::start(&["drain", "--port", &port])?);
        let stream = listener.accept()?.0;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let piece = vec![b'.'; 64 << 10];
    let (begun, mut written) = (Instant::now(), 0);
    while begun.elapsed() < span {
        for stream in &mut streams {
            stream.write_all(&piece)?;
            written += piece.len();
        }
    }
    drop(streams);
    for reader in &mut readers {
        reader.line()?;
    }
    Ok(written as f64 / begun.elapsed().as_secs_f64())
}

/// Reads everything from that port, and reports the number of bytes.
///
/// # Errors
/// Those of the socket.
pub fn drain(port: u16) -> io::Result<u64> {
    let mut stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let mut piece = vec![0; 256 << 10];
    let mut all = 0;
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(all),
            count => all += count as u64,
        }
    }
}

/// How long after the SIGKILL of a process another one reads the end of its stream.
///
/// # Errors
/// A process could not be started or killed.
pub fn end_of_stream() -> io::Result<Duration> {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let mut process =
        Process::start(&["drain", "--port", &listener.local_addr()?.port().to_string()])?;
    let mut stream = listener.accept()?.0;
    let before = Instant::now();
    process.child.kill()?;
    match stream.read(&mut [0]) {
        Ok(0) => Ok(before.elapsed()),
        // Killed with unread bytes, or in the middle of a write: also an end of the stream.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(before.elapsed()),
        Ok(_) => Err(io::Error::other("a process that only reads has said something")),
        Err(error) => Err(error),
    }
}

/// How long it takes from the start of the first process until all processes of a bare group have
/// one reading.
///
/// # Errors
/// A process could not be started, or failed.
pub fn gather(processes: u32) -> io::Result<Duration> {
    let part = |number| Part {
        number,
        processes,
        sends: number == 0,
        count: 1,
        total: 1,
        bytes: 16,
        rate: None,
    };
    let before = peer::clock::now();
    let seen = run(&(0..processes).map(part).collect::<Vec<_>>())?;
    Ok(seen.iter().map(|seen| seen.last_at.since(before)).max().unwrap_or_default())
}

fn text(part: &Part) -> String {
    serde_json::to_string(part).expect("numbers are JSON")
}

/// A process of this program.
struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .args(["--die-with", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().expect("it was piped two lines above"));
        Ok(Self { child, output })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(io::Error::other("a process of the reference failed; its error is above")),
            _ => Ok(line),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Normally it ends by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
