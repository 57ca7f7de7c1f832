//! A model opened from a file, ready to run.

use std::cell::{Cell, OnceCell};
use std::path::Path;

use docent_gguf::Gguf;
use docent_kernels::{Epilogue, Executor, Linear, Matrix, Pooling, Rows, ThreadPool};
use docent_tokenizer::{Tokenizer, TruncationSide};

use crate::arch::static_embedding::SKIPS_UNKNOWN;
use crate::arch::{self, Loaded, Network};
use crate::blocks::decoder::PROJECTED;
use crate::convert;
use crate::convert::vocabulary::{has_pieces_alone, tokenizer_of_pieces};
use crate::description::{Description, Format};
use crate::head::{Head, Scorer};
use crate::output::Output;
use crate::pass::{Cache, Pass, Prefix};
use crate::repository::Repository;
use crate::rerank_template::RerankTemplate;
use crate::settings::{Settings, Translated, Translation};
use crate::source::tasks::Task;
use crate::source::{Directory, Source};
use crate::weights::{Threads, TokenId, Weights};
use crate::{Batch, BatchError, Error};

/// A model: tokenizer, weights, and the forward pass of its architecture.
pub struct Model {
    description: Description,
    tokenizer: Tokenizer,
    network: Box<dyn Network>,
    projection: Head,
    scorer: Option<Scorer>,
    output: Option<Result<Output, Error>>,
    logits: Option<Linear>,
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
        let source = Source::of_gguf_and_adapters(path, Gguf::open(path)?)?;
        let Source::Gguf { gguf, .. } = &source else { unreachable!("made from a GGUF file just above") };
        let metadata = gguf.metadata();
        if let Some(found) = metadata.str("general.type")?.filter(|&ty| ty != "model") {
            return Err(Error::config(path, "general.type", "model", found));
        }
        let name = metadata.require_str("general.architecture")?;
        let architecture = arch::by_gguf_name(name).ok_or_else(|| unsupported(path, name))?;
        let key = format!("{name}.pooling_type");
        let pooling_type = metadata.u32(&key)?;
        let pooling = match pooling_type {
            None | Some(RANK) => None,
            Some(0) => Some(Pooling::None),
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            Some(found) => return Err(Error::config(path, key, "0 to 4", found.to_string())),
        };
        let settings = Settings::of_gguf(path, architecture.name, metadata);
        let (tokenizer, (loaded, mut description)) = beside(
            threads,
            || Ok(Tokenizer::from_gguf(metadata)?),
            |token, threads| {
                let weights = Weights::new(&source, token, threads);
                let loaded = architecture.load(&settings, &weights)?;
                let description = Description::of_sizes(path, architecture.name, Format::Gguf, &loaded, &weights);
                Ok((loaded, description))
            },
        )?;
        if let Some(name) = metadata.str("general.name")? {
            name.clone_into(&mut description.name);
        }
        description.pooling = pooling;
        if description.is_table() {
            let length = truncation(&settings, &tokenizer)?.unwrap_or(usize::MAX);
            description.max_length = length.min(description.positions);
        }
        description.add_prompts_of_tasks(&source);
        if pooling_type == Some(RANK) && loaded.scorer.is_none() {
            return Err(Error::config(path, key, "a head that scores, `cls.output.weight`", "none"));
        }
        // Of a decoder any may be asked for a score; an encoder has a head for it only if it was trained to.
        let head = gguf.tensor("cls.output.weight").is_some() || (!loaded.causal && loaded.scorer.is_some());
        description.reranker = pooling_type == Some(RANK) || (pooling.is_none() && head);
        description.rerank_template = RerankTemplate::of_gguf(metadata)?;
        description.skipped_token = skipped_token(&settings, &tokenizer)?;
        Ok(Model::new(description, tokenizer, loaded))
    }

    fn open_directory(path: &Path, threads: &ThreadPool) -> Result<Self, Error> {
        let directory = Directory::new(path);
        let repository = Repository::read(path)?;
        let Repository { folder, modules, .. } = &repository;
        let config = repository.config();
        let model_type = config.model_type()?;
        let model_type =
            model_type.ok_or_else(|| config.error("model_type", "the name of an architecture", "nothing"))?;
        let architecture = arch::of_hugging_face(&config)?.ok_or_else(|| unsupported(config.path, model_type))?;
        let mut translation = Translation::new(config, architecture.name);
        (architecture.translate)(&mut translation)?;
        modules.translate(&mut translation, directory, architecture.name)?;
        let translated = Translated::new(translation)?;
        let settings = translated.settings(config.path, architecture.name);
        // Its matrix is one of states, which is the same as one of what is pooled, but not of their largest values.
        if settings.optional_size(PROJECTED)?.is_some() && modules.pooling == Some(Pooling::Max) {
            let (file, expected) =
                (directory.file("modules.json"), "another than max before a matrix of the model's own");
            return Err(Error::config(file, "pooling", expected, "max"));
        }
        let tasks = Task::of_directory(folder, &config)?;
        let source = Source::from_directory(path, architecture.gguf_name, modules, tasks)?;
        let (tokenizer, (loaded, mut description)) = beside(
            threads,
            || {
                let tokenizer = directory_tokenizer(folder)?;
                Ok(if modules.is_table { tokenizer.without_special_tokens() } else { tokenizer })
            },
            |token, threads| {
                let weights = Weights::new(&source, token, threads);
                let loaded = architecture.load(&settings, &weights)?;
                let description =
                    Description::of_sizes(path, architecture.name, Format::Safetensors, &loaded, &weights);
                Ok((loaded, description))
            },
        )?;
        modules.check_case(directory, &tokenizer)?;
        let of_tokenizer =
            if modules.is_table { truncation(&settings, &tokenizer)? } else { tokenizer.model_max_length() };
        let advised = modules.max_seq_length.or(of_tokenizer).filter(|&length| length > 0);
        description.max_length = advised.unwrap_or(usize::MAX).min(loaded.sizes.positions);
        // What a reranker's head reads is no embedding.
        description.pooling = modules.pooling.filter(|_| modules.scoring.is_none());
        if loaded.causal {
            description.rerank_template = RerankTemplate::of_directory(Directory::new(folder), modules, &config)?;
        }
        let (answers, classifier) = (modules.answers.is_some(), config.is_classifier()?);
        description.reranker = answers || modules.scoring.is_some() || (modules.pooling.is_none() && classifier);
        description.normalize = modules.normalize;
        description.prompts = modules.prompts.clone();
        description.skipped_token = skipped_token(&settings, &tokenizer)?;
        description.add_prompts_of_tasks(&source);
        Ok(Model::new(description, tokenizer, loaded))
    }

    fn new(description: Description, tokenizer: Tokenizer, loaded: Loaded) -> Self {
        let Loaded { network, projection, scorer, output, .. } = loaded;
        Model { description, tokenizer, network, projection, scorer, output, logits: None }
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
    /// If a sequence is empty, longer than [`positions`](Description::positions), or has an id without an embedding; if the batch is for a task
    /// that the model has not.
    pub fn forward(&self, executor: &mut Executor, batch: &Batch) -> Result<Matrix, BatchError> {
        self.check(batch)?;
        Ok(self.network.forward(executor, &mut Pass { batch, rows: Rows::All, cache: Cache::None }))
    }

    /// The pooled hidden states of the batch, projected if the model does that: [`Pooling::vectors`] rows of [`embedding_size`](Description::embedding_size) values, of
    /// [`hidden_size`](Description::hidden_size) without pooling, in a
    /// matrix to be recycled by `executor`.
    ///
    /// They have the bits that pooling what [`forward`](Self::forward) returns would give; but where pooling reads one token of each
    /// sequence, the last layer computes only that one's row, beside the keys and values of all.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn pooled(&self, executor: &mut Executor, batch: &Batch, pooling: Pooling) -> Result<Matrix, BatchError> {
        self.check(batch)?;
        let pooled = self.pooled_states(executor, batch, (&Head::default(), pooling), Cache::None);
        // Vectors of tokens are hidden states, not embeddings.
        if pooling == Pooling::None {
            return Ok(pooled);
        }
        Ok(self.projection.run(executor, pooled))
    }

    /// What [`pooled`](Self::pooled) would give for a sequence without tokens: of zeros, where that has a meaning, in a
    /// [table of token vectors](Description::is_table); `None` in other models.
    pub fn pooled_nothing(&self, executor: &mut Executor) -> Option<Matrix> {
        self.description.is_table().then(|| {
            let mut pooled = executor.matrix(1, self.description.hidden_size);
            pooled.row_mut(0).fill(0.0);
            self.projection.run(executor, pooled)
        })
    }

    /// The outputs of the scoring head for each sequence of the batch, one row each, in a matrix to be recycled by `executor`;
    /// [`Description::scores`] says how they are meant. The sequences are queries and documents put together as the model wants
    /// them; with a `prefix`, what comes after it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    /// If the model has no such head, or there is a prefix and the batch was not made to go on from it.
    pub fn scores(
        &self,
        executor: &mut Executor,
        batch: &Batch,
        prefix: Option<&Prefix>,
    ) -> Result<Matrix, BatchError> {
        let scorer = self.scorer.as_ref().expect("the caller has looked at the description");
        self.check(batch)?;
        let first = batch.positions().first().map_or(0, |&first| first as usize);
        assert_eq!(prefix.map_or(0, Prefix::tokens), first, "first position of a batch after a prefix");
        let cache = prefix.map_or(Cache::None, Cache::Follow);
        let pooled = self.pooled_states(executor, batch, (&scorer.tokens, scorer.pooling), cache);
        Ok(scorer.head.run(executor, pooled))
    }

    /// What the tokens `ids` leave for sequences that begin with them, or `None` in models where tokens see what comes after.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn prefix(&self, executor: &mut Executor, ids: &[u32]) -> Result<Option<Prefix>, BatchError> {
        if !self.description.causal || ids.is_empty() {
            return Ok(None);
        }
        let batch = Batch::new([ids]);
        self.check(&batch)?;
        let mut prefix = Prefix::new();
        let hidden = self.extend(executor, &batch, &mut prefix);
        executor.recycle(hidden);
        Ok(Some(prefix))
    }

    /// Gets the output matrix of a language model ready, so that [`next_logits`](Self::next_logits) can be asked; false if the model
    /// is none: an encoder, or a decoder whose tokens see those after them.
    ///
    /// Weights in blocks of fewer than 8 bits are expanded and take 1.125 bytes each: a token at a time, expanding them would take most of the
    /// time.
    ///
    /// # Errors
    /// If the matrix has another shape than the vocabulary wants, or weights that cannot be used.
    pub fn load_output(&mut self, threads: &ThreadPool) -> Result<bool, Error> {
        if let Some(output) = self.output.take() {
            self.logits = Some(output?.load(threads)?);
            self.network.expand(threads);
        }
        Ok(self.logits.is_some())
    }

    /// The logits of the token after `ids`, which go on from `prefix` and are added to it: one row of
    /// [`vocabulary`](Description::vocabulary) values, in a matrix to be recycled by `executor`.
    ///
    /// A text is written by asking for the logits after a prompt with an empty prefix, then after each token chosen. What each
    /// call costs is that of its own tokens, and of looking back at those before. The logits have the bits that a call with all
    /// tokens at once would give.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), of the sequence as a whole; the prefix is then as it was.
    ///
    /// # Panics
    /// If [`load_output`](Self::load_output) has not been called, or the model is no language model.
    pub fn next_logits(&self, executor: &mut Executor, ids: &[u32], prefix: &mut Prefix) -> Result<Matrix, BatchError> {
        let output = self.logits.as_ref().expect("the caller has loaded the output of a language model");
        let batch = Batch::after(prefix.tokens(), [ids]);
        self.check(&batch)?;
        let hidden = self.extend(executor, &batch, prefix);
        let mut logits = executor.matrix(1, output.outputs());
        executor.linear(&hidden, output, Epilogue::Assign, &mut logits);
        executor.recycle(hidden);
        Ok(logits)
    }

    fn check(&self, batch: &Batch) -> Result<(), BatchError> {
        let Description { positions, vocabulary, tasks, .. } = &self.description;
        batch.check(*positions, *vocabulary, tasks.len())
    }

    /// The hidden state of the last token of the batch's one sequence, which goes on from `prefix` and is added to it.
    fn extend(&self, executor: &mut Executor, batch: &Batch, prefix: &mut Prefix) -> Matrix {
        let mut pass = Pass { batch, rows: Rows::Last, cache: Cache::Extend(&mut *prefix) };
        let hidden = self.network.forward(executor, &mut pass);
        prefix.advance(batch.ids().len());
        hidden
    }

    /// The pooled hidden states, each of which goes through `tokens` before.
    fn pooled_states(
        &self,
        executor: &mut Executor,
        batch: &Batch,
        (tokens, pooling): (&Head, Pooling),
        cache: Cache<'_>,
    ) -> Matrix {
        let rows = pooling.rows();
        let hidden = self.network.forward(executor, &mut Pass { batch, rows, cache });
        let hidden = tokens.run(executor, hidden);
        // One row a sequence is the vector already, and without pooling each row is one.
        if rows != Rows::All || pooling == Pooling::None {
            return hidden;
        }
        let mut pooled = executor.matrix(pooling.vectors(batch.sequences()), hidden.columns());
        executor.pool(&hidden, batch.sequences(), pooling, &mut pooled);
        executor.recycle(hidden);
        pooled
    }

    /// Bytes of memory that the packed weights take; embedding tables stay in the file's mapping.
    pub fn packed_bytes(&self) -> usize {
        let scorer = self.scorer.as_ref().map_or(0, |scorer| scorer.tokens.bytes() + scorer.head.bytes());
        let output = self.logits.as_ref().map_or(0, Linear::bytes);
        self.network.bytes() + self.projection.bytes() + scorer + output
    }
}

