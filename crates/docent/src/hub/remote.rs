//! Files of the hub: from the cache, or from the first endpoint that has them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cache::{HubCache, publish};
use super::digest::{Digest, sha256_of};
use super::download::{Job, download, with_retries};
use super::http::{Answer, Client, Method};
use super::names::{check_relative, check_repo, is_commit, percent_encode};
use super::repo::{self, Completeness, Listing};
use super::settings::Settings;
use super::{Error, Progress};

/// Largest listing of a repository that is read.
const MAX_LISTING: u64 = 16 << 20;

/// Everything that getting a file of the hub takes.
pub(super) struct Remote<'a> {
    pub(super) settings: &'a Settings,
    pub(super) client: &'a Client,
    pub(super) cache: &'a HubCache,
    /// The endpoint that answered last; asked first the next time.
    pub(super) preferred: &'a AtomicUsize,
    /// Retries of the requests that come before a download. Fewer where another source waits.
    pub(super) retries: u32,
    pub(super) progress: &'a dyn Progress,
}

/// What the hub says of a file.
struct Meta {
    commit: String,
    /// The name of its content.
    name: String,
    digest: Digest,
    size: Option<u64>,
}

impl Remote<'_> {
    /// A file of a repository.
    pub(super) fn file(&self, repo: &str, revision: &str, file: &str) -> Result<PathBuf, Error> {
        let what = format!("{repo}/{file}");
        check_repo(repo).map_err(|reason| Error::BadName { name: repo.to_owned(), reason })?;
        for name in [revision, file] {
            check_relative(name).map_err(|reason| Error::BadName { name: name.to_owned(), reason })?;
        }
        if let Some(path) = self.cache.file(repo, revision, file) {
            match self.cache.verify(&path) {
                Ok(()) => return Ok(path),
                Err(error @ Error::Damaged { .. }) if !self.settings.offline => {
                    self.progress.note(&format!("{file} is damaged in the cache; fetching it again"));
                    tracing::warn!(%error, "fetching a damaged file again");
                }
                Err(error) => return Err(error),
            }
        }
        if self.settings.offline {
            return Err(Error::Offline { what, looked: self.cache.snapshot(repo, revision).join(file) });
        }
        self.first_endpoint(&what, |endpoint| self.file_from(endpoint, repo, revision, file, &what))
    }

    /// The safetensors folder of a repository, with all its files.
    pub(super) fn folder(&self, repo: &str, revision: &str) -> Result<PathBuf, Error> {
        match self.cached_folder(repo, revision) {
            Some((folder, Completeness::Complete)) => match verify_weights(self.cache, &folder) {
                Ok(()) => return Ok(folder),
                Err(Error::Damaged { .. }) if !self.settings.offline => {}
                Err(error) => return Err(error),
            },
            Some((folder, Completeness::Usable)) if self.settings.offline => {
                tracing::warn!(folder = %folder.display(), "the cached folder may lack files, such as the pooling; it was fetched by another tool");
                verify_weights(self.cache, &folder)?;
                return Ok(folder);
            }
            _ => {}
        }
        if self.settings.offline {
            return Err(Error::Offline {
                what: format!("{repo} (safetensors)"),
                looked: self.cache.snapshot(repo, revision),
            });
        }
        let listing = self.listing(repo, revision)?;
        let files = listing.files();
        let wanted = repo::folder_files(&files).ok_or_else(|| Error::NoModelFile { repo: repo.to_owned() })?;
        // One commit for all files, even if somebody pushes in between.
        let commit = listing.sha.as_deref().filter(|sha| is_commit(sha)).unwrap_or(revision);
        for file in &wanted {
            self.file(repo, commit, file)?;
        }
        let commit = self.cache.commit(repo, commit).ok_or_else(|| Error::NoModelFile { repo: repo.to_owned() })?;
        let folder = self.cache.snapshot(repo, &commit);
        let known = repo::FOLDER_FILES.iter().map(|&f| f.to_owned()).chain(repo::module_files(&folder));
        for file in known.filter(|file| !files.contains(file.as_str())) {
            self.cache.mark_absent(repo, &commit, &file)?;
        }
        self.cache.set_ref(repo, revision, &commit)?;
        Ok(folder)
    }

    /// The safetensors folder in the cache, unless it cannot be loaded.
    pub(super) fn cached_folder(&self, repo: &str, revision: &str) -> Option<(PathBuf, Completeness)> {
        cached_folder(self.cache, repo, revision)
    }

    /// What a repository holds.
    pub(super) fn listing(&self, repo: &str, revision: &str) -> Result<Listing, Error> {
        check_repo(repo).map_err(|reason| Error::BadName { name: repo.to_owned(), reason })?;
        self.first_endpoint(repo, |endpoint| {
            let url = format!("{endpoint}/api/models/{repo}/revision/{}", percent_encode(revision, ""));
            with_retries(self.settings, self.retries, || {
                let answer = self.client.send(Method::Get, &url, &[], repo)?;
                let shown = answer.url.clone();
                let bytes = self.client.text(answer, MAX_LISTING)?;
                let bad = |e: serde_json::Error| Error::BadAnswer {
                    url: shown,
                    reason: format!("expected a list of files: {e}"),
                };
                serde_json::from_slice(&bytes).map_err(bad)
            })
        })
    }

    /// Asks the endpoints in turn, the one that answered last first. An endpoint that has no answer, or not this file, is no
    /// reason to give up while there is another.
    fn first_endpoint<T>(&self, what: &str, mut ask: impl FnMut(&str) -> Result<T, Error>) -> Result<T, Error> {
        let endpoints = &self.settings.endpoints;
        let preferred = self.preferred.load(Ordering::Relaxed).min(endpoints.len().saturating_sub(1));
        let order = std::iter::once(preferred).chain((0..endpoints.len()).filter(|&i| i != preferred));
        let mut failures = Vec::new();
        for index in order.filter(|&i| i < endpoints.len()) {
            match ask(&endpoints[index]) {
                Ok(found) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(found);
                }
                Err(error) if error.is_local() => return Err(error),
                Err(error) => {
                    tracing::debug!(endpoint = endpoints[index], %error, "no success");
                    failures.push((super::http::shown(&endpoints[index]), error));
                }
            }
        }
        match failures.len() {
            1 => Err(failures.swap_remove(0).1),
            _ => Err(Error::NoSource { what: what.to_owned(), failures }),
        }
    }

    fn file_from(&self, endpoint: &str, repo: &str, revision: &str, file: &str, what: &str) -> Result<PathBuf, Error> {
        let url = format!("{endpoint}/{repo}/resolve/{}/{}", percent_encode(revision, ""), percent_encode(file, "/"));
        let meta = with_retries(self.settings, self.retries, || {
            let answer = self.client.send(Method::Head, &url, &[], what)?;
            read_meta(&answer)
        })?;
        if is_commit(revision) && !meta.commit.eq_ignore_ascii_case(revision) {
            let reason = format!("asked for commit {revision}, it answers with {}", meta.commit);
            return Err(Error::BadAnswer { url: super::http::shown(&url), reason });
        }
        let blob = self.cache.blob(repo, &meta.name);
        let _lock = self.cache.lock(repo, &meta.name, self.progress)?;
        if !self.is_sound(&blob, &meta) {
            let incomplete = blob.with_file_name(format!("{}.incomplete", meta.name));
            super::cache::create_parent(&incomplete)?;
            // The commit, not the branch: what was just described is what is fetched.
            let url = format!("{endpoint}/{repo}/resolve/{}/{}", meta.commit, percent_encode(file, "/"));
            let job = Job { url: &url, what, size: meta.size, digest: meta.digest.clone(), if_range: None };
            download(self.client, self.settings, &job, &incomplete, self.progress)?;
            publish(&incomplete, &blob)?;
            self.cache.remember(&blob);
        }
        let path = self.cache.link(repo, &meta.commit, file, &meta.name)?;
        self.cache.set_ref(repo, revision, &meta.commit)?;
        Ok(path)
    }

    /// Whether the blob is here already, by another's doing or under another file's name.
    fn is_sound(&self, blob: &Path, meta: &Meta) -> bool {
        let length = std::fs::metadata(blob).map(|metadata| metadata.len());
        length.is_ok_and(|length| length > 0 && meta.size.is_none_or(|size| size == length))
            && self.cache.verify(blob).is_ok()
    }
}

