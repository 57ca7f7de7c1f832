//! Tokenizers in GGUF metadata: variants of the format, and files that are wrong.

use docent_gguf::{Gguf, OwnedValue};
use docent_tokenizer::Tokenizer;
use proptest::prelude::*;

use crate::vocabularies::{data, gguf, small, strings};

const TOKENS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁a", "a", "▁ab", "b", "▁e", "▁!", "▁[unused1]"];

/// A small vocabulary as current converters write it, without the keys in `drop`, with those in `more`.
fn file(drop: &[&str], more: &[(&str, OwnedValue)]) -> Gguf {
    let mut entries: Vec<(&str, OwnedValue)> = vec![
        ("tokenizer.ggml.model", "bert".into()),
        ("tokenizer.ggml.tokens", strings(&TOKENS)),
        ("tokenizer.ggml.token_type", vec![3i32, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1].into()),
        ("tokenizer.ggml.bos_token_id", 2u32.into()),
        ("tokenizer.ggml.seperator_token_id", 3u32.into()),
        ("tokenizer.ggml.unknown_token_id", 1u32.into()),
        ("tokenizer.ggml.padding_token_id", 0u32.into()),
        ("tokenizer.ggml.mask_token_id", 4u32.into()),
    ];
    entries.retain(|(key, _)| !drop.contains(key) && !more.iter().any(|(other, _)| key == other));
    entries.extend(more.iter().cloned());
    gguf(&entries)
}

fn ids(file: &Gguf, text: &str) -> Vec<u32> {
    Tokenizer::from_gguf(file.metadata()).unwrap().ids(text).unwrap()
}

#[test]
fn words_and_continuations_are_told_apart() {
    let tokenizer = Tokenizer::from_gguf(file(&[], &[]).metadata()).unwrap();
    assert_eq!(tokenizer.ids("aa ab abb Ab É! x").unwrap(), [2, 5, 6, 7, 7, 8, 7, 9, 10, 1, 3]);
    assert_eq!(tokenizer.id("##a"), Some(6));
    assert_eq!(tokenizer.decode(&[2, 7, 8, 10, 3]).unwrap(), "abb!");
    assert_eq!(tokenizer.vocab_size(), TOKENS.len());
}

#[test]
fn special_tokens_in_the_text_become_themselves() {
    assert_eq!(ids(&file(&[], &[]), "a[SEP]a [MASK]"), [2, 5, 3, 5, 4, 3]);
    // Ordinary tokens in brackets do not; and in brackets is where these are looked for without types.
    assert_eq!(ids(&file(&[], &[]), "[unused1]"), [2, 1, 1, 1, 3]);
    assert_eq!(ids(&file(&["tokenizer.ggml.token_type"], &[]), "a[SEP]"), [2, 5, 3, 3]);
}

#[test]
fn user_defined_tokens_are_matched_as_they_stand() {
    let types = vec![3i32, 3, 3, 3, 3, 1, 1, 4, 1, 1, 1, 1];
    let file = file(&[], &[("tokenizer.ggml.token_type", types.into())]);
    assert_eq!(ids(&file, "eab"), [2, 9, 7, 3]);
}

#[test]
fn special_ids_come_from_keys_then_texts() {
    let keys = [
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.seperator_token_id",
        "tokenizer.ggml.unknown_token_id",
        "tokenizer.ggml.padding_token_id",
        "tokenizer.ggml.mask_token_id",
    ];
    assert_eq!(ids(&file(&keys, &[]), "a x"), [2, 5, 1, 3]);
    let cls = [("tokenizer.ggml.cls_token_id", 4u32.into())];
    assert_eq!(ids(&file(&keys, &cls), "a x"), [4, 5, 1, 3]);
    // Out of range: as if it were not there.
    let wild = [("tokenizer.ggml.bos_token_id", u32::MAX.into()), ("tokenizer.ggml.seperator_token_id", 12u32.into())];
    assert_eq!(ids(&file(&[], &wild), "a x"), [2, 5, 1, 3]);
    let eos = [("tokenizer.ggml.eos_token_id", 0u32.into())];
    assert_eq!(ids(&file(&keys, &eos), "a"), [2, 5, 0]);
}

#[test]
fn case_is_kept_where_the_file_says_so_or_shows_it() {
    let lowercase = |value: bool| ("tokenizer.ggml.normalizer.lowercase", value.into());
    let strip = |value: bool| ("tokenizer.ggml.normalizer.strip_accents", value.into());
    let ids = |more: &[(&str, OwnedValue)], text| ids(&file(&[], more), text);
    assert_eq!(ids(&[], "A É"), [2, 5, 9, 3]);
    assert_eq!(ids(&[lowercase(false)], "A a é"), [2, 1, 5, 1, 3]);
    assert_eq!(ids(&[lowercase(false), strip(true)], "A é"), [2, 1, 9, 3]);
    assert_eq!(ids(&[lowercase(true), strip(false)], "A E é"), [2, 5, 9, 1, 3]);
    // One capital among twelve tokens makes a cased vocabulary.
    let mut tokens = TOKENS;
    tokens[9] = "▁E";
    assert_eq!(ids(&[("tokenizer.ggml.tokens", strings(&tokens))], "E e A"), [2, 9, 1, 1, 3]);
    assert_eq!(ids(&[("tokenizer.ggml.tokens", strings(&tokens)), lowercase(true)], "E a A"), [2, 1, 5, 5, 3]);
}

#[test]
fn a_whole_tokenizer_json_comes_first() {
    let file =
        gguf(&[("tokenizer.ggml.model", "gpt2".into()), ("tokenizer.huggingface.json", small().to_string().into())]);
    assert_eq!(ids(&file, "aa"), [1, 3, 4, 2]);
}