/// The tokenizer of a Hugging Face directory: [`Tokenizer::from_directory`], or where there is nothing but SentencePiece's own file
/// (`tokenizer.model`, `sentencepiece.bpe.model`), the one that the directory's GGUF file would have.
///
/// # Errors
/// Files that are missing, cannot be read, or hold no tokenizer that this version runs.
pub fn directory_tokenizer(directory: &Path) -> Result<Tokenizer, Error> {
    if has_pieces_alone(directory) {
        return tokenizer_of_pieces(directory).map_err(|error| match error {
            convert::Error::Source(error) => error,
            convert::Error::Tokenizer(error) => error.into(),
            error => Error::Pieces { source: Box::new(error) },
        });
    }
    Ok(Tokenizer::from_directory(directory)?)
}

/// Builds the tokenizer on a thread of its own while the weights are packed on the others, which may ask for the id of a token: a
/// vocabulary of a quarter of a million tokens takes as long as the weights.
fn beside<T>(
    pool: &ThreadPool,
    tokenizer: impl FnOnce() -> Result<Tokenizer, Error> + Send,
    weights: impl FnOnce(&TokenId<'_>, &Threads<'_>) -> Result<T, Error>,
) -> Result<(Tokenizer, T), Error> {
    let threads = Threads::of(pool);
    std::thread::scope(|scope| {
        threads.lend_one();
        let thread = Cell::new(Some(scope.spawn(|| {
            let tokenizer = tokenizer();
            threads.give_back();
            tokenizer
        })));
        let built = OnceCell::new();
        let join = || {
            built.get_or_init(|| {
                let thread = thread.take().expect("the cell runs this once");
                // Of a panic there the caller hears as if the tokenizer had been built here.
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        };
        let loaded = weights(&|text| join().as_ref().ok()?.id(text), &threads);
        join();
        let tokenizer = built.into_inner().expect("joined just above")?;
        Ok((tokenizer, loaded?))
    })
}

/// What `pooling_type` is in the files of rerankers.
const RANK: u32 = 4;

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("description", &self.description).finish_non_exhaustive()
    }
}

