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
//! # What is where
//!
//! Three readers, one for each place where tokenizers are kept (`gguf`, `json`, `directory`), turn a file into the plain parts
//! of a family (`wordpiece`): a vocabulary, settings, and the special tokens that go around a text. A family checks that
//! its parts fit together and picks the engine. A new family is a file beside `wordpiece` and an arm in each reader.
//!
//! The reference for every family is the [`tokenizers`] crate of Hugging Face, with which the models were trained, and it does
//! the normalising and splitting in general. BERT's own combination of parts, which nearly all WordPiece models have, runs on an engine of this
//! crate that gives the same ids and offsets many times faster; the tests compare the two on arbitrary text.
//!
//! # What can be relied on
//!
//! - Nothing in a file or a text makes this crate panic. Files are checked before use, and of the components of a
//!   `tokenizer.json` only those are accepted that have no settings which could break the reference implementation.
//! - Time and memory grow with the length of the text, whatever is in it.
//! - [`Encoding::offsets`] are byte positions in the text as it was given, in order and on character boundaries.
//! - Truncation is counted, never silent, and padding does not exist.
//! - Special tokens spelt out in a text become the tokens themselves, because that is what the models' own libraries do. Whoever
//!   passes on text from strangers to a model for which that matters must look for them first.
//!
//! Where llama.cpp and Hugging Face differ, Hugging Face is followed: llama.cpp keeps only the first part of a character that
//! decomposes, so that Korean text gets other ids with uncased models, and has no limit of 100 characters for a word.

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
