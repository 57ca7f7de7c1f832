//! Linear layers: what is multiplied with what, in which order, by which thread.

use std::ops::Range;

use super::Shared;
use super::tiles::{Depth, STRIP_JOBS, Work, for_parts, shares};
use crate::Executor;
use crate::buffer::Matrix;
use crate::generic::block_product::QuantizedBlock;
use crate::generic::gemm_float::GemmFloat;
use crate::generic::gemm_q8::{GemmQ8, blocks_of_a_part};
use crate::generic::quantize::QuantizeRows;
use crate::generic::store::{Epilogue, Output};
use crate::kernels::Kernels;
use crate::weights::quantized::{QuantizedPanels, RECORD_BYTES};
use crate::weights::{BlockPanels, Float, FloatPanels, Linear, PANEL, Panels};

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
        let depth = target.depth(kernels, blocks);
        let work = Work { rows, panels: wanted, panel_bytes: blocks * RECORD_BYTES, depth };
        let quantize = |rows| quantize(kernels, x, rows, blocks, input);
        // Rows that a thread quantises are in its cache when it goes on with them; threads that share all rows meet first.
        let by_rows = self.splits_by_rows(&work);
        if !by_rows {
            self.for_row_blocks(rows, x.columns(), quantize);
        }
        let prepare = |rows| {
            if by_rows {
                quantize(rows);
            }
        };
        self.for_tiles(&work, prepare, |tile| {
            let (panel, block) = tile.next;
            let args = GemmQ8 {
                input: input.get(),
                rows: tile.rows,
                blocks,
                part: tile.part,
                weights: weights.panels_from(tile.panels.start).as_ptr(),
                panels: tile.panels.len(),
                next: weights.panels_from(panel).as_ptr().wrapping_add(block * RECORD_BYTES),
                out: target.panels_from(tile.panels.start),
            };
            // SAFETY: the blocks were written above for all rows; each panel has a record a block, in the layout of the
            // kernels; the output is this job's own.
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
        let depth = target.depth(kernels, blocks);
        let times = rows.div_ceil(depth.rows_at_once());
        self.for_shares(wanted.len().div_ceil(strip), STRIP_JOBS * threads, |strips, thread| {
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
            for first in strips.map(|index| wanted.start + index * strip) {
                let count = strip.min(wanted.end - first);
                for (panel, records) in (first..first + count).zip(records.chunks_exact_mut(blocks * RECORD_BYTES)) {
                    // SAFETY: the instruction set is present.
                    unsafe { (kernels.expand)(panels, panel, records, codes, scales) };
                }
                for rows in shares(rows, times) {
                    for_parts(rows, 0..count, strip, depth, |tile| {
                        let args = GemmQ8 {
                            input: input.get(),
                            rows: tile.rows,
                            blocks,
                            part: tile.part,
                            weights: records.as_ptr(),
                            panels: count,
                            next: records.as_ptr().wrapping_add(tile.next.1 * RECORD_BYTES),
                            out: target.panels_from(first),
                        };
                        // SAFETY: the blocks were written above for all rows; each panel has a record a block, in the layout
                        // of the kernels; these panels of the output are this job's own.
                        unsafe { (kernels.gemm_q8)(&args) };
                    });
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
        let work = Work {
            rows: x.rows(),
            panels: wanted,
            panel_bytes: x.columns() * PANEL * size_of::<T>(),
            depth: Depth { whole: 1, part: 1, row_bytes: x.stride() * size_of::<f32>() },
        };
        self.for_tiles(
            &work,
            |_| {},
            |tile| {
                let args = GemmFloat {
                    input: input.get(),
                    input_stride: x.stride(),
                    rows: tile.rows,
                    k: x.columns(),
                    weights: panels.panels_from(tile.panels.start).as_ptr(),
                    panels: tile.panels.len(),
                    out: target.panels_from(tile.panels.start),
                };
                // SAFETY: the rows are those of `x`, each panel has `k` rows of sixteen, the output is this job's own.
                unsafe { gemm(&args) };
            },
        );
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
    /// How far the kernels multiply along K at a time.
    fn depth(&self, kernels: &Kernels, blocks: usize) -> Depth {
        let part = if self.panels_from(0).takes_parts() { blocks_of_a_part(kernels.strip).min(blocks) } else { blocks };
        Depth { whole: blocks, part, row_bytes: part * size_of::<QuantizedBlock>() }
    }

    fn panels_from(&self, panel: usize) -> Output {
        let bias = self.linear.bias.as_slice().as_ptr();
        Output::new(self.data.get(), self.stride, bias, self.epilogue).skip_panels(panel)
    }
}
