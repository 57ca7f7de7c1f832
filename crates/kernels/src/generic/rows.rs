//! Functions of one row of a hidden state.

use super::Simd;
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
