//! `tokenizer.json`, the format of the Hugging Face `tokenizers` library.

mod models;
mod steps;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::encoding::TruncationSide;
use crate::error::{Error, quote};
use crate::tokenizer::Tokenizer;

/// A value of the document with its path, so that errors can say where they are.
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    pub(crate) fn root(path: &str, value: &'a Value) -> Self {
        Self { value, path: path.to_owned() }
    }

    /// The path of this value.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a member, present or not.
    pub(crate) fn place(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{}", self.path, printable(key)) }
    }

    /// A member that is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self { value, path: self.place(key) })
    }

    /// A member, null if it is not there.
    pub(crate) fn member(&self, key: &str) -> Node<'a> {
        Self { value: self.value.get(key).unwrap_or(&Value::Null), path: self.place(key) }
    }

    pub(crate) fn require(&self, key: &str) -> Result<Node<'a>, Error> {
        self.get(key).ok_or_else(|| Error::unexpected(self.place(key), "a value", "none"))
    }

    pub(crate) fn at(&self, index: usize) -> Result<Node<'a>, Error> {
        let path = format!("{}[{index}]", self.path);
        match self.value.get(index) {
            Some(value) => Ok(Self { value, path }),
            None => Err(Error::unexpected(path, "a value", "none")),
        }
    }

    pub(crate) fn elements(&self) -> Result<impl Iterator<Item = Node<'a>> + use<'a>, Error> {
        let Value::Array(values) = self.value else { return Err(self.unexpected("an array")) };
        let path = self.path.clone();
        Ok(values.iter().enumerate().map(move |(i, value)| Node { value, path: format!("{path}[{i}]") }))
    }

    pub(crate) fn object(&self) -> Result<&'a Map<String, Value>, Error> {
        self.value.as_object().ok_or_else(|| self.unexpected("an object"))
    }

    pub(crate) fn str(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.unexpected("a string"))
    }

    pub(crate) fn bool(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.unexpected("true or false"))
    }

    pub(crate) fn u32(&self) -> Result<u32, Error> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.unexpected("an integer from 0 to 4294967295"))
    }

    /// A flag that is false when it is not there.
    fn flag(&self, key: &str) -> Result<bool, Error> {
        self.get(key).map_or(Ok(false), |flag| flag.bool())
    }

    /// The value as a component of the `tokenizers` crate.
    fn component<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(self.value.clone())
            .map_err(|e| Error::Component { place: self.path.clone(), message: e.to_string().replace('\n', " ") })
    }

    pub(crate) fn unexpected(&self, expected: &str) -> Error {
        let found = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::String(value) => quote(value),
            Value::Array(values) => format!("an array of {}", values.len()),
            Value::Object(values) => format!("an object of {}", values.len()),
        };
        Error::unexpected(self.path.clone(), expected, found)
    }
}

/// A key of a document in an error: it may be anything, and the error is to be one short line.
fn printable(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Parses a whole document.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| Error::unexpected("JSON", "a valid document", e.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(Node::root("JSON", &value).unexpected("an object")) }
}

/// Builds the tokenizer that a document describes. Its `padding` is left aside, and its `truncation` no more than noted.
pub(crate) fn build(document: &Value, model_max_length: Option<usize>) -> Result<Tokenizer, Error> {
    let root = Node::root("", document);
    if let Some(version) = root.get("version")
        && version.str()? != "1.0"
    {
        let (place, found) = (version.path.clone(), quote(version.str()?));
        return Err(Error::Unsupported { place, found, supported: "1.0" });
    }
    let model = root.require("model")?;
    // Early files do not name the kind; it shows in the members.
    let kind = match model.get("type") {
        Some(kind) => kind.str()?,
        None if model.get("merges").is_some() => "BPE",
        None if model.get("continuing_subword_prefix").is_some() => "WordPiece",
        None if model.get("vocab").is_some_and(|vocab| vocab.value.is_array()) => "Unigram",
        None => return Err(model.require("type").err().unwrap_or_else(|| model.unexpected("a type"))),
    };
    let mut tokenizer = match kind {
        "WordPiece" => models::word_piece(&root, &model, model_max_length),
        "BPE" => models::bpe(&root, &model, model_max_length),
        "Unigram" => models::unigram(&root, &model, model_max_length),
        other => Err(Error::Unsupported {
            place: model.place("type"),
            found: quote(other),
            supported: Tokenizer::SUPPORTED_JSON,
        }),
    }?;
    let truncation = |key: &str| document.get("truncation")?.get(key);
    let side = match truncation("direction").and_then(Value::as_str) {
        Some("Left") => TruncationSide::Left,
        _ => TruncationSide::Right,
    };
    let length = truncation("max_length").and_then(Value::as_u64);
    tokenizer.parts.truncation = length.map(|length| (usize::try_from(length).unwrap_or(usize::MAX), side));
    Ok(tokenizer)
}
