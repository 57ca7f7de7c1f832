//! How a text is split before pairs are merged: `tokenizer.ggml.pre`.
//!
//! llama.cpp's converter recognises the splitter by the ids of a test text, which depend on the vocabulary as well; here it is recognised
//! by what tokenizer.json says of it. The names and what they stand for are llama.cpp's.

use serde_json::Value as Json;

use super::super::Error;
use super::super::json::Document;
use super::steps;
use super::tokens::wrong;

/// A regular expression, whether whole words are looked up before pairs are merged, and the name of both.
const SPLITS: [(&str, bool, &str); 7] = [
    (QWEN2, false, "qwen2"),
    (QWEN35, false, "qwen35"),
    (LLAMA3, true, "llama-bpe"),
    (LLAMA3, false, "smaug-bpe"),
    (TEKKEN, true, "tekken"),
    (GPT4O, false, "gpt-4o"),
    (GPT4O, true, "granite-embed-multi-97m"),
];

const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The values of `tokenizer.ggml.model` and `tokenizer.ggml.pre`.
pub(super) fn name(document: &Document, model_type: &str) -> Result<(&'static str, &'static str), Error> {
    let splitters = steps(&document.value, "pre_tokenizer", "pretokenizers");
    let kinds: Vec<&str> = splitters.iter().filter_map(|s| s.get("type").and_then(Json::as_str)).collect();
    let unknown = |found: String| {
        let expected = "a pre-tokenizer of Qwen2, Qwen3.5, Llama 3, Tekken, GPT-2, GPT-4o or one that splits at spaces";
        Err(wrong(document, expected, found))
    };
    if let Some(step) = splitters.iter().find(|step| step.get("add_prefix_space") == Some(&Json::Bool(true))) {
        return unknown(format!("one that puts a space in front, {step}"));
    }
    let own_regex = |step: &Json| step.get("use_regex") != Some(&Json::Bool(false));
    let flag = |key: &str| document.get("model").and_then(|m| m.get(key)) == Some(&Json::Bool(true));
    match (&kinds[..], &splitters[..]) {
        (["Whitespace" | "WhitespaceSplit"], _) => Ok(("whitespace", "whitespace")),
        (["ByteLevel"], [step]) if own_regex(step) => Ok(("gpt2", name_of_gpt2(document, model_type))),
        (["Digits", "ByteLevel"], [digits, step])
            if own_regex(step) && digits.get("individual_digits") == Some(&Json::Bool(true)) =>
        {
            Ok(("gpt2", "starcoder"))
        }
        (["Split", "ByteLevel"], [split, step]) if !own_regex(step) => {
            let regex = split.get("pattern").and_then(|p| p.get("Regex")).and_then(Json::as_str).unwrap_or_default();
            let known = SPLITS.iter().find(|(known, whole, _)| *known == regex && *whole == flag("ignore_merges"));
            match known {
                Some((.., name)) => Ok(("gpt2", name)),
                None => unknown(format!("the expression {regex:?} (ignore_merges {})", flag("ignore_merges"))),
            }
        }
        _ => unknown(format!("{kinds:?}")),
    }
}

/// GPT-2's own splitter has many names, which differ in whether pairs of texts are separated by two tokens; other keys say that too.
fn name_of_gpt2(document: &Document, model_type: &str) -> &'static str {
    let ends = steps(&document.value, "post_processor", "processors");
    let roberta = ends.iter().any(|step| step.get("type").and_then(Json::as_str) == Some("RobertaProcessing"));
    match model_type {
        "modernbert" => "modern-bert",
        "roberta" => "roberta-bpe",
        _ if roberta => "roberta-bpe",
        _ => "gpt-2",
    }
}
