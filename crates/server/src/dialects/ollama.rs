//! Ollama's, and a reranker in its manner, which it has not.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::Response;
use docent::{EmbedOptions, Embedding, Format, Truncate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Effort};
use super::count::Count;
use super::documents::Document;
use super::inputs::{Inputs, InputsOrNone};
use super::rerank::{self, Hit, Ranking, RerankRequest, Scores};
use super::{Reader, read};
use crate::body::Json;
use crate::failure::Failure;
use crate::models::{ModelFacts, ModelInfo, Task};
use crate::service::{EmbedCall, Service};

/// Texts to embed.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct EmbedRequest {
    /// The model, with or without `:latest`; without it the first embedder.
    model: Option<String>,
    /// The texts; without any, or with an empty one that is not in a list, the model is loaded, and that is all.
    #[schema(value_type = Option<Inputs>)]
    input: Option<InputsOrNone>,
    /// Whether a text that is too long is cut; it is unless this is `false`, and then it is an error.
    truncate: Option<bool>,
    /// Components to keep, the first ones; the vector is scaled again.
    dimensions: Option<Count>,
    /// Of these `num_ctx` counts.
    options: Option<Options>,
}

/// A text to embed.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct EmbeddingsRequest {
    /// The model, with or without `:latest`; without it the first embedder.
    model: Option<String>,
    /// The text; without any the model is loaded, and that is all.
    prompt: Option<String>,
    /// Of these `num_ctx` counts.
    options: Option<Options>,
}

/// Settings of a model.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct Options {
    /// Tokens that a text may have, if the model takes as many.
    num_ctx: Option<Count>,
}

/// The vectors.
#[derive(Serialize, ToSchema)]
struct EmbedAnswer {
    /// The model, as the request named it.
    model: String,
    /// A vector of unit length for each text.
    embeddings: Vec<Vec<f32>>,
    /// Nanoseconds.
    total_duration: u64,
    /// Nanoseconds that it took to load the model, if it was not in memory.
    load_duration: u64,
    /// Tokens that the model read.
    prompt_eval_count: usize,
    /// The places of texts that were too long and were not read to their end.
    truncated: Vec<usize>,
}

/// The vector.
#[derive(Serialize, ToSchema)]
struct EmbeddingsAnswer {
    /// Of unit length.
    embedding: Vec<f32>,
}

/// A query and documents to score.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct OllamaRerankRequest {
    /// The model, with or without `:latest`; without it the first reranker.
    model: Option<String>,
    /// The query.
    query: String,
    /// The documents.
    documents: Vec<Document>,
    /// How many of the best to answer with; all without it.
    top_n: Option<Count>,
    /// Whether the answer has the documents in it.
    return_documents: Option<bool>,
    /// What relevance means here, for models that read an instruction.
    instruction: Option<String>,
}

/// The best documents.
#[derive(Serialize, ToSchema)]
struct OllamaRerankAnswer {
    /// The model, as the request named it.
    model: String,
    /// The best documents, the best first.
    results: Vec<Hit>,
    /// What kind of number scores are: `sigmoid` or `probability`.
    score_kind: &'static str,
    /// Nanoseconds.
    total_duration: u64,
    /// Nanoseconds that it took to load the model, if it was not in memory.
    load_duration: u64,
    /// Tokens that the model read.
    prompt_eval_count: usize,
}

/// A model to describe.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct ShowRequest {
    /// The model, with or without `:latest`.
    model: Option<String>,
    /// The same by its older name.
    name: Option<String>,
}

/// The version.
#[derive(Serialize, ToSchema)]
struct Version {
    version: &'static str,
}

/// A refusal.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct OllamaError {
    /// One line.
    error: String,
}

/// Every shape of request.
pub(super) const READERS: [Reader; 4] =
    [read::<EmbedRequest>, read::<EmbeddingsRequest>, read::<OllamaRerankRequest>, read::<ShowRequest>];

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(embed))
        .routes(routes!(embeddings))
        .routes(routes!(rerank))
        .routes(routes!(tags))
        .routes(routes!(ps))
        .routes(routes!(show))
        .routes(routes!(version))
}

/// Vectors of texts.
#[utoipa::path(post, path = "/api/embed", tag = "Ollama", request_body = EmbedRequest,
    responses((status = 200, description = "The vectors", body = EmbedAnswer),
        (status = "4XX", description = "Refused", body = OllamaError)))]
