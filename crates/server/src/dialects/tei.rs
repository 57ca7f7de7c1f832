//! Hugging Face's text-embeddings-inference, and what its `InferenceClient` sends to an address.

use std::fmt;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use docent::{EmbedOptions, Pooling, Prompt, Truncate};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Effort};
use super::count::Count;
use super::documents::Document;
use super::inputs::Inputs;
use super::llama::ready;
use super::prompts::prompt;
use super::rerank::{self, RerankRequest};
use super::tokens::{self, Token};
use super::vectors::cosine;
use super::{Dialect, Reader, Refusal, read};
use crate::body::Json;
use crate::failure::{Failure, FailureKind};
use crate::models::Task;
use crate::service::{EmbedCall, Embedded, Input, Service};

/// Texts to embed.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct EmbedRequest {
    /// The texts.
    inputs: Inputs,
    /// The model; without it the first embedder.
    model: Option<String>,
    /// Whether a text that is too long is cut; it is unless this is `false`, and then it is an error.
    truncate: Option<bool>,
    /// Which end is cut: `right` or `left`.
    truncation_direction: Option<Direction>,
    /// The prompt, by its name in the model's files.
    prompt_name: Option<String>,
    /// Whether vectors have unit length; they have unless this is `false`.
    normalize: Option<bool>,
    /// Components to keep, the first ones; the vector is scaled again.
    dimensions: Option<Count>,
}

/// A sentence and others to compare it with.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct SimilarityRequest {
    /// The sentences.
    inputs: Sentences,
    /// How they are embedded.
    parameters: Option<Parameters>,
    /// The model; without it the first embedder.
    model: Option<String>,
}

/// A sentence and others to compare it with.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "an object with `source_sentence` and `sentences`")]
struct Sentences {
    /// The sentence.
    source_sentence: String,
    /// The others.
    sentences: Vec<String>,
}

/// How texts are embedded.
#[derive(Default, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct Parameters {
    /// Whether a text that is too long is cut; it is unless this is `false`, and then it is an error.
    truncate: Option<bool>,
    /// Which end is cut: `right` or `left`.
    truncation_direction: Option<Direction>,
    /// The prompt, by its name in the model's files.
    prompt_name: Option<String>,
    /// Whether vectors have unit length; they have unless this is `false`.
    normalize: Option<bool>,
    /// Components to keep, the first ones; the vector is scaled again.
    dimensions: Option<Count>,
}

/// An end of a text.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
enum Direction {
    /// The end.
    #[default]
    #[serde(rename = "right", alias = "Right")]
    Right,
    /// The beginning.
    #[serde(rename = "left", alias = "Left")]
    Left,
}

/// A request to the address alone: texts to embed, sentences to compare, or a query and texts to rerank.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct RootRequest {
    /// The texts, or an object with `source_sentence` and `sentences`.
    #[schema(value_type = Option<Inputs>)]
    inputs: Option<RootInputs>,
    /// How they are embedded; also beside `inputs`.
    parameters: Option<Parameters>,
    /// The model; without it the first that does what is asked.
    model: Option<String>,
    /// As of `/embed`.
    truncate: Option<bool>,
    /// As of `/embed`.
    truncation_direction: Option<Direction>,
    /// As of `/embed`.
    prompt_name: Option<String>,
    /// As of `/embed`.
    normalize: Option<bool>,
    /// As of `/embed`.
    dimensions: Option<Count>,
    /// As of `/rerank`.
    query: Option<String>,
    /// As of `/rerank`.
    texts: Option<Vec<Document>>,
    /// As of `/rerank`.
    raw_scores: Option<bool>,
    /// As of `/rerank`.
    return_text: Option<bool>,
}

/// What stands in `inputs` of a request to the address alone.
enum RootInputs {
    Texts(Inputs),
    Sentences(Sentences),
}

