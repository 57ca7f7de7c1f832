//! NEON with the products of bytes (`dotprod`, optional from Armv8.2 and required from Armv8.4 on).
//!
//! Arm's processors have it from Cortex-A75 and Neoverse N1 (2018), Apple's from M1 on.

use std::arch::{aarch64::*, asm};

use super::neon::{Neon, quarters};
use crate::generic::simd::ByteDot;
use crate::generic::split_codes::SplitCodes;

pub(crate) struct NeonDot;

// SAFETY: every method is reached only through the entry points below, which `Isa::kernels` hands out after it has found
// NEON and `dotprod` on the host; pointers are as valid as the trait's callers promise.
unsafe impl ByteDot<Neon> for NeonDot {
    type Bytes = [int8x16_t; 4];
    /// In the first lane, which the multiplications take.
    type Four = int32x2_t;

    /// `sdot` multiplies signed with signed bytes.
    const WEIGHT_OFFSET: i32 = 0;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::Bytes {
        // SAFETY: sixty-four readable bytes, NEON present. Flipping the highest bit takes 128 away, modulo 256.
        unsafe {
            let bytes = [vld1q_u8(from), vld1q_u8(from.add(16)), vld1q_u8(from.add(32)), vld1q_u8(from.add(48))];
            quarters!(|bytes| vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80))))
        }
    }
    #[inline(always)]
    unsafe fn splat_four(from: *const u8) -> int32x2_t {
        // SAFETY: four readable bytes, NEON present.
        unsafe { vset_lane_s32::<0>(from.cast::<i32>().read_unaligned(), vdup_n_s32(0)) }
    }
    #[inline(always)]
    unsafe fn dot_fours(sum: [int32x4_t; 4], a: Self::Bytes, b: int32x2_t) -> [int32x4_t; 4] {
        // SAFETY: `dotprod` present.
        unsafe { quarters!(|sum, a| sdot(sum, a, b)) }
    }
}

/// `sum[i] + a[4i] * b[0] + .. + a[4i + 3] * b[3]`, with signed bytes in `a` and in the first lane of `b`.
///
/// The intrinsic `vdotq_lane_s32` is not stable.
///
/// # Safety
/// `dotprod` must be present.
#[inline(always)]
unsafe fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int32x2_t) -> int32x4_t {
    // SAFETY: a function of its operands.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[0]",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

crate::kernels::kernel_table!(
    Neon,
    SplitCodes<NeonDot>,
    crate::Isa::NeonDot,
    #[target_feature(enable = "neon,dotprod")]
);
