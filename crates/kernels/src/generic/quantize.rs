//! Quantising a row of activations to blocks of codes.

use super::Simd;
use super::block_product::{BlockProduct, COARSE_CODE, FINE_CODE, QuantizedBlock};
use super::simd::LANES;
use crate::weights::quantized::BLOCK;

/// A block is quantised finely if its largest value is more than this many times the mean of the other blocks' largest
/// values: with coarse codes the error of its values would stand out of the row's as much.
const FINE_ABOVE: f32 = 2.5;

/// Rows to quantise, and where to.
pub(crate) struct QuantizeRows {
    /// The first row; rows are `stride` values apart.
    pub(crate) values: *const f32,
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    /// Blocks of a row.
    pub(crate) blocks: usize,
    /// The first row's first block; those of the next row follow.
    pub(crate) to: *mut QuantizedBlock,
}

/// Quantises each row to symmetric codes with one scale per 32 values: `scale = max|x| / largest code`, codes rounded to
/// nearest, ties to even, up to [`COARSE_CODE`] in most blocks and [`FINE_CODE`] in those that stand out. A block of
/// zeros has scale 0, and so has one whose largest value is so small (4.8e-35) that its reciprocal could overflow. The
/// scale of a block with a NaN is NaN, with an infinity infinite, so that neither is lost in a product; the codes of
/// such a block mean nothing.
///
/// Codes and scales are the same on every instruction set.
///
/// # Safety
/// The instruction set must be present; rows and blocks must be as many as `args` says.
#[inline(always)]
pub(crate) unsafe fn quantize<S: Simd, B: BlockProduct<S>>(args: &QuantizeRows) {
    let fours = args.rows / ROWS * ROWS;
    // SAFETY: passed on from the caller.
    unsafe {
        for row in (0..fours).step_by(ROWS) {
            quantize_rows::<S, B, ROWS>(args, row);
        }
        for row in fours..args.rows {
            quantize_rows::<S, B, 1>(args, row);
        }
    }
}

/// Rows that are quantised side by side: each waits for its largest values and for two divisions, and others do not.
const ROWS: usize = 4;

/// Quantises `ROWS` rows from `row` on.
///
/// # Safety
/// As for [`quantize`], with rows that there are.
#[inline(always)]
unsafe fn quantize_rows<S: Simd, B: BlockProduct<S>, const ROWS: usize>(args: &QuantizeRows, row: usize) {
    let count = args.blocks;
    // SAFETY: passed on from the caller.
    unsafe {
        let mut rows = [Row { values: args.values, blocks: args.to, count }; ROWS];
        let mut totals = [0.0; ROWS];
        for r in 0..ROWS {
            rows[r].values = args.values.add((row + r) * args.stride);
            rows[r].blocks = args.to.add((row + r) * count);
            totals[r] = rows[r].keep_largest::<S>();
        }
        for first in (0..count).step_by(LANES) {
            let mut scales = [Scales { scales: [0.0; LANES], to_code: [0.0; LANES], fine: 0 }; ROWS];
            for r in 0..ROWS {
                scales[r] = rows[r].scales::<S>(first, totals[r]);
            }
            for r in 0..ROWS {
                rows[r].store_all::<S, B>(first, &scales[r]);
            }
        }
    }
}

/// A row and the blocks that it becomes. They are worked on four at a time, which costs little more than one; one that is left
/// alone takes the place of all four.
#[derive(Clone, Copy)]
struct Row {
    values: *const f32,
    blocks: *mut QuantizedBlock,
    count: usize,
}

/// What sixteen blocks, from one whose number is a multiple of that on, are quantised with.
#[derive(Clone, Copy)]
struct Scales {
    /// The factor from a code to its value.
    scales: [f32; LANES],
    /// The factor from a value to its code.
    to_code: [f32; LANES],
    /// Which are fine, a bit for each.
    fine: u32,
}

impl Row {
    /// Sets the scale of each block to its largest value, and returns the sum of these, in an order that is the same everywhere.
    ///
    /// # Safety
    /// As for [`quantize`].
    #[inline(always)]
    unsafe fn keep_largest<S: Simd>(self) -> f32 {
        let mut totals = [0.0; 4];
        let fours = self.count / 4 * 4;
        // SAFETY: blocks are below the count.
        unsafe {
            for block in (0..fours).step_by(4) {
                let largest = self.keep_largest_of::<S, 4>(block);
                for (total, largest) in totals.iter_mut().zip(largest) {
                    *total += largest;
                }
            }
            for block in fours..self.count {
                totals[block % 4] += self.keep_largest_of::<S, 1>(block)[0];
            }
        }
        (totals[0] + totals[1]) + (totals[2] + totals[3])
    }

