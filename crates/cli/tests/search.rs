//! Collections, updates and searches as a user runs them.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use common::{TINY, docent, failure, fixture, show, stdout};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

/// A folder of documents with an index beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    /// An index of three documents.
    fn new() -> Place {
        let place = Place { folder: TempDir::new().unwrap() };
        for (path, text) in [
            ("notes/cat.md", "# Cats\n\nThe cat sat on the mat.\nIt purrs & says <meow>.\n"),
            ("notes/sub/dog.md", "# Dogs, \"good\" ones\n\nThe dog barks at the cat.\n"),
            ("notes/rain.md", "# Rain\n\nRain falls in the north.\n"),
        ] {
            let path = place.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        stdout(place.docent(&["collection", "add", "-m", TINY]).arg(place.path("notes")));
        stdout(&mut place.docent(&["context", "add", "qmd://notes/sub", "about dogs, mostly"]));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command on the index.
    fn docent(&self, arguments: &[&str]) -> Command {
        let mut command = docent();
        command.args(arguments).arg("--index").arg(self.path("index.sqlite"));
        command
    }

    /// What a command shows, without the name of this folder and the numbers that differ from machine to machine.
    fn show(&self, arguments: &[&str]) -> String {
        let shown = show(&mut self.docent(arguments));
        shown.replace("?index=[tmp]/index.sqlite", "")
    }
}

#[test]
fn help() {
    for name in ["query", "update", "watch", "collection", "collection add", "get"] {
        let arguments = name.split(' ').chain(["--help"]);
        assert_snapshot!(format!("{}_help", name.replace(' ', "_")), show(docent().args(arguments)));
    }
}

#[test]
fn an_update_tells_what_it_did() {
    let place = Place { folder: TempDir::new().unwrap() };
    fs::create_dir(place.path("notes")).unwrap();
    fs::write(place.path("notes/a.md"), "# A").unwrap();
    fs::write(place.path("notes/b.md"), b"\xff\xfe").unwrap();
    let mut add = place.docent(&["collection", "add", "-m", TINY]);
    add.arg(place.path("notes"));
    assert_snapshot!("update_summary", show(&mut add));
    let json = place.docent(&["update", "--json", "--no-embed"]).output().unwrap().stdout;
    let json = String::from_utf8(json).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["files"]["skipped"][0]["reason"]["not-utf8"], 0, "{json}");
}

#[test]
fn results_come_in_every_format() {
    let place = Place::new();
    for format in ["cli", "json", "csv", "md", "xml", "files"] {
        let shown = place.show(&["search", "--format", format, "cat mat dog"]);
        assert_snapshot!(format!("search_{format}"), shown);
        let shown = place.show(&["multi-get", "--format", format, "cat.md,sub/dog.md"]);
        assert_snapshot!(format!("multi_get_{format}"), shown);
    }
}

#[test]
fn nothing_found_is_no_error() {
    let place = Place::new();
    let shown = |format: &str| place.show(&["search", "--format", format, "zebra"]);
    assert_eq!(shown("json"), "[]\n");
    assert_eq!(shown("csv"), "docid,score,file,title,context,line,snippet\n");
    assert_eq!(shown("xml"), "<results></results>\n");
    assert_eq!((shown("md"), shown("files")), (String::new(), String::new()));
    assert_eq!(shown("cli"), "No results found.\n");
}

#[test]
fn searches_by_meaning_and_by_both_give_the_same_fields() {
    let place = Place::new();
    let fields = |arguments: &[&str]| -> Vec<String> {
        let json = stdout(place.docent(arguments).args(["--json", "-m", TINY, "--min-score", "0"]));
        let found: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&json).unwrap();
        assert_eq!(found.len(), 3, "{arguments:?}");
        assert!(found.iter().all(|hit| (0.0..=1.0).contains(&hit["score"].as_f64().unwrap())));
        let with_context = found.into_iter().find(|hit| hit.contains_key("context")).unwrap();
        with_context.keys().cloned().collect()
    };
    let expected = ["context", "docid", "file", "line", "score", "snippet", "title"];
    assert_eq!(fields(&["vsearch", "the cat sat"]), expected);
    assert_eq!(fields(&["query", "the cat sat"]), expected);
    let mut with_reranker = place.docent(&["query", "the cat sat", "--json", "--explain", "-m", TINY]);
    let json = stdout(with_reranker.arg("--reranker").arg(fixture("encoders/modern-bert-rerank")));
    let found: Value = serde_json::from_str(&json).unwrap();
    assert!(found[0]["explain"]["rerankScore"].is_f64(), "{found}");
}

