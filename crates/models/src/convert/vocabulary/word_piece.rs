//! WordPiece, BERT's.

use std::fmt::Write as _;
use std::path::Path;

use docent_tokenizer::Tokenizer;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::super::Error;
use super::super::json::Document;
use super::tokens::{Kind, Slots, Token, control_names, words, wrong};
use super::{Files, Vocabulary, steps};

/// Reads the tokenizer and gives it `rows` tokens.
///
/// GGUF marks where a word begins, not where it continues: `##ing` becomes `ing`, `the` becomes `▁the`, and a special token stays
/// what it is. Ids without a token become `[PADn]`.
pub(super) fn read(files: &Files<'_>, rows: u64) -> Result<Vocabulary, Error> {
    let Some(document) = &files.tokenizer else { return Ok(Vocabulary::default()) };
    let kind = document.get("model").and_then(|m| m.get("type")).and_then(Json::as_str).unwrap_or("WordPiece");
    if kind != "WordPiece" {
        return Err(wrong(document, "a tokenizer of type WordPiece", kind.to_owned()));
    }
    let slots = Slots::fill(document, words(document)?, &control_names(files, true), rows)?;
    let stored = |(id, slot): (usize, &Option<(&str, Kind)>)| match *slot {
        Some((token, Kind::Control)) => Token { text: token.to_owned(), kind: Kind::Control, score: 0.0 },
        Some((token, kind)) => {
            let text = token.strip_prefix("##").map_or_else(|| format!("\u{2581}{token}"), str::to_owned);
            Token { text, kind, score: 0.0 }
        }
        None => Token { text: format!("\u{2581}[PAD{id}]"), ..Token::unused(id, 0.0) },
    };
    let tokens = slots.by_id.iter().enumerate().map(stored).collect();
    let (lowercase, strip_accents) = normalizer(&document.value, files.settings.as_ref());
    let pre = pre_tokenizer(files.dir)?;
    Ok(Vocabulary { model: "bert", pre, tokens, lowercase, strip_accents, lost: slots.lost, ..Vocabulary::default() })
}

/// `vocab.txt`, one token a line, as the `tokenizer.json` that transformers makes of it.
pub(super) fn plain_vocabulary(files: &Files<'_>) -> Result<Document, Error> {
    let path = files.dir.join("vocab.txt");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let (dir, hint) = (files.dir.to_owned(), "transformers' AutoTokenizer writes one with save_pretrained");
            return Err(Error::MissingFile { dir, expected: "tokenizer.json or vocab.txt", hint });
        }
        Err(source) => return Err(Error::Read { path, source }),
    };
    let vocab: serde_json::Map<String, Json> =
        text.lines().enumerate().map(|(id, token)| (token.trim_end().to_owned(), Json::from(id))).collect();
    let added: Vec<Json> = control_names(files, true)
        .iter()
        .filter_map(|token| Some(json!({"content": token, "id": vocab.get(token)?, "special": true})))
        .collect();
    let role = |name: &str, default: &str| json!({"SpecialToken": {"id": files.role(name).unwrap_or_else(|| default.to_owned())}});
    let (cls, sep) = (role("cls_token", "[CLS]"), role("sep_token", "[SEP]"));
    let [a, b] = ["A", "B"].map(|id| json!({"Sequence": {"id": id}}));
    let value = json!({
        "model": {"type": "WordPiece", "vocab": vocab},
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "lowercase": true, "strip_accents": null},
        "post_processor": {"type": "TemplateProcessing", "single": [cls, a, sep], "pair": [cls, a, sep, b, sep]},
    });
    Ok(Document { path, value })
}

/// Lower-casing and accent stripping. `tokenizer_config.json` overrides `tokenizer.json`, as it does in transformers.
fn normalizer(tokenizer: &Json, settings: Option<&Document>) -> (Option<bool>, Option<bool>) {
    let (mut lowercase, mut strip_accents) = super::normalizer(tokenizer);
    let is_bert = |step: &&Json| step.get("type").and_then(Json::as_str) == Some("BertNormalizer");
    if let Some(settings) = settings
        && steps(tokenizer, "normalizer", "normalizers").iter().any(is_bert)
    {
        let explicit = |key: &str| settings.value.get(key);
        lowercase = explicit("do_lower_case").and_then(Json::as_bool).or(lowercase);
        strip_accents = explicit("strip_accents").map_or(strip_accents, Json::as_bool);
    }
    (lowercase, strip_accents)
}

/// The text on whose ids llama.cpp's converter recognises a tokenizer (MIT licence, taken as data).
const PROBE: &str = "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n🚀 (normal) 😶\u{200d}🌫️ (multiple emojis concatenated) ✅ 🦙🦙 3 33 333 3333 33333 333333 \
    3333333 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 ?我想在apple工作1314151天～ ------======= нещо на Български \
    ''''''```````\"\"\"\"......!!!!!!?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, 'D you like some tea? We'Ve a'lL";

/// SHA-256 of the ids as a Python list, and the name that the converter gives the tokenizer. Only these are WordPiece.
const KNOWN: [(&str, &str); 2] = [
    ("0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f", "jina-v2-en"), // bert-base-uncased and all that share its vocabulary
    ("8e62295832751ca1e8f92f2226f403dea30dc5165e448b5bfa05af5340c64ec7", "bert-bge-large"), // bert-base-chinese
];

/// The value of `tokenizer.ggml.pre`. WordPiece has no choice of pre-tokenizers, so readers ignore it; a tokenizer that the
/// converter does not know gets `default`.
fn pre_tokenizer(dir: &Path) -> Result<&'static str, Error> {
    let ids = Tokenizer::from_directory(dir)?.encode(PROBE)?.ids;
    let listed: Vec<String> = ids.iter().map(u32::to_string).collect();
    let digest = Sha256::digest(format!("[{}]", listed.join(", ")));
    let mut hex = String::with_capacity(64);
    for byte in digest {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
    }
    Ok(KNOWN.iter().find(|(hash, _)| *hash == hex).map_or("default", |(_, name)| name))
}
