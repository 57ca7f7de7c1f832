//! The daemon: one process of a user that keeps models and indexes warm for that user's commands.
//!
//! It is a [`Server`](crate::Server) on a Unix socket that only its user can connect to, and answers besides the dialects two routes of its own: a search
//! of any index, with any models, and the word to stop. Both would be wrong for strangers, for they name files; a server on an address does
//! not have them.
//!
//! A command that finds no daemon, one of another version, or an answer that it does not understand, does the work itself and gets the same bits.
//! So the daemon refuses whatever is not plain, and never downloads.

mod client;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Json as Answer, Router};
use docent::ModelRef;
use docent_search::Index;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::Json;
use crate::failure::{Failure, FailureKind};
use crate::search::{Found, SearchCall, SearchModels, Searcher};
use crate::service::Service;

pub use client::{Client, ClientError};
pub use wire::{Caches, FileState, NamedFile, SearchRequest, Status};

/// Indexes that stay open.
const INDEXES: usize = 8;

/// The route of searches. A daemon of another version does not have it.
const SEARCH: &str = concat!("/daemon/", env!("CARGO_PKG_VERSION"), "/search");

/// The routes that every version has.
const STATUS: &str = "/daemon/status";
const STOP: &str = "/daemon/stop";

/// What a daemon has besides its service. Cheap to clone.
#[derive(Clone)]
pub struct Daemon {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    caches: Caches,
    since: SystemTime,
    /// Those that were searched last, the last first.
    indexes: Mutex<VecDeque<Open>>,
    /// The state of each model's file when it was first asked for.
    files: Mutex<HashMap<String, FileState>>,
    usage: Mutex<Use>,
    stop: Notify,
}

/// When the daemon was used last, and by how many searches it is used now.
struct Use {
    last: Instant,
    now: usize,
}

/// A search under way.
struct Searching<'d>(&'d Daemon);

/// An index, and the file that it is.
#[derive(Clone)]
struct Open {
    path: PathBuf,
    file: Option<FileId>,
    searcher: Searcher,
}

/// What tells a file from another that was put in its place.
type FileId = (u64, u64);

impl Daemon {
    /// A daemon that computes with a service.
    pub fn new(service: Service) -> Self {
        let (caches, since) = (Caches::of_environment(), SystemTime::now());
        let usage = Mutex::new(Use { last: Instant::now(), now: 0 });
        let (indexes, files, stop) = (Mutex::default(), Mutex::default(), Notify::new());
        Daemon { shared: Arc::new(Shared { service, caches, since, indexes, files, usage, stop }) }
    }

    /// The routes of all dialects, and those of the daemon.
    pub fn router(&self) -> Router {
        let own = Router::new()
            .route(SEARCH, post(search))
            .route(STATUS, get(status))
            .route(STOP, post(stop))
            .layer(Extension(self.clone()))
            .with_state(self.shared.service.clone());
        crate::router(self.shared.service.clone()).merge(own)
    }

    /// Ends when the daemon is told to stop.
    pub async fn stopped(&self) {
        self.shared.stop.notified().await;
    }

