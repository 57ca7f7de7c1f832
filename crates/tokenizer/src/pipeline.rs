//! Tokenizers that run on the `tokenizers` crate, the reference implementation.

use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use crate::encoding::Collector;
use crate::error::{Error, quote};
use crate::vocabulary::Vocabulary;

/// Normaliser, splitter and model of the crate. Special tokens around the text, truncation and padding are not its
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
        let component = |place: &str, e: tokenizers::Error| Error::Component {
            place: place.to_owned(),
            message: e.to_string().replace('\n', " "),
        };
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_normalizer(normalizer).map_err(|e| component("normalizer", e))?;
        tokenizer.with_pre_tokenizer(pre_tokenizer);
        // The crate numbers tokens that the model lacks in the order in which they come.
        let mut added = added.to_vec();
        added.sort_by_key(|token| vocabulary.id(&token.content));
        tokenizer.add_tokens(added.iter().cloned()).map_err(|e| component("added_tokens", e))?;
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

    /// Gives the tokens of `text`, without special tokens around them, to `out`.
    pub(crate) fn encode(&self, text: &str, out: &mut Collector) -> Result<(), Error> {
        let encoding = if out.with_offsets() {
            self.tokenizer.encode(text, false)
        } else {
            self.tokenizer.encode_fast(text, false)
        };
        let encoding = encoding
            .map_err(|e| Error::Component { place: "text".to_owned(), message: e.to_string().replace('\n', " ") })?;
        for (&id, &offsets) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            out.push(id, offsets);
        }
        Ok(())
    }
}
