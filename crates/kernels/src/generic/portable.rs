//! [`Simd`] in plain Rust: correct on every host, and the reference for the other instruction sets.

use half::{bf16, f16};

use super::Simd;
use super::simd::{ByteDot, LANES};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn map2(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

// SAFETY: nothing here goes beyond the build target; pointers are as valid as the trait's callers promise.
unsafe impl Simd for Portable {
    type F32 = [f32; LANES];
    type I32 = [i32; LANES];
    type I16 = [i16; 2 * LANES];
    type Pair = [i16; 2];

    const STRIP: usize = 1;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        // SAFETY: the caller gives sixteen readable values.
        unsafe { from.cast::<Self::F32>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self::F32 {
        // SAFETY: the caller gives sixteen readable values.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self::F32 {
        // SAFETY: the caller gives sixteen readable values.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        bits.map(|bits| bf16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_i8_as_f32(from: *const i8) -> Self::F32 {
        // SAFETY: the caller gives sixteen readable values.
        let codes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() };
        codes.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F32) {
        // SAFETY: the caller gives room for sixteen values.
        unsafe { to.cast::<Self::F32>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F32 {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32 {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::F32, b: Self::F32) -> Self::F32 {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32 {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32 {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32 {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::F32, b: Self::F32) -> Self::F32 {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: Self::F32) -> Self::F32 {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        // Two roundings: `f32::mul_add` is a library call on hosts without the instruction.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        std::array::from_fn(|lane| c[lane] - a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn low_bits_to_exponent(a: Self::F32) -> Self::F32 {
        a.map(|a| f32::from_bits(a.to_bits() << 23))
    }
    #[inline(always)]
    unsafe fn first_lanes(a: Self::F32, count: usize, fill: f32) -> Self::F32 {
        std::array::from_fn(|lane| if lane < count { a[lane] } else { fill })
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        for i in 0..LANES {
            // SAFETY: row `i` is there if it is below `rows`; the caller gives room for sixteen rows.
            unsafe {
                for j in 0..LANES {
                    *to.add(j * to_stride + i) = if i < rows { *from.add(i * from_stride + j) } else { 0.0 };
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::F32) -> f32 {
        let a: [f32; LANES / 2] = std::array::from_fn(|i| a[i] + a[i + LANES / 2]);
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::F32) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max_magnitude(a: Self::F32, b: Self::F32) -> Self::F32 {
        // Without signs, floats and their bits are in the same order, and every NaN lies above infinity.
        map2(a, b, |a, b| f32::from_bits(a.to_bits().max(b.abs().to_bits())))
    }
    #[inline(always)]
    unsafe fn max_lane_magnitudes(a: [Self::F32; 4]) -> [f32; 4] {
        a.map(|a| f32::from_bits(a.into_iter().fold(0, |largest, a| largest.max(a.to_bits()))))
    }
    #[inline(always)]
    unsafe fn where_greater(a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32 {
        std::array::from_fn(|lane| if a[lane] > b[lane] { yes[lane] } else { no[lane] })
    }

    #[inline(always)]
    unsafe fn lanes_greater(a: Self::F32, b: Self::F32) -> u32 {
        (0..LANES).map(|lane| u32::from(a[lane] > b[lane]) << lane).sum()
    }

    #[inline(always)]
    unsafe fn store_rounded_i16(to: *mut i16, value: Self::F32) {
        // SAFETY: the caller gives room for sixteen values.
        unsafe { to.cast::<[i16; LANES]>().write_unaligned(value.map(|value| value.round_ties_even() as i16)) }
    }
    #[inline(always)]
    unsafe fn splat_i32(value: i32) -> Self::I32 {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn to_f32(a: Self::I32) -> Self::F32 {
        a.map(|a| a as f32)
    }
    #[inline(always)]
    unsafe fn load_i8_pairs(from: *const u8) -> Self::I16 {
        // SAFETY: the caller gives thirty-two readable bytes.
        unsafe { from.cast::<[i8; 2 * LANES]>().read_unaligned() }.map(i16::from)
    }
    #[inline(always)]
    unsafe fn load_i16_pairs(from: *const i16) -> Self::I16 {
        // SAFETY: the caller gives thirty-two readable values.
        unsafe { from.cast::<[i16; 2 * LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_pair(from: *const i16) -> Self::Pair {
        // SAFETY: the caller gives two readable values.
        unsafe { from.cast::<Self::Pair>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: Self::I32, a: Self::I16, b: Self::Pair) -> Self::I32 {
        let b = b.map(i32::from);
        std::array::from_fn(|i| sum[i] + i32::from(a[2 * i]) * b[0] + i32::from(a[2 * i + 1]) * b[1])
    }
}

// SAFETY: as above.
unsafe impl ByteDot<Portable> for Portable {
    type Bytes = [u8; 4 * LANES];
    type Four = [i8; 4];

    const WEIGHT_OFFSET: i32 = 128;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::Bytes {
        // SAFETY: the caller gives sixty-four readable bytes.
        unsafe { from.cast::<Self::Bytes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_four(from: *const u8) -> Self::Four {
        // SAFETY: the caller gives four readable bytes.
        unsafe { from.cast::<Self::Four>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot_fours(sum: [i32; LANES], a: Self::Bytes, b: Self::Four) -> [i32; LANES] {
        std::array::from_fn(|lane| {
            let products = (0..4).map(|i| i32::from(a[4 * lane + i]) * i32::from(b[i]));
            sum[lane] + products.sum::<i32>()
        })
    }
}

crate::kernels::kernel_table!(Portable, crate::generic::block_product::WholeCodes, crate::Isa::Portable);
