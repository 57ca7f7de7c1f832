//! Attention of some queries to one head of keys and values of their sequence.

use std::f32::consts::LOG2_E;
use std::ops::Range;

use super::Simd;
use super::gemm_float::{accumulate, for_row_tiles, product};
use super::simd::{LANES, for_panel_strips};
use super::softmax::{add_biases, exp2, exponentials, exponentials_of_rows, largest, subtract_distances};
use crate::heads::Mask;
use crate::weights::PANEL;

/// The queries of neighbouring tokens, in all the heads that share one head of keys and values.
pub(crate) struct AttentionJob {
    /// The first token's query in the first head; tokens are `query_stride` apart, heads `head_dim`.
    pub(crate) query: *const f32,
    pub(crate) query_stride: usize,
    /// The places of the queries in their sequence, at least one.
    pub(crate) tokens: Range<usize>,
    /// Heads of queries.
    pub(crate) heads: usize,
    /// The first key of the sequence; rows `stride` apart.
    pub(crate) key: *const f32,
    pub(crate) value: *const f32,
    pub(crate) stride: usize,
    /// Tokens of the sequence.
    pub(crate) length: usize,
    pub(crate) head_dim: usize,
    /// [`block_keys`] of that.
    pub(crate) block_keys: usize,
    /// Factor on the scores, `1 / sqrt(head_dim)` in most models.
    pub(crate) scale: f32,
    pub(crate) mask: Mask,
    /// What a score loses for each token of distance, for each head of queries; null for nothing.
    pub(crate) slopes: *const f32,
    /// What a score gains in the first head of queries by the distance between query and key: the value of the distance 0, with those of
    /// the others around it; heads are `bias_stride` apart. Null for nothing.
    pub(crate) biases: *const f32,
    pub(crate) bias_stride: usize,
    /// Where the first token's result in the first head goes; tokens are `out_stride` apart, heads `head_dim`.
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    /// [`scratch_len`] values for this call alone.
    pub(crate) scratch: *mut f32,
}

impl AttentionJob {
    /// Where a result goes. Of a panel that reaches beyond the head, nothing is stored there, and the place may be beyond the
    /// matrix.
    #[inline(always)]
    pub(super) fn out_at(&self, head: usize, row: usize, column: usize) -> *mut f32 {
        self.out.wrapping_add(row * self.out_stride + head * self.head_dim + column)
    }
}

/// Queries of a tile.
pub(crate) const QUERY_ROWS: usize = 6;

/// Keys that are packed at a time: with their values 256 KiB, which the second-level cache holds while all queries pass
/// over them. A sequence that is no longer is attended to at once, a longer one block by block.
pub(crate) fn block_keys(head_dim: usize) -> usize {
    ((1 << 15) / head_dim.max(1)).clamp(PANEL, 1024) / PANEL * PANEL
}

/// Values from one row of scores to the next: what is read and written beyond the last key stays within the row, wherever
/// the first key is.
pub(super) fn score_stride(padded_keys: usize) -> usize {
    padded_keys + PANEL
}

/// Scratch values that a job needs which has `queries` queries in all its heads together: a block of keys and of values in
/// panels, a tile of scores, and what is kept of each query from one block to the next.
pub(crate) fn scratch_len(length: usize, head_dim: usize, queries: usize) -> usize {
    let block = block_keys(head_dim);
    let (keys, dims) = (block.min(length.next_multiple_of(PANEL)), head_dim.next_multiple_of(PANEL));
    let kept = if length > block { queries } else { 0 };
    let parts = [
        keys.checked_mul(head_dim),
        dims.checked_mul(keys),
        score_stride(keys).checked_mul(QUERY_ROWS),
        kept.checked_mul(2),
    ];
    let sum = parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?));
    sum.and_then(|sum| sum.checked_next_multiple_of(PANEL)).expect("the scratch fits the address space")
}

