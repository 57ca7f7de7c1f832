//! The catalogue of well-known models, as Python's values.

use docent::catalog::{self, Entry, Kind};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// Every model of the catalogue.
#[pyfunction]
pub(crate) fn models(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let models = PyList::empty(py);
    for entry in catalog::entries() {
        models.append(facts(py, entry)?)?;
    }
    Ok(models)
}

/// The model of this name, alias or repository; `None` if there is none.
#[pyfunction]
pub(crate) fn find_model<'py>(py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
    catalog::find(name).map(|entry| facts(py, entry)).transpose()
}

/// Threads that a model computes on unless it is told.
#[pyfunction]
pub(crate) fn default_threads() -> usize {
    docent::default_threads()
}

fn facts<'py>(py: Python<'py>, entry: &Entry) -> PyResult<Bound<'py, PyDict>> {
    let kind = match entry.kind {
        Kind::Embedding => "embedding",
        Kind::Reranker => "reranker",
        Kind::Expander => "expander",
    };
    let facts = PyDict::new(py);
    facts.set_item("name", &entry.name)?;
    facts.set_item("kind", kind)?;
    facts.set_item("repository", entry.repository())?;
    facts.set_item("aliases", &entry.aliases)?;
    facts.set_item("architecture", &entry.architecture)?;
    facts.set_item("dim", entry.dim)?;
    facts.set_item("max_length", entry.max_length)?;
    facts.set_item("pooling", entry.pooling.as_deref())?;
    facts.set_item("query_prompt", entry.query_prompt.as_deref())?;
    facts.set_item("document_prompt", entry.document_prompt.as_deref())?;
    facts.set_item("matryoshka", &entry.matryoshka)?;
    facts.set_item("score", entry.score.as_deref())?;
    facts.set_item("languages", &entry.languages)?;
    facts.set_item("license", &entry.license)?;
    facts.set_item("parameters", entry.parameters)?;
    facts.set_item("runs_here", entry.runs_here())?;
    Ok(facts)
}
