//! The models of a `tokenizer.json`: vocabularies and how words are cut.

use std::collections::HashSet;

use tokenizers::AddedToken;

use super::{Node, steps};
use crate::bert::Normalization;
use crate::bpe::{Bpe, Characters, byte_tokens};
use crate::error::{Error, quote};
use crate::family::Family;
use crate::pipeline::Model;
use crate::template::Template;
use crate::tokenizer::{Kind, Tokenizer};
use crate::unigram::Unigram;
use crate::vocabulary::Vocabulary;
use crate::wordpiece::{WordPiece, Words};

pub(super) fn word_piece(
    root: &Node<'_>,
    model: &Node<'_>,
    model_max_length: Option<usize>,
) -> Result<Tokenizer, Error> {
    let mut vocabulary = vocabulary(model)?;
    let added = added_tokens(root, &mut vocabulary)?;
    let (normalizer, pre_tokenizer) = (root.member("normalizer"), root.member("pre_tokenizer"));
    let words = if is_type(&normalizer, "BertNormalizer") && is_type(&pre_tokenizer, "BertPreTokenizer") {
        Words::Bert(bert_normalization(&normalizer)?)
    } else {
        Words::Other(Box::new((steps::normalizer(&normalizer)?, steps::pre_tokenizer(&pre_tokenizer)?.steps)))
    };
    let max_word = model.get("max_input_chars_per_word").map_or(Ok(100), |n| n.u32())?;
    WordPiece {
        added,
        words,
        unknown: model.get("unk_token").map_or(Ok("[UNK]"), |t| t.str())?.to_owned(),
        prefix: model.get("continuing_subword_prefix").map_or(Ok("##"), |t| t.str())?.to_owned(),
        max_word: usize::try_from(max_word).unwrap_or(usize::MAX),
        template: Template::from_json(&root.member("post_processor"))?,
        decoder: steps::decoder(&root.member("decoder"))?,
        model_max_length,
        place: "model",
        vocabulary,
    }
    .build()
}

pub(super) fn bpe(root: &Node<'_>, model: &Node<'_>, model_max_length: Option<usize>) -> Result<Tokenizer, Error> {
    let mut vocabulary = vocabulary(model)?;
    let added = added_tokens(root, &mut vocabulary)?;
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if let Some(affix) = model.get(key)
            && !affix.str()?.is_empty()
        {
            return Err(Error::Unsupported {
                place: affix.path,
                found: quote(affix.value.as_str().unwrap_or_default()),
                supported: "none",
            });
        }
    }
    if let Some(dropout) = model.get("dropout")
        && dropout.value.as_f64() != Some(0.0)
    {
        return Err(dropout.unexpected("none: tokens by chance are for training"));
    }
    let unknown = match model.get("unk_token") {
        None => None,
        Some(token) => {
            let id = vocabulary.id(token.str()?);
            Some(id.ok_or_else(|| token.unexpected("a token of the vocabulary"))?)
        }
    };
    let normalizer = steps::normalizer(&root.member("normalizer"))?;
    let cutting = steps::pre_tokenizer(&root.member("pre_tokenizer"))?;
    let merges_node = model.require("merges")?;
    let merges = merges_node.elements()?.map(|node| merge(&node)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let (ignore_merges, byte_fallback) = (model.flag("ignore_merges")?, model.flag("byte_fallback")?);
    let whole = ignore_merges.then(|| special_ids(&added, &vocabulary));
    let place = merges_node.path();
    let (kind, engine) = if cutting.byte_level {
        (Kind::ByteLevelBpe, Bpe::bytes(&vocabulary, merges, unknown, whole, place)?)
    } else {
        let characters = Characters {
            bytes: byte_fallback.then(|| byte_tokens(&vocabulary)),
            unknown,
            fuse: model.flag("fuse_unk")?,
        };
        let kind = if byte_fallback || cutting.metaspace { Kind::SentencePieceBpe } else { Kind::Bpe };
        (kind, Bpe::characters(&vocabulary, merges, characters, whole, place)?)
    };
    Family {
        kind,
        added,
        normalizer,
        words: cutting.steps,
        model: Model::Bpe(engine),
        template: Template::from_json(&root.member("post_processor"))?,
        decoder: steps::decoder(&root.member("decoder"))?,
        unknown,
        model_max_length,
        place: "added_tokens",
        vocabulary,
    }
    .build()
}