    /// The same for `COUNT` blocks; returns the largest values.
    ///
    /// # Safety
    /// As for [`quantize`], with blocks below the count.
    #[inline(always)]
    unsafe fn keep_largest_of<S: Simd, const COUNT: usize>(self, block: usize) -> [f32; 4] {
        // SAFETY: as the caller promises.
        unsafe {
            let mut magnitudes = [S::splat(0.0); 4];
            for i in 0..4 {
                let [a, b] = self.values_of::<S>(block + i % COUNT);
                magnitudes[i] = S::max_magnitude(S::max_magnitude(magnitudes[i], a), b);
            }
            let largest = S::max_lane_magnitudes(magnitudes);
            for i in 0..COUNT {
                (*self.blocks.add(block + i)).scale = largest[i];
            }
            largest
        }
    }

    /// What the sixteen blocks from `first` on are quantised with, whose scales are their largest values still; `total` is the sum of
    /// those of all blocks.
    ///
    /// # Safety
    /// As for [`quantize`], with `first` below the count.
    #[inline(always)]
    unsafe fn scales<S: Simd>(self, first: usize, total: f32) -> Scales {
        // The reciprocal of anything smaller, times the largest code, could overflow.
        const SMALLEST: f32 = (FINE_CODE + 1.0) * f32::MIN_POSITIVE;
        let mut largest = [0.0; LANES];
        let mut scales = Scales { scales: [0.0; LANES], to_code: [0.0; LANES], fine: 0 };
        // SAFETY: blocks are below the count.
        unsafe {
            for (block, largest) in (first..self.count).zip(&mut largest) {
                *largest = (*self.blocks.add(block)).scale;
            }
            let largest = S::load(largest.as_ptr());
            let (smallest, zero) = (S::splat(SMALLEST), S::splat(0.0));
            let others = S::mul(S::splat(FINE_ABOVE), S::sub(S::splat(total), largest));
            let as_many = S::mul(largest, S::splat((self.count - 1) as f32));
            let end = S::where_greater(as_many, others, S::splat(FINE_CODE), S::splat(COARSE_CODE));
            let to_code = S::where_greater(smallest, largest, zero, S::div(end, largest));
            let scale = S::where_greater(smallest, largest, zero, S::div(largest, end));
            S::store(scales.scales.as_mut_ptr(), scale);
            S::store(scales.to_code.as_mut_ptr(), to_code);
            scales.fine = S::lanes_greater(end, S::splat(COARSE_CODE));
        }
        scales
    }

    /// Writes the codes and the scales of the sixteen blocks from `first`, or as many as there are.
    ///
    /// # Safety
    /// As for [`quantize`], with `first` below the count.
    #[inline(always)]
    unsafe fn store_all<S: Simd, B: BlockProduct<S>>(self, first: usize, scales: &Scales) {
        let count = LANES.min(self.count - first);
        let fours = count / 4 * 4;
        // SAFETY: blocks are below the count.
        unsafe {
            for place in (0..fours).step_by(4) {
                self.store::<S, B, 4>(first, place, scales);
            }
            for place in fours..count {
                self.store::<S, B, 1>(first, place, scales);
            }
            self.store_fine::<S, B>(first, scales);
        }
    }

