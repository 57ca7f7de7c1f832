//! Who may ask a server that a command starts.

#![allow(clippy::doc_markdown)] // doc comments of options are shown in the terminal as they are

use std::path::PathBuf;

use docent_server::Access;

/// Who may ask.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// File of keys, one a line, of which every request must have one
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Ask for a key at /health and /metrics too
    #[arg(long, requires = "api_key_file")]
    guard_probes: bool,
    /// Let web pages of this origin call, such as https://notes.example; repeatable
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// A name by which the server may be called besides those of loopback; repeatable
    #[arg(long = "allow-host", value_name = "NAME")]
    hosts: Vec<String>,
}

impl AccessArgs {
    /// The same, for the library.
    pub(crate) fn access(self) -> anyhow::Result<Access> {
        let keys = match &self.api_key_file {
            Some(file) => docent_server::read_keys(file)?,
            None => Vec::new(),
        };
        Ok(Access { keys, guard_probes: self.guard_probes, origins: self.origins, hosts: self.hosts })
    }
}
