//! Rerankers, as Cohere, Jina, llama-server and text-embeddings-inference ask them.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use docent::{LongDocuments, RankedDocument, RerankOptions, Reranker, ScoreKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Effort};
use super::count::Count;
use super::documents::Document;
use super::openai::Usage;
use super::{Dialect, Reader, Refusal, read};
use crate::blocking::off_the_reactor;
use crate::body::Json;
use crate::failure::{Failure, FailureKind};
use crate::models::Served;
use crate::service::{RerankCall, Service};

/// A query and documents to score.
#[derive(Default, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
pub(super) struct RerankRequest {
    /// The query.
    pub(super) query: String,
    /// The documents.
    pub(super) documents: Option<Vec<Document>>,
    /// The documents, by the name that text-embeddings-inference gives them; the answer is in its form then.
    pub(super) texts: Option<Vec<Document>>,
    /// The model; without it the first reranker.
    pub(super) model: Option<String>,
    /// How many of the best to answer with; all without it.
    pub(super) top_n: Option<Count>,
    /// Cohere v1: the fields of a document that are ranked, in this order.
    pub(super) rank_fields: Option<Vec<String>>,
    /// Whether the answer has the documents in it.
    pub(super) return_documents: Option<bool>,
    /// text-embeddings-inference: the same.
    pub(super) return_text: Option<bool>,
    /// Whether scores are the model's own numbers (`true`) or from 0 to 1 (`false`); without it as the dialect has them.
    pub(super) raw_scores: Option<bool>,
    /// Cohere v2: tokens of a document that are read, at most.
    pub(super) max_tokens_per_doc: Option<Count>,
    /// Cohere v1: above 1, a document that is too long is read in windows, and its score is that of the best.
    pub(super) max_chunks_per_doc: Option<Count>,
    /// Whether a document that is too long is cut; it is unless this is `false`, and then it is an error.
    pub(super) truncate: Option<bool>,
    /// text-embeddings-inference: which end is cut; must not be `left`.
    pub(super) truncation_direction: Option<String>,
    /// What relevance means here, for models that read an instruction.
    pub(super) instruction: Option<String>,
}

/// The best documents, in the fields of Cohere and Jina.
#[derive(Serialize, ToSchema)]
struct RerankAnswer {
    /// The request's id, as in `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `list`.
    object: &'static str,
    /// The model.
    model: String,
    /// The best documents, the best first.
    results: Vec<Hit>,
    /// What kind of number scores are: `sigmoid`, `probability` or `logit`.
    score_kind: &'static str,
    usage: Usage,
    /// Cohere's: its version, and a warning if documents were cut.
    meta: Value,
}

/// The best documents, in llama-server's fields.
#[derive(Serialize, ToSchema)]
struct LlamaRerankAnswer {
    /// The model.
    model: String,
    /// `list`.
    object: &'static str,
    usage: Usage,
    /// The best documents, the best first.
    results: Vec<Hit>,
    /// What kind of number scores are: `logit`, `probability` or `sigmoid`.
    score_kind: &'static str,
}

/// A document's score.
#[derive(Serialize, ToSchema)]
pub(super) struct Hit {
    /// Its place in the request.
    index: usize,
    /// Its score: the larger, the more relevant.
    relevance_score: f32,
    /// The document, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
    /// Tokens that the model read.
    tokens: usize,
    /// Whether the document was too long and its end was not read.
    truncated: bool,
}

/// A document's score, in text-embeddings-inference's fields.
#[derive(Serialize, ToSchema)]
struct TeiHit {
    /// Its place in the request.
    index: usize,
    /// Its score: the larger, the more relevant.
    score: f32,
    /// The text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A refusal, in the fields of Cohere (`message`), Jina (`detail`) and llama-server (`error`).
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct RerankError {
    message: String,
    detail: String,
    error: super::llama::LlamaErrorDetail,
}

/// What kind of scores a dialect has unless the request says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scores {
    /// From 0 to 1.
    Unit,
    /// The model's own: logits, or probabilities of a model that answers yes or no.
    Own,
}

/// A ranking, before a dialect has written it.
pub(super) struct Ranking {
    pub(super) model: String,
    pub(super) hits: Vec<Hit>,
    pub(super) score_kind: &'static str,
    pub(super) effort: Effort,
}

/// Every shape of request.
pub(super) const READERS: [Reader; 1] = [read::<RerankRequest>];

pub(super) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(rerank_v1))
        .routes(routes!(rerank_v2))
        .routes(routes!(rerank_plain))
        .routes(routes!(reranking))
        .routes(routes!(reranking_v1))
}

/// The documents by relevance: Cohere's first version, Jina. Scores are from 0 to 1.
#[utoipa::path(post, path = "/v1/rerank", tag = "Cohere and Jina", request_body = RerankRequest,
    responses((status = 200, description = "The ranking", body = RerankAnswer),
        (status = "4XX", description = "Refused", body = RerankError)))]