    /// Writes the codes and the scales of the `COUNT` blocks that are from the place `place` on among the sixteen from `first`, as if they
    /// were coarse.
    ///
    /// # Safety
    /// As for [`quantize`], with blocks below the count.
    #[inline(always)]
    unsafe fn store<S: Simd, B: BlockProduct<S>, const COUNT: usize>(
        self,
        first: usize,
        place: usize,
        scales: &Scales,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let to = self.blocks.add(first + place);
            let mut codes = [[S::splat(0.0); BLOCK / LANES]; 4];
            let mut kept = [0.0; 4];
            for i in 0..4 {
                codes[i] = self.codes_of::<S>(first + place + i % COUNT, scales.to_code[place + i % COUNT]);
                kept[i] = scales.scales[place + i % COUNT];
            }
            B::store_codes([to, to.add(1 % COUNT), to.add(2 % COUNT), to.add(3 % COUNT)], codes, kept);
            for i in 0..COUNT {
                (*to.add(i)).scale = kept[i];
            }
        }
    }

    /// Writes the codes of the blocks that are fine among the sixteen from `first`, and which those are.
    ///
    /// # Safety
    /// As for [`quantize`], with `first` below the count.
    #[inline(always)]
    unsafe fn store_fine<S: Simd, B: BlockProduct<S>>(self, first: usize, scales: &Scales) {
        // SAFETY: as the caller promises.
        unsafe {
            (*self.blocks.add(first)).fine = scales.fine;
            let mut fine = scales.fine;
            while fine != 0 {
                let place = fine.trailing_zeros() as usize % LANES;
                fine &= fine - 1;
                let codes = self.codes_of::<S>(first + place, scales.to_code[place]);
                B::store_fine_codes(self.blocks.add(first + place), codes, scales.scales[place]);
            }
        }
    }

    /// The codes of a block before they are rounded.
    ///
    /// # Safety
    /// As for [`values_of`](Self::values_of).
    #[inline(always)]
    unsafe fn codes_of<S: Simd>(self, block: usize, to_code: f32) -> [S::F32; BLOCK / LANES] {
        // SAFETY: as the caller promises.
        unsafe {
            let [a, b] = self.values_of::<S>(block);
            [S::mul(a, S::splat(to_code)), S::mul(b, S::splat(to_code))]
        }
    }

    /// The values of a block.
    ///
    /// # Safety
    /// As for [`quantize`], with a block below the count.
    #[inline(always)]
    unsafe fn values_of<S: Simd>(self, block: usize) -> [S::F32; BLOCK / LANES] {
        // SAFETY: a block has two vectors of values.
        unsafe {
            let values = self.values.add(block * BLOCK);
            [S::load(values), S::load(values.add(LANES))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::generic::block_product::tests::{EMPTY, codes};
    use proptest::prelude::*;

    fn quantized(isa: Isa, row: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let mut blocks = vec![EMPTY; row.len() / BLOCK];
        let args = QuantizeRows {
            values: row.as_ptr(),
            stride: row.len(),
            rows: 1,
            blocks: blocks.len(),
            to: blocks.as_mut_ptr(),
        };
        // SAFETY: `kernels` has checked the instruction set; there is a block for each 32 values.
        unsafe { (isa.kernels().quantize)(&args) };
        (codes(isa, &blocks), blocks.iter().map(|block| block.scale).collect())
    }

    /// One value at a time, from the definition.
    fn reference(row: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let largest: Vec<f32> =
            row.chunks(BLOCK).map(|block| block.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()))).collect();
        // In the order that is defined.
        let every_fourth = |from: usize| largest.iter().skip(from).step_by(4).sum::<f32>();
        let total = (every_fourth(0) + every_fourth(1)) + (every_fourth(2) + every_fourth(3));
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for (block, &largest_here) in row.chunks(BLOCK).zip(&largest) {
            let fine = largest_here * (largest.len() - 1) as f32 > 2.5 * (total - largest_here);
            let end = if fine { 4095.0 } else { 127.0 };
            let zero = largest_here < 2f32.powi(-114);
            codes.extend(
                block.iter().map(|&x| if zero { 0 } else { (x * (end / largest_here)).round_ties_even() as i32 }),
            );
            scales.push(if zero { 0.0 } else { largest_here / end });
        }
        (codes, scales)
    }

    proptest! {
        #[test]
        fn codes_and_scales_are_those_of_the_definition(
            blocks in prop::collection::vec((prop::collection::vec(-1.0f32..1.0, BLOCK), -150i32..120), 1..20),
            even: bool,
        ) {
            // Blocks of like size, as rows have, or of any.
            let power = |power: i32| 2f32.powi(if even { power % 3 } else { power });
            let row: Vec<f32> = blocks.iter().flat_map(|(block, p)| block.iter().map(|x| x * power(*p))).collect();
            for isa in Isa::available() {
                prop_assert_eq!(quantized(isa, &row), reference(&row), "{}", isa);
            }
        }
    }

    #[test]
    fn halves_round_to_even_and_codes_stay_symmetric() {
        // The largest is the largest code, so every value is its own multiple of the scale 1.
        let row: Vec<f32> = (0..BLOCK).map(|i| if i == 5 { -COARSE_CODE } else { i as f32 - 16.5 }).collect();
        for isa in Isa::available() {
            let (codes, scales) = quantized(isa, &row);
            assert_eq!(scales, [1.0], "{isa}");
            assert!(codes.iter().enumerate().all(|(i, code)| i == 5 || code % 2 == 0), "{isa} {codes:?}");
            assert_eq!((codes, scales), reference(&row), "{isa}");
        }
    }

    #[test]
    fn a_block_that_stands_out_is_fine() {
        let row: Vec<f32> = (0..12 * BLOCK).map(|i| if i == 100 { 4095.0 } else { (i % 7) as f32 }).collect();
        for isa in Isa::available() {
            let (codes, scales) = quantized(isa, &row);
            assert_eq!(scales[3], 1.0, "{isa}");
            assert!(scales.iter().enumerate().all(|(block, &scale)| block == 3 || scale == 6.0 / 127.0), "{isa}");
            assert_eq!((codes[100], codes[101]), (4095, 3), "{isa}");
        }
    }

    #[test]
    fn blocks_without_a_finite_largest_value_keep_it_in_the_scale() {
        for isa in Isa::available() {
            for lane in 0..BLOCK {
                for bad in [f32::NAN, -f32::NAN, f32::NEG_INFINITY] {
                    let mut row = vec![3.0; 3 * BLOCK];
                    row[BLOCK + lane] = bad;
                    let (_, scales) = quantized(isa, &row);
                    assert!(!scales[1].is_finite(), "{isa} {bad} in lane {lane}");
                    assert_eq!(scales[1].is_nan(), bad.is_nan(), "{isa} {bad} in lane {lane}");
                    assert_eq!((scales[0], scales[2]), (3.0 / COARSE_CODE, 3.0 / COARSE_CODE), "{isa}");
                }
            }
        }
    }
}
