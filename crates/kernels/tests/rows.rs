//! LayerNorm, embedding and pooling against double precision, on every instruction set of the host.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{EPSILON, Random, TYPES, Weights, bits, dirty, matrix_of};
use docent_kernels::{
    EmbeddingTable, Executor, Isa, Matrix, Norm, Pooling, Rows, Sequences, SharedBytes, WeightError, WeightType,
};

/// Checks a normalised row against double precision, within what roundings of its length allow.
fn check_norm(isa: Isa, x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, found: &[f32]) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let deviation = (variance + f64::from(epsilon)).sqrt();
    let largest = x.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
    for (column, &found) in found.iter().enumerate() {
        let normalised = (f64::from(x[column]) - mean) / deviation;
        let expected = normalised * f64::from(weight[column]) + f64::from(bias[column]);
        // The mean is off by the roundings of its sum, and so is each difference to it.
        let error = (n + 4.0) * EPSILON * (largest / deviation + normalised.abs()) * f64::from(weight[column].abs())
            + 2.0 * EPSILON * expected.abs()
            + EPSILON * f64::from(bias[column].abs());
        assert!(
            (f64::from(found) - expected).abs() <= error,
            "{isa} {} columns, column {column}: {found} for {expected} +- {error:e}",
            x.len()
        );
    }
}

#[test]
fn layer_norm_of_every_width() {
    let mut random = Random(21);
    for isa in Isa::available() {
        for columns in (1..=100).chain([384, 768, 1023]) {
            let (weight, bias) = (random.values(columns), random.values(columns));
            let norm = Norm::new(weight.clone(), Some(bias.clone()), 1e-12).unwrap();
            let mut executor = Executor::inline(isa);
            let x = random.values(3 * columns);
            let mut matrix = matrix_of(&mut executor, 3, columns, &x);
            executor.layer_norm(&mut matrix, &norm);
            for row in 0..3 {
                // One column has no variance: its place is the shift.
                let epsilon = 1e-12;
                check_norm(isa, &x[row * columns..][..columns], &weight, &bias, epsilon, matrix.row(row));
            }
        }
    }
}

#[test]
fn layer_norm_of_a_constant_row_is_the_shift() {
    for isa in Isa::available() {
        for columns in [1, 7, 8, 64, 100] {
            for value in [0.0, 1.0, -3.5, 1024.0] {
                let bias = Random(22).values(columns);
                let norm = Norm::new(vec![2.0; columns], Some(bias.clone()), 1e-5).unwrap();
                let mut executor = Executor::inline(isa);
                let mut matrix = matrix_of(&mut executor, 1, columns, &vec![value; columns]);
                executor.layer_norm(&mut matrix, &norm);
                assert_eq!(bits(matrix.row(0)), bits(&bias), "{isa} {columns} columns of {value}");
            }
        }
    }
}

#[test]
fn layer_norm_with_a_large_mean_keeps_its_variance() {
    // The textbook E[x^2] - E[x]^2 would lose all of it.
    for isa in Isa::available() {
        let x: Vec<f32> = (0..64).map(|i| 4096.0 + (i % 2) as f32).collect();
        let norm = Norm::new(vec![1.0; 64], None, 0.0).unwrap();
        let mut executor = Executor::inline(isa);
        let mut matrix = matrix_of(&mut executor, 1, 64, &x);
        executor.layer_norm(&mut matrix, &norm);
        for (i, &value) in matrix.row(0).iter().enumerate() {
            assert!((value - if i % 2 == 0 { -1.0 } else { 1.0 }).abs() < 1e-6, "{isa} {value}");
        }
    }
}