async fn rerank_v1(
    State(service): State<Service>,
    headers: HeaderMap,
    Json(request): Json<RerankRequest>,
) -> Result<Response, Refusal> {
    cohere(&service, "1", &headers, request).await
}

/// The documents by relevance: Cohere's second version. Scores are from 0 to 1.
#[utoipa::path(post, path = "/v2/rerank", tag = "Cohere and Jina", request_body = RerankRequest,
    responses((status = 200, description = "The ranking", body = RerankAnswer),
        (status = "4XX", description = "Refused", body = RerankError)))]
async fn rerank_v2(
    State(service): State<Service>,
    headers: HeaderMap,
    Json(request): Json<RerankRequest>,
) -> Result<Response, Refusal> {
    cohere(&service, "2", &headers, request).await
}

/// The documents by relevance: llama-server with `documents` (scores are the model's own), text-embeddings-inference with `texts` (scores
/// from 0 to 1).
#[utoipa::path(post, path = "/rerank", tag = "llama-server", request_body = RerankRequest,
    responses((status = 200, description = "The ranking", body = LlamaRerankAnswer),
        (status = "4XX", description = "Refused", body = super::llama::LlamaError)))]
async fn rerank_plain(State(service): State<Service>, Json(request): Json<RerankRequest>) -> Result<Response, Refusal> {
    llama(&service, request).await
}

/// As `/rerank`.
#[utoipa::path(post, path = "/reranking", tag = "llama-server", request_body = RerankRequest,
    responses((status = 200, description = "The ranking", body = LlamaRerankAnswer),
        (status = "4XX", description = "Refused", body = super::llama::LlamaError)))]
async fn reranking(State(service): State<Service>, Json(request): Json<RerankRequest>) -> Result<Response, Refusal> {
    llama(&service, request).await
}

/// As `/rerank`.
#[utoipa::path(post, path = "/v1/reranking", tag = "llama-server", request_body = RerankRequest,
    responses((status = 200, description = "The ranking", body = LlamaRerankAnswer),
        (status = "4XX", description = "Refused", body = super::llama::LlamaError)))]
async fn reranking_v1(State(service): State<Service>, Json(request): Json<RerankRequest>) -> Result<Response, Refusal> {
    llama(&service, request).await
}

async fn cohere(
    service: &Service,
    version: &str,
    headers: &HeaderMap,
    request: RerankRequest,
) -> Result<Response, Refusal> {
    if request.texts.is_some() {
        return tei(service, request).await.map_err(|failure| Dialect::Tei.refuses(failure));
    }
    let count = request.documents.as_ref().map_or(0, Vec::len);
    let ranking = rank(service, request, Scores::Unit).await.map_err(|failure| Dialect::Rerank.refuses(failure))?;
    let Ranking { model, hits, score_kind, effort } = ranking;
    let mut meta = json!({
        "api_version": { "version": version },
        // A unit is a query with up to a hundred documents.
        "billed_units": { "search_units": count.div_ceil(100) },
        "tokens": { "input_tokens": effort.tokens },
    });
    if effort.truncated > 0 {
        let warning = format!("{} documents were too long and were not read to their end", effort.truncated);
        meta["warnings"] = json!([warning]);
    }
    let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let usage = Usage::of(effort.tokens);
    let answer = RerankAnswer { id, object: "list", model, results: hits, score_kind, usage, meta };
    Ok(with_score_kind(answer::json_with(&answer, &effort), score_kind))
}

async fn llama(service: &Service, request: RerankRequest) -> Result<Response, Refusal> {
    if request.texts.is_some() {
        return tei(service, request).await.map_err(|failure| Dialect::Tei.refuses(failure));
    }
    let ranking = rank(service, request, Scores::Own).await.map_err(|failure| Dialect::Llama.refuses(failure))?;
    let Ranking { model, hits, score_kind, effort } = ranking;
    let usage = Usage::of(effort.tokens);
    let answer = LlamaRerankAnswer { model, object: "list", usage, results: hits, score_kind };
    Ok(with_score_kind(answer::json_with(&answer, &effort), score_kind))
}

/// Answers in text-embeddings-inference's form.
pub(super) async fn tei(service: &Service, mut request: RerankRequest) -> Result<Response, Failure> {
    let return_text = request.return_text == Some(true);
    request.return_documents = Some(false);
    let texts = request.texts.take();
    let returned = if return_text { texts.clone() } else { None };
    request.documents = texts;
    let ranking =
        rank(service, request, Scores::Unit).await.map_err(|failure| failure.in_terms("documents", "texts"))?;
    let text = |index: usize| match returned.as_ref().and_then(|texts| texts.get(index)) {
        Some(Document::Text(text)) => Some(text.clone()),
        Some(object) => object.text(index, None).ok(),
        None => None,
    };
    let hit = |hit: &Hit| TeiHit { index: hit.index, score: hit.relevance_score, text: text(hit.index) };
    let hits: Vec<TeiHit> = ranking.hits.iter().map(hit).collect();
    Ok(with_score_kind(answer::json_with(&hits, &ranking.effort), ranking.score_kind))
}

