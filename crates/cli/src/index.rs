//! How every command that searches is told which index to use, and with which models.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};

use anyhow::Context;
use docent::hub::Hub;
use docent::{Embedder, Expander, ModelRef, Reranker};
use docent_search::{Expands, Index, Progress, Stage, WatchStop};

use crate::console::{self, Console, Unit};
use crate::model::{OpenArgs, expander_or_default, model_or_default, open_embedder, reranker_or_default};

/// The variable that names the index when no option does.
const VARIABLE: &str = "DOCENT_INDEX";

/// The name of the index of those who name none.
const DEFAULT: &str = "index";

const HELP: &str = "Name of the index, or the path of its file [env: DOCENT_INDEX] [default: index]";

/// Which index.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct IndexArgs {
    #[arg(long, value_name = "NAME", help = HELP)]
    index: Option<String>,
}

impl IndexArgs {
    /// Opens the index; it is made if it is not there.
    pub(crate) fn open(&self) -> anyhow::Result<Index> {
        Ok(Index::open(self.path()?)?)
    }

    /// What stands behind an address for an index that is not the default one: `?index=NAME`.
    pub(crate) fn suffix(&self) -> String {
        match self.named() {
            Some(name) if name != DEFAULT => format!("?index={name}"),
            _ => String::new(),
        }
    }

    /// Whether an option names it.
    pub(crate) fn is_given(&self) -> bool {
        self.index.is_some()
    }

    fn named(&self) -> Option<String> {
        let of_variable = || std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
        self.index.clone().or_else(of_variable)
    }

    fn path(&self) -> anyhow::Result<PathBuf> {
        let name = self.named().unwrap_or_else(|| DEFAULT.to_owned());
        if name.contains(['/', '\\']) || Path::new(&name).extension().is_some_and(|ending| ending == "sqlite") {
            return Ok(PathBuf::from(name));
        }
        Ok(data_folder()?.join(format!("{name}.sqlite")))
    }
}

/// Where indexes are kept: they hold what a user said about collections, so no cache.
pub(crate) fn data_folder() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".local").join("share"));
    let data =
        variable("XDG_DATA_HOME").or_else(home).context("no folder for the index: set HOME, or give --index PATH")?;
    Ok(data.join("docent"))
}

/// Which models a search uses.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct SearchModelArgs {
    #[arg(short, long, value_name = "MODEL", help = crate::model::model_help())]
    model: Option<String>,
    #[command(flatten)]
    pub(crate) open: OpenArgs,
}

impl SearchModelArgs {
    /// The embedding model: what `-m` or `DOCENT_MODEL` says, else what the collections say with one voice, else the default.
    pub(crate) fn embedder(
        &self,
        index: &Index,
        collections: &[String],
        console: &Console,
    ) -> anyhow::Result<Embedder> {
        open_embedder(&self.name(index, collections)?, &self.open, console)
    }

    /// The name of that model.
    pub(crate) fn name(&self, index: &Index, collections: &[String]) -> anyhow::Result<String> {
        if self.is_named() {
            return model_or_default(self.model.as_deref());
        }
        index.model_of(collections)?.map_or_else(|| model_or_default(None), Ok)
    }

    /// Every model that some collections are embedded with, with the names of these: one for all if `-m` or `DOCENT_MODEL` names one, else
    /// what each collection says, or the default.
    pub(crate) fn groups(&self, index: &Index, collections: &[String]) -> anyhow::Result<Vec<(String, Vec<String>)>> {
        let general = model_or_default(self.model.as_deref())?;
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for collection in index.collections()?.into_iter().map(|status| status.collection) {
            if !collections.is_empty() && !collections.contains(&collection.name) {
                continue;
            }
            let model = collection.model.filter(|_| !self.is_named()).unwrap_or_else(|| general.clone());
            match groups.iter_mut().find(|(known, _)| *known == model) {
                Some((_, names)) => names.push(collection.name),
                None => groups.push((model, vec![collection.name])),
            }
        }
        Ok(groups)
    }

    /// The model that `-m` or `DOCENT_MODEL` says, if either does.
    pub(crate) fn asked(&self) -> anyhow::Result<Option<ModelRef>> {
        if !self.is_named() {
            return Ok(None);
        }
        Ok(Some(model_or_default(self.model.as_deref())?.parse()?))
    }

