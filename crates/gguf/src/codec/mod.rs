//! Block formats: bytes of a tensor to numbers and back.
//!
//! Each family of formats is one file, which says how a block is laid out and reads it. Decoding is exact: the result is the
//! number that the format's definition gives, computed in single precision as ggml's reference does. Encoding rounds as ggml's
//! reference quantisers do, bit for bit on finite input, so that a file written here equals one written by llama.cpp's tools.
//!
//! Encoding never loses a number silently: what the format cannot express (a finite number beyond half precision, a NaN in
//! a format of integers) is an error that names the element.

mod block;
mod expand;
mod float;
mod iq4;
mod k_encode;
mod k_quants;
mod k_search;
mod mxfp4;
mod q4_q5;
mod q8_0;

use crate::tensor_type::TensorType;

pub use expand::{EXPANDED_BLOCK, expand_q8, expands_exactly};

/// Why bytes could not be decoded or numbers not encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// There is no codec for the type.
    #[error(
        "expected a tensor type that can be decoded (F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, Q8_K, IQ4_NL, \
         IQ4_XS, MXFP4), found {ty}"
    )]
    Unsupported {
        /// The type.
        ty: TensorType,
    },
    /// The type can be decoded but not encoded.
    #[error(
        "expected a tensor type that can be written (F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K), found {ty}"
    )]
    NotWritten {
        /// The type.
        ty: TensorType,
    },
    /// The number of elements is no whole number of blocks.
    #[error("expected a multiple of {block} elements for type {ty}, found {elements}")]
    PartialBlock {
        /// The type.
        ty: TensorType,
        /// Elements a block.
        block: usize,
        /// Elements given.
        elements: usize,
    },
    /// Bytes and elements do not correspond.
    #[error("expected {expected} bytes for {elements} elements of type {ty}, found {found}")]
    Length {
        /// The type.
        ty: TensorType,
        /// Elements to decode.
        elements: usize,
        /// Bytes that they take.
        expected: u64,
        /// Bytes given.
        found: usize,
    },
    /// The type has no form in blocks of 8-bit codes.
    #[error(
        "expected a block format that expands to 8-bit codes (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, Q8_K, IQ4_NL, IQ4_XS, MXFP4), found {ty}"
    )]
    NotExpanded {
        /// The type.
        ty: TensorType,
    },
    /// Elements and expanded scales do not correspond.
    #[error("expected room for {expected} scales of {elements} expanded elements, found {found}")]
    Scales {
        /// Elements to expand.
        elements: usize,
        /// Scales that they have.
        expected: usize,
        /// Scales given.
        found: usize,
    },
    /// A number that the type cannot express.
    #[error("expected numbers that {ty} can express, found {value} at element {index}; {hint}")]
    Unrepresentable {
        /// The type.
        ty: TensorType,
        /// Position of the number in the input.
        index: usize,
        /// The number.
        value: f32,
        /// What to do.
        hint: &'static str,
    },
}

impl CodecError {
    /// The error of a format of integers for a number that is not finite or too large.
    fn unrepresentable(ty: TensorType, index: usize, value: f32) -> Self {
        let hint =
            if value.is_finite() { "use BF16 or F32" } else { "the model is damaged, or keep this tensor in F32" };
        Self::Unrepresentable { ty, index, value, hint }
    }
}

/// Decodes `bytes`, whole blocks of type `ty`, into `out`, which takes every element.
///
/// # Errors
///
/// [`CodecError::Unsupported`] for a type without a codec, [`CodecError::PartialBlock`] and [`CodecError::Length`] when
/// `out` is not the size that `bytes` decode to. `out` is untouched then.
pub fn dequantize(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
    let elements = out.len();
    if !ty.is_supported() {
        return Err(CodecError::Unsupported { ty });
    }
    let expected = size(ty, elements)?;
    if bytes.len() as u64 != expected {
        return Err(CodecError::Length { ty, elements, expected, found: bytes.len() });
    }
    match ty {
        TensorType::F32 => float::decode_f32(bytes, out),
        TensorType::F16 => float::decode_f16(bytes, out),
        TensorType::BF16 => float::decode_bf16(bytes, out),
        TensorType::Q4_0 => block::decode(bytes, out, q4_q5::q4_0),
        TensorType::Q4_1 => block::decode(bytes, out, q4_q5::q4_1),
        TensorType::Q5_0 => block::decode(bytes, out, q4_q5::q5_0),
        TensorType::Q5_1 => block::decode(bytes, out, q4_q5::q5_1),
        TensorType::Q8_0 => block::decode(bytes, out, q8_0::unpack),
        TensorType::Q2_K => block::decode(bytes, out, k_quants::q2_k),
        TensorType::Q3_K => block::decode(bytes, out, k_quants::q3_k),
        TensorType::Q4_K => block::decode(bytes, out, k_quants::q4_k),
        TensorType::Q5_K => block::decode(bytes, out, k_quants::q5_k),
        TensorType::Q6_K => block::decode(bytes, out, k_quants::q6_k),
        TensorType::Q8_K => block::decode(bytes, out, k_quants::q8_k),
        TensorType::IQ4_NL => block::decode(bytes, out, iq4::iq4_nl),
        TensorType::IQ4_XS => block::decode(bytes, out, iq4::iq4_xs),
        TensorType::MXFP4 => block::decode(bytes, out, mxfp4::unpack),
        _ => return Err(CodecError::Unsupported { ty }),
    }
    Ok(())
}

