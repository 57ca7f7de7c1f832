//! One file a command: its options, and what it does.

mod bench;
mod check;
mod completions;
mod convert;
mod embed;
mod info;
mod models;
mod pull;
mod tokenize;

use clap::Subcommand;

use crate::console::Console;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Turn texts into vectors
    Embed(embed::Args),
    /// Show the tokens that a model reads
    Tokenize(tokenize::Args),
    /// Show what a model is, and whether it runs here
    Info(info::Args),
    /// Open a model, run it, and compare with published values
    Check(check::Args),
    /// Fetch a model
    Pull(pull::Args),
    /// List the models of the catalogue
    Models(models::Args),
    /// Turn a Hugging Face directory into a GGUF file
    Convert(convert::Args),
    /// Measure the speed of a model on this machine
    Bench(bench::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
}

impl Command {
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        match self {
            Command::Embed(args) => embed::run(args, console),
            Command::Tokenize(args) => tokenize::run(args, console),
            Command::Info(args) => info::run(args, console),
            Command::Check(args) => check::run(args, console),
            Command::Pull(args) => pull::run(args, console),
            Command::Models(args) => models::run(args, console),
            Command::Convert(args) => convert::run(args, console),
            Command::Bench(args) => bench::run(args, console),
            Command::Completions(args) => completions::run(args, console),
        }
    }
}
