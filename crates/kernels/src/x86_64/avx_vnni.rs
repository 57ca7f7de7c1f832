//! AVX-VNNI: the vectors of AVX2, and products of bytes in 256-bit registers.
//!
//! Intel's client processors have it from Alder Lake (2021) on, without AVX-512.

use std::arch::x86_64::*;

use super::avx2::Avx2;
use crate::generic::simd::ByteDot;
use crate::generic::split_codes::SplitCodes;

pub(crate) struct AvxVnni;

// SAFETY: every method is reached only through the entry points below, which `Isa::kernels` hands out after it has found
// AVX-VNNI and what `Avx2` needs on the host; pointers are as valid as the trait's callers promise.
unsafe impl ByteDot<Avx2> for AvxVnni {
    type Bytes = [__m256i; 2];
    type Four = __m256i;

    /// `vpdpbusd` multiplies unsigned with signed bytes.
    const WEIGHT_OFFSET: i32 = 128;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::Bytes {
        // SAFETY: sixty-four readable bytes, AVX2 present.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn splat_four(from: *const u8) -> __m256i {
        // SAFETY: four readable bytes, AVX2 present.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot_fours(sum: [__m256i; 2], a: Self::Bytes, b: __m256i) -> [__m256i; 2] {
        // SAFETY: AVX-VNNI present.
        unsafe { [_mm256_dpbusd_avx_epi32(sum[0], a[0], b), _mm256_dpbusd_avx_epi32(sum[1], a[1], b)] }
    }
}

crate::kernels::kernel_table!(
    Avx2,
    SplitCodes<AvxVnni>,
    crate::Isa::AvxVnni,
    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
);
