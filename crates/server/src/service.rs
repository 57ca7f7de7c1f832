//! What the dialects are translated to: texts to embeddings, a query and documents to a ranking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use docent::{
    EmbedOptions, Embedder, Embedding, PreparedDocument, PreparedText, RankedDocument, RerankOptions, Reranker,
};

use crate::blocking::beside_the_reactor;
use crate::failure::{Failure, FailureKind};
use crate::metrics::{Finished, Metrics};
use crate::models::{Models, Served, Task};
use crate::scheduler::Scheduler;
#[cfg(feature = "otel")]
use crate::traces;
use crate::{Config, Limits};

/// The models of a server and the one thread that runs them, behind every route. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    models: Models,
    scheduler: Scheduler,
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// A text as a request gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A text.
    Text(String),
    /// Token ids of the model, special tokens included.
    Ids(Vec<u32>),
}

/// Texts to embed.
#[derive(Clone, Debug)]
pub struct EmbedCall {
    /// The model's name; `None` for the first embedder.
    pub model: Option<String>,
    /// The texts.
    pub inputs: Vec<Input>,
    /// How.
    pub options: EmbedOptions,
}

/// What became of the texts of an [`EmbedCall`].
pub struct Embedded {
    /// The model that embedded them.
    pub model: Arc<Served<Embedder>>,
    /// What became of each text, in the order of the request.
    pub items: Vec<Result<Embedding, Failure>>,
    /// Where the time went.
    pub timings: Timings,
}

/// A query and documents to score.
#[derive(Clone, Debug)]
pub struct RerankCall {
    /// The model's name; `None` for the first reranker.
    pub model: Option<String>,
    /// The query.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// How.
    pub options: RerankOptions,
}

/// What became of the documents of a [`RerankCall`].
pub struct Reranked {
    /// The model that scored them.
    pub model: Arc<Served<Reranker>>,
    /// What became of each document, in the order of the request.
    pub items: Vec<Result<RankedDocument, Failure>>,
    /// How many of the best were asked for.
    top_n: Option<usize>,
    /// Where the time went.
    pub timings: Timings,
}

/// Where the time of a call went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// From the call to its end.
    pub total: Duration,
    /// Tokenizing.
    pub tokenization: Duration,
    /// Waiting for the first step that had a text of the call.
    pub queue: Duration,
    /// From there to the end of the last.
    pub inference: Duration,
}

impl Embedded {
    /// All embeddings.
    ///
    /// # Errors
    /// The first failure, if there is one.
    pub fn all(self) -> Result<Vec<Embedding>, Failure> {
        self.items.into_iter().collect()
    }

    /// Tokens that the model read.
    pub fn tokens(&self) -> usize {
        self.items.iter().flatten().map(|embedding| embedding.tokens).sum()
    }

    /// Texts that were cut.
    pub fn truncated(&self) -> usize {
        self.items.iter().flatten().filter(|embedding| embedding.truncated()).count()
    }
}

impl Reranked {
    /// The documents, the best first, as many as were asked for.
    ///
    /// # Errors
    /// The first failure, if there is one.
    pub fn ranking(&self) -> Result<Vec<RankedDocument>, Failure> {
        let mut ranked = self.items.iter().cloned().collect::<Result<Vec<_>, _>>()?;
        ranked.sort_by(RankedDocument::best_first);
        ranked.truncate(self.top_n.unwrap_or(usize::MAX));
        Ok(ranked)
    }

    /// Tokens that the model read.
    pub fn tokens(&self) -> usize {
        self.items.iter().flatten().map(|document| document.tokens).sum()
    }

    /// Documents that were cut.
    pub fn truncated(&self) -> usize {
        self.items.iter().flatten().filter(|document| document.truncated()).count()
    }
}

impl Service {
    /// The service of a configuration; models are loaded by [`load`](Self::load).
    pub fn new(config: &Config) -> Self {
        let metrics = Arc::new(Metrics::new());
        Service {
            shared: Arc::new(Shared {
                models: Models::new(config.models.clone()),
                scheduler: Scheduler::start(&config.limits, Arc::clone(&metrics)),
                limits: config.limits.clone(),
                metrics,
            }),
        }
    }

