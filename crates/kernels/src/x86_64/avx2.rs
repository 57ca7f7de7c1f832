//! [`Simd`] on AVX2 with FMA and F16C.

use std::arch::x86_64::*;

use crate::generic::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

// SAFETY: every method is reached only through the entry points below, which `Isa::kernels` hands out after it has
// found AVX2, FMA and F16C on the host; pointers are as valid as the trait's callers promise.
unsafe impl Simd for Avx2 {
    type F32 = __m256;
    type I32 = __m256i;
    type I16 = __m256i;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: eight readable values, AVX2 present.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> __m256 {
        // SAFETY: eight readable values, F16C present.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m256 {
        // SAFETY: eight readable values, AVX2 present.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_i8_as_f32(from: *const i8) -> __m256 {
        // SAFETY: eight readable values, AVX2 present.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: room for eight values, AVX2 present.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: FMA present.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: FMA present.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn low_bits_to_exponent(a: __m256) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))) }
    }
    #[inline(always)]
    unsafe fn first_lanes(a: __m256, count: usize, fill: f32) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe {
            let kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            _mm256_blendv_ps(_mm256_set1_ps(fill), a, _mm256_castsi256_ps(kept))
        }
    }
    #[inline(always)]
    unsafe fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
        // SAFETY: AVX2 present. Pairs of rows are interleaved by one value, then by two, then by four.
        unsafe {
            let one: [__m256; 8] = std::array::from_fn(|i| {
                let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
                if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
            });
            let two: [__m256; 8] = std::array::from_fn(|i| {
                let (a, b) = (one[i / 4 * 4 + i / 2 % 2], one[i / 4 * 4 + i / 2 % 2 + 2]);
                if i % 2 == 0 {
                    _mm256_shuffle_ps::<0b01_00_01_00>(a, b)
                } else {
                    _mm256_shuffle_ps::<0b11_10_11_10>(a, b)
                }
            });
            std::array::from_fn(|i| {
                let (a, b) = (two[i % 4], two[i % 4 + 4]);
                if i < 4 { _mm256_permute2f128_ps::<0x20>(a, b) } else { _mm256_permute2f128_ps::<0x31>(a, b) }
            })
        }
    }
    #[inline(always)]
    unsafe fn sum(a: __m256) -> f32 {
        // SAFETY: AVX2 present.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn max_lane(a: __m256) -> f32 {
        // SAFETY: AVX2 present.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn max_magnitude(a: __m256, b: __m256) -> __m256 {
        // SAFETY: AVX2 present. Without signs, floats and their bits are in the same order, and every NaN lies above
        // infinity.
        unsafe {
            let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), b);
            _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(magnitude)))
        }
    }
    #[inline(always)]
    unsafe fn max_lane_magnitude(a: __m256) -> f32 {
        // SAFETY: AVX2 present.
        unsafe {
            let bits = _mm256_castps_si256(a);
            let four = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256::<1>(bits));
            let two = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
            let one = _mm_max_epi32(two, _mm_shuffle_epi32::<0b01>(two));
            _mm_cvtss_f32(_mm_castsi128_ps(one))
        }
    }

    #[inline(always)]
    unsafe fn store_rounded_i16(to: *mut i16, low: __m256, high: __m256) {
        // SAFETY: room for sixteen values, AVX2 present. The pack works within 128-bit halves; the permutation puts
        // the four quarters back in order.
        unsafe {
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high));
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn zero_i32() -> __m256i {
        // SAFETY: AVX2 present.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> __m256i {
        // SAFETY: sixteen readable values, AVX2 present.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn splat_pair(from: *const i16) -> __m256i {
        // SAFETY: two readable values, AVX2 present.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: AVX2 present.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }
    #[inline(always)]
    unsafe fn to_f32(a: __m256i) -> __m256 {
        // SAFETY: AVX2 present.
        unsafe { _mm256_cvtepi32_ps(a) }
    }
}

crate::kernels::kernel_table!(Avx2, crate::Isa::Avx2, #[target_feature(enable = "avx2,fma,f16c")]);
