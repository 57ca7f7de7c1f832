//! The hub's cache on disk, in the layout that the hub's own client uses, so that a model is there once for every tool.
//!
//! ```text
//! models--USER--REPO/
//!   blobs/<name of the content>              the files (SHA-256 or git hash); <name>.incomplete while they arrive
//!   refs/<branch>                            the commit that a branch stood at when it was asked last
//!   snapshots/<commit>/<file>                links into blobs
//!   .no_exist/<commit>/<file>                empty: the repository has no such file
//! .locks/models--USER--REPO/<name>.lock      held while a blob arrives
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::names::{check_relative, check_repo, is_commit};
use super::{Error, Progress};

/// The cache's root folder, and a folder where Docent remembers what it has verified.
#[derive(Debug, Clone)]
pub(super) struct HubCache {
    root: PathBuf,
    verified: Option<PathBuf>,
}

impl HubCache {
    pub(super) fn new(root: PathBuf, docent_cache: Option<&Path>) -> HubCache {
        HubCache { root, verified: docent_cache.map(|cache| cache.join("verified")) }
    }

    fn repo(&self, repo: &str) -> PathBuf {
        self.root.join(format!("models--{}", repo.replace('/', "--")))
    }

    /// The commit that a revision means here, without asking anybody.
    pub(super) fn commit(&self, repo: &str, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_ascii_lowercase());
        }
        let path = self.repo(repo).join("refs").join(revision);
        let small = fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() <= 256);
        let commit = small.and_then(|_| fs::read_to_string(&path).ok())?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// Where the files of a revision are, or would be.
    pub(super) fn snapshot(&self, repo: &str, revision: &str) -> PathBuf {
        let commit = self.commit(repo, revision).unwrap_or_else(|| revision.to_owned());
        self.repo(repo).join("snapshots").join(commit)
    }

    /// The path of a file that is here, whole as far as its folder tells; see [`HubCache::verify`].
    pub(super) fn file(&self, repo: &str, revision: &str, file: &str) -> Option<PathBuf> {
        self.commit(repo, revision)?;
        let path = self.snapshot(repo, revision).join(file);
        // An empty file is what a killed program leaves behind; no file of a model is empty.
        fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() > 0).map(|_| path)
    }

    /// Whether it is known that the repository has no such file.
    pub(super) fn is_absent(&self, repo: &str, commit: &str, file: &str) -> bool {
        self.repo(repo).join(".no_exist").join(commit).join(file).exists()
    }

    /// Notes that the repository has no such file.
    pub(super) fn mark_absent(&self, repo: &str, commit: &str, file: &str) -> Result<(), Error> {
        let path = self.repo(repo).join(".no_exist").join(commit).join(file);
        create_parent(&path)?;
        File::create(&path).map(drop).map_err(Error::io("create", &path))
    }

    /// Where a content is, or is to go.
    pub(super) fn blob(&self, repo: &str, name: &str) -> PathBuf {
        self.repo(repo).join("blobs").join(name)
    }

    /// Waits until no other process or thread fetches this content. The lock ends with the file's life.
    pub(super) fn lock(&self, repo: &str, name: &str, progress: &dyn Progress) -> Result<File, Error> {
        let folder = format!("models--{}", repo.replace('/', "--"));
        lock(&self.root.join(".locks").join(folder).join(format!("{name}.lock")), progress)
    }

    /// Makes a blob appear as a file of a snapshot.
    pub(super) fn link(&self, repo: &str, commit: &str, file: &str, blob: &str) -> Result<PathBuf, Error> {
        check_repo(repo).map_err(|reason| Error::BadName { name: repo.to_owned(), reason })?;
        check_relative(file).map_err(|reason| Error::BadName { name: file.to_owned(), reason })?;
        let path = self.repo(repo).join("snapshots").join(commit).join(file);
        create_parent(&path)?;
        let up = "../".repeat(2 + file.matches('/').count());
        place(&self.blob(repo, blob), &format!("{up}blobs/{blob}"), &path)?;
        Ok(path)
    }

    /// Notes at which commit a branch stands.
    pub(super) fn set_ref(&self, repo: &str, revision: &str, commit: &str) -> Result<(), Error> {
        if is_commit(revision) || self.commit(repo, revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.repo(repo).join("refs").join(revision);
        create_parent(&path)?;
        let temporary = unique(&path);
        fs::write(&temporary, commit).map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io("rename", &temporary))
    }

    /// Checks a file against the hash that its blob's name promises; a file without such a name passes.
    ///
    /// Hashing a gigabyte takes seconds, so what has passed is remembered with its size and time of change, in Docent's own
    /// cache, and is hashed again only when one of them differs.
    pub(super) fn verify(&self, path: &Path) -> Result<(), Error> {
        let blob = fs::canonicalize(path).map_err(Error::io("open", path))?;
        let name = blob.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let digest = Digest::of_name(name);
        if digest == Digest::Unknown || self.was_verified(&blob, name) {
            return Ok(());
        }
        match digest.mismatch(&blob)? {
            None => {
                self.remember(&blob);
                Ok(())
            }
            Some(found) => Err(Error::Damaged {
                path: blob,
                algorithm: digest.algorithm(),
                expected: digest.expected().to_owned(),
                found,
            }),
        }
    }

    fn was_verified(&self, blob: &Path, name: &str) -> bool {
        let known = self.verified.as_ref().and_then(|folder| fs::read_to_string(folder.join(name)).ok());
        known.is_some() && known == fingerprint(blob)
    }

    /// Notes that a blob is what its name says. Without a writable cache it is hashed again next time, no more.
    pub(super) fn remember(&self, blob: &Path) {
        let (Some(folder), Some(name), Some(text)) = (&self.verified, blob.file_name(), fingerprint(blob)) else {
            return;
        };
        let path = folder.join(name);
        let temporary = unique(&path);
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::debug!(%error, path = %path.display(), "cannot note a verified file");
        }
    }
}

