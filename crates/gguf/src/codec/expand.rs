//! Any block format as blocks of 32 signed bytes with one scale each, which is what a kernel for 8-bit integers multiplies.
//!
//! Where a format has one scale for 32 elements and no minimum, its small integers are the codes and nothing is lost. Elsewhere the 32
//! numbers are rounded to 8 bits again, in steps of their largest absolute value over 127: the error is at most half a step, a 254th of
//! that value, plus single-precision rounding. A 4-bit block has steps at least eight times as large of its own.

use crate::codec::block::Block;
use crate::codec::{CodecError, iq4, k_quants, mxfp4, q4_q5, q8_0};
use crate::tensor_type::TensorType;

/// Elements that share a scale after expansion.
pub const EXPANDED_BLOCK: usize = 32;

/// Whether [`expand_q8`] keeps every number of this type (up to the rounding of one product in single precision).
#[must_use]
pub const fn expands_exactly(ty: TensorType) -> bool {
    use TensorType::*;
    matches!(ty, Q4_0 | Q5_0 | Q8_0 | Q8_K | IQ4_NL | IQ4_XS | MXFP4)
}

/// Expands `bytes`, whole blocks of type `ty`, to one signed byte an element and one scale for each [`EXPANDED_BLOCK`] elements:
/// element `e` is `codes[e] * scales[e / 32]`.
///
/// That is the number of [`dequantize`](crate::codec::dequantize), to the last bit but for the sign of a zero, for the types of
/// [`expands_exactly`]. For `Q4_1`, `Q5_1` and the K-quants it differs by at most half a step, the largest absolute value of the 32 over
/// 254, and by single-precision rounding, a millionth of that value; their codes are in -127..=127. A block whose numbers are not all
/// finite gets a scale that is not finite.
///
/// Nothing is allocated. The loops are inlined into the caller and use the vector instructions that it is compiled for.
///
/// # Errors
///
/// [`CodecError::NotExpanded`] for a type that is no supported block format, [`CodecError::PartialBlock`] when `codes` is no whole number
/// of blocks, [`CodecError::Length`] when `bytes` are not as many as these take, [`CodecError::Scales`] when `scales` has not one place
/// for each 32 elements. The output is untouched then.
#[inline]
pub fn expand_q8(ty: TensorType, bytes: &[u8], codes: &mut [i8], scales: &mut [f32]) -> Result<(), CodecError> {
    if !(ty.is_supported() && ty.is_quantized()) {
        return Err(CodecError::NotExpanded { ty });
    }
    let elements = codes.len();
    let expected = super::size(ty, elements)?;
    if bytes.len() as u64 != expected {
        return Err(CodecError::Length { ty, elements, expected, found: bytes.len() });
    }
    if scales.len() != elements / EXPANDED_BLOCK {
        return Err(CodecError::Scales { elements, expected: elements / EXPANDED_BLOCK, found: scales.len() });
    }
    match ty {
        TensorType::Q4_0 => copy(bytes, codes, scales, q4_q5::q4_0),
        TensorType::Q4_1 => round::<_, _, _, 32>(bytes, codes, scales, q4_q5::q4_1),
        TensorType::Q5_0 => copy(bytes, codes, scales, q4_q5::q5_0),
        TensorType::Q5_1 => round::<_, _, _, 32>(bytes, codes, scales, q4_q5::q5_1),
        TensorType::Q8_0 => copy(bytes, codes, scales, q8_0::unpack),
        TensorType::Q2_K => round::<_, _, _, 16>(bytes, codes, scales, k_quants::q2_k),
        TensorType::Q3_K => round::<_, _, _, 16>(bytes, codes, scales, k_quants::q3_k),
        TensorType::Q4_K => round::<_, _, _, 32>(bytes, codes, scales, k_quants::q4_k),
        TensorType::Q5_K => round::<_, _, _, 32>(bytes, codes, scales, k_quants::q5_k),
        TensorType::Q6_K => round::<_, _, _, 16>(bytes, codes, scales, k_quants::q6_k),
        TensorType::Q8_K => copy(bytes, codes, scales, k_quants::q8_k),
        TensorType::IQ4_NL => copy(bytes, codes, scales, iq4::iq4_nl),
        TensorType::IQ4_XS => copy(bytes, codes, scales, iq4::iq4_xs),
        TensorType::MXFP4 => copy(bytes, codes, scales, mxfp4::unpack),
        _ => return Err(CodecError::NotExpanded { ty }),
    }
    Ok(())
}