    /// Ends when nothing has been searched for so long.
    pub async fn idle_for(&self, time: Duration) {
        loop {
            let end = {
                let usage = self.usage();
                if usage.now > 0 { Instant::now() + time } else { usage.last + time }
            };
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    fn usage(&self) -> MutexGuard<'_, Use> {
        self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn searching(&self) -> Searching<'_> {
        self.usage().now += 1;
        Searching(self)
    }

    fn indexes(&self) -> MutexGuard<'_, VecDeque<Open>> {
        self.shared.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn search(&self, request: SearchRequest) -> Result<Found, Failure> {
        if request.caches != self.shared.caches {
            let message =
                "the daemon looks for models in other folders than this command; start it in the same environment";
            return Err(Failure::new(FailureKind::Invalid, message).about("caches"));
        }
        let _searching = self.searching();
        for file in [&request.embedder, &request.reranker, &request.expander].into_iter().flatten() {
            self.see(file);
        }
        let model = |file: Option<NamedFile>| file.map(|file| file.reference.parse::<ModelRef>()).transpose();
        let models = model(request.embedder).and_then(|embedder| {
            let (reranker, expander) = (model(request.reranker)?, model(request.expander)?);
            Ok(SearchModels { embedder, reranker, expander })
        });
        let models = models.map_err(|error| Failure::invalid("model", error.to_string()))?;
        let searcher = self.searcher(request.index).await?;
        let call = SearchCall { search: request.search, options: request.options, rerank: true };
        searcher.search_with(call, &models).await
    }

    /// Forgets a model whose file is another than before, and what the indexes know of it.
    fn see(&self, file: &NamedFile) {
        let mut files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        let before = files.insert(file.reference.clone(), file.state.clone());
        if before.is_some_and(|before| before != file.state)
            && let Ok(model) = file.reference.parse()
        {
            tracing::info!(model = file.reference, "the file of a model has changed");
            self.shared.service.models().forget(&model);
            self.indexes().clear();
        }
    }

    /// The index at a path, opened anew if another file is there now.
    async fn searcher(&self, path: PathBuf) -> Result<Searcher, Failure> {
        let file = file_at(&path);
        let held = {
            let mut indexes = self.indexes();
            indexes.retain(|open| open.path != path || open.file == file);
            indexes.iter().position(|open| open.path == path).and_then(|place| {
                let open = indexes.remove(place)?;
                indexes.push_front(open.clone());
                Some(open.searcher)
            })
        };
        if let Some(searcher) = held {
            return Ok(searcher);
        }
        let place = path.clone();
        let opened = tokio::task::spawn_blocking(move || Index::open(place)).await;
        let index = opened.map_err(|_| Failure::new(FailureKind::Backend, "the index could not be opened"))??;
        let searcher = Searcher::new(index, self.shared.service.clone(), SearchModels::default());
        // It was made just now if it was not there.
        let open = Open { file: file_at(&path), path, searcher: searcher.clone() };
        let mut indexes = self.indexes();
        indexes.push_front(open);
        indexes.truncate(INDEXES);
        Ok(searcher)
    }
}

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        let mut usage = self.0.usage();
        usage.now -= 1;
        usage.last = Instant::now();
    }
}

#[cfg(unix)]
fn file_at(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;

    std::fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

#[cfg(not(unix))]
fn file_at(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|_| (0, 0))
}

async fn search(
    Extension(daemon): Extension<Daemon>,
    State(_): State<Service>,
    Json(request): Json<SearchRequest>,
) -> Result<Answer<Found>, Failure> {
    daemon.search(request).await.map(Answer)
}

async fn status(Extension(daemon): Extension<Daemon>) -> Answer<Status> {
    let models = daemon.shared.service.models().list();
    Answer(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        since: daemon.shared.since.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        models: models.into_iter().filter(|model| model.loaded).map(|model| model.name).collect(),
        indexes: daemon.indexes().iter().map(|open| open.path.clone()).collect(),
    })
}

async fn stop(Extension(daemon): Extension<Daemon>) {
    daemon.shared.stop.notify_one();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

    use super::*;
    use crate::Config;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_is_idle_from_its_last_search_on() {
        let daemon = Daemon::new(Service::new(&Config::default()));
        let start = Instant::now();
        let searched = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            let searching = daemon.searching();
            tokio::time::sleep(Duration::from_secs(70)).await;
            drop(searching);
        };
        tokio::join!(daemon.idle_for(Duration::from_secs(60)), searched);
        assert_eq!(start.elapsed().as_secs(), 180);
    }

    #[tokio::test]
    async fn caches_of_another_environment_are_refused() {
        let request = SearchRequest {
            index: "nowhere".into(),
            search: crate::Search::Keywords("moon".to_owned()),
            options: docent_search::SearchOptions::default(),
            embedder: None,
            reranker: None,
            expander: None,
            caches: Caches { hub: Some("elsewhere".into()), docent: None },
        };
        let failure = Daemon::new(Service::new(&Config::default())).search(request).await.unwrap_err();
        assert_eq!(failure.field.as_deref(), Some("caches"));
    }
}
