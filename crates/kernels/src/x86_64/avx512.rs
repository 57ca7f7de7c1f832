//! [`Simd`] and products of bytes on AVX-512 with VNNI: sixteen lanes are one register.
//!
//! Intel's servers have it from Cascade Lake (2019), AMD's processors from Zen 4 (2022) on.

use std::arch::x86_64::*;

use crate::generic::Simd;
use crate::generic::simd::ByteDot;
use crate::generic::split_codes::SplitCodes;

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// Combines the lanes of each of four vectors of integers by an operation, given for three widths, and returns the four results in order:
/// two interleaved vectors at a time, so that a half, then a quarter of the work is left.
macro_rules! reduce_four {
    ($vectors:expr, $wide:ident, $half:ident, $quarter:ident) => {{
        let [a, b, c, d] = $vectors;
        let ab = $wide(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = $wide(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let all = $wide(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let all = $half(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
        $quarter(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all))
    }};
}

// SAFETY: every method is reached only through the entry points below, which `Isa::kernels` hands out after it has found
// the AVX-512 subsets F, BW, DQ, VL and VNNI on the host; pointers are as valid as the trait's callers promise.
unsafe impl Simd for Avx512 {
    type F32 = __m512;
    type I32 = __m512i;
    type I16 = __m512i;
    type Pair = __m512i;

    const STRIP: usize = 4;
    const FAST_PAIRS: bool = true;

    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        super::prefetch(from);
    }

    #[inline(always)]
    unsafe fn prefetch_to_write(to: *const u8) {
        super::prefetch_to_write(to);
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: sixteen readable values, AVX-512 present.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> __m512 {
        // SAFETY: sixteen readable values, AVX-512 present.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m512 {
        // SAFETY: sixteen readable values, AVX-512 present.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_i8_as_f32(from: *const i8) -> __m512 {
        // SAFETY: sixteen readable values, AVX-512 present.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: room for sixteen values, AVX-512 present.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn low_bits_to_exponent(a: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    }
    #[inline(always)]
    unsafe fn first_lanes(a: __m512, count: usize, fill: f32) -> __m512 {
        let kept = if count < 16 { (1u16 << count) - 1 } else { u16::MAX };
        // SAFETY: AVX-512 present.
        unsafe { _mm512_mask_blend_ps(kept, _mm512_set1_ps(fill), a) }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: as the caller promises. Pairs of rows are interleaved by one value, then by two; then blocks of four by
        // four values change places, twice.
        unsafe {
            let mut all = [_mm512_setzero_ps(); 16];
            for (i, row) in all.iter_mut().enumerate() {
                if i < rows {
                    *row = _mm512_loadu_ps(from.add(i * from_stride));
                }
            }
            let mut one = all;
            for i in 0..8 {
                one[2 * i] = _mm512_unpacklo_ps(all[2 * i], all[2 * i + 1]);
                one[2 * i + 1] = _mm512_unpackhi_ps(all[2 * i], all[2 * i + 1]);
            }
            // `two[4 g + c]` has, in its four quarters, columns c, c + 4, c + 8 and c + 12 of rows 4 g to 4 g + 3.
            let mut two = one;
            for i in 0..8 {
                let (a, b) = (one[i / 2 * 4 + i % 2], one[i / 2 * 4 + i % 2 + 2]);
                two[i / 2 * 4 + i % 2 * 2] = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
                two[i / 2 * 4 + i % 2 * 2 + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(a, b);
            }
            for c in 0..4 {
                let (a, b, d, e) = (two[c], two[c + 8], two[c + 4], two[c + 12]);
                let low = [_mm512_shuffle_f32x4::<0b10_00_10_00>(a, d), _mm512_shuffle_f32x4::<0b10_00_10_00>(b, e)];
                let high = [_mm512_shuffle_f32x4::<0b11_01_11_01>(a, d), _mm512_shuffle_f32x4::<0b11_01_11_01>(b, e)];
                _mm512_storeu_ps(to.add(c * to_stride), _mm512_shuffle_f32x4::<0b10_00_10_00>(low[0], low[1]));
                _mm512_storeu_ps(to.add((c + 8) * to_stride), _mm512_shuffle_f32x4::<0b11_01_11_01>(low[0], low[1]));
                _mm512_storeu_ps(to.add((c + 4) * to_stride), _mm512_shuffle_f32x4::<0b10_00_10_00>(high[0], high[1]));
                _mm512_storeu_ps(to.add((c + 12) * to_stride), _mm512_shuffle_f32x4::<0b11_01_11_01>(high[0], high[1]));
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m512) -> f32 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    unsafe fn max_magnitude(a: __m512, b: __m512) -> __m512 {
        // SAFETY: AVX-512 present. Without signs, floats and their bits are in the same order, and every NaN lies above
        // infinity.
        unsafe {
            let magnitude = _mm512_castps_si512(_mm512_abs_ps(b));
            _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), magnitude))
        }
    }
    #[inline(always)]
    unsafe fn max_lane_magnitudes(a: [__m512; 4]) -> [f32; 4] {
        // SAFETY: AVX-512 present; the order of the bits is as above.
        unsafe {
            let mut bits = [_mm512_setzero_si512(); 4];
            for i in 0..4 {
                bits[i] = _mm512_castps_si512(a[i]);
            }
            let largest = reduce_four!(bits, _mm512_max_epi32, _mm256_max_epi32, _mm_max_epi32);
            let mut lanes = [0.0; 4];
            _mm_storeu_ps(lanes.as_mut_ptr(), _mm_castsi128_ps(largest));
            lanes
        }
    }
    #[inline(always)]
    unsafe fn where_greater(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    unsafe fn split(x: __m512) -> (__m512, __m512) {
        // SAFETY: AVX-512 present.
        unsafe {
            let rest = _mm512_reduce_ps::<0>(x);
            (rest, _mm512_sub_ps(x, rest))
        }
    }
    #[inline(always)]
    unsafe fn scale_by_power(a: __m512, n: __m512) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    unsafe fn lanes_greater(a: __m512, b: __m512) -> u32 {
        // SAFETY: AVX-512 present.
        u32::from(unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) })
    }

    #[inline(always)]
    unsafe fn store_rounded_i16(to: *mut i16, value: __m512) {
        // SAFETY: room for sixteen values, AVX-512 present.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(value))) }
    }
    #[inline(always)]
    unsafe fn store_rounded_pairs(to: *mut i16, first: __m512, second: __m512) {
        // SAFETY: room for thirty-two values, AVX-512 present. A lane takes the low half of either code.
        unsafe {
            let (first, second) = (_mm512_cvtps_epi32(first), _mm512_slli_epi32::<16>(_mm512_cvtps_epi32(second)));
            _mm512_storeu_si512(to.cast(), _mm512_mask_blend_epi16(0xAAAA_AAAA, first, second));
        }
    }
    #[inline(always)]
    unsafe fn splat_i32(value: i32) -> __m512i {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn to_f32(a: __m512i) -> __m512 {
        // SAFETY: AVX-512 present.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn load_i8_pairs(from: *const u8) -> __m512i {
        // SAFETY: thirty-two readable bytes, AVX-512 present.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_i16_pairs(from: *const i16) -> __m512i {
        // SAFETY: thirty-two readable values, AVX-512 present.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair(from: *const i16) -> __m512i {
        // SAFETY: two readable values, AVX-512 present.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: VNNI present.
        unsafe { _mm512_dpwssd_epi32(sum, a, b) }
    }
}

// SAFETY: as above.
unsafe impl ByteDot<Avx512> for Avx512 {
    type Bytes = __m512i;
    type Four = __m512i;

    /// `vpdpbusd` multiplies unsigned with signed bytes.
    const WEIGHT_OFFSET: i32 = 128;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: sixty-four readable bytes, AVX-512 present.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_four(from: *const u8) -> __m512i {
        // SAFETY: four readable bytes, AVX-512 present.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot_fours(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: VNNI present.
        unsafe { _mm512_dpbusd_epi32(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn store_rounded_i8(to: [*mut i8; 4], values: [[__m512; 2]; 4]) -> [i32; 4] {
        // SAFETY: room for thirty-two bytes each, AVX-512 present.
        unsafe {
            let mut lanes = [_mm512_setzero_si512(); 4];
            for i in 0..4 {
                let [a, b] = [_mm512_cvtps_epi32(values[i][0]), _mm512_cvtps_epi32(values[i][1])];
                _mm_storeu_si128(to[i].cast(), _mm512_cvtepi32_epi8(a));
                _mm_storeu_si128(to[i].add(16).cast(), _mm512_cvtepi32_epi8(b));
                lanes[i] = _mm512_add_epi32(a, b);
            }
            let mut sums = [0; 4];
            let all = reduce_four!(lanes, _mm512_add_epi32, _mm256_add_epi32, _mm_add_epi32);
            _mm_storeu_si128(sums.as_mut_ptr().cast(), all);
            sums
        }
    }
}

crate::kernels::kernel_table!(
    Avx512,
    SplitCodes<Avx512>,
    crate::Isa::Avx512Vnni,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
);
