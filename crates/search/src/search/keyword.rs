//! Keyword search: FTS5's BM25, and how much of the query a document answers.

use std::collections::HashMap;

use rusqlite::{Connection, params_from_iter, types::Value};

use crate::Error;
use crate::lexical::LexicalQuery;

/// What a word counts in the path, the title and the body of a document; those of qmd.
const WEIGHTS: &str = "1.5, 4.0, 1.0";

/// `k1 + 1` of FTS5's BM25: the most that a word can count, in units of its inverse document frequency.
const SATURATION: f64 = 2.2;

/// FTS5's least inverse document frequency, of words that more than half of the documents have.
const LEAST_IDF: f64 = 1e-6;

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matched {
    pub(super) document: i64,
    /// BM25 as FTS5 computes it, but larger is better.
    pub(super) bm25: f64,
    /// The part of the most that a document could have, 0 to 1: how much of the query's information the document has.
    pub(super) coverage: f64,
}

/// The best `limit` documents of some collections: those that have all words, as wholes or as beginnings of words, and if these are fewer,
/// those that have any.
pub(super) fn search(
    connection: &Connection,
    query: &LexicalQuery,
    scope: &[i64],
    limit: usize,
) -> Result<Vec<Matched>, Error> {
    if query.is_empty() || scope.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let mut found = matching(connection, &query.all(), query.phrases(true), scope, limit)?;
    if found.len() < limit {
        let some = matching(connection, &query.any(), query.phrases(false), scope, limit)?;
        let mut places: HashMap<i64, usize> = found.iter().enumerate().map(|(at, all)| (all.document, at)).collect();
        for some in some {
            let at = *places.entry(some.document).or_insert(found.len());
            match found.get_mut(at) {
                Some(all) => all.coverage = all.coverage.max(some.coverage),
                None => found.push(some),
            }
        }
        // Those with all words are nearly always first by this as well; where they are not, the score is right.
        found.sort_by(|a, b| b.coverage.total_cmp(&a.coverage));
        found.truncate(limit);
    }
    Ok(found)
}

/// Every document that has any of the words, best first, at most `limit`.
pub(super) fn any(
    connection: &Connection,
    query: &LexicalQuery,
    scope: &[i64],
    limit: usize,
) -> Result<Vec<Matched>, Error> {
    if query.is_empty() || scope.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    matching(connection, &query.any(), query.phrases(false), scope, limit)
}

fn matching(
    connection: &Connection,
    expression: &str,
    phrases: impl Iterator<Item = String>,
    scope: &[i64],
    limit: usize,
) -> Result<Vec<Matched>, Error> {
    let places = vec!["?"; scope.len()].join(", ");
    let mut statement = connection.prepare_cached(&format!(
        "SELECT documents_fts.rowid, bm25(documents_fts, {WEIGHTS}) AS bm25
         FROM documents_fts JOIN documents d ON d.id = documents_fts.rowid
         WHERE documents_fts MATCH ? AND d.collection_id IN ({places}) ORDER BY bm25, documents_fts.rowid LIMIT ?"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = std::iter::once(Value::from(expression.to_owned()))
        .chain(scope.iter().map(|id| Value::from(*id)))
        .chain([Value::from(limit)]);
    let rows = statement.query_map(params_from_iter(values), |row| {
        let bm25 = -row.get::<_, f64>(1)?;
        Ok(Matched { document: row.get(0)?, bm25, coverage: 0.0 })
    })?;
    let mut found: Vec<Matched> = rows.collect::<rusqlite::Result<_>>()?;
    if !found.is_empty() {
        let most = most(connection, phrases)?;
        found.iter_mut().for_each(|matched| matched.coverage = (matched.bm25 / most).clamp(0.0, 1.0));
    }
    Ok(found)
}

/// The BM25 that a document would have with endlessly many of all phrases in it.
fn most(connection: &Connection, phrases: impl Iterator<Item = String>) -> Result<f64, Error> {
    let total: f64 = connection
        .prepare_cached("SELECT count(*) FROM documents WHERE active")?
        .query_row([], |row| row.get::<_, i64>(0))? as f64;
    let mut count = connection.prepare_cached("SELECT count(*) FROM documents_fts WHERE documents_fts MATCH ?")?;
    let mut most = 0.0;
    for phrase in phrases {
        let with: f64 = count.query_row([phrase], |row| row.get::<_, i64>(0))? as f64;
        most += ((total - with + 0.5) / (with + 0.5)).ln().max(LEAST_IDF) * SATURATION;
    }
    Ok(most.max(f64::MIN_POSITIVE))
}
