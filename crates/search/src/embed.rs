//! Vectors for what has none yet.

use std::ops::Range;

use docent::{EmbedOptions, Embedder, Prompt};
use docent_kernels::quantize_vector;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::chunk::{CODE_RULE, Chunk, ChunkOptions, Syntax, chunks};
use crate::collection::require;
use crate::models::{self, Model, max_input_tokens};
use crate::store::{Wait, WriterLock, next_generation};
use crate::update::{Progress, Stage};
use crate::{Error, Index};

/// Texts that are cut and committed together.
const TEXTS_PER_COMMIT: usize = 64;

/// Chunks that are embedded and committed together: what a killed process loses at most.
const CHUNKS_PER_COMMIT: usize = 64;

/// Bytes of an input's hash.
const HASH_BYTES: usize = 16;

/// What was embedded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EmbedReport {
    /// The model.
    pub model: String,
    /// Texts that were cut into chunks.
    pub texts: u64,
    /// Chunks of these texts.
    pub chunks: u64,
    /// Of these, chunks whose vector was there already, from an earlier state of the text or from another text.
    pub reused: u64,
    /// Vectors that were made, those that an earlier run had left open included.
    pub embedded: u64,
    /// Tokens that the model read.
    pub tokens: u64,
}

/// What is embedded with what.
struct Work<'a> {
    embedder: &'a Embedder,
    model: Model,
    /// The numbers of the collections, a JSON array; `None` for all.
    scope: Option<String>,
    progress: &'a dyn Progress,
}

/// Whether a vector `v` belongs to a chunk, of the collections `?2` if these are given.
const IN_SCOPE: &str = "EXISTS (SELECT 1 FROM chunks k WHERE k.vector_id = v.id AND (?2 IS NULL OR EXISTS (
    SELECT 1 FROM documents d WHERE d.content_id = k.content_id AND d.active
    AND d.collection_id IN (SELECT value FROM json_each(?2)))))";

/// A text that is to be cut.
struct Uncut {
    content: i64,
    text: String,
    path: String,
}

/// A chunk that has no vector.
struct Open {
    vector: i64,
    content: i64,
    chunk: Chunk,
}

impl Index {
    /// Cuts the texts that the model has not seen into chunks and embeds those that are new.
    ///
    /// Vectors are found by what was embedded: of an edited file, the chunks that the edit left alone keep theirs. Every 64 chunks
    /// are committed; after a crash the next call goes on from there. Vectors of another model stay beside them until
    /// [`cleanup`](Index::cleanup), so that one can go back.
    ///
    /// # Errors
    /// Those of the model and the database.
    pub fn embed(&self, embedder: &Embedder, wait: Wait, progress: &dyn Progress) -> Result<EmbedReport, Error> {
        self.embed_collections(embedder, &[], wait, progress)
    }

    /// The same for some collections; for all of them if none is named. The model is the one in use for these from then on.
    ///
    /// # Errors
    /// An unknown collection, those of the model and the database.
    pub fn embed_collections(
        &self,
        embedder: &Embedder,
        collections: &[String],
        wait: Wait,
        progress: &dyn Progress,
    ) -> Result<EmbedReport, Error> {
        let _lock = WriterLock::acquire(self.store.path(), wait, |holder| progress.waiting(holder))?;
        let work = self.store.write(|transaction| {
            let ids =
                collections.iter().map(|name| Ok(require(transaction, name)?.0)).collect::<Result<Vec<_>, Error>>()?;
            let model = models::register(transaction, embedder)?;
            models::put_in_use(transaction, &model, &ids)?;
            forget_other_rule(transaction, &model)?;
            let scope = if ids.is_empty() { None } else { Some(serde_json::json!(ids).to_string()) };
            Ok(Work { embedder, model, scope, progress })
        })?;
        let mut report = EmbedReport { model: work.model.name.clone(), ..EmbedReport::default() };
        self.cut_texts(&work, &mut report)?;
        self.fill_vectors(&work, &mut report)?;
        Ok(report)
    }

