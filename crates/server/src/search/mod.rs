//! An index of documents that is searched with the models of the server.

pub(crate) mod names;
pub(crate) mod question;

use std::sync::Arc;

use docent::{Embedder, Expander, ModelRef, Reranker};
use docent_search::{Error, Expands, Index, LineKind, Models, Query, SearchOptions, SearchResults};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::failure::{Failure, FailureKind};
use crate::models::Served;
use crate::service::Service;

/// Searches that run at a time; further ones wait. Each computes on all threads when it embeds or reranks.
const SEARCHES: usize = 4;

/// Other reads of the index at a time, which wait for no search.
const READS: usize = 16;

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
    searches: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// The models of searches that name none. They are what whoever runs the server says, and so may be paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchModels {
    /// The embedder; `None` for the one that the collections name, else the server's first.
    pub embedder: Option<ModelRef>,
    /// The reranker; `None` for none.
    pub reranker: Option<ModelRef>,
    /// The expander of plain questions; `None` for none.
    pub expander: Option<ModelRef>,
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
    expander: Option<Arc<Served<Expander>>>,
}

impl Searcher {
    /// An index that is searched with the models of a service.
    pub fn new(index: Index, service: Service, models: SearchModels) -> Self {
        let (searches, reads) = (Arc::new(Semaphore::new(SEARCHES)), Arc::new(Semaphore::new(READS)));
        Searcher { shared: Arc::new(Shared { index, service, models, searches, reads }) }
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
        self.beside(&self.shared.searches, move |index| find(index, &call, &ready)).await
    }

    /// Searches as [`search`](Self::search) does, but without the models that cannot be had, and [says so](Found::notes): by both, it looks for
    /// the words alone and leaves the order as it is.
    ///
    /// # Errors
    /// What is wrong with the query, a collection that is not there, those of the index; for a search by meaning alone also its model's.
    pub async fn search_with_what_there_is(&self, call: SearchCall) -> Result<Found, Failure> {
        if !matches!(call.search, Search::Both(_)) {
            return self.search(call).await;
        }
        let models = &self.shared.models;
        let (embedder, reranker) = (self.embedder(&call, models).await, self.reranker(&call, models).await);
        let expander = self.expander(&call, models).await;
        let mut notes = Vec::new();
        let ready = Ready {
            embedder: embedder.unwrap_or_else(|failure| {
                notes.push(format!("{failure}; the words alone were looked for"));
                None
            }),
            reranker: reranker.unwrap_or_else(|failure| {
                notes.push(format!("{failure}; nothing was reranked"));
                None
            }),
            expander: expander.unwrap_or_else(|failure| {
                notes.push(format!("{failure}; the question was not expanded"));
                None
            }),
        };
        let searches = &self.shared.searches;
        let mut found = self.beside(searches, move |index| find(index, &call, &ready)).await?;
        notes.append(&mut found.notes);
        notes.extend(found.results.left_out.iter().map(|part| format!("left out because the time was over: {part}")));
        Ok(Found { notes, ..found })
    }

    /// Reads the index beside the reactor.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Index) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        self.beside(&self.shared.reads, work).await
    }

    /// The same when it has its turn.
    async fn beside<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        work: impl FnOnce(&Index) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let failed = || Failure::new(FailureKind::Backend, "the search failed; this is a defect, please report it");
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| failed())?;
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let _turn = turn;
            work(&shared.index)
        };
        Ok(tokio::task::spawn_blocking(work).await.map_err(|_| failed())??)
    }

    /// The models that a search needs.
    async fn load(&self, call: &SearchCall, models: &SearchModels) -> Result<Ready, Failure> {
        let (embedder, reranker) = (self.embedder(call, models).await?, self.reranker(call, models).await?);
        Ok(Ready { embedder, reranker, expander: self.expander(call, models).await? })
    }

    /// The embedder that a search needs, if it looks for a meaning.
    async fn embedder(
        &self,
        call: &SearchCall,
        models: &SearchModels,
    ) -> Result<Option<Arc<Served<Embedder>>>, Failure> {
        let is_lexical = match &call.search {
            Search::Keywords(_) => true,
            Search::Meaning(_) => false,
            Search::Both(query) => query.lines.iter().all(|line| line.kind == LineKind::Lex),
        };
        if is_lexical {
            return Ok(None);
        }
        let served = self.shared.service.models();
        if let Some(model) = &models.embedder {
            return served.embedder_of(model).await.map(Some);
        }
        let collections = call.options.collections.clone();
        match self.read(move |index| index.model_of(&collections)).await? {
            Some(name) => served.embedder_of(&reference(&name)?).await.map(Some),
            None => served.embedder(None).await.map(Some),
        }
    }

    /// The reranker that a search may use.
    async fn reranker(
        &self,
        call: &SearchCall,
        models: &SearchModels,
    ) -> Result<Option<Arc<Served<Reranker>>>, Failure> {
        match (&models.reranker, &call.search, call.rerank) {
            (Some(model), Search::Both(_), true) => self.shared.service.models().reranker_of(model).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The expander that a search may use.
    async fn expander(
        &self,
        call: &SearchCall,
        models: &SearchModels,
    ) -> Result<Option<Arc<Served<Expander>>>, Failure> {
        match (&models.expander, &call.search) {
            (Some(model), Search::Both(query)) if query.is_plain() => {
                self.shared.service.models().expander_of(model).await.map(Some)
            }
            _ => Ok(None),
        }
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
    let expander = ready.expander.as_deref().map(|served| &served.model as &dyn Expands);
    let models = Models { embedder, reranker, expander };
    let found = |results| Found { results, notes: Vec::new() };
    match &call.search {
        Search::Keywords(query) => index.search_keywords(query, &call.options).map(found),
        Search::Meaning(query) => {
            let embedder = embedder.expect("every search but that by keyword has loaded one");
            index.search_meaning(query, embedder, &call.options).map(found)
        }
        Search::Both(query) if embedder.is_none() => index.search(&words(query), models, &call.options).map(found),
        Search::Both(query) => match index.search(query, models, &call.options) {
            Err(error @ Error::NoVectors { .. }) => {
                let results = index.search(&words(query), Models { embedder: None, ..models }, &call.options)?;
                Ok(Found { results, notes: vec![format!("{error}; the words alone were looked for")] })
            }
            result => result.map(found),
        },
    }
}

/// The same to be looked for without a meaning: if no line of it is looked for by keyword, all are.
fn words(query: &Query) -> Query {
    let mut query = query.clone();
    if query.lines.iter().all(|line| matches!(line.kind, LineKind::Vec | LineKind::Hyde)) {
        query.lines.iter_mut().for_each(|line| line.kind = LineKind::Plain);
    }
    query
}
