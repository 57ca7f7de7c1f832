//! Collections: folders whose files are indexed, and what a user says about them.

mod backup;
mod contexts;
mod mask;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::store::next_generation;
use crate::{Error, Index};
pub(crate) use backup::restore;
pub use contexts::Context;
pub(crate) use contexts::Contexts;
pub(crate) use mask::Mask;

/// The files of a collection that names none: Markdown.
pub const DEFAULT_MASK: &str = "**/*.md";

/// A folder whose files are indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Its name, the first part of its documents' addresses.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// Which files: globs, separated by commas.
    #[serde(default = "default_mask")]
    pub mask: String,
    /// Which not: globs of files or folders.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Whether searches that name no collection look here.
    #[serde(default = "yes")]
    pub included: bool,
    /// Whether `.gitignore` and `.ignore` files are followed.
    #[serde(default = "yes")]
    pub gitignore: bool,
    /// The embedding model, if it is another than the command's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

fn default_mask() -> String {
    DEFAULT_MASK.to_owned()
}

fn yes() -> bool {
    true
}

impl Collection {
    /// A collection of the Markdown files below a folder.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Collection {
        Collection {
            name: name.into(),
            path: path.into(),
            mask: default_mask(),
            ignore: Vec::new(),
            included: true,
            gitignore: true,
            model: None,
        }
    }

    /// The name that a folder gives a collection: its own, with `-` for what cannot stand in a name.
    pub fn name_of(folder: &Path) -> String {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().map(|c| if may_name(c) { c } else { '-' }).collect();
        let name = name.trim_matches(['-', '.']).to_owned();
        if name.is_empty() { "root".to_owned() } else { name }
    }
}

/// A collection with what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionStatus {
    /// The collection.
    #[serde(flatten)]
    pub collection: Collection,
    /// Files that are indexed.
    pub documents: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// When its folder was scanned last, in seconds since 1970; `None` if never.
    pub updated_at: Option<i64>,
}

/// Whether a character may stand in the name of a collection: not one that ends it in an address.
fn may_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn check_name(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > 100 {
        "it is longer than 100 bytes"
    } else if name.starts_with(['-', '.']) {
        "it begins with '-' or '.'"
    } else if !name.chars().all(may_name) {
        "only letters, digits, '-', '_' and '.' may stand in it"
    } else {
        return Ok(());
    };
    Err(Error::CollectionName { name: name.to_owned(), reason })
}

impl Index {
    /// Adds a collection. Its files are indexed by the next [`update`](Index::update).
    ///
    /// # Errors
    /// A name that exists or cannot be one, a path that is no folder, a pattern that is none.
    pub fn add_collection(&self, collection: &Collection) -> Result<(), Error> {
        check_name(&collection.name)?;
        Mask::new(&collection.mask, &collection.ignore)?;
        let path = std::fs::canonicalize(&collection.path).map_err(Error::io("read", &collection.path))?;
        if !path.is_dir() {
            return Err(Error::NotAFolder { path });
        }
        self.store.write(|transaction| {
            if let Some(existing) = find(transaction, &collection.name)? {
                return Err(Error::CollectionExists { name: existing.1.name, path: existing.1.path });
            }
            insert(transaction, &Collection { path, ..collection.clone() })?;
            Ok(())
        })?;
        self.back_up()
    }

    /// Changes the settings of a collection, found by the name in it; files are looked at again by the next update.
    ///
    /// # Errors
    /// An unknown name, a pattern that is none.
    pub fn change_collection(&self, collection: &Collection) -> Result<(), Error> {
        Mask::new(&collection.mask, &collection.ignore)?;
        self.store.write(|transaction| {
            let (id, _) = require(transaction, &collection.name)?;
            transaction.execute(
                "UPDATE collections SET mask = ?, ignore = ?, included = ?, gitignore = ?, model = ? WHERE id = ?",
                params![
                    collection.mask,
                    serde_json::json!(collection.ignore).to_string(),
                    collection.included,
                    collection.gitignore,
                    collection.model,
                    id
                ],
            )?;
            Ok(next_generation(transaction)?)
        })?;
        self.back_up()
    }

    /// Gives a collection another name, and its documents other addresses with it.
    ///
    /// # Errors
    /// An unknown name, a new one that exists or cannot be one.
    pub fn rename_collection(&self, name: &str, new: &str) -> Result<(), Error> {
        check_name(new)?;
        self.store.write(|transaction| {
            let (id, _) = require(transaction, name)?;
            if let Some((_, existing)) = find(transaction, new)? {
                return Err(Error::CollectionExists { name: existing.name, path: existing.path });
            }
            transaction.execute("UPDATE collections SET name = ? WHERE id = ?", params![new, id])?;
            Ok(next_generation(transaction)?)
        })?;
        self.back_up()
    }

