//! Small encoders with random weights, as directories and as GGUF files, against `PyTorch` in `float32`.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::copy_folder;
use docent_kernels::{Executor, Isa, Matrix, Pooling, ThreadPool};
use docent_models::convert::{OutputType, convert};
use docent_models::{Batch, Model, ScoreKind};
use serde::Deserialize;
use tempfile::TempDir;

/// Each with the architecture of its files.
const MODELS: [(&str, &str); 12] = [
    ("modern-bert", "modern-bert"),
    ("modern-bert-rerank", "modern-bert"),
    ("modern-bert-modules", "modern-bert"),
    ("nomic-bert", "nomic-bert"),
    ("nomic-bert-moe", "nomic-bert-moe"),
    ("jina-bert-v2", "jina-bert-v2"),
    ("jina-bert-v2-code", "jina-bert-v2"),
    ("jina-bert-v3", "jina-bert-v3"),
    ("gte-new", "gte-new"),
    ("deberta-v2", "deberta-v2"),
    ("mpnet", "mpnet"),
    ("electra", "bert"),
];

/// Those that transformers has had classes for since version 5, each with the architecture of its files. It gives the first three a configuration and
/// names of its own.
const OF_TRANSFORMERS_5: [(&str, &str); 8] = [
    ("jina-bert-v3", "jina-bert-v3"),
    ("nomic-bert", "nomic-bert"),
    ("gte-new", "gte-new"),
    ("embedding-gemma2", "gemma-embedding2"),
    ("eurobert", "eurobert"),
    ("eurobert-late", "eurobert"),
    ("eurobert-mean", "eurobert"),
    ("eurobert-bos", "eurobert"),
];

#[derive(Deserialize)]
struct Reference {
    pooling: Option<String>,
    positions: usize,
    cases: Vec<Case>,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    pooled: Vec<f32>,
    /// Where GGUF cannot hold all of the model.
    pooled_gguf: Option<Vec<f32>>,
    /// With the adapters of each task.
    #[serde(default)]
    pooled_tasks: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct Pair {
    ids: Vec<u32>,
    segments: Vec<u32>,
    logit: f32,
    logit_gguf: Option<f32>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/encoders").join(name)
}

fn reference(name: &str) -> Reference {
    reference_in(&folder(name))
}

fn reference_in(folder: &Path) -> Reference {
    serde_json::from_slice(&std::fs::read(folder.join("reference.json")).unwrap()).unwrap()
}

/// What a model is opened from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Directory,
    /// The file that was made as llama.cpp's converter makes it, which drops the pooler of a classifier.
    LlamaCpp,
    /// What Docent converts the directory to.
    Converted,
}

fn forms(name: &str) -> [(Model, Form); 3] {
    let folder = folder(name);
    [
        (open(&folder), Form::Directory),
        (open(&folder.join("model.gguf")), Form::LlamaCpp),
        (converted(&folder), Form::Converted),
    ]
}

fn open(path: &Path) -> Model {
    Model::open(path, &ThreadPool::new(1)).unwrap_or_else(|error| panic!("{error}"))
}

fn converted(folder: &Path) -> Model {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("model.gguf");
    convert(folder, &file, OutputType::F32, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    open(&file)
}

/// A copy of a model of transformers 5 with its tensors under the names that it was published with, if these are others.
fn under_published_names(folder: &Path) -> TempDir {
    let out = tempfile::tempdir().unwrap();
    copy_folder(folder, out.path());
    let weights = "model.safetensors";
    let published = folder.join("published-names").join(weights);
    if published.exists() {
        std::fs::copy(published, out.path().join(weights)).unwrap();
    }
    out
}

fn pooling(reference: &Reference) -> Pooling {
    match reference.pooling.as_deref() {
        Some("mean") => Pooling::Mean,
        Some("last") => Pooling::Last,
        Some("cls") | None => Pooling::Cls,
        Some(other) => panic!("{other}"),
    }
}

fn rows(matrix: &Matrix) -> Vec<Vec<f32>> {
    (0..matrix.rows()).map(|row| matrix.row(row).to_vec()).collect()
}

fn unit(vector: &[f32]) -> Vec<f64> {
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    vector.iter().map(|&value| f64::from(value) / length).collect()
}

/// That two vectors have the same direction and, once of unit length, the same values.
#[track_caller]
fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let (found, expected) = (unit(found), unit(expected));
    let cosine: f64 = found.iter().zip(&expected).map(|(a, b)| a * b).sum();
    let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(cosine >= 0.999_99 && difference <= 2e-5, "{what}: cosine {cosine}, largest difference {difference}");
}

