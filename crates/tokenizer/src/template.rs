//! The special tokens around a text, and around and between the two texts of a pair.

use serde_json::Value;

use crate::error::Error;
use crate::json::Node;
use crate::vocabulary::Vocabulary;

/// Ids that go before and after every text, and the form of a pair.
///
/// The post-processors of `tokenizer.json` come down to this. They are read here rather than by the `tokenizers` crate because its
/// own reading is unchecked: a template that names an unlisted token makes it panic on use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
    /// The pieces of a pair in order; `None` where nothing says so.
    pub(crate) pair: Option<Vec<Piece>>,
}

/// A piece of a pair, with its token type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Special(u32, u32),
    Query(u32),
    Document(u32),
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
        let in_pair = self.pair.iter().flatten().filter_map(|piece| match piece {
            Piece::Special(id, _) => Some(id),
            _ => None,
        });
        self.before
            .iter()
            .chain(&self.after)
            .chain(in_pair)
            .try_for_each(|id| vocabulary.expect_id(*id, "special tokens around a text"))
    }

    /// `before` and `after` around each text of a pair, and `between` between the two, all of token type 0: RoBERTa's form with
    /// its end of text between.
    pub(crate) fn with_separator(before: Vec<u32>, after: Vec<u32>, between: Option<u32>) -> Self {
        let special = |id: &u32| Piece::Special(*id, 0);
        let pair = before
            .iter()
            .map(special)
            .chain([Piece::Query(0)])
            .chain(after.iter().chain(&between).map(special))
            .chain([Piece::Document(0)])
            .chain(after.iter().map(special))
            .collect();
        Self { pair: Some(pair), before, after }
    }

    /// The form of a pair. Where nothing says otherwise it is BERT's, `[CLS] query [SEP] document [SEP]`, with whatever goes
    /// around a text in the place of these; `second_type` is the token type of the document and what follows.
    pub(crate) fn pair(&self, second_type: u32) -> Vec<Piece> {
        if let Some(pair) = &self.pair {
            return pair.clone();
        }
        let special = |of_type: u32| move |id: &u32| Piece::Special(*id, of_type);
        self.before
            .iter()
            .map(special(0))
            .chain([Piece::Query(0)])
            .chain(self.after.iter().map(special(0)))
            .chain([Piece::Document(second_type)])
            .chain(self.after.iter().map(special(second_type)))
            .collect()
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
            kind @ ("BertProcessing" | "RobertaProcessing") => {
                let id = |key| node.require(key)?.at(1)?.u32();
                let (before, after) = (vec![id("cls")?], vec![id("sep")?]);
                if kind == "RobertaProcessing" {
                    let between = after.last().copied();
                    return Ok(Self::with_separator(before, after, between));
                }
                let template = Self { before, after, pair: None };
                Ok(Self { pair: Some(template.pair(1)), ..template })
            }
            // It moves offsets, which are exact here, and adds nothing.
            "ByteLevel" => Ok(Self::default()),
            "Sequence" if depth > 0 => {
                let mut whole = Self::default();
                for part in node.require("processors")?.elements()? {
                    let part = Self::read(&part, depth - 1)?;
                    // Two forms of a pair do not go together; that of the single texts then stands for both.
                    whole.pair = if whole.len() == 0 {
                        part.pair
                    } else if part.len() == 0 {
                        whole.pair
                    } else {
                        None
                    };
                    whole.before.splice(0..0, part.before);
                    whole.after.extend(part.after);
                }
                Ok(whole)
            }
            other => Err(Error::Unsupported {
                place: node.place("type"),
                found: crate::error::quote(other),
                supported: "TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence",
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
                let side = if seen { &mut template.after } else { &mut template.before };
                side.extend(special_ids(&special, &special_tokens)?);
            } else if sequence(&piece) == Some("A") && !seen {
                seen = true;
            } else {
                return Err(piece.unexpected("a SpecialToken or, once, the Sequence A"));
            }
        }
        if !seen {
            return Err(single.unexpected("the Sequence A among the pieces"));
        }
        template.pair = Self::read_pair(node, &special_tokens)?;
        Ok(template)
    }

    /// `None` if there is no form for pairs, which some files leave empty.
    fn read_pair(node: &Node<'_>, special_tokens: &Node<'_>) -> Result<Option<Vec<Piece>>, Error> {
        let Some(list) = node.get("pair") else { return Ok(None) };
        let mut pieces = vec![];
        for piece in list.elements()? {
            if let Some(special) = piece.get("SpecialToken") {
                let of_type = special.get("type_id").map_or(Ok(0), |id| id.u32())?;
                let ids = special_ids(&special, special_tokens)?;
                pieces.extend(ids.into_iter().map(|id| Piece::Special(id, of_type)));
                continue;
            }
            let of_type = piece.get("Sequence").and_then(|text| text.get("type_id")).map_or(Ok(0), |id| id.u32())?;
            let text = match sequence(&piece) {
                Some("A") => Piece::Query(of_type),
                Some("B") => Piece::Document(of_type),
                _ => return Err(piece.unexpected("a SpecialToken, the Sequence A or the Sequence B")),
            };
            if pieces.iter().any(|one| std::mem::discriminant(one) == std::mem::discriminant(&text)) {
                return Err(piece.unexpected("each Sequence once"));
            }
            pieces.push(text);
        }
        let both = pieces.iter().filter(|piece| !matches!(piece, Piece::Special(..))).count() == 2;
        match pieces.is_empty() {
            true => Ok(None),
            false if both => Ok(Some(pieces)),
            false => Err(list.unexpected("the Sequences A and B among the pieces")),
        }
    }
}

