//! How every command is told which model to use, and opens it.

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use docent::gguf::Gguf;
use docent::hub::{Hub, Quant};
use docent::tokenizer::Tokenizer;
use docent::{Embedder, ModelRef, OpenOptions, catalog, directory_tokenizer};

use crate::console::Console;

/// The variable that names the model when no option does.
pub(crate) const VARIABLE: &str = "DOCENT_MODEL";

/// The variable that names the reranker when no option does.
pub(crate) const VARIABLE_RERANKER: &str = "DOCENT_RERANKER";

/// The variable that names the query expander when no option does.
pub(crate) const VARIABLE_EXPANDER: &str = "DOCENT_EXPANDER";

/// More threads than any machine that this runs on has cores; a guard against a slip of the finger.
const MAX_THREADS: u64 = 1024;

/// Which model, and how to open it.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    model: NameArgs,
    #[command(flatten)]
    pub(crate) open: OpenArgs,
}

/// Which model.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    #[arg(short, long, value_name = "MODEL", help = model_help())]
    model: Option<String>,
}

/// How to open a model.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct OpenArgs {
    /// Threads to compute on [default: as many as the process may use]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_THREADS))]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) fetch: FetchArgs,
}

/// How to fetch a model that is not here yet.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct FetchArgs {
    #[arg(
        long,
        value_name = "TYPE",
        help = "Number format to fetch, such as Q8_0 or F16, or \"original\" for safetensors"
    )]
    pub(crate) quant: Option<Quant>,
    /// Use no network; a model that is not in a cache is an error
    #[arg(long)]
    pub(crate) offline: bool,
}

impl NameArgs {
    /// The model's name: what `-m` says, else `DOCENT_MODEL`, else the default.
    pub(crate) fn name(&self) -> anyhow::Result<String> {
        model_or_default(self.model.as_deref())
    }
}

impl ModelArgs {
    /// The model's name: what `-m` says, else `DOCENT_MODEL`, else the default.
    pub(crate) fn name(&self) -> anyhow::Result<String> {
        self.model.name()
    }

    /// What `-m` says.
    pub(crate) fn given(&self) -> Option<&str> {
        self.model.model.as_deref()
    }

    /// Opens the model to compute with it.
    pub(crate) fn open(&self, console: &Console) -> anyhow::Result<Embedder> {
        open_embedder(&self.name()?, &self.open, console)
    }
}

impl OpenArgs {
    /// The same, for the library.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions { threads: self.threads, offline: self.fetch.offline, quant: self.fetch.quant }
    }
}

impl FetchArgs {
    /// The hub as these options and the environment want it.
    pub(crate) fn hub(&self) -> Hub {
        Hub::from_env().offline(self.offline)
    }
}

/// A model's name as given, else what `DOCENT_MODEL` says, else the default model of every command.
pub(crate) fn model_or_default(given: Option<&str>) -> anyhow::Result<String> {
    named(given, VARIABLE, catalog::DEFAULT_MODEL)
}

/// A reranker's name as given, else what `DOCENT_RERANKER` says, else the default one.
pub(crate) fn reranker_or_default(given: Option<&str>) -> anyhow::Result<String> {
    named(given, VARIABLE_RERANKER, catalog::DEFAULT_RERANKER)
}

/// A query expander's name as given, else what `DOCENT_EXPANDER` says, else the default one.
pub(crate) fn expander_or_default(given: Option<&str>) -> anyhow::Result<String> {
    named(given, VARIABLE_EXPANDER, catalog::DEFAULT_EXPANDER)
}

fn named(given: Option<&str>, variable: &str, default: &str) -> anyhow::Result<String> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    match std::env::var_os(variable) {
        Some(name) if !name.is_empty() => {
            name.into_string().map_err(|name| anyhow::anyhow!("{variable} is not UTF-8: {}", name.display()))
        }
        _ => Ok(default.to_owned()),
    }
}

/// Opens a model by the name that a user gives it, fetching it first if need be.
pub(crate) fn open_embedder(name: &str, args: &OpenArgs, console: &Console) -> anyhow::Result<Embedder> {
    let model: ModelRef = name.parse()?;
    Ok(Embedder::open_with(&model, &args.options(), &console.fetch_progress())?)
}

/// Opens no more of a model than its tokenizer.
pub(crate) fn open_tokenizer(name: &str, args: &FetchArgs, console: &Console) -> anyhow::Result<Tokenizer> {
    let model: ModelRef = name.parse()?;
    let path = args.hub().fetch(&model, args.quant, &console.fetch_progress())?;
    if path.is_dir() {
        return Ok(directory_tokenizer(&path)?);
    }
    let file = Gguf::open(&path)?;
    Tokenizer::from_gguf(file.metadata()).with_context(|| path.display().to_string())
}

/// The help of an option or argument that takes a model.
pub(crate) fn model_help() -> String {
    let default = catalog::DEFAULT_MODEL;
    format!("Path, catalogue name, hf:USER/REPO[/FILE] or URL [env: {VARIABLE}] [default: {default}]")
}
