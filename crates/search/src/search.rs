//! Searching: by keyword, by meaning, or both.

mod fusion;
mod hybrid;
mod keyword;
mod meaning;
mod score;
mod snippet;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use docent::{Embedder, Reranker};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::collection::{Contexts, all, require};
use crate::{Address, Error, Expands, Index, Line, Query, docid};
pub use fusion::{Contribution, Explain, Fusion, RrfExplain};
pub use score::{Evidence, relevance_of_both, relevance_of_keywords, relevance_of_meaning};
pub use snippet::{Snippet, number_lines};

/// What is wanted of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchOptions {
    /// Results at most.
    pub limit: usize,
    /// The least relevance of a result, 0 to 1.
    pub min_score: f64,
    /// The collections to look in; empty for those that are [included](crate::Collection::included).
    pub collections: Vec<String>,
    /// Candidates that a reranker reads.
    pub candidates: usize,
    /// How a hybrid search puts its lists together.
    pub fusion: Fusion,
    /// The time that a hybrid search has; it returns the best that it has found by then.
    pub deadline: Option<Duration>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        SearchOptions {
            limit: 10,
            min_score: 0.0,
            collections: Vec::new(),
            candidates: 40,
            fusion: Fusion::default(),
            deadline: None,
        }
    }
}

/// The models that a hybrid search may use; what is not there is done without.
#[derive(Clone, Copy, Default)]
pub struct Models<'m> {
    /// Finds by meaning.
    pub embedder: Option<&'m Embedder>,
    /// Orders what was found.
    pub reranker: Option<&'m Reranker>,
    /// Asks a plain question in other ways as well.
    pub expander: Option<&'m dyn Expands>,
}

/// What a search found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SearchResults {
    /// Best first.
    pub hits: Vec<Hit>,
    /// What was left out because the deadline came: parts of the search, in order.
    pub left_out: Vec<LeftOut>,
    /// What was looked for beside the query: the lines of an expander.
    pub expansion: Vec<Line>,
}

/// A part of a search that a deadline cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOut {
    /// Some or all of the lines that an expander would have written.
    #[error("query expansion")]
    Expansion,
    /// Nothing was looked for by meaning.
    #[error("search by meaning")]
    Meaning,
    /// Candidates that the reranker did not read.
    #[error("reranking of {0} candidates")]
    Reranking(usize),
}

/// A document that was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hit {
    /// Its address.
    pub address: Address,
    /// The file.
    pub path: PathBuf,
    /// Its docid, as `#762e73`.
    pub docid: String,
    /// Its title.
    pub title: String,
    /// What the user says about the place.
    pub context: Option<String>,
    /// How relevant it is, 0 to 1; see [the crate](crate#scores).
    pub score: f64,
    /// Its text.
    pub text: String,
    /// The bytes of the text that match best, if it is known which.
    pub passage: Option<std::ops::Range<usize>>,
    /// How it came to its place; for hybrid searches.
    pub explain: Option<Explain>,
    /// The words that the best line is chosen by: of the query, and of the intent.
    words: (Vec<String>, Vec<String>),
}

impl Hit {
    /// The lines that match best, in at most so many characters, and where they are.
    pub fn snippet(&self, limit: usize) -> Snippet {
        snippet::snippet(&self.text, &self.words.0, &self.words.1, self.passage.clone(), limit)
    }
}

/// A document with its score, before its text is fetched.
struct Found {
    document: i64,
    score: f64,
    chunk: Option<i64>,
    explain: Option<Explain>,
}

/// Counts down the time of a search.
#[derive(Clone, Copy)]
struct Clock(Option<Instant>);

impl Clock {
    fn start(deadline: Option<Duration>) -> Clock {
        Clock(deadline.and_then(|deadline| Instant::now().checked_add(deadline)))
    }

    fn is_over(self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }

    fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }
}

