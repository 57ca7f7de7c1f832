//! The bodies of Docent's own dialect.

use docent::{EmbedOptions, Embedding, LongDocuments, Pooling, Prompt, RankedDocument, RerankOptions, Score, Truncate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::failure::Failure;
use crate::floats::{from_base64, to_base64};

/// The body of `POST /docent/embed`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmbedRequest {
    /// The model's name; none for the server's first embedder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The texts; none to ask about the model and check the options.
    pub texts: Vec<String>,
    /// The place of the first in a larger whole, by which messages count.
    #[serde(default)]
    pub first: usize,
    /// How.
    #[serde(default)]
    pub options: EmbedWireOptions,
}

/// [`EmbedOptions`] as they travel; what is left out is the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct EmbedWireOptions {
    /// What to put in front of each text.
    #[serde(default)]
    pub prompt: WirePrompt,
    /// `cls`, `mean`, `max`, `last` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<WirePooling>,
    /// Whether vectors keep the length they come out with.
    #[serde(default)]
    pub no_normalize: bool,
    /// Components to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// Tokens of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// What happens to a longer text.
    #[serde(default)]
    pub truncate: WireTruncate,
}

/// [`Prompt`] as it travels.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WirePrompt {
    /// The model's default.
    #[default]
    Default,
    /// Nothing.
    None,
    /// The model's prompt for queries.
    Query,
    /// The model's prompt for documents.
    Document,
    /// The model's prompt of this name.
    Named(String),
    /// This text.
    Text(String),
}

/// [`Pooling`] as it travels.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WirePooling {
    /// The first token's state.
    Cls,
    /// The mean.
    Mean,
    /// The largest values.
    Max,
    /// The last token's state.
    Last,
    /// A vector a token.
    None,
}

/// [`Truncate`] as it travels.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WireTruncate {
    /// The end is cut off.
    #[default]
    Right,
    /// The beginning is cut off.
    Left,
    /// It is an error.
    Error,
}

/// The answer of `POST /docent/embed`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EmbedAnswer {
    /// The model that embedded the texts.
    pub model: ModelAnswer,
    /// What became of each text.
    pub texts: Vec<TextAnswer>,
}

/// What a client has to know of the model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModelAnswer {
    /// The name in its files.
    pub name: String,
    /// Tokens that it reads unless told otherwise.
    pub max_length: usize,
    /// The pooling in force; none for a reranker.
    pub pooling: Option<String>,
    /// Components of a vector before it is cut; 0 for a reranker.
    pub whole_dim: usize,
    /// Whether the model has the prompt that was asked for; whether it reads an instruction, for a reranker.
    pub has_prompt: bool,
}

/// What became of a text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TextAnswer {
    /// Its vector, or without pooling the vectors of its tokens.
    Embedded {
        /// Little-endian `f32`s in base64, one vector after the other.
        vector: String,
        /// Components of a vector.
        dim: usize,
        /// Tokens that the model read.
        tokens: usize,
        /// Tokens that truncation removed.
        dropped: usize,
    },
    /// Why there is none.
    Failed {
        /// One line.
        error: String,
    },
}

/// The body of `POST /docent/rerank`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RerankRequest {
    /// The model's name; none for the server's first reranker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The query.
    pub query: String,
    /// The documents; none to check the query and the options.
    pub documents: Vec<String>,
    /// How.
    #[serde(default)]
    pub options: RerankWireOptions,
}

/// [`RerankOptions`] as they travel; what is left out is the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RerankWireOptions {
    /// What relevance means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Tokens of query and document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Whether long documents are read in windows.
    #[serde(default)]
    pub windows: bool,
    /// Whether scores are the model's own numbers.
    #[serde(default)]
    pub raw: bool,
    /// How many of the best to return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_n: Option<usize>,
}

/// The answer of `POST /docent/rerank`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RerankAnswer {
    /// The model that scored the documents.
    pub model: ModelAnswer,
    /// The documents, best first.
    pub documents: Vec<ScoredDocument>,
}

/// [`RankedDocument`] as it travels.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScoredDocument {
    /// Its place in the request.
    pub index: usize,
    /// How relevant it is.
    pub score: f32,
    /// The model's own number.
    pub raw: f32,
    /// What kind of number `score` is: `logit`, `sigmoid`, `probability`.
    pub kind: String,
    /// Tokens that the model read.
    pub tokens: usize,
    /// Tokens that truncation removed.
    pub dropped: usize,
}

