//! The models that are served: by which names, and which of them are in memory.

mod loaded;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use docent::hub::{Hub, Silent};
use docent::{AnyModel, Embedder, Expander, ModelRef, OpenOptions, Reranker, catalog};

use crate::config::{ModelsConfig, NamedModel};
use crate::failure::{Failure, FailureKind};
use loaded::{Unloaded, file_bytes};

pub use loaded::{Loaded, ModelFacts, Served, Task};

/// A served model as lists of models show it.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The name in requests.
    pub name: String,
    /// What it is; `None` before it was loaded for the first time.
    pub facts: Option<Arc<ModelFacts>>,
    /// Whether it is in memory.
    pub loaded: bool,
    /// When the server learned of it.
    pub since: SystemTime,
}

/// The models of a server. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    shared: Arc<Shared>,
}

struct Shared {
    config: ModelsConfig,
    slots: Mutex<Vec<Arc<Slot>>>,
    ready: AtomicBool,
    /// Counts uses, to tell which model was not used for the longest time.
    uses: AtomicU64,
    /// Held while a model is loaded: one at a time, so that each sees what memory the others take.
    loading: Arc<tokio::sync::Mutex<()>>,
}

/// One model, in memory or not.
struct Slot {
    named: NamedModel,
    options: OpenOptions,
    /// Whether it is to be opened as an expander.
    expands: bool,
    since: SystemTime,
    last_use: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    /// What was unloaded, and may live on in requests that still wait for it.
    unloaded: Option<Unloaded>,
    /// What the model is, once it was loaded.
    facts: Option<Arc<ModelFacts>>,
}

impl Models {
    /// Models that [`load`](Self::load) loads; until it has, only what is loaded already is to be had.
    pub fn new(config: ModelsConfig) -> Self {
        let slots = config.models.iter().map(|named| Arc::new(Slot::new(named.clone(), config.open.clone()))).collect();
        let (ready, uses, loading) = Default::default();
        Models { shared: Arc::new(Shared { config, slots: Mutex::new(slots), ready, uses, loading }) }
    }

    /// Loads those that are always served, in the order in which they were named.
    ///
    /// # Errors
    /// If one cannot be had or used.
    pub async fn load(&self) -> Result<(), Failure> {
        for slot in self.shared.slots() {
            let loaded = self.loaded(&slot).await?;
            if loaded.task() == Task::Expand {
                return Err(loaded.wrong("a model that is served; `docent serve --search` uses it"));
            }
        }
        self.shared.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Instead of [`load`](Self::load): from now on each is loaded when it is asked for first.
    pub fn load_when_asked(&self) {
        self.shared.ready.store(true, Ordering::Release);
    }

    /// Whether all that are always served have been loaded.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// The models, those that are always served first.
    pub fn list(&self) -> Vec<ModelInfo> {
        self.shared.slots().iter().map(|slot| slot.info()).collect()
    }

    /// The model of this name as [`list`](Self::list) has it.
    pub fn info(&self, name: &str) -> Option<ModelInfo> {
        let of_catalogue = || self.shared.known(&catalog::find(plain(name))?.name);
        self.shared.known(name).or_else(of_catalogue).map(|slot| slot.info())
    }

    /// What the model of this name is, or without a name the first. That is no use of it, and it is only loaded if it never was.
    ///
    /// # Errors
    /// As [`any`](Self::any).
    pub async fn describe(&self, name: Option<&str>) -> Result<(ModelInfo, Arc<ModelFacts>), Failure> {
        let slot = self.slot_or_first(name).await?;
        if slot.facts().is_none() {
            if !self.is_ready() {
                return Err(unready(&slot));
            }
            self.load_slot(&slot).await?;
        }
        // Facts stay when the model goes.
        let nothing = || Failure::new(FailureKind::Backend, "the model was not loaded");
        Ok((slot.info(), slot.facts().ok_or_else(nothing)?))
    }

    /// The model of this name, or the first that embeds.
    ///
    /// # Errors
    /// If there is none, it is no embedder, or it cannot be loaded.
    pub async fn embedder(&self, name: Option<&str>) -> Result<Arc<Served<Embedder>>, Failure> {
        self.find(name, Task::Embed).await?.embedder()
    }

    /// The model of this name, or the first that reranks.
    ///
    /// # Errors
    /// As [`embedder`](Self::embedder).
    pub async fn reranker(&self, name: Option<&str>) -> Result<Arc<Served<Reranker>>, Failure> {
        self.find(name, Task::Rerank).await?.reranker()
    }

    /// The model of this name, whatever it is; without a name the first.
    ///
    /// # Errors
    /// If there is none, or it cannot be loaded.
    pub async fn any(&self, name: Option<&str>) -> Result<Loaded, Failure> {
        self.asked(&self.slot_or_first(name).await?).await
    }

    async fn slot_or_first(&self, name: Option<&str>) -> Result<Arc<Slot>, Failure> {
        match name {
            Some(name) => self.slot(name).await,
            None => {
                let nothing = || Failure::new(FailureKind::UnknownModel, "no model is served");
                self.shared.slots().into_iter().next().ok_or_else(nothing)
            }
        }
    }

    /// The embedder that whoever runs the server means, not a request: any model, which is served under its reference from then on.
    ///
    /// # Errors
    /// If it is no embedder, or cannot be loaded.
    pub async fn embedder_of(&self, model: &ModelRef) -> Result<Arc<Served<Embedder>>, Failure> {
        self.loaded(&self.slot_of(model, false)).await?.embedder()
    }

    /// The same for a reranker.
    ///
    /// # Errors
    /// As [`embedder_of`](Self::embedder_of).
    pub async fn reranker_of(&self, model: &ModelRef) -> Result<Arc<Served<Reranker>>, Failure> {
        self.loaded(&self.slot_of(model, false)).await?.reranker()
    }

    /// The same for an expander.
    ///
    /// # Errors
    /// As [`embedder_of`](Self::embedder_of).
    pub async fn expander_of(&self, model: &ModelRef) -> Result<Arc<Served<Expander>>, Failure> {
        self.loaded(&self.slot_of(model, true)).await?.expander()
    }

    /// Forgets a model that [`embedder_of`](Self::embedder_of) and its like have loaded: its file is another. Who uses it keeps it.
    pub fn forget(&self, model: &ModelRef) {
        let mut slots = self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.named.model != *model);
    }

