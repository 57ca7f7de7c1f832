//! From a model's name to a file on this machine.
//!
//! [`Hub::fetch`] turns a [`ModelRef`] into a path: at once if the model is in a cache, else from the first source that has
//! it. What is in a cache is used without a single connection; [`Hub::offline`] forbids all of them. (The adapters beside a GGUF file of
//! jina-embeddings-v3 come with it; of one that another tool has fetched without them, its repository is asked for them once.)
//!
//! **Caches.** Files of the Hugging Face hub go where every tool of that world looks (`HF_HUB_CACHE`, `HF_HOME/hub`,
//! `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`), in the same layout and under the same locks; a model that
//! another tool has fetched is found, one that Docent has fetched is found by others. Files by address and models converted
//! here are in Docent's own cache (`DOCENT_CACHE`, `XDG_CACHE_HOME/docent`, `~/.cache/docent`). A GGUF file that is in neither is looked for
//! among the models of qmd (`XDG_CACHE_HOME/qmd/models`, `~/.cache/qmd/models`), and used where it is.
//!
//! **Endpoints.** `HF_ENDPOINT` replaces the public hub; `DOCENT_HF_MIRRORS` lists further hubs, separated by commas. They are
//! asked in this order until one answers with the file; one that is down, or does not have it, costs no more than its
//! timeout. The token (`HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME/token`) is shown to the first endpoint only: to its scheme, host and
//! port, never to a mirror or to the host of a redirect. Certificates are checked against Mozilla's list, or against the file that
//! `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE` names. Proxies come from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and
//! `NO_PROXY`.
//!
//! **Integrity.** A file arrives under another name, is continued there after a broken connection (or a killed process), must
//! have the announced length and hash, is written through to the disk, and only then gets its name. A file of the cache is
//! hashed once more when it changes, or was fetched by somebody else; a damaged one is fetched again, and never loaded.
//!
//! ```no_run
//! use docent::hub::{Hub, Quant, Silent};
//! let path = Hub::from_env().fetch(&"bge-small-en-v1.5".parse()?, Some(Quant::F16), &Silent)?;
//! println!("{}", path.display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapters;
mod cache;
mod catalogued;
mod digest;
mod download;
mod error;
mod http;
mod local;
pub(crate) mod names;
mod progress;
mod pypi;
mod qmd;
mod quant;
mod remote;
mod repo;
mod repository;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub use error::Error;
pub use progress::{Progress, Silent};
pub use qmd::QmdModel;
pub use quant::{Quant, UnknownQuant};

use crate::catalog;
use crate::{ModelRef, convert};
use cache::HubCache;
use http::Client;
use remote::Remote;
use repository::fetch_parts;
use settings::Settings;

/// Turns a safetensors folder into a GGUF file.
pub type Converter = dyn Fn(&Conversion<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + Sync;

/// What a [`Converter`] is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion<'a> {
    /// The safetensors folder.
    pub folder: &'a Path,
    /// The file to write, which does not exist.
    pub out: &'a Path,
    /// The format of the matrices: one that [is convertible](Quant::is_convertible).
    pub quant: Quant,
    /// The name of the model; the folder's own name is an accident.
    pub name: &'a str,
}

/// The branch that is meant when none is named.
const MAIN: &str = "main";

/// Finds models in the caches and fetches those that are not there. See the [module](self) for the rules.
///
/// Cheap to make and to clone; may be shared between threads and processes, which then wait for each other's downloads of the
/// same file.
#[derive(Clone)]
pub struct Hub {
    settings: Settings,
    converter: Arc<Converter>,
    preferred: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Hub {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("hub_cache", &self.settings.hub_cache)
            .field("docent_cache", &self.settings.docent_cache)
            .field("endpoints", &self.settings.endpoints)
            .field("offline", &self.settings.offline)
            .finish_non_exhaustive()
    }
}

impl Default for Hub {
    fn default() -> Self {
        Hub::from_env()
    }
}

