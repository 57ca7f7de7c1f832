//! What can go wrong.

use docent_models::BatchError;

use crate::{hub, model_ref};

/// Why a model cannot be opened or a text not be embedded. Every variant prints as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names no model.
    #[error(transparent)]
    ModelRef(#[from] model_ref::ParseError),
    /// The model cannot be had.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The model's files cannot be used.
    #[error(transparent)]
    Model(#[from] docent_models::Error),
    /// The model is known to be of a kind that makes no embeddings.
    #[error("{name} is a {kind}, not an embedding model")]
    NotAnEmbedder {
        /// The model.
        name: String,
        /// What it is instead.
        kind: String,
    },
    /// More components are asked for than the model's vectors have, or none.
    #[error("cannot cut vectors to {dim} components: the model {model} makes {most}, ask for 1 to {most}")]
    Dim {
        /// What was asked for.
        dim: usize,
        /// The model.
        model: String,
        /// The components of its vectors.
        most: usize,
    },
    /// A prompt of the model's is asked for by a name that none of them has.
    #[error("{model} has no prompt `{name}`{}", others(known))]
    PromptName {
        /// What was asked for.
        name: String,
        /// The model.
        model: String,
        /// The names of its prompts.
        known: Vec<String>,
    },
    /// The model is of a kind that scores no pairs.
    #[error("{name} is {found}, not a reranker")]
    NotAReranker {
        /// The model.
        name: String,
        /// What it is instead, or what it lacks.
        found: String,
    },
    /// The model is of a kind that writes no expansions.
    #[error("{name} is {found}, not a query expander")]
    NotAnExpander {
        /// The model.
        name: String,
        /// What it is instead, or what it lacks.
        found: String,
    },
    /// The model computed NaN or infinity for a token: its weights are damaged.
    #[error("the logits of {model} are not finite numbers; its weights are damaged, run `docent check`")]
    LogitsNotFinite {
        /// The model.
        model: String,
    },
    /// The model reads no instruction, and one was given.
    #[error("the model {model} takes no instruction")]
    NoInstruction {
        /// The model.
        model: String,
    },
    /// A query that leaves too little room for a document.
    #[error(
        "the query and the prompt take {tokens} of {max_length} tokens; shorten the query to {most} with the prompt"
    )]
    QueryTooLong {
        /// Tokens of query and prompt.
        tokens: usize,
        /// The tokens allowed for query and document together.
        max_length: usize,
        /// Tokens that they may take: all but one, or where documents are read in windows three quarters.
        most: usize,
    },
    /// A query cannot be tokenized.
    #[error("the query cannot be tokenized: {source}")]
    TokenizeQuery {
        /// Why.
        source: docent_tokenizer::Error,
    },
    /// The model computed NaN or infinity for a document: its weights are damaged.
    #[error(
        "the score of document {index} is not a finite number; the weights of {model} are damaged, run `docent check`"
    )]
    ScoreNotFinite {
        /// Its place in the call.
        index: usize,
        /// The model.
        model: String,
    },
    /// A length that the model cannot have, or that leaves no room for the special tokens.
    #[error("a maximum length of {max_length} tokens is out of range: the model {model} takes {least} to {most}")]
    MaxLength {
        /// What was asked for.
        max_length: usize,
        /// The model.
        model: String,
        /// The least that leaves room for a token besides the special ones.
        least: usize,
        /// The model's positions.
        most: usize,
    },
    /// A text is too long and must not be cut.
    #[error("text {index} has {tokens} tokens, more than the {max_length} allowed; shorten it or allow truncation")]
    TooLong {
        /// Its place in the call.
        index: usize,
        /// Its tokens, special tokens and prompt included.
        tokens: usize,
        /// The tokens allowed.
        max_length: usize,
    },
    /// A text cannot be tokenized.
    #[error("text {index} cannot be tokenized: {source}")]
    Tokenize {
        /// Its place in the call.
        index: usize,
        /// Why.
        source: docent_tokenizer::Error,
    },
    /// A sequence of token ids without any.
    #[error("text {index} has no tokens; give a text, or at least one token id")]
    NoTokens {
        /// Its place in the call.
        index: usize,
    },
    /// A token id that the model has no embedding for.
    #[error(
        "text {index} has the token id {id}, but {model} has {vocabulary} tokens; give text, or ids of this model's tokenizer"
    )]
    TokenId {
        /// The place of its text in the call.
        index: usize,
        /// The id.
        id: u32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
        /// The model.
        model: String,
    },
    /// The model computed NaN or infinity for a text: its weights are damaged.
    #[error(
        "the vector of text {index} has components that are not finite; the weights of {model} are damaged, run `docent check`"
    )]
    NotFinite {
        /// Its place in the call.
        index: usize,
        /// The model.
        model: String,
    },
    /// The model and its tokenizer do not go together.
    #[error("the model cannot run what its tokenizer made: {0}")]
    Batch(#[from] BatchError),
}

/// What prompts there are instead, for a message.
fn others(known: &[String]) -> String {
    if known.is_empty() { ": it has none".to_owned() } else { format!(", but {}", known.join(", ")) }
}

impl Error {
    /// The place in the call of the text or document that the error is about, if it is about one.
    pub fn index(&self) -> Option<usize> {
        match self {
            Error::TooLong { index, .. }
            | Error::Tokenize { index, .. }
            | Error::NoTokens { index }
            | Error::TokenId { index, .. }
            | Error::NotFinite { index, .. }
            | Error::ScoreNotFinite { index, .. } => Some(*index),
            _ => None,
        }
    }

    /// The same error about the text or document at another place: that in a larger whole, of which the call was a part.
    #[must_use]
    pub fn at(mut self, place: usize) -> Self {
        match &mut self {
            Error::TooLong { index, .. }
            | Error::Tokenize { index, .. }
            | Error::NoTokens { index }
            | Error::TokenId { index, .. }
            | Error::NotFinite { index, .. }
            | Error::ScoreNotFinite { index, .. } => *index = place,
            _ => {}
        }
        self
    }
}
