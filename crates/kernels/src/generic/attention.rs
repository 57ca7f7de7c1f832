//! Attention of one head over one sequence.

use super::gemm_float::{for_row_tiles, product};
use super::simd::LANES;
use super::{Simd, math};
use crate::weights::PANEL;

/// One head of one sequence, with queries, keys and values as columns of one matrix.
pub(crate) struct AttentionHead {
    /// First query of the head; rows `stride` apart.
    pub(crate) query: *const f32,
    pub(crate) key: *const f32,
    pub(crate) value: *const f32,
    pub(crate) stride: usize,
    /// Tokens of the sequence.
    pub(crate) length: usize,
    pub(crate) head_dim: usize,
    /// Factor on the scores, `1 / sqrt(head_dim)` in most models.
    pub(crate) scale: f32,
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    /// [`scratch_len`] values for this call alone.
    pub(crate) scratch: *mut f32,
}

const QUERY_ROWS: usize = 6;

/// Scratch values that a head needs: the keys transposed, the values padded, and one tile of scores.
pub(crate) fn scratch_len(length: usize, head_dim: usize) -> usize {
    let (keys, dims) = (length.next_multiple_of(PANEL), head_dim.next_multiple_of(PANEL));
    head_dim * keys + length * dims + QUERY_ROWS * keys
}

/// `softmax(scale * Q K^T) V` with every token attending to every token of its sequence (Vaswani et al.,
/// arXiv:1706.03762), all in `f32`.
///
/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and outputs writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn attention<S: Simd>(args: &AttentionHead) {
    let &AttentionHead { length, head_dim, stride, .. } = args;
    let (keys, dims) = (length.next_multiple_of(PANEL), head_dim.next_multiple_of(PANEL));
    // SAFETY: the three parts of the scratch are disjoint and add up to `scratch_len`; rows and columns stay within
    // `length` and `head_dim`, or within the padding written here.
    unsafe {
        let keys_transposed = args.scratch;
        let values = keys_transposed.add(head_dim * keys);
        let scores = values.add(length * dims);
        for d in 0..head_dim {
            for token in 0..length {
                *keys_transposed.add(d * keys + token) = *args.key.add(token * stride + d);
            }
            for token in length..keys {
                *keys_transposed.add(d * keys + token) = 0.0;
            }
        }
        for token in 0..length {
            let to = values.add(token * dims);
            std::ptr::copy_nonoverlapping(args.value.add(token * stride), to, head_dim);
            for d in head_dim..dims {
                *to.add(d) = 0.0;
            }
        }

        for_row_tiles!(0..length, |row, ROWS| {
            let query = args.query.add(row * stride);
            for panel in (0..keys).step_by(PANEL) {
                let tile = product::<S, f32, ROWS>(query, stride, keys_transposed.add(panel), keys, head_dim);
                for (r, tile) in tile.iter().enumerate() {
                    for (v, &sum) in tile.iter().enumerate() {
                        S::store(scores.add(r * keys + panel + v * LANES), S::mul(sum, S::splat(args.scale)));
                    }
                }
            }
            let mut reciprocal = [0.0; ROWS];
            for (r, reciprocal) in reciprocal.iter_mut().enumerate() {
                *reciprocal = 1.0 / exponentials::<S>(scores.add(r * keys), length, keys);
            }
            for panel in (0..dims).step_by(PANEL) {
                let tile = product::<S, f32, ROWS>(scores, keys, values.add(panel), dims, length);
                for (r, tile) in tile.iter().enumerate() {
                    let to = args.out.add((row + r) * args.out_stride);
                    let mut lanes = [0.0; PANEL];
                    for (v, &sum) in tile.iter().enumerate() {
                        S::store(lanes.as_mut_ptr().add(v * LANES), S::mul(sum, S::splat(reciprocal[r])));
                    }
                    let columns = PANEL.min(head_dim - panel);
                    std::ptr::copy_nonoverlapping(lanes.as_ptr(), to.add(panel), columns);
                }
            }
        });
    }
}

/// Replaces the scores of one query by `exp(score - largest)` and returns their sum.
///
/// # Safety
/// The instruction set must be present; `scores` must have `padded` values, a multiple of [`LANES`], writable.
#[inline(always)]
unsafe fn exponentials<S: Simd>(scores: *mut f32, length: usize, padded: usize) -> f32 {
    // SAFETY: all offsets are below `padded`.
    unsafe {
        for token in length..padded {
            // Not infinity: with a largest score of minus infinity the difference would be NaN where none is due. The
            // clamp of `exp` makes of it less than 1e-37, in a sum that is at least 1.
            *scores.add(token) = f32::MIN;
        }
        let mut largest = S::load(scores);
        for i in (LANES..padded).step_by(LANES) {
            largest = S::max(largest, S::load(scores.add(i)));
        }
        let largest = S::splat(S::max_lane(largest));
        let mut sum = S::splat(0.0);
        for i in (0..padded).step_by(LANES) {
            let e = math::exp::<S>(S::sub(S::load(scores.add(i)), largest));
            S::store(scores.add(i), e);
            sum = S::add(sum, e);
        }
        S::sum(sum)
    }
}
