//! Byte-level BPE, that of GPT-2, RoBERTa, Llama 3 and Qwen.

use serde_json::Value as Json;

use super::super::Error;
use super::sentence_piece::pair;
use super::tokens::{Kind, Slots, Token, control_names, user_defined, words, wrong};
use super::{Files, Vocabulary, normalizer, pre_tokenizer, steps};

/// Reads `tokenizer.json`.
pub(super) fn read(files: &Files<'_>, rows: u64, model_type: &str) -> Result<Vocabulary, Error> {
    let Some(document) = &files.tokenizer else { return Ok(Vocabulary::default()) };
    let slots = Slots::fill(document, words(document)?, &control_names(files, false), rows)?;
    for step in steps(&document.value, "normalizer", "normalizers") {
        let kind = step.get("type").and_then(Json::as_str).unwrap_or_default();
        // NFC has no key; it is what tokenizers of this kind do to text that is not in it already.
        if !["NFC", "Lowercase", "StripAccents"].contains(&kind) {
            return Err(wrong(document, "the normalizers NFC, Lowercase and StripAccents", kind.to_owned()));
        }
    }
    let stored = |(id, slot): (usize, &Option<(&str, Kind)>)| match *slot {
        None => Token::unused(id, 0.0),
        Some((text, Kind::UserDefined)) => Token { text: user_defined(text), kind: Kind::UserDefined, score: 0.0 },
        Some((text, kind)) => Token { text: text.to_owned(), kind, score: 0.0 },
    };
    let tokens = slots.by_id.iter().enumerate().map(stored).collect();
    let merges = document.get("model").and_then(|m| m.get("merges")).and_then(Json::as_array);
    let merge = |merge: &Json| {
        let (left, right) =
            pair(merge).ok_or_else(|| wrong(document, "pairs under `model.merges`", merge.to_string()))?;
        // A space within a side would end it; as a byte it has this character.
        Ok(format!("{} {}", left.replace(' ', "Ġ"), right.replace(' ', "Ġ")))
    };
    let merges = merges.into_iter().flatten().map(merge).collect::<Result<Vec<String>, Error>>()?;
    let (lowercase, strip_accents) = normalizer(&document.value);
    let (model, pre) = pre_tokenizer::name(document, model_type)?;
    Ok(Vocabulary { model, pre, tokens, merges, lowercase, strip_accents, lost: slots.lost, ..Vocabulary::default() })
}
