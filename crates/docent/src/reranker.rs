//! A query and documents in, scores out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_kernels::{Isa, ThreadPool};
use docent_models::{Description, Model, ScoreKind};
use docent_tokenizer::Tokenizer;

use crate::catalog::{self, Entry};
use crate::engine::{Engine, PairIds};
use crate::hub::{Hub, Progress, Silent};
use crate::pairs::{Piece, PromptIds, Reader};
use crate::rerank_prompt::RerankPrompt;
use crate::{Error, Format, ModelRef, OpenOptions, default_threads};

/// A model that reads a query together with a document and says how well they go together. `Send` and `Sync`.
///
/// An embedding model sees query and document apart; a reranker sees both at once, which is better and slower: let it order the
/// few dozen that a search has found.
///
/// Every score is a function of query, document, options and the model's file alone: the same bits alone or among others, in any
/// order, on any number of threads.
///
/// ```no_run
/// use docent::Reranker;
///
/// let reranker = Reranker::open("bge-reranker-v2-m3")?;
/// let documents = ["Paris is the capital of France.", "Pandas eat bamboo."];
/// for hit in reranker.rerank("what do pandas eat?", &documents)? {
///     println!("{:.3} {}", hit.score, documents[hit.index]);
/// }
/// # Ok::<(), docent::Error>(())
/// ```
pub struct Reranker {
    engine: Engine,
    settings: RerankerSettings,
    kind: ScoreKind,
    /// The prompt of a model that is asked in words; `None` for those that read a pair.
    prompt: Option<RerankPrompt>,
}

/// What a reranker works with.
#[derive(Clone, Debug)]
pub struct RerankerSettings {
    /// The file or directory that the model was opened from.
    pub path: PathBuf,
    /// What the model's files say.
    pub description: Description,
    /// The model's entry in the catalogue, if it has one.
    pub entry: Option<&'static Entry>,
    /// Tokens a query and a document may have together unless the caller says otherwise.
    pub max_length: usize,
    /// The instruction that the model reads unless the caller gives another; `None` if it reads none.
    pub instruction: Option<String>,
}

/// How documents are scored. The default is what the model's publisher recommends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RerankOptions {
    /// What relevance means here, for models that read an instruction.
    pub instruction: Option<String>,
    /// Tokens a query and a document may have together, special tokens and prompt included.
    pub max_length: Option<usize>,
    /// What happens to a document that is too long.
    pub long_documents: LongDocuments,
    /// Whether [`RankedDocument::score`] is the raw score, not made into a number from 0 to 1.
    pub raw: bool,
    /// How many of the best to return; `None` for all.
    pub top_n: Option<usize>,
}

/// What happens to a document that is longer than the model takes with the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongDocuments {
    /// Its end is cut off.
    #[default]
    Truncate,
    /// It is read in windows that overlap by an eighth, and its score is that of the best.
    Windows,
}

/// The score of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedDocument {
    /// Its place in the call.
    pub index: usize,
    /// How relevant it is: larger is better. What kind of number it is says `kind`.
    pub score: f32,
    /// The model's own number: a logit of relevance.
    pub raw: f32,
    /// What kind of number `score` is.
    pub kind: Score,
    /// Tokens that the model read: query, document, special tokens and prompt; of all windows together.
    pub tokens: usize,
    /// Tokens of query and document that truncation removed; 0 if the model read all.
    pub dropped: usize,
}

/// What kind of number a score is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// A logit: any number.
    Logit,
    /// The sigmoid of a logit: from 0 to 1, and meant to order, not as a probability.
    Sigmoid,
    /// The probability that the model answers yes.
    Probability,
}

impl Score {
    /// Its name: `logit`, `sigmoid`, `probability`.
    pub fn name(self) -> &'static str {
        match self {
            Score::Logit => "logit",
            Score::Sigmoid => "sigmoid",
            Score::Probability => "probability",
        }
    }
}

impl RankedDocument {
    /// This document with another piece of it: its score is that of the better.
    #[must_use]
    pub fn joined(self, piece: RankedDocument) -> RankedDocument {
        let (tokens, dropped) = (self.tokens + piece.tokens, self.dropped + piece.dropped);
        let better = if piece.raw > self.raw { piece } else { self };
        RankedDocument { tokens, dropped, ..better }
    }

    /// The order of a ranking: the better first, of equals the earlier.
    pub fn best_first(&self, other: &Self) -> std::cmp::Ordering {
        other.raw.total_cmp(&self.raw).then(self.index.cmp(&other.index))
    }

    /// Whether the model did not read the whole of it.
    pub fn truncated(&self) -> bool {
        self.dropped > 0
    }
}

/// A document with its query as the model will read it: in one piece, or in windows. Made by [`Reranker::prepare`] for that
/// reranker.
#[derive(Clone, Debug)]
pub struct PreparedDocument {
    index: usize,
    pieces: Vec<Piece>,
    raw: bool,
}

