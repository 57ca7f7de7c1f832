//! `docent convert`: the file gives the vectors that the directory gives.

mod common;

use std::path::Path;

use common::{docent, failure, fixture, json_lines, show, vector};

const TEXTS: [&str; 3] = ["a brown fox", "", "the river, the bridge and the town: a long walk in the rain"];

fn vectors(model: &Path) -> Vec<Vec<f32>> {
    let results = json_lines(docent().args(["embed", "-m"]).arg(model).args(TEXTS));
    results.iter().map(vector).collect()
}

/// The least cosine of two lists of unit vectors.
fn least_cosine(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).fold(1.0, f32::min)
}

#[test]
fn help() {
    insta::assert_snapshot!(show(docent().args(["convert", "--help"])));
}

#[test]
fn a_converted_model_gives_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("bert-tiny");
    let original = vectors(&source);
    for (ty, cosine) in [("f16", 0.99999), ("bf16", 0.999), ("q8_0", 0.998)] {
        let file = folder.path().join(format!("{ty}.gguf"));
        let output = docent().arg("convert").arg(&source).arg(&file).args(["--type", ty]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(least_cosine(&original, &vectors(&file)) > cosine, "{ty}");
    }
    let file = folder.path().join("f32.gguf");
    docent().arg("convert").arg(&source).arg(&file).args(["--type", "f32"]).assert().success();
    assert_eq!(vectors(&file), original, "nothing is rounded");
}

#[test]
fn the_summary_says_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let shown = show(docent().arg("convert").arg(fixture("bert-tiny")).arg("out.gguf").current_dir(folder.path()));
    insta::assert_snapshot!(shown);
    let written = std::fs::metadata(folder.path().join("out.gguf")).unwrap().len();

    let mut again = docent();
    again.arg("convert").arg(fixture("bert-tiny")).args(["out.gguf", "--json", "--force"]).current_dir(folder.path());
    let output = again.output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["bytes"], &summary["type"]), (&written.into(), &"q8_0".into()));
}

#[test]
fn an_existing_file_stays_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious.gguf");
    std::fs::write(&file, "do not touch").unwrap();
    let error = failure(docent().arg("convert").arg(fixture("bert-tiny")).arg(&file), 1);
    assert!(error.ends_with("precious.gguf: the file exists; --force replaces it"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"do not touch");
    docent().arg("convert").arg(fixture("bert-tiny")).arg(&file).arg("--force").assert().success();
    assert!(std::fs::read(&file).unwrap().starts_with(b"GGUF"));
}

#[test]
fn what_is_no_model_folder_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    for source in [folder.path().join("nothing"), folder.path().to_owned(), fixture("bert-tiny").join("config.json")] {
        let error = failure(docent().arg("convert").arg(&source).arg(&out), 1);
        assert!(error.contains("config.json"), "{error}");
        assert!(!out.exists());
    }
}

#[test]
fn a_wrong_type_is_a_usage_error() {
    let output = docent().args(["convert", "a", "b.gguf", "--type", "q3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("[possible values: f32, f16, bf16, q8_0]"));
}
