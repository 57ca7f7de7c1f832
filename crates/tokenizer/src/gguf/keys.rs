//! The `tokenizer.ggml.*` keys as all families use them.

use docent_gguf::Metadata;
use tokenizers::AddedToken;

use super::TOKENS;
use crate::error::Error;
use crate::vocabulary::{MAX_IDS, Vocabulary};

/// Values of `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;

/// The tokens of a file with their types and scores.
pub(super) struct Tokens<'a> {
    pub(super) metadata: Metadata<'a>,
    pub(super) stored: Vec<&'a str>,
    types: Option<Vec<i32>>,
}

impl<'a> Tokens<'a> {
    /// Reads them and checks that their numbers agree.
    pub(super) fn read(metadata: Metadata<'a>) -> Result<Self, Error> {
        let stored = metadata.require_strings("tokenizer.ggml.tokens")?;
        let types = metadata.i32s("tokenizer.ggml.token_type")?;
        if stored.len() > MAX_IDS {
            return Err(Error::unexpected(TOKENS, format!("at most {MAX_IDS} tokens"), stored.len().to_string()));
        }
        if let Some(types) = types.as_ref().filter(|types| types.len() != stored.len()) {
            let expected = format!("an entry for each of the {} tokens", stored.len());
            return Err(Error::unexpected("key `tokenizer.ggml.token_type`", expected, types.len().to_string()));
        }
        Ok(Self { metadata, stored: stored.iter().collect(), types })
    }

    /// `None` where the file has no types.
    pub(super) fn type_of(&self, id: u32) -> Option<i32> {
        self.types.as_ref().and_then(|types| types.get(id as usize).copied())
    }

    /// The score of each token.
    pub(super) fn scores(&self) -> Result<Vec<f32>, Error> {
        const SCORES: &str = "key `tokenizer.ggml.scores`";
        let key = "tokenizer.ggml.scores";
        // Some converters write whole numbers as such.
        let scores = match self.metadata.f32s(key) {
            Ok(Some(scores)) => scores,
            Ok(None) => self.metadata.require_f32s(key)?,
            Err(e) => match self.metadata.i32s(key) {
                Ok(Some(scores)) => scores.into_iter().map(|score| score as f32).collect(),
                _ => return Err(e.into()),
            },
        };
        if scores.len() != self.stored.len() {
            let expected = format!("a score for each of the {} tokens", self.stored.len());
            return Err(Error::unexpected(SCORES, expected, scores.len().to_string()));
        }
        match scores.iter().position(|score| !score.is_finite()) {
            Some(id) => Err(Error::unexpected(SCORES, "finite numbers", format!("{} at {id}", scores[id]))),
            None => Ok(scores),
        }
    }

    /// Enters the tokens in a vocabulary: `control` ones beside the model, so that text never becomes one by itself.
    pub(super) fn vocabulary(&self, control: impl Fn(u32) -> bool) -> Result<Vocabulary, Error> {
        if self.stored.is_empty() {
            return Err(Error::unexpected(TOKENS, "at least one token", "none"));
        }
        let mut vocabulary = Vocabulary::with_capacity(self.stored.len());
        for (id, &stored) in (0u32..).zip(&self.stored) {
            let unnamed;
            let token = if stored.is_empty() {
                unnamed = format!("[EMPTY_{id}]");
                &unnamed
            } else {
                stored
            };
            if control(id) {
                if let Some(other) = vocabulary.id(token) {
                    let found = format!("{} twice, at ids {other} and {id}", crate::error::quote(token));
                    return Err(Error::unexpected(TOKENS, "distinct tokens", found));
                }
                vocabulary.insert_added(token, id, TOKENS)?;
            } else {
                vocabulary.insert(token, id, TOKENS)?;
            }
        }
        Ok(vocabulary)
    }

    /// Whether a token only fills a row of the embedding table. Some files call these user-defined.
    pub(super) fn is_padding(&self, id: u32) -> bool {
        self.stored.get(id as usize).is_some_and(|token| {
            token
                .strip_prefix("[PAD")
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|n| n.parse() == Ok(id) && !n.starts_with(['+', '0']) || n == "0" && id == 0)
        })
    }

    /// The tokens that are matched in the text as they stand. `special` are so without types; `mask` swallows the spaces before it.
    pub(super) fn added(&self, vocabulary: &Vocabulary, special: &[u32], mask: Option<u32>) -> Vec<AddedToken> {
        (0..self.stored.len() as u32)
            .filter(|id| match self.type_of(*id) {
                Some(kind) => matches!(kind, UNKNOWN | CONTROL | USER_DEFINED) && !self.is_padding(*id),
                None => special.contains(id),
            })
            .filter_map(|id| {
                let is_special = self.type_of(id) != Some(USER_DEFINED);
                let content = vocabulary.token(id).filter(|token| !token.is_empty())?;
                Some(AddedToken::from(content, is_special).normalized(false).lstrip(mask == Some(id)))
            })
            .collect()
    }

    /// The id of a special token by one of its keys; one out of range is passed over, as the loaders of the format do.
    pub(super) fn by_key(&self, keys: &[&str]) -> Result<Option<u32>, Error> {
        for key in keys {
            let key = format!("tokenizer.ggml.{key}");
            match self.metadata.u32(&key)? {
                Some(id) if (id as usize) < self.stored.len() => return Ok(Some(id)),
                Some(id) => {
                    let tokens = self.stored.len();
                    tracing::warn!("{}: key `{key}`: id {id} is not below {tokens}; ignored", self.metadata.file());
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// The id of a special token by one of its keys, or else by its usual text.
    pub(super) fn special(&self, keys: &[&str], texts: &[&str]) -> Result<Option<u32>, Error> {
        let by_text = || texts.iter().find_map(|text| self.stored.iter().position(|token| token == text));
        Ok(self.by_key(keys)?.or_else(|| by_text().map(|id| id as u32)))
    }

    /// A flag `tokenizer.ggml.NAME`.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        Ok(self.metadata.bool(&format!("tokenizer.ggml.{name}"))?.unwrap_or(default))
    }

    /// `general.architecture`, empty if there is none.
    pub(super) fn architecture(&self) -> Result<&'a str, Error> {
        Ok(self.metadata.str("general.architecture")?.unwrap_or_default())
    }

    /// Whether the model reads a whole text at once. All such models were trained with special tokens around it, which early
    /// files forget to say.
    pub(super) fn is_encoder(&self) -> Result<bool, Error> {
        let architecture = self.architecture()?;
        Ok(architecture.contains("bert") || architecture == "gte-new")
    }

    /// Whether the separator stands twice between the texts of a pair, as XLM-R has it; `DeBERTa` has it once, like BERT.
    pub(super) fn doubles_separator(&self) -> Result<bool, Error> {
        Ok(self.is_encoder()? && self.architecture()? != "deberta-v2")
    }

    /// A special token that a flag asks for.
    pub(super) fn wanted(&self, flag: &str, default: bool, id: Option<u32>) -> Result<Vec<u32>, Error> {
        if !self.flag(flag, default)? {
            return Ok(vec![]);
        }
        match id {
            Some(id) => Ok(vec![id]),
            None => {
                let name = flag.trim_start_matches("add_").replace("_token", "_token_id");
                let expected = format!("a key `tokenizer.ggml.{name}`, as `{flag}` holds");
                Err(Error::unexpected(TOKENS, expected, format!("none among {} tokens", self.stored.len())))
            }
        }
    }
}