#[test]
fn every_form_gives_the_vectors_of_pytorch() {
    for (name, architecture) in MODELS {
        let reference = reference(name);
        for (model, form) in forms(name) {
            let description = model.description();
            assert_eq!(description.architecture, architecture);
            assert_eq!(description.positions, reference.positions, "{name}");
            assert_eq!(description.pooling, reference.pooling.as_ref().map(|_| pooling(&reference)), "{name}");
            assert_eq!(description.unused_tensors, Vec::<String>::new(), "{name}");
            let mut executor = Executor::inline(Isa::best());
            for case in &reference.cases {
                assert_eq!(model.tokenizer().ids(&case.text).unwrap(), case.ids, "{name}: {:?}", case.text);
                let batch = Batch::new([&case.ids[..]]);
                let found = model.pooled(&mut executor, &batch, pooling(&reference)).unwrap();
                let expected = case.pooled_gguf.as_ref().filter(|_| form != Form::Directory).unwrap_or(&case.pooled);
                close(found.row(0), expected, &format!("{name}, {form:?}: {:?}", case.text));
                executor.recycle(found);
            }
        }
    }
}

#[test]
fn what_transformers_5_saves_gives_what_it_computes() {
    for (name, architecture) in OF_TRANSFORMERS_5 {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/transformers-5").join(name);
        let (reference, published) = (reference_in(&folder), under_published_names(&folder));
        for folder in [&folder, published.path()] {
            for model in [open(folder), converted(folder)] {
                let description = model.description();
                assert_eq!((description.architecture, description.positions), (architecture, reference.positions));
                assert_eq!(description.unused_tensors, Vec::<String>::new(), "{name}");
                let mut executor = Executor::inline(Isa::best());
                for case in &reference.cases {
                    assert_eq!(model.tokenizer().ids(&case.text).unwrap(), case.ids, "{name}: {:?}", case.text);
                    let batch = Batch::new([&case.ids[..]]);
                    let found = model.pooled(&mut executor, &batch, pooling(&reference)).unwrap();
                    close(found.row(0), &case.pooled, &format!("{name}: {:?}", case.text));
                    assert_eq!(case.pooled_tasks.len(), description.tasks.len());
                    for (task, task_name) in description.tasks.iter().enumerate() {
                        let batch = Batch::new([&case.ids[..]]).for_task(Some(task));
                        let found = model.pooled(&mut executor, &batch, pooling(&reference)).unwrap();
                        close(found.row(0), &case.pooled_tasks[task_name], &format!("{task_name}: {:?}", case.text));
                    }
                }
                assert_eq!(description.reranker, !reference.pairs.is_empty(), "{name}");
                for pair in &reference.pairs {
                    let batch = Batch::new([&pair.ids[..]]).with_segments(pair.segments.clone());
                    let found = model.scores(&mut executor, &batch, None).unwrap().row(0)[0];
                    assert!((found - pair.logit).abs() <= 1e-4, "{name}: {found}, expected {}", pair.logit);
                }
            }
        }
    }
}

/// `EmbeddingGemma` 2 as it is published: the settings of texts within those of a model that sees and hears as well.
#[test]
fn the_part_that_reads_text_is_found_within_a_larger_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/transformers-5/embedding-gemma2");
    let reference = reference_in(&folder);
    let larger = under_published_names(&folder);
    let path = larger.path().join("config.json");
    let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    // As transformers writes the number in a model of ten layers and more.
    text["per_layer_config"] = serde_json::json!({"01": text["per_layer_config"]["1"]});
    // The last layer attends to all, whatever is said of it.
    text["layer_types"][1] = serde_json::json!("sliding_attention");
    let config = serde_json::json!({
        "model_type": "embedding_gemma2", "architectures": ["EmbeddingGemma2Model"], "text_config": text,
        "vision_config": {"model_type": "gemma4_vision", "hidden_size": 7},
    });
    std::fs::write(path, config.to_string()).unwrap();
    let mut executor = Executor::inline(Isa::best());
    for model in [open(larger.path()), converted(larger.path())] {
        assert_eq!((model.description().embedding_size, model.description().unused_tensors.len()), (18, 0));
        for case in &reference.cases {
            let found = model.pooled(&mut executor, &Batch::new([&case.ids[..]]), Pooling::Mean).unwrap();
            close(found.row(0), &case.pooled, &case.text);
        }
    }
}

