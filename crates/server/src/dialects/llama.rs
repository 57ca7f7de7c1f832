//! llama.cpp's `llama-server`.

use axum::extract::State;
use axum::response::Response;
use docent::{EmbedOptions, Pooling};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Effort};
use super::count::Count;
use super::inputs::{Inputs, TokenId};
use super::openai::{self, EmbeddingsRequest};
use super::vectors::{Encoding, scale_by_norm};
use super::{Dialect, Reader, Refusal, read, tokens};
use crate::body::Json;
use crate::failure::{Failure, FailureKind};
use crate::service::{EmbedCall, Service};

/// Texts to embed.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct EmbeddingRequest {
    /// The texts.
    content: Option<Inputs>,
    /// The same by another name.
    input: Option<Inputs>,
    /// The model; without it the first embedder.
    model: Option<String>,
    /// How vectors are scaled: -1 not at all, 0 to whole steps of 16 bits, 1 by the sum of magnitudes, 2 (without it) to unit length, above
    /// that by the norm of that order.
    embd_normalize: Option<i32>,
}

/// Texts to embed, with `content` for llama-server and `input` for `OpenAI`.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct EitherRequest {
    /// The texts, for llama-server's answer.
    content: Option<Inputs>,
    /// The texts, for `OpenAI`'s answer.
    input: Option<Inputs>,
    /// The model; without it the first embedder.
    model: Option<String>,
    /// llama-server: as of `/embedding`.
    embd_normalize: Option<i32>,
    /// `OpenAI`: as of `/v1/embeddings`.
    encoding_format: Option<Encoding>,
    /// `OpenAI`: as of `/v1/embeddings`.
    dimensions: Option<Count>,
}

/// The vector of a text.
#[derive(Serialize, ToSchema)]
struct EmbeddingItem {
    /// The place of the text in the request.
    index: usize,
    /// A list of one vector.
    embedding: [Vec<f32>; 1],
    /// Tokens that the model read.
    tokens: usize,
    /// Whether the text was too long and its end was not read.
    truncated: bool,
}

/// Token ids to turn into text.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct DetokenizeRequest {
    /// The ids.
    tokens: Vec<TokenId>,
    /// The model; without it the first.
    model: Option<String>,
}

/// The text of token ids.
#[derive(Serialize, ToSchema)]
struct DetokenizeAnswer {
    content: String,
}

/// Whether the server is ready.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

/// A refusal.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct LlamaError {
    error: LlamaErrorDetail,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct LlamaErrorDetail {
    /// The status.
    code: u16,
    /// One line.
    message: String,
    /// A word for programs, such as `invalid_request_error`.
    r#type: String,
}

/// Every shape of request.
pub(super) const READERS: [Reader; 3] = [read::<EmbeddingRequest>, read::<EitherRequest>, read::<DetokenizeRequest>];

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(embedding))
        .routes(routes!(embeddings))
        .routes(routes!(detokenize))
        .routes(routes!(props))
        .routes(routes!(health))
}

/// Vectors of texts.
#[utoipa::path(post, path = "/embedding", tag = "llama-server", request_body = EmbeddingRequest,
    responses((status = 200, description = "The vectors", body = Vec<EmbeddingItem>),
        (status = "4XX", description = "Refused", body = LlamaError)))]
async fn embedding(State(service): State<Service>, Json(request): Json<EmbeddingRequest>) -> Result<Response, Refusal> {
    let EmbeddingRequest { content, input, model, embd_normalize } = request;
    let (inputs, field) = match (content, input) {
        (Some(content), _) => (content, "content"),
        (None, Some(input)) => (input, "input"),
        (None, None) => return Err(Dialect::Llama.refuses(no_content())),
    };
    let answer = embed(&service, model, inputs, embd_normalize).await;
    answer.map_err(|failure| Dialect::Llama.refuses(failure.in_terms("input", field)))
}

/// Vectors of texts: llama-server's answer to `content`, `OpenAI`'s to `input`.
#[utoipa::path(post, path = "/embeddings", tag = "llama-server", request_body = EitherRequest,
    responses((status = 200, description = "The vectors", body = Vec<EmbeddingItem>),
        (status = "4XX", description = "Refused", body = LlamaError)))]
