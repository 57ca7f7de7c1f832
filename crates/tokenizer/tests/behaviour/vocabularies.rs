//! The tokenizers that the tests use.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use docent_gguf::{Gguf, OwnedValue, WriteError, Writer};
use docent_tokenizer::{Error, Tokenizer};
use serde_json::{Value, json};

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn bge() -> Gguf {
    Gguf::open(data("ggml-vocab-bert-bge.gguf")).unwrap()
}

/// The vocabulary of bert-base-uncased from GGUF.
pub(crate) static UNCASED: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::from_gguf(bge().metadata()).unwrap());

/// A `tokenizer.json` with BERT's settings over the vocabulary of the GGUF file, as all-MiniLM-L6-v2 has it.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let gguf = bge();
    let tokens = gguf.metadata().require_strings("tokenizer.ggml.tokens").unwrap();
    let vocab: serde_json::Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(id, stored)| {
            let token = match stored.strip_prefix('▁') {
                Some(word) => word.to_owned(),
                None if stored.len() > 2 && stored.starts_with('[') && stored.ends_with(']') => stored.to_owned(),
                None => format!("##{stored}"),
            };
            (token, json!(id))
        })
        .collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false})
    };
    json!({
        "version": "1.0",
        "truncation": {"max_length": 128, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0, "[PAD]"), special(100, "[UNK]"), special(101, "[CLS]"), special(102, "[SEP]"),
            special(103, "[MASK]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [102], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
});

/// [`DOCUMENT`] with another normaliser.
pub(crate) fn document_with(lowercase: bool, strip_accents: Option<bool>, clean: bool, ideographs: bool) -> Value {
    let mut document = DOCUMENT.clone();
    document["normalizer"] = json!({"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": ideographs,
        "strip_accents": strip_accents, "lowercase": lowercase});
    document
}

pub(crate) fn from_value(document: &Value) -> Result<Tokenizer, Error> {
    Tokenizer::from_json(document.to_string().as_bytes())
}

/// The same document in the reference implementation.
pub(crate) fn reference(document: &Value) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(document.to_string()).unwrap();
    tokenizer.with_truncation(None).unwrap();
    tokenizer.with_padding(None);
    tokenizer
}

/// A small vocabulary in a `tokenizer.json`.
pub(crate) fn small() -> Value {
    let mut document = json!({
        "added_tokens": [{"id": 2, "content": "[SEP]", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false}],
        "normalizer": DOCUMENT["normalizer"],
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {}},
    });
    for (id, token) in ["[UNK]", "[CLS]", "[SEP]", "a", "##a", "ab", "##b", "e", "!", "我", "##1"].iter().enumerate() {
        document["model"]["vocab"][token] = json!(id);
    }
    document
}

/// A GGUF file with these metadata.
pub(crate) fn gguf(entries: &[(&str, OwnedValue)]) -> Gguf {
    let mut writer = Writer::new();
    for (key, value) in entries {
        writer.metadata(*key, value.clone()).unwrap();
    }
    let mut file = vec![];
    writer.write(&mut file, |_, _| Ok::<_, WriteError>(())).unwrap();
    Gguf::from_bytes(file).unwrap()
}

pub(crate) fn strings(texts: &[&str]) -> OwnedValue {
    texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>().into()
}
