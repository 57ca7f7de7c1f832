//! `tokenizer.json` as the `tokenizer.ggml.*` keys.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use docent_tokenizer::Tokenizer;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::Error;
use super::json::Document;
use super::special::Special;
use crate::keys::Keys;

/// What a token is to the tokenizer, with the number that GGUF gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenType {
    Normal = 1,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
}

/// A WordPiece vocabulary in the form that GGUF stores.
#[derive(Debug)]
pub(super) struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<TokenType>,
    special: Special,
    pre: &'static str,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
}

/// Roles whose tokens transformers treats as special when they are in the vocabulary, and the names it gives them by default.
const SPECIAL: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

impl Vocabulary {
    /// Reads the tokenizer of `dir` and gives it `rows` tokens, the number of rows of the embedding table.
    pub(super) fn read(dir: &Path, config: &Document, rows: u64) -> Result<Self, Error> {
        let settings = Document::read(dir, "tokenizer_config.json")?;
        let roles = Document::read(dir, "special_tokens_map.json")?;
        let tokenizer = match Document::read(dir, "tokenizer.json")? {
            Some(tokenizer) => tokenizer,
            None => plain_vocabulary(dir, settings.as_ref(), roles.as_ref())?,
        };
        let (tokens, types) = tokens(&tokenizer, &control_names(settings.as_ref(), roles.as_ref()), rows)?;
        let special =
            Special::gather(&tokenizer.value, settings.as_ref().map(|s| &s.value), &config.value, tokens.len());
        let (lowercase, strip_accents) = normalizer(&tokenizer.value, settings.as_ref());
        Ok(Self { tokens, types, special, pre: pre_tokenizer(dir)?, lowercase, strip_accents })
    }

    pub(super) fn write(self, keys: &mut Keys) {
        keys.text("tokenizer.ggml.model", "bert");
        keys.text("tokenizer.ggml.pre", self.pre);
        keys.texts("tokenizer.ggml.tokens", &self.tokens);
        keys.i32s("tokenizer.ggml.token_type", self.types.iter().map(|&t| t as i32).collect());
        self.special.write(keys);
        for (key, value) in [("lowercase", self.lowercase), ("strip_accents", self.strip_accents)] {
            if let Some(value) = value {
                keys.bool(&format!("tokenizer.ggml.normalizer.{key}"), value);
            }
        }
    }
}

/// The tokens by id. GGUF marks where a word begins, not where it continues: `##ing` becomes `ing`, `the` becomes `▁the`,
/// and a special token stays what it is. Ids without a token become `[PADn]`.
fn tokens(document: &Document, control: &HashSet<String>, rows: u64) -> Result<(Vec<String>, Vec<TokenType>), Error> {
    let wrong = |expected: &str, found: String| Error::Vocabulary {
        path: document.path.clone(),
        expected: expected.to_owned(),
        found,
    };
    let model = document.get("model").unwrap_or(&Json::Null);
    let kind = model.get("type").and_then(Json::as_str).unwrap_or("WordPiece");
    if kind != "WordPiece" {
        return Err(wrong("a tokenizer of type WordPiece", kind.to_owned()));
    }
    let Some(Json::Object(words)) = model.get("vocab") else {
        return Err(wrong("tokens and their ids under `model.vocab`", "none".to_owned()));
    };
    let mut by_id: Vec<Option<(&str, TokenType)>> = vec![None; rows as usize]; // rows of a table that is in a file on this machine
    let mut set = |token, id: Option<u64>, ty| match id.and_then(|id| by_id.get_mut(usize::try_from(id).ok()?)) {
        None => {
            let id = id.map_or_else(|| "no id".to_owned(), |id| id.to_string());
            let expected = format!("ids below {rows}, the rows of the embedding table");
            Err(wrong(&expected, format!("{id} of token `{token}`")))
        }
        Some(Some((other, _))) if *other != token => {
            Err(wrong("one token for each id", format!("`{other}` and `{token}` for {}", id.unwrap_or_default())))
        }
        Some(slot) => {
            *slot = Some((token, ty));
            Ok(())
        }
    };
    for (token, id) in words {
        let ty = if control.contains(token) { TokenType::Control } else { TokenType::Normal };
        set(token, id.as_u64(), ty)?;
    }
    for added in document.get("added_tokens").and_then(Json::as_array).into_iter().flatten() {
        let Some(token) = added.get("content").and_then(Json::as_str) else { continue };
        let special =
            added.get("special") == Some(&Json::Bool(true)) || control.contains(token) || looks_special(token);
        let ty = if special { TokenType::Control } else { TokenType::UserDefined };
        set(token, added.get("id").and_then(Json::as_u64), ty)?;
    }
    Ok(by_id
        .into_iter()
        .enumerate()
        .map(|(id, slot)| match slot {
            Some((token, TokenType::Control)) => (token.to_owned(), TokenType::Control),
            Some((token, ty)) => {
                (token.strip_prefix("##").map_or_else(|| format!("\u{2581}{token}"), str::to_owned), ty)
            }
            None => (format!("\u{2581}[PAD{id}]"), TokenType::Unused),
        })
        .unzip())
}

