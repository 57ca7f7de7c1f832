//! `docent models`: the catalogue.

use std::io::Write;
use std::path::PathBuf;

use docent::ModelRef;
use docent::catalog::{self, Entry, Kind};
use docent::hub::{Hub, Quant};
use serde::Serialize;

use crate::console::Console;
use crate::json;
use crate::table::{Column, Table, bytes};

/// List the well-known models that can be had by name.
///
/// Without --all: those that this version runs. Any other model of a supported architecture works as well, by path, by
/// hf:USER/REPO or by address.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only models of one kind
    #[arg(long, value_name = "KIND", value_parser = kind_parser())]
    kind: Option<Kind>,
    /// Also those that this version cannot run yet
    #[arg(long)]
    all: bool,
    /// Print every fact of the catalogue as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    entry: &'static Entry,
    /// Whether this version runs it.
    supported: bool,
    /// Where it is, if it is on this machine.
    cached: Option<PathBuf>,
    /// The format that `docent pull` gets, and its size.
    default_format: &'static str,
    bytes: u64,
    bytes_are_exact: bool,
}

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    let hub = Hub::from_env().offline(true);
    let list = |entry: &'static Entry| {
        let format = entry.quants().first().copied().unwrap_or(Quant::DEFAULT);
        let (bytes, bytes_are_exact) = entry.size(format);
        Listed {
            entry,
            supported: entry.runs_here(),
            cached: hub.cached(&ModelRef::Name(entry.name.clone()), None),
            default_format: format.name(),
            bytes,
            bytes_are_exact,
        }
    };
    let of_kind = || catalog::entries().iter().filter(|entry| args.kind.is_none_or(|kind| entry.kind == kind));
    let listed: Vec<Listed> = of_kind().filter(|entry| args.all || entry.runs_here()).map(list).collect();
    let left_out = of_kind().count() - listed.len();

    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &listed)?;
    } else if !listed.is_empty() {
        write!(out, "{}", table(&listed))?;
    }
    drop(out);
    if left_out > 0 && !args.json {
        console.note(format_args!("{left_out} more that this version cannot run yet; --all lists them"));
    }
    Ok(())
}

fn table(listed: &[Listed]) -> Table {
    let mut table = Table::new(&[
        Column::Left("name"),
        Column::Left("kind"),
        Column::Right("dim"),
        Column::Right("tokens"),
        Column::Right("size"),
        Column::Left("licence"),
        Column::Left("runs here"),
        Column::Left("cached"),
    ]);
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for model in listed {
        let entry = model.entry;
        let about = if model.bytes_are_exact { "" } else { "~" };
        table.row([
            entry.name.clone(),
            kind_name(entry.kind).to_owned(),
            if entry.dim == 0 { String::new() } else { entry.dim.to_string() },
            entry.max_length.to_string(),
            format!("{about}{}", bytes(model.bytes)),
            entry.license.clone(),
            yes_no(model.supported),
            yes_no(model.cached.is_some()),
        ]);
    }
    table
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = Kind> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(KINDS.map(kind_name))
        .try_map(|name| KINDS.into_iter().find(|&kind| kind_name(kind) == name).ok_or("no such kind"))
}

const KINDS: [Kind; 3] = [Kind::Embedding, Kind::Reranker, Kind::Expander];

/// The word for a kind on the command line, in the table and in JSON.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Embedding => "embedding",
        Kind::Reranker => "reranker",
        Kind::Expander => "expander",
    }
}
