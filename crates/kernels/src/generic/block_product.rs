//! Blocks of 32 quantised activations, and their integer product with blocks of quantised weights.
//!
//! A block's code is a whole number of at most 13 bits and a sign. Most blocks make do with 8 of them
//! ([`COARSE_CODE`]); one that stands out of its row, where 8 bits would leave an error that matters to the row, uses
//! them all ([`FINE_CODE`]). Instruction sets that multiply 16-bit numbers take a code as it is; those that multiply bytes
//! take it in two parts, the low one zero for a coarse block and skipped where no row of a tile has one. The sums are
//! the same integers either way.
//!
//! Instructions that multiply unsigned with signed bytes take the weights' codes as `code + 128`; each activation block then
//! carries the term that takes the 128 out again, `-128 * sum of codes`. Where the instructions want signed weights
//! ([`ByteDot::WEIGHT_OFFSET`]), that term is 0.

use std::marker::PhantomData;
use std::sync::atomic::{Ordering, compiler_fence};

use super::Simd;
use super::simd::{ByteDot, LANES};
use crate::weights::quantized::{BLOCK, Layout};

/// The largest code of a coarse block.
pub(crate) const COARSE_CODE: f32 = 127.0;

/// The largest code of a fine block. The products with 32 weight codes then add up to at most 4095 * 128 * 32, below 2^24:
/// a block's sum is exact as an `i32` and still exact as an `f32`.
pub(crate) const FINE_CODE: f32 = 4095.0;

/// Bits of the low part of a fine code that is split in two; the high part then has seven and a sign.
const LOW_BITS: u32 = 6;

/// Thirty-two activations of a row, quantised.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct QuantizedBlock {
    pub(crate) scale: f32,
    /// Of split codes: takes out what the 128 in the weights add to the products of the high parts.
    correction: i32,
    /// Of split codes: the same for the low parts.
    low_correction: i32,
    /// Of split codes: [`LOW_BITS`] if there are low parts, else 0.
    low_bits: u32,
    codes: Codes,
}

#[derive(Clone, Copy)]
#[repr(C)]
union Codes {
    /// In the order of K.
    whole: [i16; BLOCK],
    /// High parts, then low parts, each in the order of K.
    split: [[i8; BLOCK]; 2],
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

    /// Sets everything but the scale in the blocks at `to`, which are coarse; `values` are the codes before they are rounded.
    unsafe fn store_codes(to: [*mut QuantizedBlock; 4], values: [[S::F32; BLOCK / LANES]; 4]);

    /// The same for one block that is fine, and was stored as if it were coarse.
    unsafe fn store_fine_codes(to: *mut QuantizedBlock, values: [S::F32; BLOCK / LANES]);

