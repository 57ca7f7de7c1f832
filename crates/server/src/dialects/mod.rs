//! The dialects: each translates its clients' requests to the calls of [`Service`], and what comes of them back.
//!
//! A handler answers in its own dialect, and hands failures on as they are. [`speak`] gives these the words of the dialect that the
//! path belongs to, so that a request which reaches no handler is refused in words that its client knows, too.

mod answer;
mod count;
mod documents;
mod inputs;
mod llama;
mod ollama;
mod openai;
mod openapi;
mod page;
mod prompts;
mod refusal;
mod rerank;
mod search;
mod tei;
mod tokens;
mod vectors;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use utoipa_axum::router::OpenApiRouter;

use crate::body;
use crate::failure::{Failure, FailureKind};
use crate::guard::is_probe;
use crate::search::Searcher;
use crate::service::Service;

pub(crate) use count::Count;
pub(crate) use ollama::timestamp;
pub(crate) use openapi::{document, routes as documentation};

/// A way of asking and answering that some clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `OpenAI`'s, and Jina's for embeddings.
    OpenAi,
    /// Cohere's and Jina's for rerankers, which go by the same paths: answers and refusals have the fields of both.
    Rerank,
    /// Hugging Face's text-embeddings-inference.
    Tei,
    /// llama.cpp's `llama-server`.
    Llama,
    /// Ollama's.
    Ollama,
    /// qmd's, for documents.
    Search,
    /// JSON-RPC, for agents.
    Mcp,
}

/// A failure of a request on a path that two dialects share, in the one that the request was in.
pub(crate) struct Refusal {
    dialect: Dialect,
    failure: Failure,
}

/// The routes of all dialects, with their documentation.
pub(crate) fn routes() -> OpenApiRouter<Service> {
    openai::routes().merge(rerank::routes()).merge(tei::routes()).merge(llama::routes()).merge(ollama::routes())
}

/// The routes that find documents, with their documentation.
pub(crate) fn search_routes(searcher: Searcher) -> OpenApiRouter<Service> {
    search::routes(searcher)
}

/// Gives a failure that a handler, a guard or a fallback has left in the response the status, the body and the names that clients
/// of the path know, and counts it. A layer outside of everything that may fail.
pub(crate) async fn speak(State(service): State<Service>, request: Request, next: Next) -> Response {
    let of_path = Dialect::of_path(request.uri().path());
    let is_probe = is_probe(request.uri().path());
    let mut response = next.run(request).await;
    let Some(mut failure) = response.extensions_mut().remove::<Failure>() else { return response };
    // That the server is not ready is what a probe asks.
    if !(is_probe && failure.kind == FailureKind::Unready) {
        service.metrics().failed(&mut failure);
    }
    let dialect = response.extensions_mut().remove().unwrap_or(of_path);
    refusal::refuse(dialect, &failure, response)
}

/// Reads a request of one shape, to see whether it is one.
type Reader = fn(&[u8]) -> Result<(), Failure>;

/// Reads bytes as a request of every route that takes one, for the fuzzer and the tests: no bytes may make it panic.
#[doc(hidden)]
pub fn read_as_every_request(bytes: &[u8]) -> Vec<Result<(), Failure>> {
    let readers: [&[Reader]; 6] =
        [&openai::READERS, &rerank::READERS, &tei::READERS, &llama::READERS, &ollama::READERS, &search::READERS];
    readers.into_iter().flatten().map(|reader| reader(bytes)).collect()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(), Failure> {
    body::parse::<T>(bytes).map(drop)
}

impl Dialect {
    /// The dialect of a path; where two share one, that of a request which does not say.
    fn of_path(path: &str) -> Self {
        match path {
            "/v1/rerank" | "/v2/rerank" => Dialect::Rerank,
            "/rerank" | "/reranking" | "/v1/reranking" | "/embedding" | "/detokenize" | "/props" | "/health" => {
                Dialect::Llama
            }
            "/embeddings" => Dialect::OpenAi,
            "/query" | "/search" => Dialect::Search,
            "/mcp" => Dialect::Mcp,
            // Docent's own refuses in the words of the most widely known.
            _ if path.starts_with("/docent/") || path.starts_with("/daemon/") => Dialect::OpenAi,
            _ if path.starts_with("/v1/") || path.starts_with("/v2/") => Dialect::OpenAi,
            _ if path.starts_with("/api/") => Dialect::Ollama,
            _ => Dialect::Tei,
        }
    }

    /// This failure in this dialect, whatever the path.
    fn refuses(self, failure: impl Into<Failure>) -> Refusal {
        Refusal { dialect: self, failure: failure.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.failure.into_response();
        response.extensions_mut().insert(self.dialect);
        response
    }
}
