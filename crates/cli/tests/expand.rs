//! Query expansion on the command line, by itself and in searches.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::fs;

use assert_cmd::Command;
use common::{TINY, docent, failure, show, stdout};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

/// A language model with random weights: what it writes has the form and no meaning.
const WRITER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/language-models/qwen3-tied");

fn expand(arguments: &[&str]) -> Command {
    let mut command = docent();
    command.args(["expand", "-m", WRITER]).args(arguments);
    command
}

/// What a command prints that may warn: random weights may write nothing of use.
fn written(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && warning.lines().all(|line| line.starts_with("warning: ")), "{warning}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help() {
    assert_snapshot!("expand_help", show(docent().args(["expand", "--help"])));
}

#[test]
fn lines_can_be_searched_for_as_they_are_and_are_the_same_again() {
    let lines = written(&mut expand(&["e"]));
    assert!(!lines.is_empty());
    for line in lines.lines() {
        let (kind, text) = line.split_once(": ").unwrap();
        assert!(["lex", "vec", "hyde"].contains(&kind) && !text.is_empty(), "{line}");
    }
    assert_eq!(lines, written(&mut expand(&["e", "--threads", "1"])));
    assert_eq!(lines, written(docent().env("DOCENT_EXPANDER", WRITER).args(["expand", "e"])));
}

#[test]
fn json_says_what_became_of_the_query() {
    let report: Value =
        serde_json::from_str(&written(&mut expand(&["--json", "--max-tokens", "2", "some", "cats"]))).unwrap();
    let expected = serde_json::json!({
        "model": "qwen3-tied", "query": "some cats", "tokens": 2, "complete": false, "fallback": true, "dropped": 0,
        "lines": [
            {"kind": "hyde", "text": "Information about some cats"},
            {"kind": "lex", "text": "some cats"},
            {"kind": "vec", "text": "some cats"},
        ],
    });
    assert_eq!(report, expected);
}

#[test]
fn what_cannot_be_expanded_is_told() {
    assert!(failure(&mut expand(&[" "]), 2).contains("the query is empty"));
    assert!(failure(&mut expand(&["--temperature", "NaN", "e"]), 2).contains("--temperature is NaN"));
    let other = failure(docent().args(["expand", "-m", TINY, "e"]), 1);
    assert!(other.contains("bert-tiny is an embedding model, not a query expander"), "{other}");
}

#[test]
fn a_question_is_expanded_by_the_model_that_is_named() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("notes")).unwrap();
    fs::write(folder.path().join("notes/cat.md"), "# Cats\n\nThe cat sat on the mat.\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = docent();
        command.args(arguments).arg("--index").arg(folder.path().join("index.sqlite"));
        command
    };
    stdout(run(&["collection", "add", "-m", TINY]).arg(folder.path().join("notes")));

    let found: Value =
        serde_json::from_str(&stdout(&mut run(&["query", "-m", TINY, "--json", "--expander", WRITER, "where is it"])))
            .unwrap();
    assert_eq!(found[0]["file"].as_str().unwrap().split('?').next(), Some("qmd://notes/cat.md"));
    // One that is asked for and not there is an error, but not where nothing is expanded.
    let missing = |arguments: &[&str]| {
        let mut command = run(&["query", "-m", TINY]);
        command.env("DOCENT_EXPANDER", folder.path().join("none.gguf")).args(arguments);
        command
    };
    assert!(failure(&mut missing(&["where is it"]), 1).contains("none.gguf"));
    assert!(stdout(&mut missing(&["where is it", "--no-expand"])).contains("cat.md"));
    assert!(stdout(&mut missing(&["vec: where is it"])).contains("cat.md"));
    assert_eq!(missing(&["--no-expand", "--expander", WRITER, "where"]).output().unwrap().status.code(), Some(2));

    let status: Value = serde_json::from_str(&stdout(&mut run(&["status", "--json"]))).unwrap();
    assert_eq!(status["expander"], serde_json::json!({"name": "qmd-query-expansion-1.7B", "installed": false}));
    let shown = stdout(&mut run(&["status"]));
    assert!(shown.contains("`docent pull qmd-query-expansion-1.7B` gets it"), "{shown}");
    assert!(shown.contains("`docent pull ms-marco-MiniLM-L6-v2` gets it"), "{shown}");
}
