//! `docent pull`: a model comes to this machine, and stdout says where it is.

use std::io::Write;
use std::path::Path;

use docent::ModelRef;
use serde::Serialize;

use crate::console::Console;
use crate::json;
use crate::model::FetchArgs;

/// Fetch a model, unless it is here already, and print its path.
///
/// Files of the Hugging Face hub go to the cache that all its tools share; what is fetched by address or converted
/// on arrival goes to Docent's own. Every command fetches the models it needs; this one is for doing it beforehand.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_name = "MODEL", help = "Catalogue name, hf:USER/REPO[@REVISION][/FILE] or URL")]
    model: String,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Print model, path and size as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Fetched<'a> {
    model: String,
    path: &'a Path,
    bytes: u64,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let model: ModelRef = args.model.parse()?;
    let path = args.fetch.hub().fetch(&model, args.fetch.quant, &console.fetch_progress())?;
    let mut out = console.out();
    if args.json {
        let fetched = Fetched { model: model.to_string(), path: &path, bytes: size(&path, 3) };
        json::write_line(&mut out, &fetched)?;
    } else {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

/// Bytes of a file, or of the files of a folder, that many folders deep.
fn size(path: &Path, depth: usize) -> u64 {
    // Files of the hub's cache are links.
    let Ok(metadata) = std::fs::metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    if depth == 0 {
        return 0;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path(), depth - 1)).sum()
}
