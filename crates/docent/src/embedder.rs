//! Text in, vectors out.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use docent_kernels::host::Cpus;
use docent_kernels::{Isa, ThreadPool};
use docent_models::{Description, Format, Model};
use docent_tokenizer::{Tokenizer, TruncationSide};

use crate::catalog::{self, Entry};
use crate::engine::Engine;
use crate::hub::{Hub, Progress, Silent};
use crate::{EmbedOptions, Error, ModelRef, OpenOptions, Pooling, Prompt, Truncate};

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

/// What an embedder works with: the model's own description, completed from the catalogue where its files are silent.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// The file or directory that the model was opened from.
    pub path: PathBuf,
    /// What the model's files say.
    pub description: Description,
    /// The model's entry in the catalogue: if it was opened by a name in it, is from a repository in it, or is a GGUF file
    /// whose own name is in it.
    pub entry: Option<&'static Entry>,
    /// How hidden states become one vector.
    pub pooling: Pooling,
    /// Who says so.
    pub pooling_from: SettingFrom,
    /// Tokens a text is cut to unless the caller says otherwise.
    pub max_length: usize,
    /// The prompt for search queries, if the model has one.
    pub query_prompt: Option<String>,
    /// The prompt for documents, if the model has one.
    pub document_prompt: Option<String>,
    /// The prompt used when the caller asks for none in particular, if the model has one.
    pub default_prompt: Option<String>,
}

/// A text as the model reads it.
struct Tokenized {
    ids: Vec<u32>,
    /// Tokens that were cut off.
    dropped: usize,
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFrom {
    /// The model's files.
    File,
    /// The catalogue.
    Catalog,
    /// Neither says anything: the most common choice is taken, and a warning is logged.
    Assumed,
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
        let model = Model::open(path, &threads)?;
        // A GGUF file that calls itself what the catalogue calls it, as those that Docent has converted do, is used in the
        // same way whether it is opened by that name or by its path.
        let description = model.description();
        if description.reranker {
            return Err(Error::NotAnEmbedder { name: description.name.clone(), kind: "reranker".to_owned() });
        }
        let by_its_name = || catalog::find(&description.name).filter(|_| description.format == Format::Gguf);
        let settings = ModelSettings::new(path, description, entry.or_else(by_its_name));
        Ok(Embedder { engine: Engine::new(model, threads), settings })
    }

