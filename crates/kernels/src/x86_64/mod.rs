//! The vector instruction sets of x86-64.

#![allow(unsafe_code)]

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod avx_vnni;
