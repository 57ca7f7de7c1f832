//! Encoders of `Q4_K`, `Q5_K` and `Q6_K`, with the results of ggml's reference quantisers without an importance matrix. Where the bits go
//! is said in [`k_quants`](super::k_quants).
//!
//! In each format the runs' scales are searched first, then rounded to integers against the largest of them, and last the numbers are
//! rounded again to the scales as stored.

use half::f16;

use crate::codec::CodecError;
use crate::codec::k_search::{Grid, NOTHING, Trials, grid, nearest, scale_6_bit};
use crate::tensor_type::TensorType;

type SuperBlock = [f32; 256];

pub(super) fn encode_q4_k(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let trials = Trials { most: 15, first: -1.0, last: 20 };
    for (number, block) in values.as_chunks::<256>().0.iter().enumerate() {
        let codes = with_minima(TensorType::Q4_K, number, block, trials, out)?;
        push_nibbles(&codes, out);
    }
    Ok(())
}

pub(super) fn encode_q5_k(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let trials = Trials { most: 31, first: -0.5, last: 15 };
    for (number, block) in values.as_chunks::<256>().0.iter().enumerate() {
        let codes = with_minima(TensorType::Q5_K, number, block, trials, out)?;
        let runs = codes.as_chunks::<32>().0;
        out.extend((0..32).map(|l| (0..8).fold(0, |bits, run| bits | (runs[run][l] >> 4) << run)));
        push_nibbles(&codes, out);
    }
    Ok(())
}

pub(super) fn encode_q6_k(values: &[f32], out: &mut Vec<u8>) -> Result<(), CodecError> {
    for (number, block) in values.as_chunks::<256>().0.iter().enumerate() {
        check(TensorType::Q6_K, number, block)?;
        let mut codes = [0u8; 256];
        let mut scales = [0f32; 16];
        let runs = codes.as_chunks_mut::<16>().0.iter_mut().zip(block.as_chunks::<16>().0);
        for (scale, (codes, values)) in scales.iter_mut().zip(runs) {
            *scale = scale_6_bit(values, codes);
        }
        let largest = scales.iter().fold(0f32, |largest, &s| if s.abs() > largest.abs() { s } else { largest });
        if largest.abs() < NOTHING {
            out.extend([0; 210]);
            continue;
        }
        let inverse = -128.0 / largest;
        let d = f16::from_f32(1.0 / inverse);
        if !d.is_finite() {
            return Err(too_large(TensorType::Q6_K, number, block));
        }
        let stored = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
        let runs = codes.as_chunks_mut::<16>().0.iter_mut().zip(block.as_chunks::<16>().0);
        for (&scale, (codes, values)) in stored.iter().zip(runs) {
            let step = d.to_f32() * f32::from(scale);
            if step != 0.0 {
                *codes = values.map(|value| (nearest(value / step).clamp(-32, 31) + 32) as u8);
            }
        }
        for half in codes.as_chunks::<128>().0 {
            out.extend((0..64).map(|l| half[l] & 15 | half[l + 64] << 4));
        }
        for half in codes.as_chunks::<128>().0 {
            out.extend((0..32).map(|l| (0..4).fold(0, |bits, row| bits | (half[32 * row + l] >> 4) << (2 * row))));
        }
        out.extend(stored.map(|scale| scale as u8));
        out.extend(d.to_le_bytes());
    }
    Ok(())
}

/// What `Q4_K` and `Q5_K` have in common: writes `d`, `dmin` and the 6-bit integers, and returns the codes.
fn with_minima(
    ty: TensorType,
    number: usize,
    block: &SuperBlock,
    trials: Trials,
    out: &mut Vec<u8>,
) -> Result<[u8; 256], CodecError> {
    check(ty, number, block)?;
    let mut codes = [0u8; 256];
    let (mut scales, mut minima) = ([0f32; 8], [0f32; 8]);
    let runs = codes.as_chunks_mut::<32>().0.iter_mut().zip(block.as_chunks::<32>().0);
    for ((scale, minimum), (codes, values)) in scales.iter_mut().zip(&mut minima).zip(runs) {
        Grid { scale: *scale, minimum: *minimum } = grid(values, trials, codes);
    }
    let (d, scales) = six_bits(scales);
    let (dmin, minima) = six_bits(minima);
    if !(d.is_finite() && dmin.is_finite()) {
        return Err(too_large(ty, number, block));
    }
    let runs = codes.as_chunks_mut::<32>().0.iter_mut().zip(block.as_chunks::<32>().0);
    for ((&scale, &minimum), (codes, values)) in scales.iter().zip(&minima).zip(runs) {
        let step = d.to_f32() * f32::from(scale);
        let shift = dmin.to_f32() * f32::from(minimum);
        if step != 0.0 {
            *codes = values.map(|value| nearest((value + shift) / step).clamp(0, i32::from(trials.most)) as u8);
        }
    }
    out.extend(d.to_le_bytes());
    out.extend(dmin.to_le_bytes());
    out.extend((0..4).map(|run| scales[run] | (scales[run + 4] >> 4) << 6));
    out.extend((0..4).map(|run| minima[run] | (minima[run + 4] >> 4) << 6));
    out.extend((4..8).map(|run| scales[run] & 15 | minima[run] << 4));
    Ok(codes)
}

/// Numbers as 6-bit multiples of one half.
fn six_bits(numbers: [f32; 8]) -> (f16, [u8; 8]) {
    let largest = numbers.iter().fold(0f32, |largest, &number| if number > largest { number } else { largest });
    let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
    // To eight bits first, as the reference does.
    (f16::from_f32(largest / 63.0), numbers.map(|number| (nearest(inverse * number) as u8).min(63)))
}

/// The low nibbles of 32 codes, and the next 32 as their high nibbles, and so on.
fn push_nibbles(codes: &[u8; 256], out: &mut Vec<u8>) {
    for codes in codes.as_chunks::<64>().0 {
        out.extend((0..32).map(|l| codes[l] & 15 | codes[l + 32] << 4));
    }
}

/// The largest number of any K-quant, 65504 times 128 times 32: beyond it the search would overflow instead of telling.
const LIMIT: f32 = 65504.0 * 4096.0;

fn check(ty: TensorType, number: usize, block: &SuperBlock) -> Result<(), CodecError> {
    match block.iter().position(|value| !(value.is_finite() && value.abs() <= LIMIT)) {
        Some(position) => Err(CodecError::unrepresentable(ty, 256 * number + position, block[position])),
        None => Ok(()),
    }
}

/// The error for a block whose scale does not fit in half precision.
fn too_large(ty: TensorType, number: usize, block: &SuperBlock) -> CodecError {
    let position = (0..256).max_by(|&a, &b| block[a].abs().total_cmp(&block[b].abs())).unwrap_or(0);
    CodecError::unrepresentable(ty, 256 * number + position, block[position])
}
