//! What is in an index, and keeping it small.

use rusqlite::Connection;
use serde::Serialize;

use crate::models::IN_USE;
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
    /// Texts of these that the model in use for their collection has not seen.
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
    /// Whether the last update of a collection embedded with it.
    pub is_current: bool,
}

/// What a cleanup removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CleanupReport {
    /// Documents whose file is gone.
    pub documents: u64,
    /// Texts that no document has.
    pub texts: u64,
    /// Chunks of these texts, and of models that are not in use.
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
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
            let mut statement = connection.prepare(&format!(
                "WITH {IN_USE} SELECT m.name, m.dim, (SELECT count(*) FROM chunks WHERE model_id = m.id),
                        (SELECT count(*) FROM vectors WHERE model_id = m.id AND codes IS NOT NULL),
                        (SELECT count(*) FROM chunks c JOIN vectors v ON v.id = c.vector_id
                         WHERE c.model_id = m.id AND v.codes IS NULL), m.id IN (SELECT model_id FROM in_use)
                 FROM models m ORDER BY m.name, m.id",
            ))?;
            let models = statement.query_map([], |row| {
                Ok(ModelStatus {
                    name: row.get(0)?,
                    dim: row.get(1)?,
                    chunks: row.get(2)?,
                    vectors: row.get(3)?,
                    open: row.get(4)?,
                    is_current: row.get(5)?,
                })
            })?;
            let models = models.collect::<rusqlite::Result<_>>()?;
            let texts_to_embed = count(&format!(
                "WITH {IN_USE} SELECT count(DISTINCT d.content_id) FROM documents d JOIN in_use u USING (collection_id)
                 WHERE d.active AND NOT EXISTS
                     (SELECT 1 FROM chunked k WHERE k.content_id = d.content_id AND k.model_id IS u.model_id)",
            ))?;
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
    /// that no collection was embedded with last; then gives the space back.
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

fn remove(connection: &Connection) -> Result<CleanupReport, Error> {
    let documents = connection.execute("DELETE FROM documents WHERE NOT active", [])?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    let chunks = count("SELECT count(*) FROM chunks")?;
    let texts = connection.execute("DELETE FROM contents WHERE id NOT IN (SELECT content_id FROM documents)", [])?;
    let unused = "NOT IN (SELECT model_id FROM in_use WHERE model_id IS NOT NULL)";
    connection.execute(&format!("WITH {IN_USE} DELETE FROM chunks WHERE model_id {unused}"), [])?;
    let vectors = connection.execute("DELETE FROM vectors WHERE id NOT IN (SELECT vector_id FROM chunks)", [])?;
    connection.execute(&format!("WITH {IN_USE} DELETE FROM models WHERE id {unused}"), [])?;
    Ok(CleanupReport {
        documents: documents as u64,
        texts: texts as u64,
        chunks: chunks - count("SELECT count(*) FROM chunks")?,
        vectors: vectors as u64,
        bytes: 0,
    })
}
