//! Functions of one row of a hidden state.

use super::Simd;
use super::block_product::{BlockProduct, COARSE_CODE, FINE_CODE, QuantizedBlock};
use super::simd::LANES;
use crate::weights::WeightType;
use crate::weights::quantized::BLOCK;
use crate::weights::raw::{Q8_0_BYTES, decode, q8_0_block};
use docent_gguf::TensorType;

/// Replaces the row by `(x - mean) / sqrt(variance + epsilon) * weight + bias`, with the population variance
/// (Ba, Kiros and Hinton, arXiv:1607.06450).
///
/// # Safety
/// The instruction set must be present; `row` must have `columns` values, writable, `weight` and `bias` as many.
#[inline(always)]
pub(crate) unsafe fn layer_norm<S: Simd>(
    row: *mut f32,
    columns: usize,
    weight: *const f32,
    bias: *const f32,
    epsilon: f32,
) {
    let whole = columns / LANES * LANES;
    // SAFETY: all offsets are below `columns`.
    unsafe {
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            sum = S::add(sum, S::load(row.add(i)));
        }
        let tail = (whole..columns).map(|i| *row.add(i)).sum::<f32>();
        let mean = (S::sum(sum) + tail) / columns as f32;

        let mut squares = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            let centred = S::sub(S::load(row.add(i)), S::splat(mean));
            squares = S::mul_add(centred, centred, squares);
        }
        let tail = (whole..columns).map(|i| (*row.add(i) - mean).powi(2)).sum::<f32>();
        let variance = (S::sum(squares) + tail) / columns as f32;

        let scale = 1.0 / (variance + epsilon).sqrt();
        for i in (0..whole).step_by(LANES) {
            let centred = S::mul(S::sub(S::load(row.add(i)), S::splat(mean)), S::splat(scale));
            S::store(row.add(i), S::mul_add(centred, S::load(weight.add(i)), S::load(bias.add(i))));
        }
        for i in whole..columns {
            *row.add(i) = (*row.add(i) - mean) * scale * *weight.add(i) + *bias.add(i);
        }
    }
}

/// Replaces the row by `x / sqrt(mean of squares + epsilon) * weight` (Zhang and Sennrich, arXiv:1910.07467).
///
/// # Safety
/// The instruction set must be present; `row` must have `columns` values, writable, `weight` as many.
#[inline(always)]
pub(crate) unsafe fn rms_norm<S: Simd>(row: *mut f32, columns: usize, weight: *const f32, epsilon: f32) {
    let whole = columns / LANES * LANES;
    // SAFETY: all offsets are below `columns`.
    unsafe {
        let mut squares = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            let x = S::load(row.add(i));
            squares = S::mul_add(x, x, squares);
        }
        let tail = (whole..columns).map(|i| (*row.add(i)).powi(2)).sum::<f32>();
        let scale = 1.0 / ((S::sum(squares) + tail) / columns as f32 + epsilon).sqrt();
        for i in (0..whole).step_by(LANES) {
            let scaled = S::mul(S::load(row.add(i)), S::splat(scale));
            S::store(row.add(i), S::mul(scaled, S::load(weight.add(i))));
        }
        for i in whole..columns {
            *row.add(i) = *row.add(i) * scale * *weight.add(i);
        }
    }
}

/// A block is quantised finely if its largest value is more than this many times the mean of the other blocks' largest
/// values: with coarse codes the error of its values would stand out of the row's as much.
const FINE_ABOVE: f32 = 2.5;

/// Quantises a row to symmetric codes with one scale per 32 values: `scale = max|x| / largest code`, codes rounded to
/// nearest, ties to even, up to [`COARSE_CODE`] in most blocks and [`FINE_CODE`] in those that stand out. A block of
/// zeros has scale 0, and so has one whose largest value is so small (4.8e-35) that its reciprocal could overflow. The
/// scale of a block with a NaN is NaN, with an infinity infinite, so that neither is lost in a product; the codes of
/// such a block mean nothing.
///
/// Codes and scales are the same on every instruction set.
///
/// # Safety
/// The instruction set must be present; `row` must have `columns` values, a multiple of 32, and `blocks` be writable for
/// each 32 of them.
#[inline(always)]
pub(crate) unsafe fn quantize<S: Simd, B: BlockProduct<S>>(
    row: *const f32,
    columns: usize,
    blocks: *mut QuantizedBlock,
) {
    // The reciprocal of anything smaller, times the largest code, could overflow.
    const SMALLEST: f32 = (FINE_CODE + 1.0) * f32::MIN_POSITIVE;
    let count = columns / BLOCK;
    // SAFETY: all offsets are below `columns`.
    unsafe {
        let values = |block: usize| -> [S::F32; BLOCK / LANES] {
            std::array::from_fn(|v| S::load(row.add(block * BLOCK + v * LANES)))
        };
        // Until the second pass the scales hold the blocks' largest values.
        let mut total = 0.0;
        for block in 0..count {
            let mut largest = S::splat(0.0);
            for value in values(block) {
                largest = S::max_magnitude(largest, value);
            }
            let largest = S::max_lane_magnitude(largest);
            (*blocks.add(block)).scale = largest;
            total += largest;
        }
        for block in 0..count {
            let to = blocks.add(block);
            let largest = (*to).scale;
            let fine = largest * (count - 1) as f32 > FINE_ABOVE * (total - largest);
            let end = if fine { FINE_CODE } else { COARSE_CODE };
            let (to_code, scale) = if largest < SMALLEST { (0.0, 0.0) } else { (end / largest, largest / end) };
            B::store_codes(
                to,
                values(block).map(
                    #[inline(always)]
                    |value| S::mul(value, S::splat(to_code)),
                ),
                fine,
            );
            (*to).scale = scale;
        }
    }
}

