//! The compiled part of the Python package `docent`.
//!
//! It opens models and runs them; whatever can be said in Python as well (defaults, generators, `async`, other libraries'
//! interfaces) is in `python/docent/`. Texts come in as a tuple of `str`, vectors go out as NumPy arrays that own what the
//! library computed. Python's interpreter is free while a model works, and looks for signals between windows of texts. That a
//! thread may come back to an interpreter which has ended meanwhile is the care of `PyO3`: the thread then sleeps.

mod catalog;
mod embedding;
mod errors;
mod log;
mod open;
mod options;
mod process;
mod reranking;
mod texts;

use pyo3::prelude::*;

/// Runs the command line `args`, the name of the program first, and returns the exit status of the process.
#[pyfunction]
fn run_command(py: Python<'_>, args: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| docent_cli::run(args))
}

/// The compiled part of the package `docent`.
#[pymodule]
fn _docent(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("DEFAULT_MODEL", docent::catalog::DEFAULT_MODEL)?;
    module.add("DEFAULT_RERANKER", docent::catalog::DEFAULT_RERANKER)?;
    module.add_class::<embedding::EmbeddingModel>()?;
    module.add_class::<reranking::RerankingModel>()?;
    module.add_function(wrap_pyfunction!(run_command, module)?)?;
    module.add_function(wrap_pyfunction!(catalog::models, module)?)?;
    module.add_function(wrap_pyfunction!(catalog::find_model, module)?)?;
    module.add_function(wrap_pyfunction!(catalog::default_threads, module)?)
}
