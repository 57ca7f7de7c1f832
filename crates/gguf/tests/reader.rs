//! What a good file gives, and that the places of its parts are right.

mod common;

use common::{ARRAY, Raw, STRING, U8, U16, U32, array, text};
use docent_gguf::{Gguf, TensorType, Value};

#[test]
fn everything_is_found_in_file_order_and_by_name() {
    let model = Raw::valid().open();
    assert_eq!((model.version(), model.alignment(), model.n_files(), model.file()), (3, 32, 1, "memory"));
    let keys: Vec<_> = model.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.architecture", "a.count", "a.bytes", "a.texts", "a.ids"]);
    assert_eq!(model.metadata().len(), 5);
    assert_eq!(model.metadata().get("a.count"), Some(Value::U32(3)));
    assert_eq!(model.metadata().get("a.coun"), None);
    assert_eq!(model.metadata().require_str("general.architecture").unwrap(), "bert");
    let texts: Vec<_> = model.metadata().require_strings("a.texts").unwrap().iter().collect();
    assert_eq!(texts, ["[PAD]", "", "ü"]);

    let names: Vec<_> = model.tensors().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["one", "two", "three", "four"]);
    assert_eq!(model.tensors().len(), 4);
    let two = model.tensor("two").unwrap();
    assert_eq!(two.dims(), [32, 2]);
    assert_eq!((two.row_len(), two.n_rows(), two.n_elements()), (32, 2, 64));
    assert_eq!(two.tensor_type(), TensorType::Q8_0);
    assert_eq!(two.bytes(), (32..100).collect::<Vec<u8>>());
    let three = model.tensor("three").unwrap();
    assert_eq!((three.row_len(), three.n_rows(), three.bytes().len()), (2, 8, 32));
    assert_eq!(model.tensor("four").unwrap().bytes(), [160]);
    assert!(model.tensor("five").is_none());
    assert_eq!(common::walk(&model), 5 + 10 + 16 + 68); // entries, elements, bytes below 128 of `one` and `two`
}

#[test]
fn version_2_has_the_same_layout() {
    let model = Raw { version: 2, ..Raw::valid() }.open();
    assert_eq!(model.version(), 2);
    assert_eq!(model.tensors().len(), 4);
}

#[test]
fn every_value_type_is_read() {
    let model = Raw::default()
        .entry("u8", 0, [200])
        .entry("i8", 1, [200])
        .entry("u16", 2, 60000u16.to_le_bytes())
        .entry("i16", 3, (-2i16).to_le_bytes())
        .entry("u32", 4, u32::MAX.to_le_bytes())
        .entry("i32", 5, i32::MIN.to_le_bytes())
        .entry("f32", 6, 1.5f32.to_le_bytes())
        .entry("false", 7, [0])
        .entry("true", 7, [1])
        .entry("also true", 7, [255])
        .entry("text", 8, text("h\0é"))
        .entry("empty array", ARRAY, array(STRING, 0, []))
        .entry("u64", 10, u64::MAX.to_le_bytes())
        .entry("i64", 11, i64::MIN.to_le_bytes())
        .entry("f64", 12, 1e300f64.to_le_bytes())
        .open();
    let values: Vec<_> = model.metadata().iter().map(|(_, value)| value).collect();
    let expected = [
        Value::U8(200),
        Value::I8(-56),
        Value::U16(60000),
        Value::I16(-2),
        Value::U32(u32::MAX),
        Value::I32(i32::MIN),
        Value::F32(1.5),
        Value::Bool(false),
        Value::Bool(true),
        Value::Bool(true),
        Value::String("h\0é"),
        values[11],
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(1e300),
    ];
    assert_eq!(values, expected);
    assert_eq!(values[11].describe(), "array of 0 string");
}

#[test]
fn alignment_moves_the_data_section() {
    for alignment in [1u32, 8, 64, 4096] {
        let raw = Raw { alignment: alignment as usize, ..Raw::default() }
            .entry("general.alignment", U32, alignment.to_le_bytes())
            .tensor("a", &[3], TensorType::I8, 0)
            .tensor("b", &[2], TensorType::I8, u64::from(alignment) * 3)
            .data((0..alignment as usize * 3 + 2).map(|i| (i % 251) as u8).collect());
        let model = raw.open();
        assert_eq!(model.alignment(), alignment);
        assert_eq!(model.tensor("a").unwrap().bytes(), [0, 1, 2]);
        let start = alignment * 3;
        assert_eq!(model.tensor("b").unwrap().bytes(), [(start % 251) as u8, ((start + 1) % 251) as u8]);
    }
}

#[test]
fn gaps_order_and_trailing_bytes_do_not_matter() {
    let model = Raw::default()
        .tensor("late", &[2], TensorType::I8, 128)
        .tensor("early", &[2], TensorType::I8, 0)
        .data((0..200).collect())
        .open();
    assert_eq!(model.tensor("late").unwrap().bytes(), [128, 129]);
    assert_eq!(model.tensor("early").unwrap().bytes(), [0, 1]);
}

#[test]
fn a_tensor_without_dimensions_is_one_element() {
    let model = Raw::default().tensor("scalar", &[], TensorType::F32, 0).data(vec![0; 4]).open();
    let scalar = model.tensor("scalar").unwrap();
    assert_eq!((scalar.dims(), scalar.n_elements(), scalar.n_rows()), (&[1][..], 1, 1));
}

#[test]
fn a_file_without_tensors_needs_no_data_section() {
    let raw = Raw::default().entry("split.count", U16, 1u16.to_le_bytes()).entry("x", U8, [1]);
    let model = Gguf::from_bytes(raw.header()).unwrap();
    assert_eq!(model.tensors().len(), 0);
    assert_eq!(Gguf::from_bytes(Raw::default().header()).unwrap().metadata().len(), 0);
}

#[test]
fn a_mapped_file_equals_the_same_bytes_and_survives_its_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let bytes = Raw::valid().bytes();
    std::fs::write(&path, &bytes).unwrap();
    let mapped = Gguf::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let owned = Gguf::from_bytes(bytes).unwrap();
    assert_eq!(common::walk(&mapped), common::walk(&owned));
    assert_eq!(mapped.file(), path.display().to_string());
    assert_eq!(mapped.n_bytes(), owned.n_bytes());
    for (a, b) in mapped.tensors().zip(owned.tensors()) {
        assert_eq!((a.name(), a.dims(), a.bytes()), (b.name(), b.dims(), b.bytes()));
    }
}

#[test]
fn a_model_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Gguf>();
}
