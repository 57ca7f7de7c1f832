//! `OpenAI`'s embeddings, with Jina's additions, and its list of models.

use std::time::UNIX_EPOCH;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use docent::{EmbedOptions, Embedding, Prompt, Truncate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Effort};
use super::count::Count;
use super::inputs::Inputs;
use super::prompts::prompt;
use super::refusal;
use super::vectors::{Encoded, Encoding};
use super::{Reader, read};
use crate::body::Json;
use crate::failure::{Failure, FailureKind};
use crate::models::ModelInfo;
use crate::service::{EmbedCall, Service};

/// Texts to embed.
#[derive(Default, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
pub(super) struct EmbeddingsRequest {
    /// The texts.
    pub(super) input: Inputs,
    /// The model; without it the first embedder.
    pub(super) model: Option<String>,
    /// `float` or `base64`.
    pub(super) encoding_format: Option<Encoding>,
    /// Components to keep, the first ones; the vector is scaled again.
    pub(super) dimensions: Option<Count>,
    /// Jina: as `encoding_format`, which it overrules, and `binary` and `ubinary`.
    pub(super) embedding_type: Option<Encoding>,
    /// Jina: what the vectors are for, which decides the prompt: `retrieval.query`, `retrieval.passage`, or a name of the model's own.
    pub(super) task: Option<String>,
    /// The prompt, by its name in the model's files.
    pub(super) prompt_name: Option<String>,
    /// Jina: whether vectors have unit length; they have unless this is `false`.
    pub(super) normalized: Option<bool>,
    /// Whether a text that is too long is cut; it is unless this is `false`, and then it is an error.
    pub(super) truncate: Option<bool>,
    /// Jina: must not be `true`.
    pub(super) late_chunking: Option<bool>,
    /// Whether texts that fail have an `error` in their place in `data`, instead of failing the request.
    pub(super) partial: Option<bool>,
}

/// The vectors.
#[derive(Serialize, ToSchema)]
struct EmbeddingsAnswer {
    /// `list`.
    object: &'static str,
    /// A vector for each text, in their order.
    data: Vec<Item>,
    /// The model.
    model: String,
    usage: Usage,
}

/// One vector.
#[derive(Serialize, ToSchema)]
struct Item {
    /// `embedding`.
    object: &'static str,
    /// The vector; `null` if the text failed.
    embedding: Option<Encoded>,
    /// The place of the text in the request.
    index: usize,
    /// Tokens that the model read.
    tokens: usize,
    /// Whether the text was too long and its end was not read.
    truncated: bool,
    /// Why the text failed, where `partial` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

/// Tokens that the model read.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A served model.
#[derive(Serialize, ToSchema)]
struct Model {
    /// Its name in requests.
    id: String,
    /// `model`.
    object: &'static str,
    /// When the server learned of it, in seconds since 1970.
    created: u64,
    /// `docent`.
    owned_by: &'static str,
    /// `embed` or `rerank`; `null` before it was loaded for the first time.
    task: Option<&'static str>,
    /// Whether it is in memory.
    loaded: bool,
}

/// The served models.
#[derive(Serialize, ToSchema)]
struct ModelList {
    /// `list`.
    object: &'static str,
    /// The models.
    data: Vec<Model>,
}

/// A refusal.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct OpenAiError {
    error: OpenAiErrorDetail,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(super) struct OpenAiErrorDetail {
    /// One line.
    message: String,
    /// `invalid_request_error`, `requests` or `server_error`.
    r#type: String,
    /// The field to blame.
    param: Option<String>,
    /// A word for programs, such as `model_not_found`.
    code: Option<String>,
}

impl Usage {
    pub(super) fn of(tokens: usize) -> Self {
        Usage { prompt_tokens: tokens, total_tokens: tokens }
    }
}

/// Every shape of request.
pub(super) const READERS: [Reader; 1] = [read::<EmbeddingsRequest>];

pub(super) fn routes() -> OpenApiRouter<Service> {
    // Names of models may have a slash, which not every client encodes.
    let with_slash = Router::new().route("/v1/models/{owner}/{*name}", get(model_with_slash));
    OpenApiRouter::new()
        .routes(routes!(embeddings))
        .routes(routes!(models))
        .routes(routes!(model))
        .merge(with_slash.into())
}

/// Vectors of texts.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI and Jina", request_body = EmbeddingsRequest,
    responses((status = 200, description = "The vectors", body = EmbeddingsAnswer),
        (status = "4XX", description = "Refused", body = OpenAiError)))]
