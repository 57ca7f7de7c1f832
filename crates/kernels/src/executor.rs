//! The fused operations that forward passes are written in.

#![allow(unsafe_code)]

mod attention;
mod columns;
mod some_rows;

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{AlignedBuffer, Matrix};
use crate::generic::block_product::QuantizedBlock;
use crate::generic::gemm_float::GemmFloat;
use crate::generic::gemm_q8::GemmQ8;
use crate::generic::quantize::QuantizeRows;
use crate::generic::store::{Epilogue, Output};
use crate::kernels::Kernels;
use crate::pooling::{self, Pooling, Rows};
use crate::threads::ThreadPool;
use crate::weights::quantized::{QuantizedPanels, RECORD_BYTES};
use crate::weights::{BlockPanels, EmbeddingTable, FloatPanels, Linear, Norm, PANEL, Panels};
use crate::{Isa, Sequences};
pub use attention::Queries;
use attention::QueryBlock;

/// Rows per thread from which a linear layer is split by rows; below, by output channels, so that a short text still
/// keeps every thread busy and each streams its own part of the weights.
const ROWS_PER_THREAD: usize = 32;

/// Bytes of rows that a thread multiplies with all panels before it goes on: so few that they stay in the second-level cache
/// from one panel to the next.
const CACHED_BYTES: usize = 256 << 10;

