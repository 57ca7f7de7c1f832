//! The tokenizer of a directory as the `tokenizer.ggml.*` keys.
//!
//! | in `tokenizer.json` | `tokenizer.ggml.model` | in |
//! |---|---|---|
//! | `WordPiece` | `bert` | [`word_piece`] |
//! | `Unigram` | `t5` | [`unigram`] |
//! | `BPE` over characters, spaces as `▁`, bytes as a last resort | `llama` | [`sentence_piece`] |
//! | `BPE` over bytes | `gpt2` | [`byte_level`] |
//! | `BPE` over the characters of words between spaces | `whitespace` | [`byte_level`] |

mod base64;
mod byte_level;
mod chat;
mod pre_tokenizer;
mod proto;
mod sentence_piece;
mod special;
mod tokens;
mod unigram;
mod word_piece;

use std::path::Path;

use docent_gguf::{Gguf, WriteError, Writer};
use docent_tokenizer::Tokenizer;
use serde_json::Value as Json;

use super::Error;
use super::json::Document;
use super::model::Model;
use super::plan::Plan;
use crate::arch;
use crate::arch::static_embedding::SKIPS_UNKNOWN;
use crate::keys::Keys;
use chat::Templates;
use special::Special;
use tokens::Token;

/// A vocabulary in the form that GGUF stores.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    architecture: &'static str,
    model: &'static str,
    pre: &'static str,
    tokens: Vec<Token>,
    has_scores: bool,
    merges: Vec<String>,
    special: Special,
    templates: Templates,
    /// Whether a text is given a space in front.
    space_prefix: Option<bool>,
    /// Whether `tokenizer_config.json` says so.
    prefix_stated: bool,
    /// Whether runs of spaces become one.
    remove_extra_whitespaces: Option<bool>,
    charsmap: Vec<u8>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    token_types: Option<u32>,
    /// The whole tokenizer.json, if that is what stands in the file.
    whole: Option<String>,
    /// What the source has and the file cannot carry, in words.
    pub(super) lost: Vec<String>,
}

/// The files of a tokenizer.
struct Files<'a> {
    dir: &'a Path,
    tokenizer: Option<Document>,
    settings: Option<Document>,
    roles: Option<Document>,
}

impl<'a> Files<'a> {
    fn read(dir: &'a Path) -> Result<Self, Error> {
        Ok(Files {
            dir,
            tokenizer: Document::read(dir, "tokenizer.json")?,
            settings: Document::read(dir, "tokenizer_config.json")?,
            roles: Document::read(dir, "special_tokens_map.json")?,
        })
    }

    /// The tokens that have a role, by name or else by the name that transformers gives them by default.
    fn role(&self, role: &str) -> Option<String> {
        [&self.roles, &self.settings].into_iter().flatten().find_map(|d| d.get(role).and_then(tokens::content))
    }

    /// What the key of `tokenizer_config.json` says.
    fn setting(&self, key: &str) -> Option<&Json> {
        self.settings.as_ref().and_then(|settings| settings.get(key))
    }
}

impl Vocabulary {
    /// Reads the tokenizer of a model and gives it as many tokens as the embedding table has rows.
    pub(super) fn read(model: &Model<'_>, plan: &Plan<'_>) -> Result<Self, Error> {
        if model.modules.is_table {
            return Self::whole(model);
        }
        let rows = plan.rows("token_embd.weight");
        let mut vocabulary =
            Self::of_directory(model.folder, model.document, model.architecture.name, model.model_type(), rows)?;
        vocabulary.token_types = token_types(model, plan);
        Ok(vocabulary)
    }

    /// The tokenizer of a table of token vectors, as it is: texts get no special tokens around them, which the keys of families could not say
    /// of all, and no other program reads the file.
    fn whole(model: &Model<'_>) -> Result<Self, Error> {
        let Some(mut document) = Document::read(model.folder, "tokenizer.json")? else {
            let hint = "save the model again with model2vec or sentence-transformers";
            return Err(Error::MissingFile { dir: model.folder.to_owned(), expected: "tokenizer.json", hint });
        };
        // model2vec has a limit of its own.
        let unused = if model.settings().bool(SKIPS_UNKNOWN)?.is_some() { &["truncation"][..] } else { &[] };
        for part in ["post_processor", "padding"].iter().chain(unused) {
            document.value[part] = Json::Null;
        }
        Ok(Vocabulary { whole: Some(document.value.to_string()), ..Vocabulary::default() })
    }

