//! `docent status`: what is in the index, and what searches can do.

use std::io::Write;
use std::path::PathBuf;

use docent::ModelRef;
use docent::hub::Hub;
use docent_search::Status;
use serde::Serialize;

use super::get::date;
use super::import::named;
use crate::console::Console;
use crate::index::IndexArgs;
use crate::json;
use crate::model::{expander_or_default, model_or_default, reranker_or_default};
use crate::table::{Column, Table, bytes};

/// Tell what is in the index, and what searches can do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    index: IndexArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The index and the models.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    index: Status,
    embedding_model: ModelReport,
    reranker: ModelReport,
    expander: ModelReport,
    /// What qmd has fetched, and can be used without being fetched again.
    models_of_qmd: Vec<PathBuf>,
}

#[derive(Serialize)]
struct ModelReport {
    name: String,
    /// Whether it is on this machine.
    installed: bool,
}

impl ModelReport {
    fn of(name: String) -> anyhow::Result<ModelReport> {
        let model: ModelRef = name.parse()?;
        Ok(ModelReport { name, installed: Hub::from_env().offline(true).cached(&model, None).is_some() })
    }
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let of_qmd = Hub::from_env().qmd_models();
    let report = Report {
        index: args.index.open()?.status()?,
        embedding_model: ModelReport::of(model_or_default(None)?)?,
        reranker: ModelReport::of(reranker_or_default(None)?)?,
        expander: ModelReport::of(expander_or_default(None)?)?,
        models_of_qmd: of_qmd.iter().map(|model| model.path.clone()).collect(),
    };
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &report)?;
        return Ok(());
    }
    let mut table = facts(&report);
    for model in &of_qmd {
        table.fact("of qmd", format_args!("{}: {}", named(model), model.path.display()));
    }
    write!(out, "{table}")?;
    if !report.index.collections.is_empty() {
        write!(out, "\n{}", collections(&report.index))?;
    }
    Ok(())
}

fn facts(report: &Report) -> Table {
    let index = &report.index;
    let mut table = Table::facts();
    table.fact("index", format_args!("{}, {}", index.path.display(), bytes(index.bytes)));
    table.fact("documents", index.documents);
    for model in &index.models {
        let current = if model.is_current { "" } else { ", not in use; `docent cleanup` removes them" };
        let open = if model.open > 0 { format!(", {} to be embedded", model.open) } else { String::new() };
        let vectors = format!("{} chunks, {} vectors of {}{open}{current}", model.chunks, model.vectors, model.dim);
        table.fact("vectors", format_args!("{}: {vectors}", model.name));
    }
    if index.texts_to_embed > 0 {
        table.fact("to embed", format_args!("{} texts; run `docent update`", index.texts_to_embed));
    }
    table.fact("model", presence(&report.embedding_model));
    table.fact("reranker", presence(&report.reranker));
    table.fact("expander", presence(&report.expander));
    table
}

fn presence(model: &ModelReport) -> String {
    match model.installed {
        true => model.name.clone(),
        false => format!("{} (not on this machine; `docent pull {}` gets it)", model.name, model.name),
    }
}

fn collections(index: &Status) -> Table {
    let mut table = Table::new(&[
        Column::Left("collection"),
        Column::Right("documents"),
        Column::Right("size"),
        Column::Left("updated"),
        Column::Left("folder"),
    ]);
    for status in &index.collections {
        table.row([
            status.collection.name.clone(),
            status.documents.to_string(),
            bytes(status.bytes),
            status.updated_at.map_or("never".to_owned(), date),
            status.collection.path.display().to_string(),
        ]);
    }
    table
}
