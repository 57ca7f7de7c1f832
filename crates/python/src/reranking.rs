//! A reranker, as Python's class.

use std::time::Instant;

use docent::{Error, ModelRef, RankedDocument, RerankOptions, Reranker, Score, ScoreKind};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyTuple};

use crate::embedding::number;
use crate::errors::{exception, reserve};
use crate::open::open;
use crate::options::{OpenArgs, RerankArgs};
use crate::process::PerProcess;
use crate::texts::Texts;

/// Documents between two looks for signals at most. What all documents of a query begin with is computed once a window.
const WINDOW_DOCUMENTS: usize = 64;

/// A model that scores documents for a query, ready to run.
#[pyclass(frozen, module = "docent._docent")]
pub(crate) struct RerankingModel {
    args: OpenArgs,
    reranker: PerProcess<Reranker>,
}

/// Scores, raw scores, tokens read, tokens cut off, and the kind of the scores.
type Scored<'py> = (
    Bound<'py, PyArray1<f32>>,
    Bound<'py, PyArray1<f32>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    &'static str,
);

#[pymethods]
impl RerankingModel {
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
        let reranker = PerProcess::new(open_reranker(py, &args, progress.as_ref())?);
        Ok(RerankingModel { args, reranker })
    }

    /// The scores of the documents, in their order. `progress(done, total)` is called between windows of documents.
    #[pyo3(signature = (query, documents, options, progress=None))]
    fn score<'py>(
        &self,
        py: Python<'py>,
        query: PyBackedStr,
        documents: Bound<'py, PyTuple>,
        options: &Bound<'py, PyDict>,
        progress: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Scored<'py>> {
        let mut documents = Texts::new("documents", documents)?.in_windows_of(WINDOW_DOCUMENTS);
        let reranker = self.reranker.get(|| open_reranker(py, &self.args, None))?;
        let options = RerankArgs::new(options)?.resolve(py)?;
        // Options and queries that the model cannot follow are no fault of the first document.
        reranker.rerank_with::<&str>(&query, &[], &options).map_err(|error| exception(py, &error))?;
        let count = documents.len();
        let mut scored = Scores::default();
        scored.expect(count)?;
        while let Some((places, window)) = documents.next_window()? {
            let begin = Instant::now();
            let ranked = py.detach(|| score_window(&reranker, &query, &window, &options, places.start));
            documents.took(begin.elapsed());
            let mut ranked = ranked.map_err(|error| exception(py, &error))?;
            ranked.sort_by_key(|document| document.index);
            ranked.iter().for_each(|document| scored.push(document));
            py.check_signals()?;
            if let Some(progress) = &progress {
                progress.call1((places.end, count))?;
            }
        }
        let kind = kind(&reranker, options.raw).name();
        let Scores { scores, raw, tokens, dropped } = scored;
        Ok((scores.into_pyarray(py), raw.into_pyarray(py), tokens.into_pyarray(py), dropped.into_pyarray(py), kind))
    }

    /// What the model is and how it is used: names and values of `docent::RerankerSettings`.
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reranker = self.reranker.last();
        let settings = reranker.settings();
        let facts = PyDict::new(py);
        facts.set_item("name", &settings.description.name)?;
        facts.set_item("path", settings.path.as_os_str())?;
        facts.set_item("architecture", settings.description.architecture)?;
        facts.set_item("max_length", settings.max_length)?;
        facts.set_item("positions", settings.description.positions)?;
        facts.set_item("instruction", settings.instruction.as_deref())?;
        facts.set_item("score_kind", kind(&reranker, false).name())?;
        facts.set_item("threads", reranker.threads())?;
        facts.set_item("isa", reranker.isa().name())?;
        facts.set_item("packed_bytes", reranker.packed_bytes())?;
        Ok(facts)
    }
}

fn open_reranker(py: Python<'_>, args: &OpenArgs, progress: Option<&Bound<'_, PyAny>>) -> PyResult<Reranker> {
    let model: Result<ModelRef, _> = args.model.parse();
    let model = model.map_err(|error| exception(py, &error.into()))?;
    let options = args.options.clone();
    open(py, move |events| Reranker::open_with(&model, &options, events), progress)
}

/// The scores of a window whose first document has the place `start` in the call.
fn score_window(
    reranker: &Reranker,
    query: &str,
    documents: &[PyBackedStr],
    options: &RerankOptions,
    start: usize,
) -> Result<Vec<RankedDocument>, Error> {
    reranker.rerank_with(query, documents, options).map_err(|error| match error {
        Error::Tokenize { index, source } => Error::Tokenize { index: start + index, source },
        Error::ScoreNotFinite { index, model } => Error::ScoreNotFinite { index: start + index, model },
        error => error,
    })
}

/// The kind of a reranker's scores.
fn kind(reranker: &Reranker, raw: bool) -> Score {
    match reranker.settings().description.scores {
        _ if raw => Score::Logit,
        Some(ScoreKind::YesNo { .. }) => Score::Probability,
        _ => Score::Sigmoid,
    }
}

/// What has been computed so far, in the order of the documents.
#[derive(Default)]
struct Scores {
    scores: Vec<f32>,
    raw: Vec<f32>,
    tokens: Vec<i64>,
    dropped: Vec<i64>,
}

impl Scores {
    fn expect(&mut self, documents: usize) -> PyResult<()> {
        reserve(&mut self.scores, documents)?;
        reserve(&mut self.raw, documents)?;
        reserve(&mut self.tokens, documents)?;
        reserve(&mut self.dropped, documents)
    }

    fn push(&mut self, document: &RankedDocument) {
        self.scores.push(document.score);
        self.raw.push(document.raw);
        self.tokens.push(number(document.tokens));
        self.dropped.push(number(document.dropped));
    }
}
