//! Attention with codes against double precision, on every instruction set of the host.

use super::*;
use crate::generic::attention::block_keys;
use crate::{Isa, Mask};
use proptest::prelude::*;

/// Queries in two heads that share one of keys and values.
struct Inputs {
    length: usize,
    dim: usize,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

const HEADS: usize = 2;
const SCALE: f32 = 0.25;

impl Inputs {
    /// From numbers that are taken again and again.
    fn new(length: usize, dim: usize, numbers: &[f32]) -> Self {
        let mut numbers = numbers.iter().copied().cycle();
        let mut next = |count: usize| numbers.by_ref().take(count).collect::<Vec<f32>>();
        Inputs { length, dim, query: next(HEADS * length * dim), key: next(length * dim), value: next(length * dim) }
    }

    /// What the instruction set's kernel makes of the queries of some tokens.
    fn run(&self, isa: Isa, tokens: std::ops::Range<usize>) -> Vec<f32> {
        let &Inputs { length, dim, .. } = self;
        let mut out = vec![f32::NAN; tokens.len() * HEADS * dim];
        let mut scratch = vec![f32::NAN; scratch_len(length, dim)];
        let job = AttentionJob {
            query: self.query[tokens.start * HEADS * dim..].as_ptr(),
            query_stride: HEADS * dim,
            tokens: tokens.clone(),
            heads: HEADS,
            key: self.key.as_ptr(),
            value: self.value.as_ptr(),
            stride: dim,
            length,
            head_dim: dim,
            block_keys: block_keys(dim),
            scale: SCALE,
            mask: Mask::Full,
            slopes: std::ptr::null(),
            biases: std::ptr::null(),
            bias_stride: 0,
            out: out.as_mut_ptr(),
            out_stride: HEADS * dim,
            scratch: scratch.as_mut_ptr(),
        };
        // SAFETY: `kernels` has checked the instruction set; everything has the size that the job says.
        unsafe { (isa.kernels().coded_attention)(&job) };
        out
    }

