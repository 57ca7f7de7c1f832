//! What becomes of a finished vector of sums of a GEMM.

use super::{Simd, math};

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

impl Output {
    /// Finishes and writes the lanes from `column` on of row `row`.
    ///
    /// # Safety
    /// The instruction set must be present, and the place inside the output.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(&self, row: usize, column: usize, sum: S::F32) {
        // SAFETY: the caller vouches for the place; the bias has the panel's sixteen columns.
        unsafe {
            let to = self.data.add(row * self.stride + column);
            let sum = S::add(sum, S::load(self.bias.add(column)));
            let value = match self.epilogue {
                Epilogue::Assign => sum,
                Epilogue::Add => S::add(S::load(to), sum),
                Epilogue::Activate(Activation::Gelu) => math::gelu::<S>(sum),
                Epilogue::Activate(Activation::GeluTanh) => math::gelu_tanh::<S>(sum),
                Epilogue::Activate(Activation::Relu) => S::max(S::splat(0.0), sum),
            };
            S::store(to, value);
        }
    }
}
