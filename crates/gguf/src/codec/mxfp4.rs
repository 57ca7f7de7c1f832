//! `MXFP4`: 32 floating-point numbers of 4 bits share a power of two (the microscaling format of the Open Compute Project).
//!
//! A block is the exponent byte `e` and 16 bytes of nibbles, the low ones for elements 0 to 15. A nibble is a sign, two bits of
//! exponent and one of fraction: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives; negative zero is zero here. An element is that times
//! `2^(e - 127)`. To have integers, both are moved by one power: codes are doubled, the scale is `2^(e - 128)`. No exponent is a NaN
//! here, as in ggml (255 would be one in the standard).

use crate::codec::block::{Block, part};
use crate::codec::q4_q5::nibbles;

#[inline(always)]
pub(super) fn unpack(block: &[u8; 17]) -> Block<32, 1> {
    Block { codes: nibbles(part(block, 1)).map(doubled), scales: [scale(block[0])], minima: [0.0] }
}

/// Twice the number of a nibble: 0, 1, 2, 3, 4, 6, 8, 12. The steps double at 4 and at 6, which is two subtractions that stop at zero
/// and, unlike a table, work on many codes at a time.
#[inline(always)]
fn doubled(nibble: u8) -> i8 {
    let magnitude = nibble & 7;
    let magnitude = (magnitude + magnitude.saturating_sub(4) + 2 * magnitude.saturating_sub(6)) as i8;
    if nibble & 8 == 0 { magnitude } else { -magnitude }
}

/// `2^(e - 128)`; the two smallest are subnormal.
#[inline(always)]
fn scale(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x20_0000 << e } else { u32::from(e - 1) << 23 })
}
