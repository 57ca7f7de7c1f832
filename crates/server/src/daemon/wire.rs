//! What commands and the daemon say to each other.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use docent::hub::Hub;
use docent_search::SearchOptions;
use serde::{Deserialize, Serialize};

use crate::search::Search;

/// A search of any index with any models.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The index, as an absolute path.
    pub index: PathBuf,
    /// What is looked for.
    pub search: Search,
    /// What is wanted of the results.
    pub options: SearchOptions,
    /// The embedder; `None` for the one that the collections name.
    pub embedder: Option<NamedFile>,
    /// The reranker; `None` for none.
    pub reranker: Option<NamedFile>,
    /// The expander; `None` for none.
    pub expander: Option<NamedFile>,
    /// Where the command looks for models: the same name may be another file elsewhere.
    pub caches: Caches,
}

/// A model, and the state in which the command has found its file: the daemon may have loaded what was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFile {
    /// The reference; a path is absolute.
    pub reference: String,
    /// The state of the file or folder.
    pub state: FileState,
}

/// What changes when a file, or a file of a folder, is replaced or written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Nanoseconds since 1970 of the last change.
    pub modified: u128,
}

impl FileState {
    /// The state of a file, or of the files of a folder together.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<FileState> {
        let mut state = FileState { path: path.to_owned(), bytes: 0, modified: 0 };
        state.add(path)?;
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                // Following links: those of a cache lead to files that have no name of their own.
                state.add(&entry?.path())?;
            }
        }
        Ok(state)
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let facts = std::fs::metadata(path)?;
        let modified = facts.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.bytes += facts.len();
        self.modified = self.modified.max(modified.as_nanos());
        Ok(())
    }
}

/// The folders in which models are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caches {
    /// That of Hugging Face's tools.
    pub hub: Option<PathBuf>,
    /// Docent's own.
    pub docent: Option<PathBuf>,
}

impl Caches {
    /// Those that the environment of this process says.
    pub fn of_environment() -> Self {
        let hub = Hub::from_env();
        // The daemon has another working folder.
        let owned = |folder: Option<&Path>| folder.and_then(|folder| std::path::absolute(folder).ok());
        Caches { hub: owned(hub.hub_cache_folder()), docent: owned(hub.docent_cache_folder()) }
    }
}

/// What a daemon has in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of docent.
    pub version: String,
    /// The number of its process.
    pub process: u32,
    /// When it was started, in seconds since 1970.
    pub since: u64,
    /// The models in memory.
    pub models: Vec<String>,
    /// The indexes that are open, the one searched last first.
    pub indexes: Vec<PathBuf>,
}
