//! Where a Hugging Face directory has what: a transformers checkpoint, or a sentence-transformers repository whose first module may lie in
//! a folder of its own.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::Error;
use crate::arch::{llama, static_embedding};
use crate::sentence_transformers::SentenceTransformers;
use crate::settings::HfConfig;
use crate::source::Directory;

/// A directory's settings, and where its tokenizer and weights are.
pub(crate) struct Repository {
    /// The folder of configuration, tokenizer and weights: the directory itself, or one in it.
    pub(crate) folder: PathBuf,
    pub(crate) modules: SentenceTransformers,
    config: Config,
}

/// The fields of a config.json.
pub(crate) struct Config {
    /// Where they were read, for messages.
    pub(crate) path: PathBuf,
    pub(crate) fields: Map<String, Value>,
}

impl Repository {
    /// Reads `modules.json`, what it names, and the configuration of the model.
    ///
    /// # Errors
    /// If there is no configuration, or a file is malformed.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let directory = Directory::new(path);
        let mut modules = SentenceTransformers::read(directory)?;
        let folder = if modules.folder.is_empty() { path.to_owned() } else { path.join(&modules.folder) };
        let inner = Directory::new(&folder);
        let found: Option<Map<String, Value>> = inner.json("config.json")?;
        let config = match static_embedding::configure(directory, inner, &mut modules, found.as_ref())? {
            Some(config) => config,
            None => Config {
                path: inner.file("config.json"),
                fields: found.ok_or_else(|| Error::NotAModel {
                    path: path.to_owned(),
                    found: "a directory without config.json".to_owned(),
                })?,
            },
        };
        let fields = HfConfig { path: &config.path, fields: &config.fields };
        if modules.pooling.is_none() {
            modules.pooling = llama::pooling(&fields)?;
        }
        Ok(Repository { folder, modules, config })
    }

    /// The fields of config.json; of a table of token vectors what stands for them.
    pub(crate) fn config(&self) -> HfConfig<'_> {
        HfConfig { path: &self.config.path, fields: &self.config.fields }
    }
}
