//! Unigram, SentencePiece BPE and byte-level BPE from GGUF.

use docent_gguf::Metadata;
use serde_json::json;
use tokenizers::normalizers::{Lowercase, NFC};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior as Behavior;

use super::keys::{CONTROL, NORMAL, Tokens, UNKNOWN, UNUSED, USER_DEFINED};
use crate::bpe::{Bpe, Characters, byte_tokens};
use crate::charsmap::Charsmap;
use crate::error::{Error, quote};
use crate::family::{Family, decoder};
use crate::normalize;
use crate::pattern::{GPT2, GPT4O, LLAMA3, Pattern, QWEN2, TEKKEN};
use crate::pipeline::Model;
use crate::sentencepiece::SentencePiece;
use crate::template::Template;
use crate::tokenizer::{Kind, Tokenizer};
use crate::unigram::Unigram;
use crate::words::{self, Prepend};

const ADDED: &str = "key `tokenizer.ggml.tokens`";

/// What stands for a space (U+2581).
const MARK: char = '▁';

/// `pooling_type` of a model whose vector is that of the last token.
const LAST: u32 = 3;

/// Model `t5`.
pub(super) fn unigram(metadata: Metadata<'_>) -> Result<Tokenizer, Error> {
    let tokens = Tokens::read(metadata)?;
    let scores: Vec<f64> = tokens.scores()?.into_iter().map(f64::from).collect();
    let bos = tokens.special(&["bos_token_id", "cls_token_id"], &["<s>"])?;
    let eos = tokens.special(&["eos_token_id"], &["</s>"])?;
    let unknown = tokens.special(&["unknown_token_id"], &["<unk>"])?;
    let sep = tokens.by_key(&["seperator_token_id", "separator_token_id"])?.or(eos);
    let pad = tokens.special(&["padding_token_id"], &["<pad>"])?;
    let mask = tokens.special(&["mask_token_id"], &["<mask>"])?;
    let Some(unknown) = unknown else {
        let expected = "an unknown token (key `tokenizer.ggml.unknown_token_id` or a token <unk>)";
        return Err(Error::unexpected(ADDED, expected, format!("none among {} tokens", tokens.stored.len())));
    };
    let named: Vec<u32> = [bos, eos, Some(unknown), sep, pad, mask].into_iter().flatten().collect();
    let control = |id: u32| match tokens.type_of(id) {
        Some(kind) => matches!(kind, CONTROL | UNKNOWN),
        None => named.contains(&id),
    };
    let vocabulary = tokens.vocabulary(control)?;
    let encoder = tokens.is_encoder()?;
    let before = tokens.wanted("add_bos_token", encoder, bos)?;
    let after = tokens.wanted("add_eos_token", true, eos)?;
    let doubled = tokens.doubles_separator()?;
    let between = if tokens.flag("add_sep_token", doubled)? || doubled { sep } else { None };

    let mut normalizer = vec![];
    if let Some(rules) = metadata.bytes("tokenizer.ggml.precompiled_charsmap")?.filter(|rules| !rules.is_empty()) {
        let place = "key `tokenizer.ggml.precompiled_charsmap`";
        normalizer.push(normalize::Step::Charsmap(Box::new(Charsmap::new(rules, place)?)));
    }
    let mut words = vec![];
    let (prefix, collapse) = spaces(&tokens, encoder)?;
    if collapse {
        // Words begin with a mark, the first included.
        words.push(words::Step::Whitespace);
        words.push(words::Step::Metaspace { mark: MARK, prepend: Prepend::Always, split: true });
    } else {
        normalizer.push(normalize::Step::Replace(" ".to_owned(), MARK.to_string()));
        if prefix {
            normalizer.push(normalize::Step::Prepend(MARK.to_string()));
        }
    }
    let ordinary = |id: u32| {
        !tokens.is_padding(id) && tokens.type_of(id).is_none_or(|kind| matches!(kind, NORMAL | USER_DEFINED | UNUSED))
    };
    let counted = |id: u32| !tokens.is_padding(id) && tokens.type_of(id).is_none_or(|kind| kind == NORMAL);
    let model = Unigram::new(&vocabulary, scores, ordinary, counted, Some(unknown), false);
    Family {
        kind: Kind::Unigram,
        added: tokens.added(&vocabulary, &named, mask),
        normalizer,
        words,
        model: Model::Unigram(model),
        template: Template::with_separator(before, after, between),
        decoder: Some(decoder(
            json!({"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": true}),
        )?),
        unknown: Some(unknown),
        model_max_length: None,
        place: ADDED,
        vocabulary,
    }
    .build()
}

