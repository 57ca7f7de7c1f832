//! Request ids and the line that the log has for each request: never a body, a query or a key.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::guard::is_probe;
use crate::transport::Client;

/// Where a request has its id from the log's layer on.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a request id that is taken over.
const LONGEST_ID: usize = 128;

/// Bytes of a path that the log shows.
const LONGEST_PATH: usize = 256;

/// The line of one request, written when it is dropped: also of one whose client is gone before it is answered.
struct Line {
    start: Instant,
    id: HeaderValue,
    method: Method,
    path: String,
    client: Option<Client>,
    status: Option<StatusCode>,
}

/// Gives a request its id, in its own headers and in those of its answer, and its line.
pub(crate) async fn request(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut line = Line::new(&request, id.clone());
    let span = tracing::info_span!("request", id = line.id());
    let mut response = next.run(request).instrument(span).await;
    line.status = Some(response.status());
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The id that the client or a proxy has given, if it can do no harm where it is shown; else one of our own.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    match headers.get(REQUEST_ID) {
        Some(id) if (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(is_plain) => id.clone(),
        _ => new_id(),
    }
}

/// An id that no other request of this server has, and hardly one of another.
fn new_id() -> HeaderValue {
    static SERVER: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNT: AtomicU64 = AtomicU64::new(1);

    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    HeaderValue::from_str(&format!("{:016x}-{count}", *SERVER)).expect("digits and a hyphen are a header's value")
}

impl Line {
    fn new(request: &Request, id: HeaderValue) -> Self {
        let path = request.uri().path();
        let mut end = path.len().min(LONGEST_PATH);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        Line {
            start: Instant::now(),
            id,
            method: request.method().clone(),
            path: path[..end].to_owned(),
            client: request.extensions().get().copied(),
            status: None,
        }
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let milliseconds = (self.start.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        let (id, method, path) = (self.id(), self.method.as_str(), self.path.as_str());
        let client = self.client.map(tracing::field::display);
        // Those who watch over a server ask all the time.
        match self.status.map(|status| status.as_u16()) {
            Some(status) if is_probe(path) => {
                tracing::debug!(id, method, path, status, milliseconds, client, "answered");
            }
            Some(status) => tracing::info!(id, method, path, status, milliseconds, client, "answered"),
            None => tracing::info!(id, method, path, milliseconds, client, "the client is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &[u8]) -> HeaderValue {
        let value = HeaderValue::from_bytes(given).unwrap();
        request_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
    }

    #[test]
    fn a_plain_id_is_taken_over() {
        for given in ["a", "7f3c9a52-1b", "trace:1/2+3=4@host.example", &"x".repeat(LONGEST_ID)] {
            assert_eq!(id_for(given.as_bytes()), given);
        }
    }

    #[test]
    fn any_other_is_replaced() {
        for given in [&b""[..], b"two words", b"\"quoted\"", b"tab\there", b"\xff\xfe", &[b'x'; LONGEST_ID + 1]] {
            assert_ne!(id_for(given).as_bytes(), given);
        }
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
