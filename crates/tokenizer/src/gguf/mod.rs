//! The tokenizer in the metadata of a GGUF file (`tokenizer.ggml.*`, GGUF specification, "Tokenizer").

mod families;
mod keys;
mod wordpiece;

use docent_gguf::Metadata;

use crate::error::{Error, quote};
use crate::json;
use crate::tokenizer::Tokenizer;

pub(crate) fn build(metadata: Metadata<'_>) -> Result<Tokenizer, Error> {
    if let Some(document) = metadata.str("tokenizer.huggingface.json")? {
        let in_key = |e: Error| e.in_file(place(metadata, "tokenizer.huggingface.json"));
        return json::build(&json::parse(document.as_bytes()).map_err(in_key)?, None).map_err(in_key);
    }
    let built = match metadata.require_str("tokenizer.ggml.model")? {
        "bert" => wordpiece::word_piece(metadata),
        "t5" => families::unigram(metadata),
        "llama" => families::sentencepiece(metadata),
        "gpt2" => families::bpe(metadata, false),
        "whitespace" => families::bpe(metadata, true),
        other => {
            return Err(Error::Unsupported {
                place: place(metadata, "tokenizer.ggml.model"),
                found: quote(other),
                supported: Tokenizer::SUPPORTED_GGUF,
            });
        }
    };
    built.map_err(|e| match e {
        Error::Metadata(e) => Error::Metadata(e),
        e => e.in_file(metadata.file()),
    })
}

fn place(metadata: Metadata<'_>, key: &str) -> String {
    format!("{}: key `{key}`", metadata.file())
}

const TOKENS: &str = "key `tokenizer.ggml.tokens`";