    /// Loads the models that are always served, fetching those that are not on this machine. Whoever wants to watch that fetches them before,
    /// with [`Hub`](docent::hub::Hub).
    ///
    /// # Errors
    /// If one of them cannot be had or used.
    pub async fn load(&self) -> Result<(), Failure> {
        self.shared.models.load().await
    }

    /// The models.
    pub fn models(&self) -> &Models {
        &self.shared.models
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// What is counted and timed.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The embeddings of texts.
    ///
    /// # Errors
    /// If the model cannot be had, an option is out of range, the request is larger than the limits, or there is too much to do. What is
    /// wrong with one text alone is in its item.
    pub async fn embed(&self, call: EmbedCall) -> Result<Embedded, Failure> {
        self.embed_part(call, 0).await
    }

    /// The embeddings of a part of some texts that begins at `first`, by which failures count.
    pub(crate) async fn embed_part(&self, call: EmbedCall, first: usize) -> Result<Embedded, Failure> {
        let watch = self.shared.metrics.call(Task::Embed, call.inputs.len());
        #[cfg(feature = "otel")]
        let traced = traces::Call::new(Task::Embed, call.model.as_deref(), call.inputs.len());
        let ended = watch.end(self.embedded(call, first).await);
        #[cfg(feature = "otel")]
        traced.end(&ended);
        ended
    }

    async fn embedded(&self, call: EmbedCall, first: usize) -> Result<Embedded, Failure> {
        let Shared { models, scheduler, limits, .. } = &*self.shared;
        let start = Instant::now();
        limits.check_items(call.inputs.len(), "input")?;
        let served = models.embedder(call.model.as_deref()).await?;
        let model = Arc::clone(&served);
        let prompt = served.model.settings().prompt(&call.options.prompt).map_or(0, str::len);
        let bytes = call.inputs.iter().map(|input| input.bytes() + prompt).sum();
        limits.check_work(bytes, "prompt")?;
        let prepared = beside_the_reactor(bytes, move || prepare(&model.model, call.inputs, &call.options)).await?;
        let tokenization = start.elapsed();
        // Texts that cannot be embedded keep their places.
        let mut items: Vec<Result<Embedding, Failure>> = Vec::new();
        let mut texts: Vec<PreparedText> = Vec::new();
        let mut places: Vec<usize> = Vec::new();
        let mut failures: Vec<(usize, Failure)> = Vec::new();
        for (place, text) in prepared.into_iter().enumerate() {
            match text {
                Ok(text) => {
                    texts.push(text);
                    places.push(place);
                }
                Err(error) => failures.push((place, error.at(first.saturating_add(place)).into())),
            }
        }
        limits.check_tokens(texts.iter().map(PreparedText::tokens).sum())?;
        limits.check_values(texts.iter().map(PreparedText::values).sum())?;
        let done = scheduler.run(&served, texts).await?;
        let mut failures = failures.into_iter().peekable();
        for (place, output) in places.into_iter().zip(done.outputs) {
            while let Some((_, failure)) = failures.next_if(|(failed, _)| *failed < place) {
                items.push(Err(failure));
            }
            items.push(output.map_err(|error| error.at(first.saturating_add(place)).into()));
        }
        items.extend(failures.map(|(_, failure)| Err(failure)));
        let (queue, inference) = (done.queue, done.inference);
        let timings = Timings { total: start.elapsed(), tokenization, queue, inference };
        Ok(Embedded { model: served, items, timings })
    }

    /// The scores of documents.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    pub async fn rerank(&self, call: RerankCall) -> Result<Reranked, Failure> {
        let watch = self.shared.metrics.call(Task::Rerank, call.documents.len());
        #[cfg(feature = "otel")]
        let traced = traces::Call::new(Task::Rerank, call.model.as_deref(), call.documents.len());
        let ended = watch.end(self.reranked(call).await);
        #[cfg(feature = "otel")]
        traced.end(&ended);
        ended
    }

