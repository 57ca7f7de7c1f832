//! `docent collection`: folders that are searched.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use docent_search::{Collection, DEFAULT_MASK, Index};

use super::update::{UpdateArgs, update};
use crate::console::{Console, usage};
use crate::index::{IndexArgs, SearchModelArgs};
use crate::json;
use crate::table::{Column, Table, bytes};

/// Manage the folders that are searched.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a folder and index its files
    Add(AddArgs),
    /// List the collections
    List(ListArgs),
    /// Show the settings of a collection
    #[command(visible_alias = "info")]
    Show(NameArgs),
    /// Forget a collection; its files stay
    #[command(visible_alias = "rm")]
    Remove(NameArgs),
    /// Give a collection another name
    #[command(visible_alias = "mv")]
    Rename(RenameArgs),
    /// Search the collection also where none is named
    Include(NameArgs),
    /// Search the collection only where it is named
    Exclude(NameArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// The folder
    #[arg(value_name = "FOLDER")]
    path: PathBuf,
    /// Name of the collection [default: the folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Which files: globs with commas between them
    #[arg(long, visible_alias = "glob", value_name = "GLOBS", default_value = DEFAULT_MASK)]
    mask: String,
    /// Files or folders to leave out: a glob; may be given several times
    #[arg(long, value_name = "GLOB")]
    ignore: Vec<String>,
    /// Index also what .gitignore files name
    #[arg(long)]
    no_gitignore: bool,
    #[command(flatten)]
    index: IndexArgs,
    #[command(flatten)]
    models: SearchModelArgs,
    /// Use this embedding model for the collection from now on
    #[arg(long, value_name = "MODEL")]
    set_model: Option<String>,
    /// Make no vectors: search by keyword alone
    #[arg(long)]
    no_embed: bool,
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
pub(crate) struct NameArgs {
    /// The collection
    name: String,
    #[command(flatten)]
    index: IndexArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// The collection
    name: String,
    /// Its new name
    new: String,
    #[command(flatten)]
    index: IndexArgs,
}

pub(crate) fn run(command: Command, console: &Console) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(args, console),
        Command::List(args) => list(&args, console),
        Command::Show(args) => show(&args, console),
        Command::Remove(args) => {
            let removed = args.index.open()?.remove_collection(&args.name)?;
            console.note(format_args!("the collection {} and its {removed} documents are forgotten", args.name));
            Ok(())
        }
        Command::Rename(args) => Ok(args.index.open()?.rename_collection(&args.name, &args.new)?),
        Command::Include(args) => set_included(&args, true),
        Command::Exclude(args) => set_included(&args, false),
    }
}

fn add(args: AddArgs, console: &Console) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let path = std::fs::canonicalize(&args.path)
        .map_err(|error| usage(format!("cannot read {}: {error}", args.path.display())))?;
    let name = args.name.unwrap_or_else(|| free_name(&index, &path));
    let collection = Collection {
        mask: args.mask,
        ignore: args.ignore,
        gitignore: !args.no_gitignore,
        model: args.set_model,
        ..Collection::new(name.as_str(), path)
    };
    index.add_collection(&collection)?;
    let update_args = UpdateArgs { collections: vec![name], no_embed: args.no_embed, ..UpdateArgs::default() };
    update(&index, &update_args, &args.models, console)
}

/// The folder's name; a number behind it if another collection has it.
fn free_name(index: &Index, path: &Path) -> String {
    let name = Collection::name_of(path);
    let is_free = |name: &str| index.collection(name).is_err();
    if is_free(&name) {
        return name;
    }
    (2..1000).map(|number| format!("{name}-{number}")).find(|name| is_free(name)).unwrap_or(name)
}

fn list(args: &ListArgs, console: &Console) -> anyhow::Result<()> {
    let all = args.index.open()?.collections()?;
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &all)?;
        return Ok(());
    }
    if all.is_empty() {
        console.note("there are no collections; add one with `docent collection add FOLDER`");
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Left("name"),
        Column::Right("documents"),
        Column::Right("size"),
        Column::Left("files"),
        Column::Left("included"),
        Column::Left("folder"),
    ]);
    for status in &all {
        let collection = &status.collection;
        table.row([
            collection.name.clone(),
            status.documents.to_string(),
            bytes(status.bytes),
            collection.mask.clone(),
            if collection.included { "yes" } else { "no" }.to_owned(),
            collection.path.display().to_string(),
        ]);
    }
    write!(out, "{table}")?;
    Ok(())
}

fn show(args: &NameArgs, console: &Console) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let collection = index.collection(&args.name)?;
    let mut table = Table::facts();
    table.fact("name", &collection.name);
    table.fact("folder", collection.path.display());
    table.fact("files", &collection.mask);
    if !collection.ignore.is_empty() {
        table.fact("ignored", collection.ignore.join(", "));
    }
    table.fact(".gitignore", if collection.gitignore { "followed" } else { "not followed" });
    table.fact("included", if collection.included { "yes" } else { "only where it is named" });
    if let Some(model) = &collection.model {
        table.fact("model", model);
    }
    for context in index.contexts()? {
        if context.collection.as_ref() == Some(&collection.name) {
            table.fact("context", format_args!("{}: {}", context.address(), context.text));
        }
    }
    write!(console.out(), "{table}")?;
    Ok(())
}

fn set_included(args: &NameArgs, included: bool) -> anyhow::Result<()> {
    let index = args.index.open()?;
    let collection = index.collection(&args.name)?;
    Ok(index.change_collection(&Collection { included, ..collection })?)
}