impl PreparedDocument {
    /// Tokens that the model will read: query, document, special tokens and prompt; of all windows together.
    pub fn tokens(&self) -> usize {
        self.pieces.iter().map(|piece| piece.pair.ids.len()).sum()
    }

    /// In how many pieces the model will read it: one, or as many as there are windows.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Each piece as if it were the document; [`RankedDocument::joined`] puts together what becomes of them.
    pub fn into_pieces(self) -> impl Iterator<Item = PreparedDocument> {
        let PreparedDocument { index, pieces, raw } = self;
        pieces.into_iter().map(move |piece| PreparedDocument { index, pieces: vec![piece], raw })
    }
}

impl Reranker {
    /// Opens a model by path, by its name in the [catalogue](crate::catalog), by `hf:USER/REPO[/FILE]` or by web address.
    /// A model that is not on this machine is fetched first.
    ///
    /// # Errors
    /// If the name means no model, the model cannot be had, its files cannot be used, or it is no reranker.
    pub fn open(model: impl AsRef<str>) -> Result<Self, Error> {
        Self::open_with(&model.as_ref().parse()?, &OpenOptions::default(), &Silent)
    }

    /// Opens a model as [`open`](Self::open) does, with options, and reports a download as it goes on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(model: &ModelRef, options: &OpenOptions, progress: &dyn Progress) -> Result<Self, Error> {
        let entry = catalog::of_reference(model);
        if let Some(entry) = entry.filter(|entry| entry.kind != catalog::Kind::Reranker) {
            let article = if entry.kind == catalog::Kind::Embedding { "an" } else { "a" };
            return Err(Error::NotAReranker { name: entry.name.clone(), found: format!("{article} {}", entry.kind) });
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
        let description = model.description();
        let by_its_name = || catalog::find(&description.name).filter(|_| description.format == Format::Gguf);
        let entry = entry.or_else(by_its_name);
        let no_reranker = |found: &str| Error::NotAReranker { name: description.name.clone(), found: found.to_owned() };
        if description.pooling.is_some() && !description.reranker {
            return Err(no_reranker("an embedding model"));
        }
        let kind = description.scores.clone().ok_or_else(|| no_reranker("a model without a head that scores pairs"))?;
        let prompt = RerankPrompt::of(description).filter(|_| description.causal);
        if description.causal && prompt.is_none() {
            return Err(no_reranker("a language model whose files have no prompt for a query and a document"));
        }
        let settings = RerankerSettings {
            path: path.to_owned(),
            entry,
            max_length: entry.map_or(usize::MAX, |entry| entry.max_length).min(description.max_length),
            instruction: prompt.as_ref().and_then(RerankPrompt::instruction).map(str::to_owned),
            description: description.clone(),
        };
        Ok(Reranker { engine: Engine::new(model, threads), settings, kind, prompt })
    }

    /// The documents with their scores, best first; of equal scores the earlier document comes first.
    ///
    /// # Errors
    /// If the query leaves no room for a document, or the model's weights are damaged so that a score is not finite.
    pub fn rerank<S: AsRef<str> + Sync>(&self, query: &str, documents: &[S]) -> Result<Vec<RankedDocument>, Error> {
        self.rerank_with(query, documents, &RerankOptions::default())
    }

