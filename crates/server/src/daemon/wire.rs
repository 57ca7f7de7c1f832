//! What commands and the daemon say to each other.

use std::path::PathBuf;

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
    /// The embedder's reference, paths absolute; `None` for the one that the collections name.
    pub embedder: Option<String>,
    /// The reranker's reference; `None` for none.
    pub reranker: Option<String>,
    /// The expander's reference; `None` for none.
    pub expander: Option<String>,
    /// Where the command looks for models: the same name may be another file elsewhere.
    pub caches: Caches,
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
        let owned = |folder: Option<&std::path::Path>| folder.map(PathBuf::from);
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