/// Bytes of a cache line, on which the memory of a thread begins.
const CACHE_LINE: usize = 64;

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

    /// `out = epilogue(x W^T + b)` for every row of `x`.
    ///
    /// Quantised weights are multiplied with the rows quantised in the same blocks of 32, at the same precision or, for
    /// blocks that stand out of their row, a higher one.
    ///
    /// # Panics
    /// If the shapes of `x`, `linear` and `out` do not agree.
    pub fn linear(&mut self, x: &Matrix, linear: &Linear, epilogue: Epilogue, out: &mut Matrix) {
        self.linear_columns(x, linear, 0..linear.outputs(), epilogue, out);
    }

    /// The columns `columns` of what [`linear`](Self::linear) computes, with the same bits, in their places in `out`. What the other
    /// columns hold afterwards is not specified.
    ///
    /// # Panics
    /// If the shapes of `x`, `linear` and `out` do not agree, or the columns are not columns of `out`.
    pub fn linear_columns(
        &mut self,
        x: &Matrix,
        linear: &Linear,
        columns: Range<usize>,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) {
        assert_eq!(x.columns(), linear.inputs(), "inputs of a linear layer");
        let outputs = linear.outputs();
        assert!(columns.start <= columns.end && columns.end <= outputs, "columns {columns:?} of {outputs} outputs");
        let wanted = columns.start / PANEL..columns.end.div_ceil(PANEL);
        assert_eq!((out.rows(), out.columns()), (x.rows(), linear.outputs()), "shape of a linear layer's output");
        let target = Target { data: Shared(out.as_mut_ptr()), stride: out.stride(), linear, epilogue };
        let kernels = self.kernels;
        match &linear.panels {
            Panels::Quantized(panels) => self.linear_quantized(x, panels, wanted, target),
            Panels::F32(panels) => self.linear_float(x, panels, kernels.gemm_f32, wanted, target),
            Panels::F16(panels) => self.linear_float(x, panels, kernels.gemm_f16, wanted, target),
            Panels::Bf16(panels) => self.linear_float(x, panels, kernels.gemm_bf16, wanted, target),
            Panels::Blocks(panels) => self.linear_blocks(x, panels, wanted, target),
        }
    }

    fn linear_quantized(&mut self, x: &Matrix, panels: &QuantizedPanels, wanted: Range<usize>, target: Target<'_>) {
        let (rows, blocks, kernels) = (x.rows(), panels.blocks, self.kernels);
        let input = self.room_for_codes(rows, blocks);
        let weights = panels.records(kernels.layout);
        let row_bytes = blocks * size_of::<QuantizedBlock>();
        let quantize = |rows| quantize(kernels, x, rows, blocks, input);
        // Rows that a thread quantises are in its cache when it goes on with them; threads that share all rows meet first.
        let by_rows = self.splits_by_rows(rows);
        if !by_rows {
            self.for_row_blocks(rows, x.columns(), quantize);
        }
        let prepare = |rows| {
            if by_rows {
                quantize(rows);
            }
        };
        self.for_tiles(rows, row_bytes, wanted, prepare, |rows, strip| {
            let args = GemmQ8 {
                input: input.get(),
                rows,
                blocks,
                weights: weights.panels_from(strip.start).as_ptr(),
                panels: strip.len(),
                out: target.panels_from(strip.start),
            };
            // SAFETY: the blocks were written above for all rows; each panel has a record a block, in the layout of the
            // kernels; the output is this
            // job's own.
            unsafe { (kernels.gemm_q8)(&args) };
        });
    }

    /// Room for `rows` rows of `blocks` blocks of codes.
    fn room_for_codes(&mut self, rows: usize, blocks: usize) -> Shared<QuantizedBlock> {
        self.quantized.grow(rows * blocks);
        Shared(self.quantized.as_mut_slice().as_mut_ptr())
    }

    /// Panels that are expanded as they are used: split by panels whatever the number of rows, so that each is expanded once.
    fn linear_blocks(&mut self, x: &Matrix, panels: &BlockPanels, wanted: Range<usize>, target: Target<'_>) {
        let (rows, columns, blocks, kernels) = (x.rows(), x.columns(), panels.blocks, self.kernels);
        if rows == 0 {
            return;
        }
        let input = self.room_for_codes(rows, blocks);
        self.for_row_blocks(rows, columns, |rows| quantize(kernels, x, rows, blocks, input));
        let (strip, threads) = (kernels.strip, self.thread_count());
        let (records, scales) = (strip * blocks * RECORD_BYTES, blocks * size_of::<f32>());
        let per_thread = (records + scales + columns).next_multiple_of(CACHE_LINE);
        self.expanded.grow(per_thread * threads);
        let buffer = Shared(self.expanded.as_mut_slice().as_mut_ptr());
        let row_bytes = blocks * size_of::<QuantizedBlock>();
        let at_once = (CACHED_BYTES / row_bytes.max(1)).max(ROWS_PER_THREAD);
        let strips = wanted.len().div_ceil(strip);
        let block = strips.div_ceil(4 * threads).max(1);
        self.for_jobs(strips.div_ceil(block), |index, thread| {
            // SAFETY: this thread's part of the buffer, which no other job uses while this one runs; records come first, whose
            // size is a multiple of an `f32`'s, then scales, then codes.
            let (records, scales, codes) = unsafe {
                let start = buffer.get().add(thread * per_thread);
                (
                    std::slice::from_raw_parts_mut(start, records),
                    std::slice::from_raw_parts_mut(start.add(records).cast::<f32>(), blocks),
                    std::slice::from_raw_parts_mut(start.add(records + scales).cast::<i8>(), columns),
                )
            };
            for strip_index in index * block..strips.min((index + 1) * block) {
                let first = wanted.start + strip_index * strip;
                let count = strip.min(wanted.end - first);
                for (panel, records) in (first..first + count).zip(records.chunks_exact_mut(blocks * RECORD_BYTES)) {
                    // SAFETY: the instruction set is present.
                    unsafe { (kernels.expand)(panels, panel, records, codes, scales) };
                }
                for start in (0..rows).step_by(at_once) {
                    let args = GemmQ8 {
                        input: input.get(),
                        rows: start..rows.min(start + at_once),
                        blocks,
                        weights: records.as_ptr(),
                        panels: count,
                        out: target.panels_from(first),
                    };
                    // SAFETY: the blocks were written above for all rows; each panel has a record a block, in the layout
                    // of the kernels; these panels of the output are this job's own.
                    unsafe { (kernels.gemm_q8)(&args) };
                }
            }
        });
    }

    fn linear_float<T: crate::weights::Float>(
        &self,
        x: &Matrix,
        panels: &FloatPanels<T>,
        gemm: unsafe fn(&GemmFloat<T>),
        wanted: Range<usize>,
        target: Target<'_>,
    ) {
        let input = Shared(x.as_ptr().cast_mut());
        let row_bytes = x.stride() * size_of::<f32>();
        let nothing = |_: Range<usize>| {};
        self.for_tiles(x.rows(), row_bytes, wanted, nothing, |rows, strip| {
            let args = GemmFloat {
                input: input.get(),
                input_stride: x.stride(),
                rows,
                k: x.columns(),
                weights: panels.panels_from(strip.start).as_ptr(),
                panels: strip.len(),
                out: target.panels_from(strip.start),
            };
            // SAFETY: the rows are those of `x`, each panel has `k` rows of sixteen, the output is this job's own.
            unsafe { gemm(&args) };
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
        let block = rows.div_ceil(parts).max(1);
        self.for_jobs(rows.div_ceil(block), |index, _| job(index * block..rows.min((index + 1) * block)));
    }

    /// Whether a linear layer of so many rows is split by rows, and not by output channels.
    fn splits_by_rows(&self, rows: usize) -> bool {
        let threads = self.thread_count();
        threads == 1 || rows >= threads * ROWS_PER_THREAD
    }

    /// Runs `job(rows, panels)` on ranges of rows and strips of panels that cover `rows` rows and these panels; where the work is
    /// split by rows, after `prepare(rows)` on the same thread.
    fn for_tiles(
        &self,
        rows: usize,
        row_bytes: usize,
        panels: Range<usize>,
        prepare: impl Fn(Range<usize>) + Sync,
        job: impl Fn(Range<usize>, Range<usize>) + Sync,
    ) {
        let (strip, threads) = (self.kernels.strip, self.thread_count());
        let strips = panels.len().div_ceil(strip);
        let job = |rows: Range<usize>, index: usize| {
            let start = panels.start + index * strip;
            job(rows, start..panels.end.min(start + strip));
        };
        if self.splits_by_rows(rows) {
            // At least twice as many blocks as threads, so that a thread that is held up does not hold up the others; and as many for each.
            let cached = (CACHED_BYTES / row_bytes.max(1)).clamp(ROWS_PER_THREAD, 128);
            let least = if threads == 1 { 1 } else { 2 * threads };
            let blocks = rows.div_ceil(cached).max(least).next_multiple_of(threads);
            let block = rows.div_ceil(blocks).max(1);
            self.for_jobs(rows.div_ceil(block), |index, _| {
                let rows = index * block..rows.min((index + 1) * block);
                prepare(rows.clone());
                (0..strips).for_each(|strip| job(rows.clone(), strip));
            });
        } else {
            let block = strips.div_ceil(4 * threads).max(1);
            self.for_jobs(strips.div_ceil(block), |index, _| {
                (index * block..strips.min((index + 1) * block)).for_each(|strip| job(0..rows, strip));
            });
        }
    }

    fn thread_count(&self) -> usize {
        self.threads.as_ref().map_or(1, |pool| pool.threads())
    }
}

/// Writes rows of `x` as codes, `blocks` blocks of 32 to a row.
fn quantize(kernels: &Kernels, x: &Matrix, rows: Range<usize>, blocks: usize, codes: Shared<QuantizedBlock>) {
    if rows.is_empty() {
        return;
    }
    let args = QuantizeRows {
        values: x.row(rows.start).as_ptr(),
        stride: x.stride(),
        rows: rows.len(),
        blocks,
        to: codes.get().wrapping_add(rows.start * blocks),
    };
    // SAFETY: the codes have `blocks` blocks of 32 columns for each row, and the calling job alone writes those of its rows.
    unsafe { (kernels.quantize)(&args) };
}

/// Where a linear layer writes.
#[derive(Clone, Copy)]
struct Target<'a> {
    data: Shared<f32>,
    stride: usize,
    linear: &'a Linear,
    epilogue: Epilogue,
}

impl Target<'_> {
    fn panels_from(&self, panel: usize) -> Output {
        let bias = self.linear.bias.as_slice().as_ptr();
        Output::new(self.data.get(), self.stride, bias, self.epilogue).skip_panels(panel)
    }
}