/// Texts to tokenize: `inputs` for text-embeddings-inference, `content` for llama-server.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct TokenizeRequest {
    /// The texts.
    inputs: Option<Inputs>,
    /// A text, for llama-server's answer.
    content: Option<String>,
    /// The model; without it the first.
    model: Option<String>,
    /// Whether the special tokens around a text are among the tokens; they are unless this is `false`.
    add_special_tokens: Option<bool>,
    /// The prompt to put in front, by its name in the model's files.
    prompt_name: Option<String>,
    /// llama-server: whether the special tokens around the text are among the tokens; they are if this is `true`.
    add_special: Option<bool>,
    /// llama-server: whether a special token spelt out in the text is that token; must not be `false`.
    parse_special: Option<bool>,
    /// llama-server: whether tokens come with the pieces of the text that they stand for.
    with_pieces: Option<bool>,
}

/// A token.
#[derive(Serialize, ToSchema)]
struct SimpleToken {
    id: u32,
    /// The piece of the text that it stands for; of a special token its name.
    text: String,
    special: bool,
    /// Where the piece starts, in characters; `null` if the token stands for nothing in the text.
    start: Option<usize>,
    /// Where the piece ends, in characters.
    stop: Option<usize>,
    /// Where the piece starts, in bytes.
    start_byte: Option<usize>,
    /// Where the piece ends, in bytes.
    stop_byte: Option<usize>,
}

/// Token ids to turn into text.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
struct DecodeRequest {
    /// A list of ids, or a list of lists.
    ids: Inputs,
    /// The model; without it the first.
    model: Option<String>,
    /// Whether special tokens are left out; they are unless this is `false`.
    skip_special_tokens: Option<bool>,
}

/// A refusal.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct TeiError {
    /// One line.
    error: String,
    /// `validation`, `tokenizer`, `empty`, `overloaded`, `backend` or `unhealthy`.
    error_type: String,
}

/// Every shape of request.
pub(super) const READERS: [Reader; 5] = [
    read::<EmbedRequest>,
    read::<SimilarityRequest>,
    read::<RootRequest>,
    read::<TokenizeRequest>,
    read::<DecodeRequest>,
];

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(root, running))
        .routes(routes!(embed))
        .routes(routes!(embed_all))
        .routes(routes!(similarity))
        .routes(routes!(tokenize))
        .routes(routes!(decode))
        .routes(routes!(info))
        .routes(routes!(ping))
        .routes(routes!(metrics))
}

/// Vectors of texts.
#[utoipa::path(post, path = "/embed", tag = "text-embeddings-inference", request_body = EmbedRequest,
    responses((status = 200, description = "A vector for each text", body = Vec<Vec<f32>>),
        (status = "4XX", description = "Refused", body = TeiError)))]
async fn embed(State(service): State<Service>, Json(request): Json<EmbedRequest>) -> Result<Response, Failure> {
    let (model, inputs, parameters) = request.parts();
    embed_texts(&service, model, inputs, parameters).await
}

/// A vector for each token of each text, not scaled.
#[utoipa::path(post, path = "/embed_all", tag = "text-embeddings-inference", request_body = EmbedRequest,
    responses((status = 200, description = "A list of vectors for each text", body = Vec<Vec<Vec<f32>>>),
        (status = "4XX", description = "Refused", body = TeiError)))]
async fn embed_all(State(service): State<Service>, Json(request): Json<EmbedRequest>) -> Result<Response, Failure> {
    let (model, inputs, parameters) = request.parts();
    let (embedded, effort) = run(&service, model, inputs, parameters, Some(Pooling::None)).await?;
    let embeddings = embedded.all()?;
    let rows: Vec<Vec<&[f32]>> = embeddings.iter().map(|embedding| embedding.rows().collect()).collect();
    Ok(answer::json_with(&rows, &effort))
}