fn error(file: &Gguf) -> String {
    let error = Tokenizer::from_gguf(file.metadata()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn other_families_are_named() {
    for model in ["rwkv", "plamo2", "no_vocab", "x\ny"] {
        let error = error(&file(&[], &[("tokenizer.ggml.model", model.into())]));
        assert!(
            error.contains(&format!("key `tokenizer.ggml.model`: {model:?} is not supported (supported: bert")),
            "{error}"
        );
    }
}

#[test]
fn wrong_files_are_explained() {
    let tokens = |texts: &[&str]| [("tokenizer.ggml.tokens", strings(texts))];
    let types = ["tokenizer.ggml.token_type"];
    for (file, message) in [
        (
            gguf(&[("general.architecture", "bert".into())]),
            "key `tokenizer.ggml.model`: expected a string, found no such key",
        ),
        (
            file(&["tokenizer.ggml.tokens"], &[]),
            "key `tokenizer.ggml.tokens`: expected an array of strings, found no such key",
        ),
        (
            file(&[], &[("tokenizer.ggml.tokens", vec![1u32].into())]),
            "key `tokenizer.ggml.tokens`: expected an array of strings",
        ),
        (
            file(&[], &[("tokenizer.ggml.model", 7u32.into())]),
            "key `tokenizer.ggml.model`: expected a string, found u32",
        ),
        (file(&types, &tokens(&[])), "found none among 0 tokens"),
        (
            file(&[], &[("tokenizer.ggml.token_type", vec![1i32; 11].into())]),
            "key `tokenizer.ggml.token_type`: expected an entry for each of the 12 tokens, found 11",
        ),
        (
            file(&types, &tokens(&["[UNK]", "[CLS]", "[SEP]", "▁a", "▁a", "▁a"])),
            "key `tokenizer.ggml.tokens`: expected distinct tokens, found \"##▁a\" twice, at ids 4 and 5",
        ),
        (
            file(&types, &tokens(&["[UNK]", "▁a"])),
            "expected a start token (key `tokenizer.ggml.bos_token_id` or a token [CLS]), found none among 2 tokens",
        ),
        (
            file(&[], &[("tokenizer.ggml.bos_token_id", "[CLS]".into())]),
            "key `tokenizer.ggml.bos_token_id`: expected an integer",
        ),
        (file(&[], &[("tokenizer.ggml.normalizer.lowercase", 1u32.into())]), "normalizer.lowercase`: expected a bool"),
        (
            file(&[], &[("tokenizer.huggingface.json", "{".into())]),
            "key `tokenizer.huggingface.json`: JSON: expected a valid document",
        ),
        (
            file(&[], &[("tokenizer.huggingface.json", "{}".into())]),
            "key `tokenizer.huggingface.json`: model: expected a value, found none",
        ),
    ] {
        let error = error(&file);
        assert!(error.contains(message), "{error}\n    lacks {message}");
    }
}

#[test]
fn published_vocabulary_of_another_family() {
    // Same file, other model name: nothing else about it is looked at.
    let bytes = std::fs::read(data("ggml-vocab-bert-bge.gguf")).unwrap();
    let key = b"tokenizer.ggml.model\x08\0\0\0\x04\0\0\0\0\0\0\0bert";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    let bytes = [&bytes[..at - 4], b"rwkv", &bytes[at..]].concat();
    let file = Gguf::from_bytes(bytes).unwrap();
    assert!(error(&file).contains("\"rwkv\" is not supported"));
}

#[test]
fn arbitrary_vocabularies_never_panic() {
    let token = prop_oneof![
        ".{0,4}",
        "▁{0,3}[a-cA-C#]{0,3}",
        "\\[[A-Z]{1,4}\\]",
        Just("[UNK]".to_owned()),
        Just("[CLS]".to_owned()),
        Just("[SEP]".to_owned())
    ];
    let ids = prop::collection::vec(prop::option::of(0u32..20), 8);
    let strategy = (
        prop::collection::hash_set(token, 0..16),
        prop::option::of(prop::collection::vec(-1i32..8, 0..16)),
        ids,
        ".{0,30}",
    );
    let accepted = std::cell::Cell::new(0);
    proptest!(|((tokens, types, ids, text) in strategy)| {
        let mut tokens: Vec<String> = tokens.into_iter().collect();
        tokens.extend(["[UNK]", "[CLS]", "[SEP]"].map(String::from));
        tokens.dedup();
        let mut entries: Vec<(&str, OwnedValue)> = vec![("tokenizer.ggml.model", "bert".into())];
        if let Some(mut types) = types {
            if types.len() % 2 == 0 {
                types.resize(tokens.len(), 1);
            }
            entries.push(("tokenizer.ggml.token_type", types.into()));
        }
        entries.push(("tokenizer.ggml.tokens", tokens.into()));
        let keys = ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.cls_token_id", "tokenizer.ggml.seperator_token_id",
            "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.padding_token_id",
            "tokenizer.ggml.mask_token_id"];
        for (key, id) in keys.iter().zip(ids) {
            if let Some(id) = id {
                entries.push((key, id.into()));
            }
        }
        let file = gguf(&entries);
        if let Ok(tokenizer) = Tokenizer::from_gguf(file.metadata()) {
            let encoding = tokenizer.encode(&text).unwrap();
            prop_assert!(encoding.ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            accepted.set(accepted.get() + 1);
        }
    });
    assert!(accepted.get() > 10, "only {} of the vocabularies were good", accepted.get());
}
