//! A file made by the ggml project's own Python package (`fixtures/make.py`): our reader understands it, and our encoders
//! give the same bytes as theirs.

use docent_gguf::{Gguf, TensorType, Value, codec};

fn reference() -> Gguf {
    Gguf::from_bytes(include_bytes!("fixtures/reference.gguf").to_vec()).expect("the file is good")
}

/// The numbers of the tensors, by the formula in `make.py`.
fn values() -> Vec<f32> {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 - 8_388_608.0
    };
    (0..6).flat_map(|row| (0..64).map(|_| next() * 2f32.powi(-(23 + 2 * row))).collect::<Vec<_>>()).collect()
}

#[test]
fn metadata_of_every_type() {
    let model = reference();
    let metadata = model.metadata();
    assert_eq!((model.version(), model.alignment()), (3, 64));
    assert_eq!(metadata.require_str("general.architecture").unwrap(), "bert");
    for (key, value) in [
        ("u8", Value::U8(200)),
        ("i8", Value::I8(-100)),
        ("u16", Value::U16(60000)),
        ("i16", Value::I16(-30000)),
        ("u32", Value::U32(4_000_000_000)),
        ("i32", Value::I32(-2_000_000_000)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f32", Value::F32(1e-12)),
        ("f64", Value::F64(1e300)),
        ("bool", Value::Bool(true)),
        ("text", Value::String("naïve 日本 🦙")),
    ] {
        assert_eq!(metadata.get(&format!("scalar.{key}")), Some(value), "{key}");
    }
    assert_eq!(metadata.require_strings("array.texts").unwrap().iter().collect::<Vec<_>>(), ["[PAD]", "", "▁the"]);
    assert_eq!(metadata.require_i32s("array.ids").unwrap(), [1, -2, 3]);
    assert_eq!(metadata.require_f32s("array.floats").unwrap(), [0.5, -1.5]);
    assert_eq!(metadata.require_bools("array.bools").unwrap(), [true, false]);
    assert_eq!(metadata.require_bytes("array.bytes").unwrap(), [0, 1, 255]);
}

#[test]
fn tensors_and_encoders() {
    let model = reference();
    let names: Vec<_> = model.tensors().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["f32", "f16", "f16.decoded", "bf16", "bf16.decoded", "q8_0", "q8_0.decoded", "cube"]);
    let values = values();
    let f32s =
        |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>();
    assert_eq!(f32s(model.tensor("f32").unwrap().bytes()), values);
    for (name, ty) in [("f16", TensorType::F16), ("bf16", TensorType::BF16), ("q8_0", TensorType::Q8_0)] {
        let tensor = model.tensor(name).unwrap();
        assert_eq!((tensor.tensor_type(), tensor.dims()), (ty, &[64, 6][..]), "{name}");
        let mut encoded = vec![];
        codec::quantize(ty, &values, &mut encoded).unwrap();
        assert_eq!(encoded, tensor.bytes(), "{name}");
        let mut decoded = vec![f32::NAN; tensor.n_elements()];
        codec::dequantize(ty, tensor.bytes(), &mut decoded).unwrap();
        assert_eq!(decoded, f32s(model.tensor(&format!("{name}.decoded")).unwrap().bytes()), "{name}");
    }
    let cube = model.tensor("cube").unwrap();
    assert_eq!((cube.tensor_type(), cube.dims()), (TensorType::I32, &[4, 3, 2][..]));
    assert_eq!(cube.bytes()[..8], [0, 0, 0, 0, 1, 0, 0, 0]);
}