    fn slot_of(&self, model: &ModelRef, expands: bool) -> Arc<Slot> {
        let named = NamedModel { name: model.to_string(), model: model.clone() };
        self.shared.add(named, self.shared.config.open.clone(), expands)
    }

    async fn find(&self, name: Option<&str>, task: Task) -> Result<Loaded, Failure> {
        if let Some(name) = name {
            return self.asked(&self.slot(name).await?).await;
        }
        let slots = self.shared.slots();
        for slot in &slots {
            // What a model is shows when it is loaded; a configured one always was.
            if slot.facts().is_none_or(|facts| facts.task == task) {
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
    async fn slot(&self, name: &str) -> Result<Arc<Slot>, Failure> {
        if let Some(slot) = self.shared.known(name) {
            return Ok(slot);
        }
        let on_demand = self.shared.config.on_demand;
        let entry = catalog::find(plain(name)).filter(|entry| on_demand && entry.kind != catalog::Kind::Expander);
        if let Some(entry) = entry {
            let named = NamedModel { name: entry.name.clone(), model: ModelRef::Name(entry.name.clone()) };
            let options = OpenOptions { offline: true, ..self.shared.config.open.clone() };
            let (model, quant) = (named.model.clone(), options.quant);
            // A file that was never looked at is read to its end.
            let here = move || Hub::from_env().offline(true).cached(&model, quant).is_some();
            if tokio::task::spawn_blocking(here).await.unwrap_or(false) {
                return Ok(self.shared.add(named, options, false));
            }
        }
        let message = format!("the model `{name}` is not served; there are: {}", names(&self.shared.slots()));
        Err(Failure::new(FailureKind::UnknownModel, message).about("model"))
    }

    /// The model of a slot for a request, which does not wait for what the server loads at its start: that may take minutes, and whoever
    /// sends requests is to see from the answer that another server would do better.
    async fn asked(&self, slot: &Arc<Slot>) -> Result<Loaded, Failure> {
        if !self.is_ready() {
            return slot.in_memory().ok_or_else(|| unready(slot));
        }
        self.loaded(slot).await
    }

    async fn loaded(&self, slot: &Arc<Slot>) -> Result<Loaded, Failure> {
        slot.last_use.store(self.shared.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.load_slot(slot).await
    }

    /// The model of a slot, which is no use of it yet.
    async fn load_slot(&self, slot: &Arc<Slot>) -> Result<Loaded, Failure> {
        if let Some(loaded) = slot.in_memory() {
            return Ok(loaded);
        }
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(slot));
        // A task of its own: what is begun is of use to the next, also when this client goes away.
        let load = tokio::spawn(async move {
            let turn = Arc::clone(&shared.loading).lock_owned().await;
            let load = move || {
                let _turn = turn;
                shared.load(&slot)
            };
            tokio::task::spawn_blocking(load).await
        });
        match load.await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) | Err(error) => {
                Err(Failure::new(FailureKind::Backend, format!("the model could not be loaded: {error}")))
            }
        }
    }
}

impl Shared {
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The slot that requests know by this name.
    fn known(&self, name: &str) -> Option<Arc<Slot>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().find(|slot| slot.named.name.eq_ignore_ascii_case(plain(name))).cloned()
    }

