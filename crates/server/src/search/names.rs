//! Names of documents as clients write and read them.

use docent_search::Address;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::question::at_most;
use crate::failure::Failure;

/// What stands for itself in a URI (RFC 3986, unreserved characters), and the slash between segments.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Bytes of a name.
const LONGEST: usize = 4 << 10;

/// The address of a document as a URI: `qmd://notes/a%20b.md`.
pub(crate) fn uri(address: &Address) -> String {
    format!("qmd://{}", utf8_percent_encode(&short(address), KEPT))
}

/// The address of a document without what all have in common: `notes/a b.md`.
pub(crate) fn short(address: &Address) -> String {
    format!("{}/{}", address.collection, address.path)
}

/// The name that a URI stands for; `None` if it is none of a document.
pub(crate) fn of_uri(uri: &str) -> Option<String> {
    let path = uri.strip_prefix("qmd://")?;
    Some(format!("qmd://{}", percent_decode_str(path).decode_utf8().ok()?))
}

/// A name that can only be of this machine: on Windows, to look for `\\host\file` or `//host/file` asks another. `//` begins an address as
/// `qmd://` does.
///
/// # Errors
/// A name that is too long, or of another machine.
pub(crate) fn local(name: &str, field: &str) -> Result<String, Failure> {
    at_most(name.len(), LONGEST, field, "bytes")?;
    if name.starts_with(r"\\") {
        return Err(Failure::invalid(
            field,
            "documents are named as searches name them, for example notes/plans/launch.md",
        ));
    }
    Ok(match name.strip_prefix("//") {
        Some(rest) => format!("qmd://{rest}"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_read_back() {
        let address = Address::new("notes", "a b/100%/ü?#x.md");
        assert_eq!(uri(&address), "qmd://notes/a%20b/100%25/%C3%BC%3F%23x.md");
        assert_eq!(of_uri(&uri(&address)).unwrap(), address.to_string());
        assert_eq!(of_uri("file:///etc/passwd"), None);
        assert_eq!(of_uri("qmd://notes/%ff"), None);
    }

    #[test]
    fn names_are_of_this_machine() {
        assert_eq!(local("//notes/a.md", "file").unwrap(), "qmd://notes/a.md");
        assert_eq!(local("notes/a.md", "file").unwrap(), "notes/a.md");
        assert!(local(r"\\host\share\a.md", "file").is_err());
        assert!(local(&"x".repeat(5000), "file").is_err());
    }
}
