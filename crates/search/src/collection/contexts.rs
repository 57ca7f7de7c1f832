//! Contexts: sentences about a collection or a part of it, shown with every result from there.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::{all, require};
use crate::{Error, Index};

/// What a user says about the documents below a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The collection; `None` for all of them.
    pub collection: Option<String>,
    /// The folder or file in it; empty for all of it.
    pub prefix: String,
    /// The text.
    pub text: String,
}

impl Context {
    /// The address of the place, as `qmd://notes/work`; `/` for all collections.
    pub fn address(&self) -> String {
        match &self.collection {
            None => "/".to_owned(),
            Some(collection) => crate::Address::new(collection, &self.prefix).to_string(),
        }
    }
}

impl Index {
    /// Says something about a place, or something else about it.
    ///
    /// # Errors
    /// An unknown collection.
    pub fn set_context(&self, context: &Context) -> Result<(), Error> {
        self.store.write(|transaction| {
            let id = match &context.collection {
                Some(name) => Some(require(transaction, name)?.0),
                None => None,
            };
            transaction.execute(
                "INSERT OR REPLACE INTO contexts (collection_id, prefix, text) VALUES (?, ?, ?)",
                params![id, context.prefix.trim_matches('/'), context.text],
            )?;
            Ok(())
        })?;
        self.back_up()
    }

    /// Takes back what was said about a place; whether anything was.
    ///
    /// # Errors
    /// An unknown collection.
    pub fn remove_context(&self, collection: Option<&str>, prefix: &str) -> Result<bool, Error> {
        let removed = self.store.write(|transaction| {
            let id = match collection {
                Some(name) => Some(require(transaction, name)?.0),
                None => None,
            };
            let places = params![id, prefix.trim_matches('/')];
            Ok(transaction.execute("DELETE FROM contexts WHERE collection_id IS ? AND prefix = ?", places)?)
        })?;
        self.back_up()?;
        Ok(removed > 0)
    }

    /// All contexts: those of every collection first, then by place.
    ///
    /// # Errors
    /// Those of the database.
    pub fn contexts(&self) -> Result<Vec<Context>, Error> {
        self.store.read(|connection| Ok(Contexts::load(connection)?.all))
    }
}

/// The contexts of an index.
pub(crate) struct Contexts {
    /// By collection, shorter prefixes before longer ones.
    all: Vec<Context>,
}

impl Contexts {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Contexts> {
        let names = all(connection)?;
        let mut statement = connection.prepare_cached("SELECT collection_id, prefix, text FROM contexts")?;
        let rows = statement.query_map([], |row| {
            let id: Option<i64> = row.get(0)?;
            let name =
                names.iter().find(|(known, _)| Some(*known) == id).map(|(_, collection)| collection.name.clone());
            Ok(Context { collection: name, prefix: row.get(1)?, text: row.get(2)? })
        })?;
        let mut all: Vec<Context> = rows.collect::<rusqlite::Result<_>>()?;
        all.sort_by(|a, b| (&a.collection, a.prefix.len(), &a.prefix).cmp(&(&b.collection, b.prefix.len(), &b.prefix)));
        Ok(Contexts { all })
    }

    /// What is said about a document: everything, from the most general to the most special, with blank lines between.
    pub(crate) fn of(&self, collection: &str, path: &str) -> Option<String> {
        let texts: Vec<&str> = self
            .all
            .iter()
            .filter(|context| context.collection.as_deref().is_none_or(|name| name == collection))
            .filter(|context| is_below(path, &context.prefix))
            .map(|context| context.text.as_str())
            .collect();
        if texts.is_empty() { None } else { Some(texts.join("\n\n")) }
    }

    pub(super) fn into_vec(self) -> Vec<Context> {
        self.all
    }
}

/// Whether a path is a place or lies below it: whole segments are compared, so that `api` is not above `apiv2`.
fn is_below(path: &str, place: &str) -> bool {
    place.is_empty() || path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_compared_by_segments() {
        assert!(is_below("api/x.md", "api") && is_below("api", "api") && is_below("a", ""));
        assert!(!is_below("apiv2/x.md", "api") && !is_below("a", "a/b"));
    }

    #[test]
    fn contexts_add_up_from_general_to_special() {
        let context = |collection: Option<&str>, prefix: &str, text: &str| Context {
            collection: collection.map(str::to_owned),
            prefix: prefix.to_owned(),
            text: text.to_owned(),
        };
        let contexts = Contexts {
            all: vec![context(None, "", "mine"), context(Some("n"), "", "notes"), context(Some("n"), "work", "job")],
        };
        assert_eq!(contexts.of("n", "work/a.md").as_deref(), Some("mine\n\nnotes\n\njob"));
        assert_eq!(contexts.of("n", "worker.md").as_deref(), Some("mine\n\nnotes"));
        assert_eq!(contexts.of("other", "work/a.md").as_deref(), Some("mine"));
        assert_eq!(Contexts { all: Vec::new() }.of("n", "a"), None);
    }
}
