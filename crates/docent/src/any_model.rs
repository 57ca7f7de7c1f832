//! A model opened as whatever it is.

use std::path::Path;

use docent_kernels::ThreadPool;
use docent_models::Model;

use crate::catalog::{self, Entry};
use crate::hub::{Hub, Progress};
use crate::{Embedder, Error, Expander, Format, ModelRef, OpenOptions, Reranker, default_threads};

/// An embedding model, a reranker or a query expander.
#[derive(Debug)]
pub enum AnyModel {
    /// Text to vectors.
    Embedder(Embedder),
    /// A query and documents to scores.
    Reranker(Reranker),
    /// A query to other ways of asking it.
    Expander(Expander),
}

impl AnyModel {
    /// Opens a model as [`Embedder::open_with`] does, as what its files say that it is. A model that could be either, with a head that
    /// scores and a pooling mode, is an embedder. Files do not say that a model expands queries: the catalogue does, by the name that the model
    /// is opened by or that it gives itself.
    ///
    /// # Errors
    /// If the model cannot be had, or its files cannot be used.
    pub fn open_with(model: &ModelRef, options: &OpenOptions, progress: &dyn Progress) -> Result<Self, Error> {
        let entry = catalog::of_reference(model);
        let path = Hub::from_env().offline(options.offline).fetch(model, options.quant, progress)?;
        Self::open_file(&path, entry, options.threads)
    }

    fn open_file(path: &Path, entry: Option<&'static Entry>, threads: Option<usize>) -> Result<Self, Error> {
        let threads = ThreadPool::shared(threads.unwrap_or_else(default_threads));
        let model = Model::open(path, &threads)?;
        let description = model.description();
        let by_its_name = || catalog::find(&description.name).filter(|_| description.format == Format::Gguf);
        if entry.or_else(by_its_name).is_some_and(|entry| entry.kind == catalog::Kind::Expander) {
            Expander::of_model(model, path, entry, threads).map(AnyModel::Expander)
        } else if description.reranker {
            Reranker::of_model(model, path, entry, threads).map(AnyModel::Reranker)
        } else {
            Embedder::of_model(model, path, entry, threads).map(AnyModel::Embedder)
        }
    }
}