/// `vocab.txt`, one token a line, as the `tokenizer.json` that transformers makes of it.
fn plain_vocabulary(dir: &Path, settings: Option<&Document>, roles: Option<&Document>) -> Result<Document, Error> {
    let path = dir.join("vocab.txt");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let hint = "transformers' AutoTokenizer writes one with save_pretrained";
            return Err(Error::MissingFile { dir: dir.to_owned(), expected: "tokenizer.json or vocab.txt", hint });
        }
        Err(source) => return Err(Error::Read { path, source }),
    };
    let vocab: serde_json::Map<String, Json> =
        text.lines().enumerate().map(|(id, token)| (token.trim_end().to_owned(), Json::from(id))).collect();
    let control = control_names(settings, roles);
    let added: Vec<Json> = control
        .iter()
        .filter_map(|token| Some(json!({"content": token, "id": vocab.get(token)?, "special": true})))
        .collect();
    let role = |name: &str, default: &str| {
        let text = [roles, settings].into_iter().flatten().find_map(|d| d.value.get(name)).and_then(content);
        json!({"SpecialToken": {"id": text.unwrap_or_else(|| default.to_owned())}})
    };
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

/// Tokens that some tokenizers forget to mark as special.
fn looks_special(token: &str) -> bool {
    let between = |start: &str, end: &str| token.starts_with(start) && token.ends_with(end);
    matches!(token, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

/// The contents of the tokens that have a role.
fn control_names(settings: Option<&Document>, roles: Option<&Document>) -> HashSet<String> {
    let named = |role: &str| [roles, settings].into_iter().flatten().find_map(|d| d.get(role).and_then(content));
    SPECIAL.iter().map(|(role, default)| named(role).unwrap_or_else(|| (*default).to_owned())).collect()
}

/// The text of a token, given as such or as an object.
fn content(token: &Json) -> Option<String> {
    token.get("content").unwrap_or(token).as_str().map(str::to_owned)
}

/// Lower-casing and accent stripping. `tokenizer_config.json` overrides `tokenizer.json`, as it does in transformers.
fn normalizer(tokenizer: &Json, settings: Option<&Document>) -> (Option<bool>, Option<bool>) {
    let (mut lowercase, mut strip_accents) = (None, None);
    let mut bert = false;
    let mut open = vec![tokenizer.get("normalizer").unwrap_or(&Json::Null)];
    while let Some(step) = open.pop() {
        match step.get("type").and_then(Json::as_str) {
            Some("Lowercase") => lowercase = Some(true),
            Some("StripAccents") => strip_accents = Some(true),
            Some("BertNormalizer") => {
                bert = true;
                lowercase = step.get("lowercase").and_then(Json::as_bool);
                strip_accents = step.get("strip_accents").and_then(Json::as_bool);
            }
            Some("Sequence") => {
                open.extend(step.get("normalizers").and_then(Json::as_array).into_iter().flatten().rev());
            }
            _ => {}
        }
    }
    if bert && let Some(settings) = settings {
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
