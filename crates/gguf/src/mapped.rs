//! The one mapping of a file in the project.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::{self, File};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::Error;

/// A file mapped read-only into memory. It dereferences to the bytes of the file.
///
/// Nothing is read until it is touched, pages are shared with every other process that maps the same file, and the
/// operating system may drop them again under pressure, so opening a model of any size costs next to nothing.
///
/// # What happens when the file changes
///
/// The length is taken once, at opening, and every check in this crate is made against it.
///
/// * Deleting or replacing the file (rename over it, as this crate's writer and every sane download does) is harmless: the
///   mapping keeps the old contents alive.
/// * Overwriting it in place changes the bytes under our feet. Readers of this crate never index beyond the length seen at
///   opening and check again every text they hand out, so wrong contents give wrong results, not wrong memory accesses.
/// * Cutting it short in place is the one case without a cure: touching a page past the new end makes the operating system
///   end the process (`SIGBUS`; on Windows the cut itself is refused). No program that maps files can turn that into an
///   error without a process-wide signal handler, which a library has no right to install. Copy a file into place, then
///   rename it; where another program may cut the file, read it into memory and use
///   [`Gguf::from_bytes`](crate::Gguf::from_bytes).
pub struct MappedFile {
    path: PathBuf,
    /// `None` for an empty file, which cannot be mapped on every system.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it cannot be opened or mapped, [`Error::NotAFile`] when it is a directory, a pipe or a device.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io = |action| move |source| Error::Io { path: path.to_owned(), action, source };
        // Asked before opening: opening a pipe would wait for a writer.
        let kind = fs::metadata(path).map_err(io("open the file"))?;
        if !kind.is_file() {
            let found = if kind.is_dir() { "a directory" } else { "a device, pipe or socket" };
            return Err(Error::NotAFile { path: path.to_owned(), found });
        }
        let file = File::open(path).map_err(io("open the file"))?;
        let length = file.metadata().map_err(io("read the length of the file"))?.len();
        if length == 0 {
            return Ok(Self { path: path.to_owned(), map: None });
        }
        // SAFETY: the mapping is read-only and private to this struct, which only hands out shared slices that cannot
        // outlive it. What `Mmap::map` cannot rule out is a change of the file by someone else: its contents may then
        // change under the slices. No code here relies on two reads giving the same bytes for memory safety (texts are
        // validated at each access, all indexing is checked against the length taken at opening), and the remaining
        // hazard, a file cut short in place, ends the process with SIGBUS rather than exposing other memory. The type's
        // documentation says so to the caller.
        let map = unsafe { Mmap::map(&file) }.map_err(io("map the file into memory"))?;
        Ok(Self { path: path.to_owned(), map: Some(map) })
    }

    /// Lets the operating system take back the memory of a range of bytes that will not be read again soon. They can be read as
    /// before, at the price of fetching them anew. Does nothing where there is no such advice.
    ///
    /// # Panics
    /// If the range is not inside the file.
    pub fn release(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} bytes", self.len());
        #[cfg(unix)]
        if let Some(map) = self.map.as_ref().filter(|_| !range.is_empty()) {
            // SAFETY: of a read-only mapping of a file the pages hold nothing but the file's bytes, so dropping them changes
            // nothing that anybody can read.
            let advised =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            // It is advice: where it is not taken, memory stays in use.
            drop(advised);
        }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile").field("path", &self.path).field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_unlink_and_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"first").unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        fs::write(dir.path().join("b"), b"other contents").unwrap();
        fs::rename(dir.path().join("b"), &path).unwrap();
        assert_eq!(&*mapped, b"first");
        fs::remove_file(&path).unwrap();
        assert_eq!(&*mapped, b"first");
        assert_eq!(mapped.path(), path);
    }

    #[test]
    fn released_bytes_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        assert_eq!(&*mapped, bytes);
        mapped.release(5_000..90_001);
        mapped.release(0..0);
        assert_eq!(&*mapped, bytes);
    }

    #[test]
    fn empty_missing_and_wrong_kind() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        fs::write(&empty, b"").unwrap();
        assert!(MappedFile::open(&empty).unwrap().is_empty());
        assert!(matches!(MappedFile::open(dir.path()), Err(Error::NotAFile { found: "a directory", .. })));
        let missing = MappedFile::open(dir.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none: cannot open the file: "), "{missing}");
    }
}
