//! Vectors in answers: numbers, the bytes of numbers, or their signs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::floats::to_base64;

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// A list of numbers, each with as many digits as it takes to read the same `f32` again.
    #[default]
    Float,
    /// The little-endian `f32`s, in Base64.
    Base64,
    /// A bit for each component, 1 where it is above zero, eight in a number from -128 to 127: 128 less than `ubinary`.
    Binary,
    /// A bit for each component, 1 where it is above zero, eight in a number from 0 to 255, the first in the highest place.
    Ubinary,
}

/// A vector as it is written.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Encoded {
    /// Numbers.
    Float(Vec<f32>),
    /// Little-endian `f32`s in Base64.
    Base64(String),
    /// Eight signs in each number.
    Bits(Vec<i16>),
}

impl Encoding {
    pub(super) fn encode(self, vector: Vec<f32>) -> Encoded {
        match self {
            Encoding::Float => Encoded::Float(vector),
            Encoding::Base64 => Encoded::Base64(to_base64(&vector)),
            Encoding::Binary => Encoded::Bits(signs(&vector).map(|byte| i16::from(byte) - 128).collect()),
            Encoding::Ubinary => Encoded::Bits(signs(&vector).map(i16::from).collect()),
        }
    }
}

/// The signs of eight components each, as NumPy's `packbits` lays them out; what is missing in the last byte is 0.
fn signs(vector: &[f32]) -> impl Iterator<Item = u8> + '_ {
    vector.chunks(8).map(|eight| {
        eight.iter().enumerate().map(|(place, &value)| u8::from(value > 0.0) << (7 - place)).fold(0, |a, b| a | b)
    })
}

/// Scales a vector as llama.cpp's `embd_normalize` says: -1 not at all, 0 to whole steps of 16 bits by its largest component, 1 by
/// the sum of magnitudes, 2 by Euclidean length, above that by the norm of that order. Zeros stay zeros.
pub(super) fn scale_by_norm(vector: &mut [f32], order: i32) {
    let largest = vector.iter().fold(0.0_f64, |largest, &value| largest.max(f64::from(value).abs()));
    if order < 0 || largest == 0.0 {
        return;
    }
    let norm = match order {
        0 => largest / 32760.0,
        _ => {
            // Relative to the largest, so that no power leaves the range.
            let power = |&value: &f32| (f64::from(value).abs() / largest).powi(order);
            largest * vector.iter().map(power).sum::<f64>().powf(1.0 / f64::from(order))
        }
    };
    for value in vector {
        *value = (f64::from(*value) / norm) as f32;
    }
}

/// The cosine of the angle between two vectors; 0 if one of them is zero.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_they_need() {
        let numbers = vec![0.1_f32, -1.0, 1e-10, f32::MIN_POSITIVE, 16_777_216.0, 0.333_333_34, -0.0];
        let json = serde_json::to_string(&Encoding::Float.encode(numbers.clone())).unwrap();
        assert!(json.starts_with("[0.1,-1.0,1e-10,"), "{json}");
        let read: Vec<f32> = serde_json::from_str(&json).unwrap();
        assert_eq!(
            read.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
            numbers.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn base64_is_of_little_endian_floats() {
        assert_eq!(Encoding::Base64.encode(vec![1.0, -2.0]), Encoded::Base64("AACAPwAAAMA=".to_owned()));
    }

    #[test]
    fn signs_are_packed_as_numpy_packs_them() {
        // numpy.packbits([1, 0, 1, 0, 0, 0, 0, 0, 1]) is [160, 128].
        let vector = vec![0.5, -0.5, 0.1, 0.0, -1.0, -1.0, -1.0, -1.0, 2.0];
        assert_eq!(Encoding::Ubinary.encode(vector.clone()), Encoded::Bits(vec![160, 128]));
        assert_eq!(Encoding::Binary.encode(vector), Encoded::Bits(vec![32, 0]));
    }

    #[test]
    fn norms_of_llama_cpp() {
        let scaled = |order| {
            let mut vector = [3.0, -4.0];
            scale_by_norm(&mut vector, order);
            vector
        };
        assert_eq!(scaled(-1), [3.0, -4.0]);
        assert_eq!(scaled(0), [24570.0, -32760.0]);
        assert_eq!(scaled(2), [0.6, -0.8]);
        let close = |found: [f32; 2], expected: [f32; 2]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        close(scaled(1), [3.0 / 7.0, -4.0 / 7.0]);
        close(scaled(3), [3.0 / 91_f32.cbrt(), -4.0 / 91_f32.cbrt()]);
        close(scaled(i32::MAX), [0.75, -1.0]);
        let mut zeros = [0.0; 2];
        scale_by_norm(&mut zeros, 2);
        assert_eq!(zeros, [0.0; 2]);
    }
}
