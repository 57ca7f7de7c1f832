//! The `docent` command; what it does is in the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(docent_cli::run(std::env::args_os()))
}
