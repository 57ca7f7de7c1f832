//! What the multipliers of an instruction set can do at most: loops of independent products from registers and the
//! first-level cache, for benchmarks to compare with.

use super::Simd;
use super::block_product::BlockProduct;
use super::simd::LANES;

/// Bytes that the loops read.
pub(crate) const DATA_BYTES: usize = 64 + ROUNDS_OF_DATA * CHAINS * 4;

/// Rounds that differ in what they read, so that no product can be moved out of a loop.
const ROUNDS_OF_DATA: usize = 4;

/// Sums that are computed side by side at most, to hide the latency of a product.
const CHAINS: usize = 12;

/// Products of codes, as in a GEMM with quantised weights but for the scales. Returns the multiply-accumulates done.
///
/// # Safety
/// The instruction set must be present; `data` must have [`DATA_BYTES`] readable bytes, `out` room for sixteen values.
#[inline(always)]
pub(crate) unsafe fn multiply_codes<S: Simd, B: BlockProduct<S>>(
    rounds: usize,
    data: *const u8,
    out: *mut f32,
) -> usize {
    // SAFETY: passed on from the caller.
    unsafe {
        if S::STRIP > 1 {
            codes::<S, B, CHAINS>(rounds, data, out)
        } else {
            codes::<S, B, { CHAINS / 2 }>(rounds, data, out)
        }
    }
}

/// # Safety
/// As for [`multiply_codes`].
#[inline(always)]
unsafe fn codes<S: Simd, B: BlockProduct<S>, const N: usize>(rounds: usize, data: *const u8, out: *mut f32) -> usize {
    // SAFETY: 64 bytes of weights, then `N` fours of codes for each of the rounds that differ.
    unsafe {
        let mut sums = [S::splat_i32(0); N];
        for round in 0..rounds {
            let codes = data.add(64 + round % ROUNDS_OF_DATA * CHAINS * 4);
            for n in 0..N {
                sums[n] = B::multiply(sums[n], data, codes.add(4 * n));
            }
        }
        let mut total = S::splat(0.0);
        for sum in sums {
            total = S::add(total, S::to_f32(sum));
        }
        S::store(out, total);
    }
    rounds * N * LANES * B::DEPTH
}

/// Products of `f32`, as in a GEMM. Returns the multiply-accumulates done.
///
/// # Safety
/// As for [`multiply_codes`], with `data` aligned as `f32` and finite.
#[inline(always)]
pub(crate) unsafe fn multiply_floats<S: Simd>(rounds: usize, data: *const u8, out: *mut f32) -> usize {
    // SAFETY: passed on from the caller.
    unsafe {
        if S::STRIP > 1 {
            floats::<S, CHAINS>(rounds, data, out)
        } else {
            floats::<S, { CHAINS / 2 }>(rounds, data, out)
        }
    }
}

/// # Safety
/// As for [`multiply_floats`].
#[inline(always)]
unsafe fn floats<S: Simd, const N: usize>(rounds: usize, data: *const u8, out: *mut f32) -> usize {
    // SAFETY: sixteen values, then `N` for each of the rounds that differ.
    unsafe {
        let a = S::load(data.cast());
        let mut sums = [S::splat(0.0); N];
        for round in 0..rounds {
            let b = data.cast::<f32>().add(16 + round % ROUNDS_OF_DATA * CHAINS);
            for n in 0..N {
                sums[n] = S::mul_add(a, S::splat(*b.add(n)), sums[n]);
            }
        }
        let mut total = S::splat(0.0);
        for sum in sums {
            total = S::add(total, sum);
        }
        S::store(out, total);
    }
    rounds * N * LANES
}