/// The token that texts are to be without, as the settings say.
fn skipped_token(settings: &Settings<'_>, tokenizer: &Tokenizer) -> Result<Option<u32>, Error> {
    let skips = settings.bool(SKIPS_UNKNOWN)?.unwrap_or(false);
    Ok(tokenizer.unknown_id().filter(|_| skips))
}

/// Where the texts of a table of token vectors are cut: as its tokenizer says, which is run as it is, but by model2vec, which has a limit of
/// its own.
fn truncation(settings: &Settings<'_>, tokenizer: &Tokenizer) -> Result<Option<usize>, Error> {
    let limited = settings.bool(SKIPS_UNKNOWN)?.unwrap_or(false);
    let refused = |field: &str, expected: &str, found: &str| {
        Err(Error::config(settings.path(), format!("truncation.{field} of the tokenizer"), expected, found))
    };
    match tokenizer.truncation().filter(|_| !limited) {
        Some((0, _)) => refused("max_length", "at least 1", "0"),
        Some((_, TruncationSide::Left)) => refused("direction", "\"Right\"", "\"Left\""),
        found => Ok(found.map(|(length, _)| length)),
    }
}

fn unsupported(path: &Path, found: &str) -> Error {
    let supported = arch::supported_architectures().collect::<Vec<_>>().join(", ");
    Error::Architecture { path: path.to_owned(), found: found.to_owned(), supported }
}
