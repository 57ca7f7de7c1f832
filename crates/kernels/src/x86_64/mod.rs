//! The vector instruction sets of x86-64.

#![allow(unsafe_code)]

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod avx_vnni;

use std::arch::x86_64::*;

/// [`Simd::prefetch`](crate::generic::Simd::prefetch)
#[inline(always)]
fn prefetch(from: *const u8) {
    // SAFETY: a hint, which no address makes fail; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
}

/// [`Simd::prefetch_to_write`](crate::generic::Simd::prefetch_to_write). What a processor without the instruction does instead is nothing.
#[inline(always)]
fn prefetch_to_write(to: *const u8) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(to.cast()) }
}
