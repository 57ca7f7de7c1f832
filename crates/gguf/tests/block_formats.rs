//! Blocks of every format decode to the numbers that the ggml project's own package gives (`fixtures/make_blocks.py`).

use docent_gguf::{Gguf, TensorType, codec};

const FILE: &[u8] = include_bytes!("fixtures/blocks.gguf");

#[test]
fn blocks_decode_to_the_reference_bit_by_bit() {
    let file = Gguf::from_bytes(FILE.to_vec()).unwrap();
    for &ty in TensorType::ALL.iter().filter(|ty| ty.is_supported() && ty.is_quantized()) {
        let blocks = file.tensor(ty.name()).unwrap();
        assert_eq!(blocks.tensor_type(), ty);
        let mut expected = vec![0.0; blocks.n_elements()];
        let reference = file.tensor(&format!("{ty}.decoded")).unwrap();
        codec::dequantize(TensorType::F32, reference.bytes(), &mut expected).unwrap();
        let mut decoded = vec![0.0; blocks.n_elements()];
        codec::dequantize(ty, blocks.bytes(), &mut decoded).unwrap();
        assert!(expected.iter().any(|value| *value != 0.0), "{ty}");
        for (index, (a, b)) in decoded.iter().zip(&expected).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "{ty}, element {index}: {a} {b}");
        }
    }
}
