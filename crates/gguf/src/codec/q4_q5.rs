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

use crate::codec::block::{Block, half, part};

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
