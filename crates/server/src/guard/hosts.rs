//! The names under which the server may be called.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::Version;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;

use super::{AccessError, forbidden, shown};
use crate::failure::{Failure, FailureKind};

/// Names that are allowed besides loopback's.
pub(super) struct Hosts {
    names: Vec<String>,
    any: bool,
}

/// The name under which a request calls the server: of the request line if it has one (HTTP/2, proxies), else of `Host`.
///
/// # Errors
/// If it is none, or there are several.
pub(super) fn named(request: &Parts) -> Result<Option<Authority>, Failure> {
    let malformed = |message: &str| Failure::new(FailureKind::Malformed, message);
    let mut headers = request.headers.get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(malformed("the request has more than one `Host`"));
    }
    if let Some(authority) = request.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    match header {
        Some(value) => match Authority::try_from(value.as_bytes()) {
            Ok(authority) if !authority.as_str().contains('@') => Ok(Some(authority)),
            _ => Err(malformed(&format!("the request's `Host` is `{}`, which is no host", shown(value.as_bytes())))),
        },
        None if request.version >= Version::HTTP_11 => Err(malformed("the request has no `Host`")),
        None => Ok(None),
    }
}

impl Hosts {
    /// # Errors
    /// If one is no name.
    pub(super) fn new(hosts: &[String]) -> Result<Self, AccessError> {
        let (any, names): (Vec<_>, Vec<_>) = hosts.iter().partition(|host| *host == "*");
        for host in &names {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if host.is_empty() || !host.bytes().all(is_name) {
                return Err(AccessError::Host { host: (*host).clone() });
            }
        }
        let names = names.into_iter().map(|host| plain(host)).collect();
        Ok(Hosts { names, any: !any.is_empty() })
    }

    /// # Errors
    /// If the name is not one of those that are allowed. An address always is: only a name can be resolved to another address than it
    /// was before.
    pub(super) fn check(&self, host: Option<&Authority>) -> Result<(), Failure> {
        let Some(host) = host.map(Authority::host) else { return Ok(()) };
        if self.any || is_address(host) || self.knows(&plain(host)) {
            return Ok(());
        }
        let host = shown(host.as_bytes());
        Err(forbidden(format!("the server may not be called by the name `{host}`; to allow it, list it as a host")))
    }

    fn knows(&self, host: &str) -> bool {
        host == "localhost" || host.ends_with(".localhost") || self.names.iter().any(|name| name == host)
    }
}

/// A name as names are compared.
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn check(allowed: &[&str], host: &str) -> Result<(), FailureKind> {
        let hosts = Hosts::new(&allowed.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap();
        let (request, ()) = Request::builder().header(HOST, host).body(()).unwrap().into_parts();
        let named = named(&request).map_err(|failure| failure.kind)?;
        hosts.check(named.as_ref()).map_err(|failure| failure.kind)
    }

    #[test]
    fn loopback_and_addresses_are_allowed() {
        for host in
            ["localhost", "LocalHost:8080", "localhost.", "127.0.0.1:1", "[::1]:8080", "192.168.1.7", "a.localhost"]
        {
            assert_eq!(check(&[], host), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", "notlocalhost", "1.2.3"] {
            assert_eq!(check(&[], host), Err(FailureKind::Forbidden), "{host}");
        }
    }

    #[test]
    fn listed_names_are_allowed() {
        assert_eq!(check(&["Notes.Example"], "notes.example:443"), Ok(()));
        assert_eq!(check(&["notes.example"], "sub.notes.example"), Err(FailureKind::Forbidden));
        assert_eq!(check(&["*"], "evil.example"), Ok(()));
    }

    #[test]
    fn what_is_no_host_is_malformed() {
        for host in ["", "user@localhost", "local host", "localhost/path", "[::1"] {
            assert_eq!(check(&["*"], host), Err(FailureKind::Malformed), "{host}");
        }
    }

    #[test]
    fn a_host_is_configured_without_scheme_and_port() {
        for host in ["", "https://notes.example", "notes.example:443", "a b"] {
            assert!(Hosts::new(&[host.to_owned()]).is_err(), "{host}");
        }
    }
}
