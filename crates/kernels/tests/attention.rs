//! Attention against a softmax in double precision, on every instruction set of the host.

#![allow(clippy::unwrap_used)]

mod common;

use common::{EPSILON, Random, bits, dirty, matrix_of};
use docent_kernels::{Executor, Heads, Isa, Sequences};
use proptest::prelude::*;

/// One head's output for one query, with the bound that an `f32` computation must keep: every score is off by the
/// rounding of its sum, which the exponential turns into a relative error of each weight.
fn reference(query: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f32) -> (Vec<f64>, Vec<f64>) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|key| dot(query, key) * f64::from(scale)).collect();
    let magnitude = keys
        .iter()
        .map(|key| {
            query.iter().zip(*key).map(|(&a, &b)| f64::from((a * b).abs())).sum::<f64>() * f64::from(scale.abs())
        })
        .fold(0.0, f64::max);
    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    // Two scores are subtracted; the exponential itself, the sum of weights and the sum of values add their own.
    let relative = 2.0 * (query.len() as f64 + 2.0) * EPSILON * magnitude + (2.0 * keys.len() as f64 + 16.0) * EPSILON;
    let relative = relative.exp_m1();
    let columns = values[0].len();
    let mut out = vec![0.0; columns];
    let mut error = vec![0.0; columns];
    for (value, weight) in values.iter().zip(&weights) {
        for column in 0..columns {
            let term = weight / sum * f64::from(value[column]);
            out[column] += term;
            // A weight below the smallest `f32` may be anything below it.
            error[column] += 2.0 * relative * term.abs() + 2e-37 * f64::from(value[column]).abs();
        }
    }
    (out, error)
}

