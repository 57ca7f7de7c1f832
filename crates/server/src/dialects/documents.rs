//! Documents to rerank, in every form in which requests give them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::failure::Failure;

/// A text, or an object with texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Document {
    /// The text.
    Text(String),
    /// An object, as it was given.
    Object(Map<String, Value>),
}

impl Document {
    /// What the model reads: of an object the fields that are to be ranked, a line each, or else its `text`.
    ///
    /// # Errors
    /// If a field is missing, or is neither text nor number.
    pub(super) fn text(&self, index: usize, rank_fields: Option<&[String]>) -> Result<String, Failure> {
        let object = match self {
            Document::Text(text) => return Ok(text.clone()),
            Document::Object(object) => object,
        };
        let field = |name: &str| match object.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(_) => {
                let message = format!("`documents[{index}].{name}` is neither a text nor a number");
                Err(Failure::invalid("documents", message))
            }
            None if rank_fields.is_some() => {
                let message = format!("`documents[{index}]` has no field `{name}`, which `rank_fields` names");
                Err(Failure::invalid("documents", message))
            }
            None => {
                let message = format!("`documents[{index}]` has no field `{name}`; give a text, or name `rank_fields`");
                Err(Failure::invalid("documents", message))
            }
        };
        match rank_fields {
            Some(names) => Ok(names.iter().map(|name| field(name)).collect::<Result<Vec<_>, _>>()?.join("\n")),
            None => field("text"),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or an object with a text in `text`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Document, E> {
        Ok(Document::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = map.next_entry()? {
            object.insert(name, value);
        }
        Ok(Document::Object(object))
    }
}

/// As Cohere and Jina return it: always an object.
impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Document::Text(text) => serializer.collect_map([("text", text)]),
            Document::Object(object) => object.serialize(serializer),
        }
    }
}

impl PartialSchema for Document {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let object = ObjectBuilder::new().schema_type(Type::Object).property("text", text());
        OneOfBuilder::new()
            .description(Some("A text, or an object with a text in `text` or in the fields of `rank_fields`."))
            .item(text())
            .item(object)
            .into()
    }
}

impl ToSchema for Document {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_document() {
        let document = |json: &str| serde_json::from_str::<Document>(json).unwrap();
        assert_eq!(document(r#""a""#).text(0, None), Ok("a".to_owned()));
        assert_eq!(document(r#"{"text": "a", "id": 7}"#).text(0, None), Ok("a".to_owned()));
        let fields = ["title".to_owned(), "year".to_owned()];
        let book = document(r#"{"title": "Walden", "year": 1854, "tags": []}"#);
        assert_eq!(book.text(0, Some(&fields)), Ok("Walden\n1854".to_owned()));
        let error = book.text(3, None).unwrap_err();
        assert_eq!(error.message, "`documents[3]` has no field `text`; give a text, or name `rank_fields`");
        let error = book.text(3, Some(&["tags".to_owned()])).unwrap_err();
        assert_eq!(error.message, "`documents[3].tags` is neither a text nor a number");
    }

    #[test]
    fn a_document_is_returned_as_an_object() {
        let document = serde_json::from_str::<Document>(r#""a""#).unwrap();
        assert_eq!(serde_json::to_string(&document).unwrap(), r#"{"text":"a"}"#);
    }
}
