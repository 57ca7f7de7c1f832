//! A file as text.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Found;
use super::html::{Page, extract, is_html};

/// Larger files are not indexed: they are data, not documents.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// Bytes in which a NUL tells that a file is no text.
const BINARY_WINDOW: usize = 8 << 10;

/// A file's text.
pub(super) struct Read {
    pub(super) text: String,
    /// Its SHA-256, hexadecimal.
    pub(super) hash: String,
    /// What the file itself says that it is called, where that is no part of the text.
    pub(super) title: Option<String>,
}

/// Why a file or folder was not indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Skipped {
    /// Nothing but white space in it; no reason to report it.
    #[error("empty")]
    Empty,
    /// It is a web page without text to read: one that scripts fill, or of navigation and drawings alone.
    #[error("a web page without text; what scripts or images show is not read")]
    NoText,
    /// It went away between the look at its folder and the look at it; no reason to report it.
    #[error("gone")]
    Gone,
    /// It has a NUL among its first bytes.
    #[error("binary")]
    Binary,
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("larger than {} MiB", MAX_FILE_BYTES >> 20)]
    TooLarge,
    /// It is not UTF-8; the number is the place of the first byte that is not.
    #[error("not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// Its name is not UTF-8.
    #[error("its name is not UTF-8")]
    NameNotUtf8,
    /// It is a link to a folder, which is not followed.
    #[error("a link to a folder; add that folder as a collection of its own")]
    LinkToFolder,
    /// It is a link to a place outside the collection.
    #[error("a link to a place outside of the collection")]
    LinkOutside,
    /// It is a link to nothing.
    #[error("a link to nothing")]
    BrokenLink,
    /// The system refuses.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl Skipped {
    /// Whether the file is there and has another content than a document's, so that the one that it had is out of date.
    pub(super) fn is_about_its_content(&self) -> bool {
        !matches!(self, Skipped::Unreadable(_))
    }
}

/// Reads a file of a collection. A byte order mark is not part of the text.
pub(super) fn read(folder: &Path, file: &Found) -> Result<Read, Skipped> {
    if file.size.cast_unsigned() > MAX_FILE_BYTES {
        return Err(Skipped::TooLarge);
    }
    let bytes = bytes(&folder.join(&file.path)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Skipped::Gone,
        kind => Skipped::Unreadable(kind.to_string()),
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Skipped::TooLarge);
    }
    if bytes[..bytes.len().min(BINARY_WINDOW)].contains(&0) {
        return Err(Skipped::Binary);
    }
    let text = String::from_utf8(bytes).map_err(|error| Skipped::NotUtf8(error.utf8_error().valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Skipped::Empty);
    }
    let Page { title, text } =
        if is_html(&file.path) { extract(&file.path, &text) } else { Page { title: None, text } };
    if text.trim().is_empty() {
        return Err(Skipped::NoText);
    }
    let hash = hex(&Sha256::digest(text.as_bytes()));
    Ok(Read { text, hash, title })
}

/// All of a file, or one byte more than is allowed: it may grow while it is read.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Read, Skipped> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), bytes).unwrap();
        read(folder.path(), &Found { path: "a".into(), size: bytes.len() as i64, modified_ns: 0 })
    }

    #[test]
    fn text_is_told_from_data() {
        let read = of(b"\xef\xbb\xbfabc").unwrap();
        assert_eq!(read.text, "abc");
        // FIPS 180-2, appendix B.1
        assert_eq!(read.hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(of(b" \n\t").err(), Some(Skipped::Empty));
        assert_eq!(of(b"PK\0\x01").err(), Some(Skipped::Binary));
        assert_eq!(of(b"caf\xe9").err(), Some(Skipped::NotUtf8(3)));
        assert_eq!(of(&vec![b'a'; MAX_FILE_BYTES as usize + 1]).err(), Some(Skipped::TooLarge));
        let gone = Found { path: "none".into(), size: 1, modified_ns: 0 };
        assert_eq!(super::read(Path::new("/"), &gone).err(), Some(Skipped::Gone));
    }

    #[test]
    fn a_page_without_text_is_told_from_a_blank_one() {
        let folder = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            std::fs::write(folder.path().join("a.html"), text).unwrap();
            read(folder.path(), &Found { path: "a.html".into(), size: text.len() as i64, modified_ns: 0 }).err()
        };
        assert_eq!(of("<body><script>show()</script></body>"), Some(Skipped::NoText));
        assert_eq!(of(" \n"), Some(Skipped::Empty));
        assert_eq!(of("<p>a"), None);
    }

    #[test]
    fn a_file_that_grows_is_still_bounded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), vec![b'a'; MAX_FILE_BYTES as usize + 9]).unwrap();
        let found = Found { path: "a".into(), size: 3, modified_ns: 0 };
        assert_eq!(read(folder.path(), &found).err(), Some(Skipped::TooLarge));
    }
}
