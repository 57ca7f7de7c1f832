//! Texts to embed, in every form in which requests give them.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::service::Input;

/// A text, a list of texts, the token ids of a text, a list of lists of token ids, or a list with both; instead of a text
/// llama-server's `{"prompt_string": TEXT}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inputs(pub(super) Vec<Input>);

impl Inputs {
    /// Characters of the texts, as `x-compute-characters` counts them.
    pub(super) fn characters(&self) -> usize {
        let characters = |input: &Input| match input {
            Input::Text(text) => text.chars().count(),
            Input::Ids(_) => 0,
        };
        self.0.iter().map(characters).sum()
    }

    /// One text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Inputs(vec![Input::Text(text.into())])
    }

    /// The inputs of a JSON list.
    pub(super) fn of_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error> {
        let mut ids = Vec::new();
        let mut items = Vec::new();
        while let Some(element) = seq.next_element()? {
            match element {
                Element::Id(id) if items.is_empty() => ids.push(id),
                Element::Item(item) if ids.is_empty() => items.push(item),
                // One text in two languages: an id here, a word there.
                _ => {
                    let message = "a list is either of token ids alone, or of texts and lists of token ids";
                    return Err(A::Error::custom(message));
                }
            }
        }
        Ok(if ids.is_empty() { Inputs(items) } else { Inputs(vec![Input::Ids(ids)]) })
    }
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputsVisitor)
    }
}

struct InputsVisitor;

impl<'de> Visitor<'de> for InputsVisitor {
    type Value = Inputs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, a list of token ids, or a list of lists of token ids")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Inputs, E> {
        Ok(Inputs::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Inputs, A::Error> {
        Inputs::of_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Inputs, A::Error> {
        Ok(Inputs(vec![prompt_string(map)?]))
    }
}

/// The same where an empty text is no text, unless it is in a list: so it is with Ollama.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InputsOrNone(pub(super) Inputs);

impl<'de> Deserialize<'de> for InputsOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputsOrNoneVisitor)
    }
}

struct InputsOrNoneVisitor;

impl<'de> Visitor<'de> for InputsOrNoneVisitor {
    type Value = InputsOrNone;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        InputsVisitor.expecting(f)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<InputsOrNone, E> {
        Ok(InputsOrNone(if text.is_empty() { Inputs::default() } else { Inputs::text(text) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<InputsOrNone, A::Error> {
        InputsVisitor.visit_seq(seq).map(InputsOrNone)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InputsOrNone, A::Error> {
        InputsVisitor.visit_map(map).map(InputsOrNone)
    }
}

/// An element of a list: a token id, or a whole input.
enum Element {
    Id(u32),
    Item(Input),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a token id, or a list of token ids")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Element, E> {
        Ok(Element::Item(Input::Text(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Element, E> {
        TokenIdVisitor.visit_u64(number).map(|TokenId(id)| Element::Id(id))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Element, E> {
        TokenIdVisitor.visit_i64(number).map(|TokenId(id)| Element::Id(id))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
        let mut ids = Vec::new();
        while let Some(TokenId(id)) = seq.next_element()? {
            ids.push(id);
        }
        Ok(Element::Item(Input::Ids(ids)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        prompt_string(map).map(Element::Item)
    }
}

/// The id of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenId(pub(super) u32);

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokenIdVisitor)
    }
}

struct TokenIdVisitor;

impl Visitor<'_> for TokenIdVisitor {
    type Value = TokenId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id: a whole number from 0 to 4294967295")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<TokenId, E> {
        u32::try_from(number).map(TokenId).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<TokenId, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }
}

fn prompt_string<'de, A: MapAccess<'de>>(map: A) -> Result<Input, A::Error> {
    #[derive(serde::Deserialize)]
    struct PromptString {
        prompt_string: Option<String>,
    }
    let PromptString { prompt_string } = PromptString::deserialize(MapAccessDeserializer::new(map))?;
    prompt_string.map(Input::Text).ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &InputsVisitor))
}

impl PartialSchema for Inputs {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let ids = || ArrayBuilder::new().items(TokenId::schema());
        let mixed = OneOfBuilder::new().item(text()).item(ids());
        OneOfBuilder::new()
            .description(Some("A text, a list of texts, the token ids of a text, or a list of texts and lists of ids."))
            .item(text())
            .item(ids())
            .item(ArrayBuilder::new().items(mixed))
            .into()
    }
}

impl ToSchema for Inputs {}

impl PartialSchema for TokenId {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(u32::MAX)).into()
    }
}

impl ToSchema for TokenId {}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(json: &str) -> Result<Vec<Input>, String> {
        serde_json::from_str::<Inputs>(json).map(|inputs| inputs.0).map_err(|error| error.to_string())
    }

    fn text(text: &str) -> Input {
        Input::Text(text.to_owned())
    }

    #[test]
    fn every_form_of_input() {
        assert_eq!(inputs(r#""a""#), Ok(vec![text("a")]));
        assert_eq!(inputs(r#"["a", "b"]"#), Ok(vec![text("a"), text("b")]));
        assert_eq!(inputs("[1, 2]"), Ok(vec![Input::Ids(vec![1, 2])]));
        assert_eq!(inputs("[[1], [2, 3]]"), Ok(vec![Input::Ids(vec![1]), Input::Ids(vec![2, 3])]));
        assert_eq!(inputs(r#"["a", [1, 2]]"#), Ok(vec![text("a"), Input::Ids(vec![1, 2])]));
        assert_eq!(inputs(r#"{"prompt_string": "a"}"#), Ok(vec![text("a")]));
        assert_eq!(inputs("[]"), Ok(vec![]));
        assert_eq!(inputs("[[]]"), Ok(vec![Input::Ids(vec![])]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, said) in [
            ("5", "expected a text, a list of texts"),
            ("{}", "expected a text, a list of texts"),
            ("null", "expected a text, a list of texts"),
            ("[true]", "expected a text, a token id"),
            ("[1.5]", "expected a text, a token id"),
            ("[-1]", "expected a token id: a whole number"),
            ("[[4294967296]]", "expected a token id: a whole number"),
            (r#"[["a"]]"#, "expected a token id: a whole number"),
            (r#"[1, "a"]"#, "a list is either of token ids alone"),
            (r#"["a", 1]"#, "a list is either of token ids alone"),
            (r#""\ud800""#, "unexpected end of hex escape"),
        ] {
            let error = inputs(json).unwrap_err();
            assert!(error.contains(said), "{json}: {error}");
        }
    }
}
