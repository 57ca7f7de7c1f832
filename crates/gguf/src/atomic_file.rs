//! A file that appears under its name whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary file in the folder of its target; dropped before [`commit`](Self::commit) it removes itself.
pub(crate) struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    /// `None` once it is closed.
    file: Option<File>,
}

/// Tells apart the files that one process writes at the same time.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl AtomicFile {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name"));
        };
        if target.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{}.part", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let temporary = target.with_file_name(hidden);
        // Never over a file that is there: it may be another process's under the same id, in another container.
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        Ok(Self { target: target.to_owned(), temporary, file: Some(file) })
    }

    pub(crate) fn as_write(&mut self) -> &mut dyn Write {
        self.file.as_mut().expect("the file is open until it is committed")
    }

    /// Flushes the contents to the disk and gives the file its name.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        let file = self.file.as_ref().expect("the file is open until it is committed");
        file.sync_all()?;
        self.file = None; // Windows renames closed files only
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            let _ = fs::remove_file(&self.temporary);
            return Err(error);
        }
        self.sync_folder();
        Ok(())
    }

    /// Makes the new name itself durable. The contents are safe already, and some file systems cannot flush folders, so a
    /// failure here is none of the caller's.
    fn sync_folder(&self) {
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if cfg!(unix) {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn appears_whole_on_commit_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.gguf");
        fs::write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.as_write().write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.gguf"]);
    }

    #[test]
    fn leaves_nothing_behind_when_dropped_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&dir.path().join("a.gguf")).unwrap();
        file.as_write().write_all(b"part").unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(file);
        assert!(names(dir.path()).is_empty());
        assert!(AtomicFile::create(dir.path()).is_err());
        assert!(AtomicFile::create(&dir.path().join("missing").join("a.gguf")).is_err());

        // The target turns into a folder while the file is written: the rename fails.
        let target = dir.path().join("b.gguf");
        let file = AtomicFile::create(&target).unwrap();
        fs::create_dir(&target).unwrap();
        file.commit().unwrap_err();
        assert_eq!(names(dir.path()), ["b.gguf"]);
    }
}
