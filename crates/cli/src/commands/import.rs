//! `docent import`: the collections of another program.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use docent::ModelRef;
use docent::hub::{Hub, QmdModel};
use docent_search::{Collection, ImportReport, Index, QmdFiles};

use crate::console::Console;
use crate::index::IndexArgs;

/// Take over the collections of another program.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take over collections and contexts of qmd; `docent update` then indexes their files
    Qmd(QmdArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct QmdArgs {
    /// The index of qmd, or its configuration, index.yml [default: both, from where qmd keeps them]
    #[arg(value_name = "FILE")]
    path: Option<PathBuf>,
    /// Let the collections be searched with the embedding model that qmd's configuration names
    #[arg(long)]
    models: bool,
    #[command(flatten)]
    index: IndexArgs,
}

pub(crate) fn run(command: Command, console: &Console) -> anyhow::Result<()> {
    let Command::Qmd(args) = command;
    let files = match &args.path {
        Some(path) => QmdFiles::of(path),
        None => default_files()?,
    };
    let index = args.index.open()?;
    let report = index.import_qmd(&files)?;
    for problem in &report.problems {
        console.warn(problem);
    }
    if args.models {
        keep_model(&index, &report)?;
    }
    let mut out = console.out();
    writeln!(out, "{} collections and {} contexts taken over", report.collections.len(), report.contexts)?;
    for model in Hub::from_env().qmd_models() {
        writeln!(out, "{} is in qmd's cache: {}", named(&model), model.path.display())?;
    }
    if let Some(model) = report.models.embed.as_deref().filter(|_| !args.models) {
        console
            .note(format_args!("qmd's embedding model is {model}; --models, or `docent update -m {model}`, keeps it"));
    }
    if !report.collections.is_empty() {
        console.note("run `docent update` to index their files");
    }
    Ok(())
}

/// What a model of qmd's is opened by.
pub(super) fn named(model: &QmdModel) -> &str {
    model.name.as_deref().unwrap_or("a model that is opened by its path")
}

/// Gives the collections the model that qmd's configuration names.
fn keep_model(index: &Index, report: &ImportReport) -> anyhow::Result<()> {
    let Some(model) = &report.models.embed else { return Ok(()) };
    let _: ModelRef = model.parse().with_context(|| format!("qmd's embedding model {model}"))?;
    for name in &report.collections {
        let collection = index.collection(name)?;
        index.change_collection(&Collection { model: Some(model.clone()), ..collection })?;
    }
    Ok(())
}

/// Where qmd keeps its index and its configuration, as far as they are there.
fn default_files() -> anyhow::Result<QmdFiles> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let below_home = |folder: &str| variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(folder));
    let cache = variable("XDG_CACHE_HOME").or_else(|| below_home(".cache"));
    let index = variable("INDEX_PATH").or_else(|| cache.map(|cache| cache.join("qmd").join("index.sqlite")));
    let settings = variable("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let folder = variable("QMD_CONFIG_DIR").or_else(|| settings.map(|settings| settings.join("qmd")));
    let config = ["index.yaml", "index.yml"].iter().find_map(|name| {
        let path = folder.as_ref()?.join(name);
        path.is_file().then_some(path)
    });
    let files = QmdFiles { index: index.clone().filter(|path| path.is_file()), config };
    if files == QmdFiles::default() {
        let looked = index.map_or(String::new(), |path| format!(" at {}", path.display()));
        bail!("qmd has no index{looked} and no configuration; give the path of one of them");
    }
    Ok(files)
}
