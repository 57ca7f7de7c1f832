//! Reading the JSON files of a model directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::Error;
use crate::settings::HfConfig;

/// No JSON file of a model is as large: tokenizers with a quarter of a million entries take 20 MiB.
const MAX_BYTES: u64 = 512 << 20;

/// A JSON object and where it came from.
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) value: Json,
}

impl Document {
    /// Reads `dir/name`, which must hold a JSON object; `None` when there is no such file.
    pub(super) fn read(dir: &Path, name: &str) -> Result<Option<Self>, Error> {
        let document = Self::read_any(dir, name)?;
        if let Some(d) = &document
            && !d.value.is_object()
        {
            return Err(d.error("a JSON object", kind(&d.value).to_owned()));
        }
        Ok(document)
    }

    /// Reads `dir/name`, which must be there and hold a JSON object.
    pub(super) fn require(dir: &Path, name: &'static str) -> Result<Self, Error> {
        let hint = "give the folder that holds the model";
        Self::read(dir, name)?.ok_or_else(|| Error::MissingFile { dir: dir.to_owned(), expected: name, hint })
    }

    /// A config.json that was read already.
    pub(super) fn of_config(config: &HfConfig<'_>) -> Self {
        Self { path: config.path.to_owned(), value: Json::Object(config.fields.clone()) }
    }

    /// The fields of a config.json.
    pub(super) fn config(&self) -> Result<HfConfig<'_>, Error> {
        match &self.value {
            Json::Object(fields) => Ok(HfConfig { path: &self.path, fields }),
            value => Err(self.error("a JSON object", kind(value).to_owned())),
        }
    }

    /// Reads `dir/name`, which may hold any JSON value.
    pub(super) fn read_any(dir: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = dir.join(name);
        let length = match fs::metadata(&path) {
            Ok(m) => m.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        if length > MAX_BYTES {
            return Err(Error::TooLarge { path, limit: MAX_BYTES, found: length });
        }
        let bytes = fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(Self { path, value })),
            Err(e) => Err(Error::Json { path, expected: "JSON", detail: e.to_string() }),
        }
    }

    pub(super) fn error(&self, expected: &'static str, detail: String) -> Error {
        Error::Json { path: self.path.clone(), expected, detail }
    }

    /// The value of a key; null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    pub(super) fn unusable(&self, key: &str, expected: &str, found: &Json) -> Error {
        let (path, key, expected) = (self.path.clone(), key.to_owned(), expected.to_owned());
        Error::Config { path, key, expected, found: short(found) }
    }
}

/// A value in an error message.
fn short(value: &Json) -> String {
    let mut text = if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    if text.chars().count() > 80 {
        text = text.chars().take(77).chain("...".chars()).collect();
    }
    text
}

pub(super) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}