    /// `sum of code * weight` over the block, for each row and each channel of each panel; `weights` points at the codes of
    /// a panel's record, in the layout above.
    unsafe fn product<const ROWS: usize, const PANELS: usize>(
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
    ) -> [[S::I32; PANELS]; ROWS];

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
    unsafe fn store_codes(to: [*mut QuantizedBlock; 4], values: [[S::F32; BLOCK / LANES]; 4]) {
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
    unsafe fn store_fine_codes(_to: *mut QuantizedBlock, _values: [S::F32; BLOCK / LANES]) {}

    #[inline(always)]
    unsafe fn product<const ROWS: usize, const PANELS: usize>(
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
    ) -> [[S::I32; PANELS]; ROWS] {
        // SAFETY: the blocks have codes, and the records weights, for all 32 places.
        unsafe {
            let codes: [*const i16; ROWS] = rows.map(|row| (&raw const (*row).codes.whole).cast());
            let mut sums = [[S::splat_i32(0); PANELS]; ROWS];
            // The first pair by itself: outside the loop, nothing is added to zero. Three a round then come out even.
            add_pairs::<S, ROWS, PANELS>(&mut sums, codes, weights, 0);
            for first in (1..BLOCK / 2).step_by(3) {
                for pair in first..first + 3 {
                    add_pairs::<S, ROWS, PANELS>(&mut sums, codes, weights, pair);
                }
            }
            sums
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

/// Codes in two parts, multiplied as bytes four at a time (`vpdpbusd` on x86, `sdot` on Arm).
pub(crate) struct SplitCodes<D>(PhantomData<D>);

// SAFETY: only operations of `S` and `D` are used, whose host the caller vouches for.
unsafe impl<S: Simd, D: ByteDot<S>> BlockProduct<S> for SplitCodes<D> {
    const LAYOUT: Layout = Layout::OffsetFours;
    const CROWDED: bool = false;

    #[inline(always)]
    unsafe fn store_codes(to: [*mut QuantizedBlock; 4], values: [[S::F32; BLOCK / LANES]; 4]) {
        // SAFETY: each of `to` is a block that the caller owns, with 32 high and 32 low parts.
        unsafe {
            let sums = D::store_rounded_i8(to.map(|to| (&raw mut (*to).codes.split[0]).cast()), values);
            for (to, sum) in to.into_iter().zip(sums) {
                // The sum of codes of a block without finite values may be anything, and wraps.
                (*to).correction = (-D::WEIGHT_OFFSET).wrapping_mul(sum);
                (*to).low_correction = 0;
                (*to).low_bits = 0;
                (*to).codes.split[1] = [0; BLOCK];
            }
        }
    }

    #[inline(always)]
    unsafe fn store_fine_codes(to: *mut QuantizedBlock, values: [S::F32; BLOCK / LANES]) {
        // SAFETY: `to` is a block that the caller owns, with 32 high and 32 low parts.
        unsafe {
            let [high, low] = &mut (*to).codes.split;
            let [high, low] = store_parts::<S>([high, low], values);
            (*to).correction = -D::WEIGHT_OFFSET * high;
            (*to).low_correction = -D::WEIGHT_OFFSET * low;
            (*to).low_bits = LOW_BITS;
        }
    }

    #[inline(always)]
    unsafe fn product<const ROWS: usize, const PANELS: usize>(
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
    ) -> [[S::I32; PANELS]; ROWS] {
        // SAFETY: the blocks have codes, and the records weights, for all 32 places.
        unsafe {
            let codes: [*const u8; ROWS] = rows.map(|row| (&raw const (*row).codes.split).cast());
            let mut sums = [[S::splat_i32(0); PANELS]; ROWS];
            let mut low_bits = 0;
            for r in 0..ROWS {
                sums[r] = [S::splat_i32((*rows[r]).correction); PANELS];
                low_bits |= (*rows[r]).low_bits;
            }
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 0);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 1);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 2);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 3);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 4);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 5);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 6);
            add_fours::<S, D, ROWS, PANELS>(&mut sums, codes, weights, 7);
            if low_bits != 0 {
                for r in 0..ROWS {
                    for p in 0..PANELS {
                        sums[r][p] = D::shift_and_add(sums[r][p], (*rows[r]).low_bits, (*rows[r]).low_correction);
                    }
                }
                let low_codes = codes.map(|codes| codes.add(BLOCK));
                for four in 0..BLOCK / 4 {
                    add_fours::<S, D, ROWS, PANELS>(&mut sums, low_codes, weights, four);
                }
            }
            sums
        }
    }

    const DEPTH: usize = 4;

    #[inline(always)]
    unsafe fn multiply(sum: S::I32, weights: *const u8, codes: *const u8) -> S::I32 {
        // SAFETY: as the caller promises.
        unsafe { D::dot_fours(sum, D::load(weights), D::splat_four(codes)) }
    }
}

/// Rounds the codes of a fine block, writes their high and low parts, and returns the sum of either.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn store_parts<S: Simd>(to: [&mut [i8; BLOCK]; 2], values: [S::F32; BLOCK / LANES]) -> [i32; 2] {
    let mut whole = [0i16; BLOCK];
    for (v, value) in values.into_iter().enumerate() {
        // SAFETY: `whole` has room for both vectors.
        unsafe { S::store_rounded_i16(whole.as_mut_ptr().add(v * LANES), value) };
    }
    // Codes of a block without finite values may be anything, and wrap.
    let high = whole.map(|code| code.wrapping_add(1 << (LOW_BITS - 1)) >> LOW_BITS);
    let low: [i16; BLOCK] = std::array::from_fn(|i| whole[i].wrapping_sub(high[i] << LOW_BITS));
    for (to, codes) in to.into_iter().zip([&high, &low]) {
        *to = codes.map(|code| code as i8);
    }
    [&high, &low].map(|codes| codes.iter().map(|&code| i32::from(code)).sum())
}

