//! `Q8_0`: 32 elements share a half-precision scale `d`; each is a signed byte `q` and stands for `q d`.
//!
//! A block is `d` and then the 32 bytes, 34 in all. The encoder divides by the scale before it is rounded to half
//! precision, as ggml's reference quantiser does, and rounds halves away from zero.

use half::f16;

use crate::codec::CodecError;
use crate::codec::block::{Block, half};
use crate::tensor_type::TensorType;

const ELEMENTS: usize = 32;
const BYTES: usize = 34;

#[inline(always)]
pub(super) fn unpack(block: &[u8; BYTES]) -> Block<ELEMENTS, 1> {
    let [d0, d1, quants @ ..] = block;
    Block { codes: quants.map(|q| q as i8), scales: [half([*d0, *d1])], minima: [0.0] }
}

pub(super) fn encode(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    for (number, block) in values.as_chunks::<ELEMENTS>().0.iter().enumerate() {
        let max = block.iter().fold(0f32, |max, value| max.max(value.abs()));
        let d = max / 127.0;
        let half = f16::from_f32(d);
        // `max` skips NaN, so that is looked for by itself.
        if !half.is_finite() || block.iter().any(|value| value.is_nan()) {
            return Err(unrepresentable(number * ELEMENTS, block));
        }
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        out.extend(half.to_le_bytes());
        out.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
    }
    Ok(())
}

/// The error for a block with a NaN or with numbers beyond 127 times the largest half.
fn unrepresentable(start: usize, block: &[f32]) -> CodecError {
    let worst = |&value: &f32| value.is_nan() || !f16::from_f32(value.abs() / 127.0).is_finite();
    let position = block.iter().position(worst).unwrap_or(0);
    let value = block[position];
    CodecError::unrepresentable(TensorType::Q8_0, start + position, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{dequantize, quantize};

    fn block(values: [f32; 32]) -> Vec<u8> {
        let mut bytes = vec![];
        quantize(TensorType::Q8_0, &values, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn blocks_are_exactly_those_of_the_reference() {
        // Scale 1: the numbers themselves, halves rounded away from zero.
        let mut values = [0f32; 32];
        values[..8].copy_from_slice(&[127.0, -127.0, 0.5, -0.5, 1.5, -2.5, 126.49, -0.49]);
        let bytes = block(values);
        assert_eq!(bytes[..2], [0x00, 0x3c]);
        assert_eq!(bytes[2..10].iter().map(|&q| q as i8).collect::<Vec<_>>(), [127, -127, 1, -1, 2, -3, 126, 0]);
        assert!(bytes[10..].iter().all(|&q| q == 0));

        // The largest number in size sets the scale, also a negative one; 127 * 2^-3 gives d = 2^-3.
        let mut values = [0.25f32; 32];
        values[31] = -15.875;
        let bytes = block(values);
        assert_eq!(bytes[..2], f16::from_f32(0.125).to_le_bytes());
        assert_eq!((bytes[2], bytes[33] as i8), (2, -127));

        // All zero: no division by the scale.
        assert_eq!(block([0.0; 32]), [0; 34]);
        assert_eq!(block([-0.0; 32]), [0; 34]);
    }

    #[test]
    fn the_divisor_is_the_scale_before_rounding() {
        // 1/127 is not a half; with the rounded scale, 0.9803 / d would be 124.52 instead of 124.498.
        let mut values = [0f32; 32];
        values[0] = 1.0;
        values[1] = 0.980_3;
        let d = 1f32 / 127.0;
        let rounded = f16::from_f32(d).to_f32();
        let expected = (values[1] * (1.0 / d)).round();
        assert_ne!(expected, (values[1] / rounded).round(), "the numbers must tell the two apart");
        assert_eq!(f32::from(block(values)[3] as i8), expected);
    }

    #[test]
    fn numbers_too_small_for_a_half_become_zero_and_too_large_ones_an_error() {
        let tiny = block([1e-12; 32]);
        let mut out = [1f32; 32];
        dequantize(TensorType::Q8_0, &tiny, &mut out).unwrap();
        assert_eq!(out, [0.0; 32]);
        // So small that the inverse of the scale overflows.
        assert_eq!(block([1e-45; 32])[..2], [0, 0]);

        for (bad, shown) in [(f32::INFINITY, "inf"), (f32::NAN, "NaN"), (1e8, "100000000")] {
            let mut values = [1f32; 96];
            values[70] = bad;
            let error = quantize(TensorType::Q8_0, &values, &mut vec![]).unwrap_err();
            assert!(error.to_string().contains(&format!("found {shown} at element 70")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn decoding_is_the_product_in_double_precision(scale in any::<u16>(), quants in any::<[i8; 32]>()) {
            let d = f16::from_bits(scale);
            prop_assume!(d.is_finite());
            let mut bytes = d.to_le_bytes().to_vec();
            bytes.extend(quants.map(|q| q as u8));
            let mut out = [0f32; 32];
            dequantize(TensorType::Q8_0, &bytes, &mut out).unwrap();
            for (&value, q) in out.iter().zip(quants) {
                // An 8-bit times an 11-bit significand fits in the 24 bits of single precision: exact.
                prop_assert_eq!(f64::from(value), f64::from(q) * d.to_f64());
            }
        }

        #[test]
        fn encoding_is_within_half_a_step_and_the_scales_rounding(values in prop::collection::vec(-10f32..10.0, 64)) {
            let mut bytes = vec![];
            quantize(TensorType::Q8_0, &values, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), 68);
            let mut back = [0f32; 64];
            dequantize(TensorType::Q8_0, &bytes, &mut back).unwrap();
            for (block, back) in values.chunks(32).zip(back.chunks(32)) {
                let max = block.iter().fold(0f64, |max, &v| max.max(f64::from(v).abs()));
                let bound = max / 127.0 * 0.5001 + max * 2f64.powi(-11) + 2f64.powi(-25) * 127.0;
                for (&a, &b) in block.iter().zip(back) {
                    prop_assert!((f64::from(a) - f64::from(b)).abs() <= bound, "{a} {b}");
                }
            }
        }
    }
}
