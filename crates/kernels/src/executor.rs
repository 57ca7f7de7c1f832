//! The fused operations that forward passes are written in.

#![allow(unsafe_code)]

mod attention;
mod columns;
mod linear;
mod some_rows;
mod tiles;

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{AlignedBuffer, Matrix};
use crate::generic::block_product::QuantizedBlock;
use crate::kernels::Kernels;
use crate::pooling::{self, Pooling, Rows};
use crate::threads::ThreadPool;
use crate::weights::{EmbeddingTable, Norm};
use crate::{Isa, Sequences};
pub use attention::Queries;
use attention::QueryBlock;

/// Runs operations on hidden states, on one thread or on a pool, and keeps the memory they need.
///
/// Every operation gives each row the same bits whatever the other rows are and however the work is split: a vector
/// depends on its text and the model alone.
///
/// Matrices are made by [`matrix`](Self::matrix) and handed back to [`recycle`](Self::recycle); once an executor has
/// seen its largest batch, operations allocate no more. The memory it may hold between batches is bounded by
/// [`release`](Self::release).
pub struct Executor {
    kernels: &'static Kernels,
    threads: Option<Arc<ThreadPool>>,
    free: Vec<AlignedBuffer<f32>>,
    quantized: AlignedBuffer<QuantizedBlock>,
    /// Records of expanded panels, and what it takes to make them, for each thread.
    expanded: AlignedBuffer<u8>,
    scratch: AlignedBuffer<f32>,
    query_blocks: Vec<QueryBlock>,
}

/// A pointer that jobs on several threads write through, each to places of its own.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: the operations below give each job rows and columns that no other job of the phase touches.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn get(self) -> *mut T {
        self.0
    }
}

impl Executor {
    /// An executor on the calling thread alone.
    pub fn inline(isa: Isa) -> Self {
        Self::new(isa, None)
    }

    /// An executor that spreads each operation over a pool.
    pub fn on_pool(isa: Isa, threads: Arc<ThreadPool>) -> Self {
        Self::new(isa, Some(threads))
    }

    fn new(isa: Isa, threads: Option<Arc<ThreadPool>>) -> Self {
        Executor {
            kernels: isa.kernels(),
            threads,
            free: Vec::new(),
            quantized: AlignedBuffer::zeroed(0),
            expanded: AlignedBuffer::zeroed(0),
            scratch: AlignedBuffer::zeroed(0),
            query_blocks: Vec::new(),
        }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// A matrix with room for `rows` rows of `columns` values, which are not initialised to anything in particular.
    pub fn matrix(&mut self, rows: usize, columns: usize) -> Matrix {
        let needed = Matrix::len_of(rows, columns);
        // The smallest buffer that is large enough, or else the largest, which grows least.
        let best = (0..self.free.len()).min_by_key(|&i| {
            let capacity = self.free[i].capacity();
            if capacity >= needed { (0, capacity) } else { (1, usize::MAX - capacity) }
        });
        let buffer = best.map_or_else(|| AlignedBuffer::zeroed(0), |i| self.free.swap_remove(i));
        Matrix::from_buffer(buffer, rows, columns)
    }

    /// Takes back the memory of a matrix.
    pub fn recycle(&mut self, matrix: Matrix) {
        self.free.push(matrix.into_buffer());
    }

    /// Gives memory back to the system if the executor holds more than `keep_bytes`.
    pub fn release(&mut self, keep_bytes: usize) {
        let matrices = self.free.iter().map(AlignedBuffer::capacity).sum::<usize>();
        let floats = matrices + self.scratch.capacity();
        let held = floats * size_of::<f32>()
            + self.quantized.capacity() * size_of::<QuantizedBlock>()
            + self.expanded.capacity();
        if held > keep_bytes {
            *self = Self::new(self.kernels.isa, self.threads.take());
        }
    }

    /// `out[i] = sum over (table, ids) of table[ids[i]]`: the input of a transformer, from its token, position and
    /// segment embeddings.
    ///
    /// # Panics
    /// If an id is not below its table's rows, or the numbers of ids, rows and columns do not agree.
    pub fn embed(&mut self, parts: &[(&EmbeddingTable, &[u32])], out: &mut Matrix) {
        let (rows, columns, stride) = (out.rows(), out.columns(), out.stride());
        for (table, ids) in parts {
            assert_eq!(table.columns(), columns, "columns of an embedding table");
            assert_eq!(ids.len(), rows, "ids of an embedding table");
            if let Some(id) = ids.iter().find(|&&id| id as usize >= table.rows()) {
                panic!("id {id} in a table of {} rows", table.rows());
            }
        }
        let (kernels, data) = (self.kernels, Shared(out.as_mut_ptr()));
        self.for_row_blocks(rows, columns, |rows| {
            for row in rows {
                let to = data.get().wrapping_add(row * stride);
                // SAFETY: `row` is a row of `out` that no other job has.
                unsafe { std::slice::from_raw_parts_mut(to, columns) }.fill(0.0);
                for (table, ids) in parts {
                    let encoded = table.row(ids[row] as usize);
                    // SAFETY: an encoded row of the table has `columns` values, and so has the row at `to`.
                    unsafe { (kernels.add_decoded)(table.weight_type(), encoded.as_ptr(), columns, to) };
                }
            }
        });
    }

    /// Normalises every row in place.
    ///
    /// # Panics
    /// If the norm has another length than a row.
    pub fn layer_norm(&mut self, x: &mut Matrix, norm: &Norm) {
        assert_eq!(norm.weight.len(), x.columns(), "columns of a norm");
        self.layer_norm_columns(x, 0..x.columns(), norm);
    }

    /// Divides every row by the root of the mean of its squares, in place (RMSNorm); the norm's shift is not used.
    ///
    /// # Panics
    /// If the norm has another length than a row.
    pub fn rms_norm(&mut self, x: &mut Matrix, norm: &Norm) {
        assert_eq!(norm.weight.len(), x.columns(), "columns of a norm");
        self.rms_norm_columns(x, 0..x.columns(), norm);
    }

    /// Multiplies every value by one factor.
    pub fn scale(&mut self, x: &mut Matrix, factor: f32) {
        (0..x.rows()).for_each(|row| x.row_mut(row).iter_mut().for_each(|value| *value *= factor));
    }

    /// Makes every value a whole number of a signed byte, `round(127 tanh(x))`, half to even.
    pub fn to_bytes(&mut self, x: &mut Matrix) {
        let byte = |value: f32| (127.0 * f64::from(value).tanh()).round_ties_even() as f32;
        (0..x.rows()).for_each(|row| x.row_mut(row).iter_mut().for_each(|value| *value = byte(*value)));
    }

    /// `to = x`.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn copy(&mut self, x: &Matrix, to: &mut Matrix) {
        self.for_pairs_of_rows(x, to, |x, to| to.copy_from_slice(x));
    }

