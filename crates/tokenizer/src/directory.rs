//! The tokenizer files of a Hugging Face model directory.

use std::io;
use std::path::Path;

use serde_json::Value;
use tokenizers::AddedToken;

use crate::bert::Normalization;
use crate::error::Error;
use crate::json::{self, Node};
use crate::template::Template;
use crate::tokenizer::Tokenizer;
use crate::vocabulary::Vocabulary;
use crate::wordpiece::{WordPiece, Words};

/// The largest file that is read; the largest in use has some 35 MB.
const MAX_BYTES: u64 = 1 << 29;

/// `tokenizer_config.json` gives this or more when there is no limit.
const NO_LIMIT: f64 = 1e9;

pub(crate) fn build(dir: &Path) -> Result<Tokenizer, Error> {
    let config = Config::read(dir)?;
    if let Some(bytes) = read(dir, "tokenizer.json")? {
        let in_file = |e: Error| e.in_file(dir.join("tokenizer.json").display().to_string());
        let mut document = json::parse(&bytes).map_err(in_file)?;
        config.amend(&mut document);
        let tokenizer = json::build(&document, config.model_max_length).map_err(in_file)?;
        return end_of_text(dir, tokenizer);
    }
    let Some(bytes) = read(dir, "vocab.txt")? else {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file, and no vocab.txt either");
        return Err(Error::Io { path: dir.join("tokenizer.json"), source });
    };
    vocab_txt(&bytes, config).map_err(|e| e.in_file(dir.join("vocab.txt").display().to_string()))
}

/// Embedders of the Qwen family take the vector of `<|endoftext|>`, which their post-processor puts after every text. Where
/// it is missing from the file, it is put there all the same if the model takes the last token's vector.
fn end_of_text(dir: &Path, mut tokenizer: Tokenizer) -> Result<Tokenizer, Error> {
    let Some(id) = tokenizer.id("<|endoftext|>").filter(|_| tokenizer.special_token_count() == 0) else {
        return Ok(tokenizer);
    };
    let member = |name: &str, key: &str| -> Result<Option<Value>, Error> {
        let Some(bytes) = read(dir, name)? else { return Ok(None) };
        let document = json::parse(&bytes).map_err(|e| e.in_file(dir.join(name).display().to_string()))?;
        Ok(document.get(key).cloned())
    };
    let model = member("config.json", "model_type")?;
    let is_qwen = matches!(model.as_ref().and_then(Value::as_str), Some("qwen2" | "qwen3"));
    if is_qwen && member("1_Pooling/config.json", "pooling_mode_lasttoken")? == Some(Value::Bool(true)) {
        tokenizer.parts.template = Template::with_separator(vec![], vec![id], None);
    }
    Ok(tokenizer)
}

/// The tokens that the files say a text may have.
pub(crate) fn model_max_length(dir: &Path) -> Result<Option<usize>, Error> {
    Ok(Config::read(dir)?.model_max_length)
}

/// Reads a file, `None` if there is none.
fn read(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let path = dir.join(name);
    let failed = |source| Error::Io { path: path.clone(), source };
    let bytes = match std::fs::metadata(&path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(failed(e)),
        Ok(metadata) if !metadata.is_file() => return Err(failed(io::Error::other("not a file"))),
        Ok(metadata) => metadata.len(),
    };
    if bytes > MAX_BYTES {
        return Err(failed(io::Error::other(format!("{bytes} bytes are too many (at most {MAX_BYTES})"))));
    }
    std::fs::read(&path).map(Some).map_err(failed)
}

/// What `tokenizer_config.json` and `special_tokens_map.json` add to the tokenizer.
#[derive(Default)]
struct Config {
    model_max_length: Option<usize>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    /// Texts of the special tokens, where they are not BERT's.
    special: Vec<(&'static str, String)>,
}

impl Config {
    fn read(dir: &Path) -> Result<Self, Error> {
        let mut config = Self::default();
        for name in ["special_tokens_map.json", "tokenizer_config.json"] {
            let Some(bytes) = read(dir, name)? else { continue };
            let in_file = |e: Error| e.in_file(dir.join(name).display().to_string());
            let document = json::parse(&bytes).map_err(in_file)?;
            config.take(&Node::root("", &document)).map_err(in_file)?;
        }
        Ok(config)
    }

