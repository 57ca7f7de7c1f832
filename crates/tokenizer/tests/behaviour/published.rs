//! llama.cpp's published vectors for the families beside WordPiece, over vocabularies cut to what the texts need.

use docent_gguf::Gguf;
use docent_tokenizer::{Kind, Tokenizer};

use crate::vocabularies::data;

fn open(name: &str) -> (Tokenizer, Vec<u32>) {
    let gguf = Gguf::open(data(&format!("{name}.gguf"))).unwrap();
    let original = gguf.metadata().require_u32s("docent.original_ids").unwrap();
    (Tokenizer::from_gguf(gguf.metadata()).unwrap(), original)
}

fn check(name: &str, kind: Kind) {
    let (tokenizer, original) = open(name);
    assert_eq!(tokenizer.kind(), kind);
    let texts = std::fs::read_to_string(data("ggml-vocab-bert-bge.gguf.inp")).unwrap();
    let expected = std::fs::read_to_string(data(&format!("{name}.out"))).unwrap();
    let mut compared = 0;
    for (text, line) in texts.split("\n__ggml_vocab_test__\n").zip(expected.lines()) {
        let ids: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let encoding = tokenizer.encode_text(text).unwrap();
        let ours: Vec<u32> = encoding.ids.iter().map(|id| original[*id as usize]).collect();
        assert_eq!(ours, ids, "{text:?}");
        for &(start, end) in &encoding.offsets {
            assert!(start < end && text.is_char_boundary(start) && text.is_char_boundary(end), "{text:?}");
        }
        assert!(encoding.offsets.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{text:?}");
        let decoded = tokenizer.decode(&encoding.ids).unwrap();
        assert_eq!(decoded, text, "what goes in without loss comes out again");
        compared += 1;
    }
    assert_eq!(compared, 46);
}

#[test]
fn gpt_2() {
    check("gpt-2", Kind::ByteLevelBpe);
}

#[test]
fn qwen_2() {
    check("qwen2", Kind::ByteLevelBpe);
}

#[test]
fn llama_2() {
    check("llama-spm", Kind::SentencePieceBpe);
}

#[test]
fn specials_spelt_out_are_tokens_in_templates_only() {
    for (name, special) in [("llama-spm", "</s>"), ("qwen2", "<|endoftext|>")] {
        let (tokenizer, _) = open(name);
        let Some(id) = tokenizer.id(special) else { continue };
        assert!(tokenizer.encode_template(special).unwrap().ids.contains(&id), "{name}");
        assert!(!tokenizer.encode_text(special).unwrap().ids.contains(&id), "{name}");
        assert!(tokenizer.ids(special).unwrap().contains(&id), "{name}");
    }
}