impl Hub {
    /// A hub as the environment describes it: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE`, `XDG_CACHE_HOME`, `DOCENT_HF_MIRRORS`, `DOCENT_CACHE`.
    pub fn from_env() -> Hub {
        Hub { settings: Settings::from_env(), converter: Arc::new(convert), preferred: Arc::default() }
    }

    /// Forbids the network (`true`). `false` leaves what `HF_HUB_OFFLINE` says.
    pub fn offline(mut self, offline: bool) -> Hub {
        self.settings.offline |= offline;
        self
    }

    /// Whether the network is forbidden.
    pub fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// Where the hub's cache folder is; `None` if there is no home and no variable names it.
    pub fn hub_cache_folder(&self) -> Option<&Path> {
        self.settings.hub_cache.as_deref()
    }

    /// Where Docent's own cache folder is; `None` if there is no home and no variable names it.
    pub fn docent_cache_folder(&self) -> Option<&Path> {
        self.settings.docent_cache.as_deref()
    }

    /// The hub's cache folder (the one with the `models--...` folders).
    pub fn hub_cache(mut self, folder: impl Into<PathBuf>) -> Hub {
        self.settings.hub_cache = Some(folder.into());
        self
    }

    /// Docent's own cache folder.
    pub fn docent_cache(mut self, folder: impl Into<PathBuf>) -> Hub {
        self.settings.docent_cache = Some(folder.into());
        self
    }

    /// The folder of qmd's models.
    pub fn qmd_models_folder(mut self, folder: impl Into<PathBuf>) -> Hub {
        self.settings.qmd_models = Some(folder.into());
        self
    }

    /// The models that qmd has fetched on this machine. Those of the catalogue are found by their names.
    pub fn qmd_models(&self) -> Vec<QmdModel> {
        self.settings.qmd_models.as_deref().map(qmd::installed).unwrap_or_default()
    }

    /// The hubs to ask, in this order, such as `https://huggingface.co`. The first alone gets the token.
    pub fn endpoints<S: Into<String>>(mut self, endpoints: impl IntoIterator<Item = S>) -> Hub {
        self.settings.endpoints = settings::clean_endpoints(endpoints.into_iter().map(Into::into).collect());
        self.preferred = Arc::default();
        self
    }

    /// The token for the first endpoint; `None` for none.
    pub fn token(mut self, token: Option<String>) -> Hub {
        self.settings.token = token;
        self
    }

    /// How long a connection may take to come about (default 10 s), and how long a server may send nothing (30 s).
    pub fn timeouts(mut self, connect: Duration, read: Duration) -> Hub {
        self.settings.connect_timeout = connect;
        self.settings.quick_timeout = self.settings.quick_timeout.min(connect);
        self.settings.read_timeout = read;
        self
    }

    /// How often a request is tried again after a broken connection or a busy answer (default 4), and the first pause before
    /// that (0.5 s), which doubles each time. A server's `Retry-After` is honoured up to 30 s.
    pub fn retries(mut self, retries: u32, first_pause: Duration) -> Hub {
        self.settings.retries = retries;
        self.settings.backoff = first_pause;
        self
    }

    /// The largest file that is fetched, in bytes (default 64 GiB).
    pub fn max_file(mut self, bytes: u64) -> Hub {
        self.settings.max_file = bytes;
        self
    }

    /// Commands that run pip, tried in order; by default `python3 -m pip`, `python -m pip`, `pip`.
    pub fn pip(mut self, commands: Vec<Vec<String>>) -> Hub {
        self.settings.pip = commands;
        self
    }

    /// Converts by `converter` instead of the project's own one.
    pub fn converter(mut self, converter: Arc<Converter>) -> Hub {
        self.converter = converter;
        self
    }

