//! Attention against a softmax in double precision, on every instruction set of the host.

#![allow(clippy::unwrap_used)]

mod common;

use common::{EPSILON, Random, bits, bits_of, dirty, executors, matrix_of};
use docent_kernels::{DistanceBiases, Distances, Executor, Heads, Isa, Mask, Matrix, Queries, Rows, Sequences};
use proptest::prelude::*;

/// One query's place and what it may look at.
struct Query<'a> {
    query: &'a [f32],
    keys: Vec<&'a [f32]>,
    values: Vec<&'a [f32]>,
    /// What each score loses by distance.
    losses: Vec<f64>,
    scale: f32,
}

/// One head's output for one query, with the bound that an `f32` computation must keep: every score is off by the
/// rounding of its sum, which the exponential turns into a relative error of each weight.
fn reference(of: &Query<'_>) -> (Vec<f64>, Vec<f64>) {
    let Query { query, keys, values, losses, scale } = of;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let scores: Vec<f64> =
        keys.iter().zip(losses).map(|(key, loss)| dot(query, key) * f64::from(*scale) - loss).collect();
    let magnitude = keys
        .iter()
        .zip(losses)
        .map(|(key, loss)| {
            let products = query.iter().zip(*key).map(|(&a, &b)| f64::from((a * b).abs()));
            products.sum::<f64>() * f64::from(scale.abs()) + loss.abs()
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

/// Whether the token at `query` sees the one at `key`, from the words of the documentation.
fn sees(mask: Mask, query: usize, key: usize) -> bool {
    match mask {
        Mask::Full => true,
        Mask::Causal => key <= query,
        Mask::Window { left, .. } if key <= query => query - key <= left,
        Mask::Window { right, .. } => key - query <= right,
    }
}

fn run(executor: &mut Executor, lengths: &[usize], heads: &Heads, mask: Mask, qkv: &[f32]) -> Matrix {
    let sequences = Sequences::from_lengths(lengths.iter().copied());
    let matrix = matrix_of(executor, sequences.tokens(), heads.columns(), qkv);
    let mut out = dirty(executor, sequences.tokens(), heads.count * heads.dim);
    executor.attention(&matrix, &sequences, heads, mask, &mut out);
    executor.recycle(matrix);
    out
}

fn random_qkv(random: &mut Random, lengths: &[usize], heads: &Heads) -> Vec<f32> {
    random.values(lengths.iter().sum::<usize>() * heads.columns())
}

/// What scores gain in heads that are [`biased`].
fn bias(head: usize, distance: i64) -> f32 {
    3.0 * ((distance * (7 + head as i64)) as f32 * 0.37 + head as f32).sin()
}

fn biased(heads: &Heads, positions: usize) -> Heads {
    heads.clone().biased(DistanceBiases::new(heads.count, positions, bias))
}

fn check(lengths: &[usize], heads: &Heads, mask: Mask, qkv: &[f32]) {
    let sequences = Sequences::from_lengths(lengths.iter().copied());
    let &Heads { count, kv_count, dim, scale, .. } = heads;
    let part = |token: usize, head: usize| &qkv[(token * heads.columns() + head * dim)..][..dim];
    for isa in Isa::available() {
        let out = run(&mut Executor::inline(isa), lengths, heads, mask, qkv);
        for tokens in sequences.iter() {
            // Every query of a short sequence, some of a long one.
            for token in tokens.clone().step_by(tokens.len().div_ceil(40).max(1)) {
                let place = token - tokens.start;
                let visible = || tokens.clone().filter(|&key| sees(mask, place, key - tokens.start));
                for head in 0..count {
                    let slope = heads.slopes.get(head).map_or(0.0, |&slope| f64::from(slope));
                    let shared = head / (count / kv_count);
                    let loss = |key: usize| {
                        let distance = key as i64 - token as i64;
                        let gain = heads.biases.as_ref().map_or(0.0, |_| f64::from(bias(head, distance)));
                        slope * distance.abs() as f64 - gain
                    };
                    let (expected, error) = reference(&Query {
                        query: part(token, head),
                        keys: visible().map(|key| part(key, count + shared)).collect(),
                        values: visible().map(|key| part(key, count + kv_count + shared)).collect(),
                        losses: visible().map(loss).collect(),
                        scale,
                    });
                    let found = &out.row(token)[head * dim..][..dim];
                    for d in 0..dim {
                        assert!(
                            (f64::from(found[d]) - expected[d]).abs() <= error[d],
                            "{isa} lengths {lengths:?} {heads:?} {mask:?} token {token} head {head} column {d}: \
                             {} for {} +- {:e}",
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

const MASKS: [Mask; 7] = [
    Mask::Full,
    Mask::Causal,
    Mask::Window { left: 64, right: 64 },
    Mask::Window { left: 3, right: 3 },
    Mask::Window { left: 20, right: 0 },
    Mask::Window { left: 0, right: 7 },
    Mask::Window { left: 0, right: 0 },
];

/// With embeddings of distances, each of the keys' terms a part of one product: `q . k + q . K + Q . k`.
#[test]
fn scores_by_distance_are_those_of_the_definition() {
    let mut random = Random(29);
    for (count, dim, embeddings, near) in [(2, 32, 33, 9), (1, 64, 512, 256), (3, 12, 7, 3), (2, 5, 1, 0)] {
        let heads = Heads::new(count, dim);
        let width = count * dim;
        for lengths in [&[1, 0, 17, 6][..], &[130], &[33, 5, 64]] {
            let sequences = Sequences::from_lengths(lengths.iter().copied());
            let row_of = |distance: i64| (distance.clamp(-near, near) + near).min(embeddings as i64 - 1) as usize;
            let values = random.values(embeddings * 2 * width);
            let qkv = random_qkv(&mut random, lengths, &heads);
            let mut results = Vec::new();
            for mut executor in Isa::available().flat_map(executors) {
                let projected = matrix_of(&mut executor, embeddings, 2 * width, &values);
                let distances = Distances::new(&projected, &heads, sequences.longest() + 3, row_of);
                let matrix = matrix_of(&mut executor, sequences.tokens(), heads.columns(), &qkv);
                let mut out = dirty(&mut executor, sequences.tokens(), width);
                let queries = Queries { matrix: &matrix, rows: Rows::All };
                executor.relative_attention_of(queries, &matrix, &sequences, &heads, &distances, &mut out);
                // Of the first tokens alone, the same bits.
                let first = Queries { matrix: &first_rows(&mut executor, &matrix, &sequences), rows: Rows::First };
                let mut of_first = dirty(&mut executor, first.matrix.rows(), width);
                if lengths.iter().all(|&length| length > 0) {
                    executor.relative_attention_of(first, &matrix, &sequences, &heads, &distances, &mut of_first);
                    for (row, tokens) in sequences.iter().enumerate() {
                        assert_eq!(bits(of_first.row(row)), bits(out.row(tokens.start)), "{lengths:?}");
                    }
                }
                results.push((executor.isa(), out));
            }
            for tokens in sequences.iter() {
                for (token, head) in tokens.clone().flat_map(|token| (0..count).map(move |head| (token, head))) {
                    let part = |token: usize, part: usize| &qkv[token * 3 * width + part * width + head * dim..][..dim];
                    let embedding = |key: usize, part: usize| {
                        let row = row_of(token as i64 - key as i64);
                        &values[row * 2 * width + part * width + head * dim..][..dim]
                    };
                    let query = [part(token, 0), part(token, 0), &vec![1.0; dim]].concat();
                    let keys: Vec<Vec<f32>> = tokens
                        .clone()
                        .map(|key| {
                            let third = embedding(key, 0).iter().zip(part(key, 1)).map(|(q, k)| q * k);
                            [part(key, 1), embedding(key, 1), &third.collect::<Vec<_>>()].concat()
                        })
                        .collect();
                    let (expected, error) = reference(&Query {
                        query: &query,
                        keys: keys.iter().map(Vec::as_slice).collect(),
                        values: tokens.clone().map(|key| part(key, 2)).collect(),
                        losses: vec![0.0; tokens.len()],
                        scale: heads.scale,
                    });
                    for (isa, out) in &results {
                        for (column, &found) in out.row(token)[head * dim..][..dim].iter().enumerate() {
                            let off = (f64::from(found) - expected[column]).abs();
                            assert!(off <= error[column], "{isa} {lengths:?} {heads:?} token {token}: {off:e}");
                        }
                    }
                }
            }
        }
    }
}

/// The rows of the first token of each sequence that has one.
fn first_rows(executor: &mut Executor, matrix: &Matrix, sequences: &Sequences) -> Matrix {
    let firsts: Vec<usize> = sequences.iter().filter(|tokens| !tokens.is_empty()).map(|tokens| tokens.start).collect();
    let mut out = executor.matrix(firsts.len(), matrix.columns());
    executor.take_rows(matrix, &firsts, &mut out);
    out
}

#[test]
fn lengths_around_every_boundary_and_all_head_sizes() {
    let mut random = Random(11);
    for dim in [1, 8, 12, 16, 32, 64, 80] {
        let heads = Heads::new(1 + random.below(3), dim);
        for lengths in [&[0, 1, 15, 16, 17][..], &[5, 0, 6, 7, 2, 3, 4], &[513], &[33, 128, 1, 1], &[]] {
            check(lengths, &heads, Mask::Full, &random_qkv(&mut random, lengths, &heads));
        }
    }
}

#[test]
fn every_mask_on_every_kind_of_heads() {
    let mut random = Random(15);
    for heads in [Heads::new(2, 32), Heads::new(6, 16).grouped(2), Heads::new(3, 20).grouped(1)] {
        for heads in [heads.clone(), biased(&heads, 200), biased(&heads, 321).with_alibi(8.0), heads.with_alibi(8.0)] {
            for mask in MASKS {
                for lengths in [&[1, 0, 2, 5, 6, 7, 12, 13][..], &[33, 70], &[200]] {
                    check(lengths, &heads, mask, &random_qkv(&mut random, lengths, &heads));
                }
            }
        }
    }
}

/// Longer than the keys that are packed at a time, which for 256 columns are 128.
#[test]
fn sequences_of_several_blocks() {
    let mut random = Random(16);
    for (heads, lengths) in [
        (Heads::new(2, 256).grouped(1), &[300, 128, 129, 5][..]),
        (Heads::new(1, 128), &[520]),
        (Heads::new(1, 64).with_alibi(8.0), &[1030]),
        (Heads::new(1, 20), &[2100]),
        (biased(&Heads::new(1, 64), 1030), &[1030]),
        (biased(&Heads::new(2, 256).grouped(1), 400), &[300, 128, 129, 5]),
    ] {
        for mask in [&MASKS[..], &[Mask::Window { left: 200, right: 100 }]].concat() {
            check(lengths, &heads, mask, &random_qkv(&mut random, lengths, &heads));
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let mut random = Random(12);
    for (dim, length) in [(8, 20), (64, 50), (256, 300)] {
        let heads = Heads { scale: 1.0, ..Heads::new(2, dim) };
        // Whole numbers, so that scores near +-10^4 are exact and only the softmax can be wrong.
        let magnitude = (1e4f64 / dim as f64).sqrt() as usize;
        let qkv: Vec<f32> = (0..length * 6 * dim)
            .map(|i| {
                let value = (magnitude - random.below(3)) as f32;
                if (i / dim) % 6 < 4 && random.bits().is_multiple_of(2) { -value } else { value }
            })
            .collect();
        for mask in MASKS {
            check(&[length], &heads, mask, &qkv);
        }
        // All keys alike: the mean of the values, however large the score.
        for isa in Isa::available() {
            let qkv: Vec<f32> =
                (0..length * 6 * dim).map(|i| if i % (6 * dim) < 4 * dim { 100.0 } else { 2.5 }).collect();
            for mask in MASKS {
                let out = run(&mut Executor::inline(isa), &[length], &heads, mask, &qkv);
                let row = out.row(length - 1);
                assert!(row.iter().all(|out| (out - 2.5).abs() < 1e-5), "{isa} {mask:?} {row:?}");
            }
        }
    }
}

/// In a query it reaches that token, in a key or a value those that see the token, in its own head and sequence.
#[test]
fn a_nan_reaches_only_those_who_see_it() {
    let mut random = Random(13);
    // Within a block, and over several.
    for (heads, lengths, step) in
        [(Heads::new(4, 12).grouped(2), [4, 19, 3], 1), (Heads::new(2, 1024).grouped(1), [3, 37, 2], 9)]
    {
        let Heads { count, kv_count, dim, .. } = heads;
        let (before, length) = (lengths[0], lengths[1]);
        for mask in MASKS {
            for place in (0..length).step_by(step) {
                let clean = random_qkv(&mut random, &lengths, &heads);
                let column = random.below(dim);
                // The last head of queries, of keys, of values.
                for (part, last_head) in [count - 1, count + kv_count - 1, count + 2 * kv_count - 1].iter().enumerate()
                {
                    let mut qkv = clean.clone();
                    qkv[(before + place) * heads.columns() + last_head * dim + column] = f32::NAN;
                    for isa in Isa::available() {
                        let out = run(&mut Executor::inline(isa), &lengths, &heads, mask, &qkv);
                        for token in 0..lengths.iter().sum() {
                            for head in 0..count {
                                let row = &out.row(token)[head * dim..][..dim];
                                let nans = row.iter().filter(|value| value.is_nan()).count();
                                let in_sequence = (before..before + length).contains(&token);
                                let in_group = head / (count / kv_count) == kv_count - 1;
                                let sees = in_sequence && in_group && sees(mask, token - before, place);
                                let expected = match part {
                                    0 if token == before + place && head == count - 1 => dim,
                                    1 if sees => dim,
                                    2 if sees => 1,
                                    _ => 0,
                                };
                                assert_eq!(
                                    nans, expected,
                                    "{isa} {mask:?} part {part} of token {place} in token {token} head {head}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_single_token_attends_to_itself() {
    for isa in Isa::available() {
        let qkv = Random(14).values(3 * 80);
        for mask in MASKS {
            let out = run(&mut Executor::inline(isa), &[1], &Heads::new(1, 80), mask, &qkv);
            assert_eq!(bits(out.row(0)), bits(&qkv[160..]), "{isa} {mask:?}");
        }
    }
}

#[test]
fn a_mask_that_hides_nothing_and_heads_that_share_nothing_new_change_no_bit() {
    let mut random = Random(17);
    let everything = Mask::Window { left: usize::MAX, right: usize::MAX };
    let past = Mask::Window { left: 1000, right: 0 };
    for (dim, length) in [(32, 1), (32, 50), (48, 300), (256, 200)] {
        let grouped = Heads::new(4, dim).grouped(2);
        let qkv = random_qkv(&mut random, &[length], &grouped);
        // The same with every shared head written out for each head of queries.
        let repeated: Vec<f32> = qkv
            .chunks(8 * dim)
            .flat_map(|row| [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7].map(|head| &row[head * dim..][..dim]).concat())
            .collect();
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let mut bits = |heads: &Heads, mask, qkv: &[f32]| bits_of(&run(&mut executor, &[length], heads, mask, qkv));
            let (full, causal) = (bits(&grouped, Mask::Full, &qkv), bits(&grouped, Mask::Causal, &qkv));
            assert!(bits(&grouped, everything, &qkv) == full, "{isa} {dim} x {length}");
            assert!(bits(&grouped, past, &qkv) == causal, "{isa} {dim} x {length}");
            assert!(bits(&Heads::new(4, dim), Mask::Full, &repeated) == full, "{isa} {dim} x {length}");
            assert!(bits(&Heads::new(4, dim), Mask::Causal, &repeated) == causal, "{isa} {dim} x {length}");
            let flat = Heads { slopes: vec![0.0; 4], ..grouped.clone() };
            assert!(bits(&flat, Mask::Full, &qkv) == full, "{isa} {dim} x {length}");
            let unbiased = grouped.clone().biased(DistanceBiases::new(4, 300, |_, _| 0.0));
            assert!(bits(&unbiased, Mask::Full, &qkv) == full, "{isa} {dim} x {length}");
        }
    }
}

#[test]
fn what_follows_a_token_changes_no_bit_of_it_under_a_causal_mask() {
    let mut random = Random(18);
    for (heads, length) in [(Heads::new(2, 16), 40), (Heads::new(2, 256).grouped(1), 290)] {
        let qkv = random_qkv(&mut random, &[length], &heads);
        for mask in [Mask::Causal, Mask::Window { left: 9, right: 0 }] {
            for isa in Isa::available() {
                let mut executor = Executor::inline(isa);
                let whole = bits_of(&run(&mut executor, &[length], &heads, mask, &qkv));
                for cut in [1, 2, 5, 6, 7, 17, 29, 38, length - 1] {
                    let out = run(&mut executor, &[cut], &heads, mask, &qkv[..cut * heads.columns()]);
                    assert!(bits_of(&out) == whole[..cut], "{isa} {mask:?}: the first {cut} of {length}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "shape of a query-key-value matrix")]
fn a_matrix_of_another_shape_is_refused() {
    let mut executor = Executor::inline(Isa::Portable);
    let (qkv, mut out) = (executor.matrix(4, 24), executor.matrix(4, 8));
    executor.attention(&qkv, &Sequences::from_lengths([5]), &Heads::new(2, 4), Mask::Full, &mut out);
}

#[test]
#[should_panic(expected = "heads of queries on 2 of keys and values")]
fn heads_that_cannot_be_shared_evenly_are_refused() {
    run(&mut Executor::inline(Isa::Portable), &[1], &Heads::new(3, 4).grouped(2), Mask::Full, &[0.0; 28]);
}

#[test]
#[should_panic(expected = "slopes of 2 heads")]
fn slopes_for_some_heads_are_refused() {
    let heads = Heads { slopes: vec![0.5], ..Heads::new(2, 4) };
    run(&mut Executor::inline(Isa::Portable), &[1], &heads, Mask::Full, &[0.0; 24]);
}

#[test]
#[should_panic(expected = "heads of biases")]
fn biases_for_some_heads_are_refused() {
    let heads = Heads::new(2, 4).biased(DistanceBiases::new(1, 8, bias));
    run(&mut Executor::inline(Isa::Portable), &[1], &heads, Mask::Full, &[0.0; 24]);
}

#[test]
#[should_panic(expected = "a sequence of 4 tokens with biases for 3")]
fn sequences_longer_than_biases_are_refused() {
    let heads = biased(&Heads::new(1, 1), 3);
    run(&mut Executor::inline(Isa::Portable), &[1, 4], &heads, Mask::Full, &[0.0; 15]);
}

#[test]
#[should_panic(expected = "First of a sequence of 0 tokens")]
fn the_first_row_of_an_empty_sequence_is_refused() {
    let mut executor = Executor::inline(Isa::Portable);
    let (qkv, queries, mut out) = (executor.matrix(1, 24), executor.matrix(2, 24), executor.matrix(2, 8));
    let queries = Queries { matrix: &queries, rows: Rows::First };
    let sequences = Sequences::from_lengths([1, 0]);
    executor.attention_of(queries, &qkv, &sequences, &Heads::new(2, 4), Mask::Full, &mut out);
}

fn masks() -> impl Strategy<Value = Mask> {
    prop_oneof![
        Just(Mask::Full),
        Just(Mask::Causal),
        (0usize..40, 0usize..40).prop_map(|(left, right)| Mask::Window { left, right }),
        (0usize..40).prop_map(|left| Mask::Window { left, right: 0 }),
    ]
}

prop_compose! {
    fn heads()(
        groups in 1usize..4, kv_count in 1usize..4, dim in 1usize..=80, scale in 0.02f32..1.5, max_bias in 0.0f32..16.0,
        by_distance: bool,
    ) -> Heads {
        let heads = Heads { scale, ..Heads::new(groups * kv_count, dim) }.grouped(kv_count);
        let heads = if by_distance { biased(&heads, 200) } else { heads };
        if max_bias < 8.0 { heads } else { heads.with_alibi(max_bias) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_lengths_heads_and_mask(
        seed: u64,
        lengths in prop::collection::vec(0usize..60, 1..6),
        heads in heads(),
        mask in masks(),
    ) {
        check(&lengths, &heads, mask, &random_qkv(&mut Random(seed), &lengths, &heads));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The guarantee on bits: whatever else is in the batch, however it is divided among threads, whichever queries are asked.
    #[test]
    fn a_query_has_the_same_bits_in_any_company(
        seed: u64,
        lengths in prop::collection::vec(prop_oneof![4 => 1usize..40, 1 => 100usize..200], 1..5),
        heads in heads(),
        mask in masks(),
        wide: bool,
    ) {
        // Columns enough that the longer sequences take several blocks.
        let heads = if wide { Heads { dim: 300, ..heads } } else { heads };
        let sequences = Sequences::from_lengths(lengths.iter().copied());
        let qkv = random_qkv(&mut Random(seed), &lengths, &heads);
        for isa in Isa::available() {
            let mut alone = Executor::inline(isa);
            let expected: Vec<Vec<u32>> = sequences
                .iter()
                .flat_map(|tokens| {
                    let qkv = &qkv[tokens.start * heads.columns()..tokens.end * heads.columns()];
                    bits_of(&run(&mut alone, &[tokens.len()], &heads, mask, qkv))
                })
                .collect();
            for mut executor in executors(isa) {
                let out = run(&mut executor, &lengths, &heads, mask, &qkv);
                prop_assert!(bits_of(&out) == expected, "{} {:?} {:?} {:?}", isa, lengths, heads, mask);
                for rows in [Rows::First, Rows::Last] {
                    let chosen = |tokens: std::ops::Range<usize>| {
                        if rows == Rows::First { tokens.start } else { tokens.end - 1 }
                    };
                    let chosen: Vec<usize> = sequences.iter().map(chosen).collect();
                    // In the matrix of keys and values, queries are not read; in that of queries, nothing else.
                    let (mut keys, width) = (qkv.clone(), heads.queries().end);
                    keys.chunks_mut(heads.columns()).for_each(|row| row[..width].fill(f32::NAN));
                    let queries: Vec<f32> =
                        chosen.iter().flat_map(|token| &qkv[token * heads.columns()..][..width]).copied().collect();
                    let queries = matrix_of(&mut executor, chosen.len(), width, &queries);
                    let keys = matrix_of(&mut executor, sequences.tokens(), heads.columns(), &keys);
                    let mut out = dirty(&mut executor, chosen.len(), width);
                    let of = Queries { matrix: &queries, rows };
                    executor.attention_of(of, &keys, &sequences, &heads, mask, &mut out);
                    for (row, &token) in chosen.iter().enumerate() {
                        prop_assert!(bits(out.row(row)) == expected[token], "{} {:?} {:?}", isa, rows, mask);
                    }
                }
            }
        }
    }
}
