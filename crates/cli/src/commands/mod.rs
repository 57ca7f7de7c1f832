//! One file a command: its options, and what it does.

mod bench;
mod check;
mod completions;
mod convert;
mod doctor;
mod embed;
mod info;
mod models;
mod pull;
mod quantize;
mod rerank;
mod serve;
mod tokenize;

use clap::Subcommand;

use crate::console::Console;

// The first sentence of a command's arguments is its line in the list of commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Embed(embed::Args),
    Rerank(rerank::Args),
    Serve(Box<serve::Args>),
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
            Command::Embed(args) => embed::run(args, console),
            Command::Rerank(args) => rerank::run(args, console),
            Command::Serve(args) => serve::run(*args, console),
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
