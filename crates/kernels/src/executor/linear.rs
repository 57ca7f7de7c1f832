//! Linear layers: what is multiplied with what, in which order, by which thread.

use std::ops::Range;

use super::Shared;
use crate::Executor;
use crate::buffer::Matrix;
use crate::generic::block_product::QuantizedBlock;
use crate::generic::gemm_float::GemmFloat;
use crate::generic::gemm_q8::GemmQ8;
use crate::generic::quantize::QuantizeRows;
use crate::generic::store::{Epilogue, Output};
use crate::kernels::Kernels;
use crate::weights::quantized::{QuantizedPanels, RECORD_BYTES};
use crate::weights::{BlockPanels, Float, FloatPanels, Linear, PANEL, Panels};

/// Rows per thread from which a linear layer is split by rows; below, by output channels, so that a short text still
/// keeps every thread busy and each streams its own part of the weights.
const ROWS_PER_THREAD: usize = 32;

/// Bytes of rows that a thread multiplies with all panels before it goes on: so few that they stay in the second-level cache
/// from one panel to the next.
const CACHED_BYTES: usize = 256 << 10;

/// Bytes of a cache line, on which the memory of a thread begins.
const CACHE_LINE: usize = 64;

impl Executor {
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

    fn linear_float<T: Float>(
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
