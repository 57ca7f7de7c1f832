//! Each algorithm once, over the [`Simd`] operations of an instruction set.
//!
//! The bodies are `#[inline(always)]` and carry no target feature themselves: the thin entry points of an instruction
//! set (`portable`, `x86_64::avx2`) do, and compile them for it. What an output element is made of, and in which order
//! its terms are added, never depends on the tile it falls in, so that a row has the same bits in every batch.

#![allow(unsafe_code)]
// Tiles are arrays in registers. Loops over their indices are unrolled early enough for that; iterators not always.
#![allow(clippy::needless_range_loop)]

pub(crate) mod attention;
pub(crate) mod block_product;
pub(crate) mod coded_attention;
pub(crate) mod dot;
pub(crate) mod gemm_float;
pub(crate) mod gemm_q8;
pub(crate) mod math;
pub(crate) mod peak;
pub(crate) mod portable;
pub(crate) mod quantize;
pub(crate) mod relative_attention;
pub(crate) mod rotary;
pub(crate) mod rows;
pub(crate) mod simd;
mod softmax;
pub(crate) mod split_codes;
pub(crate) mod store;

pub(crate) use simd::Simd;