    /// The output of a head of queries for a token, and how far codes may be from it.
    fn expected(&self, token: usize, head: usize) -> Vec<(f64, f64)> {
        let dim = self.dim;
        let row =
            |values: &[f32], row: usize| values[row * dim..][..dim].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let largest = |values: &[f64]| values.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let all = |values: &[f32]| largest(&values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>());
        let query = row(&self.query, token * HEADS + head);
        let code = f64::from(largest_of(dim));
        let (query_step, key_step) = (largest(&query) / code, all(&self.key) / code);
        let value_step = all(&self.value) / f64::from(LARGEST_VALUE);

        let keys: Vec<Vec<f64>> = (0..self.length).map(|token| row(&self.key, token)).collect();
        let dot = |key: &[f64]| query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() * f64::from(SCALE);
        let sum = |values: &[f64]| values.iter().map(|x| x.abs()).sum::<f64>();
        // Half a step of either side in every product.
        let off = keys.iter().map(|key| {
            let halves = sum(&query) * key_step + sum(key) * query_step + dim as f64 * query_step * key_step;
            0.5 * halves * f64::from(SCALE) + 1e-6 * dot(key).abs()
        });
        // Two scores are subtracted; then come the exponential and sums.
        let relative = (2.0 * off.fold(0.0, f64::max)).exp_m1() + 1e-5;
        let top = keys.iter().map(|key| dot(key)).fold(f64::MIN, f64::max);
        let weights: Vec<f64> = keys.iter().map(|key| (dot(key) - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        let weight_step = 1.0 / (f64::from(SUM_OF_WEIGHTS) / total).min(f64::from(LARGEST_WEIGHT));
        (0..dim)
            .map(|d| {
                let mut bounded = (0.0, 0.51 * value_step);
                for (token, weight) in weights.iter().enumerate() {
                    let value = f64::from(self.value[token * dim + d]);
                    bounded.0 += weight / total * value;
                    let value = value.abs() + value_step;
                    bounded.1 += (2.0 * relative * weight + 0.51 * weight_step) / total * value;
                }
                bounded
            })
            .collect()
    }

    fn check(&self) {
        for isa in Isa::available() {
            let out = self.run(isa, 0..self.length);
            // Every query of a short sequence, some of a long one.
            for token in (0..self.length).step_by(self.length.div_ceil(40).max(1)) {
                for head in 0..HEADS {
                    let found = &out[(token * HEADS + head) * self.dim..][..self.dim];
                    for (column, (&found, (value, error))) in found.iter().zip(self.expected(token, head)).enumerate() {
                        assert!(
                            (f64::from(found) - value).abs() <= error,
                            "{isa} {} tokens of {}, token {token} head {head} column {column}: {found} for {value} \
                             +- {error:e}",
                            self.length,
                            self.dim,
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn results_are_within_what_codes_may_leave(
        length in prop_oneof![1usize..100, Just(1024usize), Just(513)],
        dim in prop_oneof![1usize..40, Just(64usize), Just(80), Just(128)],
        numbers in prop::collection::vec(-3.0f32..3.0, 997),
        outlier in prop::option::of(0usize..997),
    ) {
        let mut numbers = numbers;
        if let Some(place) = outlier {
            numbers[place] *= 30.0;
        }
        Inputs::new(length, dim, &numbers).check();
    }

    #[test]
    fn a_query_has_the_same_bits_in_any_company(
        length in 1usize..60,
        numbers in prop::collection::vec(-3.0f32..3.0, 997),
        start in 0usize..60,
        count in 1usize..20,
    ) {
        let inputs = Inputs::new(length, 32, &numbers);
        let start = start % length;
        let tokens = start..length.min(start + count);
        for isa in Isa::available() {
            let (all, some) = (inputs.run(isa, 0..length), inputs.run(isa, tokens.clone()));
            let width = HEADS * inputs.dim;
            prop_assert!(all[tokens.start * width..tokens.end * width] == some, "{} {:?}", isa, tokens);
        }
    }
}

#[test]
fn sums_of_the_largest_codes_do_not_overflow() {
    // All alike: every weight is as large as the others, every code the largest.
    for (length, dim) in [(1024, 32), (1000, 64), (33, 256)] {
        for value in [1.0, -1.0] {
            let mut inputs = Inputs::new(length, dim, &[1.0]);
            inputs.value.fill(value);
            for isa in Isa::available() {
                let out = inputs.run(isa, 0..length);
                assert!(out.iter().all(|out| (out - value).abs() < 0.002), "{isa} {length} of {dim}: {}", out[0]);
            }
            inputs.check();
        }
    }
}

#[test]
fn zeros_are_no_exception_and_what_is_not_finite_is_not_lost() {
    let numbers: Vec<f32> = (0..997).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
    let clean = Inputs::new(40, 32, &numbers);
    for isa in Isa::available() {
        let without_values = Inputs { value: vec![0.0; 40 * 32], ..Inputs::new(40, 32, &numbers) };
        assert!(without_values.run(isa, 0..40).iter().all(|&out| out == 0.0), "{isa}");
        // Equal scores: the mean of the values.
        let without_queries = Inputs { query: vec![0.0; HEADS * 40 * 32], ..Inputs::new(40, 32, &numbers) };
        let out = without_queries.run(isa, 0..40);
        for d in 0..32 {
            let mean = clean.value.iter().skip(d).step_by(32).sum::<f32>() / 40.0;
            assert!((out[d] - mean).abs() < 0.02, "{isa}: {} for {mean}", out[d]);
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut inputs = Inputs::new(40, 32, &numbers);
            inputs.query[33] = bad;
            let out = inputs.run(isa, 0..40);
            assert!(out[32..64].iter().all(|out| !out.is_finite()), "{isa} {bad}: its head");
            assert!(out[..32].iter().chain(&out[64..]).all(|out| out.is_finite()), "{isa} {bad}: others");
            for part in 0..2 {
                let mut inputs = Inputs::new(40, 32, &numbers);
                let rows = if part == 0 { &mut inputs.key } else { &mut inputs.value };
                rows[700] = bad;
                let out = inputs.run(isa, 0..40);
                assert!(out.iter().all(|out| !out.is_finite()), "{isa} {bad} in keys or values ({part})");
            }
        }
    }
}
