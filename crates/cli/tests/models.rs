//! `docent models` and `docent pull`.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use common::{docent, docent_process, failure, fixture, gguf, show, stdout};

#[test]
fn help() {
    insta::assert_snapshot!("models_help", show(docent().args(["models", "--help"])));
    insta::assert_snapshot!("pull_help", show(docent().args(["pull", "--help"])));
}

fn listed(args: &[&str]) -> Vec<serde_json::Value> {
    let output = docent().args(["models", "--json"]).args(args).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn json_has_the_whole_entry_and_what_is_so_here() {
    let models = listed(&[]);
    let default = models.iter().find(|model| model["name"] == "all-MiniLM-L6-v2").unwrap();
    assert_eq!((&default["dim"], &default["kind"]), (&384.into(), &"embedding".into()));
    assert_eq!((&default["supported"], &default["cached"]), (&true.into(), &serde_json::Value::Null));
    assert!(default["source"].as_array().unwrap().len() >= 2, "{default}");
    assert!(models.iter().all(|model| model["supported"] == true));

    let all = listed(&["--all"]);
    assert!(all.len() > models.len());
    let rerankers = listed(&["--all", "--kind", "reranker"]);
    assert!(!rerankers.is_empty() && rerankers.iter().all(|model| model["kind"] == "reranker"));
    assert!(rerankers.len() < all.len());
}

#[test]
fn the_table_is_for_people() {
    let output = docent().arg("models").output().unwrap();
    let (table, notes) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "KIND", "DIM", "TOKENS", "SIZE", "LICENCE", "RUNS", "HERE", "CACHED"]);
    let row = table.lines().find(|line| line.starts_with("all-MiniLM-L6-v2 ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["all-MiniLM-L6-v2", "embedding", "384", "256", "~24.1", "MB", "Apache-2.0", "yes", "no"]);
    assert!(table.lines().any(|line| line.starts_with("bge-reranker-v2-m3 ") && line.contains(" yes ")), "{table}");
    // The query expanders.
    assert!(notes.contains("--all lists them"), "{notes}");
}

#[test]
fn a_wrong_kind_is_a_usage_error() {
    let output = docent().args(["models", "--kind", "poem"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("[possible values: embedding, reranker, expander]"));
}

#[test]
fn pull_gives_the_path_of_what_is_here() {
    let model = fixture("bert-tiny");
    let output = docent().args(["pull", "--offline"]).arg(&model).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", model.display()));
    let output = docent().args(["pull", "--offline", "--json"]).arg(&model).output().unwrap();
    let fetched: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(fetched["path"], model.to_str().unwrap());
    let weights = std::fs::metadata(model.join("model.safetensors")).unwrap().len();
    assert!(fetched["bytes"].as_u64().unwrap() > weights, "{fetched}");
}

#[test]
fn pull_offline_says_what_is_missing_and_where_it_looked() {
    for model in ["all-MiniLM-L6-v2", "hf:user/repo/model.gguf"] {
        let error = failure(docent().args(["pull", "--offline", model]), 1);
        assert!(error.contains("offline"), "{error}");
    }
}

#[test]
fn pull_of_an_unknown_name_makes_a_suggestion() {
    let output = docent().args(["pull", "--json", "all-minilm-l6-v3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("did you mean all-MiniLM-L6-v2"), "{message}");
}

#[test]
fn an_unknown_format_is_a_usage_error() {
    let output = docent().args(["pull", "--quant", "Q9_9", "bge-small-en-v1.5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_model_in_the_cache_is_found_by_every_command() {
    let file = gguf::tiny("q8_0");
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models/all-MiniLM-L6-v2");
    std::fs::create_dir_all(&folder).unwrap();
    let cached = folder.join("all-MiniLM-L6-v2-Q8_0.gguf");
    std::fs::copy(file.path(), &cached).unwrap();

    let run = |args: &[&str]| stdout(docent().args(args).env("DOCENT_CACHE", cache.path()));
    assert_eq!(run(&["pull", "--offline", "minilm"]), format!("{}\n", cached.display()));
    let models: Vec<serde_json::Value> = serde_json::from_str(&run(&["models", "--json"])).unwrap();
    let known = models.iter().find(|model| model["name"] == "all-MiniLM-L6-v2").unwrap();
    assert_eq!(known["cached"], cached.to_str().unwrap());
    // The default model of every command.
    let info: serde_json::Value = serde_json::from_str(&run(&["info", "--offline", "--json"])).unwrap();
    assert_eq!((&info["model"], &info["dim"]), (&"all-MiniLM-L6-v2".into(), &96.into()));
    let missing = failure(docent().args(["pull", "--offline", "--quant", "F16", "minilm"]), 1);
    assert!(missing.contains("offline"), "{missing}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_not() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = docent_process().args(["models", "--all", "--json"]).stdout(full).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot write to standard output") && errors.lines().count() == 1, "{errors}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = docent_process().args(["models", "--all", "--json"]).stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
