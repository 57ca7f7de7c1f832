//! [`Simd`] on AVX2 with FMA and F16C: sixteen lanes are two registers.

use std::arch::x86_64::*;

use crate::generic::Simd;
use crate::generic::block_product::WholeCodes;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Evaluates the expression for the low and for the high register of each vector named.
macro_rules! halves {
    (|$($vector:ident),+| $body:expr) => {
        [{ $(let $vector = $vector[0];)+ $body }, { $(let $vector = $vector[1];)+ $body }]
    };
}

// SAFETY: every method is reached only through the entry points of instruction sets that include AVX2, FMA and F16C, which
// `Isa::kernels` hands out after it has found them on the host; pointers are as valid as the trait's callers promise.
unsafe impl Simd for Avx2 {
    type F32 = [__m256; 2];
    type I32 = [__m256i; 2];
    type I16 = [__m256i; 2];
    type Pair = __m256i;

    const STRIP: usize = 1;

    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        super::prefetch(from);
    }

    #[inline(always)]
    unsafe fn prefetch_to_write(to: *const u8) {
        super::prefetch_to_write(to);
    }

    const CROWDED: bool = true;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        // SAFETY: sixteen readable values, AVX2 present.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::F32 {
        // SAFETY: sixteen readable values, F16C present.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(from.cast())), _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast()))] }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self::F32 {
        // SAFETY: sixteen readable values, AVX2 present.
        unsafe {
            let bits = [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(8).cast())];
            halves!(|bits| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits))))
        }
    }
    #[inline(always)]
    unsafe fn load_i8_as_f32(from: *const i8) -> Self::F32 {
        // SAFETY: sixteen readable values, AVX2 present.
        unsafe {
            let codes = [_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(8).cast())];
            halves!(|codes| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)))
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        // SAFETY: room for sixteen values, AVX2 present.
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b| _mm256_add_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b| _mm256_sub_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b| _mm256_mul_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b| _mm256_div_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b| _mm256_max_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b| _mm256_min_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn abs(a: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a| _mm256_andnot_ps(_mm256_set1_ps(-0.0), a)) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: FMA present.
        unsafe { halves!(|a, b, c| _mm256_fmadd_ps(a, b, c)) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // SAFETY: FMA present.
        unsafe { halves!(|a, b, c| _mm256_fnmadd_ps(a, b, c)) }
    }
    #[inline(always)]
    unsafe fn low_bits_to_exponent(a: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)))) }
    }
    #[inline(always)]
    unsafe fn first_lanes(a: Self::F32, count: usize, fill: f32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe {
            let lane = [_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)];
            let count = _mm256_set1_epi32(count as i32);
            halves!(|a, lane| {
                let kept = _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, lane));
                _mm256_blendv_ps(_mm256_set1_ps(fill), a, kept)
            })
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        for (row, column) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            // SAFETY: a quarter of the block; rows that are there are below `rows`.
            unsafe {
                let from = from.wrapping_add(row * from_stride + column);
                transpose_8x8(from, from_stride, rows.saturating_sub(row), to.add(column * to_stride + row), to_stride);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::F32) -> f32 {
        // SAFETY: AVX2 present.
        unsafe {
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::F32) -> f32 {
        // SAFETY: AVX2 present.
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    unsafe fn max_magnitude(a: Self::F32, b: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present. Without signs, floats and their bits are in the same order, and every NaN lies above
        // infinity.
        unsafe {
            halves!(|a, b| {
                let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), b);
                _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(magnitude)))
            })
        }
    }
    #[inline(always)]
    unsafe fn max_lane_magnitudes(a: [Self::F32; 4]) -> [f32; 4] {
        // SAFETY: AVX2 present; the order of the bits is as above. Two vectors at a time are interleaved, so that a half, then a
        // quarter of the work is left.
        unsafe {
            let mut eight = [_mm256_setzero_si256(); 4];
            for i in 0..4 {
                eight[i] = _mm256_max_epi32(_mm256_castps_si256(a[i][0]), _mm256_castps_si256(a[i][1]));
            }
            let [a, b, c, d] = eight;
            let ab = _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let cd = _mm256_max_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            let all = _mm256_max_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            let largest = _mm_max_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
            let mut lanes = [0.0; 4];
            _mm_storeu_ps(lanes.as_mut_ptr(), _mm_castsi128_ps(largest));
            lanes
        }
    }
    #[inline(always)]
    unsafe fn where_greater(a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a, b, yes, no| _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b))) }
    }

    #[inline(always)]
    unsafe fn lanes_greater(a: Self::F32, b: Self::F32) -> u32 {
        // SAFETY: AVX2 present.
        unsafe {
            let [low, high] = halves!(|a, b| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)));
            (low | high << 8).cast_unsigned()
        }
    }

    #[inline(always)]
    unsafe fn store_rounded_i16(to: *mut i16, value: Self::F32) {
        // SAFETY: room for sixteen values, AVX2 present. The pack works within 128-bit halves; the permutation puts
        // the four quarters back in order.
        unsafe {
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(value[0]), _mm256_cvtps_epi32(value[1]));
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn splat_i32(value: i32) -> Self::I32 {
        // SAFETY: AVX2 present.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn to_f32(a: Self::I32) -> Self::F32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|a| _mm256_cvtepi32_ps(a)) }
    }
    #[inline(always)]
    unsafe fn load_i8_pairs(from: *const u8) -> Self::I16 {
        // SAFETY: thirty-two readable bytes, AVX2 present.
        unsafe {
            let bytes = [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())];
            halves!(|bytes| _mm256_cvtepi8_epi16(bytes))
        }
    }
    #[inline(always)]
    unsafe fn load_i16_pairs(from: *const i16) -> Self::I16 {
        // SAFETY: thirty-two readable values, AVX2 present.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(16).cast())] }
    }
    #[inline(always)]
    unsafe fn splat_pair(from: *const i16) -> __m256i {
        // SAFETY: two readable values, AVX2 present.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: Self::I32, a: Self::I16, b: __m256i) -> Self::I32 {
        // SAFETY: AVX2 present.
        unsafe { halves!(|sum, a| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))) }
    }
}

