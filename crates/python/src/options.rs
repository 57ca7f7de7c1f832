//! Python's arguments as the library's options.

use docent::{EmbedOptions, LongDocuments, ModelSettings, OpenOptions, Pooling, Prompt, RerankOptions, Truncate};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::option_error;

/// How a model is opened, kept to open it again in a forked process.
#[derive(Clone)]
pub(crate) struct OpenArgs {
    pub(crate) model: String,
    pub(crate) options: OpenOptions,
}

impl OpenArgs {
    pub(crate) fn new(
        py: Python<'_>,
        model: String,
        threads: Option<i64>,
        quant: Option<&str>,
        offline: bool,
    ) -> PyResult<Self> {
        let quant = quant.map(str::parse).transpose();
        let quant = quant.map_err(|error: docent::hub::UnknownQuant| option_error(py, &error.to_string()))?;
        let threads = at_least_one(py, "threads", threads)?;
        Ok(OpenArgs { model, options: OpenOptions { threads, offline, quant } })
    }
}

/// The options of a call that embeds, as Python gives them; [`resolve`](Self::resolve) checks them.
pub(crate) struct EmbedArgs {
    prompt: Option<String>,
    prompt_name: Option<String>,
    pooling: Option<String>,
    normalize: bool,
    dim: Option<i64>,
    max_length: Option<i64>,
    truncate: String,
}

impl EmbedArgs {
    pub(crate) fn new(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(EmbedArgs {
            prompt: item(options, "prompt", "a str")?,
            prompt_name: item(options, "prompt_name", "a str")?,
            pooling: item(options, "pooling", "a str")?,
            normalize: item(options, "normalize", "a bool")?,
            dim: item(options, "dim", "an int")?,
            max_length: item(options, "max_length", "an int")?,
            truncate: item(options, "truncate", "a str")?,
        })
    }

    pub(crate) fn resolve(&self, py: Python<'_>, settings: &ModelSettings) -> PyResult<EmbedOptions> {
        Ok(EmbedOptions {
            prompt: self.prompt(py, settings)?,
            pooling: self.pooling.as_deref().map(|name| pooling(py, name)).transpose()?,
            normalize: self.normalize,
            dim: at_least_one(py, "dim", self.dim)?,
            max_length: at_least_one(py, "max_length", self.max_length)?,
            truncate: match self.truncate.as_str() {
                "right" => Truncate::Right,
                "left" => Truncate::Left,
                "error" => Truncate::Error,
                other => return Err(choice(py, "truncate", other, &["right", "left", "error"])),
            },
        })
    }

    fn prompt(&self, py: Python<'_>, settings: &ModelSettings) -> PyResult<Prompt> {
        let named = &settings.description.prompts.named;
        match (&self.prompt, self.prompt_name.as_deref()) {
            (Some(_), Some(_)) => Err(option_error(py, "prompt and prompt_name exclude each other: give one of them")),
            (Some(text), None) if text.is_empty() => Ok(Prompt::None),
            (Some(text), None) => Ok(Prompt::Text(text.clone())),
            (None, None | Some("default")) => Ok(Prompt::Default),
            (None, Some("none")) => Ok(Prompt::None),
            (None, Some("query")) => Ok(Prompt::Query),
            (None, Some("document")) => Ok(Prompt::Document),
            (None, Some(name)) if named.contains_key(name) => Ok(Prompt::Named(name.to_owned())),
            (None, Some(name)) => {
                let known = ["default", "none", "query", "document"];
                let others = named.keys().map(String::as_str).filter(|name| !known.contains(name));
                let names: Vec<&str> = known.into_iter().chain(others).collect();
                Err(choice(py, "prompt_name", name, &names))
            }
        }
    }
}

/// The options of a call that scores documents, as Python gives them.
pub(crate) struct RerankArgs {
    instruction: Option<String>,
    max_length: Option<i64>,
    long_documents: String,
    raw: bool,
}

impl RerankArgs {
    pub(crate) fn new(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        Ok(RerankArgs {
            instruction: item(options, "instruction", "a str")?,
            max_length: item(options, "max_length", "an int")?,
            long_documents: item(options, "long_documents", "a str")?,
            raw: item(options, "raw", "a bool")?,
        })
    }

    pub(crate) fn resolve(&self, py: Python<'_>) -> PyResult<RerankOptions> {
        Ok(RerankOptions {
            instruction: self.instruction.clone(),
            max_length: at_least_one(py, "max_length", self.max_length)?,
            long_documents: match self.long_documents.as_str() {
                "truncate" => LongDocuments::Truncate,
                "windows" => LongDocuments::Windows,
                other => return Err(choice(py, "long_documents", other, &["truncate", "windows"])),
            },
            raw: self.raw,
            top_n: None,
        })
    }
}

/// An option by its name, or what it should have been.
fn item<'py, T: for<'a> FromPyObject<'a, 'py>>(options: &Bound<'py, PyDict>, name: &str, kind: &str) -> PyResult<T> {
    let value = options.get_item(name)?.unwrap_or_else(|| options.py().None().into_bound(options.py()));
    value.extract().map_err(|_| {
        let found = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{name} must be {kind}, not {found}"))
    })
}

fn pooling(py: Python<'_>, name: &str) -> PyResult<Pooling> {
    Pooling::ALL.into_iter().find(|pooling| pooling.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Pooling::ALL.into_iter().map(Pooling::name).collect();
        choice(py, "pooling", name, &names)
    })
}

fn at_least_one(py: Python<'_>, name: &str, value: Option<i64>) -> PyResult<Option<usize>> {
    let checked = |value: i64| usize::try_from(value).ok().filter(|&value| value > 0);
    match value.map(|value| (value, checked(value))) {
        None => Ok(None),
        Some((_, Some(value))) => Ok(Some(value)),
        Some((value, None)) => Err(option_error(py, &format!("{name} must be at least 1, got {value}"))),
    }
}

fn choice(py: Python<'_>, name: &str, found: &str, known: &[&str]) -> PyErr {
    option_error(py, &format!("{name} must be one of {}, got {found:?}", known.join(", ")))
}
