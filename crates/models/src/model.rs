//! A model opened from a file, ready to run.

use std::collections::BTreeMap;
use std::path::Path;

use docent_gguf::Gguf;
use docent_kernels::{Executor, Matrix, Pooling, Rows, ThreadPool};
use docent_tokenizer::Tokenizer;
use serde_json::{Map, Value};

use crate::arch::{self, HfConfig, Network, Sizes};
use crate::sentence_transformers::SentenceTransformers;
use crate::source::{Directory, Source};
use crate::weights::Weights;
use crate::{Batch, BatchError, Error};

/// A model: tokenizer, weights, and the forward pass of its architecture.
pub struct Model {
    description: Description,
    tokenizer: Tokenizer,
    network: Box<dyn Network>,
}

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
    /// Values of a hidden state, hence of an embedding.
    pub hidden_size: usize,
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
    /// How hidden states become one vector; `None` if the files do not say.
    pub pooling: Option<Pooling>,
    /// Whether vectors are to be scaled to unit length; `None` if the files do not say.
    pub normalize: Option<bool>,
    /// The texts to put in front of an input.
    pub prompts: Prompts,
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

impl Prompts {
    /// The prompt for search queries, if the model has one.
    pub fn query(&self) -> Option<&str> {
        self.first_of(&["query", "search_query", "retrieval.query"])
    }

    /// The prompt for the documents that are searched, if the model has one.
    pub fn document(&self) -> Option<&str> {
        self.first_of(&["document", "passage", "search_document", "retrieval.passage", "corpus"])
    }

    /// The prompt to use when the caller asks for none in particular.
    pub fn default_prompt(&self) -> Option<&str> {
        self.default_name.as_ref().and_then(|name| self.named.get(name)).map(String::as_str)
    }

    /// Publishers differ in what they call the same task.
    fn first_of(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|&name| self.named.get(name)).map(String::as_str)
    }
}

impl Model {
    /// Opens a `.gguf` file (for a split model, its first part) or a Hugging Face directory, and packs the weights on
    /// `threads`.
    ///
    /// # Errors
    /// [`Error`] if anything in the files is not as the architecture needs it; every error names file and place.
    pub fn open(path: impl AsRef<Path>, threads: &ThreadPool) -> Result<Self, Error> {
        let path = path.as_ref();
        let model = if path.is_dir() { Self::open_directory(path, threads) } else { Self::open_gguf(path, threads) }?;
        if model.tokenizer.vocab_size() > model.description.vocabulary {
            let (tokens, rows) = (model.tokenizer.vocab_size(), model.description.vocabulary);
            return Err(Error::Vocabulary { path: path.to_owned(), tokens, rows });
        }
        if !model.description.unused_tensors.is_empty() {
            tracing::warn!(
                "{}: {} tensors are not used by the architecture `{}`: {}",
                path.display(),
                model.description.unused_tensors.len(),
                model.description.architecture,
                model.description.unused_tensors.join(", ")
            );
        }
        Ok(model)
    }

    fn open_gguf(path: &Path, threads: &ThreadPool) -> Result<Self, Error> {
        let source = Source::from_gguf(path, Gguf::open(path)?);
        let Source::Gguf { gguf, .. } = &source else { unreachable!("made from a GGUF file just above") };
        let metadata = gguf.metadata();
        if let Some(found) = metadata.str("general.type")?.filter(|&ty| ty != "model") {
            return Err(Error::config(path, "general.type", "model", found));
        }
        let name = metadata.require_str("general.architecture")?;
        let architecture = arch::by_gguf_name(name).ok_or_else(|| unsupported(path, name))?;
        let tokenizer = Tokenizer::from_gguf(metadata)?;
        let key = format!("{name}.pooling_type");
        let pooling = match metadata.u32(&key)? {
            None => None,
            Some(0) => Some(Pooling::None),
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            Some(4) => return Err(Error::config(path, key, "an embedding model's pooling", "4 (rank): a reranker")),
            Some(found) => return Err(Error::config(path, key, "0 to 4", found.to_string())),
        };
        let weights = Weights::new(&source, threads);
        let (network, sizes) = (architecture.load_gguf)(metadata, path, &weights)?;
        let mut description = describe(path, architecture.name, Format::Gguf, sizes, &weights);
        if let Some(name) = metadata.str("general.name")? {
            name.clone_into(&mut description.name);
        }
        description.pooling = pooling;
        Ok(Model { description, tokenizer, network })
    }

