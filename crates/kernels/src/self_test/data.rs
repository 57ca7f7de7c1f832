//! Inputs that are the same on every machine.

use half::{bf16, f16};

use crate::{RawMatrix, WeightType};

/// Values of a `Q8_0` block.
const BLOCK: usize = 32;

/// `SplitMix64` (Steele, Lea and Flood, 2014), from a fixed seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        Random(0x00d0_ce47)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// A value of either sign, of a magnitude between nothing and 2.
    fn value(&mut self) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        unit * 2f32.powi(self.below(5) as i32 - 3)
    }

    pub(super) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// A row in which each block of 32 holds nothing but a value, its opposite and zeros: symmetric codes have no error
    /// there, whatever their number of bits. Some blocks are all zeros.
    pub(super) fn extremes(&mut self, count: usize) -> Vec<f32> {
        let mut row = Vec::with_capacity(count.next_multiple_of(BLOCK));
        while row.len() < count {
            let largest = if self.below(5) == 0 { 0.0 } else { self.value() };
            row.extend((0..BLOCK).map(|_| [largest, -largest, 0.0][self.below(3) as usize]));
        }
        row.truncate(count);
        row
    }
}

/// A matrix as it lies in a file, and what it stands for.
pub(super) struct Encoded {
    pub(super) ty: WeightType,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bytes: Vec<u8>,
    values: Vec<f64>,
}

impl Encoded {
    /// Random weights; codes of `Q8_0` take all 256 values.
    pub(super) fn random(random: &mut Random, ty: WeightType, rows: usize, columns: usize) -> Self {
        let mut encoded = Encoded { ty, rows, columns, bytes: Vec::new(), values: Vec::new() };
        match ty {
            WeightType::Q8_0 => {
                for _ in 0..rows * columns / BLOCK {
                    let scale = f16::from_f32(random.value() / 64.0);
                    encoded.bytes.extend(scale.to_le_bytes());
                    for place in 0..BLOCK {
                        // The extremes in every block: the lowest has no opposite.
                        let code = [i8::MIN, i8::MAX].get(place).copied().unwrap_or(random.bits() as i8);
                        encoded.bytes.push(code as u8);
                        encoded.values.push(f64::from(scale.to_f32()) * f64::from(code));
                    }
                }
            }
            _ => (0..rows * columns).for_each(|_| encoded.push(random.value())),
        }
        encoded
    }

    /// Appends a value in the nearest form that the type has.
    fn push(&mut self, value: f32) {
        let held = match self.ty {
            WeightType::F16 => {
                self.bytes.extend(f16::from_f32(value).to_le_bytes());
                f16::from_f32(value).to_f32()
            }
            WeightType::Bf16 => {
                self.bytes.extend(bf16::from_f32(value).to_le_bytes());
                bf16::from_f32(value).to_f32()
            }
            _ => {
                self.bytes.extend(value.to_le_bytes());
                value
            }
        };
        self.values.push(f64::from(held));
    }

    /// What a row stands for.
    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    pub(super) fn raw(&self) -> RawMatrix<'_> {
        RawMatrix::new(&self.bytes, self.ty, self.rows, self.columns).expect("the bytes were made for the shape")
    }
}