    fn is_named(&self) -> bool {
        self.model.is_some() || is_set(crate::model::VARIABLE)
    }

    /// Opens the reranker that [`reranker_here`] has found.
    pub(crate) fn reranker(&self, model: &ModelRef, console: &Console) -> anyhow::Result<Reranker> {
        Ok(Reranker::open_with(model, &self.open.options(), &console.fetch_progress())?)
    }

    /// The expander that [`expander_here`] has found, to be opened when it is needed.
    pub(crate) fn expander<'a>(&'a self, model: ModelRef, console: &'a Console) -> anyhow::Result<LateExpander<'a>> {
        let path = self.open.fetch.hub().fetch(&model, self.open.fetch.quant, &console.fetch_progress())?;
        Ok(LateExpander { model, path, args: &self.open, console, opened: OnceCell::new() })
    }
}

/// A query expander that is on this machine, and is opened the first time that it is to write: it is the largest of the models, and most
/// questions are answered without it.
pub(crate) struct LateExpander<'a> {
    model: ModelRef,
    path: PathBuf,
    args: &'a OpenArgs,
    console: &'a Console,
    opened: OnceCell<Expander>,
}

impl Expands for LateExpander<'_> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<&Expander, docent::Error> {
        if let Some(expander) = self.opened.get() {
            return Ok(expander);
        }
        let expander = Expander::open_with(&self.model, &self.args.options(), &self.console.fetch_progress())?;
        Ok(self.opened.get_or_init(|| expander))
    }
}

/// The reranker that is named, or the default one if it is on this machine.
pub(crate) fn reranker_here(named: Option<&str>) -> anyhow::Result<Option<ModelRef>> {
    wanted(&reranker_or_default(named)?, named, crate::model::VARIABLE_RERANKER)
}

/// The query expander that is named, or the default one if it is on this machine.
pub(crate) fn expander_here(named: Option<&str>) -> anyhow::Result<Option<ModelRef>> {
    wanted(&expander_or_default(named)?, named, crate::model::VARIABLE_EXPANDER)
}

/// The query expander that is named, by an option or the variable: what agents and programs ask seldom gains by the time that it takes.
pub(crate) fn expander_asked(named: Option<&str>) -> anyhow::Result<Option<ModelRef>> {
    let is_asked_for = named.is_some() || is_set(crate::model::VARIABLE_EXPANDER);
    if is_asked_for { Ok(Some(expander_or_default(named)?.parse()?)) } else { Ok(None) }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|name| !name.is_empty())
}

/// A model that searches do without if nobody asks for it and it is not on this machine.
fn wanted(name: &str, named: Option<&str>, variable: &str) -> anyhow::Result<Option<ModelRef>> {
    let is_asked_for = named.is_some() || is_set(variable);
    let model: ModelRef = name.parse()?;
    let is_here = || Hub::from_env().offline(true).cached(&model, None).is_some();
    Ok((is_asked_for || is_here()).then_some(model))
}

/// Shows how an update goes on.
pub(crate) struct UpdateProgress<'c> {
    console: &'c Console,
    bar: RefCell<Option<console::Progress>>,
    stop: Option<WatchStop>,
}

impl<'c> UpdateProgress<'c> {
    pub(crate) fn new(console: &'c Console) -> Self {
        UpdateProgress { console, bar: RefCell::new(None), stop: None }
    }

    /// The same for an update that ends early when a watch is stopped.
    pub(crate) fn stopped_by(console: &'c Console, stop: WatchStop) -> Self {
        UpdateProgress { stop: Some(stop), ..UpdateProgress::new(console) }
    }
}

impl Progress for UpdateProgress<'_> {
    fn waiting(&self, holder: Option<u32>) {
        let holder = holder.map_or("another process".to_owned(), |process| format!("process {process}"));
        self.console.note(format_args!("{holder} is updating the index; waiting until it is done"));
    }

    fn start(&self, stage: Stage, total: u64) {
        // The one before goes away first.
        self.bar.take();
        let unit = match stage {
            Stage::Files(_) => "files",
            Stage::Chunks => "texts",
            Stage::Vectors => "chunks",
        };
        self.bar.replace(Some(self.console.progress(Some(total), Unit::Items(unit))));
    }

    fn advance(&self, units: u64) {
        if let Some(bar) = &mut *self.bar.borrow_mut() {
            bar.advance(units);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(WatchStop::is_stopped)
    }
}