/// Formats without minima whose scales are for 32 elements or more: codes and scales as they are.
#[inline(always)]
fn copy<const BYTES: usize, const ELEMENTS: usize, const GROUPS: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f32],
    unpack: impl Fn(&[u8; BYTES]) -> Block<ELEMENTS, GROUPS>,
) {
    let per_block = ELEMENTS / EXPANDED_BLOCK;
    let out = codes.as_chunks_mut::<ELEMENTS>().0.iter_mut().zip(scales.chunks_exact_mut(per_block));
    for ((codes, scales), bytes) in out.zip(bytes.as_chunks::<BYTES>().0) {
        let block = unpack(bytes);
        *codes = block.codes;
        for (run, scale) in scales.iter_mut().enumerate() {
            *scale = block.scales[run * GROUPS / per_block];
        }
    }
}

/// Formats with minima, or with a scale for each `RUN` of fewer than 32 elements.
#[inline(always)]
fn round<const BYTES: usize, const ELEMENTS: usize, const GROUPS: usize, const RUN: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f32],
    unpack: impl Fn(&[u8; BYTES]) -> Block<ELEMENTS, GROUPS>,
) {
    let out = codes.as_chunks_mut::<ELEMENTS>().0.iter_mut();
    let out = out.zip(scales.chunks_exact_mut(ELEMENTS / EXPANDED_BLOCK));
    for ((codes, scales), bytes) in out.zip(bytes.as_chunks::<BYTES>().0) {
        let block = unpack(bytes);
        let groups = EXPANDED_BLOCK / RUN;
        let runs =
            codes.as_chunks_mut::<EXPANDED_BLOCK>().0.iter_mut().zip(block.codes.as_chunks::<EXPANDED_BLOCK>().0);
        let affine = block.scales.chunks_exact(groups).zip(block.minima.chunks_exact(groups));
        for (((codes, from), (steps, minima)), scale) in runs.zip(affine).zip(scales) {
            *scale = round_32::<RUN>(from, steps, minima, codes);
        }
    }
}

