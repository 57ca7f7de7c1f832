//! What a caller can ask for.

pub use docent_kernels::Pooling;

use crate::hub::Quant;

/// How a model is opened. The default is what most programs want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Threads to compute on, at most 64; `None` for [`default_threads`](crate::default_threads). Embedders share their threads: one that
    /// asks for fewer than another uses some of the same.
    pub threads: Option<usize>,
    /// Whether the network is forbidden; a model that is not in a cache is then an error. `HF_HUB_OFFLINE` does the same.
    pub offline: bool,
    /// The number format to fetch, where a model is to be had in several; `None` for `Q8_0`, or for
    /// whichever is in a cache already.
    pub quant: Option<Quant>,
}

/// How texts are embedded. The default is what the model's publisher recommends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedOptions {
    /// What to put in front of each text.
    pub prompt: Prompt,
    /// How the hidden states of a text become one vector; `None` for the model's own way.
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length. Without pooling (one vector a token) they never are.
    pub normalize: bool,
    /// Components to keep, the first ones, before the scaling; `None` for all. Only models trained for it (matryoshka)
    /// keep their quality.
    pub dim: Option<usize>,
    /// Tokens a text may have, special tokens and prompt included; `None` for what the publisher recommends.
    pub max_length: Option<usize>,
    /// What happens to a longer text.
    pub truncate: Truncate,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        EmbedOptions {
            prompt: Prompt::Default,
            pooling: None,
            normalize: true,
            dim: None,
            max_length: None,
            truncate: Truncate::Right,
        }
    }
}

/// What is put in front of a text before it is tokenized, and what the model is to do with it.
///
/// A model with adapters for tasks ([`Description::tasks`](crate::Description::tasks): jina-embeddings-v3) is run with those of the task that has
/// the prompt's name; for texts of the caller's own, and for none, without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// The prompt that the model names as its default; for most models none.
    #[default]
    Default,
    /// Nothing.
    None,
    /// The model's prompt for search queries; nothing if it has none.
    Query,
    /// The model's prompt for the documents that are searched; nothing if it has none.
    Document,
    /// The model's prompt of this name, one of [`Prompts::named`](crate::Prompts::named).
    Named(String),
    /// This text.
    Text(String),
}

/// What happens to a text with more tokens than allowed. Either way the special tokens stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncate {
    /// Its end is cut off.
    #[default]
    Right,
    /// Its beginning is cut off.
    Left,
    /// It is an error.
    Error,
}