pub(super) fn unigram(root: &Node<'_>, model: &Node<'_>, model_max_length: Option<usize>) -> Result<Tokenizer, Error> {
    let list = model.require("vocab")?;
    let mut vocabulary = Vocabulary::default();
    let mut scores = vec![];
    for (id, entry) in (0u32..).zip(list.elements()?) {
        vocabulary.insert(entry.at(0)?.str()?, id, list.path())?;
        let score = entry.at(1)?;
        scores.push(score.value.as_f64().ok_or_else(|| score.unexpected("a score"))?);
    }
    if scores.is_empty() {
        return Err(list.unexpected("at least one token"));
    }
    let unknown = match model.get("unk_id") {
        None => None,
        Some(node) => {
            let id = node.u32()?;
            vocabulary.expect_id(id, node.path())?;
            Some(id)
        }
    };
    let added = added_tokens(root, &mut vocabulary)?;
    let control = special_ids(&added, &vocabulary);
    let normalizer = steps::normalizer(&root.member("normalizer"))?;
    let cutting = steps::pre_tokenizer(&root.member("pre_tokenizer"))?;
    if cutting.byte_level {
        return Err(root.member("pre_tokenizer").unexpected("words of characters for a Unigram model, not bytes"));
    }
    let ordinary = |id: u32| Some(id) != unknown && control.binary_search(&id).is_err();
    let byte_fallback = model.flag("byte_fallback")?;
    let engine = Unigram::new(&vocabulary, scores, ordinary, |_| true, unknown, byte_fallback);
    Family {
        kind: Kind::Unigram,
        added,
        normalizer,
        words: cutting.steps,
        model: Model::Unigram(engine),
        template: Template::from_json(&root.member("post_processor"))?,
        decoder: steps::decoder(&root.member("decoder"))?,
        unknown,
        model_max_length,
        place: "added_tokens",
        vocabulary,
    }
    .build()
}

/// A vocabulary as an object of ids.
fn vocabulary(model: &Node<'_>) -> Result<Vocabulary, Error> {
    let vocab = model.require("vocab")?;
    let tokens = vocab.object()?;
    let mut vocabulary = Vocabulary::with_capacity(tokens.len());
    for (token, id) in tokens {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.map_or_else(|| vocab.member(token).u32(), Ok)?;
        vocabulary.insert(token, id, &vocab.path)?;
    }
    Ok(vocabulary)
}

/// A merge: two tokens as an array, or with a space between them.
fn merge<'a>(node: &Node<'a>) -> Result<(&'a str, &'a str), Error> {
    if node.value.is_array() {
        return Ok((text_at(node, 0)?, text_at(node, 1)?));
    }
    let parts = node.str()?.split_once(' ').filter(|(_, right)| !right.contains(' '));
    parts.ok_or_else(|| node.unexpected("two tokens with a space between them"))
}

fn text_at<'a>(node: &Node<'a>, index: usize) -> Result<&'a str, Error> {
    match node.value.get(index).and_then(serde_json::Value::as_str) {
        Some(text) => Ok(text),
        None => Err(node.at(index)?.unexpected("a string")),
    }
}

/// The ids of special tokens, ascending.
fn special_ids(added: &[AddedToken], vocabulary: &Vocabulary) -> Vec<u32> {
    let mut ids: Vec<u32> =
        added.iter().filter(|token| token.special).filter_map(|token| vocabulary.id(&token.content)).collect();
    ids.sort_unstable();
    ids
}

/// The settings of a `BertNormalizer`; accents are stripped along with case unless it is said otherwise.
fn bert_normalization(node: &Node<'_>) -> Result<Normalization, Error> {
    let lowercase = node.require("lowercase")?.bool()?;
    Ok(Normalization {
        clean_text: node.require("clean_text")?.bool()?,
        handle_chinese_chars: node.require("handle_chinese_chars")?.bool()?,
        strip_accents: node.get("strip_accents").map_or(Ok(lowercase), |flag| flag.bool())?,
        lowercase,
    })
}

/// Reads `added_tokens` and enters them in the vocabulary.
fn added_tokens(root: &Node<'_>, vocabulary: &mut Vocabulary) -> Result<Vec<AddedToken>, Error> {
    let Some(list) = root.get("added_tokens") else { return Ok(vec![]) };
    let (mut added, mut known) = (vec![], HashSet::new());
    for node in list.elements()? {
        let content = node.require("content")?;
        let token = AddedToken {
            content: content.str()?.to_owned(),
            single_word: node.flag("single_word")?,
            lstrip: node.flag("lstrip")?,
            rstrip: node.flag("rstrip")?,
            special: node.flag("special")?,
            normalized: node.flag("normalized")?,
        };
        if token.content.is_empty() {
            return Err(content.unexpected("a text that is not empty"));
        }
        if !known.insert(content.str()?) {
            return Err(content.unexpected("a token that is not in the list already"));
        }
        vocabulary.insert_added(&token.content, node.require("id")?.u32()?, &node.path)?;
        added.push(token);
    }
    Ok(added)
}

fn is_type(node: &Node<'_>, name: &str) -> bool {
    node.value.get("type").and_then(serde_json::Value::as_str) == Some(name)
}
