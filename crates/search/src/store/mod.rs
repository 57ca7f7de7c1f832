//! The database: one SQLite file in WAL mode, opened by as many connections as there are readers at once.

mod lock;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::Error;
pub use lock::Wait;
pub(crate) use lock::WriterLock;

/// How long a connection waits for another process that writes.
const BUSY: Duration = Duration::from_secs(30);

/// An index file. Readers never wait for a writer, nor for each other.
pub(crate) struct Store {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens an index, or makes a new one; folders on the way are made.
    pub(crate) fn open(path: &Path) -> Result<Store, Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        if path.is_dir() {
            return Err(Error::NotAnIndex { path: path.to_owned(), what: "a folder" });
        }
        let store = Store { path: path.to_owned(), idle: Mutex::default() };
        let connection = store.connect(|connection| schema::migrate(connection, path))?;
        store.give_back(connection);
        Ok(store)
    }

    /// Where the index is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a copy of the collections is kept, from which a lost index is made again.
    pub(crate) fn collections_path(&self) -> PathBuf {
        beside(&self.path, "collections.json")
    }

    /// Runs `work` on one state of the index.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.take()?;
        let result =
            self.in_transaction(&mut connection, TransactionBehavior::Deferred, |transaction| work(transaction));
        self.give_back(connection);
        result
    }

    /// Runs `work` and commits what it wrote, or nothing if it fails.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.take()?;
        let result = self.in_transaction(&mut connection, TransactionBehavior::Immediate, work);
        self.give_back(connection);
        result
    }

    /// As [`write`](Self::write), for what can be done without: fails at once where another is writing.
    pub(crate) fn write_if_free<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.take()?;
        let result = connection.busy_timeout(Duration::ZERO).map_err(Error::from).and_then(|()| {
            let result = self.in_transaction(&mut connection, TransactionBehavior::Immediate, work);
            connection.busy_timeout(BUSY)?;
            result
        });
        self.give_back(connection);
        result
    }

    /// Runs `work` and takes back what it wrote.
    pub(crate) fn preview<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.take()?;
        let run = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.rollback()?;
            Ok(value)
        };
        let result = run(&mut connection).map_err(|error| self.complete(error));
        self.give_back(connection);
        result
    }

    /// Runs `work` outside of a transaction, for what SQLite does in none.
    pub(crate) fn maintain<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let connection = self.take()?;
        let result = work(&connection).map_err(|error| self.complete(error.into()));
        self.give_back(connection);
        result
    }

    fn in_transaction<T>(
        &self,
        connection: &mut Connection,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let run = || {
            let transaction = connection.transaction_with_behavior(behavior)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error| self.complete(error))
    }

    fn take(&self) -> Result<Connection, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.connect(|_| Ok(())), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn connect(&self, prepare: impl FnOnce(&mut Connection) -> Result<(), Error>) -> Result<Connection, Error> {
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let mut connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY)?;
            // The file may come from anywhere: its schema is not to be believed, nor to be edited by statements.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // In WAL mode a power failure may take back the last commits, never damage the file; update does them again.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // Writing the log back waits for the disk: every 16 MB instead of every 4.
            connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
            connection.pragma_update(None, "foreign_keys", "ON")?;
            connection.set_prepared_statement_cache_capacity(64);
            prepare(&mut connection)?;
            Ok(connection)
        };
        open().map_err(|error| self.complete(error))
    }

    /// Says of an error of SQLite where it happened and what it means.
    fn complete(&self, error: Error) -> Error {
        let Error::Sqlite { path, source } = error else { return error };
        if !path.as_os_str().is_empty() {
            return Error::Sqlite { path, source };
        }
        let path = self.path.clone();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => {
                Error::Corrupt { path, collections: self.collections_path(), detail: source.to_string() }
            }
            Some(ErrorCode::NotADatabase) => Error::NotAnIndex { path, what: "not a database" },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { path, seconds: BUSY.as_secs() },
            Some(ErrorCode::DiskFull) => Error::Full { path },
            _ => Error::Sqlite { path, source },
        }
    }
}

/// `index.sqlite` with another ending.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Counts a change of what searches see, so that those who keep vectors in memory notice.
pub(crate) fn next_generation(transaction: &Connection) -> rusqlite::Result<()> {
    transaction.execute("UPDATE settings SET value = value + 1 WHERE key = 'generation'", []).map(drop)
}

