//! Text to token ids, from GGUF metadata or `tokenizer.json`.
//!
//! A model does not read text but numbers, one for each piece of a word, and its vectors are right only if the pieces are
//! exactly those it was trained on. A [`Tokenizer`] is built once, from the file of the model, and shared:
//!
//! ```
//! use docent_tokenizer::{Tokenizer, TruncationSide};
//!
//! let tokenizer = Tokenizer::from_json(br###"{
//!   "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
//!                  "strip_accents": null, "lowercase": true},
//!   "pre_tokenizer": {"type": "BertPreTokenizer"},
//!   "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
//!   "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
//!   "model": {"type": "WordPiece", "vocab":
//!     {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "cafe": 3, "late": 4, "##s": 5, "!": 6}}
//! }"###)?;
//!
//! let encoding = tokenizer.encode("Cafés, late!")?;
//! assert_eq!(encoding.ids, [1, 3, 5, 0, 4, 6, 2]); // [CLS] cafe ##s [UNK] late ! [SEP]
//! assert_eq!(encoding.offsets[1], (0, 5)); // bytes of "Café"
//!
//! let start = tokenizer.encode_truncated("Cafés, late!", 4, TruncationSide::Right)?;
//! assert_eq!((start.ids, start.dropped), (vec![1, 3, 5, 2], 3));
//!
//! assert_eq!(tokenizer.decode(&[1, 3, 5, 6, 2])?, "cafes!");
//! # Ok::<(), docent_tokenizer::Error>(())
//! ```
//!
//! # Texts, pairs, prompts
//!
//! [`encode`](Tokenizer::encode) gives a text with the special tokens that the model wants around it,
//! [`encode_pair`](Tokenizer::encode_pair) a query and a document in the form of the model's family, and
//! [`encode_parts`](Tokenizer::encode_parts) a prompt put together of templates and of texts, in which nothing that is spelt out
//! becomes a control token.
//!
//! # What is where
//!
//! Three readers, one for each place where tokenizers are kept (`gguf`, `json`, `directory`), turn a file into the plain parts
//! of a family: a vocabulary, settings, and the special tokens that go around a text. A text then goes through the
//! `pipeline`: added tokens are taken out (`added`), the rest is normalised (`normalize`, `charsmap`) and cut into words
//! (`words`, `pattern`), and a model cuts these into tokens:
//!
//! | family | model | in GGUF | in `tokenizer.json` |
//! |---|---|---|---|
//! | WordPiece: BERT | `wordpiece` | `bert` | `WordPiece` |
//! | Unigram: XLM-RoBERTa | `unigram` over a `trie` | `t5` | `Unigram` |
//! | SentencePiece BPE: Gemma, Llama 2, Mistral | `sentencepiece` by scores, `bpe` by merges | `llama` | `BPE` with byte fallback |
//! | byte-level BPE: GPT-2, RoBERTa, ModernBERT, Llama 3, Qwen | `bpe` | `gpt2` | `BPE` with `ByteLevel` |
//!
//! The reference for every family is the [`tokenizers`] crate of Hugging Face, with which the models were trained. It does the rarer
//! steps; all that grows with a text is done here, because the crate goes back and forth over long runs of spaces and copies
//! every word. The tests compare the two on arbitrary text. BERT's own combination of parts runs in one pass (`bert`).
//!
//! # What can be relied on
//!
//! - Nothing in a file or a text makes this crate panic. Files are checked before use, and of the components of a
//!   `tokenizer.json` only those are accepted that have no settings which could break the reference implementation.
//! - Time and memory grow with the length of the text, whatever is in it; a word of n characters takes n log n steps.
//! - [`Encoding::offsets`] are byte positions in the text as it was given, in order and on character boundaries.
//! - Truncation is counted, never silent, and padding does not exist.
//! - Special tokens spelt out in a text become the tokens themselves with `encode` and `encode_pair`, because that is what the
//!   models' own libraries do, and never with `encode_text` and in the texts of a prompt.
//!
//! Where llama.cpp and Hugging Face differ, Hugging Face is followed: llama.cpp keeps only the first part of a character that
//! decomposes, so that Korean text gets other ids with uncased models, and has no limit of 100 characters for a word; it does
//! not compose text for Qwen. Where Hugging Face's Unigram would make a control token of text that only looks like one after
//! normalisation (`＜ｓ＞`), none is made here.

mod added;
mod bert;
mod bpe;
mod chars;
mod charsmap;
mod directory;
mod encoding;
mod error;
mod family;
mod gguf;
mod json;
mod merge;
mod normalize;
mod pair;
mod pattern;
mod pipeline;
mod prompt;
mod sentencepiece;
mod template;
mod text;
mod tokenizer;
mod trie;
mod unigram;
mod vocabulary;
mod wordpiece;
mod words;

pub use encoding::{Encoding, TruncationSide};
pub use error::Error;
pub use pair::PairEncoding;
pub use prompt::Part;
pub use tokenizer::{Kind, Tokenizer};
