//! The small files of a Hugging Face directory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::Error;

/// The largest file that is read: far above any configuration, far below what would hurt.
const MAX_BYTES: u64 = 16 << 20;

/// A Hugging Face model directory.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'a> {
    path: &'a Path,
}

impl<'a> Directory<'a> {
    pub(crate) fn new(path: &'a Path) -> Self {
        Directory { path }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A JSON file, or `None` if there is no such file.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Json { path: self.file(name), source })
    }

    /// A file of text, or `None` if there is no such file.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            Error::config(self.file(name), "the file", "UTF-8", format!("other bytes from {place} on"))
        })?;
        Ok(Some(text))
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.file(name);
        let io = |source| Error::Read { path: path.clone(), source };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
            Ok(file) if !file.is_file() => return Err(io(std::io::Error::other("not a regular file"))),
            Ok(file) if file.len() > MAX_BYTES => {
                let found = format!("{} bytes", file.len());
                return Err(Error::config(path, "the file", "at most 16 MiB", found));
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(io)?;
        Ok(Some(bytes))
    }

    /// A JSON file that must be there.
    pub(crate) fn require_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        self.json(name)?.ok_or_else(|| Error::Read {
            path: self.file(name),
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        })
    }
}