#[test]
fn whole_documents_lines_and_paths_are_written_if_asked_for() {
    let place = Place::new();
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&stdout(place.docent(&["search", "purrs", "--json"]).args(arguments))).unwrap()
    };
    assert_eq!(json(&["--full"])[0]["body"], "# Cats\n\nThe cat sat on the mat.\nIt purrs & says <meow>.\n");
    assert!(json(&["--line-numbers"])[0]["snippet"].as_str().unwrap().contains("\n4: It purrs"));
    let with_path = json(&["--full-path"]);
    let path = fs::canonicalize(place.path("notes/cat.md")).unwrap();
    assert_eq!(with_path[0]["file"], path.to_str().unwrap());
    assert!(with_path[0].get("docid").is_none());
}

#[test]
fn documents_are_printed_and_listed() {
    let place = Place::new();
    assert_snapshot!("get", place.show(&["get", "dog.md:3"]));
    assert_eq!(place.show(&["ls"]), "qmd://notes/  (3 files)\n");
    let listed = place.show(&["ls", "notes/sub"]);
    assert!(listed.ends_with("qmd://notes/sub/dog.md\n"), "{listed}");
}

#[test]
fn wrong_uses_are_told_in_a_line() {
    let place = Place::new();
    let error = |arguments: &[&str], status: i32| failure(&mut place.docent(arguments), status);
    assert_eq!(error(&["search", "x", "-c", "none"], 1), "no collection is named \"none\"; there are notes");
    assert!(error(&["get", "cats.md"], 1).contains("did you mean qmd://notes/cat.md"));
    assert!(error(&["multi-get", "*.none"], 1).starts_with("nothing in the index is called"));
    assert!(error(&["search", "\"open"], 1).contains("a quote is not closed"));
    assert!(error(&["query", "lex: a\nb", "-m", TINY], 2).starts_with("line 2 of the query"));
    assert!(error(&["search", "x", "--min-score", "2"], 2).contains("scores are from 0 to 1"));
    assert!(error(&["collection", "add", "/none/such"], 2).starts_with("cannot read /none/such"));
    let mut other = docent();
    let path = place.path("notes/cat.md");
    fs::copy(&path, place.path("text.sqlite")).unwrap();
    let message = failure(other.args(["status", "--index"]).arg(place.path("text.sqlite")), 1);
    assert!(message.contains("is not a database, not an index of docent"), "{message}");
}

#[test]
fn without_vectors_words_are_looked_for() {
    let place = Place { folder: TempDir::new().unwrap() };
    fs::create_dir(place.path("notes")).unwrap();
    fs::write(place.path("notes/a.md"), "# Apples").unwrap();
    stdout(place.docent(&["collection", "add", "--no-embed"]).arg(place.path("notes")));
    let output = place.docent(&["query", "apples", "--files", "-m", TINY]).output().unwrap();
    let (out, notes) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(notes.contains("has no vectors of the model bert-tiny"), "{notes}");
}

