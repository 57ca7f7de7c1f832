//! The models that are served: by which names, and which of them are in memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use docent::hub::{Hub, Silent};
use docent::{AnyModel, Embedder, ModelRef, OpenOptions, Reranker, catalog};

use crate::config::{ModelsConfig, NamedModel};
use crate::failure::{Failure, FailureKind};

/// A model in memory, with the name by which requests know it.
pub struct Served<M> {
    /// The name.
    pub name: String,
    /// The model.
    pub model: M,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Text to vectors.
    Embed,
    /// A query and documents to scores.
    Rerank,
}

impl Task {
    /// Its name: `embed`, `rerank`.
    pub fn name(self) -> &'static str {
        match self {
            Task::Embed => "embed",
            Task::Rerank => "rerank",
        }
    }
}

/// A model in memory, of either kind.
#[derive(Clone)]
pub enum Loaded {
    /// An embedder.
    Embedder(Arc<Served<Embedder>>),
    /// A reranker.
    Reranker(Arc<Served<Reranker>>),
}

/// A served model as lists of models show it.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The name in requests.
    pub name: String,
    /// What it is for; `None` before it was loaded for the first time.
    pub task: Option<Task>,
    /// Whether it is in memory.
    pub loaded: bool,
    /// When the server learned of it.
    pub since: SystemTime,
}

/// The models of a server.
pub struct Models {
    config: ModelsConfig,
    slots: Mutex<Vec<Arc<Slot>>>,
    ready: AtomicBool,
    /// Counts uses, to tell which model was not used for the longest time.
    uses: AtomicU64,
}

/// One model, in memory or not.
struct Slot {
    named: NamedModel,
    options: OpenOptions,
    since: SystemTime,
    last_use: AtomicU64,
    task: Mutex<Option<Task>>,
    /// Held while the model is loaded, so that it is loaded once.
    loaded: tokio::sync::Mutex<Option<Loaded>>,
}

impl Models {
    /// Models that [`load`](Self::load) loads; until it has, only what is loaded already is to be had.
    pub fn new(config: ModelsConfig) -> Self {
        let slots = config.models.iter().map(|named| Arc::new(Slot::new(named.clone(), config.open.clone()))).collect();
        Models { config, slots: Mutex::new(slots), ready: AtomicBool::new(false), uses: AtomicU64::new(0) }
    }

