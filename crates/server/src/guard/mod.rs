//! Who may ask: by key, by the name under which the server is called, by the page from which the request comes.
//!
//! A server on the loopback address is not out of reach of strangers: every page that a browser shows may send requests to it. What
//! makes them harmless is that a page of another origin is refused, and that a page which has its own name resolved to 127.0.0.1 (DNS rebinding)
//! still calls the server by that name.

mod hosts;
mod keys;
mod origins;

use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::config::{Access, Listen};
use crate::failure::{Failure, FailureKind};
use hosts::Hosts;
use keys::Keys;
pub use keys::{KeyFileError, read_keys};
use origins::Origins;

/// What requests are checked against.
pub(crate) struct Guard {
    keys: Keys,
    guard_probes: bool,
    /// `None` on a Unix socket, which no page reaches.
    hosts: Option<Hosts>,
    pub(crate) origins: Origins,
}

/// A key, origin or host in a [`Config`](crate::Config) that cannot be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccessError {
    /// A key that no header can carry. It is not shown.
    #[error("API key {place} cannot be sent in a header: a key has only visible ASCII characters, and at least one")]
    Key {
        /// Its place in the list, from 1.
        place: usize,
    },
    /// An origin is a scheme and a host, and nothing after them.
    #[error(
        "`{origin}` is no origin; expected for example https://notes.example or http://localhost:3000, or * for any"
    )]
    Origin {
        /// What was given.
        origin: String,
    },
    /// A host is a name without a port.
    #[error("`{host}` is no host name; expected for example notes.example, without scheme and port, or * for any")]
    Host {
        /// What was given.
        host: String,
    },
}

impl Guard {
    /// # Errors
    /// If a key, origin or host cannot be one.
    pub(crate) fn new(access: &Access, listen: &Listen) -> Result<Self, AccessError> {
        let hosts = Hosts::new(&access.hosts)?;
        Ok(Guard {
            keys: Keys::new(&access.keys)?,
            guard_probes: access.guard_probes,
            hosts: matches!(listen, Listen::Tcp(_)).then_some(hosts),
            origins: Origins::new(&access.origins)?,
        })
    }

    /// Whether the request comes by a name and from a page that are allowed.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_source(&self, request: &Parts) -> Result<(), Failure> {
        let host = hosts::named(request)?;
        if let Some(hosts) = &self.hosts {
            hosts.check(host.as_ref())?;
        }
        self.origins.check(&request.headers, host.as_ref())
    }

    /// Whether the request has a key, if it needs one.
    ///
    /// # Errors
    /// If it needs one and has none that is known.
    pub(crate) fn check_key(&self, path: &str, headers: &HeaderMap) -> Result<(), Failure> {
        if is_probe(path) && !self.guard_probes { Ok(()) } else { self.keys.check(headers) }
    }
}

/// Whether the path is one that those ask who watch over the server.
pub(crate) fn is_probe(path: &str) -> bool {
    matches!(path, "/health" | "/ping" | "/metrics")
}

fn forbidden(message: String) -> Failure {
    Failure::new(FailureKind::Forbidden, message)
}

/// A value of a header as an error shows it: short, and without what a terminal would act on.
fn shown(value: &[u8]) -> String {
    value[..value.len().min(80)].escape_ascii().to_string()
}
