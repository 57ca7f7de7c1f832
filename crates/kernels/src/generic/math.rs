//! Elementary functions on vectors.

use super::Simd;

/// `e^x`, relative error below 2 ulp for x in [-87.3, 88]; arguments outside are clamped to that range.
///
/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `r` reduced in two steps (Cody and Waite, *Software Manual for the
/// Elementary Functions*, 1980), then the exponential series to the seventh power, whose remainder is below 6e-9 for
/// `|r| <= ln 2 / 2`.
///
/// # Safety
/// As for every [`Simd`] operation: the instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F32) -> S::F32 {
    // ln 2 split so that n * LN_2_HIGH is exact for every n in range.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const FACTORIAL_RECIPROCALS: [f32; 7] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0];
    // SAFETY: the caller has the instruction set.
    unsafe {
        // `x` stands second in both, so that a NaN passes through.
        let x = S::min(S::splat(88.0), S::max(S::splat(-87.3), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::mul_add(n, S::splat(-LN_2_HIGH), x);
        let r = S::mul_add(n, S::splat(-LN_2_LOW), r);
        let mut series = S::splat(FACTORIAL_RECIPROCALS[0]);
        for reciprocal in &FACTORIAL_RECIPROCALS[1..] {
            series = S::mul_add(series, r, S::splat(*reciprocal));
        }
        S::scale_by_power_of_two(S::mul_add(series, r, S::splat(1.0)), n)
    }
}

/// GELU in its exact form, `x/2 (1 + erf(x / sqrt 2))`, absolute error below 5e-7 for |x| <= 10 and below
/// 1e-20 |x| beyond. Infinity may become NaN.
///
/// With `q = erfc(|x| / sqrt 2)` both signs are `max(x, 0) - |x| q / 2`, which loses nothing in the negative tail. `q` is
/// formula 7.1.26 of Abramowitz and Stegun, *Handbook of Mathematical Functions* (error below 1.5e-7).
///
/// # Safety
/// The instruction set must be present.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::F32) -> S::F32 {
    const A: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    const P_OVER_SQRT_2: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    // SAFETY: the caller has the instruction set.
    unsafe {
        let magnitude = S::abs(x);
        let t = S::div(S::splat(1.0), S::mul_add(magnitude, S::splat(P_OVER_SQRT_2), S::splat(1.0)));
        let mut series = S::splat(A[0]);
        for a in &A[1..] {
            series = S::mul_add(series, t, S::splat(*a));
        }
        let gauss = exp::<S>(S::mul(S::mul(magnitude, S::splat(-0.5)), magnitude));
        let q = S::mul(S::mul(series, t), gauss);
        S::sub(S::max(S::splat(0.0), x), S::mul(S::mul(S::splat(0.5), magnitude), q))
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

    fn exp_of(isa: Isa, x: &[f32]) -> Vec<f32> {
        let mut values = x.to_vec();
        values.resize(x.len().next_multiple_of(LANES), 0.0);
        // SAFETY: `kernels` has checked the instruction set; the values are a whole number of vectors.
        unsafe { (isa.kernels().exp)(values.as_mut_ptr(), values.len()) };
        values.truncate(x.len());
        values
    }

    #[test]
    fn exp_is_within_its_bound_over_its_whole_range() {
        // Every 487th float of either sign: all exponents, all bits of the significand.
        let magnitudes = (0..88f32.to_bits()).step_by(487).map(f32::from_bits);
        let x: Vec<f32> = magnitudes.flat_map(|x| [x, -x.min(87.3)]).collect();
        for isa in Isa::available() {
            let mut worst = (0.0, 0.0);
            for (&x, found) in x.iter().zip(exp_of(isa, &x)) {
                let expected = f64::from(x).exp();
                // The distance between floats at the result.
                let ulp = 2f64.powi(expected.log2().floor() as i32 - 23);
                let error = (f64::from(found) - expected).abs() / ulp;
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("exp on {isa}: {:.3} ulp at {}", worst.0, worst.1);
            assert!(worst.0 < 2.0, "{isa}: {} ulp at {}", worst.0, worst.1);
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
