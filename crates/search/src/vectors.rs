//! The vectors of a model in memory, and search through them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use docent_kernels::{Isa, Neighbour, ThreadPool, VectorRows, nearest};
use rusqlite::Connection;

use crate::models::Model;
use crate::store::generation;
use crate::{Error, Index};

/// Bytes of the factor before a vector's codes.
const SCALE_BYTES: usize = 4;

/// What a search through vectors reads, as it was at one state of the index.
pub(crate) struct Vectors {
    generation: String,
    model: i64,
    dim: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    /// The chunks of each row: those from `first_chunk[row]` to `first_chunk[row + 1]`.
    first_chunk: Vec<u32>,
    chunks: Vec<ChunkOf>,
    documents: Vec<DocumentOf>,
}

/// A chunk, and its text by its place in the order of numbers of contents.
struct ChunkOf {
    id: i64,
    content: u32,
}

/// A document, with the same.
struct DocumentOf {
    id: i64,
    collection: i64,
    content: u32,
}

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    pub(crate) document: i64,
    /// Its chunk that is nearest.
    pub(crate) chunk: i64,
    pub(crate) cosine: f32,
}

impl Index {
    /// The vectors of a model: those in memory, if the index has not changed since.
    pub(crate) fn vectors(&self, connection: &Connection, model: &Model) -> Result<Arc<Vectors>, Error> {
        let now = generation(connection)?;
        // Two searches at once load once.
        let mut held = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vectors) = held.as_ref().filter(|held| held.model == model.id && held.generation == now) {
            return Ok(Arc::clone(vectors));
        }
        let vectors = Arc::new(Vectors::load(connection, model, now)?);
        *held = Some(Arc::clone(&vectors));
        Ok(vectors)
    }
}