/// Encodes `values` as whole blocks of type `ty` and appends them to `out`.
///
/// Rows may be encoded one by one or together, as blocks never span rows.
///
/// # Errors
///
/// [`CodecError::NotWritten`] for a type without an encoder, [`CodecError::PartialBlock`] when `values` does not fill its
/// last block, [`CodecError::Unrepresentable`] when a number has no counterpart in the type. `out` is as before then.
pub fn quantize(ty: TensorType, values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    if !ty.can_be_written() {
        return Err(CodecError::NotWritten { ty });
    }
    let bytes = size(ty, values.len())?;
    let before = out.len();
    out.reserve(usize::try_from(bytes).unwrap_or(0));
    let result = match ty {
        TensorType::F32 => {
            float::encode_f32(values, out);
            Ok(())
        }
        TensorType::F16 => float::encode_f16(values, out),
        TensorType::BF16 => float::encode_bf16(values, out),
        TensorType::Q4_0 => q4_q5::encode_q4_0(values, out),
        TensorType::Q4_1 => q4_q5::encode_q4_1(values, out),
        TensorType::Q5_0 => q4_q5::encode_q5_0(values, out),
        TensorType::Q5_1 => q4_q5::encode_q5_1(values, out),
        TensorType::Q8_0 => q8_0::encode(values, out),
        TensorType::Q4_K => k_encode::encode_q4_k(values, out),
        TensorType::Q5_K => k_encode::encode_q5_k(values, out),
        TensorType::Q6_K => k_encode::encode_q6_k(values, out),
        _ => Err(CodecError::NotWritten { ty }),
    };
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Bytes that `elements` elements take.
fn size(ty: TensorType, elements: usize) -> Result<u64, CodecError> {
    ty.bytes_for(elements as u64).ok_or(CodecError::PartialBlock { ty, block: ty.block_elements(), elements })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_decoded_and_encoded_exactly_when_it_says_so() {
        for &ty in TensorType::ALL {
            let bytes = vec![0u8; ty.block_bytes()];
            let mut out = vec![1f32; ty.block_elements()];
            let decoded = dequantize(ty, &bytes, &mut out);
            assert_eq!(decoded, if ty.is_supported() { Ok(()) } else { Err(CodecError::Unsupported { ty }) }, "{ty}");
            assert!(out.iter().all(|&v| v == if ty.is_supported() { 0.0 } else { 1.0 }), "{ty}");
            let encoded = quantize(ty, &out, &mut vec![]);
            assert_eq!(encoded, if ty.can_be_written() { Ok(()) } else { Err(CodecError::NotWritten { ty }) }, "{ty}");
            let named = CodecError::Unsupported { ty }.to_string();
            assert!(named.ends_with(&format!("found {ty}")), "{named}");
        }
    }

    #[test]
    fn lengths_are_checked_and_failures_leave_the_output_alone() {
        let mut out = [7f32; 32];
        let short = dequantize(TensorType::Q8_0, &[0; 33], &mut out);
        assert_eq!(short, Err(CodecError::Length { ty: TensorType::Q8_0, elements: 32, expected: 34, found: 33 }));
        assert_eq!(out, [7f32; 32]);
        let partial = dequantize(TensorType::Q8_0, &[0; 34], &mut out[..31]);
        assert_eq!(partial, Err(CodecError::PartialBlock { ty: TensorType::Q8_0, block: 32, elements: 31 }));

        let mut encoded = vec![9];
        let mut values = [1f32; 64];
        values[40] = f32::NAN;
        let error = quantize(TensorType::Q8_0, &values, &mut encoded).unwrap_err();
        assert!(matches!(error, CodecError::Unrepresentable { index: 40, .. }), "{error}");
        assert_eq!(encoded, [9]);
        quantize(TensorType::F16, &[1.0], &mut encoded).unwrap();
        assert_eq!(encoded, [9, 0x00, 0x3c]);
    }
}
