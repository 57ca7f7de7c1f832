//! Bringing the index up to date with the files.

mod html;
mod read;
mod title;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Transaction, params};
use serde::Serialize;

use crate::collection::{Mask, all, require};
use crate::lexical::words;
use crate::store::{Wait, WriterLock, next_generation};
use crate::{Address, Collection, Error, Index};
pub use read::{MAX_FILE_BYTES, Skipped};
use read::{Read, read};
pub use title::title_of;
use walk::{Found, Walked};
pub(crate) use walk::{comes_to, folders, relative};

/// Files that are committed together.
const FILES_PER_COMMIT: usize = 256;

/// Files that have been read and wait to be written: few, for each may be large.
const READ_AHEAD: usize = 16;

/// A file that changed so shortly before it was read may change again without getting another time: times have steps,
/// of two seconds on some file systems.
const TIME_STEP: Duration = Duration::from_secs(2);

/// Counts changes of what is made of web pages; those that another version has read are read once more.
const READER: &str = "2";

/// How files are looked at.
#[derive(Clone, Debug, Default)]
pub struct UpdateOptions {
    /// The collections to update; empty for all.
    pub collections: Vec<String>,
    /// Whether every file is read, also those whose size and time are as they were.
    pub reread: bool,
    /// What to do while another process updates the index.
    pub wait: Wait,
}

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateReport {
    /// Files that belong to the collections.
    pub files: u64,
    /// Files that were new.
    pub added: u64,
    /// Files whose text had changed.
    pub changed: u64,
    /// Files whose text was as before.
    pub unchanged: u64,
    /// Documents whose file is gone, or has no text any more.
    pub removed: u64,
    /// Files and folders that could not be indexed, with the reason.
    pub skipped: Vec<SkippedFile>,
}

/// A file or folder that was not indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: Skipped,
}

/// Hears how an update or an embedding goes on. All methods may be left as they are.
pub trait Progress {
    /// Another process is updating the index, and this one waits for it.
    fn waiting(&self, _holder: Option<u32>) {}
    /// A part of the work begins: so many units of it are to be done.
    fn start(&self, _stage: Stage, _total: u64) {}
    /// So many more units are done.
    fn advance(&self, _units: u64) {}
    /// Whether the work is to end with what is committed next; it goes on from there another time.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Parts of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Files of a collection are compared with the index; units are files.
    Files(String),
    /// Texts are cut into chunks; units are texts.
    Chunks,
    /// Chunks are embedded; units are chunks.
    Vectors,
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {}

/// What the index knows of a file.
struct Known {
    id: i64,
    size: i64,
    modified_ns: i64,
    read_ns: i64,
    active: bool,
}

impl Known {
    /// Whether a file with this size and time must be the one that was read.
    fn is_surely(&self, file: &Found) -> bool {
        let settled = self.modified_ns.saturating_add(TIME_STEP.as_nanos() as i64) < self.read_ns;
        self.active && settled && self.size == file.size && self.modified_ns == file.modified_ns
    }
}

impl Index {
    /// Compares the files of collections with the index, and brings it up to date: new and changed files are read, those that are
    /// gone leave the results. Vectors are made by [`embed`](Index::embed).
    ///
    /// A file whose size and time of change are as they were is not read, unless it had changed within two seconds of being read
    /// or [`reread`](UpdateOptions::reread) is set. Files that cannot be read as text are reported, and are
    /// no error. Every 256 files are committed; after a crash the next update goes on.
    ///
    /// # Errors
    /// An unknown collection, a folder of a collection that is not there, those of the database.
    pub fn update(&self, options: &UpdateOptions, progress: &dyn Progress) -> Result<UpdateReport, Error> {
        let _lock = WriterLock::acquire(self.store.path(), options.wait, |holder| progress.waiting(holder))?;
        let collections = self.store.read(|connection| {
            if options.collections.is_empty() {
                return Ok(all(connection)?);
            }
            options.collections.iter().map(|name| require(connection, name)).collect()
        })?;
        let mut report = UpdateReport::default();
        for (id, collection) in &collections {
            if progress.is_stopped() {
                break;
            }
            self.update_collection(*id, collection, options, progress, &mut report)?;
        }
        Ok(report)
    }

