//! Equality with Hugging Face `tokenizers`: the Python library by a fixture, the Rust library on arbitrary text.

use docent_tokenizer::{Encoding, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vocabularies::{DOCUMENT, UNCASED, data, document_with, from_value, reference, small};

/// A text of the fixture: as it is, or pieces with their number of repetitions.
fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let repeat = |pair: &[Value]| pair[0].as_str().unwrap().repeat(pair[1].as_u64().unwrap() as usize);
            value.as_array().unwrap().chunks(2).map(repeat).collect()
        }
    }
}

/// CRC-32 as in zlib.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

fn check(tokenizer: &Tokenizer, text: &str, expected: &Value) {
    let Encoding { ids, offsets, dropped } = tokenizer.encode(text).unwrap();
    let offsets: Vec<u32> = offsets.iter().flat_map(|&(start, end)| [start as u32, end as u32]).collect();
    let shown: String = text.chars().take(100).collect();
    if expected["ids"].is_null() {
        assert_eq!(json!(ids.len()), expected["count"], "{shown:?}");
        let crc = crc32(ids.iter().chain(&offsets).flat_map(|n| n.to_le_bytes()));
        assert_eq!(json!(crc), expected["crc32"], "{shown:?}");
    } else {
        assert_eq!(json!(ids), expected["ids"], "{shown:?}");
        assert_eq!(json!(offsets), expected["offsets"], "{shown:?}");
    }
    assert_eq!(dropped, 0);
    assert_eq!(tokenizer.ids(text).unwrap(), ids);
}

fn check_fixture(tokenizer: &Tokenizer, variant: &str) {
    let fixture = std::fs::read(data("hf-reference.json")).unwrap();
    let fixture: Value = serde_json::from_slice(&fixture).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 350);
    for case in cases {
        check(tokenizer, &text(&case["text"]), &case[variant]);
    }
}

#[test]
fn gguf_equals_the_python_library() {
    check_fixture(&UNCASED, "uncased");
}

#[test]
fn tokenizer_json_equals_the_python_library() {
    check_fixture(&from_value(&DOCUMENT).unwrap(), "uncased");
}

#[test]
fn a_cased_tokenizer_json_equals_the_python_library() {
    check_fixture(&from_value(&document_with(false, None, true, true)).unwrap(), "cased");
}

/// The general engine: a `Sequence` of one normaliser means the same but is not recognised as BERT's.
#[test]
fn the_general_engine_equals_the_python_library() {
    let mut document = DOCUMENT.clone();
    document["normalizer"] = json!({"type": "Sequence", "normalizers": [document["normalizer"]]});
    check_fixture(&from_value(&document).unwrap(), "uncased");
}

/// Texts with everything that normalisation and splitting look at, in close quarters.
fn any_text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        8 => proptest::char::range('a', 'e'),
        2 => proptest::char::range(' ', '~'),
        2 => proptest::char::range('\0', '\u{ff}'),
        3 => proptest::char::range('\u{100}', '\u{600}'),
        3 => prop::sample::select("\u{301}\u{323}\u{345}\u{302e}\u{1d165}\u{344}\u{f73}\u{93c}\u{3099}\u{488}".chars().collect::<Vec<_>>()),
        2 => prop::sample::select("\u{200b}\u{200d}\u{ad}\u{fffd}\u{85}\u{2028}\u{3000}\u{2000}\u{b}\u{e000}".chars().collect::<Vec<_>>()),
        2 => prop::sample::select("我豈\u{2b820}\u{2f800}한각가が。，İẞǅΣſK≠\u{1ff9}".chars().collect::<Vec<_>>()),
        1 => any::<char>(),
    ];
    let piece = prop_oneof![
        20 => char.prop_map(String::from),
        1 => prop::sample::select(vec!["[SEP]", "[MASK]", "[PAD]", "[UNK", "##", " the ", "ing"]).prop_map(String::from),
        1 => (90usize..110, prop::sample::select(vec!["a", "é", "e\u{301}", "한"])).prop_map(|(n, s)| s.repeat(n)),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn equal(ours: &Tokenizer, theirs: &tokenizers::Tokenizer, text: &str) -> Result<(), TestCaseError> {
    let expected = theirs.encode(text, true).unwrap();
    let encoding = ours.encode(text).unwrap();
    prop_assert_eq!(&encoding.ids, expected.get_ids());
    prop_assert_eq!(&encoding.offsets, expected.get_offsets());
    prop_assert_eq!(ours.ids(text).unwrap(), encoding.ids);
    Ok(())
}

/// Compares on arbitrary text with every setting of the normaliser over two vocabularies.
#[test]
fn arbitrary_text_equals_the_rust_library() {
    let mut pairs = vec![];
    for settings in 0..24 {
        let flag = |bit: u32| settings >> bit & 1 == 1;
        let strip = [None, Some(false), Some(true)][settings / 8];
        let large = document_with(flag(0), strip, flag(1), flag(2));
        let mut small = small();
        small["normalizer"] = large["normalizer"].clone();
        // The settings in use over the real vocabulary, all of them over the small one.
        if flag(1) && flag(2) {
            pairs.push((from_value(&large).unwrap(), reference(&large)));
        }
        pairs.push((from_value(&small).unwrap(), reference(&small)));
    }
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    proptest!(ProptestConfig::with_cases(cases), |(text in any_text(), pick in any::<prop::sample::Index>())| {
        let (ours, theirs) = pick.get(&pairs);
        equal(ours, theirs, &text)?;
    });
}

/// Every code point of the planes in use, and a sample of the others, by itself, between letters and among marks.
#[test]
fn every_code_point_equals_the_rust_library() {
    let tokenizers = [true, false].map(|lowercase| {
        let document = document_with(lowercase, None, true, true);
        (from_value(&document).unwrap(), reference(&document))
    });
    let used = |start: &u32| matches!(start >> 16, 0..=3 | 14) || start % 0x1000 == 0x0FC0;
    for start in (0..=0x10_FFFF).step_by(64).filter(used) {
        let text: String =
            (start..start + 64).filter_map(char::from_u32).map(|c| format!("{c} a{c}b e\u{301}{c}\u{323} ")).collect();
        for (ours, theirs) in &tokenizers {
            equal(ours, theirs, &text).unwrap_or_else(|e| panic!("from U+{start:04X}: {e}"));
        }
    }
}

#[test]
fn decoding_equals_the_rust_library() {
    let theirs = reference(&DOCUMENT);
    for text in
        ["Hello, World!", "don't you think it's unaffable? I've no idea.", "naïve café 我想", "[SEP] a [MASK]", ""]
    {
        let ids = UNCASED.ids(text).unwrap();
        assert_eq!(UNCASED.decode(&ids).unwrap(), theirs.decode(&ids, true).unwrap());
    }
    assert_eq!(UNCASED.decode(&UNCASED.ids("It's unaffable, or?").unwrap()).unwrap(), "it ' s unaffable, or?");
}