    /// The same of a directory, whose configuration and architecture are known already.
    fn of_directory(
        dir: &Path,
        config: &Document,
        architecture: &'static str,
        model_type: &str,
        rows: u64,
    ) -> Result<Self, Error> {
        let mut files = Files::read(dir)?;
        let kind = |document: &Document| {
            let kind = document.get("model").and_then(|m| m.get("type")).and_then(Json::as_str);
            kind.unwrap_or("WordPiece").to_owned()
        };
        let pieces = dir.join(PIECES);
        let mut vocabulary = match files.tokenizer.as_ref().map(kind).as_deref() {
            None | Some("BPE") if pieces.is_file() => sentence_piece::of_pieces(&files, &pieces, rows)?,
            None if dir.join(unigram::PIECES).is_file() => unigram::of_pieces(dir, rows)?,
            None => {
                files.tokenizer = Some(word_piece::plain_vocabulary(&files)?);
                word_piece::read(&files, rows)?
            }
            Some("WordPiece") => word_piece::read(&files, rows)?,
            Some("Unigram") => unigram::of_json(&files, rows)?,
            Some("BPE") if sentence_piece::is_meant(&files) => sentence_piece::of_json(&files, rows)?,
            Some("BPE") => byte_level::read(&files, rows, model_type)?,
            Some(kind) => {
                let path = dir.join("tokenizer.json");
                let expected = "a tokenizer of type WordPiece, Unigram or BPE".to_owned();
                return Err(Error::Vocabulary { path, expected, found: kind.to_owned() });
            }
        };
        vocabulary.architecture = architecture;
        vocabulary.special = Special::gather(
            files.tokenizer.as_ref().map_or(&Json::Null, |t| &t.value),
            files.settings.as_ref().map(|s| &s.value),
            &config.value,
            vocabulary.tokens.len(),
        );
        vocabulary.templates = Templates::read(&files)?;
        Ok(vocabulary)
    }

    pub(super) fn write(self, keys: &mut Keys) {
        if let Some(document) = &self.whole {
            keys.text("tokenizer.huggingface.json", document);
            return;
        }
        let count = |keys: &mut Keys| {
            if let Some(count) = self.token_types {
                keys.u32("tokenizer.ggml.token_type_count", count);
            }
        };
        let prefix = |keys: &mut Keys| {
            if let Some(prefix) = self.space_prefix {
                keys.bool("tokenizer.ggml.add_space_prefix", prefix);
            }
        };
        if self.model == "bert" {
            count(keys);
        }
        if self.prefix_stated {
            prefix(keys);
        }
        if self.architecture == "modern-bert" {
            // What its tokenizer does not say is so.
            for role in ["bos", "eos", "sep"] {
                keys.bool(&format!("tokenizer.ggml.add_{role}_token"), true);
            }
        }
        keys.text("tokenizer.ggml.model", self.model);
        keys.text("tokenizer.ggml.pre", self.pre);
        let scores: Vec<f32> = self.tokens.iter().map(|token| token.score).collect();
        let types: Vec<i32> = self.tokens.iter().map(|token| token.kind as i32).collect();
        let texts: Vec<String> = self.tokens.into_iter().map(|token| token.text).collect();
        keys.texts("tokenizer.ggml.tokens", &texts);
        if self.has_scores {
            keys.f32s("tokenizer.ggml.scores", scores);
        }
        keys.i32s("tokenizer.ggml.token_type", types);
        if self.model == "t5" {
            prefix(keys);
            count(keys);
            if let Some(remove) = self.remove_extra_whitespaces {
                keys.bool("tokenizer.ggml.remove_extra_whitespaces", remove);
            }
            keys.u8s("tokenizer.ggml.precompiled_charsmap", self.charsmap);
        }
        keys.texts("tokenizer.ggml.merges", &self.merges);
        self.special.write(keys);
        self.templates.write(keys);
        for (key, value) in [("lowercase", self.lowercase), ("strip_accents", self.strip_accents)] {
            if let Some(value) = value {
                keys.bool(&format!("tokenizer.ggml.normalizer.{key}"), value);
            }
        }
        if ["gpt2", "whitespace"].contains(&self.model) {
            count(keys);
        }
        // Readers take a missing key for true.
        if self.model == "llama" && !self.prefix_stated && self.space_prefix == Some(false) {
            prefix(keys);
        }
    }
}