/// How close sentences are to a sentence: the cosines of the angles between their vectors.
#[utoipa::path(post, path = "/similarity", tag = "text-embeddings-inference", request_body = SimilarityRequest,
    responses((status = 200, description = "A number for each sentence", body = Vec<f32>),
        (status = "4XX", description = "Refused", body = TeiError)))]
async fn similarity(
    State(service): State<Service>,
    Json(request): Json<SimilarityRequest>,
) -> Result<Response, Failure> {
    compare(&service, request.model, request.inputs, request.parameters.unwrap_or_default()).await
}

/// What a request to the address alone asks for: vectors, similarities, or a ranking.
#[utoipa::path(post, path = "/", tag = "text-embeddings-inference", request_body = RootRequest,
    responses((status = 200, description = "As of `/embed`, `/similarity` or `/rerank`", body = serde_json::Value),
        (status = "4XX", description = "Refused", body = TeiError)))]
async fn root(State(service): State<Service>, Json(request): Json<RootRequest>) -> Result<Response, Failure> {
    let nested = request.parameters.unwrap_or_default();
    let parameters = Parameters {
        truncate: request.truncate.or(nested.truncate),
        truncation_direction: request.truncation_direction.or(nested.truncation_direction),
        prompt_name: request.prompt_name.or(nested.prompt_name),
        normalize: request.normalize.or(nested.normalize),
        dimensions: request.dimensions.or(nested.dimensions),
    };
    match (request.inputs, request.query, request.texts) {
        (Some(RootInputs::Texts(inputs)), ..) => embed_texts(&service, request.model, inputs, parameters).await,
        (Some(RootInputs::Sentences(sentences)), ..) => compare(&service, request.model, sentences, parameters).await,
        (None, Some(query), texts @ Some(_)) => {
            let RootRequest { model, raw_scores, return_text, .. } = request;
            let truncate = parameters.truncate;
            let request =
                RerankRequest { query, texts, model, raw_scores, return_text, truncate, ..Default::default() };
            rerank::tei(&service, request).await
        }
        (None, ..) => {
            let message = "the request has neither `inputs` nor `query` and `texts`";
            Err(Failure::new(FailureKind::Malformed, message).about("inputs"))
        }
    }
}

/// That there is a server.
#[utoipa::path(get, path = "/", tag = "text-embeddings-inference",
    responses((status = 200, description = "A sentence", body = String)))]
async fn running() -> &'static str {
    "Docent is running. /docs lists what it answers.\n"
}

/// The tokens of texts: text-embeddings-inference's answer to `inputs`, llama-server's to `content`.
#[utoipa::path(post, path = "/tokenize", tag = "text-embeddings-inference", request_body = TokenizeRequest,
    responses((status = 200, description = "The tokens of each text", body = Vec<Vec<SimpleToken>>),
        (status = "4XX", description = "Refused", body = TeiError)))]
async fn tokenize(State(service): State<Service>, Json(request): Json<TokenizeRequest>) -> Result<Response, Refusal> {
    let model = request.model.as_deref();
    match (request.inputs, request.content) {
        (None, Some(content)) => {
            let pieces = request.with_pieces == Some(true);
            let special = request.add_special == Some(true);
            if request.parse_special == Some(false) {
                let message = "special tokens spelt out in a text are always read as such; leave `parse_special` out";
                return Err(Dialect::Llama.refuses(Failure::invalid("parse_special", message)));
            }
            let tokens = tokens::tokenize(&service, model, vec![content], None).await;
            let tokens = tokens.map_err(|failure| Dialect::Llama.refuses(failure.in_terms("inputs", "content")))?;
            let tokens = tokens.into_iter().flatten().filter(|token| special || !token.added);
            Ok(if pieces {
                let pieces = tokens.map(|token| json!({ "id": token.id, "piece": token.text }));
                answer::json(&json!({ "tokens": pieces.collect::<Vec<_>>() }))
            } else {
                answer::json(&json!({ "tokens": tokens.map(|token| token.id).collect::<Vec<_>>() }))
            })
        }
        (Some(inputs), _) => {
            let texts = texts_of(inputs).map_err(|failure| Dialect::Tei.refuses(failure))?;
            let special = request.add_special_tokens != Some(false);
            let tokens = tokens::tokenize(&service, model, texts, request.prompt_name.as_deref()).await;
            let tokens = tokens.map_err(|failure| Dialect::Tei.refuses(failure))?;
            let shown = |tokens: Vec<Token>| -> Vec<SimpleToken> {
                tokens.into_iter().filter(|token| special || !token.added).map(SimpleToken::from).collect()
            };
            Ok(answer::json(&tokens.into_iter().map(shown).collect::<Vec<_>>()))
        }
        (None, None) => {
            let failure = Failure::new(FailureKind::Malformed, "the request has neither `inputs` nor `content`");
            Err(Dialect::Tei.refuses(failure.about("inputs")))
        }
    }
}