/// Adds the products of the inputs `4 four..4 four + 4`.
///
/// # Safety
/// The instruction set must be present, and 32 codes of each row and the codes of a record of each panel readable.
#[inline(always)]
unsafe fn add_fours<S: Simd, D: ByteDot<S>, const ROWS: usize, const PANELS: usize>(
    sums: &mut [[S::I32; PANELS]; ROWS],
    codes: [*const u8; ROWS],
    weights: [*const u8; PANELS],
    four: usize,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut loaded = [D::load(weights[0].add(four * 4 * LANES)); PANELS];
        for p in 1..PANELS {
            loaded[p] = D::load(weights[p].add(four * 4 * LANES));
        }
        for r in 0..ROWS {
            let codes = D::splat_four(codes[r].add(four * 4));
            for p in 0..PANELS {
                sums[r][p] = D::dot_fours(sums[r][p], loaded[p], codes);
            }
        }
        // Loads of the next weights stay behind: before here they would take registers from the sums.
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Isa;
    use crate::generic::portable::Portable;
    use crate::generic::quantize::quantize;
    use proptest::prelude::*;

    pub(crate) const EMPTY: QuantizedBlock = QuantizedBlock {
        scale: f32::NAN,
        correction: -1,
        low_correction: -1,
        low_bits: 0,
        codes: Codes { whole: [99; BLOCK] },
    };

    /// The codes of a block as the instruction set's `quantize` has written it, in the order of K.
    pub(crate) fn codes(isa: Isa, block: &QuantizedBlock) -> Vec<i32> {
        if isa.kernels().layout == Layout::SignedPairs {
            // SAFETY: these are multiplied with whole codes.
            return unsafe { block.codes.whole }.map(i32::from).to_vec();
        }
        // SAFETY: the others are multiplied with codes in two parts.
        let [high, low] = unsafe { block.codes.split };
        high.into_iter().zip(low).map(|(high, low)| (i32::from(high) << block.low_bits) + i32::from(low)).collect()
    }

    proptest! {
        #[test]
        fn whole_and_split_codes_have_the_same_sums(
            weights in prop::collection::vec(any::<[u8; BLOCK]>(), LANES),
            rows in prop::array::uniform3(prop::collection::vec(-1.0f32..1.0, 2 * BLOCK)),
            outlier in prop::option::of((0usize..3, 0usize..2 * BLOCK)),
        ) {
            let [signed, offset] = [Layout::SignedPairs, Layout::OffsetFours].map(|layout| {
                let mut packed = [0; LANES * BLOCK];
                weights.iter().enumerate().for_each(|(channel, codes)| layout.write(codes, channel, &mut packed));
                packed
            });
            let mut rows = rows;
            if let Some((row, k)) = outlier {
                rows[row][k] *= 1000.0;
            }
            let mut whole = [[EMPTY; 2]; 3];
            let mut split = [[EMPTY; 2]; 3];
            for r in 0..3 {
                // SAFETY: the portable operations are always there; two blocks for 64 values.
                unsafe {
                    quantize::<Portable, WholeCodes>(rows[r].as_ptr(), 2 * BLOCK, whole[r].as_mut_ptr());
                    quantize::<Portable, SplitCodes<Portable>>(rows[r].as_ptr(), 2 * BLOCK, split[r].as_mut_ptr());
                }
            }
            for block in 0..2 {
                // SAFETY: blocks and codes are complete, and each in the layout of its product.
                let (from_whole, from_split) = unsafe {
                    let whole = whole.each_ref().map(|row| &raw const row[block]);
                    let split = split.each_ref().map(|row| &raw const row[block]);
                    (
                        <WholeCodes as BlockProduct<Portable>>::product::<3, 1>(whole, [signed.as_ptr()]),
                        <SplitCodes<Portable> as BlockProduct<Portable>>::product::<3, 1>(split, [offset.as_ptr()]),
                    )
                };
                prop_assert_eq!(from_whole, from_split);
                for r in 0..3 {
                    let codes = codes(Isa::Portable, &whole[r][block]);
                    for channel in 0..LANES {
                        let expected: i32 =
                            (0..BLOCK).map(|k| codes[k] * i32::from(weights[channel][k] as i8)).sum();
                        prop_assert_eq!(from_whole[r][0][channel], expected);
                    }
                    prop_assert_eq!(whole[r][block].scale.to_bits(), split[r][block].scale.to_bits());
                }
            }
        }
    }
}
