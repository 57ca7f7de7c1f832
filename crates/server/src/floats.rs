//! Vectors as text: the bytes of their numbers in Base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Little-endian `f32`s in Base64.
pub(crate) fn to_base64(values: &[f32]) -> String {
    STANDARD.encode(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

/// The numbers of [`to_base64`]; `None` if the text is no Base64 of whole numbers.
pub(crate) fn from_base64(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (floats, rest) = bytes.as_chunks();
    rest.is_empty().then(|| floats.iter().copied().map(f32::from_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_travel_bit_by_bit() {
        let values = vec![0.0, -0.0, 1.5e-42, f32::MIN_POSITIVE, -1.0 / 3.0, f32::MAX];
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&from_base64(&to_base64(&values)).unwrap()), bits(&values));
        assert_eq!(to_base64(&[1.0, -2.0]), "AACAPwAAAMA=");
        assert_eq!(from_base64("AAAA"), None);
        assert_eq!(from_base64("not base64"), None);
    }
}