/// Scores the documents of a request.
pub(super) async fn rank(service: &Service, request: RerankRequest, scores: Scores) -> Result<Ranking, Failure> {
    let Some(documents) = request.documents else {
        let message = "the request has no `documents`; give a list of texts";
        return Err(Failure::new(FailureKind::Malformed, message).about("documents"));
    };
    if request.truncation_direction.is_some_and(|side| side.eq_ignore_ascii_case("left")) {
        let message = "documents are cut at their end only; leave `truncation_direction` out or set it to \"right\"";
        return Err(Failure::invalid("truncation_direction", message));
    }
    let fields = request.rank_fields.as_deref();
    check_distinct(fields.unwrap_or_default())?;
    let texts = documents.iter().enumerate().map(|(index, document)| document.text(index, fields));
    let mut texts = texts.collect::<Result<Vec<_>, _>>()?;
    service.limits().check_items(texts.len(), "documents")?;
    let served = service.models().reranker(request.model.as_deref()).await?;
    let characters = request.query.chars().count() + texts.iter().map(|text| text.chars().count()).sum::<usize>();
    let mut cut = vec![0; texts.len()];
    if let Some(Count(most)) = request.max_tokens_per_doc {
        (texts, cut) = cut_documents(&served, texts, most).await?;
    }
    let raw = request
        .raw_scores
        .unwrap_or(scores == Scores::Own && served.model.settings().description.scores == Some(ScoreKind::Logit));
    let windows = request.max_chunks_per_doc.is_some_and(|Count(chunks)| chunks > 1);
    let options = RerankOptions {
        instruction: request.instruction,
        long_documents: if windows { LongDocuments::Windows } else { LongDocuments::Truncate },
        raw,
        top_n: request.top_n.map(|Count(count)| count),
        ..RerankOptions::default()
    };
    let call = RerankCall { model: request.model, query: request.query, documents: texts, options };
    let mut reranked = service.rerank(call).await?;
    for (item, cut) in reranked.items.iter_mut().zip(cut) {
        if let Ok(item) = item {
            item.dropped += cut;
        }
    }
    let effort = Effort::of_reranking(&reranked, characters);
    if request.truncate == Some(false) && effort.truncated > 0 {
        let message = format!("{} documents are too long; shorten them or allow truncation", effort.truncated);
        return Err(Failure::new(FailureKind::Tokenizer, message).about("documents"));
    }
    let ranked = reranked.ranking()?;
    let score_kind = ranked.first().map_or("", |first| first.kind.name());
    let returned = (request.return_documents == Some(true)).then_some(documents);
    let hit = |ranked: RankedDocument| Hit {
        index: ranked.index,
        relevance_score: ranked.score,
        document: returned.as_ref().and_then(|documents| documents.get(ranked.index)).cloned(),
        tokens: ranked.tokens,
        truncated: ranked.truncated(),
    };
    let hits = ranked.into_iter().map(hit).collect();
    Ok(Ranking { model: served.name.clone(), hits, score_kind, effort })
}

/// No field is ranked twice: texts would become many times the request.
fn check_distinct(fields: &[String]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match fields.iter().find(|field| !seen.insert(*field)) {
        Some(field) => Err(Failure::invalid("rank_fields", format!("`rank_fields` names `{field}` twice"))),
        None => Ok(()),
    }
}

/// The documents with at most so many tokens each, and how many were cut of each.
async fn cut_documents(
    served: &Arc<Served<Reranker>>,
    documents: Vec<String>,
    most: usize,
) -> Result<(Vec<String>, Vec<usize>), Failure> {
    let served = Arc::clone(served);
    let cut = move || {
        let tokenizer = served.model.tokenizer();
        let cut = |mut document: String| {
            let offsets = tokenizer.encode_text(&document)?.offsets;
            let dropped = offsets.len().saturating_sub(most);
            if dropped > 0 {
                document.truncate(offsets[most - 1].1);
            }
            Ok((document, dropped))
        };
        let cut = documents.into_iter().map(cut).collect::<Result<_, docent::tokenizer::Error>>();
        cut.map_err(|error| Failure::new(FailureKind::Tokenizer, format!("a document cannot be tokenized: {error}")))
    };
    off_the_reactor(cut).await
}

/// The kind of score also as a header, for forms that have no place for it.
fn with_score_kind(mut response: Response, kind: &'static str) -> Response {
    response.headers_mut().insert(HeaderName::from_static("x-score-kind"), HeaderValue::from_static(kind));
    response
}
