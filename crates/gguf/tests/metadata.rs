//! The typed getters: what they accept, and what they say when they do not.

mod common;

use common::{ARRAY, Raw, STRING, array, text};
use docent_gguf::{Gguf, MetadataError};

fn model() -> Gguf {
    Raw::default()
        .entry("u8", 0, [200])
        .entry("i8", 1, [0x80])
        .entry("i32", 5, (-1i32).to_le_bytes())
        .entry("u32", 4, u32::MAX.to_le_bytes())
        .entry("u64", 10, u64::MAX.to_le_bytes())
        .entry("i64", 11, 7i64.to_le_bytes())
        .entry("f32", 6, 1e-12f32.to_le_bytes())
        .entry("f64", 12, 0.1f64.to_le_bytes())
        .entry("f64 large", 12, 1e300f64.to_le_bytes())
        .entry("f64 inf", 12, f64::INFINITY.to_le_bytes())
        .entry("bool", 7, [1])
        .entry("text", STRING, text("bert"))
        .entry("texts", ARRAY, array(STRING, 2, [text("a"), text("b")].concat()))
        .entry("ids", ARRAY, array(5, 3, [1i32, 2, 300].map(i32::to_le_bytes).concat()))
        .entry("signed", ARRAY, array(5, 2, [1i32, -1].map(i32::to_le_bytes).concat()))
        .entry("floats", ARRAY, array(6, 2, [0.5f32, -1.5].map(f32::to_le_bytes).concat()))
        .entry("doubles", ARRAY, array(12, 1, 1e300f64.to_le_bytes()))
        .entry("bools", ARRAY, array(7, 3, [0, 1, 2]))
        .entry("bytes", ARRAY, array(0, 3, [1, 2, 255]))
        .entry("i8s", ARRAY, array(1, 2, [1, 255]))
        .open()
}

#[test]
fn integers_of_every_width_when_they_fit() {
    let model = model();
    let metadata = model.metadata();
    assert_eq!(metadata.u32("u8").unwrap(), Some(200));
    assert_eq!(metadata.u32("i64").unwrap(), Some(7));
    assert_eq!(metadata.u32("u32").unwrap(), Some(u32::MAX));
    assert_eq!(metadata.u64("u64").unwrap(), Some(u64::MAX));
    assert_eq!(metadata.i32("i8").unwrap(), Some(-128));
    assert_eq!(metadata.i64("u32").unwrap(), Some(4_294_967_295));
    assert_eq!(metadata.u32("absent").unwrap(), None);
    assert_eq!(
        metadata.u32("i32").unwrap_err().to_string(),
        "memory: key `i32`: expected an integer from 0 to 4294967295, found the value -1"
    );
    assert!(matches!(metadata.u32("u64"), Err(MetadataError::OutOfRange { .. })));
    assert!(matches!(metadata.i32("u32"), Err(MetadataError::OutOfRange { .. })));
    assert!(matches!(metadata.i64("u64"), Err(MetadataError::OutOfRange { .. })));
    assert!(matches!(metadata.u64("i32"), Err(MetadataError::OutOfRange { .. })));
    for other in ["f32", "bool", "text", "ids"] {
        assert!(matches!(metadata.u32(other), Err(MetadataError::WrongType { .. })), "{other}");
    }
}

#[test]
fn floats_texts_and_truth_values() {
    let model = model();
    let metadata = model.metadata();
    assert_eq!(metadata.f32("f32").unwrap(), Some(1e-12));
    assert_eq!(metadata.f32("f64").unwrap(), Some(0.1));
    assert_eq!(metadata.f32("f64 inf").unwrap(), Some(f32::INFINITY));
    assert!(matches!(metadata.f32("f64 large"), Err(MetadataError::OutOfRange { .. })));
    assert_eq!(
        metadata.f32("u8").unwrap_err().to_string(),
        "memory: key `u8`: expected a number of type f32 or f64, found u8"
    );
    assert_eq!(metadata.bool("bool").unwrap(), Some(true));
    assert!(metadata.bool("u8").is_err());
    assert_eq!(metadata.str("text").unwrap(), Some("bert"));
    assert!(metadata.str("texts").is_err());
}

#[test]
fn arrays() {
    let model = model();
    let metadata = model.metadata();
    assert_eq!(metadata.require_strings("texts").unwrap().iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(metadata.require_u32s("ids").unwrap(), [1, 2, 300]);
    assert_eq!(metadata.require_u32s("bytes").unwrap(), [1, 2, 255]);
    assert_eq!(metadata.require_i32s("signed").unwrap(), [1, -1]);
    assert!(matches!(metadata.u32s("signed"), Err(MetadataError::OutOfRange { .. })));
    assert_eq!(metadata.require_f32s("floats").unwrap(), [0.5, -1.5]);
    assert!(matches!(metadata.f32s("doubles"), Err(MetadataError::OutOfRange { .. })));
    assert_eq!(metadata.require_bools("bools").unwrap(), [false, true, true]);
    assert_eq!(metadata.require_bytes("bytes").unwrap(), [1, 2, 255]);
    assert_eq!(metadata.require_bytes("i8s").unwrap(), [1, 255]);
    assert_eq!(metadata.require_array("ids").unwrap().len(), 3);
    assert_eq!(
        metadata.strings("ids").unwrap_err().to_string(),
        "memory: key `ids`: expected an array of strings, found array of 3 i32"
    );
    for (key, error) in [
        ("texts", metadata.u32s("texts").unwrap_err()),
        ("floats", metadata.u32s("floats").unwrap_err()),
        ("ids", metadata.f32s("ids").unwrap_err()),
        ("bytes", metadata.bools("bytes").unwrap_err()),
        ("ids", metadata.bytes("ids").unwrap_err()),
        ("u8", metadata.u32s("u8").unwrap_err()),
    ] {
        assert!(matches!(&error, MetadataError::WrongType { key: named, .. } if named == key), "{error}");
    }
    assert_eq!(metadata.strings("absent").unwrap(), None);
}

#[test]
fn required_keys_are_named_when_they_are_missing() {
    let model = model();
    let metadata = model.metadata();
    assert_eq!(
        metadata.require_u32("bert.block_count").unwrap_err().to_string(),
        "memory: key `bert.block_count`: expected an integer from 0 to 4294967295, found no such key"
    );
    assert!(matches!(metadata.require_str("nothing"), Err(MetadataError::Missing { .. })));
    assert!(matches!(metadata.require_str("u8"), Err(MetadataError::WrongType { .. })));
}