/// Whether the text gets a mark in front, and whether runs of spaces count as one.
///
/// Converters that have only the `tokenizer.json` of an XLM-RoBERTa write false for both, from settings that mean something else;
/// that family has both, always.
fn spaces(tokens: &Tokens<'_>, encoder: bool) -> Result<(bool, bool), Error> {
    let prefix = tokens.flag("add_space_prefix", encoder)?;
    let collapse = tokens.flag("remove_extra_whitespaces", encoder)?;
    Ok(if encoder && !prefix && !collapse { (true, true) } else { (prefix, collapse) })
}

/// Model `llama`.
pub(super) fn sentencepiece(metadata: Metadata<'_>) -> Result<Tokenizer, Error> {
    let tokens = Tokens::read(metadata)?;
    let scores = tokens.scores()?;
    let bos = tokens.special(&["bos_token_id"], &["<s>", "<bos>"])?;
    let eos = tokens.special(&["eos_token_id"], &["</s>", "<eos>"])?;
    let unknown = tokens.special(&["unknown_token_id"], &["<unk>"])?;
    let sep = tokens.by_key(&["seperator_token_id", "separator_token_id"])?.or(eos);
    let pad = tokens.by_key(&["padding_token_id"])?;
    let mask = tokens.by_key(&["mask_token_id"])?;
    let named: Vec<u32> = [bos, eos, unknown].into_iter().flatten().collect();
    let control = |id: u32| match tokens.type_of(id) {
        Some(kind) => matches!(kind, CONTROL | UNKNOWN),
        None => named.contains(&id) || pad == Some(id),
    };
    let vocabulary = tokens.vocabulary(control)?;
    let gemma = tokens.architecture()? == "gemma-embedding";
    let before = tokens.wanted("add_bos_token", true, bos)?;
    let after = tokens.wanted("add_eos_token", gemma, eos)?;
    let between = if tokens.flag("add_sep_token", false)? { sep } else { None };
    let mut normalizer = vec![normalize::Step::Replace(" ".to_owned(), MARK.to_string())];
    let prefix = tokens.flag("add_space_prefix", !gemma)?;
    if prefix {
        normalizer.push(normalize::Step::Prepend(MARK.to_string()));
    }
    let ordinary = |id: u32| {
        let kind = tokens.type_of(id);
        kind.is_none_or(|kind| matches!(kind, NORMAL | USER_DEFINED | UNUSED))
            && !tokens.is_padding(id)
            && (kind.is_some() || !is_byte(tokens.stored.get(id as usize).copied().unwrap_or_default()))
    };
    let model = SentencePiece::new(&vocabulary, &scores, ordinary, unknown);
    let strip = json!({"type": "Strip", "content": " ", "start": u32::from(prefix), "stop": 0});
    let text = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]});
    Family {
        kind: Kind::SentencePieceBpe,
        added: tokens.added(&vocabulary, &named, mask),
        normalizer,
        words: vec![],
        model: Model::SentencePiece(model),
        template: Template::with_separator(before, after, between),
        decoder: Some(decoder(text)?),
        unknown,
        model_max_length: None,
        place: ADDED,
        vocabulary,
    }
    .build()
}