    /// A slot for a model of the catalogue, if there is none that has it under whatever name.
    fn add(&self, named: NamedModel, options: OpenOptions, expands: bool) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.iter().find(|slot| slot.named.model == named.model && slot.expands == expands) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot { expands, ..Slot::new(named, options) });
        slots.push(Arc::clone(&slot));
        slot
    }

    /// Loads a model, unless another request has done it meanwhile. What cannot be loaded is not offered any more, if nobody configured it.
    fn load(&self, slot: &Arc<Slot>) -> Result<Loaded, Failure> {
        if let Some(loaded) = slot.in_memory() {
            return Ok(loaded);
        }
        self.make_room(slot);
        let start = Instant::now();
        let opened = open(slot, self.config.warm).inspect_err(|failure| {
            tracing::warn!("{failure}");
            if !self.config.models.contains(&slot.named) {
                let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                slots.retain(|other| !Arc::ptr_eq(other, slot));
            }
        })?;
        let facts = opened.facts();
        let (bytes, milliseconds) = (facts.bytes, start.elapsed().as_millis());
        tracing::info!(model = slot.named.name, bytes, milliseconds, "loaded");
        let mut state = slot.state();
        state.facts = Some(Arc::new(facts));
        state.loaded = Some(opened.clone());
        Ok(opened)
    }

    /// Unloads what was not used for the longest time until the new model fits, going by the size of its file. What requests still wait
    /// for lives on until they are done, and counts.
    fn make_room(&self, new: &Arc<Slot>) {
        let Some(most) = self.config.memory else { return };
        let others: Vec<Arc<Slot>> = self.slots().into_iter().filter(|slot| !Arc::ptr_eq(slot, new)).collect();
        let needed = new.expected_bytes();
        loop {
            let taken = needed + others.iter().map(|slot| slot.bytes()).sum::<u64>();
            let loaded = others.iter().filter(|slot| slot.state().loaded.is_some());
            let Some(oldest) = loaded.min_by_key(|slot| slot.last_use.load(Ordering::Relaxed)) else { return };
            if taken <= most {
                return;
            }
            let mut state = oldest.state();
            state.unloaded = state.loaded.take().map(Loaded::downgrade);
            tracing::info!(model = oldest.named.name, "unloaded to make room");
        }
    }
}

impl Slot {
    fn new(named: NamedModel, options: OpenOptions) -> Self {
        let (last_use, state) = Default::default();
        Slot { named, options, expands: false, since: SystemTime::now(), last_use, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model, if it is in memory: also if it was to be unloaded and some request has kept it.
    fn in_memory(&self) -> Option<Loaded> {
        let mut state = self.state();
        if state.loaded.is_none() {
            state.loaded = state.unloaded.take().and_then(|unloaded| unloaded.upgrade());
        }
        state.loaded.clone()
    }

    /// Bytes of memory that it takes now.
    fn bytes(&self) -> u64 {
        let state = self.state();
        let is_there = state.loaded.is_some() || state.unloaded.as_ref().and_then(Unloaded::upgrade).is_some();
        state.facts.as_ref().filter(|_| is_there).map_or(0, |facts| facts.bytes)
    }

    fn facts(&self) -> Option<Arc<ModelFacts>> {
        self.state().facts.clone()
    }

    fn info(&self) -> ModelInfo {
        let state = self.state();
        let (name, facts) = (self.named.name.clone(), state.facts.clone());
        ModelInfo { name, facts, loaded: state.loaded.is_some(), since: self.since }
    }

    fn expected_bytes(&self) -> u64 {
        let hub = Hub::from_env().offline(true);
        hub.cached(&self.named.model, self.options.quant).map_or(0, |path| file_bytes(&path))
    }
}

/// Opens a model, and if wanted computes something with it.
fn open(slot: &Slot, warm: bool) -> Result<Loaded, Failure> {
    let Slot { named, options, expands, .. } = slot;
    let failed = |error: docent::Error| {
        Failure::new(FailureKind::Backend, format!("the model `{}` cannot be loaded: {error}", named.name))
    };
    let name = named.name.clone();
    // The weights of an expander are those of any language model.
    let opened = match expands {
        true => Expander::open_with(&named.model, options, &Silent).map(AnyModel::Expander),
        false => AnyModel::open_with(&named.model, options, &Silent),
    };
    Ok(match opened.map_err(failed)? {
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
        AnyModel::Expander(model) => Loaded::Expander(Arc::new(Served { name, model })),
    })
}

/// A name without the tag that Ollama's clients add to every one.
fn plain(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

fn names(slots: &[Arc<Slot>]) -> String {
    match slots {
        [] => "none".to_owned(),
        slots => slots.iter().map(|slot| slot.named.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn unready(slot: &Slot) -> Failure {
    let message = format!("the model `{}` is being loaded; try again soon", slot.named.name);
    Failure::new(FailureKind::Unready, message)
}
