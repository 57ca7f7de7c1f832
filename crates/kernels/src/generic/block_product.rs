//! Blocks of 32 quantised activations, and their product with blocks of quantised weights.
//!
//! A block's code is a whole number of at most 13 bits and a sign. Most blocks make do with 8 of them
//! ([`COARSE_CODE`]); one that stands out of its row, where 8 bits would leave an error that matters to the row, uses
//! them all ([`FINE_CODE`]). Instruction sets that multiply 16-bit numbers take a code as it is ([`WholeCodes`]); those that multiply bytes
//! take it in two parts ([`SplitCodes`](super::split_codes::SplitCodes)), of which coarse blocks have no low one. The integers are
//! the same either way.

use std::sync::atomic::{Ordering, compiler_fence};

use super::Simd;
use super::simd::LANES;
use crate::weights::quantized::{BLOCK, Layout, SCALES_BYTES};

/// The largest code of a coarse block.
pub(crate) const COARSE_CODE: f32 = 127.0;

/// The largest code of a fine block. The products with 32 weight codes then add up to at most 4095 * 128 * 32, below 2^24:
/// a block's sum is exact as an `i32` and still exact as an `f32`.
pub(crate) const FINE_CODE: f32 = 4095.0;

/// Thirty-two activations of a row, quantised.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct QuantizedBlock {
    /// The value of the code 1.
    pub(crate) scale: f32,
    /// Of split codes: the value of a high part of 1.
    pub(super) high: f32,
    /// Of split codes: what the sum of products of the high parts begins with.
    pub(super) start: i32,
    /// Of split codes: the same for the low parts.
    pub(super) low_start: i32,
    /// In a block whose number in its row is a multiple of [`LANES`]: which of the blocks from this on are fine, a bit for each.
    pub(super) fine: u32,
    pub(super) codes: Codes,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Codes {
    /// In the order of K.
    pub(super) whole: [i16; BLOCK],
    /// High parts, then low parts, each in the order of K. Blocks that are coarse have no low parts, and anything in their place.
    pub(super) split: [[i8; BLOCK]; 2],
}

/// How an instruction set keeps the codes of activations and multiplies them with weights.
///
/// # Safety
/// As for [`Simd`].
pub(crate) unsafe trait BlockProduct<S: Simd> {
    /// How the weights must lie.
    const LAYOUT: Layout;

    /// Whether a tile of three rows is fastest with its sums over blocks in memory.
    const CROWDED: bool;

    /// Sets everything but the scale and `fine` in the blocks at `to`, which have these scales and are coarse; `values` are the codes before
    /// they are rounded.
    unsafe fn store_codes(to: [*mut QuantizedBlock; 4], values: [[S::F32; BLOCK / LANES]; 4], scales: [f32; 4]);

    /// The same for one block that is fine, and was stored as if it were coarse.
    unsafe fn store_fine_codes(to: *mut QuantizedBlock, values: [S::F32; BLOCK / LANES], scale: f32);

    /// Adds the products with a block of each row to `sums`: `sum of code * weight` over the block, times both scales, for each
    /// row and each channel of each panel. `weights` points at the codes of a panel's record, in the layout above, behind its scales.
    ///
    /// Low parts may be left out, and added by [`add_low_parts`](Self::add_low_parts).
    unsafe fn add_products<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[S::F32; PANELS]; ROWS],
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
    );

    /// Adds what was left out of the products with `count` blocks of each row, the first of whose number is a multiple of [`LANES`];
    /// `weights` points at the first record of each panel.
    #[inline(always)]
    unsafe fn add_low_parts<const ROWS: usize, const PANELS: usize>(
        _sums: &mut [[S::F32; PANELS]; ROWS],
        _rows: [*const QuantizedBlock; ROWS],
        _weights: [*const u8; PANELS],
        _count: usize,
    ) {
    }

    /// Products that one multiplication adds to each lane.
    const DEPTH: usize;

    /// One multiplication, of the first of 64 weights with the first codes at `codes`: what the peak is measured with.
    unsafe fn multiply(sum: S::I32, weights: *const u8, codes: *const u8) -> S::I32;
}

/// Whole codes, multiplied as 16-bit numbers two at a time (`vpmaddwd` on x86, `smlal` on Arm).
///
/// On AVX2 that is per 32 products two multiplications, against three vector operations on the same ports for the product of
/// bytes with its sign fix-up, and there is no saturation to guard against.
pub(crate) struct WholeCodes;

