//! Search of local documents: by keyword, by meaning, or both, in one file and without a server.
//!
//! ```
//! use docent_search::{Collection, Index, Models, Query, SearchOptions, Silent, UpdateOptions, Wait};
//!
//! # let folder = tempfile::tempdir()?;
//! # std::fs::create_dir(folder.path().join("notes"))?;
//! # std::fs::write(folder.path().join("notes/cat.md"), "# Cats\n\nThe cat sat on the mat.\n")?;
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/bert-tiny");
//! let index = Index::open(folder.path().join("index.sqlite"))?;
//! index.add_collection(&Collection::new("notes", folder.path().join("notes")))?;
//! index.update(&UpdateOptions::default(), &Silent)?;
//!
//! let embedder = docent::Embedder::open(model)?;
//! index.embed(&embedder, Wait::Forever, &Silent)?;
//! let models = Models { embedder: Some(&embedder), ..Models::default() };
//! let found = index.search(&Query::plain("where is the cat?"), models, &SearchOptions::default())?;
//! assert_eq!(found.hits[0].address.to_string(), "qmd://notes/cat.md");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From a folder to an answer
//!
//! 1. A [`Collection`] is a folder and the globs of its files. [`Index::update`] compares it with the index and keeps each text once, by
//!    its SHA-256, with its words in an FTS5 table.
//!    Web pages are kept as their text. [`Index::watch`] tells when files have changed.
//! 2. [`Index::embed`] cuts the texts that a model has not seen into [chunks], each under the headings that it stands below, and
//!    embeds those whose text is new. A chunk has as many tokens as the model reads, at most [`MAX_CHUNK_TOKENS`].
//! 3. [`Index::search_keywords`], [`Index::search_meaning`] and [`Index::search`] find documents; [`Index::get`] and
//!    [`Index::get_several`] give them, from the index alone, whatever the name.
//!
//! The library blocks, needs no runtime, and is `Send + Sync`: a server calls it from threads of its own. The models are the caller's, so that they
//! are loaded once.
//!
//! # Scores
//!
//! A score says how much what was measured of a document speaks for its being relevant: 0.5 if it is five times as usual for documents that
//! answer a question as for any document of the collection, more if it is more usual for those that do. (It is the probability of
//! being relevant if one document in six was, before anything was measured.) It is the same scale in the three
//! searches, and depends on the question and the document, not on which others were found:
//!
//! - **Words**: FTS5's BM25 divided by the most that it could be, were all the query's words in the document endlessly often: the part of the query's information
//!   that the document has ([`Evidence::coverage`]).
//! - **Meaning**: by how many standard deviations the cosine of query and nearest chunk is above those of texts that have
//!   nothing to do with each other ([`Evidence::deviations`]). Mean and deviation are measured for each model when it is first used, so
//!   that a model whose cosines are all above 0.7 has the same scores as one whose cosines are around 0.
//! - **Both**: the sum of the two, weighed.
//! - After **reranking**: the reranker's own score.
//!
//! Each becomes a probability by a logistic curve, fitted by regression on the judged collection CISI and
//! nothing else, relevant and other documents having the same weight in all. `docs/quality.md` has the figures and the command. Read them as an order
//! with a meaning, not as frequencies: how many documents of a collection answer a question, no curve knows.
//!
//! # Putting lists together
//!
//! [`Fusion::Relevance`] orders by the score of both; what one search did not find is measured for the other, so that no document is
//! judged by half. [`Fusion::ReciprocalRanks`] orders as qmd does, by ranks alone (`k` = 60, a bonus for the first three, the first line
//! counting twice). A reranker reads the best passages of the first [`candidates`](SearchOptions::candidates), and the order is then of
//! its score and the rank before, weighed 3:1 for ranks 1 to 3, 6:4 to rank 10, 4:6 after that. With a
//! [`deadline`](SearchOptions::deadline), the search returns what it has, and [`SearchResults::left_out`] what it left.
//!
//! # Expansion
//!
//! A plain question is also looked for in the words of a model that writes others ([`Models::expander`]), unless the words alone have
//! found what is meant: a document of relevance 0.75 and none that comes within 0.15 of it, and no intent was given. Lines that the user
//! has written stay alone. An expansion is kept in the index by model and question, the newest thousand, so that a question costs the
//! model's time once. With a deadline, the model writes for half of the time at most, and lines that are complete by then count.
//!
//! What a model says is worth less than what was asked. With [`Fusion::Relevance`] each kind of evidence, words and meaning, is the mean of
//! what the question has measured and the best that an expansion's lines have, two to one, or that of the question if it is more: other
//! words can lift a document by a third of what they show, and never lower one. With [`Fusion::ReciprocalRanks`] the lists of the question count twice, those of
//! other lines once. The reranker is asked the question itself.
//!
//! # Addresses
//!
//! Documents are named as qmd names them: `qmd://COLLECTION/PATH`, and docids of six digits. An index of qmd is not opened itself: its vectors
//! lie in tables of an SQLite extension and belong to chunks that are cut otherwise. [`Index::import_qmd`] takes its collections and
//! contexts over; the files are indexed anew.
//!
//! # What can be relied on
//!
//! - **One file**, SQLite in WAL mode: any number of processes search while one updates. A process that is killed loses the last 64
//!   chunks or 256 files at most; the next update goes on from there. A second update waits or says so ([`Wait`]).
//! - **Nothing is embedded twice.** A vector belongs to what was embedded; of an edited file, the chunks that the edit left alone keep theirs. Vectors of
//!   different models stand side by side and are never mixed: a model is known by its settings and the vector of a fixed text.
//! - **Nothing is lost silently.** Files that are binary, too large, not UTF-8 or unreadable are [reported](UpdateReport::skipped).
//!   A file that becomes one of the first three leaves the results, one that cannot be read stays.
//! - **Nothing a query, a name or a document holds** is read as SQL, as FTS5's syntax or as a path outside of the index.
//! - A file whose size and time of change are as they were is taken for unchanged, unless it had changed within two seconds of being
//!   read; [`UpdateOptions::reread`] reads all.
//! - Collections and contexts, which no file can give back, are copied to a file beside the index; a new index at the same place
//!   begins with them.
//!
//! # Vectors
//!
//! A vector is a factor and a signed byte for each component: 388 bytes for 384 components, a quarter of what floats take in the file, in
//! memory and in the time to look at them. Rounding a vector of unit length so moves a cosine by some 0.0005. All vectors are looked at
//! for each query ([`docent_kernels::nearest`]), so there is nothing to build or to tune, and a search in a small collection is as exact as in all.

