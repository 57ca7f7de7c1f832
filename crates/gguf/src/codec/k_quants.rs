//! The K-quants: 256 elements share one or two half-precision scales, and runs of 16 or 32 have small integer scales (and minima) of
//! their own.
//!
//! `e` is an element, `q` its code, `d` and `dmin` the scales of the block, `s` and `m` the integers of the run.
//!
//! | type | run | block, in this order | an element is |
//! |---|---|---|---|
//! | `Q2_K` | 16 | 16 bytes `s + 16 m`, 64 bytes of 2-bit codes, `d`, `dmin` | `d s q - dmin m` |
//! | `Q3_K` | 16 | 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit `s`, `d` | `d (s - 32) (q - 4)` |
//! | `Q4_K` | 32 | `d`, `dmin`, 12 bytes of 6-bit `s` and `m`, 128 bytes of nibbles | `d s q - dmin m` |
//! | `Q5_K` | 32 | `d`, `dmin`, 12 bytes of 6-bit `s` and `m`, 32 bytes of fifth bits, 128 bytes of nibbles | `d s q - dmin m` |
//! | `Q6_K` | 16 | 128 bytes of nibbles, 64 bytes of 2-bit upper parts, 16 signed bytes `s`, `d` | `d s (q - 32)` |
//! | `Q8_K` | 256 | `d` in single precision, 256 signed bytes, 16 sums of 16 elements each as 16-bit integers | `d q` |
//!
//! Where the bits are:
//!
//! * 2-bit codes (`Q2_K`, `Q3_K`): the elements of one half of the block are four rows of 32. Byte `l` of the half's 32 bytes holds
//!   element `l` of each row, the first row in the lowest bits. `Q6_K` has its upper parts so.
//! * Nibbles (`Q4_K`, `Q5_K`): 64 elements take 32 bytes, the first 32 of them the low nibbles. `Q6_K`: 128 elements take 64 bytes, the
//!   first 64 of them the low nibbles.
//! * Third bits (`Q3_K`): bit `e / 32` of byte `e % 32`; so are the fifth bits of `Q5_K`.
//! * 6-bit integers of `Q4_K` and `Q5_K`: bytes 0 to 3 have `s` of runs 0 to 3 in their lower six bits, bytes 4 to 7 `m` likewise. Bytes
//!   8 to 11 have the lower four bits of `s` and `m` of runs 4 to 7 as nibbles; their upper two bits are the two bits left over in
//!   bytes 0 to 3 (`s`) and 4 to 7 (`m`).
//! * 6-bit integers of `Q3_K`: the lower four bits are nibbles, runs 0 to 7 the low ones of bytes 0 to 7, runs 8 to 15 the high ones. The
//!   upper two bits of run `r` are bits `2 (r / 4)` and up of byte `8 + r % 4`.

use crate::codec::block::{Block, half, part};

#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84]) -> Block<256, 16> {
    let runs: &[u8; 16] = part(block, 0);
    let (d, dmin) = (half(*part(block, 80)), half(*part(block, 82)));
    Block {
        codes: two_bits(part(block, 16)).map(|q| q as i8),
        scales: runs.map(|run| d * f32::from(run & 15)),
        minima: runs.map(|run| dmin * f32::from(run >> 4)),
    }
}

#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110]) -> Block<256, 16> {
    let (third_bits, runs): (&[u8; 32], &[u8; 12]) = (part(block, 0), part(block, 96));
    let d = half(*part(block, 108));
    let mut codes = two_bits(part(block, 32)).map(|q| q as i8);
    for (row, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, bits) in codes.iter_mut().zip(third_bits) {
            *code += ((bits >> row & 1) << 2) as i8 - 4;
        }
    }
    let mut scales = [0.0; 16];
    for (run, scale) in scales.iter_mut().enumerate() {
        let low = runs[run % 8] >> (run / 8 * 4) & 15;
        let high = runs[8 + run % 4] >> (run / 4 * 2) & 3;
        *scale = d * f32::from((low | high << 4) as i8 - 32);
    }
    Block { codes, scales, minima: [0.0; 16] }
}

#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144]) -> Block<256, 8> {
    let (scales, minima) = six_bit_runs(part(block, 0), part(block, 4));
    Block { codes: nibbles::<32>(part(block, 16)).map(|q| q as i8), scales, minima }
}

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176]) -> Block<256, 8> {
    let (scales, minima) = six_bit_runs(part(block, 0), part(block, 4));
    let fifth_bits: &[u8; 32] = part(block, 16);
    let mut codes = nibbles::<32>(part(block, 48)).map(|q| q as i8);
    for (row, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, bits) in codes.iter_mut().zip(fifth_bits) {
            *code |= ((bits >> row & 1) << 4) as i8;
        }
    }
    Block { codes, scales, minima }
}

#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210]) -> Block<256, 16> {
    let (lower, upper) = (nibbles::<64>(part(block, 0)), two_bits(part(block, 128)));
    let runs: &[u8; 16] = part(block, 192);
    let d = half(*part(block, 208));
    let mut codes = [0; 256];
    for ((code, lower), upper) in codes.iter_mut().zip(lower).zip(upper) {
        *code = (lower | upper << 4) as i8 - 32;
    }
    Block { codes, scales: runs.map(|run| d * f32::from(run as i8)), minima: [0.0; 16] }
}

/// The sums are for products with other block formats; the numbers do not need them.
#[inline(always)]
pub(super) fn q8_k(block: &[u8; 292]) -> Block<256, 1> {
    let codes: &[u8; 256] = part(block, 4);
    Block { codes: codes.map(|q| q as i8), scales: [f32::from_le_bytes(*part(block, 0))], minima: [0.0] }
}

/// Four rows of 32 from each 32 bytes.
#[inline(always)]
fn two_bits(bytes: &[u8; 64]) -> [u8; 256] {
    let mut codes = [0; 256];
    for (codes, bytes) in codes.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks::<32>().0) {
        for (row, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                *code = byte >> (2 * row) & 3;
            }
        }
    }
    codes
}

/// The low nibbles of `RUN` bytes, then their high nibbles, and so on.
#[inline(always)]
fn nibbles<const RUN: usize>(bytes: &[u8; 128]) -> [u8; 256] {
    let mut codes = [0; 256];
    for (codes, bytes) in codes.chunks_exact_mut(2 * RUN).zip(bytes.as_chunks::<RUN>().0) {
        let (low, high) = codes.split_at_mut(RUN);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
    codes
}

/// Scales and minima of the eight runs of `Q4_K` and `Q5_K`.
#[inline(always)]
fn six_bit_runs(block_scales: &[u8; 4], packed: &[u8; 12]) -> ([f32; 8], [f32; 8]) {
    let (d, dmin) = (half(*part(block_scales, 0)), half(*part(block_scales, 2)));
    let (mut scales, mut minima) = ([0.0; 8], [0.0; 8]);
    for run in 0..4 {
        let (s, m, later) = (packed[run], packed[run + 4], packed[run + 8]);
        scales[run] = d * f32::from(s & 63);
        minima[run] = dmin * f32::from(m & 63);
        scales[run + 4] = d * f32::from(later & 15 | (s >> 6) << 4);
        minima[run + 4] = dmin * f32::from(later >> 4 | (m >> 6) << 4);
    }
    (scales, minima)
}