#[test]
fn collections_and_contexts_are_managed() {
    let place = Place::new();
    let run = |arguments: &[&str]| stdout(&mut place.docent(arguments));
    run(&["collection", "exclude", "notes"]);
    assert_eq!(run(&["search", "cat", "--json"]), "[]\n");
    assert_ne!(run(&["search", "cat", "--json", "-c", "notes"]), "[]\n");
    run(&["collection", "include", "notes"]);
    run(&["collection", "rename", "notes", "texts"]);
    assert!(run(&["collection", "list"]).contains("texts"));
    assert!(run(&["collection", "show", "texts"]).contains("about dogs, mostly"));
    assert!(run(&["context", "list"]).contains("qmd://texts/sub  about dogs, mostly"));
    run(&["context", "remove", "qmd://texts/sub"]);
    assert!(failure(&mut place.docent(&["context", "remove", "qmd://texts/sub"]), 1).contains("nothing is said"));
    let status: Value = serde_json::from_str(&run(&["status", "--json"])).unwrap();
    assert_eq!((status["documents"].as_u64(), status["models"][0]["vectors"].as_u64()), (Some(3), Some(3)));
    let removed: Value = serde_json::from_str(&run(&["cleanup", "--json"])).unwrap();
    assert_eq!(removed["documents"], 0);
}

#[test]
fn what_qmd_was_told_and_has_fetched_is_taken_over() {
    let place = Place { folder: TempDir::new().unwrap() };
    fs::create_dir_all(place.path("notes")).unwrap();
    fs::create_dir_all(place.path(".config/qmd")).unwrap();
    fs::create_dir_all(place.path(".cache/qmd/models")).unwrap();
    let config = "collections:\n  notes:\n    path: ~/notes\n    context:\n      /: all of it\nmodels:\n  embed: hf:a/b/c.gguf\n";
    fs::write(place.path(".config/qmd/index.yml"), config).unwrap();
    let model = place.path(".cache/qmd/models/hf_ggml-org_qwen3-reranker-0.6b-q8_0.gguf");
    fs::copy(fixture("encoders/modern-bert-rerank/model.gguf"), model).unwrap();
    let at_home = |arguments: &[&str]| {
        let mut command = place.docent(arguments);
        command.env("HOME", place.folder.path());
        command
    };
    assert_snapshot!("import_qmd", show(&mut at_home(&["import", "qmd", "--models"])));
    let shown = stdout(&mut at_home(&["collection", "show", "notes"]));
    assert!(shown.contains("hf:a/b/c.gguf") && shown.contains("all of it"), "{shown}");
    let status: Value = serde_json::from_str(&stdout(&mut at_home(&["status", "--json"]))).unwrap();
    assert_eq!(status["models_of_qmd"].as_array().unwrap().len(), 1);
    assert!(
        failure(place.docent(&["import", "qmd"]).env("HOME", place.path("notes")), 1).contains("qmd has no index at")
    );
}

#[test]
fn an_interrupted_update_goes_on() {
    let place = Place { folder: TempDir::new().unwrap() };
    fs::create_dir(place.path("notes")).unwrap();
    for i in 0..400 {
        let text = format!("# Document {i}\n\n{}", format!("the cat number {i} sat on the mat. ").repeat(40));
        fs::write(place.path(&format!("notes/{i}.md")), text).unwrap();
    }
    stdout(place.docent(&["collection", "add", "--no-embed"]).arg(place.path("notes")));
    let mut killed = common::docent_process();
    killed.args(["update", "-m", TINY, "--threads", "1", "--index"]).arg(place.path("index.sqlite"));
    let mut process = killed.stdout(std::process::Stdio::null()).spawn().unwrap();
    let vectors = || {
        let status = stdout(&mut place.docent(&["status", "--json"]));
        let status: Value = serde_json::from_str(&status).unwrap();
        status["models"].as_array().unwrap().first().map_or(0, |model| model["vectors"].as_u64().unwrap())
    };
    // As soon as something is committed.
    while vectors() == 0 && process.try_wait().unwrap().is_none() {}
    process.kill().unwrap();
    process.wait().unwrap();
    let committed = vectors();
    assert!(committed > 0);
    let report = stdout(&mut place.docent(&["update", "-m", TINY, "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let embedded = report["vectors"]["embedded"].as_u64().unwrap();
    assert_eq!(vectors(), committed + embedded, "nothing was embedded twice");
    assert_eq!(report["files"]["unchanged"], 400);
}
