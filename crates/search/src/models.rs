//! Which vectors belong to which model.

use std::path::Path;
use std::sync::PoisonError;

use docent::{EmbedOptions, Embedder, Prompt};
use rusqlite::{Connection, params};

use crate::Error;
use crate::chunk::{ChunkOptions, MAX_CHUNK_TOKENS, MIN_CHUNK_TOKENS};

/// Counts changes of the way in which texts are cut and inputs are put together; vectors of another number are made anew.
const METHOD: u32 = 1;

/// What a model is told from another by, beside its settings: two that differ make different vectors of this.
const PROBE: &str = "The quick brown fox jumps over the lazy dog while 42 readers of the Daily News look on.";

/// Vectors of the probe that are nearer than this come from the same weights: instruction sets and versions differ by less, number
/// formats of the weights by more.
const SAME: f32 = 0.9999;

/// Sentences about nothing in common. The cosines between them are what a model says of texts that have nothing to do with each other.
const UNRELATED: [&str; 12] = [
    "The recipe calls for two cups of flour and a pinch of salt.",
    "Photosynthesis turns sunlight into chemical energy.",
    "The parliament voted on the new tax law yesterday.",
    "Her violin concerto was first performed in Vienna.",
    "The compiler reports an error in the second line.",
    "Glaciers carve deep valleys over thousands of years.",
    "He scored twice in the final minutes of the match.",
    "The patient was given antibiotics for the infection.",
    "Interest rates rose by half a percent this quarter.",
    "The train to the coast leaves at seven in the morning.",
    "Medieval monks copied books by hand.",
    "A neutron star can spin hundreds of times a second.",
];

/// A model as the index knows it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) dim: usize,
    /// Mean and standard deviation of the cosines of unrelated texts.
    pub(crate) background: (f64, f64),
}

/// What the vectors of an embedder depend on, apart from its weights.
fn signature(embedder: &Embedder) -> String {
    let settings = embedder.settings();
    let options = ChunkOptions::of(embedder);
    format!(
        "method {METHOD}; {}; {} dims; {} pooling; {} tokens; chunks {}+{}; query {:?}; document {:?}",
        settings.description.architecture,
        settings.description.embedding_size,
        settings.pooling.name(),
        settings.max_length,
        options.tokens,
        options.overlap,
        settings.query_prompt.as_deref().unwrap_or(""),
        settings.document_prompt.as_deref().unwrap_or(""),
    )
}

impl ChunkOptions {
    /// How texts are cut for a model: what it reads, less its special tokens, its prompt and room for headings.
    pub fn of(embedder: &Embedder) -> ChunkOptions {
        let most = max_input_tokens(embedder);
        ChunkOptions::new((most - most / 8).clamp(MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS))
    }
}

/// Tokens of an input that the model reads, without special tokens and prompt.
pub(crate) fn max_input_tokens(embedder: &Embedder) -> usize {
    let settings = embedder.settings();
    let around = embedder.tokenizer().special_token_count();
    let prompt = settings.document_prompt.as_deref().unwrap_or("");
    let prompt = embedder.tokenizer().ids(prompt).map_or(0, |ids| ids.len().saturating_sub(around));
    settings.max_length.saturating_sub(around + prompt)
}

/// The name under which people know a model: the catalogue's, else that of its file or folder.
pub(crate) fn name(embedder: &Embedder) -> String {
    let settings = embedder.settings();
    let path: &Path = &settings.path;
    let of_path = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    settings.entry.map(|entry| entry.name.clone()).or_else(of_path).unwrap_or_else(|| settings.description.name.clone())
}

/// The model of an embedder, if there is anything of it in the index.
pub(crate) fn find(connection: &Connection, embedder: &Embedder) -> Result<Option<Model>, Error> {
    let probe = embed(embedder, &[PROBE], Prompt::None)?.remove(0);
    let mut statement = connection.prepare_cached(
        "SELECT id, name, dim, background_mean, background_deviation, probe FROM models WHERE signature = ?",
    )?;
    let rows = statement.query_map([signature(embedder)], |row| {
        let model =
            Model { id: row.get(0)?, name: row.get(1)?, dim: row.get(2)?, background: (row.get(3)?, row.get(4)?) };
        Ok((model, row.get::<_, Vec<u8>>(5)?))
    })?;
    for row in rows {
        let (model, bytes) = row?;
        let known: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if dot(&known, &probe) >= SAME {
            return Ok(Some(model));
        }
    }
    Ok(None)
}

