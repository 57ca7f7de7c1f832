//! Embeddings of the distance between two tokens, as attention uses them.

use crate::buffer::{AlignedBuffer, Matrix};
use crate::heads::Heads;
use crate::weights::PANEL;

/// Embeddings of distances, projected to the keys and queries of a layer, for
/// [`Executor::relative_attention_of`](crate::Executor::relative_attention_of).
///
/// Far distances may share an embedding: each distance has the number of its row.
pub struct Distances {
    /// `[head][panel][dim][16 rows]`
    keys: AlignedBuffer<f32>,
    queries: AlignedBuffer<f32>,
    /// Values of a head.
    head_len: usize,
    heads: Heads,
    rows: usize,
    /// Of the distances from `1 - positions` to `positions - 1`.
    row_of: Vec<u32>,
    positions: usize,
}

impl Distances {
    /// `projected` has a row for each embedding, with the columns of queries and keys that [`Heads`] says; `row_of(d)` is the row of the
    /// distance `d`, a query's position less a key's, from `1 - positions` to `positions - 1`. Rows never fall as distances rise.
    ///
    /// # Panics
    /// If `projected` has other columns, heads of queries share keys, a distance has a row that is not there, or rows fall.
    pub fn new(projected: &Matrix, heads: &Heads, positions: usize, row_of: impl Fn(i64) -> usize) -> Self {
        assert_eq!(heads.count, heads.kv_count, "heads that share keys");
        let rows = projected.rows();
        assert!(projected.columns() >= heads.keys().end, "columns of projected embeddings");
        let last = positions.saturating_sub(1) as i64;
        let row_of: Vec<u32> = (-last..=last)
            .map(|distance| {
                let row = row_of(distance);
                assert!(row < rows, "row {row} of {rows} for the distance {distance}");
                row as u32
            })
            .collect();
        assert!(row_of.is_sorted(), "rows that fall as distances rise");
        let head_len = rows.next_multiple_of(PANEL) * heads.dim;
        let packed = |first_column: usize| {
            let mut panels = AlignedBuffer::zeroed(head_len * heads.count);
            for row in 0..rows {
                for (column, &value) in projected.row(row)[first_column..][..heads.count * heads.dim].iter().enumerate()
                {
                    let (head, dim) = (column / heads.dim, column % heads.dim);
                    let panel = head * head_len + row / PANEL * PANEL * heads.dim;
                    panels.as_mut_slice()[panel + dim * PANEL + row % PANEL] = value;
                }
            }
            panels
        };
        Distances {
            keys: packed(heads.keys().start),
            queries: packed(heads.queries().start),
            head_len,
            heads: heads.clone(),
            rows,
            row_of,
            positions,
        }
    }

    /// Tokens that a sequence may have.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes of memory that the packed embeddings take.
    pub fn bytes(&self) -> usize {
        (self.keys.as_slice().len() + self.queries.as_slice().len()) * size_of::<f32>()
            + self.row_of.len() * size_of::<u32>()
    }

    /// Rows of embeddings.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether these are embeddings for such heads.
    pub(crate) fn fit(&self, heads: &Heads) -> bool {
        (self.heads.count, self.heads.dim) == (heads.count, heads.dim) && heads.kv_count == heads.count
    }

    /// The panels of a head, as keys and as queries.
    pub(crate) fn of_head(&self, head: usize) -> [&[f32]; 2] {
        [&self.keys, &self.queries].map(|panels| &panels.as_slice()[head * self.head_len..][..self.head_len])
    }

    /// The rows of all distances, and the place of the distance 0 among them.
    pub(crate) fn row_of(&self) -> (&[u32], usize) {
        (&self.row_of, self.row_of.len() / 2)
    }
}