/// Adds a row of encoded weights to `out`. Decoding is exact, and so is each sum but for its last rounding.
///
/// # Safety
/// The instruction set must be present; `bytes` must hold a row of `columns` values of the type, `out` as many values,
/// writable.
#[inline(always)]
pub(crate) unsafe fn add_decoded<S: Simd>(ty: WeightType, bytes: *const u8, columns: usize, out: *mut f32) {
    if let WeightType::Blocks(blocks) = ty {
        // SAFETY: passed on from the caller.
        return unsafe { add_blocks(blocks, bytes, columns, out) };
    }
    // SAFETY: all offsets are below `columns`, in values of the type.
    unsafe {
        let whole = if cfg!(target_endian = "little") { columns / LANES * LANES } else { 0 };
        for i in (0..whole).step_by(LANES) {
            let values = match ty {
                WeightType::F32 => S::load(bytes.cast::<f32>().add(i)),
                WeightType::F16 => S::load_f16(bytes.cast::<u16>().add(i)),
                WeightType::Bf16 => S::load_bf16(bytes.cast::<u16>().add(i)),
                WeightType::Q8_0 => {
                    let block = &*bytes.cast::<[u8; Q8_0_BYTES]>().add(i / BLOCK);
                    let (scale, codes) = q8_0_block(block);
                    S::mul(S::splat(scale), S::load_i8_as_f32(codes.as_ptr().cast::<i8>().add(i % BLOCK)))
                }
                WeightType::Blocks(_) => unreachable!("added above"),
            };
            S::store(out.add(i), S::add(S::load(out.add(i)), values));
        }
        let mut values = [0.0; BLOCK];
        for i in (whole..columns).step_by(BLOCK) {
            let values = &mut values[..BLOCK.min(columns - i)];
            let [start, end] = [i, i + values.len()]
                .map(|column| ty.row_bytes(column).expect("a row of Q8_0 ends with a block, so nothing of it is left"));
            decode(ty, std::slice::from_raw_parts(bytes.add(start), end - start), values);
            for (column, value) in values.iter().enumerate() {
                *out.add(i + column) += value;
            }
        }
    }
}

/// The same for blocks of other formats, one at a time.
///
/// # Safety
/// As for [`add_decoded`].
#[inline(always)]
unsafe fn add_blocks(ty: TensorType, bytes: *const u8, columns: usize, out: *mut f32) {
    /// Elements of the longest block.
    const LONGEST: usize = 256;
    let (elements, size) = (ty.block_elements(), ty.block_bytes());
    let mut values = [0.0; LONGEST];
    for block in 0..columns / elements {
        // SAFETY: a block of the row, and as many columns as it has elements.
        let (bytes, out) = unsafe {
            let out = out.add(block * elements);
            (std::slice::from_raw_parts(bytes.add(block * size), size), std::slice::from_raw_parts_mut(out, elements))
        };
        decode(WeightType::Blocks(ty), bytes, &mut values[..elements]);
        out.iter_mut().zip(&values).for_each(|(out, value)| *out += value);
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
        // SAFETY: `kernels` has checked the instruction set; there is a block for each 32 values.
        unsafe { (isa.kernels().quantize)(row.as_ptr(), row.len(), blocks.as_mut_ptr()) };
        (blocks.iter().flat_map(|block| codes(isa, block)).collect(), blocks.iter().map(|block| block.scale).collect())
    }

    /// One value at a time, from the definition.
    fn reference(row: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let largest: Vec<f32> =
            row.chunks(BLOCK).map(|block| block.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()))).collect();
        let total = largest.iter().sum::<f32>();
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
