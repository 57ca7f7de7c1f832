//! `docent cleanup`: an index without what no search can find.

use std::io::Write;

use docent_search::Wait;

use crate::console::Console;
use crate::index::{IndexArgs, UpdateProgress};
use crate::json;
use crate::table::bytes;

/// Remove from the index what no search can find.
///
/// These are documents whose file is gone, texts and vectors that nothing has, and the vectors of models other than the one that the last
/// update embedded with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    index: IndexArgs,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let report = match args.dry_run {
        true => index.cleanup_preview()?,
        false => index.cleanup(Wait::Forever, &UpdateProgress::new(console))?,
    };
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &report)?;
        return Ok(());
    }
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    writeln!(
        out,
        "{verb}: {} documents, {} texts, {} chunks, {} vectors",
        report.documents, report.texts, report.chunks, report.vectors
    )?;
    if !args.dry_run {
        writeln!(out, "the file is {} smaller", bytes(report.bytes))?;
    }
    Ok(())
}
