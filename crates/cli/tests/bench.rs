//! `docent bench`: every figure is there and is a number; reports stand on their own.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use common::{docent, failure, fixture, show};
use serde_json::Value;

#[test]
fn help() {
    insta::assert_snapshot!(show(docent().args(["bench", "--help"])));
}

/// Texts small enough for a quick run.
const TEXTS: &str = r#"{"short": "a brown fox", "medium": "the river and the bridge and the town",
    "long": "a long walk in the rain, from the river to the bridge and from the bridge to the town, and back again",
    "corpus": ["one", "two words", "three words here"], "calibration": ["not read"]}"#;

fn last_line(stdout: &[u8]) -> Value {
    let text = std::str::from_utf8(stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn positive(value: &Value, what: &str) {
    let number = value.as_f64().unwrap_or_else(|| panic!("{what}: {value}"));
    assert!(number.is_finite() && number > 0.0, "{what}: {number}");
}

#[test]
fn a_quick_run_fills_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("texts.json"), TEXTS).unwrap();
    let output = docent()
        .args([
            "bench",
            "--quick",
            "--threads",
            "2",
            "--texts",
            "texts.json",
            "--json",
            "out.json",
            "--report",
            "out.html",
            "-m",
        ])
        .arg(fixture("bert-tiny"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    let line = last_line(&output.stdout);
    for key in ["load_ms", "first_ms", "short_ms", "medium_ms", "long_ms", "tok_s", "texts_s"] {
        positive(&line[key], key);
    }
    if cfg!(target_os = "linux") {
        positive(&line["rss_mb"], "rss_mb");
    }

    let results: Value = serde_json::from_slice(&std::fs::read(file("out.json")).unwrap()).unwrap();
    for key in ["cpu", "isa", "os", "version"] {
        assert!(results["system_info"][key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert_eq!(results["system_info"]["threads"], 2);
    assert_eq!((&results["model_info"]["architecture"], &results["model_info"]["dim"]), (&"bert".into(), &96.into()));
    assert_eq!(results["max_length"], 128, "the model has no more positions");
    for name in ["short", "medium", "long"] {
        let single = &results["single_embeddings"][name];
        for key in ["characters", "tokens", "texts_s", "mean_ms", "median_ms", "p95_ms", "p99_ms", "min_ms", "max_ms"] {
            positive(&single[key], key);
        }
        assert!(single["runs"].as_u64().unwrap() >= 15);
    }
    let batches = results["batch_embeddings"].as_array().unwrap();
    let sizes: Vec<u64> = batches.iter().map(|batch| batch["batch_size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1, 5, 10, 20, 64]);
    batches.iter().for_each(|batch| positive(&batch["per_text_ms"], "per_text_ms"));
    assert_eq!((&results["corpus"]["texts"], &results["corpus"]["truncated"]), (&3.into(), &0.into()));
    for key in ["tokens", "tok_s", "texts_s", "best_s"] {
        positive(&results["corpus"][key], key);
    }

    let page = std::fs::read_to_string(file("out.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("bert-tiny") && !page.contains("http") && !page.contains("src="), "{page}");
}

#[test]
fn markdown_has_its_chart_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("texts.json"), TEXTS).unwrap();
    docent()
        .args(["bench", "--quick", "--texts", "texts.json", "--report", "out.md", "-m"])
        .arg(fixture("bert-tiny"))
        .current_dir(folder.path())
        .assert()
        .success();
    let text = std::fs::read_to_string(file("out.md")).unwrap();
    assert!(text.contains("](out.svg)") && !text.contains("http"), "{text}");
    let chart = std::fs::read_to_string(file("out.svg")).unwrap();
    assert!(chart.starts_with("<svg ") && chart.contains("prefers-color-scheme:dark"), "{chart}");
    assert_eq!(chart.replace("http://www.w3.org/2000/svg", "").matches("http").count(), 0);
}

#[test]
fn what_cannot_be_written_or_read_is_known_before_anything_is_measured() {
    let run = |args: &[&str], status| {
        failure(docent().args(["bench", "--quick"]).args(args).arg("-m").arg(fixture("bert-tiny")), status)
    };
    let error = run(&["--report", "out.pdf"], 2);
    assert!(error.contains("out.pdf") && error.contains(".html or .md"), "{error}");
    let error = run(&["--report", "no/such/folder/out.md"], 1);
    assert!(error.contains("cannot write no/such/folder/out.md"), "{error}");
    let error = run(&["--texts", "no-such-file.json"], 1);
    assert!(error.contains("no-such-file.json"), "{error}");

    let output = docent().args(["bench", "--json", "-", "-m"]).arg(fixture("bert-tiny")).output().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["error"]["exit"], output.status.code(), output.stdout.len()), (&2.into(), Some(2), 0));

    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts.json");
    for (content, expected) in [
        ("[]", "expected a JSON object with short, medium, long and corpus"),
        (r#"{"short": "a", "medium": "b", "corpus": ["c"]}"#, "missing field `long`"),
        (r#"{"short": "a", "medium": "b", "long": "c", "corpus": []}"#, "expected at least one text, found none"),
    ] {
        std::fs::write(&texts, content).unwrap();
        let error = run(&["--texts", texts.to_str().unwrap()], 1);
        assert!(error.contains("texts.json") && error.contains(expected), "{error}");
    }
}

#[test]
fn kernels_are_measured_beside_the_peak() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kernels.json");
    let output = docent().args(["bench", "--kernels", "--quick", "--json"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("KERNEL") && text.contains("OF PEAK") && text.contains("128 x 384 x 1536"), "{text}");
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let written: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(line, written);
    assert!(line["peak_int8_gmac_s"].as_f64().unwrap() > 0.0);
    for kernel in line["kernels"].as_array().unwrap() {
        assert!(kernel["ms"].as_f64().unwrap() > 0.0, "{kernel}");
        assert_eq!(kernel["gmac_s"].is_null(), kernel["kernel"].as_str().unwrap().ends_with("norm"), "{kernel}");
    }
    let output = docent().args(["bench", "--kernels", "-m", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
