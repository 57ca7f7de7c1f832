//! An embedding model, as Python's class.

use std::sync::Arc;
use std::time::Instant;

use docent::tokenizer::TruncationSide;
use docent::{EmbedOptions, Embedder, Embedding, Error, ModelRef, ModelSettings, Pooling, SettingFrom};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::errors::{exception, reserve};
use crate::open::open;
use crate::options::{EmbedArgs, OpenArgs};
use crate::process::PerProcess;
use crate::texts::Texts;

/// An embedding model, ready to run.
#[pyclass(frozen, module = "docent._docent")]
pub(crate) struct EmbeddingModel {
    args: OpenArgs,
    embedder: PerProcess<Embedder>,
}

/// Vectors of texts, tokens read and tokens cut off of each.
type Embedded<'py> = (Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

#[pymethods]
impl EmbeddingModel {
    #[new]
    #[pyo3(signature = (model, *, threads=None, quant=None, offline=false, progress=None))]
    fn new(
        py: Python<'_>,
        model: String,
        threads: Option<i64>,
        quant: Option<&str>,
        offline: bool,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let args = OpenArgs::new(py, model, threads, quant, offline)?;
        let embedder = PerProcess::new(open_embedder(py, &args, progress.as_ref())?);
        Ok(EmbeddingModel { args, embedder })
    }

    /// The vectors of the texts: an array of `float32`, a row a text; without pooling a list of such arrays, a row a token.
    /// `progress(done, total)` is called between windows of texts.
    #[pyo3(signature = (texts, options, progress=None))]
    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: Bound<'py, PyTuple>,
        options: &Bound<'py, PyDict>,
        progress: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Embedded<'py>> {
        let mut texts = Texts::new("texts", texts)?;
        let embedder = self.embedder(py)?;
        let options = EmbedArgs::new(options)?.resolve(py, embedder.settings())?;
        let pooling = options.pooling.unwrap_or(embedder.settings().pooling);
        if pooling == Pooling::None {
            // A text has as many vectors as tokens.
            texts = texts.in_windows_of(32);
        }
        // Options that the model cannot follow are no fault of the first text.
        embedder.embed_with::<&str>(&[], &options).map_err(|error| exception(py, &error))?;
        let count = texts.len();
        let mut made = Vectors::new(options.dim.unwrap_or(embedder.settings().dim(pooling)));
        made.expect(count, pooling)?;
        while let Some((places, window)) = texts.next_window()? {
            let begin = Instant::now();
            let embeddings = py.detach(|| embed_window(&embedder, &window, &options, places.start));
            texts.took(begin.elapsed());
            for embedding in embeddings.map_err(|error| exception(py, &error))? {
                made.push(py, embedding, pooling)?;
            }
            py.check_signals()?;
            if let Some(progress) = &progress {
                progress.call1((places.end, count))?;
            }
        }
        made.into_arrays(py, pooling)
    }

    /// The token ids of a text, as the model reads it; without the special tokens around it if `special` is false.
    #[pyo3(signature = (text, *, special=true))]
    fn tokenize(&self, py: Python<'_>, text: PyBackedStr, special: bool) -> PyResult<Vec<u32>> {
        let embedder = self.embedder.last();
        let encoding = py.detach(|| embedder.tokenizer().encode(&text));
        let encoding = encoding.map_err(|source| exception(py, &Error::Tokenize { index: 0, source }))?;
        // Tokens that were put around the text stand for none of its bytes.
        let tokens = encoding.ids.into_iter().zip(encoding.offsets);
        Ok(tokens.filter(|(_, offsets)| special || *offsets != (0, 0)).map(|(id, _)| id).collect())
    }

    /// The text that token ids stand for.
    fn decode(&self, ids: Vec<u32>) -> PyResult<String> {
        self.embedder.last().tokenizer().decode(&ids).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// How many tokens each text has, special tokens included: all of them, or what is left after a cut to `max_length`.
    #[pyo3(signature = (texts, *, max_length=None))]
    fn count_tokens<'py>(
        &self,
        py: Python<'py>,
        texts: Bound<'py, PyTuple>,
        max_length: Option<usize>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let mut texts = Texts::new("texts", texts)?;
        let embedder = self.embedder.last();
        let mut counts = Vec::new();
        while let Some((places, window)) = texts.next_window()? {
            let counted = py.detach(|| count_window(&embedder, &window, max_length, places.start));
            counts.extend(counted.map_err(|error| exception(py, &error))?);
            py.check_signals()?;
        }
        Ok(counts.into_pyarray(py))
    }

    /// What the model is and how it is used: names and values of `docent::ModelSettings`.
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let embedder = self.embedder.last();
        let settings = embedder.settings();
        let facts = PyDict::new(py);
        facts.set_item("name", &settings.description.name)?;
        facts.set_item("path", settings.path.as_os_str())?;
        facts.set_item("architecture", settings.description.architecture)?;
        facts.set_item("dim", settings.description.embedding_size)?;
        facts.set_item("hidden_size", settings.description.hidden_size)?;
        facts.set_item("max_length", settings.max_length)?;
        facts.set_item("positions", settings.description.positions)?;
        facts.set_item("vocabulary", settings.description.vocabulary)?;
        facts.set_item("pooling", settings.pooling.name())?;
        facts.set_item("pooling_from", pooling_from(settings))?;
        facts.set_item("normalize", settings.description.normalize)?;
        facts.set_item("prompts", prompts(py, settings)?)?;
        facts.set_item("default_prompt_name", settings.description.prompts.default_name.as_deref())?;
        facts.set_item("threads", embedder.threads())?;
        facts.set_item("isa", embedder.isa().name())?;
        facts.set_item("packed_bytes", embedder.packed_bytes())?;
        Ok(facts)
    }
}

