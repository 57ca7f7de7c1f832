//! What can go wrong.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why an index cannot be opened, written or searched. Every variant prints as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The index is damaged.
    #[error(
        "the index {} is damaged ({detail}); move it away and run `docent update`: collections and contexts come back from {}, \
         and the files are indexed anew",
        path.display(), collections.display()
    )]
    Corrupt {
        /// The index.
        path: PathBuf,
        /// The copy of its collections.
        collections: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// The file is no index.
    #[error("{} is {what}, not an index of docent; choose another place, or move it away", path.display())]
    NotAnIndex {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The index was written by a later version.
    #[error("the index {} has schema {found}, and this version of docent knows up to {known}; update docent", path.display())]
    TooNew {
        /// The index.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// Another process writes the index.
    #[error(
        "{} is updating the index {}; wait until it is done, or try again with --wait",
        Holder(*holder), path.display()
    )]
    Locked {
        /// The index.
        path: PathBuf,
        /// The process that writes, if it said so.
        holder: Option<u32>,
    },
    /// Another process held the database for too long.
    #[error("the index {} was busy for {seconds} seconds; another process is writing, try again", path.display())]
    Busy {
        /// The index.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The disk is full.
    #[error("no space left for the index {}; what was committed is kept, and the next update goes on from there", path.display())]
    Full {
        /// The index.
        path: PathBuf,
    },
    /// Any other error of SQLite.
    #[error("index {}: {source}", path.display())]
    Sqlite {
        /// The index.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// No collection has the name.
    #[error("no collection is named {name:?}; {}", Known(known))]
    UnknownCollection {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A collection of the name exists.
    #[error("the collection {name:?} exists already, for {}; remove it first, or choose another name", path.display())]
    CollectionExists {
        /// The name.
        name: String,
        /// Its folder.
        path: PathBuf,
    },
    /// A name that would not be one in an address.
    #[error("{name:?} cannot name a collection: {reason}")]
    CollectionName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The path of a collection is not a folder.
    #[error("{} is not a folder; a collection is a folder whose files are indexed", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A pattern of files that is none.
    #[error("{pattern:?} is not a pattern of files: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A query that cannot be read.
    #[error("line {line} of the query: {reason}")]
    Query {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing in the index has the name.
    #[error("nothing in the index is called {name:?}{}", Similar(similar))]
    NotFound {
        /// What was asked for.
        name: String,
        /// Addresses that look most like it.
        similar: Vec<String>,
    },
    /// A configuration of qmd that cannot be read.
    #[error("{} is not a configuration of qmd: {reason}", path.display())]
    QmdConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in one line.
        reason: String,
    },
    /// A name that several documents have.
    #[error("{name:?} means several documents: {}; give more of the path", matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The addresses of some of them.
        matches: Vec<String>,
    },
    /// Nothing has been embedded with the model.
    #[error("the index has no vectors of the model {model}{}; run `docent update -m {model}`", Others(others))]
    NoVectors {
        /// The model.
        model: String,
        /// The models that there are vectors of.
        others: Vec<String>,
    },
    /// Collections that name different models are searched together.
    #[error("the collections name different models ({}); choose one with --model", models.join(", "))]
    DifferentModels {
        /// The models.
        models: Vec<String>,
    },
    /// The model has too few tokens for a chunk.
    #[error("the model {model} reads {max_length} tokens at most, too few for a chunk with its prompt and heading")]
    ShortModel {
        /// The model.
        model: String,
        /// Tokens that it reads.
        max_length: usize,
    },
    /// The model cannot embed or rerank.
    #[error(transparent)]
    Model(#[from] docent::Error),
    /// The tokenizer cannot read a text.
    #[error("{name} cannot be tokenized: {source}")]
    Tokenize {
        /// The document.
        name: String,
        /// Why.
        source: docent::tokenizer::Error,
    },
}

impl Error {
    /// For `map_err`: names what was tried with the path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

// Where the place is not known yet; `Store` completes it.
impl From<rusqlite::Error> for Error {
    fn from(source: rusqlite::Error) -> Error {
        Error::Sqlite { path: PathBuf::new(), source }
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(process) => write!(f, "process {process}"),
            None => f.write_str("another process"),
        }
    }
}

struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("there are none yet, add one with `docent collection add FOLDER`"),
            names => write!(f, "there are {}", names.join(", ")),
        }
    }
}

struct Similar<'a>(&'a [String]);

impl fmt::Display for Similar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", self.0.join(", ")) }
    }
}

struct Others<'a>(&'a [String]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", only of {}", self.0.join(", ")) }
    }
}