/// Neighbouring keys with their values, in panels: the keys `[panel][dim][16 tokens]`, the values `[panel][token][16 dims]`.
pub(super) struct Block {
    /// Their places in the sequence.
    keys: Range<usize>,
    key_panels: *mut f32,
    value_panels: *mut f32,
    pub(super) scores: *mut f32,
    pub(super) score_stride: usize,
    /// The largest score and the sum of exponentials so far of each query, heads outermost.
    kept: *mut [f32; 2],
}

/// Some neighbouring keys of a block, counted from its first; none if the ends are equal.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Block {
    /// The block with keys `keys` in the scratch of a job, to be packed.
    ///
    /// # Safety
    /// There must be no more keys than [`AttentionJob::block_keys`], and the scratch must have [`scratch_len`] values.
    pub(super) unsafe fn new(job: &AttentionJob, keys: Range<usize>) -> Self {
        let padded = job.block_keys.min(job.length.next_multiple_of(PANEL));
        let score_stride = score_stride(padded);
        // SAFETY: the four parts of the scratch are disjoint and add up to `scratch_len`.
        unsafe {
            let value_panels = job.scratch.add(padded * job.head_dim);
            let scores = value_panels.add(padded * job.head_dim.next_multiple_of(PANEL));
            let kept = scores.add(QUERY_ROWS * score_stride).cast();
            Block { keys, key_panels: job.scratch, value_panels, scores, score_stride, kept }
        }
    }
}

/// `softmax(scale * Q K^T) V` with every query attending to every key of its sequence (Vaswani et al., arXiv:1706.03762),
/// all in `f32`.
///
/// Both products are those of a float GEMM, with keys and values in the panels of one. The bits are those of
/// [`masked_attention`], whose bookkeeping would be noticed in short sequences.
///
/// # Safety
/// The instruction set must be present; `job` must describe readable inputs and outputs writable by this call alone. It must
/// have the full mask, no slopes, no biases, and no more keys than a block.
#[inline(always)]
pub(crate) unsafe fn attention<S: Simd>(job: &AttentionJob) {
    let length = job.length;
    // SAFETY: rows and columns stay within the queries, the keys and the head, or within padding.
    unsafe {
        let block = Block::new(job, 0..length);
        pack_keys::<S>(job, &block);
        pack_values::<S>(job, &block);
        for head in 0..job.heads {
            for_row_tiles!(0..job.tokens.len(), |row, ROWS| {
                scores::<S, ROWS>(job, &block, head, row, 0..length.div_ceil(PANEL));
                weighted_values::<S, ROWS>(job, &block, head, row);
            });
        }
    }
}

/// Writes what `ROWS` queries gather from a block that has all keys, from their scores.
///
/// # Safety
/// As for [`attention`]; the block must be packed and have the scores of the tile that begins with row `row`.
#[inline(always)]
pub(super) unsafe fn weighted_values<S: Simd, const ROWS: usize>(
    job: &AttentionJob,
    block: &Block,
    head: usize,
    row: usize,
) {
    let &AttentionJob { head_dim, length, .. } = job;
    // SAFETY: as the caller says.
    unsafe {
        let mut reciprocals = exponentials_of_rows::<S, ROWS, false>(block.scores, block.score_stride, length);
        for reciprocal in &mut reciprocals {
            *reciprocal = 1.0 / *reciprocal;
        }
        for_panel_strips!(S, 0..head_dim.div_ceil(PANEL), |panel, PANELS| {
            let values = block.value_panels.add(panel * PANEL * length);
            let tile = product::<S, f32, ROWS, PANELS>(block.scores, block.score_stride, values, length);
            for (r, (tile, &reciprocal)) in tile.iter().zip(&reciprocals).enumerate() {
                for (p, &sum) in tile.iter().enumerate() {
                    let column = (panel + p) * PANEL;
                    let to = job.out_at(head, row + r, column);
                    store_first::<S>(to, S::mul(sum, S::splat(reciprocal)), head_dim.saturating_sub(column));
                }
            }
        });
    }
}

