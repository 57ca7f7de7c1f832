//! Tokens by id.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::super::Error;
use super::super::json::Document;
use super::Files;

/// What a token is to the tokenizer, with the number that GGUF gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// A token as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) kind: Kind,
    pub(super) score: f32,
}

impl Token {
    /// What stands at an id that no token has.
    pub(super) fn unused(id: usize, score: f32) -> Self {
        Token { text: format!("[PAD{id}]"), kind: Kind::Unused, score }
    }
}

/// Tokens on their way to their ids.
pub(super) struct Slots<'a> {
    document: &'a Document,
    pub(super) by_id: Vec<Option<(&'a str, Kind)>>,
    /// Tokens beyond the embedding table, in words.
    pub(super) lost: Vec<String>,
}

impl<'a> Slots<'a> {
    /// Takes the tokens of `words`, then the added tokens. `control` are the tokens that have a role.
    pub(super) fn fill(
        document: &'a Document,
        words: impl Iterator<Item = (&'a str, Option<u64>)>,
        control: &HashSet<String>,
        rows: u64,
    ) -> Result<Self, Error> {
        let mut slots = Slots { document, by_id: vec![None; rows as usize], lost: Vec::new() }; // rows of a table that is in a file
        for (token, id) in words {
            slots.set(token, id, if control.contains(token) { Kind::Control } else { Kind::Normal })?;
        }
        for added in document.get("added_tokens").and_then(Json::as_array).into_iter().flatten() {
            let Some(token) = added.get("content").and_then(Json::as_str) else { continue };
            let special =
                added.get("special") == Some(&Json::Bool(true)) || control.contains(token) || looks_special(token);
            let id = added.get("id").and_then(Json::as_u64);
            if id.is_some_and(|id| id >= rows) {
                slots.lost.push(format!("the token {token}, which has no embedding"));
                continue;
            }
            slots.set(token, id, if special { Kind::Control } else { Kind::UserDefined })?;
        }
        Ok(slots)
    }

    fn set(&mut self, token: &'a str, id: Option<u64>, kind: Kind) -> Result<(), Error> {
        let rows = self.by_id.len();
        match id.and_then(|id| self.by_id.get_mut(usize::try_from(id).ok()?)) {
            None => {
                let id = id.map_or_else(|| "no id".to_owned(), |id| id.to_string());
                let expected = format!("ids below {rows}, the rows of the embedding table");
                Err(wrong(self.document, &expected, format!("{id} of token `{token}`")))
            }
            Some(Some((other, _))) if *other != token => {
                let found = format!("`{other}` and `{token}` for {}", id.unwrap_or_default());
                Err(wrong(self.document, "one token for each id", found))
            }
            Some(slot) => {
                *slot = Some((token, kind));
                Ok(())
            }
        }
    }
}

/// The entries of `model.vocab` where that is an object.
pub(super) fn words(document: &Document) -> Result<impl Iterator<Item = (&str, Option<u64>)>, Error> {
    match document.get("model").and_then(|model| model.get("vocab")) {
        Some(Json::Object(words)) => Ok(words.iter().map(|(token, id)| (token.as_str(), id.as_u64()))),
        _ => Err(wrong(document, "tokens and their ids under `model.vocab`", "none".to_owned())),
    }
}

pub(super) fn wrong(document: &Document, expected: &str, found: String) -> Error {
    Error::Vocabulary { path: document.path.clone(), expected: expected.to_owned(), found }
}

/// Roles whose tokens transformers treats as special when they are in the vocabulary, and the names that BERT's have by default.
const SPECIAL: [(&str, Option<&str>); 7] = [
    ("bos_token", None),
    ("eos_token", None),
    ("unk_token", Some("[UNK]")),
    ("sep_token", Some("[SEP]")),
    ("pad_token", Some("[PAD]")),
    ("cls_token", Some("[CLS]")),
    ("mask_token", Some("[MASK]")),
];

/// The contents of the tokens that have a role.
pub(super) fn control_names(files: &Files<'_>, is_bert: bool) -> HashSet<String> {
    let name = |(role, default): &(&str, Option<&str>)| {
        files.role(role).or_else(|| default.filter(|_| is_bert).map(str::to_owned))
    };
    SPECIAL.iter().filter(|(_, default)| default.is_some() || !is_bert).filter_map(name).collect()
}

/// Tokens that some tokenizers forget to mark as special.
pub(super) fn looks_special(token: &str) -> bool {
    let between = |start: &str, end: &str| token.starts_with(start) && token.ends_with(end);
    matches!(token, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

/// The text of a token, given as such or as an object.
pub(super) fn content(token: &Json) -> Option<String> {
    token.get("content").unwrap_or(token).as_str().map(str::to_owned)
}

/// A token the user defined, spaces as they are.
pub(super) fn user_defined(text: &str) -> String {
    text.replace('▁', " ")
}

/// Whether a token stands for a byte: `<0x0A>`.
pub(super) fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}
