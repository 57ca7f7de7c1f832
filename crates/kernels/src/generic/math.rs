//! Elementary functions on vectors.

use super::Simd;

/// Added to a float, leaves its nearest whole number in the low bits: floats of this size are one apart. The 127 is the bias of an
/// exponent.
const ROUNDER: f32 = 1.5 * (1 << 23) as f32 + 127.0;

/// `e^x`, relative error below 2 ulp for x in [-87.3, 88]; arguments outside are clamped to that range.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `r` reduced in two steps (Cody and Waite, *Software Manual for the
/// Elementary Functions*, 1980), and for `e^r` the polynomial of degree 6 with the least relative error (3e-9) on
/// `|r| <= ln 2 / 2`. The sum with [`ROUNDER`] rounds to `n` and leaves `n + 127` in the low bits.
///
/// # Safety
/// As for every [`Simd`] operation: the instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F32) -> S::F32 {
    // ln 2 split so that n * LN_2_HIGH is exact for every n in range.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const SERIES: [f32; 7] = [0.001_381_453_5, 0.008_368_745, 0.041_668_393, 0.166_665_21, 0.499_999_94, 1.0, 1.0];
    // SAFETY: the caller has the instruction set.
    unsafe {
        // `x` stands second in both, so that a NaN passes through.
        let x = S::min(S::splat(88.0), S::max(S::splat(-87.3), x));
        let shifted = S::mul_add(x, S::splat(std::f32::consts::LOG2_E), S::splat(ROUNDER));
        let n = S::sub(shifted, S::splat(ROUNDER));
        let r = S::neg_mul_add(n, S::splat(LN_2_HIGH), x);
        let r = S::neg_mul_add(n, S::splat(LN_2_LOW), r);
        S::mul(polynomial::<S, 7>(r, &SERIES), S::low_bits_to_exponent(shifted))
    }
}

/// `2^x` for `x` that is not above 0, within 1.5 ulp; from -126 on down, where it is smallest among normal numbers, that of -126.
/// `2^0` is 1.
///
/// What is left of `x` beside its nearest whole number is exact, so there is nothing to correct. The polynomial minimises the largest
/// relative error (2e-9; Lawson's reweighted least squares).
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn exp2_of_negative<S: Simd>(x: S::F32) -> S::F32 {
    const SERIES: [f32; 7] =
        [1.535_335e-4, 0.001_339_887_4, 0.009_618_438, 0.055_503_324, 0.240_226_48, std::f32::consts::LN_2, 1.0];
    // SAFETY: the caller has the instruction set.
    unsafe {
        // `x` stands second, so that a NaN passes through.
        let x = S::max(S::splat(-126.0), x);
        let shifted = S::add(x, S::splat(ROUNDER));
        let rest = S::sub(x, S::sub(shifted, S::splat(ROUNDER)));
        S::mul(polynomial::<S, 7>(rest, &SERIES), S::low_bits_to_exponent(shifted))
    }
}

/// The same within a relative error of 3e-6, for weights that become codes; from -126 on down it may also be less. Here the polynomial has
/// the degree 4 and the least largest relative error (2.6e-6, Remez).
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn rough_exp2_of_negative<S: Simd>(x: S::F32) -> S::F32 {
    const SERIES: [f32; 5] = [0.009_570_1, 0.055_917_86, 0.240_247_45, 0.693_121_8, 0.999_999_3];
    // SAFETY: the caller has the instruction set.
    unsafe {
        let (rest, whole) = S::split(x);
        S::scale_by_power(polynomial::<S, 5>(rest, &SERIES), whole)
    }
}

/// The polynomial with the given coefficients, highest power first.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(x: S::F32, coefficients: &[f32; N]) -> S::F32 {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let mut sum = S::splat(coefficients[0]);
        for &coefficient in &coefficients[1..] {
            sum = S::mul_add(sum, x, S::splat(coefficient));
        }
        sum
    }
}

