//! Attention whose scores also tell the distance between query and key, by embeddings of distances.
//!
//! ```text
//! score(i, j) = scale (q_i . k_j + q_i . K[b(i - j)] + Q[b(i - j)] . k_j)
//! ```
//!
//! with `K` and `Q` the embeddings of distances as keys and as queries, and `b` the row of a distance: the "disentangled" attention of
//! `DeBERTa` (He et al., arXiv:2006.03654). All products with embeddings are made first, for the rows that a sequence's distances have,
//! and then each score takes one of both.

use std::ops::Range;

use super::Simd;
use super::attention::{
    AttentionJob, Block, QUERY_ROWS, pack_keys, pack_values, score_stride, scores, weighted_values,
};
use super::gemm_float::{for_row_tiles, product};
use super::simd::for_panel_strips;
use crate::weights::PANEL;
use std::f32::consts::LOG2_E;

/// The embeddings of distances for one head.
pub(crate) struct DistanceEmbeddings {
    /// As keys, in panels: `[panel][dim][16 rows]`.
    pub(crate) keys: *const f32,
    /// As queries, in the same order.
    pub(crate) queries: *const f32,
    /// The row of the distance 0; before it those of negative distances (a query before its key), after it those of positive ones. They
    /// never fall.
    pub(crate) row_of: *const u32,
}

impl DistanceEmbeddings {
    /// The panels with the rows of the distances from `first` to `last`.
    ///
    /// # Safety
    /// There must be rows for these distances.
    #[inline(always)]
    unsafe fn panels(&self, first: isize, last: isize) -> Range<usize> {
        // SAFETY: as the caller says.
        let [first, last] = unsafe { [*self.row_of.offset(first), *self.row_of.offset(last)] };
        first as usize / PANEL..last as usize / PANEL + 1
    }
}

/// Scratch values that a job needs whose sequence has `length` tokens, with `rows` embeddings of distances.
pub(crate) fn scratch_len(length: usize, head_dim: usize, rows: usize) -> usize {
    let (keys, dims, rows) =
        (length.next_multiple_of(PANEL), head_dim.next_multiple_of(PANEL), rows.next_multiple_of(PANEL));
    let parts = [
        keys.checked_mul(head_dim),
        dims.checked_mul(keys),
        score_stride(keys).checked_mul(QUERY_ROWS),
        rows.checked_mul(length),
        rows.checked_mul(QUERY_ROWS),
    ];
    let sum = parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?));
    sum.and_then(|sum| sum.checked_next_multiple_of(PANEL)).expect("the scratch fits the address space")
}

/// Products of rows with the embeddings of some panels, of each row as far as they are wanted.
struct Products {
    values: *mut f32,
    panels: Range<usize>,
}

impl Products {
    /// Values of a row.
    fn width(&self) -> usize {
        self.panels.len() * PANEL
    }

    /// The product of row `row` with embedding `embedding`, which must be in the panels.
    ///
    /// # Safety
    /// The row must have been written.
    #[inline(always)]
    unsafe fn at(&self, row: usize, embedding: u32) -> f32 {
        // SAFETY: as the caller says.
        unsafe { *self.values.add(row * self.width() + embedding as usize - self.panels.start * PANEL) }
    }

    /// Writes those of the `ROWS` rows of `k` values from `row` on with the panels `wanted`.
    ///
    /// # Safety
    /// The instruction set must be present, the rows, which begin at `from`, and the panels readable, and room for the products.
    #[inline(always)]
    unsafe fn write<S: Simd, const ROWS: usize>(
        &self,
        row: usize,
        (from, stride, k): (*const f32, usize, usize),
        embeddings: *const f32,
        wanted: Range<usize>,
    ) {
        // SAFETY: as the caller says.
        unsafe {
            for_panel_strips!(S, wanted, |panel, PANELS| {
                let tile = product::<S, f32, ROWS, PANELS>(from, stride, embeddings.add(panel * PANEL * k), k);
                for (r, tile) in tile.iter().enumerate() {
                    for (p, &sum) in tile.iter().enumerate() {
                        let column = (panel + p - self.panels.start) * PANEL;
                        S::store(self.values.add((row + r) * self.width() + column), sum);
                    }
                }
            });
        }
    }
}

/// # Safety
/// The instruction set must be present; `job` must describe readable inputs and outputs writable by this call alone, of one head, with the full
/// mask, no slopes and no biases, a block of all keys and a scratch of [`scratch_len`]; there must be embeddings for all its distances.
#[inline(always)]
pub(crate) unsafe fn relative_attention<S: Simd>(job: &AttentionJob, distances: &DistanceEmbeddings) {
    let &AttentionJob { head_dim, length, stride, .. } = job;
    // SAFETY: rows and columns stay within the queries, the keys and the head, or within padding; distances are those of the sequence.
    unsafe {
        let farthest = length as isize - 1;
        let panels = distances.panels(-farthest, farthest);
        let block = Block::new(job, 0..length);
        pack_keys::<S>(job, &block);
        pack_values::<S>(job, &block);
        let values = block.scores.add(QUERY_ROWS * block.score_stride);
        let of_keys = Products { values, panels: panels.clone() };
        for_row_tiles!(0..length, |row, ROWS| {
            let (first, last) = (row as isize, (row + ROWS - 1) as isize);
            let keys = (job.key.add(row * stride), stride, head_dim);
            of_keys.write::<S, ROWS>(row, keys, distances.queries, distances.panels(-last, farthest - first));
        });
        let of_queries = Products { values: values.add(length * of_keys.width()), panels };

        let factor = job.scale * LOG2_E;
        for_row_tiles!(0..job.tokens.len(), |row, ROWS| {
            scores::<S, ROWS>(job, &block, 0, row, 0..length.div_ceil(PANEL));
            let first = (job.tokens.start + row) as isize;
            let panels = distances.panels(first - farthest, first + ROWS as isize - 1);
            let queries = (job.query.add(row * job.query_stride), job.query_stride, head_dim);
            of_queries.write::<S, ROWS>(0, queries, distances.keys, panels);
            for r in 0..ROWS {
                let row_of = distances.row_of.add(job.tokens.start + row + r);
                let scores = block.scores.add(r * block.score_stride);
                for key in 0..length {
                    let embedding = *row_of.sub(key);
                    *scores.add(key) += factor * (of_queries.at(r, embedding) + of_keys.at(key, embedding));
                }
            }
            weighted_values::<S, ROWS>(job, &block, 0, row);
        });
    }
}