/// `softmax(scale * Q K^T - slope |i - j| + bias[j - i]) V` over the keys that each query sees, all in `f32`.
///
/// A query's weights and its sum of values are taken over the keys that it sees, in their order, and over no others, so its
/// result is the same in every tile, and nothing of a token, not even a NaN, reaches one that does not see it. Beyond a
/// block the softmax goes on from the largest score so far (Milakov and Gimelshein, arXiv:1805.02867); blocks begin at fixed
/// places of the sequence.
///
/// # Safety
/// The instruction set must be present; `job` must describe readable inputs and outputs writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn masked_attention<S: Simd>(job: &AttentionJob) {
    let &AttentionJob { length, mask, block_keys, .. } = job;
    let queries = job.tokens.len();
    let seen = mask.visible(job.tokens.start, length).start..mask.visible(job.tokens.end - 1, length).end;
    let mut start = seen.start / block_keys * block_keys;
    while start < seen.end {
        // SAFETY: a block has no more keys than it may, and they are tokens of the sequence; rows are those of the queries.
        unsafe {
            let block = Block::new(job, seen.start.max(start)..seen.end.min(start + block_keys));
            pack_keys::<S>(job, &block);
            pack_values::<S>(job, &block);
            for head in 0..job.heads {
                if queries < QUERY_ROWS {
                    for row in 0..queries {
                        tile::<S, 1>(job, &block, head, row..row + 1);
                    }
                } else {
                    for row in (0..queries).step_by(QUERY_ROWS) {
                        tile::<S, QUERY_ROWS>(job, &block, head, row..queries.min(row + QUERY_ROWS));
                    }
                }
            }
        }
        start += block_keys;
    }
}

/// What the queries of the rows `rows` in a head gather from a block. The tile has `ROWS` rows that end with them: fewer are
/// padded with rows before them, of which the scores are computed and nothing else.
///
/// # Safety
/// As for [`masked_attention`]; the block must be packed, and there must be `ROWS` rows before the end of `rows`.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(job: &AttentionJob, block: &Block, head: usize, rows: Range<usize>) {
    let &AttentionJob { head_dim, .. } = job;
    let (stride, keys) = (block.score_stride, block.keys.len());
    let row = rows.end - ROWS;

    // The keys that each query sees, whether earlier ones than the block's were gathered from already, and whether later
    // ones are still to come.
    let mut seen = [Span { start: 0, end: 0 }; ROWS];
    let (mut continues, mut goes_on) = ([false; ROWS], [false; ROWS]);
    // What any of the queries sees, and what all do that see anything.
    let (mut any, mut all) = (Span { start: keys, end: 0 }, Span { start: 0, end: keys });
    for r in rows.start - row..ROWS {
        let Range { start, end } = job.mask.visible(job.tokens.start + row + r, job.length);
        if start < block.keys.end && end > block.keys.start {
            continues[r] = start < block.keys.start;
            goes_on[r] = end > block.keys.end;
            let start = start.max(block.keys.start) - block.keys.start;
            let end = end.min(block.keys.end) - block.keys.start;
            seen[r] = Span { start, end };
            any = Span { start: any.start.min(start), end: any.end.max(end) };
            all = Span { start: all.start.max(start), end: all.end.min(end) };
        }
    }
    if any.end == 0 {
        return;
    }
    all.end = all.end.max(all.start);

    // SAFETY: keys stay within the block, rows and columns within the queries and the head, or within padding.
    unsafe {
        scores::<S, ROWS>(job, block, head, row, any.start / PANEL..any.end.div_ceil(PANEL));

        // What earlier blocks gathered counts by this factor, and everything by the reciprocal once the last is in.
        let (mut factors, mut reciprocals) = ([0.0; ROWS], [1.0; ROWS]);
        for r in 0..ROWS {
            let Span { start, end } = seen[r];
            if start == end {
                continue;
            }
            let (scores, count) = (block.scores.add(r * stride + start), end - start);
            if !job.slopes.is_null() {
                let slope = *job.slopes.add(head) * LOG2_E;
                let query = job.tokens.start + row + r;
                subtract_distances::<S>(scores, count, query, block.keys.start + start, slope);
            }
            if !job.biases.is_null() {
                let distance = (block.keys.start + start) as isize - (job.tokens.start + row + r) as isize;
                add_biases::<S>(scores, count, job.biases.add(head * job.bias_stride).offset(distance));
            }
            let mut largest = largest::<S>(scores, count);
            let kept = block.kept.add(head * job.tokens.len() + row + r);
            let mut earlier = 0.0;
            if continues[r] {
                let [largest_before, sum_before] = *kept;
                largest = largest.max(largest_before);
                factors[r] = exp2::<S>(largest_before - largest);
                earlier = sum_before * factors[r];
            }
            let sum = exponentials::<S, false>(scores, count, largest) + earlier;
            if goes_on[r] {
                *kept = [largest, sum];
            } else {
                reciprocals[r] = 1.0 / sum;
            }
        }

        for_panel_strips!(S, 0..head_dim.div_ceil(PANEL), |panel, PANELS| {
            let values = block.value_panels.add(panel * PANEL * keys);
            let tile = weighted_sums::<S, ROWS, PANELS>(block.scores, stride, values, keys, &seen, all);
            for r in 0..ROWS {
                if seen[r].start == seen[r].end {
                    continue;
                }
                for p in 0..PANELS {
                    let column = (panel + p) * PANEL;
                    let (to, columns) = (job.out_at(head, row + r, column), head_dim.saturating_sub(column));
                    let mut sum = tile[r][p];
                    if continues[r] {
                        sum = S::mul_add(load_first::<S>(to, columns), S::splat(factors[r]), sum);
                    }
                    store_first::<S>(to, S::mul(sum, S::splat(reciprocals[r])), columns);
                }
            }
        });
    }
}

