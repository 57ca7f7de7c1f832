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

/// Neighbouring panels of sixteen output channels times a range of activation rows.
pub(crate) struct GemmQ8 {
    /// The activations, `blocks` to a row.
    pub(crate) input: *const QuantizedBlock,
    pub(crate) rows: Range<usize>,
    /// Blocks of K.
    pub(crate) blocks: usize,
    /// The records of the first panel, one a block; those of the next follow.
    pub(crate) weights: *const u8,
    pub(crate) panels: usize,
    /// Where the first panel's outputs go.
    pub(crate) out: Output,
}

/// Blocks of K, times the panels of a strip, that all rows are multiplied with before the next are taken: so few that the
/// weights stay in the first-level cache from one tile of rows to the next. Sums of parts are added in their order, for every
/// shape of tile. A multiple of [`LANES`] for every strip, as [`BlockProduct::add_low_parts`] wants it.
const BLOCKS_OF_A_PART: usize = 64;

/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and an output writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, B: BlockProduct<S>>(args: &GemmQ8) {
    // SAFETY: passed on from the caller, with every tile inside its rows, blocks and panels.
    unsafe {
        for_panel_strips!(S, 0..args.panels, |panel, PANELS| {
            let weights: [*const u8; PANELS] =
                std::array::from_fn(|p| args.weights.add((panel + p) * args.blocks * RECORD_BYTES));
            const { assert!((BLOCKS_OF_A_PART / S::STRIP).is_multiple_of(LANES)) };
            let blocks_of_a_part =
                if args.out.takes_parts() { BLOCKS_OF_A_PART / S::STRIP } else { args.blocks.max(1) };
            // A layer without inputs still has a bias.
            for start in (0..args.blocks.max(1)).step_by(blocks_of_a_part) {
                let blocks = start..args.blocks.min(start + blocks_of_a_part);
                let out = args.out.skip_panels(panel).part(start == 0, blocks.end == args.blocks);
                out.for_parts::<S, PANELS>(
                    args.rows.clone(),
                    #[inline(always)]
                    |Range { start: mut row, end }| {
                        // Four rows are better as two and two than as three and one.
                        while end - row == 3 || end - row > 4 {
                            tile::<S, B, 3, PANELS>(args, weights, blocks.clone(), &out, row);
                            row += 3;
                        }
                        while end - row >= 2 {
                            tile::<S, B, 2, PANELS>(args, weights, blocks.clone(), &out, row);
                            row += 2;
                        }
                        if end - row == 1 {
                            tile::<S, B, 1, PANELS>(args, weights, blocks.clone(), &out, row);
                        }
                    },
                );
            }
        });
    }
}

/// # Safety
/// As for [`gemm`], with `row..row + ROWS` inside its rows, `blocks` among its blocks and `PANELS` panels in `weights`.
#[inline(always)]
unsafe fn tile<S: Simd, B: BlockProduct<S>, const ROWS: usize, const PANELS: usize>(
    args: &GemmQ8,
    weights: [*const u8; PANELS],
    blocks: Range<usize>,
    out: &Output,
    row: usize,
) {
    // SAFETY: all offsets stay inside the rows and the panels that the caller describes.
    unsafe {
        let rows: [*const QuantizedBlock; ROWS] = std::array::from_fn(|r| args.input.add((row + r) * args.blocks));
        let mut sums = [[S::splat(0.0); PANELS]; ROWS];
        // In memory by a pointer that the compiler cannot see through, or else where the compiler likes.
        let sums = if B::CROWDED && ROWS == 3 { &mut *black_box(&raw mut sums) } else { &mut sums };
        for block in blocks.clone() {
            let (mut rows, mut records) = (rows, weights);
            for row in &mut rows {
                *row = row.add(block);
            }
            for record in &mut records {
                *record = record.add(block * RECORD_BYTES + SCALES_BYTES);
            }
            if row == args.rows.start {
                for record in records {
                    prefetch::<S>(record.wrapping_add(PANELS * args.blocks * RECORD_BYTES));
                }
            }
            B::add_products::<ROWS, PANELS>(sums, rows, records);
        }
        let (mut rows, mut records) = (rows, weights);
        for row in &mut rows {
            *row = row.add(blocks.start);
        }
        for record in &mut records {
            *record = record.add(blocks.start * RECORD_BYTES);
        }
        B::add_low_parts::<ROWS, PANELS>(sums, rows, records, blocks.len());
        for (r, sums) in sums.iter().enumerate() {
            for (p, &sum) in sums.iter().enumerate() {
                out.store::<S>(row + r, p, sum);
            }
        }
    }
}

/// Asks for a record before the multiplications come to it: the hardware, which notices the order of reads only after some, and not
/// beyond a page, would leave each strip of panels waited for.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn prefetch<S: Simd>(record: *const u8) {
    const CACHE_LINE: usize = 64;
    for line in (0..RECORD_BYTES).step_by(CACHE_LINE) {
        // SAFETY: any address will do.
        unsafe { S::prefetch(record.wrapping_add(line)) };
    }
}
