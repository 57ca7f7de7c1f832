//! Linear layers against sums in double precision, on every instruction set of the host.

#![allow(clippy::unwrap_used)]

mod common;

use common::{EPSILON, Random, TYPES, Weights, dirty, matrix_of};
use docent_kernels::{Activation, Epilogue, Executor, Isa, Linear, RawMatrix, ThreadPool, WeightError, WeightType};
use half::f16;
use proptest::prelude::*;

const EPILOGUES: [Epilogue; 10] = [
    Epilogue::Assign,
    Epilogue::Add,
    Epilogue::Multiply,
    Epilogue::Activate(Activation::Gelu),
    Epilogue::Activate(Activation::GeluTanh),
    Epilogue::Activate(Activation::Relu),
    Epilogue::Activate(Activation::Silu),
    Epilogue::Activate(Activation::Tanh),
    Epilogue::AddActivate(Activation::Gelu),
    Epilogue::AddActivate(Activation::Relu),
];

/// A part of a stacked layer.
struct Part {
    weights: Weights,
    bias: Option<Vec<f32>>,
}

fn pack(parts: &[Part]) -> Linear {
    let parts: Vec<(RawMatrix<'_>, Option<&[f32]>)> =
        parts.iter().map(|part| (part.weights.raw(), part.bias.as_deref())).collect();
    Linear::pack(&parts, &ThreadPool::new(2)).unwrap()
}

/// One output: what it should be, and how far an `f32` computation may be from it.
fn reference(x: &[f32], weights: &[f32], bias: f32, quantized: bool) -> (f64, f64) {
    let exact_input: Vec<f64> = if quantized {
        let (codes, scales) = common::quantize(x);
        codes.iter().enumerate().map(|(k, &code)| f64::from(code) * f64::from(scales[k / 32])).collect()
    } else {
        x.iter().map(|&x| f64::from(x)).collect()
    };
    let terms = exact_input.iter().zip(weights).map(|(x, &w)| x * f64::from(w));
    let (sum, magnitude) = terms.fold((0.0, 0.0), |(sum, magnitude), term| (sum + term, magnitude + term.abs()));
    // Every partial sum and product rounds once (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1); the
    // bias is one more term.
    let roundings = x.len() as f64 + 3.0;
    // A subnormal product of two scales loses half a subnormal, times the integer sum it multiplies.
    let underflow = if quantized { 4095.0 * 128.0 } else { 1.0 } * 1.5e-45;
    let error = roundings * (EPSILON * (magnitude + f64::from(bias.abs())) + underflow);
    (sum + f64::from(bias), error)
}

/// Applies the epilogue to a reference; none of the functions has a slope above 1.13.
fn finish(epilogue: Epilogue, before: f32, (sum, error): (f64, f64)) -> (f64, f64) {
    match epilogue {
        Epilogue::Assign => (sum, error),
        Epilogue::Add => {
            let value = f64::from(before) + sum;
            (value, error + EPSILON * value.abs())
        }
        Epilogue::Multiply => {
            let value = f64::from(before) * sum;
            (value, f64::from(before.abs()) * error + EPSILON * value.abs())
        }
        Epilogue::AddActivate(activation) => {
            let added = finish(Epilogue::Add, before, (sum, error));
            finish(Epilogue::Activate(activation), before, added)
        }
        Epilogue::Activate(Activation::Relu) => (sum.max(0.0), error),
        Epilogue::Activate(Activation::Silu) => {
            let value = common::silu(sum);
            (value, 1.13 * error + 4.0 * EPSILON * value.abs() + 1e-35)
        }
        Epilogue::Activate(Activation::Tanh) => (sum.tanh(), error + 4.0 * EPSILON),
        Epilogue::Activate(Activation::Gelu) => (common::gelu(sum), 1.13 * error + 1e-6 + 2.0 * EPSILON * sum.abs()),
        Epilogue::Activate(Activation::GeluTanh) => {
            (common::gelu_tanh(sum), 1.13 * error + 1e-6 + 2.0 * EPSILON * sum.abs())
        }
    }
}

/// Runs a layer on every instruction set and compares every output.
fn check(x: &[f32], rows: usize, parts: &[Part], epilogues: &[Epilogue], random: &mut Random) {
    let linear = pack(parts);
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    assert_eq!(outputs, parts.iter().map(|part| part.weights.rows).sum::<usize>());
    let quantized = parts.iter().all(|part| part.weights.ty == WeightType::Q8_0);
    let before = random.values(rows * outputs);
    let mut sums = Vec::new();
    for row in 0..rows {
        let x = &x[row * inputs..][..inputs];
        for part in parts {
            for channel in 0..part.weights.rows {
                let bias = part.bias.as_ref().map_or(0.0, |bias| bias[channel]);
                sums.push(reference(x, &part.weights.values[channel * inputs..][..inputs], bias, quantized));
            }
        }
    }
    for isa in Isa::available() {
        let mut executor = Executor::inline(isa);
        let x = matrix_of(&mut executor, rows, inputs, x);
        for &epilogue in epilogues {
            let mut out = match epilogue {
                Epilogue::Add | Epilogue::Multiply | Epilogue::AddActivate(_) => {
                    matrix_of(&mut executor, rows, outputs, &before)
                }
                _ => dirty(&mut executor, rows, outputs),
            };
            executor.linear(&x, &linear, epilogue, &mut out);
            for row in 0..rows {
                for (column, &found) in out.row(row).iter().enumerate() {
                    let (expected, error) =
                        finish(epilogue, before[row * outputs + column], sums[row * outputs + column]);
                    assert!(
                        (f64::from(found) - expected).abs() <= error,
                        "{isa} {epilogue:?} {rows}x{inputs}x{outputs} at {row},{column}: {found} for {expected} +- {error:e}"
                    );
                }
            }
            executor.recycle(out);
        }
    }
}

fn part(random: &mut Random, ty: WeightType, rows: usize, columns: usize) -> Part {
    let bias = (random.below(3) > 0).then(|| random.values(rows));
    Part { weights: Weights::random(random, ty, rows, columns), bias }
}

fn inputs_for(ty: WeightType, k: usize) -> usize {
    if ty == WeightType::Q8_0 { k.next_multiple_of(32) } else { k }
}

#[test]
fn every_small_number_of_rows_and_every_remainder_of_columns() {
    let mut random = Random(1);
    for ty in TYPES {
        for rows in 1..=13 {
            for outputs in [1, 7, 15, 16, 17, 31, 33, 47] {
                let inputs = inputs_for(ty, 1 + random.below(96));
                let parts = [part(&mut random, ty, outputs, inputs)];
                let x = random.values(rows * inputs);
                check(&x, rows, &parts, &[Epilogue::Assign], &mut random);
            }
        }
    }
}

#[test]
fn long_rows() {
    let mut random = Random(2);
    for (ty, inputs) in [
        (WeightType::Q8_0, 1024),
        (WeightType::Q8_0, 2048),
        (WeightType::F32, 2048),
        (WeightType::F32, 1537),
        (WeightType::F16, 1999),
        (WeightType::Bf16, 2047),
    ] {
        for rows in [1, 3, 5, 64] {
            let parts = [part(&mut random, ty, 19, inputs)];
            let x = random.values(rows * inputs);
            check(&x, rows, &parts, &EPILOGUES, &mut random);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn stacked_parts_of_any_type_and_shape(
        seed: u64,
        rows in prop_oneof![1usize..=13, 40usize..=100],
        k in prop_oneof![1usize..=70, 1usize..=600],
        types in prop::collection::vec(0usize..4, 1..=3),
        uniform: bool,
        epilogue in 0usize..8,
    ) {
        let mut random = Random(seed);
        let types: Vec<WeightType> = types.iter().map(|&ty| TYPES[if uniform { types[0] } else { ty }]).collect();
        let inputs = if types.contains(&WeightType::Q8_0) { k.next_multiple_of(32) } else { k };
        let parts: Vec<Part> =
            types.iter().map(|&ty| { let outputs = 1 + random.below(130); part(&mut random, ty, outputs, inputs) }).collect();
        let x = random.values(rows * inputs);
        check(&x, rows, &parts, &[EPILOGUES[epilogue]], &mut random);
    }

    /// With scales of one and whole activations, sums are whole numbers up to 2^24: equal on every instruction set, and
    /// equal to integer arithmetic. One block of the largest codes of both sides comes up to that. A block that stands out of
    /// its row has codes up to 4095, any other up to 127; some rows have one, so that tiles see both kinds.
    #[test]
    fn integer_block_sums_are_exact(
        seed: u64,
        rows in 1usize..=13,
        outputs in 1usize..=40,
        blocks in 1usize..=16,
        extreme: bool,
    ) {
        let mut random = Random(seed);
        // Beside a block of zeros, any stands out.
        let blocks = if extreme { 2 } else { blocks };
        let inputs = 32 * blocks;
        let extremes = [-128i8, 127, -127, 0];
        let mut weights = Weights { ty: WeightType::Q8_0, rows: outputs, columns: inputs, bytes: vec![], values: vec![] };
        for _ in 0..outputs * blocks {
            let codes: [i8; 32] = std::array::from_fn(|_| {
                if extreme { extremes[random.below(if seed.is_multiple_of(2) { 1 } else { 4 })] } else { random.bits() as i8 }
            });
            weights.push_block(f16::ONE, &codes);
        }
        // The first of each block has the largest magnitude, so that the scale is exactly one.
        let mut x = Vec::with_capacity(rows * inputs);
        for _ in 0..rows {
            let outstanding = if blocks > 1 && random.bits().is_multiple_of(2) { random.below(blocks) } else { blocks };
            for i in 0..inputs {
                let largest = if i / 32 == outstanding { 4095 } else { 127 };
                let sign = if random.bits().is_multiple_of(3) { 1.0 } else { -1.0 };
                x.push(match (i % 32, extreme) {
                    _ if extreme && i / 32 != 0 => 0.0,
                    (_, true) => sign * 4095.0,
                    (0, false) => sign * largest as f32,
                    _ => random.below(2 * largest + 1) as f32 - largest as f32,
                });
            }
        }
        let linear = weights.pack();
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let x_matrix = matrix_of(&mut executor, rows, inputs, &x);
            let mut out = dirty(&mut executor, rows, outputs);
            executor.linear(&x_matrix, &linear, Epilogue::Assign, &mut out);
            for row in 0..rows {
                for column in 0..outputs {
                    let x = &x[row * inputs..][..inputs];
                    let w = &weights.values[column * inputs..][..inputs];
                    let expected: i64 = x.iter().zip(w).map(|(&x, &w)| x as i64 * w as i64).sum();
                    prop_assert_eq!(out.row(row)[column], expected as f32, "{} at {},{}", isa, row, column);
                }
            }
        }
    }
}

#[test]
fn extreme_scales_and_inputs() {
    let mut random = Random(3);
    // Smallest subnormal, largest subnormal, smallest normal, largest half, and none at all.
    for scale in [0x0001, 0x03ff, 0x0400, 0x7bff, 0x0000] {
        let mut weights = Weights { ty: WeightType::Q8_0, rows: 17, columns: 64, bytes: vec![], values: vec![] };
        for _ in 0..34 {
            weights.push_block(f16::from_bits(scale), &std::array::from_fn(|_| random.bits() as i8));
        }
        let parts = [Part { weights, bias: None }];
        for magnitude in [1e-40, 1.4e-36, 1.6e-36, 1e-30, 1.0, 1e30] {
            let x: Vec<f32> = (0..5 * 64).map(|i| if i < 64 { 0.0 } else { random.unit() * magnitude }).collect();
            check(&x, 5, &parts, &[Epilogue::Assign], &mut random);
        }
    }
    for ty in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
        let mut weights = Weights { ty, rows: 17, columns: 5, bytes: vec![], values: vec![] };
        for _ in 0..17 * 5 {
            let magnitude = if ty == WeightType::F16 { 1e-6 } else { 1e-39 };
            weights.push(random.unit() * magnitude);
        }
        let x = random.values(2 * 5);
        check(&x, 2, &[Part { weights, bias: None }], &[Epilogue::Assign], &mut random);
    }
}

#[test]
fn what_is_not_a_number_is_not_lost() {
    let mut random = Random(4);
    for isa in Isa::available() {
        for ty in TYPES {
            let weights = Weights::random(&mut random, ty, 20, 96);
            let linear = weights.pack();
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in [0, 7, 8, 31, 32, 40, 95] {
                    let mut x = random.values(3 * 96);
                    x[96 + place] = bad;
                    let mut executor = Executor::inline(isa);
                    let x = matrix_of(&mut executor, 3, 96, &x);
                    let mut out = dirty(&mut executor, 3, 20);
                    executor.linear(&x, &linear, Epilogue::Assign, &mut out);
                    assert!(
                        out.row(1).iter().all(|y| !y.is_finite()),
                        "{isa} {ty:?} {bad} at {place}: {:?}",
                        out.row(1)
                    );
                    assert!(out.row(0).iter().chain(out.row(2)).all(|y| y.is_finite()), "{isa} {ty:?}: other rows");
                }
            }
        }
    }
}

