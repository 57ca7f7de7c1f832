//! Search through vectors against plain arithmetic, on every instruction set of the host.

#![allow(clippy::unwrap_used)]

mod common;

use common::{EPSILON, Random, bits};
use docent_kernels::{Isa, Neighbour, ThreadPool, VectorRows, nearest, quantize_vector};

/// Rows of bytes with their factors, and a query.
fn data(random: &mut Random, rows: usize, columns: usize) -> (Vec<i8>, Vec<f32>, Vec<f32>) {
    let codes = (0..rows * columns).map(|_| random.bits() as i8).collect();
    let scales = (0..rows).map(|_| random.unit().abs() + 0.01).collect();
    (codes, scales, random.values(columns))
}

fn check(isa: Isa, columns: usize, found: &Neighbour, row: impl Iterator<Item = f64>, query: &[f32], scale: f64) {
    let (mut exact, mut magnitude) = (0.0, 0.0);
    for (a, &b) in row.zip(query) {
        exact += a * f64::from(b) * scale;
        magnitude += (a * f64::from(b) * scale).abs();
    }
    let error = (columns as f64 + 2.0) * EPSILON * magnitude;
    assert!((f64::from(found.product) - exact).abs() <= error, "{isa} {columns}: {found:?} for {exact}");
}

#[test]
fn products_of_every_width() {
    let mut random = Random(41);
    let pool = ThreadPool::new(2);
    for isa in Isa::available() {
        for columns in (1..70).chain([384, 768, 1023]) {
            for rows in [1, 3, 4, 9] {
                let (codes, scales, query) = data(&mut random, rows, columns);
                let bytes = VectorRows::Bytes { codes: &codes, scales: &scales };
                let found = nearest(isa, &pool, bytes, &query, rows, |_| true);
                assert_eq!(found.len(), rows);
                for neighbour in &found {
                    let row = codes[neighbour.row * columns..][..columns].iter().map(|&code| f64::from(code));
                    check(isa, columns, neighbour, row, &query, f64::from(scales[neighbour.row]));
                }
                let floats = random.values(rows * columns);
                for neighbour in nearest(isa, &pool, VectorRows::Floats(&floats), &query, rows, |_| true) {
                    let row = floats[neighbour.row * columns..][..columns].iter().map(|&value| f64::from(value));
                    check(isa, columns, &neighbour, row, &query, 1.0);
                }
            }
        }
    }
}

#[test]
fn the_best_are_found_in_order_on_any_number_of_threads() {
    let mut random = Random(42);
    let (rows, columns) = (20_000, 24);
    let (codes, scales, query) = data(&mut random, rows, columns);
    let vectors = VectorRows::Bytes { codes: &codes, scales: &scales };
    for isa in Isa::available() {
        let all = nearest(isa, &ThreadPool::new(1), vectors, &query, rows, |_| true);
        assert!(all.is_sorted_by(|a, b| a.product > b.product || (a.product == b.product && a.row < b.row)));
        for threads in [1, 2, 3, 8] {
            let pool = ThreadPool::new(threads);
            for count in [0, 1, 7, 1000, rows + 5] {
                let some = nearest(isa, &pool, vectors, &query, count, |_| true);
                assert_eq!(some, all[..count.min(rows)], "{isa}, {threads} threads, {count}");
            }
            let odd = nearest(isa, &pool, vectors, &query, 50, |row| row % 2 == 1);
            let expected: Vec<Neighbour> = all.iter().filter(|found| found.row % 2 == 1).take(50).copied().collect();
            assert_eq!(odd, expected, "{isa}: of those that are wanted");
        }
    }
}

#[test]
fn a_product_has_the_same_bits_wherever_its_row_stands() {
    let mut random = Random(43);
    let columns = 100;
    let row = random.values(columns);
    let query = random.values(columns);
    for isa in Isa::available() {
        let products: Vec<f32> = [1, 2, 3, 4, 5, 9]
            .into_iter()
            .flat_map(|rows| {
                nearest(isa, &ThreadPool::new(1), VectorRows::Floats(&row.repeat(rows)), &query, rows, |_| true)
            })
            .map(|found| found.product)
            .collect();
        assert_eq!(bits(&products), bits(&vec![products[0]; products.len()]), "{isa}");
    }
}

#[test]
fn of_equal_rows_the_first_are_found_and_nan_never() {
    let pool = ThreadPool::new(3);
    let mut values = vec![1.0; 30_000];
    values[5] = f32::NAN;
    for isa in Isa::available() {
        let found = nearest(isa, &pool, VectorRows::Floats(&values), &[2.0], 7, |_| true);
        assert_eq!(found.iter().map(|found| found.row).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 7], "{isa}");
    }
    let nothing = nearest(Isa::best(), &pool, VectorRows::Floats(&[]), &[1.0, 2.0], 5, |_| true);
    assert_eq!(nothing, []);
}

#[test]
#[should_panic(expected = "values of rows of 3")]
fn rows_of_another_width_are_refused() {
    nearest(Isa::best(), &ThreadPool::new(1), VectorRows::Floats(&[1.0; 4]), &[0.0; 3], 1, |_| true);
}

#[test]
fn bytes_stand_for_their_vector() {
    let mut random = Random(44);
    for columns in [1, 2, 384] {
        let values = random.values(columns);
        let mut codes = vec![0; columns];
        let scale = quantize_vector(&values, &mut codes);
        for (value, code) in values.iter().zip(&codes) {
            assert!((value - scale * f32::from(*code)).abs() <= scale * 0.5001, "{value} {code} {scale}");
        }
        assert!(codes.contains(&127) || codes.contains(&-127));
    }
    let mut codes = [1; 3];
    for bad in [[0.0; 3], [f32::NAN, 1.0, 2.0], [f32::INFINITY, 1.0, 1.0], [1e-45, 0.0, 0.0]] {
        assert_eq!((quantize_vector(&bad, &mut codes), codes), (0.0, [0; 3]), "{bad:?}");
    }
}
