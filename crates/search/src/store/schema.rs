//! The tables, and how an older index gets those of this version.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// What SQLite writes into the header of an index: "Dcnt".
const APPLICATION: i64 = 0x4463_6e74;

/// What takes an index from each version to the next. Entries are never changed once released.
const MIGRATIONS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// The version of the schema that this code works with.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings an index to this version; a new file gets all tables.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    if version(connection)? == VERSION && application(connection)? == APPLICATION {
        return Ok(());
    }
    // Another process may be here at the same time: look again with the lock held.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application(&transaction)? != APPLICATION {
        let what = "a database of another program (for an index of qmd, use `docent import qmd`)";
        return Err(Error::NotAnIndex { path: path.to_owned(), what });
    }
    if found > VERSION {
        return Err(Error::TooNew { path: path.to_owned(), found, known: VERSION });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn application(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}
