//! Taking over the collections of qmd.
//!
//! qmd's database is read, never written, and no part of the new index. What a user has put into it are collections and contexts;
//! documents come from the files again, in seconds. Its vectors are not taken: they belong to chunks of another cut, with other text
//! around them, in a table that only an extension of SQLite can read.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::{Collection, Context, Error, Index};

/// What was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// The names of the collections.
    pub collections: Vec<String>,
    /// How many contexts.
    pub contexts: usize,
    /// What was not, and why; one line each.
    pub problems: Vec<String>,
}

/// A collection of qmd with its contexts, as prefixes and texts.
type Imported = (Collection, Vec<(String, String)>);

impl Index {
    /// Takes over the collections and contexts of an index of qmd, version 2. One whose name is taken, or whose folder is gone, is
    /// reported and left out. Update commands are not taken over: nothing that a file says is run.
    ///
    /// # Errors
    /// A file that cannot be read or is none of qmd's.
    pub fn import_qmd(&self, path: &Path) -> Result<ImportReport, Error> {
        std::fs::metadata(path).map_err(Error::io("read", path))?;
        let (collections, global) = read(path).map_err(|source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => {
                Error::NotAnIndex { path: path.to_owned(), what: "not a database" }
            }
            _ => Error::Sqlite { path: path.to_owned(), source },
        })?;
        let mut report = ImportReport::default();
        for (collection, contexts) in collections {
            if let Err(error) = self.add_collection(&collection) {
                report.problems.push(format!("collection {}: {error}", collection.name));
                continue;
            }
            for (prefix, text) in contexts {
                self.set_context(&Context { collection: Some(collection.name.clone()), prefix, text })?;
                report.contexts += 1;
            }
            report.collections.push(collection.name);
        }
        if let Some(text) = global.filter(|text| !text.is_empty()) {
            self.set_context(&Context { collection: None, prefix: String::new(), text })?;
            report.contexts += 1;
        }
        Ok(report)
    }
}

fn read(path: &Path) -> rusqlite::Result<(Vec<Imported>, Option<String>)> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut statement = connection.prepare(
        "SELECT name, path, pattern, ignore_patterns, include_by_default, context FROM store_collections ORDER BY name",
    )?;
    let collections = statement.query_map([], |row| {
        let (name, path): (String, String) = (row.get(0)?, row.get(1)?);
        let mut collection = Collection::new(name, path);
        if let Some(mask) = row.get::<_, Option<String>>(2)?.filter(|mask| !mask.is_empty()) {
            collection.mask = mask;
        }
        collection.ignore =
            json(row.get(3)?).as_array().map(|all| all.iter().filter_map(text).collect()).unwrap_or_default();
        collection.included = row.get::<_, Option<i64>>(4)? != Some(0);
        // qmd reads no .gitignore: the same files are to be found.
        collection.gitignore = false;
        let contexts = json(row.get(5)?);
        let contexts = contexts.as_object().into_iter().flatten();
        let contexts = contexts.filter_map(|(prefix, said)| Some((prefix.trim_matches('/').to_owned(), text(said)?)));
        Ok((collection, contexts.collect()))
    })?;
    let collections = collections.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT max(value) FROM store_config WHERE key = 'global_context'";
    let global = connection.query_row(sql, [], |row| row.get(0))?;
    Ok((collections, global))
}

fn json(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_of_qmd_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        std::fs::create_dir(&notes).unwrap();
        let path = folder.path().join("qmd.sqlite");
        let qmd = Connection::open(&path).unwrap();
        qmd.execute_batch(
            "CREATE TABLE store_collections (name TEXT PRIMARY KEY, path TEXT, pattern TEXT DEFAULT '**/*.md',
                 ignore_patterns TEXT, include_by_default INTEGER DEFAULT 1, update_command TEXT, context TEXT);
             CREATE TABLE store_config (key TEXT PRIMARY KEY, value TEXT);
             INSERT INTO store_config VALUES ('global_context', 'all mine');",
        )
        .unwrap();
        let add = |name: &str, path: &Path| {
            let sql =
                "INSERT INTO store_collections VALUES (?, ?, '**/*.{md,txt}', '[\"drafts/**\"]', 0, 'rm -rf /', ?)";
            qmd.execute(sql, (name, path.to_str().unwrap(), r#"{"/": "notes", "/work": "job"}"#)).unwrap();
        };
        add("notes", &notes);
        add("gone", &folder.path().join("gone"));

        let index = Index::open(folder.path().join("index.sqlite")).unwrap();
        let report = index.import_qmd(&path).unwrap();
        assert_eq!((report.collections, report.contexts), (vec!["notes".to_owned()], 3));
        assert!(report.problems[0].starts_with("collection gone: cannot read"), "{:?}", report.problems);
        let taken = index.collection("notes").unwrap();
        assert_eq!((taken.mask.as_str(), &taken.ignore[..]), ("**/*.{md,txt}", &["drafts/**".to_owned()][..]));
        assert!(!taken.included && !taken.gitignore);
        assert_eq!(index.contexts().unwrap().len(), 3);
        assert!(matches!(index.import_qmd(&folder.path().join("none")), Err(Error::Io { .. })));
        let own = index.path().to_owned();
        assert!(index.import_qmd(&own).unwrap_err().to_string().contains("store_collections"));
    }
}
