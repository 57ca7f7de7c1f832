//! WordPiece from GGUF (model `bert`).

use docent_gguf::Metadata;
use tokenizers::AddedToken;

use super::TOKENS;
use super::keys::{CONTROL, Tokens, UNKNOWN, USER_DEFINED};
use crate::bert::Normalization;
use crate::error::Error;
use crate::template::Template;
use crate::tokenizer::Tokenizer;
use crate::vocabulary::Vocabulary;
use crate::wordpiece::{WordPiece, Words};

/// What stands before a token that begins a word (U+2581).
const WORD_START: char = '▁';

pub(super) fn word_piece(metadata: Metadata<'_>) -> Result<Tokenizer, Error> {
    let tokens = Tokens::read(metadata)?;
    let type_of = |id: u32| tokens.type_of(id);

    let mut vocabulary = Vocabulary::with_capacity(tokens.stored.len());
    let (mut token, mut capitalised) = (String::new(), 0);
    for (id, &stored) in (0u32..).zip(&tokens.stored) {
        restore(stored, type_of(id), &mut token);
        let is_word = !token.starts_with("##") && !is_bracketed(&token);
        capitalised += usize::from(is_word && token.bytes().any(|byte| byte.is_ascii_uppercase()));
        // A mark of its own may stand at the start of a continuing piece; its plain reading is then taken.
        if vocabulary.insert_or_find(&token, id, TOKENS)?.is_some() {
            vocabulary.insert(&format!("##{stored}"), id, TOKENS)?;
        }
    }

    // An uncased vocabulary has no capitals but in a few tokens added to it; a cased one has thousands.
    let cased = capitalised > vocabulary.len() / 100;
    let lowercase = metadata.bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(!cased);
    let strip_accents = metadata.bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
    let normalization = Normalization { clean_text: true, handle_chinese_chars: true, strip_accents, lowercase };

    let special = Specials { tokens: &tokens, vocabulary: &vocabulary };
    let unknown = special.require("unknown", &["unknown_token_id"], &["[UNK]", "<unk>"], 100)?;
    let cls = special.require("start", &["bos_token_id", "cls_token_id"], &["[CLS]", "<s>"], 101)?;
    // The name of the second key is misspelt in the format.
    let sep = special.require(
        "separator",
        &["seperator_token_id", "separator_token_id", "eos_token_id"],
        &["[SEP]", "</s>"],
        102,
    )?;
    let pad = special.find(&["padding_token_id"], &["[PAD]", "<pad>"], 0)?;
    let mask = special.find(&["mask_token_id"], &["[MASK]", "<mask>"], 103)?;

    // MPNet, which has BERT's words, puts texts together as RoBERTa does.
    let template = match tokens.architecture()? {
        "mpnet" => Template::with_separator(vec![cls], vec![sep], Some(sep)),
        _ => Template { before: vec![cls], after: vec![sep], pair: None },
    };
    let named = [Some(unknown), Some(cls), Some(sep), pad, mask];
    let is_added = |id: u32| match type_of(id) {
        Some(kind) => matches!(kind, UNKNOWN | CONTROL | USER_DEFINED),
        None => named.contains(&Some(id)),
    };
    let added = (0..vocabulary.len() as u32)
        .filter(|id| is_added(*id))
        .filter_map(|id| {
            let is_special = type_of(id) != Some(USER_DEFINED);
            let content = vocabulary.token(id).filter(|token| !token.is_empty())?;
            Some(AddedToken::from(content, is_special).normalized(false))
        })
        .collect();

    WordPiece {
        added,
        words: Words::Bert(normalization),
        unknown: vocabulary.token(unknown).unwrap_or_default().to_owned(),
        prefix: "##".to_owned(),
        max_word: 100,
        template,
        decoder: Some(tokenizers::decoders::wordpiece::WordPiece::default().into()),
        model_max_length: None,
        place: TOKENS,
        vocabulary,
    }
    .build()
}

/// Writes a token as BERT's vocabulary has it. The file marks tokens that begin a word instead of those that continue one:
/// `▁word` for `word` and `x` for `##x`. Control tokens stand as they are, in older files everything in brackets does.
fn restore(stored: &str, kind: Option<i32>, token: &mut String) {
    token.clear();
    match stored.strip_prefix(WORD_START) {
        _ if kind == Some(CONTROL) => {}
        Some(word) if !word.is_empty() => return token.push_str(word),
        _ if kind == Some(UNKNOWN) || is_bracketed(stored) => {}
        _ => token.push_str("##"),
    }
    token.push_str(stored);
}

/// Whether a token looks like `[unused1]`.
fn is_bracketed(token: &str) -> bool {
    token.len() > 2 && token.starts_with('[') && token.ends_with(']')
}

/// Finds special tokens: by key, by their usual text, by the id they have in the original BERT.
struct Specials<'a> {
    tokens: &'a Tokens<'a>,
    vocabulary: &'a Vocabulary,
}

impl Specials<'_> {
    fn find(&self, keys: &[&str], texts: &[&str], usual: u32) -> Result<Option<u32>, Error> {
        if let Some(id) = self.tokens.by_key(keys)? {
            return Ok(Some(id));
        }
        let by_text = texts.iter().find_map(|text| self.vocabulary.model_id(text));
        Ok(by_text.or(Some(usual)).filter(|id| self.vocabulary.token(*id).is_some()))
    }

    fn require(&self, what: &str, keys: &[&str], texts: &[&str], usual: u32) -> Result<u32, Error> {
        self.find(keys, texts, usual)?.ok_or_else(|| {
            let expected = format!("a {what} token (key `tokenizer.ggml.{}` or a token {})", keys[0], texts[0]);
            Error::unexpected(TOKENS, expected, format!("none among {} tokens", self.vocabulary.len()))
        })
    }
}