    /// `to += x`.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add(&mut self, x: &Matrix, to: &mut Matrix) {
        self.for_pairs_of_rows(x, to, |x, to| to.iter_mut().zip(x).for_each(|(to, x)| *to += x));
    }

    /// `to *= x`, value by value.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn multiply(&mut self, x: &Matrix, to: &mut Matrix) {
        self.for_pairs_of_rows(x, to, |x, to| to.iter_mut().zip(x).for_each(|(to, x)| *to *= x));
    }

    /// Calls `f` on each row of `x` with that of `to`.
    fn for_pairs_of_rows(&self, x: &Matrix, to: &mut Matrix, f: impl Fn(&[f32], &mut [f32]) + Sync) {
        assert_eq!((x.rows(), x.columns()), (to.rows(), to.columns()), "shapes of two matrices");
        let (rows, columns, stride, data) = (x.rows(), x.columns(), to.stride(), Shared(to.as_mut_ptr()));
        self.for_row_blocks(rows, columns, |rows| {
            for row in rows {
                // SAFETY: a row of `to`, which has `columns` values, and which no other job has.
                let to = unsafe { std::slice::from_raw_parts_mut(data.get().add(row * stride), columns) };
                f(x.row(row), to);
            }
        });
    }

    /// `out` gets the rows of `x` that belong to the tokens `rows` of each sequence.
    ///
    /// # Panics
    /// If the shapes do not agree, or a sequence is empty and should have a row.
    pub fn gather(&mut self, x: &Matrix, sequences: &Sequences, rows: Rows, out: &mut Matrix) {
        assert_eq!(x.rows(), sequences.tokens(), "rows of the hidden states");
        let shape = (rows.count(sequences), x.columns());
        assert_eq!((out.rows(), out.columns()), shape, "shape of the gathered rows");
        let chosen = sequences.iter().flat_map(|tokens| rows.of(tokens.len()).map(move |token| tokens.start + token));
        chosen.enumerate().for_each(|(to, from)| out.row_mut(to).copy_from_slice(x.row(from)));
    }

    /// Row `i` of `out` becomes the pooled hidden state of sequence `i`; without pooling, of token `i`.
    ///
    /// # Panics
    /// If the shapes do not agree, or a sequence is empty.
    pub fn pool(&mut self, hidden: &Matrix, sequences: &Sequences, pooling: Pooling, out: &mut Matrix) {
        assert_eq!(hidden.rows(), sequences.tokens(), "rows of the hidden states");
        let shape = (pooling.vectors(sequences), hidden.columns());
        assert_eq!((out.rows(), out.columns()), shape, "shape of the pooled rows");
        pooling::pool(hidden, sequences, pooling, out);
    }

    /// Runs `job(index, thread)` for every index, on the pool if there is one.
    fn for_jobs(&self, jobs: usize, job: impl Fn(usize, usize) + Sync) {
        match &self.threads {
            Some(pool) => pool.run(jobs, job),
            None => (0..jobs).for_each(|index| job(index, 0)),
        }
    }

    /// Runs `job` on ranges that cover `0..rows`, rows of so many values.
    fn for_row_blocks(&self, rows: usize, columns: usize, job: impl Fn(Range<usize>) + Sync) {
        // What is done to so many values takes a microsecond, and so does it for threads to meet.
        const VALUES_PER_THREAD: usize = 8 << 10;
        let parts = (rows.saturating_mul(columns) / VALUES_PER_THREAD).clamp(1, self.thread_count());
        self.for_shares(rows, parts, |rows, _| job(rows));
    }

    fn thread_count(&self) -> usize {
        self.threads.as_ref().map_or(1, |pool| pool.threads())
    }
}
