//! What becomes of a finished vector of sums of a GEMM.

use std::ops::Range;

use super::{Simd, math};
use crate::weights::PANEL;

/// The operation between a linear layer's sum and the memory it goes to. `b` is the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = Wx + b`
    Assign,
    /// `out += Wx + b`: a residual connection, with the residual already in `out`.
    Add,
    /// `out *= Wx + b`: the second half of a gated unit (GLU, Shazeer, arXiv:2002.05202), with the activated gate
    /// already in `out`.
    Multiply,
    /// `out = f(Wx + b)`
    Activate(Activation),
    /// `out = f(out + Wx + b)`: the activation of a sum whose other part is already in `out`.
    AddActivate(Activation),
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
    /// `x / (1 + e^-x)`, also called swish (Elfwing, Uchibe and Doya, arXiv:1702.03118).
    Silu,
    /// `tanh x`
    Tanh,
}

impl Activation {
    /// Every activation function.
    pub const ALL: [Activation; 5] =
        [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu, Activation::Tanh];
}

/// Where the columns of neighbouring panels go, and what is done on the way.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// The first panel's first column in row 0.
    data: *mut f32,
    /// Values between two rows.
    stride: usize,
    /// Biases, sixteen a panel; null for none.
    bias: *const f32,
    combine: Combine,
    activation: Option<Activation>,
}

/// What a sum does to the value already at its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Combine {
    Replace,
    Add,
    Multiply,
}

/// Rows that are activated together, right after their sums were written: few enough to be in the first-level cache
/// still, even where the distance between rows makes them share its sets.
const ACTIVATED_ROWS: usize = 12;

impl Output {
    pub(crate) fn new(data: *mut f32, stride: usize, bias: *const f32, epilogue: Epilogue) -> Self {
        let (combine, activation) = match epilogue {
            Epilogue::Assign => (Combine::Replace, None),
            Epilogue::Add => (Combine::Add, None),
            Epilogue::Multiply => (Combine::Multiply, None),
            Epilogue::Activate(activation) => (Combine::Replace, Some(activation)),
            Epilogue::AddActivate(activation) => (Combine::Add, Some(activation)),
        };
        Output { data, stride, bias, combine, activation }
    }

    /// The output of the panels from `panel` on.
    pub(crate) fn skip_panels(self, panel: usize) -> Self {
        let bias = if self.bias.is_null() { self.bias } else { self.bias.wrapping_add(panel * PANEL) };
        Output { data: self.data.wrapping_add(panel * PANEL), bias, ..self }
    }

    /// Whether a sum may be written in parts, each added to the last.
    pub(crate) fn takes_parts(&self) -> bool {
        self.combine != Combine::Multiply
    }

    /// The output of one part of the sums: the first combines with what was there and takes the bias, the last activates.
    pub(crate) fn part(self, first: bool, last: bool) -> Self {
        let activation = self.activation.filter(|_| last);
        if first {
            Output { activation, ..self }
        } else {
            Output { activation, bias: std::ptr::null(), combine: Combine::Add, ..self }
        }
    }

    /// Calls `tiles` on parts of `rows` to compute and [`store`](Self::store) them, and activates each part.
    ///
    /// The activation functions stay out of the tiles, whose loops need every register.
    ///
    /// # Safety
    /// The instruction set must be present, and `tiles` must write `PANELS` panels of every row it is given.
    #[inline(always)]
    pub(crate) unsafe fn for_parts<S: Simd, const PANELS: usize>(
        &self,
        rows: Range<usize>,
        tiles: impl Fn(Range<usize>),
    ) {
        let whole = if self.activation.is_some() { ACTIVATED_ROWS } else { rows.len().max(1) };
        for start in rows.clone().step_by(whole) {
            let part = start..rows.end.min(start + whole);
            tiles(part.clone());
            if let Some(activation) = self.activation {
                for panel in 0..PANELS {
                    // SAFETY: the rows were just written.
                    unsafe { self.skip_panels(panel).activate::<S>(part.clone(), activation) };
                }
            }
        }
    }

    /// Asks for the places of the first `PANELS` panels of the rows from `row` on, which long rows of others keep apart, or another
    /// thread has written.
    ///
    /// # Safety
    /// The instruction set must be present.
    #[inline(always)]
    pub(crate) unsafe fn prefetch<S: Simd, const ROWS: usize, const PANELS: usize>(&self, row: usize) {
        for row in row..row + ROWS {
            for panel in 0..PANELS {
                // SAFETY: any address will do.
                unsafe { S::prefetch_to_write(self.data.wrapping_add(row * self.stride + panel * PANEL).cast()) };
            }
        }
    }

    /// Adds the bias to the sums of row `row` and panel `panel`, and combines them with what is there.
    ///
    /// # Safety
    /// The instruction set must be present, and the place inside the output.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(&self, row: usize, panel: usize, mut sum: S::F32) {
        // SAFETY: the caller vouches for the place; the bias has the panel's sixteen columns.
        unsafe {
            let to = self.data.add(row * self.stride + panel * PANEL);
            if !self.bias.is_null() {
                sum = S::add(sum, S::load(self.bias.add(panel * PANEL)));
            }
            let value = match self.combine {
                Combine::Replace => sum,
                Combine::Add => S::add(S::load(to), sum),
                Combine::Multiply => S::mul(S::load(to), sum),
            };
            S::store(to, value);
        }
    }

    /// Replaces every value of the first panel's columns in the rows by the activation function of it.
    ///
    /// # Safety
    /// The instruction set must be present, and the rows inside the output and written.
    #[inline(always)]
    unsafe fn activate<S: Simd>(&self, rows: Range<usize>, activation: Activation) {
        // SAFETY: the closures are compiled for the caller's instruction set; the rest as the caller promises.
        unsafe {
            match activation {
                Activation::Gelu => self.map::<S>(
                    rows,
                    #[inline(always)]
                    |x| math::gelu::<S>(x),
                ),
                Activation::GeluTanh => self.map::<S>(
                    rows,
                    #[inline(always)]
                    |x| math::gelu_tanh::<S>(x),
                ),
                Activation::Relu => self.map::<S>(
                    rows,
                    #[inline(always)]
                    |x| S::max(S::splat(0.0), x),
                ),
                Activation::Silu => self.map::<S>(
                    rows,
                    #[inline(always)]
                    |x| math::silu::<S>(x),
                ),
                Activation::Tanh => self.map::<S>(
                    rows,
                    #[inline(always)]
                    |x| math::tanh::<S>(x),
                ),
            }
        }
    }

    /// Replaces every value of the first panel's columns in the rows by `f` of it.
    ///
    /// # Safety
    /// The instruction set must be present, and the rows inside the output and written.
    #[inline(always)]
    unsafe fn map<S: Simd>(&self, rows: Range<usize>, f: impl Fn(S::F32) -> S::F32) {
        for row in rows {
            // SAFETY: a panel's sixteen columns of a row of the output.
            unsafe {
                let at = self.data.add(row * self.stride);
                S::store(at, f(S::load(at)));
            }
        }
    }
}
