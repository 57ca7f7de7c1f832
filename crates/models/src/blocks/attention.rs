//! Self-attention: from hidden states to what each token gathers from those it sees.

use docent_kernels::{Distances, Epilogue, Executor, Heads, Mask, Matrix, Norm, Queries, Rotary, Rows, Sequences};

use super::Adapted;
use crate::pass::{Cache, Pass};

/// The projections of a layer to queries, keys and values, and how its heads use them.
pub(crate) struct Attention {
    /// To queries, keys and values, one after the other.
    pub(crate) projection: Adapted,
    heads: Heads,
    norm: Option<QueryKeyNorm>,
    /// What scores tell of the distance between tokens, if they tell it.
    distances: Option<Distances>,
}

/// A norm of queries and of keys, before positions turn them, and perhaps of values.
pub(crate) enum QueryKeyNorm {
    /// An RMSNorm of each head.
    RmsOfHeads { query: Norm, key: Norm, value: Option<Norm> },
    /// A LayerNorm of all heads together.
    LayerNorm { query: Norm, key: Norm },
}

impl Attention {
    pub(crate) fn new(projection: Adapted, heads: &Heads, norm: Option<QueryKeyNorm>) -> Self {
        let heads = heads.clone().coded(projection.is_quantized());
        Attention { projection, heads, norm, distances: None }
    }

    /// The same with scores that tell the distance, by `embeddings` that are projected as hidden states are; `row_of` has the row of each
    /// distance among so many positions.
    pub(crate) fn with_distances(
        self,
        executor: &mut Executor,
        embeddings: &Matrix,
        positions: usize,
        row_of: impl Fn(i64) -> usize,
    ) -> Self {
        let mut projected = executor.matrix(embeddings.rows(), self.heads.columns());
        let columns = self.heads.queries_and_keys();
        self.projection.run_columns(executor, None, embeddings, columns, Epilogue::Assign, &mut projected);
        let distances = Distances::new(&projected, &self.heads, positions, row_of);
        executor.recycle(projected);
        Attention { distances: Some(distances), ..self }
    }

    /// Layer `layer` of a pass: what each of `rows` gathers, its heads side by side, from the tokens that `mask` lets it see.
    ///
    /// Keys and values are computed for all tokens of `x`, queries for `rows` alone.
    pub(crate) fn gather(
        &self,
        executor: &mut Executor,
        pass: &mut Pass<'_>,
        (layer, rows): (usize, Rows),
        x: &Matrix,
        mask: Mask,
        rotary: Option<&Rotary>,
    ) -> Matrix {
        let (heads, batch, task) = (&self.heads, pass.batch, pass.batch.task());
        let mut qkv = executor.matrix(x.rows(), heads.columns());
        let queries = if rows == Rows::All {
            self.projection.run(executor, task, x, Epilogue::Assign, &mut qkv);
            self.place_queries(executor, &mut qkv, batch.positions(), rotary);
            None
        } else {
            let columns = heads.keys_and_values();
            self.projection.run_columns(executor, task, x, columns, Epilogue::Assign, &mut qkv);
            let mut wanted = executor.matrix(rows.count(batch.sequences()), x.columns());
            executor.gather(x, batch.sequences(), rows, &mut wanted);
            let mut queries = executor.matrix(wanted.rows(), heads.columns());
            let columns = heads.queries();
            self.projection.run_columns(executor, task, &wanted, columns, Epilogue::Assign, &mut queries);
            executor.recycle(wanted);
            self.place_queries(executor, &mut queries, &batch.positions_of(rows), rotary);
            Some(queries)
        };
        self.place_keys(executor, &mut qkv, batch.positions(), rotary);

        let queries_of = |rows| Queries { matrix: queries.as_ref().unwrap_or(&qkv), rows };
        let mut out = executor.matrix(rows.count(batch.sequences()), heads.queries().end);
        match &mut pass.cache {
            Cache::None if let Some(distances) = &self.distances => {
                let queries = queries_of(rows);
                executor.relative_attention_of(queries, &qkv, batch.sequences(), heads, distances, &mut out);
            }
            Cache::None => executor.attention_of(queries_of(rows), &qkv, batch.sequences(), heads, mask, &mut out),
            Cache::Extend(prefix) => {
                let first = prefix.tokens();
                let whole = prefix.push(executor, layer, &qkv, heads.keys_and_values());
                let sequences = Sequences::from_lengths([whole.rows()]);
                let rows = if rows == Rows::All { Rows::After(first) } else { rows };
                executor.attention_of(queries_of(rows), whole, &sequences, heads, mask, &mut out);
            }
            Cache::Follow(prefix) => {
                let (whole, sequences) =
                    prefix.before(executor, layer, &qkv, batch.sequences(), heads.keys_and_values());
                let rows = if rows == Rows::All { Rows::After(prefix.tokens()) } else { rows };
                executor.attention_of(queries_of(rows), &whole, &sequences, heads, mask, &mut out);
                executor.recycle(whole);
            }
        }
        queries.into_iter().for_each(|queries| executor.recycle(queries));
        executor.recycle(qkv);
        out
    }

    fn place_queries(&self, executor: &mut Executor, qkv: &mut Matrix, positions: &[u32], rotary: Option<&Rotary>) {
        let columns = self.heads.queries();
        match &self.norm {
            Some(QueryKeyNorm::RmsOfHeads { query, .. }) => executor.rms_norm_columns(qkv, columns.clone(), query),
            Some(QueryKeyNorm::LayerNorm { query, .. }) => executor.layer_norm_columns(qkv, columns.clone(), query),
            None => {}
        }
        if let Some(rotary) = rotary {
            executor.rotary(qkv, columns, positions, rotary);
        }
    }

    fn place_keys(&self, executor: &mut Executor, qkv: &mut Matrix, positions: &[u32], rotary: Option<&Rotary>) {
        let columns = self.heads.keys();
        match &self.norm {
            Some(QueryKeyNorm::RmsOfHeads { key, value, .. }) => {
                executor.rms_norm_columns(qkv, columns.clone(), key);
                if let Some(value) = value {
                    executor.rms_norm_columns(qkv, self.heads.values(), value);
                }
            }
            Some(QueryKeyNorm::LayerNorm { key, .. }) => executor.layer_norm_columns(qkv, columns.clone(), key),
            None => {}
        }
        if let Some(rotary) = rotary {
            executor.rotary(qkv, columns, positions, rotary);
        }
    }

    /// Bytes of memory that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        self.projection.bytes() + self.distances.as_ref().map_or(0, Distances::bytes)
    }
}