    fn take(&mut self, root: &Node<'_>) -> Result<(), Error> {
        for (key, flag) in [
            ("do_lower_case", &mut self.do_lower_case),
            ("strip_accents", &mut self.strip_accents),
            ("tokenize_chinese_chars", &mut self.tokenize_chinese_chars),
        ] {
            if let Some(node) = root.get(key) {
                *flag = Some(node.bool()?);
            }
        }
        if let Some(node) = root.get("model_max_length") {
            let length = node.value.as_f64().filter(|n| *n >= 1.0);
            let length = length.ok_or_else(|| node.unexpected("a number of tokens"))?;
            self.model_max_length = (length < NO_LIMIT).then_some(length as usize);
        }
        for key in ["unk_token", "cls_token", "sep_token", "pad_token", "mask_token"] {
            let Some(node) = root.get(key) else { continue };
            // Either the text or an object with the text under `content`.
            let text = node.get("content").unwrap_or(node).str()?.to_owned();
            self.special.retain(|(known, _)| *known != key);
            self.special.push((key, text));
        }
        Ok(())
    }

    /// The library that writes these files lets `tokenizer_config.json` overrule the normaliser in `tokenizer.json`.
    fn amend(&self, document: &mut Value) {
        let Some(normalizer) = document.get_mut("normalizer").and_then(Value::as_object_mut) else { return };
        if normalizer.get("type").and_then(Value::as_str) != Some("BertNormalizer") {
            return;
        }
        for (key, flag) in [
            ("lowercase", self.do_lower_case),
            ("strip_accents", self.strip_accents),
            ("handle_chinese_chars", self.tokenize_chinese_chars),
        ] {
            if let Some(flag) = flag {
                normalizer.insert(key.to_owned(), flag.into());
            }
        }
    }

    fn special(&self, key: &str, usual: &str) -> String {
        let named = self.special.iter().find(|(known, _)| *known == key);
        named.map_or_else(|| usual.to_owned(), |(_, text)| text.clone())
    }
}

/// BERT's own vocabulary file, one token a line.
fn vocab_txt(bytes: &[u8], config: Config) -> Result<Tokenizer, Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Error::unexpected("vocabulary", "UTF-8", format!("something else at byte {}", e.valid_up_to())))?;
    let mut vocabulary = Vocabulary::with_capacity(bytes.len() / 8);
    for (id, line) in (0u32..).zip(text.lines()) {
        vocabulary.insert(line.trim_end(), id, &format!("line {}", u64::from(id) + 1))?;
    }
    let special = [
        ("unk_token", "[UNK]"),
        ("cls_token", "[CLS]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("mask_token", "[MASK]"),
    ]
    .map(|(key, usual)| config.special(key, usual));
    let [unknown, cls, sep, ..] = &special;
    let require = |token: &String| {
        let missing = || Error::unexpected("vocabulary", format!("a line {token:?}"), "none");
        vocabulary.model_id(token).ok_or_else(missing)
    };
    let template = Template { before: vec![require(cls)?], after: vec![require(sep)?], pair: None };
    let added = special.iter().filter(|token| vocabulary.model_id(token).is_some_and(|_| !token.is_empty()));
    let lowercase = config.do_lower_case.unwrap_or(true);
    WordPiece {
        added: added.map(|token| AddedToken::from(token.as_str(), true)).collect(),
        words: Words::Bert(Normalization {
            clean_text: true,
            handle_chinese_chars: config.tokenize_chinese_chars.unwrap_or(true),
            strip_accents: config.strip_accents.unwrap_or(lowercase),
            lowercase,
        }),
        unknown: unknown.clone(),
        prefix: "##".to_owned(),
        max_word: 100,
        template,
        decoder: Some(tokenizers::decoders::wordpiece::WordPiece::default().into()),
        model_max_length: config.model_max_length,
        place: "vocabulary",
        vocabulary,
    }
    .build()
}
