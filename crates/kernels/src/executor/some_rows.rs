//! Operations on rows that are named one by one: what a part of the tokens is to go through, and back.

use crate::{Executor, Matrix};

impl Executor {
    /// Row `i` of `out` becomes row `rows[i]` of `x`.
    ///
    /// # Panics
    /// If a row is not a row of `x`, or the shape of `out` is not that of so many rows.
    pub fn take_rows(&mut self, x: &Matrix, rows: &[usize], out: &mut Matrix) {
        assert_eq!((out.rows(), out.columns()), (rows.len(), x.columns()), "shape of the rows taken");
        for (to, &from) in rows.iter().enumerate() {
            out.row_mut(to).copy_from_slice(x.row(from));
        }
    }

    /// Multiplies each row by its factor.
    ///
    /// # Panics
    /// If there is not a factor for each row.
    pub fn scale_rows(&mut self, x: &mut Matrix, factors: &[f32]) {
        assert_eq!(factors.len(), x.rows(), "factors of rows");
        for (row, factor) in factors.iter().enumerate() {
            x.row_mut(row).iter_mut().for_each(|x| *x *= factor);
        }
    }

    /// Row `rows[i]` of `to` gets `factors[i]` times row `i` of `x` added, for one `i` after the other.
    ///
    /// # Panics
    /// If a row is not a row of `to`, or there is not a row and a factor for each row of `x`.
    pub fn add_to_rows(&mut self, x: &Matrix, rows: &[usize], factors: &[f32], to: &mut Matrix) {
        assert_eq!((rows.len(), factors.len()), (x.rows(), x.rows()), "places and factors of rows");
        assert_eq!(x.columns(), to.columns(), "columns of two matrices");
        for (from, (&row, factor)) in rows.iter().zip(factors).enumerate() {
            to.row_mut(row).iter_mut().zip(x.row(from)).for_each(|(to, x)| *to += factor * x);
        }
    }
}
