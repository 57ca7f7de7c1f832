//! Lines that are JSON objects with a text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::Line;
use super::{Id, Text};

/// The members that matter; others are passed over.
#[derive(Deserialize)]
struct Object<'a> {
    text: Option<String>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Whether a line begins as the lines of JSONL input do. Few plain texts begin like this, and a slip in what was meant as
/// JSON should be an error, not a text.
pub(super) fn looks_like_it(line: &str) -> bool {
    line.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// The text of a line, and what it is called.
pub(super) fn parse(line: &Line, name: &str) -> anyhow::Result<Text> {
    let place = format_args!("{name}:{}", line.number);
    if !is_object(&line.text) {
        anyhow::bail!("{place}: expected a JSON object such as {{\"text\": \"...\"}}, found {}", beginning(&line.text));
    }
    let object: Object<'_> = serde_json::from_str(&line.text).map_err(|error| {
        // The parser counts lines itself, and there is only one.
        let (message, column) = (error.to_string(), error.column());
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        anyhow::anyhow!("{place}: not the JSON expected: {message} at column {column}")
    })?;
    let Some(text) = object.text else {
        anyhow::bail!(
            "{place}: the object has no \"text\", expected {{\"text\": \"...\"}} (--input-format lines takes lines as they are)"
        );
    };
    let id = object.id.map(|id| {
        parse_id(id.get()).ok_or_else(|| {
            anyhow::anyhow!("{place}: \"id\": expected a string or a number, found {}", beginning(id.get()))
        })
    });
    Ok(Text { text, id: id.transpose()?, line: Some(line.number) })
}

/// Arrays would be taken for objects by the parser, member by member.
fn is_object(line: &str) -> bool {
    line.trim_start().starts_with('{')
}

fn parse_id(json: &str) -> Option<Id> {
    if json.starts_with('"') {
        return serde_json::from_str(json).ok().map(Id::Text);
    }
    let is_number = json.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    is_number.then(|| Id::Number(json.to_owned()))
}

/// The first characters of a line, quoted.
fn beginning(line: &str) -> String {
    const SHOWN: usize = 40;
    let line = line.trim();
    let start: String = line.chars().take(SHOWN).collect();
    if start.len() < line.len() { format!("{start:?}...") } else { format!("{start:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(json: &str) -> Result<Text, String> {
        parse(&Line { text: json.to_owned(), number: 7 }, "f").map_err(|error| error.to_string())
    }

    #[test]
    fn ids_are_kept_as_they_are() {
        let id = |json: &str| parse_line(json).unwrap().id.map(|id| serde_json::to_string(&id).unwrap());
        assert_eq!(id(r#"{"text":"a"}"#), None);
        assert_eq!(id(r#"{"text":"a","id":null}"#), None);
        assert_eq!(id(r#"{"id":"x\ty","text":"a"}"#).unwrap(), r#""x\ty""#);
        for number in ["0", "-1", "1.50", "123456789012345678901234567890", "1e400"] {
            assert_eq!(id(&format!(r#"{{"text":"a","other":[{{}}],"id":{number}}}"#)).unwrap(), number);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |json: &str| parse_line(json).unwrap_err();
        let no_text =
            r#"f:7: the object has no "text", expected {"text": "..."} (--input-format lines takes lines as they are)"#;
        assert_eq!(error("[\"a\"]"), r#"f:7: expected a JSON object such as {"text": "..."}, found "[\"a\"]""#);
        assert_eq!(error(r#"{"title":"a"}"#), no_text);
        assert_eq!(error(r#"{"text":null}"#), no_text);
        assert_eq!(error(r#"{"text":"a","id":[1]}"#), r#"f:7: "id": expected a string or a number, found "[1]""#);
        assert!(
            error(r#"{"text":"a""#).starts_with("f:7: not the JSON expected: EOF while parsing an object at column 11")
        );
        assert!(error(r#"{"text":3}"#).contains("invalid type: integer `3`, expected a string at column"));
        assert!(error(r#"{"text":"a","text":"b"}"#).contains("duplicate field `text`"));
        // Half of a surrogate pair is no character.
        assert!(error(r#"{"text":"\ud800"}"#).starts_with("f:7: not the JSON expected: "));
        assert!(error(r#"{"text":"a","id":"\ud800"}"#).starts_with("f:7: \"id\": expected"));
        assert!(error(r#"{"text":"a"} x"#).contains("trailing characters"));
        assert!(error(&format!("{}1", "{\"a\":".repeat(100_000))).contains("column"));
    }
}
