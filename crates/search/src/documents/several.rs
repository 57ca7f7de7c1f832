//! Several documents at once, by a pattern or a list of names.

use globset::GlobBuilder;

use super::{Document, every, load, some_lines};
use crate::address::parse_docid;
use crate::collection::Contexts;
use crate::{Error, Index};

/// Bytes of a document that is given whole, unless the caller says otherwise.
pub const MAX_BYTES: usize = 64 << 10;

/// Names of a list, and bytes of a pattern.
const MAX_NAMES: usize = 1000;
const MAX_PATTERN: usize = 4096;

/// Bytes that a document counts for at least where the bytes of several are bounded: its name and what is said about it take memory, too.
const LEAST_BYTES: usize = 1 << 10;

/// Several documents, and what went wrong with single names of a list.
#[derive(Debug, Default)]
pub struct Several {
    /// In the order of the list, or of their addresses.
    pub documents: Vec<Fetched>,
    /// One for each name that no document has, or several.
    pub errors: Vec<Error>,
    /// Documents that are not here because there are too many before them.
    pub left_out: usize,
}

/// A document of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The document; its text is as long as was asked for.
    pub document: Document,
    /// Lines that were cut off.
    pub cut: usize,
    /// Why its text is not there.
    pub skipped: Option<TooLarge>,
}

/// A document that was left out of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("File too large ({}KB > {}KB). Use 'docent get' to read it.", bytes.div_ceil(1024), most.div_ceil(1024))]
pub struct TooLarge {
    /// Bytes of its text.
    pub bytes: usize,
    /// Bytes that were allowed.
    pub most: usize,
}

impl Index {
    /// The documents that a pattern matches, or that a list names.
    ///
    /// A pattern is a glob over addresses, paths, and paths with the collection before them. A list has commas; each name is one
    /// for [`get`](Index::get). A single name without either is a list of one.
    ///
    /// # Errors
    /// A pattern that is none, or that nothing matches. Names of a list that are not found are in [`Several::errors`].
    pub fn get_several(&self, pattern: &str, max_lines: Option<usize>, max_bytes: usize) -> Result<Several, Error> {
        self.get_several_within(pattern, max_lines, max_bytes, usize::MAX)
    }

    /// The same until the texts have so many bytes together; the texts of those that are [skipped](Fetched::skipped) do not count. What comes
    /// after that is [counted](Several::left_out). Each document counts for 1 KiB at least.
    ///
    /// # Errors
    /// As [`get_several`](Self::get_several).
    pub fn get_several_within(
        &self,
        pattern: &str,
        max_lines: Option<usize>,
        max_bytes: usize,
        total: usize,
    ) -> Result<Several, Error> {
        let mut several = Several::default();
        // What follows a `?` in an address names its index.
        let signs: &[char] = if pattern.starts_with("qmd://") { &['*'] } else { &['*', '?', '{', '['] };
        let is_glob = pattern.contains(signs);
        let ids: Vec<i64> = if is_glob && parse_docid(pattern).is_none() {
            self.matching(pattern)?
        } else {
            let names = pattern.split(',').map(str::trim).filter(|name| !name.is_empty());
            let mut ids = Vec::new();
            for name in names.take(MAX_NAMES) {
                match self.locate(name) {
                    Ok(id) if ids.contains(&id) => {}
                    Ok(id) => ids.push(id),
                    Err(error @ (Error::NotFound { .. } | Error::Ambiguous { .. })) => several.errors.push(error),
                    Err(error) => return Err(error),
                }
            }
            ids
        };
        self.store.read(|connection| {
            let contexts = Contexts::load(connection)?;
            let mut left = total;
            for (place, id) in ids.iter().enumerate() {
                let Some(document) = load(connection, &contexts, *id)? else { continue };
                let fetched = shortened(document, max_lines, max_bytes);
                match left.checked_sub(fetched.document.text.len().max(LEAST_BYTES)) {
                    Some(rest) => left = rest,
                    None => {
                        several.left_out = ids.len() - place;
                        break;
                    }
                }
                several.documents.push(fetched);
            }
            Ok(())
        })?;
        Ok(several)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<i64>, Error> {
        let bad = |reason: String| Error::Pattern { pattern: pattern.chars().take(200).collect(), reason };
        if pattern.len() > MAX_PATTERN {
            return Err(bad(format!("it is longer than {MAX_PATTERN} bytes")));
        }
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob.map_err(|error| bad(error.kind().to_string()))?.compile_matcher();
        let ids: Vec<i64> = self.store.read(|connection| {
            let all = every(connection)?.into_iter();
            let matching = all.filter(|(_, address)| {
                glob.is_match(&address.path)
                    || glob.is_match(format!("{}/{}", address.collection, address.path))
                    || glob.is_match(address.to_string())
            });
            Ok(matching.map(|(id, _)| id).collect())
        })?;
        if ids.is_empty() {
            return Err(Error::NotFound { name: pattern.to_owned(), similar: Vec::new() });
        }
        Ok(ids)
    }
}

fn shortened(mut document: Document, max_lines: Option<usize>, max_bytes: usize) -> Fetched {
    let bytes = document.text.len();
    if bytes > max_bytes {
        document.text.clear();
        return Fetched { document, cut: 0, skipped: Some(TooLarge { bytes, most: max_bytes }) };
    }
    let mut cut = 0;
    if let Some(count) = max_lines {
        (document.text, cut) = some_lines(&document.text, 1, Some(count));
    }
    Fetched { document, cut, skipped: None }
}
