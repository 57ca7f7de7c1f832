//! The special tokens around a text.

use serde_json::Value;

use crate::error::Error;
use crate::json::Node;
use crate::vocabulary::Vocabulary;

/// Ids that go before and after every text.
///
/// The post-processors of `tokenizer.json` come down to this for a single text. They are read here rather than by the
/// `tokenizers` crate because its own reading is unchecked: a template that names an unlisted token makes it panic on use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
}

/// Post-processors inside of one another: more than any file has.
const MAX_DEPTH: usize = 8;

impl Template {
    /// How many tokens there are around a text.
    pub(crate) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Checks that all ids are those of tokens.
    pub(crate) fn check(&self, vocabulary: &Vocabulary) -> Result<(), Error> {
        self.before
            .iter()
            .chain(&self.after)
            .try_for_each(|id| vocabulary.expect_id(*id, "special tokens around a text"))
    }

    /// Reads `post_processor` of a `tokenizer.json`.
    pub(crate) fn from_json(node: &Node<'_>) -> Result<Self, Error> {
        Self::read(node, MAX_DEPTH)
    }

    fn read(node: &Node<'_>, depth: usize) -> Result<Self, Error> {
        if node.value.is_null() {
            return Ok(Self::default());
        }
        match node.require("type")?.str()? {
            "TemplateProcessing" => Self::read_template(node),
            // Both put [CLS] before and [SEP] after a single text.
            "BertProcessing" | "RobertaProcessing" => {
                let id = |key| node.require(key)?.at(1)?.u32();
                Ok(Self { before: vec![id("cls")?], after: vec![id("sep")?] })
            }
            "Sequence" if depth > 0 => {
                let mut whole = Self::default();
                for part in node.require("processors")?.elements()? {
                    let part = Self::read(&part, depth - 1)?;
                    whole.before.splice(0..0, part.before);
                    whole.after.extend(part.after);
                }
                Ok(whole)
            }
            other => Err(Error::Unsupported {
                place: node.place("type"),
                found: crate::error::quote(other),
                supported: "TemplateProcessing, BertProcessing, RobertaProcessing, Sequence",
            }),
        }
    }

    fn read_template(node: &Node<'_>) -> Result<Self, Error> {
        let special_tokens = node.require("special_tokens")?;
        let mut template = Self::default();
        let mut seen = false;
        let single = node.require("single")?;
        for piece in single.elements()? {
            if let Some(special) = piece.get("SpecialToken") {
                let name = special.require("id")?;
                let ids = special_tokens.require(name.str()?)?.require("ids")?;
                let ids = ids.elements()?.map(|id| id.u32()).collect::<Result<Vec<_>, _>>()?;
                let side = if seen { &mut template.after } else { &mut template.before };
                side.extend(ids);
            } else if piece.get("Sequence").and_then(|s| s.value.get("id")).and_then(Value::as_str) == Some("A")
                && !seen
            {
                seen = true;
            } else {
                return Err(piece.unexpected("a SpecialToken or, once, the Sequence A"));
            }
        }
        if seen { Ok(template) } else { Err(single.unexpected("the Sequence A among the pieces")) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Template, String> {
        Template::from_json(&Node::root("post_processor", value)).map_err(|e| e.to_string())
    }

    fn template(single: Value) -> Value {
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                               "two": {"id": "two", "ids": [2, 3], "tokens": ["a", "b"]}}})
    }

    fn token(id: &str) -> Value {
        json!({"SpecialToken": {"id": id, "type_id": 0}})
    }

    #[test]
    fn every_form_comes_down_to_before_and_after() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4]});
        let both = template(json!([token("[CLS]"), text, token("two")]));
        let ids = |before: &[u32], after: &[u32]| Ok(Template { before: before.into(), after: after.into() });
        assert_eq!(read(&Value::Null), ids(&[], &[]));
        assert_eq!(read(&bert), ids(&[4], &[5]));
        assert_eq!(read(&both), ids(&[1], &[2, 3]));
        assert_eq!(read(&template(json!([text]))), ids(&[], &[]));
        assert_eq!(read(&json!({"type": "Sequence", "processors": [bert, both]})), ids(&[1, 4], &[5, 2, 3]));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let mut nested = Value::Null;
        for _ in 0..20 {
            nested = json!({"type": "Sequence", "processors": [nested]});
        }
        for (value, message) in [
            (
                template(json!([token("[SEP]"), text])),
                "post_processor.special_tokens.[SEP]: expected a value, found none",
            ),
            (template(json!([token("[CLS]")])), "post_processor.single: expected the Sequence A among the pieces"),
            (
                template(json!([text, text])),
                "post_processor.single[1]: expected a SpecialToken or, once, the Sequence A",
            ),
            (
                template(json!([{"Sequence": {"id": "B"}}])),
                "post_processor.single[0]: expected a SpecialToken or, once",
            ),
            (
                json!({"type": "BertProcessing", "sep": ["[SEP]"], "cls": ["[CLS]", 4]}),
                "post_processor.sep[1]: expected",
            ),
            (json!({"type": "BertProcessing", "sep": ["", -5], "cls": ["", 4]}), "post_processor.sep[1]: expected"),
            (json!({"type": "ByteLevel"}), "post_processor.type: \"ByteLevel\" is not supported"),
            (nested, "\"Sequence\" is not supported"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
