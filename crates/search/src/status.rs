//! What is in an index, and keeping it small.

use rusqlite::Connection;
use serde::Serialize;

use crate::store::{Wait, WriterLock, next_generation};
use crate::update::Progress;
use crate::{CollectionStatus, Error, Index};

/// What is in an index.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The file.
    pub path: std::path::PathBuf,
    /// Its bytes, with those of its log.
    pub bytes: u64,
    /// Documents that can be found.
    pub documents: u64,
    /// Texts of these that the current model has not seen.
    pub texts_to_embed: u64,
    /// Models that there are vectors of.
    pub models: Vec<ModelStatus>,
    /// The collections.
    pub collections: Vec<CollectionStatus>,
}

/// What an index has of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Components of its vectors.
    pub dim: u64,
    /// Chunks.
    pub chunks: u64,
    /// Vectors.
    pub vectors: u64,
    /// Chunks that have no vector yet.
    pub open: u64,
    /// Whether the last update embedded with it.
    pub is_current: bool,
}

/// What a cleanup removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CleanupReport {
    /// Documents whose file is gone.
    pub documents: u64,
    /// Texts that no document has.
    pub texts: u64,
    /// Chunks of these texts, and of models that are not the current one.
    pub chunks: u64,
    /// Vectors that no chunk has.
    pub vectors: u64,
    /// Bytes that the file has become smaller by.
    pub bytes: u64,
}

impl Index {
    /// What is in the index.
    ///
    /// # Errors
    /// Those of the database.
    pub fn status(&self) -> Result<Status, Error> {
        let collections = self.collections()?;
        self.store.read(|connection| {
            let current = current(connection)?;
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
            let mut statement = connection.prepare(
                "SELECT m.name, m.dim, (SELECT count(*) FROM chunks WHERE model_id = m.id),
                        (SELECT count(*) FROM vectors WHERE model_id = m.id AND codes IS NOT NULL),
                        (SELECT count(*) FROM chunks c JOIN vectors v ON v.id = c.vector_id
                         WHERE c.model_id = m.id AND v.codes IS NULL), m.id
                 FROM models m ORDER BY m.name, m.id",
            )?;
            let models = statement.query_map([], |row| {
                Ok(ModelStatus {
                    name: row.get(0)?,
                    dim: row.get(1)?,
                    chunks: row.get(2)?,
                    vectors: row.get(3)?,
                    open: row.get(4)?,
                    is_current: Some(row.get::<_, i64>(5)?) == current,
                })
            })?;
            let models = models.collect::<rusqlite::Result<_>>()?;
            let texts_to_embed = connection.query_row(
                "SELECT count(DISTINCT content_id) FROM documents WHERE active
                 AND content_id NOT IN (SELECT content_id FROM chunked WHERE model_id IS ?)",
                [current],
                |row| row.get(0),
            )?;
            let documents = count("SELECT count(*) FROM documents WHERE active")?;
            Ok(Status {
                path: self.path().to_owned(),
                bytes: self.bytes(),
                documents,
                texts_to_embed,
                models,
                collections,
            })
        })
    }

    /// Bytes of the file and its log.
    fn bytes(&self) -> u64 {
        let mut log = self.path().as_os_str().to_owned();
        log.push("-wal");
        [self.path(), log.as_ref()]
            .iter()
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|facts| facts.len())
            .sum()
    }

    /// Removes what no search can find: documents whose file is gone, texts and vectors that nothing has, and all that is of models
    /// other than the one that the last update embedded with; then gives the space back.
    ///
    /// # Errors
    /// Those of the database.
    pub fn cleanup(&self, wait: Wait, progress: &dyn Progress) -> Result<CleanupReport, Error> {
        let _lock = WriterLock::acquire(self.path(), wait, |holder| progress.waiting(holder))?;
        let before = self.bytes();
        let mut report = self.store.write(|transaction| {
            let report = remove(transaction)?;
            next_generation(transaction)?;
            Ok(report)
        })?;
        self.store.maintain(|connection| {
            connection.execute_batch(
                "INSERT INTO documents_fts (documents_fts) VALUES ('optimize'); VACUUM; PRAGMA wal_checkpoint(TRUNCATE);",
            )
        })?;
        report.bytes = before.saturating_sub(self.bytes());
        Ok(report)
    }

    /// What [`cleanup`](Index::cleanup) would remove; nothing is changed.
    ///
    /// # Errors
    /// Those of the database.
    pub fn cleanup_preview(&self) -> Result<CleanupReport, Error> {
        self.store.preview(|transaction| remove(transaction))
    }
}

/// The model that the last update embedded with.
fn current(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT max(CAST(value AS INTEGER)) FROM settings WHERE key = 'model'";
    connection.query_row(sql, [], |row| row.get(0))
}

fn remove(connection: &Connection) -> Result<CleanupReport, Error> {
    let current = current(connection)?;
    let documents = connection.execute("DELETE FROM documents WHERE NOT active", [])?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    let chunks = count("SELECT count(*) FROM chunks")?;
    let texts = connection.execute("DELETE FROM contents WHERE id NOT IN (SELECT content_id FROM documents)", [])?;
    connection.execute("DELETE FROM chunks WHERE model_id IS NOT ?", [current])?;
    let vectors = connection.execute("DELETE FROM vectors WHERE id NOT IN (SELECT vector_id FROM chunks)", [])?;
    connection.execute("DELETE FROM models WHERE id IS NOT ?", [current])?;
    Ok(CleanupReport {
        documents: documents as u64,
        texts: texts as u64,
        chunks: chunks - count("SELECT count(*) FROM chunks")?,
        vectors: vectors as u64,
        bytes: 0,
    })
}
