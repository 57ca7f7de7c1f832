//! Attention with products of whole codes: queries, keys, values and weights rounded to integers of at most 16 bits.
//!
//! Where a multiplier of 16-bit numbers does twice what one of `f32` does, this halves the two products of attention. What is
//! rounded is far below what 8-bit codes leave in the inputs: a key and a value have 12 to 15 bits of the largest of their sequence and
//! head, a query as many of its own largest, a weight as many as its row's sum leaves room for. The softmax between is in `f32`, as
//! in [`super::attention`].

use std::f32::consts::LOG2_E;
use std::ops::RangeInclusive;

use super::Simd;
use super::attention::{AttentionJob, QUERY_ROWS, load_first, score_stride, store_first};
use super::gemm_float::for_row_tiles;
use super::simd::{LANES, for_panel_strips};
use super::softmax::exponentials_of_rows;
use crate::weights::PANEL;

/// The sum of the codes of a query's weights at most, before they are rounded. With [`LARGEST_VALUE`], and half a code more for each
/// of 1024 keys, every sum of products stays below 2^31.
const SUM_OF_WEIGHTS: f32 = (1 << 17) as f32;

/// The largest code of a weight: what 16 bits hold.
const LARGEST_WEIGHT: f32 = i16::MAX as f32;

/// The largest code of a value.
const LARGEST_VALUE: f32 = 16_000.0;

/// Keys of a job that these kernels are for: with fewer, making codes takes longer than they save; of more, the sums could be too large.
pub(crate) const KEYS: RangeInclusive<usize> = 32..=1024;

/// The largest code of a query and of a key: so many products of two of them that a head has stay below 2^31.
fn largest_of(head_dim: usize) -> f32 {
    (i32::MAX as f32 / head_dim as f32).sqrt().floor().min(LARGEST_WEIGHT) - 1.0
}

/// Dimensions of a head with those that fill up the last vector, whose codes are zero.
fn padded_dims(head_dim: usize) -> usize {
    head_dim.next_multiple_of(2 * LANES)
}

/// Scratch values that a job needs: keys and values in panels of codes, a tile of scores, of weights and of queries, and a panel of
/// keys on their way.
pub(crate) fn scratch_len(length: usize, head_dim: usize) -> usize {
    let (keys, dims) = (length.min(*KEYS.end()).next_multiple_of(PANEL), padded_dims(head_dim));
    let codes = 2 * keys * dims + QUERY_ROWS * (score_stride(keys) + dims) + PANEL * dims;
    codes.div_ceil(2) + QUERY_ROWS * score_stride(keys)
}

/// The parts of a job's scratch.
struct Parts {
    /// `[panel][pair of dims][16 tokens][2 dims]`.
    key_panels: *mut i16,
    /// `[panel][pair of tokens][16 dims][2 tokens]`.
    value_panels: *mut i16,
    scores: *mut f32,
    score_stride: usize,
    weights: *mut i16,
    queries: *mut i16,
    /// Sixteen keys as rows.
    rows: *mut i16,
    dims: usize,
    /// Pairs of keys.
    pairs: usize,
}

impl Parts {
    /// # Safety
    /// The scratch of the job must have [`scratch_len`] values.
    unsafe fn new(job: &AttentionJob) -> Self {
        let (keys, dims) = (job.length.next_multiple_of(PANEL), padded_dims(job.head_dim));
        let score_stride = score_stride(keys);
        // SAFETY: the parts are disjoint and add up to `scratch_len`.
        unsafe {
            let key_panels = job.scratch.add(QUERY_ROWS * score_stride).cast::<i16>();
            let value_panels = key_panels.add(keys * dims);
            let weights = value_panels.add(keys * dims);
            let queries = weights.add(QUERY_ROWS * score_stride);
            let rows = queries.add(QUERY_ROWS * dims);
            let pairs = job.length.div_ceil(2);
            Parts { key_panels, value_panels, scores: job.scratch, score_stride, weights, queries, rows, dims, pairs }
        }
    }
}

/// What [`super::attention::attention`] computes, with products of codes.
///
/// # Safety
/// As there, with as many keys as [`KEYS`] says at most and a scratch of [`scratch_len`] values.
#[inline(always)]
pub(crate) unsafe fn coded_attention<S: Simd>(job: &AttentionJob) {
    let &AttentionJob { head_dim, length, .. } = job;
    // SAFETY: rows and columns stay within the queries, the keys and the head, or within padding.
    unsafe {
        let parts = Parts::new(job);
        let key_scale = pack_keys::<S>(job, &parts);
        let value_scale = pack_values::<S>(job, &parts);
        for head in 0..job.heads {
            for_row_tiles!(0..job.tokens.len(), |row, ROWS| {
                let mut factors = code_queries::<S, ROWS>(job, &parts, head, row);
                for factor in &mut factors {
                    *factor *= key_scale * (job.scale * LOG2_E);
                }
                scores::<S, ROWS>(&parts, &factors, length);
                let sums = exponentials_of_rows::<S, ROWS, true>(parts.scores, parts.score_stride, length);
                let mut factors = code_weights::<S, ROWS>(&parts, length, &sums);
                for factor in &mut factors {
                    *factor *= value_scale;
                }
                for_panel_strips!(S, 0..head_dim.div_ceil(PANEL), |panel, PANELS| {
                    let (stride, panel_len) = (parts.score_stride, parts.pairs * 2 * PANEL);
                    let values = parts.value_panels.add(panel * panel_len);
                    let tile = product::<S, ROWS, PANELS>(parts.weights, stride, values, panel_len, parts.pairs);
                    for (r, (tile, &factor)) in tile.iter().zip(&factors).enumerate() {
                        for (p, &sum) in tile.iter().enumerate() {
                            let column = (panel + p) * PANEL;
                            let to = job.out_at(head, row + r, column);
                            let value = S::mul(S::to_f32(sum), S::splat(factor));
                            store_first::<S>(to, value, head_dim.saturating_sub(column));
                        }
                    }
                });
            });
        }
    }
}

