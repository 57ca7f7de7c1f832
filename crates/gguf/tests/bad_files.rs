//! Files that must be refused, and with which words.

mod common;

use common::{ARRAY, I32, Raw, STRING, U8, U32, array, error, text};
use docent_gguf::{Error, Gguf, TensorType};
use proptest::prelude::*;

#[test]
fn a_file_cut_anywhere_in_its_header_is_refused() {
    let raw = Raw::valid();
    let (header, whole) = (raw.header(), raw.bytes());
    for length in 0..header.len() {
        let message = error(header[..length].to_vec());
        assert!(message.starts_with("memory: "), "{message}");
    }
    // Cut in the data: each tensor must be there to its last byte.
    for length in header.len()..whole.len() {
        let message = error(whole[..length].to_vec());
        assert!(message.contains("the file is cut short or damaged, fetch it again"), "{message}");
    }
    Gguf::from_bytes(whole).unwrap();
    // Without tensors every byte of the header still counts.
    let raw = Raw { tensors: vec![], ..raw };
    let header = raw.header();
    for length in 0..header.len() {
        error(header[..length].to_vec());
    }
    Gguf::from_bytes(header).unwrap();
}

#[test]
fn a_mapped_file_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    for length in [0, 3, 4, 23, 24, 100] {
        std::fs::write(&path, &Raw::valid().bytes()[..length]).unwrap();
        let message = Gguf::open(&path).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
    }
    assert!(matches!(Gguf::open(dir.path()), Err(Error::NotAFile { .. })));
    assert!(matches!(Gguf::open(dir.path().join("no.gguf")), Err(Error::Io { .. })));
}

#[test]
fn other_formats_are_recognised() {
    for (start, hint) in [
        (&b"PK\x03\x04 and more"[..], "a PyTorch checkpoint"),
        (b"ggml", "not a GGUF"),
        (b"lmgg....", "from before GGUF"),
        (b"tjgg....", "from before GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x40\0\0\0\0\0\0\0{\"a\":1}", "a safetensors file"),
        (b"{\"hidden_size\": 3}", "JSON"),
        (b"FUGG\x03\0\0\0", "not a GGUF"),
    ] {
        let message = error(start.to_vec());
        assert!(message.contains("expected the magic bytes \"GGUF\", found \""), "{message}");
        assert!(message.contains(hint), "{message}");
    }
    let version = |version| Raw { version, ..Raw::valid() }.error();
    assert_eq!(
        version(3u32.swap_bytes()),
        "memory: byte 4: expected a little-endian file, found big-endian version 3; convert the model with little-endian \
         output"
    );
    assert!(version(1).contains("expected GGUF version 2 or 3, found 1; the file is older"));
    assert!(version(0).contains("found 0; the file is older"));
    assert!(version(4).contains("found 4; the file is newer than this program"));
    assert!(version(u32::MAX).contains("found 4294967295"));
}

#[test]
fn impossible_counts_are_refused_before_anything_is_allocated() {
    for count in [1 << 20, 1 << 31, (1 << 32) + 1, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
        let tensors = Raw { n_tensors: Some(count), ..Raw::valid() }.error();
        assert!(tensors.starts_with("memory: byte 8: expected at most "), "{tensors}");
        assert!(tensors.contains(&format!("tensors, found a count of {count};")), "{tensors}");
        let entries = Raw { n_entries: Some(count), ..Raw::valid() }.error();
        assert!(entries.starts_with("memory: byte 16: expected at most "), "{entries}");
        assert!(entries.contains(&format!("metadata entries, found a count of {count};")), "{entries}");
        for element in 0..13 {
            let message = Raw::default().entry("k", ARRAY, array(element, count, [0; 64])).error();
            let expected = if element == ARRAY { "array of arrays" } else { "array elements, found a count of" };
            assert!(message.contains(expected), "{message}");
        }
        for text in [&count.to_le_bytes()[..], &[count.to_le_bytes(), *b"somewhat"].concat()] {
            for place in [
                Raw::default().entry("k", STRING, text),
                Raw::default().entry("k", ARRAY, array(STRING, 1, text)),
                Raw { entries: vec![[text, &[0; 32]].concat()], ..Raw::default() },
                Raw::default().raw_tensor([text, &[0; 32]].concat()),
            ] {
                let message = place.error();
                let refused =
                    message.contains("bytes of text, found a count of") || message.contains("the file is cut short");
                assert!(refused && message.contains(&count.to_string()), "{message}");
            }
        }
    }
    // One entry more than there is, and one more than could be.
    let message = error(Raw { n_entries: Some(6), tensors: vec![], ..Raw::valid() }.header());
    assert!(message.contains("the file is cut short"), "{message}");
    let message = error(Raw { n_entries: Some(2), ..Raw::default() }.entry("k", U8, [1]).header());
    assert!(message.contains("expected at most 1 metadata entries, found a count of 2"), "{message}");
}

