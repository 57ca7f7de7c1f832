//! `docent import`: the collections of another program.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;

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
    /// The index of qmd [default: ~/.cache/qmd/index.sqlite]
    #[arg(value_name = "FILE")]
    path: Option<PathBuf>,
    #[command(flatten)]
    index: IndexArgs,
}

pub(crate) fn run(command: Command, console: &Console) -> anyhow::Result<()> {
    let Command::Qmd(args) = command;
    let path = match args.path {
        Some(path) => path,
        None => default_index()?,
    };
    let report = args.index.open()?.import_qmd(&path)?;
    for problem in &report.problems {
        console.warn(problem);
    }
    let mut out = console.out();
    writeln!(out, "{} collections and {} contexts taken over", report.collections.len(), report.contexts)?;
    if !report.collections.is_empty() {
        console.note("run `docent update` to index their files");
    }
    Ok(())
}

/// Where qmd keeps its index.
fn default_index() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = variable("INDEX_PATH") {
        return Ok(path);
    }
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    Ok(cache.context("no folder of qmd: set HOME, or give the path of its index")?.join("qmd").join("index.sqlite"))
}