/// An answer that no server of this version gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer has {0}; do its version and this one's differ?")]
pub struct BadAnswer(&'static str);

impl TextAnswer {
    pub(crate) fn of(item: &Result<Embedding, Failure>) -> Self {
        match item {
            Ok(embedding) => TextAnswer::Embedded {
                vector: to_base64(embedding.vector()),
                dim: embedding.dim(),
                tokens: embedding.tokens,
                dropped: embedding.dropped,
            },
            Err(failure) => TextAnswer::Failed { error: failure.message.clone() },
        }
    }

    /// The embedding, or why there is none.
    ///
    /// # Errors
    /// If the vector is no vector.
    pub fn embedding(&self) -> Result<Result<Embedding, String>, BadAnswer> {
        let (vector, dim, tokens, dropped) = match self {
            TextAnswer::Embedded { vector, dim, tokens, dropped } => (vector, *dim, *tokens, *dropped),
            TextAnswer::Failed { error } => return Ok(Err(error.clone())),
        };
        let values = from_base64(vector).ok_or(BadAnswer("a vector that is no base64 of floats"))?;
        if dim == 0 || values.len() % dim != 0 {
            return Err(BadAnswer("a vector of another length than it says"));
        }
        Ok(Ok(Embedding::new(values, dim, tokens, dropped)))
    }
}

impl ScoredDocument {
    /// The document as the library has it.
    ///
    /// # Errors
    /// If the kind of the score is not known.
    pub fn ranked(&self) -> Result<RankedDocument, BadAnswer> {
        let &ScoredDocument { index, score, raw, ref kind, tokens, dropped } = self;
        let kind = [Score::Logit, Score::Sigmoid, Score::Probability].into_iter().find(|known| known.name() == kind);
        let kind = kind.ok_or(BadAnswer("a kind of score that is not known"))?;
        Ok(RankedDocument { index, score, raw, kind, tokens, dropped })
    }
}

impl From<RankedDocument> for ScoredDocument {
    fn from(document: RankedDocument) -> Self {
        let RankedDocument { index, score, raw, kind, tokens, dropped } = document;
        ScoredDocument { index, score, raw, kind: kind.name().to_owned(), tokens, dropped }
    }
}

impl From<EmbedWireOptions> for EmbedOptions {
    fn from(wire: EmbedWireOptions) -> Self {
        let prompt = match wire.prompt {
            WirePrompt::Default => Prompt::Default,
            WirePrompt::None => Prompt::None,
            WirePrompt::Query => Prompt::Query,
            WirePrompt::Document => Prompt::Document,
            WirePrompt::Named(name) => Prompt::Named(name),
            WirePrompt::Text(text) => Prompt::Text(text),
        };
        let pooling = wire.pooling.map(|pooling| match pooling {
            WirePooling::Cls => Pooling::Cls,
            WirePooling::Mean => Pooling::Mean,
            WirePooling::Max => Pooling::Max,
            WirePooling::Last => Pooling::Last,
            WirePooling::None => Pooling::None,
        });
        let truncate = match wire.truncate {
            WireTruncate::Right => Truncate::Right,
            WireTruncate::Left => Truncate::Left,
            WireTruncate::Error => Truncate::Error,
        };
        let EmbedWireOptions { no_normalize, dim, max_length, .. } = wire;
        EmbedOptions { prompt, pooling, normalize: !no_normalize, dim, max_length, truncate }
    }
}

impl From<&EmbedOptions> for EmbedWireOptions {
    fn from(options: &EmbedOptions) -> Self {
        let prompt = match &options.prompt {
            Prompt::Default => WirePrompt::Default,
            Prompt::None => WirePrompt::None,
            Prompt::Query => WirePrompt::Query,
            Prompt::Document => WirePrompt::Document,
            Prompt::Named(name) => WirePrompt::Named(name.clone()),
            Prompt::Text(text) => WirePrompt::Text(text.clone()),
        };
        let pooling = options.pooling.map(|pooling| match pooling {
            Pooling::Cls => WirePooling::Cls,
            Pooling::Mean => WirePooling::Mean,
            Pooling::Max => WirePooling::Max,
            Pooling::Last => WirePooling::Last,
            Pooling::None => WirePooling::None,
        });
        let truncate = match options.truncate {
            Truncate::Right => WireTruncate::Right,
            Truncate::Left => WireTruncate::Left,
            Truncate::Error => WireTruncate::Error,
        };
        let (no_normalize, dim, max_length) = (!options.normalize, options.dim, options.max_length);
        EmbedWireOptions { prompt, pooling, no_normalize, dim, max_length, truncate }
    }
}

impl From<RerankWireOptions> for RerankOptions {
    fn from(wire: RerankWireOptions) -> Self {
        let RerankWireOptions { instruction, max_length, windows, raw, top_n } = wire;
        let long_documents = if windows { LongDocuments::Windows } else { LongDocuments::Truncate };
        RerankOptions { instruction, max_length, long_documents, raw, top_n }
    }
}

impl From<&RerankOptions> for RerankWireOptions {
    fn from(options: &RerankOptions) -> Self {
        let RerankOptions { instruction, max_length, long_documents, raw, top_n } = options.clone();
        RerankWireOptions { instruction, max_length, windows: long_documents == LongDocuments::Windows, raw, top_n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_travel_whole() {
        let sent = Embedding::new(vec![0.0, -0.0, 1.5e-42, f32::MIN_POSITIVE, -1.0 / 3.0, f32::MAX], 3, 7, 2);
        assert_eq!(TextAnswer::of(&Ok(sent.clone())).embedding().unwrap().unwrap(), sent);
    }

    #[test]
    fn options_travel_whole() {
        for options in [
            EmbedOptions::default(),
            EmbedOptions {
                prompt: Prompt::Text("query: ".to_owned()),
                pooling: Some(Pooling::None),
                normalize: false,
                dim: Some(3),
                max_length: Some(17),
                truncate: Truncate::Error,
            },
        ] {
            let text = serde_json::to_string(&EmbedWireOptions::from(&options)).unwrap();
            assert_eq!(EmbedOptions::from(serde_json::from_str::<EmbedWireOptions>(&text).unwrap()), options);
        }
        let options = RerankOptions {
            instruction: Some("find code".to_owned()),
            max_length: Some(99),
            long_documents: LongDocuments::Windows,
            raw: true,
            top_n: Some(2),
        };
        let text = serde_json::to_string(&RerankWireOptions::from(&options)).unwrap();
        assert_eq!(RerankOptions::from(serde_json::from_str::<RerankWireOptions>(&text).unwrap()), options);
    }

    #[test]
    fn an_answer_of_another_version_is_an_error() {
        let text = TextAnswer::Embedded { vector: "AACAPw==".to_owned(), dim: 2, tokens: 1, dropped: 0 };
        assert!(text.embedding().is_err());
        let document =
            ScoredDocument { index: 0, score: 0.5, raw: 0.0, kind: "stars".to_owned(), tokens: 1, dropped: 0 };
        assert!(document.ranked().is_err());
    }
}
