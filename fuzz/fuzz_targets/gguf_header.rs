//! Any bytes as a GGUF file: they are refused with one line, or everything that they describe can be read.

#![no_main]

use docent_gguf::{Gguf, TensorType, Value, codec};
use libfuzzer_sys::fuzz_target;

/// Elements of a tensor that are decoded; more of the same would only slow the search down.
const MOST_ELEMENTS: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    match Gguf::from_bytes(bytes.to_vec()) {
        Ok(model) => {
            metadata(&model);
            tensors(&model);
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("memory: "), "{message}");
            assert!(!message.contains('\n') && message.len() < 1000, "{message}");
        }
    }
});

fn metadata(model: &Gguf) {
    let metadata = model.metadata();
    assert_eq!(metadata.iter().count(), metadata.len());
    for (key, value) in metadata.iter() {
        assert!(!key.is_empty());
        assert_eq!(metadata.get(key).map(|found| found.value_type()), Some(value.value_type()));
        assert!(!value.describe().is_empty());
        match value {
            Value::Array(array) => {
                assert_eq!(array.iter().count(), array.len());
                let lists = [
                    metadata.u32s(key).map(|list| list.map(|list| list.len())),
                    metadata.i32s(key).map(|list| list.map(|list| list.len())),
                    metadata.f32s(key).map(|list| list.map(|list| list.len())),
                    metadata.bools(key).map(|list| list.map(|list| list.len())),
                    metadata.bytes(key).map(|list| list.map(|list| list.len())),
                    metadata.strings(key).map(|list| list.map(|list| list.iter().count())),
                ];
                for length in lists.into_iter().flatten() {
                    assert_eq!(length, Some(array.len()));
                }
            }
            _ => {
                let as_integer = metadata.u64(key).is_ok() || metadata.i64(key).is_ok();
                assert_eq!(as_integer, value.integer().is_some());
                assert!(metadata.strings(key).is_err());
            }
        }
    }
}

fn tensors(model: &Gguf) {
    let mut out = vec![0f32; MOST_ELEMENTS];
    for tensor in model.tensors() {
        let ty = tensor.tensor_type();
        assert_eq!(ty.bytes_for(tensor.n_elements() as u64), Some(tensor.bytes().len() as u64));
        assert_eq!(model.tensor(tensor.name()).map(|found| found.bytes().as_ptr()), Some(tensor.bytes().as_ptr()));
        let blocks = (tensor.n_elements().min(MOST_ELEMENTS)) / ty.block_elements();
        let (bytes, values) = (blocks * ty.block_bytes(), &mut out[..blocks * ty.block_elements()]);
        let decoded = codec::dequantize(ty, &tensor.bytes()[..bytes], values);
        assert_eq!(decoded.is_ok(), ty.is_supported());
        // What stands for itself comes back as it was; NaN, whose bits may change, and block formats, which have many codes
        // for one number, do not.
        if matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16)
            && !values.iter().any(|value| value.is_nan())
        {
            let mut again = vec![];
            codec::quantize(ty, values, &mut again).expect("these numbers came from this type");
            assert_eq!(again, &tensor.bytes()[..bytes]);
        }
    }
}
