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
/// Nothing is allocated. The loops are inlined into the caller and use the vector instructions that *it* is compiled for: call it from a
/// function with `#[target_feature]` to have more than the build's own.
///
/// # Errors
///
/// [`CodecError::NotExpanded`] for a type that is no supported block format, [`CodecError::PartialBlock`] when `codes` is no whole number
/// of blocks, [`CodecError::Length`] when `bytes` are not as many as these take, [`CodecError::Scales`] when `scales` has not one place
/// for each 32 elements. The output is untouched then.
#[inline(always)]
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
        TensorType::Q4_1 => round_by_eight(bytes, codes, scales, q4_q5::q4_1),
        TensorType::Q5_0 => copy(bytes, codes, scales, q4_q5::q5_0),
        TensorType::Q5_1 => round_by_eight(bytes, codes, scales, q4_q5::q5_1),
        TensorType::Q8_0 => copy(bytes, codes, scales, q8_0::unpack),
        TensorType::Q2_K => round::<_, _, 16>(bytes, codes, scales, k_quants::q2_k),
        TensorType::Q3_K => round::<_, _, 16>(bytes, codes, scales, k_quants::q3_k),
        TensorType::Q4_K => round::<_, _, 32>(bytes, codes, scales, k_quants::q4_k),
        TensorType::Q5_K => round::<_, _, 32>(bytes, codes, scales, k_quants::q5_k),
        TensorType::Q6_K => round::<_, _, 16>(bytes, codes, scales, k_quants::q6_k),
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

/// Super-blocks with minima, or with a scale for each `RUN` of fewer than 32 elements.
#[inline(always)]
fn round<const BYTES: usize, const GROUPS: usize, const RUN: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f32],
    unpack: impl Fn(&[u8; BYTES]) -> Block<256, GROUPS>,
) {
    let out = codes.as_chunks_mut::<256>().0.iter_mut().zip(scales.as_chunks_mut::<8>().0);
    for ((codes, scales), bytes) in out.zip(bytes.as_chunks::<BYTES>().0) {
        round_256::<GROUPS, RUN>(&unpack(bytes), codes, scales);
    }
}

/// Blocks of 32 with minima, eight at a time.
#[inline(always)]
fn round_by_eight<const BYTES: usize>(
    bytes: &[u8],
    codes: &mut [i8],
    scales: &mut [f32],
    unpack: impl Fn(&[u8; BYTES]) -> Block<32, 1>,
) {
    let mut eight = Block { codes: [0; 256], scales: [0.0; 8], minima: [0.0; 8] };
    let (mut rounded, mut rounded_scales) = ([0; 256], [0.0; 8]);
    for ((codes, scales), bytes) in codes.chunks_mut(256).zip(scales.chunks_mut(8)).zip(bytes.chunks(8 * BYTES)) {
        let places = eight.codes.as_chunks_mut().0.iter_mut().zip(eight.scales.iter_mut().zip(&mut eight.minima));
        for ((codes, (scale, minimum)), bytes) in places.zip(bytes.as_chunks().0) {
            let block = unpack(bytes);
            (*codes, *scale, *minimum) = (block.codes, block.scales[0], block.minima[0]);
        }
        round_256::<8, 32>(&eight, &mut rounded, &mut rounded_scales);
        codes.copy_from_slice(&rounded[..codes.len()]);
        scales.copy_from_slice(&rounded_scales[..scales.len()]);
    }
}

/// Rounds 256 numbers to 8 bits and eight scales. `RUN` is `256 / GROUPS`, 16 or 32.
#[inline(always)]
fn round_256<const GROUPS: usize, const RUN: usize>(
    block: &Block<256, GROUPS>,
    codes: &mut [i8; 256],
    scales: &mut [f32; 8],
) {
    /// Added to a small number, it leaves the nearest integer in the lowest bits.
    const TO_INTEGER: f32 = 12_582_912.0; // 1.5 * 2^23
    let runs = block.codes.as_chunks::<RUN>().0;

    let (mut lowest, mut highest) = ([0.0; GROUPS], [0.0; GROUPS]);
    for ((lowest, highest), run) in lowest.iter_mut().zip(&mut highest).zip(runs) {
        (*lowest, *highest) = extremes(run);
    }
    // The numbers of a run grow or fall with their codes, so that the largest is at one end.
    let mut largest = [0.0; GROUPS];
    for g in 0..GROUPS {
        let (step, minimum) = (block.scales[g], block.minima[g]);
        let (a, b) = ((lowest[g] * step - minimum).abs(), (highest[g] * step - minimum).abs());
        // The second term is 0, or NaN if the scale or the minimum is not finite, which the comparison could overlook.
        largest[g] = (if a > b { a } else { b }) + 0.0 * (step + minimum);
    }
    if RUN < EXPANDED_BLOCK {
        for pair in largest.as_chunks_mut::<2>().0 {
            let [a, b] = *pair;
            *pair = [(if a > b { a } else { b }) + 0.0 * (a + b); 2];
        }
    }
    for (r, scale) in scales.iter_mut().enumerate() {
        *scale = largest[r * GROUPS / 8] / 127.0;
    }
    // Where all numbers are zero, any factor will do that keeps them so.
    let inverse = largest.map(|largest| 127.0 / largest.max(1e-30));

    for (g, (codes, run)) in codes.as_chunks_mut::<RUN>().0.iter_mut().zip(runs).enumerate() {
        let (step, minimum, inverse) = (block.scales[g], block.minima[g], inverse[g]);
        // Sixteen at a time fit in the registers of every processor.
        for (codes, run) in codes.as_chunks_mut::<16>().0.iter_mut().zip(run.as_chunks::<16>().0) {
            let mut integers = [0; 16];
            for (integer, &code) in integers.iter_mut().zip(run_by_run(run)) {
                *integer = ((f32::from(code) * step - minimum) * inverse + TO_INTEGER).to_bits();
            }
            *codes = integers.map(|integer| integer as i8);
        }
    }
}

/// The smallest and the largest code of a run of 16 or 32.
#[inline(always)]
fn extremes<const RUN: usize>(run: &[i8; RUN]) -> (f32, f32) {
    // Unsigned bytes are what every processor can compare many at a time. The first half with the second, and so on.
    let run = run_by_run(run).map(|code| (code as u8).wrapping_add(128));
    let (mut low, mut high) = ([0; 16], [0; 16]);
    for i in 0..16 {
        let (a, b) = (run[i], run[i + RUN - 16]);
        (low[i], high[i]) = (a.min(b), a.max(b));
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            (low[i], high[i]) = (low[i].min(low[i + half]), high[i].max(high[i + half]));
        }
    }
    let code = |shifted: u8| f32::from(shifted.wrapping_sub(128) as i8);
    (code(low[0]), code(high[0]))
}

/// Keeps the compiler from working on the same element of several runs at a time: it would gather their bytes one by one, which takes
/// twice as long as working on neighbours.
#[inline(always)]
fn run_by_run<const RUN: usize>(run: &[i8; RUN]) -> &[i8; RUN] {
    std::hint::black_box(run)
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
