//! The tokenizer itself.

use std::fmt;
use std::path::Path;

use docent_gguf::Metadata;
use tokenizers::Decoder;

use crate::added::Specials;
use crate::bpe;
use crate::encoding::{Collector, Encoding, TruncationSide, Window};
use crate::error::Error;
use crate::pipeline::Pipeline;
use crate::template::Template;
use crate::vocabulary::Vocabulary;
use crate::wordpiece::Encoder;
use crate::{directory, gguf, json};

/// The family of a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Longest pieces from the left, continued by `##`: BERT and its descendants.
    WordPiece,
    /// The most probable cut by a unigram model: XLM-RoBERTa and its descendants (`t5` in GGUF).
    Unigram,
    /// Byte-pair encoding over characters, with spaces as `▁` and bytes for what has no token: Gemma, Llama 2, Mistral
    /// (`llama` in GGUF).
    SentencePieceBpe,
    /// Byte-pair encoding over bytes: GPT-2, RoBERTa, ModernBERT, Llama 3, Qwen (`gpt2` in GGUF).
    ByteLevelBpe,
    /// Byte-pair encoding over the characters of words between spaces: jina-embeddings-v2-base-zh (`whitespace` in GGUF).
    Bpe,
}

impl Kind {
    /// The token type of the second text of a pair, where nothing else says it.
    pub(crate) fn second_type(self) -> u32 {
        u32::from(self == Self::WordPiece)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WordPiece => "WordPiece",
            Self::Unigram => "Unigram",
            Self::SentencePieceBpe => "SentencePiece BPE",
            Self::ByteLevelBpe => "byte-level BPE",
            Self::Bpe => "BPE",
        })
    }
}

/// Turns text into the token ids of a model, and back.
///
/// Immutable once built, `Send` and `Sync`: share one by reference or in an `Arc`. A text is encoded on the calling thread; no
/// threads are started and no environment variable is read.
pub struct Tokenizer {
    pub(crate) parts: Parts,
}

/// What a tokenizer is made of, whatever its family.
pub(crate) struct Parts {
    pub(crate) kind: Kind,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) engine: Engine,
    pub(crate) template: Template,
    pub(crate) decoder: Option<tokenizers::DecoderWrapper>,
    /// The token for what no other stands for.
    pub(crate) unknown: Option<u32>,
    /// Ids that decoding leaves out, ascending.
    pub(crate) special: Vec<u32>,
    pub(crate) model_max_length: Option<usize>,
    /// Where a `tokenizer.json` would have texts cut.
    pub(crate) truncation: Option<(usize, TruncationSide)>,
}

/// What turns a text into ids.
pub(crate) enum Engine {
    /// WordPiece over BERT's words, in this crate.
    WordPiece(Box<Encoder>),
    /// Any family, in general steps.
    Pipeline(Box<Pipeline>),
}

impl Tokenizer {
    pub(crate) const SUPPORTED_GGUF: &str =
        "bert, t5, llama, gpt2, whitespace, or a whole tokenizer.json under `tokenizer.huggingface.json`";
    pub(crate) const SUPPORTED_JSON: &str = "WordPiece, Unigram, BPE";

    pub(crate) fn from_parts(parts: Parts) -> Self {
        Self { parts }
    }

    /// Reads the tokenizer of a GGUF file from its metadata.
    ///
    /// The key `tokenizer.huggingface.json` is used where present, else `tokenizer.ggml.model` names the family:
    ///
    /// - `bert`: the vocabulary is turned back into BERT's own, and the text is normalised as `normalizer.lowercase` and
    ///   `.strip_accents` say; files without these keys, which are most, are taken for lower-casing unless more than one in a
    ///   hundred tokens has a capital letter. The other settings are BERT's, for the format has no place for them.
    /// - `t5`: Unigram. Models of BERT's architectures get `<s>` and `</s>` unless the flags say no, and spaces are treated as
    ///   XLM-RoBERTa does also where `add_space_prefix` and `remove_extra_whitespaces` are both false, which converters
    ///   write from unrelated settings.
    /// - `llama`: SentencePiece BPE by scores.
    /// - `gpt2`: byte-level BPE by merges; `pre` names how text is cut, with Qwen and ModernBERT after composition (NFC). One that is
    ///   not known is an error; `default` is read as GPT-2's, with a warning.
    /// - `whitespace`: BPE over the characters of words between spaces.
    ///
    /// Embedders of the Qwen family (`pooling_type` last) end with `<|endoftext|>` whatever the flags say.
    ///
    /// # Errors
    ///
    /// No tokenizer or one of another family, a missing or misshapen key, an empty or contradictory vocabulary, merges of
    /// unknown tokens, scores that are not finite, normalisation rules that are corrupt.
    pub fn from_gguf(metadata: Metadata<'_>) -> Result<Self, Error> {
        gguf::build(metadata)
    }

