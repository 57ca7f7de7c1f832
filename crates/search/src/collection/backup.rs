//! A copy of the collections and contexts beside the index: the part of it that cannot be made again from the files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Collection, Context, Contexts, Mask, all, check_name, insert, require};
use crate::store::Store;
use crate::{Error, Index};

/// A copy larger than this is none of ours.
const MAX_BYTES: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Backup {
    collections: Vec<Collection>,
    contexts: Vec<Context>,
}

impl Index {
    /// Writes the copy anew, whole or not at all.
    pub(super) fn back_up(&self) -> Result<(), Error> {
        let backup = self.store.read(|connection| {
            let collections = all(connection)?.into_iter().map(|(_, collection)| collection).collect();
            Ok(Backup { collections, contexts: Contexts::load(connection)?.into_vec() })
        })?;
        let path = self.store.collections_path();
        let part = path.with_extension(format!("json.{}.part", std::process::id()));
        let text = serde_json::to_string_pretty(&backup).expect("names and texts are JSON");
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(Error::io("write", &path))
    }
}

/// Brings the collections back into an index that has none, from the copy of one that was lost.
pub(crate) fn restore(store: &Store) -> Result<(), Error> {
    let path = store.collections_path();
    let is_empty = store.read(|connection| Ok(all(connection)?.is_empty()))?;
    if !is_empty {
        return Ok(());
    }
    let Some(backup) = read(&path) else { return Ok(()) };
    if backup.collections.is_empty() {
        return Ok(());
    }
    tracing::info!("{}: {} collections are restored from it", path.display(), backup.collections.len());
    store.write(|transaction| {
        if !all(transaction)?.is_empty() {
            return Ok(());
        }
        for collection in &backup.collections {
            check_name(&collection.name)?;
            Mask::new(&collection.mask, &collection.ignore)?;
            insert(transaction, collection)?;
        }
        for context in &backup.contexts {
            let id = match &context.collection {
                Some(name) => Some(require(transaction, name)?.0),
                None => None,
            };
            let values = rusqlite::params![id, context.prefix, context.text];
            transaction
                .execute("INSERT OR REPLACE INTO contexts (collection_id, prefix, text) VALUES (?, ?, ?)", values)?;
        }
        Ok(())
    })
}

/// The copy, if there is one that can be read; one that cannot is not worth more than a warning.
fn read(path: &Path) -> Option<Backup> {
    let facts = fs::metadata(path).ok().filter(|facts| facts.is_file() && facts.len() <= MAX_BYTES)?;
    if facts.len() == 0 {
        return None;
    }
    match fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
    {
        Ok(backup) => Some(backup),
        Err(error) => {
            tracing::warn!("{}: not read: {error}", path.display());
            None
        }
    }
}
