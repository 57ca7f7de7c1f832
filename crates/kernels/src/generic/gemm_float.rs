//! Product of `f32` rows with a k-major matrix of `f32`, `f16` or `bf16`.

use std::ops::Range;

use super::Simd;
use super::simd::LANES;
use super::store::Output;
use crate::weights::PANEL;

/// An element type of the right-hand side, widened to `f32` as it is loaded.
pub(crate) trait Element: Copy {
    /// # Safety
    /// The instruction set must be present and eight elements readable at `from`.
    unsafe fn load<S: Simd>(from: *const Self) -> S::F32;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const f32) -> S::F32 {
        // SAFETY: passed on from the caller.
        unsafe { S::load(from) }
    }
}

impl Element for half::f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const half::f16) -> S::F32 {
        // SAFETY: passed on from the caller; `f16` is a transparent `u16`.
        unsafe { S::load_f16(from.cast()) }
    }
}

impl Element for half::bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const half::bf16) -> S::F32 {
        // SAFETY: passed on from the caller; `bf16` is a transparent `u16`.
        unsafe { S::load_bf16(from.cast()) }
    }
}

/// Sixteen columns of `a * b` for `ROWS` rows, each sum taken in the order of k.
///
/// # Safety
/// The instruction set must be present; `a` must have `ROWS` rows of `k` values, `b` `k` rows of sixteen.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, E: Element, const ROWS: usize>(
    a: *const f32,
    a_stride: usize,
    b: *const E,
    b_stride: usize,
    k: usize,
) -> [[S::F32; PANEL / LANES]; ROWS] {
    // SAFETY: all offsets stay inside what the caller describes.
    unsafe {
        let mut sums = [[S::splat(0.0); PANEL / LANES]; ROWS];
        for k in 0..k {
            let w: [S::F32; PANEL / LANES] = std::array::from_fn(|v| E::load::<S>(b.add(k * b_stride + v * LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = S::splat(*a.add(r * a_stride + k));
                for (sum, &w) in sums.iter_mut().zip(&w) {
                    *sum = S::mul_add(a, w, *sum);
                }
            }
        }
        sums
    }
}

/// Evaluates `$body` over `$rows`, six rows at a time and the rest in one smaller tile: `$row` is the first row of the
/// tile and the constant `$count` the number of its rows.
macro_rules! for_row_tiles {
    ($rows:expr, |$row:ident, $count:ident| $body:expr) => {{
        let ::std::ops::Range { start: mut $row, end } = $rows;
        while end - $row >= 6 {
            {
                const $count: usize = 6;
                $body
            }
            $row += 6;
        }
        match end - $row {
            5 => {
                const $count: usize = 5;
                $body
            }
            4 => {
                const $count: usize = 4;
                $body
            }
            3 => {
                const $count: usize = 3;
                $body
            }
            2 => {
                const $count: usize = 2;
                $body
            }
            1 => {
                const $count: usize = 1;
                $body
            }
            _ => {}
        }
    }};
}
pub(crate) use for_row_tiles;

/// One panel of sixteen output channels times a range of activation rows.
pub(crate) struct GemmFloat<E> {
    pub(crate) input: *const f32,
    /// Values between two rows of the input.
    pub(crate) input_stride: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) k: usize,
    /// `k` rows of sixteen weights.
    pub(crate) panel: *const E,
    pub(crate) out: Output,
}

/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and an output writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, E: Element>(args: &GemmFloat<E>) {
    // SAFETY: passed on from the caller, with every tile inside its rows.
    unsafe {
        args.out.for_parts::<S>(
            args.rows.clone(),
            #[inline(always)]
            |rows| {
                for_row_tiles!(rows, |row, ROWS| {
                    let input = args.input.add(row * args.input_stride);
                    let sums = product::<S, E, ROWS>(input, args.input_stride, args.panel, PANEL, args.k);
                    for (r, sums) in sums.iter().enumerate() {
                        for (v, &sum) in sums.iter().enumerate() {
                            args.out.store::<S>(row + r, v * LANES, sum);
                        }
                    }
                });
            },
        );
    }
}