/// The texts of token ids.
#[utoipa::path(post, path = "/decode", tag = "text-embeddings-inference", request_body = DecodeRequest,
    responses((status = 200, description = "A text for each list", body = Vec<String>),
        (status = "4XX", description = "Refused", body = TeiError)))]
async fn decode(State(service): State<Service>, Json(request): Json<DecodeRequest>) -> Result<Response, Failure> {
    let ids = |input| match input {
        Input::Ids(ids) => Ok(ids),
        Input::Text(_) => Err(Failure::invalid("ids", "`ids` has a text where token ids were expected")),
    };
    let lists = request.ids.0.into_iter().map(ids).collect::<Result<_, _>>()?;
    let skip = request.skip_special_tokens != Some(false);
    Ok(answer::json(&tokens::decode(&service, request.model.as_deref(), lists, skip).await?))
}

/// What the server runs.
#[utoipa::path(get, path = "/info", tag = "text-embeddings-inference",
    responses((status = 200, description = "The first model and the limits", body = serde_json::Value)))]
async fn info(State(service): State<Service>) -> Result<Response, Failure> {
    let (model, facts) = service.models().describe(None).await?;
    let (description, limits) = (&facts.description, service.limits());
    let model_type = match facts.task {
        Task::Embed => json!({ "embedding": { "pooling": facts.pooling.map(Pooling::name) } }),
        Task::Rerank => json!({ "reranker": { "id2label": { "0": "LABEL_0" }, "label2id": { "LABEL_0": 0 } } }),
        Task::Expand => json!({ "expander": {} }),
    };
    let models: Vec<_> = service.models().list().into_iter().map(|model| model.name).collect();
    Ok(answer::json(&json!({
        "model_id": model.name,
        "model_sha": null,
        "model_dtype": "auto",
        "served_model_name": model.name,
        "model_type": model_type,
        "architecture": description.architecture,
        "models": models,
        "max_concurrent_requests": limits.concurrent_requests,
        "max_input_length": facts.max_length,
        "max_batch_tokens": limits.step_tokens,
        "max_batch_requests": null,
        "max_client_batch_size": limits.items,
        "auto_truncate": true,
        "tokenization_workers": docent::default_threads(),
        "version": env!("CARGO_PKG_VERSION"),
        "sha": null,
        "docker_label": null,
    })))
}

/// Whether all models are loaded.
#[utoipa::path(get, path = "/ping", tag = "text-embeddings-inference",
    responses((status = 200, description = "They are"), (status = 503, description = "Not yet", body = TeiError)))]
async fn ping(State(service): State<Service>) -> Result<(), Failure> {
    ready(&service)
}

/// What is counted and timed, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "text-embeddings-inference",
    responses((status = 200, description = "Prometheus's text format", body = String)))]
async fn metrics(State(service): State<Service>) -> Response {
    let text_format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text_format)], service.metrics().text()).into_response()
}

