//! Docent's own dialect: every option of the library, and nothing lost on the way.
//!
//! The others carry what their clients know. This one is for `docent embed --server` and `docent rerank --server`, which give the same
//! answers as without a server, to the bit; [`wire`] has its types, for clients in Rust.

pub mod wire;

use axum::extract::State;
use docent::{EmbedOptions, RerankOptions};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::blocking::beside_the_reactor;
use crate::body::Json;
use crate::failure::Failure;
use crate::service::{EmbedCall, Input, RerankCall, Service};
use wire::{EmbedAnswer, EmbedRequest, ModelAnswer, RerankAnswer, RerankRequest, ScoredDocument, TextAnswer};

/// The routes of the dialect.
pub(crate) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(embed)).routes(routes!(rerank))
}

/// Vectors of texts, with every option of the library. Without texts it says how the model would, and checks the options.
#[utoipa::path(post, path = "/docent/embed", tag = "Docent", request_body = EmbedRequest,
    responses((status = 200, description = "The vectors", body = EmbedAnswer)))]
async fn embed(
    State(service): State<Service>,
    Json(request): Json<EmbedRequest>,
) -> Result<axum::Json<EmbedAnswer>, Failure> {
    let options = EmbedOptions::from(request.options);
    let (served, texts) = if request.texts.is_empty() {
        let served = service.models().embedder(request.model.as_deref()).await?;
        served.model.prepare::<&str>(&[], &options)?;
        (served, Vec::new())
    } else {
        let inputs = request.texts.into_iter().map(Input::Text).collect();
        let call = EmbedCall { model: request.model, inputs, options: options.clone() };
        let embedded = service.embed_part(call, request.first).await?;
        let texts = embedded.items.iter().map(TextAnswer::of).collect();
        (embedded.model, texts)
    };
    let settings = served.model.settings();
    let pooling = options.pooling.unwrap_or(settings.pooling);
    let model = ModelAnswer {
        name: settings.description.name.clone(),
        max_length: settings.max_length,
        pooling: Some(pooling.name().to_owned()),
        whole_dim: settings.dim(pooling),
        has_prompt: settings.prompt(&options.prompt).is_some(),
    };
    Ok(axum::Json(EmbedAnswer { model, texts }))
}

/// Documents by relevance, with every option of the library. Without documents it checks the query and the options.
#[utoipa::path(post, path = "/docent/rerank", tag = "Docent", request_body = RerankRequest,
    responses((status = 200, description = "The ranking", body = RerankAnswer)))]
async fn rerank(
    State(service): State<Service>,
    Json(request): Json<RerankRequest>,
) -> Result<axum::Json<RerankAnswer>, Failure> {
    let options = RerankOptions::from(request.options);
    let (served, documents) = if request.documents.is_empty() {
        let served = service.models().reranker(request.model.as_deref()).await?;
        let bytes = request.query.len() + options.instruction.as_ref().map_or(0, String::len);
        let (model, query) = (served.clone(), request.query);
        beside_the_reactor(bytes, move || model.model.prepare::<&str>(&query, &[], &options)).await?;
        (served, Vec::new())
    } else {
        let (query, documents) = (request.query, request.documents);
        let reranked = service.rerank(RerankCall { model: request.model, query, documents, options }).await?;
        let documents = reranked.ranking()?.into_iter().map(ScoredDocument::from).collect();
        (reranked.model, documents)
    };
    let settings = served.model.settings();
    let model = ModelAnswer {
        name: settings.description.name.clone(),
        max_length: settings.max_length,
        pooling: None,
        whole_dim: 0,
        has_prompt: settings.instruction.is_some(),
    };
    Ok(axum::Json(RerankAnswer { model, documents }))
}
