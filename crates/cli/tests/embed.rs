//! `docent embed`: the vectors, and the options that change them.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::BTreeMap;

use common::{distance, embed, failure, fixture, floats, json_lines, vector};
use serde_json::{Value, json};

fn reference(model: &str) -> Value {
    let path = fixture(model).join("reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The cases of a reference, grouped by what has to be asked for: the prompt and the length.
fn groups(reference: &Value) -> BTreeMap<(Option<String>, u64), Vec<&Value>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for case in reference["cases"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().map(str::to_owned);
        groups.entry((prompt, case["max_length"].as_u64().unwrap())).or_default().push(case);
    }
    groups
}

/// Embeds the texts of cases through stdin as JSONL, where a text may have any character.
fn embed_cases(model: &str, prompt: Option<&str>, max_length: u64, cases: &[&Value], args: &[&str]) -> Vec<Value> {
    let lines: String = cases.iter().map(|case| format!("{}\n", json!({"text": case["text"]}))).collect();
    let mut command = common::docent();
    command.arg("embed").arg("-m").arg(fixture(model)).args(["--input", "-", "--max-length", &max_length.to_string()]);
    if let Some(prompt) = prompt {
        command.args(["--prompt", prompt]);
    }
    let output = command.args(args).write_stdin(lines).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn vectors_are_those_of_the_reference_in_every_pooling() {
    let reference = reference("bert-tiny");
    for ((prompt, max_length), cases) in groups(&reference) {
        for pooling in ["cls", "mean", "max", "last"] {
            for (args, kind) in
                [(vec!["--pooling", pooling], "normalised"), (vec!["--pooling", pooling, "--no-normalize"], "pooled")]
            {
                let results = embed_cases("bert-tiny", prompt.as_deref(), max_length, &cases, &args);
                for (result, case) in results.iter().zip(&cases) {
                    let distance = distance(&vector(result), &floats(&case[kind][pooling]));
                    // Means and maxima reach 4, so an absolute bound is strict enough for both kinds.
                    assert!(distance < 1e-5, "{pooling} {kind} {:?}: {distance}", case["text"]);
                }
            }
        }
    }
}

#[test]
fn every_variant_of_the_model_is_right_with_its_own_settings() {
    for model in ["cls-f16", "max-bf16", "last-sharded", "distilbert", "odd-width", "cased"] {
        let model = format!("bert-variants/{model}");
        let reference = reference(&model);
        let pooling = reference["pooling"].as_str().unwrap();
        for ((prompt, max_length), cases) in groups(&reference) {
            let results = embed_cases(&model, prompt.as_deref(), max_length, &cases, &[]);
            assert_eq!(results.len(), cases.len());
            for (result, case) in results.iter().zip(&cases) {
                let distance = distance(&vector(result), &floats(&case["normalised"][pooling]));
                assert!(distance < 1e-5, "{model} {:?}: {distance}", case["text"]);
            }
        }
    }
}

#[test]
fn tokens_are_counted_and_what_is_cut_is_told() {
    let reference = reference("bert-tiny");
    for ((prompt, max_length), cases) in groups(&reference) {
        let results = embed_cases("bert-tiny", prompt.as_deref(), max_length, &cases, &[]);
        for (index, (result, case)) in results.iter().zip(&cases).enumerate() {
            let (all, read) =
                (case["tokens_before_cut"].as_u64().unwrap(), case["ids"].as_array().unwrap().len() as u64);
            assert_eq!(result["index"], index);
            assert_eq!(result["tokens"], read);
            assert_eq!(result["truncated"], all > read);
            assert_eq!(result.get("dropped").cloned(), (all > read).then(|| json!(all - read)));
            assert!(result.get("id").is_none());
        }
    }
}

#[test]
fn without_pooling_every_token_has_a_vector() {
    let reference = reference("bert-tiny");
    let cases: Vec<&Value> =
        reference["cases"].as_array().unwrap().iter().filter(|case| case["hidden"].is_array()).collect();
    assert!(cases.len() >= 3);
    let cases: Vec<&Value> =
        cases.into_iter().filter(|case| case["prompt"].is_null() && case["max_length"] == 96).collect();
    // Normalisation is for the vector of a text.
    let results = embed_cases("bert-tiny", None, 96, &cases, &["--pooling", "none"]);
    for (result, case) in results.iter().zip(&cases) {
        let (rows, expected) = (result["embedding"].as_array().unwrap(), case["hidden"].as_array().unwrap());
        assert_eq!(rows.len(), expected.len());
        assert_eq!(result["tokens"], rows.len());
        for (row, expected) in rows.iter().zip(expected) {
            assert!(distance(&floats(row), &floats(expected)) < 1e-5);
        }
    }
}

#[test]
fn prompts_by_name_are_the_models_own() {
    let texts = ["the old city", "people walk along the river"];
    let run = |args: &[&str]| json_lines(embed().args(args).args(texts));
    assert_eq!(run(&["--prompt-name", "query"]), run(&["--prompt", "query: "]));
    assert_eq!(run(&["--prompt-name", "document"]), run(&["--prompt", "the text is: "]));
    assert_ne!(run(&["--prompt-name", "query"]), run(&[]));
    assert_eq!(run(&["--prompt", ""]), run(&[]));
}

#[test]
fn a_prompt_that_the_model_does_not_have_is_told_once() {
    let mut command = common::docent();
    command.arg("embed").arg("-m").arg(fixture("bert-variants/cls-f16")).args(["--prompt-name", "query", "a", "b"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(notes.matches("no prompt for queries is known").count(), 1, "{notes}");
    assert_eq!(notes.lines().count(), 1, "{notes}");
    let mut plain = common::docent();
    plain.arg("embed").arg("-m").arg(fixture("bert-variants/cls-f16")).args(["a", "b"]);
    assert_eq!(output.stdout, plain.output().unwrap().stdout);
}

#[test]
fn vectors_are_cut_and_then_scaled() {
    let text = "the river runs through the old city";
    let whole = vector(&json_lines(embed().args(["--no-normalize", text]))[0]);
    let cut = vector(&json_lines(embed().args(["--no-normalize", "--dim", "10", text]))[0]);
    assert_eq!(cut, whole[..10]);
    let scaled = vector(&json_lines(embed().args(["--dim", "10", text]))[0]);
    let length = cut.iter().map(|value| value * value).sum::<f32>().sqrt();
    let expected: Vec<f32> = cut.iter().map(|value| value / length).collect();
    assert!(distance(&scaled, &expected) < 1e-6);
}

#[test]
fn the_side_that_is_cut_can_be_chosen() {
    let text = "one two three four five six seven eight nine ten";
    let run = |args: &[&str]| -> Value {
        let output = embed().args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all = run(&[text])["tokens"].as_u64().unwrap();
    let right = run(&["--max-length", "7", text]);
    let left = run(&["--max-length", "7", "--truncate", "left", text]);
    for cut in [&right, &left] {
        assert_eq!((&cut["tokens"], &cut["truncated"], &cut["dropped"]), (&json!(7), &json!(true), &json!(all - 7)));
    }
    assert_ne!(right["embedding"], left["embedding"]);
    let message = failure(embed().args(["--max-length", "7", "--truncate", "error", "short", text]), 1);
    assert_eq!(message, format!("text 1 has {all} tokens, more than the 7 allowed; shorten it or allow truncation"));
}

#[test]
fn truncation_is_summed_up_at_the_end() {
    let long = "word ".repeat(200);
    let output = embed().args(["short", &long, "also short"]).output().unwrap();
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert_eq!(warning, "warning: 1 of 3 texts truncated to 96 tokens; see \"truncated\" in the results\n");
}

#[test]
fn threads_and_neighbours_change_no_bit() {
    let long = "a river and a city ".repeat(12);
    let texts = ["hello world", "", long.trim(), "the old city", "x"];
    let together = json_lines(embed().args(["--threads", "1"]).args(texts));
    let more_threads = json_lines(embed().args(["--threads", "3"]).args(texts));
    assert_eq!(together, more_threads);
    for (text, result) in texts.iter().zip(&together) {
        assert_eq!(vector(&json_lines(embed().arg("--").arg(text))[0]), vector(result), "{text:?}");
    }
}

#[test]
fn a_text_of_a_megabyte_is_read_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.txt");
    std::fs::write(&file, "the old city ".repeat(80_000)).unwrap();
    let output = embed().arg("--input").arg(&file).output().unwrap();
    assert!(output.status.success());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["tokens"], &result["truncated"]), (&json!(96), &json!(true)));
    assert_eq!(result["dropped"], 240_000 + 2 - 96);
}

#[test]
fn options_that_the_model_cannot_follow_are_usage_errors() {
    let message = failure(embed().args(["--dim", "97", "x"]), 2);
    assert!(message.contains("97") && message.contains("96"), "{message}");
    for length in ["1", "2", "129"] {
        let message = failure(embed().args(["--max-length", length, "x"]), 2);
        assert!(message.contains(length) && message.contains("3 to 128"), "{message}");
    }
}
