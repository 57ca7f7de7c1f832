//! The turn of one token's queries and keys by its position.

use super::Simd;
use super::simd::LANES;
use crate::rotary::RotaryStyle;

/// Neighbouring heads of one row.
pub(crate) struct RotaryRow {
    pub(crate) heads: *mut f32,
    pub(crate) count: usize,
    pub(crate) head_dim: usize,
    pub(crate) style: RotaryStyle,
    pub(crate) pairs: usize,
    /// The cosines and then the sines of two angles for each pair; the pair turns by their sum.
    pub(crate) coarse: *const f64,
    pub(crate) fine: *const f64,
}

/// Replaces each pair `(a, b)` of each head by `(a cos - b sin, b cos + a sin)` (Su et al., arXiv:2104.09864).
///
/// # Safety
/// The instruction set must be present; the heads must be writable, and both tables have `pairs` cosines and sines.
#[inline(always)]
pub(crate) unsafe fn rotate<S: Simd>(row: &RotaryRow) {
    let &RotaryRow { heads, count, head_dim, style, pairs, coarse, fine } = row;
    for first in (0..pairs).step_by(LANES) {
        let some = LANES.min(pairs - first);
        let (mut cosines, mut sines) = ([0.0f32; LANES], [0.0f32; LANES]);
        // SAFETY: pairs are below `pairs`, heads below `count`, and a head has columns for all pairs.
        unsafe {
            for i in 0..some {
                let angle = |table: *const f64| (*table.add(first + i), *table.add(pairs + first + i));
                let ((cos_a, sin_a), (cos_b, sin_b)) = (angle(coarse), angle(fine));
                cosines[i] = (cos_a * cos_b - sin_a * sin_b) as f32;
                sines[i] = (sin_a * cos_b + cos_a * sin_b) as f32;
            }
            let (cos, sin) = (S::load(cosines.as_ptr()), S::load(sines.as_ptr()));
            for head in 0..count {
                let head = heads.add(head * head_dim);
                let (step, a, b) = match style {
                    RotaryStyle::Halves => (1, head.add(first), head.add(pairs + first)),
                    RotaryStyle::Interleaved => (2, head.add(2 * first), head.add(2 * first + 1)),
                };
                if step == 1 && some == LANES {
                    let (x, y) = (S::load(a), S::load(b));
                    S::store(a, S::neg_mul_add(y, sin, S::mul(x, cos)));
                    S::store(b, S::mul_add(x, sin, S::mul(y, cos)));
                } else {
                    for i in 0..some {
                        let (a, b) = (a.add(step * i), b.add(step * i));
                        let (x, y) = (*a, *b);
                        *a = x * cosines[i] - y * sines[i];
                        *b = y * cosines[i] + x * sines[i];
                    }
                }
            }
        }
    }
}
