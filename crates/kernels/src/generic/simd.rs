//! The few vector operations that the kernels are made of.

use crate::weights::PANEL;

/// Lanes of a vector: the channels of a weight panel, however many registers that takes.
pub(crate) const LANES: usize = PANEL;

/// Operations on vectors of sixteen 32-bit lanes.
///
/// # Safety
/// An implementation may use instructions beyond the build target. Its methods may be called only where the host has
/// them, inside functions compiled for them.
pub(crate) unsafe trait Simd: Copy {
    /// Sixteen `f32`.
    type F32: Copy;
    /// Sixteen `i32`.
    type I32: Copy;
    /// Thirty-two `i16` in pairs, in the registers as the instruction set multiplies them best.
    type I16: Copy;
    /// The same two `i16` for every lane.
    type Pair: Copy;

    /// Panels that a GEMM tile covers side by side: as many as keep the multipliers busy with few rows, within the
    /// registers.
    const STRIP: usize;

    /// Whether products of 16-bit numbers for three rows are fastest with all registers, the sums over blocks being in memory.
    const CROWDED: bool = false;

    /// Whether products of 16-bit numbers are made at a higher rate than those of floats.
    const FAST_PAIRS: bool = false;

    /// Asks for the cache line at `from`, which may be anywhere, to be in the second-level cache soon, where the instruction set can ask.
    #[inline(always)]
    unsafe fn prefetch(_from: *const u8) {}

    /// The same in the first-level cache, for this processor to write.
    #[inline(always)]
    unsafe fn prefetch_to_write(_to: *const u8) {}

