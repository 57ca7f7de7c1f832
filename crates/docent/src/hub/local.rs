//! Docent's own cache: files by web address, and models that were converted here.
//!
//! ```text
//! models/<name>/<name>-Q8_0.gguf     converted here; models/<name>/original/ the safetensors folder of a package
//! urls/<start of the address's SHA-256>/<file>
//! verified/<blob>                    what of the hub's cache has been hashed and found sound
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::cache::{create_parent, lock, publish, unique};
use super::digest::{Digest, sha256_of};
use super::download::{Job, download, with_retries};
use super::http::{Client, Method, shown};
use super::names::{check_relative, percent_decode};
use super::settings::Settings;
use super::{Conversion, Converter, Error, Progress, Quant};

/// Where a converted model is, or would be. `name` is one plain folder name.
pub(super) fn converted(cache: &Path, name: &str, quant: Quant) -> PathBuf {
    cache.join("models").join(name).join(format!("{name}-{quant}.gguf"))
}

/// Where the safetensors folder of a package is kept, if it was asked for.
pub(super) fn original(cache: &Path, name: &str) -> PathBuf {
    cache.join("models").join(name).join("original")
}

/// The lock for everything that is made in a model's folder.
pub(super) fn lock_model(cache: &Path, name: &str, progress: &dyn Progress) -> Result<fs::File, Error> {
    lock(&cache.join("models").join(name).join(".lock"), progress)
}

/// Converts a safetensors folder, unless that has been done before. The caller holds the model's lock.
pub(super) fn convert(
    cache: &Path,
    name: &str,
    quant: Quant,
    folder: &Path,
    converter: &Converter,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let path = converted(cache, name, quant);
    if path.is_file() {
        return Ok(path);
    }
    progress.note(&format!("converting {name} to {quant}"));
    create_parent(&path)?;
    let temporary = Temporary(unique(&path));
    converter(&Conversion { folder, out: &temporary.0, quant, name: shown_name(name) }).map_err(|error| {
        Error::Convert { model: name.to_owned(), quant, reason: super::http::one_line(&error.to_string()) }
    })?;
    publish(&temporary.0, &path)?;
    Ok(path)
}

/// The name of a model without what only its cache folder needs: `USER--REPO@COMMIT` is called `REPO`.
fn shown_name(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.split_once("--").map_or(name, |(_, name)| name)
}

/// A file or folder that is deleted when nobody has moved it away.
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let result = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
        if let Err(error) = result
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, path = %self.0.display(), "cannot delete a temporary file");
        }
    }
}

/// An address, the hash that its fragment may carry, and the file's place.
struct Address<'a> {
    url: &'a str,
    sha256: Option<&'a str>,
    path: PathBuf,
}

fn address<'a>(cache: &Path, text: &'a str) -> Result<Address<'a>, Error> {
    let (url, sha256) = match text.split_once("#sha256=") {
        Some((url, hash)) => (url, Some(hash)),
        None => (text, None),
    };
    let last = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/').rsplit('/').next().unwrap_or("");
    // Any name will do for the place, as long as it is one; the folder already tells addresses apart.
    let name = percent_decode(last).filter(|name| check_relative(name).is_ok() && !name.contains('/'));
    let name = name.unwrap_or_else(|| "model.gguf".to_owned());
    let key = sha256_of(text);
    Ok(Address { url, sha256, path: cache.join("urls").join(&key[..16]).join(name) })
}

/// The file of an address, if it is here.
pub(super) fn cached_url(cache: &Path, text: &str) -> Option<PathBuf> {
    address(cache, text).ok().map(|address| address.path).filter(|path| path.is_file())
}

/// Downloads the GGUF file of an address, unless that has been done before.
pub(super) fn fetch_url(
    settings: &Settings,
    cache: &Path,
    text: &str,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let Address { url, sha256, path } = address(cache, text)?;
    if path.is_file() {
        return Ok(path);
    }
    if settings.offline {
        return Err(Error::Offline { what: shown(url), looked: path });
    }
    let _lock = lock(&path.with_file_name(".lock"), progress)?;
    if path.is_file() {
        return Ok(path);
    }
    let client = Client::new(settings, settings.connect_timeout)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = |suffix: &str| path.with_file_name(format!("{name}.{suffix}"));
    let (incomplete, tag_file) = (beside("incomplete"), beside("etag"));

    // What is there now, so that bytes of an earlier version are not continued. Not every server knows HEAD.
    let (tag, size) = match with_retries(settings, settings.retries, || client.send(Method::Head, url, &[], &name)) {
        Ok(answer) => {
            let tag = answer.header("etag").filter(|tag| tag.starts_with('"')).map(str::to_owned);
            let length = (answer.status == 200).then(|| answer.number("content-length")).flatten();
            (tag, length.filter(|&length| length > 0))
        }
        Err(Error::Status { .. } | Error::Denied { .. } | Error::NotFound { .. } | Error::Busy { .. }) => (None, None),
        Err(error) => return Err(error),
    };
    let earlier = fs::read_to_string(&tag_file).ok();
    if tag.is_none() || earlier != tag {
        let _ = fs::remove_file(&incomplete); // may not exist; if it cannot be deleted, the download says so
    }
    if let Some(tag) = &tag {
        fs::write(&tag_file, tag).map_err(Error::io("write", &tag_file))?;
    }
    let digest = sha256.map_or(Digest::Unknown, Digest::of_name);
    let job = Job { url, what: &name, size, digest, if_range: tag };
    download(&client, settings, &job, &incomplete, progress)?;
    check_magic(&incomplete, url)?;
    publish(&incomplete, &path)?;
    let _ = fs::remove_file(&tag_file); // of no use any more, and of no harm
    Ok(path)
}

/// A login page or an error page with status 200 must not stay in the cache as a model.
fn check_magic(path: &Path, url: &str) -> Result<(), Error> {
    use std::io::Read as _;
    let mut magic = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
    read.map_err(Error::io("read", path))?;
    if magic != b"GGUF" {
        fs::remove_file(path).map_err(Error::io("delete", path))?;
        let found = String::from_utf8_lossy(&magic).escape_default().to_string();
        return Err(Error::NotGguf { url: shown(url), found });
    }
    Ok(())
}
