//! Tables of token vectors, against model2vec and sentence-transformers.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use std::path::Path;

use docent::convert::{self, OutputType};
use docent::{EmbedOptions, Embedder, Pooling};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{bits, converted, copy_folder, cosine, fixture, max_difference, open};

#[derive(Deserialize)]
struct Reference {
    normalize: bool,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    vector: Vec<f32>,
}

fn model(name: &str) -> std::path::PathBuf {
    fixture("static").join(name)
}

fn reference(name: &str) -> Reference {
    serde_json::from_slice(&std::fs::read(model(name).join("reference.json")).unwrap()).unwrap()
}

/// Vectors as they come, of any length.
fn raw() -> EmbedOptions {
    EmbedOptions { normalize: false, ..EmbedOptions::default() }
}

/// That an embedder reads the tokens of the reference, as far as there are limits, and gives its vectors.
fn check(embedder: &Embedder, name: &str, tolerance: f32) {
    let description = &embedder.settings().description;
    assert_eq!((description.architecture, description.pooling), ("static-embedding", Some(Pooling::Mean)));
    let Reference { cases, .. } = reference(name);
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    let together = embedder.embed_with(&texts, &raw()).unwrap();
    for (case, found) in cases.iter().zip(&together) {
        let prepared = embedder.prepare(&[&case.text], &raw()).unwrap().remove(0).unwrap();
        assert_eq!(prepared.ids(), case.ids, "{name}: {:?}", case.text);
        let scale = case.vector.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        let difference = max_difference(found.vector(), &case.vector) / scale;
        assert!(difference <= tolerance, "{name}: {difference} for {:?}", case.text);
        assert_eq!(bits(found), bits(&embedder.embed_with(&[&case.text], &raw()).unwrap()[0]));
    }
}

#[test]
fn embeddings_are_those_of_the_libraries_that_saved_them() {
    for name in ["model2vec", "super-tokens", "shared-rows", "static-embedding", "static-embedding-dense"] {
        let embedder = open(&model(name), 2);
        check(&embedder, name, 1e-6);
        assert_eq!(embedder.settings().description.normalize, Some(reference(name).normalize), "{name}");
    }
}

#[test]
fn files_give_what_the_directories_do() {
    for name in ["model2vec", "super-tokens", "static-embedding", "static-embedding-dense"] {
        let folder = tempfile::tempdir().unwrap();
        let file = converted(&model(name), OutputType::F32, folder.path());
        let embedder = open(&file, 1);
        check(&embedder, name, 1e-6);
        let small = open(&converted(&model(name), OutputType::Q8_0, folder.path()), 1);
        assert_eq!(small.settings().max_length, embedder.settings().max_length);
        for case in reference(name).cases.iter().filter(|case| case.vector.iter().any(|&value| value != 0.0)) {
            let found = small.embed_with(&[&case.text], &raw()).unwrap().remove(0);
            assert!(cosine(found.vector(), &case.vector) > 0.9995, "{name}: {:?}", case.text);
        }
    }
}

