//! What becomes of a finished vector of sums of a GEMM.

use std::ops::Range;

use super::simd::LANES;
use super::{Simd, math};
use crate::weights::PANEL;

/// The operation between a linear layer's sum and the memory it goes to. `b` is the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = Wx + b`
    Assign,
    /// `out += Wx + b`: a residual connection, with the residual already in `out`.
    Add,
    /// `out = f(Wx + b)`
    Activate(Activation),
}

/// The activation function of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x/2 (1 + erf(x / sqrt 2))` (Hendrycks and Gimpel, arXiv:1606.08415).
    Gelu,
    /// The tanh approximation of GELU, from the same paper.
    GeluTanh,
    /// `max(x, 0)`
    Relu,
}

/// Where the sixteen columns of a panel go.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// The panel's first column in row 0.
    pub(crate) data: *mut f32,
    /// Values between two rows.
    pub(crate) stride: usize,
    /// Sixteen biases.
    pub(crate) bias: *const f32,
    pub(crate) epilogue: Epilogue,
}

/// Rows that are activated together, right after their sums were written: few enough to be in the first-level cache
/// still, even where the distance between rows makes them share its sets.
const ACTIVATED_ROWS: usize = 12;

impl Output {
    /// Calls `tiles` on parts of `rows` to compute and [`store`](Self::store) them, and activates each part.
    ///
    /// The activation functions stay out of the tiles, whose loops need every register.
    ///
    /// # Safety
    /// The instruction set must be present, and `tiles` must write both vectors of every row it is given.
    #[inline(always)]
    pub(crate) unsafe fn for_parts<S: Simd>(&self, rows: Range<usize>, tiles: impl Fn(Range<usize>)) {
        let whole = if let Epilogue::Activate(_) = self.epilogue { ACTIVATED_ROWS } else { rows.len().max(1) };
        for start in rows.clone().step_by(whole) {
            let part = start..rows.end.min(start + whole);
            tiles(part.clone());
            // SAFETY: the rows were just written; the closures are compiled for the caller's instruction set.
            unsafe {
                match self.epilogue {
                    Epilogue::Assign | Epilogue::Add => {}
                    Epilogue::Activate(Activation::Gelu) => {
                        self.map::<S>(
                            part,
                            #[inline(always)]
                            |x| math::gelu::<S>(x),
                        );
                    }
                    Epilogue::Activate(Activation::GeluTanh) => {
                        self.map::<S>(
                            part,
                            #[inline(always)]
                            |x| math::gelu_tanh::<S>(x),
                        );
                    }
                    Epilogue::Activate(Activation::Relu) => {
                        self.map::<S>(
                            part,
                            #[inline(always)]
                            |x| S::max(S::splat(0.0), x),
                        );
                    }
                }
            }
        }
    }

    /// Adds the bias to the sums of the lanes from `column` on of row `row`, and writes them or adds them to what is
    /// there.
    ///
    /// # Safety
    /// The instruction set must be present, and the place inside the output.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(&self, row: usize, column: usize, sum: S::F32) {
        // SAFETY: the caller vouches for the place; the bias has the panel's sixteen columns.
        unsafe {
            let to = self.data.add(row * self.stride + column);
            let sum = S::add(sum, S::load(self.bias.add(column)));
            S::store(to, if self.epilogue == Epilogue::Add { S::add(S::load(to), sum) } else { sum });
        }
    }

    /// Replaces every value of the rows by `f` of it.
    ///
    /// # Safety
    /// The instruction set must be present, and the rows inside the output and written.
    #[inline(always)]
    unsafe fn map<S: Simd>(&self, rows: Range<usize>, f: impl Fn(S::F32) -> S::F32) {
        for row in rows {
            for column in (0..PANEL).step_by(LANES) {
                // SAFETY: inside the panel's sixteen columns of a row of the output.
                unsafe {
                    let at = self.data.add(row * self.stride + column);
                    S::store(at, f(S::load(at)));
                }
            }
        }
    }
}