/// Whether a token looks like `<0x0A>`.
fn is_byte(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// How `tokenizer.ggml.pre` has text cut and read.
struct Pre {
    pattern: Option<&'static str>,
    nfc: bool,
    ignore_merges: bool,
    add_bos: bool,
    /// Between the texts of a pair the end of a text stands twice.
    add_sep: bool,
    /// Characters instead of bytes, and spaces as marks.
    marks: bool,
}

impl Pre {
    fn new(metadata: Metadata<'_>) -> Result<Self, Error> {
        const KEY: &str = "tokenizer.ggml.pre";
        let name = metadata.str(KEY)?;
        let plain = Self {
            pattern: Some(GPT2),
            nfc: false,
            ignore_merges: false,
            add_bos: false,
            add_sep: false,
            marks: false,
        };
        Ok(match name.unwrap_or("default") {
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" => plain,
            "modern-bert" => Self { nfc: true, ..plain },
            "jina-v1-en" | "jina-v2-code" | "roberta-bpe" => Self { add_sep: true, ..plain },
            "qwen2" | "deepseek-r1-qwen" | "f2llmv2" => Self { pattern: Some(QWEN2), nfc: true, ..plain },
            "llama3" | "llama-v3" | "llama-bpe" | "jina-v5-nano" => {
                Self { pattern: Some(LLAMA3), ignore_merges: true, add_bos: true, ..plain }
            }
            "gpt-4o" => Self { pattern: Some(GPT4O), ..plain },
            "granite-embed-multi-97m" => Self { pattern: Some(GPT4O), ignore_merges: true, ..plain },
            "granite-embed-multi-311m" => Self { pattern: None, add_bos: true, marks: true, ..plain },
            "tekken" => Self { pattern: Some(TEKKEN), ignore_merges: true, add_bos: true, ..plain },
            "default" => {
                tracing::warn!(
                    "{}: key `{KEY}`: the file does not say how to cut text; as GPT-2 does",
                    metadata.file()
                );
                plain
            }
            other => {
                return Err(Error::Unsupported {
                    place: format!("key `{KEY}`"),
                    found: quote(other),
                    supported: "gpt-2, roberta-bpe, modern-bert, jina-v1-en, jina-v2-code, jina-v2-de, jina-v2-es, qwen2, \
                        llama-bpe, jina-v5-nano, gpt-4o, tekken, granite-embed-multi-97m, granite-embed-multi-311m",
                });
            }
        })
    }
}

/// Models `gpt2` and `whitespace`.
pub(super) fn bpe(metadata: Metadata<'_>, whitespace: bool) -> Result<Tokenizer, Error> {
    let tokens = Tokens::read(metadata)?;
    let merges: Vec<&str> = metadata.require_strings("tokenizer.ggml.merges")?.iter().collect();
    let pairs = merges.iter().enumerate().map(|(i, merge)| {
        let (at, _) = merge.char_indices().skip(1).find(|(_, c)| *c == ' ')?;
        Some((i, &merge[..at], &merge[at + 1..])).filter(|(_, _, right)| !right.is_empty())
    });
    if let Some(i) = pairs.clone().position(|pair| Option::is_none(&pair)) {
        let place = format!("{MERGES}[{i}]");
        return Err(Error::unexpected(place, "two tokens with a space between them", quote(merges[i])));
    }
    let pairs = pairs.flatten().map(|(_, left, right)| (left, right));

    let bos = tokens.special(&["bos_token_id", "cls_token_id"], &["<s>", "[CLS]"])?;
    let eos = tokens.special(&["eos_token_id"], &["</s>", "[SEP]"])?;
    let unknown = tokens.by_key(&["unknown_token_id"])?;
    let sep = tokens.by_key(&["seperator_token_id", "separator_token_id"])?.or(eos);
    let pad = tokens.by_key(&["padding_token_id"])?;
    let mask = tokens.special(&["mask_token_id"], &["<mask>", "[MASK]"])?;
    let mut named: Vec<u32> = [bos, eos, sep, pad].into_iter().flatten().collect();
    named.sort_unstable();
    let control = |id: u32| match tokens.type_of(id) {
        Some(kind) => matches!(kind, CONTROL | UNKNOWN),
        None => false,
    };
    let vocabulary = tokens.vocabulary(control)?;

    let pre = if whitespace {
        Pre { pattern: None, nfc: false, ignore_merges: false, add_bos: false, add_sep: false, marks: false }
    } else {
        Pre::new(metadata)?
    };
    let encoder = tokens.is_encoder()?;
    let mut before = tokens.wanted("add_bos_token", pre.add_bos || encoder, bos)?;
    let mut after = tokens.wanted("add_eos_token", encoder, eos.or(sep))?;
    if pre.marks && before.is_empty() {
        before.extend(bos); // the format's own loader insists on it whatever the flag says
    }
    if let Some(end) = end_of_text(&tokens)? {
        after = vec![end];
    }
    let separated = tokens.flag("add_sep_token", pre.add_sep)? && tokens.architecture()? != "modern-bert";
    let between = if separated { sep } else { None };

    let mut normalizer = vec![];
    if pre.nfc {
        normalizer.push(normalize::Step::Crate(Box::new(NFC.into())));
    }
    if pre.marks {
        normalizer.push(normalize::Step::Replace(" ".to_owned(), MARK.to_string()));
    }
    let mut words = vec![];
    if whitespace {
        if tokens.flag("normalizer.lowercase", false)? {
            normalizer.push(normalize::Step::Crate(Box::new(Lowercase.into())));
        }
        words.push(words::Step::Whitespace);
    }
    if let Some(pattern) = pre.pattern {
        let pattern = Pattern::new(pattern, "key `tokenizer.ggml.pre`")?;
        words.push(words::Step::Pattern { pattern, behavior: Behavior::Isolated, invert: false });
    }
    // Control tokens are no tokens of the model where the file says which they are.
    let whole = pre.ignore_merges.then(|| named.clone());
    let (kind, model, text) = if whitespace || pre.marks {
        let bytes = byte_tokens(&vocabulary);
        let bytes = bytes.iter().all(Option::is_some).then_some(bytes);
        let characters = Characters { bytes, unknown, fuse: true };
        let model = Bpe::characters(&vocabulary, pairs, characters, whole, MERGES)?;
        let kind = if pre.marks { Kind::SentencePieceBpe } else { Kind::Bpe };
        let text = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]});
        (kind, model, pre.marks.then_some(text))
    } else {
        let text = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        (Kind::ByteLevelBpe, Bpe::bytes(&vocabulary, pairs, None, whole, MERGES)?, Some(text))
    };
    Family {
        kind,
        added: tokens.added(&vocabulary, &named, mask),
        normalizer,
        words,
        model: Model::Bpe(model),
        template: Template::with_separator(before, after, between),
        decoder: text.map(decoder).transpose()?,
        unknown,
        model_max_length: None,
        place: ADDED,
        vocabulary,
    }
    .build()
}

const MERGES: &str = "key `tokenizer.ggml.merges`";

/// `<|endoftext|>` for embedders of the Qwen family, whose vector is that of this very token; early files do not say so or name
/// another.
fn end_of_text(tokens: &Tokens<'_>) -> Result<Option<u32>, Error> {
    let architecture = tokens.architecture()?;
    if !matches!(architecture, "qwen2" | "qwen3") {
        return Ok(None);
    }
    let last = tokens.metadata.u32(&format!("{architecture}.pooling_type"))? == Some(LAST);
    let id = || tokens.stored.iter().position(|token| *token == "<|endoftext|>").map(|id| id as u32);
    Ok(if last { id() } else { None })
}
