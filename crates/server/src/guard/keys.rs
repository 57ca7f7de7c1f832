//! API keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::AccessError;
use crate::failure::{Failure, FailureKind};

/// The keys, as digests: all of one length, and equal only if the keys are, so that the time of a comparison tells nothing about a key.
pub(super) struct Keys(Vec<[u8; 32]>);

/// Why the keys of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read the API keys in {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no key in it, which would leave the server open.
    #[error("{path} has no API key; expected one a line, and comments after #")]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// A line that no header can carry. It is not shown.
    #[error("{path}:{line}: not an API key; a key has only visible ASCII characters")]
    Key {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file is larger than a file of keys can be.
    #[error("{path} has more than {most} bytes; expected a file of API keys, one a line")]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes that are read.
        most: u64,
    },
}

/// Bytes of a file of keys.
const MOST: u64 = 1 << 20;

/// The API keys of a file: one a line; empty lines and lines that begin with `#` are passed over. A file that others than its owner may
/// read is used, with a warning in the log.
///
/// # Errors
/// If the file cannot be read, has no key, or a line is none.
pub fn read_keys(path: &Path) -> Result<Vec<String>, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    warn_if_readable(path, &file);
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST {
        return Err(KeyFileError::Size { path: path.to_owned(), most: MOST });
    }
    let mut keys = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match std::str::from_utf8(line) {
            Ok(key) if is_key(key) => keys.push(key.to_owned()),
            _ => return Err(KeyFileError::Key { path: path.to_owned(), line: index + 1 }),
        }
    }
    if keys.is_empty() { Err(KeyFileError::NoKeys { path: path.to_owned() }) } else { Ok(keys) }
}

#[cfg(unix)]
fn warn_if_readable(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let mode = format!("{:04o}", mode & 0o7777);
        tracing::warn!(path = %path.display(), mode, "others than its owner may use the file of API keys; chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path, _: &File) {}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Keys {
    /// # Errors
    /// If one of them cannot be sent.
    pub(super) fn new(keys: &[String]) -> Result<Self, AccessError> {
        match keys.iter().position(|key| !is_key(key)) {
            Some(index) => Err(AccessError::Key { place: index + 1 }),
            None => Ok(Keys(keys.iter().map(|key| Sha256::digest(key).into()).collect())),
        }
    }

    /// # Errors
    /// If there are keys, and the request has none of them.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut given = given(headers).peekable();
        if given.peek().is_none() {
            let message = "an API key is needed: send it as `Authorization: Bearer KEY`, or in `x-api-key`";
            return Err(Failure::new(FailureKind::Unauthorized, message));
        }
        if given.fold(Choice::from(0), |known, key| known | self.knows(key)).into() {
            Ok(())
        } else {
            Err(Failure::new(FailureKind::Unauthorized, "the API key is not known to this server"))
        }
    }

    /// Compares with every key, whether or not one before it is the same.
    fn knows(&self, key: &[u8]) -> Choice {
        let digest: [u8; 32] = Sha256::digest(key).into();
        self.0.iter().fold(Choice::from(0), |known, key| known | key.ct_eq(&digest))
    }
}

/// The keys that a request has: one in either header.
fn given(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.into_iter().chain(headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(&["first".to_owned(), "a-longer-second-key".to_owned()]).unwrap()
    }

    fn check(name: &'static str, value: &str) -> Result<(), FailureKind> {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        keys().check(&headers).map_err(|failure| failure.kind)
    }

    #[test]
    fn every_key_is_taken_from_either_header() {
        for key in ["first", "a-longer-second-key"] {
            assert_eq!(check("authorization", &format!("Bearer {key}")), Ok(()));
            assert_eq!(check("authorization", &format!("bEARER  {key} ")), Ok(()));
            assert_eq!(check("x-api-key", key), Ok(()));
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for value in ["Bearer", "Bearer ", "Bearer firs", "Bearer first2", "Bearer First", "Basic first", "first", ""] {
            assert_eq!(check("authorization", value), Err(FailureKind::Unauthorized), "{value}");
        }
        assert!(keys().check(&HeaderMap::new()).is_err());
    }

    #[test]
    fn without_keys_anyone_may_ask() {
        assert!(Keys::new(&[]).unwrap().check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_key_that_no_header_carries_is_named_by_its_place() {
        for bad in ["", "two words", "line\nbreak", "schlüssel"] {
            let error = Keys::new(&["good".to_owned(), bad.to_owned()]).err();
            assert_eq!(error, Some(AccessError::Key { place: 2 }), "{bad:?}");
        }
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "# who\r\nfirst\r\n\n  second  \n").unwrap();
        assert_eq!(read_keys(&path).unwrap(), ["first", "second"]);
        std::fs::write(&path, "# nobody\n").unwrap();
        assert!(matches!(read_keys(&path), Err(KeyFileError::NoKeys { .. })));
        std::fs::write(&path, b"good\ntwo words\n").unwrap();
        assert!(matches!(read_keys(&path), Err(KeyFileError::Key { line: 2, .. })));
        std::fs::write(&path, b"good\n\xff\xfe\n").unwrap();
        assert!(matches!(read_keys(&path), Err(KeyFileError::Key { line: 2, .. })));
        std::fs::write(&path, vec![b'k'; 2 << 20]).unwrap();
        assert!(matches!(read_keys(&path), Err(KeyFileError::Size { .. })));
        assert!(matches!(read_keys(&folder.path().join("none")), Err(KeyFileError::Read { .. })));
    }
}