/// Rounds 32 numbers to 8 bits; returns their scale. They are `from[e] * steps[e / RUN] - minima[e / RUN]`.
#[inline(always)]
fn round_32<const RUN: usize>(from: &[i8; 32], steps: &[f32], minima: &[f32], codes: &mut [i8; 32]) -> f32 {
    /// Added to a small number, it leaves the nearest integer in the lowest bits.
    const TO_INTEGER: f32 = 12_582_912.0; // 1.5 * 2^23
    let (mut largest, mut finite) = (0f32, 0f32);
    for ((codes, step), minimum) in from.as_chunks::<RUN>().0.iter().zip(steps).zip(minima) {
        // The numbers grow or fall with the codes: the largest is at one end. (Unsigned bytes are what every processor compares.)
        let shifted = codes.map(|code| (code as u8).wrapping_add(128));
        let (low, high) = shifted.iter().fold((u8::MAX, 0), |(low, high), &code| (low.min(code), high.max(code)));
        for code in [low, high] {
            largest = largest.max((f32::from(code.wrapping_sub(128) as i8) * step - minimum).abs());
        }
        finite += 0.0 * (step + minimum); // NaN if one of them is not finite, which `max` would overlook
    }
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let runs = codes.as_chunks_mut::<RUN>().0.iter_mut().zip(from.as_chunks::<RUN>().0);
    for ((codes, from), (step, minimum)) in runs.zip(steps.iter().zip(minima)) {
        let (step, minimum) = (step * inverse, minimum * inverse);
        for (code, &from) in codes.iter_mut().zip(from) {
            *code = (f32::from(from) * step - minimum + TO_INTEGER).to_bits() as i8;
        }
    }
    largest / 127.0 + finite
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::dequantize;

    const BLOCK_FORMATS: [TensorType; 14] = {
        use TensorType::*;
        [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ4_NL, IQ4_XS, MXFP4]
    };

    /// Expanded and decoded numbers of 512 elements.
    fn both(ty: TensorType, bytes: &[u8]) -> (Vec<f32>, Vec<f32>, Vec<i8>) {
        let (mut codes, mut scales, mut values) = (vec![0; 512], vec![0.0; 16], vec![0.0; 512]);
        expand_q8(ty, bytes, &mut codes, &mut scales).unwrap();
        dequantize(ty, bytes, &mut values).unwrap();
        let expanded = codes.iter().enumerate().map(|(e, &code)| f32::from(code) * scales[e / 32]).collect();
        (expanded, values, codes)
    }

    proptest! {
        #[test]
        fn expanded_numbers_are_the_decoded_ones_or_within_half_a_step(
            which in 0..BLOCK_FORMATS.len(),
            random in prop::collection::vec(any::<u8>(), 1024),
        ) {
            let ty = BLOCK_FORMATS[which];
            let bytes = &random[..512 / ty.block_elements() * ty.block_bytes()];
            let (expanded, values, codes) = both(ty, bytes);
            for (run, (expanded, values)) in expanded.chunks(32).zip(values.chunks(32)).enumerate() {
                if values.iter().any(|value| !value.is_finite()) {
                    prop_assert!(expanded.iter().any(|value| !value.is_finite()), "{ty}, run {run}");
                    continue;
                }
                let largest = values.iter().fold(0f64, |largest, &value| largest.max(f64::from(value).abs()));
                let bound = if expands_exactly(ty) { 0.0 } else { largest / 254.0 + largest * 1e-6 };
                for (&a, &b) in expanded.iter().zip(values) {
                    prop_assert!((f64::from(a) - f64::from(b)).abs() <= bound, "{ty}, run {run}: {a} {b}, largest {largest}");
                }
                if !expands_exactly(ty) && largest > 0.0 {
                    // The whole range is used, so that no accuracy is given away.
                    let most = codes[32 * run..][..32].iter().map(|code| code.unsigned_abs()).max();
                    prop_assert_eq!(most, Some(127), "{}, run {}", ty, run);
                }
            }
        }
    }

    #[test]
    fn a_block_that_is_not_finite_has_a_scale_that_is_not_finite() {
        for ty in BLOCK_FORMATS.into_iter().filter(|&ty| ty != TensorType::MXFP4) {
            for bad in [[0x00, 0x7c], [0x00, 0xfc], [0x01, 0x7c], [0xff, 0xff]] {
                // Every pair of bytes is the bad half, which makes every scale of every format bad.
                let bytes = bad.repeat(512 / ty.block_elements() * ty.block_bytes() / 2);
                let (mut codes, mut scales) = (vec![0; 512], vec![0.0; 16]);
                expand_q8(ty, &bytes, &mut codes, &mut scales).unwrap();
                // Q8_K has a scale in single precision, of which two of these patterns are ordinary numbers.
                let bad_scale = ty != TensorType::Q8_K || bad[1] == 0xff;
                assert!(!bad_scale || scales.iter().all(|scale| !scale.is_finite()), "{ty}: {scales:?}");
            }
        }
    }

    #[test]
    fn sizes_are_checked_and_other_types_named() {
        let (mut codes, mut scales) = ([1; 64], [1.0; 2]);
        let mut expand = |ty, bytes: usize, elements: usize, runs: usize| {
            expand_q8(ty, &vec![0; bytes], &mut codes[..elements], &mut scales[..runs])
        };
        use TensorType::{F16, IQ2_S, Q4_0, Q4_K};
        assert_eq!(expand(F16, 64, 32, 1), Err(CodecError::NotExpanded { ty: F16 }));
        assert_eq!(expand(IQ2_S, 82, 32, 1), Err(CodecError::NotExpanded { ty: IQ2_S }));
        assert_eq!(expand(Q4_K, 144, 64, 2), Err(CodecError::PartialBlock { ty: Q4_K, block: 256, elements: 64 }));
        assert_eq!(
            expand(Q4_0, 35, 64, 2),
            Err(CodecError::Length { ty: Q4_0, elements: 64, expected: 36, found: 35 })
        );
        assert_eq!(expand(Q4_0, 36, 64, 1), Err(CodecError::Scales { elements: 64, expected: 2, found: 1 }));
        assert_eq!(expand(Q4_0, 0, 0, 0), Ok(()));
        assert_eq!((codes, scales), ([1; 64], [1.0; 2]));
    }
}