    /// Loads those that are always served, in the order in which they were named.
    ///
    /// # Errors
    /// If one cannot be had or used.
    pub async fn load(&self) -> Result<(), Failure> {
        for slot in self.slots() {
            self.loaded(&slot).await?;
        }
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether all that are always served have been loaded.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The models, those that are always served first.
    pub fn list(&self) -> Vec<ModelInfo> {
        self.slots().iter().map(|slot| slot.info()).collect()
    }

    /// The model of this name if it is in memory, to be described: that is no use of it.
    pub fn in_memory(&self, name: &str) -> Option<Loaded> {
        let slot = self.slots().into_iter().find(|slot| slot.named.name == name)?;
        slot.loaded.try_lock().ok()?.clone()
    }

    /// The model of this name, or the first that embeds.
    ///
    /// # Errors
    /// If there is none, it is no embedder, or it cannot be loaded.
    pub async fn embedder(&self, name: Option<&str>) -> Result<Arc<Served<Embedder>>, Failure> {
        match self.find(name, Task::Embed).await? {
            Loaded::Embedder(embedder) => Ok(embedder),
            Loaded::Reranker(reranker) => Err(wrong(&reranker.name, "a reranker", "an embedding model")),
        }
    }

    /// The model of this name, or the first that reranks.
    ///
    /// # Errors
    /// As [`embedder`](Self::embedder).
    pub async fn reranker(&self, name: Option<&str>) -> Result<Arc<Served<Reranker>>, Failure> {
        match self.find(name, Task::Rerank).await? {
            Loaded::Reranker(reranker) => Ok(reranker),
            Loaded::Embedder(embedder) => Err(wrong(&embedder.name, "an embedding model", "a reranker")),
        }
    }

    /// The model of this name, whatever it is; without a name the first.
    ///
    /// # Errors
    /// If there is none, or it cannot be loaded.
    pub async fn any(&self, name: Option<&str>) -> Result<Loaded, Failure> {
        match name {
            Some(name) => self.asked(&self.slot(name)?).await,
            None => match self.slots().first() {
                Some(slot) => self.asked(slot).await,
                None => Err(Failure::new(FailureKind::UnknownModel, "no model is served")),
            },
        }
    }

    async fn find(&self, name: Option<&str>, task: Task) -> Result<Loaded, Failure> {
        if let Some(name) = name {
            return self.asked(&self.slot(name)?).await;
        }
        let slots = self.slots();
        for slot in &slots {
            // What a model is shows when it is loaded; a configured one always was.
            if slot.task().is_none_or(|of_slot| of_slot == task) {
                let loaded = self.asked(slot).await?;
                if loaded.task() == task {
                    return Ok(loaded);
                }
            }
        }
        let (kind, served) = (task.name(), names(&slots));
        Err(Failure::new(FailureKind::WrongModel, format!("no model is served that can {kind}; there are: {served}"))
            .about("model"))
    }

    /// The slot of a name: one of the configured names, or on demand that of a model of the catalogue that is on this machine.
    fn slot(&self, name: &str) -> Result<Arc<Slot>, Failure> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Ollama's clients add a tag to every name.
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        if let Some(slot) = slots.iter().find(|slot| slot.named.name.eq_ignore_ascii_case(plain)) {
            return Ok(Arc::clone(slot));
        }
        if let Some(entry) = catalog::find(plain).filter(|_| self.config.on_demand) {
            if let Some(slot) = slots.iter().find(|slot| slot.named.name == entry.name) {
                return Ok(Arc::clone(slot));
            }
            let model: Result<ModelRef, _> = entry.name.parse();
            let options = OpenOptions { offline: true, ..self.config.open.clone() };
            let here = |model: &ModelRef| Hub::from_env().offline(true).cached(model, options.quant).is_some();
            if let Some(model) = model.ok().filter(here) {
                let slot = Arc::new(Slot::new(NamedModel { name: entry.name.clone(), model }, options));
                slots.push(Arc::clone(&slot));
                return Ok(slot);
            }
        }
        let message = format!("the model `{name}` is not served; there are: {}", names(&slots));
        Err(Failure::new(FailureKind::UnknownModel, message).about("model"))
    }

    /// The model of a slot for a request, which does not wait for what the server loads at its start: that may take minutes, and whoever
    /// sends requests is to see from the answer that another server would do better.
    async fn asked(&self, slot: &Arc<Slot>) -> Result<Loaded, Failure> {
        if !self.is_ready() {
            let loaded = slot.loaded.try_lock().ok().and_then(|loaded| loaded.clone());
            let name = &slot.named.name;
            let unready =
                || Failure::new(FailureKind::Unready, format!("the model `{name}` is being loaded; try again soon"));
            return loaded.ok_or_else(unready);
        }
        self.loaded(slot).await
    }