    fn open_directory(path: &Path, threads: &ThreadPool) -> Result<Self, Error> {
        let directory = Directory::new(path);
        let config = directory.file("config.json");
        let fields: Map<String, Value> = directory.json("config.json")?.ok_or_else(|| Error::NotAModel {
            path: path.to_owned(),
            found: "a directory without config.json".to_owned(),
        })?;
        let config = HfConfig { path: &config, fields: &fields };
        let model_type = config.string(&["model_type"])?;
        let model_type =
            model_type.ok_or_else(|| config.error("model_type", "the name of an architecture", "nothing"))?;
        let architecture = arch::by_hf_model_type(model_type).ok_or_else(|| unsupported(config.path, model_type))?;
        let settings = SentenceTransformers::read(directory)?;
        let tokenizer = Tokenizer::from_directory(path)?;
        let source = Source::from_directory(path, architecture.gguf_name)?;
        let weights = Weights::new(&source, threads);
        let (network, sizes) = (architecture.load_hf)(&config, &weights)?;
        let mut description = describe(path, architecture.name, Format::Safetensors, sizes, &weights);
        let advised = settings.max_seq_length.or(tokenizer.model_max_length()).filter(|&length| length > 0);
        description.max_length = advised.unwrap_or(sizes.positions).min(sizes.positions);
        description.pooling = settings.pooling;
        description.normalize = settings.normalize;
        description.prompts = settings.prompts;
        Ok(Model { description, tokenizer, network })
    }

    /// What the model is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The last hidden state of every token of the batch: `ids().len()` rows of
    /// [`hidden_size`](Description::hidden_size) values, in a matrix to be recycled by `executor`.
    ///
    /// # Errors
    /// If a sequence is empty, longer than [`positions`](Description::positions), or has an id without an embedding.
    pub fn forward(&self, executor: &mut Executor, batch: &Batch) -> Result<Matrix, BatchError> {
        self.hidden(executor, batch, Rows::All)
    }

    /// The pooled hidden states of the batch: [`Pooling::vectors`] rows of [`hidden_size`](Description::hidden_size) values, in a
    /// matrix to be recycled by `executor`.
    ///
    /// They have the bits that pooling what [`forward`](Self::forward) returns would give; but where pooling reads one token of each
    /// sequence, the last layer computes only that one's row, beside the keys and values of all.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn pooled(&self, executor: &mut Executor, batch: &Batch, pooling: Pooling) -> Result<Matrix, BatchError> {
        let rows = pooling.rows();
        let hidden = self.hidden(executor, batch, rows)?;
        // One row a sequence is the vector already, and without pooling each row is one.
        if rows != Rows::All || pooling == Pooling::None {
            return Ok(hidden);
        }
        let mut pooled = executor.matrix(pooling.vectors(batch.sequences()), hidden.columns());
        executor.pool(&hidden, batch.sequences(), pooling, &mut pooled);
        executor.recycle(hidden);
        Ok(pooled)
    }

    fn hidden(&self, executor: &mut Executor, batch: &Batch, rows: Rows) -> Result<Matrix, BatchError> {
        batch.check(self.description.positions, self.description.vocabulary)?;
        Ok(self.network.forward(executor, batch, rows))
    }

    /// Bytes of memory that the packed weights take; embedding tables stay in the file's mapping.
    pub fn packed_bytes(&self) -> usize {
        self.network.bytes()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("description", &self.description).finish_non_exhaustive()
    }
}

/// The description that sizes alone give; what else the files say is filled in by the caller.
fn describe(
    path: &Path,
    architecture: &'static str,
    format: Format,
    sizes: Sizes,
    weights: &Weights<'_>,
) -> Description {
    let stem = if format == Format::Gguf { path.file_stem() } else { path.file_name() };
    Description {
        name: stem.map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned()),
        architecture,
        format,
        layers: sizes.layers,
        hidden_size: sizes.hidden,
        heads: sizes.heads,
        feed_forward_size: sizes.feed_forward,
        vocabulary: sizes.vocabulary,
        positions: sizes.positions,
        max_length: sizes.positions,
        pooling: None,
        normalize: None,
        prompts: Prompts::default(),
        unused_tensors: weights.unused(),
    }
}

fn unsupported(path: &Path, found: &str) -> Error {
    let supported = arch::supported_architectures().collect::<Vec<_>>().join(", ");
    Error::Architecture { path: path.to_owned(), found: found.to_owned(), supported }
}