#[test]
fn layers_without_rows_or_outputs() {
    let mut random = Random(5);
    for isa in Isa::available() {
        for mut executor in common::executors(isa) {
            let linear = Weights::random(&mut random, WeightType::F32, 3, 4).pack();
            let (x, mut out) = (executor.matrix(0, 4), executor.matrix(0, 3));
            executor.linear(&x, &linear, Epilogue::Assign, &mut out);
            let empty = Linear::pack(&[], &ThreadPool::new(1)).unwrap();
            let (x, mut out) = (executor.matrix(2, 0), executor.matrix(2, 0));
            executor.linear(&x, &empty, Epilogue::Assign, &mut out);
        }
    }
}

#[test]
#[should_panic(expected = "inputs of a linear layer")]
fn a_matrix_of_other_columns_is_refused() {
    let mut executor = Executor::inline(Isa::Portable);
    let linear = Weights::random(&mut Random(6), WeightType::F32, 3, 4).pack();
    let (x, mut out) = (executor.matrix(1, 5), executor.matrix(1, 3));
    executor.linear(&x, &linear, Epilogue::Assign, &mut out);
}

#[test]
fn unsuitable_weights_are_refused_with_the_facts() {
    let mut random = Random(7);
    let pool = ThreadPool::new(3);
    let a = Weights::random(&mut random, WeightType::F16, 3, 64);
    let b = Weights::random(&mut random, WeightType::F16, 3, 32);
    let refused = |parts: &[(RawMatrix<'_>, Option<&[f32]>)]| Linear::pack(parts, &pool).err().unwrap();
    assert_eq!(refused(&[(a.raw(), None), (b.raw(), None)]), WeightError::Columns { expected: 64, found: 32 });
    assert_eq!(refused(&[(a.raw(), Some(&[0.0; 2]))]), WeightError::Bias { expected: 3, found: 2 });
    assert_eq!(
        refused(&[(a.raw(), None), (a.raw(), Some(&[0.0, f32::NAN, f32::INFINITY]))]),
        WeightError::VectorNotFinite { index: 1 }
    );

    // A bad weight far into a stack of two, after a later one: the first is named, on any number of threads.
    for ty in TYPES {
        let (good, bad) = (Weights::random(&mut random, ty, 37, 96), Weights::random(&mut random, ty, 50, 96));
        let mut bytes = bad.bytes.clone();
        let row_bytes = bytes.len() / 50;
        let infinity: &[u8] = match ty {
            WeightType::F32 => &f32::INFINITY.to_le_bytes(),
            WeightType::Bf16 => &[0x80, 0x7f],
            WeightType::F16 | WeightType::Q8_0 => &[0x00, 0x7c],
            WeightType::Blocks(_) => panic!("has no bytes of infinity"),
        };
        // Column 64, the start of a Q8_0 block.
        for row in [11, 12, 49] {
            let at = row * row_bytes + ty.row_bytes(64).unwrap();
            bytes[at..][..infinity.len()].copy_from_slice(infinity);
        }
        let bad = RawMatrix::new(&bytes, ty, 50, 96).unwrap();
        for threads in [1, 3] {
            let error = Linear::pack(&[(good.raw(), None), (bad, None)], &ThreadPool::new(threads)).err().unwrap();
            assert_eq!(error, WeightError::NotFinite { row: 37 + 11, column: 64 }, "{ty:?}");
        }
    }
    assert_eq!(
        WeightError::NotFinite { row: 5, column: 64 }.to_string(),
        "the weight at row 5, column 64 is not a finite number"
    );
}

#[test]
fn packed_sizes_are_told() {
    let mut random = Random(8);
    // Seventeen outputs take two panels of sixteen; a bias for each.
    for (ty, bytes) in [(WeightType::F32, 4 * 32), (WeightType::F16, 2 * 32), (WeightType::Q8_0, 32 + 4)] {
        let linear = Weights::random(&mut random, ty, 17, 32).pack();
        assert_eq!(linear.bytes(), 32 * bytes + 32 * 4, "{ty:?}");
    }
}