/// Writes the transpose of eight rows of eight values, those from `rows` on taken as zeros.
///
/// # Safety
/// AVX2 must be present, `rows` rows be readable and eight writable.
#[inline(always)]
unsafe fn transpose_8x8(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: as the caller promises. Pairs of rows are interleaved by one value, then by two, then by four.
    unsafe {
        let mut all = [_mm256_setzero_ps(); 8];
        for (i, row) in all.iter_mut().enumerate() {
            if i < rows {
                *row = _mm256_loadu_ps(from.add(i * from_stride));
            }
        }
        let mut one = all;
        for i in 0..4 {
            one[2 * i] = _mm256_unpacklo_ps(all[2 * i], all[2 * i + 1]);
            one[2 * i + 1] = _mm256_unpackhi_ps(all[2 * i], all[2 * i + 1]);
        }
        let mut two = one;
        for i in 0..4 {
            let (a, b) = (one[i / 2 * 4 + i % 2], one[i / 2 * 4 + i % 2 + 2]);
            two[i / 2 * 4 + i % 2 * 2] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
            two[i / 2 * 4 + i % 2 * 2 + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
        }
        for i in 0..4 {
            let (a, b) = (two[i], two[i + 4]);
            _mm256_storeu_ps(to.add(i * to_stride), _mm256_permute2f128_ps::<0x20>(a, b));
            _mm256_storeu_ps(to.add((i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(a, b));
        }
    }
}

crate::kernels::kernel_table!(Avx2, WholeCodes, crate::Isa::Avx2, #[target_feature(enable = "avx2,fma,f16c")]);
