//! `docent context`: what documents are about, said by their owner and shown with every result.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use docent_search::{Address, Context, Index};

use crate::console::{Console, usage};
use crate::index::IndexArgs;
use crate::json;
use crate::table::{Column, Table};

/// Say what documents are about; results carry it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say something about a place
    Add(AddArgs),
    /// List what is said
    List(ListArgs),
    /// Take back what is said about a place
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
}

const PLACE: &str = "The place, an address (qmd://notes/work), a path, or / for everything, and the text; without a place, the current folder";

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    #[arg(required = true, num_args = 1..=2, value_names = ["PLACE", "TEXT"], help = PLACE)]
    place_and_text: Vec<String>,
    #[command(flatten)]
    index: IndexArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    index: IndexArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// The place
    place: String,
    #[command(flatten)]
    index: IndexArgs,
}

pub(crate) fn run(command: Command, console: &Console) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => {
            let index = args.index.open()?;
            let (place, text) = match &args.place_and_text[..] {
                [place, text] => (place.as_str(), text),
                [text] => (".", text),
                _ => return Err(usage("give a place and a text")),
            };
            let (collection, prefix) = locate(&index, place)?;
            Ok(index.set_context(&Context { collection, prefix, text: text.clone() })?)
        }
        Command::List(args) => list(&args, console),
        Command::Remove(args) => {
            let index = args.index.open()?;
            let (collection, prefix) = locate(&index, &args.place)?;
            if index.remove_context(collection.as_deref(), &prefix)? {
                return Ok(());
            }
            anyhow::bail!("nothing is said about {}; `docent context list` shows what is", args.place)
        }
    }
}

/// The collection and the prefix that a place means; no collection for `/`.
fn locate(index: &Index, place: &str) -> anyhow::Result<(Option<String>, String)> {
    if place == "/" {
        return Ok((None, String::new()));
    }
    let address = match Address::parse(place) {
        Some(address) => Some(address),
        None => index.address_of(Path::new(place))?,
    };
    match address {
        Some(Address { collection, path }) => Ok((Some(collection), path)),
        None => {
            Err(usage(format!("{place} is below the folder of no collection; add one with `docent collection add`")))
        }
    }
}

fn list(args: &ListArgs, console: &Console) -> anyhow::Result<()> {
    let all = args.index.open()?.contexts()?;
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &all)?;
        return Ok(());
    }
    if all.is_empty() {
        console.note("there are no contexts; add one with `docent context add PLACE TEXT`");
        return Ok(());
    }
    let mut table = Table::new(&[Column::Left("place"), Column::Left("context")]);
    all.iter().for_each(|context| table.row([context.address(), context.text.clone()]));
    write!(out, "{table}")?;
    Ok(())
}
