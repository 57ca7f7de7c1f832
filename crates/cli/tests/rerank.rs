//! `docent rerank`: a query and documents in, an order out.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::fs;

use common::{docent, fixture};
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "encoders/modern-bert-rerank";
const DOCUMENTS: [&str; 3] = ["the cat sat on the mat", "a dog", "rain falls in the north"];

fn rerank(arguments: &[&str]) -> Vec<Value> {
    let output = docent().args(["rerank", "-m"]).arg(fixture(MODEL)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn error(arguments: &[&str]) -> String {
    let output = docent().args(["rerank", "-m"]).arg(fixture(MODEL)).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn documents_come_best_first() {
    let lines = rerank(&["--query", "where is the cat", "--", DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[2]]);
    let raws: Vec<f64> = lines.iter().map(|line| line["raw"].as_f64().unwrap()).collect();
    assert!(raws.is_sorted_by(|a, b| a >= b), "{raws:?}");
    for (place, line) in lines.iter().enumerate() {
        assert_eq!((line["rank"].as_u64(), line["kind"].as_str()), (Some(place as u64 + 1), Some("sigmoid")));
        let sigmoid = 1.0 / (1.0 + (-raws[place]).exp());
        assert!((line["score"].as_f64().unwrap() - sigmoid).abs() < 1e-6, "{line}");
        assert_eq!((line.get("id"), line["truncated"].as_bool()), (None, Some(false)));
    }
    let mut places: Vec<u64> = lines.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2]);
}

#[test]
fn a_document_has_the_same_score_alone() {
    let together = rerank(&["--query", "where is the cat", "--raw", "--", DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[2]]);
    for line in &together {
        let document = DOCUMENTS[line["index"].as_u64().unwrap() as usize];
        let alone = rerank(&["--query", "where is the cat", "--raw", "--threads", "1", "--", document]);
        assert_eq!((&alone[0]["score"], &alone[0]["kind"]), (&line["raw"], &Value::from("logit")));
    }
}

#[test]
fn ids_of_an_input_file_are_kept_and_the_best_chosen() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("found.jsonl");
    let lines: Vec<String> =
        DOCUMENTS.iter().map(|text| format!("{{\"id\": \"<{text}>\", \"text\": \"{text}\"}}\n")).collect();
    fs::write(&path, lines.concat()).unwrap();
    let path = path.to_str().unwrap();
    let best = rerank(&["--query", "cat", "--input", path, "--top-n", "1"]);
    assert_eq!(best.len(), 1);
    let index = best[0]["index"].as_u64().unwrap() as usize;
    assert_eq!(best[0]["id"], format!("<{}>", DOCUMENTS[index]));

    let mut command = docent();
    let csv = command
        .args(["rerank", "-m"])
        .arg(fixture(MODEL))
        .args(["--query", "cat", "--input", path, "--format", "csv"])
        .output()
        .unwrap()
        .stdout;
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.starts_with("rank,index,id,score,raw,kind,tokens,truncated\n1,"), "{csv}");
    assert_eq!(csv.lines().count(), 4);
}

#[test]
fn long_documents_are_cut_and_said_to_be_or_read_in_windows() {
    let long = DOCUMENTS.join(" ").repeat(12);
    let arguments = ["--query", "cat", "--max-length", "24", "--", &long];
    let cut = rerank(&arguments);
    assert_eq!((cut[0]["tokens"].as_u64(), cut[0]["truncated"].as_bool()), (Some(24), Some(true)));
    let windows = rerank(&[&["--windows"], &arguments[..]].concat());
    assert_eq!(windows[0]["truncated"].as_bool(), Some(false));
    assert!(windows[0]["tokens"].as_u64().unwrap() > 100, "{}", windows[0]);
    assert!(windows[0]["raw"].as_f64() >= cut[0]["raw"].as_f64().map(|raw| raw - 1.0));
}

#[test]
fn wrong_uses_are_told() {
    assert!(error(&["x"]).contains("--query"));
    let message = error(&["--query", "q", "--instruction", "i", "x"]);
    assert!(message.contains("takes no instruction"), "{message}");
    let message = error(&["--query", "q", "--max-length", "100000", "x"]);
    assert!(message.contains("a maximum length of 100000 tokens is out of range"), "{message}");
    let message = error(&["--query", &"cat ".repeat(40), "--max-length", "8", "x"]);
    assert!(message.contains("shorten the query"), "{message}");
    let message = error(&["--query", &"cat ".repeat(15), "--max-length", "20", "--windows", "x"]);
    assert!(message.contains("shorten the query to 15"), "{message}");
    let output = docent().args(["rerank", "--query", "q", "x", "-m"]).arg(fixture("bert-tiny")).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("is an embedding model, not a reranker"), "{message}");
    let output = docent().args(["embed", "x", "-m"]).arg(fixture(MODEL)).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("is a reranker, not an embedding model"), "{message}");
}