/// The products of `ROWS` rows of codes with `PANELS` panels, over `pairs` pairs.
///
/// # Safety
/// The instruction set must be present, and rows and panels have that many pairs.
#[inline(always)]
unsafe fn product<S: Simd, const ROWS: usize, const PANELS: usize>(
    a: *const i16,
    a_stride: usize,
    b: *const i16,
    panel_len: usize,
    pairs: usize,
) -> [[S::I32; PANELS]; ROWS] {
    // SAFETY: all offsets stay inside what the caller describes.
    unsafe {
        let mut sums = [[S::splat_i32(0); PANELS]; ROWS];
        let mut panels = [b; PANELS];
        for p in 0..PANELS {
            panels[p] = b.add(p * panel_len);
        }
        for pair in 0..pairs {
            let mut b = [S::load_i16_pairs(panels[0].add(pair * 2 * LANES)); PANELS];
            for p in 1..PANELS {
                b[p] = S::load_i16_pairs(panels[p].add(pair * 2 * LANES));
            }
            for r in 0..ROWS {
                let a = S::splat_pair(a.add(r * a_stride + 2 * pair));
                for p in 0..PANELS {
                    sums[r][p] = S::dot_pairs(sums[r][p], b[p], a);
                }
            }
        }
        sums
    }
}

/// Writes the products of `ROWS` queries with all keys, times a factor for each.
///
/// # Safety
/// As for [`coded_attention`], with keys and queries written.
#[inline(always)]
unsafe fn scores<S: Simd, const ROWS: usize>(parts: &Parts, factors: &[f32; ROWS], length: usize) {
    // SAFETY: as the caller says.
    unsafe {
        for_panel_strips!(S, 0..length.div_ceil(PANEL), |panel, PANELS| {
            let panel_len = PANEL * parts.dims;
            let keys = parts.key_panels.add(panel * panel_len);
            let tile = product::<S, ROWS, PANELS>(parts.queries, parts.dims, keys, panel_len, parts.dims / 2);
            for (r, (tile, &factor)) in tile.iter().zip(factors).enumerate() {
                for (p, &sum) in tile.iter().enumerate() {
                    let to = parts.scores.add(r * parts.score_stride + (panel + p) * PANEL);
                    S::store(to, S::mul(S::to_f32(sum), S::splat(factor)));
                }
            }
        });
    }
}

/// Writes the codes of `ROWS` queries, and returns the scale of each.
///
/// # Safety
/// As for [`coded_attention`].
#[inline(always)]
unsafe fn code_queries<S: Simd, const ROWS: usize>(
    job: &AttentionJob,
    parts: &Parts,
    head: usize,
    row: usize,
) -> [f32; ROWS] {
    let mut scales = [0.0; ROWS];
    // SAFETY: as the caller says.
    unsafe {
        for r in 0..ROWS {
            let query = job.query.add((row + r) * job.query_stride + head * job.head_dim);
            let largest = S::max_lane_magnitudes([largest_magnitudes::<S>(S::splat(0.0), query, job.head_dim); 4])[0];
            let (to_code, scale) = scale_of(largest, largest_of(job.head_dim));
            write_codes::<S>(query, job.head_dim, to_code, parts.queries.add(r * parts.dims), parts.dims);
            scales[r] = scale;
        }
    }
    scales
}

/// The factor from a value to its code, and back.
#[inline(always)]
fn scale_of(largest: f32, code: f32) -> (f32, f32) {
    if largest < code * f32::MIN_POSITIVE { (0.0, 0.0) } else { (code / largest, largest / code) }
}

/// The larger of `largest` and the magnitudes of `count` values.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn largest_magnitudes<S: Simd>(mut largest: S::F32, from: *const f32, count: usize) -> S::F32 {
    // SAFETY: as many values are readable as the caller says.
    unsafe {
        for i in (0..count).step_by(LANES) {
            largest = S::max_magnitude(largest, load_first::<S>(from.add(i), count - i));
        }
    }
    largest
}

