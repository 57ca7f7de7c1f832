//! What the tools are told, as clients read it and as it is read. That the two agree is tested.

use std::sync::Arc;

use rmcp::model::JsonObject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tools::Tool;
use crate::dialects::Count;
use crate::search::question::{MOST_RESULTS, MOST_SEARCHES, USUAL_RESULTS};
use docent_search::{MAX_BYTES, SearchOptions};

/// The input of `get`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct GetInput {
    pub(super) file: String,
    pub(super) from_line: Option<Count>,
    pub(super) max_lines: Option<Count>,
    pub(super) line_numbers: Option<bool>,
}

/// The input of `multi_get`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct MultiGetInput {
    pub(super) pattern: String,
    pub(super) max_lines: Option<Count>,
    pub(super) max_bytes: Option<Count>,
    pub(super) line_numbers: Option<bool>,
}

/// The input of `status`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct StatusInput {}

/// The JSON Schema of a tool's input.
pub(super) fn schema(tool: Tool) -> Arc<JsonObject> {
    let (properties, required) = match tool {
        Tool::Query => (query(), json!([])),
        Tool::Get => (get(), json!(["file"])),
        Tool::MultiGet => (multi_get(), json!(["pattern"])),
        Tool::Status => (json!({}), json!([])),
    };
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), Value::from("object"));
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), required);
    schema.insert("additionalProperties".to_owned(), Value::from(false));
    Arc::new(schema)
}

fn query() -> Value {
    let candidates = SearchOptions::default().candidates;
    json!({
        "query": {
            "type": "string",
            "description": "The question, in plain words. Or a document of lines that begin with lex:, vec:, hyde: or intent:. Give either this \
                            or searches.",
        },
        "searches": {
            "type": "array",
            "description": "How to look for the question, line by line; the first counts twice. Often best: a lex with the words that must \
                            occur, and a vec with the question.",
            "minItems": 1,
            "maxItems": MOST_SEARCHES,
            "items": {
                "type": "object",
                "properties": {
                    "type": {
                        "type": "string",
                        "enum": ["lex", "vec", "hyde"],
                        "description": "lex: by keyword; \"a phrase\", -word leaves documents out. vec: by meaning, a question. hyde: by meaning, \
                                        the passage that would answer it.",
                    },
                    "query": { "type": "string", "description": "What to look for" },
                },
                "required": ["type", "query"],
                "additionalProperties": false,
            },
        },
        "limit": whole(format!("Results at most [default: {USUAL_RESULTS}]"), Some(MOST_RESULTS)),
        "minScore": { "type": "number", "minimum": 0, "maximum": 1, "description": "The least score of a result, 0 to 1 [default: 0]" },
        "candidateLimit": whole(format!("Results that a reranker reads; fewer are faster [default: {candidates}]"), Some(MOST_RESULTS)),
        "collections": {
            "type": "array",
            "items": { "type": "string" },
            "description": "Look in these collections only",
        },
        "intent": { "type": "string", "description": "What the question is about, if it does not say so itself" },
        "rerank": { "type": "boolean", "description": "Whether a reranker may order the results, if there is one [default: true]" },
    })
}

fn get() -> Value {
    json!({
        "file": {
            "type": "string",
            "description": "The document: its path as query gives it, its docid (#762e73), or the end of its path. :40 after it begins at line 40, \
                            :40:20 gives 20 lines from there.",
        },
        "fromLine": whole("The first line, from 1".to_owned(), None),
        "maxLines": whole("Lines at most".to_owned(), None),
        "lineNumbers": numbered(),
    })
}

fn multi_get() -> Value {
    json!({
        "pattern": {
            "type": "string",
            "description": "A glob (journal/2026-*.md), or names with commas between them",
        },
        "maxLines": whole("Lines of each document at most".to_owned(), None),
        "maxBytes": whole(format!("Bytes of a document that is given; larger ones are named [default: {MAX_BYTES}]"), None),
        "lineNumbers": numbered(),
    })
}

fn whole(description: String, most: Option<usize>) -> Value {
    let mut number = json!({ "type": "integer", "minimum": 1, "description": description });
    if let (Some(most), Some(fields)) = (most, number.as_object_mut()) {
        fields.insert("maximum".to_owned(), Value::from(most));
    }
    number
}

fn numbered() -> Value {
    json!({ "type": "boolean", "description": "Whether each line has its number before it [default: true]" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::question::Question;

    /// A value that a schema allows.
    fn example(schema: &Value) -> Value {
        match schema["type"].as_str().unwrap() {
            "string" => schema["enum"].get(0).cloned().unwrap_or_else(|| json!("a")),
            "integer" | "number" => schema["minimum"].clone(),
            "boolean" => json!(true),
            "array" => json!([example(&schema["items"])]),
            "object" => {
                let properties = schema["properties"].as_object().unwrap();
                properties.iter().map(|(name, schema)| (name.clone(), example(schema))).collect()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_a_schema_names_is_read() {
        let read = |tool: Tool, input: Value| match tool {
            Tool::Query => serde_json::from_value::<Question>(input).map(drop),
            Tool::Get => serde_json::from_value::<GetInput>(input).map(drop),
            Tool::MultiGet => serde_json::from_value::<MultiGetInput>(input).map(drop),
            Tool::Status => serde_json::from_value::<StatusInput>(input).map(drop),
        };
        for tool in Tool::ALL {
            let schema = Value::Object((*schema(tool)).clone());
            let mut input = example(&schema);
            read(tool, input.clone()).unwrap();
            for required in schema["required"].as_array().unwrap() {
                let mut without = input.clone();
                without.as_object_mut().unwrap().remove(required.as_str().unwrap());
                assert!(read(tool, without).is_err(), "{tool:?} without {required}");
            }
            input["other"] = json!(1);
            assert!(read(tool, input).is_err(), "{tool:?}");
        }
    }
}