#[test]
fn layer_norm_passes_nan_on() {
    for isa in Isa::available() {
        for place in [0, 9, 16] {
            let norm = Norm::new(vec![1.0; 17], None, 1e-5).unwrap();
            let mut executor = Executor::inline(isa);
            let mut x = vec![1.0; 2 * 17];
            x[place] = f32::NAN;
            let mut matrix = matrix_of(&mut executor, 2, 17, &x);
            executor.layer_norm(&mut matrix, &norm);
            assert!(matrix.row(0).iter().all(|value| value.is_nan()), "{isa}");
            assert!(matrix.row(1).iter().all(|value| *value == 0.0), "{isa}");
        }
    }
}

#[test]
fn unsuitable_norms_are_refused() {
    let error = |weight, bias| Norm::new(weight, bias, 1e-5).unwrap_err();
    assert_eq!(error(vec![1.0; 3], Some(vec![0.0; 2])), WeightError::Bias { expected: 3, found: 2 });
    assert_eq!(error(vec![1.0, f32::NAN], None), WeightError::VectorNotFinite { index: 1 });
    assert_eq!(error(vec![1.0; 2], Some(vec![f32::INFINITY, 0.0])), WeightError::VectorNotFinite { index: 0 });
}

fn table(weights: &Weights) -> EmbeddingTable {
    // Shifted by a byte, as rows in a mapped file may be.
    let mut bytes = vec![0xff];
    bytes.extend(&weights.bytes);
    let range = 1..bytes.len();
    EmbeddingTable::new(SharedBytes::new(Arc::new(bytes), range), weights.ty, weights.rows, weights.columns).unwrap()
}

