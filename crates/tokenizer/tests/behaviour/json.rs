//! `tokenizer.json`: what is accepted, what is refused and how, and that nothing in it makes us panic.

use docent_tokenizer::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vocabularies::{DOCUMENT, from_value, reference, small};

fn with(pointer: &str, value: Value) -> Value {
    let mut document = small();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value;
    document
}

fn error(document: &Value) -> String {
    let error = from_value(document).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn truncation_and_padding_in_the_file_have_no_effect() {
    let mut document = small();
    document["truncation"] = DOCUMENT["truncation"].clone();
    document["padding"] = DOCUMENT["padding"].clone();
    let ids = from_value(&document).unwrap().ids(&"a ".repeat(300)).unwrap();
    assert_eq!(ids, [vec![1], vec![3; 300], vec![2]].concat());
    assert_eq!(from_value(&document).unwrap().ids("a").unwrap().len(), 3);
}

#[test]
fn without_a_post_processor_nothing_is_added() {
    let tokenizer = from_value(&with("/post_processor", Value::Null)).unwrap();
    assert_eq!((tokenizer.special_token_count(), tokenizer.ids("a[SEP]").unwrap()), (0, vec![3, 2]));
}

#[test]
fn early_files_without_a_type_are_recognised() {
    let mut document = small();
    document["model"].as_object_mut().unwrap().remove("type");
    assert_eq!(from_value(&document).unwrap().ids("ab").unwrap(), [1, 5, 2]);
}

#[test]
fn other_parts_run_on_the_general_engine() {
    let mut document = small();
    document["normalizer"] =
        json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]});
    document["pre_tokenizer"] = json!({"type": "WhitespaceSplit"});
    let tokenizer = from_value(&document).unwrap();
    assert_eq!(tokenizer.ids("ÀB É e!").unwrap(), [1, 5, 7, 0, 2]);
    assert_eq!(tokenizer.encode("ÀB É").unwrap().offsets, [(0, 0), (0, 3), (4, 6), (0, 0)]);
}

/// Flags that only the reference implementation knows how to honour.
#[test]
fn added_tokens_of_every_sort_equal_the_reference() {
    for flag in ["lstrip", "rstrip", "single_word", "normalized"] {
        let mut document = small();
        for (id, content, special) in [(11, "XY", false), (12, "[new]", true)] {
            let mut token = json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false});
            token[flag] = json!(true);
            document["added_tokens"].as_array_mut().unwrap().push(token);
        }
        let (ours, theirs) = (from_value(&document).unwrap(), reference(&document));
        for text in ["a XY a", "aXYa", "xy", " [new] ab", "e[new]XY  [SEP] [NEW]", "XY"] {
            let expected = theirs.encode(text, true).unwrap();
            assert_eq!(ours.ids(text).unwrap(), expected.get_ids(), "{flag} {text}");
            assert_eq!(ours.encode(text).unwrap().offsets, expected.get_offsets(), "{flag} {text}");
        }
        assert_eq!((ours.vocab_size(), ours.id("XY"), ours.token(12)), (13, Some(11), Some("[new]".into())));
        assert_eq!(ours.decode(&[1, 11, 12, 2]).unwrap(), "XY");
    }
}

#[test]
fn added_tokens_are_not_pieces_of_words() {
    let mut document = small();
    let token = json!({"id": 11, "content": "xy", "special": false, "normalized": false});
    document["added_tokens"].as_array_mut().unwrap().push(token);
    let tokenizer = from_value(&document).unwrap();
    assert_eq!(tokenizer.ids("xy XY").unwrap(), [1, 11, 0, 2]);
    assert_eq!((tokenizer.id("xy"), tokenizer.vocab_size()), (Some(11), 12));
}

#[test]
fn other_families_are_named() {
    for kind in ["WordLevel", "Something"] {
        let error = error(&with("/model/type", json!(kind)));
        assert_eq!(error, format!("model.type: {kind:?} is not supported (supported: WordPiece, Unigram, BPE)"));
    }
}

