//! Block formats: bytes of a tensor to numbers and back.
//!
//! Each format is one file of two functions over whole rows. Decoding is exact: the result is the number that the format's
//! definition gives, computed in single precision as ggml's reference does. Encoding rounds as ggml's reference quantisers
//! do, bit for bit on finite input, so that a file written here equals one written by llama.cpp's tools.
//!
//! Encoding never loses a number silently: what the format cannot express (a finite number beyond half precision, a NaN in
//! a format of integers) is an error that names the element.

mod float;
mod q8_0;

use crate::tensor_type::TensorType;

/// Why bytes could not be decoded or numbers not encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// There is no codec for the type.
    #[error("expected a tensor type that can be decoded (F32, F16, BF16, Q8_0), found {ty}")]
    Unsupported {
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

/// Decodes `bytes`, whole blocks of type `ty`, into `out`, which takes every element.
///
/// # Errors
///
/// [`CodecError::Unsupported`] for a type without a codec, [`CodecError::PartialBlock`] and [`CodecError::Length`] when
/// `out` is not the size that `bytes` decode to. `out` is untouched then.
pub fn dequantize(ty: TensorType, bytes: &[u8], out: &mut [f32]) -> Result<(), CodecError> {
    let elements = out.len();
    let expected = size(ty, elements)?;
    if bytes.len() as u64 != expected {
        return Err(CodecError::Length { ty, elements, expected, found: bytes.len() });
    }
    match ty {
        TensorType::F32 => float::decode_f32(bytes, out),
        TensorType::F16 => float::decode_f16(bytes, out),
        TensorType::BF16 => float::decode_bf16(bytes, out),
        TensorType::Q8_0 => q8_0::decode(bytes, out),
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
/// [`CodecError::Unsupported`] for a type without a codec, [`CodecError::PartialBlock`] when `values` does not fill its
/// last block, [`CodecError::Unrepresentable`] when a number has no counterpart in the type. `out` is as before then.
pub fn quantize(ty: TensorType, values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
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
        TensorType::Q8_0 => q8_0::encode(values, out),
        _ => Err(CodecError::Unsupported { ty }),
    };
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Bytes that `elements` elements take.
fn size(ty: TensorType, elements: usize) -> Result<u64, CodecError> {
    if !ty.is_supported() {
        return Err(CodecError::Unsupported { ty });
    }
    ty.bytes_for(elements as u64).ok_or(CodecError::PartialBlock { ty, block: ty.block_elements(), elements })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_decoded_exactly_when_it_is_supported() {
        for &ty in TensorType::ALL {
            let bytes = vec![0u8; ty.block_bytes()];
            let mut out = vec![1f32; ty.block_elements()];
            let decoded = dequantize(ty, &bytes, &mut out);
            let encoded = quantize(ty, &out, &mut vec![]);
            if ty.is_supported() {
                assert_eq!((decoded, encoded), (Ok(()), Ok(())), "{ty}");
                assert!(out.iter().all(|&v| v == 0.0), "{ty}");
            } else {
                let unsupported = Err(CodecError::Unsupported { ty });
                assert_eq!((decoded, encoded), (unsupported.clone(), unsupported), "{ty}");
            }
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