    /// The path of a model, fetched if need be: a `.gguf` file (the first part of a split one) or a safetensors folder.
    ///
    /// `quant` chooses the number format. `None` means [`Quant::DEFAULT`], or whatever the cache or a repository has if not
    /// that. A model that is only published as safetensors is converted on arrival if it comes from the catalogue, or if a
    /// format was asked for; [`Quant::Original`] asks for the safetensors folder itself. Paths and addresses are what they are,
    /// whatever `quant` says.
    ///
    /// # Errors
    /// [`Error`]: not to be found, refused, out of reach or offline, damaged on the way, not to be written, not to be converted.
    pub fn fetch(&self, model: &ModelRef, quant: Option<Quant>, progress: &dyn Progress) -> Result<PathBuf, Error> {
        match model {
            ModelRef::Path(path) if path.exists() => Ok(path.clone()),
            ModelRef::Path(path) => Err(Error::NoSuchPath { path: path.clone() }),
            ModelRef::Name(name) => {
                let entry = catalog::find(name).ok_or_else(|| Error::UnknownName { name: name.clone() })?;
                self.fetch_entry(entry, quant, progress)
            }
            ModelRef::Hub { repo, revision, file } => {
                let revision = revision.as_deref().unwrap_or(MAIN);
                let path = match file {
                    Some(file) => {
                        let parts = repo::parts_of(file);
                        match self.cached_parts(repo, revision, &parts) {
                            Some(path) => path,
                            None => self.with_remote(progress, false, |r| fetch_parts(r, repo, revision, &parts))?,
                        }
                    }
                    None => self.fetch_repo(repo, revision, quant, progress)?,
                };
                self.fetch_adapters(repo, revision, &path, progress);
                Ok(path)
            }
            ModelRef::Url(url) => local::fetch_url(&self.settings, self.local()?, url, progress),
        }
    }

    /// The path of a model that is in a cache, whole and sound, without any network. Hashes what was never hashed here.
    pub fn cached(&self, model: &ModelRef, quant: Option<Quant>) -> Option<PathBuf> {
        let found = match model {
            ModelRef::Path(path) => path.exists().then(|| path.clone()),
            ModelRef::Name(name) => {
                let entry = catalog::find(name)?;
                self.cached_entry(entry, quant).or_else(|| match quant {
                    None => self.cached_original(entry),
                    Some(_) => None,
                })
            }
            ModelRef::Hub { repo, revision, file } => {
                let revision = revision.as_deref().unwrap_or(MAIN);
                match file {
                    Some(file) => self.cached_parts(repo, revision, &repo::parts_of(file)),
                    None => self.cached_repo(repo, revision, quant),
                }
            }
            ModelRef::Url(url) => local::cached_url(self.local().ok()?, url),
        }?;
        Some(found)
    }

    fn local(&self) -> Result<&Path, Error> {
        self.settings.docent_cache.as_deref().ok_or(Error::NoCacheFolder)
    }

    fn hub(&self) -> Result<HubCache, Error> {
        let root = self.settings.hub_cache.clone().ok_or(Error::NoCacheFolder)?;
        Ok(HubCache::new(root, self.settings.docent_cache.as_deref()))
    }

    /// Calls `work` with all that it takes to reach the hub. `quick`: there is another source, so do not wait long for this one.
    fn with_remote<T>(
        &self,
        progress: &dyn Progress,
        quick: bool,
        work: impl FnOnce(&Remote<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let settings = &self.settings;
        let connect = if quick { settings.quick_timeout } else { settings.connect_timeout };
        let several = quick || settings.endpoints.len() > 1;
        work(&Remote {
            settings,
            client: &Client::new(settings, connect)?,
            cache: &self.hub()?,
            preferred: &self.preferred,
            retries: if several { settings.retries.min(1) } else { settings.retries },
            progress,
        })
    }
}

/// An address without the user's name and password.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// The project's converter.
fn convert(conversion: &Conversion<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let output_type = conversion.quant.name().parse()?;
    let options = convert::Options { name: Some(conversion.name.to_owned()), ..convert::Options::new(output_type) };
    convert::convert_with(conversion.folder, conversion.out, &options, &mut |_| {})?;
    Ok(())
}