mod address;
mod chunk;
mod collection;
mod documents;
mod embed;
mod error;
mod expand;
mod import;
mod lexical;
mod models;
mod query;
mod search;
mod status;
mod store;
mod update;
mod vectors;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use docent_kernels::ThreadPool;

pub use address::{Address, DOCID_LENGTH, docid};
pub use chunk::{Chunk, ChunkOptions, MAX_CHUNK_TOKENS, MIN_CHUNK_TOKENS, Syntax, chunks};
pub use collection::{Collection, CollectionStatus, Context, DEFAULT_MASK};
pub use documents::{Document, Entry, Fetched, MAX_BYTES, Part, Several, TooLarge};
pub use embed::EmbedReport;
pub use error::Error;
pub use expand::Expands;
pub use import::{ImportReport, QmdFiles, QmdModels};
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
pub use watch::{Changed, Polled, WatchOptions, WatchStop, Watcher};

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
    /// Microseconds that an expander last took to read its prompt.
    prompt_time: AtomicU64,
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
        Ok(Index {
            store,
            vectors: Mutex::default(),
            models: Mutex::default(),
            threads: OnceLock::new(),
            prompt_time: AtomicU64::new(0),
        })
    }

    /// Where the index is.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// The threads that vectors are searched on, shared with the models of the process.
    fn threads(&self) -> &ThreadPool {
        self.threads.get_or_init(|| ThreadPool::shared(docent::default_threads()))
    }
    /// How long an expander last took to read its prompt; nothing if none has.
    fn prompt_time(&self) -> Duration {
        Duration::from_micros(self.prompt_time.load(Ordering::Relaxed))
    }

    fn set_prompt_time(&self, time: Duration) {
        self.prompt_time.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
