//! A model in memory: what it is, and what it is good for.

use std::path::Path;
use std::sync::{Arc, Weak};

use docent::{Embedder, Expander, Reranker};

use crate::failure::{Failure, FailureKind};

/// A model in memory, with the name by which requests know it.
pub struct Served<M> {
    /// The name.
    pub name: String,
    /// The model.
    pub model: M,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Text to vectors.
    Embed,
    /// A query and documents to scores.
    Rerank,
    /// A query to other ways of asking it, for searches.
    Expand,
}

impl Task {
    /// Its name: `embed`, `rerank`, `expand`.
    pub fn name(self) -> &'static str {
        match self {
            Task::Embed => "embed",
            Task::Rerank => "rerank",
            Task::Expand => "expand",
        }
    }
}

/// A model in memory, of any kind.
#[derive(Clone)]
pub enum Loaded {
    /// An embedder.
    Embedder(Arc<Served<Embedder>>),
    /// A reranker.
    Reranker(Arc<Served<Reranker>>),
    /// An expander, which no route asks for by name.
    Expander(Arc<Served<Expander>>),
}

/// What a model is, known from when it was last loaded: to be told without loading it again.
#[derive(Clone, Debug)]
pub struct ModelFacts {
    /// What it is for.
    pub task: Task,
    /// What its files say.
    pub description: docent::Description,
    /// Tokens that it reads unless the request says otherwise.
    pub max_length: usize,
    /// How an embedder makes one vector of a text.
    pub pooling: Option<docent::Pooling>,
    /// Bytes of memory that it takes: packed weights, and what stays in the mapping of its files.
    pub bytes: u64,
}

/// A model that requests may still have.
pub(super) enum Unloaded {
    Embedder(Weak<Served<Embedder>>),
    Reranker(Weak<Served<Reranker>>),
    Expander(Weak<Served<Expander>>),
}

impl Unloaded {
    pub(super) fn upgrade(&self) -> Option<Loaded> {
        match self {
            Unloaded::Embedder(served) => served.upgrade().map(Loaded::Embedder),
            Unloaded::Reranker(served) => served.upgrade().map(Loaded::Reranker),
            Unloaded::Expander(served) => served.upgrade().map(Loaded::Expander),
        }
    }
}

impl Loaded {
    pub(super) fn embedder(self) -> Result<Arc<Served<Embedder>>, Failure> {
        match self {
            Loaded::Embedder(embedder) => Ok(embedder),
            other => Err(other.wrong("an embedding model")),
        }
    }

    pub(super) fn reranker(self) -> Result<Arc<Served<Reranker>>, Failure> {
        match self {
            Loaded::Reranker(reranker) => Ok(reranker),
            other => Err(other.wrong("a reranker")),
        }
    }

    pub(super) fn expander(self) -> Result<Arc<Served<Expander>>, Failure> {
        match self {
            Loaded::Expander(expander) => Ok(expander),
            other => Err(other.wrong("a query expander")),
        }
    }

    pub(super) fn wrong(&self, wanted: &str) -> Failure {
        let found = match self.task() {
            Task::Embed => "an embedding model",
            Task::Rerank => "a reranker",
            Task::Expand => "a query expander",
        };
        Failure::new(FailureKind::WrongModel, format!("{} is {found}, not {wanted}", self.name())).about("model")
    }

    /// What it is for.
    pub fn task(&self) -> Task {
        match self {
            Loaded::Embedder(_) => Task::Embed,
            Loaded::Reranker(_) => Task::Rerank,
            Loaded::Expander(_) => Task::Expand,
        }
    }

    pub(super) fn downgrade(self) -> Unloaded {
        match self {
            Loaded::Embedder(served) => Unloaded::Embedder(Arc::downgrade(&served)),
            Loaded::Reranker(served) => Unloaded::Reranker(Arc::downgrade(&served)),
            Loaded::Expander(served) => Unloaded::Expander(Arc::downgrade(&served)),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Loaded::Embedder(served) => &served.name,
            Loaded::Reranker(served) => &served.name,
            Loaded::Expander(served) => &served.name,
        }
    }

    pub(super) fn facts(&self) -> ModelFacts {
        let (packed, path, pooling) = match self {
            Loaded::Embedder(served) => {
                let settings = served.model.settings();
                (served.model.packed_bytes(), &settings.path, Some(settings.pooling))
            }
            Loaded::Reranker(served) => (served.model.packed_bytes(), &served.model.settings().path, None),
            Loaded::Expander(served) => (served.model.packed_bytes(), &served.model.settings().path, None),
        };
        ModelFacts {
            task: self.task(),
            description: self.description().clone(),
            max_length: self.max_length(),
            pooling,
            bytes: file_bytes(path).max(packed as u64),
        }
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &docent::tokenizer::Tokenizer {
        match self {
            Loaded::Embedder(served) => served.model.tokenizer(),
            Loaded::Reranker(served) => served.model.tokenizer(),
            Loaded::Expander(served) => served.model.tokenizer(),
        }
    }

    /// What its files say.
    pub fn description(&self) -> &docent::Description {
        match self {
            Loaded::Embedder(served) => &served.model.settings().description,
            Loaded::Reranker(served) => &served.model.settings().description,
            Loaded::Expander(served) => &served.model.settings().description,
        }
    }

    /// Tokens that it reads unless the request says otherwise.
    pub fn max_length(&self) -> usize {
        match self {
            Loaded::Embedder(served) => served.model.settings().max_length,
            Loaded::Reranker(served) => served.model.settings().max_length,
            Loaded::Expander(served) => served.model.settings().description.max_length,
        }
    }
}

/// Bytes of a model's weight files: of a split one all parts. One that cannot be opened takes none.
pub(super) fn file_bytes(path: &Path) -> u64 {
    docent::inspect(path).map_or(0, |inspection| inspection.file_bytes)
}
