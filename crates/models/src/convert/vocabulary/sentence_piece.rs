//! SentencePiece's BPE, that of Llama 2, Mistral and Gemma: pairs of characters are merged by the score of what they become.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::super::Error;
use super::super::json::Document;
use super::proto::{Algorithm, PieceModel};
use super::tokens::{Kind, Slots, Token, control_names, is_byte, looks_special, user_defined, words, wrong};
use super::{Files, Vocabulary, steps};

/// Scores of llama.cpp's converter: of an id without a piece, and of a token that was added to the pieces.
const UNUSED: f32 = -10_000.0;
const ADDED: f32 = -1_000.0;

/// Whether a BPE tokenizer works on characters with spaces as `▁`.
pub(super) fn is_meant(files: &Files<'_>) -> bool {
    let Some(document) = &files.tokenizer else { return false };
    let fallback = document.get("model").and_then(|model| model.get("byte_fallback")) == Some(&Json::Bool(true));
    fallback || replaces_spaces(&document.value)
}

fn replaces_spaces(tokenizer: &Json) -> bool {
    steps(tokenizer, "normalizer", "normalizers")
        .iter()
        .any(|step| step.get("content").and_then(Json::as_str) == Some("▁"))
        || metaspace(tokenizer).is_some()
}

fn metaspace(tokenizer: &Json) -> Option<&Json> {
    let splitters = steps(tokenizer, "pre_tokenizer", "pretokenizers");
    splitters.into_iter().find(|step| step.get("type").and_then(Json::as_str) == Some("Metaspace"))
}

/// Reads `tokenizer.model`, and what was added to it from `added_tokens.json` and `tokenizer_config.json`.
pub(super) fn of_pieces(files: &Files<'_>, path: &Path, rows: u64) -> Result<Vocabulary, Error> {
    let model = PieceModel::read(path)?;
    let wrong = |expected: String, found: String| Error::Vocabulary { path: path.to_owned(), expected, found };
    if model.algorithm != Algorithm::Bpe {
        return Err(wrong("a model of type BPE".to_owned(), format!("{:?}", model.algorithm)));
    }
    if model.pieces.len() as u64 > rows {
        let expected = format!("at most {rows} pieces, the rows of the embedding table");
        return Err(wrong(expected, model.pieces.len().to_string()));
    }
    let mut vocabulary = Vocabulary { model: "llama", pre: "default", has_scores: true, ..Vocabulary::default() };
    let mut tokens = model.pieces;
    tokens.extend((tokens.len()..rows as usize).map(|id| Token::unused(id, UNUSED)));
    let mut add = |id: Option<u64>, token: Token, lost: &mut Vec<String>| match id
        .and_then(|id| tokens.get_mut(usize::try_from(id).ok()?))
    {
        Some(slot) => *slot = token,
        None => lost.push(format!("the token {}, which has no embedding", token.text)),
    };
    if let Some(document) = Document::read(files.dir, "added_tokens.json")? {
        for (text, id) in document.value.as_object().into_iter().flatten() {
            let token = Token { text: text.clone(), kind: Kind::UserDefined, score: ADDED };
            add(id.as_u64(), token, &mut vocabulary.lost);
        }
    }
    for (id, added) in files.setting("added_tokens_decoder").and_then(Json::as_object).into_iter().flatten() {
        let Some(text) = added.get("content").and_then(Json::as_str) else { continue };
        let special = added.get("special") == Some(&Json::Bool(true)) || looks_special(text);
        let (kind, text) = match special {
            true => (Kind::Control, text.to_owned()),
            false => (Kind::UserDefined, user_defined(text)),
        };
        add(id.parse().ok(), Token { text, kind, score: ADDED }, &mut vocabulary.lost);
    }
    vocabulary.tokens = tokens;
    let stated = files.setting("add_prefix_space").and_then(Json::as_bool);
    vocabulary.prefix_stated = stated.is_some();
    vocabulary.space_prefix = Some(stated.unwrap_or(model.space_prefix));
    Ok(vocabulary)
}

/// Reads `tokenizer.json`, which has no scores: what was merged first scores highest, so that the merges come in the same order.
/// llama.cpp's converter gives every token the same score, of which its tokenizer makes other tokens than the model's.
pub(super) fn of_json(files: &Files<'_>, rows: u64) -> Result<Vocabulary, Error> {
    let Some(document) = &files.tokenizer else { return Ok(Vocabulary::default()) };
    let slots = Slots::fill(document, words(document)?, &control_names(files, false), rows)?;
    let model = document.get("model").unwrap_or(&Json::Null);
    let mut ranks: HashMap<String, usize> = HashMap::new();
    let merges = model.get("merges").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    for (rank, merge) in merges.iter().enumerate() {
        let (left, right) =
            pair(merge).ok_or_else(|| wrong(document, "pairs under `model.merges`", merge.to_string()))?;
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let unknown = model.get("unk_token").and_then(Json::as_str);
    let stored = |(id, slot): (usize, &Option<(&str, Kind)>)| {
        let Some((text, kind)) = *slot else { return Token::unused(id, UNUSED) };
        let kind = match kind {
            _ if Some(text) == unknown => Kind::Unknown,
            Kind::Normal if is_byte(text) => Kind::Byte,
            kind => kind,
        };
        let score = match kind {
            Kind::Normal => -(ranks.get(text).copied().unwrap_or(merges.len()) as f32),
            Kind::UserDefined => ADDED,
            _ => 0.0,
        };
        let text = if kind == Kind::UserDefined { user_defined(text) } else { text.to_owned() };
        Token { text, kind, score }
    };
    let tokens = slots.by_id.iter().enumerate().map(stored).collect();
    let stated = files.setting("add_prefix_space").and_then(Json::as_bool);
    Ok(Vocabulary {
        model: "llama",
        pre: "default",
        tokens,
        has_scores: true,
        prefix_stated: stated.is_some(),
        space_prefix: Some(stated.unwrap_or_else(|| prepends_space(&document.value))),
        lost: slots.lost,
        ..Vocabulary::default()
    })
}

/// The two sides of a merge, given as a list or as one text.
pub(super) fn pair(merge: &Json) -> Option<(&str, &str)> {
    match merge {
        Json::String(text) => text.split_once(' '),
        Json::Array(sides) => match &sides[..] {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

fn prepends_space(tokenizer: &Json) -> bool {
    let normalizers = steps(tokenizer, "normalizer", "normalizers");
    let prepend = normalizers.iter().any(|step| step.get("type").and_then(Json::as_str) == Some("Prepend"));
    prepend
        || metaspace(tokenizer).is_some_and(|step| match step.get("prepend_scheme").and_then(Json::as_str) {
            Some(scheme) => scheme != "never",
            None => step.get("add_prefix_space") != Some(&Json::Bool(false)),
        })
}