async fn embeddings(
    State(service): State<Service>,
    Json(request): Json<EmbeddingsRequest>,
) -> Result<Response, Failure> {
    embed(&service, request).await
}

pub(super) async fn embed(service: &Service, request: EmbeddingsRequest) -> Result<Response, Failure> {
    if request.late_chunking == Some(true) {
        let message =
            "`late_chunking` is not supported: each text is embedded by itself; leave it out or set it to false";
        return Err(Failure::invalid("late_chunking", message));
    }
    let model = request.model.as_deref();
    let prompt = match (&request.prompt_name, &request.task) {
        (Some(name), _) => prompt(service, model, "prompt_name", name).await?,
        (None, Some(task)) => prompt(service, model, "task", task).await?,
        (None, None) => Prompt::Default,
    };
    let options = EmbedOptions {
        prompt,
        normalize: request.normalized.unwrap_or(true),
        dim: request.dimensions.map(|Count(dim)| dim),
        truncate: if request.truncate == Some(false) { Truncate::Error } else { Truncate::Right },
        ..EmbedOptions::default()
    };
    let encoding = request.embedding_type.or(request.encoding_format).unwrap_or_default();
    let characters = request.input.characters();
    let embedded = service.embed(EmbedCall { model: request.model, inputs: request.input.0, options }).await?;
    let effort = Effort::of_embedding(&embedded, characters);
    let model = embedded.model.name.clone();
    let partial = request.partial == Some(true);
    let items = embedded.items.into_iter().enumerate();
    let data = items
        .map(|(index, item)| match item {
            Ok(embedding) => Ok(Item::of(index, embedding, encoding)),
            Err(failure) if partial => Ok(Item::failed(index, &failure)),
            Err(failure) => Err(failure),
        })
        .collect::<Result<_, _>>()?;
    let answer = EmbeddingsAnswer { object: "list", data, model, usage: Usage::of(effort.tokens) };
    Ok(answer::json_with(&answer, &effort))
}

impl Item {
    fn of(index: usize, embedding: Embedding, encoding: Encoding) -> Self {
        let (tokens, truncated) = (embedding.tokens, embedding.truncated());
        let embedding = Some(encoding.encode(embedding.into_vector()));
        Item { object: "embedding", embedding, index, tokens, truncated, error: None }
    }

    fn failed(index: usize, failure: &Failure) -> Self {
        let error = Some(refusal::open_ai(failure));
        Item { object: "embedding", embedding: None, index, tokens: 0, truncated: false, error }
    }
}

/// The models that are served.
#[utoipa::path(get, path = "/v1/models", tag = "OpenAI and Jina",
    responses((status = 200, description = "The models", body = ModelList)))]
async fn models(State(service): State<Service>) -> Response {
    let data = service.models().list().into_iter().map(Model::of).collect();
    answer::json(&ModelList { object: "list", data })
}

/// One of the models.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "OpenAI and Jina", params(("id" = String, Path, description = "Its name")),
    responses((status = 200, description = "The model", body = Model),
        (status = 404, description = "No such model", body = OpenAiError)))]
async fn model(State(service): State<Service>, Path(id): Path<String>) -> Result<Response, Failure> {
    one_model(&service, &id)
}

async fn model_with_slash(
    State(service): State<Service>,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Response, Failure> {
    one_model(&service, &format!("{owner}/{name}"))
}

fn one_model(service: &Service, id: &str) -> Result<Response, Failure> {
    match service.models().info(id) {
        Some(model) => Ok(answer::json(&Model::of(model))),
        None => {
            let message = format!("the model `{id}` is not served; /v1/models lists those that are");
            Err(Failure::new(FailureKind::UnknownModel, message).about("model"))
        }
    }
}

impl Model {
    fn of(info: ModelInfo) -> Self {
        let created = info.since.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let task = info.facts.as_ref().map(|facts| facts.task.name());
        Model { id: info.name, object: "model", created, owned_by: "docent", task, loaded: info.loaded }
    }
}
