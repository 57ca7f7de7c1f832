//! A model with adapters for tasks: the task goes with the prompt, whoever asks and in whatever company.

#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod support;

use docent::convert::{OutputType, convert};
use docent::quantize::{self, FileType};
use docent::{EmbedOptions, Embedder, Prompt};
use support::{bits, fixture, open};

fn with(embedder: &Embedder, prompt: Prompt, text: &str) -> docent::Embedding {
    embedder.embed_with(&[text], &EmbedOptions { prompt, ..EmbedOptions::default() }).unwrap().remove(0)
}

fn named(name: &str) -> Prompt {
    Prompt::Named(name.to_owned())
}

#[test]
fn a_prompt_brings_its_task_and_a_text_none() {
    let embedder = open(&fixture("encoders/jina-bert-v3"), 2);
    let text = "the river runs";
    let query = with(&embedder, Prompt::Query, text);
    assert_eq!(bits(&query), bits(&with(&embedder, named("retrieval.query"), text)));
    let document = with(&embedder, Prompt::Document, text);
    assert_eq!(bits(&document), bits(&with(&embedder, named("retrieval.passage"), text)));
    // The same tokens without the adapter.
    assert_ne!(bits(&query), bits(&with(&embedder, Prompt::Text("find: ".to_owned()), text)));
    // A task without a prompt is one all the same.
    let matching = with(&embedder, named("text-matching"), text);
    assert_eq!(matching.tokens, with(&embedder, Prompt::None, text).tokens);
    assert_ne!(bits(&matching), bits(&with(&embedder, Prompt::None, text)));
    assert_eq!(bits(&with(&embedder, Prompt::Default, text)), bits(&with(&embedder, Prompt::None, text)));

    let options = EmbedOptions { prompt: named("clustering"), ..EmbedOptions::default() };
    let error = embedder.embed_with(&[text], &options).unwrap_err().to_string();
    let expected = "has no prompt `clustering`, but retrieval.passage, retrieval.query, text-matching";
    assert!(error.ends_with(expected), "{error}");
    let plain = open(&fixture("encoders/nomic-bert"), 1);
    let error = plain.embed_with(&[text], &options).unwrap_err().to_string();
    assert!(error.ends_with("has no prompt `clustering`: it has none"), "{error}");
}

#[test]
fn texts_for_different_tasks_are_put_together_and_keep_their_bits() {
    let embedder = open(&fixture("encoders/jina-bert-v3"), 2);
    let prompts = [Prompt::Query, Prompt::None, Prompt::Document, named("text-matching"), Prompt::Query];
    let text = "one word after another";
    let prepared: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            let options = EmbedOptions { prompt: prompt.clone(), ..EmbedOptions::default() };
            embedder.prepare(&[text], &options).unwrap().remove(0).unwrap()
        })
        .collect();
    let together = embedder.embed_prepared(&prepared.iter().collect::<Vec<_>>()).unwrap();
    for (prompt, found) in prompts.into_iter().zip(together) {
        assert_eq!(bits(&found.unwrap()), bits(&with(&embedder, prompt, text)));
    }
}

/// The files stay together through conversion and quantisation, and what a directory gives is near to what they give.
#[test]
fn adapters_follow_the_model_from_file_to_file() {
    let folder = tempfile::tempdir().unwrap();
    let (single, half) = (folder.path().join("m-f32.gguf"), folder.path().join("m-f16.gguf"));
    let report = convert(&fixture("encoders/jina-bert-v3"), &single, OutputType::F32, &mut |_| {}).unwrap();
    let tasks = ["retrieval.query", "retrieval.passage", "text-matching"];
    let beside = |name: &str| tasks.map(|task| folder.path().join(format!("lora-{task}-{name}"))).to_vec();
    assert_eq!(report.adapters, beside("m-f32.gguf"));
    assert!(report.settings_lost.iter().all(|lost| !lost.contains("prompt")), "{:?}", report.settings_lost);
    let options = quantize::Options { file_type: FileType::F16, overwrite: false, requantize: false, threads: 1 };
    let mut made = quantize::quantize(&single, &half, &options, &mut |_| {}).unwrap().adapters;
    made.sort();
    let mut expected = beside("m-f16.gguf");
    expected.sort();
    assert_eq!(made, expected);

    let directory = open(&fixture("encoders/jina-bert-v3"), 1);
    for file in [&single, &half] {
        let model = open(file, 1);
        for prompt in [Prompt::Query, Prompt::Document, named("text-matching"), Prompt::None] {
            let (found, expected) = (
                with(&model, prompt.clone(), "the hall was large"),
                with(&directory, prompt.clone(), "the hall was large"),
            );
            let cosine: f32 = found.vector().iter().zip(expected.vector()).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.9999, "{}: {prompt:?}: {cosine}", file.display());
        }
    }
    // Neither may be in the way of the other by accident.
    let again =
        convert(&fixture("encoders/jina-bert-v3"), &folder.path().join("m-f32.gguf"), OutputType::F32, &mut |_| {});
    assert!(again.unwrap_err().to_string().contains("the file exists"));
    std::fs::remove_file(&single).unwrap();
    let again = convert(&fixture("encoders/jina-bert-v3"), &single, OutputType::F32, &mut |_| {});
    assert!(again.unwrap_err().to_string().contains("lora-retrieval.query-m-f32.gguf: the file exists"));
}

/// An adapter that is named after the new file already stays, and none is lost where a model cannot be replaced.
#[test]
fn adapters_in_their_places_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (single, half) = (path("m-f32.gguf"), path("m-f16.gguf"));
    let adapters = convert(&fixture("encoders/jina-bert-v3"), &single, OutputType::F32, &mut |_| {}).unwrap().adapters;
    let places: Vec<_> = adapters
        .iter()
        .map(|adapter| path(&adapter.file_name().unwrap().to_str().unwrap().replace("-f32", "-f16")))
        .collect();
    for (from, to) in adapters.iter().zip(&places) {
        std::fs::rename(from, to).unwrap();
    }
    let options = quantize::Options { file_type: FileType::F16, overwrite: false, requantize: false, threads: 1 };
    let report = quantize::quantize(&single, &half, &options, &mut |_| {}).unwrap();
    assert_eq!(report.adapters, [""; 0].map(std::path::PathBuf::from));
    assert_eq!(open(&half, 1).settings().description.tasks.len(), 3);

    // Another model, with adapters of its own, and weights that are not numbers.
    let damaged = path("n.gguf");
    convert(&fixture("encoders/jina-bert-v3"), &damaged, OutputType::F32, &mut |_| {}).unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let end = bytes.len();
    bytes[end - end / 4..].fill(0xff);
    std::fs::write(&damaged, bytes).unwrap();
    let before: Vec<_> = places.iter().chain([&half]).map(|path| std::fs::read(path).unwrap()).collect();
    let options = quantize::Options { overwrite: true, ..options };
    let error = quantize::quantize(&damaged, &half, &options, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("expected finite weights"), "{error}");
    let after: Vec<_> = places.iter().chain([&half]).map(|path| std::fs::read(path).unwrap()).collect();
    assert!(before == after, "a file was changed");
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().ends_with("unchecked")), "a part of a file was left");
}
