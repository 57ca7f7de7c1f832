//! Search by meaning: the vectors of a query's lines, and what a cosine says.

use std::sync::Arc;

use docent::{Embedder, Prompt};
use rusqlite::Connection;

use crate::models::{self, Model};
use crate::query::{Line, LineKind};
use crate::vectors::Vectors;
use crate::{Error, Index};

/// The vectors of lines: questions with the model's prompt for queries, beginnings of answers with that for documents.
pub(super) fn vectors(embedder: &Embedder, lines: &[Line]) -> Result<Vec<Vec<f32>>, Error> {
    let embed = |line: &Line| {
        let prompt = if line.kind == LineKind::Hyde { Prompt::Document } else { Prompt::Query };
        Ok(models::embed(embedder, &[line.text.as_str()], prompt)?.remove(0))
    };
    lines.iter().map(embed).collect()
}

/// The model and its vectors.
pub(super) fn open(
    index: &Index,
    connection: &Connection,
    embedder: &Embedder,
) -> Result<(Model, Arc<Vectors>), Error> {
    let Some(model) = index.model(connection, embedder)? else {
        return Err(Error::NoVectors { model: models::name(embedder), others: models::names(connection)? });
    };
    let vectors = index.vectors(connection, &model)?;
    Ok((model, vectors))
}

/// By how many standard deviations a cosine is above those of texts that have nothing to do with each other: what it says, whatever the
/// model.
pub(super) fn deviations(model: &Model, cosine: f32) -> f64 {
    (f64::from(cosine) - model.background.0) / model.background.1
}
