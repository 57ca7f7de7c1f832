//! One file a command: its options, and what it does.

mod bench;
mod check;
mod cleanup;
mod collection;
mod completions;
mod context;
mod convert;
mod daemon;
mod doctor;
mod embed;
mod expand;
mod get;
mod import;
mod info;
mod mcp;
mod models;
mod pull;
mod quantize;
mod rerank;
mod search;
mod serve;
mod status;
mod tokenize;
mod update;
mod watch;

use clap::Subcommand;

use crate::console::Console;

// The first sentence of a command's arguments is its line in the list of commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Collection(collection::Command),
    #[command(subcommand)]
    Context(context::Command),
    Update(update::Args),
    Watch(watch::Args),
    Query(search::QueryArgs),
    Search(search::SearchArgs),
    #[command(visible_alias = "vector-search")]
    Vsearch(search::VsearchArgs),
    Get(get::GetArgs),
    MultiGet(get::MultiGetArgs),
    Ls(get::LsArgs),
    Status(status::Args),
    Cleanup(cleanup::Args),
    #[command(subcommand)]
    Import(import::Command),
    #[command(subcommand)]
    Daemon(daemon::Command),
    Embed(embed::Args),
    Rerank(rerank::Args),
    Expand(expand::Args),
    Serve(Box<serve::Args>),
    Mcp(Box<mcp::Args>),
    Tokenize(tokenize::Args),
    Info(info::Args),
    Check(check::Args),
    Pull(pull::Args),
    Models(models::Args),
    Convert(convert::Args),
    Quantize(quantize::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
}

impl Command {
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        match self {
            Command::Collection(command) => collection::run(command, console),
            Command::Context(command) => context::run(command, console),
            Command::Update(args) => update::run(args, console),
            Command::Watch(args) => watch::run(args, console),
            Command::Query(args) => search::query(args, console),
            Command::Search(args) => search::search(args, console),
            Command::Vsearch(args) => search::vsearch(args, console),
            Command::Get(args) => get::get(args, console),
            Command::MultiGet(args) => get::multi_get(args, console),
            Command::Ls(args) => get::ls(args, console),
            Command::Status(args) => status::run(args, console),
            Command::Cleanup(args) => cleanup::run(args, console),
            Command::Import(command) => import::run(command, console),
            Command::Daemon(command) => daemon::run(command, console),
            Command::Embed(args) => embed::run(args, console),
            Command::Rerank(args) => rerank::run(args, console),
            Command::Expand(args) => expand::run(args, console),
            Command::Serve(args) => serve::run(*args, console),
            Command::Mcp(args) => mcp::run(*args, console),
            Command::Tokenize(args) => tokenize::run(args, console),
            Command::Info(args) => info::run(args, console),
            Command::Check(args) => check::run(args, console),
            Command::Pull(args) => pull::run(args, console),
            Command::Models(args) => models::run(args, console),
            Command::Convert(args) => convert::run(args, console),
            Command::Quantize(args) => quantize::run(args, console),
            Command::Bench(args) => bench::run(args, console),
            Command::Doctor(args) => doctor::run(args, console),
            Command::Completions(args) => completions::run(args, console),
        }
    }
}
