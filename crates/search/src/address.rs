//! Addresses of documents: `qmd://COLLECTION/PATH`, and docids.
//!
//! They are written as qmd writes them, so that scripts and agents that know those keep working. `docent://` is read as
//! well.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters of a docid.
pub const DOCID_LENGTH: usize = 6;

/// The place of a document or folder: a collection and a path in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The collection.
    pub collection: String,
    /// The path below the collection's folder, with `/`; empty for all of it.
    pub path: String,
}

impl Address {
    /// The address of a path in a collection.
    pub fn new(collection: impl Into<String>, path: impl Into<String>) -> Address {
        Address { collection: collection.into(), path: path.into() }
    }

    /// Reads `qmd://COLLECTION/PATH`, `docent://COLLECTION/PATH` or `//COLLECTION/PATH`; more slashes than one count as one, and what
    /// follows a `?` is left out. `None` if the text is no address.
    ///
    /// ```
    /// use docent_search::Address;
    /// assert_eq!(Address::parse("qmd://notes//drafts/a.md?index=x"), Some(Address::new("notes", "drafts/a.md")));
    /// assert_eq!(Address::parse("notes/a.md"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Address> {
        let rest = ["qmd://", "docent://", "//"].iter().find_map(|scheme| text.strip_prefix(scheme))?;
        let rest = rest.split('?').next().unwrap_or(rest);
        let mut segments = rest.split('/').filter(|segment| !segment.is_empty());
        let collection = segments.next()?.to_owned();
        let path = segments.collect::<Vec<_>>().join("/");
        Some(Address { collection, path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "qmd://{}", self.collection)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

/// The docid of a text with this hash: `#` and the first characters of it.
pub fn docid(hash: &str) -> String {
    format!("#{}", hash.get(..DOCID_LENGTH).unwrap_or(hash))
}

/// The beginning of a hash, if a text is a docid: six or more hexadecimal digits, with or without `#` and quotes.
pub(crate) fn parse_docid(text: &str) -> Option<String> {
    let text = text.trim().trim_matches(['"', '\'']);
    let digits = text.strip_prefix('#').unwrap_or(text);
    let is_docid = (DOCID_LENGTH..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_docid.then(|| digits.to_ascii_lowercase())
}

/// Takes `:FROM` or `:FROM:COUNT` off the end of a name.
pub(crate) fn split_lines(text: &str) -> (&str, Option<usize>, Option<usize>) {
    let number = |text: &str| text.parse::<usize>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some((before, last)) = text.rsplit_once(':') else { return (text, None, None) };
    let Some(last) = number(last) else { return (text, None, None) };
    match before.rsplit_once(':').and_then(|(name, from)| Some((name, number(from)?))) {
        Some((name, from)) if !name.is_empty() => (name, Some(from), Some(last)),
        _ => (before, Some(last), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["qmd://notes", "qmd://notes/a b/ü.md"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("//notes/a"), Some(Address::new("notes", "a")));
        assert_eq!(Address::parse("docent:///notes///a/"), Some(Address::new("notes", "a")));
        for text in ["", "qmd:/x", "http://x/y", "qmd://", "/abs/path"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn docids_are_six_digits_or_more() {
        assert_eq!(docid("762e73ff"), "#762e73");
        for text in ["762e73", "#762E73", "\"#762e73\"", "'762e73'"] {
            assert_eq!(parse_docid(text).as_deref(), Some("762e73"), "{text}");
        }
        for text in ["762e7", "#76-e73", "xyzxyz", "", "#"] {
            assert_eq!(parse_docid(text), None, "{text}");
        }
    }

    #[test]
    fn lines_are_taken_off() {
        assert_eq!(split_lines("a.md:10"), ("a.md", Some(10), None));
        assert_eq!(split_lines("qmd://c/a.md:10:20"), ("qmd://c/a.md", Some(10), Some(20)));
        assert_eq!(split_lines("qmd://c/a.md"), ("qmd://c/a.md", None, None));
        assert_eq!(split_lines("C:x"), ("C:x", None, None));
        assert_eq!(split_lines("a:99999999999999999999999"), ("a:99999999999999999999999", None, None));
    }
}
