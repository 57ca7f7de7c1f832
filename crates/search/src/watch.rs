//! Noticing that the files of collections have changed.
//!
//! The system tells of changes, and an update finds out what they are: it compares folder and index anyway, in milliseconds, and is
//! right whatever the system left out. So nothing is kept of an event but the path, and of many events no more than that there were many.

mod folder;
mod network;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::collection::{all, require};
use crate::{Error, Index};
use folder::Folder;

/// How often the list of collections is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often a folder is looked at whose changes the system does not tell.
const POLL: Duration = Duration::from_secs(10);

/// Paths of a collection that are remembered one by one; of more it is known that there were many.
const MOST_PATHS: usize = 1000;

/// How files are watched.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The collections; empty for all, also those that come to be.
    pub collections: Vec<String>,
    /// How long nothing must have changed before changes are told: programs write files in several steps.
    pub quiet: Duration,
    /// How long changes are kept back at most, however many follow.
    pub longest: Duration,
    /// Looks at all folders so often, instead of having the system tell.
    pub poll: Option<Duration>,
}

impl Default for WatchOptions {
    /// All collections, after a second of quiet, five at most.
    fn default() -> Self {
        WatchOptions {
            collections: Vec::new(),
            quiet: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            poll: None,
        }
    }
}

/// What a [`Watcher`] noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The collections that an update may find something new in.
    pub collections: Vec<String>,
    /// Collections whose folder is looked at every few seconds from now on, because the system does not
    /// tell of its changes, or what its files are cannot be said.
    pub polled: Vec<Polled>,
}

/// A collection whose folder is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// The collection.
    pub collection: String,
    /// Why.
    pub reason: String,
}

/// Watches the folders of collections. From [`Index::watch`].
pub struct Watcher<'i> {
    index: &'i Index,
    options: WatchOptions,
    folders: Vec<Folder>,
    shared: Arc<Shared>,
    /// What was noticed before an error, and has not been told yet.
    noticed: Changed,
    /// When the list of collections was looked at last.
    looked: Option<Instant>,
}

/// Ends the wait of a [`Watcher`] from another thread.
#[derive(Clone)]
pub struct WatchStop(Arc<Shared>);

/// What the threads of the system's events and the watcher have in common.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_stopped: bool,
    /// By the numbers of collections.
    batches: HashMap<i64, Batch>,
}

/// Changes of a collection that have not been told yet.
struct Batch {
    first: Instant,
    last: Instant,
    paths: HashSet<PathBuf>,
    /// Whether there were so many that `paths` has not got them all, or the system lost some.
    is_everything: bool,
}

impl Index {
    /// Watches the folders of collections. The first [`wait`](Watcher::wait) returns at once, with all of them.
    ///
    /// # Errors
    /// An unknown collection, those of the database.
    pub fn watch(&self, options: WatchOptions) -> Result<Watcher<'_>, Error> {
        self.store
            .read(|connection| options.collections.iter().try_for_each(|name| require(connection, name).map(drop)))?;
        Ok(Watcher {
            index: self,
            options,
            folders: Vec::new(),
            shared: Arc::default(),
            noticed: Changed::default(),
            looked: None,
        })
    }
}

