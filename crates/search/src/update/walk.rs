//! The files below a folder that belong to a collection.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use ignore::{DirEntry, Walk, WalkBuilder};

use super::Skipped;
use crate::collection::Mask;
use crate::{Collection, Error};

/// A file that belongs to the collection.
pub(super) struct Found {
    /// Below the collection's folder, with `/`.
    pub(super) path: String,
    /// Bytes.
    pub(super) size: i64,
    /// Time of the last change, nanoseconds since 1970.
    pub(super) modified_ns: i64,
}

/// What a walk found.
#[derive(Default)]
pub(super) struct Walked {
    /// By path.
    pub(super) files: Vec<Found>,
    /// What could not be looked at, and why.
    pub(super) skipped: Vec<(String, Skipped)>,
    /// Folders of these that may hold files.
    pub(super) unreadable: Vec<String>,
}

/// Walks a collection's folder. Links to folders are not followed, links to files only within the folder; names that begin with a dot are
/// passed over.
pub(super) fn walk(collection: &Collection, mask: &Mask) -> Result<Walked, Error> {
    let root = &collection.path;
    if let Err(source) = fs::read_dir(root) {
        return Err(Error::Io { action: "read the folder of the collection", path: root.clone(), source });
    }
    let mut walked = Walked::default();
    for entry in walker(collection, mask, |_| true) {
        match entry {
            Ok(entry) => walked.take(root, mask, &entry),
            Err(error) => walked.fail(root, &error),
        }
    }
    walked.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(walked)
}

/// Calls `seen` with every folder that the walk comes to, before those in it.
pub(crate) fn folders(collection: &Collection, mask: &Mask, mut seen: impl FnMut(&Path)) {
    for entry in walker(collection, mask, |_| true).flatten() {
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            seen(entry.path());
        }
    }
}

/// Whether the walk comes to any of some paths below the collection's folder: a folder, or a file that belongs to the collection. It goes no other
/// ways.
pub(crate) fn comes_to(collection: &Collection, mask: &Mask, paths: HashSet<String>) -> bool {
    let mut ways = HashSet::new();
    for path in &paths {
        let parts = path.match_indices('/').map(|(end, _)| &path[..end]);
        ways.extend(parts.chain([path.as_str()]).map(str::to_owned));
    }
    let found = |entry: DirEntry| {
        let path = relative(&collection.path, entry.path())?;
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        (paths.contains(&path) && (is_folder || mask.takes(&path))).then_some(())
    };
    !paths.is_empty()
        && walker(collection, mask, move |folder| ways.contains(folder)).flatten().find_map(found).is_some()
}

/// The files and folders below a collection's that nothing hides or ignores; into those folders alone that `enters` takes.
fn walker(collection: &Collection, mask: &Mask, enters: impl Fn(&str) -> bool + Send + Sync + 'static) -> Walk {
    let mut builder = WalkBuilder::new(&collection.path);
    let follow = collection.gitignore;
    builder.hidden(true).require_git(false).git_ignore(follow).git_exclude(follow).ignore(follow).git_global(false);
    builder.parents(follow);
    let (pruning, folder) = (mask.clone(), collection.path.clone());
    builder.filter_entry(move |entry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let passes = |path: String| path.is_empty() || (!pruning.prunes(&path) && enters(&path));
        !is_folder || relative(&folder, entry.path()).is_none_or(passes)
    });
    builder.build()
}

impl Walked {
    fn take(&mut self, root: &Path, mask: &Mask, entry: &DirEntry) {
        let Some(kind) = entry.file_type() else { return };
        let Some(path) = relative(root, entry.path()) else {
            self.skipped.push((entry.path().to_string_lossy().into_owned(), Skipped::NameNotUtf8));
            return;
        };
        let facts = if kind.is_symlink() {
            match fs::canonicalize(entry.path()).and_then(|target| Ok((fs::metadata(&target)?, target))) {
                Ok((facts, target)) if facts.is_file() && target.starts_with(root) => Some(facts),
                Ok((facts, _)) if facts.is_dir() => return self.skipped.push((path, Skipped::LinkToFolder)),
                Ok(_) if mask.takes(&path) => return self.skipped.push((path, Skipped::LinkOutside)),
                Err(_) if mask.takes(&path) => return self.skipped.push((path, Skipped::BrokenLink)),
                _ => None,
            }
        } else if kind.is_file() && mask.takes(&path) {
            // A file that vanished since its folder was read was not there.
            entry.metadata().ok()
        } else {
            None
        };
        if let Some(facts) = facts.filter(|_| mask.takes(&path)) {
            let modified = facts.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            self.files.push(Found {
                path,
                size: i64::try_from(facts.len()).unwrap_or(i64::MAX),
                modified_ns: modified.map_or(0, |time| time.as_nanos() as i64),
            });
        }
    }

    fn fail(&mut self, root: &Path, error: &ignore::Error) {
        let reason = match error.io_error() {
            Some(source) if source.kind() == std::io::ErrorKind::NotFound => return,
            Some(source) => Skipped::Unreadable(source.kind().to_string()),
            None => Skipped::Unreadable(error.to_string()),
        };
        let place = place(error).and_then(|path| relative(root, path)).unwrap_or_default();
        self.unreadable.push(place.clone());
        self.skipped.push((place, reason));
    }
}

/// The path that an error of the walk is about.
fn place(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => place(err),
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}

/// A path below the folder, with `/`; `None` if it is not UTF-8.
pub(crate) fn relative(root: &Path, path: &Path) -> Option<String> {
    let rest = path.strip_prefix(root).ok()?.to_str()?;
    Some(if std::path::MAIN_SEPARATOR == '/' { rest.to_owned() } else { rest.replace(std::path::MAIN_SEPARATOR, "/") })
}
