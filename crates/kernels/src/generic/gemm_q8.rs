//! Product of block-quantised rows with block-quantised weights.
//!
//! Both sides carry one scale per 32 values of K. Inside a block the product is exact integer arithmetic
//! ([`BlockProduct`]); across blocks the sums are `f32`: `y = sum over blocks of (sum of a*w) * (scale_a * scale_w)`.

use std::hint::black_box;
use std::ops::Range;

use super::Simd;
use super::block_product::{BlockProduct, QuantizedBlock};
use super::simd::{LANES, for_panel_strips};
use super::store::Output;
use crate::weights::quantized::{RECORD_BYTES, SCALES_BYTES};

/// Neighbouring panels of sixteen output channels times a range of activation rows, or a part of each of their sums.
pub(crate) struct GemmQ8 {
    /// The activations, `blocks` to a row.
    pub(crate) input: *const QuantizedBlock,
    pub(crate) rows: Range<usize>,
    /// Blocks of K.
    pub(crate) blocks: usize,
    /// The blocks whose products are added: all, or those of a [part](blocks_of_a_part). Parts come in their order.
    pub(crate) part: Range<usize>,
    /// The records of the first panel, one a block; those of the next follow.
    pub(crate) weights: *const u8,
    pub(crate) panels: usize,
    /// The record of the first panel that the thread multiplies with after these, for the hardware to fetch: any address will do.
    pub(crate) next: *const u8,
    /// Where the first panel's outputs go.
    pub(crate) out: Output,
}

/// Blocks of K that rows are multiplied with at a time, where kernels are given `strip` panels at a time and the output
/// [takes parts](Output::takes_parts): so few that the weights stay in the first-level cache from one tile of rows to the next.
///
/// A multiple of [`LANES`], as [`BlockProduct::add_low_parts`] wants it.
pub(crate) const fn blocks_of_a_part(strip: usize) -> usize {
    64 / strip / LANES * LANES
}

/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and an output writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, B: BlockProduct<S>>(args: &GemmQ8) {
    const { assert!(blocks_of_a_part(S::STRIP) > 0) };
    // SAFETY: passed on from the caller, with every tile inside its rows, blocks and panels.
    unsafe {
        for_panel_strips!(S, 0..args.panels, |panel, PANELS| {
            let weights: [*const u8; PANELS] =
                std::array::from_fn(|p| args.weights.add((panel + p) * args.blocks * RECORD_BYTES));
            let next = args.next.wrapping_add(panel * args.blocks * RECORD_BYTES);
            let out = args.out.skip_panels(panel).part(args.part.start == 0, args.part.end == args.blocks);
            out.for_parts::<S, PANELS>(
                args.rows.clone(),
                #[inline(always)]
                |Range { start: mut row, end }| {
                    // Four rows are better as two and two than as three and one.
                    while end - row == 3 || end - row > 4 {
                        tile::<S, B, 3, PANELS>(args, weights, next, &out, row);
                        row += 3;
                    }
                    while end - row >= 2 {
                        tile::<S, B, 2, PANELS>(args, weights, next, &out, row);
                        row += 2;
                    }
                    if end - row == 1 {
                        tile::<S, B, 1, PANELS>(args, weights, next, &out, row);
                    }
                },
            );
        });
    }
}

/// # Safety
/// As for [`gemm`], with `row..row + ROWS` inside its rows and `PANELS` panels in `weights`.
#[inline(always)]
unsafe fn tile<S: Simd, B: BlockProduct<S>, const ROWS: usize, const PANELS: usize>(
    args: &GemmQ8,
    weights: [*const u8; PANELS],
    next: *const u8,
    out: &Output,
    row: usize,
) {
    // SAFETY: all offsets stay inside the rows and the panels that the caller describes.
    unsafe {
        prefetch_weights::<S, ROWS, PANELS>(args, next, row);
        out.prefetch::<S, ROWS, PANELS>(row);
        let rows: [*const QuantizedBlock; ROWS] = std::array::from_fn(|r| args.input.add((row + r) * args.blocks));
        let mut sums = [[S::splat(0.0); PANELS]; ROWS];
        // In memory by a pointer that the compiler cannot see through, or else where the compiler likes.
        let sums = if B::CROWDED && ROWS == 3 { &mut *black_box(&raw mut sums) } else { &mut sums };
        for block in args.part.clone() {
            let (mut rows, mut records) = (rows, weights);
            for row in &mut rows {
                *row = row.add(block);
            }
            for record in &mut records {
                *record = record.add(block * RECORD_BYTES + SCALES_BYTES);
            }
            B::add_products::<ROWS, PANELS>(sums, rows, records);
        }
        let (mut rows, mut records) = (rows, weights);
        for row in &mut rows {
            *row = row.add(args.part.start);
        }
        for record in &mut records {
            *record = record.add(args.part.start * RECORD_BYTES);
        }
        B::add_low_parts::<ROWS, PANELS>(sums, rows, records, args.part.len());
        for (r, sums) in sums.iter().enumerate() {
            for (p, &sum) in sums.iter().enumerate() {
                out.store::<S>(row + r, p, sum);
            }
        }
    }
}

/// Asks for the rows' share of the weights that come next: the hardware, which notices the order of reads only after some, and not
/// beyond a page, would leave each strip of panels waited for; and asked for all at once, they would come as slowly as memory
/// is, while the first tile waits.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn prefetch_weights<S: Simd, const ROWS: usize, const PANELS: usize>(
    args: &GemmQ8,
    next: *const u8,
    row: usize,
) {
    const CACHE_LINE: usize = 64;
    let lines = args.part.len() * (RECORD_BYTES / CACHE_LINE);
    let of_a_row = lines.div_ceil(args.rows.len());
    let first = (row - args.rows.start) * of_a_row;
    for line in first..lines.min(first + ROWS * of_a_row) {
        for panel in 0..PANELS {
            // SAFETY: any address will do.
            unsafe { S::prefetch(next.wrapping_add(panel * args.blocks * RECORD_BYTES + line * CACHE_LINE)) };
        }
    }
}