impl Vectors {
    fn load(connection: &Connection, model: &Model, generation: String) -> Result<Vectors, Error> {
        let contents: Vec<i64> = {
            let mut statement =
                connection.prepare_cached("SELECT DISTINCT content_id FROM documents WHERE active ORDER BY 1")?;
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
        };
        let place = |content: i64| contents.binary_search(&content).ok().map(|place| place as u32);

        let (mut ids, mut codes, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        let sql = "SELECT id, codes FROM vectors WHERE model_id = ? AND codes IS NOT NULL ORDER BY id";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([model.id])?;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(1)?.as_blob().unwrap_or_default();
            // One of another length is damage, and found by nothing.
            let Some((scale, row_codes)) =
                bytes.split_first_chunk::<SCALE_BYTES>().filter(|(_, c)| c.len() == model.dim)
            else {
                continue;
            };
            ids.push(row.get::<_, i64>(0)?);
            scales.push(f32::from_le_bytes(*scale));
            codes.extend(row_codes.iter().map(|code| code.cast_signed()));
        }

        let mut of_row: Vec<(u32, ChunkOf)> = Vec::new();
        let mut statement =
            connection.prepare_cached("SELECT id, content_id, vector_id FROM chunks WHERE model_id = ?")?;
        let mut rows = statement.query([model.id])?;
        while let Some(row) = rows.next()? {
            let vector: i64 = row.get(2)?;
            if let (Some(content), Ok(at)) = (place(row.get(1)?), ids.binary_search(&vector)) {
                of_row.push((at as u32, ChunkOf { id: row.get(0)?, content }));
            }
        }
        of_row.sort_by_key(|(row, chunk)| (*row, chunk.id));
        let first_chunk =
            (0..=ids.len()).map(|row| of_row.partition_point(|(of, _)| (*of as usize) < row) as u32).collect();

        let sql = "SELECT id, collection_id, content_id FROM documents WHERE active ORDER BY content_id, id";
        let mut statement = connection.prepare_cached(sql)?;
        let mut documents = Vec::new();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(content) = place(row.get(2)?) {
                documents.push(DocumentOf { id: row.get(0)?, collection: row.get(1)?, content });
            }
        }
        let chunks = of_row.into_iter().map(|(_, chunk)| chunk).collect();
        Ok(Vectors { generation, model: model.id, dim: model.dim, codes, scales, first_chunk, chunks, documents })
    }

    /// The documents of some collections with the chunks nearest to a query, nearest first, at most `count`.
    pub(crate) fn search(&self, query: &[f32], collections: &[i64], count: usize, threads: &ThreadPool) -> Vec<Near> {
        if query.len() != self.dim {
            return Vec::new();
        }
        let mut allowed = vec![false; self.documents.last().map_or(0, |last| last.content as usize + 1)];
        for document in self.documents.iter().filter(|document| collections.contains(&document.collection)) {
            allowed[document.content as usize] = true;
        }
        let is_allowed = |chunk: &ChunkOf| allowed.get(chunk.content as usize).copied().unwrap_or(false);
        let rows = VectorRows::Bytes { codes: &self.codes, scales: &self.scales };
        let total = self.scales.len();
        // A document has several chunks: look at more rows until there are documents enough.
        let mut wanted = count.saturating_mul(4).max(64);
        loop {
            let found =
                nearest(Isa::best(), threads, rows, query, wanted, |row| self.chunks_of(row).iter().any(is_allowed));
            let is_all = found.len() < wanted || wanted >= total;
            let documents = self.documents(&found, is_allowed, collections, count);
            if documents.len() >= count || is_all {
                return documents;
            }
            wanted = wanted.saturating_mul(4);
        }
    }

    /// The nearest chunk of each of some documents that have any.
    pub(crate) fn nearest_chunks(&self, query: &[f32], documents: &[i64]) -> Vec<Near> {
        if query.len() != self.dim || documents.is_empty() {
            return Vec::new();
        }
        let wanted: HashSet<i64> = documents.iter().copied().collect();
        let wanted = self.documents.iter().filter(|document| wanted.contains(&document.id));
        let mut of_content: HashMap<u32, Vec<i64>> = HashMap::new();
        wanted.for_each(|document| of_content.entry(document.content).or_default().push(document.id));
        let mut best: HashMap<i64, Near> = HashMap::new();
        for row in 0..self.scales.len() {
            for chunk in self.chunks_of(row) {
                for &document in of_content.get(&chunk.content).map_or(&[][..], Vec::as_slice) {
                    let near = Near { document, chunk: chunk.id, cosine: self.cosine(query, row) };
                    let held = best.entry(document).or_insert(near);
                    if near.cosine > held.cosine {
                        *held = near;
                    }
                }
            }
        }
        best.into_values().collect()
    }

    fn cosine(&self, query: &[f32], row: usize) -> f32 {
        let codes = &self.codes[row * self.dim..][..self.dim];
        self.scales[row] * codes.iter().zip(query).map(|(code, value)| f32::from(*code) * value).sum::<f32>()
    }

    fn chunks_of(&self, row: usize) -> &[ChunkOf] {
        &self.chunks[self.first_chunk[row] as usize..self.first_chunk[row + 1] as usize]
    }

    /// The documents of rows that were found, each with the first.
    fn documents(
        &self,
        found: &[Neighbour],
        is_allowed: impl Fn(&ChunkOf) -> bool,
        collections: &[i64],
        count: usize,
    ) -> Vec<Near> {
        let mut seen = HashSet::new();
        let mut near = Vec::new();
        for Neighbour { row, product } in found {
            for chunk in self.chunks_of(*row).iter().filter(|chunk| is_allowed(chunk)) {
                if !seen.insert(chunk.content) {
                    continue;
                }
                let first = self.documents.partition_point(|document| document.content < chunk.content);
                let same = self.documents[first..].iter().take_while(|document| document.content == chunk.content);
                for document in same.filter(|document| collections.contains(&document.collection)) {
                    near.push(Near { document: document.id, chunk: chunk.id, cosine: *product });
                }
            }
            if near.len() >= count {
                break;
            }
        }
        near.truncate(count);
        near
    }
}