async fn embed(State(service): State<Service>, Json(request): Json<EmbedRequest>) -> Result<Response, Failure> {
    let EmbedRequest { model, input, truncate, dimensions, options } = request;
    let wanted = EmbedOptions {
        dim: dimensions.map(|Count(dim)| dim),
        truncate: if truncate == Some(false) { Truncate::Error } else { Truncate::Right },
        ..EmbedOptions::default()
    };
    let inputs = input.map(|InputsOrNone(inputs)| inputs).unwrap_or_default();
    let run = run(&service, model, inputs, options, wanted).await?;
    let places = run.embeddings.iter().enumerate();
    let truncated = places.filter(|(_, embedding)| embedding.truncated()).map(|(place, _)| place).collect();
    let answer = EmbedAnswer {
        model: run.model,
        truncated,
        embeddings: run.embeddings.into_iter().map(Embedding::into_vector).collect(),
        total_duration: nanoseconds(run.load + run.effort.timings.total),
        load_duration: nanoseconds(run.load),
        prompt_eval_count: run.effort.tokens,
    };
    Ok(answer::json_with(&answer, &run.effort))
}

/// The vector of a text, as older clients ask for it.
#[utoipa::path(post, path = "/api/embeddings", tag = "Ollama", request_body = EmbeddingsRequest,
    responses((status = 200, description = "The vector", body = EmbeddingsAnswer),
        (status = "4XX", description = "Refused", body = OllamaError)))]
async fn embeddings(
    State(service): State<Service>,
    Json(request): Json<EmbeddingsRequest>,
) -> Result<Response, Failure> {
    let EmbeddingsRequest { model, prompt, options } = request;
    let inputs = prompt.filter(|prompt| !prompt.is_empty()).map(Inputs::text).unwrap_or_default();
    let run = run(&service, model, inputs, options, EmbedOptions::default()).await?;
    let embedding = run.embeddings.into_iter().next().map(Embedding::into_vector).unwrap_or_default();
    Ok(answer::json_with(&EmbeddingsAnswer { embedding }, &run.effort))
}

/// What came of texts.
struct Run {
    /// The model, as the request named it.
    model: String,
    embeddings: Vec<Embedding>,
    /// The time that loading took.
    load: Duration,
    effort: Effort,
}

/// Loads the model and embeds the texts, if there are any.
async fn run(
    service: &Service,
    model: Option<String>,
    inputs: Inputs,
    options: Option<Options>,
    wanted: EmbedOptions,
) -> Result<Run, Failure> {
    let start = Instant::now();
    let served = service.models().embedder(model.as_deref()).await?;
    let load = start.elapsed();
    let name = model.clone().unwrap_or_else(|| served.name.clone());
    if inputs.0.is_empty() {
        return Ok(Run { model: name, embeddings: Vec::new(), load, effort: Effort::default() });
    }
    let context = options.and_then(|options| options.num_ctx);
    let max_length = context.map(|Count(tokens)| tokens.min(served.model.settings().max_length));
    let characters = inputs.characters();
    let call = EmbedCall { model, inputs: inputs.0, options: EmbedOptions { max_length, ..wanted } };
    let embedded = service.embed(call).await?;
    let effort = Effort::of_embedding(&embedded, characters);
    Ok(Run { model: name, embeddings: embedded.all()?, load, effort })
}

/// The documents by relevance, with scores from 0 to 1. Ollama itself has no such route.
#[utoipa::path(post, path = "/api/rerank", tag = "Ollama", request_body = OllamaRerankRequest,
    responses((status = 200, description = "The ranking", body = OllamaRerankAnswer),
        (status = "4XX", description = "Refused", body = OllamaError)))]
async fn rerank(State(service): State<Service>, Json(request): Json<OllamaRerankRequest>) -> Result<Response, Failure> {
    let OllamaRerankRequest { model, query, documents, top_n, return_documents, instruction } = request;
    let start = Instant::now();
    service.models().reranker(model.as_deref()).await?;
    let load = start.elapsed();
    let asked = model.clone();
    let documents = Some(documents);
    let request =
        RerankRequest { query, documents, model, top_n, return_documents, instruction, ..RerankRequest::default() };
    let Ranking { model, hits, score_kind, effort } = rerank::rank(&service, request, Scores::Unit).await?;
    let answer = OllamaRerankAnswer {
        model: asked.unwrap_or(model),
        results: hits,
        score_kind,
        total_duration: nanoseconds(load + effort.timings.total),
        load_duration: nanoseconds(load),
        prompt_eval_count: effort.tokens,
    };
    Ok(answer::json_with(&answer, &effort))
}

