//! Product of block-quantised rows with block-quantised weights.
//!
//! Both sides carry one scale per 32 values of K. Inside a block the product is exact integer arithmetic; across blocks
//! the sums are `f32`: `y = sum over blocks of (sum of a*w) * (scale_a * scale_w)`.
//!
//! Weights are widened from `i8` to `i16` as they are loaded and multiplied by `i16` activation codes two at a time
//! (`vpmaddwd` on x86): per 32 products two multiplications, against three vector operations on the same ports for the
//! `u8 x i8` product with its sign fix-up, and no saturation to guard against.

use std::ops::Range;

use super::Simd;
use super::simd::LANES;
use super::store::Output;
use crate::weights::PANEL;
use crate::weights::quantized::{BLOCK, RECORD_BYTES};

/// One panel of sixteen output channels times a range of activation rows.
pub(crate) struct GemmQ8 {
    /// Activation codes, `blocks * 32` to a row.
    pub(crate) codes: *const i16,
    /// Activation scales, `blocks` to a row.
    pub(crate) scales: *const f32,
    pub(crate) rows: Range<usize>,
    /// Blocks of K.
    pub(crate) blocks: usize,
    /// The panel's records, one per block.
    pub(crate) panel: *const u8,
    pub(crate) out: Output,
}

/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and an output writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd>(args: &GemmQ8) {
    // SAFETY: passed on from the caller, with every tile inside its rows.
    unsafe {
        args.out.for_parts::<S>(
            args.rows.clone(),
            #[inline(always)]
            |Range { start: mut row, end }| {
                while end - row >= 3 {
                    tile::<S, 3>(args, row);
                    row += 3;
                }
                match end - row {
                    2 => tile::<S, 2>(args, row),
                    1 => tile::<S, 1>(args, row),
                    _ => {}
                }
            },
        );
    }
}

/// # Safety
/// As for [`gemm`], with `row..row + ROWS` inside its rows.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(args: &GemmQ8, row: usize) {
    const VECTORS: usize = PANEL / LANES;
    /// As a plain loop, its speed would depend by 5 % on where the linker happens to put it.
    const UNROLLED_PAIRS: usize = 4;
    let row_codes = args.blocks * BLOCK;
    // SAFETY: all offsets stay inside the rows and the panel that the caller describes.
    unsafe {
        let codes: [*const i16; ROWS] = std::array::from_fn(|r| args.codes.add((row + r) * row_codes));
        let scales: [*const f32; ROWS] = std::array::from_fn(|r| args.scales.add((row + r) * args.blocks));
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        for block in 0..args.blocks {
            let record = args.panel.add(block * RECORD_BYTES);
            let weights = record.add(PANEL * size_of::<f32>()).cast::<i8>();
            let mut products = [[S::zero_i32(); VECTORS]; ROWS];
            for pairs in (0..BLOCK / 2).step_by(UNROLLED_PAIRS) {
                for pair in pairs..pairs + UNROLLED_PAIRS {
                    let w: [S::I16; VECTORS] =
                        std::array::from_fn(|v| S::load_i8(weights.add((pair * VECTORS + v) * 2 * LANES)));
                    for r in 0..ROWS {
                        let a = S::splat_pair(codes[r].add(block * BLOCK + 2 * pair));
                        for v in 0..VECTORS {
                            products[r][v] = S::dot_pairs(products[r][v], w[v], a);
                        }
                    }
                }
            }
            for v in 0..VECTORS {
                let weight_scale = S::load(record.cast::<f32>().add(v * LANES));
                for r in 0..ROWS {
                    let scale = S::mul(weight_scale, S::splat(*scales[r].add(block)));
                    sums[r][v] = S::mul_add(S::to_f32(products[r][v]), scale, sums[r][v]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                args.out.store::<S>(row + r, v * LANES, sum);
            }
        }
    }
}
