//! Codes in two parts, for instructions that multiply bytes.
//!
//! `vpdpbusd` on x86 multiplies unsigned with signed bytes and adds four products to a 32-bit lane, `sdot` on Arm signed with signed. A
//! fine code is `64 high + low`. The high parts are multiplied like the codes of a coarse block; the few low ones afterwards, row by
//! row, so that the loop over blocks has no branches.

use std::marker::PhantomData;
use std::sync::atomic::{Ordering, compiler_fence};

use super::Simd;
use super::block_product::{BlockProduct, QuantizedBlock};
use super::simd::{ByteDot, LANES};
use crate::weights::quantized::{BLOCK, Layout, RECORD_BYTES, SCALES_BYTES};

/// What a high part counts in a fine code.
const HIGH: f32 = 64.0;

/// Codes in two parts, multiplied as bytes four at a time.
pub(crate) struct SplitCodes<D>(PhantomData<D>);

// SAFETY: only operations of `S` and `D` are used, whose host the caller vouches for.
unsafe impl<S: Simd, D: ByteDot<S>> BlockProduct<S> for SplitCodes<D> {
    const LAYOUT: Layout = Layout::OffsetFours;
    const CROWDED: bool = S::CROWDED;

    #[inline(always)]
    unsafe fn store_codes(to: [*mut QuantizedBlock; 4], values: [[S::F32; BLOCK / LANES]; 4], scales: [f32; 4]) {
        // SAFETY: each of `to` is a block that the caller owns, with 32 high parts.
        unsafe {
            let sums = D::store_rounded_i8(to.map(|to| (&raw mut (*to).codes.split[0]).cast()), values);
            for ((to, sum), scale) in to.into_iter().zip(sums).zip(scales) {
                (*to).high = scale;
                (*to).start = start::<S, D>(sum);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_fine_codes(to: *mut QuantizedBlock, values: [S::F32; BLOCK / LANES], scale: f32) {
        // SAFETY: `to` is a block that the caller owns, with 32 high and 32 low parts.
        unsafe {
            let (mut high, mut low) = (values, values);
            for v in 0..values.len() {
                let whole = S::split(values[v]).1;
                high[v] = S::split(S::mul(whole, S::splat(1.0 / HIGH))).1;
                low[v] = S::neg_mul_add(high[v], S::splat(HIGH), whole);
            }
            let [high_codes, low_codes] = &mut (*to).codes.split;
            let (high_codes, low_codes) = (high_codes.as_mut_ptr(), low_codes.as_mut_ptr());
            let sums = D::store_rounded_i8([high_codes, low_codes, high_codes, low_codes], [high, low, high, low]);
            (*to).high = HIGH * scale;
            (*to).start = start::<S, D>(sums[0]);
            (*to).low_start = start::<S, D>(sums[1]);
        }
    }

    #[inline(always)]
    unsafe fn add_products<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[S::F32; PANELS]; ROWS],
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
    ) {
        // SAFETY: the blocks have high parts, and the records weights, for all 32 places.
        unsafe {
            let codes: [*const u8; ROWS] = rows.map(|row| (&raw const (*row).codes.split).cast());
            let mut products = [[S::splat_i32(0); PANELS]; ROWS];
            for r in 0..ROWS {
                products[r] = [S::splat_i32((*rows[r]).start); PANELS];
            }
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 0);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 1);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 2);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 3);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 4);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 5);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 6);
            add_fours::<S, D, ROWS, PANELS>(&mut products, codes, weights, 7);
            // Loads of scales stay behind the products: before them they would take registers from the sums.
            compiler_fence(Ordering::SeqCst);
            for p in 0..PANELS {
                let weight_scale = S::load(weights[p].sub(SCALES_BYTES).cast());
                for r in 0..ROWS {
                    let scale = S::mul(weight_scale, S::splat((*rows[r]).high));
                    sums[r][p] = S::mul_add(S::to_f32(products[r][p]), scale, sums[r][p]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_low_parts<const ROWS: usize, const PANELS: usize>(
        sums: &mut [[S::F32; PANELS]; ROWS],
        rows: [*const QuantizedBlock; ROWS],
        weights: [*const u8; PANELS],
        count: usize,
    ) {
        const { assert!(ROWS <= 3, "rows of a tile") };
        // SAFETY: passed on from the caller. By constant places, without a loop: only so do the sums stay in registers.
        unsafe {
            for first in (0..count).step_by(LANES) {
                let weights = weights.map(|weights| weights.add(first * RECORD_BYTES));
                if ROWS > 0 {
                    sums[0] = with_low_parts::<S, D, PANELS>(sums[0], rows[0].add(first), weights);
                }
                if ROWS > 1 {
                    sums[1] = with_low_parts::<S, D, PANELS>(sums[1], rows[1].add(first), weights);
                }
                if ROWS > 2 {
                    sums[2] = with_low_parts::<S, D, PANELS>(sums[2], rows[2].add(first), weights);
                }
            }
        }
    }

    const DEPTH: usize = 4;

    #[inline(always)]
    unsafe fn multiply(sum: S::I32, weights: *const u8, codes: *const u8) -> S::I32 {
        // SAFETY: as the caller promises.
        unsafe { D::dot_fours(sum, D::load(weights), D::splat_four(codes)) }
    }
}

/// The sums of one row with the products of the low parts among sixteen blocks from `row` on added.
///
/// # Safety
/// As for [`BlockProduct::add_low_parts`].
#[inline(always)]
unsafe fn with_low_parts<S: Simd, D: ByteDot<S>, const PANELS: usize>(
    mut sums: [S::F32; PANELS],
    row: *const QuantizedBlock,
    weights: [*const u8; PANELS],
) -> [S::F32; PANELS] {
    // SAFETY: blocks that are fine have low parts, and the records weights, for all 32 places.
    unsafe {
        let mut fine = (*row).fine;
        while fine != 0 {
            let block = fine.trailing_zeros() as usize;
            fine &= fine - 1;
            let row = row.add(block);
            let records = weights.map(|weights| weights.add(block * RECORD_BYTES + SCALES_BYTES));
            let codes = (&raw const (*row).codes.split[1]).cast();
            let mut products = [[S::splat_i32((*row).low_start); PANELS]; 1];
            for four in 0..BLOCK / 4 {
                add_fours::<S, D, 1, PANELS>(&mut products, [codes], records, four);
            }
            for p in 0..PANELS {
                let scale = S::mul(S::load(records[p].sub(SCALES_BYTES).cast()), S::splat((*row).scale));
                sums[p] = S::mul_add(S::to_f32(products[0][p]), scale, sums[p]);
            }
        }
    }
    sums
}

/// What takes out of a sum of products what lies in the weights beside their codes. The sum of codes of a block without finite values may
/// be anything, and wraps.
#[inline(always)]
fn start<S: Simd, D: ByteDot<S>>(sum: i32) -> i32 {
    (-D::WEIGHT_OFFSET).wrapping_mul(sum)
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
mod tests {
    use super::*;
    use crate::Isa;
    use crate::generic::block_product::WholeCodes;
    use crate::generic::block_product::tests::{EMPTY, codes};
    use crate::generic::portable::Portable;
    use crate::generic::quantize::{QuantizeRows, quantize};
    use proptest::prelude::*;

    const BLOCKS: usize = 18;

    /// Rows as quantised, but with scales of 1, so that their products are whole numbers and exact; and the scales.
    fn quantized<B: BlockProduct<Portable>>(rows: &[Vec<f32>; 3]) -> ([[QuantizedBlock; BLOCKS]; 3], Vec<f32>) {
        let mut scales = Vec::new();
        let quantized = rows.each_ref().map(|row| {
            let mut to = [EMPTY; BLOCKS];
            let args = QuantizeRows { values: row.as_ptr(), stride: 0, rows: 1, blocks: BLOCKS, to: to.as_mut_ptr() };
            // SAFETY: the portable operations are always there; a block for each 32 values.
            unsafe { quantize::<Portable, B>(&args) };
            for block in &mut to {
                scales.push(block.scale);
                block.high = if block.scale > 0.0 { block.high / block.scale } else { 1.0 };
                block.scale = 1.0;
            }
            to
        });
        (quantized, scales)
    }

    /// The products of three rows with one panel whose only block that is not zero is `block`, its scales being 1.
    fn product<B: BlockProduct<Portable>>(
        rows: &[[QuantizedBlock; BLOCKS]; 3],
        block: usize,
        codes: &[u8; LANES * BLOCK],
    ) -> [[[f32; LANES]; 1]; 3] {
        let zero = if B::LAYOUT == Layout::OffsetFours { 128 } else { 0 };
        let mut panel = [[zero; RECORD_BYTES]; BLOCKS];
        for record in &mut panel {
            record[..SCALES_BYTES].copy_from_slice(&[1f32.to_ne_bytes(); LANES].concat());
        }
        panel[block][SCALES_BYTES..].copy_from_slice(codes);
        let mut sums = [[[0.0; LANES]; 1]; 3];
        // SAFETY: blocks and codes are complete, and each in the layout of its product.
        unsafe {
            for number in 0..BLOCKS {
                let records = [panel[number].as_ptr().add(SCALES_BYTES)];
                let rows = rows.each_ref().map(|row| &raw const row[number]);
                B::add_products::<3, 1>(&mut sums, rows, records);
            }
            let rows = rows.each_ref().map(|row| row.as_ptr());
            B::add_low_parts::<3, 1>(&mut sums, rows, [panel.as_ptr().cast()], BLOCKS);
        }
        sums
    }

    proptest! {
        #[test]
        fn whole_and_split_codes_have_the_same_products(
            weights in prop::collection::vec(any::<[u8; BLOCK]>(), LANES),
            rows in prop::array::uniform3(prop::collection::vec(-1.0f32..1.0, BLOCKS * BLOCK)),
            outlier in prop::option::of((0usize..3, 0usize..BLOCKS * BLOCK)),
            block in 0..BLOCKS,
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
            let (whole, scales) = quantized::<WholeCodes>(&rows);
            let (split, scales_of_split) = quantized::<SplitCodes<Portable>>(&rows);
            prop_assert_eq!(scales, scales_of_split);
            let products = product::<WholeCodes>(&whole, block, &signed);
            prop_assert_eq!(products, product::<SplitCodes<Portable>>(&split, block, &offset));
            for r in 0..3 {
                let codes = codes(Isa::Portable, &whole[r]);
                for channel in 0..LANES {
                    let sum: i32 = (0..BLOCK)
                        .map(|k| codes[block * BLOCK + k] * i32::from(weights[channel][k] as i8))
                        .sum();
                    prop_assert_eq!(products[r][0][channel], sum as f32);
                }
            }
        }
    }
}
