//! Functions of one row of a hidden state.

use super::Simd;
use super::simd::LANES;
use crate::weights::WeightType;
use crate::weights::quantized::BLOCK;
use crate::weights::raw::{Q8_0_BYTES, decode, q8_0_block};

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

/// The largest activation code. The products with 32 signed bytes then add up to at most 4095 * 128 * 32, below 2^24: a
/// block's sum is exact as an `i32` and still exact as an `f32`.
///
/// Codes of 8 bits, up to 127, would do for the multiplication no better, and they cost accuracy: see
/// docs/performance.md.
const LARGEST_CODE: f32 = 4095.0;

/// Quantises a row to symmetric codes with one scale per 32 values: `scale = max|x| / 4095`, codes rounded to nearest,
/// ties to even. A block of zeros has scale 0, and so has one whose largest value is so small (4.8e-35) that its
/// reciprocal overflows. The scale of a block with a NaN is NaN, with an infinity infinite, so that neither is lost
/// in a product; the codes of such a block mean nothing.
///
/// # Safety
/// The instruction set must be present; `row` and `codes` must have `columns` values, a multiple of 32, and `scales`
/// one for each block.
#[inline(always)]
pub(crate) unsafe fn quantize<S: Simd>(row: *const f32, columns: usize, codes: *mut i16, scales: *mut f32) {
    // The reciprocal of anything smaller, times the largest code, could overflow.
    const SMALLEST: f32 = (LARGEST_CODE + 1.0) * f32::MIN_POSITIVE;
    // SAFETY: all offsets are below `columns`.
    unsafe {
        for block in 0..columns / BLOCK {
            let from = row.add(block * BLOCK);
            let values: [S::F32; BLOCK / LANES] = std::array::from_fn(|v| S::load(from.add(v * LANES)));
            let mut largest = S::splat(0.0);
            for &v in &values {
                largest = S::max_magnitude(largest, v);
            }
            let largest = S::max_lane_magnitude(largest);
            let (to_code, scale) =
                if largest < SMALLEST { (0.0, 0.0) } else { (LARGEST_CODE / largest, largest / LARGEST_CODE) };
            let to_code = S::splat(to_code);
            for pair in 0..BLOCK / LANES / 2 {
                S::store_rounded_i16(
                    codes.add(block * BLOCK + pair * 2 * LANES),
                    S::mul(values[2 * pair], to_code),
                    S::mul(values[2 * pair + 1], to_code),
                );
            }
            *scales.add(block) = scale;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use proptest::prelude::*;

    fn quantized(isa: Isa, row: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let mut codes = vec![99; row.len()];
        let mut scales = vec![f32::NAN; row.len() / BLOCK];
        // SAFETY: `kernels` has checked the instruction set; the buffers have the row's codes and scales.
        unsafe { (isa.kernels().quantize)(row.as_ptr(), row.len(), codes.as_mut_ptr(), scales.as_mut_ptr()) };
        (codes.into_iter().map(i32::from).collect(), scales)
    }

    /// One value at a time, from the definition.
    fn reference(row: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for block in row.chunks(BLOCK) {
            let largest = block.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
            let zero = largest < 2f32.powi(-114);
            codes.extend(
                block.iter().map(|&x| if zero { 0 } else { (x * (LARGEST_CODE / largest)).round_ties_even() as i32 }),
            );
            scales.push(if zero { 0.0 } else { largest / LARGEST_CODE });
        }
        (codes, scales)
    }

    proptest! {
        #[test]
        fn codes_and_scales_are_those_of_the_definition(
            blocks in prop::collection::vec((prop::collection::vec(-1.0f32..1.0, BLOCK), -150i32..120), 1..20),
        ) {
            let row: Vec<f32> =
                blocks.iter().flat_map(|(block, power)| block.iter().map(|x| x * 2f32.powi(*power))).collect();
            for isa in Isa::available() {
                prop_assert_eq!(quantized(isa, &row), reference(&row), "{}", isa);
            }
        }
    }

    #[test]
    fn halves_round_to_even_and_codes_stay_symmetric() {
        // The largest is the largest code, so every value is its own multiple of the scale 1.
        let row: Vec<f32> = (0..BLOCK).map(|i| if i == 5 { -LARGEST_CODE } else { i as f32 - 16.5 }).collect();
        for isa in Isa::available() {
            let (codes, scales) = quantized(isa, &row);
            assert_eq!(scales, [1.0], "{isa}");
            assert!(codes.iter().enumerate().all(|(i, code)| i == 5 || code % 2 == 0), "{isa} {codes:?}");
            assert_eq!((codes, scales), reference(&row), "{isa}");
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
                    assert_eq!((scales[0], scales[2]), (3.0 / LARGEST_CODE, 3.0 / LARGEST_CODE), "{isa}");
                }
            }
        }
    }
}