#[test]
fn embeddings_of_every_type_add_up() {
    let mut random = Random(23);
    for columns in [1, 5, 8, 31, 32, 96, 100, 384] {
        for ty in TYPES {
            if ty == WeightType::Q8_0 && columns % 32 != 0 {
                continue;
            }
            let tokens = Weights::random(&mut random, ty, 50, columns);
            let positions = Weights::random(&mut random, WeightType::F32, 20, columns);
            let ids: Vec<u32> = (0..20).map(|_| random.below(50) as u32).collect();
            let places: Vec<u32> = (0..20).collect();
            let (token_table, position_table) = (table(&tokens), table(&positions));
            assert_eq!((token_table.rows(), token_table.columns()), (50, columns));
            for isa in Isa::available() {
                for mut executor in common::executors(isa) {
                    let mut out = dirty(&mut executor, 20, columns);
                    executor.embed(&[(&token_table, &ids), (&position_table, &places)], &mut out);
                    for (row, &id) in ids.iter().enumerate() {
                        let token = &tokens.values[id as usize * columns..][..columns];
                        let position = &positions.values[row * columns..][..columns];
                        let expected: Vec<f32> = token.iter().zip(position).map(|(a, b)| 0.0 + a + b).collect();
                        assert_eq!(bits(out.row(row)), bits(&expected), "{isa} {ty:?} row {row}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_half_precision_number_is_looked_up_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    for ty in [WeightType::F16, WeightType::Bf16] {
        let table =
            EmbeddingTable::new(SharedBytes::new(Arc::new(bytes.clone()), 0..bytes.len()), ty, 1 << 10, 64).unwrap();
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let mut out = executor.matrix(1 << 10, 64);
            let ids: Vec<u32> = (0..1 << 10).collect();
            executor.embed(&[(&table, &ids)], &mut out);
            for (i, &half) in halves.iter().enumerate() {
                let expected = match ty {
                    WeightType::F16 => half::f16::from_bits(half).to_f32(),
                    _ => half::bf16::from_bits(half).to_f32(),
                };
                let found = out.row(i / 64)[i % 64];
                // Compared as numbers: the sum with zero makes -0 of itself +0, and quietens a NaN.
                assert!(found == expected || found.is_nan() && expected.is_nan(), "{isa} {ty:?} {half:#06x}: {found}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "id 7 in a table of 7 rows")]
fn an_id_beyond_the_table_is_refused() {
    let weights = Weights::random(&mut Random(24), WeightType::F32, 7, 4);
    let mut executor = Executor::inline(Isa::Portable);
    let mut out = executor.matrix(2, 4);
    executor.embed(&[(&table(&weights), &[0, 7])], &mut out);
}

#[test]
fn unsuitable_tables_are_refused() {
    let bytes = |count: usize| SharedBytes::new(Arc::new(vec![0u8; count]), 0..count);
    let error = |count, ty, rows, columns| EmbeddingTable::new(bytes(count), ty, rows, columns).err().unwrap();
    assert_eq!(
        error(7, WeightType::F16, 2, 2),
        WeightError::Size { rows: 2, columns: 2, ty: WeightType::F16, expected: 8, found: 7 }
    );
    assert_eq!(error(34, WeightType::Q8_0, 1, 33), WeightError::RowLength { columns: 33, ty: WeightType::Q8_0 });
    // Any number of rows of nothing would fit no bytes.
    assert_eq!(error(0, WeightType::F32, usize::MAX, 0), WeightError::RowLength { columns: 0, ty: WeightType::F32 });
}

#[test]
#[should_panic(expected = "bytes 1..9 of 8")]
fn bytes_beyond_their_owner_are_refused() {
    SharedBytes::new(Arc::new(vec![0u8; 8]), 1..9);
}

fn pooled(isa: Isa, hidden: &Matrix, sequences: &Sequences, pooling: Pooling) -> Vec<Vec<f32>> {
    let mut executor = Executor::inline(isa);
    let mut out = dirty(&mut executor, pooling.vectors(sequences), hidden.columns());
    executor.pool(hidden, sequences, pooling, &mut out);
    common::rows_of(&out)
}

#[test]
fn pooling_in_every_way() {
    let mut random = Random(25);
    let lengths = [1, 17, 300, 2];
    let sequences = Sequences::from_lengths(lengths);
    for isa in Isa::available() {
        for columns in [1, 16, 33] {
            let mut executor = Executor::inline(isa);
            let values = random.values(sequences.tokens() * columns);
            let hidden = matrix_of(&mut executor, sequences.tokens(), columns, &values);
            let [cls, mean, max, last, all] = [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Last, Pooling::None]
                .map(|pooling| pooled(isa, &hidden, &sequences, pooling));
            assert_eq!(all, common::rows_of(&hidden));
            for (i, tokens) in sequences.iter().enumerate() {
                assert_eq!(cls[i], hidden.row(tokens.start));
                assert_eq!(last[i], hidden.row(tokens.end - 1));
                for column in 0..columns {
                    let of = |token: usize| hidden.row(token)[column];
                    assert_eq!(max[i][column], tokens.clone().map(of).fold(f32::MIN, f32::max));
                    let n = tokens.len() as f64;
                    let sum: f64 = tokens.clone().map(|token| f64::from(of(token))).sum();
                    let magnitude: f64 = tokens.clone().map(|token| f64::from(of(token).abs())).sum();
                    let error = (f64::from(mean[i][column]) - sum / n).abs();
                    assert!(error <= (n + 1.0) * EPSILON * magnitude / n, "{isa} mean of {n}: off by {error:e}");
                }
            }
        }
    }
}

#[test]
fn pooling_passes_nan_on() {
    let mut executor = Executor::inline(Isa::Portable);
    for place in 0..3 {
        let mut values = vec![1.0; 3];
        values[place] = f32::NAN;
        let hidden = matrix_of(&mut executor, 3, 1, &values);
        let sequences = Sequences::from_lengths([3]);
        for pooling in [Pooling::Max, Pooling::Mean] {
            assert!(pooled(Isa::Portable, &hidden, &sequences, pooling)[0][0].is_nan(), "{pooling:?} {place}");
        }
    }
}

#[test]
#[should_panic(expected = "empty sequence")]
fn pooling_an_empty_sequence_is_refused() {
    let mut executor = Executor::inline(Isa::Portable);
    let hidden = matrix_of(&mut executor, 2, 1, &[1.0, 2.0]);
    pooled(Isa::Portable, &hidden, &Sequences::from_lengths([2, 0]), Pooling::Mean);
}

#[test]
#[should_panic(expected = "address space")]
fn lengths_that_overflow_are_refused() {
    Sequences::from_lengths([usize::MAX, 2]);
}

#[test]
#[should_panic(expected = "address space")]
fn a_matrix_that_overflows_is_refused() {
    Executor::inline(Isa::Portable).matrix(usize::MAX / 8, 16);
}

#[test]
fn rms_norm_divides_by_the_root_of_the_mean_square() {
    let mut random = Random(41);
    for isa in Isa::available() {
        for columns in [1, 15, 16, 17, 100, 384, 1000] {
            let (rows, epsilon) = (3, 1e-6);
            let gain = random.values(columns);
            let values = random.values(rows * columns);
            let mut executor = Executor::inline(isa);
            let mut x = matrix_of(&mut executor, rows, columns, &values);
            executor.rms_norm(&mut x, &Norm::new(gain.clone(), None, epsilon).unwrap());
            for row in 0..rows {
                let values = &values[row * columns..][..columns];
                let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
                let root = (squares / columns as f64 + f64::from(epsilon)).sqrt();
                for column in 0..columns {
                    let expected = f64::from(values[column]) / root * f64::from(gain[column]);
                    let error = (columns as f64 + 8.0) * EPSILON * expected.abs();
                    let found = f64::from(x.row(row)[column]);
                    assert!(
                        (found - expected).abs() <= error,
                        "{isa} {columns} at {row},{column}: {found} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_of_some_tokens_are_gathered_sequence_by_sequence() {
    let mut executor = Executor::inline(Isa::best());
    let values: Vec<f32> = (0..18).map(|value| value as f32).collect();
    let x = matrix_of(&mut executor, 6, 3, &values);
    let sequences = Sequences::from_lengths([3, 1, 2]);
    for (rows, expected) in [(Rows::All, &[0, 1, 2, 3, 4, 5][..]), (Rows::First, &[0, 3, 4]), (Rows::Last, &[2, 3, 5])]
    {
        assert_eq!(rows.count(&sequences), expected.len());
        let mut out = dirty(&mut executor, expected.len(), 3);
        executor.gather(&x, &sequences, rows, &mut out);
        for (row, &token) in expected.iter().enumerate() {
            assert_eq!(out.row(row), &values[3 * token..][..3], "{rows:?}");
        }
        executor.recycle(out);
    }
    assert!(Pooling::ALL.map(Pooling::rows) == [Rows::First, Rows::All, Rows::All, Rows::Last, Rows::All]);
}

#[test]
fn rows_are_taken_and_added_back_by_their_numbers() {
    let mut executor = Executor::inline(Isa::best());
    let values: Vec<f32> = (0..12).map(|value| value as f32).collect();
    let x = matrix_of(&mut executor, 4, 3, &values);
    let mut taken = dirty(&mut executor, 3, 3);
    executor.take_rows(&x, &[2, 0, 2], &mut taken);
    assert_eq!([taken.row(0), taken.row(1), taken.row(2)], [&values[6..9], &values[..3], &values[6..9]]);
    let mut sum = matrix_of(&mut executor, 4, 3, &[0.5; 12]);
    executor.add_to_rows(&taken, &[3, 1, 3], &[1.0, -1.0, 2.0], &mut sum);
    assert_eq!(sum.row(0), [0.5; 3]);
    assert_eq!(sum.row(1), [0.5, -0.5, -1.5]);
    assert_eq!(sum.row(2), [0.5; 3]);
    assert_eq!(sum.row(3), [18.5, 21.5, 24.5]);
    executor.scale_rows(&mut sum, &[2.0, 0.0, -1.0, 1.0]);
    assert_eq!([sum.row(0), sum.row(2)], [&[1.0; 3], &[-0.5; 3]]);
    assert_eq!([sum.row(1), sum.row(3)], [&[0.0; 3][..], &[18.5, 21.5, 24.5]]);
}
