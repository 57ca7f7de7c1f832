//! Product of `f32` rows with a k-major matrix of `f32`, `f16` or `bf16`.

use std::ops::Range;

use super::Simd;
use super::simd::for_panel_strips;
use super::store::Output;
use crate::weights::PANEL;

/// An element type of the right-hand side, widened to `f32` as it is loaded.
pub(crate) trait Element: Copy {
    /// # Safety
    /// The instruction set must be present and sixteen elements readable at `from`.
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

/// The columns of `PANELS` panels of `a * b` for `ROWS` rows, each sum taken in the order of k.
///
/// # Safety
/// The instruction set must be present; `a` must have `ROWS` rows of `k` values, and at `b` there must be that many panels of
/// `k` rows of sixteen.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, E: Element, const ROWS: usize, const PANELS: usize>(
    a: *const f32,
    a_stride: usize,
    b: *const E,
    k: usize,
) -> [[S::F32; PANELS]; ROWS] {
    // SAFETY: passed on from the caller.
    unsafe {
        let zeros = [[S::splat(0.0); PANELS]; ROWS];
        accumulate::<S, E, ROWS, PANELS>(zeros, a, a_stride, b, k * PANEL, k)
    }
}

/// Adds the same to `sums`, with panels that begin `panel_len` values apart.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, E: Element, const ROWS: usize, const PANELS: usize>(
    mut sums: [[S::F32; PANELS]; ROWS],
    a: *const f32,
    a_stride: usize,
    b: *const E,
    panel_len: usize,
    k: usize,
) -> [[S::F32; PANELS]; ROWS] {
    // SAFETY: all offsets stay inside what the caller describes.
    unsafe {
        let mut panels = [b; PANELS];
        for p in 0..PANELS {
            panels[p] = b.add(p * panel_len);
        }
        for k in 0..k {
            let mut b = [S::splat(0.0); PANELS];
            for p in 0..PANELS {
                b[p] = E::load::<S>(panels[p].add(k * PANEL));
            }
            for r in 0..ROWS {
                let a = S::splat(*a.add(r * a_stride + k));
                for p in 0..PANELS {
                    sums[r][p] = S::mul_add(a, b[p], sums[r][p]);
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

/// Neighbouring panels of sixteen output channels times a range of activation rows.
pub(crate) struct GemmFloat<E> {
    pub(crate) input: *const f32,
    /// Values between two rows of the input.
    pub(crate) input_stride: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) k: usize,
    /// `k` rows of sixteen weights of the first panel; those of the next follow.
    pub(crate) weights: *const E,
    pub(crate) panels: usize,
    /// Where the first panel's outputs go.
    pub(crate) out: Output,
}

/// # Safety
/// The instruction set must be present; `args` must describe readable inputs and an output writable by this call alone.
#[inline(always)]
pub(crate) unsafe fn gemm<S: Simd, E: Element>(args: &GemmFloat<E>) {
    // SAFETY: passed on from the caller, with every tile inside its rows and panels.
    unsafe {
        for_panel_strips!(S, 0..args.panels, |panel, PANELS| {
            let weights = args.weights.add(panel * args.k * PANEL);
            let out = args.out.skip_panels(panel);
            out.for_parts::<S, PANELS>(
                args.rows.clone(),
                #[inline(always)]
                |rows| {
                    for_row_tiles!(rows, |row, ROWS| {
                        let input = args.input.add(row * args.input_stride);
                        let sums = product::<S, E, ROWS, PANELS>(input, args.input_stride, weights, args.k);
                        for (r, sums) in sums.iter().enumerate() {
                            for (p, &sum) in sums.iter().enumerate() {
                                out.store::<S>(row + r, p, sum);
                            }
                        }
                    });
                },
            );
        });
    }
}