async fn embeddings(State(service): State<Service>, Json(request): Json<EitherRequest>) -> Result<Response, Refusal> {
    let EitherRequest { content, input, model, embd_normalize, encoding_format, dimensions } = request;
    match (content, input) {
        (Some(content), _) => {
            let answer = embed(&service, model, content, embd_normalize).await;
            answer.map_err(|failure| Dialect::Llama.refuses(failure.in_terms("input", "content")))
        }
        (None, Some(input)) => {
            let request = EmbeddingsRequest { input, model, encoding_format, dimensions, ..Default::default() };
            openai::embed(&service, request).await.map_err(|failure| Dialect::OpenAi.refuses(failure))
        }
        (None, None) => Err(Dialect::OpenAi.refuses(no_content())),
    }
}

async fn embed(
    service: &Service,
    model: Option<String>,
    inputs: Inputs,
    normalize: Option<i32>,
) -> Result<Response, Failure> {
    let order = normalize.unwrap_or(2);
    if order < -1 {
        let message = format!("`embd_normalize` is {order}; give -1, 0, 1, 2 or the order of a norm above that");
        return Err(Failure::invalid("embd_normalize", message));
    }
    let characters = inputs.characters();
    let options = EmbedOptions { normalize: order == 2, ..EmbedOptions::default() };
    let embedded = service.embed(EmbedCall { model, inputs: inputs.0, options }).await?;
    let effort = Effort::of_embedding(&embedded, characters);
    let items = embedded.all()?.into_iter().enumerate().map(|(index, embedding)| {
        let (tokens, truncated) = (embedding.tokens, embedding.truncated());
        let mut vector = embedding.into_vector();
        if order != 2 {
            scale_by_norm(&mut vector, order);
        }
        EmbeddingItem { index, embedding: [vector], tokens, truncated }
    });
    Ok(answer::json_with(&items.collect::<Vec<_>>(), &effort))
}

fn no_content() -> Failure {
    Failure::new(FailureKind::Malformed, "the request has neither `content` nor `input`").about("content")
}

/// The text of token ids.
#[utoipa::path(post, path = "/detokenize", tag = "llama-server", request_body = DetokenizeRequest,
    responses((status = 200, description = "The text", body = DetokenizeAnswer),
        (status = "4XX", description = "Refused", body = LlamaError)))]
async fn detokenize(
    State(service): State<Service>,
    Json(request): Json<DetokenizeRequest>,
) -> Result<Response, Failure> {
    let ids = request.tokens.into_iter().map(|TokenId(id)| id).collect();
    let texts = tokens::decode(&service, request.model.as_deref(), vec![ids], false).await;
    let content = texts.map_err(|failure| failure.in_terms("ids", "tokens"))?.concat();
    Ok(answer::json(&DetokenizeAnswer { content }))
}

/// What the server runs.
#[utoipa::path(get, path = "/props", tag = "llama-server",
    responses((status = 200, description = "The first model and the limits", body = serde_json::Value)))]
async fn props(State(service): State<Service>) -> Result<Response, Failure> {
    let (model, facts) = service.models().describe(None).await?;
    let description = &facts.description;
    Ok(answer::json(&json!({
        "default_generation_settings": { "n_ctx": facts.max_length },
        "total_slots": service.limits().concurrent_requests,
        "model_alias": model.name,
        "model_path": model.name,
        "architecture": description.architecture,
        "pooling": description.pooling.map(Pooling::name),
        "n_embd": description.embedding_size,
        "task": facts.task.name(),
        "build_info": concat!("docent ", env!("CARGO_PKG_VERSION")),
    })))
}

/// Whether all models are loaded.
#[utoipa::path(get, path = "/health", tag = "llama-server",
    responses((status = 200, description = "They are", body = Health),
        (status = 503, description = "Not yet", body = LlamaError)))]
async fn health(State(service): State<Service>) -> Result<Response, Failure> {
    ready(&service)?;
    Ok(answer::json(&Health { status: "ok" }))
}

/// # Errors
/// If models that are always served are not loaded yet.
pub(super) fn ready(service: &Service) -> Result<(), Failure> {
    if service.models().is_ready() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Unready, "the models are being loaded"))
}