impl Index {
    /// Searches by keyword. Loads no model.
    ///
    /// Documents that have all the words are looked for; if they are too few, also those that have some of them.
    ///
    /// # Errors
    /// A quote that is not closed, an unknown collection, those of the database.
    pub fn search_keywords(&self, query: &str, options: &SearchOptions) -> Result<SearchResults, Error> {
        let lexical = crate::LexicalQuery::parse(query).map_err(|reason| Error::Query { line: 1, reason })?;
        self.store.read(|connection| {
            let scope = scope(connection, options)?;
            let found = keyword::search(connection, &lexical, &scope, options.limit)?;
            let found = found.into_iter().map(|found| Found {
                document: found.document,
                score: relevance_of_keywords(found.coverage),
                chunk: None,
                explain: None,
            });
            let words = (lexical.plain_words(), Vec::new());
            Ok(SearchResults { hits: hits(connection, found, options, &words)?, ..SearchResults::default() })
        })
    }

    /// Searches by meaning.
    ///
    /// # Errors
    /// If nothing has been embedded with the model; an unknown collection, those of the model and the database.
    pub fn search_meaning(
        &self,
        query: &str,
        embedder: &Embedder,
        options: &SearchOptions,
    ) -> Result<SearchResults, Error> {
        let query = Query::plain(query);
        let vectors = meaning::vectors(embedder, &query.lines)?;
        self.store.read(|connection| {
            let scope = scope(connection, options)?;
            let (model, set) = meaning::open(self, connection, embedder)?;
            let near = set.search(&vectors[0], &scope, options.limit, self.threads());
            let found = near.into_iter().map(|near| Found {
                document: near.document,
                score: relevance_of_meaning(meaning::deviations(&model, near.cosine)),
                chunk: Some(near.chunk),
                explain: None,
            });
            let words = (query.words(), Vec::new());
            Ok(SearchResults { hits: hits(connection, found, options, &words)?, ..SearchResults::default() })
        })
    }
}

/// The numbers of the collections that a search looks in.
fn scope(connection: &Connection, options: &SearchOptions) -> Result<Vec<i64>, Error> {
    if options.collections.is_empty() {
        let all = all(connection)?;
        return Ok(all.into_iter().filter(|(_, collection)| collection.included).map(|(id, _)| id).collect());
    }
    options.collections.iter().map(|name| Ok(require(connection, name)?.0)).collect()
}

/// Fetches what is shown of documents, until there are enough.
fn hits(
    connection: &Connection,
    found: impl IntoIterator<Item = Found>,
    options: &SearchOptions,
    words: &(Vec<String>, Vec<String>),
) -> Result<Vec<Hit>, Error> {
    let contexts = Contexts::load(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT c.name, c.path, d.path, d.title, t.hash, t.text, k.start, k.end
         FROM documents d JOIN collections c ON c.id = d.collection_id JOIN contents t ON t.id = d.content_id
         LEFT JOIN chunks k ON k.id = ?2 AND k.content_id = d.content_id
         WHERE d.id = ?1",
    )?;
    let mut hits = Vec::new();
    for found in found {
        if hits.len() >= options.limit {
            break;
        }
        if found.score < options.min_score {
            continue;
        }
        let row = |row: &rusqlite::Row<'_>| {
            let (collection, folder, path): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (hash, text): (String, String) = (row.get(4)?, row.get(5)?);
            let passage = match (row.get::<_, Option<usize>>(6)?, row.get::<_, Option<usize>>(7)?) {
                (Some(start), Some(end)) => text.get(start..end).map(|_| start..end),
                _ => None,
            };
            Ok(Hit {
                path: PathBuf::from(folder).join(&path),
                context: contexts.of(&collection, &path),
                address: Address::new(collection, path),
                docid: docid(&hash),
                title: row.get(3)?,
                score: found.score,
                text,
                passage,
                explain: found.explain.clone(),
                words: words.clone(),
            })
        };
        hits.extend(statement.query_row((found.document, found.chunk), row).optional()?);
    }
    Ok(hits)
}
