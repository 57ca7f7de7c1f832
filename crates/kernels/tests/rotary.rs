//! Rotary position embedding, and norms of parts of rows, against double precision.

#![allow(clippy::unwrap_used)]

mod common;

use common::{EPSILON, Random, bits_of, dirty, executors, matrix_of};
use docent_kernels::{Executor, Frequencies, Isa, Norm, Rotary, RotaryStyle, Yarn};
use proptest::prelude::*;

/// The second column of the pair that starts with `first`, by the definition of the style.
fn partner(style: RotaryStyle, pairs: usize, pair: usize) -> (usize, usize) {
    match style {
        RotaryStyle::Halves => (pair, pair + pairs),
        RotaryStyle::Interleaved => (2 * pair, 2 * pair + 1),
    }
}

fn check(style: RotaryStyle, head_dim: usize, frequencies: &Frequencies, positions: &[u32], seed: u64) {
    const HEADS: usize = 3;
    let mut random = Random(seed);
    let (rows, width) = (positions.len(), (HEADS + 1) * head_dim + 5);
    let values = random.values(rows * width);
    let rotary = Rotary::new(style, head_dim, frequencies, 40_000).unwrap();
    // Before the heads that are turned is one that is not, after them some columns.
    let columns = head_dim..(HEADS + 1) * head_dim;
    for isa in Isa::available() {
        let mut executor = Executor::inline(isa);
        let mut x = matrix_of(&mut executor, rows, width, &values);
        executor.rotary(&mut x, columns.clone(), positions, &rotary);
        for (row, &position) in positions.iter().enumerate() {
            let (before, found) = (&values[row * width..][..width], x.row(row));
            let (mut expected, mut error): (Vec<f64>, Vec<f64>) =
                before.iter().map(|&value| (f64::from(value), 0.0)).unzip();
            for head in 1..=HEADS {
                for (pair, angle) in frequencies.angles().iter().enumerate() {
                    let (first, second) = partner(style, frequencies.angles().len(), pair);
                    let (first, second) = (head * head_dim + first, head * head_dim + second);
                    let (a, b) = (f64::from(before[first]), f64::from(before[second]));
                    let (sin, cos) = (f64::from(position) * angle).sin_cos();
                    let magnitude = frequencies.magnitude();
                    (expected[first], expected[second]) =
                        (magnitude * (a * cos - b * sin), magnitude * (b * cos + a * sin));
                    let bound = 2.0 * EPSILON * magnitude * (a.abs() + b.abs());
                    (error[first], error[second]) = (bound, bound);
                }
            }
            for column in 0..width {
                assert!(
                    (f64::from(found[column]) - expected[column]).abs() <= error[column],
                    "{isa} {style:?} {head_dim} position {position} column {column}: {} for {}",
                    found[column],
                    expected[column]
                );
            }
        }
    }
}

const STYLES: [RotaryStyle; 2] = [RotaryStyle::Halves, RotaryStyle::Interleaved];

#[test]
fn queries_and_keys_turn_by_their_positions() {
    let positions = [0, 1, 2, 127, 128, 129, 4095, 8191, 39_999];
    for style in STYLES {
        for (head_dim, dims, base) in
            [(64, 64, 1e4), (128, 128, 1e6), (256, 256, 1e6), (32, 32, 160_000.0), (80, 20, 1e4)]
        {
            check(style, head_dim, &Frequencies::new(dims, base), &positions, 71);
        }
        let factors: Vec<f32> = (0..32).map(|pair| 1.0 + pair as f32).collect();
        check(style, 64, &Frequencies::new(64, 5e5).divided_by_each(&factors).unwrap(), &positions, 72);
        check(style, 64, &Frequencies::new(64, 1e4).divided_by(8.0), &positions, 73);
        let yarn = Yarn { factor: 4.0, original_positions: 8192, fast: 32.0, slow: 1.0, magnitude: None };
        check(style, 64, &Frequencies::new(64, 1e6).yarn(1e6, &yarn), &positions, 74);
    }
}

#[test]
#[should_panic(expected = "position 7 of 7")]
fn a_position_beyond_the_table_is_refused() {
    let rotary = Rotary::new(RotaryStyle::Halves, 8, &Frequencies::new(8, 1e4), 7).unwrap();
    let mut executor = Executor::inline(Isa::Portable);
    let mut x = executor.matrix(1, 8);
    executor.rotary(&mut x, 0..8, &[7], &rotary);
}

#[test]
#[should_panic(expected = "columns 0..12 in parts of 8")]
fn half_a_head_is_refused() {
    let rotary = Rotary::new(RotaryStyle::Halves, 8, &Frequencies::new(8, 1e4), 7).unwrap();
    let mut executor = Executor::inline(Isa::Portable);
    let mut x = executor.matrix(1, 16);
    executor.rotary(&mut x, 0..12, &[0], &rotary);
}

