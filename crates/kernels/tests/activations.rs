//! The activation functions, swept densely against double precision on every instruction set of the host, through a
//! linear layer whose weights are the arguments.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::matrix_of;
use docent_kernels::{Activation, Epilogue, Executor, Isa, Linear, RawMatrix, ThreadPool, WeightType};

/// `f` of every argument: a layer of one input, which is one, has its weights for sums.
fn activate(isa: Isa, activation: Activation, x: &[f32]) -> Vec<f32> {
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let matrix = RawMatrix::new(&bytes, WeightType::F32, x.len(), 1).unwrap();
    let linear = Linear::pack(&[(matrix, None)], &ThreadPool::new(1)).unwrap();
    let mut executor = Executor::inline(isa);
    let one = matrix_of(&mut executor, 1, 1, &[1.0]);
    let mut out = executor.matrix(1, x.len());
    executor.linear(&one, &linear, Epilogue::Activate(activation), &mut out);
    out.row(0).to_vec()
}

/// Floats of both signs up to `end` in magnitude, a few thousand between two powers of two.
fn sweep(end: f32) -> Vec<f32> {
    let magnitudes = (0..=end.to_bits()).step_by(3989).map(f32::from_bits);
    magnitudes.flat_map(|x| [x, -x]).collect()
}

/// Asserts that the worst absolute error for |x| <= 10 is below `near` and that beyond it the error relative to the
/// larger of 1 and |x| is below `far`.
fn check(activation: Activation, exact: fn(f64) -> f64, near: f64, far: f64) {
    let x = sweep(1e30);
    for isa in Isa::available() {
        let (mut worst_near, mut worst_far) = ((0.0, 0.0), (0.0, 0.0));
        for (&x, found) in x.iter().zip(activate(isa, activation, &x)) {
            let error = (f64::from(found) - exact(f64::from(x))).abs();
            if x.abs() <= 10.0 {
                worst_near = if error > worst_near.0 { (error, x) } else { worst_near };
            } else {
                let relative = error / f64::from(x.abs());
                worst_far = if relative > worst_far.0 { (relative, x) } else { worst_far };
            }
        }
        println!(
            "{activation:?} on {isa}: {:e} at {}; beyond 10, relative, {:e}",
            worst_near.0, worst_near.1, worst_far.0
        );
        assert!(worst_near.0 <= near, "{activation:?} on {isa}: off by {:e} at {}", worst_near.0, worst_near.1);
        assert!(worst_far.0 <= far, "{activation:?} on {isa}: off by a factor of {:e} at {}", worst_far.0, worst_far.1);
    }
}

/// Asserts that the worst error in units of the last place of the result is below `bound`, wherever the result is at least
/// `smallest`, and that elsewhere the error is below 1e-38 times the larger of 1 and |x|.
fn check_relative(activation: Activation, exact: fn(f64) -> f64, bound: f64, smallest: f64) {
    let x = sweep(1e30);
    for isa in Isa::available() {
        let mut worst = (0.0, 0.0);
        for (&x, found) in x.iter().zip(activate(isa, activation, &x)) {
            let expected = exact(f64::from(x));
            let error = (f64::from(found) - expected).abs();
            if expected.abs() < smallest {
                assert!(
                    error < 1e-38 * f64::from(x.abs()).max(1.0),
                    "{activation:?} on {isa}: off by {error:e} at {x}"
                );
                continue;
            }
            let ulp = 2f64.powi(expected.abs().log2().floor() as i32 - 23);
            worst = if error / ulp > worst.0 { (error / ulp, x) } else { worst };
        }
        println!("{activation:?} on {isa}: {:.3} ulp at {}", worst.0, worst.1);
        assert!(worst.0 <= bound, "{activation:?} on {isa}: off by {} ulp at {}", worst.0, worst.1);
    }
}

#[test]
fn silu_is_within_its_bound() {
    check_relative(Activation::Silu, common::silu, 4.0, 4e-36);
}

#[test]
fn tanh_is_within_its_bound() {
    check_relative(Activation::Tanh, f64::tanh, 4.0, 1e-36);
}

#[test]
fn gelu_is_within_its_bound() {
    check(Activation::Gelu, common::gelu, 5e-7, 1e-20);
}

#[test]
fn gelu_tanh_is_within_its_bound() {
    check(Activation::GeluTanh, common::gelu_tanh, 1e-6, 1e-20);
}

#[test]
fn activations_at_special_values() {
    for isa in Isa::available() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            // Weights must be finite, so here the arguments are the input, one a row, and the weight is one.
            let x = [0.0, -0.0, f32::NAN, 40.0, -40.0, f32::INFINITY];
            let matrix = RawMatrix::new(&[0, 0, 0x80, 0x3f], WeightType::F32, 1, 1).unwrap();
            let linear = Linear::pack(&[(matrix, None)], &ThreadPool::new(1)).unwrap();
            let mut executor = Executor::inline(isa);
            let arguments = matrix_of(&mut executor, x.len(), 1, &x);
            let mut out = executor.matrix(x.len(), 1);
            executor.linear(&arguments, &linear, Epilogue::Activate(activation), &mut out);
            let found = common::rows_of(&out).concat();
            assert_eq!(found[..2], [0.0, 0.0], "{isa} {activation:?}");
            assert!(found[2].is_nan(), "{isa} {activation:?}");
            assert_eq!(found[3], 40.0, "{isa} {activation:?}");
            assert!((-1e-20..=0.0).contains(&found[4]), "{isa} {activation:?} {}", found[4]);
            assert!(!found[5].is_finite(), "{isa} {activation:?}: infinity may become NaN, but not a number");
        }
        let x = sweep(1e30);
        for (x, found) in x.iter().zip(activate(isa, Activation::Relu, &x)) {
            assert_eq!(found, x.max(0.0));
        }
    }
}

#[test]
fn the_references_agree_with_published_values() {
    // Abramowitz and Stegun, table 7.1 and table 26.2.
    for (x, erf) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (1.9, 0.992_790_429_2), (2.0, 0.995_322_265_0)] {
        assert!((1.0 - common::erfc(x) - erf).abs() < 1e-10, "erf {x}");
        assert!((common::erfc(-x) - 1.0 - erf).abs() < 1e-10, "erf -{x}");
    }
    assert!((common::erfc(5.0) / 1.537_459_794_4e-12 - 1.0).abs() < 1e-10);
    assert!((common::gelu(1.0) - 0.841_344_746_1).abs() < 1e-10);
}
