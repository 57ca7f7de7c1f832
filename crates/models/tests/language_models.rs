//! Small decoders with random weights that write, as directories and as GGUF files converted from them, against `transformers` in
//! `float32`: logits after a prompt and after each token.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::path::{Path, PathBuf};
use std::sync::Arc;

use docent_kernels::{Executor, Isa, ThreadPool};
use docent_models::convert::{OutputType, convert};
use docent_models::{BatchError, Model, Prefix};
use proptest::prelude::*;
use serde::Deserialize;
use tempfile::TempDir;

const MODELS: [&str; 4] = ["qwen3-tied", "qwen3-untied", "llama-untied", "gemma3-tied"];

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prompt: Vec<u32>,
    /// Whether each token is the most likely after those before.
    greedy: bool,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    logits: Vec<f32>,
    /// The token that goes on; none after the last.
    next: Option<u32>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn open(path: &Path) -> Model {
    let threads = ThreadPool::new(1);
    let mut model = Model::open(path, &threads).unwrap_or_else(|error| panic!("{error}"));
    assert!(model.load_output(&threads).unwrap_or_else(|error| panic!("{error}")));
    model
}

/// The directory; one without a tokenizer.json gets another model's, which is as good where ids are given.
fn directory(name: &str) -> Model {
    let from = folder("language-models").join(name);
    if from.join("tokenizer.json").exists() {
        return open(&from);
    }
    let to = TempDir::new().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    }
    std::fs::copy(folder("convertible/xlmr-rerank/tokenizer.json"), to.path().join("tokenizer.json")).unwrap();
    open(to.path())
}

fn converted(name: &str, ty: OutputType) -> Model {
    let out = TempDir::new().unwrap();
    let path = out.path().join("model.gguf");
    let from = folder("language-models").join(name);
    convert(&from, &path, ty, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    open(&path)
}

/// The logits after each of several runs of tokens that follow each other.
fn logits(model: &Model, executor: &mut Executor, runs: &[&[u32]]) -> Vec<Vec<f32>> {
    let mut prefix = Prefix::new();
    let after = |ids: &&[u32]| {
        let matrix = model.next_logits(executor, ids, &mut prefix).unwrap();
        let row = matrix.row(0).to_vec();
        executor.recycle(matrix);
        row
    };
    runs.iter().map(after).collect()
}

fn most_likely(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

#[test]
fn logits_are_those_of_transformers_at_every_step() {
    for name in MODELS {
        let path = folder("language-models").join(name).join("reference.json");
        let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        // Matrices of 40 columns are no whole blocks of eight bits; they stay as they are in such a file.
        for (model, bound) in [
            (directory(name), 1e-4),
            (converted(name, OutputType::F32), 1e-4),
            (converted(name, OutputType::F16), 1e-4),
            (converted(name, OutputType::Q8_0), 0.1),
        ] {
            let mut executor = Executor::inline(Isa::best());
            let mut worst: f64 = 0.0;
            for case in &reference.cases {
                let followers: Vec<u32> = case.steps.iter().filter_map(|step| step.next).collect();
                let runs = std::iter::once(&case.prompt[..]).chain(followers.chunks(1)).collect::<Vec<_>>();
                let found = logits(&model, &mut executor, &runs);
                for (found, step) in found.iter().zip(&case.steps) {
                    assert_eq!(found.len(), step.logits.len(), "{name}");
                    let largest = step.logits.iter().fold(0f64, |most, &logit| most.max(f64::from(logit).abs()));
                    let apart = found.iter().zip(&step.logits).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
                    worst = worst.max(apart.fold(0.0, f64::max) / largest);
                    if let (true, Some(next), true) = (case.greedy, step.next, bound < 0.01) {
                        assert_eq!(most_likely(found), next, "{name}");
                    }
                }
            }
            println!("{name} {:?}: {worst:.2e}", model.description().format);
            assert!(worst <= bound, "{name} {:?}: {worst:e}", model.description().format);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_step_has_the_bits_of_the_whole_on_any_number_of_threads(
        ids in prop::collection::vec(3..260u32, 2..90),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        threads in 1..5usize,
    ) {
        thread_local!(static MODELS: Vec<Model> = ["qwen3-tied", "qwen3-untied"]
            .into_iter().map(directory).chain([converted("qwen3-tied", OutputType::Q8_0)]).collect());
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(ids.len())).chain([0, ids.len()]).collect();
        ends.sort_unstable();
        ends.dedup();
        let runs: Vec<&[u32]> = ends.windows(2).map(|ends| &ids[ends[0]..ends[1]]).collect();
        MODELS.with(|models| {
            for model in models {
                let whole = logits(model, &mut Executor::inline(Isa::best()), &[&ids]).remove(0);
                let mut pooled = Executor::on_pool(Isa::best(), Arc::new(ThreadPool::new(threads)));
                let found = logits(model, &mut pooled, &runs).pop().unwrap();
                let bits = |row: &[f32]| row.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&whole));
            }
        });
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = directory("qwen3-tied");
    let mut executor = Executor::inline(Isa::best());
    let mut prefix = Prefix::new();
    let logits = model.next_logits(&mut executor, &[5; 510], &mut prefix).unwrap();
    executor.recycle(logits);
    let kept = (prefix.tokens(), prefix.bytes());
    assert_eq!(kept, (510, 510 * 3 * 2 * 2 * 16 * 4));
    let mut refused = |ids: &[u32]| model.next_logits(&mut executor, ids, &mut prefix).err().unwrap();
    assert_eq!(refused(&[5; 3]), BatchError::TooLong { sequence: 0, tokens: 513, limit: 512 });
    assert_eq!(refused(&[]), BatchError::Empty { sequence: 0 });
    assert!(matches!(refused(&[100_000]), BatchError::UnknownId { .. }));
    assert_eq!((prefix.tokens(), prefix.bytes()), kept);
}

#[test]
fn models_that_do_not_write_say_so() {
    for name in ["bert-tiny", "convertible/qwen2-embed"] {
        let threads = ThreadPool::new(1);
        assert!(!Model::open(folder(name), &threads).unwrap().load_output(&threads).unwrap(), "{name}");
    }
}