    /// Forgets a collection: its documents and contexts. Texts and vectors that no other has go with the next
    /// [`cleanup`](Index::cleanup). Returns how many documents it had.
    ///
    /// # Errors
    /// An unknown name.
    pub fn remove_collection(&self, name: &str) -> Result<u64, Error> {
        let removed = self.store.write(|transaction| {
            let (id, _) = require(transaction, name)?;
            transaction.execute(
                "DELETE FROM documents_fts WHERE rowid IN (SELECT id FROM documents WHERE collection_id = ? AND active)",
                [id],
            )?;
            let removed = transaction.execute("DELETE FROM documents WHERE collection_id = ?", [id])?;
            transaction.execute("DELETE FROM collections WHERE id = ?", [id])?;
            transaction.execute("DELETE FROM settings WHERE key LIKE '%/' || ?", [id])?;
            next_generation(transaction)?;
            Ok(removed as u64)
        })?;
        self.back_up()?;
        Ok(removed)
    }

    /// The model that these collections name with one voice, or all collections if none are given; `None` if they name none.
    ///
    /// # Errors
    /// If they name different ones; those of the database.
    pub fn model_of(&self, collections: &[String]) -> Result<Option<String>, Error> {
        let all = self.collections()?.into_iter().map(|status| status.collection);
        let chosen = all.filter(|collection| collections.is_empty() || collections.contains(&collection.name));
        let mut models: Vec<String> = chosen.filter_map(|collection| collection.model).collect();
        models.sort_unstable();
        models.dedup();
        if models.len() > 1 {
            return Err(Error::DifferentModels { models });
        }
        Ok(models.pop())
    }

    /// A collection by its name.
    ///
    /// # Errors
    /// An unknown name.
    pub fn collection(&self, name: &str) -> Result<Collection, Error> {
        self.store.read(|connection| Ok(require(connection, name)?.1))
    }

    /// All collections with what is in them, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub fn collections(&self) -> Result<Vec<CollectionStatus>, Error> {
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT c.name, c.path, c.mask, c.ignore, c.included, c.gitignore, c.model, c.id, c.updated_at,
                        count(d.id), ifnull(sum(d.size), 0)
                 FROM collections c LEFT JOIN documents d ON d.collection_id = c.id AND d.active
                 GROUP BY c.id ORDER BY c.name",
            )?;
            let rows = statement.query_map([], |row| {
                let (documents, bytes): (i64, i64) = (row.get(9)?, row.get(10)?);
                Ok(CollectionStatus {
                    collection: from_row(row)?,
                    documents: documents.cast_unsigned(),
                    bytes: bytes.cast_unsigned(),
                    updated_at: row.get(8)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

const COLUMNS: &str = "name, path, mask, ignore, included, gitignore, model, id";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Collection> {
    let (path, ignore): (String, String) = (row.get(1)?, row.get(3)?);
    Ok(Collection {
        name: row.get(0)?,
        path: path.into(),
        mask: row.get(2)?,
        ignore: serde_json::from_str(&ignore).unwrap_or_default(),
        included: row.get(4)?,
        gitignore: row.get(5)?,
        model: row.get(6)?,
    })
}

/// Every collection with its number, by name.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<(i64, Collection)>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM collections ORDER BY name"))?;
    let rows = statement.query_map([], |row| Ok((row.get(7)?, from_row(row)?)))?;
    rows.collect()
}

pub(crate) fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<(i64, Collection)>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM collections WHERE name = ?"))?;
    statement.query_row([name], |row| Ok((row.get(7)?, from_row(row)?))).optional()
}

/// A collection by its name, or the error that names those that there are.
pub(crate) fn require(connection: &Connection, name: &str) -> Result<(i64, Collection), Error> {
    if let Some(found) = find(connection, name)? {
        return Ok(found);
    }
    let known = all(connection)?.into_iter().map(|(_, collection)| collection.name).collect();
    Err(Error::UnknownCollection { name: name.to_owned(), known })
}

/// Adds a row; the caller has checked it. Returns its number.
fn insert(connection: &Connection, collection: &Collection) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO collections (name, path, mask, ignore, included, gitignore, model) VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![
            collection.name,
            collection.path.to_string_lossy(),
            collection.mask,
            serde_json::json!(collection.ignore).to_string(),
            collection.included,
            collection.gitignore,
            collection.model
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_names() {
        for (path, name) in [("/home/u/notes", "notes"), ("/a/My Notes (old)", "My-Notes--old"), ("/", "root")] {
            assert_eq!(Collection::name_of(Path::new(path)), name);
            check_name(name).unwrap();
        }
    }

    #[test]
    fn names_can_stand_in_addresses() {
        check_name("notes-2_ä.x").unwrap();
        for name in ["", "a/b", "a b", "..", "-x", "a\0b", "a?b", "a#b", "a:b", &"x".repeat(101)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
