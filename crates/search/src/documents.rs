//! Documents by their name: one, several, or the list of them.

mod several;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use crate::address::{parse_docid, split_lines};
use crate::collection::{Contexts, all, find};
use crate::{Address, Error, Index, docid};
pub use several::{Fetched, MAX_BYTES, Several, TooLarge};

/// Names that are suggested for one that is not there.
const SUGGESTIONS: usize = 5;

/// Changes that make a name into one that is suggested for it, at most.
const DISTANCE: usize = 5;

/// Characters of a name that suggestions are looked for.
const LONGEST_NAME: usize = 200;

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its address.
    pub address: Address,
    /// The file.
    pub path: std::path::PathBuf,
    /// Its docid, as `#762e73`.
    pub docid: String,
    /// Its title.
    pub title: String,
    /// What the user says about the place.
    pub context: Option<String>,
    /// Its text as it was when it was indexed.
    pub text: String,
}

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The document.
    pub document: Document,
    /// The first line of the part, from 1.
    pub first_line: usize,
    /// The lines of the part.
    pub text: String,
    /// Lines of the document after it.
    pub after: usize,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The document's path in its collection.
    pub path: String,
    /// Its title.
    pub title: String,
    /// Bytes of the file.
    pub size: u64,
    /// The time of its last change, in seconds since 1970.
    pub modified: i64,
}

impl Index {
    /// A document, or a part of it, by a name: a docid, an address, the end of one, or a path of the file system below the folder of a
    /// collection. `:FROM` or `:FROM:COUNT` after the name choose lines; `from` and `count` overrule them.
    ///
    /// Nothing but what is indexed can be had, whatever the name.
    ///
    /// # Errors
    /// A name that no document has, or several.
    pub fn get(&self, name: &str, from: Option<usize>, count: Option<usize>) -> Result<Part, Error> {
        // A file may be called `a:3`.
        let (id, name_from, name_count) = match self.locate(name) {
            Ok(id) => (id, None, None),
            Err(error) => match split_lines(name) {
                (_, None, _) => return Err(error),
                (short, from, count) => (self.locate(short)?, from, count),
            },
        };
        let document = self.store.read(|connection| {
            let contexts = Contexts::load(connection)?;
            load(connection, &contexts, id)?
                .ok_or_else(|| Error::NotFound { name: name.to_owned(), similar: Vec::new() })
        })?;
        let first_line = from.or(name_from).unwrap_or(1).max(1);
        let (text, after) = some_lines(&document.text, first_line, count.or(name_count));
        Ok(Part { document, first_line, text, after })
    }

    /// The number of a document.
    fn locate(&self, name: &str) -> Result<i64, Error> {
        // A path is made plain before the index is asked, for that may need the file system.
        let of_path = self.address_of(Path::new(name)).ok().flatten();
        self.store.read(|connection| {
            if let Some(id) = by_docid(connection, name)? {
                return Ok(id);
            }
            let address = Address::parse(name);
            for address in [address.as_ref(), of_path.as_ref()].into_iter().flatten() {
                if let Some(id) = by_address(connection, address)? {
                    return Ok(id);
                }
            }
            match &by_ending(connection, name)?[..] {
                [] => Err(Error::NotFound { name: name.to_owned(), similar: similar(connection, name)? }),
                [(id, _)] => Ok(*id),
                several => {
                    let matches = several.iter().map(|(_, address)| address.to_string()).collect();
                    Err(Error::Ambiguous { name: name.to_owned(), matches })
                }
            }
        })
    }

    /// The documents of a collection, or below a folder of it, by path.
    ///
    /// # Errors
    /// An unknown collection; a folder that nothing is below.
    pub fn list(&self, place: &Address) -> Result<Vec<Entry>, Error> {
        self.store.read(|connection| {
            let (collection, _) = crate::collection::require(connection, &place.collection)?;
            let mut statement = connection.prepare_cached(
                "SELECT path, title, size, modified_ns / 1000000000 FROM documents
                 WHERE collection_id = ?1 AND active
                 AND (?2 = '' OR path = ?2 OR substr(path, 1, length(?2) + 1) = ?2 || '/') ORDER BY path",
            )?;
            let rows = statement.query_map(params![collection, place.path], |row| {
                Ok(Entry { path: row.get(0)?, title: row.get(1)?, size: row.get(2)?, modified: row.get(3)? })
            })?;
            let entries: Vec<Entry> = rows.collect::<rusqlite::Result<_>>()?;
            if entries.is_empty() && !place.path.is_empty() {
                let name = place.to_string();
                return Err(Error::NotFound { similar: similar(connection, &name)?, name });
            }
            Ok(entries)
        })
    }
}