impl EmbeddingModel {
    fn embedder(&self, py: Python<'_>) -> PyResult<Arc<Embedder>> {
        self.embedder.get(|| open_embedder(py, &self.args, None))
    }
}

fn open_embedder(py: Python<'_>, args: &OpenArgs, progress: Option<&Bound<'_, PyAny>>) -> PyResult<Embedder> {
    let model: Result<ModelRef, _> = args.model.parse();
    let model = model.map_err(|error| exception(py, &error.into()))?;
    let options = args.options.clone();
    open(py, move |events| Embedder::open_with(&model, &options, events), progress)
}

/// The vectors of a window whose first text has the place `start` in the call.
fn embed_window(
    embedder: &Embedder,
    texts: &[PyBackedStr],
    options: &EmbedOptions,
    start: usize,
) -> Result<Vec<Embedding>, Error> {
    embedder.embed_with(texts, options).map_err(|error| match error.index() {
        Some(index) => error.at(start + index),
        None => error,
    })
}

fn count_window(
    embedder: &Embedder,
    texts: &[PyBackedStr],
    max_length: Option<usize>,
    start: usize,
) -> Result<Vec<i64>, Error> {
    let count = |(index, text): (usize, &PyBackedStr)| {
        let max_length = max_length.unwrap_or(usize::MAX);
        let ids = embedder.tokenizer().ids_truncated(text, max_length, TruncationSide::Right);
        let (ids, _) = ids.map_err(|source| Error::Tokenize { index: start + index, source })?;
        Ok(number(ids.len()))
    };
    texts.iter().enumerate().map(count).collect()
}

/// What has been computed so far.
struct Vectors<'py> {
    dim: usize,
    values: Vec<f32>,
    tokens: Vec<i64>,
    dropped: Vec<i64>,
    /// Without pooling: an array a text.
    by_token: Vec<Bound<'py, PyArray2<f32>>>,
}

impl<'py> Vectors<'py> {
    fn new(dim: usize) -> Self {
        Vectors { dim, values: Vec::new(), tokens: Vec::new(), dropped: Vec::new(), by_token: Vec::new() }
    }

    /// Sees to the memory of so many texts, where it is known.
    fn expect(&mut self, texts: usize, pooling: Pooling) -> PyResult<()> {
        if pooling != Pooling::None {
            reserve(&mut self.values, texts.saturating_mul(self.dim))?;
        }
        reserve(&mut self.tokens, texts)?;
        reserve(&mut self.dropped, texts)
    }

    fn push(&mut self, py: Python<'py>, embedding: Embedding, pooling: Pooling) -> PyResult<()> {
        self.tokens.push(number(embedding.tokens));
        self.dropped.push(number(embedding.dropped));
        if pooling == Pooling::None {
            self.by_token.push(rows(py, embedding.into_vector(), self.dim)?);
        } else {
            self.values.extend_from_slice(embedding.vector());
        }
        Ok(())
    }

    fn into_arrays(self, py: Python<'py>, pooling: Pooling) -> PyResult<Embedded<'py>> {
        let vectors = if pooling == Pooling::None {
            PyList::new(py, self.by_token)?.into_any()
        } else {
            rows(py, self.values, self.dim)?.into_any()
        };
        Ok((vectors, self.tokens.into_pyarray(py), self.dropped.into_pyarray(py)))
    }
}

/// The values as rows of an array that takes them over.
fn rows(py: Python<'_>, values: Vec<f32>, dim: usize) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let rows = values.len() / dim.max(1);
    let array =
        Array2::from_shape_vec((rows, dim), values).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(array.into_pyarray(py))
}

/// A count as NumPy has it; there are no texts of 2^63 tokens.
pub(crate) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn pooling_from(settings: &ModelSettings) -> &'static str {
    match settings.pooling_from {
        SettingFrom::File => "file",
        SettingFrom::Catalog => "catalog",
        SettingFrom::Assumed => "assumed",
    }
}

/// Every prompt by its name; those for queries and documents under these names, whatever the model calls them.
fn prompts<'py>(py: Python<'py>, settings: &ModelSettings) -> PyResult<Bound<'py, PyDict>> {
    let prompts = PyDict::new(py);
    for (name, text) in &settings.description.prompts.named {
        prompts.set_item(name, text)?;
    }
    for (name, text) in [("query", &settings.query_prompt), ("document", &settings.document_prompt)] {
        if let Some(text) = text {
            prompts.set_item(name, text)?;
        }
    }
    Ok(prompts)
}
