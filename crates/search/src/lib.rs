//! Search of local documents: by keyword, by meaning, or both.
mod address;
mod chunk;
mod collection;
mod documents;
mod embed;
mod error;
mod import;
mod lexical;
mod models;
mod query;
mod search;
mod status;
mod store;
mod update;
mod vectors;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use docent_kernels::ThreadPool;

pub use address::{Address, DOCID_LENGTH, docid};
pub use chunk::{Chunk, ChunkOptions, MAX_CHUNK_TOKENS, MIN_CHUNK_TOKENS, chunks, is_markdown};
pub use collection::{Collection, CollectionStatus, Context, DEFAULT_MASK};
pub use documents::{Document, Entry, Fetched, MAX_BYTES, Part, Several, TooLarge};
pub use embed::EmbedReport;
pub use error::Error;
pub use import::ImportReport;
pub use lexical::LexicalQuery;
pub use query::{Line, LineKind, Query};
pub use search::{
    Contribution, Evidence, Explain, Fusion, Hit, LeftOut, Models, RrfExplain, SearchOptions, SearchResults, Snippet,
    number_lines, relevance_of_both, relevance_of_keywords, relevance_of_meaning,
};
pub use status::{CleanupReport, ModelStatus, Status};
pub use store::Wait;
pub use update::{
    MAX_FILE_BYTES, Progress, Silent, Skipped, SkippedFile, Stage, UpdateOptions, UpdateReport, title_of,
};

use models::Model;
use store::Store;
use vectors::Vectors;

/// An index of documents: a file, and what searches keep of it in memory. `Send` and `Sync`; calls block.
///
/// Any number of searches run at once, in this process and others, also while one process updates.
pub struct Index {
    store: Store,
    vectors: Mutex<Option<Arc<Vectors>>>,
    /// The model that was searched with last, by the address of its embedder's settings.
    models: Mutex<Vec<(String, Model)>>,
    threads: OnceLock<Arc<ThreadPool>>,
}

impl Index {
    /// Opens the index at a path, or makes a new one there.
    ///
    /// A new index gets the collections of one that was at the same path before and was lost, from the copy beside it.
    ///
    /// # Errors
    /// A file that is no index, is damaged or of a later version; a place that cannot be written.
    pub fn open(path: impl AsRef<Path>) -> Result<Index, Error> {
        let store = Store::open(path.as_ref())?;
        collection::restore(&store)?;
        Ok(Index { store, vectors: Mutex::default(), models: Mutex::default(), threads: OnceLock::new() })
    }

    /// Where the index is.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// The threads that vectors are searched on, shared with the models of the process.
    fn threads(&self) -> &ThreadPool {
        self.threads.get_or_init(|| ThreadPool::shared(docent::default_threads()))
    }
}
