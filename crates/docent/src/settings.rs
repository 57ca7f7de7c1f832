//! What an embedder works with, and who says so.

use std::path::{Path, PathBuf};

use docent_models::{Description, Format};

use crate::catalog::Entry;
use crate::{Pooling, Prompt};

/// What an embedder works with: the model's own description, completed from the catalogue where its files are silent.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// The file or directory that the model was opened from.
    pub path: PathBuf,
    /// What the model's files say.
    pub description: Description,
    /// The model's entry in the catalogue: if it was opened by a name in it, is from a repository in it, or is a GGUF file
    /// whose own name is in it.
    pub entry: Option<&'static Entry>,
    /// How hidden states become one vector.
    pub pooling: Pooling,
    /// Who says so.
    pub pooling_from: SettingFrom,
    /// Tokens a text is cut to unless the caller says otherwise.
    pub max_length: usize,
    /// The prompt for search queries, if the model has one.
    pub query_prompt: Option<String>,
    /// The prompt for documents, if the model has one.
    pub document_prompt: Option<String>,
    /// The prompt used when the caller asks for none in particular, if the model has one.
    pub default_prompt: Option<String>,
}

/// A prompt that is more than a name: the adapter of a task may come without one.
fn said(prompt: Option<&str>) -> Option<&str> {
    prompt.filter(|prompt| !prompt.is_empty())
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFrom {
    /// The model's files.
    File,
    /// The catalogue.
    Catalog,
    /// Neither says anything: the most common choice is taken, and a warning is logged.
    Assumed,
}

impl ModelSettings {
    pub(crate) fn new(path: &Path, description: &Description, entry: Option<&'static Entry>) -> Self {
        let name = entry.and_then(|entry| entry.pooling.as_deref());
        let from_entry = Pooling::ALL.into_iter().find(|pooling| Some(pooling.name()) == name);
        let (pooling, pooling_from) = match (description.pooling, from_entry) {
            (Some(pooling), _) => (pooling, SettingFrom::File),
            (None, Some(pooling)) => (pooling, SettingFrom::Catalog),
            (None, None) => {
                // Where a token sees only those before it, the last alone has seen the whole text.
                let pooling = if description.causal { Pooling::Last } else { Pooling::Mean };
                tracing::warn!("{}: the files do not say how to pool, {} is taken", path.display(), pooling.name());
                (pooling, SettingFrom::Assumed)
            }
        };
        // A GGUF file knows the positions alone; the catalogue knows what the model was trained for.
        let max_length = match entry {
            Some(entry) if description.format == Format::Gguf => entry.max_length.min(description.max_length),
            _ => description.max_length,
        };
        let prompts = &description.prompts;
        let query = entry.and_then(|entry| entry.query_prompt.as_deref());
        let document = entry.and_then(|entry| entry.document_prompt.as_deref());
        ModelSettings {
            path: path.to_owned(),
            entry,
            pooling,
            pooling_from,
            max_length,
            query_prompt: said(prompts.query()).or(query).map(str::to_owned),
            document_prompt: said(prompts.document()).or(document).map(str::to_owned),
            default_prompt: prompts.default_prompt().map(str::to_owned),
            description: description.clone(),
        }
    }

    /// Components of a vector with this pooling: the vectors of single tokens are not projected.
    pub fn dim(&self, pooling: Pooling) -> usize {
        match pooling {
            Pooling::None => self.description.hidden_size,
            _ => self.description.embedding_size,
        }
    }

    /// The text that a [`Prompt`] means for this model.
    pub fn prompt<'a>(&'a self, prompt: &'a Prompt) -> Option<&'a str> {
        match prompt {
            Prompt::Default => self.default_prompt.as_deref(),
            Prompt::None => None,
            Prompt::Query => self.query_prompt.as_deref(),
            Prompt::Document => self.document_prompt.as_deref(),
            Prompt::Named(name) => self.description.prompts.named.get(name).map(String::as_str),
            Prompt::Text(text) => Some(text),
        }
    }

    /// The place among the model's [tasks](Description::tasks) of the one that a [`Prompt`] means, if there is one.
    pub fn task(&self, prompt: &Prompt) -> Option<usize> {
        let prompts = &self.description.prompts;
        let name = match prompt {
            Prompt::Default => prompts.default_name.as_deref(),
            Prompt::Query => prompts.query_name(),
            Prompt::Document => prompts.document_name(),
            Prompt::Named(name) => Some(name.as_str()),
            Prompt::None | Prompt::Text(_) => None,
        }?;
        self.description.tasks.iter().position(|task| task == name)
    }
}
