//! A page with links to the pages of the peers of a run.
//!
//! The peers serve their pages themselves (`peer run --http`); a thread serves the links. The page
//! is for users of this machine only: it listens on loopback, and answers every request with the
//! same few links.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The addresses of the pages of a run. Clones share them.
#[derive(Clone, Debug)]
pub struct Pages {
    bound: SocketAddr,
    /// Whether the kernel chooses every port.
    is_free_choice: bool,
    places: Arc<Mutex<Vec<(String, SocketAddr)>>>,
}

impl Pages {
    /// Serves the links at this address; the peers get the ports behind it, or any port if it is 0.
    /// # Errors
    /// The address is no loopback address, or the port is taken.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let say = format!(
                "{address} can be reached from other machines, and these pages have no token; take \
                 127.0.0.1 or [::1]"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, say));
        }
        let listener = TcpListener::bind(address)?;
        let pages = Self {
            bound: listener.local_addr()?,
            is_free_choice: address.port() == 0,
            places: Arc::default(),
        };
        let told = pages.clone();
        thread::Builder::new().name("pages".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that is slow or gone gets no answer.
                let _gone = told.answer(stream);
            }
        })?;
        Ok(pages)
    }

    /// The address of the page with links.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.bound
    }

    /// Forgets the peers of the previous run.
    pub fn clear(&self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The address of a process's page, the same each time the process starts.
    ///
    /// # Errors
    /// There is no port left.
    pub fn place(&self, process: &str) -> io::Result<SocketAddr> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place)) = places.iter().find(|(name, _)| name == process) {
            return Ok(*place);
        }
        let port = if self.is_free_choice {
            // The peer binds the port at once; another process is unlikely to get it in between.
            TcpListener::bind((self.bound.ip(), 0))?.local_addr()?.port()
        } else {
            let behind = u16::try_from(places.len() + 1)
                .ok()
                .and_then(|count| self.bound.port().checked_add(count));
            behind.ok_or_else(|| io::Error::other("there is no port left for its page"))?
        };
        let place = SocketAddr::new(self.bound.ip(), port);
        places.push((process.to_owned(), place));
        Ok(place)
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut head = [0; HEAD_MOST];
        let count = stream.read(&mut head)?;
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        let host = head.lines().find_map(|line| {
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        });
        let is_ours = host.is_some_and(|(_, host)| is_local(host.trim()));
        let (status, kind, body) = match head.split(' ').next() {
            Some("GET") if is_ours => ("200 OK", "text/html", self.links()),
            Some("GET") => (
                "421 Misdirected Request",
                "text/plain",
                "this is a page for this machine; ask for localhost\n".to_owned(),
            ),
            _ => ("405 Method Not Allowed", "text/plain", "only GET is answered\n".to_owned()),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: \
             {length}\r\n{HEADERS}{body}"
        )
    }

    /// Process names need no escaping by construction.
    fn links(&self) -> String {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = HEAD.to_owned();
        for (name, place) in places.iter() {
            let _never_fails =
                write!(text, "<li><a href=\"http://{place}/\">{name}</a> at {place}");
        }
        text.push_str(
            "</ul><p>A peer that has ended does not answer; it does again once it is started.\n",
        );
        text
    }
}

/// Whether the request names this machine, and not a foreign host name that resolves to it.
fn is_local(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(host, |(name, _)| name);
    let name = name.trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const PATIENCE: Duration = Duration::from_secs(1);
const HEAD_MOST: usize = 8_192;
const HEADERS: &str = "Content-Security-Policy: default-src 'none'\r\nX-Content-Type-Options: \
                       nosniff\r\nReferrer-Policy: no-referrer\r\n\
    Cache-Control: no-store\r\nConnection: close\r\n\r\n";
const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta \
                    name=\"viewport\" content=\"width=device-width\">\
    <meta name=\"color-scheme\" content=\"light dark\"><title>Peers of this run</title><h1>Peers \
    of this run</h1><ul>";

#[cfg(test)]
mod tests {
    use super::{Pages, is_local};
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    #[test]
    fn a_process_keeps_its_place_and_is_linked() {
        assert!(Pages::open("0.0.0.0:0".parse().unwrap()).is_err());
        let pages = Pages::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let (one, other) = (pages.place("peer1").unwrap(), pages.place("peer2").unwrap());
        assert_eq!((pages.place("peer1").unwrap(), one == other), (one, false));
        let ask = |request: &str| {
            let mut stream = TcpStream::connect(pages.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let links = ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(
            links.starts_with("HTTP/1.1 200")
                && links.contains(&format!("<a href=\"http://{other}/\">peer2</a>")),
            "{links}"
        );
        assert!(ask("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").starts_with("HTTP/1.1 421"));
        assert!(ask("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n").starts_with("HTTP/1.1 405"));
        pages.clear();
        assert!(!ask("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n").contains("peer2"));
        assert!(
            is_local("127.0.0.1:8080")
                && is_local("[::1]")
                && !is_local("127.0.0.1.evil.example")
                && !is_local("")
        );
    }
}