    /// The documents with their scores, best first, with options.
    ///
    /// # Errors
    /// As [`rerank`](Self::rerank), or if an option is out of range or not one that the model can follow.
    pub fn rerank_with<S: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[S],
        options: &RerankOptions,
    ) -> Result<Vec<RankedDocument>, Error> {
        let prepared = self.prepare(query, documents, options)?;
        let scored = self.score_prepared(&prepared.iter().collect::<Vec<_>>())?;
        let mut ranked = scored.into_iter().collect::<Result<Vec<_>, _>>()?;
        ranked.sort_by(RankedDocument::best_first);
        ranked.truncate(options.top_n.unwrap_or(usize::MAX));
        Ok(ranked)
    }

    /// Puts the query together with each document. With [`score_prepared`](Self::score_prepared) this is [`rerank_with`](Self::rerank_with)
    /// in two steps, between which the documents of several calls can be put together.
    ///
    /// # Errors
    /// If an option is out of range or not one that the model can follow, or the query leaves no room for a document.
    pub fn prepare<S: AsRef<str> + Sync>(
        &self,
        query: &str,
        documents: &[S],
        options: &RerankOptions,
    ) -> Result<Vec<PreparedDocument>, Error> {
        // A token of each, at least.
        let least = self.tokenizer().pair_special_token_count() + 2;
        let max_length = self.engine.max_length(options.max_length, self.settings.max_length, least)?;
        let reader = self.reader(query, max_length, options)?;
        let bytes = documents.iter().map(|document| document.as_ref().len() + query.len()).sum();
        let read = self.engine.tokenize(documents.len(), 1, bytes, |index| {
            reader.pieces(documents[index].as_ref(), options.long_documents)
        });
        read.into_iter()
            .enumerate()
            .map(|(index, pieces)| {
                let pieces = pieces.map_err(|source| Error::Tokenize { index, source })?;
                Ok(PreparedDocument { index, pieces, raw: options.raw })
            })
            .collect()
    }

    /// The scores of prepared documents, in the order in which they are given.
    ///
    /// # Errors
    /// If the documents were prepared by a reranker with another vocabulary; for each document by itself, if its score is not finite.
    pub fn score_prepared(&self, documents: &[&PreparedDocument]) -> Result<Vec<Result<RankedDocument, Error>>, Error> {
        let pairs: Vec<&PairIds> =
            documents.iter().flat_map(|document| &document.pieces).map(|piece| &piece.pair).collect();
        let mut outputs = self.engine.score(&pairs)?.into_iter();
        Ok(documents.iter().map(|document| self.finish(document, &mut outputs)).collect())
    }

    /// What becomes of the outputs that the model computed for the pieces of a document.
    fn finish(
        &self,
        document: &PreparedDocument,
        outputs: &mut impl Iterator<Item = Vec<f32>>,
    ) -> Result<RankedDocument, Error> {
        let index = document.index;
        let raws: Vec<f32> =
            outputs.by_ref().take(document.pieces.len()).map(|outputs| self.kind.raw(&outputs)).collect();
        if !raws.iter().all(|raw| raw.is_finite()) {
            return Err(Error::ScoreNotFinite { index, model: self.settings.description.name.clone() });
        }
        let raw = raws.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let (score, kind) = self.score(raw, document.raw);
        let dropped = document.pieces.iter().map(|piece| piece.dropped).sum();
        Ok(RankedDocument { index, score, raw, kind, tokens: document.tokens(), dropped })
    }

    /// The score that a raw one makes, and what it is.
    fn score(&self, raw: f32, as_it_is: bool) -> (f32, Score) {
        let sigmoid = 1.0 / (1.0 + (-raw).exp());
        match self.kind {
            _ if as_it_is => (raw, Score::Logit),
            ScoreKind::Logit => (sigmoid, Score::Sigmoid),
            // The softmax of two logits is the sigmoid of their difference.
            ScoreKind::YesNo { .. } => (sigmoid, Score::Probability),
        }
    }

    fn reader<'a>(&'a self, query: &'a str, max_length: usize, options: &RerankOptions) -> Result<Reader<'a>, Error> {
        let tokenizer = self.tokenizer();
        let query_error = |source| Error::TokenizeQuery { source };
        let no_instruction = || Error::NoInstruction { model: self.settings.description.name.clone() };
        let instruction = options.instruction.as_deref();
        let prompt = match &self.prompt {
            None if instruction.is_some() => return Err(no_instruction()),
            None => None,
            Some(prompt) => {
                let parts = prompt.parts(instruction).ok_or_else(no_instruction)?;
                let ids =
                    |text: &str| tokenizer.encode_template(text).map(|encoding| encoding.ids).map_err(query_error);
                let (mut before, mut start, after) = (ids(&parts.before)?, parts.query(query), ids(parts.after)?);
                if !parts.between.is_empty() {
                    before.extend(tokenizer.encode_text(&start).map_err(query_error)?.ids);
                    before.extend(ids(parts.between)?);
                    parts.to_document.clone_into(&mut start);
                }
                Some(PromptIds { before, after, start, end: parts.end.to_owned() })
            }
        };
        let reader = Reader { tokenizer, query, prompt, max_length };
        let (pair, dropped) = reader.pair("").map_err(query_error)?;
        let tokens = pair.ids.len() + dropped;
        // A window repeats the query: a document in slivers of it would be read as a text many times its length.
        let most = match options.long_documents {
            LongDocuments::Truncate => max_length - 1,
            LongDocuments::Windows => max_length / 4 * 3,
        };
        if tokens > most {
            return Err(Error::QueryTooLong { tokens, max_length, most });
        }
        Ok(reader)
    }

    /// What the reranker works with.
    pub fn settings(&self) -> &RerankerSettings {
        &self.settings
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.engine.model().tokenizer()
    }

    /// Threads that the reranker computes on.
    pub fn threads(&self) -> usize {
        self.engine.threads().threads()
    }

    /// The instruction set that the reranker computes with.
    pub fn isa(&self) -> Isa {
        self.engine.isa()
    }

    /// Bytes of memory that the packed weights take; embedding tables stay in the file's mapping.
    pub fn packed_bytes(&self) -> usize {
        self.engine.model().packed_bytes()
    }
}

impl std::fmt::Debug for Reranker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reranker").field("settings", &self.settings).finish_non_exhaustive()
    }
}
