//! The address of the HTTP service, and the host names in requests to it.
//!
//! A page of the Internet in a user's browser can give its own name the address of this machine
//! (DNS rebinding), and would then read data meant for that user. So a request must name a host
//! that the user has configured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use super::response::Response;
use super::token::TokenFile;
use crate::descriptors;
use crate::failure::{BAD_FILE, Failure, UNAVAILABLE};

/// The checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The file with the token, if one is required.
    pub token_file: Option<PathBuf>,
    /// Permitted host names, besides the address.
    pub hosts: Vec<String>,
}

/// A listener, and its access rules.
#[derive(Debug)]
pub struct Opened {
    pub(super) listener: TcpListener,
    pub(super) hosts: Hosts,
    pub(super) token: Option<TokenFile>,
}

/// The hosts that a request may name.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    bound: SocketAddr,
    named: Vec<String>,
}

impl HttpSettings {
    /// Checks the settings; none if HTTP is not enabled.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    pub fn check(
        address: Option<&str>,
        token_file: Option<PathBuf>,
        hosts: Vec<String>,
    ) -> Result<Option<Self>, String> {
        let Some(text) = address else {
            let is_idle = token_file.is_none() && hosts.is_empty();
            return if is_idle {
                Ok(None)
            } else {
                Err("http_token_file and http_host: nothing is served without http".to_owned())
            };
        };
        let wrong = || {
            format!(
                "http: {text:?} is no address with a port; write one such as 127.0.0.1:8080 or \
                 [::1]:8080"
            )
        };
        let address = match text.strip_prefix("localhost:") {
            Some(port) => {
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().map_err(|_| wrong())?)
            }
            None => text.parse().map_err(|_| wrong())?,
        };
        if !address.ip().is_loopback() && token_file.is_none() {
            return Err(format!(
                "http: {text} can be reached from other machines, and whoever reaches it reads all \
                 that is delivered; name a file with a \
                 token (--http-token-file FILE), or serve it on 127.0.0.1"
            ));
        }
        let is_name = |name: &String| {
            !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
        };
        if let Some(wrong) = hosts.iter().find(|name| !is_name(name)) {
            return Err(format!(
                "http_host: {wrong:?} is no name of a host; write it without a scheme and without \
                 a port"
            ));
        }
        Ok(Some(Self { address, token_file, hosts }))
    }
}

impl Opened {
    /// Listens, and reads the token.
    ///
    /// # Errors
    /// [`Failure`]: the port is taken, or the file with the token cannot be used.
    pub fn bind(settings: &HttpSettings) -> Result<Self, Failure> {
        let HttpSettings { address, token_file, hosts } = settings;
        let token = token_file
            .clone()
            .map(TokenFile::open)
            .transpose()
            .map_err(|why| Failure::new(BAD_FILE, why))?;
        let listener = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        });
        let (listener, bound) = listener.map_err(|error| {
            Failure::new(
                UNAVAILABLE,
                format!(
                    "--http: cannot listen on {address}: {error}; choose \
                                               another port (0 takes a free one)"
                ),
            )
        })?;
        let how = if token.is_some() {
            "?token=… (the token is in the file of --http-token-file)"
        } else {
            ""
        };
        log::info!("The page of this peer is http://{bound}/{how}");
        let listener = descriptors::on_top(listener, descriptors::raise_limit());
        Ok(Self { listener, hosts: Hosts { bound, named: hosts.clone() }, token })
    }
}

impl Hosts {
    /// Whether a request may name this host; otherwise the refusal.
    pub(super) fn judge(&self, host: Option<&str>) -> Result<(), Response> {
        let Some(host) = host else {
            return Err(Response::fault(
                400,
                "the request names no host; send a Host header".to_owned(),
            ));
        };
        if self.knows(host) {
            return Ok(());
        }
        let shown: String = host.chars().take(HOST_SHOWN).collect();
        let say = format!(
            "this is not {shown:?}: this peer answers to its address, and to the names that \
             --http-host gives it (a page elsewhere may \
             have given its own name this address)"
        );
        Err(Response::fault(421, say))
    }

    fn knows(&self, host: &str) -> bool {
        let name = without_port(host);
        let is = |other: &str| name.eq_ignore_ascii_case(other.trim_matches(['[', ']']));
        if self.named.iter().any(|named| is(named)) || is("localhost") {
            return true;
        }
        // A page cannot give an address to another machine, only a name.
        let Ok(address) = name.parse::<IpAddr>() else { return false };
        let bound = self.bound.ip();
        address == bound || bound.is_unspecified() || bound.is_loopback() && address.is_loopback()
    }
}

/// The name in a Host header, without port, brackets and trailing dot.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.strip_suffix('.').unwrap_or(name)
}

const HOST_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::{Hosts, HttpSettings};

    #[test]
    fn only_hosts_that_were_named_are_known() {
        let hosts = |bound: &str, named: &[&str]| Hosts {
            bound: bound.parse().unwrap(),
            named: named.iter().map(|&name| name.to_owned()).collect(),
        };
        let loopback = hosts("127.0.0.1:8080", &["attic.lan"]);
        for known in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "attic.lan:1",
            "attic.lan.",
        ] {
            assert!(loopback.knows(known), "{known}");
        }
        for stranger in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "",
            "10.0.0.4",
            "127.0.0.1.evil.example",
        ] {
            assert!(!loopback.knows(stranger), "{stranger}");
        }
        let everywhere = hosts("0.0.0.0:8080", &[]);
        assert!(
            everywhere.knows("10.0.0.4:8080")
                && everywhere.knows("[fe80::1]:8080")
                && !everywhere.knows("attic")
        );
        let one = hosts("10.0.0.4:8080", &[]);
        assert!(one.knows("10.0.0.4") && !one.knows("10.0.0.5"));
    }

    #[test]
    fn other_machines_are_served_with_a_token_only() {
        let check = |address, token: Option<&str>| {
            HttpSettings::check(address, token.map(Into::into), Vec::new())
        };
        assert_eq!(check(None, None), Ok(None));
        assert!(
            check(Some("127.0.0.1:0"), None).unwrap().is_some()
                && check(Some("localhost:80"), None).unwrap().is_some()
        );
        assert!(check(Some("[::1]:80"), None).is_ok());
        assert!(check(Some("0.0.0.0:80"), None).unwrap_err().contains("--http-token-file"));
        assert!(check(Some("10.0.0.4:80"), Some("t")).is_ok());
        assert!(check(Some("8080"), None).unwrap_err().contains("127.0.0.1:8080"));
        assert!(check(None, Some("t")).unwrap_err().contains("without http"));
        assert!(
            HttpSettings::check(Some("127.0.0.1:1"), None, vec!["http://a/".to_owned()]).is_err()
        );
    }
}
