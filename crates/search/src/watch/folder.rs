//! The folder of one collection: what the system tells of it, and what of that matters.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{Batch, Changed, POLL, Polled, Shared, network};
use crate::collection::Mask;
use crate::update::{comes_to, folders, relative};
use crate::{Collection, Error, Index};

/// Names that begin with a dot and matter all the same.
const IGNORE_FILES: [&str; 2] = [".gitignore", ".ignore"];

const MISSING: &str = "its folder is not there";

/// A folder that is watched.
pub(super) struct Folder {
    pub(super) id: i64,
    pub(super) collection: Collection,
    /// When it is to be looked at whatever the system tells.
    pub(super) due: Option<Instant>,
    mask: Mask,
    /// `None` if it is polled.
    events: Option<RecommendedWatcher>,
    /// How often it is polled.
    every: Duration,
    /// Whether events may be had later: the folder was not there.
    is_missing: bool,
}

impl Folder {
    /// Begins to watch a folder, or to poll it where that cannot be, which is told. One whose mask is bad is polled: the update says so, and
    /// the others are watched.
    pub(super) fn open(
        id: i64,
        collection: Collection,
        shared: &Arc<Shared>,
        poll: Option<Duration>,
        changed: &mut Changed,
    ) -> Folder {
        let (mask, bad) = match Mask::new(&collection.mask, &collection.ignore) {
            Ok(mask) => (Some(mask), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let mask = mask.unwrap_or_else(|| Mask::new("**/*", &[]).expect("it is a glob"));
        let every = poll.unwrap_or(POLL);
        let mut folder = Folder { id, collection, due: None, mask, events: None, every, is_missing: false };
        match (bad, poll) {
            (Some(reason), _) => folder.poll(&reason, false, changed),
            (None, Some(_)) => folder.look_at(Instant::now() + every),
            (None, None) => folder.begin(shared, changed),
        }
        folder
    }

    /// Has it looked at by a time.
    pub(super) fn look_at(&mut self, time: Instant) {
        self.due = Some(self.due.map_or(time, |due| due.min(time)));
    }

    /// It is being looked at: sets the next time, and asks for events if there can be any now.
    pub(super) fn looked_at(&mut self, now: Instant, shared: &Arc<Shared>, changed: &mut Changed) {
        self.due = self.events.is_none().then(|| now + self.every);
        if self.is_missing && self.collection.path.is_dir() {
            self.begin(shared, changed);
            if self.events.is_some() {
                self.due = None;
            }
        }
    }

    /// Whether changes are of anything that an update would look at. Folders that are new are watched as well from then on.
    pub(super) fn concerns(
        &mut self,
        batch: &Batch,
        index: &Index,
        shared: &Arc<Shared>,
        changed: &mut Changed,
    ) -> Result<bool, Error> {
        if !self.collection.path.is_dir() {
            self.poll(MISSING, true, changed);
            return Ok(true);
        }
        if batch.is_everything {
            self.begin(shared, changed);
            return Ok(true);
        }
        let (mut there, mut has_folders, mut concerns) = (HashSet::new(), false, false);
        for path in &batch.paths {
            let Some(path_below) = relative(&self.collection.path, path) else { continue };
            if IGNORE_FILES.iter().any(|name| path.ends_with(name)) {
                (has_folders, concerns) = (true, concerns || self.collection.gitignore);
                continue;
            }
            match std::fs::symlink_metadata(path) {
                Ok(facts) => {
                    has_folders |= facts.is_dir();
                    there.insert(path_below);
                }
                Err(_) => concerns = concerns || index.has_below(self.id, &path_below)?,
            }
        }
        if has_folders {
            self.begin(shared, changed);
        }
        Ok(concerns || comes_to(&self.collection, &self.mask, there))
    }

    /// Asks the system for events; done again, it adds what is new.
    fn begin(&mut self, shared: &Arc<Shared>, changed: &mut Changed) {
        if !self.collection.path.is_dir() {
            return self.poll(MISSING, true, changed);
        }
        if let Some(kind) = network::kind(&self.collection.path) {
            let reason = format!("{kind} does not tell what other machines change");
            return self.poll(&reason, false, changed);
        }
        match self.watch(shared) {
            Ok(()) => self.is_missing = false,
            Err(error) => {
                let reason = match error.kind {
                    ErrorKind::MaxFilesWatch => {
                        "the system watches no more folders (on Linux, fs.inotify.max_user_watches says how many)"
                            .to_owned()
                    }
                    _ => error.to_string(),
                };
                self.poll(&reason, false, changed);
            }
        }
    }

    fn watch(&mut self, shared: &Arc<Shared>) -> notify::Result<()> {
        if self.events.is_none() {
            let (id, root, shared) = (self.id, self.collection.path.clone(), Arc::clone(shared));
            self.events = Some(notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
                Ok(event) if event.need_rescan() => shared.note(id, [], true),
                Ok(event) if is_change(event.kind) => {
                    let mut paths = event.paths.into_iter().filter(|path| !is_hidden(&root, path)).peekable();
                    if paths.peek().is_some() {
                        shared.note(id, paths, false);
                    }
                }
                Ok(_) => {}
                // Something was lost.
                Err(_) => shared.note(id, [], true),
            })?);
        }
        let Some(events) = &mut self.events else { return Ok(()) };
        if cfg!(any(target_os = "linux", target_os = "android")) {
            // Each folder is asked for by itself, so that those that are ignored take none of the watches that the system has.
            let mut result = Ok(());
            folders(&self.collection, &self.mask, |folder| {
                if result.is_ok() {
                    result = match events.watch(folder, RecursiveMode::NonRecursive) {
                        // It went away meanwhile, or is nobody's to read.
                        Err(error) if is_about_one(&error) && folder != self.collection.path => Ok(()),
                        result => result,
                    };
                }
            });
            result
        } else {
            events.watch(&self.collection.path, RecursiveMode::Recursive)
        }
    }

