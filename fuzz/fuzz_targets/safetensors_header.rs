//! Any bytes as a safetensors file: they are refused in one line, or every tensor lies where its header says.

#![no_main]

use docent_models::read_safetensors_header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let entries = match read_safetensors_header(bytes) {
        Ok(entries) => entries,
        Err(error) => return assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    };
    let mut end = 8;
    for entry in &entries {
        let size = entry.shape.iter().product::<u64>() * entry.tensor_type.block_bytes() as u64;
        assert_eq!(entry.bytes.len() as u64, size, "{}", entry.name);
        assert!(entry.bytes.is_empty() || entry.bytes.start >= end, "{} overlaps", entry.name);
        end = end.max(entry.bytes.end);
    }
    assert!(end <= bytes.len().max(8));
});
