//! x86-64 bodies.

#![allow(unsafe_code)]

pub(crate) mod avx2;
