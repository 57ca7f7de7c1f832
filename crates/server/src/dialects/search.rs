//! Search of documents by plain HTTP, with the fields of qmd.

use axum::Extension;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Reader, read};
use crate::body::Json;
use crate::failure::Failure;
use crate::search::question::{FoundDocument, Question};
use crate::search::{Searcher, names};
use crate::service::Service;

/// What was found.
#[derive(Serialize, ToSchema)]
struct SearchAnswer {
    /// The documents, best first; `file` is a URI.
    results: Vec<FoundDocument>,
    /// What the user should know, such as that no model could be had; left out if there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// A refusal.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
struct SearchError {
    /// One line.
    error: String,
}

/// Every shape of request.
pub(super) const READERS: [Reader; 1] = [read::<Question>];

pub(super) fn routes(searcher: Searcher) -> OpenApiRouter<Service> {
    OpenApiRouter::new().routes(routes!(query)).routes(routes!(search)).layer(Extension(searcher))
}

/// Documents that answer a question, by keyword and by meaning.
#[utoipa::path(post, path = "/query", tag = "Document search", request_body = Question,
    responses((status = 200, description = "The documents", body = SearchAnswer), (status = 400, description = "A refusal", body = SearchError)))]
async fn query(searcher: Extension<Searcher>, question: Json<Question>) -> Result<axum::Json<SearchAnswer>, Failure> {
    search(searcher, question).await
}

/// The same as `/query`.
#[utoipa::path(post, path = "/search", tag = "Document search", request_body = Question,
    responses((status = 200, description = "The documents", body = SearchAnswer), (status = 400, description = "A refusal", body = SearchError)))]
async fn search(
    Extension(searcher): Extension<Searcher>,
    Json(question): Json<Question>,
) -> Result<axum::Json<SearchAnswer>, Failure> {
    let found = searcher.search_with_what_there_is(question.into_call()?).await?;
    let results = found.results.hits.iter().map(|hit| FoundDocument::new(hit, names::uri(&hit.address))).collect();
    Ok(axum::Json(SearchAnswer { results, notes: found.notes }))
}
