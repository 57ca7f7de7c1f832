//! What a model's files say of it and of its use.

use std::collections::BTreeMap;
use std::path::Path;

use docent_kernels::Pooling;

use crate::RerankTemplate;
use crate::arch::Loaded;
use crate::head::ScoreKind;
use crate::source::Source;
use crate::weights::Weights;

/// The kind of file a model came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A GGUF file, or a split set.
    Gguf,
    /// A Hugging Face directory with safetensors.
    Safetensors,
}

/// What a model is and how it wants to be used, as its files say.
#[derive(Clone, Debug)]
pub struct Description {
    /// The name its files give it, or else the file's own.
    pub name: String,
    /// The architecture, as GGUF spells it.
    pub architecture: &'static str,
    /// The kind of file.
    pub format: Format,
    /// Transformer layers.
    pub layers: usize,
    /// Values of a hidden state.
    pub hidden_size: usize,
    /// Values of an embedding: those of a hidden state, unless the model projects it to another number.
    pub embedding_size: usize,
    /// Whether the pooled hidden state is projected before it is an embedding.
    pub projected: bool,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Values between the two linear layers of a feed-forward block.
    pub feed_forward_size: usize,
    /// Rows of the token embedding table.
    pub vocabulary: usize,
    /// Tokens that a sequence can have, special tokens included.
    pub positions: usize,
    /// Tokens that the publisher would have a sequence cut to; at most `positions`.
    pub max_length: usize,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// How hidden states become one vector; `None` if the files do not say.
    pub pooling: Option<Pooling>,
    /// Whether the files say that the model scores pairs, and is no embedder.
    pub reranker: bool,
    /// How the model's scores are meant, if it can score a query with a document.
    pub scores: Option<ScoreKind>,
    /// The template of a reranker's prompt, if its files carry one.
    pub rerank_template: Option<RerankTemplate>,
    /// Whether vectors are to be scaled to unit length; `None` if the files do not say.
    pub normalize: Option<bool>,
    /// The texts to put in front of an input.
    pub prompts: Prompts,
    /// The tasks that the model has adapters for; [`Batch::for_task`](crate::Batch::for_task) asks for one by its place.
    pub tasks: Vec<String>,
    /// The token that is left out of texts: that for unknown words, in tables of token vectors.
    pub skipped_token: Option<u32>,
    /// Tensors in the files that the architecture has no use for.
    pub unused_tensors: Vec<String>,
}

/// Texts that a model was trained to see in front of its inputs, by the name of the task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    /// Every prompt of the model.
    pub named: BTreeMap<String, String>,
    /// The one to use when the caller asks for none in particular.
    pub default_name: Option<String>,
}

impl Description {
    /// What sizes alone say; what else the files say is filled in by the caller.
    pub(crate) fn of_sizes(
        path: &Path,
        architecture: &'static str,
        format: Format,
        loaded: &Loaded,
        weights: &Weights<'_>,
    ) -> Self {
        let sizes = loaded.sizes;
        let stem = if format == Format::Gguf { path.file_stem() } else { path.file_name() };
        Description {
            name: stem.map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned()),
            architecture,
            format,
            layers: sizes.layers,
            hidden_size: sizes.hidden,
            embedding_size: loaded.projection.outputs().unwrap_or(sizes.hidden),
            projected: !loaded.projection.steps.is_empty(),
            heads: sizes.heads,
            feed_forward_size: sizes.feed_forward,
            vocabulary: sizes.vocabulary,
            positions: sizes.positions,
            max_length: sizes.positions,
            causal: loaded.causal,
            pooling: None,
            reranker: false,
            scores: loaded.scorer.as_ref().map(|scorer| scorer.kind.clone()),
            rerank_template: None,
            normalize: None,
            prompts: Prompts::default(),
            tasks: weights.tasks(),
            skipped_token: None,
            unused_tensors: weights.unused(),
        }
    }

    /// Whether the model is a table of token vectors, so that a text of no token has an embedding: zeros.
    pub fn is_table(&self) -> bool {
        self.layers == 0
    }

    /// Adds the prompts that come with the adapters of tasks, where the model's own settings have none by these names.
    pub(crate) fn add_prompts_of_tasks(&mut self, source: &Source) {
        for task in source.tasks() {
            self.prompts.named.entry(task.name.clone()).or_insert_with(|| task.prompt.clone().unwrap_or_default());
        }
    }
}

impl Prompts {
    /// The prompt for search queries, if the model has one.
    pub fn query(&self) -> Option<&str> {
        self.text(self.query_name()?)
    }

    /// Its name.
    pub fn query_name(&self) -> Option<&str> {
        self.first_of(&["query", "search_query", "retrieval.query", "web_search_query"])
    }

    /// The prompt for the documents that are searched, if the model has one.
    pub fn document(&self) -> Option<&str> {
        self.text(self.document_name()?)
    }

    /// Its name.
    pub fn document_name(&self) -> Option<&str> {
        self.first_of(&["document", "passage", "search_document", "retrieval.passage", "corpus"])
    }

    /// The prompt to use when the caller asks for none in particular.
    pub fn default_prompt(&self) -> Option<&str> {
        self.text(self.default_name.as_ref()?)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.named.get(name).map(String::as_str)
    }

    /// Publishers differ in what they call the same task.
    fn first_of(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|&name| self.named.get_key_value(name)).map(|(name, _)| name.as_str())
    }
}