/// The model of an embedder, made known to the index if it is not.
pub(crate) fn register(connection: &Connection, embedder: &Embedder) -> Result<Model, Error> {
    if let Some(model) = find(connection, embedder)? {
        return Ok(model);
    }
    if max_input_tokens(embedder) < 2 * MIN_CHUNK_TOKENS {
        return Err(Error::ShortModel { model: name(embedder), max_length: embedder.settings().max_length });
    }
    let probe = embed(embedder, &[PROBE], Prompt::None)?.remove(0);
    let (name, dim, background) = (name(embedder), probe.len(), background(embedder)?);
    let bytes: Vec<u8> = probe.iter().flat_map(|value| value.to_le_bytes()).collect();
    connection.execute(
        "INSERT INTO models (name, signature, probe, dim, background_mean, background_deviation) VALUES (?, ?, ?, ?, ?, ?)",
        params![name, signature(embedder), bytes, dim, background.0, background.1],
    )?;
    Ok(Model { id: connection.last_insert_rowid(), name, dim, background })
}

/// Notes that collections are searched with a model from now on; all of them if none is given.
pub(crate) fn put_in_use(connection: &Connection, model: &Model, collections: &[i64]) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO settings VALUES (?, ?)";
    if collections.is_empty() {
        connection.execute("DELETE FROM settings WHERE key LIKE 'model/%'", [])?;
        connection.execute(sql, params!["model", model.id])?;
    }
    for id in collections {
        connection.execute(sql, params![format!("model/{id}"), model.id])?;
    }
    Ok(())
}

/// The table `in_use` for a statement: collections, each with the model that its last update embedded with.
pub(crate) const IN_USE: &str = "in_use (collection_id, model_id) AS (
    SELECT c.id, CAST(ifnull(own.value, general.value) AS INTEGER) FROM collections c
    LEFT JOIN settings own ON own.key = 'model/' || c.id LEFT JOIN settings general ON general.key = 'model')";

/// The names of the models that there are vectors of.
pub(crate) fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT DISTINCT name FROM models ORDER BY name")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Mean and standard deviation of the cosines of unrelated texts, as queries and as documents.
fn background(embedder: &Embedder) -> Result<(f64, f64), Error> {
    let queries = embed(embedder, &UNRELATED, Prompt::Query)?;
    let documents = embed(embedder, &UNRELATED, Prompt::Document)?;
    let mut cosines = Vec::new();
    for (i, query) in queries.iter().enumerate() {
        cosines.extend(documents.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, d)| f64::from(dot(query, d))));
    }
    let count = cosines.len() as f64;
    let mean = cosines.iter().sum::<f64>() / count;
    let variance = cosines.iter().map(|cosine| (cosine - mean).powi(2)).sum::<f64>() / count;
    // A model that gives all texts one vector has no scale; any will do.
    Ok((mean, variance.sqrt().max(1e-3)))
}

/// The vectors of short texts, of unit length.
pub(crate) fn embed(embedder: &Embedder, texts: &[&str], prompt: Prompt) -> Result<Vec<Vec<f32>>, Error> {
    let options = EmbedOptions { prompt, ..EmbedOptions::default() };
    Ok(embedder.embed_with(texts, &options)?.into_iter().map(docent::Embedding::into_vector).collect())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    if a.len() == b.len() { a.iter().zip(b).map(|(a, b)| a * b).sum() } else { -1.0 }
}

impl crate::Index {
    /// The model of an embedder, if there is anything of it in the index; which it is, is found out once for each embedder.
    pub(crate) fn model(&self, connection: &Connection, embedder: &Embedder) -> Result<Option<Model>, Error> {
        let key = format!("{}\n{}", embedder.settings().path.display(), signature(embedder));
        let known =
            |models: &[(String, Model)]| models.iter().find(|(known, _)| *known == key).map(|(_, model)| model.clone());
        let held = known(&self.models.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(model) = held {
            let sql = "SELECT count(*) FROM models WHERE id = ?";
            let is_there: i64 = connection.prepare_cached(sql)?.query_row([model.id], |row| row.get(0))?;
            if is_there > 0 {
                return Ok(Some(model));
            }
        }
        let found = find(connection, embedder)?;
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.retain(|(known, _)| *known != key);
        models.extend(found.clone().map(|model| (key, model)));
        Ok(found)
    }
}
