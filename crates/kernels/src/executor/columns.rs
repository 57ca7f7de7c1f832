//! Operations on some columns of a matrix: the queries, the keys, the values.

use std::ops::Range;

use super::Shared;
use crate::generic::rotary::RotaryRow;
use crate::weights::Norm;
use crate::{Executor, Matrix, Rotary};

impl Executor {
    /// [`layer_norm`](Self::layer_norm) of parts of each row: of as many neighbouring columns at a time as the norm is long.
    ///
    /// # Panics
    /// If the columns are not columns of `x`, or not a multiple of the norm's length.
    pub fn layer_norm_columns(&mut self, x: &mut Matrix, columns: Range<usize>, norm: &Norm) {
        let kernel = self.kernels.layer_norm;
        self.for_parts(x, columns, norm.weight.len(), |part, length| {
            // SAFETY: the part has `length` columns, and so has the norm.
            unsafe { kernel(part, length, norm.weight.as_ptr(), norm.bias.as_ptr(), norm.epsilon) };
        });
    }

    /// [`rms_norm`](Self::rms_norm) of parts of each row: of as many neighbouring columns at a time as the norm is long. With a norm
    /// as long as a head, that of the heads whose columns are given.
    ///
    /// # Panics
    /// As [`layer_norm_columns`](Self::layer_norm_columns).
    pub fn rms_norm_columns(&mut self, x: &mut Matrix, columns: Range<usize>, norm: &Norm) {
        let kernel = self.kernels.rms_norm;
        self.for_parts(x, columns, norm.weight.len(), |part, length| {
            // SAFETY: the part has `length` columns, and so has the norm.
            unsafe { kernel(part, length, norm.weight.as_ptr(), norm.epsilon) };
        });
    }

    /// Turns the heads in `columns` (queries, keys or both) of each row by the position of its token.
    ///
    /// # Panics
    /// If the columns are not columns of `x`, or not whole heads, there is not a position for each row, or one is not
    /// below [`Rotary::positions`].
    pub fn rotary(&mut self, x: &mut Matrix, columns: Range<usize>, positions: &[u32], rotary: &Rotary) {
        let (head_dim, limit) = (rotary.head_dim(), rotary.positions());
        assert_parts(x, &columns, head_dim);
        assert_eq!(positions.len(), x.rows(), "positions of rows");
        if let Some(position) = positions.iter().find(|&&position| position as usize >= limit) {
            panic!("position {position} of {limit}");
        }
        let (rows, stride) = (x.rows(), x.stride());
        let width = columns.len();
        let (kernel, data) = (self.kernels.rotate, Shared(x.as_mut_ptr()));
        self.for_row_blocks(rows, width, |rows| {
            for row in rows {
                let (coarse, fine) = rotary.rows(positions[row] as usize);
                // SAFETY: the heads are in columns of a row that no other job has; the tables have all pairs.
                unsafe {
                    kernel(&RotaryRow {
                        heads: data.get().add(row * stride + columns.start),
                        count: columns.len() / head_dim.max(1),
                        head_dim,
                        style: rotary.style(),
                        pairs: rotary.pairs(),
                        coarse: coarse.as_ptr(),
                        fine: fine.as_ptr(),
                    });
                }
            }
        });
    }

    /// Calls `f` on the first of every `length` neighbouring columns of every row.
    fn for_parts(&self, x: &mut Matrix, columns: Range<usize>, length: usize, f: impl Fn(*mut f32, usize) + Sync) {
        assert_parts(x, &columns, length);
        let (rows, stride, data) = (x.rows(), x.stride(), Shared(x.as_mut_ptr()));
        self.for_row_blocks(rows, columns.len(), |rows| {
            for row in rows {
                for column in columns.clone().step_by(length.max(1)) {
                    f(data.get().wrapping_add(row * stride + column), length);
                }
            }
        });
    }
}

fn assert_parts(x: &Matrix, columns: &Range<usize>, length: usize) {
    let found = x.columns();
    assert!(columns.start <= columns.end && columns.end <= found, "columns {columns:?} of a matrix of {found}");
    assert!(columns.len().is_multiple_of(length), "columns {columns:?} in parts of {length}");
}