#[test]
fn wrong_files_are_explained() {
    let added = |token: Value| with("/added_tokens", json!([token]));
    for (document, message) in [
        (json!([]), "JSON: expected an object, found an array of 0"),
        (json!({}), "model: expected a value, found none"),
        (json!({"model": {}}), "model.type: expected a value, found none"),
        (json!({"model": {"type": 3}}), "model.type: expected a string, found 3"),
        (with("/version", json!("2.0")), "version: \"2.0\" is not supported (supported: 1.0)"),
        (with("/model/vocab", json!({})), "model: expected at least one token, found an empty vocabulary"),
        (with("/model/vocab", json!([])), "model.vocab: expected an object, found an array of 0"),
        (with("/model/vocab/a", json!(-3)), "model.vocab.a: expected an integer from 0 to 4294967295, found -3"),
        (with("/model/vocab/a", json!(1.5)), "model.vocab.a: expected an integer"),
        (with("/model/vocab/a", json!(4)), "model.vocab: expected one token for each id, found id 4 for both"),
        (
            with("/model/vocab/a", json!(4294967295u32)),
            "model.vocab: expected ids below 2097152, found \"a\" with id 4294967295",
        ),
        (
            with("/model/unk_token", json!("<unk>")),
            "model: expected the unknown token \"<unk>\", found none among 11 tokens",
        ),
        (
            with("/model/max_input_chars_per_word", json!(100000)),
            "max_input_chars_per_word of at most 512, found 100000",
        ),
        (
            with("/post_processor/cls", json!(["[CLS]", 11])),
            "special tokens around a text: expected the id of one of the 11 tokens, found id 11",
        ),
        (with("/post_processor/type", json!("Other")), "post_processor.type: \"Other\" is not supported"),
        (
            with("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
            "normalizer.precompiled_charsmap: expected at least 4 bytes, found 3",
        ),
        (with("/normalizer", json!({"type": "BertNormalizer"})), "normalizer.lowercase: expected a value, found none"),
        (with("/normalizer/lowercase", json!("yes")), "normalizer.lowercase: expected true or false, found \"yes\""),
        (with("/pre_tokenizer", json!({"type": "Split"})), "pre_tokenizer.pattern: expected a value, found none"),
        (with("/pre_tokenizer", json!({"type": "Punctuation", "behavior": "Sideways"})), "pre_tokenizer: "),
        (with("/decoder", json!({"type": "CTC"})), "decoder.type: \"CTC\" is not supported (supported: WordPiece"),
        (with("/added_tokens", json!({})), "added_tokens: expected an array, found an object of 0"),
        (
            with("/added_tokens", json!([{"id": 2, "content": "[SEP]"}, {"id": 2, "content": "[SEP]"}])),
            "added_tokens[1].content: expected a token that is not in the list already, found \"[SEP]\"",
        ),
        (added(json!({"id": 2})), "added_tokens[0].content: expected a value, found none"),
        (
            added(json!({"id": 2, "content": ""})),
            "added_tokens[0].content: expected a text that is not empty, found \"\"",
        ),
        (
            added(json!({"id": 5, "content": "[SEP]"})),
            "added_tokens[0]: expected id 2 for \"[SEP]\", as in the vocabulary, found id 5",
        ),
        (
            added(json!({"id": 5, "content": "[X]"})),
            "added_tokens[0]: expected one token for each id, found id 5 for both",
        ),
    ] {
        let error = error(&document);
        assert!(error.contains(message), "{error}\n    lacks {message}");
    }
    for bytes in [&b""[..], b"{", b"\xff", b"{\"model\": \"\xc3\"}", &b"[".repeat(100_000)] {
        let error = Tokenizer::from_json(bytes).unwrap_err().to_string();
        assert!(error.starts_with("JSON: expected a valid document, found"), "{error}");
    }
}

#[test]
fn a_message_stays_short_whatever_the_file_says() {
    let long = "x\n\u{1b}[31m".repeat(100_000);
    for document in [
        with("/model/type", json!(long)),
        with("/model/unk_token", json!(long)),
        with("/normalizer/type", json!(long)),
        with(&format!("/model/vocab/{long}"), json!(-1)),
        with("/decoder/type", json!(long)),
    ] {
        let error = error(&document);
        assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
    }
}

/// Every value of a small document in turn becomes something else; the result is an error or a working tokenizer.
#[test]
fn mutated_values_never_panic() {
    fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.to_owned());
        match value {
            Value::Object(members) => members.iter().for_each(|(key, v)| pointers(v, &format!("{at}/{key}"), out)),
            Value::Array(values) => values.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out)),
            _ => {}
        }
    }
    let mut document = small();
    document["post_processor"] = DOCUMENT["post_processor"].clone();
    document["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([1]);
    document["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([2]);
    let mut all = vec![];
    pointers(&document, "", &mut all);
    let replacements = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(4294967295u32),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("[SEP]"),
        json!("Sequence"),
        json!("NFKC"),
        json!("Strip"),
        json!("B"),
        json!([]),
        json!({}),
        json!([["a", 1]]),
        json!({"type": "Sequence"}),
        json!({"type": "Whitespace"}),
        json!({"type": "Lowercase"}),
        json!({"id": "B", "type_id": 0}),
        json!({"type": "Digits", "individual_digits": true}),
    ];
    let mut accepted = 0;
    for pointer in &all {
        for replacement in &replacements {
            let mut document = document.clone();
            *document.pointer_mut(pointer).unwrap() = replacement.clone();
            if let Ok(tokenizer) = from_value(&document) {
                for text in ["", "a [SEP] É!", "\u{344}\u{323} 我x", "xyz 12 [CLS][CLS"] {
                    let encoding = tokenizer.encode(text).unwrap();
                    assert!(encoding.ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
                    tokenizer.decode(&encoding.ids).unwrap();
                }
                accepted += 1;
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_bytes_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..5usize, prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:0129".to_vec())]), 1..6),
        text in ".{0,20}",
    ) {
        let mut bytes = small().to_string().into_bytes();
        for (at, what, byte) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match what {
                0 => { bytes.remove(at); }
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at.max(1)),
                _ => bytes[at] = byte,
            }
        }
        if let Ok(tokenizer) = Tokenizer::from_json(&bytes) {
            let ids = tokenizer.ids(&text).unwrap();
            tokenizer.decode(&ids).unwrap();
        }
    }
}
