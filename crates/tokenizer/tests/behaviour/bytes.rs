//! The bytes of single tokens: those of a text's tokens, one after the other, are the text.

use std::path::Path;

use docent_tokenizer::Tokenizer;
use proptest::prelude::*;

fn fixture(name: &str) -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    Tokenizer::from_directory(&folder).unwrap()
}

fn written(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|&id| tokenizer.token_bytes(id).unwrap_or_default()).collect()
}

#[test]
fn the_bytes_of_tokens_make_up_the_text() {
    let tokenizer = fixture("language-models/qwen3-tied");
    proptest!(|(text in "(\\PC|[a-z \n]{1,9}|<think>|<\\|im_end\\|>){0,40}")| {
        let ids = tokenizer.encode_text(&text).unwrap().ids;
        // The tokenizer composes characters before it reads them.
        let composed = tokenizer.decode(&ids).unwrap();
        prop_assert_eq!(written(&tokenizer, &ids), composed.into_bytes());
    });
}

#[test]
fn special_tokens_and_ids_without_a_token_have_none() {
    let tokenizer = fixture("language-models/qwen3-tied");
    for token in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
        assert_eq!(tokenizer.token_bytes(tokenizer.id(token).unwrap()), None, "{token}");
    }
    assert_eq!(tokenizer.token_bytes(tokenizer.id("<think>").unwrap()), Some(b"<think>".to_vec()));
    assert_eq!(tokenizer.token_bytes(1 << 20), None);
    // Tokens of BERT do not say where words are apart.
    let bert = fixture("bert-tiny");
    assert_eq!(bert.token_bytes(bert.id("the").unwrap()), None);
}