    async fn reranked(&self, call: RerankCall) -> Result<Reranked, Failure> {
        let Shared { models, scheduler, limits, .. } = &*self.shared;
        let start = Instant::now();
        limits.check_items(call.documents.len(), "documents")?;
        let served = models.reranker(call.model.as_deref()).await?;
        let top_n = call.options.top_n;
        let model = Arc::clone(&served);
        // The query is read with every document.
        let instruction = call.options.instruction.as_ref().map_or(0, String::len);
        let bytes = call.documents.iter().map(|document| document.len() + call.query.len() + instruction).sum();
        limits.check_work(bytes, "query")?;
        let prepare = move || model.model.prepare(&call.query, &call.documents, &call.options);
        let prepared = beside_the_reactor(bytes, prepare).await?;
        let tokenization = start.elapsed();
        limits.check_tokens(prepared.iter().map(PreparedDocument::tokens).sum())?;
        // Each window by itself: a long document is no reason for others to wait.
        let windows: Vec<usize> = prepared.iter().map(PreparedDocument::pieces).collect();
        let pieces = prepared.into_iter().flat_map(PreparedDocument::into_pieces).collect();
        let done = scheduler.run(&served, pieces).await?;
        let mut outputs = done.outputs.into_iter();
        let items = windows.into_iter().map(|count| whole(outputs.by_ref().take(count))).collect();
        let (queue, inference) = (done.queue, done.inference);
        let timings = Timings { total: start.elapsed(), tokenization, queue, inference };
        Ok(Reranked { model: served, items, top_n, timings })
    }
}

/// What became of a document whose pieces were scored one by one.
fn whole(mut pieces: impl Iterator<Item = Result<RankedDocument, docent::Error>>) -> Result<RankedDocument, Failure> {
    let nothing = || Failure::new(FailureKind::Backend, "a document was not scored");
    let first = pieces.next().ok_or_else(nothing)??;
    pieces.try_fold(first, |document, piece| Ok(document.joined(piece?)))
}

impl Finished for Embedded {
    fn timings(&self) -> Timings {
        self.timings
    }

    fn failure(&mut self) -> Option<&mut Failure> {
        self.items.iter_mut().find_map(|item| item.as_mut().err())
    }

    fn lengths(&self) -> Vec<usize> {
        self.items.iter().flatten().map(|embedding| embedding.tokens).collect()
    }
}

impl Finished for Reranked {
    fn timings(&self) -> Timings {
        self.timings
    }

    fn failure(&mut self) -> Option<&mut Failure> {
        self.items.iter_mut().find_map(|item| item.as_mut().err())
    }

    fn lengths(&self) -> Vec<usize> {
        self.items.iter().flatten().map(|document| document.tokens).collect()
    }
}

impl Input {
    fn bytes(&self) -> usize {
        match self {
            Input::Text(text) => text.len(),
            Input::Ids(ids) => size_of_val(&ids[..]),
        }
    }
}

/// Tokenizes the texts of a call, and takes token ids as they are.
fn prepare(
    embedder: &Embedder,
    inputs: Vec<Input>,
    options: &EmbedOptions,
) -> Result<Vec<Result<PreparedText, docent::Error>>, docent::Error> {
    let (mut texts, mut sequences, mut is_text) = (Vec::new(), Vec::new(), Vec::with_capacity(inputs.len()));
    for input in inputs {
        is_text.push(matches!(input, Input::Text(_)));
        match input {
            Input::Text(text) => texts.push(text),
            Input::Ids(ids) => sequences.push(ids),
        }
    }
    let mut texts = embedder.prepare(&texts, options)?.into_iter();
    let mut sequences = embedder.prepare_ids(&sequences, options)?.into_iter();
    let next = |is_text| if is_text { texts.next() } else { sequences.next() };
    let prepared = is_text.into_iter().filter_map(next).enumerate();
    Ok(prepared.map(|(place, text)| text.map_err(|error| error.at(place))).collect())
}
