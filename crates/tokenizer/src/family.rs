//! The parts of a tokenizer of any family that runs on the general pipeline, wherever they were read.

use tokenizers::{AddedToken, DecoderWrapper};

use crate::error::Error;
use crate::normalize;
use crate::pipeline::{Model, Pipeline};
use crate::template::Template;
use crate::tokenizer::{Engine, Kind, Parts, Tokenizer};
use crate::vocabulary::Vocabulary;
use crate::words;

/// Everything that such a tokenizer is made of.
pub(crate) struct Family {
    pub(crate) kind: Kind,
    pub(crate) vocabulary: Vocabulary,
    /// Tokens that are matched in the text before it is cut into words.
    pub(crate) added: Vec<AddedToken>,
    pub(crate) normalizer: Vec<normalize::Step>,
    pub(crate) words: Vec<words::Step>,
    pub(crate) model: Model,
    pub(crate) template: Template,
    pub(crate) decoder: Option<DecoderWrapper>,
    /// The token for what no other stands for.
    pub(crate) unknown: Option<u32>,
    pub(crate) model_max_length: Option<usize>,
    /// The document or key that is named when something does not fit.
    pub(crate) place: &'static str,
}

impl Family {
    /// Checks that the parts fit together and makes a tokenizer of them.
    pub(crate) fn build(self) -> Result<Tokenizer, Error> {
        let Self { kind, vocabulary, added, normalizer, words, model, template, decoder, place, .. } = self;
        let (unknown, model_max_length) = (self.unknown, self.model_max_length);
        template.check(&vocabulary)?;
        let named = added.iter().filter(|token| token.special).filter_map(|token| vocabulary.id(&token.content));
        let mut special: Vec<u32> = named.chain(template.before.iter().chain(&template.after).copied()).collect();
        special.sort_unstable();
        let pipeline = Pipeline::new(normalizer, words, model, &added, &vocabulary, place)?;
        let engine = Engine::Pipeline(Box::new(pipeline));
        Ok(Tokenizer::from_parts(Parts {
            kind,
            vocabulary,
            engine,
            template,
            decoder,
            unknown,
            special,
            model_max_length,
            truncation: None,
        }))
    }
}

/// A decoder of the `tokenizers` crate by its description.
pub(crate) fn decoder(description: serde_json::Value) -> Result<DecoderWrapper, Error> {
    serde_json::from_value(description)
        .map_err(|e| Error::Component { place: "decoder".to_owned(), message: e.to_string().replace('\n', " ") })
}