/// Writes the codes of `count` values and zeros up to `padded`.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn write_codes<S: Simd>(from: *const f32, count: usize, to_code: f32, to: *mut i16, padded: usize) {
    // SAFETY: as many values are readable as the caller says, and `padded` codes writable.
    unsafe {
        for i in (0..padded).step_by(LANES) {
            let values = if i < count { load_first::<S>(from.add(i), count - i) } else { S::splat(0.0) };
            S::store_rounded_i16(to.add(i), S::mul(values, S::splat(to_code)));
        }
    }
}

/// Writes the codes of the weights of `ROWS` queries from their exponentials and the sums of these, and returns for each what a sum of
/// codes is to be multiplied with.
///
/// # Safety
/// As for [`coded_attention`], with exponentials in the place of scores.
#[inline(always)]
unsafe fn code_weights<S: Simd, const ROWS: usize>(parts: &Parts, length: usize, sums: &[f32; ROWS]) -> [f32; ROWS] {
    let (whole, rest) = (length / LANES * LANES, length % LANES);
    let mut factors = [0.0; ROWS];
    // SAFETY: as the caller says; rows of scores and weights are padded.
    unsafe {
        for r in 0..ROWS {
            let to_code = (SUM_OF_WEIGHTS / sums[r]).min(LARGEST_WEIGHT);
            let (from, to) = (parts.scores.add(r * parts.score_stride), parts.weights.add(r * parts.score_stride));
            for i in (0..whole).step_by(LANES) {
                S::store_rounded_i16(to.add(i), S::mul(S::load(from.add(i)), S::splat(to_code)));
            }
            if rest > 0 {
                let last = S::first_lanes(S::load(from.add(whole)), rest, 0.0);
                S::store_rounded_i16(to.add(whole), S::mul(last, S::splat(to_code)));
            }
            factors[r] = 1.0 / (to_code * sums[r]);
        }
    }
    factors
}

/// The factor from a value of `rows` rows of a head to its code, and back.
///
/// # Safety
/// The instruction set must be present, and the rows readable.
#[inline(always)]
unsafe fn scale_of_rows<S: Simd>(from: *const f32, job: &AttentionJob, code: f32) -> (f32, f32) {
    // SAFETY: as the caller says.
    unsafe {
        let mut largest = [S::splat(0.0); 4];
        for row in 0..job.length {
            largest[row % 4] = largest_magnitudes::<S>(largest[row % 4], from.add(row * job.stride), job.head_dim);
        }
        let [a, b, c, d] = S::max_lane_magnitudes(largest);
        // As bits, so that a NaN is not lost.
        let largest = a.to_bits().max(b.to_bits()).max(c.to_bits()).max(d.to_bits());
        scale_of(f32::from_bits(largest), code)
    }
}

/// Writes the keys, with zeros for tokens and dimensions that fill up, and returns their scale.
///
/// # Safety
/// As for [`coded_attention`].
#[inline(always)]
unsafe fn pack_keys<S: Simd>(job: &AttentionJob, parts: &Parts) -> f32 {
    // SAFETY: reads rows of keys and columns below `head_dim`.
    unsafe {
        let (to_code, scale) = scale_of_rows::<S>(job.key, job, largest_of(job.head_dim));
        for token in (0..job.length).step_by(PANEL) {
            let rows = PANEL.min(job.length - token);
            for row in 0..rows {
                let from = job.key.add((token + row) * job.stride);
                write_codes::<S>(from, job.head_dim, to_code, parts.rows.add(row * parts.dims), parts.dims);
            }
            // A pair of codes has the size of a float, and moves like one.
            let to = parts.key_panels.add(token * parts.dims).cast::<f32>();
            let (from, stride) = (parts.rows.cast::<f32>(), parts.dims / 2);
            for pair in (0..stride).step_by(LANES) {
                S::transpose(from.add(pair), stride, rows, to.add(pair * PANEL), PANEL);
            }
        }
        scale
    }
}

/// Writes the values, with zeros for the token and the dimensions that fill up, and returns their scale.
///
/// # Safety
/// As for [`coded_attention`].
#[inline(always)]
unsafe fn pack_values<S: Simd>(job: &AttentionJob, parts: &Parts) -> f32 {
    let &AttentionJob { head_dim, length, stride, .. } = job;
    // SAFETY: reads rows of values and columns below `head_dim`.
    unsafe {
        let (to_code, scale) = scale_of_rows::<S>(job.value, job, LARGEST_VALUE);
        let to_code = S::splat(to_code);
        for d in (0..head_dim).step_by(LANES) {
            let (from, to) = (job.value.add(d), parts.value_panels.add(d * 2 * parts.pairs));
            for pair in 0..parts.pairs {
                let first = S::mul(load_first::<S>(from.add(2 * pair * stride), head_dim - d), to_code);
                let second = if 2 * pair + 1 < length {
                    S::mul(load_first::<S>(from.add((2 * pair + 1) * stride), head_dim - d), to_code)
                } else {
                    S::splat(0.0)
                };
                S::store_rounded_pairs(to.add(pair * 2 * LANES), first, second);
            }
        }
        scale
    }
}

#[cfg(test)]
mod tests;