    /// Reads sixteen values; `from` needs no alignment.
    unsafe fn load(from: *const f32) -> Self::F32;
    /// Reads sixteen IEEE half-precision values and widens them.
    unsafe fn load_f16(from: *const u16) -> Self::F32;
    /// Reads sixteen bfloat16 values and widens them.
    unsafe fn load_bf16(from: *const u16) -> Self::F32;
    /// Reads sixteen signed bytes and converts them.
    unsafe fn load_i8_as_f32(from: *const i8) -> Self::F32;
    /// Writes sixteen values; `to` needs no alignment.
    unsafe fn store(to: *mut f32, value: Self::F32);
    unsafe fn splat(value: f32) -> Self::F32;
    unsafe fn add(a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn sub(a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn div(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a` where it is larger than `b`, else `b`: a NaN comes through from `b` only.
    unsafe fn max(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a` where it is smaller than `b`, else `b`: a NaN comes through from `b` only.
    unsafe fn min(a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn abs(a: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once where the instruction set can.
    unsafe fn mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `c - a * b`, rounded once where the instruction set can.
    unsafe fn neg_mul_add(a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The low nine bits of each lane's significand become its sign and exponent: `2^(n - 127)` for an `n` in
    /// 1..=254 that stands there, and a NaN or infinite lane may become any value.
    unsafe fn low_bits_to_exponent(a: Self::F32) -> Self::F32;
    /// The first `count` lanes of `a`, and `fill` in the others.
    unsafe fn first_lanes(a: Self::F32, count: usize, fill: f32) -> Self::F32;
    /// Writes the transpose of a block of `rows`, at most sixteen, rows of sixteen values, `from_stride` apart, as sixteen
    /// rows of sixteen values, `to_stride` apart, with zeros in the columns of rows that are not there.
    unsafe fn transpose(from: *const f32, from_stride: usize, rows: usize, to: *mut f32, to_stride: usize);
    /// The sum of the lanes, in an order of the instruction set's own.
    unsafe fn sum(a: Self::F32) -> f32;
    /// The largest lane.
    unsafe fn max_lane(a: Self::F32) -> f32;
    /// The larger of `a` and `|b|` in every lane, with NaN above infinity; `a` has no sign.
    unsafe fn max_magnitude(a: Self::F32, b: Self::F32) -> Self::F32;
    /// The largest lane of each of four vectors, with NaN above infinity; they have no signs.
    unsafe fn max_lane_magnitudes(a: [Self::F32; 4]) -> [f32; 4];
    /// The lanes of `yes` where `a` is larger than `b`, those of `no` elsewhere: where one is a NaN, too.
    unsafe fn where_greater(a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32;

    /// What is left of `x`, which must be below 2^22, beside its nearest whole number (ties to even), and that; less than -2^22 may count as
    /// -2^22.
    #[inline(always)]
    unsafe fn split(x: Self::F32) -> (Self::F32, Self::F32) {
        const LEAST: f32 = -((1 << 22) as f32);
        // Floats of this size are one apart.
        const ROUNDER: f32 = 1.5 * (1 << 23) as f32;
        // SAFETY: passed on from the caller.
        unsafe {
            // `x` stands second, so that a NaN passes through; an infinity would become one.
            let x = Self::max(Self::splat(LEAST), x);
            let whole = Self::sub(Self::add(x, Self::splat(ROUNDER)), Self::splat(ROUNDER));
            (Self::sub(x, whole), whole)
        }
    }
    /// `a * 2^n` for a whole number `n` that is not above 0, and a NaN for a NaN in `a`; below -126, `n` may count as -126.
    #[inline(always)]
    unsafe fn scale_by_power(a: Self::F32, n: Self::F32) -> Self::F32 {
        const ROUNDER: f32 = 1.5 * (1 << 23) as f32 + 127.0;
        // SAFETY: passed on from the caller.
        unsafe {
            let shifted = Self::add(Self::max(Self::splat(-126.0), n), Self::splat(ROUNDER));
            Self::mul(a, Self::low_bits_to_exponent(shifted))
        }
    }
    /// A bit for each lane, the first in the lowest: whether `a` is larger than `b`.
    unsafe fn lanes_greater(a: Self::F32, b: Self::F32) -> u32;

    /// Rounds to the nearest integers (ties to even) and writes them as `i16`.
    unsafe fn store_rounded_i16(to: *mut i16, value: Self::F32);
    /// Rounds to the nearest integers (ties to even) and writes them as `i16`, those of two vectors in turns.
    #[inline(always)]
    unsafe fn store_rounded_pairs(to: *mut i16, first: Self::F32, second: Self::F32) {
        let mut codes = [[0i16; LANES]; 2];
        // SAFETY: `codes` has room for both vectors, `to` for as many, as the caller promises.
        unsafe {
            Self::store_rounded_i16(codes[0].as_mut_ptr(), first);
            Self::store_rounded_i16(codes[1].as_mut_ptr(), second);
            for (i, (&first, &second)) in codes[0].iter().zip(&codes[1]).enumerate() {
                *to.add(2 * i) = first;
                *to.add(2 * i + 1) = second;
            }
        }
    }
    unsafe fn splat_i32(value: i32) -> Self::I32;
    unsafe fn to_f32(a: Self::I32) -> Self::F32;
    /// Reads thirty-two signed bytes, a pair for each lane, and widens them; `from` needs no alignment.
    unsafe fn load_i8_pairs(from: *const u8) -> Self::I16;
    /// Reads thirty-two `i16`, a pair for each lane; `from` needs no alignment.
    unsafe fn load_i16_pairs(from: *const i16) -> Self::I16;
    /// The two `i16` at `from`.
    unsafe fn splat_pair(from: *const i16) -> Self::Pair;
    /// `sum[i] + a[2i] * b[0] + a[2i + 1] * b[1]`, exact while the sum fits.
    unsafe fn dot_pairs(sum: Self::I32, a: Self::I16, b: Self::Pair) -> Self::I32;
}

/// Products of the bytes of weights with signed bytes, four to a 32-bit lane, on instruction sets that have them.
///
/// # Safety
/// As for [`Simd`].
pub(crate) unsafe trait ByteDot<S: Simd> {
    /// Sixty-four bytes.
    type Bytes: Copy;
    /// The same four bytes for every lane.
    type Four: Copy;

    /// What [`load`](Self::load) leaves added to each weight's code: the 128 with which it lies in memory, where the
    /// instructions take weights as unsigned, or 0.
    const WEIGHT_OFFSET: i32;

    /// Reads the codes of 64 weights; `from` needs no alignment.
    unsafe fn load(from: *const u8) -> Self::Bytes;
    /// The four bytes at `from`.
    unsafe fn splat_four(from: *const u8) -> Self::Four;
    /// `sum[i]` plus the four products of lane `i`, of what `load` has read with signed bytes; exact while the sum fits.
    unsafe fn dot_fours(sum: S::I32, a: Self::Bytes, b: Self::Four) -> S::I32;
    /// Rounds the values of four blocks to the nearest integers (ties to even), writes them as signed bytes and returns the sum of each
    /// block, exact where all of it are bytes; what is written and returned for others means nothing.
    #[inline(always)]
    unsafe fn store_rounded_i8(to: [*mut i8; 4], values: [[S::F32; 2]; 4]) -> [i32; 4] {
        let mut sums = [0; 4];
        for ((to, values), sum) in to.into_iter().zip(values).zip(&mut sums) {
            let mut codes = [0i16; 2 * LANES];
            // SAFETY: `codes` has room for both vectors, `to` for as many bytes, as the caller promises.
            unsafe {
                for (v, value) in values.into_iter().enumerate() {
                    S::store_rounded_i16(codes.as_mut_ptr().add(v * LANES), value);
                }
                to.cast::<[i8; 2 * LANES]>().write_unaligned(codes.map(|code| code as i8));
            }
            *sum = codes.into_iter().map(i32::from).sum();
        }
        sums
    }
}

/// Evaluates `$body` over `$panels`, as many panels at a time as `$simd` takes side by side and the rest in narrower
/// strips: `$panel` is the first panel of the strip and the constant `$count` the number of its panels.
macro_rules! for_panel_strips {
    ($simd:ty, $panels:expr, |$panel:ident, $count:ident| $body:expr) => {{
        let ::std::ops::Range { start: mut $panel, end } = $panels;
        while <$simd>::STRIP >= 4 && end - $panel >= 4 {
            {
                const $count: usize = 4;
                $body
            }
            $panel += 4;
        }
        while <$simd>::STRIP >= 2 && end - $panel >= 2 {
            {
                const $count: usize = 2;
                $body
            }
            $panel += 2;
        }
        while end - $panel >= 1 {
            {
                const $count: usize = 1;
                $body
            }
            $panel += 1;
        }
    }};
}
pub(crate) use for_panel_strips;
