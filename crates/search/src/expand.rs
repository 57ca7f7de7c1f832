//! Other ways of asking a plain question, written by a model and kept in the index.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use docent::{ExpandOptions, ExpandedLine, Expander};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::query::{Line, LineKind};
use crate::{Error, Index, Query};

/// Counts changes of the way in which queries are expanded; expansions of another number are made anew.
const METHOD: u32 = 2;

/// Expansions that are kept.
const MOST: i64 = 1000;

/// Bytes of an expansion's key.
const KEY_BYTES: usize = 16;

/// A query expander, or one that is opened when it is needed: not for a question whose expansion is kept, or that its words alone have
/// answered.
pub trait Expands {
    /// The file or directory of the model, by which expansions are kept.
    fn path(&self) -> &Path;

    /// The model.
    ///
    /// # Errors
    /// Those of opening it.
    fn open(&self) -> Result<&Expander, docent::Error>;
}

impl Expands for Expander {
    fn path(&self) -> &Path {
        &self.settings().path
    }

    fn open(&self) -> Result<&Expander, docent::Error> {
        Ok(self)
    }
}

/// What a query was expanded to.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub(crate) lines: Vec<Line>,
    /// Whether there was no time for all of it.
    pub(crate) cut: bool,
}

impl Query {
    /// Whether it says no more than what is looked for, so that a model may say it in other ways. Who writes lines has chosen them.
    pub fn is_plain(&self) -> bool {
        matches!(&self.lines[..], [Line { kind: LineKind::Plain, .. }])
    }
}

impl Index {
    /// The lines that a plain question is expanded to: those kept of an earlier time, or new ones, written in so much time at most.
    ///
    /// A model cannot be interrupted while it reads the prompt: it is not asked if that took longer the last time.
    pub(crate) fn expand(
        &self,
        query: &Query,
        expander: &dyn Expands,
        time: Option<Duration>,
    ) -> Result<Expanded, Error> {
        let [Line { text, .. }] = &query.lines[..] else { return Ok(Expanded::default()) };
        let key = key(expander.path(), text);
        if let Some(lines) = self.store.read(|connection| kept(connection, &key))? {
            return Ok(Expanded { lines: lines_of(lines), cut: false });
        }
        let read = self.prompt_time();
        if time.is_some_and(|time| time.is_zero() || time < read) {
            return Ok(Expanded { lines: Vec::new(), cut: true });
        }
        let expander = expander.open()?;
        let begun = Instant::now();
        let (asked, stopped) = (Cell::new(0), Cell::new(false));
        let stop = || {
            // Asked before the prompt is read, and then before every token but the first.
            if asked.replace(asked.get() + 1) == 1 {
                self.set_prompt_time(begun.elapsed());
            }
            stopped.set(stopped.get() || time.is_some_and(|time| begun.elapsed() >= time));
            stopped.get()
        };
        let expansion = expander.expand_with(text, &ExpandOptions::default(), &stop)?;
        // The query itself, which is looked for anyway.
        let lines = if expansion.fallback { Vec::new() } else { expansion.lines };
        if !stopped.get() {
            // Nothing is lost but time if it cannot be kept: another process writes, the disk is full.
            if let Err(error) = self.store.write_if_free(|transaction| keep(transaction, &key, &lines)) {
                tracing::debug!("an expansion is not kept: {error}");
            }
        }
        Ok(Expanded { lines: lines_of(lines), cut: stopped.get() })
    }
}

fn lines_of(lines: Vec<ExpandedLine>) -> Vec<Line> {
    let kind = |kind| match kind {
        docent::LineKind::Lex => LineKind::Lex,
        docent::LineKind::Vec => LineKind::Vec,
        docent::LineKind::Hyde => LineKind::Hyde,
    };
    lines.into_iter().map(|line| Line { kind: kind(line.kind), text: line.text }).collect()
}

/// What an expansion depends on: the query and the model, which is known by its file.
fn key(model: &Path, query: &str) -> [u8; KEY_BYTES] {
    let file = std::fs::metadata(model).ok();
    let changed = file.as_ref().and_then(|file| file.modified().ok());
    let (model, length) = (model.display().to_string(), file.map(|file| file.len()));
    let mut hash = Sha256::new();
    hash.update(format!("{METHOD} {model:?} {length:?} {changed:?}\n{query}"));
    let hash: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|byte| hash[byte])
}

fn kept(connection: &Connection, key: &[u8]) -> Result<Option<Vec<ExpandedLine>>, Error> {
    let mut statement = connection.prepare_cached("SELECT lines FROM expansions WHERE key = ?")?;
    let lines: Option<String> = statement.query_row([key], |row| row.get(0)).optional()?;
    // Lines that cannot be read are written anew.
    Ok(lines.and_then(|lines| serde_json::from_str(&lines).ok()))
}

fn keep(connection: &Connection, key: &[u8], lines: &[ExpandedLine]) -> Result<(), Error> {
    let lines = serde_json::to_string(lines).unwrap_or_default();
    connection.execute("INSERT OR REPLACE INTO expansions (key, lines) VALUES (?, ?)", params![key, lines])?;
    connection.execute("DELETE FROM expansions WHERE id <= ?", [connection.last_insert_rowid() - MOST])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_thousand_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::open(folder.path().join("i.sqlite")).unwrap();
        let line = |text: &str| vec![ExpandedLine { kind: docent::LineKind::Hyde, text: text.to_owned() }];
        index
            .store
            .write(|transaction| {
                for place in 0..MOST + 20 {
                    keep(transaction, &place.to_le_bytes(), &line(&place.to_string()))?;
                }
                keep(transaction, &500i64.to_le_bytes(), &line("again"))
            })
            .unwrap();
        let kept = |place: i64| index.store.read(|connection| kept(connection, &place.to_le_bytes())).unwrap();
        assert_eq!((kept(20), kept(21)), (None, Some(line("21"))));
        assert_eq!((kept(500), kept(MOST + 19)), (Some(line("again")), Some(line(&(MOST + 19).to_string()))));
        let count = |connection: &Connection| {
            Ok(connection.query_row("SELECT count(*) FROM expansions", [], |row| row.get(0))?)
        };
        let count: i64 = index.store.read(count).unwrap();
        assert!(count <= MOST, "{count}");
    }
}