    /// Reads a `tokenizer.json`. Its `truncation` and `padding` are ignored: they are settings of a program, not of a model.
    ///
    /// # Errors
    ///
    /// Not JSON, a part that is missing or misshapen (the error has its path), a model of another family, a normaliser,
    /// splitter, post-processor or decoder that is not supported.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        json::build(&json::parse(bytes)?, None)
    }

    /// Reads the tokenizer of a Hugging Face model directory: `tokenizer.json`, or else the older `vocab.txt`.
    ///
    /// `tokenizer_config.json`, where present, gives [`model_max_length`](Self::model_max_length), and its `do_lower_case`,
    /// `strip_accents` and `tokenize_chinese_chars` overrule `tokenizer.json`, as they do in the `transformers` library.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), with the file; files that cannot be read.
    pub fn from_directory(dir: &Path) -> Result<Self, Error> {
        directory::build(dir)
    }

    /// The same with the [`model_max_length`](Self::model_max_length) that the `tokenizer_config.json` of a directory gives, if there is one.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or says something else than a number.
    pub fn limited_as_in(mut self, dir: &Path) -> Result<Self, Error> {
        self.parts.model_max_length = directory::model_max_length(dir)?;
        Ok(self)
    }

    /// The same without special tokens around texts: those of models that look up each token by itself.
    #[must_use]
    pub fn without_special_tokens(mut self) -> Self {
        self.parts.template = Template::default();
        self
    }

    /// Tokenizes a text, with the special tokens that the model wants around it.
    ///
    /// The text is neither truncated nor padded. An empty text gives the special tokens alone. A special token that occurs in
    /// the text, such as `[SEP]` spelt out, becomes that token, as in the Hugging Face libraries.
    ///
    /// # Errors
    ///
    /// None that a text could cause: only parts of a `tokenizer.json` that the `tokenizers` crate runs might report one.
    pub fn encode(&self, text: &str) -> Result<Encoding, Error> {
        self.whole(text, Window::All, true)
    }

    /// Tokenizes a text and keeps at most `max_tokens` tokens, special tokens included; these are always kept.
    ///
    /// Tokens are taken from one end of what [`encode`](Self::encode) gives between the special tokens, and
    /// [`Encoding::dropped`] says how many. The text is still read to its end, for only so is that number exact; memory
    /// beyond the result is bounded.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if the special tokens alone are more than `max_tokens`.
    pub fn encode_truncated(&self, text: &str, max_tokens: usize, side: TruncationSide) -> Result<Encoding, Error> {
        self.whole(text, self.window(max_tokens, side)?, true)
    }

    /// The ids of [`encode`](Self::encode), without the work for offsets.
    ///
    /// # Errors
    ///
    /// As `encode`.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.whole(text, Window::All, false)?.ids)
    }

    /// The ids of [`encode_truncated`](Self::encode_truncated) and the number of tokens dropped, without the work for offsets.
    ///
    /// # Errors
    ///
    /// As `encode_truncated`.
    pub fn ids_truncated(
        &self,
        text: &str,
        max_tokens: usize,
        side: TruncationSide,
    ) -> Result<(Vec<u32>, usize), Error> {
        let encoding = self.whole(text, self.window(max_tokens, side)?, false)?;
        Ok((encoding.ids, encoding.dropped))
    }

    fn window(&self, max_tokens: usize, side: TruncationSide) -> Result<Window, Error> {
        let special_tokens = self.special_token_count();
        let room = max_tokens.checked_sub(special_tokens).ok_or(Error::NoRoom { max_tokens, special_tokens })?;
        Ok(match side {
            TruncationSide::Right => Window::First(room),
            TruncationSide::Left => Window::Last(room),
        })
    }

    /// A text with the special tokens around it.
    fn whole(&self, text: &str, window: Window, with_offsets: bool) -> Result<Encoding, Error> {
        let Template { before, after, .. } = &self.parts.template;
        Ok(self.run(text, window, with_offsets, Specials::Everywhere)?.finish(before, after))
    }

    /// A text by itself.
    pub(crate) fn run(
        &self,
        text: &str,
        window: Window,
        with_offsets: bool,
        specials: Specials<'_>,
    ) -> Result<Collector, Error> {
        let Parts { engine, vocabulary, .. } = &self.parts;
        let mut collector = Collector::new(window, with_offsets, text.len());
        match engine {
            Engine::WordPiece(encoder) => encoder.encode(text, vocabulary, specials, &mut collector),
            Engine::Pipeline(pipeline) => pipeline.encode(text, vocabulary, specials, &mut collector)?,
        }
        Ok(collector)
    }

    /// The text that ids stand for, as far as it can be told: special tokens are left out, and what normalisation removed
    /// (case, accents, the exact spaces) stays lost.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownId`] for an id that no token has.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.decode_tokens(ids, true)
    }

    /// The same, with special tokens written as the vocabulary has them (`[CLS]`).
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_with_special_tokens(&self, ids: &[u32]) -> Result<String, Error> {
        self.decode_tokens(ids, false)
    }

    fn decode_tokens(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        let Parts { vocabulary, decoder, .. } = &self.parts;
        let mut tokens = Vec::with_capacity(ids.len());
        for &id in ids {
            let token = vocabulary.token(id).ok_or(Error::UnknownId { id, vocab_size: vocabulary.len() })?;
            if !(skip_special && self.is_special(id)) {
                tokens.push(token.to_owned());
            }
        }
        match decoder {
            None => Ok(tokens.join(" ")),
            Some(decoder) => decoder
                .decode(tokens)
                .map_err(|e| Error::Component { place: "decoder".to_owned(), message: e.to_string() }),
        }
    }

    /// Whether this is the id of a special token, one that stands for no text: `[CLS]`, `</s>`.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.parts.special.binary_search(&id).is_ok()
    }

    /// The token with this id, as the vocabulary has it (`##ing`).
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.parts.vocabulary.token(id).map(str::to_owned)
    }

    /// The bytes that a token adds to the text that it stands in, which may be a part of a character; for language models, whose
    /// tokens make up a text byte by byte.
    ///
    /// `None` for special tokens, ids without a token, and the families whose tokens do not: [`Kind::WordPiece`], [`Kind::Unigram`],
    /// [`Kind::Bpe`].
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        let Parts { kind, vocabulary, .. } = &self.parts;
        let token = vocabulary.token(id).filter(|_| !self.is_special(id))?;
        let as_written = || token.as_bytes().to_vec();
        let is_added = vocabulary.model_id(token) != Some(id);
        match kind {
            Kind::ByteLevelBpe | Kind::SentencePieceBpe if is_added => Some(as_written()),
            // A token that does not keep to the alphabet was added by a file that does not tell so.
            Kind::ByteLevelBpe => Some(bpe::spelt(token).unwrap_or_else(as_written)),
            Kind::SentencePieceBpe => Some(match byte_of(token) {
                Some(byte) => vec![byte],
                None => token.replace('\u{2581}', " ").into_bytes(),
            }),
            Kind::WordPiece | Kind::Unigram | Kind::Bpe => None,
        }
    }

    /// The id of a token, as the vocabulary has it.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.parts.vocabulary.id(token)
    }

    /// The token that stands for what no other token does, if the vocabulary has one.
    #[must_use]
    pub fn unknown_id(&self) -> Option<u32> {
        self.parts.unknown
    }

    /// The length that the `truncation` of a `tokenizer.json` cuts texts to, and where. Encoding does not heed it: it is a setting of a program, which was in use
    /// when the file was saved. Of models whose library runs the file as it is, it is a setting of the model.
    #[must_use]
    pub fn truncation(&self) -> Option<(usize, TruncationSide)> {
        self.parts.truncation
    }

    /// One more than the highest id. A model must have at least so many rows of embeddings.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.parts.vocabulary.len()
    }

    /// The family.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.parts.kind
    }

    /// How many special tokens every text gets around it.
    #[must_use]
    pub fn special_token_count(&self) -> usize {
        self.parts.template.len()
    }

    /// The longest input, in tokens, that `tokenizer_config.json` allows. `None` where it has no limit or there is no such
    /// file; a GGUF file keeps this number with the model (`*.context_length`), not with the tokenizer.
    #[must_use]
    pub fn model_max_length(&self) -> Option<usize> {
        self.parts.model_max_length
    }
}

/// The byte of a token such as `<0x0A>`.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("kind", &self.kind())
            .field("vocab_size", &self.vocab_size())
            .field("special_token_count", &self.special_token_count())
            .finish_non_exhaustive()
    }
}
