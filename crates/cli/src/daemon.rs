//! The user's daemon, which has models and indexes in memory: where it is, and what searches ask of it.

#![allow(clippy::doc_markdown)] // doc comments of options are shown in the terminal as they are

use std::path::{Path, PathBuf};

use docent::ModelRef;
use docent::hub::Hub;
use docent_search::SearchOptions;
use docent_server::daemon::{Caches, Client, ClientError, FileState, NamedFile, SearchRequest};
use docent_server::{Found, Search, SearchModels};

use crate::console::Console;
use crate::index::data_folder;
use crate::model::OpenArgs;

/// The variable that says where the daemon's socket is, or that no daemon is wanted.
pub(crate) const VARIABLE: &str = "DOCENT_DAEMON";

/// What the variable says where no daemon is wanted.
const OFF: [&str; 3] = ["off", "0", "no"];

/// The daemon's socket, in a folder that is this user's alone; `None` if no daemon is wanted.
pub(crate) fn socket() -> anyhow::Result<Option<PathBuf>> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(value) = variable(VARIABLE) {
        let is_off = OFF.iter().any(|off| value.eq_ignore_ascii_case(off));
        return if is_off { Ok(None) } else { Ok(Some(std::path::absolute(value)?)) };
    }
    let folder = match variable("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join("docent"),
        None => data_folder()?,
    };
    Ok(Some(folder.join("daemon.sock")))
}

/// Whether the daemon may be asked.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct DaemonArgs {
    /// Load models here, also if a daemon has them [env: DOCENT_DAEMON=off]
    #[arg(long)]
    no_daemon: bool,
}

impl DaemonArgs {
    /// What the daemon finds; `None` if there is none, or it had better be done here.
    pub(crate) fn search(
        self,
        index: &Path,
        search: &Search,
        options: &SearchOptions,
        models: &SearchModels,
        open: &OpenArgs,
        console: &Console,
    ) -> Option<Found> {
        // Threads and number formats are the daemon's own.
        if self.no_daemon || open.threads.is_some() || open.fetch.quant.is_some() {
            return None;
        }
        let client = Client::new(socket().ok()??);
        if !client.path().exists() {
            return None;
        }
        let request = SearchRequest {
            index: std::path::absolute(index).ok()?,
            search: search.clone(),
            options: options.clone(),
            embedder: named(models.embedder.as_ref())?,
            reranker: named(models.reranker.as_ref())?,
            expander: named(models.expander.as_ref())?,
            caches: Caches::of_environment(),
        };
        match client.search(&request) {
            Ok(found) => return Some(found),
            Err(error @ ClientError::OtherVersion { .. }) => console.note(error),
            // What is wrong with the query is said by the search here.
            Err(error) => tracing::debug!("{error}"),
        }
        None
    }
}

/// A model, if one is named, by a name that means the same to the daemon. `None` if it is not on this machine: the daemon fetches none.
#[allow(clippy::option_option)] // no model, and none that the daemon can have
fn named(model: Option<&ModelRef>) -> Option<Option<NamedFile>> {
    let Some(model) = model else { return Some(None) };
    let file = Hub::from_env().offline(true).cached(model, None)?;
    let reference = match model {
        ModelRef::Path(path) => std::path::absolute(path).ok()?.into_os_string().into_string().ok()?,
        model => model.to_string(),
    };
    Some(Some(NamedFile { reference, state: FileState::of(&file).ok()? }))
}
