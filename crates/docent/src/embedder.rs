//! Text in, vectors out.

use std::path::Path;
use std::sync::Arc;

use docent_kernels::host::Cpus;
use docent_kernels::{Isa, ThreadPool};
use docent_models::{Format, Model};
use docent_tokenizer::Tokenizer;

use crate::catalog::{self, Entry};
use crate::engine::Engine;
use crate::hub::{Hub, Progress, Silent};
use crate::{EmbedOptions, Error, ModelRef, ModelSettings, OpenOptions};

/// Threads that are used unless the caller asks for more.
pub const MAX_DEFAULT_THREADS: usize = 16;

/// An embedding model, ready to run. `Send` and `Sync`; share one by reference or in an `Arc`.
///
/// Every vector is a function of its text, the options and the model's file alone: the same bits alone or in any batch,
/// in any order, on any number of threads.
///
/// The embedders of a process share their threads: two models opened with the defaults compute on as many threads together as one
/// does alone, and take turns. The threads sleep while there is nothing to do, and end with the last embedder.
///
/// ```no_run
/// use docent::Embedder;
///
/// let embedder = Embedder::open("all-MiniLM-L6-v2")?;
/// let embeddings = embedder.embed(&["a brown fox", "ein brauner Fuchs"])?;
/// assert_eq!(embeddings[0].vector().len(), 384);
/// # Ok::<(), docent::Error>(())
/// ```
pub struct Embedder {
    engine: Engine,
    settings: ModelSettings,
}

/// The vector of a text, or the vectors of its tokens if there is no pooling.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    values: Vec<f32>,
    dim: usize,
    /// Tokens that the model read: special tokens and prompt included, after truncation.
    pub tokens: usize,
    /// Tokens that truncation removed; 0 if the model read the whole text.
    pub dropped: usize,
}

impl Embedding {
    /// An embedding that was computed elsewhere: `values` are the vectors of `dim` components each, one after the other; `tokens` were read,
    /// `dropped` were cut off.
    pub fn new(values: Vec<f32>, dim: usize, tokens: usize, dropped: usize) -> Self {
        Embedding { values, dim, tokens, dropped }
    }

    /// The vector. Without pooling, the vectors of all tokens one after the other.
    pub fn vector(&self) -> &[f32] {
        &self.values
    }

    /// The vector, taken out.
    pub fn into_vector(self) -> Vec<f32> {
        self.values
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The vectors: one, or one a token without pooling.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    /// Whether the text was too long and part of it was not read.
    pub fn truncated(&self) -> bool {
        self.dropped > 0
    }
}

impl Embedder {
    /// Opens a model by path, by its name in the [catalogue](crate::catalog), by `hf:USER/REPO[/FILE]` or by web address.
    /// A model that is not on this machine is fetched first.
    ///
    /// # Errors
    /// If the name means no model, the model cannot be had, or its files cannot be used.
    pub fn open(model: impl AsRef<str>) -> Result<Self, Error> {
        Self::open_with(&model.as_ref().parse()?, &OpenOptions::default(), &Silent)
    }

    /// Opens a model as [`open`](Self::open) does, with options, and reports a download as it goes on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(model: &ModelRef, options: &OpenOptions, progress: &dyn Progress) -> Result<Self, Error> {
        let entry = catalog::of_reference(model);
        if let Some(entry) = entry.filter(|entry| entry.kind != catalog::Kind::Embedding) {
            return Err(Error::NotAnEmbedder { name: entry.name.clone(), kind: entry.kind.to_string() });
        }
        let path = Hub::from_env().offline(options.offline).fetch(model, options.quant, progress)?;
        Self::open_file(&path, entry, options.threads)
    }

    fn open_file(path: &Path, entry: Option<&'static Entry>, threads: Option<usize>) -> Result<Self, Error> {
        let threads = ThreadPool::shared(threads.unwrap_or_else(default_threads));
        Self::of_model(Model::open(path, &threads)?, path, entry, threads)
    }

    pub(crate) fn of_model(
        model: Model,
        path: &Path,
        entry: Option<&'static Entry>,
        threads: Arc<ThreadPool>,
    ) -> Result<Self, Error> {
        // A GGUF file that calls itself what the catalogue calls it, as those that Docent has converted do, is used in the
        // same way whether it is opened by that name or by its path.
        let description = model.description();
        if description.reranker {
            return Err(Error::NotAnEmbedder { name: description.name.clone(), kind: "reranker".to_owned() });
        }
        let by_its_name = || catalog::find(&description.name).filter(|_| description.format == Format::Gguf);
        let entry = entry.or_else(by_its_name);
        if let Some(entry) = entry.filter(|entry| entry.kind == catalog::Kind::Expander) {
            return Err(Error::NotAnEmbedder { name: entry.name.clone(), kind: entry.kind.to_string() });
        }
        let settings = ModelSettings::new(path, description, entry);
        Ok(Embedder { engine: Engine::new(model, threads), settings })
    }

    /// The vectors of the texts, in their order, as the model's publisher recommends.
    ///
    /// Vectors have [`embedding_size`](crate::Description::embedding_size) components and unit length. A text longer than the model
    /// takes is cut at its end; [`Embedding::dropped`] says by how much.
    ///
    /// # Errors
    /// If the model's weights are damaged so that a vector is not finite.
    pub fn embed<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Vec<Embedding>, Error> {
        self.embed_with(texts, &EmbedOptions::default())
    }

    /// The vectors of the texts, in their order.
    ///
    /// # Errors
    /// If an option is out of range, a text is too long and must not be cut, or a vector is not finite.
    pub fn embed_with<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        options: &EmbedOptions,
    ) -> Result<Vec<Embedding>, Error> {
        let prepared = self.prepare(texts, options)?.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.embed_prepared(&prepared.iter().collect::<Vec<_>>())?
            .into_iter()
            .enumerate()
            .map(|(index, embedding)| embedding.map_err(|error| error.at(index)))
            .collect()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the embedder works with.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.engine.model().tokenizer()
    }

    /// Threads that the embedder computes on.
    pub fn threads(&self) -> usize {
        self.engine.threads().threads()
    }

    /// The instruction set that the embedder computes with.
    pub fn isa(&self) -> Isa {
        self.engine.isa()
    }

    /// Bytes of memory that the packed weights take; embedding tables stay in the file's mapping.
    pub fn packed_bytes(&self) -> usize {
        self.engine.model().packed_bytes()
    }
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Threads that an embedder computes on unless it is told: as many as the process may use (its CPU affinity and cgroup
/// quota), no more than there are physical cores ([`Cpus::threads`]), and at most [`MAX_DEFAULT_THREADS`].
pub fn default_threads() -> usize {
    Cpus::of_this_process().threads().min(MAX_DEFAULT_THREADS)
}
