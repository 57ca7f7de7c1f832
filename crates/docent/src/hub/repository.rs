//! Repositories that a user names: which of their files is the model.

use std::fs;
use std::path::{Path, PathBuf};

use super::remote::{self, Remote};
use super::repo::{self, Completeness};
use super::{Error, Hub, MAIN, Progress, Quant, local, qmd};

impl Hub {
    pub(super) fn fetch_repo(
        &self,
        repo: &str,
        revision: &str,
        quant: Option<Quant>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        if let Some(path) = self.cached_repo(repo, revision, quant) {
            return Ok(path);
        }
        let settled = if self.settings.offline {
            None // no listing; the folder below says what is missing, or is converted from the cache
        } else {
            self.with_remote(progress, false, |remote| {
                let listing = remote.listing(repo, revision)?;
                let files = listing.files();
                let has_models = files.iter().any(|file| repo::is_gguf_model(file));
                if !has_models || quant == Some(Quant::Original) {
                    return Ok(None);
                }
                match repo::choose_gguf(files.iter().copied(), quant) {
                    Ok(parts) => fetch_parts(remote, repo, revision, &parts).map(Some),
                    // Weights beside the GGUF files: convert those.
                    Err(_) if repo::folder_files(&files).is_some() && quant.is_some_and(Quant::is_convertible) => {
                        Ok(None)
                    }
                    Err(available) => Err(Error::NoSuchQuant {
                        model: repo.to_owned(),
                        quant: quant.unwrap_or(Quant::DEFAULT),
                        available,
                    }),
                }
            })?
        };
        if let Some(path) = settled {
            return Ok(path);
        }
        let folder = self.with_remote(progress, false, |remote| remote.folder(repo, revision))?;
        match quant {
            None | Some(Quant::Original) => Ok(folder),
            Some(quant) if quant.is_convertible() => {
                let name = self.conversion_name(repo, revision)?;
                self.convert_unless_original(&name, quant, &folder, false, progress)
            }
            Some(quant) => {
                let available = Quant::all()
                    .filter(|q| q.is_convertible() || *q == Quant::Original)
                    .map(|q| q.name().to_owned())
                    .collect();
                Err(Error::NoSuchQuant { model: repo.to_owned(), quant, available })
            }
        }
    }

    /// A folder name for a model converted from a repository: two revisions are two models.
    pub(super) fn conversion_name(&self, repo: &str, revision: &str) -> Result<String, Error> {
        let commit = self.hub()?.commit(repo, revision);
        let commit = commit.as_deref().and_then(|commit| commit.get(..12)).unwrap_or("unknown");
        Ok(format!("{}@{commit}", repo.replace('/', "--")))
    }

    pub(super) fn cached_repo(&self, repo: &str, revision: &str, quant: Option<Quant>) -> Option<PathBuf> {
        let cache = self.hub().ok()?;
        if quant != Some(Quant::Original) {
            let folder = cache.commit(repo, revision).map(|commit| cache.snapshot(repo, &commit))?;
            let files = files_below(&folder);
            if let Ok(parts) = repo::choose_gguf(files.iter().map(String::as_str), quant)
                && let Some(path) = self.cached_parts(repo, revision, &parts)
            {
                return Some(path);
            }
        }
        match quant {
            None | Some(Quant::Original) => self.cached_whole_folder(repo, revision),
            Some(quant) => {
                let name = self.conversion_name(repo, revision).ok()?;
                Some(local::converted(self.local().ok()?, &name, quant)).filter(|path| path.is_file())
            }
        }
    }

    pub(super) fn cached_parts(&self, repo: &str, revision: &str, parts: &[String]) -> Option<PathBuf> {
        self.cached_in_hub(repo, revision, parts).or_else(|| match parts {
            [file] if revision == MAIN => qmd::find(self.settings.qmd_models.as_deref()?, repo, file),
            _ => None,
        })
    }

    fn cached_in_hub(&self, repo: &str, revision: &str, parts: &[String]) -> Option<PathBuf> {
        let cache = self.hub().ok()?;
        let paths: Option<Vec<PathBuf>> = parts.iter().map(|part| cache.file(repo, revision, part)).collect();
        let paths = paths?;
        let sound = paths.iter().all(|path| cache.verify(path).is_ok());
        sound.then(|| paths.into_iter().next()).flatten()
    }

    pub(super) fn cached_whole_folder(&self, repo: &str, revision: &str) -> Option<PathBuf> {
        let cache = self.hub().ok()?;
        let (folder, state) = remote::cached_folder(&cache, repo, revision)?;
        (state == Completeness::Complete && remote::verify_weights(&cache, &folder).is_ok()).then_some(folder)
    }
}

/// Fetches all parts of a model and gives the path of the first.
pub(super) fn fetch_parts(remote: &Remote<'_>, repo: &str, revision: &str, parts: &[String]) -> Result<PathBuf, Error> {
    let paths: Result<Vec<PathBuf>, Error> = parts.iter().map(|part| remote.file(repo, revision, part)).collect();
    paths?.into_iter().next().ok_or_else(|| Error::NoModelFile { repo: repo.to_owned() })
}

/// The files of a snapshot, with `/` between folders, three folders deep.
fn files_below(folder: &Path) -> Vec<String> {
    pub(super) fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let path = entry.path();
            if path.is_file() {
                files.push(name);
            } else if depth > 0 && path.is_dir() {
                walk(&path, &format!("{name}/"), depth - 1, files);
            }
        }
    }
    let mut files = Vec::new();
    walk(folder, "", 3, &mut files);
    files
}
