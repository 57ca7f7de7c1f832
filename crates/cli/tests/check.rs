//! `docent check`: sound models pass, damaged ones are found out.

mod common;

use common::{docent, fixture, gguf, show};

#[test]
fn help() {
    insta::assert_snapshot!(show(docent().args(["check", "--help"])));
}

#[test]
fn a_sound_model_passes() {
    let shown = show(docent().args(["check", "--threads", "2"]).arg(fixture("bert-tiny")));
    let filters = [
        ("[0-9.]+ ms", "[time]"),
        ("peak memory [0-9.]+ .B", "peak memory [size]"),
        ("off by [0-9.e-]+", "off by [little]"),
        ("(?m)^(opens +ok +)[a-z0-9-]+", "$1[isa]"),
    ];
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!(shown) });
}

#[test]
fn json_has_every_check_and_the_times() {
    let file = gguf::tiny("q8_0");
    let output = docent().args(["check", "--json"]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true);
    assert!(report["load_ms"].as_f64().unwrap() > 0.0 && report["first_vector_ms"].as_f64().unwrap() > 0.0);
    let checks: Vec<(&str, &str)> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["check"].as_str().unwrap(), check["result"].as_str().unwrap()))
        .collect();
    let expected = [
        ("opens", "ok"),
        ("vectors are finite", "ok"),
        ("unit length", "ok"),
        ("same bits in a batch", "ok"),
        ("published values", "skipped"),
        ("weights are finite", "ok"),
    ];
    assert_eq!(checks, expected);
}

#[test]
fn every_damaged_tensor_is_named() {
    let file = gguf::edited(|model| {
        model.tensor("blk.1.ffn_up.weight").set_f32(1234, f32::NAN);
        model.tensor("token_embd.weight").set_f32(96 * 500, f32::INFINITY);
    });
    let output = docent().arg("check").arg(file.path()).output().unwrap();
    let (results, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(results.contains("blk.1.ffn_up.weight has NaN at element 1234"), "{results}");
    assert!(results.contains("token_embd.weight has inf at element 48000"), "{results}");
    assert!(results.contains("opens") && results.contains("FAILED"), "{results}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("2 of 2 checks failed: opens, weights are finite"), "{errors}");
}

#[test]
fn a_damaged_embedding_is_found_although_the_model_opens() {
    // A row of the table that no probe reads.
    let file = gguf::edited(|model| model.tensor("token_embd.weight").set_f32(96 * 900 + 5, f32::NAN));
    let output = docent().args(["check", "--json"]).arg(file.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let weights = report["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(weights["result"], "failed");
    assert!(weights["detail"].as_str().unwrap().contains("token_embd.weight has NaN at element 86405"), "{weights}");
}

#[test]
fn another_model_under_a_known_name_is_found_out() {
    let file = gguf::tiny("q8_0");
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models/all-MiniLM-L6-v2");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(file.path(), folder.join("all-MiniLM-L6-v2-Q8_0.gguf")).unwrap();

    let mut check = docent();
    check.args(["check", "--json", "--offline", "all-MiniLM-L6-v2"]).env("DOCENT_CACHE", cache.path());
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let published: Vec<&serde_json::Value> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["check"] == "published values").collect();
    assert_eq!(published.len(), 3, "{report}");
    assert!(published.iter().any(|check| check["result"] == "failed"), "{report}");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("published values"), "{error}");
}
