//! HTTP responses, and the headers that all of them have.

use super::page::Asset;

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

impl Response {
    /// Plain text.
    pub(super) fn text(status: u16, body: String) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: body.into_bytes(),
        }
    }

    /// A refusal, with its reason.
    pub(super) fn fault(status: u16, say: String) -> Self {
        Self::text(status, say + "\n")
    }

    /// A file of the page.
    pub(super) fn asset(asset: &Asset) -> Self {
        Self {
            status: 200,
            kind: asset.kind,
            headers: Vec::new(),
            body: asset.body.as_bytes().to_vec(),
        }
    }

    /// Metrics.
    pub(super) fn metrics(text: String) -> Self {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Self { status: 200, kind, headers: Vec::new(), body: text.into_bytes() }
    }

    /// With one more header.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Its status.
    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Writes it; without its body for a `HEAD` request.
    pub(super) fn write(&self, keeps: bool, head_only: bool, out: &mut Vec<u8>) {
        head(self.status, self.kind, out);
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let connection = if keeps { "keep-alive" } else { "close" };
        out.extend_from_slice(
            format!("Content-Length: {}\r\nConnection: {connection}\r\n\r\n", self.body.len())
                .as_bytes(),
        );
        if !head_only {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Writes the head of an event stream, which ends with its connection.
pub(super) fn write_stream_head(out: &mut Vec<u8>) {
    head(200, "text/event-stream; charset=utf-8", out);
    out.extend_from_slice(b"X-Accel-Buffering: no\r\nConnection: close\r\n\r\n");
}

fn head(status: u16, kind: &str, out: &mut Vec<u8>) {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    };
    out.extend_from_slice(
        format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{ALWAYS}").as_bytes(),
    );
}

/// Responses must not be cached, sniffed, framed, or read by other sites; and only scripts of this
/// page may run.
const ALWAYS: &str = "Cache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Content-Type-Options: nosniff\r\n";
