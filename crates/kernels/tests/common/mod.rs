//! What the tests share: random data from a seed, weights of every type with the values they stand for, and elementary
//! functions in double precision written independently of the kernels.

#![allow(dead_code)] // Each test file uses its own part.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, OnceLock};

use docent_kernels::{Executor, Isa, Linear, Matrix, RawMatrix, ThreadPool, WeightType};
use half::{bf16, f16};

pub(crate) const TYPES: [WeightType; 4] = [WeightType::F32, WeightType::F16, WeightType::Bf16, WeightType::Q8_0];

/// The distance from 1 to the next `f32`.
pub(crate) const EPSILON: f64 = f32::EPSILON as f64;

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// A value in -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A value of random sign and of a magnitude between 2^-8 and 4, as hidden states have.
    pub(crate) fn value(&mut self) -> f32 {
        self.unit() * 2f32.powi(self.below(10) as i32 - 7)
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

/// A matrix with the given rows, in memory whose padding and former contents are NaN.
pub(crate) fn matrix_of(executor: &mut Executor, rows: usize, columns: usize, values: &[f32]) -> Matrix {
    let mut matrix = dirty(executor, rows, columns);
    for row in 0..rows {
        matrix.row_mut(row).copy_from_slice(&values[row * columns..][..columns]);
    }
    matrix
}

/// A matrix full of NaN, its padding included.
pub(crate) fn dirty(executor: &mut Executor, rows: usize, columns: usize) -> Matrix {
    let mut padded = executor.matrix(rows, columns.next_multiple_of(16));
    for row in 0..rows {
        padded.row_mut(row).fill(f32::NAN);
    }
    executor.recycle(padded);
    executor.matrix(rows, columns)
}

pub(crate) fn rows_of(matrix: &Matrix) -> Vec<Vec<f32>> {
    (0..matrix.rows()).map(|row| matrix.row(row).to_vec()).collect()
}

pub(crate) fn bits_of(matrix: &Matrix) -> Vec<Vec<u32>> {
    (0..matrix.rows()).map(|row| bits(matrix.row(row))).collect()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// One executor inline and one on each of the pools of 1, 2, 3 and 8 threads.
pub(crate) fn executors(isa: Isa) -> Vec<Executor> {
    static POOLS: OnceLock<Vec<Arc<ThreadPool>>> = OnceLock::new();
    let pools = POOLS.get_or_init(|| [1, 2, 3, 8].map(|threads| Arc::new(ThreadPool::new(threads))).into());
    let on_pools = pools.iter().map(|pool| Executor::on_pool(isa, Arc::clone(pool)));
    std::iter::once(Executor::inline(isa)).chain(on_pools).collect()
}

/// An encoded matrix and the values it stands for.
pub(crate) struct Weights {
    pub(crate) ty: WeightType,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bytes: Vec<u8>,
    /// Row after row, exact.
    pub(crate) values: Vec<f32>,
}

impl Weights {
    /// Random weights; `Q8_0` codes take all 256 values, and some of its blocks are all zero or have a subnormal scale.
    pub(crate) fn random(random: &mut Random, ty: WeightType, rows: usize, columns: usize) -> Self {
        let mut weights = Weights { ty, rows, columns, bytes: Vec::new(), values: Vec::new() };
        if ty == WeightType::Q8_0 {
            for _ in 0..rows * columns / 32 {
                let kind = random.below(20);
                let scale = match kind {
                    0 => f16::ZERO,
                    1 => f16::from_bits(1 + random.below(0x3ff) as u16),
                    _ => f16::from_f32(random.value() / 64.0),
                };
                let codes: [i8; 32] = std::array::from_fn(|_| if kind == 2 { 0 } else { random.bits() as i8 });
                weights.push_block(scale, &codes);
            }
        } else {
            for _ in 0..rows * columns {
                weights.push(random.value());
            }
        }
        weights
    }

    /// Appends a value, rounded to the type.
    pub(crate) fn push(&mut self, value: f32) {
        match self.ty {
            WeightType::F32 => {
                self.bytes.extend(value.to_le_bytes());
                self.values.push(value);
            }
            WeightType::F16 => {
                self.bytes.extend(f16::from_f32(value).to_le_bytes());
                self.values.push(f16::from_f32(value).to_f32());
            }
            WeightType::Bf16 => {
                self.bytes.extend(bf16::from_f32(value).to_le_bytes());
                self.values.push(bf16::from_f32(value).to_f32());
            }
            WeightType::Q8_0 | WeightType::Blocks(_) => panic!("{:?} comes in blocks", self.ty),
        }
    }

    pub(crate) fn push_block(&mut self, scale: f16, codes: &[i8; 32]) {
        self.bytes.extend(scale.to_le_bytes());
        self.bytes.extend(codes.map(|code| code as u8));
        self.values.extend(codes.map(|code| scale.to_f32() * f32::from(code)));
    }

    pub(crate) fn raw(&self) -> RawMatrix<'_> {
        RawMatrix::new(&self.bytes, self.ty, self.rows, self.columns).unwrap()
    }

    pub(crate) fn pack(&self) -> Linear {
        Linear::pack(&[(self.raw(), None)], &ThreadPool::new(1)).unwrap()
    }
}

/// The values that an activation row is multiplied as, when the weights are quantised: symmetric codes with one scale per 32
/// values, rounded to nearest, ties to even; codes up to 127, or up to 4095 in a block whose largest value is above 2.5
/// times the mean of the other blocks'. `(codes, scales)`.
pub(crate) fn quantize(row: &[f32]) -> (Vec<i32>, Vec<f32>) {
    let magnitudes: Vec<f32> =
        row.chunks(32).map(|block| block.iter().fold(0f32, |largest, value| largest.max(value.abs()))).collect();
    let total: f32 = magnitudes.iter().sum();
    let mut codes = Vec::new();
    let scales = row
        .chunks(32)
        .zip(&magnitudes)
        .map(|(block, &largest)| {
            let stands_out = largest * (magnitudes.len() - 1) as f32 > 2.5 * (total - largest);
            let end = if stands_out { 4095.0 } else { 127.0 };
            let reciprocal = if largest < 4096.0 * f32::MIN_POSITIVE { 0.0 } else { end / largest };
            codes.extend(block.iter().map(|value| (value * reciprocal).round_ties_even() as i32));
            if largest < 4096.0 * f32::MIN_POSITIVE { 0.0 } else { largest / end }
        })
        .collect();
    (codes, scales)
}

/// The error function: its power series near zero, the continued fraction of the complement beyond
/// (Abramowitz and Stegun 7.1.6 and 7.1.14). Relative error of `erfc` below 1e-12.
pub(crate) fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let gauss = (-x * x).exp();
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        1.0 - 2.0 / std::f64::consts::PI.sqrt() * gauss * sum
    } else {
        let fraction = (1..120).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
        gauss / std::f64::consts::PI.sqrt() / fraction
    }
}

/// `x Phi(x)`.
pub(crate) fn gelu(x: f64) -> f64 {
    0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// `x / (1 + e^-x)`.
pub(crate) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

pub(crate) fn gelu_tanh(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    // Without the cancellation of 1 + tanh in the negative tail.
    x / (1.0 + (-2.0 * u).exp())
}
