//! The weights of one query's keys, from their scores.
//!
//! Scores are in units of `ln 2`, so that weights are powers of two, which take seven multiplications instead of
//! ten.

use std::f32::consts::LOG2_E;

use super::simd::LANES;
use super::{Simd, math};

/// Subtracts from the scores of a query's keys, neighbours from `key` on, what their distance from it costs.
///
/// # Safety
/// The instruction set must be present; `scores` must have `count` values, writable and padded to whole vectors.
#[inline(always)]
pub(super) unsafe fn subtract_distances<S: Simd>(scores: *mut f32, count: usize, query: usize, key: usize, slope: f32) {
    const STEPS: [f32; LANES] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
    // SAFETY: all offsets are below `count`, padded.
    unsafe {
        for i in (0..count).step_by(LANES) {
            // Exact up to 2^24 tokens.
            let first = (key + i) as f32 - query as f32;
            let distance = S::abs(S::add(S::load(STEPS.as_ptr()), S::splat(first)));
            S::store(scores.add(i), S::neg_mul_add(S::splat(slope), distance, S::load(scores.add(i))));
        }
    }
}

/// Adds to the scores of a query's keys what these gain by their distances from it.
///
/// # Safety
/// The instruction set must be present; `scores` and `biases` must have `count` values, padded to whole vectors.
#[inline(always)]
pub(super) unsafe fn add_biases<S: Simd>(scores: *mut f32, count: usize, biases: *const f32) {
    // SAFETY: all offsets are below `count`, padded.
    unsafe {
        for i in (0..count).step_by(LANES) {
            let gain = S::mul_add(S::load(biases.add(i)), S::splat(LOG2_E), S::load(scores.add(i)));
            S::store(scores.add(i), gain);
        }
    }
}

/// `2^x` for `x` not above 0, by the same arithmetic as that of vectors.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(super) unsafe fn exp2<S: Simd>(x: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    // SAFETY: the caller has the instruction set.
    unsafe { S::store(lanes.as_mut_ptr(), math::exp2_of_negative::<S>(S::splat(x))) };
    lanes[0]
}

/// The largest score of a query.
///
/// # Safety
/// The instruction set must be present; `scores` must have `count` values, at least one, readable and padded to whole
/// vectors.
#[inline(always)]
pub(super) unsafe fn largest<S: Simd>(scores: *const f32, count: usize) -> f32 {
    let (whole, rest) = (count / LANES * LANES, count % LANES);
    // SAFETY: all offsets are below `count`, padded.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(LANES) {
            largest = S::max(largest, S::load(scores.add(i)));
        }
        if rest > 0 {
            largest = S::max(largest, S::first_lanes(S::load(scores.add(whole)), rest, f32::NEG_INFINITY));
        }
        S::max_lane(largest)
    }
}

/// `2^x` for `x` not above 0.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn power<S: Simd, const ROUGH: bool>(x: S::F32) -> S::F32 {
    // SAFETY: passed on from the caller.
    unsafe { if ROUGH { math::rough_exp2_of_negative::<S>(x) } else { math::exp2_of_negative::<S>(x) } }
}

/// Replaces the scores of one query by `2^(score - largest)`, which may be [rough](math::rough_exp2_of_negative), and returns their sum.
///
/// # Safety
/// As for [`largest`], and the scores must be writable, padding included.
#[inline(always)]
pub(super) unsafe fn exponentials<S: Simd, const ROUGH: bool>(scores: *mut f32, count: usize, largest: f32) -> f32 {
    let (whole, rest) = (count / LANES * LANES, count % LANES);
    // SAFETY: all offsets are below `count`, padded.
    unsafe {
        let largest = S::splat(largest);
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            let e = power::<S, ROUGH>(S::sub(S::load(scores.add(i)), largest));
            S::store(scores.add(i), e);
            sum = S::add(sum, e);
        }
        if rest > 0 {
            let e = power::<S, ROUGH>(S::sub(S::load(scores.add(whole)), largest));
            S::store(scores.add(whole), e);
            sum = S::add(sum, S::first_lanes(e, rest, 0.0));
        }
        S::sum(sum)
    }
}

/// Does to `ROWS` queries that see the same keys what [`largest`] and [`exponentials`] do to one, with the same bits; side by side where
/// there are registers for that: their rows are short, and what a loop costs at its ends is paid once.
///
/// # Safety
/// As for [`exponentials`], for `ROWS` rows of scores, `stride` apart.
#[inline(always)]
pub(super) unsafe fn exponentials_of_rows<S: Simd, const ROWS: usize, const ROUGH: bool>(
    scores: *mut f32,
    stride: usize,
    count: usize,
) -> [f32; ROWS] {
    let mut totals = [0.0; ROWS];
    // SAFETY: all offsets are below `count`, padded, in each row.
    unsafe {
        if S::STRIP == 1 {
            for r in 0..ROWS {
                let scores = scores.add(r * stride);
                totals[r] = exponentials::<S, ROUGH>(scores, count, largest::<S>(scores, count));
            }
            return totals;
        }
        let (whole, rest) = (count / LANES * LANES, count % LANES);
        let mut tops = [S::splat(f32::NEG_INFINITY); ROWS];
        for i in (0..whole).step_by(LANES) {
            for r in 0..ROWS {
                tops[r] = S::max(tops[r], S::load(scores.add(r * stride + i)));
            }
        }
        if rest > 0 {
            for r in 0..ROWS {
                let last = S::first_lanes(S::load(scores.add(r * stride + whole)), rest, f32::NEG_INFINITY);
                tops[r] = S::max(tops[r], last);
            }
        }
        for r in 0..ROWS {
            tops[r] = S::splat(S::max_lane(tops[r]));
        }
        let mut sums = [S::splat(0.0); ROWS];
        for i in (0..whole).step_by(LANES) {
            for r in 0..ROWS {
                let at = scores.add(r * stride + i);
                let e = power::<S, ROUGH>(S::sub(S::load(at), tops[r]));
                S::store(at, e);
                sums[r] = S::add(sums[r], e);
            }
        }
        for r in 0..ROWS {
            if rest > 0 {
                let at = scores.add(r * stride + whole);
                let e = power::<S, ROUGH>(S::sub(S::load(at), tops[r]));
                S::store(at, e);
                sums[r] = S::add(sums[r], S::first_lanes(e, rest, 0.0));
            }
            totals[r] = S::sum(sums[r]);
        }
        totals
    }
}
