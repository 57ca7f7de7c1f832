//! Functions of one row of a hidden state.

use super::Simd;
use super::simd::LANES;
use crate::weights::quantized::BLOCK;

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

/// Quantises a row to symmetric 8-bit codes with one scale per 32 values: `scale = max|x| / 127`, codes rounded to
/// nearest, ties to even. A block of zeros has scale 0.
///
/// # Safety
/// The instruction set must be present; `row` and `codes` must have `columns` values, a multiple of 32, and `scales`
/// one for each block.
#[inline(always)]
pub(crate) unsafe fn quantize<S: Simd>(row: *const f32, columns: usize, codes: *mut i16, scales: *mut f32) {
    // SAFETY: all offsets are below `columns`.
    unsafe {
        for block in 0..columns / BLOCK {
            let from = row.add(block * BLOCK);
            let values: [S::F32; BLOCK / LANES] = std::array::from_fn(|v| S::load(from.add(v * LANES)));
            let mut largest = S::splat(0.0);
            for &v in &values {
                // The value stands second, so that a NaN is not dropped.
                largest = S::max(largest, S::abs(v));
            }
            let largest = S::max_lane(largest);
            let to_code = S::splat(if largest == 0.0 { 0.0 } else { 127.0 / largest });
            for pair in 0..BLOCK / LANES / 2 {
                S::store_rounded_i16(
                    codes.add(block * BLOCK + pair * 2 * LANES),
                    S::mul(values[2 * pair], to_code),
                    S::mul(values[2 * pair + 1], to_code),
                );
            }
            *scales.add(block) = largest / 127.0;
        }
    }
}
