//! `docent quantize`: fewer bits, nearly the same vectors.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::path::Path;

use common::{docent, failure, fixture, json_lines, show, vector};
use docent::gguf::{Gguf, TensorType, codec};
use serde_json::Value;

const TEXTS: [&str; 3] = ["a brown fox", "", "the river, the bridge and the town: a long walk in the rain"];

/// The summary that a run prints as JSON.
fn quantize(input: &Path, out: &Path, ty: &str, more: &[&str]) -> Value {
    let mut command = docent();
    command.arg("quantize").arg(input).arg(out).args(["--type", ty, "--json"]).args(more);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn help() {
    insta::assert_snapshot!(show(docent().args(["quantize", "--help"])));
}

#[test]
fn types_that_the_engine_runs_give_nearly_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::gguf::tiny("f32");
    let vectors = |model: &Path| -> Vec<Vec<f32>> {
        json_lines(docent().args(["embed", "-m"]).arg(model).args(TEXTS)).iter().map(vector).collect()
    };
    let original = vectors(source.path());
    for (ty, least) in [("F16", 0.99999), ("bf16", 0.999), ("Q8_0", 0.998)] {
        let file = folder.path().join(ty);
        quantize(source.path(), &file, ty, &[]);
        let found = vectors(&file);
        assert!(original.iter().zip(&found).all(|(a, b)| cosine(a, b) > least), "{ty}");
    }
}

#[test]
fn every_type_is_written_with_its_number_and_close_to_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::gguf::tiny("f32");
    let original = Gguf::open(source.path()).unwrap();
    let decoded = |model: &Gguf, name: &str| {
        let tensor = model.tensor(name).unwrap();
        let mut values = vec![0.0; tensor.n_elements()];
        codec::dequantize(tensor.tensor_type(), tensor.bytes(), &mut values).unwrap();
        values
    };
    // The relative error that the bits allow, for numbers without outliers.
    for (ty, number, most) in [
        ("f32", 0, 0.0),
        ("Q4_0", 2, 0.12),
        ("Q4_1", 3, 0.1),
        ("Q5_0", 8, 0.06),
        ("Q5_1", 9, 0.05),
        ("Q4_K", 15, 0.06),
        ("Q4_K_S", 14, 0.06),
        ("Q5_K_S", 16, 0.05),
        ("Q5_K_M", 17, 0.05),
        ("Q6_K", 18, 0.01),
    ] {
        let file = folder.path().join(ty);
        let summary = quantize(source.path(), &file, ty, &[]);
        let model = Gguf::open(&file).unwrap();
        assert_eq!(model.metadata().require_u32("general.file_type").unwrap(), number, "{ty}");
        assert_eq!(summary["bytes"], std::fs::metadata(&file).unwrap().len());
        assert_eq!(model.metadata().len(), original.metadata().len(), "{ty}");
        assert_eq!(model.tensors().len(), original.tensors().len());
        for tensor in model.tensors() {
            let (a, b) = (decoded(&original, tensor.name()), decoded(&model, tensor.name()));
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>().sqrt();
            let (error, size) = (square(&mut a.iter().zip(&b).map(|(a, b)| a - b)), square(&mut a.iter().copied()));
            let most = if tensor.tensor_type() == TensorType::F32 { 0.0 } else { most };
            assert!(error <= most * size, "{ty}: {} as {}: {error} of {size}", tensor.name(), tensor.tensor_type());
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::gguf::tiny("f32");
    let file = |threads: &str| {
        let file = folder.path().join(threads);
        quantize(source.path(), &file, "q5_k", &["--threads", threads]);
        std::fs::read(file).unwrap()
    };
    assert_eq!(file("1"), file("3"));
}

#[test]
fn the_summary_says_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::gguf::tiny("f32");
    let mut command = docent();
    command.arg("quantize").arg(source.path()).args(["out.gguf", "--type", "q4_k_m"]).current_dir(folder.path());
    insta::assert_snapshot!(show(&mut command));
    let summary = quantize(source.path(), &folder.path().join("out.gguf"), "q4_k_m", &["--force"]);
    assert_eq!((&summary["type"], &summary["requantized"]), (&"Q4_K_M".into(), &0.into()));
    assert_eq!(
        (&summary["fallbacks"][0]["wanted"], &summary["fallbacks"][0]["tensor"]),
        (&"Q4_K".into(), &"blk.0.attn_k.weight".into())
    );
}

#[test]
fn a_quantised_input_needs_consent_and_an_unchanged_type_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let source = common::gguf::tiny("q8_0");
    let error = failure(docent().arg("quantize").arg(source.path()).arg(&out).args(["--type", "q4_0"]), 1);
    assert!(error.contains("is Q8_0 already") && error.ends_with("allow it with --requantize"), "{error}");
    assert!(!out.exists());
    assert!(quantize(source.path(), &out, "q4_0", &["--requantize"])["requantized"].as_u64() > Some(0));
    assert_eq!(quantize(source.path(), &out, "q8_0", &["--force"])["requantized"], 0);
}

#[test]
fn files_that_are_there_stay_and_odd_inputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::gguf::tiny("f32");
    let out = folder.path().join("precious.gguf");
    std::fs::write(&out, "do not touch").unwrap();
    let run = |input: &Path, out: &Path, more: &[&str]| {
        failure(docent().arg("quantize").arg(input).arg(out).args(["--type", "q8_0"]).args(more), 1)
    };
    let error = run(source.path(), &out, &[]);
    assert!(error.ends_with("precious.gguf: the file exists; --force replaces it"), "{error}");
    let error = run(source.path(), source.path(), &["--force"]);
    assert!(error.ends_with("expected another file for the output than for the input"), "{error}");
    let error = run(&fixture("bert-tiny"), &out, &["--force"]);
    assert!(error.ends_with("found a folder; `docent convert` makes a file of it"), "{error}");
    let error = run(&fixture("bert-tiny").join("config.json"), &out, &["--force"]);
    assert!(error.contains("config.json"), "{error}");
    assert_eq!(std::fs::read(&out).unwrap(), b"do not touch");
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::gguf::edited(|parts| parts.tensor("token_embd.weight").set_f32(1234, f32::NAN));
    let out = folder.path().join("out.gguf");
    for ty in ["q4_0", "f16"] {
        let error = failure(docent().arg("quantize").arg(source.path()).arg(&out).args(["--type", ty]), 1);
        assert!(
            error.contains("tensor `token_embd.weight`: expected finite weights, found NaN at element 1234"),
            "{error}"
        );
    }
    let source = common::gguf::edited(|parts| parts.tensor("token_embd.weight").set_f32(1234, 1e30));
    let error = failure(docent().arg("quantize").arg(source.path()).arg(&out).args(["--type", "q6_k"]), 1);
    assert!(error.contains("token_embd.weight") && error.contains("at element 1234; use BF16 or F32"), "{error}");
    assert!(!out.exists());
}