    /// Polls from now on, and tells it unless that was so before.
    fn poll(&mut self, reason: &str, is_missing: bool, changed: &mut Changed) {
        let was_polled = self.events.is_none() && self.due.is_some();
        self.events = None;
        self.is_missing = is_missing;
        self.look_at(Instant::now() + self.every);
        if !was_polled {
            changed.polled.push(Polled { collection: self.collection.name.clone(), reason: reason.to_owned() });
        }
    }
}

impl Index {
    /// Whether documents lie at a path of a collection or below it.
    fn has_below(&self, collection: i64, path: &str) -> Result<bool, Error> {
        self.store.read(|connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM documents WHERE collection_id = ?1 AND active
                       AND (path = ?2 OR (path > ?2 || '/' AND path < ?2 || '0')))";
            Ok(connection.prepare_cached(sql)?.query_row((collection, path), |row| row.get(0))?)
        })
    }
}

/// Whether an event is of a change, and not of somebody reading.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether a path leads through a name that begins with a dot; the files that say what is ignored are not meant.
fn is_hidden(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    let mut hidden = below.iter().filter(|name| name.as_encoded_bytes().starts_with(b"."));
    match (hidden.next(), hidden.next()) {
        (None, _) => false,
        (Some(name), None) => !(IGNORE_FILES.iter().any(|known| name == *known) && below.file_name() == Some(name)),
        _ => true,
    }
}

/// Whether an error is about one folder, and says nothing of the others.
fn is_about_one(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(source) => {
            matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_passed_over_but_for_those_that_tell_what_is_ignored() {
        let root = Path::new("/home/.config/notes");
        for (path, hidden) in [
            ("a.md", false),
            ("a/.b/c.md", true),
            (".git/index", true),
            (".gitignore", false),
            ("a/.ignore", false),
            (".git/.gitignore", true),
            (".gitignore/a", true),
        ] {
            assert_eq!(is_hidden(root, &root.join(path)), hidden, "{path}");
        }
    }
}