    fn update_collection(
        &self,
        id: i64,
        collection: &Collection,
        options: &UpdateOptions,
        progress: &dyn Progress,
        report: &mut UpdateReport,
    ) -> Result<(), Error> {
        let mask = Mask::new(&collection.mask, &collection.ignore)?;
        let mut known = self.known(id)?;
        let Walked { files, skipped, unreadable } = walk::walk(collection, &mask)?;
        report.files += files.len() as u64;
        for (path, reason) in skipped {
            report.skipped.push(SkippedFile { path: collection.path.join(path), reason });
        }
        progress.start(Stage::Files(collection.name.clone()), files.len() as u64);

        let is_read_otherwise = self.was_read_otherwise(id)?;
        let mut to_read = Vec::new();
        for file in files {
            let before = known.remove(&file.path);
            let reread = options.reread || (is_read_otherwise && html::is_html(&file.path));
            if before.as_ref().is_some_and(|before| !reread && before.is_surely(&file)) {
                report.unchanged += 1;
                progress.advance(1);
            } else {
                to_read.push((file, before));
            }
        }
        // What is below a folder that cannot be read may still be there.
        let gone = known.into_iter().filter(|(path, before)| {
            before.active && !unreadable.iter().any(|folder| folder.is_empty() || is_below(path, folder))
        });
        let gone: Vec<i64> = gone.map(|(_, before)| before.id).collect();
        report.removed += gone.len() as u64;

        self.read_and_write(id, &collection.path, &to_read, progress, report)?;
        self.store.write(|transaction| {
            for id in &gone {
                deactivate(transaction, *id)?;
            }
            if !gone.is_empty() {
                next_generation(transaction)?;
            }
            transaction
                .execute("UPDATE collections SET updated_at = ? WHERE id = ?", params![now().as_secs() as i64, id])?;
            if is_read_otherwise && !progress.is_stopped() {
                let sql = "INSERT OR REPLACE INTO settings VALUES ('reader/' || ?, ?)";
                transaction.execute(sql, params![id, READER])?;
            }
            Ok(())
        })
    }

    /// Whether the web pages of a collection were read by an earlier version, which made another text of them.
    fn was_read_otherwise(&self, collection: i64) -> Result<bool, Error> {
        self.store.read(|connection| {
            let sql = "SELECT NOT EXISTS (SELECT 1 FROM settings WHERE key = 'reader/' || ? AND value = ?)";
            Ok(connection.query_row(sql, params![collection, READER], |row| row.get(0))?)
        })
    }

    fn known(&self, collection: i64) -> Result<HashMap<String, Known>, Error> {
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT path, id, size, modified_ns, read_ns, active FROM documents WHERE collection_id = ?",
            )?;
            let rows = statement.query_map([collection], |row| {
                let known = Known {
                    id: row.get(1)?,
                    size: row.get(2)?,
                    modified_ns: row.get(3)?,
                    read_ns: row.get(4)?,
                    active: row.get(5)?,
                };
                Ok((row.get(0)?, known))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Reads files on as many threads as there are processors, and writes them on this one.
    fn read_and_write(
        &self,
        collection: i64,
        folder: &Path,
        files: &[(Found, Option<Known>)],
        progress: &dyn Progress,
        report: &mut UpdateReport,
    ) -> Result<(), Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8).min(files.len().max(1));
        let next = AtomicUsize::new(0);
        let (send, receive) = sync_channel(READ_AHEAD);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some((file, _)) = files.get(index) else { return };
                        // The receiver goes when writing fails; there is nothing left to do then.
                        if send.send((index, now(), read(folder, file))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(send);
            let receive = Mutex::new(receive);
            loop {
                let receive = receive.lock().expect("only this thread has it");
                let batch: Vec<_> = receive.iter().take(FILES_PER_COMMIT).collect();
                drop(receive);
                if batch.is_empty() || progress.is_stopped() {
                    return Ok(());
                }
                let done = batch.len() as u64;
                let mut counts = UpdateReport::default();
                self.store.write(|transaction| {
                    for (index, read_at, result) in batch {
                        let (file, before) = &files[index];
                        let place = Place { collection, folder, file, before: before.as_ref(), read_at };
                        place.write(transaction, result, &mut counts)?;
                    }
                    if counts != UpdateReport::default() {
                        next_generation(transaction)?;
                    }
                    Ok(())
                })?;
                report.take(counts);
                progress.advance(done);
            }
        })
    }
}

