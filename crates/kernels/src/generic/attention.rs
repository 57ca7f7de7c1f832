//! Attention of one head over one sequence.

use super::gemm_float::{for_row_tiles, product};
use super::simd::{LANES, for_panel_strips};
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

/// Scratch values that a head needs: the keys and the values in panels, and one tile of scores.
pub(crate) fn scratch_len(length: usize, head_dim: usize) -> usize {
    let (keys, dims) = (length.next_multiple_of(PANEL), head_dim.next_multiple_of(PANEL));
    let parts = [keys.checked_mul(head_dim), dims.checked_mul(length), keys.checked_mul(QUERY_ROWS)];
    let sum = parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?));
    sum.and_then(|sum| sum.checked_next_multiple_of(PANEL)).expect("the scratch fits the address space")
}

/// `softmax(scale * Q K^T) V` with every token attending to every token of its sequence (Vaswani et al.,
/// arXiv:1706.03762), all in `f32`.
///
/// Both products are those of a float GEMM, with keys and values in the panels of one: the keys `[panel][dim][16
/// tokens]`, the values `[panel][token][16 dims]`.
///
/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and outputs writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn attention<S: Simd>(args: &AttentionHead) {
    let &AttentionHead { length, head_dim, stride, .. } = args;
    let (keys, dims) = (length.next_multiple_of(PANEL), head_dim.next_multiple_of(PANEL));
    // SAFETY: the three parts of the scratch are disjoint and add up to `scratch_len`; rows and columns stay within
    // `length` and `head_dim`, or within the padding of panels.
    unsafe {
        let key_panels = args.scratch;
        let value_panels = key_panels.add(keys * head_dim);
        let scores = value_panels.add(dims * length);
        pack_keys::<S>(args, key_panels);
        pack_values::<S>(args, value_panels);

        for_row_tiles!(0..length, |row, ROWS| {
            let query = args.query.add(row * stride);
            for_panel_strips!(S, 0..keys / PANEL, |panel, PANELS| {
                let keys_of_panels = key_panels.add(panel * PANEL * head_dim);
                let tile = product::<S, f32, ROWS, PANELS>(query, stride, keys_of_panels, head_dim);
                for (r, tile) in tile.iter().enumerate() {
                    for (p, &sum) in tile.iter().enumerate() {
                        S::store(scores.add(r * keys + (panel + p) * PANEL), S::mul(sum, S::splat(args.scale)));
                    }
                }
            });
            let mut reciprocals = [0.0; ROWS];
            for (r, reciprocal) in reciprocals.iter_mut().enumerate() {
                *reciprocal = 1.0 / exponentials::<S>(scores.add(r * keys), length);
            }
            for_panel_strips!(S, 0..dims / PANEL, |panel, PANELS| {
                let values_of_panels = value_panels.add(panel * PANEL * length);
                let tile = product::<S, f32, ROWS, PANELS>(scores, keys, values_of_panels, length);
                for (r, (tile, &reciprocal)) in tile.iter().zip(&reciprocals).enumerate() {
                    for (p, &sum) in tile.iter().enumerate() {
                        let column = (panel + p) * PANEL;
                        // Beyond the head nothing is stored, and the place may be beyond the matrix.
                        let to = args.out.wrapping_add((row + r) * args.out_stride + column);
                        store_first::<S>(to, S::mul(sum, S::splat(reciprocal)), head_dim.saturating_sub(column));
                    }
                }
            });
        });
    }
}

/// Writes the keys as `[panel][dim][16 tokens]`, with zeros for tokens that fill up the last panel.
///
/// # Safety
/// As for [`attention`]; `to` must have room for `head_dim` values of every token of the panels.
#[inline(always)]
unsafe fn pack_keys<S: Simd>(args: &AttentionHead, to: *mut f32) {
    let &AttentionHead { length, head_dim, stride, key, .. } = args;
    let whole = head_dim / LANES * LANES;
    // SAFETY: reads rows below `length` and columns below `head_dim`.
    unsafe {
        for token in (0..length).step_by(PANEL) {
            let (to, rows) = (to.add(token * head_dim), PANEL.min(length - token));
            let from = key.add(token * stride);
            for d in (0..whole).step_by(LANES) {
                S::transpose(from.add(d), stride, rows, to.add(d * PANEL), PANEL);
            }
            for d in whole..head_dim {
                for i in 0..PANEL {
                    *to.add(d * PANEL + i) = if i < rows { *from.add(i * stride + d) } else { 0.0 };
                }
            }
        }
    }
}

/// Writes the values as `[panel][token][16 dims]`, with zeros for dimensions that fill up the last panel.
///
/// # Safety
/// As for [`attention`]; `to` must have room for `length` rows of the panels.
#[inline(always)]
unsafe fn pack_values<S: Simd>(args: &AttentionHead, to: *mut f32) {
    let &AttentionHead { length, head_dim, stride, value, .. } = args;
    // SAFETY: reads rows below `length` and columns below `head_dim`.
    unsafe {
        for d in (0..head_dim.next_multiple_of(PANEL)).step_by(LANES) {
            let to = to.add(d * length);
            for token in 0..length {
                let from = value.wrapping_add(token * stride + d);
                let lanes = if d + LANES <= head_dim {
                    S::load(from)
                } else {
                    let mut lanes = [0.0; LANES];
                    for (i, lane) in lanes.iter_mut().enumerate().take(head_dim.saturating_sub(d)) {
                        *lane = *from.add(i);
                    }
                    S::load(lanes.as_ptr())
                };
                S::store(to.add(token * PANEL), lanes);
            }
        }
    }
}

/// Writes the first `count` lanes, all if there are more.
///
/// # Safety
/// The instruction set must be present, and as many places writable.
#[inline(always)]
unsafe fn store_first<S: Simd>(to: *mut f32, value: S::F32, count: usize) {
    // SAFETY: the caller gives room for `count` values, and that is at least a vector where one is stored.
    unsafe {
        if count >= LANES {
            S::store(to, value);
        } else {
            let mut lanes = [0.0; LANES];
            S::store(lanes.as_mut_ptr(), value);
            for (i, &lane) in lanes.iter().enumerate().take(count) {
                *to.add(i) = lane;
            }
        }
    }
}

/// Replaces the scores of one query by `exp(score - largest)` and returns their sum.
///
/// # Safety
/// The instruction set must be present; `scores` must have `length` values, at least one, writable and padded to whole
/// vectors.
#[inline(always)]
unsafe fn exponentials<S: Simd>(scores: *mut f32, length: usize) -> f32 {
    let (whole, rest) = (length / LANES * LANES, length % LANES);
    // SAFETY: all offsets are below `length`, padded.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(LANES) {
            largest = S::max(largest, S::load(scores.add(i)));
        }
        if rest > 0 {
            largest = S::max(largest, S::first_lanes(S::load(scores.add(whole)), rest, f32::NEG_INFINITY));
        }
        let largest = S::splat(S::max_lane(largest));
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            let e = math::exp::<S>(S::sub(S::load(scores.add(i)), largest));
            S::store(scores.add(i), e);
            sum = S::add(sum, e);
        }
        if rest > 0 {
            let e = math::exp::<S>(S::sub(S::load(scores.add(whole)), largest));
            S::store(scores.add(whole), e);
            sum = S::add(sum, S::first_lanes(e, rest, 0.0));
        }
        S::sum(sum)
    }
}
