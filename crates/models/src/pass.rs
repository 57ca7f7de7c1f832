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
    /// Its one sequence goes on from a start, if there is one yet, and its keys and values are added to that for what comes after.
    Extend(&'a mut Prefix),
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

/// The keys and values of the tokens that a sequence begins with, for each layer.
///
/// Where a token sees only those before it, they are the same whatever comes after. So they are computed once: for all sequences that
/// begin alike ([`Model::prefix`](crate::Model::prefix)), or token by token as a sequence is written
/// ([`Model::next_logits`](crate::Model::next_logits)).
#[derive(Default)]
pub struct Prefix {
    tokens: usize,
    layers: Vec<Matrix>,
}

impl Prefix {
    /// Of no tokens: what a sequence that is written from its beginning starts with.
    pub fn new() -> Self {
        Prefix::default()
    }

    /// The tokens that it stands for.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bytes of memory that its keys and values take.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.rows() * layer.columns() * size_of::<f32>()).sum()
    }

    /// Gives its memory to an executor.
    pub fn recycle(self, executor: &mut Executor) {
        self.layers.into_iter().for_each(|layer| executor.recycle(layer));
    }

    /// Adds the columns `columns` of all rows of `qkv` to layer `layer`, and gives what it has then. The tokens count when
    /// [`advance`](Self::advance) says so, after the last layer.
    pub(crate) fn push(
        &mut self,
        executor: &mut Executor,
        layer: usize,
        qkv: &Matrix,
        columns: Range<usize>,
    ) -> &Matrix {
        if layer == self.layers.len() {
            self.layers.push(executor.matrix(0, columns.len()));
        }
        let kept = &mut self.layers[layer];
        kept.set_rows(self.tokens + qkv.rows());
        for row in 0..qkv.rows() {
            kept.row_mut(self.tokens + row).copy_from_slice(&qkv.row(row)[columns.clone()]);
        }
        kept
    }

    /// Counts tokens whose keys and values have been added to every layer.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// Layer `layer`, before the columns `columns` of each sequence of `qkv`.
    pub(crate) fn before(
        &self,
        executor: &mut Executor,
        layer: usize,
        qkv: &Matrix,
        sequences: &Sequences,
        columns: Range<usize>,
    ) -> (Matrix, Sequences) {
        let whole = Sequences::from_lengths(sequences.iter().map(|tokens| self.tokens + tokens.len()));
        let mut out = executor.matrix(whole.tokens(), columns.len());
        for (own, whole) in sequences.iter().zip(whole.iter()) {
            let prefix = (0..self.tokens).map(|row| self.layers[layer].row(row));
            let own = own.map(|row| &qkv.row(row)[columns.clone()]);
            for (to, from) in whole.zip(prefix.chain(own)) {
                out.row_mut(to).copy_from_slice(from);
            }
        }
        (out, whole)
    }
}
