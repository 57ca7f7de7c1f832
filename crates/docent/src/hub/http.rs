//! Requests: redirects by hand, a token for one host only, errors with names.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, Error as Ureq};

use super::Error;
use super::settings::Settings;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// A connection pool and the rules of a fetch.
pub(super) struct Client {
    agent: ureq::Agent,
    token: Option<Token>,
    read_timeout: Duration,
}

/// The user's token, and the one place it may be shown to.
struct Token {
    origin: Origin,
    value: String,
}

/// Scheme, host and port: what has to be equal for two addresses to be in the same hands.
#[derive(Debug, PartialEq, Eq)]
struct Origin(String, String, u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    /// As `Get` without the body. A redirect to another host is not followed: the headers of the hub's own answer are what
    /// is wanted, and the store behind it may know no HEAD for a signed address.
    Head,
}

/// An answer with status 200 or 206 (for HEAD also a redirect to another host), or 416.
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// The address that gave it, without query and password.
    pub(super) url: String,
    body: Body,
}

impl Client {
    /// A client that proves itself to the first endpoint only.
    pub(super) fn new(settings: &Settings, connect_timeout: Duration) -> Result<Client, Error> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.ca_file {
            tls = tls.root_certs(read_certificates(path)?);
        }
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("docent/", env!("CARGO_PKG_VERSION")))
            // Compressed in transit, lengths and ranges would not be those of the file.
            .accept_encoding("identity")
            .timeout_resolve(Some(connect_timeout))
            .timeout_connect(Some(connect_timeout))
            .timeout_recv_response(Some(settings.read_timeout))
            .timeout_per_read(Some(settings.read_timeout))
            .timeout_per_write(Some(settings.read_timeout))
            .build();
        let origin = settings.endpoints.first().and_then(|url| origin(url));
        let token = settings.token.clone().zip(origin).map(|(value, origin)| Token { origin, value });
        Ok(Client { agent: config.into(), token, read_timeout: settings.read_timeout })
    }

    /// Sends one request and follows redirects. `what` is named in errors: `USER/REPO/FILE`.
    pub(super) fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, String)],
        what: &str,
    ) -> Result<Answer, Error> {
        let first = origin(url).ok_or_else(|| bad_address(url))?;
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let here = origin(&url).ok_or_else(|| bad_address(&url))?;
            let token = self.token.as_ref().filter(|token| token.origin == here);
            let mut request = match method {
                Method::Get => self.agent.get(&url),
                Method::Head => self.agent.head(&url),
            };
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {}", token.value));
            }
            let answer = request.call().map_err(|error| self.name_error(error, &url))?;
            let status = answer.status();
            let location = answer.headers().get("location").filter(|_| is_redirect(status));
            let Some(location) = location else {
                return classify(answer, &url, what, token.is_some());
            };
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let next = resolve(&url, &location).map_err(|reason| Error::BadRedirect {
                url: shown(&url),
                location: shown(&location),
                reason,
            })?;
            if method == Method::Head && origin(&next).as_ref() != Some(&first) {
                return Ok(Answer::new(answer, &url));
            }
            url = next;
        }
        Err(Error::TooManyRedirects { url: shown(&url), limit: MAX_REDIRECTS })
    }

    /// The body of a small document.
    pub(super) fn text(&self, answer: Answer, limit: u64) -> Result<Vec<u8>, Error> {
        let url = answer.url.clone();
        let mut bytes = Vec::new();
        answer
            .reader()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| self.name_read_error(e, &url))?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { what: url, found: bytes.len() as u64, limit });
        }
        Ok(bytes)
    }

    /// Names an error of a body's reader.
    pub(super) fn name_read_error(&self, error: std::io::Error, url: &str) -> Error {
        self.name_error(Ureq::from(error), url)
    }

    fn name_error(&self, error: Ureq, url: &str) -> Error {
        let url = shown(url);
        match error {
            Ureq::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                Error::Unreachable { url, reason: "the connection takes too long".to_owned() }
            }
            Ureq::Timeout(_) => Error::Stalled { url, limit: self.read_timeout },
            Ureq::Io(e) if matches!(e.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock) => {
                Error::Stalled { url, limit: self.read_timeout }
            }
            Ureq::Http(e) => Error::BadAnswer { url, reason: one_line(&e.to_string()) },
            other => Error::Unreachable { url, reason: one_line(&other.to_string()) },
        }
    }
}