/// GELU in its exact form, `x/2 (1 + erf(x / sqrt 2))`, absolute error below 5e-7; from |x| = 7.25 on `max(x, 0)`, which
/// is off by less than 2e-12.
///
/// With `q = erfc(t / sqrt 2) / 2` for `t = |x|`, both signs are `max(x, 0) - t q`, which loses nothing in the negative
/// tail. The eighth root of `q` is so gentle a curve that a polynomial with a zero at `t = 7.25`, where `q` is below
/// 3e-13, follows it to 2e-8 in the result: no exponential and no division. The coefficients minimise the largest
/// error of `t q` (Lawson's reweighted least squares).
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::F32) -> S::F32 {
    const END: f32 = 7.25;
    const ROOT: [f32; 8] = [
        3.401_936_8e-7,
        -5.636_149e-6,
        2.293_282e-5,
        1.214_964_7e-4,
        -6.061_030_4e-4,
        -3.738_594_2e-3,
        4.831_417e-3,
        1.264_832_9e-1,
    ];
    // SAFETY: the caller has the instruction set.
    unsafe {
        let t = S::min(S::splat(END), S::abs(x));
        let root = S::mul(polynomial::<S, 8>(t, &ROOT), S::sub(S::splat(END), t));
        let square = S::mul(root, root);
        let fourth = S::mul(square, square);
        S::neg_mul_add(t, S::mul(fourth, fourth), S::max(S::splat(0.0), x))
    }
}

/// GELU in its tanh form, `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, written as `x sigmoid(2 u)`;
/// absolute error below 1e-6 for |x| <= 10 and below 1e-20 |x| beyond, up to 1e30.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn gelu_tanh<S: Simd>(x: S::F32) -> S::F32 {
    const TWO_SQRT_2_OVER_PI: f32 = 1.595_769;
    // SAFETY: the caller has the instruction set.
    unsafe {
        let inner = S::mul_add(S::mul(x, x), S::splat(0.044_715), S::splat(1.0));
        let u2 = S::mul(S::mul(x, S::splat(TWO_SQRT_2_OVER_PI)), inner);
        S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), u2))))
    }
}