impl Watcher<'_> {
    /// Waits until files of collections have changed, or collections have been added or changed; `None` once it has been stopped.
    ///
    /// Files that belong to no collection, because of its mask or `.gitignore`, are no change.
    ///
    /// # Errors
    /// Those of the database; the next call tries again.
    pub fn wait(&mut self) -> Result<Option<Changed>, Error> {
        loop {
            if self.shared.lock().is_stopped {
                return Ok(None);
            }
            let mut changed = std::mem::take(&mut self.noticed);
            if let Err(error) = self.look(&mut changed) {
                self.noticed = changed;
                return Err(error);
            }
            if !changed.collections.is_empty() || !changed.polled.is_empty() {
                return Ok(Some(changed));
            }
            self.shared.sleep_until(self.next_look(), &self.options);
        }
    }

    /// Has a collection told once more after a time, as if it had changed: what failed may then succeed.
    pub fn retry(&mut self, collection: &str, after: Duration) {
        if let Some(folder) = self.folders.iter_mut().find(|folder| folder.collection.name == collection) {
            folder.look_at(Instant::now() + after);
        }
    }

    /// What stops it.
    pub fn stop_handle(&self) -> WatchStop {
        WatchStop(Arc::clone(&self.shared))
    }

    fn look(&mut self, changed: &mut Changed) -> Result<(), Error> {
        self.look_at_collections(changed)?;
        self.take_due(changed);
        self.take_settled(changed)
    }

    /// Opens the folders of collections that are new or have changed, and closes those that are gone.
    fn look_at_collections(&mut self, changed: &mut Changed) -> Result<(), Error> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(());
        }
        let wanted = &self.options.collections;
        let collections = self.index.store.read(|connection| Ok(all(connection)?))?;
        self.looked = Some(Instant::now());
        let mut before = std::mem::take(&mut self.folders);
        for (id, collection) in collections {
            if !wanted.is_empty() && !wanted.contains(&collection.name) {
                continue;
            }
            let known = before.iter().position(|folder| folder.id == id && folder.collection == collection);
            if let Some(known) = known {
                self.folders.push(before.swap_remove(known));
            } else {
                changed.add(&collection.name);
                self.folders.push(Folder::open(id, collection, &self.shared, self.options.poll, changed));
            }
        }
        self.shared.lock().batches.retain(|id, _| self.folders.iter().any(|folder| folder.id == *id));
        Ok(())
    }

    /// The folders whose time to be looked at has come.
    fn take_due(&mut self, changed: &mut Changed) {
        let now = Instant::now();
        for folder in &mut self.folders {
            if folder.due.is_some_and(|due| due <= now) {
                folder.looked_at(now, &self.shared, changed);
                changed.add(&folder.collection.name);
            }
        }
    }

    /// The collections whose changes have been waiting long enough.
    fn take_settled(&mut self, changed: &mut Changed) -> Result<(), Error> {
        let now = Instant::now();
        for folder in &mut self.folders {
            let batch = {
                let mut state = self.shared.lock();
                let is_settled = state.batches.get(&folder.id).is_some_and(|batch| batch.due(&self.options) <= now);
                if is_settled { state.batches.remove(&folder.id) } else { None }
            };
            let Some(batch) = batch else { continue };
            match folder.concerns(&batch, self.index, &self.shared, changed) {
                Ok(true) => changed.add(&folder.collection.name),
                Ok(false) => {}
                Err(error) => {
                    self.shared.note(folder.id, batch.paths, batch.is_everything);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn next_look(&self) -> Instant {
        let looked = self.looked.unwrap_or_else(Instant::now) + LOOK;
        self.folders.iter().filter_map(|folder| folder.due).fold(looked, Instant::min)
    }
}

impl Changed {
    fn add(&mut self, collection: &str) {
        if !self.collections.iter().any(|known| known == collection) {
            self.collections.push(collection.to_owned());
        }
    }
}

impl WatchStop {
    /// Ends the wait that is going on, and all later ones.
    pub fn stop(&self) {
        self.0.lock().is_stopped = true;
        self.0.changed.notify_all();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.lock().is_stopped
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes changes of a collection; without a path, that anything may have changed.
    fn note(&self, collection: i64, paths: impl IntoIterator<Item = PathBuf>, is_everything: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        let is_first = !state.batches.contains_key(&collection);
        let batch = state.batches.entry(collection).or_insert_with(|| Batch {
            first: now,
            last: now,
            paths: HashSet::new(),
            is_everything: false,
        });
        batch.last = now;
        batch.is_everything |= is_everything;
        if !batch.is_everything {
            batch.paths.extend(paths);
            batch.is_everything = batch.paths.len() > MOST_PATHS;
        }
        if batch.is_everything {
            batch.paths.clear();
        }
        drop(state);
        // The others only put off what the first has begun.
        if is_first {
            self.changed.notify_all();
        }
    }

    /// Sleeps until a time, until changes have settled, or until the first of others comes.
    fn sleep_until(&self, time: Instant, options: &WatchOptions) {
        let state = self.lock();
        if state.is_stopped {
            return;
        }
        let until = state.batches.values().map(|batch| batch.due(options)).fold(time, Instant::min);
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        // Whether it was woken or the time is over, the caller looks.
        drop(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Batch {
    /// When it is to be told.
    fn due(&self, options: &WatchOptions) -> Instant {
        (self.last + options.quiet).min(self.first + options.longest)
    }
}