#[test]
#[should_panic(expected = "columns 8..24 of a matrix of 16")]
fn columns_beyond_the_matrix_are_refused() {
    let mut executor = Executor::inline(Isa::Portable);
    let mut x = executor.matrix(1, 16);
    executor.rms_norm_columns(&mut x, 8..24, &Norm::new(vec![1.0; 8], None, 1e-6).unwrap());
}

#[test]
fn heads_are_normalised_each_for_itself() {
    let mut random = Random(75);
    for (head_dim, heads) in [(128, 3), (20, 2), (1, 5)] {
        let (rows, width) = (7, head_dim * (heads + 2));
        let gain = random.values(head_dim);
        let norm = Norm::new(gain.clone(), None, 1e-6).unwrap();
        let values = random.values(rows * width);
        let columns = head_dim..head_dim * (heads + 1);
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let mut rms = matrix_of(&mut executor, rows, width, &values);
            executor.rms_norm_columns(&mut rms, columns.clone(), &norm);
            let mut centred = matrix_of(&mut executor, rows, width, &values);
            executor.layer_norm_columns(&mut centred, columns.clone(), &norm);
            for row in 0..rows {
                let before = &values[row * width..][..width];
                for (head, x) in before.chunks(head_dim).enumerate() {
                    let at = head * head_dim..(head + 1) * head_dim;
                    let (rms, centred) = (&rms.row(row)[at.clone()], &centred.row(row)[at.clone()]);
                    if !columns.contains(&at.start) {
                        assert!(rms == x && centred == x, "{isa} head {head} was not to change");
                        continue;
                    }
                    // The same as a row that is nothing but the head.
                    let mut alone = matrix_of(&mut executor, 1, head_dim, x);
                    executor.layer_norm(&mut alone, &norm);
                    assert_eq!(centred, alone.row(0), "{isa} head {head}");
                    let square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / head_dim as f64;
                    for ((found, &x), &gain) in rms.iter().zip(x).zip(&gain) {
                        let expected = f64::from(x) / (square + f64::from(1e-6f32)).sqrt() * f64::from(gain);
                        let bound = (head_dim as f64 + 8.0) * EPSILON * expected.abs() + 1e-30;
                        assert!((f64::from(*found) - expected).abs() <= bound, "{isa} {found} for {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn scaling_multiplies_every_value() {
    let mut executor = Executor::inline(Isa::best());
    let mut x = matrix_of(&mut executor, 2, 3, &[1.0, -2.0, 3.0, 0.5, 0.0, -1.0]);
    executor.scale(&mut x, 27.712_812);
    assert_eq!(x.row(0), [27.712_812, -55.425_624, 83.138_436]);
    assert_eq!(x.row(1), [13.856_406, 0.0, -27.712_812]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_shape(
        seed: u64,
        style in prop::sample::select(&STYLES[..]),
        pairs in 0usize..70,
        rest in 0usize..20,
        base in 2.0f64..1e6,
        positions in prop::collection::vec(0u32..40_000, 0..12),
    ) {
        check(style, 2 * pairs + rest + usize::from(pairs + rest == 0), &Frequencies::new(2 * pairs, base), &positions, seed);
    }

    #[test]
    fn a_token_turns_alike_in_any_company(
        seed: u64,
        style in prop::sample::select(&STYLES[..]),
        pairs in 1usize..40,
        positions in prop::collection::vec(0u32..3000, 1..90),
    ) {
        let mut random = Random(seed);
        let head_dim = 2 * pairs + random.below(5);
        let width = 4 * head_dim;
        let rotary = Rotary::new(style, head_dim, &Frequencies::new(2 * pairs, 1e4), 3000).unwrap();
        let norm = Norm::new(random.values(head_dim), None, 1e-6).unwrap();
        let values = random.values(positions.len() * width);
        for isa in Isa::available() {
            let mut alone = Executor::inline(isa);
            let mut expected = Vec::new();
            for (row, &position) in values.chunks(width).zip(&positions) {
                let mut x = matrix_of(&mut alone, 1, width, row);
                alone.rms_norm_columns(&mut x, 0..3 * head_dim, &norm);
                alone.rotary(&mut x, 0..3 * head_dim, &[position], &rotary);
                expected.extend(bits_of(&x));
            }
            for mut executor in executors(isa) {
                let scratch = dirty(&mut executor, positions.len(), width);
                executor.recycle(scratch);
                let mut x = matrix_of(&mut executor, positions.len(), width, &values);
                executor.rms_norm_columns(&mut x, 0..3 * head_dim, &norm);
                executor.rotary(&mut x, 0..3 * head_dim, &positions, &rotary);
                prop_assert!(bits_of(&x) == expected, "{} {:?}", isa, style);
            }
        }
    }
}