    fn cut_texts(&self, work: &Work<'_>, report: &mut EmbedReport) -> Result<(), Error> {
        let uncut: Vec<i64> = self.store.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT id FROM contents WHERE id IN (SELECT content_id FROM documents WHERE active
                     AND (?2 IS NULL OR collection_id IN (SELECT value FROM json_each(?2))))
                 AND id NOT IN (SELECT content_id FROM chunked WHERE model_id = ?1) ORDER BY id",
            )?;
            let ids = statement.query_map(params![work.model.id, work.scope], |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })?;
        work.progress.start(Stage::Chunks, uncut.len() as u64);
        for ids in uncut.chunks(TEXTS_PER_COMMIT) {
            if work.progress.is_stopped() {
                return Ok(());
            }
            let texts = self.texts(ids)?;
            let cut = cut_all(work.embedder, &texts)?;
            self.store.write(|transaction| {
                for (text, chunks) in texts.iter().zip(&cut) {
                    report.texts += 1;
                    report.chunks += chunks.len() as u64;
                    report.reused += write_chunks(transaction, &work.model, text, chunks)?;
                }
                Ok(next_generation(transaction)?)
            })?;
            work.progress.advance(ids.len() as u64);
        }
        Ok(())
    }

    fn texts(&self, ids: &[i64]) -> Result<Vec<Uncut>, Error> {
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT text, (SELECT path FROM documents WHERE content_id = contents.id AND active ORDER BY id LIMIT 1)
                 FROM contents WHERE id = ?",
            )?;
            let mut texts = Vec::with_capacity(ids.len());
            for &content in ids {
                let row = |row: &rusqlite::Row<'_>| {
                    let path: Option<String> = row.get(1)?;
                    Ok(Uncut { content, text: row.get(0)?, path: path.unwrap_or_default() })
                };
                texts.extend(statement.query_row([content], row).optional()?);
            }
            Ok(texts)
        })
    }

    fn fill_vectors(&self, work: &Work<'_>, report: &mut EmbedReport) -> Result<(), Error> {
        let open: i64 = self.store.read(|connection| {
            let sql =
                format!("SELECT count(*) FROM vectors v WHERE v.model_id = ?1 AND v.codes IS NULL AND {IN_SCOPE}");
            Ok(connection.query_row(&sql, params![work.model.id, work.scope], |row| row.get(0))?)
        })?;
        work.progress.start(Stage::Vectors, open.cast_unsigned());
        let options = EmbedOptions { prompt: Prompt::Document, ..EmbedOptions::default() };
        let mut last: Option<(i64, String)> = None;
        loop {
            let batch = self.open_chunks(work)?;
            if batch.is_empty() || work.progress.is_stopped() {
                return Ok(());
            }
            let mut inputs = Vec::with_capacity(batch.len());
            for open in &batch {
                let text = match last.take() {
                    Some((content, text)) if content == open.content => text,
                    _ => self.texts(&[open.content])?.pop().map(|uncut| uncut.text).unwrap_or_default(),
                };
                inputs.push(open.chunk.input(&text));
                last = Some((open.content, text));
            }
            let embeddings = work.embedder.embed_with(&inputs, &options)?;
            self.store.write(|transaction| {
                let mut statement = transaction.prepare_cached("UPDATE vectors SET codes = ? WHERE id = ?")?;
                for (open, embedding) in batch.iter().zip(&embeddings) {
                    statement.execute(params![to_bytes(embedding.vector()), open.vector])?;
                    report.tokens += embedding.tokens as u64;
                }
                Ok(next_generation(transaction)?)
            })?;
            report.embedded += batch.len() as u64;
            work.progress.advance(batch.len() as u64);
        }
    }

    /// The next chunks that have no vector, one for each vector.
    fn open_chunks(&self, work: &Work<'_>) -> Result<Vec<Open>, Error> {
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT v.id, c.content_id, c.start, c.end, c.line, c.heading
                 FROM vectors v JOIN chunks c ON c.id = (SELECT min(id) FROM chunks WHERE vector_id = v.id)
                 WHERE v.model_id = ?1 AND v.codes IS NULL AND {IN_SCOPE} ORDER BY v.id LIMIT ?3"
            ))?;
            let rows = statement.query_map(params![work.model.id, work.scope, CHUNKS_PER_COMMIT], |row| {
                let range: Range<usize> = row.get(2)?..row.get(3)?;
                let chunk = Chunk { range, line: row.get(4)?, heading: row.get(5)? };
                Ok(Open { vector: row.get(0)?, content: row.get(1)?, chunk })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// Has code cut anew that was cut by another rule than this version's. Its vectors stay, and are found again by chunks that are as they were.
fn forget_other_rule(transaction: &Transaction<'_>, model: &Model) -> Result<(), Error> {
    let key = format!("code of {}", model.id);
    let sql = "SELECT EXISTS (SELECT 1 FROM settings WHERE key = ? AND value = ?)";
    if transaction.query_row(sql, [key.as_str(), CODE_RULE], |row| row.get(0))? {
        return Ok(());
    }
    let mut statement = transaction.prepare(
        "SELECT t.id, substr(t.text, 1, 2),
                (SELECT path FROM documents WHERE content_id = t.id AND active ORDER BY id LIMIT 1)
         FROM chunked k JOIN contents t ON t.id = k.content_id WHERE k.model_id = ?",
    )?;
    let rows = statement.query_map([model.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let cut: Vec<(i64, String, Option<String>)> = rows.collect::<rusqlite::Result<_>>()?;
    for (content, begin, path) in cut {
        if path.is_some_and(|path| Syntax::of(&path, &begin) != Syntax::Markdown) {
            for table in ["chunks", "chunked"] {
                let sql = format!("DELETE FROM {table} WHERE content_id = ? AND model_id = ?");
                transaction.prepare_cached(&sql)?.execute([content, model.id])?;
            }
        }
    }
    transaction.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [key.as_str(), CODE_RULE])?;
    Ok(())
}

/// Cuts texts on as many threads as the embedder has.
fn cut_all(embedder: &Embedder, texts: &[Uncut]) -> Result<Vec<Vec<Chunk>>, Error> {
    let per_thread = texts.len().div_ceil(embedder.threads()).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = texts
            .chunks(per_thread)
            .map(|part| scope.spawn(move || part.iter().map(|text| cut(embedder, text)).collect::<Result<Vec<_>, _>>()))
            .collect();
        let mut all = Vec::with_capacity(texts.len());
        for part in parts {
            all.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

fn cut(embedder: &Embedder, text: &Uncut) -> Result<Vec<Chunk>, Error> {
    let tokenizer = embedder.tokenizer();
    let failed = |source| Error::Tokenize { name: text.path.clone(), source };
    let found = chunks(&text.text, Syntax::of(&text.path, &text.text), tokenizer, ChunkOptions::of(embedder))
        .map_err(failed)?;
    let most = max_input_tokens(embedder) + tokenizer.special_token_count();
    let mut fitting = Vec::with_capacity(found.len());
    for chunk in found {
        fit(&text.text, chunk, &|input| Ok(tokenizer.ids(input).map_err(failed)?.len() <= most), &mut fitting)?;
    }
    Ok(fitting)
}

/// Makes a chunk fit the model: without its headings, if it does not fit with them, else in halves. Few ever need it: a text that is cut inside
/// of a word may have more tokens than the word had.
fn fit(
    text: &str,
    mut chunk: Chunk,
    fits: &dyn Fn(&str) -> Result<bool, Error>,
    out: &mut Vec<Chunk>,
) -> Result<(), Error> {
    if !fits(&chunk.input(text))? && !chunk.heading.is_empty() {
        chunk.heading.clear();
    }
    let Range { start, end } = chunk.range;
    let middle = text.ceil_char_boundary(start + (end - start) / 2);
    if middle >= end || fits(&chunk.input(text))? {
        out.push(chunk);
        return Ok(());
    }
    let line = chunk.line + text[start..middle].matches('\n').count();
    fit(text, Chunk { range: start..middle, ..chunk }, fits, out)?;
    fit(text, Chunk { range: middle..end, line, heading: String::new() }, fits, out)
}

/// Stores the chunks of a text; returns how many have a vector already.
fn write_chunks(transaction: &Transaction<'_>, model: &Model, text: &Uncut, chunks: &[Chunk]) -> Result<u64, Error> {
    let mut reused = 0;
    for chunk in chunks {
        let hash = &Sha256::digest(chunk.input(&text.text).as_bytes())[..HASH_BYTES];
        let find = "SELECT id, codes IS NOT NULL FROM vectors WHERE model_id = ? AND input_hash = ?";
        let found: Option<(i64, bool)> = transaction
            .prepare_cached(find)?
            .query_row(params![model.id, hash], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        reused += u64::from(found.is_some_and(|(_, is_filled)| is_filled));
        let vector = match found {
            Some((id, _)) => id,
            None => transaction
                .prepare_cached("INSERT INTO vectors (model_id, input_hash) VALUES (?, ?)")?
                .insert(params![model.id, hash])?,
        };
        transaction
            .prepare_cached(
                "INSERT INTO chunks (model_id, content_id, vector_id, start, end, line, heading) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                model.id,
                text.content,
                vector,
                chunk.range.start,
                chunk.range.end,
                chunk.line,
                chunk.heading
            ])?;
    }
    transaction.prepare_cached("INSERT INTO chunked VALUES (?, ?)")?.execute([text.content, model.id])?;
    Ok(reused)
}

/// A vector as it is stored: a factor and a signed byte for each component.
fn to_bytes(vector: &[f32]) -> Vec<u8> {
    let mut codes = vec![0; vector.len()];
    let scale = quantize_vector(vector, &mut codes);
    let mut bytes = scale.to_le_bytes().to_vec();
    bytes.extend(codes.iter().map(|code| code.cast_unsigned()));
    bytes
}
