//! The `docent` command, as a function: the binary and the Python package call it alike.
//!
//! Results go to stdout, everything else to stderr. Exit status 0 means done, 2 that the command line was wrong, 1 any
//! other failure.

mod access;
mod commands;
mod console;
mod daemon;
mod destination;
mod embeddings;
mod index;
mod input;
mod json;
mod model;
mod results;
mod server;
mod signals;
mod system;
mod table;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use commands::Command;
use console::Console;

/// Search, embeddings and reranking with GGUF and safetensors models, on this machine.
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

/// Runs the command line `args`, whose first is the name of the program, and returns the exit status of the process.
///
/// It speaks through the process's own stdin, stdout and stderr, and sets the logging of the process up if nothing else has.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString>>) -> u8 {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let console = Console::start(&args);
    let status = match Cli::try_parse_from(&args) {
        Ok(cli) => match cli.command.run(&console) {
            Ok(()) => console.end(),
            Err(error) => console.fail(&error),
        },
        Err(error) => console.fail_parsing(&error),
    };
    // Where the caller is not Rust's own `main`, nothing else writes what is left. A reader that has gone is no failure.
    let _ = std::io::stdout().flush();
    status
}
