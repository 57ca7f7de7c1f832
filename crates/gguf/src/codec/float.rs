//! F32, F16 and BF16: one number an element.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::codec::CodecError;
use crate::tensor_type::TensorType;

pub(super) fn decode_f32(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

pub(super) fn encode_f32(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// How many halves are converted together; `half` uses the processor's conversion instructions on slices.
const TOGETHER: usize = 256;

pub(super) fn decode_f16(bytes: &[u8], out: &mut [f32]) {
    let mut halves = [f16::ZERO; TOGETHER];
    for (values, bytes) in out.chunks_mut(TOGETHER).zip(bytes.chunks(TOGETHER * 2)) {
        let halves = &mut halves[..values.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(values);
    }
}

/// Rounds to nearest, ties to even. Infinities and NaN stay what they are.
pub(super) fn encode_f16(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut halves = [f16::ZERO; TOGETHER];
    for (chunk, values) in values.chunks(TOGETHER).enumerate() {
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        let overflow = halves.iter().zip(values).position(|(half, value)| half.is_infinite() && value.is_finite());
        if let Some(position) = overflow {
            return Err(beyond(TensorType::F16, chunk * TOGETHER + position, values[position]));
        }
        out.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    }
    Ok(())
}

pub(super) fn decode_bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// Rounds to nearest, ties to even. Infinities and NaN stay what they are (a NaN becomes quiet).
pub(super) fn encode_bf16(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    for (index, &value) in values.iter().enumerate() {
        let bits = value.to_bits();
        let rounded = if value.is_nan() {
            (bits >> 16) | 0x40
        } else {
            // Adding just under half of the last kept bit, or half when that bit is odd, carries into it as it should.
            (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
        };
        if value.is_finite() && rounded & 0x7fff == 0x7f80 {
            return Err(beyond(TensorType::BF16, index, value));
        }
        out.extend((rounded as u16).to_le_bytes());
    }
    Ok(())
}

fn beyond(ty: TensorType, index: usize, value: f32) -> CodecError {
    let hint = match ty {
        TensorType::F16 => "use BF16 or F32, which reach 3.4e38 instead of 65504",
        _ => "use F32",
    };
    CodecError::Unrepresentable { ty, index, value, hint }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{dequantize, quantize};

    /// The value of half-precision bits by the definition, in double precision.
    fn half_by_definition(bits: u16) -> f64 {
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        sign * match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
        }
    }

    fn decode(ty: TensorType, bits: impl Iterator<Item = u16>) -> Vec<f32> {
        let bytes: Vec<u8> = bits.flat_map(u16::to_le_bytes).collect();
        let mut out = vec![0f32; bytes.len() / 2];
        dequantize(ty, &bytes, &mut out).unwrap();
        out
    }

    #[test]
    fn all_halves_have_the_value_of_the_definition_and_come_back() {
        let values = decode(TensorType::F16, 0..=u16::MAX);
        let mut bytes = vec![];
        quantize(TensorType::F16, &values, &mut bytes).unwrap();
        for (bits, &value) in (0..=u16::MAX).zip(&values) {
            let back = u16::from_le_bytes(*bytes[2 * usize::from(bits)..].first_chunk().unwrap());
            let expected = half_by_definition(bits);
            if expected.is_nan() {
                assert!(value.is_nan() && half_by_definition(back).is_nan(), "{bits:04x}");
            } else {
                assert_eq!(f64::from(value).to_bits(), expected.to_bits(), "{bits:04x}");
                assert_eq!(back, bits);
            }
        }
    }

    #[test]
    fn all_bf16_are_the_upper_half_of_a_float_and_come_back() {
        let values = decode(TensorType::BF16, 0..=u16::MAX);
        let mut bytes = vec![];
        quantize(TensorType::BF16, &values, &mut bytes).unwrap();
        for (bits, &value) in (0..=u16::MAX).zip(&values) {
            let back = u16::from_le_bytes(*bytes[2 * usize::from(bits)..].first_chunk().unwrap());
            assert_eq!(value.to_bits(), u32::from(bits) << 16);
            assert_eq!(back, if value.is_nan() { bits | 0x40 } else { bits });
        }
    }

    #[test]
    fn ties_go_to_even() {
        let encode = |ty, value: f32| {
            let mut bytes = vec![];
            quantize(ty, &[value], &mut bytes).unwrap();
            u16::from_le_bytes(bytes.try_into().unwrap())
        };
        for (bits, rounded) in
            [(0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81), (0x3f80_7fff, 0x3f80)]
        {
            assert_eq!(encode(TensorType::BF16, f32::from_bits(bits)), rounded, "{bits:08x}");
        }
        assert_eq!(encode(TensorType::F16, 1.0 + 2f32.powi(-11)), 0x3c00);
        assert_eq!(encode(TensorType::F16, 1.0 + 3.0 * 2f32.powi(-11)), 0x3c02);
        assert_eq!(encode(TensorType::F16, 2f32.powi(-25)), 0);
        assert_eq!(encode(TensorType::F16, 3.0 * 2f32.powi(-25)), 2);
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_infinity_fits() {
        let mut bytes = vec![];
        let mut values = vec![1f32; 600];
        values[513] = 65520.0;
        let error = quantize(TensorType::F16, &values, &mut bytes).unwrap_err();
        assert!(matches!(error, CodecError::Unrepresentable { index: 513, value: 65520.0, .. }), "{error}");
        quantize(TensorType::F16, &[65519.0, f32::NEG_INFINITY], &mut bytes).unwrap();
        assert_eq!(bytes, [0xff, 0x7b, 0x00, 0xfc]);
        let error = quantize(TensorType::BF16, &[f32::MAX], &mut bytes).unwrap_err();
        assert!(matches!(error, CodecError::Unrepresentable { index: 0, .. }), "{error}");
        quantize(TensorType::BF16, &[f32::INFINITY], &mut bytes).unwrap();
    }

    proptest! {
        #[test]
        fn encoded_numbers_are_the_nearest(values in prop::collection::vec(-65000f32..65000.0, 1..600)) {
            for (ty, relative) in [(TensorType::F16, 2f64.powi(-11)), (TensorType::BF16, 2f64.powi(-8)), (TensorType::F32, 0.0)] {
                let mut bytes = vec![];
                quantize(ty, &values, &mut bytes).unwrap();
                let mut back = vec![0f32; values.len()];
                dequantize(ty, &bytes, &mut back).unwrap();
                for (&a, &b) in values.iter().zip(&back) {
                    // 2^-25 is half a step of the smallest halves.
                    let bound = (f64::from(a).abs() * relative).max(if relative > 0.0 { 2f64.powi(-25) } else { 0.0 });
                    prop_assert!((f64::from(a) - f64::from(b)).abs() <= bound, "{ty}: {a} {b}");
                }
            }
        }
    }
}
