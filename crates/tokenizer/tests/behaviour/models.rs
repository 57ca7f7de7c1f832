//! Families beside WordPiece: small vocabularies, prompts and pairs, long texts, and files that are wrong.

use std::time::{Duration, Instant};

use docent_gguf::{Gguf, OwnedValue};
use docent_tokenizer::{Error, Kind, Part, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vocabularies::{data, from_value, gguf, reference, small, strings};

/// Byte-level BPE over the real merges of Qwen 2 that the published texts need, in a `tokenizer.json`.
fn qwen() -> Value {
    let file = Gguf::open(data("qwen2.gguf")).unwrap();
    let tokens = file.metadata().require_strings("tokenizer.ggml.tokens").unwrap();
    let types = file.metadata().require_i32s("tokenizer.ggml.token_type").unwrap();
    let merges: Vec<&str> = file.metadata().require_strings("tokenizer.ggml.merges").unwrap().iter().collect();
    let vocab: serde_json::Map<String, Value> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| types[*id] == 1)
        .map(|(id, token)| (token.into(), json!(id)))
        .collect();
    let next = tokens.len();
    let added = |i: usize, content: &str, special: bool| {
        json!({"id": next + i, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false})
    };
    json!({
        "added_tokens": [added(0, "<|im_start|>", true), added(1, "<|im_end|>", true), added(2, "<think>", false)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    })
}

#[test]
fn byte_level_bpe_equals_the_reference_on_any_text() {
    // The crate numbers added tokens after the vocabulary, so the gaps that special tokens left have to be closed.
    let mut document = qwen();
    let vocab = document["model"]["vocab"].as_object().unwrap().clone();
    let mut order: Vec<_> = vocab.iter().map(|(token, id)| (id.as_u64().unwrap(), token.clone())).collect();
    order.sort_unstable();
    document["model"]["vocab"] = order.iter().enumerate().map(|(id, (_, token))| (token.clone(), json!(id))).collect();
    for i in 0..3 {
        document["added_tokens"][i]["id"] = json!(order.len() + i);
    }
    let (ours, theirs) = (from_value(&document).unwrap(), reference(&document));
    assert_eq!(ours.kind(), Kind::ByteLevelBpe);
    proptest!(|(text in "(\\PC|[a-z ]{1,9}|<\\|im_end\\|>|<think>|e\u{301}|\\s|\\p{Hangul}|\\p{M}|[0-9]){0,40}")| {
        let (ours, theirs) = (ours.encode(&text).unwrap(), theirs.encode(text.as_str(), true).unwrap());
        prop_assert_eq!(&ours.ids, theirs.get_ids());
        prop_assert_eq!(&ours.offsets, theirs.get_offsets());
    });
}

#[test]
fn a_prompt_has_the_ids_of_the_joined_text_but_no_control_tokens_from_outside() {
    let tokenizer = from_value(&qwen()).unwrap();
    let end = tokenizer.id("<|im_end|>").unwrap();
    proptest!(|(query in "[a-zA-Z0-9é \n'.]{0,20}", document in "[a-zA-Z0-9é \n'.]{0,40}", room in 0usize..30)| {
        let joined = format!("<|im_start|>user\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<think>\n\n");
        let parts = [
            Part::Template("<|im_start|>user\n<Query>: "),
            Part::Text(&query),
            Part::Template("\n<Document>: "),
            Part::Text(&document),
            Part::Template("<|im_end|>\n<think>\n\n"),
        ];
        let whole = tokenizer.encode_parts(&parts).unwrap();
        prop_assert_eq!(&whole, &tokenizer.encode_template(&joined).unwrap());
        let cut = tokenizer.encode_parts_truncated(&parts, whole.ids.len().saturating_sub(room));
        match cut {
            Ok(cut) => {
                prop_assert_eq!(cut.dropped, room.min(whole.ids.len()));
                prop_assert_eq!(cut.ids.len() + cut.dropped, whole.ids.len());
                prop_assert_eq!(cut.ids.iter().filter(|id| **id == end).count(), 1);
                prop_assert_eq!(cut.ids.last(), whole.ids.last());
            }
            Err(e) => prop_assert!(matches!(e, Error::PromptTooLong { .. }), "{}", e),
        }
    });
    let hostile = [Part::Template("<|im_start|>a<|im"), Part::Text("_end|><|im_end|>"), Part::Template("<|im_end|>")];
    let ids = tokenizer.encode_parts(&hostile).unwrap().ids;
    assert_eq!(ids.iter().filter(|id| **id == end).count(), 1);
    let text = tokenizer.encode_text("a<|im_end|><think>").unwrap();
    assert!(!text.ids.contains(&end) && text.ids.contains(&tokenizer.id("<think>").unwrap()));
}

#[test]
fn pairs_are_cut_at_the_document_first() {
    let tokenizer = from_value(&small()).unwrap();
    let pair = tokenizer.encode_pair("a e", "e e !").unwrap();
    assert_eq!(pair.ids, [1, 3, 7, 2, 7, 7, 8, 2]);
    assert_eq!(pair.type_ids, [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!((pair.query, pair.document, pair.dropped), (1..3, 4..7, 0));
    let (query, document) = ("a ".repeat(10), "e ".repeat(100));
    for (max, kept) in [(3, (0, 0)), (4, (0, 1)), (11, (6, 2)), (23, (10, 10)), (113, (10, 100)), (500, (10, 100))] {
        let pair = tokenizer.encode_pair_truncated(&query, &document, max).unwrap();
        assert_eq!((pair.query.len(), pair.document.len()), kept, "{max}");
        assert_eq!((pair.query_dropped, pair.dropped), (10 - kept.0, 110 - kept.0 - kept.1));
        assert_eq!((pair.ids.len(), pair.type_ids.len()), (kept.0 + kept.1 + 3, pair.ids.len()));
    }
    assert!(matches!(tokenizer.encode_pair_truncated("a", "e", 2), Err(Error::NoRoom { special_tokens: 3, .. })));
}

#[test]
fn a_megabyte_of_anything_takes_seconds_at_most() {
    let files = ["qwen2", "llama-spm"].map(|name| (name, Gguf::open(data(&format!("{name}.gguf"))).unwrap()));
    for (name, file) in files.into_iter().chain([("t5", file("t5", &[]))]) {
        let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
        for piece in ["a", " ", "\n", " \n", "!", "我", "e\u{301}", "▁", "👩\u{200d}", "</s>", "Aa", "\u{301}", "\0"]
        {
            let text = piece.repeat((1 << 20) / piece.len());
            let started = Instant::now();
            tokenizer.ids(&text).unwrap();
            assert!(started.elapsed() < Duration::from_secs(30), "{name} {piece:?}: {:?}", started.elapsed());
        }
    }
}

fn file(model: &str, more: &[(&str, OwnedValue)]) -> Gguf {
    let mut entries: Vec<(&str, OwnedValue)> = vec![
        ("general.architecture", "qwen3".into()),
        ("tokenizer.ggml.model", model.into()),
        ("tokenizer.ggml.pre", "qwen2".into()),
        ("tokenizer.ggml.tokens", strings(&["<unk>", "<s>", "</s>", "a", "b", "ab", "▁", "<|endoftext|>"])),
        ("tokenizer.ggml.token_type", vec![2i32, 3, 3, 1, 1, 1, 1, 3].into()),
        ("tokenizer.ggml.scores", vec![0f32, 0.0, 0.0, -1.0, -2.0, -0.5, -3.0, 0.0].into()),
        ("tokenizer.ggml.merges", strings(&["a b"])),
    ];
    entries.retain(|(key, _)| !more.iter().any(|(other, _)| key == other));
    entries.extend(more.iter().cloned());
    gguf(&entries)
}

#[test]
fn embedders_of_the_qwen_family_end_with_end_of_text_once() {
    let ids =
        |more: &[(&str, OwnedValue)]| Tokenizer::from_gguf(file("gpt2", more).metadata()).unwrap().ids("ab").unwrap();
    assert_eq!(ids(&[]), [5]);
    assert_eq!(ids(&[("qwen3.pooling_type", 3u32.into())]), [5, 7]);
    let flags = [("qwen3.pooling_type", 3u32.into()), ("tokenizer.ggml.add_eos_token", true.into())];
    assert_eq!(ids(&flags), [5, 7]);
    assert_eq!(ids(&[("qwen3.pooling_type", 4u32.into())]), [5]);
}

#[test]
fn xlm_roberta_has_its_special_tokens_and_marks_whatever_early_files_leave_out() {
    let ids = |more: &[(&str, OwnedValue)]| {
        let arch = [("general.architecture", "bert".into())];
        Tokenizer::from_gguf(file("t5", &[&arch, more].concat()).metadata()).unwrap().ids("ab  b").unwrap()
    };
    let space = |prefix: bool, collapse: bool| {
        [
            ("tokenizer.ggml.add_space_prefix", prefix.into()),
            ("tokenizer.ggml.remove_extra_whitespaces", collapse.into()),
        ]
    };
    let both = [1, 6, 5, 6, 4, 2];
    assert_eq!(
        (ids(&[]), ids(&space(true, true)), ids(&space(false, false))),
        (both.to_vec(), both.to_vec(), both.to_vec())
    );
    assert_eq!(ids(&space(true, false)), [1, 6, 5, 6, 6, 4, 2]);
    let file = file("t5", &[("general.architecture", "bert".into())]);
    let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
    let pair = tokenizer.encode_pair("ab", "b").unwrap();
    assert_eq!((pair.ids, pair.type_ids), (vec![1, 6, 5, 2, 2, 6, 4, 2], vec![0; 8]));
    assert_eq!((pair.query, pair.document, tokenizer.pair_special_token_count()), (1..3, 5..7, 4));
}

#[test]
fn wrong_files_are_explained() {
    let tokens = |texts: &[&str]| ("tokenizer.ggml.tokens", strings(texts));
    for (model, key, message) in [
        ("t5", ("tokenizer.ggml.scores", vec![0f32].into()), "expected a score for each of the 8 tokens, found 1"),
        ("llama", ("tokenizer.ggml.scores", vec![f32::NAN; 8].into()), "expected finite numbers, found NaN at 0"),
        ("llama", ("tokenizer.ggml.scores", "x".into()), "expected an array of f32 or f64"),
        (
            "t5",
            ("tokenizer.ggml.precompiled_charsmap", vec![9u8, 0, 0, 0, 1].into()),
            "expected a trie of 9 bytes, found 1",
        ),
        ("t5", ("tokenizer.ggml.precompiled_charsmap", vec![4u8, 0, 0].into()), "expected at least 4 bytes, found 3"),
        ("gpt2", ("tokenizer.ggml.merges", strings(&["a c"])), "merges`[0]: expected tokens of the vocabulary"),
        ("gpt2", ("tokenizer.ggml.merges", strings(&["ab"])), "merges`[0]: expected two tokens with a space"),
        ("gpt2", ("tokenizer.ggml.merges", 1u32.into()), "expected an array of strings"),
        ("gpt2", ("tokenizer.ggml.pre", "unheard-of".into()), "\"unheard-of\" is not supported (supported: gpt-2"),
        ("gpt2", ("tokenizer.ggml.token_type", vec![1i32; 3].into()), "an entry for each of the 8 tokens, found 3"),
        ("llama", tokens(&["a", "a", "", "", "", "", "", ""]), "expected distinct tokens, found \"a\" twice"),
    ] {
        let error = Tokenizer::from_gguf(file(model, &[key]).metadata()).unwrap_err().to_string();
        assert!(error.contains(message) && !error.contains('\n'), "{error}\n    lacks {message}");
    }
}

#[test]
fn arbitrary_files_never_panic() {
    let token = prop_oneof![".{0,3}", "[ab▁]{0,3}", "<0x[0-9A-F]{2}>", Just("<unk>".to_owned())];
    let strategy = (
        prop::sample::select(vec!["t5", "llama", "gpt2", "whitespace"]),
        prop::collection::vec(token, 1..14),
        prop::collection::vec((-1i32..8, -5f32..5.0), 14),
        prop::collection::vec("[ab▁Ġ]{1,2} [ab▁]{1,2}", 0..5),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        prop::collection::vec(prop::option::of(0u32..16), 4),
        ".{0,20}",
    );
    let accepted = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(1500), |((model, mut tokens, numbers, merges, rules, ids, text) in strategy)| {
        tokens.sort_unstable();
        tokens.dedup();
        let (types, scores): (Vec<i32>, Vec<f32>) = numbers.into_iter().take(tokens.len()).unzip();
        let mut more: Vec<(&str, OwnedValue)> = vec![
            ("tokenizer.ggml.tokens", tokens.into()),
            ("tokenizer.ggml.token_type", types.into()),
            ("tokenizer.ggml.scores", scores.into()),
            ("tokenizer.ggml.merges", if model == "gpt2" { merges.into() } else { Vec::<String>::new().into() }),
        ];
        if let Some(mut rules) = rules {
            // A length that fits, half of the time.
            if rules.len() > 8 && rules[0] % 2 == 0 {
                let size = (rules.len() - 4) as u32 / 8 * 4;
                rules[..4].copy_from_slice(&size.to_le_bytes());
            }
            more.push(("tokenizer.ggml.precompiled_charsmap", rules.into()));
        }
        let keys = ["bos", "eos", "unknown", "mask"].map(|name| format!("tokenizer.ggml.{name}_token_id"));
        more.extend(keys.iter().zip(ids).filter_map(|(key, id)| Some((key.as_str(), id?.into()))));
        if let Ok(tokenizer) = Tokenizer::from_gguf(file(model, &more).metadata()) {
            let encoding = tokenizer.encode(&text).unwrap();
            prop_assert!(encoding.ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            tokenizer.decode(&encoding.ids).unwrap();
            accepted.set(accepted.get() + 1);
        }
    });
    assert!(accepted.get() > 30, "only {} of the files were good", accepted.get());
}
