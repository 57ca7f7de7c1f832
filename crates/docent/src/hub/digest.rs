//! Is this file what the server announced?
//!
//! The hub names a file's content in its `ETag`: large files by SHA-256, small ones by git's blob hash (SHA-1 over a header
//! with the length, then the content). Both double as the name of the file in the cache.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Error;

/// What a file's content should hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    /// SHA-256 of the content, in lower-case hexadecimal digits.
    Sha256(String),
    /// Git's hash of a blob, likewise.
    GitSha1(String),
    /// Nobody says.
    Unknown,
}

impl Digest {
    /// Reads the name of a content: an `ETag` of the hub or the name of a blob in its cache.
    pub(super) fn of_name(name: &str) -> Digest {
        let hex = name.bytes().all(|b| b.is_ascii_hexdigit());
        match (hex, name.len()) {
            (true, 64) => Digest::Sha256(name.to_ascii_lowercase()),
            (true, 40) => Digest::GitSha1(name.to_ascii_lowercase()),
            _ => Digest::Unknown,
        }
    }

    /// The name of the method, for messages.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Digest::Sha256(_) => "SHA-256",
            Digest::GitSha1(_) => "git SHA-1",
            Digest::Unknown => "nothing",
        }
    }

    /// The expected digits.
    pub(super) fn expected(&self) -> &str {
        match self {
            Digest::Sha256(hex) | Digest::GitSha1(hex) => hex,
            Digest::Unknown => "",
        }
    }

    /// Hashes the file. `Ok(None)` if it is what it should be (or nobody knows), else what it hashes to instead.
    pub(super) fn mismatch(&self, path: &Path) -> Result<Option<String>, Error> {
        let found = match self {
            Digest::Unknown => return Ok(None),
            Digest::Sha256(_) => hash_file(path, Sha256::new())?,
            Digest::GitSha1(_) => {
                let length = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
                hash_file(path, Sha1::new_with_prefix(format!("blob {length}\0")))?
            }
        };
        Ok((found != self.expected()).then_some(found))
    }
}

fn hash_file<D: sha2::Digest>(path: &Path, mut hasher: D) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path)(e)),
        }
    }
}

/// The SHA-256 of a text, as hexadecimal digits.
pub(super) fn sha256_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // writing to a String cannot fail
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-4's example, and `printf abc | git hash-object --stdin`.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let git = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
        assert_eq!(Digest::of_name(sha256).mismatch(&path).unwrap(), None);
        assert_eq!(Digest::of_name(&git.to_uppercase()).mismatch(&path).unwrap(), None);
        std::fs::write(&path, "abd").unwrap();
        assert!(Digest::of_name(sha256).mismatch(&path).unwrap().is_some());
        assert!(Digest::of_name(git).mismatch(&path).unwrap().is_some());
        assert_eq!(Digest::of_name("W/weak"), Digest::Unknown);
        assert_eq!(sha256_of("abc"), sha256);
    }
}
