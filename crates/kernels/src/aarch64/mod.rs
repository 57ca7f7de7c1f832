//! The vector instruction sets of 64-bit Arm.

#![allow(unsafe_code)]

pub(crate) mod neon;
pub(crate) mod neon_dot;