#[test]
fn every_task_gives_the_vectors_of_pytorch() {
    let name = "jina-bert-v3";
    let reference = reference(name);
    let [(directory, _), (base, _), (converted, _)] = forms(name);
    assert_eq!(base.description().tasks, Vec::<String>::new());
    for model in [&directory, &converted] {
        let description = model.description();
        let prompts = &description.prompts;
        assert_eq!((prompts.query(), prompts.document()), (Some("find: "), Some("found: ")));
        assert_eq!(description.unused_tensors, Vec::<String>::new());
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            for case in &reference.cases {
                assert_eq!(case.pooled_tasks.len(), description.tasks.len());
                let mut run = |task: Option<usize>| {
                    let batch = Batch::new([&case.ids[..]]).for_task(task);
                    model.pooled(&mut executor, &batch, Pooling::Mean).unwrap().row(0).to_vec()
                };
                let plain = run(None);
                for (task, name) in description.tasks.iter().enumerate() {
                    let found = run(Some(task));
                    close(&found, &case.pooled_tasks[name], &format!("{name} on {isa}: {:?}", case.text));
                    assert_ne!(found, plain, "{name}");
                }
                close(&plain, &case.pooled, "no task");
            }
        }
    }
    let batch = Batch::new([&reference.cases[0].ids[..]]).for_task(Some(3));
    let error = directory.pooled(&mut Executor::inline(Isa::best()), &batch, Pooling::Mean).err().unwrap();
    assert_eq!(error.to_string(), "the batch is for task 3, the model has adapters for 3");
}

/// For the last tokens alone, on threads, and in a batch with others: the bits that a text has alone.
#[test]
fn a_text_has_the_same_bits_for_a_task_in_any_batch() {
    let reference = reference("jina-bert-v3");
    let [(model, _), ..] = forms("jina-bert-v3");
    let texts: Vec<&[u32]> = reference.cases.iter().map(|case| &case.ids[..]).collect();
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Last] {
        let run = |executor: &mut Executor, texts: &[&[u32]]| {
            let batch = Batch::new(texts.iter().copied()).for_task(Some(1));
            rows(&model.pooled(executor, &batch, pooling).unwrap())
        };
        let mut executor = Executor::inline(Isa::best());
        let alone: Vec<_> = texts.iter().flat_map(|text| run(&mut executor, &[text])).collect();
        assert_eq!(run(&mut executor, &texts), alone, "{pooling:?}");
        let mut pool = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(3)));
        assert_eq!(run(&mut pool, &texts), alone, "{pooling:?} on threads");
    }
}

#[test]
fn every_form_gives_the_scores_of_pytorch() {
    for (name, _) in MODELS {
        let reference = reference(name);
        for (model, form) in forms(name) {
            assert_eq!(model.description().reranker, !reference.pairs.is_empty(), "{name}");
            let kind = (!reference.pairs.is_empty()).then_some(ScoreKind::Logit);
            assert_eq!(model.description().scores, kind, "{name}");
            let mut executor = Executor::inline(Isa::best());
            for pair in &reference.pairs {
                let batch = Batch::new([&pair.ids[..]]).with_segments(pair.segments.clone());
                let found = model.scores(&mut executor, &batch, None).unwrap().row(0)[0];
                let expected = pair.logit_gguf.filter(|_| form == Form::LlamaCpp).unwrap_or(pair.logit);
                assert!((found - expected).abs() <= 1e-4, "{name}, {form:?}: {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn a_text_has_the_same_bits_alone_in_any_batch_and_on_any_number_of_threads() {
    for (name, _) in MODELS {
        let reference = reference(name);
        let [_, (model, _), _] = forms(name);
        let texts: Vec<&[u32]> = reference.cases.iter().map(|case| &case.ids[..]).collect();
        let mut executor = Executor::inline(Isa::best());
        for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Last] {
            let mut alone = Vec::new();
            for text in &texts {
                let pooled = model.pooled(&mut executor, &Batch::new([*text]), pooling).unwrap();
                alone.extend(rows(&pooled));
                executor.recycle(pooled);
            }
            let together = model.pooled(&mut executor, &Batch::new(texts.iter().copied()), pooling).unwrap();
            assert_eq!(rows(&together), alone, "{name}: {pooling:?}");
            let mut pool = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(3)));
            let backwards = model.pooled(&mut pool, &Batch::new(texts.iter().rev().copied()), pooling).unwrap();
            let backwards: Vec<_> = rows(&backwards).into_iter().rev().collect();
            assert_eq!(backwards, alone, "{name}: {pooling:?} on threads");
            executor.recycle(together);
        }
    }
}

#[test]
fn every_instruction_set_gives_the_vectors() {
    for (name, _) in MODELS {
        let reference = reference(name);
        let [(model, _), ..] = forms(name);
        let case = reference.cases.iter().max_by_key(|case| case.ids.len()).unwrap();
        for isa in Isa::available() {
            let mut executor = Executor::inline(isa);
            let batch = Batch::new([&case.ids[..]]);
            let found = model.pooled(&mut executor, &batch, pooling(&reference)).unwrap();
            close(found.row(0), &case.pooled, &format!("{name} on {isa}"));
        }
    }
}