async fn embed_texts(
    service: &Service,
    model: Option<String>,
    inputs: Inputs,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let (embedded, effort) = run(service, model, inputs, parameters, None).await?;
    let embeddings = embedded.all()?;
    let vectors: Vec<&[f32]> = embeddings.iter().map(docent::Embedding::vector).collect();
    Ok(answer::json_with(&vectors, &effort))
}

async fn compare(
    service: &Service,
    model: Option<String>,
    sentences: Sentences,
    parameters: Parameters,
) -> Result<Response, Failure> {
    let Sentences { source_sentence, sentences } = sentences;
    service.limits().check_items(sentences.len(), "sentences")?;
    let texts = std::iter::once(source_sentence).chain(sentences).map(Input::Text);
    let (embedded, effort) = run(service, model, Inputs(texts.collect()), parameters, None).await?;
    let embeddings = embedded.all()?;
    let cosines: Vec<f32> = match &embeddings[..] {
        [source, others @ ..] => others.iter().map(|other| cosine(source.vector(), other.vector())).collect(),
        [] => Vec::new(),
    };
    Ok(answer::json_with(&cosines, &effort))
}

async fn run(
    service: &Service,
    model: Option<String>,
    inputs: Inputs,
    parameters: Parameters,
    pooling: Option<Pooling>,
) -> Result<(Embedded, Effort), Failure> {
    let prompt = match &parameters.prompt_name {
        Some(name) => prompt(service, model.as_deref(), "prompt_name", name).await?,
        None => Prompt::Default,
    };
    let truncate = match (parameters.truncate, parameters.truncation_direction.unwrap_or_default()) {
        (Some(false), _) => Truncate::Error,
        (_, Direction::Right) => Truncate::Right,
        (_, Direction::Left) => Truncate::Left,
    };
    let options = EmbedOptions {
        prompt,
        pooling,
        normalize: parameters.normalize.unwrap_or(true),
        dim: parameters.dimensions.map(|Count(dim)| dim),
        truncate,
        ..EmbedOptions::default()
    };
    let characters = inputs.characters();
    let call = EmbedCall { model, inputs: inputs.0, options };
    let embedded = service.embed(call).await.map_err(|failure| failure.in_terms("input", "inputs"))?;
    let effort = Effort::of_embedding(&embedded, characters);
    Ok((embedded, effort))
}

fn texts_of(inputs: Inputs) -> Result<Vec<String>, Failure> {
    let text = |input| match input {
        Input::Text(text) => Ok(text),
        Input::Ids(_) => Err(Failure::invalid("inputs", "`inputs` has token ids where a text was expected")),
    };
    inputs.0.into_iter().map(text).collect()
}

impl EmbedRequest {
    fn parts(self) -> (Option<String>, Inputs, Parameters) {
        let EmbedRequest { inputs, model, truncate, truncation_direction, prompt_name, normalize, dimensions } = self;
        (model, inputs, Parameters { truncate, truncation_direction, prompt_name, normalize, dimensions })
    }
}

impl From<Token> for SimpleToken {
    fn from(token: Token) -> Self {
        let in_text = |place| (!token.added).then_some(place);
        SimpleToken {
            id: token.id,
            special: token.special,
            start: in_text(token.characters.0),
            stop: in_text(token.characters.1),
            start_byte: in_text(token.bytes.0),
            stop_byte: in_text(token.bytes.1),
            text: token.text,
        }
    }
}

impl<'de> Deserialize<'de> for RootInputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RootInputsVisitor)
    }
}

struct RootInputsVisitor;

impl<'de> Visitor<'de> for RootInputsVisitor {
    type Value = RootInputs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, or an object with `source_sentence` and `sentences`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RootInputs, E> {
        Ok(RootInputs::Texts(Inputs::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<RootInputs, A::Error> {
        Inputs::of_seq(seq).map(RootInputs::Texts)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RootInputs, A::Error> {
        Sentences::deserialize(MapAccessDeserializer::new(map)).map(RootInputs::Sentences)
    }
}