fn check(lengths: &[usize], heads: &Heads, qkv: &[f32]) {
    let sequences = Sequences::from_lengths(lengths.iter().copied());
    let width = heads.count * heads.dim;
    let row = |token: usize| &qkv[token * 3 * width..][..3 * width];
    for isa in Isa::available() {
        let mut executor = Executor::inline(isa);
        let matrix = matrix_of(&mut executor, sequences.tokens(), 3 * width, qkv);
        let mut out = dirty(&mut executor, sequences.tokens(), width);
        executor.attention(&matrix, &sequences, heads, &mut out);
        for tokens in sequences.iter() {
            for head in 0..heads.count {
                let column = head * heads.dim;
                let part = |token, part: usize| &row(token)[part * width + column..][..heads.dim];
                let keys: Vec<&[f32]> = tokens.clone().map(|token| part(token, 1)).collect();
                let values: Vec<&[f32]> = tokens.clone().map(|token| part(token, 2)).collect();
                // Every query of a short sequence, some of a long one.
                for token in tokens.clone().step_by(tokens.len().div_ceil(40).max(1)) {
                    let (expected, error) = reference(part(token, 0), &keys, &values, heads.scale);
                    let found = &out.row(token)[column..][..heads.dim];
                    for d in 0..heads.dim {
                        assert!(
                            (f64::from(found[d]) - expected[d]).abs() <= error[d],
                            "{isa} lengths {lengths:?} {heads:?} token {token} head {head} column {d}: {} for {} +- {:e}",
                            found[d],
                            expected[d],
                            error[d]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn lengths_around_every_boundary_and_all_head_sizes() {
    let mut random = Random(11);
    for dim in [1, 8, 12, 16, 32, 64, 80] {
        let heads = Heads { count: 1 + random.below(3), dim, scale: 1.0 / (dim as f32).sqrt() };
        for lengths in [&[0, 1, 15, 16, 17][..], &[5, 0, 6, 7, 2, 3, 4], &[513], &[33, 128, 1, 1], &[]] {
            let tokens: usize = lengths.iter().sum();
            let qkv = random.values(tokens * 3 * heads.count * dim);
            check(lengths, &heads, &qkv);
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let mut random = Random(12);
    for (dim, length) in [(8, 20), (64, 50)] {
        let heads = Heads { count: 2, dim, scale: 1.0 };
        // Whole numbers, so that scores near +-10^4 are exact and only the softmax can be wrong.
        let magnitude = (1e4f64 / dim as f64).sqrt() as usize;
        let qkv: Vec<f32> = (0..length * 6 * dim)
            .map(|i| {
                let value = (magnitude - random.below(3)) as f32;
                if (i / dim) % 6 < 4 && random.bits().is_multiple_of(2) { -value } else { value }
            })
            .collect();
        check(&[length], &heads, &qkv);
        // All keys alike: the mean of the values, however large the score.
        let sequences = Sequences::from_lengths([length]);
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let qkv: Vec<f32> =
                (0..length * 6 * dim).map(|i| if i % (6 * dim) < 4 * dim { 100.0 } else { 2.5 }).collect();
            let matrix = matrix_of(&mut executor, length, 6 * dim, &qkv);
            let mut out = dirty(&mut executor, length, 2 * dim);
            executor.attention(&matrix, &sequences, &heads, &mut out);
            assert!(out.row(length - 1).iter().all(|out| (out - 2.5).abs() < 1e-5), "{isa} {:?}", out.row(length - 1));
        }
    }
}

#[test]
fn a_nan_comes_out_of_its_own_sequence_and_head_only() {
    let mut random = Random(13);
    let heads = Heads { count: 2, dim: 12, scale: 0.3 };
    let sequences = Sequences::from_lengths([4, 19, 3]);
    for isa in Isa::available() {
        for length in 0..19 {
            // In a query, a key, a value of head 1 of the token `4 + length`.
            for part in 0..3 {
                let mut qkv = random.values(26 * 72);
                qkv[(4 + length) * 72 + part * 24 + 12 + random.below(12)] = f32::NAN;
                let mut executor = Executor::inline(isa);
                let matrix = matrix_of(&mut executor, 26, 72, &qkv);
                let mut out = dirty(&mut executor, 26, 24);
                executor.attention(&matrix, &sequences, &heads, &mut out);
                for token in 0..26 {
                    let row = out.row(token);
                    assert!(row[..12].iter().all(|value| value.is_finite()), "{isa} head 0 of token {token}");
                    let nans = row[12..].iter().filter(|value| value.is_nan()).count();
                    let expected = match part {
                        0 if token == 4 + length => 12,
                        1 if (4..23).contains(&token) => 12,
                        2 if (4..23).contains(&token) => 1,
                        _ => 0,
                    };
                    assert_eq!(nans, expected, "{isa} part {part} of token {}: token {token} has {row:?}", 4 + length);
                }
            }
        }
    }
}

#[test]
fn a_single_token_attends_to_itself() {
    for isa in Isa::available() {
        let mut executor = Executor::inline(isa);
        let qkv = Random(14).values(3 * 80);
        let matrix = matrix_of(&mut executor, 1, 240, &qkv);
        let mut out = dirty(&mut executor, 1, 80);
        let heads = Heads { count: 1, dim: 80, scale: 0.11 };
        executor.attention(&matrix, &Sequences::from_lengths([1]), &heads, &mut out);
        assert_eq!(bits(out.row(0)), bits(&qkv[160..]), "{isa}");
    }
}

#[test]
#[should_panic(expected = "shape of a query-key-value matrix")]
fn a_matrix_of_another_shape_is_refused() {
    let mut executor = Executor::inline(Isa::Portable);
    let (qkv, mut out) = (executor.matrix(4, 24), executor.matrix(4, 8));
    let heads = Heads { count: 2, dim: 4, scale: 0.5 };
    executor.attention(&qkv, &Sequences::from_lengths([5]), &heads, &mut out);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_lengths_and_heads(
        seed: u64,
        lengths in prop::collection::vec(0usize..60, 1..6),
        count in 1usize..4,
        dim in 1usize..=80,
        scale in 0.02f32..1.5,
    ) {
        let heads = Heads { count, dim, scale };
        let tokens: usize = lengths.iter().sum();
        check(&lengths, &heads, &Random(seed).values(tokens * 3 * count * dim));
    }
}