/// Writes the scaled products of `ROWS` queries with the keys of some panels, in units of `ln 2`.
///
/// # Safety
/// As for [`attention`]; the block must be packed and have the panels.
#[inline(always)]
pub(super) unsafe fn scores<S: Simd, const ROWS: usize>(
    job: &AttentionJob,
    block: &Block,
    head: usize,
    row: usize,
    panels: Range<usize>,
) {
    // SAFETY: as the caller says.
    unsafe {
        let query = job.query.add(row * job.query_stride + head * job.head_dim);
        for_panel_strips!(S, panels, |panel, PANELS| {
            let keys = block.key_panels.add(panel * PANEL * job.head_dim);
            let tile = product::<S, f32, ROWS, PANELS>(query, job.query_stride, keys, job.head_dim);
            for (r, tile) in tile.iter().enumerate() {
                for (p, &sum) in tile.iter().enumerate() {
                    let score = S::mul(sum, S::splat(job.scale * LOG2_E));
                    S::store(block.scores.add(r * block.score_stride + (panel + p) * PANEL), score);
                }
            }
        });
    }
}

/// The sums of `PANELS` panels of values, weighted for each row by the keys that it sees, in their order; rows that see none may
/// get any. `all`: the keys that all others see; each may have some of its own before and after.
///
/// # Safety
/// As for [`masked_attention`]; `weights` must have `ROWS` rows, `stride` apart, and `values` that many panels of `keys` keys.
#[inline(always)]
unsafe fn weighted_sums<S: Simd, const ROWS: usize, const PANELS: usize>(
    weights: *const f32,
    stride: usize,
    values: *const f32,
    keys: usize,
    seen: &[Span; ROWS],
    all: Span,
) -> [[S::F32; PANELS]; ROWS] {
    // SAFETY: all keys are among those of the block, as the caller says.
    unsafe {
        let mut sums = [[S::splat(0.0); PANELS]; ROWS];
        for (r, (sums, span)) in sums.iter_mut().zip(seen).enumerate() {
            let before = Span { start: span.start, end: span.end.min(all.start) };
            *sums = add_weighted::<S, PANELS>(*sums, weights.add(r * stride), values, keys, before);
        }
        let (weights_of_all, values_of_all) = (weights.add(all.start), values.add(all.start * PANEL));
        let count = all.end - all.start;
        sums = accumulate::<S, f32, ROWS, PANELS>(sums, weights_of_all, stride, values_of_all, keys * PANEL, count);
        for (r, (sums, span)) in sums.iter_mut().zip(seen).enumerate() {
            let after = Span { start: span.start.max(all.end), end: span.end };
            *sums = add_weighted::<S, PANELS>(*sums, weights.add(r * stride), values, keys, after);
        }
        sums
    }
}

