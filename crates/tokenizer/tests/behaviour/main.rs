//! What the tokenizer does, seen from outside.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod bytes;
mod directory;
mod gguf;
mod hugging_face;
mod invariants;
mod json;
mod llama_cpp;
mod long_texts;
mod models;
mod published;
mod vocabularies;
