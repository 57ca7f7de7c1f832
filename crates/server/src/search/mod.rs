//! An index of documents that is searched with the models of the server.

use std::sync::Arc;

use docent::{Embedder, ModelRef, Reranker};
use docent_search::{Error, Index, Models, Query, SearchOptions, SearchResults};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::failure::{Failure, FailureKind};
use crate::models::Served;
use crate::service::Service;

/// Searches that run at a time; further ones wait. Each computes on all threads when it embeds or reranks.
const AT_A_TIME: usize = 4;

/// An index with the models that search it. Cheap to clone.
///
/// A search runs on a thread of its own beside the scheduler: it embeds one query, which is over before a step would be put together, and
/// then waits for the disk more than for a processor.
#[derive(Clone)]
pub struct Searcher {
    shared: Arc<Shared>,
}

struct Shared {
    index: Index,
    service: Service,
    models: SearchModels,
    turns: Arc<Semaphore>,
}

/// The models of searches that name none. They are what whoever runs the server says, and so may be paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchModels {
    /// The embedder; `None` for the one that the collections name, else the server's first.
    pub embedder: Option<ModelRef>,
    /// The reranker; `None` for none.
    pub reranker: Option<ModelRef>,
}

/// What is looked for, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// By keyword alone.
    Keywords(String),
    /// By meaning alone.
    Meaning(String),
    /// By both, and reranked.
    Both(Query),
}

/// A search.
#[derive(Clone, Debug)]
pub struct SearchCall {
    /// What is looked for.
    pub search: Search,
    /// What is wanted of the results.
    pub options: SearchOptions,
    /// Whether a reranker may order them, if there is one.
    pub rerank: bool,
}

/// What a [`SearchCall`] found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// The documents, and what a deadline has cut off.
    pub results: SearchResults,
    /// What the user should know: one line each.
    pub notes: Vec<String>,
}

/// The models of one search, in memory.
#[derive(Default)]
struct Ready {
    embedder: Option<Arc<Served<Embedder>>>,
    reranker: Option<Arc<Served<Reranker>>>,
}

impl Searcher {
    /// An index that is searched with the models of a service.
    pub fn new(index: Index, service: Service, models: SearchModels) -> Self {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        Searcher { shared: Arc::new(Shared { index, service, models, turns }) }
    }

    /// Where the index is.
    pub fn path(&self) -> &std::path::Path {
        self.shared.index.path()
    }

    /// Searches with the models that it was made with. Where nothing has been embedded with them, a search by both looks for the words alone and
    /// [says so](Found::notes).
    ///
    /// # Errors
    /// What is wrong with the query, a collection that is not there, a model that cannot be had, those of the index.
    pub async fn search(&self, call: SearchCall) -> Result<Found, Failure> {
        self.search_with(call, &self.shared.models).await
    }

    /// Searches with other models than it was made with.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub async fn search_with(&self, call: SearchCall, models: &SearchModels) -> Result<Found, Failure> {
        let ready = self.load(&call, models).await?;
        self.read(move |index| find(index, &call, &ready)).await
    }

    /// Reads the index beside the reactor.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Index) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let failed = || Failure::new(FailureKind::Backend, "the search failed; this is a defect, please report it");
        let turn = Arc::clone(&self.shared.turns).acquire_owned().await.map_err(|_| failed())?;
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let _turn = turn;
            work(&shared.index)
        };
        Ok(tokio::task::spawn_blocking(work).await.map_err(|_| failed())??)
    }

    /// The models that a search needs.
    async fn load(&self, call: &SearchCall, models: &SearchModels) -> Result<Ready, Failure> {
        let served = self.shared.service.models();
        let mut ready = Ready::default();
        if matches!(call.search, Search::Keywords(_)) {
            return Ok(ready);
        }
        ready.embedder = Some(match &models.embedder {
            Some(model) => served.embedder_of(model).await?,
            None => {
                let collections = call.options.collections.clone();
                match self.read(move |index| index.model_of(&collections)).await? {
                    Some(name) => served.embedder_of(&reference(&name)?).await?,
                    None => served.embedder(None).await?,
                }
            }
        });
        if let (Some(model), Search::Both(_), true) = (&models.reranker, &call.search, call.rerank) {
            ready.reranker = Some(served.reranker_of(model).await?);
        }
        Ok(ready)
    }
}

/// A model by the name that a collection has for it.
fn reference(name: &str) -> Result<ModelRef, Failure> {
    name.parse().map_err(|error: docent::model_ref::ParseError| {
        Failure::new(FailureKind::Backend, format!("the model {name:?} of a collection cannot be had: {error}"))
    })
}

fn find(index: &Index, call: &SearchCall, ready: &Ready) -> Result<Found, Error> {
    let embedder = ready.embedder.as_deref().map(|served| &served.model);
    let reranker = ready.reranker.as_deref().map(|served| &served.model);
    let found = |results| Found { results, notes: Vec::new() };
    match &call.search {
        Search::Keywords(query) => index.search_keywords(query, &call.options).map(found),
        Search::Meaning(query) => {
            let embedder = embedder.expect("every search but that by keyword has loaded one");
            index.search_meaning(query, embedder, &call.options).map(found)
        }
        Search::Both(query) => match index.search(query, Models { embedder, reranker }, &call.options) {
            Err(error @ Error::NoVectors { .. }) => {
                let results = index.search(query, Models { embedder: None, reranker }, &call.options)?;
                Ok(Found { results, notes: vec![format!("{error}; the words alone were looked for")] })
            }
            result => result.map(found),
        },
    }
}