#[test]
fn a_limit_beyond_the_bytes_left_holds_as_well() {
    // A text of more than 1 GiB is refused even where it might fit; the limit shows in the message.
    let message = Raw::default().entry("k", STRING, ((1u64 << 30) + 1).to_le_bytes()).error();
    assert!(message.contains("key `k` (byte 37): expected at most 1073741824 bytes of text"), "{message}");
}

#[test]
fn metadata_that_breaks_the_rules() {
    let with = |key: &str, ty, value: &[u8]| Raw::default().entry(key, ty, value).error();
    assert_eq!(with("", U8, &[1]), "memory: byte 24: expected a name, found an empty key");
    assert!(with(&"k".repeat(65536), U8, &[1]).contains("expected a key of at most 65535 bytes, found 65536"));
    assert_eq!(with("k", 13, &[1]), "memory: key `k` (byte 33): expected a value type from 0 to 12, found 13");
    assert!(with("k", u32::MAX, &[1]).contains("found 4294967295"));
    assert!(with("k", ARRAY, &array(77, 1, [1; 32])).contains("key `k` (byte 37): expected a value type"));
    assert!(with("k", ARRAY, &array(ARRAY, 1, array(U8, 1, [1]))).contains("found an array of arrays"));
    assert_eq!(
        with("k", STRING, &text(b"ab\xff")),
        "memory: key `k` (byte 45): expected UTF-8 text in a metadata value, found an invalid byte at position 2 of it"
    );
    assert!(with("k", ARRAY, &array(STRING, 2, [text("a"), text(b"\xc3")].concat())).contains("a text of an array"));
    let message = Raw::default().entry(b"\xff", U8, [1]).error();
    assert!(message.contains("expected UTF-8 text in a metadata key"), "{message}");
    let message = Raw::default().entry("k", U8, [1]).entry("l", U8, [1]).entry("k", U32, [1; 4]).error();
    assert_eq!(message, "memory: key `k` (byte 60): expected every key once, found it already at byte 32");
    let message = Raw::default().entry("evil\nkey\u{1b}[2J", 99, [1]).error();
    assert!(message.contains("key `evil\\nkey\\u{1b}[2J`"), "{message}");
}

#[test]
fn alignments_that_are_none() {
    let with = |ty, value: &[u8]| Raw::default().entry("general.alignment", ty, value).error();
    for bad in [0u32, 3, 33, (1 << 21) + 1, 1 << 22, 1 << 31, u32::MAX] {
        assert!(with(U32, &bad.to_le_bytes()).contains(&format!(
            "key `general.alignment` (byte 32): expected a power of two from 1 to 2097152, found {bad}"
        )));
    }
    assert!(with(I32, &32i32.to_le_bytes()).contains("expected a u32, found i32"));
    assert!(with(10, &32u64.to_le_bytes()).contains("expected a u32, found u64"));
    assert!(with(STRING, &text("32")).contains("expected a u32, found string"));
}

