//! The `docent` command.
//!
//! Results go to stdout, everything else to stderr. Exit status 0 means done, 2 that the command line was wrong, 1 any
//! other failure.

mod commands;
mod console;
mod destination;
mod embeddings;
mod input;
mod json;
mod model;
mod server;
mod system;
mod table;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;
use console::Console;

/// Embeddings and reranking with GGUF and safetensors models, on this machine.
#[derive(Parser)]
#[command(name = "docent", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// The whole command line as its parser sees it.
    fn definition() -> clap::Command {
        <Self as clap::CommandFactory>::command()
    }
}

fn main() -> ExitCode {
    let console = Console::start();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return console.fail_parsing(&error),
    };
    match cli.command.run(&console) {
        Ok(()) => console.end(),
        Err(error) => console.fail(&error),
    }
}