    async fn loaded(&self, slot: &Arc<Slot>) -> Result<Loaded, Failure> {
        slot.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mut loaded = slot.loaded.lock().await;
        if let Some(loaded) = &*loaded {
            return Ok(loaded.clone());
        }
        self.make_room(slot).await;
        let (named, options, warm) = (slot.named.clone(), slot.options.clone(), self.config.warm);
        let start = Instant::now();
        let opened = tokio::task::spawn_blocking(move || open(&named, &options, warm)).await;
        let opened =
            opened.map_err(|error| Failure::new(FailureKind::Backend, format!("loading failed: {error}")))??;
        tracing::info!(
            model = slot.named.name,
            bytes = opened.bytes(),
            milliseconds = start.elapsed().as_millis(),
            "loaded"
        );
        *slot.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.task());
        *loaded = Some(opened.clone());
        Ok(opened)
    }

    /// Unloads what was not used for the longest time until the new model fits, going by the size of its file or by what it took before.
    async fn make_room(&self, new: &Arc<Slot>) {
        let Some(most) = self.config.memory else { return };
        let needed = new.expected_bytes();
        loop {
            let mut taken = needed;
            let mut oldest: Option<Arc<Slot>> = None;
            for slot in self.slots() {
                if Arc::ptr_eq(&slot, new) {
                    continue;
                }
                // One that is being loaded is in use.
                let Ok(loaded) = slot.loaded.try_lock() else { continue };
                let Some(model) = &*loaded else { continue };
                taken += model.bytes();
                drop(loaded);
                let older =
                    |than: &Arc<Slot>| slot.last_use.load(Ordering::Relaxed) < than.last_use.load(Ordering::Relaxed);
                if oldest.as_ref().is_none_or(older) {
                    oldest = Some(slot);
                }
            }
            let Some(oldest) = oldest.filter(|_| taken > most) else { return };
            // Requests that still wait for it keep it until they are done.
            oldest.loaded.lock().await.take();
            tracing::info!(model = oldest.named.name, "unloaded to make room");
        }
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Loaded {
    /// What it is for.
    pub fn task(&self) -> Task {
        match self {
            Loaded::Embedder(_) => Task::Embed,
            Loaded::Reranker(_) => Task::Rerank,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Loaded::Embedder(served) => &served.name,
            Loaded::Reranker(served) => &served.name,
        }
    }

    /// Bytes of memory that it takes: packed weights, and what stays in the mapping of its files.
    pub fn bytes(&self) -> u64 {
        let (packed, path) = match self {
            Loaded::Embedder(served) => (served.model.packed_bytes(), &served.model.settings().path),
            Loaded::Reranker(served) => (served.model.packed_bytes(), &served.model.settings().path),
        };
        file_bytes(path).max(packed as u64)
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &docent::tokenizer::Tokenizer {
        match self {
            Loaded::Embedder(served) => served.model.tokenizer(),
            Loaded::Reranker(served) => served.model.tokenizer(),
        }
    }

    /// What its files say.
    pub fn description(&self) -> &docent::Description {
        match self {
            Loaded::Embedder(served) => &served.model.settings().description,
            Loaded::Reranker(served) => &served.model.settings().description,
        }
    }

    /// Tokens that it reads unless the request says otherwise.
    pub fn max_length(&self) -> usize {
        match self {
            Loaded::Embedder(served) => served.model.settings().max_length,
            Loaded::Reranker(served) => served.model.settings().max_length,
        }
    }
}

impl Slot {
    fn new(named: NamedModel, options: OpenOptions) -> Self {
        let (last_use, task, loaded) = Default::default();
        Slot { named, options, since: SystemTime::now(), last_use, task, loaded }
    }

    fn task(&self) -> Option<Task> {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self) -> ModelInfo {
        let loaded = self.loaded.try_lock().is_ok_and(|loaded| loaded.is_some());
        ModelInfo { name: self.named.name.clone(), task: self.task(), loaded, since: self.since }
    }

    fn expected_bytes(&self) -> u64 {
        let hub = Hub::from_env().offline(true);
        hub.cached(&self.named.model, self.options.quant).map_or(0, |path| file_bytes(&path))
    }
}

/// Opens a model, and if wanted computes something with it.
fn open(named: &NamedModel, options: &OpenOptions, warm: bool) -> Result<Loaded, Failure> {
    let failed = |error: docent::Error| {
        Failure::new(FailureKind::Backend, format!("the model `{}` cannot be loaded: {error}", named.name))
    };
    let name = named.name.clone();
    Ok(match AnyModel::open_with(&named.model, options, &Silent).map_err(failed)? {
        AnyModel::Embedder(model) => {
            if warm {
                model.embed(&["warm"]).map_err(failed)?;
            }
            Loaded::Embedder(Arc::new(Served { name, model }))
        }
        AnyModel::Reranker(model) => {
            if warm {
                model.rerank("warm", &["warm"]).map_err(failed)?;
            }
            Loaded::Reranker(Arc::new(Served { name, model }))
        }
    })
}

/// Bytes of a file, or of the files of a directory.
fn file_bytes(path: &std::path::Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => {
            entries.flatten().filter_map(|entry| std::fs::metadata(entry.path()).ok()).map(|file| file.len()).sum()
        }
        Err(_) => std::fs::metadata(path).map_or(0, |file| file.len()),
    }
}

fn names(slots: &[Arc<Slot>]) -> String {
    match slots {
        [] => "none".to_owned(),
        slots => slots.iter().map(|slot| slot.named.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn wrong(name: &str, found: &str, wanted: &str) -> Failure {
    Failure::new(FailureKind::WrongModel, format!("{name} is {found}, not {wanted}")).about("model")
}