impl UpdateReport {
    fn take(&mut self, other: UpdateReport) {
        self.added += other.added;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.removed += other.removed;
        self.skipped.extend(other.skipped);
    }
}

/// A file, and where it goes.
struct Place<'a> {
    collection: i64,
    folder: &'a Path,
    file: &'a Found,
    before: Option<&'a Known>,
    read_at: Duration,
}

impl Place<'_> {
    fn write(
        &self,
        transaction: &Transaction<'_>,
        result: Result<Read, Skipped>,
        counts: &mut UpdateReport,
    ) -> Result<(), Error> {
        let read = match result {
            Ok(read) => read,
            Err(reason) => {
                if let Some(before) = self.before.filter(|before| before.active && reason.is_about_its_content()) {
                    deactivate(transaction, before.id)?;
                    counts.removed += 1;
                }
                if reason != Skipped::Empty && reason != Skipped::Gone {
                    counts.skipped.push(SkippedFile { path: self.folder.join(&self.file.path), reason });
                }
                return Ok(());
            }
        };
        let content = content(transaction, &read)?;
        let title = match &read.title {
            Some(title) => title::clipped(title),
            None => title_of(&self.file.path, &read.text),
        };
        let same = "SELECT id FROM documents WHERE id = ? AND content_id = ? AND title = ? AND active";
        let before = self.before.map(|before| before.id);
        let is_same = transaction
            .prepare_cached(same)?
            .query_row(params![before, content, title], |row| row.get::<_, i64>(0))
            .optional()?
            .is_some();
        match self.before {
            _ if is_same => counts.unchanged += 1,
            Some(before) if before.active => counts.changed += 1,
            _ => counts.added += 1,
        }
        let read_ns = self.read_at.as_nanos() as i64;
        let mut statement = transaction.prepare_cached(
            "INSERT INTO documents (collection_id, path, title, content_id, size, modified_ns, read_ns, active)
             VALUES (?, ?, ?, ?, ?, ?, ?, 1)
             ON CONFLICT (collection_id, path) DO UPDATE SET title = excluded.title, content_id = excluded.content_id,
             size = excluded.size, modified_ns = excluded.modified_ns, read_ns = excluded.read_ns, active = 1
             RETURNING id",
        )?;
        let Found { path, size, modified_ns } = self.file;
        let values = params![self.collection, path, title, content, size, modified_ns, read_ns];
        let id: i64 = statement.query_row(values, |row| row.get(0))?;
        if !is_same {
            transaction.prepare_cached("DELETE FROM documents_fts WHERE rowid = ?")?.execute([id])?;
            transaction
                .prepare_cached("INSERT INTO documents_fts (rowid, path, title, body) VALUES (?, ?, ?, ?)")?
                .execute(params![id, words(path), words(&title), words(&read.text)])?;
        }
        Ok(())
    }
}

/// The number of a text, which is stored if it is new.
fn content(transaction: &Transaction<'_>, read: &Read) -> rusqlite::Result<i64> {
    let mut find = transaction.prepare_cached("SELECT id FROM contents WHERE hash = ?")?;
    if let Some(id) = find.query_row([&read.hash], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    transaction.prepare_cached("INSERT INTO contents (hash, text) VALUES (?, ?)")?.insert(params![read.hash, read.text])
}

/// Takes a document out of the results; its text and vectors stay until the next cleanup, should it come back.
fn deactivate(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE documents SET active = 0 WHERE id = ?")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM documents_fts WHERE rowid = ?")?.execute([id]).map(drop)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Index {
    /// The address of a file below one of the collections' folders; the file need not be indexed. Used to name a place by a path of
    /// the file system.
    ///
    /// # Errors
    /// Those of the database.
    pub fn address_of(&self, path: &Path) -> Result<Option<Address>, Error> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.store.read(|connection| {
            // The innermost, should one lie in another.
            let best = all(connection)?
                .into_iter()
                .filter_map(|(_, c)| Some((path.strip_prefix(&c.path).ok()?.to_str()?.replace('\\', "/"), c)))
                .min_by_key(|(rest, _)| rest.len());
            Ok(best.map(|(rest, collection)| Address::new(collection.name, rest)))
        })
    }
}
