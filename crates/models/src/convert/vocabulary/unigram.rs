//! Unigram, XLM-R's: pieces with scores, and a map of characters that texts go through first.

use std::path::Path;

use serde_json::Value as Json;

use super::super::Error;
use super::base64;
use super::proto::{Algorithm, PieceModel};
use super::tokens::{Kind, Slots, Token, control_names, is_byte, user_defined, wrong};
use super::{Files, Vocabulary, steps};

/// XLM-R's pieces, for directories without tokenizer.json.
pub(super) const PIECES: &str = "sentencepiece.bpe.model";

/// The score of an id without a token.
const UNUSED: f32 = -10_000.0;

/// Reads `tokenizer.json`.
///
/// llama.cpp's converter says of such a file that no space is put in front of a text and that runs of spaces stay, which is not what
/// the tokenizer does; what the tokenizer does is written here, and what the converter itself writes for [`PIECES`].
pub(super) fn of_json(files: &Files<'_>, rows: u64) -> Result<Vocabulary, Error> {
    let Some(document) = &files.tokenizer else { return Ok(Vocabulary::default()) };
    let model = document.get("model").unwrap_or(&Json::Null);
    let Some(pieces) = model.get("vocab").and_then(Json::as_array) else {
        return Err(wrong(document, "pieces and their scores under `model.vocab`", "none".to_owned()));
    };
    let piece = |(id, piece): (usize, &'_ Json)| -> Option<f32> {
        let _ = id;
        Some(piece.get(1)?.as_f64()? as f32).filter(|score| score.is_finite())
    };
    let scores: Vec<Option<f32>> = pieces.iter().enumerate().map(piece).collect();
    if let Some(id) = scores.iter().position(Option::is_none) {
        return Err(wrong(document, "a text and a score for each piece", format!("{} for {id}", pieces[id])));
    }
    let mut words = Vec::with_capacity(pieces.len());
    for (id, piece) in pieces.iter().enumerate() {
        match piece.get(0).and_then(Json::as_str) {
            Some(text) => words.push((text, Some(id as u64))),
            None => return Err(wrong(document, "a text and a score for each piece", format!("{piece} for {id}"))),
        }
    }
    let slots = Slots::fill(document, words.into_iter(), &control_names(files, false), rows)?;
    let unknown = model.get("unk_id").and_then(Json::as_u64);
    let bytes = model.get("byte_fallback") == Some(&Json::Bool(true));
    let stored = |(id, slot): (usize, &Option<(&str, Kind)>)| {
        let Some((text, kind)) = *slot else { return Token::unused(id, UNUSED) };
        let kind = match kind {
            _ if Some(id as u64) == unknown => Kind::Unknown,
            Kind::Normal if bytes && is_byte(text) => Kind::Byte,
            kind => kind,
        };
        let text = if kind == Kind::UserDefined { user_defined(text) } else { text.to_owned() };
        Token { text, kind, score: scores.get(id).copied().flatten().unwrap_or(0.0) }
    };
    let tokens = slots.by_id.iter().enumerate().map(stored).collect();
    let (prefix, remove) = spaces(&document.value);
    Ok(Vocabulary {
        model: "t5",
        pre: "default",
        tokens,
        has_scores: true,
        space_prefix: Some(prefix),
        remove_extra_whitespaces: Some(remove),
        charsmap: charsmap(files)?,
        lost: slots.lost,
        ..Vocabulary::default()
    })
}

/// Whether a text is given a space in front, and whether runs of spaces become one.
fn spaces(tokenizer: &Json) -> (bool, bool) {
    let kind = |step: &Json| step.get("type").and_then(Json::as_str).map(str::to_owned);
    let splitters = steps(tokenizer, "pre_tokenizer", "pretokenizers");
    let prefix = splitters.iter().any(|step| {
        kind(step).as_deref() == Some("Metaspace")
            && match step.get("prepend_scheme").and_then(Json::as_str) {
                Some(scheme) => scheme != "never",
                None => step.get("add_prefix_space") != Some(&Json::Bool(false)),
            }
    });
    let splits = splitters.iter().any(|step| kind(step).as_deref() == Some("WhitespaceSplit"));
    let replaces = steps(tokenizer, "normalizer", "normalizers").iter().any(|step| {
        let pattern = step.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Json::as_str);
        kind(step).as_deref() == Some("Replace") && pattern.is_some_and(|pattern| pattern.starts_with(" {2,}"))
    });
    (prefix, splits || replaces)
}

/// The map of characters.
fn charsmap(files: &Files<'_>) -> Result<Vec<u8>, Error> {
    let Some(document) = &files.tokenizer else { return Ok(Vec::new()) };
    let mut map = None;
    for step in steps(&document.value, "normalizer", "normalizers") {
        match step.get("type").and_then(Json::as_str) {
            Some("Precompiled") => {
                let text = step.get("precompiled_charsmap").and_then(Json::as_str).unwrap_or_default();
                let bytes = base64::decode(text);
                map = Some(bytes.ok_or_else(|| {
                    wrong(document, "a `precompiled_charsmap` in base64", format!("{} bytes that are none", text.len()))
                })?);
            }
            // What these do to spaces, the keys about spaces say.
            Some("Strip" | "Replace") => {}
            found => {
                let found = found.unwrap_or("another").to_owned();
                return Err(wrong(document, "the normalizers Precompiled, Strip and Replace", found));
            }
        }
    }
    Ok(map.unwrap_or_default())
}

/// Reads [`PIECES`]. In front of them the ids have the four special tokens of fairseq, by which the pieces move up.
pub(super) fn of_pieces(dir: &Path, rows: u64) -> Result<Vocabulary, Error> {
    let path = dir.join(PIECES);
    let wrong = |expected: String, found: String| Error::Vocabulary { path: path.clone(), expected, found };
    let model = PieceModel::read(&path)?;
    if model.algorithm != Algorithm::Unigram {
        return Err(wrong("a model of type Unigram".to_owned(), format!("{:?}", model.algorithm)));
    }
    let special = |text: &str, kind| Token { text: text.to_owned(), kind, score: 0.0 };
    let mut tokens = vec![
        special("<s>", Kind::Control),
        special("<pad>", Kind::Control),
        special("</s>", Kind::Control),
        special("<unk>", Kind::Unknown),
    ];
    // The model's own <unk>, <s> and </s>, whose places these take.
    tokens.extend(model.pieces.into_iter().skip(3));
    if tokens.len() as u64 > rows {
        return Err(wrong(format!("at most {rows} tokens, the rows of the embedding table"), tokens.len().to_string()));
    }
    for id in tokens.len()..rows as usize {
        // The ids are the converter's, which fills up before it moves the pieces.
        tokens.push(Token::unused(id - 1, UNUSED));
    }
    if let Some(last) = tokens.last_mut().filter(|last| last.kind == Kind::Unused) {
        *last = special("<mask>", Kind::Control);
    }
    Ok(Vocabulary {
        model: "t5",
        pre: "default",
        tokens,
        has_scores: true,
        space_prefix: Some(model.space_prefix),
        remove_extra_whitespaces: Some(model.remove_extra_whitespaces),
        charsmap: model.charsmap,
        ..Vocabulary::default()
    })
}
