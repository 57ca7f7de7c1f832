//! [`Simd`] on NEON, which every 64-bit Arm processor has: sixteen lanes are four registers.

use std::arch::{aarch64::*, asm};

use crate::generic::Simd;
use crate::generic::block_product::WholeCodes;

#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Evaluates the expression for each of the four registers of the vectors named.
macro_rules! quarters {
    (|$($vector:ident),+| $body:expr) => {
        [
            { $(let $vector = $vector[0];)+ $body },
            { $(let $vector = $vector[1];)+ $body },
            { $(let $vector = $vector[2];)+ $body },
            { $(let $vector = $vector[3];)+ $body },
        ]
    };
}
pub(super) use quarters;

/// `sum + a * b[lane]` for the lower (`smlal` on `4h`) or the upper (`smlal2` on `8h`) four numbers of `a`.
///
/// Written with the intrinsics, the sum of a tile becomes a tree in the compiler's hands, whose branches do not fit the
/// registers.
macro_rules! add_products {
    ($instruction:literal, $lanes:literal, $lane:literal, $sum:expr, $a:expr, $b:expr) => {{
        let mut sum: int32x4_t = $sum;
        asm!(
            concat!($instruction, " {sum:v}.4s, {a:v}.", $lanes, ", {b:v}.h[", $lane, "]"),
            sum = inout(vreg) sum,
            a = in(vreg) $a,
            b = in(vreg_low16) $b,
            options(pure, nomem, nostack, preserves_flags),
        );
        sum
    }};
}

// SAFETY: every method is reached only through the entry points of instruction sets that include NEON, which `Isa::kernels`
// hands out after it has found it on the host; pointers are as valid as the trait's callers promise.
unsafe impl Simd for Neon {
    type F32 = [float32x4_t; 4];
    type I32 = [int32x4_t; 4];
    /// The first numbers of all pairs, then the second ones.
    type I16 = [[int16x8_t; 2]; 2];
    /// In the first two lanes, of which the multiplications take one each.
    type Pair = int16x4_t;

