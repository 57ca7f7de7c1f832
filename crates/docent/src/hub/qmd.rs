//! Models that qmd has fetched, another local document search: files that need not be fetched once more.
//!
//! qmd keeps them in one folder, under names made of the user, the repository and the file: `hf_USER_REPO_FILE`, or `hf_USER_FILE` where the
//! file's name begins with the repository's.

use std::path::{Path, PathBuf};

use docent_gguf::Gguf;

use super::names::{check_relative, check_repo};
use crate::catalog::{self, Source};

/// A model in qmd's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QmdModel {
    /// The file.
    pub path: PathBuf,
    /// Its name in the catalogue; other files are opened by their path.
    pub name: Option<String>,
}

/// The file of a repository, if qmd has it whole.
pub(super) fn find(folder: &Path, repo: &str, file: &str) -> Option<PathBuf> {
    let path = folder.join(file_name(repo, file)?);
    // A download that broke off, or the page of a proxy, is no model.
    Gguf::open(&path).is_ok().then_some(path)
}

/// What qmd calls a file of a repository.
fn file_name(repo: &str, file: &str) -> Option<String> {
    if check_repo(repo).is_err() || check_relative(file).is_err() {
        return None;
    }
    let (user, repo) = repo.split_once('/')?;
    let file = file.rsplit('/').next()?;
    let lower = repo.to_ascii_lowercase();
    let short = lower.strip_suffix("-gguf").unwrap_or(&lower);
    Some(if file.to_ascii_lowercase().starts_with(short) {
        format!("hf_{user}_{file}")
    } else {
        format!("hf_{user}_{repo}_{file}")
    })
}

/// The models in qmd's folder, by the names of their files.
pub(super) fn installed(folder: &Path) -> Vec<QmdModel> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_model = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "gguf") && Gguf::open(path).is_ok();
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_model).collect();
    paths.sort();
    paths.into_iter().map(|path| QmdModel { name: name(&path), path }).collect()
}

/// The name in the catalogue of a file of qmd's.
fn name(path: &Path) -> Option<String> {
    let known = path.file_name()?.to_str()?;
    let entry = catalog::entries().iter().find(|entry| {
        entry.sources.iter().any(|source| match source {
            Source::Hf { repo, files, .. } => {
                files.values().any(|file| file_name(repo, file).as_deref() == Some(known))
            }
            Source::PyPi { .. } => false,
        })
    })?;
    Some(entry.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_as_qmd_calls_them() {
        for (repo, file, name) in [
            (
                "ggml-org/embeddinggemma-300M-GGUF",
                "embeddinggemma-300M-Q8_0.gguf",
                "hf_ggml-org_embeddinggemma-300M-Q8_0.gguf",
            ),
            (
                "ggml-org/Qwen3-Reranker-0.6B-Q8_0-GGUF",
                "qwen3-reranker-0.6b-q8_0.gguf",
                "hf_ggml-org_qwen3-reranker-0.6b-q8_0.gguf",
            ),
            (
                "tobil/qmd-query-expansion-1.7B-gguf",
                "qmd-query-expansion-1.7B-q4_k_m.gguf",
                "hf_tobil_qmd-query-expansion-1.7B-q4_k_m.gguf",
            ),
            ("user/Repo-GGUF", "sub/other.gguf", "hf_user_Repo-GGUF_other.gguf"),
        ] {
            assert_eq!(file_name(repo, file).as_deref(), Some(name));
        }
        assert_eq!(file_name("user", "x.gguf"), None);
        assert_eq!(file_name("user/repo", "../x.gguf"), None);
    }
}