const JOINED: &str =
    "FROM documents d JOIN collections c ON c.id = d.collection_id JOIN contents t ON t.id = d.content_id";

fn load(connection: &Connection, contexts: &Contexts, id: i64) -> Result<Option<Document>, Error> {
    let sql = format!("SELECT c.name, c.path, d.path, d.title, t.hash, t.text {JOINED} WHERE d.id = ?");
    let row = |row: &Row<'_>| {
        let (collection, folder, path): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let hash: String = row.get(4)?;
        Ok(Document {
            path: Path::new(&folder).join(&path),
            context: contexts.of(&collection, &path),
            address: Address::new(collection, path),
            docid: docid(&hash),
            title: row.get(3)?,
            text: row.get(5)?,
        })
    };
    Ok(connection.prepare_cached(&sql)?.query_row([id], row).optional()?)
}

fn by_docid(connection: &Connection, name: &str) -> Result<Option<i64>, Error> {
    let Some(start) = parse_docid(name) else { return Ok(None) };
    // Hashes that begin so lie between it and the next text of its length: 'g' comes after every digit.
    let sql =
        format!("SELECT d.id {JOINED} WHERE t.hash >= ?1 AND t.hash < ?1 || 'g' AND d.active ORDER BY d.id LIMIT 1");
    Ok(connection.prepare_cached(&sql)?.query_row([start], |row| row.get(0)).optional()?)
}

fn by_address(connection: &Connection, address: &Address) -> Result<Option<i64>, Error> {
    let Some((collection, _)) = find(connection, &address.collection)? else { return Ok(None) };
    let sql = "SELECT id FROM documents WHERE collection_id = ? AND path = ? AND active";
    Ok(connection.prepare_cached(sql)?.query_row(params![collection, address.path], |row| row.get(0)).optional()?)
}

/// The documents whose address ends with a name, in whole segments; more than one are given up to a few.
fn by_ending(connection: &Connection, name: &str) -> Result<Vec<(i64, Address)>, Error> {
    let plain = name.trim_start_matches("./").trim_matches('/');
    if plain.is_empty() || plain.split('/').any(|segment| segment == "..") {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT d.id, c.name, d.path {JOINED} WHERE d.active
         AND substr('/' || c.name || '/' || d.path, -length(?1)) = ?1 ORDER BY length(d.path), d.id LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![format!("/{plain}"), SUGGESTIONS], |row| {
        Ok((row.get(0)?, Address::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The addresses that look most like a name.
fn similar(connection: &Connection, name: &str) -> Result<Vec<String>, Error> {
    let wanted = last_segment(name).to_lowercase();
    if wanted.is_empty() || wanted.chars().count() > LONGEST_NAME {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT c.name, d.path {JOINED} WHERE d.active");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut best: Vec<(usize, String)> = Vec::new();
    while let Some(row) = rows.next()? {
        let address = Address::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        let own = last_segment(&address.path).to_lowercase();
        if own.chars().count().abs_diff(wanted.chars().count()) > DISTANCE {
            continue;
        }
        let distance = distance(&wanted, &own);
        if distance <= DISTANCE.min(wanted.chars().count() / 2) {
            best.push((distance, address.to_string()));
        }
    }
    best.sort();
    best.truncate(SUGGESTIONS);
    Ok(best.into_iter().map(|(_, address)| address).collect())
}

fn last_segment(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The changes of single characters that make one text into another (Levenshtein 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Lines from one on, at most `count`, and how many come after them.
fn some_lines(text: &str, first: usize, count: Option<usize>) -> (String, usize) {
    if first == 1 && count.is_none() {
        return (text.to_owned(), 0);
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let start = (first - 1).min(lines.len());
    let end = count.map_or(lines.len(), |count| start.saturating_add(count).min(lines.len()));
    (lines[start..end].join("\n"), lines.len() - end)
}

/// Every document's number and address, by address.
fn every(connection: &Connection) -> Result<Vec<(i64, Address)>, Error> {
    if all(connection)?.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT d.id, c.name, d.path {JOINED} WHERE d.active ORDER BY c.name, d.path");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, Address::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_changes() {
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("a", "a")), (3, 3, 0));
    }

    #[test]
    fn lines_are_chosen() {
        assert_eq!(some_lines("a\nb\nc", 2, Some(1)), ("b".into(), 1));
        assert_eq!(some_lines("a\nb\nc", 2, None), ("b\nc".into(), 0));
        assert_eq!(some_lines("a", 9, Some(usize::MAX)), (String::new(), 0));
        assert_eq!(some_lines("a\n", 1, None), ("a\n".into(), 0));
    }
}
