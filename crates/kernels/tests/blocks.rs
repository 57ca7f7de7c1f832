//! Weights that stay in their file's blocks and are expanded as they are multiplied.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::sync::Arc;

use common::{Random, bits_of, executors, matrix_of};
use docent_gguf::{TensorType, codec};
use docent_kernels::{
    BlockMatrix, EmbeddingTable, Epilogue, Executor, Isa, Linear, SharedBytes, ThreadPool, WeightType,
};

const TYPES: [TensorType; 12] = [
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
    TensorType::Q2_K,
    TensorType::Q3_K,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::IQ4_NL,
    TensorType::IQ4_XS,
];

/// Random blocks: any bytes, but scales of a size that hidden states are multiplied with.
fn encoded(random: &mut Random, ty: TensorType, rows: usize, columns: usize) -> Vec<u8> {
    let blocks = rows * columns / ty.block_elements();
    // Where the half-precision scales of a block lie.
    let scales: &[usize] = match ty {
        TensorType::Q2_K => &[80, 82],
        TensorType::Q3_K => &[108],
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
        TensorType::Q6_K => &[208],
        _ => &[0],
    };
    let mut bytes = Vec::new();
    for _ in 0..blocks {
        let start = bytes.len();
        bytes.extend((0..ty.block_bytes()).map(|_| random.bits() as u8));
        for at in scales {
            let scale = half::f16::from_f32(random.unit() / 64.0);
            bytes[start + at..][..2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

fn shared(bytes: Vec<u8>) -> SharedBytes {
    let length = bytes.len();
    SharedBytes::new(Arc::new(bytes), 0..length)
}

fn in_place(bytes: &[u8], ty: TensorType, rows: usize, columns: usize) -> BlockMatrix {
    BlockMatrix::new(shared(bytes.to_vec()), WeightType::of(ty).unwrap(), rows, columns).unwrap()
}

#[test]
fn q8_0_in_place_has_the_bits_of_q8_0_packed() {
    let mut random = Random(1);
    for (rows, outputs, inputs) in [(1, 17, 32), (7, 48, 96), (150, 100, 416)] {
        let bytes = encoded(&mut random, TensorType::Q8_0, outputs, inputs);
        let bias: Vec<f32> = random.values(outputs);
        let raw = docent_kernels::RawMatrix::new(&bytes, WeightType::Q8_0, outputs, inputs).unwrap();
        let packed = Linear::pack(&[(raw, Some(&bias))], &ThreadPool::new(1)).unwrap();
        let matrix = in_place(&bytes, TensorType::Q8_0, outputs, inputs);
        let left = Linear::in_place(vec![(matrix, Some(bias))]).unwrap();
        assert_eq!((left.inputs(), left.outputs(), left.bytes() < packed.bytes()), (inputs, outputs, true));
        let x = random.values(rows * inputs);
        for isa in Isa::available() {
            let run = |executor: &mut Executor, layer: &Linear| {
                let x = matrix_of(executor, rows, inputs, &x);
                let mut out = executor.matrix(rows, outputs);
                executor.linear(&x, layer, Epilogue::Assign, &mut out);
                bits_of(&out)
            };
            let expected = run(&mut Executor::inline(isa), &packed);
            for executor in &mut executors(isa) {
                assert_eq!(run(executor, &left), expected, "{isa:?}, {rows} x {inputs} x {outputs}");
            }
        }
    }
}

#[test]
fn expanded_once_or_each_time_bits_are_the_same() {
    let mut random = Random(5);
    let types = [TensorType::Q4_K, TensorType::Q6_K, TensorType::Q8_0, TensorType::IQ4_XS];
    let parts = |random: &mut Random| types.map(|ty| (in_place(&encoded(random, ty, 21, 512), ty, 21, 512), None));
    let left = Linear::in_place(parts(&mut Random(6)).to_vec()).unwrap();
    let mut expanded = Linear::in_place(parts(&mut Random(6)).to_vec()).unwrap();
    expanded.expand(&ThreadPool::new(2));
    assert_eq!((left.bytes(), expanded.bytes()), (96 * 4, 96 * 4 + 96 * 512 / 32 * 36));
    for rows in [1, 5, 70] {
        let x = random.values(rows * 512);
        for isa in Isa::available() {
            for executor in &mut executors(isa) {
                let mut run = |layer: &Linear| {
                    let x = matrix_of(executor, rows, 512, &x);
                    let mut out = executor.matrix(rows, 84);
                    executor.linear(&x, layer, Epilogue::Assign, &mut out);
                    bits_of(&out)
                };
                assert_eq!(run(&expanded), run(&left), "{isa:?}, {rows} rows");
            }
        }
    }
}

/// Every type, and matrices of several types stacked, against products in `f64` of what the format's decoder gives with the rows as
/// they are quantised.
#[test]
fn products_are_those_of_the_decoded_weights() {
    let mut random = Random(2);
    let inputs = 512;
    let mut cases: Vec<Vec<(TensorType, usize)>> = TYPES.iter().map(|&ty| vec![(ty, 37)]).collect();
    cases.push(vec![(TensorType::Q4_K, 20), (TensorType::Q4_K, 9), (TensorType::Q6_K, 30)]);
    cases.push(vec![(TensorType::Q5_0, 16), (TensorType::Q8_0, 1), (TensorType::Q5_1, 50)]);
    for (case, rows) in cases.iter().flat_map(|case| [1, 45].map(|rows| (case, rows))) {
        let parts: Vec<(Vec<u8>, TensorType, usize)> =
            case.iter().map(|&(ty, outputs)| (encoded(&mut random, ty, outputs, inputs), ty, outputs)).collect();
        let outputs: usize = case.iter().map(|(_, outputs)| outputs).sum();
        let mut weights = vec![0.0; outputs * inputs];
        let mut rest = &mut weights[..];
        for (bytes, ty, outputs) in &parts {
            let (values, after) = rest.split_at_mut(outputs * inputs);
            codec::dequantize(*ty, bytes, values).unwrap();
            rest = after;
        }
        let matrices = parts.iter().map(|(bytes, ty, outputs)| (in_place(bytes, *ty, *outputs, inputs), None));
        let layer = Linear::in_place(matrices.collect()).unwrap();
        let values = random.values(rows * inputs);
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let x = matrix_of(&mut executor, rows, inputs, &values);
            let mut out = executor.matrix(rows, outputs);
            executor.linear(&x, &layer, Epilogue::Assign, &mut out);
            for row in 0..rows {
                let (mut error, mut square) = (0.0, 0.0);
                let (codes, scales) = common::quantize(&values[row * inputs..][..inputs]);
                let held = |k: usize| f64::from(codes[k]) * f64::from(scales[k / 32]);
                for channel in 0..outputs {
                    let weights = &weights[channel * inputs..][..inputs];
                    let expected: f64 = weights.iter().enumerate().map(|(k, &w)| held(k) * f64::from(w)).sum();
                    error += (f64::from(out.row(row)[channel]) - expected).powi(2);
                    square += expected * expected;
                }
                let relative = (error / square).sqrt();
                assert!(relative < 0.015, "{isa:?}, {case:?}, row {row} of {rows}: {relative}");
            }
        }
    }
}

#[test]
fn embeddings_are_the_decoded_rows() {
    let mut random = Random(3);
    for ty in TYPES {
        let (rows, columns) = (9, 512);
        let bytes = encoded(&mut random, ty, rows, columns);
        let mut values = vec![0.0; rows * columns];
        codec::dequantize(ty, &bytes, &mut values).unwrap();
        let table = EmbeddingTable::new(shared(bytes), WeightType::of(ty).unwrap(), rows, columns).unwrap();
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let mut out = executor.matrix(2, columns);
            executor.embed(&[(&table, &[8, 3])], &mut out);
            assert_eq!(out.row(0), &values[8 * columns..][..columns], "{ty} on {isa:?}");
            assert_eq!(out.row(1), &values[3 * columns..][..columns], "{ty} on {isa:?}");
        }
    }
}

#[test]
fn shapes_and_types_are_checked() {
    let bytes = || shared(vec![0; 144]);
    assert!(BlockMatrix::new(bytes(), WeightType::Blocks(TensorType::Q4_K), 1, 256).is_ok());
    for (ty, rows, columns) in [
        (WeightType::Blocks(TensorType::Q4_K), 1, 255),
        (WeightType::Blocks(TensorType::Q4_K), 2, 256),
        (WeightType::Blocks(TensorType::Q5_K), 1, 256),
        (WeightType::F32, 1, 36),
    ] {
        assert!(BlockMatrix::new(bytes(), ty, rows, columns).is_err(), "{ty:?} {rows} x {columns}");
    }
    assert_eq!(WeightType::of(TensorType::IQ2_XS), None);
}
