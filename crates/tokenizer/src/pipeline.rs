//! Normalising and splitting by the `tokenizers` crate, the reference implementation.

use std::cell::RefCell;

use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper, OffsetType, PreTokenizer, PreTokenizerWrapper, Token};

use crate::encoding::Collector;
use crate::error::{Error, quote};
use crate::vocabulary::Vocabulary;

/// Added tokens, normaliser and splitter of the crate; what becomes of the words is the caller's business, because the
/// crate's WordPiece takes half a minute over a megabyte of unknown words of 100 characters. Special tokens around the text, truncation and padding are not its
/// business, and one text is encoded on the thread that asks.
pub(crate) struct Pipeline {
    tokenizer: tokenizers::Tokenizer,
}

impl Pipeline {
    /// Puts the parts together. `added` must all be in the vocabulary, and the crate must come to the same ids.
    pub(crate) fn new(
        model: ModelWrapper,
        normalizer: Option<NormalizerWrapper>,
        pre_tokenizer: Option<PreTokenizerWrapper>,
        added: &[AddedToken],
        vocabulary: &Vocabulary,
    ) -> Result<Self, Error> {
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_normalizer(normalizer).map_err(|e| component("normalizer", &e))?;
        tokenizer.with_pre_tokenizer(pre_tokenizer);
        // The crate numbers tokens that the model lacks in the order in which they come.
        let mut added = added.to_vec();
        added.sort_by_key(|token| vocabulary.id(&token.content));
        tokenizer.add_tokens(added.iter().cloned()).map_err(|e| component("added_tokens", &e))?;
        for token in &added {
            let (expected, found) = (vocabulary.id(&token.content), tokenizer.token_to_id(&token.content));
            if expected != found && !token.content.is_empty() {
                let show = |id: Option<u32>| id.map_or("none".to_owned(), |id| id.to_string());
                let expected =
                    format!("id {} for {}, the next after the vocabulary", show(found), quote(&token.content));
                return Err(Error::unexpected("added_tokens", expected, show(vocabulary.id(&token.content))));
            }
        }
        Ok(Self { tokenizer })
    }

    /// Gives the tokens of `text`, without special tokens around them, to `out`. `cut` gives those of a word, never empty,
    /// with their offsets in it.
    pub(crate) fn encode(
        &self,
        text: &str,
        out: &mut Collector,
        cut: impl FnMut(&str) -> Vec<Token>,
    ) -> Result<(), Error> {
        let failed = |e: tokenizers::Error| component("text", &e);
        let normalizer = self.tokenizer.get_normalizer();
        let mut words = self.tokenizer.get_added_vocabulary().extract_and_normalize(normalizer, text);
        if let Some(pre_tokenizer) = self.tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words).map_err(failed)?;
        }
        // The crate wants a shared closure, and ours keeps a buffer.
        let cut = RefCell::new(cut);
        words.tokenize(|word| Ok((cut.borrow_mut())(word.get()))).map_err(failed)?;
        let offsets = if out.with_offsets() { OffsetType::Byte } else { OffsetType::None };
        let encoding = words.into_encoding(None, 0, offsets).map_err(failed)?;
        for (&id, &offsets) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            out.push(id, offsets);
        }
        Ok(())
    }
}

fn component(place: &str, error: &tokenizers::Error) -> Error {
    Error::Component { place: place.to_owned(), message: error.to_string().replace('\n', " ") }
}
