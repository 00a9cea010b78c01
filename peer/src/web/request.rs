//! HTTP requests. Only heads are read, and only `GET` and `HEAD` are supported.

use super::page::{self, Asset};
use super::response::Response;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) endpoint: Endpoint,
    /// Its host name.
    pub(super) host: Option<String>,
    /// Its token.
    pub(super) token: Option<String>,
    pub(super) head_only: bool,
    /// Whether the connection is kept open.
    pub(super) keeps: bool,
}

/// The requested resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A file of the page.
    Asset(&'static Asset),
    /// The stream of events.
    Events(EventsWish),
    Metrics,
    Healthz,
    Readyz,
}

/// The options of an event stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EventsWish {
    /// The id of the last event received.
    pub(super) behind: Option<String>,
    /// Whether thinned readings suffice, as for a chart.
    pub(super) thin: bool,
}

/// The result of parsing.
#[derive(Debug)]
pub(super) enum Read {
    /// The head is incomplete.
    Partial,
    /// The request, and the length of its head in bytes.
    Whole(Box<Request>, usize),
    /// It is no request; the connection closes after this answer.
    Wrong(Response),
}

/// Parses a head.
pub(super) fn read(bytes: &[u8]) -> Read {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MOST];
    let mut head = httparse::Request::new(&mut headers);
    let taken = match head.parse(bytes) {
        Ok(httparse::Status::Complete(taken)) => taken,
        Ok(httparse::Status::Partial) if bytes.len() >= HEAD_MAX => return wrong(431, too_long()),
        Ok(httparse::Status::Partial) => return Read::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            return wrong(431, format!("the request has more than {HEADERS_MOST} headers"));
        }
        Err(httparse::Error::Version) => {
            return wrong(505, "this peer speaks HTTP/1.1, in the clear".to_owned());
        }
        Err(error) => {
            return wrong(
                400,
                format!(
                    "this is no HTTP request ({error}); this peer speaks HTTP/1.1, in the clear"
                ),
            );
        }
    };
    if taken > HEAD_MAX {
        return wrong(431, too_long());
    }
    match Request::of(&head) {
        Ok(request) => Read::Whole(Box::new(request), taken),
        Err(response) => Read::Wrong(response),
    }
}

fn wrong(status: u16, say: String) -> Read {
    Read::Wrong(Response::fault(status, say))
}

fn too_long() -> String {
    format!("the head of the request is longer than {HEAD_MAX} bytes")
}

impl Request {
    fn of(head: &httparse::Request<'_, '_>) -> Result<Self, Response> {
        let head_only = match head.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => {
                let say = "nothing can be changed here; only GET and HEAD are answered".to_owned();
                return Err(Response::fault(405, say).with("Allow", "GET, HEAD"));
            }
        };
        let all = |name: &str| {
            head.headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name))
                .collect::<Vec<_>>()
        };
        let header = |name: &str| {
            all(name)
                .first()
                .and_then(|header| std::str::from_utf8(header.value).ok())
                .map(str::trim)
        };
        if all("host").len() > 1 {
            return Err(Response::fault(400, "the request names more than one host".to_owned()));
        }
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = |key: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| decoded(value))
        };
        let bearer = header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        let endpoint = match path {
            "/events" => {
                if matches!(header("sec-fetch-site"), Some("cross-site" | "same-site")) {
                    return Err(Response::fault(
                        403,
                        "a page of another site may not follow this peer".to_owned(),
                    ));
                }
                let behind =
                    header("last-event-id").map(ToOwned::to_owned).or_else(|| asked("behind"));
                Endpoint::Events(EventsWish {
                    behind: behind.filter(|id| !id.is_empty()),
                    thin: asked("thin").as_deref() == Some("1"),
                })
            }
            "/metrics" => Endpoint::Metrics,
            "/healthz" => Endpoint::Healthz,
            "/readyz" => Endpoint::Readyz,
            _ => Endpoint::Asset(page::find(path).ok_or_else(|| {
                let say =
                    "there is no such page; there are /, /events, /metrics, /healthz and /readyz"
                        .to_owned();
                Response::fault(404, say)
            })?),
        };
        // The data after an unread body cannot be distinguished from it.
        let has_body = header("content-length").is_some_and(|length| length != "0")
            || header("transfer-encoding").is_some();
        let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Self {
            endpoint,
            host: header("host").map(ToOwned::to_owned),
            token: bearer.or_else(|| asked("token")),
            head_only,
            keeps: head.version == Some(1) && !has_body && !closes,
        })
    }

    /// Whether it asks for something public: the same for every peer.
    pub(super) fn is_public(&self) -> bool {
        matches!(self.endpoint, Endpoint::Asset(asset) if asset.is_public)
    }
}

/// A query value with its percent escapes decoded.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (first, _) => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The greatest length of a head in bytes.
pub(super) const HEAD_MAX: usize = 8 << 10;
const HEADERS_MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Endpoint, HEAD_MAX, Read, decoded, read};

    #[track_caller]
    fn check(head: &str, expected: u16) {
        let status = match read(head.as_bytes()) {
            Read::Partial => 0,
            Read::Whole(..) => 200,
            Read::Wrong(response) => response.status(),
        };
        assert_eq!(status, expected, "{head:?}");
    }

    #[test]
    fn whatever_is_asked_has_one_answer() {
        check("GET / HTTP/1.1\r\nHost: a\r\n", 0);
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200);
        check("HEAD /metrics?token=a HTTP/1.0\r\n\r\n", 200);
        check("POST / HTTP/1.1\r\n\r\n", 405);
        check("CONNECT a:1 HTTP/1.1\r\n\r\n", 405);
        check("GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404);
        check("GET /%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", 404);
        check("GET http://evil/ HTTP/1.1\r\n\r\n", 404);
        check("GET /events HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403);
        check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
        check("\u{16}\u{3}\u{1}\u{2}", 400);
        check("GET / HTTP/9.9\r\n\r\n", 505);
        check(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD_MAX)), 431);
        check(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_MAX)), 431);
        check(&format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(65)), 431);
    }

    #[test]
    fn tokens_and_places_are_found_where_they_may_stand() {
        let request = |head: &str| match read(head.as_bytes()) {
            Read::Whole(request, _) => *request,
            other => panic!("{other:?}"),
        };
        let bearer = request("GET /metrics?token=b HTTP/1.1\r\nAuthorization: bearer a\r\n\r\n");
        assert_eq!((bearer.token.as_deref(), bearer.keeps), (Some("a"), true));
        assert_eq!(
            request("GET /?x=1&token=a%2Bb HTTP/1.1\r\nContent-Length: 9\r\n\r\n").token.as_deref(),
            Some("a+b")
        );
        let events = request("GET /events?behind=1.a%231/7/2.b%232&thin=1 HTTP/1.1\r\n\r\n");
        let Endpoint::Events(wish) = events.endpoint else { panic!("{:?}", events.endpoint) };
        assert_eq!((wish.behind.as_deref(), wish.thin), (Some("1.a#1/7/2.b#2"), true));
        assert!(
            request("GET /app.js HTTP/1.1\r\n\r\n").is_public()
                && !request("GET / HTTP/1.1\r\n\r\n").is_public()
        );
        assert_eq!(decoded("%zz%2"), "%zz%2");
        assert!(!request("GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\n").keeps);
        assert!(!request("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").keeps);
    }
}
