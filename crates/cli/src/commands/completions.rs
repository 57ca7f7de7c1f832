//! `docent completions`: what a shell needs to know to complete the command line.

use std::io::Write;

use clap_complete::Shell;

use crate::Cli;
use crate::console::Console;

/// Print the script that completes docent's command line in a shell.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Where shells look for it:
  docent completions bash > ~/.local/share/bash-completion/completions/docent
  docent completions zsh > \"${fpath[1]}/_docent\"
  docent completions fish > ~/.config/fish/completions/docent.fish";

pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<()> {
    // Made in memory first: the generator does not pass on that a pipe is closed, it panics.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::definition(), "docent", &mut script);
    console.out().write_all(&script)?;
    Ok(())
}
