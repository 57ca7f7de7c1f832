//! qmd's configuration.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Imported, QmdModels, WithContexts, collection};
use crate::Error;

/// A file larger than this is no configuration.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
struct Config {
    global_context: Option<String>,
    collections: Option<BTreeMap<String, Entry>>,
    models: Option<Models>,
}

#[derive(Deserialize)]
struct Entry {
    path: PathBuf,
    pattern: Option<String>,
    ignore: Option<Vec<String>>,
    context: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "includeByDefault")]
    included: Option<bool>,
}

#[derive(Deserialize)]
struct Models {
    embed: Option<String>,
    rerank: Option<String>,
    generate: Option<String>,
}

pub(super) fn read(path: &Path) -> Result<Imported, Error> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(Error::io("read", path))?;
    let wrong = |reason: String| Error::QmdConfig { path: path.to_owned(), reason };
    if text.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    // An empty file, or one of comments, is no mapping.
    let config: Option<Config> =
        serde_saphyr::from_str(&text).map_err(|error| wrong(error.without_snippet().to_string()))?;
    let Some(config) = config else { return Ok(Imported::default()) };
    let entries = |all: BTreeMap<String, Entry>| all.into_iter().map(|(name, entry)| entry.of(name, path)).collect();
    let models = config.models.map(|Models { embed, rerank, generate }| QmdModels { embed, rerank, generate });
    Ok(Imported {
        collections: config.collections.map(entries),
        global_context: config.global_context,
        models: models.unwrap_or_default(),
    })
}

impl Entry {
    fn of(self, name: String, config: &Path) -> WithContexts {
        let mut collection = collection(name, absolute(self.path, config), self.pattern, self.included);
        collection.ignore = self.ignore.unwrap_or_default();
        let contexts = self.context.unwrap_or_default().into_iter();
        let contexts = contexts.filter_map(|(prefix, text)| Some((prefix.trim_matches('/').to_owned(), text?)));
        (collection, contexts.collect())
    }
}

/// A path as the configuration means it: below the home folder, or below the folder of the configuration (of the project, if that is `.qmd`).
fn absolute(path: PathBuf, config: &Path) -> PathBuf {
    if let Ok(below) = path.strip_prefix("~") {
        return std::env::home_dir().map_or(path.clone(), |home| home.join(below));
    }
    let folder = config.parent().unwrap_or(Path::new(""));
    let project = folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == ".qmd"));
    project.unwrap_or(folder).join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Imported, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.yml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn paths_are_those_that_are_meant() {
        let config = Path::new("/p/.qmd/index.yml");
        assert_eq!(absolute("docs".into(), config), Path::new("/p/docs"));
        assert_eq!(absolute("/docs".into(), config), Path::new("/docs"));
        assert_eq!(absolute("docs".into(), Path::new("/c/index.yml")), Path::new("/c/docs"));
        assert!(absolute("~/docs".into(), config).ends_with("docs") && absolute("~/docs".into(), config).is_absolute());
    }

    #[test]
    fn what_is_no_configuration_is_told_in_a_line() {
        for empty in ["", "# nothing\n", "collections:\n", "collections: {}\n"] {
            assert!(of(empty).unwrap().collections.unwrap_or_default().is_empty(), "{empty:?}");
        }
        for wrong in ["collections: 7\n", "collections:\n  a: {}\n", "a: [", &"[".repeat(100_000), &"x".repeat(2 << 20)]
        {
            let error = of(wrong).err().unwrap().to_string();
            assert!(error.contains("index.yml") && error.lines().count() == 1, "{error}");
        }
    }
}