/// What changes when a file does: size, time of change and place.
fn fingerprint(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let time = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{} {} {}", metadata.len(), time.as_nanos(), path.display()))
}

/// Takes the lock that a file stands for, waiting for its holder. Released when the returned file is dropped, or its process
/// dies.
pub(super) fn lock(path: &Path, progress: &dyn Progress) -> Result<File, Error> {
    create_parent(path)?;
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress.note("waiting for another download of the same file");
            file.lock().map_err(Error::io("lock", path))?;
            Ok(file)
        }
        // A network file system may know no locks; two downloads then cost time, and the renames stay atomic.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

/// Puts a file that is whole under its final name, so that it is there after a crash too.
pub(super) fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    File::options().write(true).open(from).and_then(|file| file.sync_all()).map_err(Error::io("write", from))?;
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    if let Some(folder) = to.parent() {
        sync_folder(folder);
    }
    Ok(())
}

/// Makes a rename durable where folders can be synchronised (not on Windows); a failure costs durability, not correctness.
pub(super) fn sync_folder(folder: &Path) {
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::debug!(%error, folder = %folder.display(), "cannot synchronise a folder");
    }
}

/// Creates the folder that a file is to be in.
pub(super) fn create_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(Error::io("create", folder)),
        None => Ok(()),
    }
}

/// A name beside `path` that no other thread or process uses.
pub(super) fn unique(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()))
}

/// Makes `path` show the content of `blob`: a relative link; where links are not allowed (Windows without the privilege,
/// some network drives) a second name for the same file; and where that fails too, a copy.
fn place(blob: &Path, relative: &str, path: &Path) -> Result<(), Error> {
    let temporary = unique(path);
    let linked = symlink(relative, &temporary).or_else(|_| fs::hard_link(blob, &temporary));
    if linked.is_err() {
        fs::copy(blob, &temporary).map_err(Error::io("write", &temporary))?;
    }
    fs::rename(&temporary, path).map_err(|error| {
        let _ = fs::remove_file(&temporary); // the error that matters is the first
        Error::io("create", path)(error)
    })
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &str, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &str, _link: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Silent;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn cache() -> (tempfile::TempDir, HubCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::new(dir.path().join("hub"), Some(&dir.path().join("docent")));
        (dir, cache)
    }

    fn put(cache: &HubCache, content: &str) -> PathBuf {
        let blob = cache.blob("u/r", ABC);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, content).unwrap();
        cache.link("u/r", COMMIT, "1_Pooling/config.json", ABC).unwrap()
    }

    #[test]
    fn a_linked_file_is_found_by_branch_and_commit() {
        let (_dir, cache) = cache();
        let path = put(&cache, "abc");
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
        assert_eq!(cache.file("u/r", "main", "1_Pooling/config.json"), None);
        cache.set_ref("u/r", "main", COMMIT).unwrap();
        cache.set_ref("u/r", "refs/pr/3", COMMIT).unwrap();
        for revision in ["main", "refs/pr/3", COMMIT] {
            assert_eq!(cache.file("u/r", revision, "1_Pooling/config.json"), Some(path.clone()), "{revision}");
        }
        assert_eq!(cache.file("u/r", "main", "config.json"), None);
        assert_eq!(cache.file("u/r", "main", "1_Pooling"), None, "a folder is no file");
        assert!(cache.link("u/r", COMMIT, "../x", ABC).is_err());
        put(&cache, "abc"); // again: the link is replaced
    }

    #[test]
    fn damage_is_found_and_soundness_remembered() {
        let (_dir, cache) = cache();
        let path = put(&cache, "abc");
        cache.verify(&path).unwrap();
        assert!(cache.was_verified(&fs::canonicalize(&path).unwrap(), ABC));
        put(&cache, "abcd");
        assert!(matches!(cache.verify(&path), Err(Error::Damaged { .. })));
        put(&cache, "abc");
        cache.verify(&path).unwrap();
    }

    #[test]
    fn absence_is_remembered() {
        let (_dir, cache) = cache();
        assert!(!cache.is_absent("u/r", COMMIT, "modules.json"));
        cache.mark_absent("u/r", COMMIT, "modules.json").unwrap();
        assert!(cache.is_absent("u/r", COMMIT, "modules.json"));
    }

    #[test]
    fn a_lock_is_held_until_dropped() {
        let (_dir, cache) = cache();
        let held = cache.lock("u/r", ABC, &Silent).unwrap();
        let other = cache.clone();
        let waiting = std::thread::spawn(move || other.lock("u/r", ABC, &Silent).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(held);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_damaged_ref_is_no_commit() {
        let (_dir, cache) = cache();
        let path = cache.repo("u/r").join("refs/main");
        create_parent(&path).unwrap();
        for text in ["", "../../etc", "zz", &"a".repeat(1000)] {
            fs::write(&path, text).unwrap();
            assert_eq!(cache.commit("u/r", "main"), None, "{text:?}");
        }
    }
}
