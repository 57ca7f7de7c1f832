//! `docent update`: the index as the files are.

use std::io::Write;

use docent_search::{EmbedReport, Index, UpdateOptions, UpdateReport, Wait};
use serde::Serialize;

use crate::console::Console;
use crate::index::{IndexArgs, SearchModelArgs, UpdateProgress};
use crate::json;
use crate::model::open_embedder;

/// Skipped files that are told one by one.
const TOLD: usize = 20;

/// Bring the index up to date with the files: words first, then vectors.
///
/// Files with the size and time that they had are not read again. Only chunks that are new are embedded; an update that was
/// interrupted goes on where it was.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    index: IndexArgs,
    #[command(flatten)]
    update: UpdateArgs,
    #[command(flatten)]
    models: SearchModelArgs,
}

/// How an update is done.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct UpdateArgs {
    /// Update this collection only; may be given several times
    #[arg(short, long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<String>,
    /// Make no vectors: search by keyword alone
    #[arg(long)]
    pub(crate) no_embed: bool,
    /// Read every file, also those whose size and time are as they were
    #[arg(long)]
    pub(crate) reread: bool,
    /// Fail if another process is updating the index, instead of waiting
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    files: UpdateReport,
    vectors: Option<EmbedReport>,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    update(&args.index.open()?, &args.update, &args.models, console)
}

/// Updates an index and tells what was done.
pub(super) fn update(
    index: &Index,
    args: &UpdateArgs,
    models: &SearchModelArgs,
    console: &Console,
) -> anyhow::Result<()> {
    let wait = if args.no_wait { Wait::No } else { Wait::Forever };
    let options = UpdateOptions { collections: args.collections.clone(), reread: args.reread, wait };
    let progress = UpdateProgress::new(console);
    let files = index.update(&options, &progress)?;
    for skipped in files.skipped.iter().take(TOLD) {
        console.warn(format_args!("{} is not indexed: {}", skipped.path.display(), skipped.reason));
    }
    if files.skipped.len() > TOLD {
        console.warn(format_args!("{} more files are not indexed; --json names them", files.skipped.len() - TOLD));
    }
    let mut vectors = None;
    if !args.no_embed && index.status()?.documents > 0 {
        for (model, collections) in models.groups(index, &args.collections)? {
            let embedder = open_embedder(&model, &models.open, console)?;
            let report = index.embed_collections(&embedder, &collections, wait, &progress)?;
            sum(&mut vectors, report);
        }
    }
    drop(progress);
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &Report { files, vectors })?;
        return Ok(());
    }
    writeln!(
        out,
        "{} files: {} new, {} changed, {} unchanged; {} removed, {} skipped",
        files.files,
        files.added,
        files.changed,
        files.unchanged,
        files.removed,
        files.skipped.len()
    )?;
    if let Some(EmbedReport { model, texts, chunks, reused, embedded, .. }) = vectors {
        writeln!(out, "vectors: {embedded} new, {reused} known; {chunks} chunks of {texts} texts; model {model}")?;
    }
    Ok(())
}

/// Adds what was embedded with one more model.
pub(super) fn sum(total: &mut Option<EmbedReport>, report: EmbedReport) {
    match total {
        None => *total = Some(report),
        Some(total) => {
            total.model = format!("{}, {}", total.model, report.model);
            total.texts += report.texts;
            total.chunks += report.chunks;
            total.reused += report.reused;
            total.embedded += report.embedded;
            total.tokens += report.tokens;
        }
    }
}
