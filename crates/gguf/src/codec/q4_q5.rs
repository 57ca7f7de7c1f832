//! `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`: 32 elements of 4 or 5 bits share a half-precision scale `d` and, in the `_1` formats, a
//! half-precision minimum `m`.
//!
//! | type | block | an element of code `q` is |
//! |---|---|---|
//! | `Q4_0` | `d`, 16 bytes of nibbles | `(q - 8) d` |
//! | `Q4_1` | `d`, `m`, 16 bytes of nibbles | `q d + m` |
//! | `Q5_0` | `d`, 4 bytes of fifth bits, 16 bytes of nibbles | `(q - 16) d` |
//! | `Q5_1` | `d`, `m`, 4 bytes of fifth bits, 16 bytes of nibbles | `q d + m` |
//!
//! The low nibble of byte `i` belongs to element `i`, the high nibble to element `i + 16`. Bit `e` of the fifth bits, read as a
//! little-endian number, is worth 16 in element `e`.
//!
//! The encoders divide by the scale before it is rounded to half precision, as ggml's reference quantisers do. In the `_0` formats the
//! element that is largest in size becomes the lowest code, so that its sign is the scale's.

use half::f16;

use crate::codec::CodecError;
use crate::codec::block::{Block, half, part};
use crate::tensor_type::TensorType;

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18]) -> Block<32, 1> {
    let codes = nibbles(part(block, 2)).map(|q| q as i8 - 8);
    Block { codes, scales: [half(*part(block, 0))], minima: [0.0] }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20]) -> Block<32, 1> {
    let codes = nibbles(part(block, 4)).map(|q| q as i8);
    Block { codes, scales: [half(*part(block, 0))], minima: [-half(*part(block, 2))] }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22]) -> Block<32, 1> {
    let codes = five_bits(part(block, 6), part(block, 2)).map(|q| q as i8 - 16);
    Block { codes, scales: [half(*part(block, 0))], minima: [0.0] }
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24]) -> Block<32, 1> {
    let codes = five_bits(part(block, 8), part(block, 4)).map(|q| q as i8);
    Block { codes, scales: [half(*part(block, 0))], minima: [-half(*part(block, 2))] }
}

/// Low nibbles, then high nibbles.
#[inline(always)]
pub(super) fn nibbles(bytes: &[u8; 16]) -> [u8; 32] {
    let mut codes = [0; 32];
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
    codes
}

/// Nibbles with their fifth bits.
#[inline(always)]
fn five_bits(bytes: &[u8; 16], fifth: &[u8; 4]) -> [u8; 32] {
    let mut codes = nibbles(bytes);
    for (codes, &bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(fifth) {
        // Eight bits to eight bytes in one register: a copy in each byte, of which byte i keeps bit i; then what is not zero carries
        // into the top bit, which is moved to where it counts 16.
        let one_each = u64::from(bits).wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let sixteens = ((one_each + 0x7f7f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080) >> 3;
        *codes = (u64::from_le_bytes(*codes) | sixteens).to_le_bytes();
    }
    codes
}

pub(super) fn encode_q4_0(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode_symmetric::<8>(TensorType::Q4_0, values, out, |codes, out| out.extend(packed_nibbles(codes)))
}

pub(super) fn encode_q5_0(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode_symmetric::<16>(TensorType::Q5_0, values, out, pack_five_bits)
}

pub(super) fn encode_q4_1(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode_with_minimum::<15>(TensorType::Q4_1, values, out, |codes, out| out.extend(packed_nibbles(codes)))
}

pub(super) fn encode_q5_1(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode_with_minimum::<31>(TensorType::Q5_1, values, out, pack_five_bits)
}

/// The formats without a minimum; `ZERO` is the code of zero.
fn encode_symmetric<const ZERO: u8>(
    ty: TensorType,
    values: &[f32],
    out: &mut Vec<u8>,
    pack: impl Fn(&[u8; 32], &mut Vec<u8>),
) -> Result<(), CodecError> {
    let zero = f32::from(ZERO);
    for (number, block) in values.as_chunks::<32>().0.iter().enumerate() {
        // The first of the largest in size, with its sign.
        let largest =
            block.iter().fold(0f32, |largest, &value| if largest.abs() < value.abs() { value } else { largest });
        let d = largest / -zero;
        let scale = f16::from_f32(d);
        if !scale.is_finite() || block.iter().any(|value| value.is_nan()) {
            return Err(unrepresentable(ty, 32 * number, block, 65504.0 * zero));
        }
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let codes = block.map(|value| truncate(value * inverse + (zero + 0.5), 2 * ZERO - 1));
        out.extend(scale.to_le_bytes());
        pack(&codes, out);
    }
    Ok(())
}

/// The formats with a minimum; `MOST` is the largest code.
fn encode_with_minimum<const MOST: u8>(
    ty: TensorType,
    values: &[f32],
    out: &mut Vec<u8>,
    pack: impl Fn(&[u8; 32], &mut Vec<u8>),
) -> Result<(), CodecError> {
    for (number, block) in values.as_chunks::<32>().0.iter().enumerate() {
        let least = block.iter().fold(f32::MAX, |least, &value| if value < least { value } else { least });
        let largest = block.iter().fold(f32::MIN, |largest, &value| if value > largest { value } else { largest });
        let d = (largest - least) / f32::from(MOST);
        let (scale, minimum) = (f16::from_f32(d), f16::from_f32(least));
        if !(scale.is_finite() && minimum.is_finite()) || block.iter().any(|value| !value.is_finite()) {
            return Err(unrepresentable(ty, 32 * number, block, 65504.0));
        }
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let codes = block.map(|value| truncate((value - least) * inverse + 0.5, MOST));
        out.extend(scale.to_le_bytes());
        out.extend(minimum.to_le_bytes());
        pack(&codes, out);
    }
    Ok(())
}

/// The whole part of a number that is not negative, at most `most`. The inverse of a scale that is too small for single precision is
/// infinite; the scale itself is then zero and the code means nothing.
fn truncate(value: f32, most: u8) -> u8 {
    if value.is_finite() { (value as u8).min(most) } else { 0 }
}

/// The error for a block in which a number is not finite or beyond `limit`, or else its range is.
fn unrepresentable(ty: TensorType, start: usize, block: &[f32], limit: f32) -> CodecError {
    let worst =
        block.iter().position(|value| !value.is_finite()).or_else(|| block.iter().position(|v| v.abs() > limit));
    let largest = || (0..block.len()).max_by(|&a, &b| block[a].abs().total_cmp(&block[b].abs())).unwrap_or(0);
    let position = worst.unwrap_or_else(largest);
    CodecError::unrepresentable(ty, start + position, block[position])
}

fn packed_nibbles(codes: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|i| codes[i] & 15 | codes[i + 16] << 4)
}

fn pack_five_bits(codes: &[u8; 32], out: &mut Vec<u8>) {
    let fifth = codes.iter().enumerate().fold(0u32, |bits, (e, &code)| bits | u32::from(code >> 4) << e);
    out.extend(fifth.to_le_bytes());
    out.extend(packed_nibbles(codes));
}