/// The number of such changes.
pub(crate) fn generation(connection: &Connection) -> rusqlite::Result<String> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE key = 'generation'")?
        .query_row([], |row| row.get::<_, String>(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn an_index_is_made_and_opened_again() {
        let folder = folder();
        let path = folder.path().join("deep/index.sqlite");
        for _ in 0..2 {
            let store = Store::open(&path).unwrap();
            store.write(|transaction| Ok(next_generation(transaction)?)).unwrap();
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.read(|connection| Ok(generation(connection)?)).unwrap(), "2");
        let mode: String = store.maintain(|c| c.pragma_query_value(None, "journal_mode", |row| row.get(0))).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = folder();
        let store = Store::open(&folder.path().join("i")).unwrap();
        let failed = store.write(|transaction| {
            next_generation(transaction)?;
            Err::<(), _>(Error::NotFound { name: String::new(), similar: Vec::new() })
        });
        assert!(matches!(failed, Err(Error::NotFound { .. })));
        assert_eq!(store.read(|connection| Ok(generation(connection)?)).unwrap(), "0");
    }

    #[test]
    fn files_that_are_no_index_are_named() {
        let folder = folder();
        let text = folder.path().join("text");
        std::fs::write(&text, "certainly not a database, and long enough for a header ".repeat(50)).unwrap();
        assert!(matches!(Store::open(&text), Err(Error::NotAnIndex { what: "not a database", .. })));
        assert!(matches!(Store::open(folder.path()), Err(Error::NotAnIndex { what: "a folder", .. })));

        let other = folder.path().join("other");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE a (b); PRAGMA user_version = 1").unwrap();
        let error = Store::open(&other).err().unwrap().to_string();
        assert!(error.contains("docent import qmd"), "{error}");

        let newer = folder.path().join("newer");
        drop(Store::open(&newer).unwrap());
        Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Store::open(&newer), Err(Error::TooNew { found: 99, known: schema::VERSION, .. })));
    }

    #[test]
    fn a_damaged_index_is_named_with_the_way_out() {
        let folder = folder();
        let path = folder.path().join("index.sqlite");
        let store = Store::open(&path).unwrap();
        store
            .write(|transaction| {
                for i in 0..2000 {
                    transaction.execute("INSERT INTO contents (hash, text) VALUES (?, ?)", (i, "text ".repeat(100)))?;
                }
                Ok(())
            })
            .unwrap();
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.len();
        bytes[length / 4..].iter_mut().for_each(|byte| *byte = 0x5a);
        std::fs::write(&path, bytes).unwrap();
        let read = Store::open(&path).and_then(|store| {
            store.read(|c| Ok(c.query_row("SELECT sum(length(text)) FROM contents", [], |row| row.get::<_, i64>(0))?))
        });
        let error = read.unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("index.collections.json"), "{error}");
    }

    #[test]
    fn a_full_disk_is_named_and_takes_nothing_back() {
        let folder = folder();
        let store = Store::open(&folder.path().join("i")).unwrap();
        let insert = |count: usize| {
            store.write(|transaction| {
                for _ in 0..count {
                    let sql = "INSERT INTO contents (hash, text) VALUES (hex(randomblob(16)), ?)";
                    transaction.execute(sql, ["text ".repeat(1000)])?;
                }
                Ok(())
            })
        };
        insert(10).unwrap();
        // The connection that the next write takes may not make the file larger than this.
        store.maintain(|c| c.query_row("PRAGMA max_page_count = 200", [], |row| row.get::<_, i64>(0))).unwrap();
        assert!(matches!(insert(1000), Err(Error::Full { .. })));
        let count = store.read(|c| Ok(c.query_row("SELECT count(*) FROM contents", [], |row| row.get::<_, i64>(0))?));
        assert_eq!(count.unwrap(), 10);
    }

    #[test]
    fn readers_see_the_last_commit_while_another_writes() {
        let folder = folder();
        let store = Store::open(&folder.path().join("i")).unwrap();
        let seen = store
            .write(|transaction| {
                next_generation(transaction)?;
                store.read(|connection| Ok(generation(connection)?))
            })
            .unwrap();
        assert_eq!(seen, "0");
    }
}
