//! One run of a model over a batch, and what a run can leave for those that go on from it.

use std::ops::Range;

use docent_kernels::{Executor, Matrix, Rows, Sequences};

use crate::Batch;

/// What a forward pass is to compute.
pub(crate) struct Pass<'a> {
    pub(crate) batch: &'a Batch,
    /// The tokens whose last hidden states are wanted.
    pub(crate) rows: Rows,
    pub(crate) cache: Cache<'a>,
}

/// How a pass has to do with the tokens before its own.
pub(crate) enum Cache<'a> {
    /// There are none.
    None,
    /// Its one sequence is to be the start of others, and its keys and values are kept for them.
    Fill(&'a mut Prefix),
    /// Each of its sequences goes on from the same start.
    Follow(&'a Prefix),
}

impl Pass<'_> {
    /// The tokens whose hidden states layer `layer` of `layers` has to give: every token is read by the next layer, and of the last
    /// by whoever asked.
    pub(crate) fn rows_of(&self, layer: usize, layers: usize) -> Rows {
        if layer + 1 == layers { self.rows } else { Rows::All }
    }

    /// `x` with `rows` alone.
    pub(crate) fn keep(&self, executor: &mut Executor, x: Matrix, rows: Rows) -> Matrix {
        if rows == Rows::All {
            return x;
        }
        let mut kept = executor.matrix(rows.count(self.batch.sequences()), x.columns());
        executor.gather(&x, self.batch.sequences(), rows, &mut kept);
        executor.recycle(x);
        kept
    }
}

/// The keys and values of tokens that many sequences begin with, for each layer.
///
/// Where a token sees only those before it, they are the same whatever comes after, so they are computed once
/// ([`Model::prefix`](crate::Model::prefix)).
pub struct Prefix {
    tokens: usize,
    layers: Vec<Matrix>,
}

impl Prefix {
    pub(crate) fn new(tokens: usize) -> Self {
        Prefix { tokens, layers: Vec::new() }
    }

    /// The tokens that it stands for.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.rows() * layer.columns() * size_of::<f32>()).sum()
    }

    /// Keeps the columns `columns` of layer `layer`, the next.
    pub(crate) fn push(&mut self, executor: &mut Executor, layer: usize, qkv: &Matrix, columns: Range<usize>) {
        assert_eq!((layer, qkv.rows()), (self.layers.len(), self.tokens), "layer and tokens of a prefix");
        let mut kept = executor.matrix(self.tokens, columns.len());
        for row in 0..self.tokens {
            kept.row_mut(row).copy_from_slice(&qkv.row(row)[columns.clone()]);
        }
        self.layers.push(kept);
    }

    /// The columns `columns` of layer `layer`, before those of each sequence of `qkv`. What is in the other columns is not specified.
    pub(crate) fn before(
        &self,
        executor: &mut Executor,
        layer: usize,
        qkv: &Matrix,
        sequences: &Sequences,
        columns: Range<usize>,
    ) -> (Matrix, Sequences) {
        let whole = Sequences::from_lengths(sequences.iter().map(|tokens| self.tokens + tokens.len()));
        let mut out = executor.matrix(whole.tokens(), qkv.columns());
        for (own, whole) in sequences.iter().zip(whole.iter()) {
            let prefix = (0..self.tokens).map(|row| self.layers[layer].row(row));
            let own = own.map(|row| &qkv.row(row)[columns.clone()]);
            for (to, from) in whole.zip(prefix.chain(own)) {
                out.row_mut(to)[columns.clone()].copy_from_slice(from);
            }
        }
        (out, whole)
    }
}