#[test]
fn tensors_that_break_the_rules() {
    let with = |name: &str, dims: &[u64], ty: u32, offset: u64| {
        Raw::default().raw_tensor(common::tensor(name, dims, ty, offset)).data(vec![0; 4096]).error()
    };
    assert_eq!(with("", &[1], 0, 0), "memory: byte 24: expected a name, found an empty tensor name");
    assert!(with(&"n".repeat(65), &[1], 0, 0).contains("expected a tensor name of at most 64 bytes, found 65"));
    assert_eq!(with("t", &[1; 5], 0, 0), "memory: tensor `t` (byte 24): expected at most 4 dimensions, found 5");
    assert!(with("t", &[2, 0, 3], 0, 0).contains("expected dimensions of at least 1, found 0 in [2, 0, 3]"));
    for dims in [
        &[u64::MAX][..],
        &[1 << 63],
        &[1 << 61],
        &[1 << 32, 1 << 32],
        &[1 << 21, 1 << 21, 1 << 21, 2],
        &[3, u64::MAX / 3 + 1],
        &[1 << 16, 1 << 16, 1 << 16, 1 << 16],
    ] {
        let message = with("t", dims, 0, 0);
        assert!(message.contains("expected a size below 2^63 bytes"), "{message}");
    }
    assert!(with("t", &[1 << 40], 0, 0).contains("expected 4398046511104 bytes of data at byte"));
    assert_eq!(
        with("t", &[32], 4, 0),
        "memory: tensor `t` (byte 24): expected a current tensor type, found Q4_2 (id 4), which was removed from the \
         format; fetch or make the model in another quantisation"
    );
    for id in [5, 31, 32, 33, 36, 37, 38] {
        assert!(with("t", &[32], id, 0).contains(&format!("(id {id}), which was removed")));
    }
    for id in [43, 1000, 1 << 31, u32::MAX] {
        assert!(with("t", &[32], id, 0).contains(&format!("expected a known tensor type, found id {id}")));
    }
    assert_eq!(
        with("t", &[33, 32], 8, 0),
        "memory: tensor `t` (byte 24): expected rows in whole blocks of 32 elements for type Q8_0, found 33 elements a row"
    );
    assert!(with("t", &[384], TensorType::Q4_K.id(), 0).contains("blocks of 256 elements for type Q4_K, found 384"));
    assert_eq!(
        with("t", &[1], 0, 16),
        "memory: tensor `t` (byte 24): expected a data offset divisible by 32, found 16"
    );
    for offset in [4096, 1 << 40, (1 << 63) - 32, 1 << 63, u64::MAX - 31] {
        for dims in [&[1u64][..], &[1 << 40]] {
            let message = with("t", dims, 0, offset);
            assert!(message.contains("found the end of the file at byte 41"), "{message}");
        }
    }
    assert!(
        with("t", &[1024], 0, 32)
            .contains("expected 4096 bytes of data at byte 96, found the end of the file at byte 4160")
    );
    let message = Raw::default().raw_tensor(common::tensor(b"\xfe", &[1], 0, 0)).error();
    assert!(message.contains("expected UTF-8 text in a tensor name"), "{message}");
}

#[test]
fn tensors_that_share_a_name_or_bytes() {
    let raw = Raw::default().data(vec![0; 256]);
    let twice = raw.clone().tensor("t", &[1], TensorType::F32, 0).tensor("t", &[1], TensorType::F32, 32).error();
    assert_eq!(
        twice,
        "memory: tensor `t` (byte 57): expected every tensor once, found it already at byte 24 of memory"
    );
    let same = raw.clone().tensor("a", &[1], TensorType::F32, 32).tensor("b", &[1], TensorType::F32, 32).error();
    assert!(same.contains("tensor `b`") && same.contains("inside tensor `a`"), "{same}");
    let tail = raw.clone().tensor("a", &[1], TensorType::F32, 32).tensor("b", &[9], TensorType::F32, 0).error();
    assert_eq!(
        tail,
        "memory: tensor `a` (byte 24): expected data of its own, found its first byte 128 inside tensor `b`, which ends at \
         byte 132"
    );
    // Touching is fine.
    raw.tensor("a", &[1], TensorType::F32, 32).tensor("b", &[8], TensorType::F32, 0).open();
}

proptest! {
    /// Whatever is done to the bytes of a file, it is refused or can be walked to its end.
    #[test]
    fn damage_is_refused_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = Raw::valid().bytes();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(model) = Gguf::from_bytes(bytes) {
            common::walk(&model);
        }
    }

    #[test]
    fn arbitrary_bytes_after_the_magic_are_refused_or_harmless(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(model) = Gguf::from_bytes([b"GGUF\x03\0\0\0", &tail[..]].concat()) {
            common::walk(&model);
        }
    }
}