/// `SiLU`, `x / (1 + e^-x)`: relative error below 4 ulp for x >= -86; below that, where it is smaller than 4e-36, absolute
/// error below 1e-38 |x|.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::F32) -> S::F32 {
    // SAFETY: the caller has the instruction set.
    unsafe { S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

/// `tanh x`, relative error below 4 ulp.
///
/// With `x = a + b`, where `a` is `x` clamped to +-1/2, `tanh x = (tanh a + tanh b) / (1 + tanh a tanh b)`. For `tanh a` an odd
/// polynomial (largest relative error 4e-10) keeps small arguments exact; `tanh b = (1 - e^-2b) / (1 + e^-2b)` is 0 for them.
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::F32) -> S::F32 {
    const SERIES: [f32; 5] = [-0.006_653_572_4, 0.021_301_704, -0.053_899_97, 0.133_329_7, -0.333_333_3];
    // SAFETY: the caller has the instruction set.
    unsafe {
        let one = S::splat(1.0);
        // `x` stands second, so that a NaN passes through.
        let a = S::max(S::splat(-0.5), S::min(S::splat(0.5), x));
        let square = S::mul(a, a);
        let tanh_a = S::mul_add(S::mul(a, square), polynomial::<S, 5>(square, &SERIES), a);
        let e = exp::<S>(S::mul(S::splat(-2.0), S::sub(x, a)));
        let tanh_b = S::div(S::sub(one, e), S::add(one, e));
        S::div(S::add(tanh_a, tanh_b), S::mul_add(tanh_a, tanh_b, one))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::simd::LANES;
    use super::*;
    use crate::Isa;

    /// # Safety
    /// The instruction set must be present and `values` have `count` values.
    #[inline(always)]
    pub(crate) unsafe fn map_exp<S: Simd>(values: *mut f32, count: usize) {
        for i in (0..count).step_by(LANES) {
            // SAFETY: passed on from the caller.
            unsafe { S::store(values.add(i), exp::<S>(S::load(values.add(i)))) }
        }
    }

    /// # Safety
    /// The instruction set must be present and `values` have `count` values.
    #[inline(always)]
    pub(crate) unsafe fn map_exp2_of_negative<S: Simd>(values: *mut f32, count: usize) {
        for i in (0..count).step_by(LANES) {
            // SAFETY: passed on from the caller.
            unsafe { S::store(values.add(i), exp2_of_negative::<S>(S::load(values.add(i)))) }
        }
    }

    /// # Safety
    /// The instruction set must be present and `values` have `count` values.
    #[inline(always)]
    pub(crate) unsafe fn map_rough_exp2_of_negative<S: Simd>(values: *mut f32, count: usize) {
        for i in (0..count).step_by(LANES) {
            // SAFETY: passed on from the caller.
            unsafe { S::store(values.add(i), rough_exp2_of_negative::<S>(S::load(values.add(i)))) }
        }
    }

    /// What an instruction set makes of numbers by one of its functions.
    fn map(function: unsafe fn(*mut f32, usize), x: &[f32]) -> Vec<f32> {
        let mut values = x.to_vec();
        values.resize(x.len().next_multiple_of(LANES), 0.0);
        // SAFETY: the functions come from `kernels`, which has checked the instruction set; the values are a whole number of vectors.
        unsafe { function(values.as_mut_ptr(), values.len()) };
        values.truncate(x.len());
        values
    }

    fn exp_of(isa: Isa, x: &[f32]) -> Vec<f32> {
        map(isa.kernels().exp, x)
    }

    fn exp2_of(isa: Isa, x: &[f32]) -> Vec<f32> {
        map(isa.kernels().exp2_of_negative, x)
    }

    /// The largest error in units of the last place of the result, and where it is.
    fn worst(x: &[f32], found: &[f32], exact: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for (&x, &found) in x.iter().zip(found) {
            let expected = exact(f64::from(x));
            // The distance between floats at the result.
            let ulp = 2f64.powi(expected.log2().floor() as i32 - 23);
            let error = (f64::from(found) - expected).abs() / ulp;
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn exp_is_within_its_bound_over_its_whole_range() {
        // Every 487th float of either sign: all exponents, all bits of the significand.
        let magnitudes = (0..88f32.to_bits()).step_by(487).map(f32::from_bits);
        let x: Vec<f32> = magnitudes.flat_map(|x| [x, -x.min(87.3)]).collect();
        for isa in Isa::available() {
            let (error, at) = worst(&x, &exp_of(isa, &x), f64::exp);
            println!("exp on {isa}: {error:.3} ulp at {at}");
            assert!(error < 2.0, "{isa}: {error} ulp at {at}");
        }
    }

    #[test]
    fn exp2_is_within_its_bound_over_its_whole_range() {
        let x: Vec<f32> = (0..=126f32.to_bits()).step_by(487).map(|bits| -f32::from_bits(bits)).collect();
        for isa in Isa::available() {
            let (error, at) = worst(&x, &exp2_of(isa, &x), f64::exp2);
            println!("exp2 on {isa}: {error:.3} ulp at {at}");
            assert!(error < 1.5, "{isa}: {error} ulp at {at}");
        }
    }

    #[test]
    fn rough_exp2_is_within_its_bound_and_passes_nan_on() {
        let x: Vec<f32> = (0..=126f32.to_bits()).step_by(487).map(|bits| -f32::from_bits(bits)).collect();
        for isa in Isa::available() {
            let rough = isa.kernels().rough_exp2_of_negative;
            for (x, found) in x.iter().zip(map(rough, &x)) {
                let error = f64::from(found) / f64::from(*x).exp2() - 1.0;
                assert!(error.abs() < 3e-6, "{isa}: off by {error:e} at {x}");
            }
            let e = map(rough, &[-126.5, -1e4, f32::MIN, f32::NEG_INFINITY, f32::NAN]);
            assert!(e[..4].iter().all(|e| (0.0..2e-38).contains(e)), "{isa}: {e:?}");
            assert!(e[4].is_nan(), "{isa}");
        }
    }

    #[test]
    fn exp2_is_exact_at_whole_numbers_and_passes_nan_on() {
        let whole: Vec<f32> = (0..=126).map(|n| -n as f32).collect();
        for isa in Isa::available() {
            assert_eq!(exp2_of(isa, &whole), whole.iter().map(|n| n.exp2()).collect::<Vec<_>>(), "{isa}");
            let e = exp2_of(isa, &[-0.0, -126.5, -1e4, f32::MIN, f32::NEG_INFINITY, f32::NAN]);
            assert_eq!(
                e[..5],
                [1.0, f32::MIN_POSITIVE, f32::MIN_POSITIVE, f32::MIN_POSITIVE, f32::MIN_POSITIVE],
                "{isa}"
            );
            assert!(e[5].is_nan(), "{isa}");
        }
    }

    #[test]
    fn exp_saturates_and_passes_nan_on() {
        for isa in Isa::available() {
            let e =
                exp_of(isa, &[0.0, -0.0, -1e4, f32::NEG_INFINITY, f32::MIN, 1e4, f32::INFINITY, f32::NAN, f32::MAX]);
            assert_eq!(e[..2], [1.0, 1.0], "{isa}");
            assert!(e[2..5].iter().all(|&e| (0.0..1.3e-38).contains(&e)), "{isa} {e:?}");
            assert!(e[5..7].iter().all(|&e| e > 1.6e38), "{isa} {e:?}");
            assert!(e[7].is_nan() && e[8] > 1.6e38, "{isa} {e:?}");
        }
    }
}