    /// The vectors of the texts, in their order, as the model's publisher recommends.
    ///
    /// Vectors have [`embedding_size`](Description::embedding_size) components and unit length. A text longer than the model
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
        let pooling = options.pooling.unwrap_or(self.settings.pooling);
        let whole = self.settings.dim(pooling);
        let dim = options.dim.unwrap_or(whole);
        if dim == 0 || dim > whole {
            return Err(Error::Dim { dim, model: self.settings.description.name.clone(), most: whole });
        }
        let tokenized = self.tokenize(texts, options)?;
        let ids: Vec<&[u32]> = tokenized.iter().map(|text| text.ids.as_slice()).collect();
        let rows = self.engine.embed(&ids, pooling)?;
        let mut embeddings = Vec::with_capacity(rows.len());
        for (index, (mut values, text)) in rows.into_iter().zip(&tokenized).enumerate() {
            if !values.iter().all(|value| value.is_finite()) {
                return Err(Error::NotFinite { index, model: self.settings.description.name.clone() });
            }
            if dim < whole {
                values = values.chunks_exact(whole).flat_map(|row| &row[..dim]).copied().collect();
            }
            if options.normalize && pooling != Pooling::None {
                scale_to_unit_length(&mut values);
            }
            embeddings.push(Embedding { values, dim, tokens: text.ids.len(), dropped: text.dropped });
        }
        Ok(embeddings)
    }

    /// Each text as the model will read it.
    fn tokenize<S: AsRef<str> + Sync>(&self, texts: &[S], options: &EmbedOptions) -> Result<Vec<Tokenized>, Error> {
        let least = self.tokenizer().special_token_count() + 1;
        let max_length = self.engine.max_length(options.max_length, self.settings.max_length, least)?;
        let side = match options.truncate {
            Truncate::Right | Truncate::Error => TruncationSide::Right,
            Truncate::Left => TruncationSide::Left,
        };
        let prompt = self.settings.prompt(&options.prompt);
        let one = |index: usize| -> Result<Tokenized, Error> {
            let text = texts[index].as_ref();
            let with_prompt = prompt.map(|prompt| format!("{prompt}{text}"));
            let text = with_prompt.as_deref().unwrap_or(text);
            let (ids, dropped) = self
                .tokenizer()
                .ids_truncated(text, max_length, side)
                .map_err(|source| Error::Tokenize { index, source })?;
            if dropped > 0 && options.truncate == Truncate::Error {
                return Err(Error::TooLong { index, tokens: ids.len() + dropped, max_length });
            }
            Ok(Tokenized { ids, dropped })
        };
        // Short texts are tokenized in a few microseconds each: several to a job.
        const TEXTS_PER_JOB: usize = 8;
        let cells: Vec<OnceLock<_>> = texts.iter().map(|_| OnceLock::new()).collect();
        self.engine.threads().run(texts.len().div_ceil(TEXTS_PER_JOB), |job, _| {
            let start = job * TEXTS_PER_JOB;
            for (cell, index) in cells[start..].iter().take(TEXTS_PER_JOB).zip(start..) {
                cell.get_or_init(|| one(index));
            }
        });
        cells.into_iter().enumerate().map(|(index, cell)| cell.into_inner().unwrap_or_else(|| one(index))).collect()
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

impl ModelSettings {
    fn new(path: &Path, description: &Description, entry: Option<&'static Entry>) -> Self {
        let name = entry.and_then(|entry| entry.pooling.as_deref());
        let from_entry = Pooling::ALL.into_iter().find(|pooling| Some(pooling.name()) == name);
        let (pooling, pooling_from) = match (description.pooling, from_entry) {
            (Some(pooling), _) => (pooling, SettingFrom::File),
            (None, Some(pooling)) => (pooling, SettingFrom::Catalog),
            (None, None) => {
                // Where a token sees only those before it, the last alone has seen the whole text.
                let pooling = if description.causal { Pooling::Last } else { Pooling::Mean };
                tracing::warn!("{}: the files do not say how to pool, {} is taken", path.display(), pooling.name());
                (pooling, SettingFrom::Assumed)
            }
        };
        // A GGUF file knows the positions alone; the catalogue knows what the model was trained for.
        let max_length = match entry {
            Some(entry) if description.format == Format::Gguf => entry.max_length.min(description.max_length),
            _ => description.max_length,
        };
        let prompts = &description.prompts;
        let query = entry.and_then(|entry| entry.query_prompt.as_deref());
        let document = entry.and_then(|entry| entry.document_prompt.as_deref());
        ModelSettings {
            path: path.to_owned(),
            entry,
            pooling,
            pooling_from,
            max_length,
            query_prompt: prompts.query().or(query).map(str::to_owned),
            document_prompt: prompts.document().or(document).map(str::to_owned),
            default_prompt: prompts.default_prompt().map(str::to_owned),
            description: description.clone(),
        }
    }

    /// Components of a vector with this pooling: the vectors of single tokens are not projected.
    pub fn dim(&self, pooling: Pooling) -> usize {
        match pooling {
            Pooling::None => self.description.hidden_size,
            _ => self.description.embedding_size,
        }
    }

    /// The text that a [`Prompt`] means for this model.
    pub fn prompt<'a>(&'a self, prompt: &'a Prompt) -> Option<&'a str> {
        match prompt {
            Prompt::Default => self.default_prompt.as_deref(),
            Prompt::None => None,
            Prompt::Query => self.query_prompt.as_deref(),
            Prompt::Document => self.document_prompt.as_deref(),
            Prompt::Text(text) => Some(text),
        }
    }
}

/// Threads that an embedder computes on unless it is told: as many as the process may use (its CPU affinity and cgroup
/// quota), no more than there are physical cores ([`Cpus::threads`]), and at most [`MAX_DEFAULT_THREADS`].
pub fn default_threads() -> usize {
    Cpus::of_this_process().threads().min(MAX_DEFAULT_THREADS)
}

/// Divides a vector by its Euclidean length; zeros stay zeros.
fn scale_to_unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_unit_length_and_zeros_stay() {
        let mut vector = [3.0, -4.0];
        scale_to_unit_length(&mut vector);
        assert_eq!(vector, [0.6, -0.8]);
        let mut zeros = [0.0; 3];
        scale_to_unit_length(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
        // Squares that leave the range of `f32`.
        let mut huge = [1e30, 1e30];
        scale_to_unit_length(&mut huge);
        assert!((huge[0] - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-7);
    }
}
