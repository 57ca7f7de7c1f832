//! `docent tokenize`.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use common::{TINY, docent, failure, fixture, json_lines, stdout};
use serde_json::{Value, json};

fn tokenize() -> assert_cmd::Command {
    let mut command = docent();
    command.args(["tokenize", "-m", TINY]);
    command
}

#[test]
fn ids_are_those_of_the_reference() {
    let reference: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("bert-tiny").join("reference.json")).unwrap()).unwrap();
    let cases: Vec<&Value> =
        reference["cases"].as_array().unwrap().iter().filter(|case| case["prompt"].is_null()).collect();
    let input: String = cases.iter().map(|case| format!("{}\n", json!({"text": case["text"]}))).collect();
    let results = json_lines(tokenize().write_stdin(input));
    assert_eq!(results.len(), cases.len());
    for (result, case) in results.iter().zip(&cases) {
        let (ids, expected) = (result["ids"].as_array().unwrap(), case["ids"].as_array().unwrap());
        // Nothing is cut here, and the reference is cut before the last token.
        assert_eq!(ids.len() as u64, case["tokens_before_cut"].as_u64().unwrap());
        assert_eq!(ids[..expected.len() - 1], expected[..expected.len() - 1]);
        assert_eq!(ids.last(), expected.last());
        assert_eq!(result["tokens"].as_array().unwrap().len(), ids.len());
        let text = case["text"].as_str().unwrap();
        for offsets in result["offsets"].as_array().unwrap() {
            let place = |end: usize| usize::try_from(offsets[end].as_u64().unwrap()).unwrap();
            assert!(text.get(place(0)..place(1)).is_some(), "{text:?} {offsets}");
        }
    }
}

#[test]
fn a_line_has_ids_tokens_and_offsets() {
    let line = stdout(tokenize().arg("Hello wörld"));
    let start = r#"{"ids":[4,915,"#;
    assert!(line.starts_with(start), "{line}");
    let result: Value = serde_json::from_str(&line).unwrap();
    let tokens: Vec<&str> = result["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(tokens, ["[CLS]", "hello", "world", "[SEP]"]);
    // Bytes of the text as it was given: the umlaut has two.
    assert_eq!(result["offsets"], json!([[0, 0], [0, 5], [6, 12], [0, 0]]));
    assert_eq!(result.as_object().unwrap().keys().collect::<Vec<_>>(), ["ids", "offsets", "tokens"]);
}

#[test]
fn texts_come_in_as_in_embed() {
    let expected = stdout(tokenize().args(["one", "two words"]));
    assert_eq!(stdout(tokenize().write_stdin("one\ntwo words\n")), expected);
    assert_eq!(
        stdout(tokenize().args(["--input", "-"]).write_stdin("{\"text\":\"one\"}\n{\"text\":\"two words\"}")),
        expected
    );
    let with_ids = stdout(tokenize().write_stdin("{\"text\":\"one\",\"id\":\"x\"}\n"));
    assert!(with_ids.starts_with(r#"{"id":"x","ids":["#), "{with_ids}");
    let message = failure(tokenize().write_stdin("{\"text\": \"a\"}\n{}\n"), 1);
    assert!(message.starts_with("standard input:2: "), "{message}");
}

#[test]
fn errors_are_json_where_asked_for() {
    let output = docent().args(["tokenize", "--json", "--offline", "-m", "/nowhere/x.gguf", "a"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 1);
    assert!(error["error"]["message"].as_str().unwrap().contains("/nowhere/x.gguf"));
}
