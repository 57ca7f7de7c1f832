//! `IQ4_NL` and `IQ4_XS`: 4-bit codes that stand for sixteen unevenly spaced levels, denser around zero as weights are.
//!
//! * `IQ4_NL`: 32 elements; a half-precision scale `d`, then 16 bytes of nibbles, the low ones for elements 0 to 15. An element is
//!   `d LEVELS[q]`.
//! * `IQ4_XS`: 256 elements in eight runs of 32. A half-precision scale `d`; 16 bits with the upper two bits of each run's 6-bit scale,
//!   run 0 lowest; 4 bytes of nibbles with the lower four bits, run 0 in the low nibble of the first byte; then 16 bytes of nibbles for
//!   each run, as in `IQ4_NL`. An element is `d (s - 32) LEVELS[q]`.
//!
//! The levels are ggml's table of the format.

use crate::codec::block::{Block, half, part};
use crate::codec::q4_q5::nibbles;

/// What the sixteen codes stand for.
const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18]) -> Block<32, 1> {
    Block { codes: levels(part(block, 2)), scales: [half(*part(block, 0))], minima: [0.0] }
}

#[inline(always)]
pub(super) fn iq4_xs(block: &[u8; 136]) -> Block<256, 8> {
    let d = half(*part(block, 0));
    let (upper, lower): (_, &[u8; 4]) = (u16::from_le_bytes(*part(block, 2)), part(block, 4));
    let quants: &[u8; 128] = part(block, 8);
    let (mut codes, mut scales) = ([0; 256], [0.0; 8]);
    for (run, (codes, quants)) in codes.as_chunks_mut().0.iter_mut().zip(quants.as_chunks().0).enumerate() {
        *codes = levels(quants);
        let low = lower[run / 2] >> (run % 2 * 4) & 15;
        let high = (upper >> (2 * run) & 3) as u8;
        scales[run] = d * f32::from((low | high << 4) as i8 - 32);
    }
    Block { codes, scales, minima: [0.0; 8] }
}

#[inline(always)]
fn levels(bytes: &[u8; 16]) -> [i8; 32] {
    nibbles(bytes).map(level)
}

/// `LEVELS[code]`, as a tree of choices by the code's bits. Four times as fast as looking up where bytes are compared and combined many at
/// a time, and twice on the oldest processors.
#[inline(always)]
fn level(code: u8) -> i8 {
    /// `a`, or `b` where the mask has all bits.
    #[inline(always)]
    fn choose(mask: i8, a: i8, b: i8) -> i8 {
        a ^ mask & (a ^ b)
    }
    let mask = |bit: u32| -((code >> bit & 1) as i8);
    let (first, second, third, fourth) = (mask(0), mask(1), mask(2), mask(3));
    let two = |at: usize| choose(first, LEVELS[at], LEVELS[at + 1]);
    let four = |at: usize| choose(second, two(at), two(at + 2));
    let eight = |at: usize| choose(third, four(at), four(at + 4));
    choose(fourth, eight(0), eight(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choosing_is_looking_up() {
        assert!((0..16).all(|code| level(code) == LEVELS[usize::from(code)]));
    }
}