/// The safetensors folder of a repository in the cache and how much of it is there, unless it cannot be loaded.
pub(super) fn cached_folder(cache: &HubCache, repo: &str, revision: &str) -> Option<(PathBuf, Completeness)> {
    let commit = cache.commit(repo, revision)?;
    let folder = cache.snapshot(repo, &commit);
    let state = repo::completeness(&folder, |file| cache.is_absent(repo, &commit, file));
    (state != Completeness::Unusable).then_some((folder, state))
}

/// Checks the weights of a folder and the small files beside them.
pub(super) fn verify_weights(cache: &HubCache, folder: &Path) -> Result<(), Error> {
    let small =
        repo::FOLDER_FILES.iter().chain(&repo::PIECES).map(|&file| file.to_owned()).chain(repo::module_files(folder));
    let small = small.map(|file| folder.join(file)).filter(|path| path.is_file());
    small.chain(repo::weight_files(folder).unwrap_or_default()).try_for_each(|path| cache.verify(&path))
}

/// Reads the headers with which the hub describes a file.
fn read_meta(answer: &Answer) -> Result<Meta, Error> {
    let missing = |header: &str| Error::BadAnswer {
        url: answer.url.clone(),
        reason: format!("it has no sound {header} header, as a Hugging Face hub has"),
    };
    let commit =
        answer.header("x-repo-commit").filter(|commit| is_commit(commit)).ok_or_else(|| missing("x-repo-commit"))?;
    let tag = answer.header("x-linked-etag").or_else(|| answer.header("etag")).ok_or_else(|| missing("etag"))?;
    let tag = tag.trim_start_matches("W/").trim_matches('"');
    let digest = Digest::of_name(tag);
    let plain = (1..=128).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let name = match &digest {
        Digest::Unknown if plain => tag.to_owned(),
        Digest::Unknown => sha256_of_tag(tag),
        known => known.expected().to_owned(),
    };
    // The length of a redirect is that of its own page.
    let own_length = || (answer.status == 200).then(|| answer.number("content-length")).flatten();
    let size = answer.number("x-linked-size").or_else(own_length).filter(|&size| size > 0);
    Ok(Meta { commit: commit.to_ascii_lowercase(), name, digest, size })
}

/// A file name for a tag that cannot be one; not 64 digits, so that nobody takes it for the content's hash.
fn sha256_of_tag(tag: &str) -> String {
    format!("tag-{}", sha256_of(tag))
}