/// The models that are served.
#[utoipa::path(get, path = "/api/tags", tag = "Ollama",
    responses((status = 200, description = "The models", body = serde_json::Value)))]
async fn tags(State(service): State<Service>) -> Response {
    let models: Vec<Value> = service.models().list().iter().map(listed).collect();
    answer::json(&json!({ "models": models }))
}

/// The models in memory.
#[utoipa::path(get, path = "/api/ps", tag = "Ollama",
    responses((status = 200, description = "The models", body = serde_json::Value)))]
async fn ps(State(service): State<Service>) -> Response {
    let in_memory = service.models().list().into_iter().filter(|model| model.loaded);
    let running = |model: ModelInfo| {
        let mut listed = listed(&model);
        // Nothing is unloaded because time passes.
        listed["expires_at"] = json!("9999-12-31T23:59:59Z");
        listed["size_vram"] = json!(0);
        if let Some(facts) = &model.facts {
            listed["context_length"] = json!(facts.max_length);
        }
        listed
    };
    answer::json(&json!({ "models": in_memory.map(running).collect::<Vec<_>>() }))
}

/// What a model is.
#[utoipa::path(post, path = "/api/show", tag = "Ollama", request_body = ShowRequest,
    responses((status = 200, description = "The model", body = serde_json::Value),
        (status = 404, description = "No such model", body = OllamaError)))]
async fn show(State(service): State<Service>, Json(request): Json<ShowRequest>) -> Result<Response, Failure> {
    let name = request.model.or(request.name);
    let (info, facts) = service.models().describe(name.as_deref()).await?;
    let description = &facts.description;
    let key = |name: &str| format!("{}.{name}", description.architecture);
    let mut fields = serde_json::Map::new();
    fields.insert("general.architecture".to_owned(), json!(description.architecture));
    fields.insert("general.basename".to_owned(), json!(description.name));
    fields.insert(key("block_count"), json!(description.layers));
    fields.insert(key("context_length"), json!(facts.max_length));
    fields.insert(key("embedding_length"), json!(description.embedding_size));
    fields.insert(key("attention.head_count"), json!(description.heads));
    fields.insert(key("feed_forward_length"), json!(description.feed_forward_size));
    Ok(answer::json(&json!({
        "modelfile": "",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": details(Some(&facts)),
        "model_info": fields,
        "capabilities": [match facts.task { Task::Embed => "embedding", Task::Rerank => "rerank", Task::Expand => "completion" }],
        "modified_at": timestamp(info.since),
    })))
}

/// The version of Docent.
#[utoipa::path(get, path = "/api/version", tag = "Ollama",
    responses((status = 200, description = "The version", body = Version)))]
async fn version() -> Response {
    answer::json(&Version { version: env!("CARGO_PKG_VERSION") })
}

/// A model as Ollama lists it.
fn listed(model: &ModelInfo) -> Value {
    let facts = model.facts.as_deref();
    let name = format!("{}:latest", model.name);
    json!({
        "name": name,
        "model": name,
        "modified_at": timestamp(model.since),
        "size": facts.map_or(0, |facts| facts.bytes),
        "digest": digest(&name),
        "details": details(facts),
    })
}

fn details(facts: Option<&ModelFacts>) -> Value {
    let family = facts.map_or("", |facts| facts.description.architecture);
    let format = match facts.map(|facts| facts.description.format) {
        Some(Format::Gguf) => "gguf",
        Some(Format::Safetensors) => "safetensors",
        None => "",
    };
    let families: Vec<&str> = Some(family).filter(|family| !family.is_empty()).into_iter().collect();
    json!({
        "parent_model": "",
        "format": format,
        "family": family,
        "families": families,
        "parameter_size": "",
        "quantization_level": "",
    })
}

/// Tells models apart by their names, in the form that clients expect; it is not that of a file.
fn digest(name: &str) -> String {
    Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time in the form of RFC 3339, to the second.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years from March on, so that a leap day is the last day of one; 400 of them always have 146 097 days.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (400 * era + year, if month < 10 { month + 3 } else { month - 9 });
    let year = year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_rfc_3339() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