/// Adds the values of some keys, weighted, for one row.
///
/// # Safety
/// As for [`weighted_sums`].
#[inline(always)]
unsafe fn add_weighted<S: Simd, const PANELS: usize>(
    mut sums: [S::F32; PANELS],
    weights: *const f32,
    values: *const f32,
    keys: usize,
    span: Span,
) -> [S::F32; PANELS] {
    for key in span.start..span.end {
        for p in 0..PANELS {
            // SAFETY: passed on from the caller.
            unsafe {
                let value = S::load(values.add((p * keys + key) * PANEL));
                sums[p] = S::mul_add(S::splat(*weights.add(key)), value, sums[p]);
            }
        }
    }
    sums
}

/// Writes the keys of a block, with zeros for tokens that fill up the last panel.
///
/// # Safety
/// As for [`attention`].
#[inline(always)]
pub(super) unsafe fn pack_keys<S: Simd>(job: &AttentionJob, block: &Block) {
    let &AttentionJob { head_dim, stride, .. } = job;
    let whole = head_dim / LANES * LANES;
    // SAFETY: reads rows of the block's keys and columns below `head_dim`.
    unsafe {
        for token in block.keys.clone().step_by(PANEL) {
            let to = block.key_panels.add((token - block.keys.start) * head_dim);
            let rows = PANEL.min(block.keys.end - token);
            let from = job.key.add(token * stride);
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

/// Writes the values of a block, with zeros for dimensions that fill up the last panel.
///
/// # Safety
/// As for [`attention`].
#[inline(always)]
pub(super) unsafe fn pack_values<S: Simd>(job: &AttentionJob, block: &Block) {
    let &AttentionJob { head_dim, stride, .. } = job;
    let keys = block.keys.len();
    // SAFETY: reads rows of the block's keys and columns below `head_dim`.
    unsafe {
        for d in (0..head_dim).step_by(LANES) {
            let (from, to) = (job.value.add(block.keys.start * stride + d), block.value_panels.add(d * keys));
            for key in 0..keys {
                S::store(to.add(key * PANEL), load_first::<S>(from.add(key * stride), head_dim - d));
            }
        }
    }
}

/// Reads the first `count` lanes, all if there are more, with zeros in the others.
///
/// # Safety
/// The instruction set must be present, and as many values readable.
#[inline(always)]
pub(super) unsafe fn load_first<S: Simd>(from: *const f32, count: usize) -> S::F32 {
    // SAFETY: the caller gives `count` values, and that is at least a vector where one is loaded.
    unsafe {
        if count >= LANES {
            return S::load(from);
        }
        let mut lanes = [0.0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            *lane = *from.add(i);
        }
        S::load(lanes.as_ptr())
    }
}

/// Writes the first `count` lanes, all if there are more.
///
/// # Safety
/// The instruction set must be present, and as many places writable.
#[inline(always)]
pub(super) unsafe fn store_first<S: Simd>(to: *mut f32, value: S::F32, count: usize) {
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