/// SentencePiece's own file, of the models that merge characters.
const PIECES: &str = "tokenizer.model";

/// Whether a directory has the pieces of SentencePiece and no tokenizer that can be read as it is.
pub(crate) fn has_pieces_alone(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).is_file();
    !has("tokenizer.json") && !has("vocab.txt") && (has(PIECES) || has(unigram::PIECES))
}

/// The tokenizer of such a directory: that of the GGUF file that it converts to.
pub(crate) fn tokenizer_of_pieces(dir: &Path) -> Result<Tokenizer, Error> {
    // No vocabulary is as large; it is filled up to this size.
    const MOST_TOKENS: u64 = 1 << 21;
    let document = Document::require(dir, "config.json")?;
    let config = document.config()?;
    let rows = config.size(&["vocab_size"])? as u64;
    if rows > MOST_TOKENS {
        return Err(config.error("vocab_size", &format!("at most {MOST_TOKENS}"), rows).into());
    }
    let model_type = config.model_type()?.unwrap_or_default();
    let architecture = arch::of_hugging_face(&config)?.map_or("", |architecture| architecture.name);
    let vocabulary = Vocabulary::of_directory(dir, &document, architecture, model_type, rows)?;
    let mut keys = Keys::default();
    keys.text("general.architecture", architecture);
    vocabulary.write(&mut keys);
    let mut writer = Writer::new();
    keys.add_to(&mut writer)?;
    let mut bytes = Vec::new();
    writer.write(&mut bytes, |_, _| Ok::<(), WriteError>(()))?;
    let gguf = Gguf::from_bytes(bytes).map_err(crate::Error::from)?;
    Ok(Tokenizer::from_gguf(gguf.metadata())?.limited_as_in(dir)?)
}

/// How many kinds of segment a model of BERT's family tells apart: as the configuration has it, or else the tensor; one, which the
/// format wants to hear, if there is no tensor.
fn token_types(model: &Model<'_>, plan: &Plan<'_>) -> Option<u32> {
    let stated = model.document.get("type_vocab_size").and_then(Json::as_u64);
    let stored = Some(plan.rows("token_types.weight")).filter(|&rows| rows > 0);
    let rows = stated.or(stored).or((model.architecture.name == "bert").then_some(1))?;
    Some(u32::try_from(rows).unwrap_or(u32::MAX).max(1))
}

/// Lower-casing and accent stripping among the normalizers.
fn normalizer(tokenizer: &Json) -> (Option<bool>, Option<bool>) {
    let (mut lowercase, mut strip_accents) = (None, None);
    for step in steps(tokenizer, "normalizer", "normalizers") {
        match step.get("type").and_then(Json::as_str) {
            Some("Lowercase") => lowercase = Some(true),
            Some("StripAccents") => strip_accents = Some(true),
            Some("BertNormalizer") => {
                lowercase = step.get("lowercase").and_then(Json::as_bool);
                strip_accents = step.get("strip_accents").and_then(Json::as_bool);
            }
            _ => {}
        }
    }
    (lowercase, strip_accents)
}

/// The steps of one part of a tokenizer, sequences taken apart.
fn steps<'a>(tokenizer: &'a Json, part: &str, list: &str) -> Vec<&'a Json> {
    let mut open: Vec<&Json> = tokenizer.get(part).into_iter().collect();
    let mut steps = Vec::new();
    while let Some(step) = open.pop() {
        match step.get("type").and_then(Json::as_str) {
            Some("Sequence") => open.extend(step.get(list).and_then(Json::as_array).into_iter().flatten().rev()),
            Some(_) => steps.push(step),
            None => {}
        }
    }
    steps
}
