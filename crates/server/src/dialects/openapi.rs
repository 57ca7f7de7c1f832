//! The description of all routes, made from the code, and the pages that show it.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::{OpenApi, Tag};

use super::page;
use crate::service::Service;

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Docent",
    description = "Embedding models and rerankers, in the dialects of the clients that people already have."
))]
struct Document;

/// The description without its routes.
pub(crate) fn document(with_search: bool) -> OpenApi {
    let mut document = Document::openapi();
    let tag = |name: &str, description: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    };
    let mut tags = vec![
        tag("OpenAI and Jina", "Embeddings and the list of models."),
        tag("Cohere and Jina", "Rerankers; scores are from 0 to 1."),
        tag("text-embeddings-inference", "Embeddings, rerankers and tokenizers, as of Hugging Face's server."),
        tag("llama-server", "Embeddings, rerankers and tokenizers, as of llama.cpp's server."),
        tag("Ollama", "Embeddings and the list of models; rerankers besides."),
        tag(
            "Docent",
            "Embeddings and rerankers with every option of the library, for `docent embed` and `docent rerank`.",
        ),
    ];
    if with_search {
        tags.push(tag("Document search", "Documents of this machine's user, for programs and, by MCP, for agents."));
    }
    document.tags = Some(tags);
    document
}

/// `/openapi.json` and `/docs` of a description, which are written once.
pub(crate) fn routes(document: &OpenApi) -> Router<Service> {
    let html = page::of(document);
    // Only a map whose keys are no strings cannot be written, and there is none.
    let json = document.to_json().unwrap_or_default();
    let fixed = |content_type: &'static str, content: String| {
        let content = axum::body::Bytes::from(content);
        get(move || async move {
            ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], content).into_response()
        })
    };
    Router::new()
        .route("/openapi.json", fixed("application/json", json))
        .route("/docs", fixed("text/html; charset=utf-8", html))
}