impl Answer {
    fn new(answer: ureq::http::Response<Body>, url: &str) -> Answer {
        let (parts, body) = answer.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, url: shown(url), body }
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    /// A header's value, if it is a whole number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// The body. Its end before the announced length is an error of the reader.
    pub(super) fn reader(self) -> impl Read {
        self.body.into_reader()
    }
}

/// Reads the certificates of a PEM file of at most 16 MiB (the usual bundles have a quarter of one).
fn read_certificates(path: &Path) -> Result<RootCerts, Error> {
    let bad = |reason: String| Error::BadCertificates { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
    if size > 16 << 20 {
        return Err(bad(format!("it has {size} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| bad(one_line(&e.to_string())))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(bad("expected -----BEGIN CERTIFICATE-----".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Turns a status into an answer or an error.
fn classify(answer: ureq::http::Response<Body>, url: &str, what: &str, token_sent: bool) -> Result<Answer, Error> {
    let status = answer.status().as_u16();
    let (what, shown_url) = (what.to_owned(), shown(url));
    match status {
        200 | 206 | 416 => Ok(Answer::new(answer, url)),
        401 | 403 => Err(Error::Denied { what, url: shown_url, status, token_sent }),
        404 | 410 => Err(Error::NotFound { what, url: shown_url, status }),
        408 | 425 | 429 | 500..=599 => {
            let seconds =
                answer.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
            Err(Error::Busy { url: shown_url, status, retry_after: seconds.map(Duration::from_secs) })
        }
        _ => Err(Error::Status { url: shown_url, status }),
    }
}

fn bad_address(url: &str) -> Error {
    Error::BadAnswer { url: shown(url), reason: "it is not a http or https address".to_owned() }
}

fn origin(url: &str) -> Option<Origin> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some(Origin(scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(port)))
}

/// The address a `Location` means, seen from `base` (RFC 3986 section 5.2, without `..`, which servers do not send).
fn resolve(base: &str, location: &str) -> Result<String, &'static str> {
    let (scheme, rest) = base.split_once("://").ok_or("the address before it has no scheme")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let location = location.split('#').next().unwrap_or(location);
    let next = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.is_empty() {
        return Err("it is empty");
    } else {
        let path = rest.split(['?', '#']).next().unwrap_or(rest);
        let folder = path.rfind('/').map_or(path, |end| &path[..end]);
        format!("{scheme}://{folder}/{location}")
    };
    let from = origin(base).ok_or("the address before it is none")?;
    let to = origin(&next).ok_or("only http and https addresses are followed")?;
    if from.0 == "https" && to.0 == "http" {
        return Err("from https to http is not followed");
    }
    Ok(next)
}

/// An address fit for a message: without the query, which may hold a signature, and without a password.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    one_line(&super::without_password(url))
}

/// The text in one line of sensible length, without control characters.
pub(super) fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let base = "https://hub.example/a/b?x=1";
        assert_eq!(resolve(base, "https://cdn.example/f?s=1").as_deref(), Ok("https://cdn.example/f?s=1"));
        assert_eq!(resolve(base, "//cdn.example/f").as_deref(), Ok("https://cdn.example/f"));
        assert_eq!(resolve(base, "/c/d#frag").as_deref(), Ok("https://hub.example/c/d"));
        assert_eq!(resolve(base, "c").as_deref(), Ok("https://hub.example/a/c"));
        for bad in ["", "file:///etc/passwd", "ftp://x/y", "http://hub.example/a", "https://"] {
            assert!(resolve(base, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://Hub.example/a"), origin("https://hub.example:443/b"));
        assert_ne!(origin("https://hub.example/"), origin("http://hub.example/"));
        assert_ne!(origin("http://127.0.0.1:1/"), origin("http://127.0.0.1:2/"));
        assert_ne!(origin("https://hub.example/"), origin("https://hub.example.evil/"));
        assert_eq!(origin("ftp://x"), None);
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(read_certificates(&path).unwrap_err().to_string().contains("ca.pem"));
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read_certificates(&path), Err(Error::BadCertificates { .. })), "{text:?}");
        }
    }

    #[test]
    fn messages_show_no_secrets() {
        assert_eq!(shown("https://u:p@h/x?X-Amz-Signature=1#f"), "https://h/x");
        assert_eq!(shown("a\nb"), "a b");
    }
}