#[test]
fn tables_in_a_folder_of_their_own_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("0_StaticEmbedding");
    std::fs::create_dir(&inner).unwrap();
    copy_folder(&model("static-embedding"), &inner);
    let modules = json!([
        {"idx": 0, "path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"},
        {"idx": 1, "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]);
    std::fs::write(folder.path().join("modules.json"), modules.to_string()).unwrap();
    check(&open(folder.path(), 1), "static-embedding", 1e-6);
    check(&open(&converted(folder.path(), OutputType::F32, folder.path()), 1), "static-embedding", 1e-6);
}

#[test]
fn a_text_without_tokens_is_zeros() {
    let embedder = open(&model("model2vec"), 1);
    let embeddings = embedder.embed(&["", "the river", "語"]).unwrap();
    let zeros = |index: usize| embeddings[index].vector().iter().all(|&value| value == 0.0);
    assert_eq!((zeros(0), zeros(1), zeros(2)), (true, false, true));
    assert_eq!((embeddings[0].tokens, embeddings[2].tokens), (0, 0));
    let options = EmbedOptions { pooling: Some(Pooling::None), ..EmbedOptions::default() };
    let tokens = embedder.embed_with(&["", "the river"], &options).unwrap();
    assert_eq!((tokens[0].rows().len(), tokens[1].rows().len()), (0, tokens[1].tokens));
    // Of transformers nothing is asked for: there is nothing that they could say.
    let error =
        open(&fixture("decoders/qwen2-causal"), 1).prepare_ids(&[[0u32; 0]], &raw()).unwrap().remove(0).unwrap_err();
    assert!(error.to_string().contains("no tokens"), "{error}");
}

/// Puts one text in the place of another of the same length.
fn replace_in(file: &'static str, from: &'static str, to: &'static str) -> impl Fn(&Path) {
    move |folder| {
        let path = folder.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let place = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn settings_of_transformers_beside_a_table_are_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&model("static-embedding"), folder.path());
    let settings = json!({"max_seq_length": 3, "do_lower_case": true});
    std::fs::write(folder.path().join("sentence_bert_config.json"), settings.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), json!({"model_max_length": 4}).to_string()).unwrap();
    check(&open(folder.path(), 1), "static-embedding", 1e-6);
}

#[test]
fn transformers_in_a_folder_of_their_own_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("0_Transformer");
    std::fs::create_dir(&inner).unwrap();
    copy_folder(&fixture("bert-tiny"), &inner);
    for name in ["modules.json", "1_Pooling"] {
        std::fs::rename(inner.join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("modules.json");
    let mut modules: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    modules[0]["path"] = json!("0_Transformer");
    std::fs::write(path, modules.to_string()).unwrap();
    let (whole, nested) = (open(&fixture("bert-tiny"), 1), open(folder.path(), 1));
    assert_eq!(whole.settings().max_length, nested.settings().max_length);
    let texts = ["the old river", "a hall"];
    let embed = |embedder: &Embedder| embedder.embed_with(&texts, &raw()).unwrap().iter().map(bits).collect::<Vec<_>>();
    assert_eq!(embed(&whole), embed(&nested));
    assert_eq!(embed(&whole), embed(&open(&converted(folder.path(), OutputType::F32, folder.path()), 1)));
}

#[test]
fn what_cannot_be_read_is_named() {
    let refused = |name: &str, change: &dyn Fn(&Path)| -> String {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&model(name), folder.path());
        change(folder.path());
        Embedder::open(folder.path().to_str().unwrap()).unwrap_err().to_string()
    };
    let set = |file: &'static str, key: &'static str, value: Value| {
        move |folder: &Path| {
            let path = folder.join(file);
            let mut document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            document[key] = value.clone();
            std::fs::write(path, document.to_string()).unwrap();
        }
    };
    let error = refused("model2vec", &set("config.json", "max_length", json!("long")));
    assert!(error.contains("max_length: expected a whole number"), "{error}");
    let error = refused("model2vec", &set("config.json", "max_length", json!(0)));
    assert!(error.contains("max_length: expected 1 to "), "{error}");
    let error = refused("static-embedding", &|folder| std::fs::remove_file(folder.join("model.safetensors")).unwrap());
    assert!(error.contains("model.safetensors"), "{error}");
    let error = refused("static-embedding", &|folder| {
        let bert = fixture("bert-tiny/model.safetensors");
        std::fs::copy(bert, folder.join("model.safetensors")).unwrap();
    });
    assert!(error.contains("tensor `embedding.weight` is missing"), "{error}");
    let cut = |key: &str, value: Value| {
        let mut truncation = json!({"max_length": 20, "direction": "Right"});
        truncation[key] = value;
        set("tokenizer.json", "truncation", truncation)
    };
    let error = refused("static-embedding", &cut("direction", json!("Left")));
    assert!(error.contains("truncation.direction of the tokenizer: expected \"Right\", found \"Left\""), "{error}");
    let error = refused("static-embedding", &cut("max_length", json!(0)));
    assert!(error.contains("truncation.max_length of the tokenizer: expected at least 1, found 0"), "{error}");
    let error = refused("super-tokens", &replace_in("model.safetensors", "\"I8\"", "\"U8\""));
    assert!(error.contains("type of the table: expected I8 or floats, found U8"), "{error}");
    let error = refused("shared-rows", &|folder| {
        let path = folder.join("model.safetensors");
        let mut file = std::fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let tensors: Value = serde_json::from_slice(&file[8..header]).unwrap();
        let start = tensors["mapping"]["data_offsets"][0].as_u64().unwrap() as usize;
        // As I32 and as I64.
        file[header + start] = 30;
        std::fs::write(path, file).unwrap();
    });
    assert!(error.contains("token_embd.rows: expected rows below 30, found 30"), "{error}");
    let error = refused("static-embedding", &|folder| {
        let modules = json!([{"path": "", "type": "StaticEmbedding"}, {"path": "1_Pooling", "type": "Pooling"}]);
        std::fs::write(folder.join("modules.json"), modules.to_string()).unwrap();
    });
    assert!(error.contains("expected Transformer or StaticEmbedding first, then Pooling"), "{error}");
    // Tokens that share rows have no place in a GGUF file.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let error = convert::convert(&model("shared-rows"), &out, OutputType::F32, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("vocabulary_quantization"), "{error}");
}
