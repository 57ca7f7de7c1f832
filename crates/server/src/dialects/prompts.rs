//! The prompts that requests ask for by name.

use docent::Prompt;

use crate::failure::Failure;
use crate::service::Service;

/// What dialects call the two sides of a search.
const QUERY: [&str; 5] = ["query", "search_query", "retrieval.query", "s2p_query", "nl2code.query"];
const DOCUMENT: [&str; 6] =
    ["document", "passage", "search_document", "retrieval.passage", "retrieval.document", "nl2code.passage"];
/// Tasks of Jina's, for which a model without a prompt needs none.
const OTHER: [&str; 4] = ["text-matching", "classification", "clustering", "separation"];

/// The prompt of this name: one that the model's files have, or the model's for queries or documents where the name means these. A model
/// that has none for a task which all know needs none.
///
/// # Errors
/// If the model cannot be had, or nothing is known by that name.
pub(super) async fn prompt(service: &Service, model: Option<&str>, field: &str, name: &str) -> Result<Prompt, Failure> {
    let served = service.models().embedder(model).await?;
    let named = &served.model.settings().description.prompts.named;
    if named.contains_key(name) {
        return Ok(Prompt::Named(name.to_owned()));
    }
    match name {
        _ if QUERY.contains(&name) => Ok(Prompt::Query),
        _ if DOCUMENT.contains(&name) => Ok(Prompt::Document),
        _ if OTHER.contains(&name) => Ok(Prompt::Default),
        _ => {
            let mut names: Vec<&str> = named.keys().map(String::as_str).collect();
            names.extend(["query", "document"].iter().filter(|name| !named.contains_key(**name)));
            let message = format!("{} has no prompt `{name}`; there are: {}", served.name, names.join(", "));
            Err(Failure::invalid(field, message))
        }
    }
}
