//! The few vector operations that the kernels are made of.

/// Operations on vectors of eight 32-bit lanes (sixteen 16-bit ones).
///
/// # Safety
/// An implementation may use instructions beyond the build target. Its methods may be called only where the host has
/// them, inside functions compiled for them.
pub(crate) unsafe trait Simd: Copy {
    /// Eight `f32`.
    type F32: Copy;
    /// Eight `i32`.
    type I32: Copy;
    /// Sixteen `i16`.
    type I16: Copy;

    /// Reads eight values; `from` needs no alignment.
    unsafe fn load(from: *const f32) -> Self::F32;
    /// Reads eight IEEE half-precision values and widens them.
    unsafe fn load_f16(from: *const u16) -> Self::F32;
    /// Reads eight bfloat16 values and widens them.
    unsafe fn load_bf16(from: *const u16) -> Self::F32;
    /// Reads eight signed bytes and converts them.
    unsafe fn load_i8_as_f32(from: *const i8) -> Self::F32;
    /// Writes eight values; `to` needs no alignment.
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
    /// Lane `j` of vector `i` becomes lane `i` of vector `j`.
    unsafe fn transpose(rows: [Self::F32; LANES]) -> [Self::F32; LANES];
    /// The sum of the lanes, in an order of the instruction set's own.
    unsafe fn sum(a: Self::F32) -> f32;
    /// The largest lane.
    unsafe fn max_lane(a: Self::F32) -> f32;
    /// The larger of `a` and `|b|` in every lane, with NaN above infinity; `a` has no sign.
    unsafe fn max_magnitude(a: Self::F32, b: Self::F32) -> Self::F32;
    /// The largest lane, with NaN above infinity; `a` has no sign.
    unsafe fn max_lane_magnitude(a: Self::F32) -> f32;

    /// Rounds sixteen values to the nearest integers (ties to even) and writes them as `i16`.
    unsafe fn store_rounded_i16(to: *mut i16, low: Self::F32, high: Self::F32);
    unsafe fn zero_i32() -> Self::I32;
    /// Sixteen `i8` widened.
    unsafe fn load_i8(from: *const i8) -> Self::I16;
    /// The two `i16` at `from`, repeated eight times.
    unsafe fn splat_pair(from: *const i16) -> Self::I16;
    /// `sum[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1]`, exact while the sum fits.
    unsafe fn dot_pairs(sum: Self::I32, a: Self::I16, b: Self::I16) -> Self::I32;
    unsafe fn to_f32(a: Self::I32) -> Self::F32;
}

/// Lanes of a [`Simd::F32`].
pub(crate) const LANES: usize = 8;