    const STRIP: usize = 1;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        // SAFETY: sixteen readable values, NEON present.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::F32 {
        // SAFETY: sixteen readable values, NEON present. Widening half precision needs no more than that.
        unsafe {
            let bits = [vld1q_u16(from), vld1q_u16(from.add(8))].map(|bits| vreinterpretq_f16_u16(bits));
            [
                vcvt_f32_f16(vget_low_f16(bits[0])),
                vcvt_high_f32_f16(bits[0]),
                vcvt_f32_f16(vget_low_f16(bits[1])),
                vcvt_high_f32_f16(bits[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self::F32 {
        // SAFETY: sixteen readable values, NEON present.
        unsafe {
            let bits = [vld1q_u16(from), vld1q_u16(from.add(8))];
            let wide = [
                vshll_n_u16::<16>(vget_low_u16(bits[0])),
                vshll_high_n_u16::<16>(bits[0]),
                vshll_n_u16::<16>(vget_low_u16(bits[1])),
                vshll_high_n_u16::<16>(bits[1]),
            ];
            quarters!(|wide| vreinterpretq_f32_u32(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_i8_as_f32(from: *const i8) -> Self::F32 {
        // SAFETY: sixteen readable values, NEON present.
        unsafe {
            let codes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes));
            let wide = [
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ];
            quarters!(|wide| vcvtq_f32_s32(wide))
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        // SAFETY: room for sixteen values, NEON present.
        unsafe {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
            vst1q_f32(to.add(8), value[2]);
            vst1q_f32(to.add(12), value[3]);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b| vaddq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b| vsubq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b| vmulq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b| vdivq_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present. `fmax` would pass on a NaN of `a` as well.
        unsafe { quarters!(|a, b| vbslq_f32(vcgtq_f32(a, b), a, b)) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present. `fmin` would pass on a NaN of `a` as well.
        unsafe { quarters!(|a, b| vbslq_f32(vcltq_f32(a, b), a, b)) }
    }
    #[inline(always)]
    unsafe fn abs(a: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a| vabsq_f32(a)) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b, c| vfmaq_f32(c, a, b)) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b, c| vfmsq_f32(c, a, b)) }
    }
    #[inline(always)]
    unsafe fn low_bits_to_exponent(a: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a| vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a)))) }
    }
    #[inline(always)]
    unsafe fn first_lanes(a: Self::F32, count: usize, fill: f32) -> Self::F32 {
        const LANES: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        // SAFETY: NEON present; the lanes' numbers are four registers.
        unsafe {
            let (count, fill, lane) = (vdupq_n_u32(count as u32), vdupq_n_f32(fill), LANES.as_ptr());
            let lane = [vld1q_u32(lane), vld1q_u32(lane.add(4)), vld1q_u32(lane.add(8)), vld1q_u32(lane.add(12))];
            quarters!(|a, lane| vbslq_f32(vcltq_u32(lane, count), a, fill))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        for row in (0..16).step_by(4) {
            for column in (0..16).step_by(4) {
                // SAFETY: a sixteenth of the block; rows that are there are below `rows`.
                unsafe {
                    let from = from.wrapping_add(row * from_stride + column);
                    let to = to.add(column * to_stride + row);
                    transpose_4x4(from, from_stride, rows.saturating_sub(row), to, to_stride);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::F32) -> f32 {
        // SAFETY: NEON present.
        unsafe { vaddvq_f32(vaddq_f32(vaddq_f32(a[0], a[1]), vaddq_f32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::F32) -> f32 {
        // SAFETY: NEON present.
        unsafe { vmaxvq_f32(vmaxq_f32(vmaxq_f32(a[0], a[1]), vmaxq_f32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn max_magnitude(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: NEON present. Without signs, floats and their bits are in the same order, and every NaN lies above
        // infinity.
        unsafe {
            quarters!(|a, b| {
                let magnitude = vreinterpretq_u32_f32(vabsq_f32(b));
                vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(a), magnitude))
            })
        }
    }
    #[inline(always)]
    unsafe fn max_lane_magnitudes(a: [Self::F32; 4]) -> [f32; 4] {
        let mut largest = [0.0; 4];
        for i in 0..4 {
            let a = a[i];
            // SAFETY: NEON present; the order of the bits is as above.
            largest[i] = unsafe {
                let bits = quarters!(|a| vreinterpretq_u32_f32(a));
                f32::from_bits(vmaxvq_u32(vmaxq_u32(vmaxq_u32(bits[0], bits[1]), vmaxq_u32(bits[2], bits[3]))))
            };
        }
        largest
    }
    #[inline(always)]
    unsafe fn where_greater(a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a, b, yes, no| vbslq_f32(vcgtq_f32(a, b), yes, no)) }
    }

    #[inline(always)]
    unsafe fn lanes_greater(a: Self::F32, b: Self::F32) -> u32 {
        // SAFETY: NEON present. Each lane keeps the bit of its place, and a sum is all of them.
        unsafe {
            let greater = quarters!(|a, b| vcgtq_f32(a, b));
            let mut all = 0;
            for (quarter, greater) in greater.into_iter().enumerate() {
                let bits = vandq_u32(greater, vld1q_u32([1, 2, 4, 8].as_ptr()));
                all |= vaddvq_u32(bits) << (4 * quarter);
            }
            all
        }
    }

    #[inline(always)]
    unsafe fn store_rounded_i16(to: *mut i16, value: Self::F32) {
        // SAFETY: room for sixteen values, NEON present.
        unsafe {
            let whole = quarters!(|value| vcvtnq_s32_f32(value));
            vst1q_s16(to, vqmovn_high_s32(vqmovn_s32(whole[0]), whole[1]));
            vst1q_s16(to.add(8), vqmovn_high_s32(vqmovn_s32(whole[2]), whole[3]));
        }
    }
    #[inline(always)]
    unsafe fn splat_i32(value: i32) -> Self::I32 {
        // SAFETY: NEON present.
        unsafe { [vdupq_n_s32(value); 4] }
    }
    #[inline(always)]
    unsafe fn to_f32(a: Self::I32) -> Self::F32 {
        // SAFETY: NEON present.
        unsafe { quarters!(|a| vcvtq_f32_s32(a)) }
    }
    #[inline(always)]
    unsafe fn load_i8_pairs(from: *const u8) -> Self::I16 {
        // SAFETY: thirty-two readable bytes, NEON present.
        unsafe {
            let int8x16x2_t(first, second) = vld2q_s8(from.cast());
            [first, second].map(|bytes| [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)])
        }
    }
    #[inline(always)]
    unsafe fn load_i16_pairs(from: *const i16) -> Self::I16 {
        // SAFETY: thirty-two readable values, NEON present.
        unsafe {
            let (low, high) = (vld2q_s16(from), vld2q_s16(from.add(16)));
            [[low.0, high.0], [low.1, high.1]]
        }
    }
    #[inline(always)]
    unsafe fn splat_pair(from: *const i16) -> int16x4_t {
        // SAFETY: two readable values, NEON present.
        unsafe { vreinterpret_s16_s32(vset_lane_s32::<0>(from.cast::<i32>().read_unaligned(), vdup_n_s32(0))) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: Self::I32, a: Self::I16, b: int16x4_t) -> Self::I32 {
        // SAFETY: NEON present.
        unsafe {
            let [first, second] = a;
            let sum = [
                add_products!("smlal", "4h", 0, sum[0], first[0], b),
                add_products!("smlal2", "8h", 0, sum[1], first[0], b),
                add_products!("smlal", "4h", 0, sum[2], first[1], b),
                add_products!("smlal2", "8h", 0, sum[3], first[1], b),
            ];
            [
                add_products!("smlal", "4h", 1, sum[0], second[0], b),
                add_products!("smlal2", "8h", 1, sum[1], second[0], b),
                add_products!("smlal", "4h", 1, sum[2], second[1], b),
                add_products!("smlal2", "8h", 1, sum[3], second[1], b),
            ]
        }
    }
}

/// Writes the transpose of four rows of four values, those from `rows` on taken as zeros.
///
/// # Safety
/// NEON must be present, `rows` rows be readable and four writable.
#[inline(always)]
unsafe fn transpose_4x4(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: as the caller promises. Pairs of rows are interleaved by one value, then by two.
    unsafe {
        let mut all = [vdupq_n_f32(0.0); 4];
        for (i, row) in all.iter_mut().enumerate() {
            if i < rows {
                *row = vld1q_f32(from.add(i * from_stride));
            }
        }
        let one = [
            vtrn1q_f32(all[0], all[1]),
            vtrn2q_f32(all[0], all[1]),
            vtrn1q_f32(all[2], all[3]),
            vtrn2q_f32(all[2], all[3]),
        ];
        let one = quarters!(|one| vreinterpretq_f64_f32(one));
        let two = [
            vtrn1q_f64(one[0], one[2]),
            vtrn1q_f64(one[1], one[3]),
            vtrn2q_f64(one[0], one[2]),
            vtrn2q_f64(one[1], one[3]),
        ];
        for (i, row) in two.into_iter().enumerate() {
            vst1q_f32(to.add(i * to_stride), vreinterpretq_f32_f64(row));
        }
    }
}

crate::kernels::kernel_table!(Neon, WholeCodes, crate::Isa::Neon, #[target_feature(enable = "neon")]);
