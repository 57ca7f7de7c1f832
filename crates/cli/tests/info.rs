//! `docent info`: facts from any file, and why one does not run.

mod common;

use common::{docent, fixture, gguf, show};

#[test]
fn help() {
    insta::assert_snapshot!(show(docent().args(["info", "--help"])));
}

/// The workspace is for as many threads as the machine has.
const WORKSPACE: [(&str, &str); 2] = [("about [0-9.]+ .?B", "about [size]"), ("up to [0-9.]+ .?B", "up to [size]")];

#[test]
fn a_directory_is_told_in_full() {
    let shown = show(docent().args(["info", "--offline"]).arg(fixture("bert-tiny")));
    insta::with_settings!({filters => WORKSPACE}, { insta::assert_snapshot!(shown) });
}

#[test]
fn a_gguf_file_is_told_with_its_tensors() {
    let file = gguf::tiny("q8_0");
    let shown = show(docent().args(["info", "--tensors"]).arg(file.path()));
    insta::with_settings!({filters => WORKSPACE}, { insta::assert_snapshot!(shown) });
}

/// What a line of the table says, whatever the width of its columns.
fn fact(shown: &str, name: &str) -> String {
    let value = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  "));
    value.unwrap_or_else(|| panic!("no {name:?} in\n{shown}")).trim().to_owned()
}

#[test]
fn json_has_the_same_facts() {
    let output = docent().args(["info", "--json", "--tensors"]).arg(fixture("bert-tiny")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (key, expected) in [
        ("architecture", "bert".into()),
        ("format", "safetensors".into()),
        ("layers", 2.into()),
        ("dim", 96.into()),
        ("heads", 3.into()),
        ("feed_forward_size", 160.into()),
        ("positions", 128.into()),
        ("max_length", 96.into()),
        ("pooling", "mean".into()),
        ("pooling_from", "file".into()),
        ("supported", true.into()),
        ("reason", serde_json::Value::Null),
    ] {
        assert_eq!(info[key], expected, "{key}");
    }
    assert_eq!(info["prompts"]["query"], "query: ");
    assert_eq!(info["tokenizer"]["vocabulary"], 916);
    let tensors = info["tensor_list"].as_array().unwrap();
    assert_eq!(info["tensors"], tensors.len());
    let bytes = |of: &serde_json::Value| of["bytes"].as_u64().unwrap();
    let by_type = info["quantization"].as_array().unwrap().iter().map(bytes).sum::<u64>();
    assert_eq!(tensors.iter().map(bytes).sum::<u64>(), by_type);
    assert!(by_type < info["file_bytes"].as_u64().unwrap());
    let memory = &info["memory"];
    let parts = ["packed_weights", "mapped_file", "workspace"].map(|part| memory[part].as_u64().unwrap());
    assert!(parts.iter().all(|&part| part > 0));
    assert_eq!(memory["total"], parts.iter().sum::<u64>());
}

#[test]
fn an_unsupported_architecture_is_no_error_but_a_fact() {
    let file = gguf::edited(|model| model.set("general.architecture", "command-r"));
    insta::assert_snapshot!(show(docent().arg("info").arg(file.path())));
    let output = docent().args(["info", "--json"]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["supported"], false);
    assert!(info["reason"].as_str().unwrap().contains("`command-r` is not supported"), "{info}");
    assert_eq!(info["architecture"], "command-r");
    assert_eq!(info["memory"], serde_json::Value::Null);
    assert_eq!(info["tokenizer"]["kind"], "WordPiece");
}

#[test]
fn a_vocabulary_alone_can_be_looked_at() {
    let file = gguf::edited(|model| model.tensors.clear());
    let shown = show(docent().arg("info").arg(file.path()));
    assert_eq!(fact(&shown, "tokenizer"), "WordPiece, 916 tokens");
    assert_eq!(fact(&shown, "tensors"), "none");
    assert!(fact(&shown, "runs here").contains("tensor `token_embd.weight` is missing"), "{shown}");
}

#[test]
fn an_unsupported_tensor_type_is_named() {
    let file = gguf::edited(|model| {
        let tensor = model.tensor("token_embd.weight");
        tensor.dims = vec![256, 4];
        tensor.ty = docent::gguf::TensorType::Q4_K;
        tensor.data = vec![0; 4 * 144];
    });
    let shown = show(docent().args(["info", "--tensors"]).arg(file.path()));
    assert_eq!(fact(&shown, "token_embd.weight"), "4 x 256   Q4_K    576");
    assert!(fact(&shown, "tensors").contains("1 Q4_K (576 B)"), "{shown}");
    assert!(fact(&shown, "runs here").starts_with("no: "), "{shown}");
}

#[test]
fn a_directory_without_weights_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(fixture("bert-tiny").join(file), folder.path().join(file)).unwrap();
    }
    let shown = show(docent().arg("info").arg(folder.path()));
    assert_eq!((fact(&shown, "architecture"), fact(&shown, "layers")), ("bert".into(), "2".into()));
    let reason = fact(&shown, "runs here");
    assert!(reason.starts_with("no: ") && reason.contains("model.safetensors"), "{reason}");
}