/// The ids of a special token of a template.
fn special_ids(special: &Node<'_>, special_tokens: &Node<'_>) -> Result<Vec<u32>, Error> {
    let name = special.require("id")?;
    let ids = special_tokens.require(name.str()?)?.require("ids")?;
    ids.elements()?.map(|id| id.u32()).collect()
}

/// Which text a piece of a template stands for.
fn sequence<'a>(piece: &Node<'a>) -> Option<&'a str> {
    piece.get("Sequence").and_then(|sequence| sequence.value.get("id")).and_then(Value::as_str)
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
        let ids = |before: &[u32], after: &[u32]| Ok((before.to_vec(), after.to_vec()));
        let read = |value: &Value| read(value).map(|template| (template.before, template.after));
        assert_eq!(read(&Value::Null), ids(&[], &[]));
        assert_eq!(read(&bert), ids(&[4], &[5]));
        assert_eq!(read(&both), ids(&[1], &[2, 3]));
        assert_eq!(read(&template(json!([text]))), ids(&[], &[]));
        assert_eq!(read(&json!({"type": "Sequence", "processors": [bert, both]})), ids(&[1, 4], &[5, 2, 3]));
    }

    fn with_pair(pair: Value) -> Value {
        let mut value = template(json!([{"Sequence": {"id": "A", "type_id": 0}}]));
        value["pair"] = pair;
        value
    }

    #[test]
    fn pairs_have_the_form_of_the_file_or_of_bert() {
        use Piece::{Document, Query, Special};
        let processing = |kind: &str| json!({"type": kind, "sep": ["", 5], "cls": ["", 4]});
        let pair = |value: &Value| read(value).map(|template| template.pair(1));
        let bert = vec![Special(4, 0), Query(0), Special(5, 0), Document(1), Special(5, 1)];
        assert_eq!(pair(&processing("BertProcessing")), Ok(bert));
        let roberta = vec![Special(4, 0), Query(0), Special(5, 0), Special(5, 0), Document(0), Special(5, 0)];
        assert_eq!(pair(&processing("RobertaProcessing")), Ok(roberta.clone()));
        let sequence =
            json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, processing("RobertaProcessing")]});
        assert_eq!(pair(&sequence), Ok(roberta));
        assert_eq!(pair(&Value::Null), Ok(vec![Query(0), Document(1)]));
        let listed = json!([token("two"), {"Sequence": {"id": "B", "type_id": 7}}, {"Sequence": {"id": "A"}}]);
        assert_eq!(pair(&with_pair(listed)), Ok(vec![Special(2, 0), Special(3, 0), Document(7), Query(0)]));
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
            (json!({"type": "Other"}), "post_processor.type: \"Other\" is not supported"),
            (with_pair(json!([{"Sequence": {"id": "A"}}])), "post_processor.pair: expected the Sequences A and B"),
            (with_pair(json!([{"Sequence": {"id": "C"}}])), "post_processor.pair[0]: expected a SpecialToken, the Seq"),
            (with_pair(json!([text, text])), "post_processor.pair[1]: expected each Sequence once"),
            (with_pair(json!([token("[SEP]")])), "post_processor.special_tokens.[SEP]: expected a value"),
            (nested, "\"Sequence\" is not supported"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