// SAFETY: only operations of `S` are used, whose host the caller vouches for.
unsafe impl<S: Simd> BlockProduct<S> for WholeCodes {
    const LAYOUT: Layout = Layout::SignedPairs;
    const CROWDED: bool = S::CROWDED;

    #[inline(always)]
    unsafe fn store_codes(to: [*mut QuantizedBlock; 4], values: [[S::F32; BLOCK / LANES]; 4], _scales: [f32; 4]) {
        for (to, values) in to.into_iter().zip(values) {
            // SAFETY: `to` is a block that the caller owns.
            unsafe {
                let codes = &mut (*to).codes.whole;
                for (v, value) in values.into_iter().enumerate() {
                    S::store_rounded_i16(codes.as_mut_ptr().add(v * LANES), value);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store_fine_codes(_to: *mut QuantizedBlock, _values: [S::F32; BLOCK / LANES], _scale: f32) {}

    #[inline(always)]
    unsafe fn add_products<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[S::F32; PANELS]; ROWS],
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
    ) {
        // SAFETY: the blocks have codes, and the records weights, for all 32 places.
        unsafe {
            let codes: [*const i16; ROWS] = rows.map(|row| (&raw const (*row).codes.whole).cast());
            let mut products = [[S::splat_i32(0); PANELS]; ROWS];
            // The first pair by itself: outside the loop, nothing is added to zero. Three a round then come out even.
            add_pairs::<S, ROWS, PANELS>(&mut products, codes, weights, 0);
            for first in (1..BLOCK / 2).step_by(3) {
                for pair in first..first + 3 {
                    add_pairs::<S, ROWS, PANELS>(&mut products, codes, weights, pair);
                }
            }
            // Loads of scales stay behind the products: before them they would take registers from the sums.
            compiler_fence(Ordering::SeqCst);
            for p in 0..PANELS {
                let weight_scale = S::load(weights[p].sub(SCALES_BYTES).cast());
                for r in 0..ROWS {
                    let scale = S::mul(weight_scale, S::splat((*rows[r]).scale));
                    sums[r][p] = S::mul_add(S::to_f32(products[r][p]), scale, sums[r][p]);
                }
            }
        }
    }

    const DEPTH: usize = 2;

    #[inline(always)]
    unsafe fn multiply(sum: S::I32, weights: *const u8, codes: *const u8) -> S::I32 {
        // SAFETY: as the caller promises.
        unsafe { S::dot_pairs(sum, S::load_i8_pairs(weights), S::splat_pair(codes.cast())) }
    }
}

/// Adds the products of the inputs `2 pair` and `2 pair + 1`.
///
/// # Safety
/// The instruction set must be present, and 32 codes of each row and the codes of a record of each panel readable.
#[inline(always)]
unsafe fn add_pairs<S: Simd, const ROWS: usize, const PANELS: usize>(
    sums: &mut [[S::I32; PANELS]; ROWS],
    codes: [*const i16; ROWS],
    weights: [*const u8; PANELS],
    pair: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut wide = [S::load_i8_pairs(weights[0].add(pair * 2 * LANES)); PANELS];
        for p in 1..PANELS {
            wide[p] = S::load_i8_pairs(weights[p].add(pair * 2 * LANES));
        }
        for r in 0..ROWS {
            let pair = S::splat_pair(codes[r].add(2 * pair));
            for p in 0..PANELS {
                sums[r][p] = S::dot_pairs(sums[r][p], wide[p], pair);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Isa;

    pub(crate) const EMPTY: QuantizedBlock = QuantizedBlock {
        scale: f32::NAN,
        high: f32::NAN,
        start: -1,
        low_start: -1,
        fine: u32::MAX,
        codes: Codes { whole: [99; BLOCK] },
    };

    /// The codes of a row as the instruction set's `quantize` has written it, in the order of K.
    pub(crate) fn codes(isa: Isa, row: &[QuantizedBlock]) -> Vec<i32> {
        let of_block = |(number, block): (usize, &QuantizedBlock)| {
            if isa.kernels().layout == Layout::SignedPairs {
                // SAFETY: these are multiplied with whole codes.
                return unsafe { block.codes.whole }.map(i32::from);
            }
            // SAFETY: the others are multiplied with codes in two parts.
            let [high, low] = unsafe { block.codes.split };
            let fine = row[number / LANES * LANES].fine >> (number % LANES) & 1 == 1;
            std::array::from_fn(|k| if fine { i32::from(high[k]) * 64 + i32::from(low[k]) } else { i32::from(high[k]) })
        };
        row.iter().enumerate().flat_map(of_block).collect()
    }
}
