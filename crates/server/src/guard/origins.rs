//! The pages that may call.

use std::time::Duration;

use axum::http::header::{HeaderName, ORIGIN, RETRY_AFTER};
use axum::http::uri::{Authority, Scheme, Uri};
use axum::http::{HeaderMap, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{AccessError, forbidden, shown};
use crate::failure::Failure;

/// Origins that are allowed besides the server's own.
pub(crate) struct Origins {
    origins: Vec<HeaderValue>,
    any: bool,
}

/// Time for which a browser need not ask again whether it may call.
const MAX_AGE: Duration = Duration::from_secs(600);

impl Origins {
    /// # Errors
    /// If one is no origin.
    pub(super) fn new(origins: &[String]) -> Result<Self, AccessError> {
        let (any, origins): (Vec<_>, Vec<_>) = origins.iter().partition(|origin| *origin == "*");
        let parsed = |origin: &&String| {
            let value = origin.to_ascii_lowercase();
            parts(&value)
                .and_then(|_| HeaderValue::from_str(&value).ok())
                .ok_or_else(|| AccessError::Origin { origin: (*origin).clone() })
        };
        Ok(Origins { origins: origins.iter().map(parsed).collect::<Result<_, _>>()?, any: !any.is_empty() })
    }

    /// # Errors
    /// If the request comes from a page that is neither listed nor the server's own. `host` is the name by which it calls the server.
    pub(super) fn check(&self, headers: &HeaderMap, host: Option<&Authority>) -> Result<(), Failure> {
        let mut values = headers.get_all(ORIGIN).iter();
        let Some(origin) = values.next() else { return Ok(()) };
        let own = || match (origin.to_str().ok().and_then(parts), host) {
            (Some((scheme, page)), Some(host)) => {
                let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port(&scheme));
                page.host().eq_ignore_ascii_case(host.host()) && port(&page) == port(host)
            }
            _ => false,
        };
        if values.next().is_none() && (self.any || self.lists(origin) || own()) {
            return Ok(());
        }
        let origin = shown(origin.as_bytes());
        Err(forbidden(format!("pages of `{origin}` may not call this server; to allow it, list it as an origin")))
    }

    /// What browsers are told, if any origin is allowed.
    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        if !self.any && self.origins.is_empty() {
            return None;
        }
        let origins = if self.any { AllowOrigin::any() } else { AllowOrigin::list(self.origins.iter().cloned()) };
        Some(
            CorsLayer::new()
                .allow_origin(origins)
                .allow_methods([Method::GET, Method::POST])
                .allow_headers(AllowHeaders::mirror_request())
                .allow_private_network(true)
                .expose_headers([HeaderName::from_static("x-request-id"), RETRY_AFTER])
                .max_age(MAX_AGE),
        )
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
}

/// The scheme and authority of an origin; `None` if it is none, as `null`.
fn parts(origin: &str) -> Option<(Scheme, Authority)> {
    let uri: Uri = origin.parse().ok()?;
    let (scheme, authority) = (uri.scheme()?.clone(), uri.authority()?.clone());
    // An origin ends with its port: a slash would be a path.
    (origin == format!("{scheme}://{authority}") && !authority.as_str().contains('@')).then_some((scheme, authority))
}

fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTPS { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listed: &[&str], origin: &str, host: &str) -> bool {
        let origins = Origins::new(&listed.iter().map(|&origin| origin.to_owned()).collect::<Vec<_>>()).unwrap();
        let headers = HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
        origins.check(&headers, Some(&host.parse().unwrap())).is_ok()
    }

    #[test]
    fn the_servers_own_pages_may_call() {
        assert!(check(&[], "http://localhost:8080", "localhost:8080"));
        assert!(check(&[], "https://notes.example", "notes.example"));
        assert!(check(&[], "https://notes.example", "Notes.Example:443"));
        assert!(check(&[], "http://[::1]:8080", "[::1]:8080"));
    }

    #[test]
    fn others_may_not() {
        for origin in
            ["https://evil.example", "http://localhost:3000", "http://localhost", "null", "*", "", "localhost:8080"]
        {
            assert!(!check(&[], origin, "localhost:8080"), "{origin}");
        }
    }

    #[test]
    fn listed_ones_may() {
        assert!(check(&["https://Notes.example"], "https://notes.example", "localhost:8080"));
        assert!(!check(&["https://notes.example"], "http://notes.example", "localhost:8080"));
        assert!(!check(&["https://notes.example"], "https://notes.example.evil.example", "localhost:8080"));
        assert!(check(&["*"], "null", "localhost:8080"));
    }

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        for origin in
            ["", "notes.example", "https://notes.example/", "https://notes.example/page", "null", "https://a@b.c"]
        {
            assert!(Origins::new(&[origin.to_owned()]).is_err(), "{origin}");
        }
    }
}
