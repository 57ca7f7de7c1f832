//! qmd's index.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::{Imported, collection};
use crate::Error;

pub(super) fn read(path: &Path) -> Result<Imported, Error> {
    std::fs::metadata(path).map_err(Error::io("read", path))?;
    query(path).map_err(|source| match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => Error::NotAnIndex { path: path.to_owned(), what: "not a database" },
        _ => Error::Sqlite { path: path.to_owned(), source },
    })
}

fn query(path: &Path) -> rusqlite::Result<Imported> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let mut statement = connection.prepare(
        "SELECT name, path, pattern, include_by_default, ignore_patterns, context FROM store_collections ORDER BY name",
    )?;
    let collections = statement.query_map([], |row| {
        let path: String = row.get(1)?;
        let included = row.get::<_, Option<i64>>(3)?.map(|included| included != 0);
        let mut collection = collection(row.get(0)?, path.into(), row.get(2)?, included);
        collection.ignore =
            json(row.get(4)?).as_array().map(|all| all.iter().filter_map(text).collect()).unwrap_or_default();
        let contexts = json(row.get(5)?);
        let contexts = contexts.as_object().into_iter().flatten();
        let contexts = contexts.filter_map(|(prefix, said)| Some((prefix.trim_matches('/').to_owned(), text(said)?)));
        Ok((collection, contexts.collect()))
    })?;
    let collections = Some(collections.collect::<rusqlite::Result<_>>()?);
    let sql = "SELECT max(value) FROM store_config WHERE key = 'global_context'";
    let global_context = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(Imported { collections, global_context, ..Imported::default() })
}

fn json(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
