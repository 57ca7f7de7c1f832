//! The library's errors as Python's, by kind. The classes are in `python/docent/errors.py`.

use docent::{Error, hub, model_ref};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A fact of an error, as an attribute of the exception.
type Fact = (&'static str, usize);

/// The exception for an error of the library.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let (class, facts): (&str, Vec<Fact>) = match error {
        Error::ModelRef(error) => (of_reference(error), vec![]),
        Error::Hub(error) => (of_hub(error), vec![]),
        Error::Model(error) => (of_model(error), vec![]),
        Error::NotAnEmbedder { .. } | Error::NotAReranker { .. } => ("ModelKindError", vec![]),
        Error::Dim { .. } | Error::MaxLength { .. } | Error::NoInstruction { .. } | Error::PromptName { .. } => {
            ("OptionError", vec![])
        }
        Error::TooLong { index, tokens, max_length } => {
            ("TextTooLongError", vec![("index", *index), ("tokens", *tokens), ("max_length", *max_length)])
        }
        Error::QueryTooLong { tokens, max_length, .. } => {
            ("TextTooLongError", vec![("tokens", *tokens), ("max_length", *max_length)])
        }
        Error::Tokenize { index, .. } => ("TokenizeError", vec![("index", *index)]),
        Error::TokenizeQuery { .. } => ("TokenizeError", vec![]),
        Error::NotFinite { index, .. } | Error::ScoreNotFinite { index, .. } => {
            ("ModelFileError", vec![("index", *index)])
        }
        Error::Batch(_) => ("ModelFileError", vec![]),
        _ => ("DocentError", vec![]),
    };
    raise(py, class, &error.to_string(), &facts)
}

fn of_reference(error: &model_ref::ParseError) -> &'static str {
    use model_ref::ParseError;
    match error {
        ParseError::NoSuchPath { .. } | ParseError::UnknownName { .. } | ParseError::UnknownRepository { .. } => {
            "ModelNotFoundError"
        }
        _ => "ModelNameError",
    }
}

fn of_hub(error: &hub::Error) -> &'static str {
    match error {
        hub::Error::UnknownName { .. }
        | hub::Error::NoSuchPath { .. }
        | hub::Error::NotFound { .. }
        | hub::Error::NoModelFile { .. }
        | hub::Error::NoSuchQuant { .. } => "ModelNotFoundError",
        hub::Error::BadName { .. } => "ModelNameError",
        hub::Error::Offline { .. } => "OfflineError",
        hub::Error::Damaged { .. }
        | hub::Error::NotGguf { .. }
        | hub::Error::BadPackage { .. }
        | hub::Error::Convert { .. } => "ModelFileError",
        _ => "DownloadError",
    }
}

fn of_model(error: &docent_models::Error) -> &'static str {
    use docent_models::Error as ModelError;
    match error {
        ModelError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => "ModelNotFoundError",
        ModelError::Architecture { .. } => "UnsupportedModelError",
        _ => "ModelFileError",
    }
}

/// An option of a call that cannot be followed.
pub(crate) fn option_error(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "OptionError", message, &[])
}

/// Memory for so many values, or the exception that says there is none.
pub(crate) fn reserve<T>(values: &mut Vec<T>, count: usize) -> PyResult<()> {
    values
        .try_reserve_exact(count)
        .map_err(|_| PyMemoryError::new_err(format!("no memory for {count} values of {} bytes each", size_of::<T>())))
}

/// An exception of a class of `docent.errors`.
fn raise(py: Python<'_>, class: &str, message: &str, facts: &[Fact]) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let class = py.import("docent.errors")?.getattr(class)?;
        let keywords = PyDict::new(py);
        for (name, value) in facts {
            keywords.set_item(name, value)?;
        }
        Ok(PyErr::from_value(class.call((message,), Some(&keywords))?))
    };
    // What went wrong while the exception was made is an exception as well.
    made().unwrap_or_else(|error| error)
}
