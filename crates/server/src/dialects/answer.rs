//! Answers: a JSON body, and headers that say what it took.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::failure::{Failure, FailureKind};
use crate::service::{Embedded, Reranked, Timings};

/// What a call took, for the headers that text-embeddings-inference has.
#[derive(Default)]
pub(super) struct Effort {
    characters: usize,
    pub(super) tokens: usize,
    pub(super) truncated: usize,
    pub(super) timings: Timings,
}

impl Effort {
    /// Of texts with so many characters.
    pub(super) fn of_embedding(embedded: &Embedded, characters: usize) -> Self {
        let (tokens, truncated) = (embedded.tokens(), embedded.truncated());
        Effort { characters, tokens, truncated, timings: embedded.timings }
    }

    /// Of a query and documents with so many characters.
    pub(super) fn of_reranking(reranked: &Reranked, characters: usize) -> Self {
        let (tokens, truncated) = (reranked.tokens(), reranked.truncated());
        Effort { characters, tokens, truncated, timings: reranked.timings }
    }

    /// Milliseconds, as everywhere in these headers. `x-compute-time` is that of tokenizing and computing, without the waiting.
    fn headers(&self) -> [(&'static str, u64); 8] {
        let Timings { total, tokenization, queue, inference } = self.timings;
        let milliseconds = |time: std::time::Duration| (time.as_secs_f64() * 1000.0).round() as u64;
        [
            ("x-compute-time", milliseconds(tokenization + inference)),
            ("x-compute-characters", self.characters as u64),
            ("x-compute-tokens", self.tokens as u64),
            ("x-total-time", milliseconds(total)),
            ("x-tokenization-time", milliseconds(tokenization)),
            ("x-queue-time", milliseconds(queue)),
            ("x-inference-time", milliseconds(inference)),
            ("x-truncated-items", self.truncated as u64),
        ]
    }
}

/// A JSON body.
pub(super) fn json<T: Serialize + ?Sized>(body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], Body::from(bytes)).into_response()
        }
        Err(error) => {
            Failure::new(FailureKind::Backend, format!("the answer cannot be written: {error}")).into_response()
        }
    }
}

/// A JSON body, and what it took.
pub(super) fn json_with<T: Serialize + ?Sized>(body: &T, effort: &Effort) -> Response {
    let mut response = json(body);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(HeaderName::from_static("x-compute-type"), HeaderValue::from_static("cpu"));
    for (name, value) in effort.headers() {
        headers.insert(HeaderName::from_static(name), value.into());
    }
    response
}
